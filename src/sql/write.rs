//! One attempt at one write: a transaction from BEGIN to COMMIT.
//!
//! What is sent is decided up front ([`Plan`]). Then the transaction runs; a statement that the
//! database refuses for what a row holds is cut into quarters until that row stands alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::connection::Session;
use super::dialect::Dialect;
use super::error::{Fault, SqlError, classify, code, reason};
use super::ledger::{LedgerMove, LedgerStatements, Standing, judge};
use super::plan::Plan;
use super::rows::{Cell, Change, RowBatch};
use super::table::TableSpec;
use crate::broker::{Offset, TopicPartition};

/// Rows per statement. Fixed sizes, so that a connection prepares few statements; each a quarter
/// of the one before, so that halves of a refused one are prepared too.
const SIZES: [usize; 6] = [1024, 256, 64, 16, 4, 1];

/// The servers' range optimizers take longer for each alternative the more there are: measured on
/// MariaDB, 256 of them delete half as many rows a second as 16.
const DELETE_ROWS: usize = 16;

/// What a statement takes beside its rows: its head, and the end of its text.
pub(super) const STATEMENT_BYTES: usize = 4096;

/// What a write has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Rows inserted, overwritten or deleted.
    pub rows: u64,
    /// Rows that the table had already, by the ledger.
    pub replayed: u64,
    /// Rows that a later row of the same key in the same batch made needless.
    pub superseded: u64,
    /// Rows that the database refuses, in the order of the batch. All others are written.
    pub rejected: Vec<Rejected>,
}

/// A row that the database refuses for what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its index in the batch.
    pub row: usize,
    /// The database's error code, or `null`, `not_finite`, `out_of_calendar`, `too_large` for what
    /// is refused before it is sent.
    pub code: String,
    /// What the database said.
    pub message: String,
}

/// Why an attempt has not written.
pub(super) enum Trouble {
    /// Before COMMIT: nothing is written.
    Failed(sqlx::Error),
    /// A statement was too large, or may have been; its only row, when it had just one.
    TooLarge {
        row: Option<usize>,
        surely: bool,
        error: sqlx::Error,
    },
    /// COMMIT was sent and not answered well: it may be written or not.
    InDoubt(sqlx::Error, WriteReport),
    /// The ledger or the caller says no.
    Refused(SqlError),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Trouble {
        Trouble::Failed(error)
    }
}

/// A connection that breaks while so much is being sent may have been closed because it was too
/// much: the server says so (1153) and closes, but the client, still sending, sees a broken pipe.
const SUSPECT_BYTES: usize = 256 << 10;

/// How large statements may be: half a packet, as the sizes of rows are estimates; not more than is
/// good for anyone's memory; and half of that for each time that it was too much.
pub(super) fn statement_bytes(max_packet: usize, halvings: u32) -> usize {
    (max_packet / 2)
        .clamp(STATEMENT_BYTES, 8 << 20)
        .checked_shr(halvings)
        .unwrap_or(0)
}

/// The statements of one table.
pub(super) struct Statements {
    upsert: Vec<(usize, Arc<str>)>,
    delete: Vec<(usize, Arc<str>)>,
}

impl Statements {
    pub fn new(table: &TableSpec, dialect: Dialect) -> Statements {
        let fitting = |cells: usize, most: usize| {
            let most = most.min(dialect.max_placeholders() / cells.max(1)).max(1);
            SIZES.into_iter().filter(move |&rows| rows <= most)
        };
        let upsert = fitting(table.columns.len(), usize::MAX);
        let delete = fitting(table.key.len(), DELETE_ROWS);
        Statements {
            upsert: upsert
                .map(|rows| (rows, dialect.upsert(table, rows).into()))
                .collect(),
            delete: delete
                .map(|rows| (rows, dialect.delete(table, rows).into()))
                .collect(),
        }
    }

    fn of(&self, change: Change) -> &[(usize, Arc<str>)] {
        match change {
            Change::Upsert => &self.upsert,
            Change::Delete => &self.delete,
        }
    }
}

/// Everything that an attempt works with.
pub(super) struct Attempt<'a> {
    pub table: &'a TableSpec,
    pub statements: &'a Statements,
    pub ledger: &'a LedgerStatements,
    pub epochs: &'a BTreeMap<TopicPartition, i64>,
    pub batch: &'a RowBatch,
    pub moves: &'a [LedgerMove],
    pub excluded: &'a BTreeMap<usize, Rejected>,
    pub statement_bytes: usize,
    pub app: &'a str,
    pub sink: &'a str,
}

/// How an attempt has ended well.
pub(super) enum Outcome {
    /// Written now.
    Written(WriteReport),
    /// The ledger was there already; nothing was to be done.
    Already(WriteReport),
}

impl Attempt<'_> {
    /// Runs the transaction. After an error the session must be dropped.
    pub async fn run(
        &self,
        session: &mut Session,
        before_commit: &mut (dyn FnMut(&[Rejected]) -> Result<(), String> + Send),
    ) -> Result<Outcome, Trouble> {
        session.run(session.dialect.begin()).await?;
        let (floors, moved) = self.move_ledger(session).await?;
        let plan = Plan::new(self.table, self.batch, &floors, self.excluded);
        let mut report = WriteReport {
            replayed: plan.replayed,
            ..WriteReport::default()
        };
        if !moved {
            session.run("ROLLBACK").await?;
            return Ok(Outcome::Already(report));
        }
        report.superseded = (plan.order.len() - plan.last.len()) as u64;
        let replayed = |row: usize| {
            let about = self.batch.row(row);
            about.offset < floors[about.partition as usize]
        };
        let known = self
            .excluded
            .values()
            .filter(|rejected| !replayed(rejected.row));
        report.rejected.extend(known.cloned());
        for change in [Change::Upsert, Change::Delete] {
            self.write_rows(session, &plan, change, &mut report).await?;
        }
        report.rejected.sort_by_key(|rejected| rejected.row);
        let accounted = report.rows + report.replayed + report.superseded;
        assert_eq!(
            accounted + report.rejected.len() as u64,
            self.batch.len() as u64,
            "each row of a batch has one fate: {report:?}"
        );
        before_commit(&report.rejected).map_err(|reason| {
            let action = match report.rejected.len() {
                0 => "commit".to_owned(),
                count => format!("put {count} rows aside"),
            };
            Trouble::Refused(SqlError::Unavailable { action, reason })
        })?;
        match session.run("COMMIT").await {
            Ok(()) => Ok(Outcome::Written(report)),
            Err(error) => Err(Trouble::InDoubt(error, report)),
        }
    }

    /// Moves the ledger first: that locks its rows, so that a stale writer waits here and then
    /// finds itself fenced. Returns from which offset each partition's rows count, and whether
    /// any ledger row moves.
    async fn move_ledger(&self, session: &mut Session) -> Result<(Vec<Offset>, bool), Trouble> {
        let mut floors = vec![0; self.moves.len()];
        let mut moved = false;
        let mut sorted: Vec<_> = (0..self.moves.len()).collect();
        sorted.sort_by_key(|&index| &self.moves[index].partition);
        for index in sorted {
            let step = &self.moves[index];
            let epoch = self.epochs[&step.partition];
            if self.ledger.advance(session, step, epoch).await? {
                floors[index] = step.from;
                moved = true;
                continue;
            }
            let entry = self.ledger.read(session, &step.partition).await?;
            match judge(entry, epoch, step.from) {
                Standing::Ahead { next } => {
                    floors[index] = next;
                    if next < step.to {
                        let rest = LedgerMove {
                            from: next,
                            ..step.clone()
                        };
                        let advanced = self.ledger.advance(session, &rest, epoch).await?;
                        assert!(
                            advanced,
                            "a ledger row that was read with a lock stays as it is"
                        );
                        moved = true;
                    }
                }
                standing => return Err(Trouble::Refused(self.refusal(standing, step, epoch))),
            }
        }
        Ok((floors, moved))
    }

    fn refusal(&self, standing: Standing, step: &LedgerMove, epoch: i64) -> SqlError {
        let (app, sink) = (self.app.to_owned(), self.sink.to_owned());
        let action = format!("write table {} for sink {sink} of {app}", self.table.table);
        let partition = &step.partition;
        match standing {
            Standing::Fenced { theirs } => SqlError::Fenced {
                app,
                sink,
                partition: partition.clone(),
                ours: epoch,
                theirs,
            },
            Standing::MovedBack { next } => SqlError::Fatal {
                action,
                reason: format!(
                    "the ledger of {partition} stands at {next}, expected {}: someone has moved it back; restart to go on from there",
                    step.from
                ),
            },
            Standing::Lost | Standing::Ahead { .. } => SqlError::Fatal {
                action,
                reason: format!(
                    "the ledger row of {partition} has been deleted: restart to read the topic again from the beginning, or restore the row with next_offset {}",
                    step.from
                ),
            },
        }
    }

    async fn write_rows(
        &self,
        session: &mut Session,
        plan: &Plan,
        change: Change,
        report: &mut WriteReport,
    ) -> Result<(), Trouble> {
        let of_kind = |&position: &u32| self.batch.row(plan.row(position)).change == change;
        let positions: Vec<u32> = plan.last.iter().copied().filter(of_kind).collect();
        let mut rest = positions.as_slice();
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(self.chunk(plan, rest, change));
            self.write_chunk(session, plan, chunk, report).await?;
            rest = tail;
        }
        Ok(())
    }

    /// How many of the rows go into the next statement: the largest fixed size within the limit.
    fn chunk(&self, plan: &Plan, positions: &[u32], change: Change) -> usize {
        let mut bytes = STATEMENT_BYTES;
        let fitting = positions.iter().take(SIZES[0]).take_while(|&&position| {
            bytes += self.batch.row(plan.row(position)).size as usize;
            bytes <= self.statement_bytes
        });
        let fitting = fitting.count().max(1);
        let sizes = self.statements.of(change);
        sizes
            .iter()
            .map(|(rows, _)| *rows)
            .find(|&rows| rows <= fitting)
            .unwrap_or(1)
    }

    /// One statement; when a row of it is refused, its quarters, down to that row.
    async fn write_chunk(
        &self,
        session: &mut Session,
        plan: &Plan,
        chunk: &[u32],
        report: &mut WriteReport,
    ) -> Result<(), Trouble> {
        let mut parts = vec![chunk];
        while let Some(part) = parts.pop() {
            let Err(error) = self.send(session, plan, part).await else {
                report.rows += part.len() as u64;
                continue;
            };
            match (classify(&error), part) {
                (Fault::Row, &[position]) => {
                    let rejected = self.rejected(session, plan.row(position), &error);
                    report.rejected.push(rejected);
                    self.write_earlier(session, plan, position, report).await?;
                }
                (Fault::Row, part) => parts.extend(part.chunks(part.len() / 4).rev()),
                _ => return Err(self.failed(plan, part, error)),
            }
        }
        Ok(())
    }

    /// What an error means that no single row has to answer for.
    fn failed(&self, plan: &Plan, part: &[u32], error: sqlx::Error) -> Trouble {
        let sizes = part
            .iter()
            .map(|&position| self.batch.row(plan.row(position)).size as usize);
        let is_large = sizes.sum::<usize>() > SUSPECT_BYTES;
        let row = match part {
            &[position] => Some(plan.row(position)),
            _ => None,
        };
        match classify(&error) {
            Fault::TooLarge => Trouble::TooLarge {
                row,
                surely: true,
                error,
            },
            Fault::Unavailable if is_large => Trouble::TooLarge {
                row,
                surely: false,
                error,
            },
            _ => Trouble::Failed(error),
        }
    }

    /// The last row of a key was refused: the one before it is then the last that counts.
    async fn write_earlier(
        &self,
        session: &mut Session,
        plan: &Plan,
        mut position: u32,
        report: &mut WriteReport,
    ) -> Result<(), Trouble> {
        while let Some(earlier) = plan.earlier(self.table, self.batch, position) {
            report.superseded -= 1;
            let Err(error) = self.send(session, plan, &[earlier]).await else {
                report.rows += 1;
                return Ok(());
            };
            if classify(&error) != Fault::Row {
                return Err(self.failed(plan, &[earlier], error));
            }
            report
                .rejected
                .push(self.rejected(session, plan.row(earlier), &error));
            position = earlier;
        }
        Ok(())
    }

    fn rejected(&self, session: &Session, row: usize, error: &sqlx::Error) -> Rejected {
        Rejected {
            row,
            code: code(error),
            message: reason(error, Some(session.dialect)),
        }
    }

    /// Sends rows of one kind in one statement.
    async fn send(
        &self,
        session: &mut Session,
        plan: &Plan,
        positions: &[u32],
    ) -> Result<(), sqlx::Error> {
        let change = self.batch.row(plan.row(positions[0])).change;
        let sizes = self.statements.of(change);
        let (_, sql) = sizes
            .iter()
            .find(|(rows, _)| *rows == positions.len())
            .expect("chunks and their quarters have the sizes of statements");
        let values = session.bind(self.cells(plan, positions, change))?;
        session.execute(sql, values).await.map(drop)
    }

    /// The cells that a statement binds: whole rows, or keys.
    fn cells(
        &self,
        plan: &Plan,
        positions: &[u32],
        change: Change,
    ) -> impl Iterator<Item = Cell<'_>> {
        let columns: Vec<usize> = match change {
            Change::Upsert => (0..self.table.columns.len()).collect(),
            Change::Delete => self.table.key.clone(),
        };
        let rows: Vec<usize> = positions
            .iter()
            .map(|&position| plan.row(position))
            .collect();
        let width = columns.len();
        (0..rows.len() * width).map(move |n| self.batch.cell(rows[n / width], columns[n % width]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::table::{Column, ColumnType};

    #[test]
    fn statements_stay_below_the_number_of_placeholders() {
        let wide = TableSpec {
            columns: (0..100)
                .map(|n| Column {
                    name: format!("c{n}"),
                    kind: ColumnType::Int,
                    nullable: false,
                })
                .collect(),
            key: vec![0],
            table: "t".into(),
        };
        let rows = |dialect| -> Vec<usize> {
            Statements::new(&wide, dialect)
                .upsert
                .iter()
                .map(|(rows, _)| *rows)
                .collect()
        };
        assert_eq!(rows(Dialect::MySql), [256, 64, 16, 4, 1]);
        assert_eq!(rows(Dialect::Sqlite), [256, 64, 16, 4, 1]);
        let narrow = TableSpec {
            columns: wide.columns[..3].to_vec(),
            ..wide
        };
        let narrow = Statements::new(&narrow, Dialect::Sqlite);
        assert_eq!(narrow.upsert[0].0, 1024);
        assert_eq!(narrow.delete[0].0, 16);
    }
}
