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

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::context::Context;
use super::failure::{Ended, Failure};
use super::flags::{HttpFlags, Typed};
use super::interrupt::Process;
use stage::Stage;
use view::View;

const EXAMPLES: &str = "\
Examples:
  tidemill demo                          until Ctrl-C
  tidemill demo --events 20000           then checks its own tables
  tidemill demo --live --contact you@example.org";

/// Between two pictures.
const REDRAW: Duration = Duration::from_secs(1);

/// Between two looks at whether everything has arrived.
const LOOK: Duration = Duration::from_millis(100);

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
    /// The same seed gives the same events
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
    stage.introduce()?;
    let source = match args.live {
        true => stage.read_wikimedia(context, &process),
        false => stage.generate(args.seed, pace, args.events, &process),
    }?;
    let mut view = View::new(&stage);
    while !process.stop.wait(REDRAW) {
        view.show(&process)?;
        if source.is_finished() {
            break;
        }
    }
    let generated = source.end()?;
    let verdict = match args.events {
        Some(_) if !process.stop.is_set() => {
            wait_until_drained(&stage, &process)?;
            view.show(&process)?;
            Some(verify::verify(&generated, &stage, &process)?)
        }
        _ => None,
    };
    process.stop();
    stage.end()?;
    match verdict {
        None => Ok(ExitCode::SUCCESS),
        Some(verdict) => {
            writeln!(std::io::stdout(), "{verdict}")?;
            Ok(if verdict.is_good() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

/// Waits until every event has reached the tables.
fn wait_until_drained(stage: &Stage, process: &Process) -> Result<(), Failure> {
    while !stage.is_drained()? {
        if process.stop.wait(LOOK) {
            return Err(Failure::Failed(anyhow::anyhow!(
                "stopped before all events had arrived"
            )));
        }
    }
    Ok(())
}

/// The shipped topology.
const TOPOLOGY: &str = include_str!("../../../topology/wikimedia.yaml");
