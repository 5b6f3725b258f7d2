//! The topics: their partitions, their configuration, and where a new record goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::log::{PartitionLog, TransactionNumber};
use crate::broker::partitioner::partition_of;
use crate::broker::{
    BrokerError, Offset, Outgoing, OwnedRecord, RecordMark, TIMESTAMP_AFTER_MAX, TopicPartition,
    TopicSpec,
};
use crate::time::Timestamp;

/// What Kafka allows a record by default (`max.message.bytes`).
const DEFAULT_MAX_RECORD_BYTES: usize = 1_048_588;

/// All topics by name.
#[derive(Debug, Default)]
pub(super) struct Topics(BTreeMap<Arc<str>, Topic>);

#[derive(Debug)]
struct Topic {
    partitions: Vec<PartitionLog>,
    max_record_bytes: usize,
    /// How far ahead of the clock a record's time may be, in milliseconds. Not bounded by default,
    /// unlike Kafka's: tests have a clock of their own.
    max_ahead_ms: i64,
    compacted: bool,
    /// Where the next record without a key goes.
    next_unkeyed: u32,
}

impl Topics {
    /// Creates a topic, unless it exists.
    pub(super) fn create(&mut self, spec: &TopicSpec) -> Result<(), BrokerError> {
        let topic = Topic::new(spec)?;
        self.0.entry(Arc::from(spec.name.as_str())).or_insert(topic);
        Ok(())
    }

    /// Deletes a topic, if there is one.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The name as it is kept, and the partition count.
    pub(super) fn find(&self, name: &str) -> Option<(Arc<str>, u32)> {
        let (name, topic) = self.0.get_key_value(name)?;
        Some((name.clone(), topic.partitions.len() as u32))
    }

    /// The log of a partition.
    pub(super) fn log(&self, partition: &TopicPartition) -> Option<&PartitionLog> {
        let index = usize::try_from(partition.partition).ok()?;
        self.0.get(&*partition.topic)?.partitions.get(index)
    }

    /// The log of a partition, to be changed.
    pub(super) fn log_mut(&mut self, partition: &TopicPartition) -> Option<&mut PartitionLog> {
        let index = usize::try_from(partition.partition).ok()?;
        self.0.get_mut(&*partition.topic)?.partitions.get_mut(index)
    }

    /// Writes a record; returns where it went.
    pub(super) fn append(
        &mut self,
        outgoing: &Outgoing<'_>,
        transaction: Option<TransactionNumber>,
        now: Timestamp,
    ) -> Result<(TopicPartition, Offset), BrokerError> {
        let action = || format!("write to topic {}", outgoing.topic);
        let name = self.find(outgoing.topic).map(|(name, _)| name);
        let name = name.ok_or_else(|| missing(action(), outgoing.topic))?;
        let topic = self.0.get_mut(&name).expect("just found");
        topic.check(outgoing, now)?;
        let partition = TopicPartition::new(name, topic.partition_for(outgoing));
        let log = self.log_mut(&partition);
        let log = log.ok_or_else(|| missing_partition(action(), &partition))?;
        let offset = log.append(owned(outgoing, &partition), transaction);
        Ok((partition, offset))
    }

    /// Empties a topic, as if it had been deleted and created again. False when there is none.
    pub(super) fn recreate(&mut self, name: &str) -> bool {
        let Some(topic) = self.0.get_mut(name) else {
            return false;
        };
        topic
            .partitions
            .iter_mut()
            .for_each(|log| *log = PartitionLog::default());
        true
    }

    /// Compacts all partitions of a topic. None when there is no such compacted topic.
    pub(super) fn compact(&mut self, name: &str) -> Option<usize> {
        let topic = self.0.get_mut(name).filter(|topic| topic.compacted)?;
        Some(topic.partitions.iter_mut().map(PartitionLog::compact).sum())
    }
}

impl Topic {
    fn new(spec: &TopicSpec) -> Result<Topic, BrokerError> {
        let refuse =
            |reason: String| BrokerError::fatal(format!("create topic {}", spec.name), reason);
        if !is_legal_name(&spec.name) {
            return Err(refuse(
                "a topic's name is 1 to 249 of a-z A-Z 0-9 . _ -".to_owned(),
            ));
        }
        if spec.partitions == 0 {
            return Err(refuse(
                "expected at least one partition, found 0".to_owned(),
            ));
        }
        let max_record_bytes = match spec.config.get("max.message.bytes") {
            None => DEFAULT_MAX_RECORD_BYTES,
            Some(text) => text.parse().map_err(|_| {
                refuse(format!(
                    "expected a number for max.message.bytes, found {text:?}"
                ))
            })?,
        };
        let max_ahead_ms = match spec.config.get(TIMESTAMP_AFTER_MAX) {
            None => i64::MAX,
            Some(text) => text.parse().map_err(|_| {
                refuse(format!(
                    "expected a number for {TIMESTAMP_AFTER_MAX}, found {text:?}"
                ))
            })?,
        };
        let policy = spec.config.get("cleanup.policy");
        Ok(Topic {
            partitions: (0..spec.partitions)
                .map(|_| PartitionLog::default())
                .collect(),
            max_record_bytes,
            max_ahead_ms,
            compacted: policy.is_some_and(|policy| policy.split(',').any(|p| p == "compact")),
            next_unkeyed: 0,
        })
    }

    /// Whether it takes such a record.
    fn check(&self, outgoing: &Outgoing<'_>, now: Timestamp) -> Result<(), BrokerError> {
        let bytes = outgoing.bytes();
        if bytes > self.max_record_bytes {
            let topic = outgoing.topic.to_owned();
            return Err(BrokerError::TooLarge { topic, bytes });
        }
        let reason = if self.compacted && outgoing.key.is_none() {
            "a compacted topic takes no record without key"
        } else if outgoing.timestamp > now.plus_millis(self.max_ahead_ms) {
            "its time is too far ahead of the clock"
        } else {
            return Ok(());
        };
        Err(BrokerError::Refused {
            topic: outgoing.topic.to_owned(),
            records: vec![RecordMark::of(outgoing)],
            reason: reason.to_owned(),
        })
    }

    fn partition_for(&mut self, outgoing: &Outgoing<'_>) -> i32 {
        let count = self.partitions.len() as u32;
        match (outgoing.partition, outgoing.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, count),
            (None, None) => {
                self.next_unkeyed = (self.next_unkeyed + 1) % count;
                self.next_unkeyed as i32
            }
        }
    }
}

fn is_legal_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && !matches!(name, "." | "..") && name.chars().all(legal)
}

fn owned(outgoing: &Outgoing<'_>, partition: &TopicPartition) -> OwnedRecord {
    OwnedRecord {
        topic: partition.topic.clone(),
        partition: partition.partition,
        offset: -1,
        timestamp: outgoing.timestamp,
        key: outgoing.key.map(<[u8]>::to_vec),
        value: outgoing.value.map(<[u8]>::to_vec),
        headers: outgoing
            .headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), v.to_vec()))
            .collect(),
    }
}

/// There is no such topic.
pub(super) fn missing(action: String, topic: &str) -> BrokerError {
    BrokerError::fatal(action, format!("topic {topic} does not exist"))
}

/// There is no such partition.
pub(super) fn missing_partition(action: String, partition: &TopicPartition) -> BrokerError {
    BrokerError::fatal(action, format!("partition {partition} does not exist"))
}
