//! Session windows: as long as records of a key follow one another.
//!
//! ```text
//!   gap 30 s          x   x    x   |<- 30 s ->|                 x  x
//!                     |-- session -|                            |--|
//! ```
//!
//! A session is `[start, end]`, from its first record to its last. A record reaches the sessions
//! that begin at most a gap after it and end at most a gap before it, and joins them into one.

use crate::time::Timestamp;

/// Windows that last as long as records come at most a gap apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The longest time between two records of a session, in milliseconds.
    pub gap_ms: i64,
    /// How long after its end and a gap a session takes records, in milliseconds of stream time.
    pub grace_ms: i64,
}

impl Session {
    /// Whether a session that ends there takes no more records at this stream time.
    pub fn is_closed(&self, end: Timestamp, stream_time: Timestamp) -> bool {
        end < self.open_from(stream_time)
    }

    /// All sessions that end before this are closed at this stream time.
    pub fn open_from(&self, stream_time: Timestamp) -> Timestamp {
        match stream_time {
            Timestamp::MIN => Timestamp::MIN,
            time => time.plus_millis(-self.grace_ms - self.gap_ms),
        }
    }
}
