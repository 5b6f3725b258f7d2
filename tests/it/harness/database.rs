//! A database for one test, on each of the servers that are there.

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row};

use super::unique;

/// The servers that are there: name and URL.
pub fn databases() -> Vec<(&'static str, String)> {
    [
        ("mysql", "TIDEMILL_TEST_MYSQL_URL"),
        ("mariadb", "TIDEMILL_TEST_MARIADB_URL"),
    ]
    .into_iter()
    .filter_map(|(name, variable)| Some((name, std::env::var(variable).ok()?)))
    .collect()
}

/// A database that is dropped with this value.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// An empty database on the server of that URL.
    pub fn create(server: &str) -> Database {
        let database = Database {
            server: server.to_owned(),
            name: unique("tm"),
        };
        database.on_server(&format!("CREATE DATABASE {}", database.name));
        database
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let (base, _) = self.server.rsplit_once('/').expect("mysql://…/name");
        format!("{base}/{}", self.name)
    }

    /// The rows of a query, each cell as text; null as `NULL`.
    pub fn rows(&self, query: &str) -> Result<Vec<Vec<String>>, sqlx::Error> {
        block_on(async {
            let mut connection = MySqlConnection::connect(&self.url()).await?;
            let rows = sqlx::raw_sql(AssertSqlSafe(query.to_owned()))
                .fetch_all(&mut connection)
                .await?;
            let text = |row: &sqlx::mysql::MySqlRow, at: usize| -> String {
                let bytes: Option<Vec<u8>> = row.try_get_unchecked(at).expect("cells as text");
                bytes.map_or("NULL".to_owned(), |b| {
                    String::from_utf8_lossy(&b).into_owned()
                })
            };
            let rows = rows
                .iter()
                .map(|row| (0..row.len()).map(|at| text(row, at)).collect());
            Ok(rows.collect())
        })
    }

    /// A number.
    pub fn number(&self, query: &str) -> Option<i64> {
        self.rows(query).ok()?.first()?.first()?.parse().ok()
    }

    /// Runs a statement in this database.
    pub fn run(&self, statement: &str) {
        execute(&self.url(), statement);
    }

    fn on_server(&self, statement: &str) {
        execute(&self.server, statement);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.on_server(&format!("DROP DATABASE {}", self.name));
    }
}

fn execute(url: &str, statement: &str) {
    let done: Result<(), sqlx::Error> = block_on(async {
        let mut connection = MySqlConnection::connect(url).await?;
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut connection)
            .await?;
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}
