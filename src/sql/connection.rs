//! A connection to either kind of database, with the session set up as the sink relies on it.
//!
//! The one place where statements meet the driver.
//!
//! The invariant: a connection whose future was dropped or failed half-way is never used again.
//! Callers take it out of its slot, and put it back only when all is well.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::database::{DatabaseUrl, Target};
use super::datum::{Datum, mysql_arguments, mysql_row, sqlite_arguments, sqlite_row};
use super::dialect::Dialect;
use super::rows::Cell;

/// How long to wait for a server to answer a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a statement may take, unless the session is told otherwise.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait for another connection's lock.
const LOCK_WAIT_SECONDS: u64 = 5;

/// How a connection will be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To write; a SQLite file is made when it is missing.
    Write,
    /// To read only.
    Read,
}

/// An open connection.
pub(super) struct Session {
    driver: Driver,
    pub dialect: Dialect,
    /// The largest statement that the server takes, in bytes.
    pub max_packet: usize,
    /// After this long without an answer a statement has failed.
    pub statement_timeout: Duration,
}

enum Driver {
    Server(Box<MySqlConnection>),
    File(SqliteConnection),
}

/// The rows of a result, and the names of its columns.
pub(super) struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Datum>>,
    /// There were more rows than asked for.
    pub more: bool,
}

/// The values of a statement, as its driver wants them.
pub(super) enum Bound {
    Server(MySqlArguments),
    File(SqliteArguments),
}

/// How much more of a result is taken.
struct Room {
    rows: usize,
    bytes: usize,
}

impl Session {
    /// Connects, and sets up the session: strict mode, UTC, READ COMMITTED, a short lock wait.
    pub async fn open(database: &DatabaseUrl, purpose: Purpose) -> Result<Session, sqlx::Error> {
        in_time(CONNECT_TIMEOUT, connect(database, purpose)).await
    }

    /// Has the server end this connection, and with it what it has locked, when nothing has been asked of it
    /// for so long: whoever stands still in a transaction must not keep others waiting. A file's locks
    /// are held by their process alone.
    pub async fn end_when_idle(&mut self, limit: Duration) -> Result<(), sqlx::Error> {
        let seconds = limit.as_secs().max(1);
        match self.driver {
            Driver::Server(_) => {
                self.run(&format!("SET SESSION wait_timeout = {seconds}"))
                    .await
            }
            Driver::File(_) => Ok(()),
        }
    }

    /// Runs statements that bind nothing.
    pub async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let limit = self.statement_timeout;
        in_time(limit, self.driver.run(sql)).await
    }

    /// Binds values for [`Session::execute`].
    pub fn bind<'a>(
        &self,
        cells: impl IntoIterator<Item = Cell<'a>>,
    ) -> Result<Bound, sqlx::Error> {
        match self.driver {
            Driver::Server(_) => mysql_arguments(cells).map(Bound::Server),
            Driver::File(_) => sqlite_arguments(cells).map(Bound::File),
        }
    }

    /// Runs a prepared statement; returns how many rows it matched (MySQL) or changed (SQLite).
    /// The connection keeps it prepared.
    pub async fn execute(&mut self, sql: &Arc<str>, bound: Bound) -> Result<u64, sqlx::Error> {
        let limit = self.statement_timeout;
        let sql = AssertSqlSafe(Arc::clone(sql));
        match (&mut self.driver, bound) {
            (Driver::Server(server), Bound::Server(values)) => {
                let query = sqlx::query_with(sql, values);
                Ok(in_time(limit, server.execute(query)).await?.rows_affected())
            }
            (Driver::File(file), Bound::File(values)) => {
                let query = sqlx::query_with(sql, values);
                Ok(in_time(limit, file.execute(query)).await?.rows_affected())
            }
            (Driver::Server(_), Bound::File(_)) | (Driver::File(_), Bound::Server(_)) => {
                unreachable!("values are bound by the session that they are sent on")
            }
        }
    }

    /// All rows of a query, which is not kept prepared.
    pub async fn rows(&mut self, sql: &str, cells: &[Cell<'_>]) -> Result<Rows, sqlx::Error> {
        self.rows_up_to(sql, cells, usize::MAX, usize::MAX).await
    }

    /// The first rows of a query, as many as `rows` and about `bytes` allow, and whether there
    /// were more. When there were, the connection is best not used any more.
    pub async fn rows_up_to(
        &mut self,
        sql: &str,
        cells: &[Cell<'_>],
        rows: usize,
        bytes: usize,
    ) -> Result<Rows, sqlx::Error> {
        let timeout = self.statement_timeout;
        let room = Room { rows, bytes };
        in_time(timeout, self.driver.rows(sql, cells, room)).await
    }

    /// Ends queries of this session after `limit`, on the server's side too.
    pub async fn limit_query_time(&mut self, limit: Duration) -> Result<(), sqlx::Error> {
        let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        if let Some(sql) = self.dialect.limit_query_time(ms) {
            self.run(&sql).await?;
        }
        if let Driver::File(file) = &mut self.driver {
            let deadline = Instant::now() + limit;
            file.lock_handle()
                .await?
                .set_progress_handler(10_000, move || Instant::now() < deadline);
        }
        Ok(())
    }

    /// Takes a lock of the server that no table knows of, one per database and `name`; it goes with
    /// the connection. SQLite has none.
    ///
    /// The wait has a limit: asked to wait for ever, as sqlx does, MariaDB does not wait at all.
    pub async fn lock(&mut self, name: &str, wait: Duration) -> Result<(), sqlx::Error> {
        let sql = "SELECT GET_LOCK(CONCAT('tidemill_', LEFT(SHA2(CONCAT(DATABASE(), ' ', ?), 256), 40)), ?)";
        let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
        self.statement_timeout = self.statement_timeout.max(wait.saturating_mul(2));
        let got = self
            .rows(sql, &[Cell::Text(name), Cell::Int(seconds)])
            .await?;
        match got.rows.first().and_then(|row| row[0].as_int()) {
            Some(1) => Ok(()),
            _ => Err(sqlx::Error::Io(std::io::Error::other(
                "another process is still at it",
            ))),
        }
    }

    /// Closes the connection politely. One that has failed is simply dropped instead.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        match self.driver {
            Driver::Server(server) => server.close().await,
            Driver::File(file) => file.close().await,
        }
    }

    /// The driver's connection, where sqlx itself does the work (migrations).
    pub fn server(&mut self) -> Option<&mut MySqlConnection> {
        match &mut self.driver {
            Driver::Server(server) => Some(server),
            Driver::File(_) => None,
        }
    }

    /// The driver's connection, where sqlx itself does the work (migrations).
    pub fn file(&mut self) -> Option<&mut SqliteConnection> {
        match &mut self.driver {
            Driver::File(file) => Some(file),
            Driver::Server(_) => None,
        }
    }
}

impl Driver {
    async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let statement = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Driver::Server(server) => server.execute(statement).await.map(drop),
            Driver::File(file) => file.execute(statement).await.map(drop),
        }
    }

    async fn rows(
        &mut self,
        sql: &str,
        cells: &[Cell<'_>],
        mut room: Room,
    ) -> Result<Rows, sqlx::Error> {
        let mut found = Rows {
            columns: Vec::new(),
            rows: Vec::new(),
            more: false,
        };
        let sql = AssertSqlSafe(sql);
        match self {
            Driver::Server(server) => {
                let arguments = mysql_arguments(cells.iter().copied())?;
                let query = sqlx::query_with(sql, arguments).persistent(false);
                let mut rows = server.fetch(query);
                while let Some(row) = rows.try_next().await? {
                    if !found.take(&mut room, row.columns(), || mysql_row(&row))? {
                        break;
                    }
                }
            }
            Driver::File(file) => {
                let arguments = sqlite_arguments(cells.iter().copied())?;
                let query = sqlx::query_with(sql, arguments).persistent(false);
                let mut rows = file.fetch(query);
                while let Some(row) = rows.try_next().await? {
                    if !found.take(&mut room, row.columns(), || sqlite_row(&row))? {
                        break;
                    }
                }
            }
        }
        Ok(found)
    }
}

impl Rows {
    /// Takes a row if there is room for one more.
    fn take<C: sqlx::Column>(
        &mut self,
        room: &mut Room,
        columns: &[C],
        row: impl FnOnce() -> Result<Vec<Datum>, sqlx::Error>,
    ) -> Result<bool, sqlx::Error> {
        if self.rows.len() == room.rows || room.bytes == 0 {
            self.more = true;
            return Ok(false);
        }
        if self.columns.is_empty() {
            self.columns = columns
                .iter()
                .map(|column| column.name().to_owned())
                .collect();
        }
        let row = row()?;
        room.bytes = room
            .bytes
            .saturating_sub(row.iter().map(Datum::bytes).sum());
        self.rows.push(row);
        Ok(true)
    }
}

/// Gives up waiting after `limit`, as passing trouble: a server that is stopped or cut off answers
/// nothing at all. The connection is not usable afterwards.
async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("no answer from the database within {limit:?}");
        Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            text,
        )))
    })
}

async fn connect(database: &DatabaseUrl, purpose: Purpose) -> Result<Session, sqlx::Error> {
    match &database.target {
        Target::Server(options) => {
            // The mode is set as a whole below, not appended to.
            let options = options.as_ref().clone().pipes_as_concat(false);
            let options = options
                .no_engine_substitution(false)
                .disable_statement_logging();
            let mut server = options.connect().await?;
            set_up_server(&mut server).await?;
            if purpose == Purpose::Read {
                server.execute("SET SESSION TRANSACTION READ ONLY").await?;
            }
            let (version, max_packet): (String, i64) =
                sqlx::query_as("SELECT VERSION(), CAST(@@max_allowed_packet AS SIGNED)")
                    .persistent(false)
                    .fetch_one(&mut server)
                    .await?;
            Ok(Session {
                driver: Driver::Server(Box::new(server)),
                dialect: Dialect::of_version(&version),
                max_packet: usize::try_from(max_packet).unwrap_or(1 << 20),
                statement_timeout: STATEMENT_TIMEOUT,
            })
        }
        Target::File(options) => {
            let path = options.get_filename();
            if purpose == Purpose::Read && !path.exists() {
                let text = format!("there is no file {}", path.display());
                return Err(sqlx::Error::Configuration(text.into()));
            }
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                let text = format!("there is no directory {}; create it", folder.display());
                return Err(sqlx::Error::Configuration(text.into()));
            }
            let options = options.as_ref().clone().disable_statement_logging();
            let options = options.busy_timeout(Duration::from_secs(LOCK_WAIT_SECONDS));
            let options = match purpose {
                // Readers do not stop a writer in WAL mode.
                Purpose::Write => options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal),
                Purpose::Read => options.pragma("query_only", "ON"),
            };
            let file = open_file(&options).await?;
            Ok(Session {
                driver: Driver::File(file),
                dialect: Dialect::Sqlite,
                max_packet: 1 << 24,
                statement_timeout: STATEMENT_TIMEOUT,
            })
        }
    }
}

async fn set_up_server(server: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    // Strict, so that a value that does not fit is an error and never silently cut.
    let set = format!(
        "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,\
         ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}"
    );
    server.execute(AssertSqlSafe(set)).await?;
    // The statement, as the variable's name differs between the servers. Without gap locks two
    // writers of one table do not lock each other's keys.
    server
        .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .await?;
    Ok(())
}

/// Opens a file. The switch to WAL of a new file does not wait while another connection makes the
/// same switch, whatever the busy timeout says.
async fn open_file(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let begun = Instant::now();
    loop {
        match options.connect().await {
            Err(error) if is_locked(&error) && begun.elapsed().as_secs() < LOCK_WAIT_SECONDS => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return opened,
        }
    }
}

fn is_locked(error: &sqlx::Error) -> bool {
    /// SQLITE_BUSY.
    const BUSY: &str = "5";
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == BUSY)
}
