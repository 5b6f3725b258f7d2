//! Places at which a test can make the process die, to prove that any moment will do.
//!
//! `TIDEMILL_FAILPOINT=before-commit:3` aborts the process the third time it comes to that place.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where and when to die, read once.
#[derive(Debug, Default)]
pub(super) struct Failpoint {
    place: Option<(String, u64)>,
    seen: AtomicU64,
}

impl Failpoint {
    pub(super) fn from_env() -> Failpoint {
        let place = std::env::var("TIDEMILL_FAILPOINT").ok().and_then(|text| {
            let (place, count) = text.split_once(':')?;
            Some((place.to_owned(), count.parse().ok()?))
        });
        Failpoint {
            place,
            seen: AtomicU64::new(0),
        }
    }

    pub(super) fn reach(&self, place: &str) {
        if let Some((wanted, count)) = &self.place
            && wanted == place
            && self.seen.fetch_add(1, Ordering::SeqCst) + 1 == *count
        {
            tracing::error!(place, "failpoint reached");
            std::process::abort();
        }
    }
}
