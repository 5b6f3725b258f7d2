//! What sinks are planned as: records and rows, and the expressions that fill them.

use super::planner::{PlanError, compile, error};
use super::scope::Scope;
use crate::expr::{Evaluator, Expression};
use crate::format::SchemaFormat;
use crate::topology::graph::{
    Aggregate, Format, Function, KafkaSink, Node, OnError, SinkHeaders, SqlSink, TableUse,
    flat_name,
};
use crate::topology::shape::Shape;
use crate::value::{FieldPath, ValueType};

/// How records are written to a topic.
#[derive(Debug)]
pub struct KafkaPlan {
    /// The topic.
    pub topic: String,
    /// The record's key; none: the key of the input.
    pub key: Option<Evaluator>,
    /// What is written.
    pub value: WrittenValue,
    /// Whether the headers of the record that a row was made of go along.
    pub passes_headers: bool,
    /// When an expression fails.
    pub on_error: OnError,
}

/// What is written of a row to a topic.
#[derive(Debug)]
pub enum WrittenValue {
    /// The bytes of its event, as they came.
    AsItCame,
    /// Its event, as a JSON object.
    EventAsJson,
    /// A JSON object with these names and values.
    Json(Vec<(String, Evaluator)>),
    /// One value: a text or bytes as they are, anything else as JSON.
    Single(Evaluator),
    /// A record with these names and values, as a schema has it.
    Record(SchemaFormat, Vec<(String, Evaluator)>),
}

/// How rows are written into a table.
#[derive(Debug)]
pub struct SqlPlan {
    /// The table.
    pub table: String,
    /// Columns and their values.
    pub columns: Vec<SqlColumn>,
    /// The columns of the primary key, as indexes.
    pub key: Vec<usize>,
    /// Who else may write the table.
    pub table_use: TableUse,
    /// When an expression fails or the database refuses the row.
    pub on_error: OnError,
}

/// A column of a table.
#[derive(Debug)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Evaluator,
    /// What it can hold, as far as known.
    pub kind: ValueType,
}

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
    Ok(KafkaPlan {
        topic: sink.topic.clone(),
        key,
        value: written_value(node, sink, scope, before)?,
        passes_headers: sink.headers == SinkHeaders::Pass,
        on_error: sink.on_error,
    })
}

fn written_value(
    node: &Node,
    sink: &KafkaSink,
    scope: &Scope<'_>,
    before: &Shape,
) -> Result<WrittenValue, PlanError> {
    let fields = written_fields(sink, scope, before).into_iter();
    let compiled = fields.map(|(name, value)| Ok((name, compile(node, &value, scope)?)));
    let mut fields = compiled.collect::<Result<Vec<_>, PlanError>>()?;
    Ok(match &sink.format {
        None if fields.is_empty() && scope.is_open() => WrittenValue::AsItCame,
        Some(Format::Text | Format::Bytes) if fields.is_empty() => WrittenValue::AsItCame,
        Some(Format::Json) if fields.is_empty() && scope.is_open() => WrittenValue::EventAsJson,
        None | Some(Format::Json) => WrittenValue::Json(fields),
        Some(Format::Text | Format::Bytes) => {
            let (_, only) = fields.pop().expect("checked: one field");
            WrittenValue::Single(only)
        }
        Some(Format::Schema(format)) => WrittenValue::Record(format.clone(), fields),
    })
}

/// The fields of a written value: those that the sink names; else all of a result, or those of the
/// schema that an event can have.
fn written_fields(
    sink: &KafkaSink,
    scope: &Scope<'_>,
    before: &Shape,
) -> Vec<(String, Expression)> {
    if !sink.fields.is_empty() {
        return sink.fields.clone();
    }
    if scope.is_open() {
        return sink.fields_of_schema(before);
    }
    let is_json = matches!(sink.format, None | Some(Format::Json));
    let field = |path: &FieldPath| {
        let value = match is_json {
            true => written_by_default(path, scope, before),
            false => Expression::of_field(path),
        };
        (flat_name(path).to_string(), value)
    };
    scope.names().iter().map(field).collect()
}

/// What is written of a field when nothing is said: the field. A sketch is no text, even if its bytes
/// happen to be one, so bytes that are computed are written in base64.
fn written_by_default(path: &FieldPath, scope: &Scope<'_>, before: &Shape) -> Expression {
    let is_bytes = matches!(scope.find(path), Some((_, ValueType::Bytes)));
    match is_bytes && !before.key().contains(path) {
        true => Expression::parse(&format!("{path} == null ? null : base64.encode({path})")),
        false => Expression::of_field(path),
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
            let value = compile(node, &Expression::of_field(path), scope)?;
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
