//! `tidemill reset`: an application begins anew.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;

use super::context::Context;
use super::failure::{Ended, Failure, say};
use super::flags::{DatabaseFlags, KafkaFlags, StateFlags, Typed};
use super::interrupt::Process;
use super::load;
use crate::broker::Broker;
use crate::reset::{Member, Reset};
use crate::sql::reset_sink;
use crate::state::directory::{check_unused, remove};

const EXAMPLES: &str = "\
Examples:
  tidemill reset topology/wikimedia.yaml                      says what would be taken away
  tidemill reset topology/wikimedia.yaml --execute
  tidemill reset topology/wikimedia.yaml --node raw_table --execute
  tidemill reset topology/wikimedia.yaml --state-only --execute   on every other machine

Source topics, the topics of Kafka sinks and dead letters stay. Stop all members first.";

/// Between two looks at who is in the groups.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ResetFlags {
    /// The topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this SQL sink: it writes its table anew; may be repeated
    #[arg(long = "node", value_name = "SINK", conflicts_with = "state_only")]
    nodes: Vec<String>,
    /// Leaves the rows of tables; those with the same keys are overwritten one by one
    #[arg(long, conflicts_with = "state_only")]
    keep_tables: bool,
    /// Only the state on this machine, when the application was reset from another one
    #[arg(long)]
    state_only: bool,
    /// Does it; without, it is only said
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    kafka: KafkaFlags,
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    state: StateFlags,
}

impl ResetFlags {
    pub fn settings(&self) -> Result<Typed, Failure> {
        let groups = [
            self.kafka.settings()?,
            self.database.settings(),
            self.state.settings(),
        ];
        Ok(groups.concat())
    }
}

pub(super) fn reset(args: &ResetFlags, context: &Context) -> Ended {
    let plan = load::planned(&args.file)?;
    if args.state_only {
        return reset_state(args, context, plan.app.as_str());
    }
    let resets = match args.nodes.as_slice() {
        [] => vec![Reset::of_app(&plan)],
        nodes => {
            let resets = nodes.iter().map(|node| Reset::of_node(&plan, node));
            let resets: Result<_, _> = resets.collect();
            resets.map_err(|error| Failure::usage(error.to_string()))?
        }
    };
    if resets.iter().any(|reset| !reset.sinks.is_empty()) {
        context.database()?;
    }
    let broker = context.kafka()?;
    for reset in &resets {
        tell(args, context, &*broker, reset)?;
    }
    if !args.execute {
        for member in members(&resets, &*broker)? {
            say(format_args!(
                "warning: {} is at work in {}",
                member.name, member.group
            ));
        }
        writeln!(
            std::io::stdout(),
            "\nNothing was changed; --execute does it."
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let process = Process::start()?;
    let state_dir = &context.settings.state_dir;
    check_unused(state_dir, plan.app.as_str())?;
    wait_until_alone(&resets, &*broker, context, &process)?;
    for reset in &resets {
        execute(args, context, &*broker, reset, &process)
            .map_err(|error| broken_off(&error, args))?;
    }
    writeln!(
        std::io::stdout(),
        "\nDone: it begins anew with the next `tidemill run`."
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Somebody who starts the application now would find half of it.
fn broken_off(error: &Failure, args: &ResetFlags) -> Failure {
    let file = args.file.display();
    Failure::Failed(anyhow!(
        "{error}\nThe reset broke off: repeat it before `tidemill run {file}`; what is done already is passed over"
    ))
}

fn reset_state(args: &ResetFlags, context: &Context, app: &str) -> Ended {
    let path = context.settings.state_dir.join(app);
    let place = path.display();
    let mut out = std::io::stdout();
    match args.execute {
        false if !path.exists() => writeln!(out, "{place} is not there")?,
        false => writeln!(out, "{place} would be deleted; --execute does it")?,
        true => match remove(&context.settings.state_dir, app)? {
            true => writeln!(out, "{place} is deleted")?,
            false => writeln!(out, "{place} is not there")?,
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what is taken away, what stays, and what cannot be made again.
fn tell(
    args: &ResetFlags,
    context: &Context,
    broker: &dyn Broker,
    reset: &Reset,
) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let mut line = |what: &str, names: &[String], becomes: &str| match names {
        [] => Ok(()),
        names => writeln!(out, "{what:9} {}: {becomes}", names.join(", ")),
    };
    line("groups", &reset.groups, "forget how far they have come")?;
    line("topics", &reset.existing_topics(broker)?, "are deleted")?;
    let tables = |is_kept: bool| -> Vec<String> {
        let sinks = reset.sinks.iter();
        let those = sinks.filter(|sink| (sink.is_shared || args.keep_tables) == is_kept);
        those.map(|sink| sink.table.clone()).collect()
    };
    line("tables", &tables(false), "are emptied")?;
    line(
        "tables",
        &tables(true),
        "keep their rows until others of the same keys overwrite them",
    )?;
    if reset.has_state {
        let place = context.settings.state_dir.join(&reset.app);
        let place = [place.display().to_string()];
        line(
            "state",
            &place,
            "is deleted on this machine; on each other one with --state-only",
        )?;
    }
    line("reads", &reset.inputs, "from the beginning")?;
    line("writes", &reset.outputs, "once more, behind what is there")?;
    for (partition, start) in reset.gone(broker)? {
        say(format_args!(
            "warning: {partition} begins at offset {start}: what was made of the records before that is not \
             made again"
        ));
    }
    Ok(())
}

fn members(resets: &[Reset], broker: &dyn Broker) -> Result<Vec<Member>, Failure> {
    let mut all = Vec::new();
    for reset in resets {
        all.extend(reset.members(broker)?);
    }
    Ok(all)
}

/// A member that has gone is in its group for as long as its session lasts.
fn wait_until_alone(
    resets: &[Reset],
    broker: &dyn Broker,
    context: &Context,
    process: &Process,
) -> Result<(), Failure> {
    let patience = context.settings.engine.session_timeout + Duration::from_secs(5);
    let began = Instant::now();
    loop {
        let members = members(resets, broker)?;
        let Some(first) = members.first() else {
            return Ok(());
        };
        if began.elapsed() > patience {
            let names: Vec<String> = members
                .iter()
                .map(|m| format!("{} ({})", m.name, m.group))
                .collect();
            return Err(Failure::Failed(anyhow!(
                "members are at work: {}. Stop them first; nothing was changed",
                names.join(", ")
            )));
        }
        if began.elapsed() < PAUSE {
            say(format_args!(
                "{} is in group {}: waiting up to {patience:?} for its session to end",
                first.name, first.group
            ));
        }
        if process.stop.wait(PAUSE) {
            return Err(Failure::Failed(anyhow!("stopped; nothing was changed")));
        }
    }
}

fn execute(
    args: &ResetFlags,
    context: &Context,
    broker: &dyn Broker,
    reset: &Reset,
    process: &Process,
) -> Result<(), Failure> {
    reset.forget(broker)?;
    if reset.has_state {
        remove(&context.settings.state_dir, &reset.app)?;
    }
    for sink in &reset.sinks {
        let table = (!args.keep_tables && !sink.is_shared).then_some(sink.table.as_str());
        let forgotten = reset_sink(context.database()?, &reset.app, &sink.node, table);
        process.tokio.block_on(forgotten)?;
    }
    Ok(())
}
