//! The wish to stop, shared by all threads of a process.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::time::ManualClock;

/// A signal that is given once. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StopSignal(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    given: Mutex<bool>,
    changed: Condvar,
    /// The clock by which it waits, if not by the machine's.
    clock: Option<ManualClock>,
}

impl StopSignal {
    /// A signal whose waiting moves a clock, and takes no time.
    pub fn by_clock(clock: ManualClock) -> StopSignal {
        StopSignal(Arc::new(Inner {
            clock: Some(clock),
            ..Inner::default()
        }))
    }

    /// Gives the signal.
    pub fn set(&self) {
        *self.0.given.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }

    /// Whether it was given.
    pub fn is_set(&self) -> bool {
        *self.0.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this long, or until the signal is given; tells whether it was.
    pub fn wait(&self, timeout: Duration) -> bool {
        if let Some(clock) = &self.0.clock {
            clock.advance_millis(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
            return self.is_set();
        }
        let given = self.0.given.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = &self.0.changed;
        let waited = changed.wait_timeout_while(given, timeout, |given| !*given);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
