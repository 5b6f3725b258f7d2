//! What follows an attempt that has failed: decided here, done by the sink.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::error::Fault;

/// The first wait; doubled each time up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How an attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing has been written.
    Before(Fault),
    /// The COMMIT was not answered well: only the ledger knows.
    InDoubt,
}

/// What has been tried already in one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    /// How often contention, and doubt, are met with another attempt.
    attempts: u32,
    contention: u32,
    doubts: u32,
    reconnected: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, on a new connection, after a wait that has been doubled so often.
    Again { doublings: u32 },
    /// The caller waits.
    Unavailable,
    /// The caller stops.
    Fatal,
}

impl Retries {
    pub fn new(attempts: u32) -> Retries {
        Retries {
            attempts,
            contention: 0,
            doubts: 0,
            reconnected: false,
        }
    }

    /// Decides. `fresh`: the connection had been made for this attempt.
    pub fn after(&mut self, failure: Failure, fresh: bool) -> Next {
        match failure {
            // The next attempt begins with the ledger, which tells whether this one has written.
            Failure::InDoubt => again(&mut self.doubts, self.attempts),
            Failure::Before(Fault::Contention) => again(&mut self.contention, self.attempts),
            // The packet halves each time, and a row that stands alone is left out: it ends.
            Failure::Before(Fault::TooLarge) => Next::Again { doublings: 0 },
            // A connection that has been idle may be gone without anyone's fault.
            Failure::Before(Fault::Unavailable) if !fresh && !self.reconnected => {
                self.reconnected = true;
                Next::Again { doublings: 0 }
            }
            Failure::Before(Fault::Unavailable) => Next::Unavailable,
            Failure::Before(Fault::Row | Fault::Fatal) => Next::Fatal,
        }
    }
}

fn again(count: &mut u32, attempts: u32) -> Next {
    *count += 1;
    if *count < attempts {
        Next::Again {
            doublings: *count - 1,
        }
    } else {
        Next::Unavailable
    }
}

/// Between half and the whole of the doubled wait.
pub(super) fn backoff(doublings: u32, random: &mut StdRng) -> Duration {
    let whole = FIRST_WAIT
        .saturating_mul(1 << doublings.min(16))
        .min(LONGEST_WAIT);
    whole.mul_f64(random.random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn every_fault_has_its_way_on() {
        let mut retries = Retries::new(3);
        let mut after = |fault, fresh| retries.after(Failure::Before(fault), fresh);
        assert_eq!(
            after(Fault::Contention, false),
            Next::Again { doublings: 0 }
        );
        assert_eq!(after(Fault::Contention, true), Next::Again { doublings: 1 });
        assert_eq!(after(Fault::Contention, true), Next::Unavailable);
        assert_eq!(after(Fault::TooLarge, true), Next::Again { doublings: 0 });
        assert_eq!(after(Fault::Unavailable, true), Next::Unavailable);
        assert_eq!(
            after(Fault::Unavailable, false),
            Next::Again { doublings: 0 }
        );
        assert_eq!(after(Fault::Unavailable, false), Next::Unavailable);
        assert_eq!(after(Fault::Fatal, false), Next::Fatal);
        assert_eq!(after(Fault::Row, false), Next::Fatal);
    }

    #[test]
    fn a_commit_in_doubt_is_settled_at_once_but_not_for_ever() {
        let mut retries = Retries::new(3);
        assert_eq!(
            retries.after(Failure::InDoubt, true),
            Next::Again { doublings: 0 }
        );
        assert_eq!(
            retries.after(Failure::InDoubt, true),
            Next::Again { doublings: 1 }
        );
        assert_eq!(retries.after(Failure::InDoubt, true), Next::Unavailable);
    }

    #[test]
    fn waits_double_with_jitter_up_to_a_second() {
        let mut random = StdRng::seed_from_u64(1);
        for (doublings, whole) in [(0, 20), (1, 40), (3, 160), (9, 1000), (60, 1000)] {
            let wait = backoff(doublings, &mut random);
            let whole = Duration::from_millis(whole);
            assert!(whole / 2 <= wait && wait <= whole, "{doublings}: {wait:?}");
        }
    }
}
