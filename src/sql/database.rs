//! Where a database is: a URL whose secret never shows.
//!
//! The invariant: neither `Debug` nor `Display` of [`DatabaseUrl`], nor any error made here, holds
//! the password or the URL's parameters (they may name key files).

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use url::Url;

/// The address of a database: `mysql://user:password@host:3306/database`, `mariadb://…` (the same
/// server protocol), or `sqlite:path/to/file.db`.
///
/// The parameters of a MySQL URL are `ssl-mode` (`DISABLED`, `PREFERRED`, `REQUIRED`, `VERIFY_CA`,
/// `VERIFY_IDENTITY`), `ssl-ca`, `ssl-cert`, `ssl-key` and `socket`.
#[derive(Clone)]
pub struct DatabaseUrl {
    pub(super) target: Target,
    shown: String,
}

/// How to connect.
#[derive(Clone)]
pub(super) enum Target {
    /// A server.
    Server(Box<MySqlConnectOptions>),
    /// A file.
    File(Box<SqliteConnectOptions>),
}

/// A text is not the address of a database.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DatabaseUrlError {
    /// Neither of the known beginnings.
    #[error(
        "expected a database address such as mysql://user:password@host:3306/database or sqlite:tidemill.db, found one that begins with {0:?}"
    )]
    Scheme(String),
    /// Right beginning, but not readable.
    #[error("the database address cannot be read: {0}")]
    Malformed(String),
    /// No database is named.
    #[error(
        "the database address {0} names no database: add it behind the host, as in {0}/wikimedia"
    )]
    NoDatabase(String),
    /// A parameter that would silently be without effect.
    #[error("the database address has an unknown parameter {name:?}; known are {}", PARAMETERS.join(", "))]
    Parameter {
        /// Its name.
        name: String,
    },
    /// Every connection to an in-memory database sees a database of its own.
    #[error(
        "an in-memory SQLite database is lost with each connection: name a file, as in sqlite:tidemill.db"
    )]
    InMemory,
}

const PARAMETERS: [&str; 9] = [
    "ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "socket", "sslmode", "sslca", "sslcert", "sslkey",
];

/// Without a sync per commit a file stays whole; a power cut may take it back by some transactions,
/// rows and ledger together, and the sink then goes on from there.
const SYNC: SqliteSynchronous = SqliteSynchronous::Normal;

impl DatabaseUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is not one; the error never repeats the secret.
    pub fn parse(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        let scheme = text
            .split(':')
            .next()
            .filter(|_| text.contains(':'))
            .unwrap_or_default();
        match scheme {
            "mysql" | "mariadb" => server(text, scheme),
            "sqlite" => file(text),
            _ => Err(DatabaseUrlError::Scheme(beginning(scheme))),
        }
    }

    /// The SQLite file at a path.
    pub fn of_file(path: &Path) -> DatabaseUrl {
        DatabaseUrl::of_options(path, SYNC)
    }

    /// The SQLite file at a path, which nobody needs any more when the machine loses its power.
    pub fn of_scratch_file(path: &Path) -> DatabaseUrl {
        DatabaseUrl::of_options(path, SqliteSynchronous::Off)
    }

    fn of_options(path: &Path, sync: SqliteSynchronous) -> DatabaseUrl {
        let options = SqliteConnectOptions::new().filename(path);
        DatabaseUrl {
            target: Target::File(Box::new(options.synchronous(sync))),
            shown: format!("sqlite:{}", path.display()),
        }
    }

    /// True for SQLite.
    pub fn is_sqlite(&self) -> bool {
        matches!(self.target, Target::File(_))
    }

    /// The same server and account, another database; a SQLite address is returned as it is.
    #[must_use]
    pub fn with_database(&self, name: &str) -> DatabaseUrl {
        match &self.target {
            Target::File(_) => self.clone(),
            Target::Server(options) => {
                let host = self.shown.rsplit_once('/').map_or("", |(host, _)| host);
                DatabaseUrl {
                    target: Target::Server(Box::new(options.as_ref().clone().database(name))),
                    shown: format!("{host}/{name}"),
                }
            }
        }
    }
}

/// A scheme is short and of letters; anything else might be a secret in the wrong place.
fn beginning(scheme: &str) -> String {
    scheme
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .take(12)
        .collect()
}

fn server(text: &str, scheme: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
    let url = Url::parse(text).map_err(|error| DatabaseUrlError::Malformed(error.to_string()))?;
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or("localhost").to_owned(),
    };
    let account = match url.username() {
        "" => String::new(),
        user => format!("{user}@"),
    };
    let database = url.path().trim_start_matches('/');
    if database.is_empty() {
        return Err(DatabaseUrlError::NoDatabase(format!(
            "{scheme}://{account}{host}"
        )));
    }
    if let Some((name, _)) = url
        .query_pairs()
        .find(|(name, _)| !PARAMETERS.contains(&&**name))
    {
        return Err(DatabaseUrlError::Parameter {
            name: name.into_owned(),
        });
    }
    let shown = format!("{scheme}://{account}{host}/{database}");
    let options = text_as_mysql(text, scheme)
        .parse::<MySqlConnectOptions>()
        .map_err(|error| DatabaseUrlError::Malformed(error.to_string()))?;
    Ok(DatabaseUrl {
        target: Target::Server(Box::new(options)),
        shown,
    })
}

/// sqlx knows the scheme `mysql` only.
fn text_as_mysql(text: &str, scheme: &str) -> String {
    format!("mysql{}", &text[scheme.len()..])
}

fn file(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
    let (path, parameters) = text.split_once('?').unwrap_or((text, ""));
    if path.contains(":memory:") || parameters.contains("mode=memory") || path == "sqlite:" {
        return Err(DatabaseUrlError::InMemory);
    }
    let options = text
        .parse::<SqliteConnectOptions>()
        .map_err(|error| DatabaseUrlError::Malformed(error.to_string()))?;
    Ok(DatabaseUrl {
        target: Target::File(Box::new(options.synchronous(SYNC))),
        shown: path.to_owned(),
    })
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        DatabaseUrl::parse(text)
    }
}

/// Without password and parameters.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Without password and parameters.
impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shown = match DatabaseUrl::parse(text) {
            Ok(url) => url.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn an_address_shows_everything_but_its_secrets() {
        check(
            "mysql://ann:s3cret@db.example:3307/wiki",
            "mysql://ann@db.example:3307/wiki",
        );
        check(
            "mariadb://ann:s3cret@db.example/wiki?ssl-mode=REQUIRED&ssl-key=/etc/key.pem",
            "mariadb://ann@db.example/wiki",
        );
        check("sqlite:demo.db", "sqlite:demo.db");
        check(
            "sqlite:///var/lib/demo.db?mode=rwc",
            "sqlite:///var/lib/demo.db",
        );
        let url = DatabaseUrl::parse("mysql://ann:s3cret@db/wiki").unwrap();
        assert_eq!(format!("{url:?}"), "DatabaseUrl(mysql://ann@db/wiki)");
    }

    #[test]
    fn a_wrong_address_is_refused_without_repeating_a_secret() {
        check(
            "postgres://ann:s3cret@db/wiki",
            "expected a database address such as mysql://user:password@host:3306/database or sqlite:tidemill.db, found one that begins with \"postgres\"",
        );
        check(
            "s3cret",
            "expected a database address such as mysql://user:password@host:3306/database or sqlite:tidemill.db, found one that begins with \"\"",
        );
        check(
            "mysql://ann:s3cret@db",
            "the database address mysql://ann@db names no database: add it behind the host, as in mysql://ann@db/wikimedia",
        );
        check(
            "mysql://ann:s3cret@db/wiki?ssl_mode=REQUIRED",
            "the database address has an unknown parameter \"ssl_mode\"; known are ssl-mode, ssl-ca, ssl-cert, ssl-key, socket, sslmode, sslca, sslcert, sslkey",
        );
        check(
            "mysql://ann:s3cret@db:port/wiki",
            "the database address cannot be read: invalid port number",
        );
        let in_memory = DatabaseUrlError::InMemory.to_string();
        check("sqlite::memory:", &in_memory);
        check("sqlite:demo?mode=memory", &in_memory);
    }

    #[test]
    fn another_database_of_the_same_server_keeps_the_account() {
        let url = DatabaseUrl::parse("mysql://ann:s3cret@db:3307/wiki").unwrap();
        assert_eq!(
            url.with_database("other").to_string(),
            "mysql://ann@db:3307/other"
        );
    }
}
