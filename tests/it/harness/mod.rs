//! Real services and real processes for tests: Kafka, databases of their own, `tidemill` itself.
//!
//! `scripts/test` starts the services and says in the environment where they are. A test that
//! needs one that is not there says so and passes: nothing is proven then, and the output says it.

mod database;
mod job;
mod lag;
mod line;
mod process;
mod server;
mod stores;
mod topics;

pub use database::{Database, databases};
pub use job::{
    Pair, Run, assert_tables, assert_tables_at_least, is_wikiticker, lines, pairs, wait_for_tables,
};
pub use lag::Groups;
pub use line::{Line, Way};
pub use process::Tidemill;
pub use server::OwnServer;
pub use topics::{LOG_TIME, Raw, Topics, header};

use std::fs::File;
use std::io::Write as _;
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
///
/// # Panics
/// When `TIDEMILL_DATA_DIR` names no folder.
pub fn data_folder() -> Option<PathBuf> {
    match std::env::var_os("TIDEMILL_DATA_DIR") {
        Some(named) => {
            let folder = PathBuf::from(named);
            assert!(
                folder.is_dir(),
                "TIDEMILL_DATA_DIR: no folder {}",
                folder.display()
            );
            Some(folder)
        }
        None => {
            let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");
            Some(PathBuf::from(usual)).filter(|folder| folder.is_dir())
        }
    }
}

/// Everything that a test of the main job needs.
pub struct Stage {
    /// Recorded events and what they roll up to.
    pub pairs: Vec<Pair>,
    /// Where Kafka is.
    pub bootstrap: String,
    /// Databases: name and URL.
    pub servers: Vec<(&'static str, String)>,
}

/// The stage for a test; none, with a loud word, when something is not there.
pub fn stage(test: &str) -> Option<Stage> {
    let (Some(folder), Some(bootstrap)) = (data_folder(), kafka()) else {
        skip(test, "no data folder, or no Kafka");
        return None;
    };
    let servers = databases();
    if servers.is_empty() {
        skip(test, "no database");
        return None;
    }
    let pairs = pairs(&folder);
    assert!(!pairs.is_empty(), "no pairs in {}", folder.display());
    Some(Stage {
        pairs,
        bootstrap,
        servers,
    })
}

impl Stage {
    /// The pairs of Wikimedia's recent changes; at least one.
    pub fn recent_changes(&self) -> Vec<&Pair> {
        let pairs: Vec<_> = self
            .pairs
            .iter()
            .filter(|pair| pair.is_recentchange())
            .collect();
        assert!(!pairs.is_empty(), "no recent changes among the pairs");
        pairs
    }

    /// The server with that number, counted round.
    pub fn server(&self, number: usize) -> (&'static str, &str) {
        let (name, url) = &self.servers[number % self.servers.len()];
        (*name, url.as_str())
    }
}

/// Whether tests play as much as they can, and not only a part that stands for the rest.
pub fn is_long() -> bool {
    std::env::var_os("TIDEMILL_TEST_LONG").is_some_and(|value| value == "1")
}

/// A name that no other test of this run has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    format!("{prefix}_{}_{number}", std::process::id())
}

/// Says that a test proves nothing in this environment: on standard error itself, which is not
/// captured as what `eprintln!` writes is, and in the file that `TIDEMILL_TEST_SKIPPED` names, which
/// `scripts/test` shows at its end. Where it has started the services nothing of theirs can be
/// missing.
///
/// # Panics
/// When a database is missing that `scripts/test` has promised.
pub fn skip(test: &str, missing: &str) {
    let promised = std::env::var_os("TIDEMILL_TEST_SERVICES").is_some();
    assert!(
        !promised || !missing.contains("database"),
        "{test}: {missing}"
    );
    let line = format!("SKIPPED {test}: {missing}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("TIDEMILL_TEST_SKIPPED") {
        let file = File::options().create(true).append(true).open(path);
        // In one write, as tests run beside each other.
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.expect("a file that can be written");
    }
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
