//! What the pages are about.

use std::sync::Arc;

use super::progress::{Progress, Verdict};
use crate::ingest::metrics::IngestMetrics;
use crate::runtime::EngineMetrics;
use crate::settings::Secret;
use crate::sql::DatabaseUrl;
use crate::time::{Clock, Timestamp};

/// A process, as its pages show it.
pub struct Facts {
    /// The applications that run here.
    pub apps: Vec<AppFacts>,
    /// The source that is read here.
    pub ingest: Option<Arc<IngestMetrics>>,
    /// Where the tables are.
    pub database: Option<DatabaseUrl>,
    /// Asked for as a bearer token.
    pub token: Option<Secret>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// When the process began.
    pub started: Timestamp,
    /// Queries that may run at once.
    pub queries: tokio::sync::Semaphore,
}

/// A running application.
pub struct AppFacts {
    /// Its name.
    pub name: String,
    /// The tables of its SQL sinks.
    pub tables: Vec<String>,
    /// What it counts.
    pub engine: Arc<EngineMetrics>,
    /// Whether it gets on.
    pub progress: Progress,
}

/// How many queries may run at once.
const QUERIES: usize = 4;

impl Facts {
    /// A process without applications and sources.
    pub fn new(clock: Arc<dyn Clock>) -> Facts {
        Facts {
            apps: Vec::new(),
            ingest: None,
            database: None,
            token: None,
            started: clock.now(),
            clock,
            queries: tokio::sync::Semaphore::new(QUERIES),
        }
    }

    /// Whether every application gets on.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.apps.iter().map(|app| app.progress.last().verdict);
        let mut bad = verdicts.filter(|verdict| *verdict != Verdict::Ready);
        bad.next().unwrap_or(Verdict::Ready)
    }
}
