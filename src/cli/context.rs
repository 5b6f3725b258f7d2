//! What most commands begin with: settings, and logs to stderr.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tracing_subscriber::EnvFilter;

use super::failure::Failure;
use super::flags::{CommonFlags, Typed};
use crate::broker::Broker;
use crate::broker::kafka::{ClientMemory, KafkaBroker, KafkaSettings};
use crate::runtime::MemoryShares;
use crate::settings::{LogFormat, Settings, Sources};
use crate::sql::DatabaseUrl;

/// How logs look, once they have begun.
static LOG_FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Whether standard error is for programs.
pub(super) fn logs_json() -> bool {
    LOG_FORMAT.get() == Some(&LogFormat::Json)
}

/// A command's surroundings.
pub(super) struct Context {
    pub settings: Settings,
}

impl Context {
    /// Reads the settings and begins to log, at the level `usual_log` unless one is set.
    pub fn new(common: &CommonFlags, flags: Typed, usual_log: &str) -> Result<Context, Failure> {
        let environment = environment();
        let sources = sources(common, flags, &environment);
        let settings = sources.settings()?;
        start_logs(&settings, usual_log);
        for (variable, near) in sources.suspicious_variables() {
            tracing::warn!("{variable} is no setting; did you mean {near}?");
        }
        Ok(Context { settings })
    }

    /// Connects to Kafka.
    pub fn kafka(&self) -> Result<Arc<dyn Broker>, Failure> {
        Ok(Arc::new(KafkaBroker::connect(&self.settings.kafka)?))
    }

    /// The same, by clients that keep to their share of the memory.
    pub fn kafka_within(&self, memory: &MemoryShares) -> Result<Arc<dyn Broker>, Failure> {
        let settings = KafkaSettings {
            memory: ClientMemory {
                fetched: memory.fetched,
                sent: memory.sent,
            },
            ..self.settings.kafka.clone()
        };
        Ok(Arc::new(KafkaBroker::connect(&settings)?))
    }

    /// Where the tables are.
    pub fn database(&self) -> Result<&DatabaseUrl, Failure> {
        self.settings.database.as_ref().ok_or_else(|| {
            Failure::usage(
                "no database is set: set TIDEMILL_DATABASE_URL, --database-url or \
                 database_url_file, as in mysql://user:password@host/wikimedia or sqlite:tidemill.db",
            )
        })
    }
}

pub(super) fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

pub(super) fn sources<'e>(
    common: &CommonFlags,
    mut flags: Typed,
    environment: &'e BTreeMap<String, String>,
) -> Sources<'e> {
    flags.extend(common.settings());
    let file: Option<PathBuf> = common.config.clone();
    let directory = Path::new("");
    Sources {
        file,
        directory,
        environment,
        flags,
    }
}

fn start_logs(settings: &Settings, usual: &str) {
    let filter = if settings.log_is_default {
        usual
    } else {
        &settings.log
    };
    let filter = EnvFilter::new(filter);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // With nobody at the other end of standard error there is nobody to be told so either; the
        // attempt would end the process.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    LOG_FORMAT.set(settings.log_format).unwrap_or_default();
    // Fails when another subscriber is there already, as in tests within one process.
    let _ = match settings.log_format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            logs.with_ansi(colours).try_init()
        }
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
}
