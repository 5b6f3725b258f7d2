//! One budget for what a process keeps in memory, and how it is shared out.
//!
//! ```text
//!   eighths   ├───────┼───────┼───────┼───────┼───────┼───────┼───────┼───────┤
//!             │     state     │results│    fetched    │ held  │ sent  │ rows  │
//! ```
//!
//! What it bounds is what grows with the work: blocks and write buffers of state stores, results that change
//! often, records that have been read ahead, that wait for another input or that are on their way, and rows.
//! The process itself, its threads and their clients need some 50 MB besides.

use std::sync::Arc;

use crate::state::rocks::StateMemory;
use crate::topology::plan::{Plan, SubTopology};

/// A consumer does not read further ahead than this: more makes nothing faster.
const MOST_FETCHED: usize = 32 << 20;

/// Nor do more bytes wait to be sent by one producer.
const MOST_SENT: usize = 64 << 20;

/// A SQL sink writes no more at once: its transactions become no faster by it.
const MOST_ROWS: usize = 4 << 20;

/// A restore gathers no more changes before it writes them.
const MOST_RESTORED: usize = 32 << 20;

/// With less than this nothing gets forward.
const LEAST: usize = 256 << 10;

/// A sink holds its rows so often: as records, as values, and as statements.
const COPIES_OF_ROWS: usize = 4;

/// Changes that are written are there so often: as they were kept, as a batch, and as RocksDB's; in buffers
/// that double as they grow.
const COPIES_OF_CHANGES: usize = 4;

/// How much memory a process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// In all, in bytes.
    pub total: usize,
    /// That of all state stores together, where it is not a share of it.
    pub state: Option<usize>,
    /// That of results that change often, of all threads together, likewise.
    pub results: Option<usize>,
    /// That of what a SQL sink writes at once, likewise.
    pub rows: Option<usize>,
}

/// Among how many it is shared out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsers {
    /// Stream threads.
    pub threads: usize,
    /// SQL sinks.
    pub sinks: usize,
    /// Global tables.
    pub global_tables: usize,
    /// Those of these threads and sinks in which an input may wait for another one.
    pub waiting: usize,
}

/// What each part of a process may use, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// All state stores.
    pub state: StateMemory,
    /// The changes of the tasks of one thread that are being restored, before they are written.
    pub restored: usize,
    /// The changes of the last commits of one thread, likewise.
    pub unwritten: usize,
    /// The results that change often of one thread.
    pub results: usize,
    /// The records that one consumer has read ahead.
    pub fetched: usize,
    /// The records that wait for another input in one thread or one sink.
    pub held: usize,
    /// The records of one producer that are on their way.
    pub sent: usize,
    /// What one SQL sink writes at once.
    pub rows: usize,
}

impl MemoryBudget {
    /// The budget of that many bytes.
    pub fn of(total: usize) -> MemoryBudget {
        MemoryBudget {
            total,
            state: None,
            results: None,
            rows: None,
        }
    }

    /// What each of these gets.
    pub fn share(&self, users: MemoryUsers) -> MemoryShares {
        let eighth = self.total / 8;
        let threads = users.threads.max(1);
        let sinks = users.sinks.max(1);
        // While a task is opened its thread reads changelogs by another consumer.
        let consumers = 2 * threads + users.sinks + users.global_tables;
        let state = self.state.unwrap_or(2 * eighth);
        MemoryShares {
            state: StateMemory {
                block_cache_bytes: state / 4,
                write_buffer_bytes: state / 4,
            },
            restored: (state / 4 / threads).clamp(LEAST, MOST_RESTORED),
            unwritten: (state / 4 / threads / COPIES_OF_CHANGES).max(LEAST),
            results: self.results.unwrap_or(eighth) / threads,
            fetched: (2 * eighth / consumers).clamp(LEAST, MOST_FETCHED),
            held: (eighth / users.waiting.max(1)).max(LEAST),
            sent: (eighth / threads).clamp(LEAST, MOST_SENT),
            rows: self
                .rows
                .unwrap_or((eighth / sinks / COPIES_OF_ROWS).clamp(LEAST, MOST_ROWS)),
        }
    }
}

impl Default for MemoryBudget {
    fn default() -> MemoryBudget {
        MemoryBudget::of(512 << 20)
    }
}

/// What one task may use, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskMemory {
    /// Its results that change often.
    pub(super) results: usize,
    /// The changes of its last commits that are not written yet.
    pub(super) unwritten: usize,
}

impl MemoryShares {
    /// What a task gets of a thread's, which has so many.
    pub(super) fn of_task(&self, tasks: usize) -> TaskMemory {
        let tasks = tasks.max(1);
        TaskMemory {
            results: self.results / tasks,
            unwritten: self.unwritten / tasks,
        }
    }
}

impl Default for MemoryShares {
    fn default() -> MemoryShares {
        MemoryBudget::default().share(MemoryUsers::default())
    }
}

impl MemoryUsers {
    /// Those of a process that runs these plans, each in so many threads.
    pub fn of<'p>(plans: impl IntoIterator<Item = &'p Plan>, threads: usize) -> MemoryUsers {
        let mut users = MemoryUsers::default();
        for plan in plans {
            if !plan.processing.is_empty() {
                users.threads += threads;
            }
            users.sinks += plan.sinks.len();
            let has_several = |sub: &Arc<SubTopology>| sub.topics().count() > 1;
            users.waiting += plan.sinks.iter().filter(|sink| has_several(sink)).count();
            if plan.processing.iter().any(has_several) {
                users.waiting += threads;
            }
            users.global_tables += plan.global_tables.len();
        }
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn users(threads: usize, sinks: usize, global_tables: usize) -> MemoryUsers {
        MemoryUsers {
            threads,
            sinks,
            global_tables,
            waiting: threads + sinks,
        }
    }

    /// What all of them may use together.
    fn sum(shares: &MemoryShares, users: MemoryUsers) -> usize {
        let consumers = 2 * users.threads + users.sinks + users.global_tables;
        shares.state.block_cache_bytes
            + shares.state.write_buffer_bytes
            + (shares.restored + COPIES_OF_CHANGES * shares.unwritten) * users.threads
            + shares.results * users.threads
            + shares.fetched * consumers
            + shares.held * users.waiting
            + shares.sent * users.threads
            + shares.rows * COPIES_OF_ROWS * users.sinks
    }

    #[test]
    fn all_parts_together_are_the_budget() {
        for users in [
            users(1, 0, 0),
            users(1, 3, 0),
            users(4, 6, 2),
            users(2, 12, 1),
        ] {
            for total in [256 * MIB, 512 * MIB, 4096 * MIB] {
                let shares = MemoryBudget::of(total).share(users);
                assert!(
                    sum(&shares, users) <= total,
                    "{users:?} of {total}: {shares:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_set_is_not_a_share() {
        let budget = MemoryBudget {
            state: Some(100 * MIB),
            results: Some(10 * MIB),
            rows: Some(MIB / 2),
            ..MemoryBudget::of(80 * MIB)
        };
        let shares = budget.share(users(2, 1, 0));
        assert_eq!(shares.state.write_buffer_bytes, 25 * MIB);
        assert_eq!(shares.results, 5 * MIB);
        assert_eq!(shares.rows, MIB / 2);
        assert_eq!(shares.fetched, 4 * MIB);
    }

    #[test]
    fn everyone_gets_something_of_a_small_budget_and_nobody_more_than_is_of_use() {
        let small = MemoryBudget::of(4 * MIB).share(users(4, 8, 0));
        assert_eq!(
            [small.fetched, small.held, small.sent, small.rows],
            [LEAST; 4]
        );
        let large = MemoryBudget::of(64 << 30).share(users(1, 1, 0));
        assert_eq!((large.fetched, large.rows), (MOST_FETCHED, MOST_ROWS));
    }
}
