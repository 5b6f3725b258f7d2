//! How a command ends.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::settings::SettingsErrors;

/// Says something on standard error. That nobody listens there any more is no reason to end.
pub(super) fn say(what: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// What a command gives.
pub(super) type Ended = Result<ExitCode, Failure>;

/// A command could not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line or a setting cannot be used: exit code 2.
    Usage(String),
    /// Something failed: exit code 1.
    Failed(anyhow::Error),
}

impl Failure {
    pub(super) fn usage(reason: impl Into<String>) -> Failure {
        Failure::Usage(reason.into())
    }

    /// Whether it is only that nobody listens to the output any more, as with `| head`.
    pub(super) fn is_closed_pipe(&self) -> bool {
        let Failure::Failed(error) = self else {
            return false;
        };
        let is_it = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref())
            .any(is_it)
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(reason) => f.write_str(reason),
            // Our errors say what caused them themselves.
            Failure::Failed(error) => write!(f, "{error}"),
        }
    }
}

impl From<SettingsErrors> for Failure {
    fn from(errors: SettingsErrors) -> Failure {
        Failure::Usage(errors.to_string())
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure
where
    E: IsFailure,
{
    fn from(error: E) -> Failure {
        Failure::Failed(error.into())
    }
}

/// The errors that end a command with exit code 1.
pub(super) trait IsFailure {}

impl IsFailure for anyhow::Error {}
impl IsFailure for std::io::Error {}
impl IsFailure for crate::broker::BrokerError {}
impl IsFailure for crate::runtime::AppError {}
impl IsFailure for crate::sql::SqlError {}
impl IsFailure for crate::sql::query::QueryError {}
impl IsFailure for crate::state::directory::DirectoryError {}
impl IsFailure for crate::topology::plan::PlanError {}
impl IsFailure for crate::ingest::replay::ReplayError {}
impl IsFailure for crate::ingest::wikimedia::ConnectorError {}
