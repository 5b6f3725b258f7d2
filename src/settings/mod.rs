//! Settings: what is the same for every command, and where it comes from.
//!
//! ```text
//! default  <  settings file  <  environment  <  flag         the stronger one wins, key by key
//! ```
//!
//! Reading order: [`key`] (which settings there are), [`file`](self) and environment, how the
//! layers are put together, and what the texts mean.
//!
//! The invariant: the value of a secret is in no error, no log and no `Debug` output.

pub mod key;
mod secret;
mod file;
mod layers;
mod size;
mod read;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::broker::kafka::KafkaSettings;
use crate::registry::RegistryAuth;
use crate::runtime::{EngineSettings, MemoryBudget};
use crate::sql::DatabaseUrl;

pub use layers::{Shown, Sources};
pub use secret::Secret;

/// All settings, read and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Kafka is and how to talk to it.
    pub kafka: KafkaSettings,
    /// Where the tables are.
    pub database: Option<DatabaseUrl>,
    /// Who we are for schema registries.
    pub schema_registry_auth: Option<RegistryAuth>,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// How the engine runs.
    pub engine: EngineSettings,
    /// How much memory everything may use that grows with the work.
    pub memory: MemoryBudget,
    /// How long the last commit may take.
    pub stop_timeout: Duration,
    /// Where metrics and health are served.
    pub http: HttpAddress,
    /// Nobody has set it.
    pub http_is_default: bool,
    /// Asked for as a bearer token.
    pub http_token: Option<Secret>,
    /// Whom Wikimedia can reach.
    pub contact: Option<String>,
    /// What is logged, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// Nobody has set it.
    pub log_is_default: bool,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// Where HTTP is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpAddress {
    /// Nowhere.
    Off,
    /// There; port 0 takes a free one.
    At(SocketAddr),
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// An object per line.
    Json,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A settings file.
    File {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag.
    Flag(String),
    /// A file that holds the value alone.
    Reference {
        /// That file.
        path: PathBuf,
        /// What named it.
        named_by: Box<Origin>,
    },
}

/// A setting as it was given. Not `Debug`: it may be a secret.
#[derive(Clone)]
pub struct Given {
    /// The setting's name.
    pub name: String,
    /// Its text.
    pub value: String,
    /// Who says so.
    pub origin: Origin,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The settings file cannot be read.
    #[error("cannot read settings file {path}: {reason}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line of the settings file.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// There is no such setting.
    #[error("{origin}: there is no setting {name}{help}")]
    Unknown {
        /// Who says so.
        origin: Origin,
        /// The name as it was given.
        name: String,
        /// The nearest name.
        help: String,
    },
    /// One place sets it twice.
    #[error("{origin}: {name} is set twice, also by {other}")]
    Twice {
        /// Who says so.
        origin: Origin,
        /// The setting.
        name: String,
        /// Who else.
        other: Origin,
    },
    /// The file that holds a secret cannot be read.
    #[error("{origin}: {name}: cannot read {path}: {reason}", path = path.display())]
    Reference {
        /// Who names the file.
        origin: Origin,
        /// The setting.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The text means nothing.
    #[error("{origin}: {name}: {reason}")]
    Value {
        /// Who says so.
        origin: Origin,
        /// The setting.
        name: String,
        /// What was expected and, unless it is a secret, what was found.
        reason: String,
    },
}

impl SettingsError {
    /// Whether it is the value of this setting that cannot be used.
    fn is_about(&self, setting: &str) -> bool {
        match self {
            SettingsError::Twice { name, .. }
            | SettingsError::Reference { name, .. }
            | SettingsError::Value { name, .. } => name == setting,
            SettingsError::File { .. }
            | SettingsError::Line { .. }
            | SettingsError::Unknown { .. } => false,
        }
    }
}

/// All settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsErrors(pub Vec<SettingsError>);

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for SettingsErrors {}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "${name}"),
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::Reference { path, named_by } => {
                write!(f, "{} ({named_by})", path.display())
            }
        }
    }
}
