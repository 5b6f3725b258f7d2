//! Which windows a record belongs to, and when a window is closed.
//!
//! | windows | a record belongs to | their ends |
//! | --- | --- | --- |
//! | [`Tumbling`] | one | excluded |
//! | [`Calendar`] | one | excluded |
//! | [`Hopping`] | size ÷ advance of them | excluded |
//! | [`Sliding`] | those that end with it, or begin right after a record before it | included |
//! | [`Session`] | one, which grows with it | included |
//!
//! Source of the rules: Kafka Streams 4.3.

mod calendar;
mod hopping;
mod session;
mod sliding;
mod tumbling;

pub use calendar::{Calendar, Period, Zone};
pub use hopping::Hopping;
pub use session::Session;
pub use sliding::Sliding;
pub use tumbling::Tumbling;

use crate::time::Timestamp;

/// How time is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Not at all: one result per key, over all time. Nothing is ever late.
    Unbounded,
    /// One after the other.
    Tumbling(Tumbling),
    /// One after the other, as the calendar of a time zone has them.
    Calendar(Calendar),
    /// Of one length, beginning at regular distances.
    Hopping(Hopping),
    /// Of one length, as the records lie.
    Sliding(Sliding),
    /// As long as records follow one another.
    Session(Session),
}

/// Where a record is folded in; what the two times are depends on the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Tumbling, calendar: the start of the window. Hopping: the start of the pane. Sliding, session: the
    /// event time. Unbounded: 0.
    pub at: Timestamp,
    /// Tumbling, calendar, hopping: the start of the first window that still takes the record. Sliding,
    /// session: the stream time by which the record is judged. Unbounded: 0.
    pub from: Timestamp,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it is folded in; none when all its windows are closed.
    pub place: Option<Place>,
    /// How many windows it came too late for.
    pub late: u64,
}

impl Windows {
    /// Where a record of that event time is folded in at that stream time, which it has already
    /// advanced. Which sessions and sliding windows a record meets is known only where they are
    /// kept, so here none is late for those.
    pub fn place(&self, time: Timestamp, stream_time: Timestamp) -> Placed {
        let at = |at, from| Placed {
            place: Some(Place { at, from }),
            late: 0,
        };
        let in_window = |start, is_closed| match is_closed {
            false => at(start, start),
            true => Placed {
                place: None,
                late: 1,
            },
        };
        match self {
            Windows::Unbounded => at(Timestamp(0), Timestamp(0)),
            Windows::Tumbling(windows) => {
                let start = windows.start_of(time);
                in_window(start, windows.is_closed(start, stream_time))
            }
            Windows::Calendar(windows) => {
                let start = windows.start_of(time);
                in_window(start, windows.is_closed(start, stream_time))
            }
            Windows::Hopping(windows) => windows.place(time, stream_time),
            Windows::Sliding(_) | Windows::Session(_) => at(time, stream_time),
        }
    }

    /// How long a window is at most, in milliseconds; none: as long as records follow one another.
    pub fn longest_ms(&self) -> Option<i64> {
        match self {
            Windows::Unbounded | Windows::Session(_) => None,
            Windows::Tumbling(windows) => Some(windows.size_ms),
            Windows::Calendar(windows) => Some(windows.longest_ms()),
            Windows::Hopping(windows) => Some(windows.size_ms),
            Windows::Sliding(windows) => Some(windows.difference_ms),
        }
    }

    /// Whether a record without a value counts as a record.
    pub fn take_null_values(&self) -> bool {
        match self {
            Windows::Unbounded | Windows::Sliding(_) => false,
            Windows::Tumbling(_)
            | Windows::Calendar(_)
            | Windows::Hopping(_)
            | Windows::Session(_) => true,
        }
    }

    /// For how long after its start something of a window may be needed, in milliseconds: its length and
    /// grace.
    pub fn least_retention_ms(&self) -> i64 {
        let (length_ms, grace_ms) = match self {
            Windows::Unbounded => return i64::MAX,
            Windows::Tumbling(windows) => (windows.size_ms, windows.grace_ms),
            Windows::Calendar(windows) => (windows.longest_ms(), windows.grace_ms),
            Windows::Hopping(windows) => (windows.size_ms, windows.grace_ms),
            // The oldest record that is in an open window is a difference older than the grace, and looks
            // for windows that begin up to two differences before it.
            Windows::Sliding(windows) => {
                (windows.difference_ms.saturating_mul(3), windows.grace_ms)
            }
            Windows::Session(windows) => (windows.gap_ms, windows.grace_ms),
        };
        length_ms.saturating_add(grace_ms)
    }

    /// What begins before this is past its retention at this stream time; of sessions, what ends before
    /// it. On a grid the age of a window is counted from the start of the newest one, as in Kafka Streams.
    pub fn kept_from(&self, stream_time: Timestamp, retention_ms: i64) -> Timestamp {
        let newest = match self {
            _ if stream_time == Timestamp::MIN => return Timestamp::MIN,
            Windows::Unbounded => return Timestamp::MIN,
            Windows::Tumbling(windows) => windows.start_of(stream_time),
            Windows::Calendar(windows) => windows.start_of(stream_time),
            Windows::Hopping(windows) => windows.last_start_over(stream_time),
            Windows::Sliding(_) | Windows::Session(_) => stream_time,
        };
        newest.plus_millis(-retention_ms)
    }

    /// All windows that begin before this are closed at this stream time; of sessions, all that
    /// end before it.
    pub fn open_from(&self, stream_time: Timestamp) -> Timestamp {
        match self {
            Windows::Unbounded => Timestamp::MIN,
            Windows::Tumbling(windows) => windows.open_from(stream_time),
            Windows::Calendar(windows) => windows.open_from(stream_time),
            Windows::Hopping(windows) => windows.open_from(stream_time),
            Windows::Sliding(windows) => windows.open_from(stream_time),
            Windows::Session(windows) => windows.open_from(stream_time),
        }
    }
}
