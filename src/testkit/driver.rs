//! Runs a topology in the test's own thread, over the in-memory log and a clock that stands still.
//!
//! The driver is the real planner, task, stores and commit protocol; only the log and the clock
//! are not Kafka's and the machine's. Every record is processed and committed before
//! [`TopologyTestDriver::pipe`] returns, through repartition topics too, so each update is seen by
//! itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::broker::memory::MemoryBroker;
use crate::broker::{
    Broker, BrokerError, Isolation, Outgoing, OwnedRecord, Producer, ProducerOptions, TopicSpec,
};
use crate::processor::{DropReason, NodeCounts};
use crate::runtime::{
    self, AppError, EngineMetrics, EngineSettings, Environment, StopSignal, StreamThread,
    ThreadError,
};
use crate::state::StateBackend;
use crate::state::memory::MemoryBackend;
use crate::time::{Clock, ManualClock, Timestamp};
use crate::topology::graph::Topology;
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

/// Runs a topology in the test's own thread.
pub struct TopologyTestDriver {
    pub(super) plan: Arc<Plan>,
    pub(super) topology: Topology,
    broker: MemoryBroker,
    clock: ManualClock,
    pub(super) backend: Arc<MemoryBackend>,
    producer: Box<dyn Producer>,
    thread: Option<StreamThread>,
    metrics: Arc<EngineMetrics>,
    pub(super) options: DriverOptions,
    /// How far each output has been read.
    read: HashMap<String, usize>,
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
            clock,
            backend: Arc::new(MemoryBackend::default()),
            producer,
            thread: None,
            metrics: Arc::new(EngineMetrics::default()),
            options,
            read: HashMap::new(),
        };
        driver.restart()?;
        Ok(driver)
    }

    /// Writes a record whose time is the clock's, and runs until everything has come through.
    ///
    /// # Panics
    /// When a thread has to give up; use [`TopologyTestDriver::try_pipe`] to see the error.
    pub fn pipe(&mut self, topic: &str, key: Option<&str>, value: &str) {
        let now = self.clock.now();
        let piped = self.try_pipe(topic, key.map(str::as_bytes), Some(value.as_bytes()), now);
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
        let sent = self.producer.send(Outgoing {
            topic,
            partition: Some(partition),
            timestamp: self.clock.now(),
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        });
        sent.and_then(|()| self.producer.flush())
            .expect("a partition of that topic");
        self.run().expect("the topology goes on");
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
        let partition = (self.options.partitions == 1).then_some(0);
        self.producer.send(Outgoing {
            topic,
            partition,
            timestamp,
            key,
            value,
            headers: &[],
        })?;
        self.producer.flush()?;
        self.run()
    }

    /// Moves the wall clock, and runs what that causes.
    ///
    /// # Errors
    /// When a thread has to give up.
    pub fn advance_wall_clock(&mut self, ms: i64) -> Result<(), DriverError> {
        self.clock.advance_millis(ms);
        self.run()
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

    /// Steps until nothing moves any more.
    fn run(&mut self) -> Result<(), DriverError> {
        let mut quiet = 0;
        while quiet < 4 {
            let Some(thread) = &mut self.thread else {
                return Ok(());
            };
            let ends = total_records(&self.broker, &self.plan);
            let moved = match thread.step(Duration::ZERO) {
                Ok(moved) => moved,
                Err(error) => {
                    thread.recover(error)?;
                    true
                }
            };
            if self.options.commit_each {
                thread.commit()?;
            }
            let still = !moved && ends == total_records(&self.broker, &self.plan);
            quiet = if still { quiet + 1 } else { 0 };
        }
        Ok(())
    }

    /// Loses everything that is in memory and not committed, as a crash does.
    pub fn crash(&mut self) {
        self.thread = None;
    }

    /// Loses the local state as well, as a new machine does.
    pub fn lose_state(&mut self) {
        self.crash();
        self.backend = Arc::new(MemoryBackend::default());
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
            instance: "driver".to_owned(),
            database: None,
        };
        let settings = EngineSettings {
            commit_interval: Duration::MAX,
            ..EngineSettings::default()
        };
        let stop = StopSignal::default();
        let plan = Arc::clone(&self.plan);
        let shared = runtime::prepare(plan, &environment, &settings, &self.metrics, &stop)?;
        if !self.plan.processing.is_empty() {
            self.thread = Some(StreamThread::new(shared, 0)?);
        }
        self.run()
    }

    /// The committed records of a topic that have not been read yet, in the order of their
    /// partitions.
    pub fn read(&mut self, topic: &str) -> Vec<OwnedRecord> {
        let mut records = Vec::new();
        let count = self.broker.partition_counts(&[topic]).unwrap_or_default();
        for partition in 0..count.get(topic).copied().unwrap_or(0) {
            records.extend(
                self.broker
                    .records(topic, partition as i32, Isolation::ReadCommitted),
            );
        }
        let read = self.read.entry(topic.to_owned()).or_default();
        let new = records.split_off((*read).min(records.len()));
        *read += new.len();
        new
    }

    /// The values of those records as JSON; null for a tombstone.
    ///
    /// # Panics
    /// When a value is not JSON.
    pub fn read_json(&mut self, topic: &str) -> Vec<serde_json::Value> {
        let parse = |value: &Vec<u8>| serde_json::from_slice(value).expect("JSON");
        self.read(topic)
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

    /// The log, to look into or to break.
    pub fn broker(&self) -> &MemoryBroker {
        &self.broker
    }

    /// How many rows a node has dropped for this reason.
    pub fn drops(&self, node: &str, reason: DropReason) -> u64 {
        self.counts(node).drops_of(reason)
    }

    /// The dead letters that have not been read yet.
    pub fn dead_letters(&mut self) -> Vec<OwnedRecord> {
        let topic = self.plan.dead_letter_topic();
        self.read(&topic)
    }
}

/// The size of the whole log: when it stands still, nothing is on its way.
fn total_records(broker: &MemoryBroker, plan: &Plan) -> usize {
    let internal = plan.internal_topics.iter().map(|topic| topic.name.as_str());
    let topics: Vec<&str> = internal.chain(plan.output_topics()).collect();
    let counts = broker.partition_counts(&topics).unwrap_or_default();
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
