//! Where the records of a thread's tasks go: its producer, in a transaction that is begun when the
//! first of them comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::{BrokerError, Outgoing, Producer};
use crate::processor::{DeadLetter, OutputError, Outputs, Produced, TableRow};
use crate::time::Timestamp;

/// A producer and whether its transaction is open.
pub(super) struct Writer {
    producer: Box<dyn Producer>,
    transactional: bool,
    open: bool,
}

impl Writer {
    pub(super) fn new(producer: Box<dyn Producer>, transactional: bool) -> Writer {
        Writer {
            producer,
            transactional,
            open: false,
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), BrokerError> {
        if self.transactional && !self.open {
            self.producer.begin()?;
            self.open = true;
        }
        Ok(())
    }

    pub(super) fn send(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
        self.begin()?;
        self.producer.send(record)
    }

    pub(super) fn producer(&mut self) -> &mut dyn Producer {
        &mut *self.producer
    }

    /// Makes everything that was sent durable, with the offsets of transactions sent before.
    pub(super) fn commit(&mut self) -> Result<(), BrokerError> {
        match self.transactional {
            true if self.open => {
                self.producer.commit()?;
                self.open = false;
                Ok(())
            }
            true => Ok(()),
            false => self.producer.flush(),
        }
    }

    pub(super) fn abort(&mut self) -> Result<(), BrokerError> {
        match std::mem::take(&mut self.open) {
            true => self.producer.abort(),
            false => Ok(()),
        }
    }

    pub(super) fn acknowledged(&self, topic: &str, partition: i32) -> Option<i64> {
        self.producer.acknowledged(topic, partition)
    }
}

/// The outputs of one task while it is at work.
pub(super) struct TaskOutputs<'o> {
    pub(super) writer: &'o mut Writer,
    pub(super) partition: i32,
    pub(super) changelogs: &'o [crate::topology::plan::StorePlan],
    pub(super) dead_letters: &'o Arc<str>,
    pub(super) partitions: &'o BTreeMap<String, u32>,
}

impl Outputs for TaskOutputs<'_> {
    fn produce(&mut self, record: Produced<'_>) -> Result<(), OutputError> {
        Ok(self.writer.send(Outgoing {
            topic: record.topic,
            partition: record.partition,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &[],
        })?)
    }

    fn changelog(
        &mut self,
        store: usize,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), OutputError> {
        Ok(self.writer.send(Outgoing {
            topic: &self.changelogs[store].changelog,
            partition: Some(self.partition),
            // The topic has the time of appending; the event time is in the value.
            timestamp: Timestamp(0),
            key: Some(key),
            value,
            headers: &[],
        })?)
    }

    fn row(&mut self, _row: TableRow<'_, '_>) -> Result<(), OutputError> {
        unreachable!("the planner gives SQL sinks sub-topologies of their own")
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result<(), OutputError> {
        let topic = Arc::clone(self.dead_letters);
        Ok(send_dead_letter(&topic, letter, &mut |record| {
            self.writer.send(record)
        })?)
    }

    fn partitions(&self, topic: &str) -> u32 {
        self.partitions.get(topic).copied().unwrap_or(1)
    }
}

/// Writes a dead letter: the record as it came, and in the headers where it came from and why.
pub(super) fn send_dead_letter(
    topic: &str,
    letter: &DeadLetter<'_>,
    send: &mut dyn FnMut(Outgoing<'_>) -> Result<(), BrokerError>,
) -> Result<(), BrokerError> {
    let record = &letter.record;
    let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
    let timestamp = record.timestamp.0.to_string();
    let headers: [(&str, &[u8]); 7] = [
        ("tidemill.node", letter.node.as_bytes()),
        ("tidemill.reason", letter.reason.name().as_bytes()),
        ("tidemill.message", letter.message.as_bytes()),
        ("tidemill.topic", record.topic.as_bytes()),
        ("tidemill.partition", partition.as_bytes()),
        ("tidemill.offset", offset.as_bytes()),
        ("tidemill.timestamp_ms", timestamp.as_bytes()),
    ];
    send(Outgoing {
        topic,
        partition: None,
        timestamp: record.timestamp,
        key: record.key,
        value: record.value,
        headers: &headers,
    })
}
