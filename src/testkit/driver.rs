//! Runs a topology in the test's own thread, over the in-memory log and a clock that stands still.
//!
//! The driver is the real planner, task, stores and commit protocol; only the log and the clock
//! are not Kafka's and the machine's. Every record is processed and committed before
//! [`TopologyTestDriver::pipe`] returns, through repartition topics too, so each update is seen by
//! itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::database::TestDatabase;
use super::record::TestRecord;
use crate::broker::memory::MemoryBroker;
use crate::broker::{
    Broker, BrokerError, Isolation, Offset, Outgoing, OwnedRecord, Producer, ProducerOptions,
    TopicPartition, TopicSpec,
};
use crate::format::{EventWriter, MemoryRegistry, Registries};
use crate::processor::{DropReason, NodeCounts};
use crate::runtime::{
    self, AppError, EngineMetrics, EngineSettings, Environment, GlobalTableError, GlobalUpdater,
    MemoryShares, Shared, SinkError, SinkThread, StopSignal, StreamThread, ThreadError,
};
use crate::sql::SqlError;
use crate::sql::query::QueryError;
use crate::state::StateBackend;
use crate::state::memory::MemoryBackend;
use crate::time::{Clock, ManualClock, Timestamp};
use crate::topology::duration::Millis;
use crate::topology::graph::{NodeKind, Topology};
use crate::topology::plan::{self, Plan, PlanError};

/// A driver cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The topology cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The application cannot be started.
    #[error(transparent)]
    App(#[from] AppError),
    /// A thread had to give up.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A global table had to give up.
    #[error(transparent)]
    GlobalTable(#[from] GlobalTableError),
    /// A SQL sink had to give up.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The tables of the SQL sinks cannot be made.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A table cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A value does not fit its topic.
    #[error("{0}")]
    Value(String),
    /// There is no room for the files of a database.
    #[error("cannot make a database for the tables: {0}")]
    NoDatabase(#[from] std::io::Error),
}

/// How a driver runs.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// The partitions of every topic that the topology names.
    pub partitions: u32,
    /// Where the clock stands at the beginning: by default at the start of the year 2100, so that
    /// no event is ahead of it by mistake.
    pub start: Timestamp,
    /// Commit after each record (`true`), or only when [`TopologyTestDriver::commit`] is called.
    pub commit_each: bool,
}

impl Default for DriverOptions {
    fn default() -> DriverOptions {
        DriverOptions {
            partitions: 1,
            start: Timestamp(4_102_444_800_000),
            commit_each: true,
        }
    }
}

/// Runs a topology in the test's own thread; see the [module](super).
pub struct TopologyTestDriver {
    pub(super) plan: Arc<Plan>,
    pub(super) topology: Topology,
    broker: MemoryBroker,
    registry: MemoryRegistry,
    clock: ManualClock,
    pub(super) backend: Arc<MemoryBackend>,
    producer: Box<dyn Producer>,
    thread: Option<StreamThread>,
    global_tables: Vec<GlobalUpdater>,
    /// What the threads of the running process share; none after a crash.
    pub(super) shared: Option<Arc<Shared>>,
    /// The SQL sinks, once a table has been asked for. Before the database, which they use.
    pub(super) sinks: Vec<SinkThread>,
    pub(super) database: Option<TestDatabase>,
    pub(super) metrics: Arc<EngineMetrics>,
    pub(super) options: DriverOptions,
    /// Those that have written values with a schema, by topic.
    pub(super) writers: HashMap<String, EventWriter>,
    /// How far each partition of an output has been read.
    read: HashMap<(String, i32), usize>,
}

impl TopologyTestDriver {
    /// A driver with one partition per topic.
    ///
    /// # Errors
    /// When the topology cannot be planned or started.
    pub fn new(topology: &Topology) -> Result<TopologyTestDriver, DriverError> {
        TopologyTestDriver::with_options(topology, DriverOptions::default())
    }

    /// A driver as these options say.
    ///
    /// # Errors
    /// When the topology cannot be planned or started.
    pub fn with_options(
        topology: &Topology,
        options: DriverOptions,
    ) -> Result<TopologyTestDriver, DriverError> {
        let plan = Arc::new(plan::plan(topology)?);
        let clock = ManualClock::new(options.start);
        let broker = MemoryBroker::new(Arc::new(clock.clone()));
        let mut topics: Vec<&str> = plan.source_topics();
        topics.extend(plan.output_topics());
        // Those too that no node reads.
        let sources = topology.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Source(source) => Some(&source.topics),
            NodeKind::GlobalTable(table) => Some(&table.source.topics),
            _ => None,
        });
        topics.extend(sources.flatten().map(String::as_str));
        topics.sort_unstable();
        topics.dedup();
        let specs: Vec<TopicSpec> = topics
            .into_iter()
            .map(|name| TopicSpec {
                name: name.to_owned(),
                partitions: options.partitions,
                replication: -1,
                config: BTreeMap::new(),
            })
            .collect();
        broker.create_topics(&specs)?;
        let producer = broker.producer(&ProducerOptions::default())?;
        let mut driver = TopologyTestDriver {
            plan,
            topology: topology.clone(),
            broker,
            registry: MemoryRegistry::new(),
            clock,
            backend: Arc::new(MemoryBackend::default()),
            producer,
            thread: None,
            global_tables: Vec::new(),
            shared: None,
            sinks: Vec::new(),
            database: None,
            metrics: Arc::new(EngineMetrics::default()),
            options,
            writers: HashMap::new(),
            read: HashMap::new(),
        };
        driver.restart()?;
        Ok(driver)
    }

    /// Writes a record whose time is the clock's, and runs until everything has come through. Its value
    /// is this text; for a source with a schema it is what this JSON text says.
    ///
    /// # Panics
    /// When a thread has to give up; use [`TopologyTestDriver::try_pipe`] to see the error. When the
    /// value does not fit the schema.
    pub fn pipe(&mut self, topic: &str, key: Option<&str>, value: &str) {
        let now = self.clock.now();
        let value = match serde_json::from_str(value) {
            Ok(json) if self.has_schema(topic) => self
                .encode(topic, &json)
                .expect("a value that fits the schema"),
            _ => value.as_bytes().to_vec(),
        };
        let piped = self.try_pipe(topic, key.map(str::as_bytes), Some(&value), now);
        piped.expect("the topology goes on");
    }

    /// Writes a record without a value, at the time of the clock, and runs until everything has come
    /// through.
    ///
    /// # Panics
    /// When a thread has to give up, or there is no such topic.
    pub fn pipe_tombstone(&mut self, topic: &str, key: &str) {
        let now = self.clock.now();
        let piped = self.try_pipe(topic, Some(key.as_bytes()), None, now);
        piped.expect("the topology goes on");
    }

    /// Writes a record without a key to a partition, and runs until everything has come through.
    ///
    /// # Panics
    /// When a thread has to give up, or there is no such partition.
    pub fn pipe_to(&mut self, topic: &str, partition: i32, value: &str) {
        let record = TestRecord::text(value).in_partition(partition);
        self.pipe_record(topic, &record)
            .expect("a partition of that topic, and the topology goes on");
    }

    /// Writes a record with everything said, and runs until everything has come through.
    ///
    /// # Errors
    /// When a thread has to give up.
    pub fn try_pipe(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
    ) -> Result<(), DriverError> {
        let record = TestRecord {
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            timestamp: Some(timestamp),
            ..TestRecord::default()
        };
        self.pipe_record(topic, &record)
    }

    /// Writes a record, and runs until everything has come through. Its partition is that of its
    /// key's hash, as in Kafka, unless it names one; its time is the clock's, unless it has one.
    ///
    /// # Errors
    /// When there is no such topic or partition, or a thread has to give up.
    pub fn pipe_record(&mut self, topic: &str, record: &TestRecord) -> Result<(), DriverError> {
        self.write_record(topic, record)?;
        self.run()
    }

    /// Writes a record; it waits until something else runs.
    pub(crate) fn write_record(
        &mut self,
        topic: &str,
        record: &TestRecord,
    ) -> Result<(), DriverError> {
        let headers = record.headers.iter();
        let headers: Vec<(&str, &[u8])> = headers
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        let only = (self.options.partitions == 1).then_some(0);
        self.producer.send(Outgoing {
            topic,
            partition: record.partition.or(only),
            timestamp: record.timestamp.unwrap_or_else(|| self.wall_clock()),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        })?;
        Ok(self.producer.flush()?)
    }

    /// Where the wall clock stands.
    pub fn wall_clock(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the wall clock forward, and runs what that causes.
    ///
    /// # Errors
    /// When a thread has to give up.
    pub fn advance_wall_clock(&mut self, ms: i64) -> Result<(), DriverError> {
        self.clock.advance_millis(ms);
        self.run()
    }

    /// [`TopologyTestDriver::advance_wall_clock`] by a length of time.
    ///
    /// # Errors
    /// When a thread has to give up.
    pub fn advance_wall_clock_time(&mut self, by: Duration) -> Result<(), DriverError> {
        self.advance_wall_clock(Millis::from(by).0)
    }

    /// Commits what has been processed.
    ///
    /// # Errors
    /// When a thread has to give up.
    pub fn commit(&mut self) -> Result<(), DriverError> {
        if let Some(thread) = &mut self.thread {
            thread.commit()?;
        }
        self.run()
    }

    /// Forgets the records in the log, all of which have been read: for runs with more of them than
    /// there is memory. There is no restart after it.
    pub(crate) fn forget_records(&mut self) -> Result<(), DriverError> {
        let mut topics = written_topics(&self.plan);
        topics.extend(self.plan.source_topics());
        for (topic, count) in self.broker.partition_counts(&topics)? {
            for partition in 0..count as i32 {
                let partition = TopicPartition::new(topic.as_str(), partition);
                self.broker.delete_records(&partition, Offset::MAX);
            }
        }
        Ok(())
    }

    /// How many records the nodes have written to the log.
    pub(super) fn total_records(&self) -> usize {
        total_of(&self.broker, &written_topics(&self.plan))
    }

    /// How far the nodes have written the log: when it stands still, nothing is on its way.
    fn log_size(&self) -> Result<Offset, BrokerError> {
        let counts = self.broker.partition_counts(&written_topics(&self.plan))?;
        let partitions = counts.iter().flat_map(|(topic, count)| {
            (0..*count as i32).map(|partition| TopicPartition::new(topic.as_str(), partition))
        });
        let partitions: Vec<TopicPartition> = partitions.collect();
        let ends = self
            .broker
            .end_offsets(&partitions, Isolation::ReadCommitted)?;
        Ok(ends.into_values().sum())
    }

    /// Steps until nothing moves any more. What has been committed is in the stores then.
    pub(crate) fn run(&mut self) -> Result<(), DriverError> {
        let mut quiet = 0;
        while quiet < 4 {
            self.read_global_tables()?;
            let ends = self.log_size()?;
            let Some(thread) = &mut self.thread else {
                return Ok(());
            };
            let mut stepped = thread.step(Duration::ZERO);
            if self.options.commit_each && stepped.is_ok() {
                stepped = thread.commit().and(stepped);
            }
            let moved = match stepped {
                Ok(moved) => moved,
                Err(error) => {
                    thread.recover(error)?;
                    true
                }
            };
            let still = !moved && ends == self.log_size()?;
            quiet = if still { quiet + 1 } else { 0 };
        }
        if let Some(thread) = &mut self.thread {
            thread.settle_all()?;
        }
        Ok(())
    }

    /// Reads the rows of global tables that have come, and lets tasks see them.
    fn read_global_tables(&mut self) -> Result<(), DriverError> {
        for table in &mut self.global_tables {
            loop {
                match table.step(Duration::ZERO) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        table.recover(error)?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Loses everything that is in memory and not committed, as a crash does. What is piped until
    /// [`TopologyTestDriver::restart`] waits in its topic.
    pub fn crash(&mut self) {
        self.thread = None;
        self.global_tables.clear();
        self.sinks.clear();
        self.shared = None;
    }

    /// Crashes, and loses the local state as well, as a new machine does: a restart then reads it
    /// back from the changelogs. The tables of SQL sinks stay.
    pub fn lose_state(&mut self) {
        self.crash();
        self.backend = Arc::new(MemoryBackend::default());
        // They are read anew, and counted anew.
        for table in &self.plan.global_tables {
            self.metrics.forget(table.node.as_str());
        }
    }

    /// Starts anew after a crash: state is restored and processing goes on from the last commit.
    ///
    /// # Errors
    /// When the application cannot be started.
    pub fn restart(&mut self) -> Result<(), DriverError> {
        self.crash();
        let environment = Environment {
            broker: Arc::new(self.broker.clone()),
            backend: Arc::clone(&self.backend) as Arc<dyn StateBackend>,
            clock: Arc::new(self.clock.clone()),
            registries: Arc::new(self.registry.clone()),
            instance: "driver".to_owned(),
            database: None,
            memory: MemoryShares::default(),
        };
        let settings = EngineSettings {
            commit_interval: Duration::MAX,
            sink_linger: Duration::ZERO,
            // However far the clock is moved, the driver is not late.
            max_poll_interval: Duration::from_secs(u32::MAX.into()),
            ..EngineSettings::default()
        };
        let stop = StopSignal::default();
        let plan = Arc::clone(&self.plan);
        let shared = runtime::prepare(plan, &environment, &settings, &self.metrics, &stop)?;
        self.global_tables = runtime::updaters(&shared).map_err(AppError::from)?;
        self.read_global_tables()?;
        if !self.plan.processing.is_empty() {
            self.thread = Some(StreamThread::new(Arc::clone(&shared), 0)?);
        }
        self.shared = Some(shared);
        self.run()
    }

    /// The committed records of a topic that have not been read yet, partition by partition.
    pub fn read(&mut self, topic: &str) -> Vec<OwnedRecord> {
        self.read_up_to(topic, usize::MAX)
    }

    /// The same, at most so many.
    pub(super) fn read_up_to(&mut self, topic: &str, most: usize) -> Vec<OwnedRecord> {
        let mut found = Vec::new();
        for (partition, unread) in self.unread(topic) {
            let room = most - found.len();
            let taken = unread.len().min(room);
            found.extend(unread.into_iter().take(room));
            *self.read.entry((topic.to_owned(), partition)).or_default() += taken;
        }
        found
    }

    /// The records of each partition that have not been read yet.
    pub(super) fn unread(&self, topic: &str) -> Vec<(i32, Vec<OwnedRecord>)> {
        let counts = self.broker.partition_counts(&[topic]).unwrap_or_default();
        let count = counts.get(topic).copied().unwrap_or(0) as i32;
        let unread = |partition| {
            let records = self
                .broker
                .records(topic, partition, Isolation::ReadCommitted);
            let read = self.read.get(&(topic.to_owned(), partition));
            let unread = records.into_iter().skip(read.copied().unwrap_or(0));
            (partition, unread.collect())
        };
        (0..count).map(unread).collect()
    }

    /// The topics of Kafka sinks, and that of the dead letters, of which one or more records were
    /// written, by name.
    pub fn produced_topics(&self) -> BTreeSet<String> {
        let dead_letters = self.plan.dead_letter_topic();
        let mut topics = self.plan.output_topics();
        topics.push(&dead_letters);
        let is_written = |topic: &&str| total_of(&self.broker, &[topic]) > 0;
        let written = topics.into_iter().filter(is_written);
        written.map(str::to_owned).collect()
    }

    /// The values of those records as JSON, whatever the format of the sink; null for a tombstone.
    ///
    /// # Panics
    /// When a value is not what the format says.
    pub fn read_json(&mut self, topic: &str) -> Vec<serde_json::Value> {
        let records = self.read(topic);
        let parse = |value: &Vec<u8>| self.decode(topic, value).expect("a value of the format");
        records
            .iter()
            .map(|record| record.value.as_ref().map_or(serde_json::Value::Null, parse))
            .collect()
    }

    /// What a node has seen since the driver was made.
    pub fn counts(&self, node: &str) -> NodeCounts {
        self.metrics.status().node(node)
    }

    /// How many records the log deleted before they were read.
    pub fn lost(&self) -> u64 {
        self.metrics.status().lost
    }

    pub(super) fn registries(&self) -> Arc<dyn Registries> {
        Arc::new(self.registry.clone())
    }

    /// The schema registry that stands for all that the topology names, to look into or to break.
    pub fn registry(&self) -> &MemoryRegistry {
        &self.registry
    }

    /// The log, to look into or to break.
    pub fn broker(&self) -> &MemoryBroker {
        &self.broker
    }

    /// How many rows a node has dropped for this reason. Where the node runs in several groups, each
    /// of them drops the same rows, and they count once.
    pub fn drops(&self, node: &str, reason: DropReason) -> u64 {
        let dropped = self.dropped();
        let of = dropped.get(&(node.to_owned(), reason));
        of.copied().unwrap_or(0)
    }

    /// All that was dropped, by node and reason; each row once, as in [`TopologyTestDriver::drops`].
    pub fn dropped(&self) -> BTreeMap<(String, DropReason), u64> {
        let mut dropped = BTreeMap::new();
        for (at, counts) in &self.metrics.status().nodes {
            for reason in DropReason::ALL {
                let count = counts.drops_of(reason);
                if count > 0 {
                    let most = dropped.entry((at.node.clone(), reason)).or_default();
                    *most = count.max(*most);
                }
            }
        }
        dropped
    }

    /// The dead letters that have not been read yet.
    pub fn dead_letters(&mut self) -> Vec<OwnedRecord> {
        let topic = self.plan.dead_letter_topic();
        self.read(&topic)
    }
}

/// The topics that the nodes of a plan write.
fn written_topics(plan: &Plan) -> Vec<&str> {
    let internal = plan.internal_topics.iter().map(|topic| topic.name.as_str());
    internal.chain(plan.output_topics()).collect()
}

/// How many records these topics have.
fn total_of(broker: &MemoryBroker, topics: &[&str]) -> usize {
    let counts = broker.partition_counts(topics).unwrap_or_default();
    let partitions = counts
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(move |p| (topic, p)));
    partitions
        .map(|(topic, p)| {
            broker
                .records(topic, p as i32, Isolation::ReadCommitted)
                .len()
        })
        .sum()
}
