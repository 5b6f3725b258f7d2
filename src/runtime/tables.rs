//! The tables that SQL sinks need, from what the plan knows of their columns.

use crate::sql::{Column, ColumnType, TableSpec};
use crate::topology::plan::{Plan, SqlPlan};
use crate::value::ValueType;

/// The tables of a plan's SQL sinks as they would be made anew, in the order of the sinks; one that
/// several sinks share is there once.
pub fn tables(plan: &Plan) -> Vec<TableSpec> {
    let mut tables: Vec<TableSpec> = Vec::new();
    for (_, sql) in plan.sinks.iter().filter_map(|sink| sink.sql()) {
        if tables.iter().all(|table| table.table != sql.table) {
            tables.push(table_spec(sql, &[]));
        }
    }
    tables
}

/// The table that a sink needs; what cannot be known from the expressions is taken from the table
/// as it is.
pub(super) fn table_spec(plan: &SqlPlan, live: &[Column]) -> TableSpec {
    let columns = plan
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let known = live
                .iter()
                .find(|known| known.name.eq_ignore_ascii_case(&column.name));
            let kind = match column.kind {
                ValueType::Bool => ColumnType::Bool,
                ValueType::Int | ValueType::Duration => ColumnType::Int,
                ValueType::Float => ColumnType::Double,
                ValueType::Str | ValueType::List | ValueType::Map => ColumnType::Text,
                ValueType::Bytes => ColumnType::Bytes,
                ValueType::Time => ColumnType::Time,
                ValueType::Any => known.map_or(ColumnType::Text, |known| known.kind),
            };
            let nullable = !plan.key.contains(&at) && known.is_none_or(|known| known.nullable);
            Column {
                name: column.name.clone(),
                kind,
                nullable,
            }
        })
        .collect();
    TableSpec {
        table: plan.table.clone(),
        columns,
        key: plan.key.clone(),
    }
}
