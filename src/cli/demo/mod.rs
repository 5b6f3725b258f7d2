//! `tidemill demo`: the whole of it at work, with nothing installed.
//!
//! ```text
//! generated or live events → log in memory → shipped topology, RocksDB → SQLite → terminal, page
//! ```
//!
//! Everything but the log is what `tidemill run` uses.

mod stage;
mod trim;
mod verify;
mod view;

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::context::Context;
use super::failure::{Ended, Failure};
use super::flags::{HttpFlags, Typed};
use super::interrupt::Process;
use stage::{Generated, Stage};
use verify::Verdict;
use view::View;

const EXAMPLES: &str = "\
Examples:
  tidemill demo                          until Ctrl-C, then checks its own tables
  tidemill demo --events 20000           then checks its own tables
  tidemill demo --live --contact you@example.org";

/// Between two pictures.
const REDRAW: Duration = Duration::from_secs(1);

/// Between two looks at whether everything has arrived.
const LOOK: Duration = Duration::from_millis(100);

/// So long after a signal events may still be on their way to the tables.
const PATIENCE: Duration = Duration::from_secs(5);

/// More events are not made again at a signal, to check the tables against them.
const CHECKED_AT_MOST: u64 = 2_000_000;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Demo {
    /// Ends after so many events and checks the tables against them; as fast as possible unless
    /// --rate is given
    #[arg(long, value_name = "N", conflicts_with = "live")]
    events: Option<u64>,
    /// Events per second [default: 200, without --events]
    #[arg(long, value_name = "N", conflicts_with = "live")]
    rate: Option<f64>,
    /// The same seed gives events of the same kind; their times are those of the demo
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Wikimedia's stream as it happens; needs a contact
    #[arg(long)]
    live: bool,
    /// A URL or mail address that Wikimedia can reach you at [setting: contact]
    #[arg(long, value_name = "CONTACT")]
    contact: Option<String>,
    /// Keeps the tables and the state in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    http: HttpFlags,
}

impl Demo {
    pub fn settings(&self) -> Result<Typed, Failure> {
        let contact = self
            .contact
            .clone()
            .map(|contact| ("contact".to_owned(), contact));
        // Only what a user asks to see should stand between the pictures.
        let mut settings = self.http.settings();
        settings.extend(contact);
        Ok(settings)
    }

    /// Events per second; none: as fast as possible.
    fn pace(&self) -> Result<Option<f64>, Failure> {
        const USUAL: f64 = 200.0;
        match (self.rate, self.events) {
            (Some(rate), _) if !(rate.is_finite() && rate > 0.0) => Err(Failure::usage(format!(
                "--rate: expected a number above 0, found {rate}"
            ))),
            (Some(rate), _) => Ok(Some(rate)),
            (None, Some(_)) => Ok(None),
            (None, None) => Ok(Some(USUAL)),
        }
    }
}

pub(super) fn demo(args: &Demo, context: &Context) -> Ended {
    let pace = args.pace()?;
    if args.live && context.settings.contact.is_none() {
        return Err(Failure::usage(
            "--live: Wikimedia refuses tools that name no contact: add --contact with a URL or \
             mail address",
        ));
    }
    let process = Process::start()?;
    let stage = Stage::build(args.keep.as_deref(), context, &process)?;
    process.watch(context.settings.stop_timeout);
    let played = play(args, pace, context, &stage, &process);
    // Also after an error: threads must not work on in a process that ends.
    process.stop();
    let ended = stage.end();
    let ending = played.and_then(|ending| ended.map(|()| ending))?;
    writeln!(std::io::stdout(), "{ending}")?;
    Ok(match ending {
        Ending::Checked(verdict) if !verdict.is_good() => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// How a demo has ended.
enum Ending {
    /// The tables were compared with the events.
    Checked(Verdict),
    /// Every event that came has reached the tables.
    Drained,
    /// Some events have not.
    CutOff,
}

/// Shows what happens until it is over: by itself, by a signal, or because the engine gives up.
fn play(
    args: &Demo,
    pace: Option<f64>,
    context: &Context,
    stage: &Stage,
    process: &Process,
) -> Result<Ending, Failure> {
    stage.introduce()?;
    let source = match args.live {
        true => stage.read_wikimedia(context, process),
        false => stage.generate(args.seed, pace, args.events, process),
    }?;
    let mut view = View::new(stage);
    while !process.stop.wait(REDRAW) && !stage.stop.is_set() {
        view.show(process)?;
        if source.is_finished() {
            break;
        }
    }
    if stage.stop.is_set() {
        process.stop();
    }
    let generated = source.end()?;
    let is_drained = wait_until_drained(stage, process)?;
    view.show(process)?;
    match generated {
        _ if !is_drained => Ok(Ending::CutOff),
        Some(generated) if is_worth_a_check(&generated, process) => {
            verify::verify(&generated, stage, process).map(Ending::Checked)
        }
        _ => Ok(Ending::Drained),
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Checked(verdict) => verdict.fmt(f),
            Ending::Drained => f.write_str("stopped; every event has reached the tables"),
            Ending::CutOff => f.write_str("stopped before every event had reached the tables"),
        }
    }
}

/// After a signal nobody wants to wait for long.
fn is_worth_a_check(generated: &Generated, process: &Process) -> bool {
    !process.stop.is_set() || generated.events <= CHECKED_AT_MOST
}

/// Waits until every event has reached the tables, after a signal for a short time only; false when
/// they have not.
fn wait_until_drained(stage: &Stage, process: &Process) -> Result<bool, Failure> {
    let mut asked_to_stop = None;
    while !stage.is_drained()? {
        if process.stop.is_set() {
            let since = *asked_to_stop.get_or_insert_with(Instant::now);
            if since.elapsed() >= PATIENCE {
                return Ok(false);
            }
        }
        if stage.stop.wait(LOOK) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The shipped topology.
const TOPOLOGY: &str = include_str!("../../../topology/wikimedia.yaml");
