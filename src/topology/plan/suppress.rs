//! What a suppress is planned as.

use super::{OperatorId, WantedFields};
use crate::topology::graph::{Aggregate, Suppress, Until, WhenFull};
use crate::value::Slot;
use crate::window::Windows;

/// Rows that are held back, with their store.
#[derive(Debug)]
pub struct SuppressPlan {
    /// Where rows are kept.
    pub store: usize,
    /// What tells one row from another.
    pub identity: Identity,
    /// When a row leaves.
    pub release: Release,
    /// How much may be held back.
    pub bounds: Bounds,
    /// The fields that are kept of a row, by their names.
    pub held: Vec<(String, Slot)>,
    /// What is read of a row that leaves.
    pub wanted: WantedFields,
    /// Whether a row that leaves may take the place of one that has left.
    pub replaces: bool,
}

/// What tells one row from another that is held back.
#[derive(Debug)]
pub enum Identity {
    /// Of a result: the fields of the aggregate's key, and the start and the end of its window, if it
    /// has any.
    Result {
        /// The fields of the key.
        by: Vec<Slot>,
        /// Start and end.
        window: Option<(Slot, Slot)>,
    },
    /// Of a row of a table: its key.
    Key,
}

/// When a row leaves that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// When its window is closed, by the time of the aggregate and of the rows that have come.
    Close {
        /// The aggregate.
        aggregate: OperatorId,
        /// So long after its end a window is closed, in milliseconds.
        after_end_ms: i64,
        /// How long its windows are at most, in milliseconds; none: that is not known.
        longest_ms: Option<i64>,
    },
    /// When stream time is so far beyond the time of the first update that was held back.
    TimeLimit {
        /// In milliseconds.
        ms: i64,
    },
}

/// How much may be held back in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// So many rows; none: any number.
    pub max_rows: Option<u64>,
    /// So many bytes; none: any number.
    pub max_bytes: Option<u64>,
    /// What happens when there are more.
    pub when_full: WhenFull,
}

impl Bounds {
    pub(super) fn of(suppress: &Suppress) -> Bounds {
        Bounds {
            max_rows: suppress.max_rows,
            max_bytes: suppress.max_bytes,
            when_full: suppress.reaction(),
        }
    }

    /// Whether anything may be held back.
    pub fn is_unbounded(&self) -> bool {
        self.max_rows.is_none() && self.max_bytes.is_none()
    }
}

/// So long after its end a window is closed for those who hold back its result. Where the end lies in
/// the window, as in a sliding or session one, that is a millisecond before it takes no more records,
/// as in Kafka Streams.
pub(super) fn closes_after_end_ms(windows: &Windows) -> i64 {
    match windows {
        Windows::Unbounded => i64::MAX,
        Windows::Tumbling(windows) => windows.grace_ms,
        Windows::Calendar(windows) => windows.grace_ms,
        Windows::Hopping(windows) => windows.grace_ms,
        Windows::Sliding(windows) => windows.grace_ms,
        Windows::Session(windows) => windows.gap_ms.saturating_add(windows.grace_ms),
    }
}

/// Whether a row that leaves may take the place of one that has left. Of a window that ends with the
/// first millisecond behind it, the one result is the last.
pub(super) fn replaces(suppress: &Suppress, aggregate: Option<&Aggregate>) -> bool {
    let window = aggregate.and_then(|aggregate| aggregate.window);
    match suppress.until {
        Until::TimeLimit { .. } => true,
        Until::Close => !window.is_some_and(|window| window.kind.ends_behind()),
    }
}
