//! A SQL sink: a member of its own group that writes rows and their position into one database, in
//! one transaction.
//!
//! ```text
//!   Assigned ─→ claim in the ledger ─→ read from the ledger's position ─→ queue ─→ write ─┐
//!                  ▲                                                        ▲             │
//!                  └──── wait, after any trouble with the database ◀────────┴─────────────┘
//! ```
//!
//! The ledger, not the group's offset, says where to go on; the group's offset is committed as a
//! hint for lag tools. Records stay queued until their rows are committed, so after any trouble
//! everything is thrown away and read again from the ledger's position. While the database is
//! away nothing is read and the group is still answered, so a sink whose database is down holds
//! up neither the processing nor the other members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::app::Database;
use super::failpoint::{Failed, Failpoint};
use super::holding::Holding;
use super::membership::Membership;
use super::memory::MemoryShares;
use super::metrics::EngineMetrics;
use super::outage::Outage;
use super::outputs::{DeadLetters, Writer, send_dead_letter};
use super::queue::{RecordClock, RecordQueue};
use super::settings::EngineSettings;
use super::sink_outputs::SinkOutputs;
use super::sink_queues::{SinkQueue, SinkQueues};
use super::start::LogRanges;
use super::stop::StopSignal;
use super::tables::{self, OpenTable};
use super::topics;
use super::trouble::{SinkError, needs_human};
use crate::broker::{
    Acknowledge, Broker, BrokerError, GroupEvent, Isolation, MemberOptions, Offset,
    ProducerOptions, Refusals, TopicPartition,
};
use crate::format::Registries;
use crate::processor::{
    DeadLetter, DropReason, GlobalTables, ProcessError, Processor, Progress, Share, Wait,
};
use crate::sql::{LedgerMove, RowBatch, SqlError};
use crate::state::memory::MemoryBackend;
use crate::state::{StateBackend, TaskState};
use crate::time::{Clock, Timestamp};
use crate::topology::graph::{NodeName, OnError};
use crate::topology::plan::SubTopology;

/// Records that are handed over by one poll.
const POLL_RECORDS: usize = 1_000;

/// An idle sink wakes up this often.
const IDLE_POLL: Duration = Duration::from_millis(50);

/// Between two attempts to reach the database: doubled each time, from the first to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// When the group's offsets could not be committed, that is tried again after so long.
const TELL_AGAIN_MS: i64 = 5_000;

/// What a sink runs on.
pub(super) struct SinkContext {
    pub(super) app: String,
    pub(super) node: NodeName,
    pub(super) group: String,
    /// Which topology it is.
    pub(super) config: String,
    pub(super) dead_letters: Arc<str>,
    pub(super) plan: Arc<SubTopology>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) database: Database,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) registries: Arc<dyn Registries>,
    pub(super) settings: EngineSettings,
    pub(super) memory: MemoryShares,
    pub(super) metrics: Arc<EngineMetrics>,
    pub(super) stop: StopSignal,
    pub(super) instance: String,
    pub(super) failpoint: Failpoint,
}

pub(crate) struct SinkThread {
    context: SinkContext,
    member: Membership,
    /// For dead letters.
    writer: Writer,
    /// None while the database is away.
    table: Option<OpenTable>,
    processor: Processor,
    state: Box<dyn TaskState>,
    rows: RowBatch,
    /// What the group has given to this sink; being read only while `queues` has them.
    assigned: Vec<TopicPartition>,
    queues: SinkQueues,
    holding: Holding,
    /// When the first of the queued records came.
    waiting_since: Option<Timestamp>,
    /// Positions that the group's offsets do not show yet.
    untold: BTreeMap<TopicPartition, Offset>,
    /// When that is tried again.
    tell_after: Timestamp,
    outage: Outage,
}

impl SinkContext {
    fn dead_letters(&self) -> DeadLetters<'_> {
        DeadLetters {
            topic: &self.dead_letters,
            group: &self.group,
            config: &self.config,
            now: self.clock.now(),
        }
    }
}

impl SinkThread {
    pub(super) fn new(
        context: SinkContext,
        table: Option<OpenTable>,
    ) -> Result<SinkThread, SinkError> {
        let options = MemberOptions {
            group: context.group.clone(),
            topics: context.plan.topics().map(str::to_owned).collect(),
            instance_id: Some(context.instance.clone()),
            session_timeout: context.settings.session_timeout,
            max_poll_interval: context.settings.max_poll_interval,
            isolation: Isolation::ReadCommitted,
        };
        let (broker, clock) = (Arc::clone(&context.broker), Arc::clone(&context.clock));
        let member = Membership::join(broker, clock, options)?;
        let writer = dead_letter_writer(&context)?;
        let (_, sql) = context
            .plan
            .sql()
            .expect("the planner ends a sink's sub-topology in one");
        let rows = RowBatch::new(sql.columns.len());
        let holding = Holding::new(context.memory.held);
        let share = Share {
            partition: 0,
            partitions: 1,
        };
        // Global tables are looked into by tasks alone.
        let no_tables = GlobalTables::new();
        let (plan, progress) = (Arc::clone(&context.plan), Progress::default());
        let processor = Processor::new(plan, share, 0, &progress, &context.registries, &no_tables);
        let state = MemoryBackend::default()
            .open("stateless", &[])
            .expect("memory is always there");
        Ok(SinkThread {
            context,
            member,
            writer,
            table,
            processor,
            state,
            rows,
            assigned: Vec::new(),
            queues: SinkQueues::default(),
            holding,
            waiting_since: None,
            untold: BTreeMap::new(),
            tell_after: Timestamp::MIN,
            outage: Outage::default(),
        })
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// When a human is needed.
    pub(super) fn run(mut self) -> Result<(), SinkError> {
        let mut pause = BACK_OFF.0;
        while !self.context.stop.is_set() {
            match self.step(IDLE_POLL) {
                Ok(true) => pause = BACK_OFF.0,
                Ok(false) => {}
                Err(error) => {
                    self.recover(error)?;
                    self.wait(pause)?;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
        match self.write() {
            Ok(_) => {}
            Err(error) => tracing::warn!(
                sink = %self.context.node, %error, "the last write failed; it will be redone"
            ),
        }
        Ok(())
    }

    /// One round: claim if need be, poll, write when due. Tells whether rows were written.
    pub(crate) fn step(&mut self, timeout: Duration) -> Result<bool, SinkError> {
        if self.queues.is_empty() && !self.assigned.is_empty() {
            self.start_reading()?;
        }
        // A sink that waits for one of its inputs gets it by polling only.
        if !self.is_full() || !self.is_ready() {
            let left = self.linger_left().unwrap_or(timeout).min(timeout);
            let event = self.poll(left)?;
            if let Some(event) = event {
                self.handle(event)?;
            }
            self.hold_back()?;
        }
        let now = self.context.clock.now();
        if !self.untold.is_empty() && now >= self.tell_after {
            self.tell_lag_tools(now);
        }
        let due = self.is_full() && self.is_ready() || self.linger_left() == Some(Duration::ZERO);
        if due { self.write() } else { Ok(false) }
    }

    fn poll(&mut self, timeout: Duration) -> Result<Option<GroupEvent>, SinkError> {
        let SinkThread {
            member,
            queues,
            waiting_since,
            context,
            ..
        } = self;
        let mut came = false;
        let event = member.poll(timeout, POLL_RECORDS, &mut |record| {
            if let Some(queue) = queues.of(record.topic, record.partition) {
                // Behind transactions and compaction there are gaps; elsewhere there are none.
                if let Some(expected) = queue.push(&record) {
                    let (sink, partition) = (&context.node, queue.records.partition());
                    tracing::debug!(%sink, %partition, expected, found = record.offset, "a gap");
                }
                came = true;
            }
        })?;
        if came && waiting_since.is_none() {
            *waiting_since = Some(context.clock.now());
        }
        Ok(event)
    }

    fn is_full(&self) -> bool {
        let (settings, memory) = (&self.context.settings, &self.context.memory);
        self.queues.records() >= settings.sink_rows || self.queues.bytes() >= memory.rows
    }

    /// Whether there is something to be written for which no other input has to be waited for.
    fn is_ready(&self) -> bool {
        self.queues
            .is_ready(&|partition| self.member.at_end(partition))
    }

    /// Reads no further ahead than may be in inputs that wait for others.
    fn hold_back(&mut self) -> Result<(), SinkError> {
        let member = &self.member;
        let at_end = |partition: &TopicPartition| member.at_end(partition);
        let waiting = self.queues.waiting(&at_end);
        let Some(read) = self.holding.look(waiting) else {
            return Ok(());
        };
        let held = self.holding.held();
        tracing::debug!(sink = %self.context.node, ?held, "held back until other inputs have come as far");
        Ok(self.member.acknowledge(Acknowledge::Start(&read))?)
    }

    /// How long the queued records may still wait; none when there are none.
    fn linger_left(&self) -> Option<Duration> {
        let waited_ms = self.context.clock.now().0 - self.waiting_since?.0;
        let waited = Duration::from_millis(waited_ms.max(0) as u64);
        Some(self.context.settings.sink_linger.saturating_sub(waited))
    }

    fn handle(&mut self, event: GroupEvent) -> Result<(), SinkError> {
        match event {
            GroupEvent::Assigned(partitions) => {
                self.take(partitions);
                self.stop_reading();
                self.start_reading()
            }
            GroupEvent::Revoked(partitions) => {
                if let Err(error) = self.write() {
                    tracing::info!(sink = %self.context.node, %error, "left to the next owner");
                    // Who counts them too.
                    self.processor.take_counts();
                }
                self.let_go(&partitions);
                Ok(self.member.acknowledge(Acknowledge::Stop(&partitions))?)
            }
            GroupEvent::Lost(partitions) => {
                self.let_go(&partitions);
                Ok(())
            }
        }
    }

    fn take(&mut self, partitions: Vec<TopicPartition>) {
        let new = partitions
            .into_iter()
            .filter(|partition| !self.assigned.contains(partition));
        let new: Vec<TopicPartition> = new.collect();
        self.assigned.extend(new);
    }

    fn let_go(&mut self, partitions: &[TopicPartition]) {
        self.stop_reading();
        self.assigned
            .retain(|partition| !partitions.contains(partition));
        self.untold
            .retain(|partition, _| !partitions.contains(partition));
        if let Some(table) = &mut self.table {
            table.sink.release(partitions);
        }
    }

    /// Claims everything that is assigned and reads on from the ledger's positions.
    fn start_reading(&mut self) -> Result<(), SinkError> {
        if self.table.is_none() {
            let SinkContext {
                app,
                plan,
                database,
                ..
            } = &self.context;
            self.table = Some(tables::open(database, app, plan)?);
        }
        let table = &mut self.table.as_mut().expect("just opened").sink;
        let tokio = &self.context.database.tokio;
        let ledger = tokio.block_on(table.claim(&self.assigned))?;
        let ranges = LogRanges::of(&*self.context.broker, &self.assigned)?;
        let mut positions = Vec::new();
        let mut queues = Vec::new();
        for (partition, kept) in self.assigned.iter().zip(ledger) {
            let start = ranges.begin(partition, kept)?;
            if start.lost > 0 {
                tracing::error!(
                    sink = %self.context.node, %partition, position = kept, lost = start.lost,
                    "records were deleted from the topic before they were written"
                );
                self.context.metrics.lost(start.lost);
            }
            if let Some(kept) = kept {
                self.untold.insert(partition.clone(), kept);
            }
            positions.push((partition.clone(), start.offset));
            let plan = &self.context.plan;
            let number = plan.input_of(&partition.topic);
            let number = number.expect("only its own topics are read");
            let input = &plan.inputs[number];
            let clock = match plan.topics().count() {
                1 => RecordClock::Log,
                _ => RecordClock::of(&input.reader, &self.context.registries),
            };
            let records = RecordQueue::new(partition.clone(), input, clock);
            // Where the ledger stands, even if that is before the start of the log.
            let written = kept.unwrap_or(start.offset);
            queues.push(SinkQueue::new(records, number, written, start.offset));
        }
        self.queues = SinkQueues::new(queues);
        self.context
            .metrics
            .sink(self.context.node.as_str(), |status| {
                status.last_error = None
            });
        if let Some(ended) = self.outage.succeeded(self.context.clock.now()) {
            let (attempts, ms) = (ended.failures, ended.ms);
            tracing::info!(sink = %self.context.node, attempts, ms, "the sink goes on");
        }
        let shown = positions
            .iter()
            .map(|(at, next)| format!("{at} from {next}"));
        let shown = shown.collect::<Vec<_>>().join(", ");
        tracing::info!(sink = %self.context.node, positions = shown, "reading");
        Ok(self.member.acknowledge(Acknowledge::Start(&positions))?)
    }

    fn stop_reading(&mut self) {
        self.queues = SinkQueues::default();
        self.holding.clear();
        self.rows.clear();
        self.waiting_since = None;
    }

    /// Writes what is queued, as far as it has not to wait for another input, and not much more than may
    /// be written at once. Tells whether there was anything.
    fn write(&mut self) -> Result<bool, SinkError> {
        let now = self.context.clock.now();
        self.waiting_since = None;
        self.rows.clear();
        let mut origins = Vec::new();
        let mut sent_dead_letters = false;
        let kinds = self.table.as_ref().map_or(&[][..], |table| &table.kinds);
        let member = &self.member;
        let at_end = |partition: &TopicPartition| member.at_end(partition);
        let waited = |wait: Wait| SinkError::Process(wait.into());
        self.queues.find_times(now).map_err(waited)?;
        let mut room = self.context.settings.sink_rows + POLL_RECORDS;
        for group in self.queues.groups() {
            while room > 0
                && let Some((at, up_to)) = self.queues.oldest(&group, &at_end)
            {
                let number = self.queues.number_of_move(at);
                let queue = self.queues.get(at);
                let records = queue.records.next_batch(room, up_to);
                let count = records.len();
                let mut outputs = SinkOutputs {
                    rows: &mut self.rows,
                    kinds,
                    origins: &mut origins,
                    queue: at,
                    partition: number,
                    writer: &mut self.writer,
                    dead_letters: self.context.dead_letters(),
                    sent_dead_letters: &mut sent_dead_letters,
                };
                let (processor, state) = (&mut self.processor, &*self.state);
                let wait = processor.process(queue.input, records, now, state, &mut outputs)?;
                if let Some(wait) = wait {
                    // Everything is read again from the ledger's position.
                    return Err(waited(wait));
                }
                self.queues.take(at, count);
                room -= count;
            }
        }
        if self.queues.records() > 0 {
            self.waiting_since = Some(now);
        }
        let moves = self.queues.moves();
        if moves.is_empty() {
            return Ok(false);
        }
        // Dead letters are in the log before the ledger moves on: after a crash in between they are
        // written twice rather than not at all.
        if sent_dead_letters {
            self.writer.commit()?;
        }
        self.write_rows(&moves, &origins)?;
        self.queues.written();
        let offsets: Vec<_> = moves
            .into_iter()
            .map(|moved| (moved.partition, moved.to))
            .collect();
        self.untold.extend(offsets);
        self.tell_lag_tools(now);
        Ok(true)
    }

    /// Commits the group's offsets; what cannot be told now is told later.
    fn tell_lag_tools(&mut self, now: Timestamp) {
        let offsets: Vec<_> = self
            .untold
            .iter()
            .map(|(at, next)| (at.clone(), *next))
            .collect();
        match self.member.commit(&offsets) {
            Ok(()) => self.untold.clear(),
            Err(error) => {
                tracing::debug!(sink = %self.context.node, %error, "the lag tools see old offsets");
                self.tell_after = now.plus_millis(TELL_AGAIN_MS);
            }
        }
    }

    fn write_rows(
        &mut self,
        moves: &[LedgerMove],
        origins: &[(usize, Offset)],
    ) -> Result<(), SinkError> {
        let SinkThread {
            context,
            table,
            rows,
            queues,
            writer,
            processor,
            ..
        } = self;
        let table = &mut table.as_mut().expect("opened before the first record").sink;
        let (_, sql) = context
            .plan
            .sql()
            .expect("the planner ends a sink's sub-topology in one");
        let started = context.clock.now();
        let node = context.node.as_str();
        let (mut stopped, mut unsent) = (None, None);
        let mut before_commit = |rejected: &[crate::sql::Rejected]| {
            for refusal in rejected {
                let (queue, offset) = origins[refusal.row];
                let record = queues.get(queue).records.find(offset);
                let record = record.expect("queued until written");
                let letter = DeadLetter {
                    node,
                    reason: DropReason::Refused,
                    message: &format!("{}: {}", refusal.code, refusal.message),
                    record,
                };
                match sql.on_error {
                    OnError::Drop => {}
                    OnError::DeadLetter => {
                        send_dead_letter(writer, context.dead_letters(), &letter)
                            .map_err(|error| noted(&mut unsent, error))?
                    }
                    OnError::Stop => {
                        stopped = Some(ProcessError::stop(&letter));
                        return Err("the sink stops on a refused row".to_owned());
                    }
                }
            }
            let gone = |Failed| "the database has gone away".to_owned();
            context
                .failpoint
                .try_reach("sink-before-commit")
                .map_err(gone)?;
            match rejected.is_empty() {
                true => Ok(()),
                false => writer.commit().map_err(|error| noted(&mut unsent, error)),
            }
        };
        let written =
            context
                .database
                .tokio
                .block_on(table.write_with(rows, moves, &mut before_commit));
        let ms = (context.clock.now().0 - started.0).max(0) as u64;
        context.metrics.sink(node, |status| match &written {
            Ok(report) => {
                status.rows += report.rows;
                status.refused += report.rejected.len() as u64;
                status.writes += 1;
                status.write_ms += ms;
                status.last_error = None;
            }
            Err(error) => {
                status.failures += 1;
                status.last_error = Some(error.to_string());
            }
        });
        if let Some(stopped) = stopped {
            return Err(stopped.into());
        }
        if let Some(unsent) = unsent {
            return Err(unsent.into());
        }
        let refused = written?.rejected.len() as u64;
        let lost = |Failed| SqlError::Unavailable {
            action: "commit".to_owned(),
            reason: "the answer is lost".to_owned(),
        };
        let answered = context.failpoint.try_reach("sink-after-commit");
        answered.map_err(lost)?;
        let mut counts = processor.take_counts();
        for (_, counts) in counts.iter_mut().filter(|(name, _)| name == node) {
            counts.drops[DropReason::Refused as usize] += refused;
        }
        context.metrics.add_counts(&context.group, counts);
        Ok(())
    }

    /// Deals with an error of a step; gives it back when a human is needed.
    pub(crate) fn recover(&mut self, error: SinkError) -> Result<(), SinkError> {
        let is_mended = error.may_miss_a_topic() && self.is_mended()?;
        if is_mended {
            // The old one goes on believing that there is no such topic.
            self.writer = dead_letter_writer(&self.context)?;
        } else if needs_human(&error) {
            return Err(error);
        }
        if let Some(attempts) = self.outage.failed(self.context.clock.now()) {
            let sink = &self.context.node;
            match &error {
                SinkError::Sql(SqlError::Unavailable { .. }) => {
                    tracing::warn!(%sink, %error, attempts, "the database is away; trying again");
                }
                SinkError::Process(_) => {
                    tracing::warn!(%sink, %error, attempts, "waiting for a schema");
                }
                _ => tracing::warn!(
                    %sink, %error, attempts, "reading again from the ledger's position"
                ),
            }
        }
        self.context
            .metrics
            .sink(self.context.node.as_str(), |status| {
                status.last_error = Some(error.to_string());
            });
        self.stop_reading();
        // What is read again is counted again.
        self.processor.take_counts();
        // Nothing is delivered until the database is back; the group is still answered.
        if let Err(error) = self.member.acknowledge(Acknowledge::Start(&[])) {
            tracing::debug!(sink = %self.context.node, %error, "not a member just now");
        }
        Ok(())
    }

    /// Whether the trouble was a topic that has been made anew.
    fn is_mended(&self) -> Result<bool, SinkError> {
        let SinkContext {
            broker,
            plan,
            dead_letters,
            settings,
            ..
        } = &self.context;
        let (used, replication) = (plan.topics(), settings.replication);
        let is_mended = topics::look_for_deleted(&**broker, used, dead_letters, replication)?;
        Ok(is_mended)
    }

    /// Waits before the next attempt, and answers the group meanwhile.
    fn wait(&mut self, pause: Duration) -> Result<(), SinkError> {
        let until = self
            .context
            .clock
            .now()
            .plus_millis(pause.as_millis() as i64);
        while self.context.clock.now() < until && !self.context.stop.is_set() {
            match self.poll(IDLE_POLL) {
                Ok(None) => {}
                Ok(Some(GroupEvent::Assigned(partitions))) => {
                    self.take(partitions);
                    return Ok(());
                }
                Ok(Some(event)) => {
                    if let Err(error) = self.handle(event) {
                        return self.recover(error);
                    }
                }
                Err(error) if needs_human(&error) => return self.recover(error),
                Err(error) => {
                    tracing::debug!(sink = %self.context.node, %error, "polling while waiting");
                    self.context.stop.wait(IDLE_POLL);
                }
            }
        }
        Ok(())
    }
}

fn dead_letter_writer(context: &SinkContext) -> Result<Writer, BrokerError> {
    let producer = context.broker.producer(&ProducerOptions::default())?;
    let clock = Arc::clone(&context.clock);
    Ok(Writer::new(producer, clock, false, Refusals::new()))
}

/// Keeps an error, and gives what it says.
fn noted(kept: &mut Option<BrokerError>, error: BrokerError) -> String {
    let said = error.to_string();
    *kept = Some(error);
    said
}
