//! Which events a topic can be trusted to take, when they are not written in transactions.
//!
//! Kafka refuses batches: what was sent together with a refused event is lost with it. So an event
//! that its topic might refuse is sent by itself, until the topic has taken one like it. That costs
//! a round trip to the log each time, but only of events from the future, and of those without a
//! key.

use crate::broker::RecordMark;
use crate::time::{Clock, Timestamp};

/// Every topic takes times that are so far ahead of its clock, in milliseconds: the usual bound is an
/// hour.
const SURELY_TAKEN_MS: i64 = 10 * 60 * 1_000;

/// Every topic takes records of so many bytes. Of larger ones none tells of the next: a topic judges
/// what is left of them when they are compressed.
const SURELY_TAKEN_BYTES: usize = 1_000_000;

/// A topic that has taken a time so far ahead has no bound, in milliseconds.
const BOUNDLESS_MS: i64 = 24 * 3_600 * 1_000;

/// What one topic is known to take.
#[derive(Debug)]
pub(super) struct Trust {
    /// Times up to so far ahead of the clock, in milliseconds.
    ahead_ms: i64,
    /// Events without a key, which a compacted topic refuses.
    without_key: bool,
    /// The wall-clock time, or an earlier one.
    now: Timestamp,
}

impl Default for Trust {
    fn default() -> Trust {
        Trust {
            ahead_ms: SURELY_TAKEN_MS,
            without_key: false,
            now: Timestamp(0),
        }
    }
}

/// Whether every topic takes so many bytes.
pub(super) fn is_small(bytes: usize) -> bool {
    bytes <= SURELY_TAKEN_BYTES
}

impl Trust {
    /// Whether the topic is known to take such an event of so many bytes. Looks at the clock only for
    /// one that is later than those before.
    pub(super) fn covers(&mut self, mark: RecordMark, bytes: usize, clock: &dyn Clock) -> bool {
        let has_known_key = mark.has_key || self.without_key;
        is_small(bytes)
            && has_known_key
            && (self.covers_time(mark.timestamp) || {
                self.now = clock.now();
                self.covers_time(mark.timestamp)
            })
    }

    fn covers_time(&self, timestamp: Timestamp) -> bool {
        timestamp <= self.now.plus_millis(self.ahead_ms)
    }

    /// The topic has taken such an event.
    pub(super) fn taken(&mut self, mark: RecordMark, clock: &dyn Clock) {
        self.without_key |= !mark.has_key;
        self.now = clock.now();
        let ahead_ms = mark.timestamp.0.saturating_sub(self.now.0);
        self.ahead_ms = match ahead_ms >= BOUNDLESS_MS {
            true => i64::MAX,
            false => self.ahead_ms.max(ahead_ms),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const HOUR_MS: i64 = 3_600_000;

    fn mark(timestamp_ms: i64, has_key: bool) -> RecordMark {
        RecordMark {
            timestamp: Timestamp(timestamp_ms),
            has_key,
        }
    }

    #[test]
    fn what_is_ahead_of_the_clock_is_covered_once_the_topic_has_taken_it() {
        let clock = ManualClock::new(Timestamp(1_000 * HOUR_MS));
        let mut trust = Trust::default();
        let ahead = |ms: i64| mark(1_000 * HOUR_MS + ms, true);
        let check = |ms: i64, expected: bool, trust: &mut Trust| {
            assert_eq!(
                trust.covers(ahead(ms), 1, &clock),
                expected,
                "{ms} ms ahead"
            );
        };
        check(-HOUR_MS, true, &mut trust);
        check(SURELY_TAKEN_MS, true, &mut trust);
        check(SURELY_TAKEN_MS + 1, false, &mut trust);
        trust.taken(ahead(HOUR_MS), &clock);
        check(HOUR_MS, true, &mut trust);
        check(HOUR_MS + 1, false, &mut trust);
        trust.taken(ahead(BOUNDLESS_MS), &clock);
        check(10_000 * HOUR_MS, true, &mut trust);
    }

    #[test]
    fn the_clock_moves_on() {
        let clock = ManualClock::new(Timestamp(0));
        let mut trust = Trust::default();
        assert!(!trust.covers(mark(HOUR_MS, true), 1, &clock));
        clock.advance_millis(HOUR_MS);
        assert!(trust.covers(mark(HOUR_MS, true), 1, &clock));
    }

    #[test]
    fn events_without_a_key_are_covered_once_the_topic_has_taken_one() {
        let (mut trust, clock) = (Trust::default(), ManualClock::default());
        assert!(!trust.covers(mark(0, false), 1, &clock));
        assert!(trust.covers(mark(0, true), 1, &clock));
        trust.taken(mark(0, false), &clock);
        assert!(trust.covers(mark(0, false), 1, &clock));
    }

    #[test]
    fn a_large_event_is_never_covered() {
        let (mut trust, clock) = (Trust::default(), ManualClock::default());
        assert!(trust.covers(mark(0, true), SURELY_TAKEN_BYTES, &clock));
        trust.taken(mark(0, true), &clock);
        assert!(!trust.covers(mark(0, true), SURELY_TAKEN_BYTES + 1, &clock));
    }
}
