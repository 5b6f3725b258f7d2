//! Whether tables of windows say what the raw events say.
//!
//! A topology that keeps its raw events in a table has all that its rollups were made of. [`Scheme`] says
//! which tables can be computed anew from them; [`verify`] reads the events in the order of their time, runs
//! them through the same nodes in memory, and compares the rows. What differs was lost, counted twice or
//! changed: events that came again under the same key are in the raw table once and in a rollup twice,
//! late ones are in the raw table only.
//!
//! A running application writes its tables one after the other. So what differs is looked at again, and
//! stands only when it stays as it is.

mod scheme;
mod replay;
mod compare;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use compare::{ColumnDifference, Discrepancy, RowDifference};
pub use scheme::{Agreement, Column, LeftOut, RawTable, Rollup, Scheme, SchemeError};

use crate::sql::DatabaseUrl;
use crate::sql::query::{QueryError, QueryValue, Scan};
use crate::testkit::DriverError;
use crate::time::Timestamp;
use crate::topology::graph::WindowKind;
use compare::{Row, RowKey, columns, compare, row_key};
use replay::Replay;

/// So many differences of a table are remembered; the others are counted.
pub const MOST_DIFFERENCES: usize = 1_000;

/// How many events are processed between two looks at the tables, and how many rows are compared at once.
const PAGE_ROWS: usize = 5_000;

/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often what differs is looked at again, and after how long.
const SECOND_LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_secs(3);

/// Which windows are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Those that begin at this time or later; none: those that the oldest event is in, and later ones.
    pub since: Option<Timestamp>,
    /// Those that begin earlier than this; none: up to the newest event.
    pub until: Option<Timestamp>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// How many events were read.
    pub events: u64,
    /// The times of the oldest and the newest of them.
    pub bounds: Option<(Timestamp, Timestamp)>,
    /// What was found in each table, in the order of [`Scheme::rollups`].
    pub tables: Vec<TableReport>,
}

/// What was found in a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableReport {
    /// The table.
    pub table: String,
    /// How many of its rows were looked at.
    pub rows: u64,
    /// How many windows of the events may be without a result yet: they are not closed, or not over.
    pub open: u64,
    /// How many rows differed in some way, and a moment later in another one: they are being written.
    pub moving: u64,
    /// How many rows are not what the events say.
    pub differing: u64,
    /// The first of them.
    pub differences: Vec<RowDifference>,
}

/// It cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The tables cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The events cannot be processed.
    #[error("the events cannot be processed: {0}")]
    Replay(#[from] DriverError),
    /// There is nothing to begin with.
    #[error("{0} has no events")]
    NoEvents(String),
    /// It was told to stop.
    #[error("stopped before the end")]
    Stopped,
}

impl Report {
    /// Whether all rows are what the events say.
    pub fn is_clean(&self) -> bool {
        self.tables.iter().all(|table| table.differing == 0)
    }
}

/// Where tables are read, and who is told how far that is.
pub struct Place<'a> {
    /// The database.
    pub database: &'a DatabaseUrl,
    /// Waits for its answers.
    pub tokio: &'a tokio::runtime::Handle,
    /// Told the time of the events that have been processed; false: stop.
    pub progress: &'a mut dyn FnMut(Timestamp) -> bool,
    /// Waits between two looks; false: stop.
    pub pause: &'a mut dyn FnMut(Duration) -> bool,
}

/// Computes the rollups anew, and compares.
///
/// # Errors
/// When there are no events, they cannot be processed, or the database cannot be asked.
///
/// # Panics
/// Inside an async runtime.
pub fn verify(
    scheme: &Scheme,
    stretch: Stretch,
    place: &mut Place<'_>,
) -> Result<Report, VerifyError> {
    let mut report = look(scheme, stretch, place)?;
    let mut earlier = report.tables.clone();
    for _ in 0..SECOND_LOOKS {
        let Some(again) = differing(&earlier) else {
            break;
        };
        if !(place.pause)(PAUSE) {
            return Err(VerifyError::Stopped);
        }
        let later = look(scheme, again, place)?.tables;
        let mut are_settled = true;
        for ((found, earlier), later) in report.tables.iter_mut().zip(&earlier).zip(&later) {
            are_settled &= found.settle(earlier, later);
        }
        earlier = later;
        if are_settled {
            break;
        }
    }
    Ok(report)
}

/// The stretch of all windows that differ; more than are remembered may follow the last one.
fn differing(tables: &[TableReport]) -> Option<Stretch> {
    let tables = || tables.iter();
    let starts = tables().flat_map(|table| &table.differences);
    let starts = starts.map(|difference| difference.start);
    let since = starts.clone().min()?;
    let is_cut = tables().any(|table| table.differing > table.differences.len() as u64);
    let last = starts.max().filter(|_| !is_cut);
    Some(Stretch {
        since: Some(since),
        until: last.map(|last| last.plus_millis(1)),
    })
}

/// One pass over the events and the tables.
fn look(scheme: &Scheme, stretch: Stretch, place: &mut Place<'_>) -> Result<Report, VerifyError> {
    let raw = &scheme.raw;
    let columns = [raw.payload.as_str()];
    let open = Scan::open(place.database, &raw.table, &raw.time, &columns, PATIENCE);
    let mut events = place.tokio.block_on(open)?;
    let bounds = place.tokio.block_on(events.bounds())?;
    let (oldest, newest) = bounds.ok_or_else(|| VerifyError::NoEvents(raw.table.clone()))?;
    let ranges: Vec<Range> = scheme
        .rollups
        .iter()
        .map(|rollup| Range::of(rollup.windows, stretch, oldest))
        .collect();
    let mut replay = Replay::new(scheme)?;
    let mut report = Report {
        bounds,
        ..Report::default()
    };
    let mut next = ranges.iter().map(|range| range.first_event).min();
    let end = ranges.iter().map(|range| range.events_end).max();
    let end = end.unwrap_or(newest).min(newest.plus_millis(1));
    while let Some(from) = next {
        let page = place.tokio.block_on(events.page(from, end, PAGE_ROWS))?;
        let page_events =
            page.rows
                .into_iter()
                .filter_map(|(time, mut values)| match values.pop() {
                    Some(QueryValue::Text(event)) => Some((time, event)),
                    _ => None,
                });
        let page_events: Vec<(Timestamp, String)> = page_events.collect();
        report.events += page_events.len() as u64;
        replay.feed(&page_events)?;
        next = page.next;
        if let Some((time, _)) = page_events.last()
            && !(place.progress)(*time)
        {
            return Err(VerifyError::Stopped);
        }
    }
    let computed = replay.tables()?.clone();
    for (rollup, range) in scheme.rollups.iter().zip(ranges) {
        let seen = Seen { end, newest };
        let table = compare_table(rollup, range, &seen, &computed, place)?;
        report.tables.push(table);
    }
    Ok(report)
}

/// Which windows of a table are looked at, and which events it takes for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// The earliest start.
    from: Timestamp,
    /// Behind the latest start.
    until: Timestamp,
    first_event: Timestamp,
    /// Behind the last event.
    events_end: Timestamp,
}

impl Range {
    fn of(windows: WindowKind, stretch: Stretch, oldest: Timestamp) -> Range {
        let length = windows.length_ms();
        // What a window holds, and how long before its start something may be that decides where it starts.
        let (before, after) = match windows {
            WindowKind::Tumbling { .. }
            | WindowKind::Calendar { .. }
            | WindowKind::Hopping { .. } => (0, length),
            // A window may begin right behind a record.
            WindowKind::Sliding { .. } => (1, length + 1),
            // However long it is, most are over by then.
            WindowKind::Session { .. } => (length, SESSIONS * (length + 1)),
        };
        let first = match windows {
            WindowKind::Session { .. } => oldest,
            _ => oldest.plus_millis(1 - length),
        };
        let from = stretch.since.unwrap_or(first);
        // Rows behind the last event are rows without events: the end of those may be lost.
        let until = stretch.until.unwrap_or(END_OF_TIME);
        Range {
            from,
            until,
            first_event: from.plus_millis(-before),
            events_end: until.plus_millis(after),
        }
    }
}

/// Behind everything that a database can hold: the year 9999.
const END_OF_TIME: Timestamp = Timestamp(253_370_764_800_000);

/// Events are read so many gaps beyond the last start of a session; one that is not over by then is not
/// compared.
const SESSIONS: i64 = 20;

/// What was seen of the events.
struct Seen {
    /// Behind the last one that was processed.
    end: Timestamp,
    newest: Timestamp,
}

impl Seen {
    /// Whether events that were not processed may belong to a session that ends so.
    fn may_grow(&self, windows: WindowKind, end: &str) -> bool {
        let grows_until = |end: Timestamp| end.plus_millis(windows.length_ms());
        let end = Timestamp::parse_rfc3339(end);
        self.end <= self.newest && end.is_ok_and(|end| grows_until(end) >= self.end)
    }
}

/// Compares the rows of a table, page by page.
fn compare_table(
    rollup: &Rollup,
    range: Range,
    seen: &Seen,
    computed: &DatabaseUrl,
    place: &mut Place<'_>,
) -> Result<TableReport, VerifyError> {
    let (tokio, columns) = (place.tokio, columns(rollup));
    let open = |database| Scan::open(database, &rollup.table, &rollup.start, &columns, PATIENCE);
    let mut events = tokio.block_on(open(computed))?;
    let mut table = tokio.block_on(open(place.database))?;
    let end = rollup.session_end.as_ref();
    let end = end.and_then(|end| columns.iter().position(|name| name == end));
    let may_grow = |(_, values): &&Row| match end.map(|column| &values[column]) {
        Some(QueryValue::Time(end)) => seen.may_grow(rollup.windows, end),
        _ => false,
    };
    let mut report = TableReport {
        table: rollup.table.clone(),
        ..TableReport::default()
    };
    // Results that come once a window is closed: which ones are there depends on how far each partition is,
    // but of one key they come in their order.
    let mut awaited = Vec::new();
    let mut latest: BTreeMap<Vec<String>, Timestamp> = BTreeMap::new();
    let mut next = Some(range.from);
    while let Some(from) = next {
        let page = tokio.block_on(table.page(from, range.until, PAGE_ROWS))?;
        if rollup.waits_for_close {
            let keys = page.rows.iter().map(|row| row_key(rollup, row));
            latest.extend(keys.map(|(start, key)| (key, start)));
        }
        let until = page.next.unwrap_or(range.until);
        report.rows += page.rows.len() as u64;
        let expected = tokio.block_on(all_rows(&mut events, from, until))?;
        let growing = expected.iter().chain(&page.rows).filter(may_grow);
        let growing: BTreeSet<RowKey> = growing.map(|row| row_key(rollup, row)).collect();
        for difference in compare(rollup, expected, page.rows) {
            let is_missing = difference.what == Discrepancy::Missing;
            if growing.contains(&difference.row_key()) {
                report.open += 1;
            } else if is_missing && rollup.waits_for_close {
                awaited.push(difference);
            } else {
                report.add(difference);
            }
        }
        next = page.next;
    }
    // The rows that are looked at may end before the one that tells.
    let mut next = Some(range.until).filter(|_| !awaited.is_empty());
    while let Some(from) = next {
        let page = tokio.block_on(table.page(from, seen.newest.plus_millis(1), PAGE_ROWS))?;
        let keys = page.rows.iter().map(|row| row_key(rollup, row));
        latest.extend(keys.map(|(start, key)| (key, start)));
        next = page.next;
    }
    for difference in awaited {
        let (start, key) = difference.row_key();
        match latest.get(&key).is_some_and(|latest| *latest > start) {
            true => report.add(difference),
            false => report.open += 1,
        }
    }
    report
        .differences
        .sort_by_key(|difference| difference.start);
    Ok(report)
}

/// The rows of a stretch, all of them.
async fn all_rows(
    scan: &mut Scan,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<Row>, QueryError> {
    let mut rows = Vec::new();
    let mut next = Some(from);
    while let Some(from) = next {
        let page = scan.page(from, until, PAGE_ROWS).await?;
        rows.extend(page.rows);
        next = page.next;
    }
    Ok(rows)
}

impl TableReport {
    /// What differs is what differed in two looks in the same way. Whether nothing has changed in between.
    fn settle(&mut self, earlier: &TableReport, later: &TableReport) -> bool {
        let is_cut = |table: &TableReport| table.differing > table.differences.len() as u64;
        if is_cut(earlier) || is_cut(later) {
            // There are too many to be told apart.
            self.differing = later.differing;
            self.differences.clone_from(&later.differences);
            return earlier.differing == later.differing;
        }
        let stays = |difference: &&RowDifference| earlier.differences.contains(difference);
        let settled: Vec<RowDifference> = later.differences.iter().filter(stays).cloned().collect();
        self.differing = settled.len() as u64;
        self.moving = later.differing - self.differing;
        self.differences = settled;
        earlier.differences == later.differences
    }

    fn add(&mut self, difference: RowDifference) {
        self.differing += 1;
        if self.differences.len() < MOST_DIFFERENCES {
            self.differences.push(difference);
        }
    }
}

#[cfg(test)]
mod tests;
