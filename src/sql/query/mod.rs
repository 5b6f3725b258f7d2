//! Questions to the tables: rows with filters, top lists, and a few ready-made ones.
//!
//! [`run`] answers `tidemill query TABLE …`; [`ask`] answers a named [`Question`]. Names of tables
//! and columns are held against the live schema, values are bound, and every query is bounded in
//! time, rows and bytes. [`render`](QueryResult::render) makes a table, JSON or CSV of the answer.

mod count;
mod filter;
mod plan;
mod questions;
mod render;
mod scan;
mod schema;
mod when;

use std::time::Duration;

use super::connection::{Purpose, Session};
use super::database::DatabaseUrl;
use super::datum::{Datum, escaped};
use super::dialect::Dialect;
use super::error::{SqlError, code};
use super::rows::Cell;
use crate::time::Timestamp;
use filter::Bound;
use plan::Statement;
use schema::Schema;

pub use count::count;
pub use filter::{Comparison, Filter};
pub use questions::{Question, Scope, ask, questions};
pub use render::Format;
pub use scan::{Page, Scan};
pub use when::parse_when;

/// A query about one table.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// The table or view.
    pub table: String,
    /// The columns to show; all when empty. Not used with `top` over windows.
    pub columns: Vec<String>,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// From this time on, by `window_start` or `event_time`.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Only the first so many, by `by`. Of a table of windows, `by` is summed over the selected
    /// windows of each key; of another table, the rows with the largest numbers are shown, or, when
    /// `by` is no number, its most frequent values.
    pub top: Option<usize>,
    /// The column to sort by, largest first.
    pub by: Option<String>,
    /// How many rows at most, at most [`MOST_ROWS`].
    pub limit: usize,
    /// After this long the query is ended.
    pub timeout: Duration,
}

/// No answer has more rows.
pub const MOST_ROWS: usize = 100_000;

/// No answer is larger, about.
const MOST_BYTES: usize = 64 << 20;

impl QueryOptions {
    /// All of a table: its newest 50 rows, at most 30 seconds.
    pub fn of(table: impl Into<String>) -> QueryOptions {
        QueryOptions {
            table: table.into(),
            columns: Vec::new(),
            filters: Vec::new(),
            since: None,
            until: None,
            top: None,
            by: None,
            limit: 50,
            timeout: Duration::from_secs(30),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    /// Its columns.
    pub columns: Vec<ResultColumn>,
    /// Its rows, each with one value per column.
    pub rows: Vec<Vec<QueryValue>>,
    /// There were more rows than were asked for, or than fit.
    pub truncated: bool,
    /// What a reader of the answer should know, such as why it is empty.
    pub note: Option<String>,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: ResultKind,
}

/// What a column of an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultKind {
    /// True or false.
    Bool,
    /// Whole numbers.
    Int,
    /// Numbers with a fraction.
    Double,
    /// Texts, and bytes read as UTF-8.
    Text,
    /// Points in time.
    Time,
}

/// A value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Double(f64),
    /// A text; bytes that are not UTF-8 as `\xNN`.
    Text(String),
    /// A point in time, RFC 3339 in UTC.
    Time(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no such table.
    #[error("there is no table {name}{help}")]
    UnknownTable {
        /// The name as it was given.
        name: String,
        /// The nearest, or all there are.
        help: String,
    },
    /// The table has no such column.
    #[error("table {table} has no column {name}{help}")]
    UnknownColumn {
        /// The table.
        table: String,
        /// The name as it was given.
        name: String,
        /// The nearest, or all there are.
        help: String,
    },
    /// There is no such named question.
    #[error("there is no question {name}{help}")]
    UnknownQuestion {
        /// The name as it was given.
        name: String,
        /// The nearest, or all there are.
        help: String,
    },
    /// A filter cannot be read.
    #[error("expected a condition such as wiki=enwiki or edits>=10, found {0:?}")]
    Filter(String),
    /// A condition that is several.
    #[error(
        "the condition {0:?} is more than one: say --where once for each, or put the value in quotes \
         if it is one"
    )]
    SeveralFilters(String),
    /// A value does not fit its column.
    #[error("column {column} holds {expected}, found {found:?}")]
    Value {
        /// The column.
        column: String,
        /// What its values look like.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// A time cannot be read.
    #[error(
        "expected a length of time such as 2h or 7d, or a time such as 2026-05-05T11:00:00Z, found {0:?}"
    )]
    When(String),
    /// A column that means nothing when it is added up.
    #[error(
        "column {column} cannot be summed over windows: {reason}; look at single windows instead, without --top, or with --since and --until around one of them"
    )]
    NotAdditive {
        /// The column.
        column: String,
        /// Why.
        reason: String,
    },
    /// `top` without `by`, and the like.
    #[error("{0}")]
    Unclear(String),
    /// It took too long.
    #[error("the query was ended after {0:?}: narrow it with --since, --until or --where")]
    TooSlow(Duration),
    /// The database cannot be asked.
    #[error(transparent)]
    Database(#[from] SqlError),
}

/// Answers a query.
///
/// # Errors
/// When a name is unknown, a value does not fit, it takes too long, or the database cannot be
/// asked.
pub async fn run(
    database: &DatabaseUrl,
    options: &QueryOptions,
) -> Result<QueryResult, QueryError> {
    let mut reader = Reader::open(database, options.timeout).await?;
    let schema = reader.schema(&options.table).await?;
    let statement = plan::plan(&schema, options)?;
    let mut result = reader.answer(&statement).await?;
    let bounded = options.since.is_some() || options.until.is_some();
    if result.rows.is_empty() && bounded {
        result.note = reader.why_empty(&schema).await?;
    }
    Ok(result)
}

/// A connection that only reads, for a limited time.
struct Reader {
    session: Session,
    action: String,
    timeout: Duration,
}

impl Reader {
    async fn open(database: &DatabaseUrl, timeout: Duration) -> Result<Reader, QueryError> {
        let action = format!("query {database}");
        let mut session = Session::open(database, Purpose::Read)
            .await
            .map_err(|error| SqlError::of(action.as_str(), &error, None))?;
        // The server ends the query; this is for a server that does not answer any more.
        session.statement_timeout = timeout.saturating_add(Duration::from_secs(5));
        let dialect = session.dialect;
        let limited = session.limit_query_time(timeout).await;
        limited.map_err(|error| SqlError::of(action.as_str(), &error, Some(dialect)))?;
        Ok(Reader {
            session,
            action,
            timeout,
        })
    }

    async fn schema(&mut self, table: &str) -> Result<Schema, QueryError> {
        let read = schema::read(&mut self.session, table).await;
        read.map_err(|error| self.failed(&error))?
    }

    async fn answer(&mut self, statement: &Statement) -> Result<QueryResult, QueryError> {
        let cells: Vec<Cell<'_>> = statement.values.iter().map(Bound::as_cell).collect();
        let found = self
            .session
            .rows_up_to(&statement.sql, &cells, statement.limit, MOST_BYTES)
            .await;
        let found = found.map_err(|error| self.failed(&error))?;
        Ok(QueryResult {
            columns: statement.columns.clone(),
            rows: shown(found.rows, &statement.columns),
            truncated: found.more && !statement.is_top,
            note: None,
        })
    }

    /// All rows, however large they are.
    async fn answer_whole(
        &mut self,
        statement: &Statement,
    ) -> Result<Vec<Vec<QueryValue>>, QueryError> {
        let cells: Vec<Cell<'_>> = statement.values.iter().map(Bound::as_cell).collect();
        let found = self.session.rows(&statement.sql, &cells).await;
        let found = found.map_err(|error| self.failed(&error))?;
        Ok(shown(found.rows, &statement.columns))
    }

    /// For an answer about a stretch of time in which there is nothing.
    async fn why_empty(&mut self, schema: &Schema) -> Result<Option<String>, QueryError> {
        let Some(column) = schema.time_column() else {
            return Ok(None);
        };
        let sql = format!(
            "SELECT MAX({}) FROM {}",
            schema.dialect.quote(&column.name),
            schema.dialect.quote(&schema.table)
        );
        let found = self
            .session
            .rows(&sql, &[])
            .await
            .map_err(|error| self.failed(&error))?;
        let newest = found.rows.into_iter().next().and_then(|mut row| row.pop());
        Ok(Some(
            match newest.map(|datum| show(datum, ResultKind::Time)) {
                Some(QueryValue::Time(newest)) => {
                    format!("the newest {} in {} is {newest}", column.name, schema.table)
                }
                _ => format!("{} is empty", schema.table),
            },
        ))
    }

    fn failed(&self, error: &sqlx::Error) -> QueryError {
        // MySQL, MariaDB: execution time exceeded. SQLite: interrupted.
        let too_slow = match self.session.dialect {
            Dialect::MySql => ["3024"].as_slice(),
            Dialect::MariaDb => &["1969"],
            Dialect::Sqlite => &["9"],
        };
        if too_slow.contains(&code(error).as_str()) {
            return QueryError::TooSlow(self.timeout);
        }
        SqlError::of(self.action.as_str(), error, Some(self.session.dialect)).into()
    }
}

/// Rows as they are shown in these columns.
fn shown(rows: Vec<Vec<Datum>>, columns: &[ResultColumn]) -> Vec<Vec<QueryValue>> {
    let kinds = || columns.iter().map(|column| column.kind);
    let values = |row: Vec<Datum>| row.into_iter().zip(kinds());
    let row = |row| values(row).map(|(datum, kind)| show(datum, kind)).collect();
    rows.into_iter().map(row).collect()
}

/// A value as it is shown in a column of that kind.
fn show(datum: Datum, kind: ResultKind) -> QueryValue {
    match (datum, kind) {
        (Datum::Null, _) => QueryValue::Null,
        (Datum::Int(value), ResultKind::Bool) => QueryValue::Bool(value != 0),
        (Datum::Int(value), ResultKind::Double) => QueryValue::Double(value as f64),
        (Datum::Int(value), _) => QueryValue::Int(value),
        (Datum::Double(value), _) => QueryValue::Double(value),
        (Datum::Text(text), ResultKind::Double) => text
            .parse()
            .map_or(QueryValue::Text(text), QueryValue::Double),
        (Datum::Text(text), ResultKind::Time) => QueryValue::Time(text),
        (Datum::Text(text), _) => QueryValue::Text(text),
        (Datum::Bytes(bytes), _) => QueryValue::Text(escaped(bytes)),
        (time @ Datum::Time(_), _) => QueryValue::Time(time.into_text()),
    }
}
