//! What the database says of the table that is asked about.

use super::questions::questions;
use super::{QueryError, ResultKind};
use crate::sql::connection::Session;
use crate::sql::datum::Datum;
use crate::sql::dialect::Dialect;
use crate::sql::live::{LiveColumn, LiveTable, read_table};
use crate::sql::table::ColumnType;

/// A table or view, and what its columns hold.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub table: String,
    pub dialect: Dialect,
    pub columns: Vec<SchemaColumn>,
    /// The primary key; empty for a view.
    pub key: Vec<String>,
}

/// A column.
#[derive(Clone, Debug)]
pub(super) struct SchemaColumn {
    pub name: String,
    pub kind: ResultKind,
    pub storage: Storage,
}

/// What a column's values are, where that matters for comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// What its type says. On a server always.
    Typed,
    /// No type is known, as for what a view of SQLite computes: there may be numbers and texts.
    Untyped,
    /// Bytes in SQLite, which no text is equal to.
    Bytes,
}

/// Columns that hold the time of a row, the first that there is.
const TIME_COLUMNS: [&str; 2] = ["window_start", "event_time"];

impl Schema {
    pub fn new(table: &str, dialect: Dialect, live: LiveTable) -> Schema {
        let columns = live.columns.into_iter();
        Schema {
            table: table.to_owned(),
            dialect,
            columns: columns
                .map(|column| SchemaColumn {
                    kind: kind(&column),
                    storage: storage(&column, dialect),
                    name: column.name,
                })
                .collect(),
            key: live.primary_key,
        }
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Result<&SchemaColumn, QueryError> {
        let found = self
            .columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let names: Vec<_> = self
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            QueryError::UnknownColumn {
                table: self.table.clone(),
                name: name.to_owned(),
                help: did_you_mean(name, "columns", &names),
            }
        })
    }

    /// The column by which the table is read in time.
    pub fn time_column(&self) -> Option<&SchemaColumn> {
        let times = || {
            self.columns
                .iter()
                .filter(|column| column.kind == ResultKind::Time)
        };
        let named = TIME_COLUMNS
            .iter()
            .find_map(|name| times().find(|column| column.name == *name));
        named
            .or_else(|| times().find(|column| self.key.contains(&column.name)))
            .or_else(|| times().next())
    }

    /// The columns by which the windows of a rollup are told apart, without their times; none for
    /// a table without windows.
    pub fn window_key(&self) -> Option<Vec<&SchemaColumn>> {
        let windowed = self
            .columns
            .iter()
            .any(|column| column.name == TIME_COLUMNS[0]);
        let in_key = |column: &&SchemaColumn| self.key.contains(&column.name);
        let keys: Vec<_> = if self.key.is_empty() {
            // A view has no key: its texts are what its rows are about.
            self.columns
                .iter()
                .filter(|column| column.kind == ResultKind::Text)
                .collect()
        } else {
            self.columns.iter().filter(in_key).collect()
        };
        let keys = keys
            .into_iter()
            .filter(|column| column.kind != ResultKind::Time)
            .collect();
        windowed.then_some(keys)
    }
}

/// Bytes are shown as text.
fn kind(column: &LiveColumn) -> ResultKind {
    match column.kind() {
        ColumnType::Bool => ResultKind::Bool,
        ColumnType::Int => ResultKind::Int,
        ColumnType::Double => ResultKind::Double,
        ColumnType::Time => ResultKind::Time,
        ColumnType::Text | ColumnType::Bytes => ResultKind::Text,
    }
}

fn storage(column: &LiveColumn, dialect: Dialect) -> Storage {
    match dialect {
        Dialect::Sqlite if column.declared.is_empty() => Storage::Untyped,
        Dialect::Sqlite if column.kind() == ColumnType::Bytes => Storage::Bytes,
        _ => Storage::Typed,
    }
}

/// Reads the schema of a table or view; the outer error is the database's.
pub(super) async fn read(
    session: &mut Session,
    table: &str,
) -> Result<Result<Schema, QueryError>, sqlx::Error> {
    if let Some(live) = read_table(session, table).await? {
        return Ok(Ok(Schema::new(table, session.dialect, live)));
    }
    let sql = if session.dialect.is_server() {
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1"
    } else {
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY 1"
    };
    let found = session.rows(sql, &[]).await?;
    let names = found
        .rows
        .into_iter()
        .filter_map(|mut row| row.pop().map(Datum::into_text));
    let names: Vec<_> = names.collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let asked = questions().iter().map(|question| question.name);
    let help = match names.is_empty() {
        true => ": there are no tables yet; `tidemill migrate` makes the shipped ones".to_owned(),
        false if questions().iter().any(|question| question.table == table) => {
            "; `tidemill migrate` makes the shipped tables".to_owned()
        }
        false => did_you_mean(
            table,
            "tables and questions",
            &[names, asked.collect()].concat(),
        ),
    };
    Ok(Err(QueryError::UnknownTable {
        name: table.to_owned(),
        help,
    }))
}

/// The nearest name, or all of them.
pub(super) fn did_you_mean(name: &str, what: &str, candidates: &[&str]) -> String {
    let distance = |other: &str| strsim::osa_distance(&name.to_lowercase(), &other.to_lowercase());
    let nearest = candidates.iter().min_by_key(|other| distance(other));
    match nearest {
        None => format!(": there are no {what}"),
        Some(nearest) if distance(nearest) <= name.chars().count() / 3 => {
            format!(": did you mean {nearest}?")
        }
        Some(_) => format!("; the {what}: {}", candidates.join(", ")),
    }
}
