//! A running application: its threads, from start to stop.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::failpoint::Failpoint;
use super::global::{self, GlobalTableError};
use super::memory::MemoryShares;
use super::metrics::EngineMetrics;
use super::settings::EngineSettings;
use super::sink::{SinkContext, SinkThread};
use super::stop::StopSignal;
use super::tables::{self, OpenTable};
use super::thread::{Shared, StreamThread};
use super::topics::{self, TopicError};
use super::trouble::{SinkError, ThreadError};
use tokio::runtime::Handle;

use crate::broker::Broker;
use crate::format::Registries;
use crate::sql::{DatabaseUrl, SqlError};
use crate::state::{StateBackend, StateError};
use crate::time::Clock;
use crate::topology::graph::NodeName;
use crate::topology::plan::{Plan, SubTopology};

/// What an application runs on. Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    /// The log.
    pub broker: Arc<dyn Broker>,
    /// Where tasks keep their state.
    pub backend: Arc<dyn StateBackend>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where the schemas are that records name.
    pub registries: Arc<dyn Registries>,
    /// The process's identity: the same after a restart, different from every other process's.
    pub instance: String,
    /// Where SQL sinks write.
    pub database: Option<Database>,
    /// What it may keep in memory.
    pub memory: MemoryShares,
}

/// Where SQL sinks write.
#[derive(Clone)]
pub struct Database {
    /// Where it is.
    pub url: DatabaseUrl,
    /// The runtime on which sinks wait for it.
    pub tokio: Handle,
    /// Whether sinks bring the shipped tables up to date before they open theirs.
    pub migrate: bool,
}

/// An application could not be started, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Its topics.
    #[error(transparent)]
    Topics(#[from] TopicError),
    /// A stream thread.
    #[error("stream thread {thread}: {source}")]
    Thread {
        /// Which one.
        thread: String,
        /// Why.
        source: ThreadError,
    },
    /// There is nowhere to write tables.
    #[error("the topology has SQL sinks ({sinks}), but no database is set")]
    NoDatabase {
        /// Their names.
        sinks: String,
    },
    /// Tables that are not what their sinks need.
    #[error("{}\nFor all tables of a topology: tidemill describe FILE --tables mysql (or sqlite)", list(.0))]
    Tables(Vec<(NodeName, SqlError)>),
    /// The state of a global table.
    #[error(transparent)]
    GlobalState(#[from] StateError),
    /// A global table.
    #[error("global table {table}: {source}")]
    GlobalTable {
        /// Which one.
        table: String,
        /// Why.
        source: GlobalTableError,
    },
    /// A SQL sink.
    #[error("sink {sink}: {source}")]
    Sink {
        /// Which one.
        sink: NodeName,
        /// Why.
        source: SinkError,
    },
    /// The system has no more threads.
    #[error("cannot start a thread: {0}")]
    Spawn(std::io::Error),
    /// A bug.
    #[error("thread {0} panicked; its last commit stands")]
    Panicked(String),
}

fn list(misfits: &[(NodeName, SqlError)]) -> String {
    let lines = misfits
        .iter()
        .map(|(sink, error)| format!("sink {sink}: {error}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The stream threads and SQL sinks of one process.
pub struct App {
    threads: Vec<(String, JoinHandle<Result<(), AppError>>)>,
    stop: StopSignal,
}

impl App {
    /// Opens the tables, prepares the topics, joins the groups and starts the threads. A thread that
    /// has to give up gives the stop signal, so that the whole process ends.
    ///
    /// # Errors
    /// When topics or tables are missing or do not fit, or a group cannot be joined.
    pub fn start(
        plan: Arc<Plan>,
        environment: &Environment,
        settings: &EngineSettings,
        metrics: &Arc<EngineMetrics>,
        stop: &StopSignal,
    ) -> Result<App, AppError> {
        // Nothing is created before it is known that the rest is there. Topics may still come, tables
        // that do not fit do not mend themselves: those are told first.
        let database = environment.database.as_ref();
        let tables = open_tables(&plan, database)?;
        topics::find_sources(&*environment.broker, &plan)?;
        let shared = prepare(plan, environment, settings, metrics, stop)?;
        let mut app = App {
            threads: Vec::new(),
            stop: stop.clone(),
        };
        app.start_global_tables(&shared)?;
        let threads = if shared.plan.processing.is_empty() {
            0
        } else {
            settings.threads
        };
        for number in 0..threads {
            let name = format!("stream-{number}");
            let failed = move |source| AppError::Thread {
                thread: format!("stream-{number}"),
                source,
            };
            let thread = StreamThread::new(Arc::clone(&shared), number).map_err(failed)?;
            app.spawn(name, move || thread.run().map_err(failed))?;
        }
        for (plan, table) in std::iter::zip(&shared.plan.sinks, tables) {
            let database = database.expect("there is one where tables were opened");
            app.start_sink(&shared, plan, database, table)?;
        }
        Ok(app)
    }

    /// Each in a thread of its own; the tasks wait for those that they look into.
    fn start_global_tables(&mut self, shared: &Arc<Shared>) -> Result<(), AppError> {
        for updater in global::updaters(shared)? {
            let table = updater.name().to_owned();
            self.spawn(format!("global-{table}"), move || {
                let ended = updater.run();
                ended.map_err(|source| AppError::GlobalTable { table, source })
            })?;
        }
        Ok(())
    }

    fn start_sink(
        &mut self,
        shared: &Shared,
        plan: &Arc<SubTopology>,
        database: &Database,
        table: Option<OpenTable>,
    ) -> Result<(), AppError> {
        let thread = sink(shared, plan, database, table)?;
        let sink = plan.name.clone();
        self.spawn(format!("sink-{sink}"), move || {
            let ended = thread.run();
            ended.map_err(|source| AppError::Sink { sink, source })
        })
    }

    fn spawn(
        &mut self,
        name: String,
        work: impl FnOnce() -> Result<(), AppError> + Send + 'static,
    ) -> Result<(), AppError> {
        let stop = self.stop.clone();
        let work = move || {
            let ended = work();
            if let Err(error) = &ended {
                tracing::error!(%error, "stopping");
                stop.set();
            }
            ended
        };
        let handle = std::thread::Builder::new()
            .name(name.clone())
            .spawn(work)
            .map_err(AppError::Spawn)?;
        self.threads.push((name, handle));
        Ok(())
    }

    /// Waits until all threads have ended.
    ///
    /// # Errors
    /// The first error that made a thread give up.
    pub fn join(mut self) -> Result<(), AppError> {
        self.wait()
    }

    fn wait(&mut self) -> Result<(), AppError> {
        let mut result = Ok(());
        for (name, handle) in self.threads.drain(..) {
            let ended = handle.join().unwrap_or(Err(AppError::Panicked(name)));
            result = result.and(ended);
        }
        result
    }
}

/// When a process ends for another reason than its threads: they are stopped and waited for, since
/// they use what is dropped after them.
impl Drop for App {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop.set();
            // Whoever drops it has an error of its own to tell.
            self.wait().ok();
        }
    }
}

/// Opens the tables of all sinks, so that whatever does not fit is said at once and before any group
/// is joined. None for a table whose database is away: its sink waits for it.
fn open_tables(
    plan: &Plan,
    database: Option<&Database>,
) -> Result<Vec<Option<OpenTable>>, AppError> {
    if plan.sinks.is_empty() {
        return Ok(Vec::new());
    }
    let Some(database) = database else {
        let sinks = plan.sinks.iter().map(|sink| sink.name.as_str());
        return Err(AppError::NoDatabase {
            sinks: sinks.collect::<Vec<_>>().join(", "),
        });
    };
    let mut open = Vec::new();
    let mut misfits = Vec::new();
    for sink in &plan.sinks {
        match tables::open(database, plan.app.as_str(), sink) {
            Ok(table) => open.push(Some(table)),
            Err(SqlError::Unavailable { .. }) => open.push(None),
            Err(error @ SqlError::Mismatch { .. }) => misfits.push((sink.name.clone(), error)),
            Err(source) => {
                return Err(AppError::Sink {
                    sink: sink.name.clone(),
                    source: source.into(),
                });
            }
        }
    }
    match misfits.is_empty() {
        true => Ok(open),
        false => Err(AppError::Tables(misfits)),
    }
}

/// The SQL sinks of a plan with their tables, each to be stepped by whoever asks for them.
pub(crate) fn sinks(shared: &Shared, database: &Database) -> Result<Vec<SinkThread>, AppError> {
    let tables = open_tables(&shared.plan, Some(database))?;
    std::iter::zip(&shared.plan.sinks, tables)
        .map(|(plan, table)| sink(shared, plan, database, table))
        .collect()
}

fn sink(
    shared: &Shared,
    plan: &Arc<SubTopology>,
    database: &Database,
    table: Option<OpenTable>,
) -> Result<SinkThread, AppError> {
    let node = &plan.name;
    let context = SinkContext {
        app: shared.plan.app.to_string(),
        node: node.clone(),
        group: shared.plan.sink_group(node),
        config: shared.plan.fingerprint.clone(),
        dead_letters: Arc::clone(&shared.dead_letters),
        plan: Arc::clone(plan),
        broker: Arc::clone(&shared.broker),
        database: database.clone(),
        clock: Arc::clone(&shared.clock),
        registries: Arc::clone(&shared.registries),
        settings: shared.settings.clone(),
        memory: shared.memory,
        metrics: Arc::clone(&shared.metrics),
        stop: shared.stop.clone(),
        instance: shared.instance.clone(),
        failpoint: shared.failpoint.clone(),
    };
    SinkThread::new(context, table).map_err(|source| AppError::Sink {
        sink: node.clone(),
        source,
    })
}

/// Makes sure of the topics; what all threads share.
pub(crate) fn prepare(
    plan: Arc<Plan>,
    environment: &Environment,
    settings: &EngineSettings,
    metrics: &Arc<EngineMetrics>,
    stop: &StopSignal,
) -> Result<Arc<Shared>, AppError> {
    let partitions = topics::prepare(&*environment.broker, &plan, settings.replication)?;
    Ok(Arc::new(Shared {
        dead_letters: plan.dead_letter_topic().into(),
        global_tables: Arc::new(global::tables(&plan)),
        plan,
        broker: Arc::clone(&environment.broker),
        backend: Arc::clone(&environment.backend),
        clock: Arc::clone(&environment.clock),
        registries: Arc::clone(&environment.registries),
        settings: settings.clone(),
        memory: environment.memory,
        partitions,
        metrics: Arc::clone(metrics),
        stop: stop.clone(),
        instance: environment.instance.clone(),
        failpoint: Failpoint::from_env(),
    }))
}
