//! Real services and real processes for tests: Kafka, databases of their own, `tidemill` itself.
//!
//! `scripts/test` starts the services and says in the environment where they are. A test that
//! needs one that is not there says so and passes: nothing is proven then, and the output says it.

mod database;
mod job;
mod process;
mod server;
mod topics;

pub use database::{Database, databases};
pub use job::{Pair, Run, assert_tables, pairs, wait_for_tables};
pub use process::Tidemill;
pub use server::OwnServer;
pub use topics::{LOG_TIME, Raw, Topics, header};

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where Kafka is; none when the tests run without.
pub fn kafka() -> Option<String> {
    std::env::var("KAFKA_BOOTSTRAP")
        .ok()
        .filter(|address| !address.is_empty())
}

/// The folder with recorded events and what they roll up to; none when it is not there.
pub fn data_folder() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");
    let folder = std::env::var("TIDEMILL_DATA_DIR").unwrap_or_else(|_| default.to_owned());
    Some(PathBuf::from(folder)).filter(|folder| folder.is_dir())
}

/// A name that no other test of this run has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    format!("{prefix}_{}_{number}", std::process::id())
}

/// Says that a test proves nothing in this environment.
pub fn skip(test: &str, missing: &str) {
    eprintln!("SKIPPED {test}: {missing}");
}

/// Asks until the answer is yes.
///
/// # Panics
/// When it is not within the time.
pub fn wait_until(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < timeout, "waited {timeout:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
