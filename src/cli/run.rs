//! `tidemill run`: one member of the cluster.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::context::Context;
use super::failure::{Ended, Failure};
use super::flags::{DatabaseFlags, EngineFlags, HttpFlags, KafkaFlags, Typed};
use super::interrupt::Process;
use super::{load, serve};
use crate::broker::{Broker, BrokerError};
use crate::format::Registries;
use crate::http::{AppFacts, Facts, Progress};
use crate::registry::HttpRegistries;
use crate::runtime::{
    self, App, AppError, Database, EngineMetrics, EngineSettings, Environment, MemoryShares,
    MemoryUsers, StopSignal, TopicError,
};
use crate::settings::{LogFormat, Settings};
use crate::sql::{self, SqlError};
use crate::state::directory::StateDirectory;
use crate::state::rocks::{RocksBackend, StoreMemory};
use crate::time::{Clock, SystemClock};
use crate::topology::plan::Plan;

const EXAMPLES: &str = "\
Examples:
  tidemill run topology/wikimedia.yaml
  tidemill run a.yaml b.yaml --brokers kafka:9092 --threads 4
  TIDEMILL_DATABASE_URL=mysql://tidemill:secret@db/wikimedia tidemill run topology/wikimedia.yaml

Start it again, here or on another machine, for another member. SIGINT or SIGTERM commits and ends.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    pub flags: RunFlags,
}

/// What can be said of a run, whatever is run.
#[derive(Args)]
pub(super) struct RunFlags {
    /// Leaves the tables alone; they must be there and fit
    #[arg(long)]
    no_migrate: bool,
    #[command(flatten)]
    kafka: KafkaFlags,
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    engine: EngineFlags,
    #[command(flatten)]
    http: HttpFlags,
}

impl RunFlags {
    pub fn settings(&self) -> Result<Typed, Failure> {
        let groups = [
            self.kafka.settings()?,
            self.database.settings(),
            self.engine.settings(),
            self.http.settings(),
        ];
        Ok(groups.concat())
    }
}

pub(super) fn run(args: &Run, context: &Context) -> Ended {
    run_plans(plans(&args.files)?, &args.flags, context)
}

/// Runs members of these applications until the process is told to stop.
pub(super) fn run_plans(plans: Vec<Arc<Plan>>, flags: &RunFlags, context: &Context) -> Ended {
    let has_tables = plans.iter().any(|plan| !plan.sinks.is_empty());
    if has_tables {
        context.database()?;
    }
    let process = Process::start()?;
    let users = MemoryUsers::of(
        plans.iter().map(|plan| &**plan),
        context.settings.engine.threads,
    );
    let memory = context.settings.memory.share(users);
    tracing::debug!(?users, ?memory, "memory is shared out");
    let ground = Ground {
        broker: context.kafka_within(&memory)?,
        clock: Arc::new(SystemClock),
        memory,
        stores: StoreMemory::new(memory.state),
    };
    let sinks_migrate = has_tables && !flags.no_migrate && !migrate(context, &process)?;
    process.watch(context.settings.stop_timeout);
    let mut facts = Facts::new(Arc::clone(&ground.clock));
    facts.token = context.settings.http_token.clone();
    facts.database = context.settings.database.clone();
    let mut members = Vec::new();
    for plan in plans {
        let member = Member::start(plan, context, &ground, &process, sinks_migrate)?;
        let Some(member) = member else {
            say(context, "stopped before anything was read");
            return Ok(ExitCode::SUCCESS);
        };
        facts.apps.push(member.facts(&ground));
        members.push(member);
    }
    let address = serve::serve(facts, &context.settings, &process)?;
    for member in &members {
        member.introduce(context);
    }
    if let Some(address) = address {
        match context.settings.log_format {
            LogFormat::Text => print(&format!(
                "http      http://{address}/  (also /metrics, /healthz, /readyz)"
            )),
            LogFormat::Json => tracing::info!(%address, "HTTP is served"),
        }
    }
    let mut ended = Ok(());
    for member in members {
        ended = ended.and(member.app.join());
    }
    process.stop();
    ended?;
    say(context, "stopped; everything is committed");
    Ok(ExitCode::SUCCESS)
}

/// Brings the tables up to date; false when the database is away, which is then left to the sinks:
/// they wait for as long as it takes. What needs a human is said at once.
fn migrate(context: &Context, process: &Process) -> Result<bool, Failure> {
    match process.tokio.block_on(sql::migrate(context.database()?)) {
        Ok(()) => Ok(true),
        Err(error @ SqlError::Unavailable { .. }) => {
            tracing::warn!(%error, "the database is away; sinks wait for it");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn plans(files: &[PathBuf]) -> Result<Vec<Arc<Plan>>, Failure> {
    let mut plans: Vec<Arc<Plan>> = Vec::new();
    for file in files {
        let plan = load::planned(file)?;
        if plans.iter().any(|other| other.app == plan.app) {
            return Err(Failure::usage(format!(
                "two files are of the app {}",
                plan.app
            )));
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// What all applications of the process stand on.
struct Ground {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    memory: MemoryShares,
    stores: StoreMemory,
}

/// A running application. Holds the lock of its state directory.
struct Member {
    plan: Arc<Plan>,
    engine: Arc<EngineMetrics>,
    directory: StateDirectory,
    app: App,
}

impl Member {
    fn start(
        plan: Arc<Plan>,
        context: &Context,
        ground: &Ground,
        process: &Process,
        sinks_migrate: bool,
    ) -> Result<Option<Member>, Failure> {
        let settings = &context.settings;
        let directory = StateDirectory::acquire(&settings.state_dir, plan.app.as_str())?;
        let backend = RocksBackend::new(directory.tasks(), &ground.stores);
        let engine = Arc::<EngineMetrics>::default();
        let database = settings.database.clone();
        let environment = Environment {
            broker: Arc::clone(&ground.broker),
            backend: Arc::new(backend),
            clock: Arc::clone(&ground.clock),
            registries: registries(settings, process),
            instance: directory.instance().to_string(),
            database: database.map(|url| Database {
                url,
                tokio: process.tokio.handle().clone(),
                migrate: sinks_migrate,
            }),
            memory: ground.memory,
        };
        let app = start(
            &plan,
            &environment,
            &settings.engine,
            &engine,
            &process.stop,
        )?;
        Ok(app.map(|app| Member {
            plan,
            engine,
            directory,
            app,
        }))
    }

    fn facts(&self, ground: &Ground) -> AppFacts {
        AppFacts {
            name: self.plan.app.to_string(),
            tables: tables(&self.plan),
            engine: Arc::clone(&self.engine),
            progress: Progress::new(
                Arc::clone(&self.plan),
                Arc::clone(&ground.broker),
                Arc::clone(&self.engine),
                Arc::clone(&ground.clock),
            ),
        }
    }

    /// Tells what it is and where its parts are.
    fn introduce(&self, context: &Context) {
        let plan = &self.plan;
        let sinks = plan.sinks.iter().map(|sink| plan.sink_group(&sink.name));
        let groups: Vec<String> = std::iter::once(plan.group()).chain(sinks).collect();
        let (reads, groups) = (plan.source_topics().join(", "), groups.join(", "));
        let tables = match tables(plan) {
            tables if tables.is_empty() => "none".to_owned(),
            tables => tables.join(", "),
        };
        let (app, version) = (&plan.app, env!("CARGO_PKG_VERSION"));
        let state = self.directory.path().display();
        match context.settings.log_format {
            LogFormat::Text => print(&format!(
                "app       {app} (tidemill {version})\n\
                 reads     {reads}\n\
                 groups    {groups}\n\
                 tables    {tables}\n\
                 state     {state}"
            )),
            LogFormat::Json => {
                tracing::info!(%app, version, reads, groups, tables, %state, "started");
            }
        }
    }
}

/// Schema registries, asked on the runtime of the process.
pub(super) fn registries(settings: &Settings, process: &Process) -> Arc<dyn Registries> {
    let tokio = process.tokio.handle().clone();
    let auth = settings.schema_registry_auth.clone();
    Arc::new(HttpRegistries::new(tokio, auth))
}

/// How long topics that others create, and brokers that cannot say which there are, are waited for.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Starts the application; none when the process is told to stop before that. Whoever ingests, and the
/// brokers, may have been started at the same moment, so what is not there is waited for.
fn start(
    plan: &Arc<Plan>,
    environment: &Environment,
    settings: &EngineSettings,
    engine: &Arc<EngineMetrics>,
    stop: &StopSignal,
) -> Result<Option<App>, AppError> {
    let begun = Instant::now();
    let mut is_first = true;
    loop {
        let error = match App::start(Arc::clone(plan), environment, settings, engine, stop) {
            Err(AppError::Topics(error)) if begun.elapsed() < START_PATIENCE => error,
            started => return started.map(Some),
        };
        match &error {
            TopicError::Missing { topic } if is_first => {
                tracing::warn!(topic, "waiting for the topic to be created");
            }
            TopicError::Broker(BrokerError::Retry { .. }) if is_first => {
                tracing::warn!(%error, "waiting for Kafka to say which topics it has");
            }
            TopicError::Missing { .. } | TopicError::Broker(BrokerError::Retry { .. }) => {}
            _ => return Err(error.into()),
        }
        is_first = false;
        if stop.wait(Duration::from_millis(500)) {
            return Ok(None);
        }
    }
}

/// The names of the tables of a plan's SQL sinks.
pub(super) fn tables(plan: &Plan) -> Vec<String> {
    let tables = runtime::tables(plan).into_iter();
    tables.map(|table| table.table).collect()
}

/// For people, or as a log when those are for programs.
fn say(context: &Context, line: &str) {
    match context.settings.log_format {
        LogFormat::Text => print(line),
        LogFormat::Json => tracing::info!("{line}"),
    }
}

/// Whoever listened may have left; that ends nothing.
fn print(text: &str) {
    writeln!(std::io::stdout(), "{text}").unwrap_or_default();
}
