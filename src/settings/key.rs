//! The settings that there are: one table, from which the file, the environment, the flags and
//! the documentation all take their names.

/// What may be shown of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// Nothing.
    Secret,
    /// A database's address: all but its password and parameters.
    Address,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in settings files; its flag has dashes for underscores.
    pub name: &'static str,
    /// The variables that set it, the strongest first.
    pub environment: &'static [&'static str],
    /// What holds when nobody sets it.
    pub default: Option<&'static str>,
    /// What may be shown of it.
    pub secrecy: Secrecy,
    /// What it is about.
    pub about: &'static str,
}

/// librdkafka's properties follow this prefix.
pub const KAFKA: &str = "kafka.";

/// The prefix of variables for librdkafka's properties: `TIDEMILL_KAFKA_SASL_PASSWORD` sets
/// `kafka.sasl.password`.
pub const KAFKA_ENVIRONMENT: &str = "TIDEMILL_KAFKA_";

/// Behind a key's name: the value is in that file.
pub const FILE: &str = "_file";

const fn key(
    name: &'static str,
    environment: &'static [&'static str],
    default: Option<&'static str>,
    about: &'static str,
) -> Key {
    let secrecy = Secrecy::Open;
    Key {
        name,
        environment,
        default,
        secrecy,
        about,
    }
}

const fn secret(
    name: &'static str,
    environment: &'static [&'static str],
    secrecy: Secrecy,
    about: &'static str,
) -> Key {
    Key {
        name,
        environment,
        default: None,
        secrecy,
        about,
    }
}

/// All settings but those of `kafka.…`, in the order in which they are shown.
pub const KEYS: [Key; 23] = [
    key(
        "brokers",
        &["TIDEMILL_BROKERS", "KAFKA_BOOTSTRAP"],
        Some("localhost:9092"),
        "where Kafka is: host:port, several with commas",
    ),
    key(
        "client_id",
        &["TIDEMILL_CLIENT_ID"],
        Some("tidemill"),
        "who we are in the broker's logs and quotas",
    ),
    secret(
        "database_url",
        &["TIDEMILL_DATABASE_URL", "DATABASE_URL"],
        Secrecy::Address,
        "where the tables are: mysql://user:password@host/database or sqlite:FILE",
    ),
    secret(
        "schema_registry_auth",
        &["TIDEMILL_SCHEMA_REGISTRY_AUTH"],
        Secrecy::Secret,
        "who we are for schema registries: user:password, or bearer TOKEN",
    ),
    key(
        "state_dir",
        &["TIDEMILL_STATE_DIR"],
        Some("state"),
        "where state is kept on this machine",
    ),
    key(
        "threads",
        &["TIDEMILL_THREADS"],
        Some("1"),
        "stream threads of this process",
    ),
    key(
        "commit_interval",
        &["TIDEMILL_COMMIT_INTERVAL"],
        Some("100ms"),
        "how often state, results and positions are committed",
    ),
    key(
        "session_timeout",
        &["TIDEMILL_SESSION_TIMEOUT"],
        Some("10s"),
        "how long a silent process keeps its tasks",
    ),
    key(
        "max_poll_interval",
        &["TIDEMILL_MAX_POLL_INTERVAL"],
        Some("5m"),
        "how long a thread may work between two polls before it loses its tasks",
    ),
    key(
        "transaction_timeout",
        &["TIDEMILL_TRANSACTION_TIMEOUT"],
        Some("10s"),
        "after this long without a commit the broker aborts a transaction",
    ),
    key(
        "replication",
        &["TIDEMILL_REPLICATION"],
        Some("-1"),
        "copies of topics that Tidemill creates; -1 is the broker's default",
    ),
    key(
        "memory",
        &["TIDEMILL_MEMORY"],
        Some("512MiB"),
        "memory for everything that grows with the work: state, results, records, rows",
    ),
    key(
        "state_memory",
        &["TIDEMILL_STATE_MEMORY"],
        None,
        "memory of all state stores together; a quarter of memory unless set",
    ),
    key(
        "cache_size",
        &["TIDEMILL_CACHE_SIZE"],
        None,
        "memory for results that change often, of all threads together; an eighth of memory unless set",
    ),
    key(
        "sink_linger",
        &["TIDEMILL_SINK_LINGER"],
        Some("50ms"),
        "a SQL sink writes at the latest after this long",
    ),
    key(
        "sink_rows",
        &["TIDEMILL_SINK_ROWS"],
        Some("4000"),
        "a SQL sink writes at most this many rows at once",
    ),
    key(
        "sink_size",
        &["TIDEMILL_SINK_SIZE"],
        None,
        "a SQL sink writes at most about this much at once; up to 4MiB unless set, less where memory is small",
    ),
    key(
        "stop_timeout",
        &["TIDEMILL_STOP_TIMEOUT"],
        Some("30s"),
        "how long the last commit may take after a signal",
    ),
    key(
        "http",
        &["TIDEMILL_HTTP"],
        Some("127.0.0.1:8080"),
        "address of metrics, health and the first page; port 0 takes a free one; off for none",
    ),
    secret(
        "http_token",
        &["TIDEMILL_HTTP_TOKEN"],
        Secrecy::Secret,
        "asked for as a bearer token; needed when `http` is not a loopback address",
    ),
    key(
        "contact",
        &["TIDEMILL_CONTACT"],
        None,
        "a URL or mail address that Wikimedia can reach you at; it goes into the User-Agent",
    ),
    key(
        "log",
        &["TIDEMILL_LOG", "RUST_LOG"],
        Some("info"),
        "what is logged: error, warn, info, debug, or tidemill=debug,info",
    ),
    key(
        "log_format",
        &["TIDEMILL_LOG_FORMAT"],
        Some("text"),
        "text or json",
    ),
];

/// The setting of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// What may be shown of the value of `name`, which may be a property of Kafka's.
pub fn secrecy(name: &str) -> Secrecy {
    match name.strip_prefix(KAFKA) {
        Some(property) if is_secret_property(property) => Secrecy::Secret,
        Some(_) => Secrecy::Open,
        None => find(name).map_or(Secrecy::Secret, |key| key.secrecy),
    }
}

/// Whether the value of a property of librdkafka's must not be shown.
fn is_secret_property(property: &str) -> bool {
    const HINTS: [&str; 8] = [
        "password",
        "secret",
        "token",
        "credential",
        "jaas",
        ".pem",
        "private",
        "oauthbearer",
    ];
    HINTS.iter().any(|hint| property.contains(hint))
}

/// Whether the value may stand in a file of its own, under this name with [`FILE`] behind it.
pub fn can_be_in_a_file(name: &str) -> bool {
    name.starts_with(KAFKA) || secrecy(name) != Secrecy::Open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_variable_of_its_own_name() {
        for key in KEYS {
            let expected = format!("TIDEMILL_{}", key.name.to_uppercase());
            assert_eq!(key.environment[0], expected);
            assert!(!expected.starts_with(KAFKA_ENVIRONMENT), "{expected}");
        }
    }

    #[test]
    fn secrets_are_known_by_their_names_and_what_is_unknown_is_one() {
        assert_eq!(secrecy("kafka.sasl.password"), Secrecy::Secret);
        assert_eq!(secrecy("kafka.ssl.key.pem"), Secrecy::Secret);
        assert_eq!(secrecy("kafka.linger.ms"), Secrecy::Open);
        assert_eq!(secrecy("http_token"), Secrecy::Secret);
        assert_eq!(secrecy("database_url"), Secrecy::Address);
        assert_eq!(secrecy("databse_url"), Secrecy::Secret);
    }
}
