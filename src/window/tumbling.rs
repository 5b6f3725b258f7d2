//! Tumbling windows: one after the other.
//!
//! ```text
//!   size 60 s, grace 30 s                    closed when stream time
//!   |----- window -----|··· grace ···|   <-- reaches this point
//!   0                 60            90
//! ```
//!
//! Windows are `[start, start + size)`; starts are multiples of the size counted from the epoch.
//! A window is closed when `end + grace <= stream time`. Source of the rules: Kafka Streams 4.3.

use crate::time::Timestamp;

/// Tumbling windows: every point in time lies in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    /// Length in milliseconds, above 0.
    pub size_ms: i64,
    /// How long after its end a window takes records, in milliseconds of stream time.
    pub grace_ms: i64,
}

impl Tumbling {
    /// The start of the window of a point in time. Times before the epoch have windows too.
    pub fn start_of(&self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.div_euclid(self.size_ms).saturating_mul(self.size_ms))
    }

    /// The first point in time behind the window that begins at `start`.
    pub fn end_of(&self, start: Timestamp) -> Timestamp {
        start.plus_millis(self.size_ms)
    }

    /// Whether the window that begins at `start` takes no more records at this stream time.
    pub fn is_closed(&self, start: Timestamp, stream_time: Timestamp) -> bool {
        self.end_of(start).plus_millis(self.grace_ms) <= stream_time
    }

    /// All windows that begin before this are closed at this stream time.
    pub fn open_from(&self, stream_time: Timestamp) -> Timestamp {
        if stream_time == Timestamp::MIN {
            return Timestamp::MIN;
        }
        let newest_closed = self.start_of(stream_time.plus_millis(-self.size_ms - self.grace_ms));
        newest_closed.plus_millis(self.size_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_are_half_open_and_aligned_to_the_epoch() {
        let minutes = Tumbling {
            size_ms: 60_000,
            grace_ms: 0,
        };
        for (time, start) in [
            (0, 0),
            (59_999, 0),
            (60_000, 60_000),
            (-1, -60_000),
            (-60_000, -60_000),
        ] {
            assert_eq!(
                minutes.start_of(Timestamp(time)),
                Timestamp(start),
                "{time}"
            );
        }
    }

    #[test]
    fn a_window_closes_when_stream_time_reaches_its_end_and_the_grace() {
        let windows = Tumbling {
            size_ms: 10,
            grace_ms: 5,
        };
        assert!(!windows.is_closed(Timestamp(0), Timestamp(14)));
        assert!(windows.is_closed(Timestamp(0), Timestamp(15)));
        assert!(!windows.is_closed(Timestamp(0), Timestamp::MIN));
    }

    proptest! {
        #[test]
        fn open_from_parts_the_closed_windows_from_the_open_ones(
            size_ms in 1i64..50, grace_ms in 0i64..80, stream_time in -300i64..300, n in -20i64..20,
        ) {
            let windows = Tumbling { size_ms, grace_ms };
            let stream_time = Timestamp(stream_time);
            let start = Timestamp(n * size_ms);
            prop_assert_eq!(
                windows.is_closed(start, stream_time),
                start < windows.open_from(stream_time)
            );
        }
    }
}
