//! How an application runs, apart from what it computes.

use std::time::Duration;

/// What a user can set about the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Stream threads in this process; tasks are shared out among all threads of all processes.
    pub threads: usize,
    /// How often state, results and positions are committed.
    pub commit_interval: Duration,
    /// How long a silent process keeps its tasks.
    pub session_timeout: Duration,
    /// How long a thread may work between two polls before it loses its tasks.
    pub max_poll_interval: Duration,
    /// After this long without a commit the log aborts a transaction.
    pub transaction_timeout: Duration,
    /// Copies of internal topics; −1 is the log's default.
    pub replication: i32,
    /// A SQL sink writes at the latest after this long.
    pub sink_linger: Duration,
    /// A SQL sink writes at most this many rows at once.
    pub sink_rows: usize,
}

impl Default for EngineSettings {
    fn default() -> EngineSettings {
        EngineSettings {
            threads: 1,
            commit_interval: Duration::from_millis(100),
            session_timeout: Duration::from_secs(10),
            max_poll_interval: Duration::from_secs(300),
            transaction_timeout: Duration::from_secs(10),
            replication: -1,
            sink_linger: Duration::from_millis(50),
            sink_rows: 4_000,
        }
    }
}
