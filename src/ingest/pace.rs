//! How fast events are put into the log: as they happened, faster, or as fast as possible.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::time::Timestamp;

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Without waiting.
    Fastest,
    /// This many times as fast as the events happened; 1 is their true pace.
    Times(f64),
}

/// Says how long to wait before each event. Keeps to the plan: after a delay it catches up.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    pace: Pace,
    /// Wall clock, in milliseconds, and time of the first event, in nanoseconds.
    first: Option<(i64, i64)>,
}

/// Between two looks at the shutdown.
const NAP: Duration = Duration::from_millis(50);

impl Pacer {
    /// A pacer that waits for its first event.
    pub fn new(pace: Pace) -> Pacer {
        Pacer { pace, first: None }
    }

    /// How long to wait at the wall-clock time `now` before an event that happened at `event_ns`
    /// (nanoseconds, since whenever; it only matters how they differ). An event that lies before
    /// an earlier one does not wait.
    pub fn wait(&mut self, now: Timestamp, event_ns: i64) -> Duration {
        let Pace::Times(times) = self.pace else {
            return Duration::ZERO;
        };
        let (begin_ms, first_ns) = *self.first.get_or_insert((now.millis(), event_ns));
        let due_ms = event_ns.saturating_sub(first_ns) as f64 / 1e6 / times;
        let wait_ms = due_ms - now.millis().saturating_sub(begin_ms) as f64;
        // Also false for what is not a number.
        if wait_ms > 0.0 {
            Duration::from_secs_f64((wait_ms / 1e3).min(1e9))
        } else {
            Duration::ZERO
        }
    }
}

/// Sleeps, but wakes for the shutdown. False when that has come.
pub fn nap(mut time: Duration, shutdown: &CancellationToken) -> bool {
    while !time.is_zero() && !shutdown.is_cancelled() {
        let slice = time.min(NAP);
        std::thread::sleep(slice);
        time -= slice;
    }
    !shutdown.is_cancelled()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wall clock and event time in milliseconds; expected wait in milliseconds.
    #[track_caller]
    fn check(pace: Pace, steps: &[(i64, i64, u128)]) {
        let mut pacer = Pacer::new(pace);
        for (now, event, expected) in steps {
            let wait = pacer.wait(Timestamp(*now), event * 1_000_000);
            assert_eq!(wait.as_millis(), *expected, "{pace:?} {now} {event}");
        }
    }

    #[test]
    fn at_true_pace_the_events_lie_as_far_apart_as_they_did() {
        check(
            Pace::Times(1.0),
            &[(1000, 50, 0), (1000, 80, 30), (1030, 130, 50)],
        );
    }

    #[test]
    fn ten_times_as_fast_waits_a_tenth() {
        check(Pace::Times(10.0), &[(1000, 0, 0), (1000, 500, 50)]);
    }

    #[test]
    fn after_a_delay_it_catches_up_and_what_lies_behind_does_not_wait() {
        check(
            Pace::Times(1.0),
            &[
                (1000, 0, 0),
                (1900, 100, 0),
                (1900, 1000, 100),
                (1900, 20, 0),
            ],
        );
    }

    #[test]
    fn the_fastest_pace_never_waits() {
        check(Pace::Fastest, &[(0, 0, 0), (0, i64::MAX / 1_000_000, 0)]);
    }

    #[test]
    fn a_pace_of_nothing_and_absurd_times_do_not_panic() {
        for times in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut pacer = Pacer::new(Pace::Times(times));
            pacer.wait(Timestamp(i64::MIN), i64::MIN);
            pacer.wait(Timestamp(i64::MAX), i64::MAX);
        }
    }

    #[test]
    fn a_nap_ends_at_the_shutdown() {
        let shutdown = CancellationToken::new();
        assert!(nap(Duration::from_millis(1), &shutdown));
        shutdown.cancel();
        assert!(!nap(Duration::from_secs(3600), &shutdown));
    }
}
