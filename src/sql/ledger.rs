//! The ledger: how far each partition of each sink has come, and who may write on.
//!
//! One row per application, sink, topic and partition, in the same database as the rows that the
//! sink writes. It is the only truth about the position: it moves in the transaction that writes
//! the rows. `writer_epoch` fences: whoever claims a partition raises it, and a writer that holds
//! an older one finds that its compare-and-set matches no row.

use std::sync::Arc;
use std::time::Duration;

use super::connection::{Purpose, Rows, Session};
use super::database::DatabaseUrl;
use super::datum::Datum;
use super::dialect::Dialect;
use super::error::SqlError;
use super::rows::Cell;
use super::table::check_name;
use crate::broker::{Offset, TopicPartition};

/// The ledger's table.
pub(super) const LEDGER: &str = "tidemill_ledger";

/// How far a write takes a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerMove {
    /// The partition.
    pub partition: TopicPartition,
    /// Where the ledger is expected to stand: the `to` of the write before, or what
    /// [`SqlSink::claim`](super::SqlSink::claim) returned; where reading began, when that was none.
    pub from: Offset,
    /// Where it stands afterwards: behind the last record that went into the batch, whether or not
    /// that gave a row.
    pub to: Offset,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The sink.
    pub sink: String,
    /// The partition that it reads.
    pub partition: TopicPartition,
    /// The table that it writes.
    pub table: String,
    /// Everything below this offset is in the table; none when nothing has been written yet.
    pub next_offset: Option<Offset>,
    /// How often the partition has been claimed.
    pub writer_epoch: i64,
    /// When the row was last written, RFC 3339.
    pub updated_at: String,
}

/// The position of every partition of every sink of an application, by sink, topic and partition.
///
/// # Errors
/// When the database cannot be reached, or has no ledger.
pub async fn read_ledger(database: &DatabaseUrl, app: &str) -> Result<Vec<LedgerRow>, SqlError> {
    let action = || format!("read the ledger of {app} in {database}");
    let mut session = Session::open(database, Purpose::Read)
        .await
        .map_err(|error| SqlError::of(action(), &error, None))?;
    let dialect = session.dialect;
    let sql = format!(
        "SELECT sink, topic, partition_id, table_name, next_offset, writer_epoch, updated_at \
         FROM {LEDGER} WHERE app = ? ORDER BY sink, topic, partition_id"
    );
    let found = session.rows(&sql, &[Cell::Text(app)]).await;
    let found = found.map_err(|error| SqlError::of(action(), &error, Some(dialect)))?;
    Ok(found.rows.into_iter().map(ledger_row).collect())
}

fn ledger_row(row: Vec<Datum>) -> LedgerRow {
    let [sink, topic, partition, table, next, epoch, updated]: [Datum; 7] =
        row.try_into().expect("as many columns as the query names");
    let partition = partition
        .as_int()
        .and_then(|number| i32::try_from(number).ok());
    LedgerRow {
        sink: sink.into_text(),
        partition: TopicPartition::new(topic.into_text(), partition.unwrap_or_default()),
        table: table.into_text(),
        next_offset: next.as_int(),
        writer_epoch: epoch.as_int().unwrap_or_default(),
        updated_at: updated.into_text(),
    }
}

/// Forgets the position of a sink, so that it begins anew; with `empty_table` the rows of its table go
/// too, without it the ledger still knows whose they are. A writer of it that is still running stops with
/// an error. Returns how many partitions were forgotten.
///
/// # Errors
/// When the database cannot be reached or refuses.
pub async fn reset_sink(
    database: &DatabaseUrl,
    app: &str,
    sink: &str,
    empty_table: Option<&str>,
) -> Result<u64, SqlError> {
    let action = || format!("reset sink {sink} of {app} in {database}");
    let mut session = Session::open(database, Purpose::Write)
        .await
        .map_err(|error| SqlError::of(action(), &error, None))?;
    let dialect = session.dialect;
    if let Some(Err(problem)) = empty_table.map(check_name) {
        let reason = format!("table name {:?} {problem}", empty_table.unwrap_or_default());
        return Err(SqlError::Fatal {
            action: action(),
            reason,
        });
    }
    // Deleting every row of a large table takes its time.
    session.statement_timeout = Duration::from_secs(3600);
    let work = async {
        session.run(dialect.begin()).await?;
        let change = match empty_table {
            Some(_) => format!("DELETE FROM {LEDGER}"),
            None => {
                format!("UPDATE {LEDGER} SET next_offset = NULL, writer_epoch = writer_epoch + 1")
            }
        };
        let sql = format!("{change} WHERE app = ? AND sink = ?");
        let key = session.bind([Cell::Text(app), Cell::Text(sink)])?;
        let forgotten = session.execute(&sql.into(), key).await?;
        if let Some(table) = empty_table {
            session
                .run(&format!("DELETE FROM {}", dialect.quote(table)))
                .await?;
        }
        session.run("COMMIT").await?;
        Ok(forgotten)
    };
    work.await
        .map_err(|error| SqlError::of(action(), &error, Some(dialect)))
}

/// A row of the ledger as the sink reads it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub next: Option<Offset>,
    pub epoch: i64,
}

/// What the ledger's row says to a writer whose compare-and-set has matched nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Records below `next` are in the table already: a replay, or a commit whose outcome was
    /// unknown.
    Ahead { next: Offset },
    /// Another writer has claimed the partition.
    Fenced { theirs: i64 },
    /// The ledger stands further back than this writer left it.
    MovedBack { next: Offset },
    /// There is no such row any more.
    Lost,
}

/// Decides what a failed compare-and-set means.
pub(super) fn judge(entry: Option<Entry>, epoch: i64, from: Offset) -> Standing {
    match entry {
        None => Standing::Lost,
        Some(entry) if entry.epoch != epoch => Standing::Fenced {
            theirs: entry.epoch,
        },
        Some(Entry {
            next: Some(next), ..
        }) if next < from => Standing::MovedBack { next },
        // A row without a position takes any, so it cannot have failed but for being set since.
        Some(Entry { next, .. }) => Standing::Ahead {
            next: next.unwrap_or(from),
        },
    }
}

/// The ledger's statements for one sink.
pub(super) struct LedgerStatements {
    app: String,
    sink: String,
    claim: Arc<str>,
    read: Arc<str>,
    advance: Arc<str>,
}

impl LedgerStatements {
    pub fn new(dialect: Dialect, app: &str, sink: &str) -> LedgerStatements {
        let now = dialect.now();
        let key = ["app", "sink", "topic", "partition_id"];
        let conflict = match dialect {
            Dialect::MySql | Dialect::MariaDb => " ON DUPLICATE KEY UPDATE ".to_owned(),
            Dialect::Sqlite => format!(" ON CONFLICT ({}) DO UPDATE SET ", key.join(", ")),
        };
        LedgerStatements {
            app: app.to_owned(),
            sink: sink.to_owned(),
            claim: format!(
                "INSERT INTO {LEDGER} ({}, table_name, next_offset, writer_epoch, updated_at) \
                 VALUES (?, ?, ?, ?, ?, NULL, 1, {now}){conflict}\
                 writer_epoch = {LEDGER}.writer_epoch + 1, table_name = ?, updated_at = {now}",
                key.join(", ")
            )
            .into(),
            read: format!(
                "SELECT next_offset, writer_epoch FROM {LEDGER} \
                 WHERE app = ? AND sink = ? AND topic = ? AND partition_id = ?{}",
                dialect.for_update()
            )
            .into(),
            advance: format!(
                "UPDATE {LEDGER} SET next_offset = ?, updated_at = {now} \
                 WHERE app = ? AND sink = ? AND topic = ? AND partition_id = ? \
                 AND writer_epoch = ? AND (next_offset = ? OR next_offset IS NULL)"
            )
            .into(),
        }
    }

    /// Makes or takes over the row of a partition; returns it.
    pub async fn claim(
        &self,
        session: &mut Session,
        partition: &TopicPartition,
        table: &str,
    ) -> Result<Option<Entry>, sqlx::Error> {
        let [app, sink, topic, number] = self.key(partition);
        let cells = [
            app,
            sink,
            topic,
            number,
            Cell::Text(table),
            Cell::Text(table),
        ];
        let cells = session.bind(cells)?;
        session.execute(&self.claim, cells).await?;
        self.read(session, partition).await
    }

    /// The row of a partition, locked.
    pub async fn read(
        &self,
        session: &mut Session,
        partition: &TopicPartition,
    ) -> Result<Option<Entry>, sqlx::Error> {
        let Rows { rows, .. } = session.rows(&self.read, &self.key(partition)).await?;
        Ok(rows.first().map(|row| Entry {
            next: row[0].as_int(),
            epoch: row[1].as_int().unwrap_or_default(),
        }))
    }

    /// Moves the ledger on, and locks its row until the end of the transaction; false when the row
    /// is not as expected.
    pub async fn advance(
        &self,
        session: &mut Session,
        step: &LedgerMove,
        epoch: i64,
    ) -> Result<bool, sqlx::Error> {
        let [app, sink, topic, number] = self.key(&step.partition);
        let (to, epoch, from) = (Cell::Int(step.to), Cell::Int(epoch), Cell::Int(step.from));
        let cells = session.bind([to, app, sink, topic, number, epoch, from])?;
        let matched = session.execute(&self.advance, cells).await?;
        Ok(matched == 1)
    }

    fn key<'a>(&'a self, partition: &'a TopicPartition) -> [Cell<'a>; 4] {
        [
            Cell::Text(&self.app),
            Cell::Text(&self.sink),
            Cell::Text(&partition.topic),
            Cell::Int(i64::from(partition.partition)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_compare_and_set_has_one_reason() {
        let entry = |next, epoch| Some(Entry { next, epoch });
        let check = |entry, expected| assert_eq!(judge(entry, 7, 100), expected, "{entry:?}");
        check(None, Standing::Lost);
        check(entry(Some(100), 8), Standing::Fenced { theirs: 8 });
        check(entry(None, 8), Standing::Fenced { theirs: 8 });
        check(entry(Some(5), 8), Standing::Fenced { theirs: 8 });
        check(entry(Some(120), 7), Standing::Ahead { next: 120 });
        check(entry(Some(100), 7), Standing::Ahead { next: 100 });
        check(entry(None, 7), Standing::Ahead { next: 100 });
        check(entry(Some(99), 7), Standing::MovedBack { next: 99 });
    }
}
