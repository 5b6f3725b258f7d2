//! The shipped schema: `migrations/mysql` and `migrations/sqlite`, embedded.
//!
//! Which of them a database has is kept in its table `tidemill_migrations`. Any number of
//! processes may migrate at once: one works, the others wait (a named lock on a server, the write
//! lock of a SQLite file).

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection as _, SqlSafeStr as _};
use tracing::{info, warn};

use super::connection::{Purpose, Session};
use super::database::DatabaseUrl;
use super::dialect::Dialect;
use super::error::SqlError;

/// What has been applied.
const APPLIED: &str = "tidemill_migrations";

/// How long a process waits for another one that is migrating.
const WAIT: Duration = Duration::from_secs(120);

/// A list rather than a scan of the directory: a new file changes this one, so cargo notices.
macro_rules! migrations {
    ($directory:literal) => {
        [
            (
                1,
                "ledger",
                include_str!(concat!("../../migrations/", $directory, "/0001_ledger.sql")),
            ),
            (
                2,
                "wikimedia",
                include_str!(concat!(
                    "../../migrations/",
                    $directory,
                    "/0002_wikimedia.sql"
                )),
            ),
            (
                3,
                "wikiticker",
                include_str!(concat!(
                    "../../migrations/",
                    $directory,
                    "/0003_wikiticker.sql"
                )),
            ),
        ]
    };
}

const MYSQL: [(i64, &str, &str); 3] = migrations!("mysql");
const SQLITE: [(i64, &str, &str); 3] = migrations!("sqlite");

/// Which database answers at this address.
///
/// # Errors
/// When none does.
pub async fn dialect_of(database: &DatabaseUrl) -> Result<Dialect, SqlError> {
    if database.is_sqlite() {
        return Ok(Dialect::Sqlite);
    }
    let session = Session::open(database, Purpose::Read).await;
    let session =
        session.map_err(|error| SqlError::of(format!("connect to {database}"), &error, None))?;
    let dialect = session.dialect;
    // The answer is there; how the connection ends does not matter.
    let _ = session.close().await;
    Ok(dialect)
}

/// Brings the schema up to date; does nothing when it is. A SQLite file is made when it is missing.
///
/// # Errors
/// When the database cannot be reached, refuses, or has been migrated by a newer version of
/// Tidemill.
pub async fn migrate(database: &DatabaseUrl) -> Result<(), SqlError> {
    let action = || format!("migrate {database}");
    let mut session = Session::open(database, Purpose::Write)
        .await
        .map_err(|error| SqlError::of(action(), &error, None))?;
    let dialect = session.dialect;
    let migrator = migrator(dialect);
    if dialect.is_server() {
        let locked = session.lock("migrations", WAIT).await;
        locked.map_err(|error| SqlError::of(action(), &error, Some(dialect)))?;
    }
    let mut applied = apply(&mut session, &migrator).await;
    if let Err(MigrateError::Dirty(version)) = applied {
        // A server cannot roll DDL back. Every statement of ours can be repeated, so the rest is
        // simply done now; nobody else is at it, as the lock is ours.
        warn!(
            version,
            "a migration was interrupted earlier: doing it again"
        );
        let sql = format!("DELETE FROM {APPLIED} WHERE version = {version} AND success = FALSE");
        let deleted = session.run(&sql).await;
        deleted.map_err(|error| SqlError::of(action(), &error, Some(dialect)))?;
        applied = apply(&mut session, &migrator).await;
    }
    applied.map_err(|error| problem(action(), &error, dialect))?;
    // The schema is there; how the connection ends does not matter.
    let _ = session.close().await;
    info!(%database, "the tables of Tidemill and of the shipped topologies are up to date");
    Ok(())
}

fn migrator(dialect: Dialect) -> Migrator {
    let files = if dialect == Dialect::Sqlite {
        SQLITE
    } else {
        MYSQL
    };
    let migrations = files.map(|(version, name, sql)| {
        Migration::new(
            version,
            Cow::Borrowed(name),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(migrations.into());
    migrator.dangerous_set_table_name(APPLIED);
    // The lock is ours, see above: the one of sqlx does not hold on MariaDB.
    migrator.set_locking(false);
    migrator
}

async fn apply(session: &mut Session, migrator: &Migrator) -> Result<(), MigrateError> {
    if let Some(server) = session.server() {
        return migrator.run_direct(None, server, false).await;
    }
    let Some(file) = session.file() else {
        return Ok(());
    };
    // One transaction that takes the write lock first.
    let wait = format!("PRAGMA busy_timeout = {}", WAIT.as_millis());
    sqlx::query(sqlx::AssertSqlSafe(wait))
        .execute(&mut *file)
        .await?;
    let mut transaction = file.begin_with("BEGIN IMMEDIATE").await?;
    migrator.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    Ok(())
}

fn problem(action: String, error: &MigrateError, dialect: Dialect) -> SqlError {
    match error {
        MigrateError::Execute(error) => SqlError::of(action, error, Some(dialect)),
        MigrateError::ExecuteMigration(error, version) => SqlError::of(
            format!("{action} to version {version}"),
            error,
            Some(dialect),
        ),
        MigrateError::VersionMissing(version) => SqlError::Fatal {
            action,
            reason: format!(
                "it is at version {version}, which this Tidemill does not know: use a newer one"
            ),
        },
        MigrateError::VersionMismatch(version) => SqlError::Fatal {
            action,
            reason: format!(
                "migration {version} was applied with another text: {APPLIED} and this Tidemill do not belong together"
            ),
        },
        other => SqlError::Fatal {
            action,
            reason: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_database_get_the_same_tables_and_columns() {
        let tables = |files: [(i64, &str, &str); 3]| -> Vec<(String, Vec<String>)> {
            let text: String = files.iter().map(|(_, _, sql)| *sql).collect();
            let parts = text.split("CREATE TABLE IF NOT EXISTS ").skip(1);
            let first_word = |line: &str| line.split_whitespace().next().unwrap_or("").to_owned();
            let table = |part: &str| {
                let body = part.split("\n)").next().unwrap_or("");
                let names = body.lines().skip(1).map(first_word);
                let columns = names
                    .filter(|name| name != "KEY" && name != "PRIMARY")
                    .collect();
                (first_word(part), columns)
            };
            parts.map(table).collect()
        };
        assert_eq!(tables(MYSQL), tables(SQLITE));
        assert_eq!(tables(MYSQL).len(), 7);
    }

    #[test]
    fn every_table_of_a_server_names_its_engine_and_character_set() {
        let text: String = MYSQL.iter().map(|(_, _, sql)| *sql).collect();
        let options = "ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        assert_eq!(
            text.matches("CREATE TABLE").count(),
            text.matches(options).count()
        );
    }
}
