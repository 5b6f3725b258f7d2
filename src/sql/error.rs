//! What can go wrong with a database, by the reaction that it demands.
//!
//! The sink knows five reactions to an error of the driver ([`Fault`]); its caller knows four
//! ([`SqlError`]). Which code of which server means what is two tables here, and nowhere else.

use super::dialect::Dialect;
use super::fit::TableFinding;
use crate::broker::TopicPartition;

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// Another process has claimed the partition: drop what is pending for it and give it up.
    #[error(
        "sink {sink} of {app}: partition {partition} has a newer writer (epoch {theirs}, ours is {ours})"
    )]
    Fenced {
        /// The application.
        app: String,
        /// The sink.
        sink: String,
        /// The partition that is lost.
        partition: TopicPartition,
        /// The epoch that this writer holds.
        ours: i64,
        /// The epoch in the ledger.
        theirs: i64,
    },
    /// Passing trouble: wait and do the same again, for as long as it takes. Nothing has been
    /// written, or it is not known yet whether; calling again with the same batch finds out.
    #[error("{action}: {reason}")]
    Unavailable {
        /// What was tried.
        action: String,
        /// What the database or the network said.
        reason: String,
    },
    /// The table is not what the sink needs. All findings at once, each with its fix.
    #[error("table {table} does not fit:{}", list(findings))]
    Mismatch {
        /// The table.
        table: String,
        /// What does not fit.
        findings: Vec<TableFinding>,
    },
    /// Needs a human: no rights, table gone, ledger row deleted.
    #[error("{action}: {reason}")]
    Fatal {
        /// What was tried.
        action: String,
        /// What is wrong and, where known, what to do.
        reason: String,
    },
}

fn list(findings: &[TableFinding]) -> String {
    findings
        .iter()
        .map(|finding| format!("\n  {finding}"))
        .collect()
}

/// What an error of the driver demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The transaction has lost against another one: the whole of it again, soon.
    Contention,
    /// The server cannot now, or cannot be reached: a new connection, later.
    Unavailable,
    /// The statement is too large: the same in smaller pieces.
    TooLarge,
    /// A row is refused for what it holds; the statement has done nothing.
    Row,
    /// Nothing that could be tried again.
    Fatal,
}

/// Which reaction an error demands.
pub(super) fn classify(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(database) => {
            if let Some(mysql) = database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
                classify_mysql(mysql.number(), mysql.code().unwrap_or_default())
            } else {
                let code = database.code().and_then(|code| code.parse().ok());
                code.map_or(Fault::Fatal, classify_sqlite)
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Fault::Unavailable,
        _ => Fault::Fatal,
    }
}

/// By error number first; by SQLSTATE class where a whole class means the same.
fn classify_mysql(number: u16, state: &str) -> Fault {
    match number {
        // Lock wait, deadlock; MariaDB: record changed since the snapshot; the table has been
        // altered since the statement was prepared.
        1205 | 1213 | 1020 | 1412 | 1615 => Fault::Contention,
        // Too many connections, for the server or the account; shutting down; killed; connection
        // closed for being idle; read-only; query timed out or interrupted; disk or table full;
        // no memory; too many prepared statements; offline mode; replication group not ready.
        1040
        | 1203
        | 1226
        | 1053
        | 1077..=1080
        | 1927
        | 4031
        | 1290
        | 1792
        | 1836
        | 3024
        | 1969
        | 1317
        | 1021
        | 1114
        | 1037
        | 1038
        | 1041
        | 1461
        | 3032
        | 3100
        | 3101
        | 1180
        | 1047 => Fault::Unavailable,
        1152 | 1154..=1161 | 1184 => Fault::Unavailable,
        1153 | 1390 => Fault::TooLarge,
        // Not of class 22 or 23, but about the value: bad text, bad conversion, check constraint,
        // row too long for the page, no partition for it, refused by a trigger.
        1366 | 3988 | 3819 | 1118 | 1526 | 1748 | 1644 | 1411 => Fault::Row,
        _ => match state.get(..2) {
            Some("08") => Fault::Unavailable,
            Some("40") => Fault::Contention,
            // Data exceptions and violated constraints.
            Some("22" | "23") => Fault::Row,
            _ => Fault::Fatal,
        },
    }
}

/// By primary result code; the extended ones carry it in their low byte.
fn classify_sqlite(code: i32) -> Fault {
    match code & 0xff {
        // BUSY, LOCKED, SCHEMA.
        5 | 6 | 17 => Fault::Contention,
        // NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
        7 | 8 | 9 | 10 | 13 | 14 | 15 => Fault::Unavailable,
        // TOOBIG, CONSTRAINT, MISMATCH.
        18..=20 => Fault::Row,
        _ => Fault::Fatal,
    }
}

/// A code to tell errors apart by: MySQL's number, SQLite's result code, or the kind of trouble.
pub(super) fn code(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => {
            match database.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
                Some(mysql) => mysql.number().to_string(),
                None => database.code().unwrap_or_default().into_owned(),
            }
        }
        sqlx::Error::Io(_) => "io".to_owned(),
        _ => "driver".to_owned(),
    }
}

/// What the database said, with the help that is known for it.
pub(super) fn reason(error: &sqlx::Error, dialect: Option<Dialect>) -> String {
    let said = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        // What the driver lacks for a password over a plain connection.
        sqlx::Error::Configuration(problem) if problem.to_string().contains("RSA") => {
            "the server wants a TLS connection for this account (ssl-mode=REQUIRED), or a Unix socket".to_owned()
        }
        sqlx::Error::Configuration(problem) => problem.to_string(),
        other => other.to_string(),
    };
    let product = dialect.map_or_else(|| "database".to_owned(), |dialect| dialect.to_string());
    let help = match code(error).as_str() {
        "1049" => "; create it with CREATE DATABASE … CHARACTER SET utf8mb4",
        "1045" | "1044" | "1142" | "1143" | "1227" => {
            "; check the account's password and its rights (SELECT, INSERT, UPDATE, DELETE; for migrations also CREATE, ALTER, DROP, INDEX, CREATE VIEW)"
        }
        "1146" | "1054" => "; it was altered or dropped while the sink was running",
        _ => "",
    };
    match code(error).as_str() {
        "io" | "driver" => format!("{said}{help}"),
        code => format!("{product} error {code}: {said}{help}"),
    }
}

impl SqlError {
    /// The error of `action`, outside of a sink's own handling: passing trouble or fatal.
    pub(super) fn of(
        action: impl Into<String>,
        error: &sqlx::Error,
        dialect: Option<Dialect>,
    ) -> SqlError {
        let (action, reason) = (action.into(), reason(error, dialect));
        match classify(error) {
            Fault::Contention | Fault::Unavailable => SqlError::Unavailable { action, reason },
            Fault::TooLarge | Fault::Row | Fault::Fatal => SqlError::Fatal { action, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_error_of_the_servers_has_its_reaction() {
        let check = |number, state, expected| {
            assert_eq!(
                classify_mysql(number, state),
                expected,
                "{number} ({state})"
            );
        };
        check(1213, "40001", Fault::Contention);
        check(1205, "HY000", Fault::Contention);
        check(1040, "08004", Fault::Unavailable);
        check(1053, "08S01", Fault::Unavailable);
        check(1290, "HY000", Fault::Unavailable);
        check(1836, "HY000", Fault::Unavailable);
        check(3024, "HY000", Fault::Unavailable);
        check(1969, "70100", Fault::Unavailable);
        check(1927, "70100", Fault::Unavailable);
        check(4031, "HY000", Fault::Unavailable);
        check(1153, "08S01", Fault::TooLarge);
        check(1390, "HY000", Fault::TooLarge);
        check(1406, "22001", Fault::Row);
        check(1366, "HY000", Fault::Row);
        check(1366, "22007", Fault::Row);
        check(1264, "22003", Fault::Row);
        check(1048, "23000", Fault::Row);
        check(3819, "HY000", Fault::Row);
        check(4025, "23000", Fault::Row);
        check(1062, "23000", Fault::Row);
        check(1644, "45000", Fault::Row);
        check(1146, "42S02", Fault::Fatal);
        check(1054, "42S22", Fault::Fatal);
        check(1364, "HY000", Fault::Fatal);
        check(1045, "28000", Fault::Fatal);
        check(1142, "42000", Fault::Fatal);
        check(9999, "", Fault::Fatal);
    }

    #[test]
    fn every_known_error_of_sqlite_has_its_reaction() {
        let check = |code, expected| assert_eq!(classify_sqlite(code), expected, "{code}");
        check(5, Fault::Contention);
        check(517, Fault::Contention);
        check(8, Fault::Unavailable);
        check(778, Fault::Unavailable);
        check(13, Fault::Unavailable);
        check(275, Fault::Row);
        check(1299, Fault::Row);
        check(1, Fault::Fatal);
        check(11, Fault::Fatal);
    }

    #[test]
    fn trouble_on_the_way_is_passing() {
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(classify(&sqlx::Error::Io(io)), Fault::Unavailable);
        assert_eq!(
            classify(&sqlx::Error::Protocol("cut".into())),
            Fault::Unavailable
        );
        assert_eq!(classify(&sqlx::Error::RowNotFound), Fault::Fatal);
    }
}
