//! What the texts of settings mean.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::key::{self, KAFKA};
use super::layers::InForce;
use super::{
    Given, HttpAddress, LogFormat, Origin, Secret, Settings, SettingsError, SettingsErrors, size,
};
use crate::broker::kafka::{ClientMemory, KafkaSettings};
use crate::registry::RegistryAuth;
use crate::runtime::{EngineSettings, MemoryBudget};
use crate::sql::DatabaseUrl;
use crate::topology::duration::Millis;

/// Reads what is in force; `errors` are those that have been found on the way to it.
pub(super) fn settings(
    in_force: &InForce,
    errors: Vec<SettingsError>,
) -> Result<Settings, SettingsErrors> {
    let mut reader = Reader { in_force, errors };
    let http = reader.value("http", http_address);
    let http_token = reader.optional("http_token", token);
    let settings = Settings {
        kafka: KafkaSettings {
            bootstrap: reader.value("brokers", not_empty),
            client_id: reader.value("client_id", not_empty),
            properties: reader.kafka(),
            memory: ClientMemory::default(),
        },
        database: reader.optional("database_url", |text| {
            DatabaseUrl::parse(text).map_err(|error| error.to_string())
        }),
        schema_registry_auth: reader.optional("schema_registry_auth", registry_auth),
        state_dir: reader.value("state_dir", |text| not_empty(text).map(PathBuf::from)),
        memory: MemoryBudget {
            total: reader.value("memory", memory),
            state: reader.optional("state_memory", size::parse),
            results: reader.optional("cache_size", size::parse),
            rows: reader.optional("sink_size", size::parse),
        },
        engine: EngineSettings {
            threads: reader.value("threads", |text| number(text, 1, 256)),
            commit_interval: reader.value("commit_interval", |t| duration(t, 1, 60_000)),
            session_timeout: reader.value("session_timeout", |t| duration(t, 1_000, 1_800_000)),
            max_poll_interval: reader.value("max_poll_interval", |t| duration(t, 1_000, DAY)),
            transaction_timeout: reader
                .value("transaction_timeout", |t| duration(t, 1_000, 900_000)),
            replication: reader.value("replication", replication),
            sink_linger: reader.value("sink_linger", |text| duration(text, 0, 60_000)),
            sink_rows: reader.value("sink_rows", |text| number(text, 1, 1_000_000)),
        },
        stop_timeout: reader.value("stop_timeout", |text| duration(text, 0, 3_600_000)),
        http,
        http_is_default: in_force["http"].origin == Origin::Default,
        http_token,
        contact: reader.optional("contact", not_empty),
        log: reader.value("log", filter),
        log_is_default: in_force["log"].origin == Origin::Default,
        log_format: reader.value("log_format", log_format),
    };
    reader.check_token(&settings);
    match reader.errors.is_empty() {
        true => Ok(settings),
        false => Err(SettingsErrors(reader.errors)),
    }
}

/// `user:password` or `bearer TOKEN`.
fn registry_auth(text: &str) -> Result<RegistryAuth, String> {
    let bearer = text
        .strip_prefix("bearer ")
        .or(text.strip_prefix("Bearer "));
    match (bearer, text.split_once(':')) {
        (Some(token), _) => Ok(RegistryAuth::Bearer(token.trim().to_owned())),
        (None, Some((user, password))) => {
            Ok(RegistryAuth::Basic(user.to_owned(), password.to_owned()))
        }
        (None, None) => Err("expected user:password, or bearer TOKEN".to_owned()),
    }
}

const DAY: u64 = 86_400_000;

struct Reader<'s> {
    in_force: &'s InForce,
    errors: Vec<SettingsError>,
}

impl Reader<'_> {
    /// A setting that has a default, which also stands in for a value that cannot be read until
    /// all errors are collected.
    fn value<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let default = key::find(name).and_then(|key| key.default);
        let default = default.expect("a setting that has a default");
        self.optional(name, &parse)
            .unwrap_or_else(|| parse(default).expect("a default can be read"))
    }

    fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let given = self.in_force.get(name)?;
        match parse(&given.value) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.refuse(given, reason);
                None
            }
        }
    }

    /// What a parser says of a secret, or of an address with one, never repeats it.
    fn refuse(&mut self, given: &Given, reason: String) {
        self.errors.push(SettingsError::Value {
            origin: given.origin.clone(),
            name: given.name.clone(),
            reason,
        });
    }

    fn kafka(&mut self) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::new();
        for given in self.in_force.values() {
            let Some(name) = given.name.strip_prefix(KAFKA) else {
                continue;
            };
            if KafkaSettings::is_reserved(name) {
                self.refuse(given, "cannot be set: Tidemill sets it itself".to_owned());
            }
            properties.insert(name.to_owned(), given.value.clone());
        }
        properties
    }

    /// Whoever can reach the address could otherwise read the tables. Of a token that cannot be
    /// used enough has been said.
    fn check_token(&mut self, settings: &Settings) {
        let is_open = match settings.http {
            HttpAddress::Off => false,
            HttpAddress::At(address) => !address.ip().is_loopback(),
        };
        let said = self.errors.iter().any(|error| error.is_about("http_token"));
        if is_open && settings.http_token.is_none() && !said {
            let given = &self.in_force["http"];
            self.refuse(
                given,
                "other machines could read this address: set http_token too (or http_token_file), \
                 or use a loopback address such as 127.0.0.1:8080"
                    .to_owned(),
            );
        }
    }
}

fn memory(text: &str) -> Result<usize, String> {
    const LEAST: usize = 64 << 20;
    match size::parse(text)? {
        bytes if bytes >= LEAST => Ok(bytes),
        _ => Err(format!("expected at least 64MiB, found {text:?}")),
    }
}

fn not_empty(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a text, found nothing".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn number<T: FromStr + PartialOrd + Copy + std::fmt::Display>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    match text.trim().parse::<T>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!(
            "expected a number from {least} to {most}, found {text:?}"
        )),
    }
}

fn replication(text: &str) -> Result<i32, String> {
    match text.trim().parse::<i32>() {
        Ok(copies) if copies == -1 || (1..=100).contains(&copies) => Ok(copies),
        _ => Err(format!(
            "expected a number of copies, or -1 for the broker's default, found {text:?}"
        )),
    }
}

fn duration(text: &str, least_ms: u64, most_ms: u64) -> Result<Duration, String> {
    let Millis(ms) = text.parse::<Millis>().map_err(|error| error.to_string())?;
    match u64::try_from(ms) {
        Ok(ms) if (least_ms..=most_ms).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => {
            let show = |ms: u64| Millis(i64::try_from(ms).unwrap_or(i64::MAX));
            let (least, most) = (show(least_ms), show(most_ms));
            Err(format!(
                "expected a length of time from {least} to {most}, found {text:?}"
            ))
        }
    }
}

fn http_address(text: &str) -> Result<HttpAddress, String> {
    let text = text.trim();
    if text == "off" {
        return Ok(HttpAddress::Off);
    }
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    address
        .parse::<SocketAddr>()
        .map(HttpAddress::At)
        .map_err(|_| {
            format!("expected an address such as 127.0.0.1:8080 or [::1]:0, or off, found {text:?}")
        })
}

/// A header holds visible ASCII.
fn token(text: &str) -> Result<Secret, String> {
    match text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Secret::new(text)),
        false => Err("expected at least 8 visible ASCII characters".to_owned()),
    }
}

fn filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // A word alone would be a part of the program, all of which is logged: that is never meant.
    let words = text.split(',').map(str::trim);
    let mut words = words.filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    if let Some(word) = words.find(|word| !word.is_empty() && !is_level(word)) {
        let levels = LEVELS.join(", ");
        return Err(format!(
            "`{word}` is no level ({levels}), nor a filter such as tidemill=debug"
        ));
    }
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| {
            format!("expected a level or filter such as info or tidemill=debug: {error}")
        })
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("expected text or json, found {text:?}")),
    }
}
