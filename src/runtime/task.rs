//! A task: the work of one partition of a sub-topology.
//!
//! It owns its queues, its processor and its local state, and is owned by one thread. It knows
//! nothing of groups and transactions: the thread feeds it, and commits for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::holding::Waiting;
use super::marker::CommitMarker;
use super::memory::TaskMemory;
use super::outage::Outage;
use super::outputs::Writer;
use super::queue::{self, RecordClock, RecordQueue};
use super::trouble::ThreadError;
use crate::broker::{BrokerError, Fetched, Offset, Outgoing, TopicPartition};
use crate::format::Registries;
use crate::processor::{
    GlobalTables, Idle, MARKER_KEY, NodeCounts, Outputs, ProcessError, Processor, Progress, Share,
    Wait,
};
use crate::state::write_behind::WriteBehind;
use crate::state::{Change, StateBatch, StateError, TaskState};
use crate::time::Timestamp;
use crate::topology::plan::{SubTopology, TaskId};

/// Records that a task processes before another one gets its turn.
const BATCH_RECORDS: usize = 1_000;

/// What is committed is written to the store after so many milliseconds at the latest: when a process is killed, so
/// much is restored.
const SETTLE_AFTER_MS: i64 = 1_000;

/// A schema that cannot be had is asked for again after so many milliseconds.
const ASK_AGAIN_MS: i64 = 1_000;

pub(super) struct Task {
    pub(super) id: TaskId,
    plan: Arc<SubTopology>,
    state: WriteBehind,
    /// The wall-clock time of the first commit that is not in the store yet.
    unsettled: Option<Timestamp>,
    processor: Processor,
    /// One per topic, with the input that it belongs to.
    queues: Vec<(usize, RecordQueue)>,
    /// The offset of the next record to be processed, by queue.
    positions: Vec<Offset>,
    /// Whether a position has moved since the last commit.
    moved: bool,
    /// Whether a processor of a user's has been called for a time since the last commit.
    punctuated: bool,
    batch: StateBatch,
    buffer: Vec<u8>,
    /// The wall-clock time at which the last record came that was more than an upstream's word.
    last_record: Timestamp,
    /// The same of anything, by queue.
    last_read: Vec<Timestamp>,
    /// When a schema is asked for again that could not be had; none: nothing is waited for.
    asks_again: Option<Timestamp>,
    /// How long schemas could not be had.
    outage: Outage,
}

/// From where a task goes on.
pub(super) struct TaskStart {
    /// Its local state, up to date.
    pub(super) state: Box<dyn TaskState>,
    /// The offset of the next record of each input.
    pub(super) positions: BTreeMap<TopicPartition, Offset>,
    /// How far its folds have come.
    pub(super) progress: Progress,
    pub(super) memory: TaskMemory,
    /// Where the schemas are that records name.
    pub(super) registries: Arc<dyn Registries>,
    /// Those that its process has; they are whole.
    pub(super) global_tables: Arc<GlobalTables>,
    /// The wall-clock time.
    pub(super) now: Timestamp,
}

impl Task {
    /// A task going on from its start.
    ///
    /// # Errors
    /// When its state cannot be written.
    pub(super) fn new(
        id: TaskId,
        plan: Arc<SubTopology>,
        share: Share,
        start: TaskStart,
    ) -> Result<Task, ThreadError> {
        let TaskStart {
            mut state,
            positions,
            progress,
            memory,
            registries,
            global_tables,
            now,
        } = start;
        let is_alone = plan.topics().count() == 1;
        let queues: Vec<_> = plan
            .inputs
            .iter()
            .enumerate()
            .flat_map(|(at, input)| input.topics.iter().map(move |topic| (at, input, topic)))
            .map(|(at, input, topic)| {
                let partition = TopicPartition::new(topic.as_str(), id.partition);
                let clock = match is_alone {
                    true => RecordClock::Log,
                    false => RecordClock::of(&input.reader, &registries),
                };
                (at, RecordQueue::new(partition, input, clock))
            })
            .collect();
        let positions = queues
            .iter()
            .map(|(_, queue)| positions[queue.partition()])
            .collect();
        let last_read = vec![now; queues.len()];
        let mut processor = Processor::new(
            Arc::clone(&plan),
            share,
            memory.results,
            &progress,
            &registries,
            &global_tables,
        );
        let mut batch = StateBatch::default();
        processor.open(&*state, &mut batch)?;
        if !batch.is_empty() {
            state.write(&batch)?;
            batch.clear();
        }
        Ok(Task {
            id,
            plan,
            state: WriteBehind::new(state, memory.unwritten),
            unsettled: None,
            processor,
            queues,
            positions,
            moved: false,
            punctuated: false,
            batch,
            buffer: Vec::new(),
            last_record: now,
            last_read,
            asks_again: None,
            outage: Outage::default(),
        })
    }

    /// The number of the queue of a topic.
    pub(super) fn queue_of(&self, topic: &str) -> Option<usize> {
        self.queues
            .iter()
            .position(|(_, queue)| &*queue.partition().topic == topic)
    }

    pub(super) fn push(&mut self, queue: usize, record: &Fetched<'_>) {
        self.queues[queue].1.push(record);
    }

    pub(super) fn queued(&self) -> usize {
        self.queues.iter().map(|(_, queue)| queue.len()).sum()
    }

    /// Whether a record can be processed now: something is queued, and neither an input nor a schema
    /// has to be waited for.
    pub(super) fn is_ready(&self, at_end: &dyn Fn(&TopicPartition) -> bool) -> bool {
        self.asks_again.is_none() && self.next_queue(at_end).is_some()
    }

    /// Its inputs, with what of them waits.
    pub(super) fn waiting(
        &self,
        at_end: &dyn Fn(&TopicPartition) -> bool,
    ) -> impl Iterator<Item = Waiting<'_>> + Clone {
        let is_stuck = !self.is_ready(at_end);
        let positions = self.queues.iter().zip(&self.positions);
        positions.map(move |((_, queue), position)| Waiting {
            partition: queue.partition(),
            bytes: queue.memory(),
            next: queue.last_offset().map_or(*position, |last| last + 1),
            is_stuck,
        })
    }

    /// Processes what is queued, what happened first of all inputs first; gives the number of
    /// records. `now` is the wall-clock time. `at_end` tells whether all that a partition has is
    /// read: an input that is empty but not at its end is waited for.
    pub(super) fn process(
        &mut self,
        outputs: &mut dyn Outputs,
        now: Timestamp,
        at_end: &dyn Fn(&TopicPartition) -> bool,
    ) -> Result<usize, ProcessError> {
        let mut processed = 0;
        let is_waiting = |task: &Task| task.asks_again.is_some_and(|again| now < again);
        if !is_waiting(self) {
            let wait = self.find_times(now)?;
            if wait.is_some() || self.asks_again.is_some() {
                self.wait(wait, now);
            }
        }
        while processed < BATCH_RECORDS {
            if is_waiting(self) {
                break;
            }
            let Some((queue, up_to)) = self.next_queue(at_end) else {
                break;
            };
            let (input, records) = &mut self.queues[queue];
            let batch = records.next_batch(BATCH_RECORDS - processed, up_to);
            let all = batch.len();
            let wait = self
                .processor
                .process(*input, batch, now, &self.state, outputs)?;
            let count = wait.as_ref().map_or(all, |wait| wait.processed);
            if let Some(next) = records.advance(count) {
                self.positions[queue] = next;
                self.last_read[queue] = now;
                self.moved = true;
            }
            processed += count;
            self.wait(wait, now);
        }
        if self.processor.take_news() {
            self.last_record = now;
        }
        Ok(processed)
    }

    /// Finds out when queued records happened; it may have to wait for that.
    fn find_times(&mut self, now: Timestamp) -> Result<Option<Wait>, ProcessError> {
        if self.queues.len() == 1 {
            return Ok(None);
        }
        let mut queues = self.queues.iter_mut();
        match queues.try_for_each(|(_, queue)| queue.find_times(now)) {
            Ok(()) => Ok(None),
            Err(wait) => wait.or_stop(),
        }
    }

    /// Whether it is to be [punctuated](Task::punctuate).
    pub(super) fn has_processors(&self) -> bool {
        self.processor.has_processors()
    }

    /// Calls the processors of users that are to be called at this time of the wall clock.
    pub(super) fn punctuate(
        &mut self,
        outputs: &mut dyn Outputs,
        now: Timestamp,
    ) -> Result<(), ProcessError> {
        self.punctuated |= self.processor.punctuate(now, &self.state, outputs)?;
        Ok(())
    }

    /// Remembers what has to be waited for, and says so.
    fn wait(&mut self, wait: Option<Wait>, now: Timestamp) {
        let task = self.id;
        match wait {
            Some(Wait { node, source, .. }) => {
                self.asks_again = Some(now.plus_millis(ASK_AGAIN_MS));
                if let Some(attempts) = self.outage.failed(now) {
                    tracing::warn!(%task, node, error = %source, attempts, "waiting for a schema");
                }
            }
            None => {
                self.asks_again = None;
                if let Some(ended) = self.outage.succeeded(now) {
                    let (attempts, ms) = (ended.failures, ended.ms);
                    tracing::info!(%task, attempts, ms, "the schema registry is back");
                }
            }
        }
    }

    /// The queue whose head is the oldest, and up to which time it may be read before another one
    /// has its turn; none while an input that is not at its end has to be waited for.
    fn next_queue(&self, at_end: &dyn Fn(&TopicPartition) -> bool) -> Option<(usize, Timestamp)> {
        queue::oldest(self.queues.iter().map(|(_, queue)| queue), at_end)
    }

    /// Whether a commit would change anything.
    pub(super) fn needs_commit(
        &self,
        now: Timestamp,
        at_end: &dyn Fn(&TopicPartition) -> bool,
    ) -> bool {
        let silence = || {
            self.processor.waits_for_silence() && self.processor.acts_after(&self.idle(now, at_end))
        };
        self.moved || self.punctuated || silence()
    }

    /// For how long inputs have been at their ends and nothing has come.
    fn idle(&self, now: Timestamp, at_end: &dyn Fn(&TopicPartition) -> bool) -> Idle {
        let since = |last: Timestamp| (now.0 - last.0).max(0);
        let mut idle = Idle {
            task_ms: since(self.last_record),
            quiet_ms: since(self.last_record),
            inputs_ms: vec![i64::MAX; self.plan.inputs.len()],
        };
        for ((input, queue), last_read) in self.queues.iter().zip(&self.last_read) {
            let is_through = queue.is_empty() && at_end(queue.partition());
            if !is_through {
                idle.task_ms = 0;
            }
            let input_ms = &mut idle.inputs_ms[*input];
            let queue_ms = if is_through { since(*last_read) } else { 0 };
            *input_ms = queue_ms.min(*input_ms);
        }
        idle
    }

    /// Whether a commit is due before its time, to bound memory.
    pub(super) fn wants_commit(&self) -> bool {
        self.processor.wants_commit()
    }

    /// First third of a commit: hands all results to the log, and takes down what has changed in the
    /// stores.
    pub(super) fn flush(
        &mut self,
        outputs: &mut dyn Outputs,
        now: Timestamp,
        at_end: &dyn Fn(&TopicPartition) -> bool,
    ) -> Result<(), ProcessError> {
        let idle = self.idle(now, at_end);
        self.processor
            .flush(&self.state, outputs, &mut self.batch, &idle)?;
        self.add_marker();
        Ok(())
    }

    fn add_marker(&mut self) {
        if self.plan.stores.is_empty() {
            return;
        }
        let positions = self
            .positions()
            .map(|(partition, next)| ((partition.topic.to_string(), partition.partition), next))
            .collect();
        let marker = CommitMarker {
            positions,
            progress: self.processor.progress(),
            contents: {
                let stores = self.plan.stores.iter();
                stores
                    .map(|store| (store.name.clone(), store.content.clone()))
                    .collect()
            },
        };
        self.buffer.clear();
        marker.encode_into(&mut self.buffer);
        for store in 0..self.plan.stores.len() {
            self.batch.put(store, MARKER_KEY, &self.buffer);
        }
    }

    /// Second third of a commit: writes what has changed to the changelogs.
    pub(super) fn write_changelogs(&self, writer: &mut Writer) -> Result<(), BrokerError> {
        for change in self.batch.changes() {
            let (store, key, value) = match change {
                Change::Put(store, key, value) => (store, key, Some(value)),
                Change::Delete(store, key) => (store, key, None),
                // What is too old for its store is so for the changelog's topic too.
                Change::DeleteRange(..) | Change::Expire(..) | Change::Checkpoint(..) => continue,
            };
            writer.send(Outgoing {
                topic: &self.plan.stores[store].changelog,
                partition: Some(self.id.partition),
                // The topic has the time of appending; the event time is in the value.
                timestamp: Timestamp(0),
                key: Some(key),
                value,
                headers: &[],
            })?;
        }
        Ok(())
    }

    /// The offset of the next record of each input.
    pub(super) fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.queues
            .iter()
            .map(|(_, queue)| queue.partition())
            .zip(self.positions.iter().copied())
    }

    /// Last third of a commit, after the log has committed: gives the same changes to the local
    /// state, with the changelog offset that each store has thereby reached. `now` is the wall-clock time.
    pub(super) fn committed(
        &mut self,
        now: Timestamp,
        changelog_end: &dyn Fn(&str, i32) -> Option<Offset>,
    ) -> Result<(), StateError> {
        for (store, plan) in self.plan.stores.iter().enumerate() {
            if let Some(next) = changelog_end(&plan.changelog, self.id.partition) {
                self.batch.checkpoint(store, next);
            }
        }
        if !self.batch.is_empty() {
            self.state.write(&self.batch)?;
            self.batch.clear();
            self.unsettled.get_or_insert(now);
        }
        self.moved = false;
        self.punctuated = false;
        self.processor.committed();
        Ok(())
    }

    /// Whether what is committed is to be written to the store.
    pub(super) fn is_to_settle(&self, now: Timestamp) -> bool {
        let waits = |since: Timestamp| now.0 - since.0;
        self.unsettled
            .is_some_and(|since| waits(since) >= SETTLE_AFTER_MS)
    }

    /// Writes what is committed to the store.
    pub(super) fn settle(&mut self) -> Result<(), StateError> {
        self.state.settle()?;
        self.unsettled = None;
        Ok(())
    }

    pub(super) fn take_counts(&mut self) -> Vec<(String, NodeCounts)> {
        self.processor.take_counts()
    }

    pub(super) fn stream_time(&self) -> Timestamp {
        self.processor.stream_time()
    }
}
