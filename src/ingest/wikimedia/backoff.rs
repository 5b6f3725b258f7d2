//! How long to wait before the next connection.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A server that asks for more patience than this is asked again after this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// With a floor below this, the doubling begins here: a server that brings nothing is not asked
/// again at once.
const FIRST_STEP: Duration = Duration::from_millis(100);

/// The bounds of the waiting time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffSettings {
    /// Never shorter.
    pub floor: Duration,
    /// Never longer, unless the server asks for it. At least the floor.
    pub ceiling: Duration,
}

/// What the last connection says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// It has brought events: such ends are normal, every few minutes.
    Useful,
    /// It has brought nothing.
    Useless,
    /// The server has refused it and will go on to do so for a while.
    Refused,
}

/// Doubles the waiting time with each useless connection, with some chance in it, so that many
/// clients that were cut off together do not come back together.
#[derive(Debug)]
pub struct Backoff {
    settings: BackoffSettings,
    useless: u32,
    chance: StdRng,
}

impl Default for BackoffSettings {
    fn default() -> BackoffSettings {
        BackoffSettings {
            floor: Duration::from_secs(1),
            ceiling: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// Waits within these bounds; `seed` should differ between processes.
    pub fn new(settings: BackoffSettings, seed: u64) -> Backoff {
        Backoff {
            settings,
            useless: 0,
            chance: StdRng::seed_from_u64(seed),
        }
    }

    /// The time to wait now. `retry_after` is what the server asks for.
    pub fn wait(&mut self, lesson: Lesson, retry_after: Option<Duration>) -> Duration {
        let doubled = match lesson {
            Lesson::Useful => {
                self.useless = 0;
                self.settings.floor
            }
            Lesson::Useless => {
                let factor = 1u32.checked_shl(self.useless).unwrap_or(u32::MAX);
                self.useless = self.useless.saturating_add(1);
                self.settings.floor.max(FIRST_STEP).saturating_mul(factor)
            }
            Lesson::Refused => self.settings.ceiling,
        };
        // Up to half as much again, within the bounds.
        let base = doubled.min(self.settings.ceiling.mul_f64(2.0 / 3.0));
        let wait = base.mul_f64(self.chance.random_range(1.0..1.5));
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        wait.max(self.settings.floor)
            .min(self.settings.ceiling)
            .max(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(waits: &[Duration]) -> Vec<u64> {
        waits.iter().map(Duration::as_secs).collect()
    }

    #[test]
    fn the_wait_doubles_up_to_the_ceiling_and_falls_back_after_a_useful_connection() {
        let mut backoff = Backoff::new(BackoffSettings::default(), 1);
        for (exponent, _) in (0..6).zip(0..) {
            let base = Duration::from_secs(1 << exponent).min(Duration::from_secs(40));
            let wait = backoff.wait(Lesson::Useless, None);
            assert!(
                wait >= base && wait <= base.mul_f64(1.5),
                "{exponent}: {wait:?}"
            );
        }
        for _ in 0..100 {
            let wait = backoff.wait(Lesson::Useless, None);
            assert!((40..=60).contains(&wait.as_secs()), "{wait:?}");
        }
        let wait = backoff.wait(Lesson::Useful, None);
        assert!(
            wait >= Duration::from_secs(1) && wait <= Duration::from_millis(1500),
            "{wait:?}"
        );
    }

    #[test]
    fn a_refusal_waits_long_at_once() {
        let mut backoff = Backoff::new(BackoffSettings::default(), 2);
        assert!(backoff.wait(Lesson::Refused, None) >= Duration::from_secs(40));
    }

    #[test]
    fn what_the_server_asks_for_is_honoured_within_reason() {
        let mut backoff = Backoff::new(BackoffSettings::default(), 3);
        let asks = [7, 300, 1_000_000].map(|s| Some(Duration::from_secs(s)));
        let waits = asks.map(|asked| backoff.wait(Lesson::Useful, asked));
        assert_eq!(seconds(&waits), [7, 300, 3600]);
    }

    #[test]
    fn chance_makes_two_processes_differ_and_one_seed_repeat_itself() {
        let waits = |seed| {
            let mut backoff = Backoff::new(BackoffSettings::default(), seed);
            (0..5)
                .map(|_| backoff.wait(Lesson::Useless, None))
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn a_floor_of_nothing_waits_for_nothing_as_long_as_connections_are_useful() {
        let settings = BackoffSettings {
            floor: Duration::ZERO,
            ..BackoffSettings::default()
        };
        let mut backoff = Backoff::new(settings, 4);
        assert_eq!(backoff.wait(Lesson::Useful, None), Duration::ZERO);
        for base in [100, 200, 400].map(Duration::from_millis) {
            let wait = backoff.wait(Lesson::Useless, None);
            assert!(wait >= base && wait <= base.mul_f64(1.5), "{wait:?}");
        }
        assert_eq!(backoff.wait(Lesson::Useful, None), Duration::ZERO);
    }

    #[test]
    fn a_ceiling_of_nothing_never_waits() {
        let settings = BackoffSettings {
            floor: Duration::ZERO,
            ceiling: Duration::ZERO,
        };
        let mut backoff = Backoff::new(settings, 5);
        for lesson in [Lesson::Useful, Lesson::Useless, Lesson::Refused] {
            assert_eq!(backoff.wait(lesson, None), Duration::ZERO);
        }
    }
}
