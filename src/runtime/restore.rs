//! Brings local state to where the log is, before a task starts.
//!
//! The order that is safe: first the committed positions (waiting until no open transaction holds
//! any), then the end of the changelog as uncommitted readers see it, then the changelog read
//! committed from the local checkpoint up to that end: whatever the previous owner committed is
//! below it, and its transaction markers are waited for. Last, the markers in the stores must say
//! the same positions as the group: if they do not, somebody moved the group's offsets, and going
//! on would count twice or lose. A changelog that ends before the local state's checkpoint is
//! another one than the state was written with, and stops the task as well; one that has another
//! commit there than the state's last one is another one too, and the state is rebuilt from it.

mod lineage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::marker::CommitMarker;
use super::metrics::{EngineMetrics, RestoreStatus};
use super::outage::Patience;
use super::start::BeyondEnd;
use crate::broker::{Broker, BrokerError, Isolation, Offset, TopicPartition};
use crate::codec::DecodeError;
use crate::processor::MARKER_KEY;
use crate::state::{StateBackend, StateBatch, StateError, TaskState};
use crate::time::{Clock, Timestamp};
use crate::topology::plan::{SubTopology, TaskId};

/// Changes that are written to the store at once while it is restored.
const BATCH_BYTES: usize = 4 << 20;

/// How long one read of the changelog waits.
const POLL: Duration = Duration::from_millis(100);

/// Progress is logged this often.
const REPORT_EVERY_MS: i64 = 5_000;

/// A task's state cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The store.
    #[error(transparent)]
    State(#[from] StateError),
    /// The thread is to stop.
    #[error("stopped while restoring")]
    Stopped,
    /// The group's positions are not those that the state belongs to.
    #[error(
        "task {task}: the group's position of {partition} is {group}, but the state belongs to \
         position {state}: the group's offsets were changed from outside, or expired. Set the \
         group's offset to {state}, or begin anew under another name (`app:` in the topology)"
    )]
    PositionsDiffer {
        /// The task.
        task: TaskId,
        /// Of which input.
        partition: TopicPartition,
        /// The group's position, or `none`.
        group: String,
        /// The state's position.
        state: Offset,
    },
    /// A changelog ends before what the local state has of it.
    #[error(
        "task {task}: the local state has changelog {changelog} up to offset {checkpoint}, but it \
         ends at {end}: the topic was deleted and created again, or this is another cluster. \
         Without its changelog the state cannot be trusted: restore the topic, delete the state of \
         this machine (tidemill reset FILE --state-only --execute) if it is left from before the \
         application was reset, or begin anew under another name (`app:` in the topology)"
    )]
    ChangelogReplaced {
        /// The task.
        task: TaskId,
        /// The changelog.
        changelog: TopicPartition,
        /// The offset that the local state has reached.
        checkpoint: Offset,
        /// The end of the changelog.
        end: Offset,
    },
    /// Another version of Tidemill wrote the state, and its changelog.
    #[error(
        "task {task}: the state and its changelog were written by {} version of Tidemill (format {found}, \
         this one writes {expected}). Run that version, or begin anew under another name (`app:` in the \
         topology)", if found < expected { "an older" } else { "a newer" }
    )]
    OtherVersion {
        /// The task.
        task: TaskId,
        /// The marker's format.
        found: u8,
        /// The format of this version.
        expected: u8,
    },
    /// A store was written for another aggregate than the topology's.
    #[error(
        "node {node}: the topology was changed, and the stored results mean something else\n  \
         stored:   {stored}\n  topology: {wanted}\nTake the change back, or give the node another name: \
         it then begins empty with what comes from now on. To count from the beginning of the topic, \
         give the application another name (`app:`)"
    )]
    OtherContent {
        /// The aggregate.
        node: String,
        /// What the entries are.
        stored: String,
        /// What they should be.
        wanted: String,
    },
    /// A position lies behind the end of the log.
    #[error("task {task}: {source}. Begin anew under another name (`app:` in the topology)")]
    BeyondEnd {
        /// The task.
        task: TaskId,
        /// Where.
        source: BeyondEnd,
    },
}

/// A task's state, up to date.
pub(super) struct Restored {
    pub(super) state: Box<dyn TaskState>,
    /// The positions and progress of the last commit, if there was one.
    pub(super) marker: Option<CommitMarker>,
}

/// What restoring needs.
pub(super) struct Restorer<'r> {
    pub(super) broker: &'r Arc<dyn Broker>,
    pub(super) backend: &'r Arc<dyn StateBackend>,
    pub(super) clock: &'r Arc<dyn Clock>,
    pub(super) stop: &'r dyn Fn() -> bool,
    pub(super) metrics: &'r EngineMetrics,
}

impl Restorer<'_> {
    /// Opens the state of a task and replays the tail of its changelogs. Damaged state is set
    /// aside and rebuilt from the beginning.
    pub(super) fn restore(
        &self,
        task: TaskId,
        plan: &SubTopology,
    ) -> Result<Restored, RestoreError> {
        let name = plan.state_name(task.partition);
        match self.try_restore(task, &name, plan) {
            Err(RestoreError::State(error @ StateError::Corrupted { .. })) => {
                tracing::error!(%task, %error, "state is set aside and rebuilt from its changelog");
                self.backend.set_aside(&name)?;
                self.try_restore(task, &name, plan)
            }
            other => other,
        }
    }

    fn try_restore(
        &self,
        task: TaskId,
        name: &str,
        plan: &SubTopology,
    ) -> Result<Restored, RestoreError> {
        let stores: Vec<String> = plan.stores.iter().map(|store| store.name.clone()).collect();
        let mut state = self.backend.open(name, &stores)?;
        for (store, store_plan) in plan.stores.iter().enumerate() {
            let changelog = TopicPartition::new(store_plan.changelog.as_str(), task.partition);
            self.replay(task, &mut *state, store, &changelog)?;
        }
        let markers = (0..stores.len())
            .filter_map(|store| read_marker(task, &*state, store).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        if !markers.is_empty() && markers.len() < stores.len() {
            tracing::info!(%task, "a store is new, and begins where the others are");
        }
        check_contents(plan, &markers)?;
        Ok(Restored {
            state,
            marker: oldest(markers),
        })
    }

    fn replay(
        &self,
        task: TaskId,
        state: &mut dyn TaskState,
        store: usize,
        changelog: &TopicPartition,
    ) -> Result<(), RestoreError> {
        let partitions = std::slice::from_ref(changelog);
        let end = self
            .broker
            .end_offsets(partitions, Isolation::ReadUncommitted)?[changelog];
        let start = self.broker.start_offsets(partitions)?[changelog];
        let checkpoint = state.checkpoint(store)?;
        let from = match checkpoint {
            Some(checkpoint) if checkpoint > end => {
                return Err(RestoreError::ChangelogReplaced {
                    task,
                    changelog: changelog.clone(),
                    checkpoint,
                    end,
                });
            }
            Some(at) if at >= start => {
                self.check_lineage(task, state, store, changelog, start..at)?;
                at
            }
            // What was deleted there since may still be in the store.
            Some(at) => {
                return Err(RestoreError::State(StateError::Corrupted {
                    path: task.to_string(),
                    reason: format!(
                        "its checkpoint {at} is older than changelog {changelog}, which begins at \
                         {start}"
                    ),
                }));
            }
            None => start,
        };
        if from >= end {
            return Ok(());
        }
        let mut reader = self.broker.reader(Isolation::ReadCommitted)?;
        reader.assign(&[(changelog.clone(), from)])?;
        let mut report = Report::new(task, changelog, end - from, self.clock.now());
        let mut batch = StateBatch::default();
        let mut position = from;
        let mut patience = Patience::new(&**self.clock);
        while position < end {
            if (self.stop)() {
                return Err(RestoreError::Stopped);
            }
            reader.poll(POLL, 10_000, &mut |record| {
                match (record.key, record.value) {
                    (Some(key), Some(value)) => batch.put(store, key, value),
                    (Some(key), None) => batch.delete(store, key),
                    (None, _) => {}
                }
                report.count(&record);
            })?;
            let reached = reader.position(changelog).unwrap_or(position);
            if reached > position {
                patience = Patience::new(&**self.clock);
            } else if let Some(waited_s) = patience.is_over() {
                tracing::warn!(
                    %task, %changelog, position, end, waited_s,
                    "a restore gets no further: a transaction that is not ended holds the rest, \
                     until it times out or is aborted (kafka-transactions.sh find-hanging, abort), \
                     or the log does not answer"
                );
            }
            position = reached;
            if batch.bytes() >= BATCH_BYTES {
                batch.checkpoint(store, position);
                state.write(&batch)?;
                batch.clear();
            }
            let now = self.clock.now();
            self.metrics
                .restoring(task, report.status(position - from, now));
            report.show(position - from, now);
        }
        batch.checkpoint(store, position);
        state.write(&batch)?;
        report.finish(self.clock.now());
        self.metrics.restored(task, report.records);
        Ok(())
    }
}

/// Whether the stores hold what the topology's aggregates make.
fn check_contents(plan: &SubTopology, markers: &[CommitMarker]) -> Result<(), RestoreError> {
    for store in &plan.stores {
        let stored = markers
            .iter()
            .find_map(|marker| marker.contents.get(&store.name));
        if let Some(stored) = stored.filter(|stored| **stored != store.content) {
            return Err(RestoreError::OtherContent {
                node: store.name.clone(),
                stored: stored.clone(),
                wanted: store.content.clone(),
            });
        }
    }
    Ok(())
}

/// The marker of the last commit; the changelog has been replayed, so it is there what it is here.
fn read_marker(
    task: TaskId,
    state: &dyn TaskState,
    store: usize,
) -> Result<Option<CommitMarker>, RestoreError> {
    let mut bytes = Vec::new();
    if !state.get(store, MARKER_KEY, &mut bytes)? {
        return Ok(None);
    }
    match CommitMarker::decode(&bytes) {
        Ok(marker) => Ok(Some(marker)),
        Err(DecodeError::Version { expected, found }) => Err(RestoreError::OtherVersion {
            task,
            found,
            expected,
        }),
        Err(error @ DecodeError::Damaged { .. }) => {
            Err(RestoreError::State(StateError::Corrupted {
                path: task.to_string(),
                reason: format!("commit marker: {error}"),
            }))
        }
    }
}

/// The marker to go on from. Those of one transaction are equal; without transactions a crash can
/// come between two changelogs, and then what one of them lacks is done again.
fn oldest(markers: Vec<CommitMarker>) -> Option<CommitMarker> {
    let reached = |marker: &CommitMarker| marker.positions.values().sum::<Offset>();
    markers.into_iter().min_by_key(reached)
}

/// The kept position of each input: the group's committed one, which the state's marker must
/// confirm; none where there is neither.
///
/// # Errors
/// [`RestoreError::PositionsDiffer`] when they differ.
pub(super) fn decide_positions(
    task: TaskId,
    inputs: &[TopicPartition],
    committed: &BTreeMap<TopicPartition, Offset>,
    marker: Option<&CommitMarker>,
    exactly_once: bool,
) -> Result<BTreeMap<TopicPartition, Option<Offset>>, RestoreError> {
    let mut positions = BTreeMap::new();
    for partition in inputs {
        let group = committed.get(partition).copied();
        let state = marker
            .and_then(|m| {
                m.positions
                    .get(&(partition.topic.to_string(), partition.partition))
            })
            .copied();
        let position = match (group, state) {
            (Some(group), Some(state)) if group == state => Some(group),
            // Without transactions a crash can come between the two; the state's own position is
            // the one that counts nothing twice.
            (_, Some(state)) if !exactly_once => Some(state),
            (group, Some(state)) => {
                return Err(RestoreError::PositionsDiffer {
                    task,
                    partition: partition.clone(),
                    group: group.map_or_else(|| "none".to_owned(), |at| at.to_string()),
                    state,
                });
            }
            (group, None) => group,
        };
        positions.insert(partition.clone(), position);
    }
    Ok(positions)
}

/// Tells how far a restore has come.
struct Report<'r> {
    task: TaskId,
    changelog: &'r TopicPartition,
    total: i64,
    started: Timestamp,
    shown: Timestamp,
    records: u64,
    bytes: u64,
}

impl<'r> Report<'r> {
    fn new(task: TaskId, changelog: &'r TopicPartition, total: i64, now: Timestamp) -> Report<'r> {
        Report {
            task,
            changelog,
            total,
            started: now,
            shown: now,
            records: 0,
            bytes: 0,
        }
    }

    fn count(&mut self, record: &crate::broker::Fetched<'_>) {
        self.records += 1;
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        self.bytes += bytes as u64;
    }

    fn status(&self, done: i64, now: Timestamp) -> RestoreStatus {
        RestoreStatus {
            records: self.records,
            bytes: self.bytes,
            left: (self.total - done).max(0),
            ms: now.0 - self.started.0,
        }
    }

    fn show(&mut self, done: i64, now: Timestamp) {
        if now.0 - self.shown.0 < REPORT_EVERY_MS {
            return;
        }
        self.shown = now;
        let elapsed_s = (now.0 - self.started.0) as f64 / 1_000.0;
        let left_s = elapsed_s * (self.total - done) as f64 / done.max(1) as f64;
        tracing::info!(
            task = %self.task,
            changelog = %self.changelog,
            records = self.records,
            bytes = self.bytes,
            percent = 100 * done / self.total.max(1),
            records_per_s = (self.records as f64 / elapsed_s) as u64,
            left_s = left_s as u64,
            "restoring state"
        );
    }

    fn finish(&self, now: Timestamp) {
        tracing::info!(
            task = %self.task,
            changelog = %self.changelog,
            records = self.records,
            bytes = self.bytes,
            ms = now.0 - self.started.0,
            "state restored"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskId = TaskId {
        sub_topology: 0,
        partition: 1,
    };

    /// The decided position, or the error's beginning.
    #[track_caller]
    fn check(group: Option<Offset>, state: Option<Offset>, exactly_once: bool, expected: &str) {
        let partition = TopicPartition::new("t", 1);
        let committed = group
            .map(|at| (partition.clone(), at))
            .into_iter()
            .collect();
        let marker = state.map(|at| CommitMarker {
            positions: [(("t".to_owned(), 1), at)].into(),
            progress: Default::default(),
            contents: Default::default(),
        });
        let inputs = std::slice::from_ref(&partition);
        let decided = decide_positions(TASK, inputs, &committed, marker.as_ref(), exactly_once);
        let shown = match decided {
            Ok(positions) => {
                positions[&partition].map_or_else(|| "none".to_owned(), |at| at.to_string())
            }
            Err(error) => error.to_string().split(", but").next().unwrap().to_owned(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_task_goes_on_where_group_and_state_agree() {
        check(None, None, true, "none");
        check(Some(7), None, true, "7");
        check(Some(7), Some(7), true, "7");
        check(
            Some(7),
            Some(9),
            true,
            "task 0_1: the group's position of t-1 is 7",
        );
        check(
            None,
            Some(9),
            true,
            "task 0_1: the group's position of t-1 is none",
        );
        check(Some(7), Some(9), false, "9");
        check(None, Some(9), false, "9");
    }

    #[test]
    fn state_of_another_version_is_refused_with_what_to_do() {
        let message = |version: u8| {
            let backend = crate::state::memory::MemoryBackend::default();
            let mut state = backend.open("n-1", &["n".to_owned()]).unwrap();
            let mut batch = StateBatch::default();
            batch.put(0, MARKER_KEY, &[version]);
            state.write(&batch).unwrap();
            read_marker(TASK, &*state, 0).unwrap_err().to_string()
        };
        expect_test::expect!["task 0_1: the state and its changelog were written by an older version of Tidemill (format 1, this one writes 2). Run that version, or begin anew under another name (`app:` in the topology)"].assert_eq(&message(1));
        assert!(message(3).contains("a newer version"), "{}", message(3));
        assert!(message(2).contains("is damaged"), "{}", message(2));
    }

    #[test]
    fn a_store_of_another_aggregate_is_refused_and_one_with_another_grace_is_not() {
        let plan = |window: &str, calls: &str| {
            let file = format!(
                "app: a\nnodes:\n  s: {{ source: {{ topic: t, key: wiki }} }}\n  n: {{ aggregate: {{ from: s, \
                 by: wiki, window: {{ {window} }}, set: {{ {calls} }} }} }}\n"
            );
            let topology = crate::config::parse(&file, "a.yaml").unwrap();
            let plan = crate::topology::plan::plan(&topology).unwrap();
            Arc::clone(&plan.processing[0])
        };
        let usual = plan("tumbling: 5m, grace: 1s", "a: count(), b: sum(n)");
        let store = &usual.stores[0];
        let marker = CommitMarker {
            contents: BTreeMap::from([(store.name.clone(), store.content.clone())]),
            ..CommitMarker::default()
        };
        let check = |plan: &SubTopology| {
            let checked = check_contents(plan, std::slice::from_ref(&marker));
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(&usual), Ok(()));
        assert_eq!(
            check(&plan("tumbling: 5m, grace: 2s", "a: count(), b: sum(n)")),
            Ok(())
        );
        assert_eq!(
            check(&plan("tumbling: 5m", "renamed: count(), b: sum(n)")),
            Ok(())
        );
        assert!(check(&plan("tumbling: 5m", "b: sum(n), a: count()")).is_err());
        assert!(check(&plan("session: 5m", "a: count(), b: sum(n)")).is_err());
        expect_test::expect![[r#"
            node n: the topology was changed, and the stored results mean something else
              stored:   by wiki; window tumbling 5m; count(), sum(n)
              topology: by wiki; window hopping 5m, advance 1m; count(), sum(n)
            Take the change back, or give the node another name: it then begins empty with what comes from now on. To count from the beginning of the topic, give the application another name (`app:`)"#]].assert_eq(
            &check(&plan("hopping: 5m, advance: 1m", "a: count(), b: sum(n)")).unwrap_err(),
        );
    }
}
