//! The state of one task while it is brought up to where its changelogs are.

use super::changes::LastChanges;
use super::report::Report;
use super::{RestoreError, Restored, check_contents, oldest, read_marker};
use crate::broker::{Fetched, Offset, TopicPartition};
use crate::processor::MARKER_KEY;
use crate::runtime::metrics::RestoreStatus;
use crate::runtime::outage::Patience;
use crate::runtime::start::LogRanges;
use crate::state::{StateBatch, StateError, StoreId, TaskState};
use crate::time::Timestamp;
use crate::topology::plan::{SubTopology, TaskId};

/// The last commit of a state is looked for among so many offsets below its checkpoint.
const LINEAGE_RECORDS: Offset = 1_000;

/// A state that is being restored.
pub(super) struct Replay {
    task: TaskId,
    state: Box<dyn TaskState>,
    /// One per store.
    stores: Vec<StoreReplay>,
    report: Report,
    patience: Patience,
}

/// The changelog of one store.
struct StoreReplay {
    changelog: TopicPartition,
    /// Where it began: the state had what is before it.
    from: Offset,
    /// The offset of the next record to be read. It begins before `from` where the last commit of the
    /// state is looked for.
    position: Offset,
    /// As far as it has to be read.
    end: Offset,
    lineage: Option<Lineage>,
    changes: LastChanges,
    /// The last commit among them. It is written together with the checkpoint: the one of the state is
    /// always below its checkpoint.
    marker: Option<Vec<u8>>,
}

/// Whether the changelog is the one that the state was written with: the last commit below the checkpoint
/// must be that of the state. A topic that was deleted and created again, as by a reset that this machine
/// did not take part in, may be longer by now than the old one was.
struct Lineage {
    own: Vec<u8>,
    /// None: compaction may have left none there.
    found: Option<Vec<u8>>,
}

impl Replay {
    /// Begins with what the state has. `ranges` are those of its changelogs.
    ///
    /// # Errors
    /// [`StateError::Corrupted`] when the state cannot be what the changelogs begin with;
    /// [`RestoreError::ChangelogReplaced`].
    pub(super) fn begin(
        task: TaskId,
        plan: &SubTopology,
        state: Box<dyn TaskState>,
        ranges: &LogRanges,
        now: Timestamp,
    ) -> Result<Replay, RestoreError> {
        let stores = plan.stores.iter().enumerate();
        let stores = stores.map(|(store, store_plan)| {
            let changelog = TopicPartition::new(store_plan.changelog.as_str(), task.partition);
            StoreReplay::begin(task, &*state, store, changelog, ranges)
        });
        let stores = stores.collect::<Result<Vec<_>, _>>()?;
        let total = stores.iter().map(StoreReplay::left).sum();
        Ok(Replay {
            task,
            state,
            stores,
            report: Report::new(task, total, now),
            patience: Patience::new(now),
        })
    }

    /// Where its changelogs are read on, with the stores that they belong to, as far as they have to be.
    pub(super) fn positions(&self) -> impl Iterator<Item = (StoreId, &TopicPartition, Offset)> {
        let stores = self.stores.iter().enumerate();
        let unread = stores.filter(|(_, store)| !store.is_done());
        unread.map(|(at, store)| (at, &store.changelog, store.position))
    }

    /// Takes a record of the changelog of a store.
    pub(super) fn take(&mut self, store: StoreId, record: &Fetched<'_>) {
        let Some(key) = record.key else {
            return;
        };
        let store = &mut self.stores[store];
        let is_marker = key == MARKER_KEY;
        if record.offset < store.from {
            if let Some(lineage) = store.lineage.as_mut().filter(|_| is_marker) {
                lineage.found = record.value.map(<[u8]>::to_vec);
            }
            return;
        }
        self.report.count(key, record.value);
        match is_marker {
            true => store.marker = record.value.map(<[u8]>::to_vec),
            false => store.changes.put(key, record.value),
        }
    }

    /// Takes down how far its changelogs have been read. Tells whether that is further than before.
    ///
    /// # Errors
    /// [`StateError::Corrupted`] when a changelog is not that of the state.
    pub(super) fn advance(
        &mut self,
        position: &dyn Fn(&TopicPartition) -> Option<Offset>,
        now: Timestamp,
    ) -> Result<bool, RestoreError> {
        let mut moved = false;
        for store in &mut self.stores {
            let reached = position(&store.changelog).unwrap_or(store.position);
            moved |= reached > store.position;
            store.position = reached.max(store.position);
            store.check_lineage(self.task)?;
        }
        if moved {
            self.patience = Patience::new(now);
        } else if let Some(store) = self.stores.iter().find(|store| !store.is_done())
            && let Some(waited_s) = self.patience.is_over(now)
        {
            tracing::warn!(
                task = %self.task, changelog = %store.changelog, position = store.position,
                end = store.end, waited_s,
                "a restore gets no further: a transaction that is not ended holds the rest, \
                 until it times out or is aborted (kafka-transactions.sh find-hanging, abort), \
                 or the log does not answer"
            );
        }
        self.report.show(self.left(), now);
        Ok(moved)
    }

    /// The memory that the changes of each store take which are not written yet.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = (StoreId, usize)> {
        let stores = self.stores.iter().enumerate();
        stores.map(|(at, store)| (at, store.changes.bytes()))
    }

    /// Writes what has been read of the changelog of a store.
    ///
    /// # Errors
    /// As [`TaskState::load`].
    pub(super) fn write(&mut self, store: StoreId) -> Result<(), StateError> {
        let StoreReplay {
            changes,
            marker,
            position,
            ..
        } = &mut self.stores[store];
        let mut batch = StateBatch::default();
        if let Some(marker) = marker.take() {
            batch.put(store, MARKER_KEY, &marker);
        }
        batch.checkpoint(store, *position);
        self.state.load(store, changes.sorted().parts(), batch)?;
        *changes = LastChanges::default();
        Ok(())
    }

    fn left(&self) -> Offset {
        self.stores.iter().map(StoreReplay::left).sum()
    }

    /// How far it is.
    pub(super) fn status(&self, now: Timestamp) -> RestoreStatus {
        self.report.status(self.left(), now)
    }

    /// How many records have been read.
    pub(super) fn records(&self) -> u64 {
        self.report.records()
    }

    /// Whether everything has been read.
    pub(super) fn is_done(&self) -> bool {
        self.stores.iter().all(StoreReplay::is_done)
    }

    /// The state, up to date.
    ///
    /// # Errors
    /// When it cannot be written, or is not that of the plan.
    pub(super) fn finish(
        mut self,
        plan: &SubTopology,
        now: Timestamp,
    ) -> Result<Restored, RestoreError> {
        for store in 0..self.stores.len() {
            if self.stores[store].has_news() {
                self.write(store)?;
            }
        }
        self.report.finish(now);
        let markers = (0..self.stores.len())
            .filter_map(|store| read_marker(self.task, &*self.state, store).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        if !markers.is_empty() && markers.len() < self.stores.len() {
            tracing::info!(task = %self.task, "a store is new, and begins where the others are");
        }
        check_contents(plan, &markers)?;
        Ok(Restored {
            state: self.state,
            marker: oldest(markers),
        })
    }
}

impl StoreReplay {
    fn begin(
        task: TaskId,
        state: &dyn TaskState,
        store: StoreId,
        changelog: TopicPartition,
        ranges: &LogRanges,
    ) -> Result<StoreReplay, RestoreError> {
        let (start, end) = (ranges.start(&changelog), ranges.end(&changelog));
        let from = match state.checkpoint(store)? {
            Some(checkpoint) if checkpoint > end => {
                return Err(RestoreError::ChangelogReplaced {
                    task,
                    changelog,
                    checkpoint,
                    end,
                });
            }
            // What was deleted there since may still be in the store.
            Some(checkpoint) if checkpoint < start => {
                return Err(RestoreError::State(StateError::Corrupted {
                    path: task.to_string(),
                    reason: format!(
                        "its checkpoint {checkpoint} is older than changelog {changelog}, which \
                         begins at {start}"
                    ),
                }));
            }
            Some(checkpoint) => checkpoint,
            None => start,
        };
        let mut own = Vec::new();
        let has_marker = from > start && state.get(store, MARKER_KEY, &mut own)?;
        Ok(StoreReplay {
            from,
            position: match has_marker {
                true => start.max(from - LINEAGE_RECORDS),
                false => from,
            },
            end,
            lineage: has_marker.then_some(Lineage { own, found: None }),
            changelog,
            changes: LastChanges::default(),
            marker: None,
        })
    }

    fn check_lineage(&mut self, task: TaskId) -> Result<(), StateError> {
        if self.position < self.from {
            return Ok(());
        }
        let Some(Lineage { own, found }) = self.lineage.take() else {
            return Ok(());
        };
        match found {
            Some(found) if found != own => Err(StateError::Corrupted {
                path: task.to_string(),
                reason: format!(
                    "it is not the state of changelog {}, which has another commit before offset \
                     {}: the topic was deleted and created again",
                    self.changelog, self.from
                ),
            }),
            _ => Ok(()),
        }
    }

    fn left(&self) -> Offset {
        (self.end - self.position.max(self.from)).max(0)
    }

    fn has_news(&self) -> bool {
        self.position > self.from
    }

    fn is_done(&self) -> bool {
        self.position >= self.end && self.lineage.is_none()
    }
}
