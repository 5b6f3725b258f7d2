//! A stream thread: a member of the group with one producer, running the tasks it is given.
//!
//! ```text
//!              ┌──────────────────────────────────────────────┐
//!              ▼                                              │
//!   poll ─→ queues ─→ tasks process ─→ commit when due ───────┘
//!     │
//!     ├─ Assigned: open the tasks, a portion at a time; read what belongs to those that run
//!     ├─ Revoked:  commit, close the tasks, let go
//!     └─ Lost:     close the tasks uncommitted, new producer
//! ```
//!
//! A commit is one transaction of the log for all tasks of the thread: outputs, changelogs and
//! source offsets together; only after it has succeeded are the same changes written to the local
//! stores. Whatever goes wrong before that point has one remedy, [`StreamThread::reset`]: throw
//! the producer and the tasks away, and begin anew from what is committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::failpoint::Failpoint;
use super::holding::{Holding, Waiting};
use super::membership::Membership;
use super::memory::MemoryShares;
use super::metrics::EngineMetrics;
use super::opening::Openings;
use super::outputs::{DeadLetters, TaskOutputs, Writer};
use super::settings::EngineSettings;
use super::stop::StopSignal;
use super::task::Task;
use super::topics;
use super::trouble::{Reaction, ThreadError, reaction};
use super::writers::Writers;
use crate::broker::{
    Acknowledge, Broker, BrokerError, GroupEvent, Isolation, MemberOptions, Offset, TopicPartition,
};
use crate::format::Registries;
use crate::processor::GlobalTables;
use crate::state::{StateBackend, StateError};
use crate::time::{Clock, Timestamp};
use crate::topology::graph::Guarantee;
use crate::topology::plan::{Plan, SubTopology, TaskId};

/// Records that are handed over by one poll. So few that their bytes are still in the CPU's cache when
/// they are processed.
const POLL_RECORDS: usize = 500;

/// While tasks run, those that are being opened wait no longer for records of their changelogs.
const RESTORE_POLL: Duration = Duration::from_millis(5);

/// An idle thread wakes up this often.
const IDLE_POLL: Duration = Duration::from_millis(50);

/// Between two attempts after trouble: doubled each time, from the first to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// What all threads of a process share.
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) backend: Arc<dyn StateBackend>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registries: Arc<dyn Registries>,
    pub(crate) settings: EngineSettings,
    pub(crate) memory: MemoryShares,
    pub(crate) partitions: BTreeMap<String, u32>,
    pub(crate) dead_letters: Arc<str>,
    pub(crate) global_tables: Arc<GlobalTables>,
    pub(crate) metrics: Arc<EngineMetrics>,
    pub(crate) stop: StopSignal,
    /// The process's identity, stable over restarts.
    pub(crate) instance: String,
    pub(super) failpoint: Failpoint,
}

impl Shared {
    fn failpoint(&self, place: &str) {
        self.failpoint.reach(place);
    }

    /// Where it can be made to die.
    #[cfg(test)]
    pub(crate) fn script(&self, after: u64, ending: super::failpoint::Ending) {
        self.failpoint.script(after, ending);
    }
}

pub(crate) struct StreamThread {
    shared: Arc<Shared>,
    name: String,
    member: Membership,
    writers: Writers,
    /// What the group has given to this member.
    assigned: BTreeSet<TopicPartition>,
    tasks: BTreeMap<TaskId, Task>,
    /// Those that do not run yet.
    openings: Openings,
    /// The task and queue of each assigned partition.
    routes: HashMap<(Arc<str>, i32), (TaskId, usize)>,
    holding: Holding,
    last_commit: Timestamp,
}

impl StreamThread {
    /// Joins the group.
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> Result<StreamThread, ThreadError> {
        let mut topics: Vec<String> = shared
            .plan
            .processing
            .iter()
            .flat_map(|sub| sub.topics().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        topics.sort_unstable();
        topics.dedup();
        let options = MemberOptions {
            group: shared.plan.group(),
            topics,
            instance_id: Some(format!("{}-{number}", shared.instance)),
            session_timeout: shared.settings.session_timeout,
            max_poll_interval: shared.settings.max_poll_interval,
            isolation: Isolation::ReadCommitted,
        };
        let (broker, clock) = (Arc::clone(&shared.broker), Arc::clone(&shared.clock));
        let member = Membership::join(broker, clock, options)?;
        let name = format!("{}-{}-{number}", shared.plan.app, shared.instance);
        let writers = Writers::new(Arc::clone(&shared), name.clone());
        let openings = Openings::new(Arc::clone(&shared), name.clone());
        let holding = Holding::new(shared.memory.held);
        let last_commit = shared.clock.now();
        Ok(StreamThread {
            shared,
            name,
            member,
            writers,
            assigned: BTreeSet::new(),
            tasks: BTreeMap::new(),
            openings,
            routes: HashMap::new(),
            holding,
            last_commit,
        })
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// When a human is needed.
    pub(crate) fn run(mut self) -> Result<(), ThreadError> {
        let mut pause = BACK_OFF.0;
        while !self.shared.stop.is_set() {
            match self.step(IDLE_POLL) {
                Ok(progress) => {
                    if progress {
                        pause = BACK_OFF.0;
                    }
                }
                Err(error) => {
                    self.recover(error)?;
                    self.shared.stop.wait(pause);
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
        self.shut_down()
    }

    /// One round: poll, process, commit when due, open tasks. Tells whether anything has got further.
    pub(crate) fn step(&mut self, timeout: Duration) -> Result<bool, ThreadError> {
        let has_begun = !self.tasks.is_empty() || !self.openings.is_empty();
        let is_to_begin = !has_begun && !self.openings.are_put_off();
        if (is_to_begin || self.openings.are_due_again())
            && !self.assigned.is_empty()
            && self.has_global_tables()
        {
            // An earlier attempt to open them failed, or came too early.
            self.open_tasks()?;
        }
        let member = &self.member;
        let at_end = |partition: &TopicPartition| member.at_end(partition);
        let ready = self.tasks.values().any(|task| task.is_ready(&at_end));
        let queued: usize = self.tasks.values().map(Task::queued).sum();
        // A task that waits for one of its inputs gets it by polling only.
        if !ready || queued < POLL_RECORDS {
            let timeout = match ready || self.openings.is_reading() {
                true => Duration::ZERO,
                false => timeout,
            };
            let event = self.poll(timeout)?;
            if let Some(event) = event {
                self.handle(event)?;
            }
            self.hold_back()?;
        }
        // After the group was heard, as in [`StreamThread::reset`].
        self.writers.replace()?;
        let processed = self.process()?;
        if self.is_commit_due() {
            self.commit()?;
        }
        self.settle(|task, now| task.is_to_settle(now))?;
        let wait = match (processed > 0, self.tasks.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, true) => timeout,
            (false, false) => timeout.min(RESTORE_POLL),
        };
        let opened = self.go_on_opening(wait)?;
        Ok(processed > 0 || opened)
    }

    /// Whether tasks are being opened.
    #[cfg(test)]
    pub(crate) fn is_opening(&self) -> bool {
        !self.openings.is_empty()
    }

    fn poll(&mut self, timeout: Duration) -> Result<Option<GroupEvent>, ThreadError> {
        let StreamThread {
            member,
            tasks,
            routes,
            ..
        } = self;
        let mut last: Option<(Arc<str>, i32, TaskId, usize)> = None;
        let event = member.poll(timeout, POLL_RECORDS, &mut |record| {
            // Records come in runs of one partition.
            let same = last.as_ref().filter(|(topic, partition, ..)| {
                *partition == record.partition && **topic == *record.topic
            });
            let (task, queue) = match same {
                Some((_, _, task, queue)) => (*task, *queue),
                None => {
                    let topic: Arc<str> = record.topic.into();
                    let Some(route) = routes.get(&(Arc::clone(&topic), record.partition)) else {
                        return;
                    };
                    last = Some((topic, record.partition, route.0, route.1));
                    *route
                }
            };
            if let Some(task) = tasks.get_mut(&task) {
                task.push(queue, &record);
            }
        })?;
        Ok(event)
    }

    /// Stops reading inputs of which too much waits for another input, or for a schema, and goes on reading
    /// those that have been worked off.
    fn hold_back(&mut self) -> Result<(), ThreadError> {
        let member = &self.member;
        let at_end = |partition: &TopicPartition| member.at_end(partition);
        let waiting = self.tasks.values();
        let waiting = waiting.flat_map(|task| task.waiting(&at_end));
        let Some(read) = self.holding.look(waiting) else {
            return Ok(());
        };
        let held = self.holding.held();
        tracing::debug!(thread = %self.name, ?held, "held back until other inputs have come as far");
        Ok(self.member.acknowledge(Acknowledge::Start(&read))?)
    }

    fn process(&mut self) -> Result<usize, ThreadError> {
        let now = self.shared.clock.now();
        let mut processed = 0;
        for task in self.tasks.values_mut() {
            if task.queued() == 0 && !task.has_processors() {
                continue;
            }
            let writer = self.writers.current();
            let member = &self.member;
            let mut outputs = task_outputs(&self.shared, writer, now);
            processed += task.process(&mut outputs, now, &|partition| member.at_end(partition))?;
            if task.has_processors() {
                task.punctuate(&mut outputs, now)?;
            }
        }
        Ok(processed)
    }

    fn is_commit_due(&self) -> bool {
        let now = self.shared.clock.now();
        let at_end = |partition: &TopicPartition| self.member.at_end(partition);
        let elapsed = now.0 - self.last_commit.0;
        let interval = self.shared.settings.commit_interval.as_millis();
        let due = elapsed >= i64::try_from(interval).unwrap_or(i64::MAX);
        (due && self
            .tasks
            .values()
            .any(|task| task.needs_commit(now, &at_end)))
            || self.tasks.values().any(Task::wants_commit)
    }

    /// Commits all tasks together.
    pub(crate) fn commit(&mut self) -> Result<(), ThreadError> {
        let started = self.shared.clock.now();
        self.last_commit = started;
        let member = &self.member;
        let at_end = |partition: &TopicPartition| member.at_end(partition);
        let due: Vec<TaskId> = self
            .tasks
            .values()
            .filter(|task| task.needs_commit(started, &at_end))
            .map(|task| task.id)
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let writer = self.writers.current();
        for id in &due {
            let task = self.tasks.get_mut(id).expect("just listed");
            let mut outputs = task_outputs(&self.shared, writer, started);
            task.flush(&mut outputs, started, &at_end)?;
        }
        // The state must not be ahead of what has come of it.
        writer.settle()?;
        self.shared.failpoint("after-outputs");
        for id in &due {
            self.tasks[id].write_changelogs(writer)?;
        }
        self.shared.failpoint("after-flush");
        let offsets: Vec<(TopicPartition, Offset)> = due
            .iter()
            .flat_map(|id| self.tasks[id].positions())
            .map(|(partition, next)| (partition.clone(), next))
            .collect();
        match self.shared.plan.guarantee {
            Guarantee::ExactlyOnce => {
                let metadata = self.member.metadata().ok_or_else(|| BrokerError::Fenced {
                    action: "commit".to_owned(),
                    reason: "no longer a member of the group".to_owned(),
                })?;
                writer.begin()?;
                writer.send_offsets(&offsets, &metadata)?;
                self.shared.failpoint("before-commit");
                writer.commit()?;
            }
            Guarantee::AtLeastOnce => {
                writer.commit()?;
                self.shared.failpoint("before-commit");
                self.member.commit(&offsets)?;
            }
        }
        self.shared.failpoint("after-commit");
        for id in &due {
            let task = self.tasks.get_mut(id).expect("just listed");
            task.committed(started, &|topic, partition| {
                writer.acknowledged(topic, partition)
            })?;
            self.shared.failpoint("after-store");
        }
        self.publish(&due, started);
        Ok(())
    }

    /// Writes what these tasks have committed to their stores.
    fn settle(&mut self, which: impl Fn(&Task, Timestamp) -> bool) -> Result<(), StateError> {
        let now = self.shared.clock.now();
        for task in self.tasks.values_mut().filter(|task| which(task, now)) {
            self.shared.failpoint("before-settle");
            task.settle()?;
            self.shared.failpoint("after-settle");
        }
        Ok(())
    }

    /// Writes what has been committed to the stores, to be looked at from outside.
    pub(crate) fn settle_all(&mut self) -> Result<(), ThreadError> {
        Ok(self.settle(|_, _| true)?)
    }

    fn publish(&mut self, committed: &[TaskId], started: Timestamp) {
        let metrics = &self.shared.metrics;
        let group = self.shared.plan.group();
        for id in committed {
            let task = self.tasks.get_mut(id).expect("just listed");
            metrics.add_counts(&group, task.take_counts());
            metrics.set_task(task.id, task.stream_time(), task.positions());
        }
        metrics.committed(self.shared.clock.now().0 - started.0);
    }

    /// Answers a change of the group.
    fn handle(&mut self, event: GroupEvent) -> Result<(), ThreadError> {
        match event {
            GroupEvent::Assigned(partitions) => {
                tracing::info!(thread = %self.name, partitions = partitions.len(), "assigned");
                self.check_known(&partitions)?;
                self.assigned.extend(partitions);
                self.open_tasks()
            }
            GroupEvent::Revoked(partitions) => {
                tracing::info!(thread = %self.name, partitions = partitions.len(), "revoked");
                let committed = self.commit();
                self.close_tasks();
                for partition in &partitions {
                    self.assigned.remove(partition);
                }
                self.member.acknowledge(Acknowledge::Stop(&partitions))?;
                committed?;
                // With a group that revokes only some, the others go on.
                if self.assigned.is_empty() {
                    Ok(())
                } else {
                    self.open_tasks()
                }
            }
            GroupEvent::Lost(partitions) => {
                tracing::warn!(thread = %self.name, partitions = partitions.len(), "lost");
                for partition in &partitions {
                    self.assigned.remove(partition);
                }
                self.drop_work();
                if self.assigned.is_empty() {
                    Ok(())
                } else {
                    self.open_tasks()
                }
            }
        }
    }

    /// The number of partitions is what state and repartition topics were made for. Where there are none,
    /// new partitions are read like the others.
    fn check_known(&self, partitions: &[TopicPartition]) -> Result<(), ThreadError> {
        let plan = &self.shared.plan;
        for TopicPartition { topic, partition } in partitions {
            let sizes = |name: &String| **name == **topic;
            let mut internal = plan.internal_topics.iter();
            let is_kept_by_partition = internal.any(|it| it.sized_like.iter().any(sizes));
            // Topics that are read together have equally many.
            let mut readers = plan.processing.iter();
            let is_read_alone = readers
                .all(|sub| sub.topics().all(|name| *name != **topic) || sub.topics().count() == 1);
            if is_read_alone && !is_kept_by_partition {
                continue;
            }
            let known = self.shared.partitions.get(&**topic).copied();
            if let Some(known) = known.filter(|known| *partition as u32 >= *known) {
                return Err(ThreadError::MorePartitions {
                    topic: topic.to_string(),
                    partition: *partition,
                    known,
                });
            }
        }
        Ok(())
    }

    /// Whether the global tables of the process are whole.
    fn has_global_tables(&self) -> bool {
        let mut tables = self.shared.global_tables.values();
        tables.all(|table| table.is_whole())
    }

    /// Begins to open tasks of everything that is assigned and does not run yet; those that run go on.
    /// Before there are all rows to look into it only answers the group.
    fn open_tasks(&mut self) -> Result<(), ThreadError> {
        if !self.has_global_tables() {
            return Ok(self.member.acknowledge(Acknowledge::Start(&[]))?);
        }
        self.writers.ensure()?;
        self.openings.resume();
        for (id, plan) in tasks_of(&self.shared.plan.processing, &self.assigned) {
            if !self.tasks.contains_key(&id) && !self.openings.contains(id) {
                self.openings.add(id, plan);
            }
        }
        if self.tasks.is_empty() {
            self.last_commit = self.shared.clock.now();
        }
        self.start_reading()
    }

    /// Gets the tasks further that are being opened; those that are open run. Tells whether anything has
    /// got further.
    fn go_on_opening(&mut self, timeout: Duration) -> Result<bool, ThreadError> {
        let memory = self.shared.memory.of_task(self.assigned.len());
        let (opened, moved) = match self.openings.step(timeout, memory) {
            Ok(opened) => opened,
            Err(error) if reaction(&error) == Reaction::Reset && error.damage().is_none() => {
                self.openings.put_off(&error);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if !opened.is_empty() {
            let opened = opened.into_iter().map(|task| (task.id, task));
            self.tasks.extend(opened);
            self.start_reading()?;
        }
        Ok(moved)
    }

    /// Reads the inputs of the tasks that run.
    fn start_reading(&mut self) -> Result<(), ThreadError> {
        let mut positions = Vec::new();
        self.routes.clear();
        self.holding.clear();
        for task in self.tasks.values() {
            for Waiting {
                partition, next, ..
            } in task.waiting(&|_| false)
            {
                let queue = task.queue_of(&partition.topic).expect("its own topic");
                let route = (Arc::clone(&partition.topic), partition.partition);
                self.routes.insert(route, (task.id, queue));
                positions.push((partition.clone(), next));
            }
        }
        self.member.acknowledge(Acknowledge::Start(&positions))?;
        self.shared
            .metrics
            .set_tasks(&self.name, self.tasks.keys().copied());
        Ok(())
    }

    /// Deals with an error of a step; gives it back when a human is needed.
    pub(crate) fn recover(&mut self, error: ThreadError) -> Result<(), ThreadError> {
        let is_mended = error.may_miss_a_topic() && self.is_mended()?;
        match reaction(&error) {
            Reaction::Stop if !is_mended => Err(error),
            Reaction::Stop | Reaction::Reset => {
                tracing::warn!(thread = %self.name, %error, "beginning anew from the last commit");
                self.shared.metrics.reset();
                if let Some(path) = error.damage() {
                    self.set_aside(path);
                }
                match self.reset() {
                    Ok(()) => Ok(()),
                    Err(error) if reaction(&error) == Reaction::Stop => Err(error),
                    Err(error) => {
                        // The next step tries again.
                        tracing::warn!(thread = %self.name, %error, "not yet");
                        self.drop_work();
                        Ok(())
                    }
                }
            }
        }
    }

    /// Whether the trouble was a topic that has been made anew.
    fn is_mended(&self) -> Result<bool, ThreadError> {
        let shared = &self.shared;
        let used = shared.partitions.keys().map(String::as_str);
        let (letters, replication) = (&shared.dead_letters, shared.settings.replication);
        let is_mended = topics::look_for_deleted(&*shared.broker, used, letters, replication)?;
        Ok(is_mended)
    }

    /// Sets a state aside that was found to be damaged while it was used; it is rebuilt when its task is opened.
    fn set_aside(&mut self, path: &str) {
        // Nobody has it open any more.
        self.drop_work();
        let tasks = tasks_of(&self.shared.plan.processing, &self.assigned);
        let names = tasks.iter().map(|(id, plan)| plan.state_name(id.partition));
        for name in names.filter(|name| Path::new(path).ends_with(name)) {
            tracing::error!(path, "state is set aside and rebuilt from its changelog");
            if let Err(error) = self.shared.backend.set_aside(&name) {
                tracing::error!(%error, "it cannot be set aside; it is tried again");
            }
        }
    }

    /// Throws producer and tasks away, and begins anew with what is assigned. The group is heard
    /// first: a member that has been replaced must not fence its successor with a new producer.
    fn reset(&mut self) -> Result<(), ThreadError> {
        self.drop_work();
        if let Some(event) = self.poll(Duration::ZERO)? {
            self.handle(event)?;
        }
        self.writers.replace()?;
        let has_begun = !self.tasks.is_empty() || !self.openings.is_empty();
        match self.assigned.is_empty() || has_begun {
            true => Ok(()),
            false => self.open_tasks(),
        }
    }

    /// Drops everything since the last commit.
    fn drop_work(&mut self) {
        self.writers.give_up();
        self.close_tasks();
    }

    fn close_tasks(&mut self) {
        for (id, mut task) in std::mem::take(&mut self.tasks) {
            // All of it is committed. If it cannot be written, it is in the changelog.
            if let Err(error) = task.settle() {
                tracing::warn!(task = %id, %error, "the last changes are not written; they will be restored");
            }
        }
        self.openings.clear();
        self.routes.clear();
        self.holding.clear();
        self.shared
            .metrics
            .set_tasks(&self.name, std::iter::empty());
    }

    /// Commits and leaves.
    pub(crate) fn shut_down(mut self) -> Result<(), ThreadError> {
        let committed = self.commit();
        if let Err(error) = &committed {
            tracing::warn!(thread = %self.name, %error, "the last commit failed; it will be redone");
            self.drop_work();
        }
        self.close_tasks();
        tracing::info!(thread = %self.name, "stopped");
        Ok(())
    }
}

fn task_outputs<'o>(shared: &'o Shared, writer: &'o mut Writer, now: Timestamp) -> TaskOutputs<'o> {
    TaskOutputs {
        writer,
        dead_letters: DeadLetters {
            topic: &shared.dead_letters,
            group: shared.plan.app.as_str(),
            config: &shared.plan.fingerprint,
            now,
        },
        partitions: &shared.partitions,
    }
}

/// The tasks that these partitions make up. Inputs of one sub-topology have equal partition counts
/// and the group's assignor gives equal numbers of all topics to one member, so a task's inputs
/// are assigned together.
fn tasks_of(
    sub_topologies: &[Arc<SubTopology>],
    assigned: &BTreeSet<TopicPartition>,
) -> Vec<(TaskId, Arc<SubTopology>)> {
    let mut tasks = BTreeMap::new();
    for partition in assigned {
        for plan in sub_topologies {
            if plan.topics().any(|topic| topic == &*partition.topic) {
                let id = TaskId {
                    sub_topology: plan.id,
                    partition: partition.partition,
                };
                tasks.insert(id, Arc::clone(plan));
            }
        }
    }
    tasks.into_iter().collect()
}
