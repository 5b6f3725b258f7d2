//! Makes the tables of sinks where nobody else does. A running application never does: what a table
//! is like is for its owner to say.

use super::connection::{Purpose, Session};
use super::database::DatabaseUrl;
use super::error::SqlError;
use super::live::read_table;
use super::table::{TableSpec, ddl};

/// Makes those of the tables that are missing, each as [`ddl`] writes it.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn create_tables(database: &DatabaseUrl, tables: &[TableSpec]) -> Result<(), SqlError> {
    let action = || format!("make tables in {database}");
    let mut session = Session::open(database, Purpose::Write)
        .await
        .map_err(|error| SqlError::of(action(), &error, None))?;
    let dialect = session.dialect;
    let work = async {
        for table in tables {
            if read_table(&mut session, &table.table).await?.is_none() {
                session.run(&ddl(table, dialect)).await?;
            }
        }
        session.close().await
    };
    work.await
        .map_err(|error| SqlError::of(action(), &error, Some(dialect)))
}

/// Runs a statement, for tests that damage tables.
#[cfg(test)]
pub(crate) async fn execute(database: &DatabaseUrl, statement: &str) -> Result<(), sqlx::Error> {
    let mut session = Session::open(database, Purpose::Write).await?;
    session.run(statement).await?;
    session.close().await
}
