//! What a deduplicate is planned as.

use super::time::TimeSource;
use crate::expr::Evaluator;
use crate::topology::graph::{OnDuplicate, OnError, OnLate};
use crate::value::Slot;

/// Lets pass the first of equal rows, with its store.
#[derive(Debug)]
pub struct DeduplicatePlan {
    /// Where it is kept which have passed.
    pub store: usize,
    /// What tells rows from one another; empty: the record's key.
    pub by: Vec<Evaluator>,
    /// The field whose text must equal the record's key, when the input is trusted to be
    /// partitioned by it.
    pub partitioned_by: Option<Slot>,
    /// At most this far from one that has passed, a row is its duplicate, in milliseconds.
    pub within_ms: i64,
    /// So far behind stream time a row is judged, in milliseconds.
    pub grace_ms: i64,
    /// By what time they are judged.
    pub time: TimeSource,
    /// What happens to duplicates.
    pub on_duplicate: OnDuplicate,
    /// What happens to rows that are too old to be judged.
    pub on_late: OnLate,
    /// When an expression fails, or a part of the key is missing.
    pub on_error: OnError,
}
