//! The table `tidemill_gaps`: events that a source has not delivered.

use super::connection::{Purpose, Session};
use super::database::DatabaseUrl;
use super::datum::calendar;
use super::error::SqlError;
use super::rows::Cell;
use super::table::{Column, ColumnType, TableSpec};
use crate::broker::{Offset, TopicPartition};
use crate::time::Timestamp;

/// Offsets of a source that are not contiguous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapRow {
    /// Who noticed: the connector's name.
    pub source: String,
    /// The source's own topic and partition.
    pub partition: TopicPartition,
    /// The offset that was expected.
    pub expected: Offset,
    /// The offset that came instead.
    pub found: Offset,
    /// True when the numbering changed (another cluster, a topic made anew), which says nothing
    /// about missing events.
    pub jump: bool,
    /// How many events are missing; 0 for a jump.
    pub missing: i64,
    /// The time of the event before.
    pub after: Option<Timestamp>,
    /// The time of the event behind.
    pub before: Option<Timestamp>,
    /// When it was noticed.
    pub detected_at: Timestamp,
}

/// Writes gaps down; one that is known already is written again.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn record_gaps(database: &DatabaseUrl, gaps: &[GapRow]) -> Result<(), SqlError> {
    let action = || format!("record {} gaps in {database}", gaps.len());
    let mut session = Session::open(database, Purpose::Write)
        .await
        .map_err(|error| SqlError::of(action(), &error, None))?;
    let dialect = session.dialect;
    let failed = |error| SqlError::of(action(), &error, Some(dialect));
    for gaps in gaps.chunks(ROWS) {
        let upsert = dialect.upsert(&table(), gaps.len()).into();
        let rows = session.bind(gaps.iter().flat_map(cells)).map_err(failed)?;
        session.execute(&upsert, rows).await.map_err(failed)?;
    }
    session.close().await.map_err(failed)
}

/// Rows per statement.
const ROWS: usize = 100;

fn table() -> TableSpec {
    let column = |(name, kind): (&str, ColumnType)| Column {
        name: name.to_owned(),
        kind,
        nullable: false,
    };
    let columns = [
        ("source", ColumnType::Text),
        ("topic", ColumnType::Text),
        ("partition_id", ColumnType::Int),
        ("expected_offset", ColumnType::Int),
        ("found_offset", ColumnType::Int),
        ("kind", ColumnType::Text),
        ("missing", ColumnType::Int),
        ("after_time", ColumnType::Time),
        ("before_time", ColumnType::Time),
        ("detected_at", ColumnType::Time),
    ];
    TableSpec {
        table: "tidemill_gaps".to_owned(),
        columns: columns.into_iter().map(column).collect(),
        key: (0..5).collect(),
    }
}

fn cells(gap: &GapRow) -> [Cell<'_>; 10] {
    // A server refuses a time outside its calendar, and with it all other rows.
    let time = |time: Option<Timestamp>| {
        time.filter(|time| calendar(*time).is_some())
            .map_or(Cell::Null, Cell::Time)
    };
    [
        Cell::Text(&gap.source),
        Cell::Text(&gap.partition.topic),
        Cell::Int(i64::from(gap.partition.partition)),
        Cell::Int(gap.expected),
        Cell::Int(gap.found),
        Cell::Text(if gap.jump { "jump" } else { "gap" }),
        Cell::Int(gap.missing),
        time(gap.after),
        time(gap.before),
        Cell::Time(gap.detected_at),
    ]
}
