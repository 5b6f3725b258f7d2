//! What a running application tells about itself; read by the HTTP endpoints.
//!
//! Threads publish once per commit; nothing here is on the record path.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::broker::{Offset, TopicPartition};
use crate::processor::{DropReason, NodeCounts};
use crate::time::Timestamp;
use crate::topology::plan::TaskId;

/// Counters and gauges of one process.
#[derive(Debug, Default)]
pub struct EngineMetrics {
    nodes: Mutex<BTreeMap<NodeInGroup, NodeCounts>>,
    tasks: Mutex<BTreeMap<TaskId, TaskStatus>>,
    threads: Mutex<BTreeMap<String, Vec<TaskId>>>,
    commits: AtomicU64,
    commit_ms_total: AtomicI64,
    resets: AtomicU64,
    lost: AtomicU64,
    opening: Mutex<BTreeMap<TaskId, &'static str>>,
    restores: Mutex<BTreeMap<TaskId, RestoreStatus>>,
    restored: AtomicU64,
    sinks: Mutex<BTreeMap<String, SinkStatus>>,
    global_tables: Mutex<BTreeMap<String, GlobalTableStatus>>,
}

/// A node where it runs: stateless ones in front of a SQL sink run in the sink's group too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeInGroup {
    /// The node's name.
    pub node: String,
    /// The group that runs it.
    pub group: String,
}

/// How far a task has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskStatus {
    /// The highest event time seen.
    pub stream_time: Timestamp,
    /// The offset of the next record by input.
    pub positions: Vec<(TopicPartition, Offset)>,
}

/// How far the restore of a task has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreStatus {
    /// Records read.
    pub records: u64,
    /// Bytes of keys and values read.
    pub bytes: u64,
    /// Offsets that there were to be read.
    pub total: i64,
    /// Those that are still to be read.
    pub left: i64,
    /// Milliseconds since it began.
    pub ms: i64,
}

impl RestoreStatus {
    /// Records per second so far.
    pub fn records_per_s(&self) -> f64 {
        self.records as f64 * 1_000.0 / self.ms.max(1) as f64
    }

    /// In how many seconds it will be done at the pace so far; none while nothing has been read.
    pub fn left_s(&self) -> Option<f64> {
        let done = self.total - self.left;
        (done > 0).then(|| self.ms as f64 / 1_000.0 * self.left as f64 / done as f64)
    }
}

/// How a SQL sink fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkStatus {
    /// Rows written.
    pub rows: u64,
    /// Rows that the database refused.
    pub refused: u64,
    /// Transactions.
    pub writes: u64,
    /// Milliseconds spent in them.
    pub write_ms: u64,
    /// Failed attempts.
    pub failures: u64,
    /// The error of the last attempt, if it failed.
    pub last_error: Option<String>,
}

/// How far a global table has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalTableStatus {
    /// Whether tasks look into it.
    pub is_whole: bool,
    /// Records read.
    pub records: u64,
    /// Bytes of keys and values read.
    pub bytes: u64,
    /// Offsets that are still to be read before it is whole.
    pub left: i64,
    /// How often it was read anew, because what was on disk could not be trusted.
    pub rebuilds: u64,
    /// The offset of the next record of each partition.
    pub positions: Vec<(TopicPartition, Offset)>,
    /// The error of the last attempt to read it, if that failed.
    pub last_error: Option<String>,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct EngineStatus {
    /// What each node has seen since the process started. Rows of a node that several groups run
    /// count in one of them, drops in each.
    pub nodes: BTreeMap<NodeInGroup, NodeCounts>,
    /// The tasks that run here; new ones are without positions.
    pub assigned: Vec<TaskId>,
    /// The tasks that are not running yet, and what they are waiting for.
    pub opening: BTreeMap<TaskId, &'static str>,
    /// How far they have come.
    pub tasks: BTreeMap<TaskId, TaskStatus>,
    /// The SQL sinks.
    pub sinks: BTreeMap<String, SinkStatus>,
    /// The global tables.
    pub global_tables: BTreeMap<String, GlobalTableStatus>,
    /// Commits since the process started.
    pub commits: u64,
    /// Milliseconds spent in them.
    pub commit_ms: i64,
    /// How often a thread began anew from the last commit.
    pub resets: u64,
    /// Records that the log deleted before they were read.
    pub lost: u64,
    /// The tasks whose state is being restored.
    pub restores: BTreeMap<TaskId, RestoreStatus>,
    /// Changelog records read since the process started.
    pub restored: u64,
}

/// Says that records are dropped: the first time, and whenever there are ten times as many. Late
/// ones and duplicates are part of life.
fn warn_of_drops(at: &NodeInGroup, before: &NodeCounts, now: &NodeCounts) {
    let NodeInGroup { node, group } = at;
    for reason in DropReason::ALL {
        let (before, now) = (before.drops_of(reason), now.drops_of(reason));
        let digits = |count: u64| count.checked_ilog10();
        if digits(now) > digits(before) {
            match reason {
                DropReason::Late => {
                    tracing::info!(node, group, dropped = now, "records come too late");
                }
                DropReason::Duplicate => {
                    tracing::info!(node, group, dropped = now, "records come more than once");
                }
                _ => tracing::warn!(
                    node, group, %reason, dropped = now,
                    "records are dropped; what `on_error: dead_letter` puts aside says why"
                ),
            }
        }
    }
}

impl EngineStatus {
    /// What a node has seen, in all groups that run it.
    pub fn node(&self, name: &str) -> NodeCounts {
        let mut all = NodeCounts::default();
        let of_node = self.nodes.iter().filter(|(at, _)| at.node == name);
        of_node.for_each(|(_, counts)| all.add(counts));
        all
    }
}

impl EngineMetrics {
    /// Adds what nodes have seen in a group.
    pub(super) fn add_counts(&self, group: &str, counts: Vec<(String, NodeCounts)>) {
        let mut nodes = lock(&self.nodes);
        for (node, counts) in counts {
            let group = group.to_owned();
            let known = nodes.entry(NodeInGroup { node, group });
            let at = known.key().clone();
            let known = known.or_default();
            let before = *known;
            known.add(&counts);
            warn_of_drops(&at, &before, known);
        }
    }

    /// Forgets what a node has seen.
    pub(crate) fn forget(&self, node: &str) {
        lock(&self.nodes).retain(|at, _| at.node != node);
    }

    pub(super) fn set_task<'p>(
        &self,
        task: TaskId,
        stream_time: Timestamp,
        positions: impl Iterator<Item = (&'p TopicPartition, Offset)>,
    ) {
        let positions = positions
            .map(|(partition, next)| (partition.clone(), next))
            .collect();
        lock(&self.tasks).insert(
            task,
            TaskStatus {
                stream_time,
                positions,
            },
        );
    }

    pub(super) fn set_tasks(&self, thread: &str, tasks: impl Iterator<Item = TaskId>) {
        let mut threads = lock(&self.threads);
        threads.insert(thread.to_owned(), tasks.collect());
        lock(&self.tasks).retain(|task, _| threads.values().any(|tasks| tasks.contains(task)));
    }

    /// A task is being opened, and waits for this; nothing: it runs, or is given up.
    pub(super) fn opening(&self, task: TaskId, waits_for: Option<&'static str>) {
        let mut opening = lock(&self.opening);
        match waits_for {
            Some(what) => opening.insert(task, what),
            None => opening.remove(&task),
        };
    }

    pub(super) fn committed(&self, ms: i64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_ms_total.fetch_add(ms, Ordering::Relaxed);
    }

    pub(super) fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self, records: i64) {
        self.lost
            .fetch_add(records.max(0) as u64, Ordering::Relaxed);
    }

    pub(super) fn restoring(&self, task: TaskId, status: RestoreStatus) {
        lock(&self.restores).insert(task, status);
    }

    /// The restore of a task is done, or given up: so many records had been read.
    pub(super) fn restored(&self, task: TaskId, records: u64) {
        lock(&self.restores).remove(&task);
        self.restored.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn sink(&self, sink: &str, change: impl FnOnce(&mut SinkStatus)) {
        change(lock(&self.sinks).entry(sink.to_owned()).or_default());
    }

    pub(super) fn global_table(&self, node: &str, change: impl FnOnce(&mut GlobalTableStatus)) {
        change(
            lock(&self.global_tables)
                .entry(node.to_owned())
                .or_default(),
        );
    }

    /// Everything at this moment.
    pub fn status(&self) -> EngineStatus {
        EngineStatus {
            nodes: lock(&self.nodes).clone(),
            assigned: lock(&self.threads).values().flatten().copied().collect(),
            opening: lock(&self.opening).clone(),
            tasks: lock(&self.tasks).clone(),
            sinks: lock(&self.sinks).clone(),
            global_tables: lock(&self.global_tables).clone(),
            commits: self.commits.load(Ordering::Relaxed),
            commit_ms: self.commit_ms_total.load(Ordering::Relaxed),
            resets: self.resets.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            restores: lock(&self.restores).clone(),
            restored: self.restored.load(Ordering::Relaxed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
