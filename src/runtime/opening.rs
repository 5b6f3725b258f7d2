//! The tasks of a thread that do not run yet. They are opened a portion at a time, while the others run and
//! the group is answered:
//!
//! ```text
//!   added ─▶ the group's positions are known ─▶ state restored ─▶ where its inputs are read on ─▶ task
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::outage::Patience;
use super::restore::{Means, RestoreError, Restored, Restores, decide_positions};
use super::start::LogRanges;
use super::task::{Task, TaskStart};
use super::thread::Shared;
use super::trouble::ThreadError;
use crate::broker::{BrokerError, Offset, TopicPartition};
use crate::processor::Share;
use crate::time::Timestamp;
use crate::topology::graph::Guarantee;
use crate::topology::plan::{SubTopology, TaskId};

/// Between two attempts to get the group's positions: doubled each time, from the first to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Changes of a thread's tasks that wait in memory while their states are restored, in bytes.
const BUFFER_BYTES: usize = 32 << 20;

/// Kept positions of inputs.
type Positions = BTreeMap<TopicPartition, Offset>;

/// The tasks that a thread opens.
pub(super) struct Openings {
    shared: Arc<Shared>,
    /// The name of the thread.
    thread: String,
    /// Tasks for which the group's positions are not known yet.
    asking: BTreeMap<TaskId, Arc<SubTopology>>,
    /// When they are asked for, how long after that again, and since when in vain.
    ask_at: Timestamp,
    pause: Duration,
    patience: Option<Patience>,
    /// Tasks whose state is being restored, with the group's positions.
    restoring: BTreeMap<TaskId, (Arc<SubTopology>, Positions)>,
    restores: Restores,
}

impl Openings {
    /// There is nothing to be opened.
    pub(super) fn new(shared: Arc<Shared>, thread: String) -> Openings {
        Openings {
            shared,
            thread,
            asking: BTreeMap::new(),
            ask_at: Timestamp::MIN,
            pause: BACK_OFF.0,
            patience: None,
            restoring: BTreeMap::new(),
            restores: Restores::new(BUFFER_BYTES),
        }
    }

    /// Opens a task from now on.
    pub(super) fn add(&mut self, id: TaskId, plan: Arc<SubTopology>) {
        self.shared
            .metrics
            .opening(id, Some("the group's positions"));
        self.asking.insert(id, plan);
        self.ask_at = Timestamp::MIN;
    }

    /// Whether this task is being opened.
    pub(super) fn contains(&self, id: TaskId) -> bool {
        self.asking.contains_key(&id) || self.restoring.contains_key(&id)
    }

    /// Whether no task is being opened.
    pub(super) fn is_empty(&self) -> bool {
        self.asking.is_empty() && self.restoring.is_empty()
    }

    /// Whether changelogs are being read.
    pub(super) fn is_reading(&self) -> bool {
        !self.restores.is_empty()
    }

    /// Opens none of them any more; their states are closed.
    pub(super) fn clear(&mut self) {
        let metrics = &self.shared.metrics;
        self.restores.clear(metrics);
        let asking = std::mem::take(&mut self.asking).into_keys();
        let restoring = std::mem::take(&mut self.restoring).into_keys();
        asking
            .chain(restoring)
            .for_each(|id| metrics.opening(id, None));
        self.patience = None;
    }

    /// Gets all of them further; waits up to `timeout` for records of changelogs. Gives those that are
    /// open, each with so much memory for its tables, and tells whether anything has got further.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub(super) fn step(
        &mut self,
        timeout: Duration,
        cache_bytes: usize,
    ) -> Result<(Vec<Task>, bool), ThreadError> {
        if self.is_empty() {
            return Ok((Vec::new(), false));
        }
        let mut moved = self.ask()?;
        let shared = Arc::clone(&self.shared);
        let means = Means {
            broker: &*shared.broker,
            backend: &*shared.backend,
            clock: &*shared.clock,
            metrics: &shared.metrics,
        };
        moved |= self.restores.step(means, timeout)?;
        let mut opened = Vec::new();
        for (id, restored) in self.restores.finished(means)? {
            let (plan, committed) = self.restoring.remove(&id).expect("it was being restored");
            opened.push(self.open(id, &plan, &committed, restored, cache_bytes)?);
            shared.metrics.opening(id, None);
        }
        moved |= !opened.is_empty();
        Ok((opened, moved))
    }

    /// Asks for the group's positions of those that wait for them; those that are known are restored.
    fn ask(&mut self) -> Result<bool, ThreadError> {
        let now = self.shared.clock.now();
        if self.asking.is_empty() || now < self.ask_at {
            return Ok(false);
        }
        let mut known = Vec::new();
        let all: Vec<(TaskId, Arc<SubTopology>)> = self.asking.clone().into_iter().collect();
        let mut waits_for = None;
        match self.committed(&all)? {
            Ok(committed) => known.push((all, committed)),
            Err(reason) if all.len() == 1 => waits_for = Some(reason),
            // Some of them need not wait.
            Err(_) => {
                for task in all {
                    let task = [task];
                    match self.committed(&task)? {
                        Ok(committed) => known.push((task.into(), committed)),
                        Err(reason) => waits_for = Some(reason),
                    }
                }
            }
        }
        let has_known = !known.is_empty();
        for (tasks, committed) in known {
            self.restore(&tasks, &committed)?;
        }
        match waits_for {
            Some(reason) => self.wait(&reason, now),
            None => (self.pause, self.patience) = (BACK_OFF.0, None),
        }
        Ok(has_known)
    }

    /// The group's positions of the inputs of tasks; or why they cannot be had yet: another member's open
    /// transaction holds some of them.
    fn committed(
        &self,
        tasks: &[(TaskId, Arc<SubTopology>)],
    ) -> Result<Result<Positions, String>, BrokerError> {
        let inputs = tasks.iter().flat_map(|(id, plan)| inputs_of(*id, plan));
        let inputs: Vec<TopicPartition> = inputs.collect();
        let broker = &self.shared.broker;
        match broker.committed(&self.shared.plan.group(), &inputs) {
            Ok(committed) => Ok(Ok(committed)),
            Err(BrokerError::Retry { reason, .. }) => Ok(Err(reason)),
            Err(error) => Err(error),
        }
    }

    fn wait(&mut self, reason: &str, now: Timestamp) {
        tracing::debug!(reason, "waiting for stable offsets");
        let patience = self.patience.get_or_insert_with(|| Patience::new(now));
        if let Some(waited_s) = patience.is_over(now) {
            let inputs = self.asking.iter();
            let inputs = inputs.flat_map(|(id, plan)| inputs_of(*id, plan));
            let inputs: Vec<String> = inputs.map(|input| input.to_string()).collect();
            let inputs = inputs.join(", ");
            tracing::warn!(
                thread = %self.thread, inputs, waited_s, reason,
                "the group's positions cannot be had: a transaction that is not ended holds them, \
                 until it times out or is aborted (kafka-transactions.sh find-hanging, abort)"
            );
        }
        self.ask_at = now.plus_millis(self.pause.as_millis() as i64);
        self.pause = (self.pause * 2).min(BACK_OFF.1);
    }

    fn restore(
        &mut self,
        tasks: &[(TaskId, Arc<SubTopology>)],
        committed: &Positions,
    ) -> Result<(), ThreadError> {
        for (id, plan) in tasks {
            self.shared.metrics.opening(*id, Some("its state"));
            self.asking.remove(id);
            let own = inputs_of(*id, plan)
                .filter_map(|input| committed.get(&input).map(|at| (input, *at)))
                .collect();
            self.restoring.insert(*id, (Arc::clone(plan), own));
        }
        let shared = &self.shared;
        let means = Means {
            broker: &*shared.broker,
            backend: &*shared.backend,
            clock: &*shared.clock,
            metrics: &shared.metrics,
        };
        Ok(self.restores.begin(means, tasks)?)
    }

    /// Makes the task, and finds out where its inputs are read on.
    fn open(
        &self,
        id: TaskId,
        plan: &Arc<SubTopology>,
        committed: &Positions,
        restored: Restored,
        cache_bytes: usize,
    ) -> Result<Task, ThreadError> {
        let shared = &self.shared;
        let inputs: Vec<TopicPartition> = inputs_of(id, plan).collect();
        let exactly_once = shared.plan.guarantee == Guarantee::ExactlyOnce;
        let marker = restored.marker.as_ref();
        if marker.is_none() && !plan.stores.is_empty() && !committed.is_empty() {
            tracing::warn!(
                task = %id, ?committed,
                "no changelog has anything of this task: its stores are new, or their changelogs \
                 were deleted. The state begins empty at the group's positions"
            );
        }
        let kept = decide_positions(id, &inputs, committed, marker, exactly_once)?;
        let positions = self.begin(id, kept)?;
        let progress = restored
            .marker
            .map(|marker| marker.progress)
            .unwrap_or_default();
        let partitions = plan
            .topics()
            .filter_map(|topic| shared.partitions.get(topic))
            .copied()
            .max();
        let share = Share {
            partition: id.partition,
            partitions: partitions.unwrap_or(1),
        };
        tracing::debug!(task = %id, ?committed, ?positions, "task opened");
        let start = TaskStart {
            state: restored.state,
            positions,
            progress,
            cache_bytes,
            registries: Arc::clone(&shared.registries),
            global_tables: Arc::clone(&shared.global_tables),
            now: shared.clock.now(),
        };
        Task::new(id, Arc::clone(plan), share, start)
    }

    /// The positions to read from, and what is lost because the log has deleted it.
    fn begin(
        &self,
        task: TaskId,
        kept: BTreeMap<TopicPartition, Option<Offset>>,
    ) -> Result<BTreeMap<TopicPartition, Offset>, ThreadError> {
        let partitions: Vec<_> = kept.keys().cloned().collect();
        let ranges = LogRanges::of(&*self.shared.broker, &partitions)?;
        let mut positions = BTreeMap::new();
        for (partition, position) in kept {
            let start = ranges
                .begin(&partition, position)
                .map_err(|source| RestoreError::BeyondEnd { task, source })?;
            if start.lost > 0 {
                tracing::error!(
                    %task, %partition, ?position, lost = start.lost,
                    "records were deleted from the topic before they were processed"
                );
                self.shared.metrics.lost(start.lost);
            }
            positions.insert(partition, start.offset);
        }
        Ok(positions)
    }
}

fn inputs_of(id: TaskId, plan: &SubTopology) -> impl Iterator<Item = TopicPartition> {
    let topics = plan.topics();
    topics.map(move |topic| TopicPartition::new(topic, id.partition))
}
