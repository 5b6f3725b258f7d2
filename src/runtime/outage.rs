//! What is logged while something does not go on: a sink that cannot write tries again every few
//! seconds, for hours if need be, and a task that is opened may have to wait for others.

use crate::time::Timestamp;

/// After the first failure in a row, one is logged in so many milliseconds.
const EVERY_MS: i64 = 30_000;

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failures: u64,
    began: Timestamp,
    logged: Timestamp,
}

/// How long something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// How many attempts have failed.
    pub(super) failures: u64,
    /// From the first of them on, in milliseconds.
    pub(super) ms: i64,
}

impl Outage {
    /// Counts a failure; gives how many there have been in a row if it is to be logged.
    pub(super) fn failed(&mut self, now: Timestamp) -> Option<u64> {
        self.failures += 1;
        let is_first = self.failures == 1;
        if is_first {
            self.began = now;
        }
        if !is_first && now < self.logged.plus_millis(EVERY_MS) {
            return None;
        }
        self.logged = now;
        Some(self.failures)
    }

    /// Counts a success; gives what has come to its end with it.
    pub(super) fn succeeded(&mut self, now: Timestamp) -> Option<Ended> {
        let Outage {
            failures, began, ..
        } = std::mem::take(self);
        (failures > 0).then(|| Ended {
            failures,
            ms: now.0 - began.0,
        })
    }
}

/// After so many milliseconds it is logged that something is waited for, and then again.
const PATIENCE_MS: i64 = 10_000;

/// A wait for something that should not take long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    began: Timestamp,
    logged: Timestamp,
}

impl Patience {
    /// Begins to wait.
    pub(super) fn new(now: Timestamp) -> Patience {
        Patience {
            began: now,
            logged: now,
        }
    }

    /// For how many seconds it has been waited, if that is to be logged.
    pub(super) fn is_over(&mut self, now: Timestamp) -> Option<i64> {
        if now < self.logged.plus_millis(PATIENCE_MS) {
            return None;
        }
        self.logged = now;
        Some((now.0 - self.began.0) / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_logged_every_ten_seconds() {
        let mut patience = Patience::new(Timestamp(0));
        assert_eq!(patience.is_over(Timestamp(9_999)), None);
        assert_eq!(patience.is_over(Timestamp(10_000)), Some(10));
        assert_eq!(patience.is_over(Timestamp(19_000)), None);
        assert_eq!(patience.is_over(Timestamp(21_000)), Some(21));
    }

    #[test]
    fn the_first_failure_is_logged_and_then_one_in_half_a_minute_until_the_end() {
        let mut outage = Outage::default();
        let at = |seconds: i64| Timestamp(seconds * 1_000);
        assert_eq!(outage.succeeded(at(0)), None);
        assert_eq!(outage.failed(at(1)), Some(1));
        assert_eq!(outage.failed(at(2)), None);
        assert_eq!(outage.failed(at(30)), None);
        assert_eq!(outage.failed(at(31)), Some(4));
        assert_eq!(outage.failed(at(60)), None);
        assert_eq!(outage.failed(at(70)), Some(6));
        let ended = Ended {
            failures: 6,
            ms: 70_000,
        };
        assert_eq!(outage.succeeded(at(71)), Some(ended));
        assert_eq!(outage.succeeded(at(72)), None);
        assert_eq!(outage.failed(at(73)), Some(1));
    }
}
