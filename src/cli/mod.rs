//! The command line: what was typed, and one small function per command.
//!
//! Reading order: [`flags`](self) (what can be typed), `failure` (how a command ends), `context`
//! (settings and logs), `interrupt` (signals), then the commands in the order of the help.

mod flags;
mod failure;
mod context;
mod interrupt;
mod load;
mod serve;
mod run;
mod check;
mod test;
mod describe;
mod schema;
mod ingest;
mod query;
mod verify;
mod status;
mod dlq;
mod reset;
mod migrate;
mod settings;
mod demo;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use context::Context;
use failure::{Ended, say};
use flags::CommonFlags;

use crate::topology::graph::Topology;
use crate::topology::plan::plan;

const EXIT_CODES: &str = "\
Exit codes:
  0    all is well; for `run` and `demo`: ended as asked
  1    it failed, `check` found an error, a test of `test` failed, `verify` found a row that is
       not what the events say, `status` a process that is not ready, or the demo's tables are not what they should be
  2    the command line or a setting cannot be used
  130  ended at once by a second signal

Settings come from flags, the environment (TIDEMILL_BROKERS, TIDEMILL_DATABASE_URL, ...) and a
settings file (--config, TIDEMILL_CONFIG or ./tidemill.yaml), the first being the strongest.
`tidemill settings` shows what is in force.";

/// Streams in, tables out: a stateful stream processor.
#[derive(Parser)]
#[command(name = "tidemill", version, about, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: CommonFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs topologies: one member of the cluster, start more for more
    Run(run::Run),
    /// Finds everything that is wrong with topology files
    Check(check::Check),
    /// Plays the tests that stand in topology files; needs no Kafka and no database
    Test(test::Test),
    /// Draws a topology
    Describe(describe::Describe),
    /// Prints the JSON schema of topology files, for editors
    Schema(schema::Schema),
    /// Gets events into Kafka
    Ingest(Box<ingest::Ingest>),
    /// Asks the tables
    Query(query::Query),
    /// Holds the tables of windows against the raw events
    Verify(verify::Verify),
    /// Says how processes fare: tasks, restores, sinks, lag
    Status(status::Status),
    /// Lists, shows and replays records that could not be handled
    Dlq(dlq::Dlq),
    /// Takes away what an application has kept and written, so that it begins anew
    Reset(Box<reset::ResetFlags>),
    /// Brings the shipped tables up to date
    Migrate(migrate::Migrate),
    /// Shows the settings in force and where each comes from
    Settings(settings::Show),
    /// Shows everything at work, with nothing installed
    Demo(demo::Demo),
}

/// Does what was typed.
pub fn main() -> ExitCode {
    exit_code(dispatch(&Cli::parse()))
}

/// Runs a topology that a program of its own has built, as `tidemill run` does that of a file: with
/// the same flags, settings, signals and exit codes. For topologies with
/// [processors](crate::topology::process), whose code no file can hold.
pub fn run_topology(topology: &Topology) -> ExitCode {
    let program = Program::parse();
    let run = || {
        let plan = Arc::new(plan(topology)?);
        let settings = program.flags.settings()?;
        let context = Context::new(&program.common, settings, "info")?;
        run::run_plans(vec![plan], &program.flags, &context)
    };
    exit_code(run())
}

/// A program that runs one topology.
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Program {
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    flags: run::RunFlags,
}

fn exit_code(ended: Ended) -> ExitCode {
    ended.unwrap_or_else(|failure| {
        if failure.is_closed_pipe() {
            return ExitCode::SUCCESS;
        }
        match context::logs_json() {
            true => tracing::error!("{failure}"),
            false => say(format_args!("error: {failure}")),
        }
        failure.exit_code()
    })
}

fn dispatch(cli: &Cli) -> Ended {
    let context = |flags| Context::new(&cli.common, flags, "info");
    // Of these the answer matters, not how it came about.
    let quiet = |flags| Context::new(&cli.common, flags, "warn");
    match &cli.command {
        Command::Run(args) => run::run(args, &context(args.flags.settings()?)?),
        Command::Check(args) => check::check(args),
        Command::Test(args) => test::test(args),
        Command::Describe(args) => describe::describe(args),
        Command::Schema(args) => schema::schema(args),
        Command::Ingest(args) => ingest::ingest(args, &context(args.settings()?)?),
        Command::Query(args) => query::query(args, &quiet(args.settings()?)?),
        Command::Verify(args) => verify::verify(args, &quiet(args.settings()?)?),
        Command::Status(args) => status::status(args, &quiet(Vec::new())?),
        Command::Dlq(args) => dlq::dlq(args, &quiet(args.settings()?)?),
        Command::Reset(args) => reset::reset(args, &quiet(args.settings()?)?),
        Command::Migrate(args) => migrate::migrate(args, &quiet(args.settings()?)?),
        Command::Settings(args) => settings::show(args, &cli.common),
        Command::Demo(args) => demo::demo(args, &quiet(args.settings()?)?),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
        Program::command().debug_assert();
    }
}
