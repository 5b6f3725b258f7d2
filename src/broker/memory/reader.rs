//! The in-memory reader of named partitions.

use std::sync::Arc;
use std::time::Duration;

use super::cursor::Cursors;
use super::fault::{Effect, Operation};
use super::topics::missing_partition;
use super::{Shared, deliver};
use crate::broker::{BrokerError, Isolation, Offset, OnRecord, Reader, TopicPartition};

pub(super) struct MemoryReader {
    shared: Arc<Shared>,
    isolation: Isolation,
    cursors: Cursors,
}

impl MemoryReader {
    pub(super) fn new(shared: Arc<Shared>, isolation: Isolation) -> MemoryReader {
        MemoryReader {
            shared,
            isolation,
            cursors: Cursors::default(),
        }
    }
}

impl Reader for MemoryReader {
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<(), BrokerError> {
        self.shared.call(Operation::ReaderAssign, |state, _| {
            for (partition, _) in positions {
                let log = state.topics.log(partition);
                log.ok_or_else(|| missing_partition("read".to_owned(), partition))?;
            }
            Ok(())
        })?;
        self.cursors.assign(positions);
        Ok(())
    }

    fn poll(
        &mut self,
        timeout: Duration,
        max_records: usize,
        on_record: OnRecord<'_>,
    ) -> Result<(), BrokerError> {
        let (cursors, isolation) = (&mut self.cursors, self.isolation);
        let records = self.shared.wait(timeout, |state, _| {
            if let Err(error) = state.faults.take(Operation::ReaderPoll, Effect::None) {
                return Some(Err(error));
            }
            let before = cursors.reached();
            let chance = state.chance.as_mut();
            let fetched = cursors.fetch(&state.topics, isolation, max_records, chance);
            // Behind the markers of transactions there is nothing to wait for.
            let is_news = |result: &Result<Vec<_>, _>| match result {
                Ok(records) => !records.is_empty() || cursors.reached() > before,
                Err(_) => true,
            };
            Some(fetched).filter(is_news)
        });
        deliver(&records.unwrap_or(Ok(Vec::new()))?, on_record);
        Ok(())
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.cursors.position(partition)
    }
}
