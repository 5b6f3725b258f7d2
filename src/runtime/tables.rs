//! The tables that SQL sinks need, from what the plan knows of their columns, and how they are
//! opened.

use super::app::Database;
use crate::sql::{
    self, Column, ColumnType, OtherWriters, SinkOptions, SqlError, SqlSink, TableSpec, live_columns,
};
use crate::topology::graph::TableUse;
use crate::topology::plan::{Plan, SqlPlan, SubTopology};
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

/// A table that a sink can write.
pub(super) struct OpenTable {
    pub(super) sink: SqlSink,
    /// The types of its columns, in the order of the plan's.
    pub(super) kinds: Vec<ColumnType>,
}

/// Opens the table of a sink, after bringing the shipped ones up to date where that was asked for.
///
/// # Errors
/// [`SqlError::Mismatch`] with everything that does not fit; otherwise the reaction it names.
pub(super) fn open(
    database: &Database,
    app: &str,
    plan: &SubTopology,
) -> Result<OpenTable, SqlError> {
    let (node, plan) = plan
        .sql()
        .expect("the planner ends a sink's sub-topology in one");
    let Database {
        url,
        tokio,
        migrate,
    } = database;
    if *migrate {
        tokio.block_on(sql::migrate(url))?;
    }
    let live = tokio.block_on(live_columns(url, &plan.table))?;
    let spec = table_spec(plan, &live);
    let kinds = spec.columns.iter().map(|column| column.kind).collect();
    let options = SinkOptions {
        other_writers: match plan.table_use {
            TableUse::Own => OtherWriters::Refuse,
            TableUse::Shared => OtherWriters::Accept,
        },
        ..SinkOptions::default()
    };
    let sink = tokio.block_on(SqlSink::open(url, app, node.as_str(), spec, options))?;
    Ok(OpenTable { sink, kinds })
}

/// The table that a sink needs; what cannot be known from the expressions is taken from the table
/// as it is.
fn table_spec(plan: &SqlPlan, live: &[Column]) -> TableSpec {
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
