//! What the demo runs on: a log in memory, state and tables in one directory.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::TOPOLOGY;
use super::trim::Trimmer;
use crate::broker::memory::MemoryBroker;
use crate::broker::{Broker, BrokerError, Isolation, TopicPartition};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::interrupt::Process;
use crate::cli::{load, run, serve};
use crate::config;
use crate::http::{AppFacts, Facts, Progress};
use crate::ingest::generate::{self, GenerateOptions};
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::target::Target;
use crate::ingest::wikimedia;
use crate::runtime::{
    App, Database, EngineMetrics, EngineSettings, Environment, MemoryUsers, StopSignal,
};
use crate::sql::{self, DatabaseUrl};
use crate::state::directory::StateDirectory;
use crate::state::rocks::{RocksBackend, StoreMemory};
use crate::time::{Clock, SystemClock, Timestamp};
use crate::topology::plan::{Plan, SubTopology, plan};

/// A running demo.
pub(super) struct Stage {
    pub plan: Arc<Plan>,
    pub broker: MemoryBroker,
    pub engine: Arc<EngineMetrics>,
    pub ingest: Arc<IngestMetrics>,
    pub database: DatabaseUrl,
    pub address: Option<std::net::SocketAddr>,
    /// Stops the engine, which works on after a signal until all events have arrived.
    pub stop: StopSignal,
    target: Target,
    app: App,
    trimmer: Trimmer,
    directory: Directory,
    _state: StateDirectory,
}

/// Where the files are.
enum Directory {
    Temporary(TempDir),
    Kept(PathBuf),
}

/// Which events were generated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generated {
    pub seed: u64,
    pub start: Timestamp,
    pub events_per_second: f64,
    pub events: u64,
}

/// What fills the log.
pub(super) struct Source {
    thread: JoinHandle<Result<u64, anyhow::Error>>,
    /// None of a live stream.
    generated: Option<Generated>,
}

impl Stage {
    pub fn build(
        keep: Option<&Path>,
        context: &Context,
        process: &Process,
    ) -> Result<Stage, Failure> {
        let directory = Directory::make(keep)?;
        // The demo's topology is the same whatever the environment says.
        let topology = config::check(TOPOLOGY, "wikimedia.yaml", &|_| None).into_result();
        let topology = topology.expect("the shipped topology has no errors");
        let target = Target::for_source(load::source(&topology, None)?);
        let plan = Arc::new(plan(&topology)?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let broker = MemoryBroker::new(Arc::clone(&clock));
        target.create_topics(&broker)?;
        let database = directory.database()?;
        process.tokio.block_on(sql::migrate(&database))?;
        let state = StateDirectory::acquire(&directory.path().join("state"), plan.app.as_str())?;
        let users = MemoryUsers::of([&*plan], context.settings.engine.threads);
        let memory = context.settings.memory.share(users);
        let environment = Environment {
            broker: Arc::new(broker.clone()),
            backend: Arc::new(RocksBackend::new(
                state.tasks(),
                &StoreMemory::new(memory.state),
            )),
            clock: Arc::clone(&clock),
            registries: run::registries(&context.settings, process),
            instance: state.instance().to_string(),
            database: Some(Database {
                url: database.clone(),
                tokio: process.tokio.handle().clone(),
                migrate: false,
            }),
            memory,
        };
        let engine = Arc::<EngineMetrics>::default();
        let stop = StopSignal::default();
        let settings: &EngineSettings = &context.settings.engine;
        let app = App::start(Arc::clone(&plan), &environment, settings, &engine, &stop)?;
        let ingest = Arc::<IngestMetrics>::default();
        let mut facts = Facts::new(Arc::clone(&clock));
        facts.token = context.settings.http_token.clone();
        facts.database = Some(database.clone());
        facts.ingest = Some(Arc::clone(&ingest));
        facts.apps.push(AppFacts {
            name: plan.app.to_string(),
            tables: run::tables(&plan),
            engine: Arc::clone(&engine),
            progress: Progress::new(
                Arc::clone(&plan),
                environment.broker,
                Arc::clone(&engine),
                clock,
            ),
        });
        let address = serve::serve(facts, &context.settings, process)?;
        let trimmer = Trimmer::start(broker.clone(), Arc::clone(&plan), stop.clone());
        Ok(Stage {
            plan,
            broker,
            engine,
            ingest,
            database,
            address,
            stop,
            target,
            app,
            trimmer,
            directory,
            _state: state,
        })
    }

    pub fn introduce(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "tables  {}", self.database)?;
        writeln!(
            out,
            "state   {}",
            self.directory.path().join("state").display()
        )?;
        if let Some(address) = self.address {
            writeln!(out, "page    http://{address}/")?;
        }
        if let Directory::Temporary(_) = self.directory {
            writeln!(out, "(deleted at the end; --keep DIR keeps them)")?;
        }
        Ok(())
    }

    /// Begins to write synthetic events.
    pub fn generate(
        &self,
        seed: u64,
        rate: Option<f64>,
        events: Option<u64>,
        process: &Process,
    ) -> Result<Source, Failure> {
        let events_per_second = rate.unwrap_or(generate::mix::EVENTS_PER_SECOND);
        let now = SystemClock.now();
        let start = match (rate, events) {
            (None, Some(events)) => {
                now.plus_millis(-((events as f64 / events_per_second * 1000.0) as i64))
            }
            _ => now,
        };
        let options = GenerateOptions {
            seed,
            rate,
            events,
            start: Some(start),
            target: self.target.clone(),
        };
        let work = move |log: &MemoryBroker, metrics: &IngestMetrics, end: &CancellationToken| {
            Ok(generate::run(&options, log, &SystemClock, metrics, end)?.events)
        };
        let generated = Generated {
            seed,
            start,
            events_per_second,
            events: 0,
        };
        self.source(work, Some(generated), process)
    }

    /// Begins to read Wikimedia's stream.
    pub fn read_wikimedia(&self, context: &Context, process: &Process) -> Result<Source, Failure> {
        let stream = wikimedia::StreamTarget {
            stream: "recentchange".to_owned(),
            target: self.target.clone(),
        };
        let options = wikimedia::WikimediaOptions {
            contact: context.settings.contact.clone(),
            chance: rand::random(),
            ..wikimedia::WikimediaOptions::new("demo", vec![stream])
        };
        let work = move |log: &MemoryBroker, metrics: &IngestMetrics, end: &CancellationToken| {
            wikimedia::run(&options, log, &SystemClock, metrics, end)?;
            Ok(0)
        };
        self.source(work, None, process)
    }

    fn source(
        &self,
        work: impl FnOnce(&MemoryBroker, &IngestMetrics, &CancellationToken) -> anyhow::Result<u64>
        + Send
        + 'static,
        generated: Option<Generated>,
        process: &Process,
    ) -> Result<Source, Failure> {
        let (broker, metrics) = (self.broker.clone(), Arc::clone(&self.ingest));
        let shutdown = process.shutdown.clone();
        let thread = std::thread::Builder::new()
            .name("demo-source".to_owned())
            .spawn(move || work(&broker, &metrics, &shutdown))?;
        Ok(Source { thread, generated })
    }

    /// Whether every record of the log has been processed, and every result is in its table.
    pub fn is_drained(&self) -> Result<bool, Failure> {
        let mut groups: Vec<(String, &SubTopology)> = Vec::new();
        groups.extend(
            self.plan
                .processing
                .iter()
                .map(|sub| (self.plan.group(), &**sub)),
        );
        groups.extend(
            self.plan
                .sinks
                .iter()
                .map(|sub| (self.plan.sink_group(&sub.name), &**sub)),
        );
        for (group, sub) in groups {
            let topics: Vec<&str> = sub.topics().collect();
            for partition in partitions(&self.broker, &topics)? {
                if self.is_behind(&group, &partition)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn is_behind(&self, group: &str, partition: &TopicPartition) -> Result<bool, BrokerError> {
        let position = self.broker.committed_offsets(group).get(partition).copied();
        let one = std::slice::from_ref(partition);
        let position = match position {
            Some(position) => position,
            None => self.broker.start_offsets(one)?[partition],
        };
        // The entries behind the position may be transaction markers only.
        let mut reader = self.broker.reader(Isolation::ReadUncommitted)?;
        reader.assign(&[(partition.clone(), position)])?;
        let mut found = false;
        reader.poll(std::time::Duration::ZERO, 1, &mut |_| found = true)?;
        Ok(found)
    }

    /// Stops the threads and waits for them.
    pub fn end(self) -> Result<(), Failure> {
        self.stop.set();
        self.app.join()?;
        self.trimmer.join();
        if let Directory::Kept(path) = &self.directory {
            writeln!(std::io::stdout(), "kept in {}", path.display())?;
        }
        Ok(())
    }
}

impl Source {
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end; gives what was generated, if it was.
    pub fn end(self) -> Result<Option<Generated>, Failure> {
        let events = self
            .thread
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the source panicked")))?;
        Ok(self.generated.map(|generated| Generated {
            events,
            ..generated
        }))
    }
}

impl Directory {
    fn make(keep: Option<&Path>) -> std::io::Result<Directory> {
        match keep {
            None => tempfile::Builder::new()
                .prefix("tidemill-demo-")
                .tempdir()
                .map(Directory::Temporary),
            Some(path) => {
                std::fs::create_dir_all(path)?;
                Ok(Directory::Kept(path.to_owned()))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Directory::Temporary(directory) => directory.path(),
            Directory::Kept(path) => path,
        }
    }

    /// The log of an earlier demo is gone, so its tables and its state are of no use.
    fn database(&self) -> Result<DatabaseUrl, Failure> {
        let file = self.path().join("demo.db");
        if file.exists() {
            return Err(Failure::usage(format!(
                "{} is there already, from another demo: name an empty directory",
                file.display()
            )));
        }
        Ok(DatabaseUrl::of_file(&file))
    }
}

/// All partitions of these topics.
pub(super) fn partitions(
    broker: &dyn Broker,
    topics: &[&str],
) -> Result<Vec<TopicPartition>, BrokerError> {
    let counts = broker.partition_counts(topics)?;
    let mut partitions = Vec::new();
    for (topic, count) in counts {
        let topic: Arc<str> = topic.into();
        let numbers = 0..i32::try_from(count).unwrap_or(i32::MAX);
        partitions.extend(numbers.map(|number| TopicPartition::new(Arc::clone(&topic), number)));
    }
    Ok(partitions)
}
