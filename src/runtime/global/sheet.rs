//! From the records of a global table's topics to its rows.

use bumpalo::Bump;

use crate::broker::Fetched;
use crate::format::{EventReader, Format, ReadError};
use crate::headers::PackedHeaders;
use crate::processor::{DeadLetter, DropReason, InRecord, NodeCounts, ProcessError};
use crate::record::StoredRow;
use crate::state::global::row_key;
use crate::state::{StateBatch, StoreId};
use crate::time::Timestamp;
use crate::topology::graph::OnError;
use crate::topology::plan::GlobalTablePlan;

/// Where the rows of a poll are written.
pub(super) struct Sheet<'s> {
    pub(super) plan: &'s GlobalTablePlan,
    pub(super) slot: StoreId,
    pub(super) events: &'s mut EventReader,
    /// The wall-clock time.
    pub(super) now: Timestamp,
    pub(super) batch: &'s mut StateBatch,
    pub(super) buffer: &'s mut Vec<u8>,
    pub(super) arena: &'s Bump,
}

impl Sheet<'_> {
    /// Makes a row of a record, or deletes one.
    ///
    /// # Errors
    /// When the table is told to stop on such a record, or its schema cannot be had.
    pub(super) fn apply(
        &mut self,
        record: &Fetched<'_>,
        counts: &mut NodeCounts,
    ) -> Result<(), ProcessError> {
        counts.input += 1;
        let Some(key) = record.key else {
            let message = "the record has no key";
            return self.drop(record, DropReason::NullKey, message, counts);
        };
        let Some(value) = record.value else {
            self.batch.delete(self.slot, &row_key(key));
            counts.output += 1;
            return Ok(());
        };
        if value.is_empty() && self.plan.format == Format::Json {
            let message = "expected a row, found no bytes";
            return self.drop(record, DropReason::NoValue, message, counts);
        }
        match self.events.read(value, self.arena, &mut [], self.now) {
            Ok(event) => {
                self.buffer.clear();
                StoredRow::new(record.timestamp, Some(event), &[]).encode_into(self.buffer);
                self.batch.put(self.slot, &row_key(key), self.buffer);
                counts.output += 1;
                Ok(())
            }
            Err(ReadError::Unreadable(message)) => {
                self.drop(record, DropReason::Unreadable, &message, counts)
            }
            Err(ReadError::Registry(source)) => {
                // It is counted when it comes again.
                counts.input -= 1;
                let node = self.plan.node.to_string();
                Err(ProcessError::Registry { node, source })
            }
        }
    }

    fn drop(
        &self,
        record: &Fetched<'_>,
        reason: DropReason,
        message: &str,
        counts: &mut NodeCounts,
    ) -> Result<(), ProcessError> {
        counts.dropped(reason);
        match self.plan.on_error {
            OnError::Drop | OnError::DeadLetter => Ok(()),
            OnError::Stop => Err(ProcessError::stop(&DeadLetter {
                node: self.plan.node.as_str(),
                reason,
                message,
                record: InRecord {
                    topic: record.topic,
                    partition: record.partition,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: PackedHeaders::NONE,
                },
            })),
        }
    }
}
