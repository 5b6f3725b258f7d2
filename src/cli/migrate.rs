//! `tidemill migrate`: the shipped tables.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::context::Context;
use super::failure::{Ended, Failure};
use super::flags::{DatabaseFlags, Typed};
use super::interrupt::Process;
use crate::sql;

const EXAMPLES: &str = "\
Examples:
  TIDEMILL_DATABASE_URL=mysql://tidemill:secret@db/wikimedia tidemill migrate
  tidemill migrate --database-url sqlite:tidemill.db

It can be repeated, and run from several processes at once. `tidemill run` does it too.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Migrate {
    #[command(flatten)]
    database: DatabaseFlags,
}

impl Migrate {
    pub fn settings(&self) -> Result<Typed, Failure> {
        Ok(self.database.settings())
    }
}

pub(super) fn migrate(_: &Migrate, context: &Context) -> Ended {
    let database = context.database()?;
    Process::start()?.tokio.block_on(sql::migrate(database))?;
    writeln!(std::io::stdout(), "{database} is up to date")?;
    Ok(ExitCode::SUCCESS)
}
