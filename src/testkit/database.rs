//! A database for the SQL sinks of a driver: a SQLite file in a temporary directory.
//!
//! The sinks are the real ones, with their ledger; they are opened when a table is first asked for, so
//! a test that looks at none pays nothing for them. The shipped tables are made as `tidemill run` makes
//! them, all others as `tidemill describe --tables sqlite` prints them.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::driver::{DriverError, TopologyTestDriver};
use crate::runtime::{self, Database};
use crate::sql::query::{self, MOST_ROWS, QueryOptions};
use crate::sql::{self, DatabaseUrl};
use crate::topology::plan::Plan;

/// A sink that goes wrong is stepped again so many times: passing trouble with the log that a test has
/// scripted is over by then.
const ATTEMPTS: usize = 8;

/// A row as a JSON object.
type Row = serde_json::Map<String, serde_json::Value>;

/// A database with the tables of a plan, still empty. Drivers of the same plan share it, and each gets
/// a copy of its file.
pub(super) struct DatabaseTemplate {
    file: Vec<u8>,
    tokio: Runtime,
}

impl DatabaseTemplate {
    /// The tables that the SQL sinks of a plan write.
    pub(super) fn new(plan: &Plan) -> Result<DatabaseTemplate, DriverError> {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()?;
        let directory = directory()?;
        let path = directory.path().join("template.db");
        let url = DatabaseUrl::of_scratch_file(&path);
        tokio.block_on(sql::migrate(&url))?;
        tokio.block_on(sql::create_tables(&url, &runtime::tables(plan)))?;
        // Both have closed their connections, so all of it is in the one file.
        let file = std::fs::read(&path)?;
        Ok(DatabaseTemplate { file, tokio })
    }
}

/// The database of one driver.
pub(super) struct TestDatabase {
    url: DatabaseUrl,
    template: Arc<DatabaseTemplate>,
    _directory: TempDir,
}

impl TestDatabase {
    pub(super) fn new(template: Arc<DatabaseTemplate>) -> Result<TestDatabase, DriverError> {
        let directory = directory()?;
        let path = directory.path().join("tables.db");
        std::fs::write(&path, &template.file)?;
        Ok(TestDatabase {
            url: DatabaseUrl::of_scratch_file(&path),
            template,
            _directory: directory,
        })
    }

    /// The rows of a table, see [`TopologyTestDriver::sql_rows`].
    pub(super) fn rows(&self, table: &str) -> Result<Vec<Row>, DriverError> {
        let options = QueryOptions {
            limit: MOST_ROWS,
            ..QueryOptions::of(table)
        };
        let tokio = &self.template.tokio;
        let rows = tokio.block_on(query::run(&self.url, &options))?;
        Ok(rows.objects())
    }

    pub(super) fn environment(&self) -> Database {
        Database {
            url: self.url.clone(),
            tokio: self.template.tokio.handle().clone(),
            migrate: false,
        }
    }
}

fn directory() -> std::io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("tidemill-driver-")
        .tempdir()
}

impl TopologyTestDriver {
    /// Lets the SQL sinks write all that has reached them. They do nothing before this is first called,
    /// nor between two calls; [`TopologyTestDriver::sql_rows`] calls it. After a crash it does nothing.
    ///
    /// # Errors
    /// When a sink has to give up.
    ///
    /// # Panics
    /// Inside an async runtime.
    pub fn write_tables(&mut self) -> Result<(), DriverError> {
        self.open_sinks()?;
        let (mut quiet, mut failures) = (0, 0);
        while quiet < 4 && !self.sinks.is_empty() {
            let mut moved = false;
            for sink in &mut self.sinks {
                match sink.step(Duration::ZERO) {
                    Ok(written) => moved |= written,
                    Err(error) if failures == ATTEMPTS => return Err(error.into()),
                    Err(error) => {
                        failures += 1;
                        sink.recover(error)?;
                        moved = true;
                    }
                }
            }
            quiet = if moved { 0 } else { quiet + 1 };
        }
        Ok(())
    }

    /// The rows of a table that SQL sinks write, as JSON objects in no particular order: numbers and
    /// bools as such, times as RFC 3339 texts, NULL as null. A column whose type the topology does not
    /// tell holds texts.
    ///
    /// # Errors
    /// When a sink has to give up, or there is no such table.
    ///
    /// # Panics
    /// Inside an async runtime.
    pub fn sql_rows(
        &mut self,
        table: &str,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, DriverError> {
        self.write_tables()?;
        self.open_database()?.rows(table)
    }

    /// Where those tables are, as far as they have been written.
    pub(crate) fn tables(&mut self) -> Result<&DatabaseUrl, DriverError> {
        Ok(&self.open_database()?.url)
    }

    /// Runs a statement in that database.
    #[cfg(test)]
    pub(crate) fn run_sql(&mut self, statement: &str) {
        let database = self.open_database().expect("a database");
        let ran = sql::execute(&database.url, statement);
        database.template.tokio.block_on(ran).expect("a statement");
    }

    fn open_sinks(&mut self) -> Result<(), DriverError> {
        let Some(shared) = self.shared.clone() else {
            return Ok(());
        };
        if self.sinks.is_empty() && !self.plan.sinks.is_empty() {
            let environment = self.open_database()?.environment();
            self.sinks = runtime::sinks(&shared, &environment)?;
        }
        Ok(())
    }

    fn open_database(&mut self) -> Result<&TestDatabase, DriverError> {
        if self.database.is_none() {
            let template = Arc::new(DatabaseTemplate::new(&self.plan)?);
            self.database = Some(TestDatabase::new(template)?);
        }
        Ok(self.database.as_ref().expect("just made"))
    }
}
