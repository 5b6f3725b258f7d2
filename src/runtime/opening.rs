//! The tasks of a thread that do not run yet. They are opened a portion at a time, while the others run and
//! the group is answered:
//!
//! ```text
//!   added ─▶ the group's positions are known ─▶ state restored ─▶ where its inputs are read on ─▶ task
//! ```
//!
//! When one cannot be opened for now, all of them are tried again later; those that run go on.
//!
//! Group and state are asked one after the other. A process that stood still in between, and was replaced,
//! finds that its successor has moved one of them before it hears that it was replaced. So a task whose state
//! belongs to other positions than the group has is opened once more; a human is needed when they differ for
//! longer than a member can be away.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::memory::TaskMemory;
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

/// Between two attempts after trouble: at once, and then doubled each time, from the first to the second.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// The states of so many tasks are opened in one step.
const AT_ONCE: usize = 4;

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
    /// The task that was last asked for alone, since some of them have to wait.
    alone: Option<TaskId>,
    /// Tasks whose positions are known.
    known: VecDeque<(TaskId, Arc<SubTopology>, Positions)>,
    /// Tasks whose state is being restored, with the group's positions.
    restoring: BTreeMap<TaskId, (Arc<SubTopology>, Positions)>,
    restores: Restores,
    /// When they are to be opened again, after trouble; none: there was none.
    again_at: Option<Timestamp>,
    again_pause: Duration,
    /// Tasks whose state belongs to other positions than the group's, and since when.
    differing: BTreeMap<TaskId, Timestamp>,
}

impl Openings {
    /// There is nothing to be opened.
    pub(super) fn new(shared: Arc<Shared>, thread: String) -> Openings {
        let restores = Restores::new(shared.memory.restored);
        Openings {
            shared,
            thread,
            asking: BTreeMap::new(),
            ask_at: Timestamp::MIN,
            pause: BACK_OFF.0,
            patience: None,
            alone: None,
            known: VecDeque::new(),
            restoring: BTreeMap::new(),
            restores,
            again_at: None,
            again_pause: Duration::ZERO,
            differing: BTreeMap::new(),
        }
    }

    /// Opens a task from now on.
    pub(super) fn add(&mut self, id: TaskId, plan: Arc<SubTopology>) {
        self.shared
            .metrics
            .opening(id, Some("the group's positions"));
        self.asking.insert(id, plan);
        self.ask_at = match self.differing.contains_key(&id) {
            true => self
                .shared
                .clock
                .now()
                .plus_millis(BACK_OFF.0.as_millis() as i64),
            false => Timestamp::MIN,
        };
    }

    /// Whether this task is being opened.
    pub(super) fn contains(&self, id: TaskId) -> bool {
        let is_known = self.known.iter().any(|(known, ..)| *known == id);
        is_known || self.asking.contains_key(&id) || self.restoring.contains_key(&id)
    }

    /// Whether no task is being opened.
    pub(super) fn is_empty(&self) -> bool {
        self.asking.is_empty() && self.known.is_empty() && self.restoring.is_empty()
    }

    /// Whether it is time to open again those that could not be.
    pub(super) fn are_due_again(&self) -> bool {
        let now = self.shared.clock.now();
        self.again_at.is_some_and(|again| now >= again)
    }

    /// Whether they wait after trouble.
    pub(super) fn are_put_off(&self) -> bool {
        self.again_at.is_some() && !self.are_due_again()
    }

    /// Those that could not be opened are added again now.
    pub(super) fn resume(&mut self) {
        self.again_at = None;
    }

    /// Gives all of them up, to be opened again after a while.
    pub(super) fn put_off(&mut self, error: &ThreadError) {
        tracing::warn!(thread = %self.thread, %error, "tasks cannot be opened; trying again");
        let pause = self.again_pause;
        self.give_up();
        let now = self.shared.clock.now();
        self.again_at = Some(now.plus_millis(pause.as_millis() as i64));
        self.again_pause = (pause * 2).clamp(TRY_AGAIN.0, TRY_AGAIN.1);
    }

    /// Whether changelogs are being read.
    pub(super) fn is_reading(&self) -> bool {
        !self.restores.is_empty()
    }

    /// Opens none of them any more; their states are closed.
    pub(super) fn clear(&mut self) {
        self.give_up();
        self.differing.clear();
    }

    fn give_up(&mut self) {
        let metrics = &self.shared.metrics;
        self.restores.clear(metrics);
        let asking = std::mem::take(&mut self.asking).into_keys();
        let known = std::mem::take(&mut self.known).into_iter();
        let restoring = std::mem::take(&mut self.restoring).into_keys();
        let all = asking.chain(known.map(|(id, ..)| id)).chain(restoring);
        all.for_each(|id| metrics.opening(id, None));
        (self.pause, self.patience, self.alone) = (BACK_OFF.0, None, None);
        self.again_at = None;
    }

    /// Gets all of them further; waits up to `timeout` for records of changelogs. Gives those that are
    /// open, each with so much memory, and tells whether anything has got further.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub(super) fn step(
        &mut self,
        timeout: Duration,
        memory: TaskMemory,
    ) -> Result<(Vec<Task>, bool), ThreadError> {
        if self.is_empty() {
            return Ok((Vec::new(), false));
        }
        let mut moved = self.ask()?;
        moved |= self.restore()?;
        let shared = Arc::clone(&self.shared);
        let means = means(&shared);
        moved |= self.restores.step(means, timeout)?;
        let mut opened = Vec::new();
        for (id, restored) in self.restores.finished(means)? {
            let (plan, committed) = self.restoring.remove(&id).expect("it was being restored");
            shared.metrics.opening(id, None);
            match self.open(id, &plan, &committed, restored, memory) {
                Err(ThreadError::Restore(error @ RestoreError::PositionsDiffer { .. }))
                    if self.may_agree_later(id, &error) =>
                {
                    self.add(id, plan);
                }
                task => {
                    opened.push(task?);
                    self.differing.remove(&id);
                }
            }
        }
        if !opened.is_empty() {
            self.again_pause = Duration::ZERO;
            moved = true;
        }
        Ok((opened, moved))
    }

    /// Asks for the group's positions of those that wait for them: of all at once, and where some have to
    /// wait, of one task per step.
    fn ask(&mut self) -> Result<bool, ThreadError> {
        let now = self.shared.clock.now();
        if self.asking.is_empty() || now < self.ask_at {
            return Ok(false);
        }
        let all = self.asking.iter();
        let all: Vec<(TaskId, Arc<SubTopology>)> =
            all.map(|(id, plan)| (*id, Arc::clone(plan))).collect();
        // By turns, so that those that need not wait are found.
        let asked = match self.alone {
            None => all,
            Some(last) => {
                let next = all.iter().find(|(id, _)| *id > last).or(all.first());
                next.cloned().into_iter().collect()
            }
        };
        let committed = match self.committed(&asked)? {
            Ok(committed) => committed,
            Err(reason) => {
                self.alone = asked.last().map(|(id, _)| *id);
                self.wait(&reason);
                return Ok(false);
            }
        };
        for (id, plan) in asked {
            self.asking.remove(&id);
            let own = inputs_of(id, &plan)
                .filter_map(|input| committed.get(&input).map(|at| (input, *at)));
            let own = own.collect();
            self.known.push_back((id, plan, own));
        }
        if self.asking.is_empty() {
            self.alone = None;
        }
        (self.pause, self.patience) = (BACK_OFF.0, None);
        Ok(true)
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

    fn wait(&mut self, reason: &str) {
        tracing::debug!(reason, "waiting for stable offsets");
        let now = self.shared.clock.now();
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

    /// Whether group and state, which differ, were perhaps only asked at different times.
    fn may_agree_later(&mut self, id: TaskId, error: &RestoreError) -> bool {
        let now = self.shared.clock.now();
        let patience = 2 * self.shared.settings.session_timeout;
        let since = *self.differing.entry(id).or_insert_with(|| {
            tracing::warn!(thread = %self.thread, %error, "asking again");
            now
        });
        now < since.plus_millis(patience.as_millis() as i64)
    }

    /// Begins to restore some of those whose positions are known.
    fn restore(&mut self) -> Result<bool, ThreadError> {
        let some = self.known.len().min(AT_ONCE);
        let mut tasks = Vec::new();
        for (id, plan, committed) in self.known.drain(..some) {
            self.shared.metrics.opening(id, Some("its state"));
            self.restoring.insert(id, (Arc::clone(&plan), committed));
            tasks.push((id, plan));
        }
        if !tasks.is_empty() {
            self.restores.begin(means(&self.shared), &tasks)?;
        }
        Ok(!tasks.is_empty())
    }

    /// Makes the task, and finds out where its inputs are read on.
    fn open(
        &self,
        id: TaskId,
        plan: &Arc<SubTopology>,
        committed: &Positions,
        restored: Restored,
        memory: TaskMemory,
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
            memory,
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

fn means(shared: &Shared) -> Means<'_> {
    Means {
        broker: &*shared.broker,
        backend: &*shared.backend,
        clock: &*shared.clock,
        metrics: &shared.metrics,
    }
}

fn inputs_of(id: TaskId, plan: &SubTopology) -> impl Iterator<Item = TopicPartition> {
    let topics = plan.topics();
    topics.map(move |topic| TopicPartition::new(topic, id.partition))
}
