//! Sliding windows: of one length, as the records lie.
//!
//! ```text
//!   difference 10 s         x a        x b
//!        |----- ends with a |
//!                   |----- ends with b |
//!                            | begins right after a -----|
//! ```
//!
//! A window is `[start, start + difference]`, both included. There is one that ends with each
//! record, and one that begins right after each record, if another one lies in it.

use crate::time::Timestamp;

/// Windows of one length, as the records lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// The longest time between two records of a window, in milliseconds.
    pub difference_ms: i64,
    /// How long after its end a window takes records, in milliseconds of stream time.
    pub grace_ms: i64,
}

impl Sliding {
    /// The last point in time of the window that begins at `start`.
    pub fn end_of(&self, start: Timestamp) -> Timestamp {
        start.plus_millis(self.difference_ms)
    }

    /// Whether the window that begins at `start` takes no more records at this stream time.
    pub fn is_closed(&self, start: Timestamp, stream_time: Timestamp) -> bool {
        start < self.open_from(stream_time)
    }

    /// All windows that begin before this are closed at this stream time.
    pub fn open_from(&self, stream_time: Timestamp) -> Timestamp {
        match stream_time {
            Timestamp::MIN => Timestamp::MIN,
            // The end lies in the window, so it takes records for a millisecond longer.
            time => time.plus_millis(-self.grace_ms - self.difference_ms),
        }
    }
}
