//! Nodes that fold the records of a key and window.

use std::fmt;

use super::aggregation::Aggregation;
use super::duration::Millis;
use super::graph::{NodeName, OnError, flat_name};
use crate::expr::Expression;
use crate::value::FieldPath;
use crate::window::{Calendar, Period, Zone};

/// Folds records by key and window. Its results have the fields of the key (see
/// [`Aggregate::key_fields`]), with windows [`WINDOW_START`] and [`WINDOW_END`], and those of `set`.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The input.
    pub from: NodeName,
    /// The fields of the key, at least one.
    pub by: Vec<FieldPath>,
    /// The windows; none: one result per key, over all time.
    pub window: Option<Window>,
    /// When results leave.
    pub emit: Emit,
    /// What happens to a record whose window is closed.
    pub on_late: OnLate,
    /// Result field and how it is computed.
    pub set: Vec<(FieldPath, Aggregation)>,
    /// Must give a bool; sees the fields of `set`. A result for which it is true is deleted: the
    /// next record of its key and window begins a new one.
    pub delete_if: Option<Expression>,
    /// When an expression fails, or a key field is missing.
    pub on_error: OnError,
}

/// How time is cut, and for how long a window matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The windows.
    pub kind: WindowKind,
    /// How long after its end a window still takes records, in milliseconds of stream time.
    pub grace_ms: i64,
    /// When the partition is caught up and silent for this long, stream time follows the wall
    /// clock.
    pub idle_close_ms: Option<i64>,
    /// How long a window stays in the store after its start; at least length + grace.
    pub retention_ms: Option<i64>,
}

/// How time is cut; lengths in milliseconds, above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Windows `[n·size, (n+1)·size)` since the epoch.
    Tumbling {
        /// Their length.
        size_ms: i64,
    },
    /// Days, weeks, months or years of a time zone, one after the other.
    Calendar {
        /// Their length.
        period: Period,
        /// The zone.
        zone: Zone,
    },
    /// Windows `[n·advance, n·advance + size)` since the epoch.
    Hopping {
        /// Their length.
        size_ms: i64,
        /// From the start of one to that of the next, at most their length.
        advance_ms: i64,
    },
    /// Windows `[t, t + difference]` that end with a record, or begin right after one.
    Sliding {
        /// The longest time between two records of a window.
        difference_ms: i64,
    },
    /// Windows from a record to the last that follows it, each at most the gap after another.
    Session {
        /// The longest time between two records that follow one another.
        gap_ms: i64,
    },
}

/// When results leave an aggregate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emit {
    /// With every commit in which they changed.
    #[default]
    Updates,
    /// Once, when the window closes.
    Close,
}

/// What happens to late records. They are always counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLate {
    /// Nothing more.
    #[default]
    Drop,
    /// To the dead-letter topic.
    DeadLetter,
}

/// The field of an aggregate's results that holds the start of the window, inclusive.
pub const WINDOW_START: &str = "window_start";

/// The field of an aggregate's results that holds the end of the window: the first millisecond
/// behind a tumbling or hopping one, the last one in a sliding or session one.
pub const WINDOW_END: &str = "window_end";

impl WindowKind {
    /// The word for it in topology files.
    pub fn word(&self) -> &'static str {
        match self {
            WindowKind::Tumbling { .. } | WindowKind::Calendar { .. } => "tumbling",
            WindowKind::Hopping { .. } => "hopping",
            WindowKind::Sliding { .. } => "sliding",
            WindowKind::Session { .. } => "session",
        }
    }

    /// Whether the end of a window is the first millisecond behind it, and not the last one in it.
    pub fn ends_behind(&self) -> bool {
        match self {
            WindowKind::Tumbling { .. }
            | WindowKind::Calendar { .. }
            | WindowKind::Hopping { .. } => true,
            WindowKind::Sliding { .. } | WindowKind::Session { .. } => false,
        }
    }

    /// The length that is written behind that word, in milliseconds: size, difference or gap; of
    /// calendar windows, that of the longest.
    pub fn length_ms(&self) -> i64 {
        match *self {
            WindowKind::Tumbling { size_ms } | WindowKind::Hopping { size_ms, .. } => size_ms,
            WindowKind::Calendar { period, zone } => Calendar::new(period, zone, 0).longest_ms(),
            WindowKind::Sliding { difference_ms } => difference_ms,
            WindowKind::Session { gap_ms } => gap_ms,
        }
    }
}

/// As it is written: `hopping 1h, advance 5m`, `tumbling 1d, time zone Europe/Berlin`.
impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let WindowKind::Calendar { period, zone } = self {
            return write!(f, "{} {period}, time zone {zone}", self.word());
        }
        write!(f, "{} {}", self.word(), Millis(self.length_ms()))?;
        match self {
            WindowKind::Hopping { advance_ms, .. } => {
                write!(f, ", advance {}", Millis(*advance_ms))
            }
            _ => Ok(()),
        }
    }
}

impl Aggregate {
    /// The fields of the key as the results carry them: the path with dots replaced by `_`, so that
    /// `meta.domain` becomes `meta_domain`. In the order of `by`.
    pub fn key_fields(&self) -> impl Iterator<Item = FieldPath> {
        self.by.iter().map(flat_name)
    }
}
