//! What sinks are planned as: records and rows, and the expressions that fill them.

use super::planner::{PlanError, compile, error};
use super::scope::Scope;
use super::{KafkaPlan, SqlColumn, SqlPlan};
use crate::expr::{Evaluator, Expression};
use crate::topology::graph::{Aggregate, Function, KafkaSink, Node, SqlSink, flat_name};
use crate::topology::shape::Shape;
use crate::value::{FieldPath, ValueType};

pub(super) fn kafka_plan(
    node: &Node,
    sink: &KafkaSink,
    scope: &Scope<'_>,
    before: &Shape,
) -> Result<KafkaPlan, PlanError> {
    let key = sink
        .key
        .as_ref()
        .map(|key| compile(node, key, scope))
        .transpose()?;
    let mut fields = Vec::new();
    for (name, expression) in &sink.fields {
        fields.push((name.clone(), compile(node, expression, scope)?));
    }
    if fields.is_empty() && !scope.is_open() {
        for path in scope.names() {
            let value = written_by_default(path, scope, before);
            fields.push((flat_name(path).to_string(), compile(node, &value, scope)?));
        }
    }
    Ok(KafkaPlan {
        topic: sink.topic.clone(),
        key,
        fields,
        on_error: sink.on_error,
    })
}

/// What is written of a field when nothing is said: the field. A sketch is no text, even if its bytes
/// happen to be one, so bytes that are computed are written in base64.
fn written_by_default(path: &FieldPath, scope: &Scope<'_>, before: &Shape) -> Expression {
    let is_bytes = matches!(scope.find(path), Some((_, ValueType::Bytes)));
    match is_bytes && !before.key().contains(path) {
        true => Expression::parse(&format!("{path} == null ? null : base64.encode({path})")),
        false => Expression::parse(path.as_str()),
    }
}

pub(super) fn sql_plan(
    node: &Node,
    sink: &SqlSink,
    aggregates: &[&Aggregate],
    scope: &Scope<'_>,
    shape: &Shape,
) -> Result<SqlPlan, PlanError> {
    let mut columns = Vec::new();
    if sink.columns.is_empty() {
        for path in scope.names() {
            let value = compile(node, &Expression::parse(path.as_str()), scope)?;
            let kind = column_type(&value, aggregates, path, shape);
            columns.push(SqlColumn {
                name: flat_name(path).to_string(),
                value,
                kind,
            });
        }
    } else {
        for (name, expression) in &sink.columns {
            let value = compile(node, expression, scope)?;
            let of = expression.field().unwrap_or_else(|| FieldPath::new(name));
            let kind = column_type(&value, aggregates, &of, shape);
            columns.push(SqlColumn {
                name: name.clone(),
                value,
                kind,
            });
        }
    }
    let key = shape
        .key()
        .iter()
        .map(|name| {
            let at = columns
                .iter()
                .position(|column| column.name == name.as_str());
            at.ok_or_else(|| error(node, format!("no column {name} for the key")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SqlPlan {
        table: sink.table.clone(),
        columns,
        key,
        table_use: sink.table_use,
        on_error: sink.on_error,
    })
}

/// What a column holds: the type of its values, or, where that is known at run time only, what is
/// to be expected of the field.
fn column_type(
    value: &Evaluator,
    aggregates: &[&Aggregate],
    field: &FieldPath,
    shape: &Shape,
) -> ValueType {
    let kind = match value.result_type() {
        ValueType::Any => shape.type_of(field),
        kind => kind,
    };
    let is_sum = || {
        let mut results = aggregates.iter().flat_map(|aggregate| &aggregate.set);
        results.any(|(name, call)| name == field && call.function == Function::Sum)
    };
    match kind {
        // Of fields without a type: numbers at any rate.
        ValueType::Any if is_sum() => ValueType::Float,
        kind => kind,
    }
}
