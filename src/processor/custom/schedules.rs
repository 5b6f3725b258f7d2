//! When processors are called, as Kafka Streams has it.
//!
//! ```text
//!   stream time    ──┼─────────┼─────────┼─────────┼──▶     multiples of the interval
//!   reaches            ●  first              ● ●              one call at each ●: the first time that
//!                      and those behind      once for two     is known, then each multiple passed
//!   wall clock     s────────┼────────┼────────┼───────▶       from the moment s of scheduling on
//! ```

use crate::time::Timestamp;
use crate::topology::plan::OperatorId;
use crate::topology::process::{PunctuationType, Schedule};

/// The schedules of a task.
#[derive(Default)]
pub(super) struct Schedules {
    all: Vec<Scheduled>,
    made: u64,
}

struct Scheduled {
    schedule: Schedule,
    operator: OperatorId,
    by: PunctuationType,
    every_ms: i64,
    due: Timestamp,
}

impl Schedules {
    /// Adds one. By stream time, it goes on behind the time that was `reached` at an earlier run,
    /// none: it is due as soon as any time is known. By the wall clock, it begins `now`.
    pub(super) fn add(
        &mut self,
        operator: OperatorId,
        by: PunctuationType,
        every_ms: i64,
        reached: Option<Timestamp>,
        now: Timestamp,
    ) -> Schedule {
        let schedule = Schedule(self.made);
        self.made += 1;
        let due = match by {
            PunctuationType::StreamTime => {
                reached.map_or(Timestamp::MIN, |time| next_multiple(time, every_ms))
            }
            PunctuationType::WallClockTime => now.plus_millis(every_ms),
        };
        self.all.push(Scheduled {
            schedule,
            operator,
            by,
            every_ms,
            due,
        });
        schedule
    }

    pub(super) fn cancel(&mut self, schedule: Schedule) {
        self.all.retain(|scheduled| scheduled.schedule != schedule);
    }

    /// The schedule that is due first at this time, and whose it is; it is due again later.
    pub(super) fn take_due(
        &mut self,
        by: PunctuationType,
        time: Timestamp,
    ) -> Option<(OperatorId, Schedule)> {
        let all = self.all.iter_mut();
        let due = all.filter(|scheduled| scheduled.by == by && scheduled.due <= time);
        let first = due.min_by_key(|scheduled| scheduled.due)?;
        first.due = match by {
            PunctuationType::StreamTime => next_multiple(time, first.every_ms),
            PunctuationType::WallClockTime => {
                let missed_ms =
                    time.0.saturating_sub(first.due.0) / first.every_ms * first.every_ms;
                let next = first.due.plus_millis(missed_ms);
                next.plus_millis(first.every_ms)
            }
        };
        Some((first.operator, first.schedule))
    }
}

/// The first multiple behind a time.
fn next_multiple(time: Timestamp, every_ms: i64) -> Timestamp {
    let multiple = time.0.div_euclid(every_ms).saturating_mul(every_ms);
    Timestamp(multiple).plus_millis(every_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PunctuationType::{StreamTime, WallClockTime};

    /// The times among these at which a schedule is due that was made by `begin`.
    fn calls(
        by: PunctuationType,
        reached: Option<i64>,
        now: i64,
        times: impl IntoIterator<Item = i64>,
    ) -> Vec<i64> {
        let mut schedules = Schedules::default();
        schedules.add(0, by, 10, reached.map(Timestamp), Timestamp(now));
        let mut called = Vec::new();
        for time in times {
            while schedules.take_due(by, Timestamp(time)).is_some() {
                called.push(time);
            }
        }
        called
    }

    #[test]
    fn stream_time_calls_at_once_and_then_at_each_multiple_once() {
        assert_eq!(calls(StreamTime, None, 0, 3..42), [3, 10, 20, 30, 40]);
        assert_eq!(
            calls(StreamTime, None, 0, [3, 4, 12, 35, 36, 40]),
            [3, 12, 35, 40]
        );
        assert_eq!(
            calls(StreamTime, None, 0, [-25, -21, -20, -3, 0]),
            [-25, -20, -3, 0]
        );
    }

    #[test]
    fn after_a_restart_stream_time_goes_on_where_it_was() {
        assert_eq!(calls(StreamTime, Some(15), 0, [15, 19, 20, 21]), [20]);
        assert_eq!(calls(StreamTime, Some(20), 0, [20, 29, 30]), [30]);
    }

    #[test]
    fn the_wall_clock_calls_from_the_moment_of_scheduling_and_once_for_what_was_missed() {
        assert_eq!(calls(WallClockTime, None, 3, 0..40), [13, 23, 33]);
        assert_eq!(
            calls(WallClockTime, None, 3, [12, 13, 41, 42, 43]),
            [13, 41, 43]
        );
    }

    #[test]
    fn a_cancelled_schedule_is_not_due_again_and_each_is_told_apart() {
        let mut schedules = Schedules::default();
        let now = Timestamp(0);
        let first = schedules.add(7, WallClockTime, 10, None, now);
        let second = schedules.add(8, WallClockTime, 5, None, now);
        let at =
            |schedules: &mut Schedules, time| schedules.take_due(WallClockTime, Timestamp(time));
        assert_eq!(at(&mut schedules, 10), Some((8, second)));
        assert_eq!(at(&mut schedules, 10), Some((7, first)));
        assert_eq!(at(&mut schedules, 10), None);
        schedules.cancel(second);
        assert_eq!(at(&mut schedules, 19), None);
        assert_eq!(at(&mut schedules, 20), Some((7, first)));
    }
}
