//! Brings local state to where the log is, before a task starts; a portion at a time, so that its thread
//! runs other tasks meanwhile, and answers the group.
//!
//! The order that is safe: first the committed positions (waiting until no open transaction holds
//! any), then the end of the changelog as uncommitted readers see it, then the changelog read
//! committed from the local checkpoint up to that end: whatever the previous owner committed is
//! below it, and its transaction markers are waited for. Last, the markers in the stores must say
//! the same positions as the group: if they do not, somebody moved the group's offsets, and going
//! on would count twice or lose. A changelog that ends before the local state's checkpoint is
//! another one than the state was written with, and stops the task as well; one that has another
//! commit there than the state's last one is another one too, and the state is rebuilt from it.

mod changes;
mod replay;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use self::replay::Replay;
use super::marker::CommitMarker;
use super::metrics::EngineMetrics;
use super::start::{BeyondEnd, LogRanges};
use crate::broker::{Broker, BrokerError, Isolation, Offset, Reader, TopicPartition};
use crate::codec::DecodeError;
use crate::processor::MARKER_KEY;
use crate::state::{StateBackend, StateError, StoreId, TaskState};
use crate::time::Clock;
use crate::topology::plan::{SubTopology, TaskId};

/// Records that are read at once.
const POLL_RECORDS: usize = 10_000;

/// A task's state cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The store.
    #[error(transparent)]
    State(#[from] StateError),
    /// The group's positions are not those that the state belongs to.
    #[error(
        "task {task}: the group's position of {partition} is {group}, but the state belongs to \
         position {state}: the group's offsets were changed from outside, or expired, or all brokers \
         were killed at once in the middle of a commit. Set the \
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
#[derive(Clone, Copy)]
pub(super) struct Means<'m> {
    pub(super) broker: &'m dyn Broker,
    pub(super) backend: &'m dyn StateBackend,
    pub(super) clock: &'m dyn Clock,
    pub(super) metrics: &'m EngineMetrics,
}

/// The tasks of a thread whose state is being restored, all at once and by one reader.
pub(super) struct Restores {
    /// So many bytes of changes may wait in memory to be written.
    buffer_bytes: usize,
    tasks: BTreeMap<TaskId, Restore>,
    /// None before the first record has to be read.
    reader: Option<Box<dyn Reader>>,
    /// The task and store of each changelog that is read; none: the reader has to be told.
    routes: Option<HashMap<TopicPartition, (TaskId, StoreId)>>,
}

struct Restore {
    plan: Arc<SubTopology>,
    replay: Replay,
    /// Whether its state was damaged, and is being rebuilt.
    is_rebuilt: bool,
}

impl Restores {
    /// Nothing is restored yet; when it is, so many bytes of changes may wait in memory to be written.
    pub(super) fn new(buffer_bytes: usize) -> Restores {
        Restores {
            buffer_bytes,
            tasks: BTreeMap::new(),
            reader: None,
            routes: None,
        }
    }

    /// Opens the states of a few tasks, and finds out what they lack. The group's positions of the tasks must be
    /// known by now.
    ///
    /// # Errors
    /// When a state cannot be opened, or is not that of its changelogs. Those before it are being
    /// restored all the same.
    pub(super) fn begin(
        &mut self,
        means: Means<'_>,
        tasks: &[(TaskId, Arc<SubTopology>)],
    ) -> Result<(), RestoreError> {
        let changelogs = tasks.iter().flat_map(|(task, plan)| {
            let stores = plan.stores.iter();
            stores.map(|store| TopicPartition::new(store.changelog.as_str(), task.partition))
        });
        let changelogs: Vec<TopicPartition> = changelogs.collect();
        let ranges = LogRanges::of(means.broker, &changelogs)?;
        for ((task, plan), begun) in tasks.iter().zip(begin_all(means, tasks, &ranges)) {
            let (replay, is_rebuilt) = match begun {
                Err(RestoreError::State(error @ StateError::Corrupted { .. })) => {
                    set_aside(means, *task, plan, &error)?;
                    (begin(means, *task, plan, &ranges)?, true)
                }
                begun => (begun?, false),
            };
            let plan = Arc::clone(plan);
            let restore = Restore {
                plan,
                replay,
                is_rebuilt,
            };
            self.tasks.insert(*task, restore);
        }
        self.routes = None;
        Ok(())
    }

    /// Whether no state is being restored.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Gives all tasks up; their states are closed, and keep what has been written.
    pub(super) fn clear(&mut self, metrics: &EngineMetrics) {
        for (task, restore) in std::mem::take(&mut self.tasks) {
            metrics.restored(task, restore.replay.records());
        }
        self.reader = None;
        self.routes = None;
    }

    /// Reads a portion of the changelogs; waits up to `timeout` for the first record. Tells whether
    /// anything has got further.
    ///
    /// # Errors
    /// When a state cannot be written, or is not that of its changelog, or the log refuses.
    pub(super) fn step(
        &mut self,
        means: Means<'_>,
        timeout: Duration,
    ) -> Result<bool, RestoreError> {
        self.assign(means)?;
        let (Some(reader), Some(routes)) = (&mut self.reader, &self.routes) else {
            return Ok(false);
        };
        let tasks = &mut self.tasks;
        let mut last: Option<(TopicPartition, TaskId, StoreId)> = None;
        reader.poll(timeout, POLL_RECORDS, &mut |record| {
            // Records come in runs of one partition.
            let same = last
                .as_ref()
                .filter(|(at, ..)| at.partition == record.partition && *at.topic == *record.topic);
            let (task, store) = match same {
                Some((_, task, store)) => (*task, *store),
                None => {
                    let at = TopicPartition::new(record.topic, record.partition);
                    let Some((task, store)) = routes.get(&at).copied() else {
                        return;
                    };
                    last = Some((at, task, store));
                    (task, store)
                }
            };
            if let Some(restore) = tasks.get_mut(&task) {
                restore.replay.take(store, &record);
            }
        })?;
        let now = means.clock.now();
        let reader = &*reader;
        let mut moved = false;
        let mut damaged = Vec::new();
        for (task, restore) in &mut *tasks {
            let position = |changelog: &TopicPartition| reader.position(changelog);
            match restore.replay.advance(&position, now) {
                Ok(further) => moved |= further,
                Err(RestoreError::State(error @ StateError::Corrupted { .. })) => {
                    damaged.push((*task, error));
                }
                Err(error) => return Err(error),
            }
            means.metrics.restoring(*task, restore.replay.status(now));
        }
        for (task, error) in damaged {
            self.rebuild(means, task, error)?;
            moved = true;
        }
        self.bound(means)?;
        Ok(moved)
    }

    /// The tasks whose state is up to date.
    ///
    /// # Errors
    /// When a state is not that of its plan, or cannot be written.
    pub(super) fn finished(
        &mut self,
        means: Means<'_>,
    ) -> Result<Vec<(TaskId, Restored)>, RestoreError> {
        let done = self.tasks.iter();
        let done = done.filter(|(_, restore)| restore.replay.is_done());
        let done: Vec<TaskId> = done.map(|(task, _)| *task).collect();
        let mut finished = Vec::new();
        for task in done {
            let Restore {
                plan,
                replay,
                is_rebuilt,
            } = self.tasks.remove(&task).expect("just listed");
            self.routes = None;
            means.metrics.restored(task, replay.records());
            match replay.finish(&plan, means.clock.now()) {
                Ok(restored) => finished.push((task, restored)),
                Err(RestoreError::State(error @ StateError::Corrupted { .. })) if !is_rebuilt => {
                    self.begin_anew(means, task, plan, &error)?;
                }
                Err(error) => return Err(error),
            }
        }
        if self.tasks.is_empty() {
            self.reader = None;
        }
        Ok(finished)
    }

    /// Tells the reader what is to be read, if that has changed.
    fn assign(&mut self, means: Means<'_>) -> Result<(), RestoreError> {
        if self.routes.is_some() {
            return Ok(());
        }
        let mut routes = HashMap::new();
        let mut positions = Vec::new();
        for (task, restore) in &self.tasks {
            for (store, changelog, position) in restore.replay.positions() {
                routes.insert(changelog.clone(), (*task, store));
                positions.push((changelog.clone(), position));
            }
        }
        if positions.is_empty() {
            return Ok(());
        }
        if self.reader.is_none() {
            self.reader = Some(means.broker.reader(Isolation::ReadCommitted)?);
        }
        let reader = self.reader.as_mut().expect("just made");
        reader.assign(&positions)?;
        self.routes = Some(routes);
        Ok(())
    }

    /// Writes the largest heaps of changes while all of them take too much memory.
    fn bound(&mut self, means: Means<'_>) -> Result<(), RestoreError> {
        loop {
            let heaps = self.tasks.iter().flat_map(|(task, restore)| {
                let stores = restore.replay.unwritten();
                stores.map(|(store, bytes)| (bytes, *task, store))
            });
            let (all, largest) = heaps.fold((0, None), |(all, largest), heap| {
                (all + heap.0, largest.max(Some(heap)))
            });
            let Some((_, task, store)) = largest.filter(|_| all > self.buffer_bytes) else {
                return Ok(());
            };
            let restore = self.tasks.get_mut(&task).expect("just listed");
            match restore.replay.write(store) {
                Err(error @ StateError::Corrupted { .. }) => self.rebuild(means, task, error)?,
                written => written?,
            }
        }
    }

    /// Sets the state of a task aside, and begins anew with an empty one.
    fn rebuild(
        &mut self,
        means: Means<'_>,
        task: TaskId,
        error: StateError,
    ) -> Result<(), RestoreError> {
        let Restore {
            plan,
            replay,
            is_rebuilt,
        } = self.tasks.remove(&task).expect("it is being restored");
        means.metrics.restored(task, replay.records());
        if is_rebuilt {
            return Err(error.into());
        }
        drop(replay);
        self.begin_anew(means, task, plan, &error)
    }

    fn begin_anew(
        &mut self,
        means: Means<'_>,
        task: TaskId,
        plan: Arc<SubTopology>,
        error: &StateError,
    ) -> Result<(), RestoreError> {
        set_aside(means, task, &plan, error)?;
        self.begin(means, &[(task, plan)])?;
        let restore = self.tasks.get_mut(&task).expect("just begun");
        restore.is_rebuilt = true;
        Ok(())
    }
}

/// Opens several states at once: each takes its time to find out what it has.
fn begin_all(
    means: Means<'_>,
    tasks: &[(TaskId, Arc<SubTopology>)],
    ranges: &LogRanges,
) -> Vec<Result<Replay, RestoreError>> {
    std::thread::scope(|scope| {
        let opening = tasks
            .iter()
            .map(|(task, plan)| scope.spawn(|| begin(means, *task, plan, ranges)));
        let opening: Vec<_> = opening.collect();
        let begun = opening.into_iter().map(|each| each.join());
        begun.map(|each| each.expect("it does not panic")).collect()
    })
}

fn begin(
    means: Means<'_>,
    task: TaskId,
    plan: &SubTopology,
    ranges: &LogRanges,
) -> Result<Replay, RestoreError> {
    let stores: Vec<String> = plan.stores.iter().map(|store| store.name.clone()).collect();
    let state = means
        .backend
        .open(&plan.state_name(task.partition), &stores)?;
    Replay::begin(task, plan, state, ranges, means.clock.now())
}

fn set_aside(
    means: Means<'_>,
    task: TaskId,
    plan: &SubTopology,
    error: &StateError,
) -> Result<(), StateError> {
    tracing::error!(%task, %error, "state is set aside and rebuilt from its changelog");
    means.backend.set_aside(&plan.state_name(task.partition))
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
