//! Hopping windows: of one length, beginning at regular distances.
//!
//! ```text
//!   size 60 s, advance 20 s
//!   |---------- 0 ----------|
//!           |--------- 20 ----------|
//!                   |--------- 40 ----------|
//!   |  pane |  pane |  pane |  pane |  pane |
//!   0      20      40      60      80     100
//! ```
//!
//! Windows are `[start, start + size)`; starts are multiples of the advance counted from the epoch,
//! and windows that begin before the epoch take records from before it only. A pane is the longest
//! stretch of time that no window begins or ends in: its records belong to the same windows.

use super::{Place, Placed, Tumbling};
use crate::time::Timestamp;

/// Windows of one length that begin at regular distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hopping {
    /// Length in milliseconds, above 0.
    pub size_ms: i64,
    /// From the start of one window to that of the next, in milliseconds; above 0 and at most the
    /// size.
    pub advance_ms: i64,
    /// How long after its end a window takes records, in milliseconds of stream time.
    pub grace_ms: i64,
    panes: Tumbling,
}

impl Hopping {
    /// Windows of that size, advance and grace, in milliseconds.
    pub fn new(size_ms: i64, advance_ms: i64, grace_ms: i64) -> Hopping {
        let panes = Tumbling {
            size_ms: greatest_common_divisor(size_ms, advance_ms),
            grace_ms,
        };
        Hopping {
            size_ms,
            advance_ms,
            grace_ms,
            panes,
        }
    }

    /// The panes, as windows of their own.
    pub fn panes(&self) -> Tumbling {
        self.panes
    }

    /// The starts of windows, as windows of their own.
    fn grid(&self) -> Tumbling {
        Tumbling {
            size_ms: self.advance_ms,
            grace_ms: 0,
        }
    }

    /// The start of the first window that begins then or later.
    pub fn first_start_from(&self, time: Timestamp) -> Timestamp {
        match time {
            Timestamp::MIN => time,
            _ => self.grid().start_of(time.plus_millis(self.advance_ms - 1)),
        }
    }

    /// The start of the last window that holds the pane which begins there.
    pub fn last_start_over(&self, pane: Timestamp) -> Timestamp {
        self.grid().start_of(pane)
    }

    /// The starts of the windows that hold the pane which begins there, first and last.
    pub fn starts_over(&self, pane: Timestamp) -> (Timestamp, Timestamp) {
        let last = self.last_start_over(pane);
        let earliest = pane.plus_millis(self.panes.size_ms - self.size_ms);
        // The first multiple of the advance at which a window still reaches over the pane's end.
        let first = self
            .grid()
            .start_of(earliest.plus_millis(self.advance_ms - 1));
        match pane < Timestamp(0) {
            true => (first, last),
            false => (first.max(Timestamp(0)), last),
        }
    }

    /// The pane of a record, the first of its windows that is open, and how many are closed.
    pub(super) fn place(&self, time: Timestamp, stream_time: Timestamp) -> Placed {
        let pane = self.panes.start_of(time);
        let (first, last) = self.starts_over(pane);
        let from = first.max(self.open_from(stream_time));
        let closed_until = from.min(last.plus_millis(self.advance_ms));
        let place = (from <= last).then_some(Place { at: pane, from });
        Placed {
            place,
            late: ((closed_until.0 - first.0) / self.advance_ms) as u64,
        }
    }

    /// The first point in time behind the window that begins at `start`.
    pub fn end_of(&self, start: Timestamp) -> Timestamp {
        start.plus_millis(self.size_ms)
    }

    /// Up to which time the window that begins at `start` takes records: to its end, or, if it
    /// begins before the epoch, to that.
    pub fn takes_until(&self, start: Timestamp) -> Timestamp {
        match start < Timestamp(0) {
            true => self.end_of(start).min(Timestamp(0)),
            false => self.end_of(start),
        }
    }

    /// All windows that begin before this are closed at this stream time.
    pub fn open_from(&self, stream_time: Timestamp) -> Timestamp {
        if stream_time == Timestamp::MIN {
            return Timestamp::MIN;
        }
        let reached = stream_time.plus_millis(-self.size_ms - self.grace_ms);
        let newest_closed = self.grid().start_of(reached);
        newest_closed.plus_millis(self.advance_ms)
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The starts of the windows that hold a point in time, by trying all.
    fn naive(windows: &Hopping, time: i64) -> Vec<i64> {
        (-300..300)
            .map(|n| n * windows.advance_ms)
            .filter(|start| *start <= time && time < start + windows.size_ms)
            .filter(|start| *start >= 0 || time < 0)
            .collect()
    }

    proptest! {
        #[test]
        fn a_pane_lies_in_the_windows_that_hold_each_of_its_points(
            size_ms in 1i64..60, advance in 1i64..60, time in -200i64..200,
        ) {
            let windows = Hopping::new(size_ms, advance.min(size_ms), 0);
            let pane = windows.panes().start_of(Timestamp(time));
            let (first, last) = windows.starts_over(pane);
            let starts: Vec<i64> = (0..)
                .map(|n| first.0 + n * windows.advance_ms)
                .take_while(|start| *start <= last.0)
                .collect();
            prop_assert_eq!(starts, naive(&windows, time));
        }

        #[test]
        fn open_from_parts_the_closed_windows_from_the_open_ones(
            size_ms in 1i64..50, advance in 1i64..50, grace_ms in 0i64..80,
            stream_time in -300i64..300, n in -20i64..20,
        ) {
            let windows = Hopping::new(size_ms, advance.min(size_ms), grace_ms);
            let start = n * windows.advance_ms;
            let is_closed = start + size_ms + grace_ms <= stream_time;
            let open_from = windows.open_from(Timestamp(stream_time));
            prop_assert_eq!(is_closed, start < open_from.0);
        }
    }
}
