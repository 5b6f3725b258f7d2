//! Nodes in which records end: topics and tables.

use super::graph::{Format, NodeName, OnError};
use crate::expr::Expression;

/// Writes rows into a table: one per record, or one per key and window behind an aggregate.
#[derive(Clone, Debug)]
pub struct SqlSink {
    /// The input.
    pub from: NodeName,
    /// The table's name.
    pub table: String,
    /// Column and its expression; empty: behind an aggregate its key, window and results, each
    /// under its own name.
    pub columns: Vec<(String, Expression)>,
    /// The columns of the table's primary key; empty: behind an aggregate its key and window.
    pub key: Vec<String>,
    /// Who else may write the table.
    pub table_use: TableUse,
    /// When an expression fails, or the database refuses a row.
    pub on_error: OnError,
}

/// Who writes a table. Whoever it is, of rows with the same key the last one written stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableUse {
    /// This node alone.
    #[default]
    Own,
    /// Other nodes and other applications as well.
    Shared,
}

/// Writes records to a topic.
#[derive(Clone, Debug)]
pub struct KafkaSink {
    /// The input.
    pub from: NodeName,
    /// The topic's name.
    pub topic: String,
    /// The record's key, a text; absent: the key of the input.
    pub key: Option<Expression>,
    /// Field and its expression; empty: behind an aggregate its key, window and results, otherwise
    /// the record's bytes as they came, or, where a schema is given, its fields.
    pub fields: Vec<(String, Expression)>,
    /// How values are written; none: as JSON, unless bytes are written as they came.
    pub format: Option<Format>,
    /// What becomes of the headers of the record that a row was made of.
    pub headers: SinkHeaders,
    /// When an expression fails.
    pub on_error: OnError,
}

/// What a Kafka sink does with the headers of the record that a row was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SinkHeaders {
    /// It writes them. Results of aggregates have none.
    #[default]
    Pass,
    /// Records that it writes have none.
    Drop,
}
