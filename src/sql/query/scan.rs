//! All rows of a stretch of time, page by page, however many there are.

use std::time::Duration;

use super::filter::{Bound, place};
use super::plan::{Statement, result_column};
use super::schema::{Schema, SchemaColumn};
use super::{QueryError, QueryValue, Reader, ResultColumn, ResultKind};
use crate::sql::database::DatabaseUrl;
use crate::time::Timestamp;

/// Reads a table in the order of one of its times.
pub struct Scan {
    reader: Reader,
    schema: Schema,
    time: SchemaColumn,
    columns: Vec<ResultColumn>,
    /// How many rows a page may have, by the size of those that were read.
    room: usize,
}

/// How many rows the first page may have, when nothing is known of their size.
const FIRST_PAGE: usize = 500;

/// How large a page may be, about.
const PAGE_BYTES: usize = 16 << 20;

/// Rows that follow one another in time.
pub struct Page {
    /// The time of each row, and its values, one per column that was asked for.
    pub rows: Vec<(Timestamp, Vec<QueryValue>)>,
    /// The time of the next row; none: there is none.
    pub next: Option<Timestamp>,
}

impl Scan {
    /// Connects, and holds the names against the table. `time` is the column by which it is read; a
    /// statement may take `timeout`.
    ///
    /// # Errors
    /// When a name is unknown, `time` holds no times, or the database cannot be asked.
    pub async fn open(
        database: &DatabaseUrl,
        table: &str,
        time: &str,
        columns: &[&str],
        timeout: Duration,
    ) -> Result<Scan, QueryError> {
        let mut reader = Reader::open(database, timeout).await?;
        let schema = reader.schema(table).await?;
        let time = schema.column(time)?.clone();
        if time.kind != ResultKind::Time {
            let text = format!("table {table}: column {} holds no times", time.name);
            return Err(QueryError::Unclear(text));
        }
        let columns = columns
            .iter()
            .map(|name| schema.column(name).map(result_column));
        let columns = columns.collect::<Result<Vec<_>, QueryError>>()?;
        Ok(Scan {
            reader,
            schema,
            time,
            columns,
            room: FIRST_PAGE,
        })
    }

    /// The earliest and the latest time in the table; none when it is empty.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn bounds(&mut self) -> Result<Option<(Timestamp, Timestamp)>, QueryError> {
        let time = self.schema.dialect.quote(&self.time.name);
        let table = self.schema.dialect.quote(&self.schema.table);
        // Two statements, each of which an index answers.
        let mut ends = Vec::new();
        for end in ["MIN", "MAX"] {
            let statement = Statement {
                sql: format!("SELECT {end}({time}) FROM {table}"),
                values: Vec::new(),
                columns: vec![result_column(&self.time)],
                limit: 1,
                is_top: true,
            };
            let answer = self.reader.answer(&statement).await?;
            match answer.rows.first().and_then(|row| row.first()) {
                None | Some(QueryValue::Null) => {}
                Some(value) => ends.push(self.time_of(value)?),
            }
        }
        Ok(match ends.as_slice() {
            [first, last] => Some((*first, *last)),
            _ => None,
        })
    }

    /// The first rows with `from` ≤ time < `until`: about so many, fewer where they are large. Those of
    /// the same millisecond are never parted.
    ///
    /// # Errors
    /// When a statement takes too long, or the database cannot be asked.
    pub async fn page(
        &mut self,
        from: Timestamp,
        until: Timestamp,
        rows: usize,
    ) -> Result<Page, QueryError> {
        let mut limit = rows.min(self.room).max(1);
        loop {
            let mut found = self.read(from, until, limit + 1).await?;
            if found.len() <= limit {
                let (rows, next) = (found, None);
                return Ok(Page { rows, next });
            }
            let next = found[limit].0;
            found.retain(|(time, _)| *time < next);
            if !found.is_empty() {
                let (rows, next) = (found, Some(next));
                return Ok(Page { rows, next });
            }
            limit *= 2;
        }
    }

    async fn read(
        &mut self,
        from: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, Vec<QueryValue>)>, QueryError> {
        let dialect = self.schema.dialect;
        let time = dialect.quote(&self.time.name);
        let names = self
            .columns
            .iter()
            .map(|column| dialect.quote(&column.name));
        let names: Vec<_> = std::iter::once(time.clone()).chain(names).collect();
        let values = vec![Bound::Time(from), Bound::Time(until)];
        let [lower, upper] = [&values[0], &values[1]].map(|value| place(&self.time, value));
        let sql = format!(
            "SELECT {} FROM {} WHERE {time} >= {lower} AND {time} < {upper} ORDER BY {time} LIMIT {limit}",
            names.join(", "),
            dialect.quote(&self.schema.table),
        );
        let columns =
            std::iter::once(result_column(&self.time)).chain(self.columns.iter().cloned());
        let statement = Statement {
            sql,
            values,
            columns: columns.collect(),
            limit,
            is_top: true,
        };
        let answer = self.reader.answer_whole(&statement).await?;
        let bytes: usize = answer.iter().flatten().map(size_of).sum();
        if let Some(of_a_row) = bytes.checked_div(answer.len()) {
            self.room = PAGE_BYTES / of_a_row.max(1);
        }
        let rows = answer.into_iter().map(|mut row| {
            let time = self.time_of(&row.remove(0))?;
            Ok((time, row))
        });
        rows.collect()
    }

    fn time_of(&self, value: &QueryValue) -> Result<Timestamp, QueryError> {
        let time = match value {
            QueryValue::Time(text) => Timestamp::parse_rfc3339(text).ok(),
            _ => None,
        };
        time.ok_or_else(|| {
            QueryError::Unclear(format!(
                "table {}: column {} has a value that is no RFC 3339 time: {value:?}",
                self.schema.table, self.time.name
            ))
        })
    }
}

/// What a value takes in memory, about.
fn size_of(value: &QueryValue) -> usize {
    match value {
        QueryValue::Text(text) | QueryValue::Time(text) => 32 + text.len(),
        QueryValue::Null | QueryValue::Bool(_) | QueryValue::Int(_) | QueryValue::Double(_) => 32,
    }
}
