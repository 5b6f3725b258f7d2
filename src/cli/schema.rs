//! `tidemill schema`: the JSON schema of topology files, for editors.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::failure::Ended;
use crate::config;

const EXAMPLES: &str = "\
Examples:
  tidemill schema > topology.schema.json

An editor that knows YAML schemas then completes and explains keys in files that begin with
  # yaml-language-server: $schema=topology.schema.json";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Schema {}

pub(super) fn schema(_: &Schema) -> Ended {
    write!(io::stdout(), "{}", config::schema_text())?;
    Ok(ExitCode::SUCCESS)
}
