//! In which ways a test is played. Whatever happens to the process, what comes out is the same.

use std::fmt;

use crate::config::cases::{Step, TestCase};
use crate::topology::graph::Guarantee;
use crate::topology::plan::Plan;

/// The numbers of partitions with which a test is played that says nothing about it.
const USUAL_PARTITIONS: [u32; 2] = [1, 4];

/// One playing of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many partitions each topic has, and so how many tasks there are.
    pub partitions: u32,
    /// What happens to the process.
    pub way: Way,
}

/// What happens to the process while a test is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Straight,
    /// It dies after each record, once that is committed.
    Killed,
    /// It dies before and after each commit.
    KilledAroundCommits,
    /// Each record's first commit fails: by turns it does not take place, or its answer is lost.
    FailingCommits,
    /// After each record it dies and its disk is lost.
    NewDisk,
}

/// The ways in which a test is played: all of them with the first number of partitions, and the two
/// farthest apart with the others.
pub(super) fn runs(plan: &Plan, case: &TestCase) -> Vec<Run> {
    let least = least_partitions(case);
    let wanted: &[u32] = match case.partitions.as_slice() {
        [] => &USUAL_PARTITIONS,
        said => said,
    };
    let mut counts: Vec<u32> = wanted.iter().map(|count| (*count).max(least)).collect();
    counts.dedup();
    let mut runs = Vec::new();
    for (at, partitions) in counts.into_iter().enumerate() {
        let ways = match at {
            0 => ways(plan),
            _ => &[Way::Straight, Way::NewDisk],
        };
        runs.extend(ways.iter().map(|way| Run {
            partitions,
            way: *way,
        }));
    }
    runs
}

fn ways(plan: &Plan) -> &'static [Way] {
    if plan.processing.is_empty() {
        return &[Way::Straight, Way::Killed];
    }
    match plan.guarantee {
        Guarantee::ExactlyOnce => &[
            Way::Straight,
            Way::Killed,
            Way::KilledAroundCommits,
            Way::FailingCommits,
            Way::NewDisk,
        ],
        // What is sent and not committed when it dies is sent again.
        Guarantee::AtLeastOnce => &[Way::Straight, Way::Killed, Way::NewDisk],
    }
}

/// As many as the records name.
fn least_partitions(case: &TestCase) -> u32 {
    let partitions = case.given.iter().filter_map(|step| match step {
        Step::Record(record) => record.partition,
        Step::Advance(_) => None,
    });
    partitions.max().map_or(1, |last| last.unsigned_abs() + 1)
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted_partitions(self.partitions))?;
        f.write_str(match self.way {
            Way::Straight => ", straight",
            Way::Killed => ", killed after each record",
            Way::KilledAroundCommits => ", killed before and after each commit",
            Way::FailingCommits => ", each first commit failing",
            Way::NewDisk => ", a new disk after each record",
        })
    }
}

pub(super) fn counted_partitions(count: u32) -> String {
    match count {
        1 => "1 partition".to_owned(),
        count => format!("{count} partitions"),
    }
}
