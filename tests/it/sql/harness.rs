//! A database per test, and a table to write to.

use std::future::Future;
use std::time::{Duration, SystemTime};

use sqlx::mysql::MySqlConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tidemill::broker::TopicPartition;
use tidemill::sql::{
    Change, Column, ColumnType, DatabaseUrl, Dialect, LedgerMove, RowBatch, SinkOptions, SqlSink,
    TableSpec, ddl, dialect_of, migrate,
};
use tidemill::time::Timestamp;

use crate::harness::skip;

/// Which product a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    MariaDb,
    MySql,
}

/// A fresh, empty database; dropped with this value.
pub struct TestDatabase {
    pub kind: Kind,
    /// With its password.
    pub text: String,
    pub url: DatabaseUrl,
    pub name: String,
    /// The server's own address, for what goes beyond one database.
    server: Option<String>,
    _directory: Option<tempfile::TempDir>,
}

/// Runs `test` with a database of its own; does nothing, and says so, when there is no server.
pub async fn run<F, Fut>(kind: Kind, test: F)
where
    F: FnOnce(TestDatabase) -> Fut,
    Fut: Future<Output = ()>,
{
    if let Some(database) = TestDatabase::create(kind).await {
        test(database).await;
    }
}

impl TestDatabase {
    async fn create(kind: Kind) -> Option<TestDatabase> {
        let variable = match kind {
            Kind::Sqlite => return Some(TestDatabase::sqlite()),
            Kind::MariaDb => "TIDEMILL_TEST_MARIADB_URL",
            Kind::MySql => "TIDEMILL_TEST_MYSQL_URL",
        };
        let Ok(server) = std::env::var(variable) else {
            skip(
                &format!("sql on {kind:?}"),
                &format!("{variable} is not set"),
            );
            return None;
        };
        let name = unique_name();
        server_execute(&server, &format!("CREATE DATABASE {name}")).await;
        let text = with_path(&server, &name);
        let url = DatabaseUrl::parse(&text).unwrap();
        Some(TestDatabase {
            kind,
            text,
            url,
            name,
            server: Some(server),
            _directory: None,
        })
    }

    fn sqlite() -> TestDatabase {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("sqlite:{}", directory.path().join("test.db").display());
        TestDatabase {
            kind: Kind::Sqlite,
            url: DatabaseUrl::parse(&text).unwrap(),
            text,
            name: String::new(),
            server: None,
            _directory: Some(directory),
        }
    }

    /// With the shipped schema, the ledger above all.
    pub async fn migrated(self) -> TestDatabase {
        migrate(&self.url).await.unwrap();
        self
    }

    /// With the ledger only, which is enough for a sink and much quicker.
    pub async fn with_ledger(self) -> TestDatabase {
        let sql = match self.kind {
            Kind::Sqlite => include_str!("../../../migrations/sqlite/0001_ledger.sql"),
            Kind::MariaDb | Kind::MySql => {
                include_str!("../../../migrations/mysql/0001_ledger.sql")
            }
        };
        self.execute(sql).await;
        self
    }

    pub async fn dialect(&self) -> Dialect {
        dialect_of(&self.url).await.unwrap()
    }

    /// A connection beside those under test.
    pub async fn connect(&self) -> Client {
        match self.kind {
            Kind::Sqlite => {
                let text = format!("{}?mode=rwc", self.text);
                Client::File(SqliteConnection::connect(&text).await.unwrap())
            }
            Kind::MariaDb | Kind::MySql => {
                Client::Server(MySqlConnection::connect(&self.text).await.unwrap())
            }
        }
    }

    pub async fn execute(&self, sql: &str) {
        self.connect().await.execute(sql).await;
    }

    /// All rows as texts, NULL as `-`.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.connect().await.rows(sql).await
    }

    pub async fn number(&self, sql: &str) -> i64 {
        self.rows(sql).await[0][0].parse().unwrap()
    }

    /// Makes the table of a spec.
    pub async fn make(&self, table: &TableSpec) {
        self.execute(&ddl(table, self.dialect().await)).await;
    }

    pub async fn sink(&self, table: &TableSpec) -> SqlSink {
        self.sink_with(table, SinkOptions::default()).await
    }

    pub async fn sink_with(&self, table: &TableSpec, options: SinkOptions) -> SqlSink {
        SqlSink::open(&self.url, "app", "sink", table.clone(), options)
            .await
            .unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        let sql = format!("DROP DATABASE {}", self.name);
        // Dropping cannot wait for a future, and must not stand in the way of a panic.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(server_execute(&server, &sql));
        });
        let _ = dropped.join();
    }
}

/// A connection of the test's own.
pub enum Client {
    File(SqliteConnection),
    Server(MySqlConnection),
}

impl Client {
    pub async fn try_execute(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Client::File(file) => sql.execute(file).await.map(drop),
            Client::Server(server) => sql.execute(server).await.map(drop),
        }
    }

    pub async fn execute(&mut self, sql: &str) {
        self.try_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub async fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        let statement = sqlx::raw_sql(AssertSqlSafe(sql));
        let text = |value: Option<Vec<u8>>| {
            value.map_or_else(|| "-".to_owned(), |bytes| String::from_utf8(bytes).unwrap())
        };
        match self {
            Client::File(file) => {
                let rows = statement.fetch_all(file).await.unwrap();
                let cells = |row: &sqlx::sqlite::SqliteRow| {
                    (0..row.len())
                        .map(|n| text(row.try_get_unchecked(n).unwrap()))
                        .collect()
                };
                rows.iter().map(cells).collect()
            }
            Client::Server(server) => {
                let rows = statement.fetch_all(server).await.unwrap();
                let cells = |row: &sqlx::mysql::MySqlRow| {
                    (0..row.len())
                        .map(|n| text(row.try_get_unchecked(n).unwrap()))
                        .collect()
                };
                rows.iter().map(cells).collect()
            }
        }
    }

    pub async fn number(&mut self, sql: &str) -> i64 {
        self.rows(sql).await[0][0].parse().unwrap()
    }
}

pub async fn server_execute(server: &str, sql: &str) {
    let mut connection = MySqlConnection::connect(server).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
}

fn unique_name() -> String {
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    format!(
        "tidemill_{}_{}_{number}",
        std::process::id(),
        now.as_millis()
    )
}

fn with_path(server: &str, name: &str) -> String {
    let mut url = url::Url::parse(server).unwrap();
    url.set_path(name);
    url.to_string()
}

/// Waits until `condition` holds; gives up loudly after half a minute.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = std::time::Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn column(name: &str, kind: ColumnType, nullable: bool) -> Column {
    Column {
        name: name.into(),
        kind,
        nullable,
    }
}

/// Edits per wiki and window.
pub fn edits() -> TableSpec {
    TableSpec {
        table: "edits".into(),
        columns: vec![
            column("wiki", ColumnType::Text, false),
            column("window_start", ColumnType::Time, false),
            column("edits", ColumnType::Int, true),
            column("note", ColumnType::Text, true),
        ],
        key: vec![0, 1],
    }
}

pub fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("changes", number)
}

pub fn step(number: i32, from: i64, to: i64) -> LedgerMove {
    LedgerMove {
        partition: partition(number),
        from,
        to,
    }
}

/// Rows for [`edits`]: wiki, minute, edits; their offsets count from `first`.
pub fn batch(first: i64, rows: &[(&str, i64, i64)]) -> RowBatch {
    let mut batch = RowBatch::new(4);
    for (row, &(wiki, minute, edits)) in rows.iter().enumerate() {
        push(&mut batch, 0, first + row as i64, wiki, minute, edits);
    }
    batch
}

pub fn push(
    batch: &mut RowBatch,
    partition: u32,
    offset: i64,
    wiki: &str,
    minute: i64,
    edits: i64,
) {
    batch.push_text(wiki);
    batch.push_time(Timestamp(minute * 60_000));
    batch.push_int(edits);
    batch.push_null();
    batch.finish_row(Change::Upsert, partition, offset);
}

pub fn push_delete(batch: &mut RowBatch, offset: i64, wiki: &str, minute: i64) {
    batch.push_text(wiki);
    batch.push_time(Timestamp(minute * 60_000));
    batch.push_null();
    batch.push_null();
    batch.finish_row(Change::Delete, 0, offset);
}

impl TestDatabase {
    /// What [`edits`] holds: `enwiki 3 17` is wiki, minute, edits.
    pub async fn edits(&self) -> Vec<String> {
        let minute = match self.kind {
            Kind::Sqlite => "CAST(strftime('%s', window_start) AS INTEGER) / 60",
            Kind::MariaDb | Kind::MySql => "TIMESTAMPDIFF(MINUTE, '1970-01-01', window_start)",
        };
        let sql = format!("SELECT wiki, {minute}, edits FROM edits ORDER BY 1, 2");
        self.rows(&sql)
            .await
            .into_iter()
            .map(|row| row.join(" "))
            .collect()
    }

    /// Position and epoch of partition 0.
    pub async fn ledger(&self) -> (String, String) {
        let sql = "SELECT next_offset, writer_epoch FROM tidemill_ledger WHERE partition_id = 0";
        let row = self.rows(sql).await.remove(0);
        (row[0].clone(), row[1].clone())
    }
}
