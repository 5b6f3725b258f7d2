//! `tidemill settings`: what is in force, and where it comes from.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::context::{environment, sources};
use super::failure::{Ended, say};
use super::flags::{CommonFlags, DatabaseFlags, EngineFlags, HttpFlags, KafkaFlags};
use crate::settings::key;

const EXAMPLES: &str = "\
Examples:
  tidemill settings
  tidemill settings --config production.yaml --about

Secrets are never shown.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Show {
    /// Says what each setting is about
    #[arg(long)]
    about: bool,
    #[command(flatten)]
    kafka: KafkaFlags,
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    engine: EngineFlags,
    #[command(flatten)]
    http: HttpFlags,
}

pub(super) fn show(args: &Show, common: &CommonFlags) -> Ended {
    let flags = [
        args.kafka.settings()?,
        args.database.settings(),
        args.engine.settings(),
        args.http.settings(),
    ];
    let environment = environment();
    let sources = sources(common, flags.concat(), &environment);
    for shown in sources.shown()? {
        writeln!(
            std::io::stdout(),
            "{:24} {:32} {}",
            shown.name,
            shown.value,
            shown.origin
        )?;
        if args.about
            && let Some(key) = key::find(&shown.name)
        {
            writeln!(std::io::stdout(), "{:24} {}", "", key.about)?;
        }
    }
    for (variable, near) in sources.suspicious_variables() {
        say(format_args!(
            "warning: {variable} is no setting; did you mean {near}?"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
