//! Plays the tests of topology files.
//!
//! Each test is played several times: straight, with a process that dies at every point that matters,
//! with a disk that is lost, with other numbers of partitions. The answer has to be the same each time,
//! also where the test does not name it; where it is not, the report says in which of the runs.
//!
//! ```
//! use tidemill::config;
//! use tidemill::testkit::CaseRunner;
//!
//! let file = "
//! app: shop
//! nodes:
//!   orders: { source: { topic: orders, key: shop, timestamp: at } }
//!   sales:  { aggregate: { from: orders, by: shop, window: { tumbling: 1h }, set: { n: count() } } }
//!   out:    { kafka: { from: sales, topic: sales } }
//! tests:
//!   - name: orders are counted
//!     given:
//!       - value: { shop: a, at: 2026-05-05T11:17:40Z }
//!       - value: { shop: a, at: 2026-05-05T11:17:50Z }
//!     expect:
//!       topics: { sales: [{ key: a, value: { n: 1 } }, { key: a, value: { n: 2 } }] }
//! ";
//! let outcome = config::check(file, "shop.yaml", &|_| None);
//! let topology = outcome.topology.ok_or(outcome.report.to_string())?;
//! let runner = CaseRunner::new(&topology)?;
//! for test in &outcome.tests {
//!     let report = runner.run(test);
//!     assert!(report.is_ok(), "{report}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agree;
mod ways;
mod play;
mod values;
mod matching;
mod judge;
mod report;

use std::sync::Arc;

pub use matching::Problem;
pub use report::{CaseFailure, CaseReport, Subject};
pub use values::Difference;
pub use ways::{Run, Way};

use play::Played;

use super::database::DatabaseTemplate;
use super::driver::DriverError;
use crate::config::cases::TestCase;
use crate::topology::graph::Topology;
use crate::topology::plan::{self, Plan};

/// Plays tests of one topology.
pub struct CaseRunner {
    topology: Topology,
    plan: Plan,
    /// None where there are no tables.
    database: Option<Arc<DatabaseTemplate>>,
}

impl CaseRunner {
    /// A runner of tests of this topology.
    ///
    /// # Errors
    /// When the topology cannot be planned, or there is no room for the files of a database.
    pub fn new(topology: &Topology) -> Result<CaseRunner, DriverError> {
        let plan = plan::plan(topology)?;
        let database = match plan.sinks.is_empty() {
            true => None,
            false => Some(Arc::new(DatabaseTemplate::new(&plan)?)),
        };
        Ok(CaseRunner {
            topology: topology.clone(),
            plan,
            database,
        })
    }

    /// Plays a test in all ways.
    pub fn run(&self, case: &TestCase) -> CaseReport {
        let runs = ways::runs(&self.plan, case);
        let mut report = CaseReport::new(case, &runs);
        // Of those with the same number of partitions.
        let mut first: Option<(Run, Played)> = None;
        for run in runs {
            first.take_if(|(first, _)| first.partitions != run.partitions);
            match play::play(&self.topology, self.database.as_ref(), case, run) {
                Ok(played) => {
                    let mut problems = judge::judge(case, &played);
                    if let Some((first_run, first)) = &first {
                        let mut more = agree::disagreements(*first_run, first, &played);
                        // What is not as expected is said already.
                        more.retain(|(subject, _)| {
                            problems.iter().all(|(known, _)| known != subject)
                        });
                        problems.extend(more);
                    }
                    report.add(run, problems);
                    first.get_or_insert((run, played));
                }
                Err(error) => {
                    let ended = Problem::Ended(error.to_string());
                    report.add(run, vec![(Subject::Topology, ended)]);
                }
            }
        }
        report
    }
}
