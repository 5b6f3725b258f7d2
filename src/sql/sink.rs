//! The sink: one connection that writes one table, exactly once.
//!
//! ```text
//!            claim: writer_epoch + 1 ──► the position of each partition
//!  write ──► attempt ──► written ─────────────────────────────► report
//!    ▲          │
//!    │          ├─ deadlock, lock wait ──► back off ─┐
//!    │          ├─ packet too large ──► halve ───────┤ a new connection, the whole again
//!    │          ├─ COMMIT not answered ──► in doubt ─┤ (the ledger tells which it was)
//!    └──────────┴─────────◄──────────────────────────┘
//!               └─ not reachable, read-only, full … ──► Unavailable: the caller waits
//! ```
//!
//! The connection is taken out while it is used and put back only after success: an error, or a
//! future that is dropped half-way, closes it, and the server rolls back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tracing::{debug, info, warn};

use super::connection::{Purpose, Session};
use super::database::DatabaseUrl;
use super::dialect::Dialect;
use super::error::{Fault, SqlError, classify, code, reason};
use super::fit::{FindingCode, TableFinding, compare};
use super::ledger::{LEDGER, LedgerMove, LedgerStatements};
use super::live::read_table;
use super::plan::refused_rows;
use super::retry::{Failure, Next, Retries, backoff};
use super::rows::{Cell, RowBatch};
use super::table::TableSpec;
use super::write::{Attempt, Outcome, Rejected, Statements, Trouble, WriteReport, statement_bytes};
use super::writers::{Writer, compare_writers, writers_of};
use crate::broker::{Offset, TopicPartition};

/// What to do when the table has rows that no ledger knows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingRows {
    /// Stop: the ledger may have been lost, and the sink would go over old ground.
    #[default]
    Refuse,
    /// Begin at the beginning and overwrite them.
    Overwrite,
}

/// What to do when the ledger knows other sinks that write the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherWriters {
    /// A sink that is new to the table stops when another application writes it; one that has been
    /// there before, or that meets only sinks of its own application, warns.
    #[default]
    Refuse,
    /// Write beside them.
    Accept,
}

/// How a sink behaves.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// What to do when the table has rows that no ledger knows of.
    pub existing_rows: ExistingRows,
    /// What to do when the ledger knows other sinks that write the table.
    pub other_writers: OtherWriters,
    /// How often a transaction that lost against another one is tried before the caller is told.
    pub attempts: u32,
    /// After this long without an answer the connection is given up.
    pub statement_timeout: Duration,
    /// After this long without a statement the server ends the connection, and a transaction that was left
    /// open on it; whole seconds.
    pub idle_timeout: Duration,
    /// The largest statement in bytes; the server's own `max_allowed_packet` when absent.
    pub max_statement_bytes: Option<usize>,
    /// For the jitter of waits, by which processes that collide once do not collide again.
    pub seed: u64,
}

impl Default for SinkOptions {
    fn default() -> SinkOptions {
        SinkOptions {
            existing_rows: ExistingRows::Refuse,
            other_writers: OtherWriters::Refuse,
            attempts: 6,
            statement_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            max_statement_bytes: None,
            seed: rand::random(),
        }
    }
}

/// Writes the rows of one sink node into its table. One per sink and process; each partition has
/// one writer at a time, the one that claimed it last.
pub struct SqlSink {
    database: DatabaseUrl,
    app: String,
    sink: String,
    /// Its key is in the order of the live table's index.
    table: TableSpec,
    options: SinkOptions,
    dialect: Dialect,
    statements: Statements,
    ledger: LedgerStatements,
    /// The open connection, and when it was last used.
    session: Option<(Session, Instant)>,
    epochs: BTreeMap<TopicPartition, i64>,
    in_doubt: Option<(Vec<LedgerMove>, WriteReport)>,
    /// By how many halvings statements are smaller than they might be, because they were too large.
    halvings: u32,
    /// Writes without trouble since then.
    clean_writes: u32,
    random: StdRng,
}

impl SqlSink {
    /// Connects, and holds the live table against what the sink needs.
    ///
    /// # Errors
    /// [`SqlError::Mismatch`] with everything that does not fit; otherwise the reaction it names.
    pub async fn open(
        database: &DatabaseUrl,
        app: &str,
        sink: &str,
        mut table: TableSpec,
        options: SinkOptions,
    ) -> Result<SqlSink, SqlError> {
        let action = || {
            format!(
                "open sink {sink} of {app} on table {} in {database}",
                table.table
            )
        };
        let mut session = connect(database, &options)
            .await
            .map_err(|error| SqlError::of(action(), &error, None))?;
        let dialect = session.dialect;
        let live = read_table(&mut session, &table.table).await;
        let live = live.map_err(|error| SqlError::of(action(), &error, Some(dialect)))?;
        let mut findings = compare(&table, live.as_ref(), dialect);
        let ledger = read_table(&mut session, LEDGER).await;
        let ledger = ledger.map_err(|error| SqlError::of(action(), &error, Some(dialect)))?;
        if ledger.is_none() {
            let message = format!("there is no table {LEDGER}");
            let fix = Some("tidemill migrate".to_owned());
            findings.push(TableFinding::error(FindingCode::NoTable, message, fix));
        } else if options.other_writers == OtherWriters::Refuse {
            let writers = writers_of(&mut session, &table.table).await;
            let writers = writers.map_err(|error| SqlError::of(action(), &error, Some(dialect)))?;
            let own = Writer::new(app, sink);
            findings.extend(compare_writers(&table.table, &own, &writers));
        }
        if findings.iter().any(|finding| finding.error) {
            return Err(SqlError::Mismatch {
                table: table.table,
                findings,
            });
        }
        for finding in findings {
            warn!(app, sink, table = table.table, "{finding}");
        }
        let index = live.map(|live| live.primary_key).unwrap_or_default();
        table.key.sort_by_key(|&column| {
            let name = &table.columns[column].name;
            index
                .iter()
                .position(|other| other.eq_ignore_ascii_case(name))
        });
        Ok(SqlSink {
            database: database.clone(),
            app: app.to_owned(),
            sink: sink.to_owned(),
            statements: Statements::new(&table, dialect),
            ledger: LedgerStatements::new(dialect, app, sink),
            table,
            dialect,
            session: Some((session, Instant::now())),
            epochs: BTreeMap::new(),
            in_doubt: None,
            halvings: 0,
            clean_writes: 0,
            random: StdRng::seed_from_u64(options.seed),
            options,
        })
    }

    /// Which database it writes to.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Takes these partitions over: writers that held them are fenced from now on. Returns the
    /// position of each, in the order given: everything below it is in the table. None when
    /// nothing has been written yet.
    ///
    /// # Errors
    /// [`SqlError::Fatal`] when the table has rows but the ledger knows nobody who wrote them (see
    /// [`ExistingRows`]); otherwise the reaction it names.
    pub async fn claim(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Offset>>, SqlError> {
        let action = format!(
            "claim {} partitions for sink {} of {}",
            partitions.len(),
            self.sink,
            self.app
        );
        let mut retries = Retries::new(self.options.attempts);
        loop {
            let (mut session, fresh) = self.take_session(&action).await?;
            match self.claim_once(&mut session, partitions).await {
                Ok(entries) => {
                    self.keep(session);
                    let epochs = entries.iter().map(|&(_, epoch)| epoch);
                    self.epochs.extend(partitions.iter().cloned().zip(epochs));
                    return Ok(entries.into_iter().map(|(next, _)| next).collect());
                }
                Err(Trouble::Refused(error)) => return Err(error),
                Err(
                    Trouble::Failed(error)
                    | Trouble::TooLarge { error, .. }
                    | Trouble::InDoubt(error, _),
                ) => {
                    drop(session);
                    let next = retries.after(Failure::Before(classify(&error)), fresh);
                    self.wait_or_fail(next, &action, &error).await?;
                }
            }
        }
    }

    /// Gives partitions up, without a word to the database: their next owner claims them.
    pub fn release(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.epochs.remove(partition);
        }
    }

    /// Writes the rows and moves the ledger, in one transaction. Rows of a replay are left out; of
    /// each key only the last row counts. A row that the database refuses for what it holds is
    /// left out and reported; a process that dies between this call and what the caller does with
    /// the report loses it, so see [`SqlSink::write_with`].
    ///
    /// A row's partition is the index of its move. After [`SqlError::Unavailable`] call again with
    /// the same batch and moves.
    ///
    /// # Errors
    /// The reaction it names. Nothing has been written, or, when a COMMIT went unanswered, the
    /// ledger says whether: the next call, or the next claim, finds out.
    ///
    /// # Panics
    /// When a partition has not been claimed, or a row names a move that is not there.
    pub async fn write(
        &mut self,
        batch: &RowBatch,
        moves: &[LedgerMove],
    ) -> Result<WriteReport, SqlError> {
        self.write_with(batch, moves, &mut |_| Ok(())).await
    }

    /// Like [`SqlSink::write`]; `before_commit` is given the refused rows, perhaps none, before the
    /// rest is committed. When it returns, they must be safe (flushed to the dead-letter
    /// topic): then none is lost, whenever the process dies; some may be reported again.
    ///
    /// # Errors
    /// As [`SqlSink::write`]; [`SqlError::Unavailable`] when `before_commit` fails.
    ///
    /// # Panics
    /// As [`SqlSink::write`].
    pub async fn write_with(
        &mut self,
        batch: &RowBatch,
        moves: &[LedgerMove],
        before_commit: &mut (dyn FnMut(&[Rejected]) -> Result<(), String> + Send),
    ) -> Result<WriteReport, SqlError> {
        self.assert_claimed(moves);
        assert_eq!(
            batch.columns(),
            self.table.columns.len(),
            "columns of the batch"
        );
        let action = format!(
            "write table {} for sink {} of {}",
            self.table.table, self.sink, self.app
        );
        let mut retries = Retries::new(self.options.attempts);
        let (mut session, mut fresh) = self.take_session(&action).await?;
        let max_packet = self
            .options
            .max_statement_bytes
            .unwrap_or(session.max_packet);
        let mut excluded = refused_rows(&self.table, batch, max_packet);
        let mut breaks = Breaks::default();
        loop {
            let attempt = Attempt {
                table: &self.table,
                statements: &self.statements,
                ledger: &self.ledger,
                epochs: &self.epochs,
                batch,
                moves,
                excluded: &excluded,
                statement_bytes: statement_bytes(max_packet, self.halvings),
                app: &self.app,
                sink: &self.sink,
            };
            let (failure, error) = match attempt.run(&mut session, before_commit).await {
                Ok(outcome) => {
                    self.keep(session);
                    self.grow_statements();
                    return Ok(self.finish(outcome, moves));
                }
                Err(Trouble::Refused(error)) => {
                    if let SqlError::Fenced { partition, .. } = &error {
                        self.epochs.remove(partition);
                    }
                    return Err(error);
                }
                Err(Trouble::InDoubt(error, report)) => {
                    warn!(sink = self.sink, reason = %error, "the outcome of a commit is unknown: asking the ledger");
                    self.in_doubt = Some((moves.to_vec(), report));
                    (Failure::InDoubt, error)
                }
                Err(Trouble::TooLarge {
                    row: None, error, ..
                }) => {
                    self.halvings += 1;
                    self.clean_writes = 0;
                    warn!(sink = self.sink, reason = %error, "a statement may have been too large: halved");
                    (Failure::Before(Fault::TooLarge), error)
                }
                Err(Trouble::TooLarge {
                    row: Some(row),
                    surely,
                    error,
                }) => {
                    if surely || breaks.is_the_rows_fault(row) {
                        let message = reason(&error, Some(self.dialect));
                        excluded.insert(
                            row,
                            Rejected {
                                row,
                                code: code(&error),
                                message,
                            },
                        );
                    }
                    (Failure::Before(Fault::TooLarge), error)
                }
                Err(Trouble::Failed(error)) => (Failure::Before(classify(&error)), error),
            };
            drop(session);
            self.wait_or_fail(retries.after(failure, fresh), &action, &error)
                .await?;
            (session, fresh) = self.take_session(&action).await?;
        }
    }

    /// What was halved grows again: it may have been a connection that broke for another reason.
    fn grow_statements(&mut self) {
        self.clean_writes += 1;
        if self.halvings > 0 && self.clean_writes >= CLEAN_WRITES {
            self.halvings -= 1;
            self.clean_writes = 0;
        }
    }

    fn assert_claimed(&self, moves: &[LedgerMove]) {
        for step in moves {
            assert!(
                self.epochs.contains_key(&step.partition),
                "{} is not claimed",
                step.partition
            );
            assert!(
                step.from <= step.to,
                "{} would move from {} to {}",
                step.partition,
                step.from,
                step.to
            );
        }
    }

    /// Settles a commit that was in doubt: the ledger was there already, so it had gone through.
    fn finish(&mut self, outcome: Outcome, moves: &[LedgerMove]) -> WriteReport {
        let in_doubt = self.in_doubt.take();
        let (Outcome::Written(report) | Outcome::Already(report)) = &outcome;
        if report.replayed > 0 {
            let (sink, rows) = (&self.sink, report.replayed);
            info!(sink, rows, "the table had rows already, by the ledger");
        }
        match outcome {
            Outcome::Already(report) => match in_doubt {
                Some((pending, earlier)) if pending == moves => earlier,
                _ => report,
            },
            Outcome::Written(report) => {
                debug!(
                    sink = self.sink,
                    rows = report.rows,
                    replayed = report.replayed,
                    superseded = report.superseded,
                    rejected = report.rejected.len(),
                    "written"
                );
                report
            }
        }
    }

    async fn claim_once(
        &self,
        session: &mut Session,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(Option<Offset>, i64)>, Trouble> {
        session.run(self.dialect.begin()).await?;
        if self.options.existing_rows == ExistingRows::Refuse {
            self.check_ledger_is_there(session).await?;
        }
        let mut sorted: Vec<_> = partitions.iter().enumerate().collect();
        sorted.sort_by_key(|&(_, partition)| partition);
        let mut claimed = vec![(None, 0); partitions.len()];
        for (index, partition) in sorted {
            let entry = self
                .ledger
                .claim(session, partition, &self.table.table)
                .await?;
            let entry = entry.ok_or(sqlx::Error::RowNotFound)?;
            claimed[index] = (entry.next, entry.epoch);
        }
        session.run("COMMIT").await?;
        Ok(claimed)
    }

    /// A table with rows that nobody in the ledger has written: the ledger may have been lost. The
    /// rows are looked for first: whoever has written those that are seen has moved the ledger in
    /// the same transaction, so it is seen then too. The other way round, a first write between the
    /// two looks would be taken for a lost ledger.
    async fn check_ledger_is_there(&self, session: &mut Session) -> Result<(), Trouble> {
        let table = &self.table.table;
        let any = format!("SELECT 1 FROM {} LIMIT 1", self.dialect.quote(table));
        if session.rows(&any, &[]).await?.rows.is_empty() {
            return Ok(());
        }
        let known = format!("SELECT 1 FROM {LEDGER} WHERE table_name = ? LIMIT 1");
        let known = session.rows(&known, &[Cell::Text(table)]).await?;
        if !known.rows.is_empty() {
            return Ok(());
        }
        Err(Trouble::Refused(SqlError::Fatal {
            action: format!("claim partitions for sink {} of {}", self.sink, self.app),
            reason: format!(
                "table {table} has rows, but {LEDGER} knows no sink that wrote them: was the ledger lost? \
                 Restore its rows, or empty the table and let the sink write it anew"
            ),
        }))
    }

    fn keep(&mut self, session: Session) {
        self.session = Some((session, Instant::now()));
    }

    /// The open connection, or a new one (true then). One that the server may be about to end is not used.
    async fn take_session(&mut self, action: &str) -> Result<(Session, bool), SqlError> {
        if let Some((session, used)) = self.session.take()
            && used.elapsed() < self.options.idle_timeout / 2
        {
            return Ok((session, false));
        }
        match connect(&self.database, &self.options).await {
            Ok(session) => Ok((session, true)),
            Err(error) => Err(SqlError::of(action, &error, Some(self.dialect))),
        }
    }

    /// After a failed attempt: waits and lets the caller try again, or says what is wrong.
    async fn wait_or_fail(
        &mut self,
        next: Next,
        action: &str,
        error: &sqlx::Error,
    ) -> Result<(), SqlError> {
        let reason = reason(error, Some(self.dialect));
        let action = action.to_owned();
        match next {
            Next::Again { doublings } => {
                let wait = backoff(doublings, &mut self.random);
                debug!(sink = self.sink, ?wait, reason, "trying again");
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Next::Unavailable => Err(SqlError::Unavailable { action, reason }),
            Next::Fatal => Err(SqlError::Fatal { action, reason }),
        }
    }
}

/// After so many writes without trouble statements are allowed twice the size again.
const CLEAN_WRITES: u32 = 64;

/// How often in a row the connection broke while one and the same large row was being sent.
#[derive(Debug, Default)]
struct Breaks {
    row: usize,
    count: u32,
}

impl Breaks {
    /// True from the third time on: everything else of the transaction went through each time.
    fn is_the_rows_fault(&mut self, row: usize) -> bool {
        self.count = if self.row == row { self.count + 1 } else { 1 };
        self.row = row;
        self.count >= 3
    }
}

async fn connect(database: &DatabaseUrl, options: &SinkOptions) -> Result<Session, sqlx::Error> {
    let mut session = Session::open(database, Purpose::Write).await?;
    session.statement_timeout = options.statement_timeout;
    session.end_when_idle(options.idle_timeout).await?;
    Ok(session)
}
