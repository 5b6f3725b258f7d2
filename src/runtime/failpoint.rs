//! Places at which a test can make the process die, to prove that any moment will do.
//!
//! `TIDEMILL_FAILPOINT=before-commit:3` aborts the process the third time it comes to that place, and
//! `before-commit:3:stop` lets it stand still there until it is sent SIGCONT. In simulations, which run
//! many processes in one, a process dies by unwinding.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where and when to die, read once. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failpoint(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    place: Option<Place>,
    seen: AtomicU64,
    #[cfg(test)]
    scripted: std::sync::Mutex<Option<(u64, Ending)>>,
}

/// `NAME:COUNT`, or `NAME:COUNT:stop`.
#[derive(Debug)]
struct Place {
    name: String,
    count: u64,
    stands_still: bool,
}

impl Place {
    fn parse(text: &str) -> Option<Place> {
        let mut parts = text.split(':');
        Some(Place {
            name: parts.next()?.to_owned(),
            count: parts.next()?.parse().ok()?,
            stands_still: parts.next() == Some("stop"),
        })
    }
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
        let text = std::env::var("TIDEMILL_FAILPOINT").ok();
        let place = text.and_then(|text| Place::parse(&text));
        Failpoint(Arc::new(Inner {
            place,
            ..Inner::default()
        }))
    }

    /// A place at which nothing can fail.
    pub(super) fn reach(&self, place: &str) {
        self.end_at(place);
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

    fn end_at(&self, place: &str) {
        let Some(wanted) = self.0.place.as_ref().filter(|wanted| wanted.name == place) else {
            return;
        };
        if self.0.seen.fetch_add(1, Ordering::SeqCst) + 1 != wanted.count {
            return;
        }
        tracing::error!(place, "failpoint reached");
        if !wanted.stands_still {
            std::process::abort();
        }
        let pid = std::process::id().to_string();
        let stopped = std::process::Command::new("kill")
            .args(["-STOP", &pid])
            .status();
        stopped.expect("the command kill");
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
