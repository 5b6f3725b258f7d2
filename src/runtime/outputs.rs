//! Where the records of a thread's tasks go: its producer, in a transaction that is begun when the
//! first of them comes.

use std::collections::BTreeMap;

use crate::broker::{BrokerError, GroupMetadata, Offset, Outgoing, Producer, TopicPartition};
use crate::ingest::delivery::{HEADER_LENGTH, HEADER_REASON};
use crate::processor::{DeadLetter, OutputError, Outputs, Produced, TableRow};
use crate::time::Timestamp;

/// A producer and whether its transaction is open.
pub(super) struct Writer {
    producer: Box<dyn Producer>,
    transactional: bool,
    open: bool,
    limits: SizeLimits,
}

/// The size of the smallest record that a topic has refused, for those that have refused any.
pub(super) type SizeLimits = BTreeMap<String, usize>;

impl Writer {
    pub(super) fn new(
        producer: Box<dyn Producer>,
        transactional: bool,
        limits: SizeLimits,
    ) -> Writer {
        Writer {
            producer,
            transactional,
            open: false,
            limits,
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), BrokerError> {
        if self.transactional && !self.open {
            self.producer.begin()?;
            self.open = true;
        }
        Ok(())
    }

    /// # Errors
    /// [`BrokerError::TooLarge`] is about this very record, also when the topic has refused one of
    /// its size before: the log itself says so only when the whole transaction is lost.
    pub(super) fn send(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
        let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        if self
            .limits
            .get(record.topic)
            .is_some_and(|limit| size >= *limit)
        {
            let topic = record.topic.to_owned();
            return Err(BrokerError::TooLarge { topic, bytes: size });
        }
        self.begin()?;
        match self.producer.send(record) {
            Err(BrokerError::TooLarge { topic, bytes })
                if topic == record.topic && bytes == size =>
            {
                Err(BrokerError::TooLarge { topic, bytes })
            }
            sent => sent.map_err(|error| self.learn(error)),
        }
    }

    /// A record that was sent earlier has been refused for its size. It is done again from the
    /// last commit, and refused by [`Writer::send`] then.
    fn learn(&mut self, error: BrokerError) -> BrokerError {
        let BrokerError::TooLarge { topic, bytes } = error else {
            return error;
        };
        let reason = format!("it takes no records of {bytes} bytes; those will be set aside");
        let action = format!("write to topic {topic}");
        let limit = self.limits.entry(topic).or_insert(bytes);
        *limit = bytes.min(*limit);
        BrokerError::Abort { action, reason }
    }

    /// What is known of the topics, for the next producer.
    pub(super) fn into_limits(self) -> SizeLimits {
        self.limits
    }

    /// Adds the positions of the inputs to the transaction.
    pub(super) fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
        member: &GroupMetadata,
    ) -> Result<(), BrokerError> {
        let sent = self.producer.send_offsets(offsets, member);
        sent.map_err(|error| self.learn(error))
    }

    /// Makes everything that was sent durable, with the offsets of transactions sent before.
    pub(super) fn commit(&mut self) -> Result<(), BrokerError> {
        let written = match self.transactional {
            true if self.open => self.producer.commit(),
            true => return Ok(()),
            false => self.producer.flush(),
        };
        match written {
            Ok(()) => {
                self.open = false;
                Ok(())
            }
            Err(error) => Err(self.learn(error)),
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
    pub(super) dead_letters: DeadLetters<'o>,
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
        Ok(send_dead_letter(self.writer, self.dead_letters, letter)?)
    }

    fn partitions(&self, topic: &str) -> u32 {
        self.partitions.get(topic).copied().unwrap_or(1)
    }
}

/// Where dead letters go, and who writes them.
#[derive(Clone, Copy)]
pub(super) struct DeadLetters<'d> {
    pub(super) topic: &'d str,
    /// The group that could not handle the record: each group that reads a topic judges for itself.
    pub(super) group: &'d str,
}

/// Of a dead letter that is too large for its topic, this much is kept.
const KEPT_OF_TOO_LARGE: usize = 64 << 10;

/// Of the words that say what is wrong, this much is kept: they may quote the record.
const KEPT_OF_MESSAGE: usize = 1 << 10;

/// Writes a dead letter: the record as it came, and in the headers where it came from and why. One
/// that is too large is cut to its beginning, with its whole length in a header.
pub(super) fn send_dead_letter(
    writer: &mut Writer,
    to: DeadLetters<'_>,
    letter: &DeadLetter<'_>,
) -> Result<(), BrokerError> {
    let record = &letter.record;
    let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
    let timestamp = record.timestamp.0.to_string();
    let length = record.value.map_or(0, <[u8]>::len).to_string();
    let message = &letter.message[..letter.message.floor_char_boundary(KEPT_OF_MESSAGE)];
    let headers: [(&str, &[u8]); 9] = [
        ("tidemill.group", to.group.as_bytes()),
        ("tidemill.node", letter.node.as_bytes()),
        (HEADER_REASON, letter.reason.name().as_bytes()),
        ("tidemill.message", message.as_bytes()),
        ("tidemill.topic", record.topic.as_bytes()),
        ("tidemill.partition", partition.as_bytes()),
        ("tidemill.offset", offset.as_bytes()),
        ("tidemill.timestamp_ms", timestamp.as_bytes()),
        (HEADER_LENGTH, length.as_bytes()),
    ];
    let whole = Outgoing {
        topic: to.topic,
        partition: None,
        timestamp: record.timestamp,
        key: record.key,
        value: record.value,
        headers: &headers[..8],
    };
    match writer.send(whole) {
        Err(BrokerError::TooLarge { .. }) => {
            let keep = |bytes: &'_ [u8]| bytes.len().min(KEPT_OF_TOO_LARGE);
            writer.send(Outgoing {
                key: record.key.map(|key| &key[..keep(key)]),
                value: record.value.map(|value| &value[..keep(value)]),
                headers: &headers,
                ..whole
            })
        }
        sent => sent,
    }
}
