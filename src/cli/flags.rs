//! Flags that several commands share. Each group gives the settings that were typed.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use crate::settings::key::{self, KAFKA, KAFKA_ENVIRONMENT, Secrecy};

/// Settings that were typed: name and text.
pub(super) type Typed = Vec<(String, String)>;

#[derive(Args)]
pub(super) struct CommonFlags {
    /// Settings file, YAML [default: ./tidemill.yaml if it exists]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    pub config: Option<PathBuf>,
    /// What is logged to stderr: error, warn, info, debug, or tidemill=debug,info
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Settings")]
    log: Option<String>,
    /// text or json
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Settings")]
    log_format: Option<String>,
}

#[derive(Args)]
pub(super) struct KafkaFlags {
    /// Where Kafka is: host:port, several with commas
    #[arg(long, value_name = "HOST:PORT", help_heading = "Settings")]
    brokers: Option<String>,
    /// A property of librdkafka's, such as security.protocol=ssl; may be repeated
    #[arg(
        long = "kafka",
        value_name = "PROPERTY=VALUE",
        help_heading = "Settings"
    )]
    properties: Vec<String>,
}

#[derive(Args)]
pub(super) struct DatabaseFlags {
    /// Where the tables are: mysql://user@host/database or sqlite:FILE. A password belongs into the
    /// environment (TIDEMILL_DATABASE_URL), where other users of the machine do not see it
    #[arg(long, value_name = "URL", help_heading = "Settings")]
    database_url: Option<String>,
}

#[derive(Args)]
pub(super) struct EngineFlags {
    /// Where state is kept on this machine
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    state_dir: Option<String>,
    /// Stream threads of this process
    #[arg(long, value_name = "N", help_heading = "Settings")]
    threads: Option<String>,
    /// How often state, results and positions are committed
    #[arg(long, value_name = "TIME", help_heading = "Settings")]
    commit_interval: Option<String>,
    /// How long a silent process keeps its tasks
    #[arg(long, value_name = "TIME", help_heading = "Settings")]
    session_timeout: Option<String>,
    /// Memory for everything that grows with the work: state, results, records, rows
    #[arg(long, value_name = "SIZE", help_heading = "Settings")]
    memory: Option<String>,
}

#[derive(Args)]
pub(super) struct StateFlags {
    /// Where state is kept on this machine
    #[arg(long, value_name = "DIR", help_heading = "Settings")]
    state_dir: Option<String>,
    /// How long a silent process keeps its tasks
    #[arg(long, value_name = "TIME", help_heading = "Settings")]
    session_timeout: Option<String>,
}

#[derive(Args)]
pub(super) struct HttpFlags {
    /// Address of metrics, health and the first page; port 0 takes a free one; off for none
    #[arg(long, value_name = "ADDRESS", help_heading = "Settings")]
    http: Option<String>,
}

impl CommonFlags {
    pub fn settings(&self) -> Typed {
        typed([("log", &self.log), ("log_format", &self.log_format)])
    }
}

impl KafkaFlags {
    /// # Errors
    /// When a property has no value, or is a secret: everyone on the machine sees command lines.
    pub fn settings(&self) -> Result<Typed, Failure> {
        let mut settings = typed([("brokers", &self.brokers)]);
        for property in &self.properties {
            settings.push(kafka_property(property)?);
        }
        Ok(settings)
    }
}

impl DatabaseFlags {
    pub fn settings(&self) -> Typed {
        typed([("database_url", &self.database_url)])
    }
}

impl EngineFlags {
    pub fn settings(&self) -> Typed {
        typed([
            ("state_dir", &self.state_dir),
            ("threads", &self.threads),
            ("commit_interval", &self.commit_interval),
            ("session_timeout", &self.session_timeout),
            ("memory", &self.memory),
        ])
    }
}

impl StateFlags {
    pub fn settings(&self) -> Typed {
        typed([
            ("state_dir", &self.state_dir),
            ("session_timeout", &self.session_timeout),
        ])
    }
}

impl HttpFlags {
    pub fn settings(&self) -> Typed {
        typed([("http", &self.http)])
    }
}

fn typed<const N: usize>(flags: [(&str, &Option<String>); N]) -> Typed {
    let given = |(name, value): (&str, &Option<String>)| Some((name.to_owned(), value.clone()?));
    flags.into_iter().filter_map(given).collect()
}

fn kafka_property(text: &str) -> Result<(String, String), Failure> {
    let Some((property, value)) = text.split_once('=') else {
        return Err(Failure::usage(format!(
            "--kafka: expected PROPERTY=VALUE such as security.protocol=ssl, found {text:?}"
        )));
    };
    let name = format!("{KAFKA}{}", property.trim().trim_start_matches(KAFKA));
    let is_reference = name.ends_with(key::FILE);
    if key::secrecy(&name) == Secrecy::Secret && !is_reference {
        let property = name.trim_start_matches(KAFKA);
        let variable = property.to_uppercase().replace('.', "_");
        return Err(Failure::usage(format!(
            "--kafka: {property} is a secret, and other users of the machine see command lines: \
             set {KAFKA_ENVIRONMENT}{variable}, or {property}_file"
        )));
    }
    Ok((name, value.to_owned()))
}
