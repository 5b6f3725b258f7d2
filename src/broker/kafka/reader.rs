//! The Kafka reader of named partitions.

use std::time::Duration;

use super::fetch::{Fetcher, Membership};
use super::native::{Callbacks, Handle, Kind};
use super::{KafkaSettings, config};
use crate::broker::{BrokerError, Isolation, Offset, OnRecord, Reader, TopicPartition};

pub(super) struct KafkaReader(Fetcher<NoCallbacks>);

/// For clients that only ask and read.
pub(super) struct NoCallbacks;

impl Callbacks for NoCallbacks {}

impl KafkaReader {
    pub(super) fn new(
        settings: &KafkaSettings,
        isolation: Isolation,
    ) -> Result<KafkaReader, BrokerError> {
        let properties = config::reader(settings, isolation);
        let handle = Handle::new(
            Kind::Consumer,
            "reader".to_owned(),
            &properties,
            NoCallbacks,
        )?;
        Ok(KafkaReader(Fetcher::new(handle, Membership::Outsider)?))
    }
}

impl Reader for KafkaReader {
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<(), BrokerError> {
        self.0.assign(positions)
    }

    fn poll(
        &mut self,
        timeout: Duration,
        max_records: usize,
        on_record: OnRecord<'_>,
    ) -> Result<(), BrokerError> {
        if let Some(error) = self.0.take_error() {
            return Err(error);
        }
        match self.0.poll(timeout, max_records, on_record) {
            0 => self.0.take_error().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.0.position(partition)
    }
}
