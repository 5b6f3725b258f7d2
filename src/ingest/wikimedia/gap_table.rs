//! Copies the connector's gap reports from their topic into the table `tidemill_gaps`.
//!
//! The topic is the truth: a report gets into it in the same transaction as the events around the
//! gap. The copy is made by a thread of its own, to which the connector never listens, so a database
//! that is slow or away, or has no such table, is warned of and tried again, and holds nothing up.
//!
//! It keeps no position. Every start, and every try after a failure, begins with the oldest report
//! that is still there: reports are few, and one that the table has is written over itself.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError, Isolation, Reader, TopicPartition};
use crate::ingest::pace::nap;
use crate::ingest::wikimedia::backoff::{Backoff, Lesson};
use crate::ingest::wikimedia::store::{OwnTopics, gap_row};
use crate::sql::{DatabaseUrl, GapRow, SqlError, record_gaps};

/// How long to wait for reports before looking whether this is the end.
const POLL: Duration = Duration::from_millis(100);

/// So many reports are written at once.
const MOST: usize = 500;

/// How long the database may take for the last reports, once the connector has ended.
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// The copy of one connector's reports.
pub(super) struct GapTable<'a> {
    pub broker: &'a dyn Broker,
    pub own: OwnTopics,
    /// Copies of the topic, if it has to be made.
    pub replication: i32,
    pub database: &'a DatabaseUrl,
    /// How long to wait after a failure.
    pub backoff: Backoff,
    /// The connector has ended.
    pub done: CancellationToken,
}

/// Why the copy does not go on.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Log(#[from] BrokerError),
    #[error(transparent)]
    Table(#[from] SqlError),
}

impl GapTable<'_> {
    /// Copies until the connector has ended.
    pub fn run(mut self) {
        let span = tracing::info_span!("gaps", connector = %self.own.name);
        let _entered = span.enter();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(%error, topic = self.own.gaps, "gaps stay in their topic only");
                return;
            }
        };
        while let Err(error) = self.copy(&runtime) {
            let wait = self.backoff.wait(Lesson::Useless, None);
            let topic = &self.own.gaps;
            tracing::warn!(
                %error, topic, ?wait,
                "gaps do not get into the table tidemill_gaps now; their topic keeps them \
                 (`tidemill migrate` makes the table)"
            );
            if !nap(wait, &self.done) {
                return;
            }
        }
    }

    /// From the oldest report to the end of the connector, or to trouble.
    fn copy(&mut self, runtime: &Runtime) -> Result<(), CopyError> {
        let mut reader = self.reader()?;
        loop {
            // Looked at first, so that what is there at the end is still copied.
            let last = self.done.is_cancelled();
            let mut rows = Vec::new();
            reader.poll(POLL, MOST, &mut |record| {
                let row = gap_row(&self.own.name, record.value.unwrap_or_default());
                rows.extend(row);
            })?;
            if rows.is_empty() && last {
                return Ok(());
            }
            if !rows.is_empty() {
                self.write(runtime, &rows)?;
                self.backoff.wait(Lesson::Useful, None);
            }
        }
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        let [_, topic] = self.own.specs(self.replication);
        self.broker.create_topics(&[topic])?;
        let place = TopicPartition::new(self.own.gaps.as_str(), 0);
        let starts = self.broker.start_offsets(std::slice::from_ref(&place))?;
        let start = starts.get(&place).copied().unwrap_or(0);
        let mut reader = self.broker.reader(Isolation::ReadCommitted)?;
        reader.assign(&[(place, start)])?;
        Ok(reader)
    }

    /// Writes the rows; gives up silently when the connector has ended and the database takes too
    /// long. The next run writes them.
    fn write(&self, runtime: &Runtime, rows: &[GapRow]) -> Result<(), SqlError> {
        let too_late = async {
            self.done.cancelled().await;
            tokio::time::sleep(LAST_CHANCE).await;
        };
        runtime.block_on(async {
            tokio::select! {
                written = record_gaps(self.database, rows) => written,
                () = too_late => Ok(()),
            }
        })
    }
}
