//! Places at which a test can make the process die, to prove that any moment will do.
//!
//! `TIDEMILL_FAILPOINT=before-commit:3` aborts the process the third time it comes to that place. In
//! simulations, which run many processes in one, a process dies by unwinding.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where and when to die, read once. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failpoint(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    place: Option<(String, u64)>,
    seen: AtomicU64,
    #[cfg(test)]
    scripted: std::sync::Mutex<Option<(u64, Ending)>>,
}

/// What happens at a scripted place.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The process dies there.
    Death,
    /// What is done there fails, where it can.
    Failure,
}

/// What unwinds when a simulated process dies.
#[cfg(test)]
pub(crate) struct Died;

/// What is done at a place fails.
#[derive(Debug)]
pub(super) struct Failed;

impl Failpoint {
    pub(super) fn from_env() -> Failpoint {
        let place = std::env::var("TIDEMILL_FAILPOINT").ok().and_then(|text| {
            let (place, count) = text.split_once(':')?;
            Some((place.to_owned(), count.parse().ok()?))
        });
        Failpoint(Arc::new(Inner {
            place,
            ..Inner::default()
        }))
    }

    /// A place at which nothing can fail.
    pub(super) fn reach(&self, place: &str) {
        self.abort_at(place);
        #[cfg(test)]
        if self.is_due(Ending::Death) {
            std::panic::resume_unwind(Box::new(Died));
        }
    }

    /// A place at which something outside can fail.
    pub(super) fn try_reach(&self, place: &str) -> Result<(), Failed> {
        self.reach(place);
        #[cfg(test)]
        if self.is_due(Ending::Failure) {
            return Err(Failed);
        }
        Ok(())
    }

    fn abort_at(&self, place: &str) {
        if let Some((wanted, count)) = &self.0.place
            && wanted == place
            && self.0.seen.fetch_add(1, Ordering::SeqCst) + 1 == *count
        {
            tracing::error!(place, "failpoint reached");
            std::process::abort();
        }
    }

    /// Makes it happen at the place that is reached after so many others.
    #[cfg(test)]
    pub(crate) fn script(&self, after: u64, ending: Ending) {
        *self.scripted() = Some((after, ending));
    }

    #[cfg(test)]
    fn is_due(&self, ending: Ending) -> bool {
        let mut scripted = self.scripted();
        match &mut *scripted {
            Some((0, wanted)) if *wanted == ending => {
                *scripted = None;
                true
            }
            Some((left, wanted)) if *wanted == ending => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }

    #[cfg(test)]
    fn scripted(&self) -> std::sync::MutexGuard<'_, Option<(u64, Ending)>> {
        let locked = self.0.scripted.lock();
        locked.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
