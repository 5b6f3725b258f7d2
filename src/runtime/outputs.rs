//! Where the records of a thread's tasks go: its producer, in a transaction that is begun when the
//! first of them comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::{
    BrokerError, GroupMetadata, Offset, Outgoing, Producer, Refusals, TopicPartition,
};
use crate::dead_letters;
use crate::processor::{DeadLetter, OutputError, Outputs, Produced, TableRow};
use crate::time::{Clock, Timestamp};

/// The key of records that are aborted as soon as they are written.
const FENCE_KEY: &[u8] = b"tidemill.fence";

/// A producer and whether its transaction is open.
pub(super) struct Writer {
    producer: Box<dyn Producer>,
    clock: Arc<dyn Clock>,
    transactional: bool,
    open: bool,
    refusals: Refusals,
}

impl Writer {
    pub(super) fn new(
        producer: Box<dyn Producer>,
        clock: Arc<dyn Clock>,
        transactional: bool,
        refusals: Refusals,
    ) -> Writer {
        Writer {
            producer,
            clock,
            transactional,
            open: false,
            refusals,
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
    /// [`BrokerError::TooLarge`] and [`BrokerError::Refused`] are about this very record, also when
    /// the topic has refused it before: the log itself says so only when the whole transaction is
    /// lost.
    pub(super) fn send(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
        self.refusals.check(&record, &*self.clock)?;
        self.begin()?;
        match self.producer.send(record) {
            Err(error) if error.is_about(&record) => Err(error),
            sent => sent.map_err(|error| self.learn(error)),
        }
    }

    /// If a record that was sent earlier has been refused, it is done again from the last commit,
    /// and refused by [`Writer::send`] then.
    fn learn(&mut self, error: BrokerError) -> BrokerError {
        self.refusals.learn(error, self.clock.now())
    }

    /// What is known of the topics, for the next producer.
    pub(super) fn into_refusals(self) -> Refusals {
        self.refusals
    }

    /// Writes something to each of these partitions, and offsets to the group, and aborts it.
    ///
    /// A request of an earlier producer of this transactional id may still be under way when the log
    /// has ended that one's transaction: to a broker that stood still, or over a connection that was
    /// cut. Appended afterwards it opens a transaction that nobody ends, or becomes a part of the next
    /// one (KIP-890; librdkafka has no defence, confluentinc/librdkafka#5423). The abort ends what
    /// such a request has begun, and from then on the partitions know this producer's epoch and
    /// refuse older ones.
    pub(super) fn fence_earlier(
        &mut self,
        partitions: &[TopicPartition],
        offsets: &[(TopicPartition, Offset)],
        group: &GroupMetadata,
    ) -> Result<(), BrokerError> {
        self.begin()?;
        let now = self.clock.now();
        for partition in partitions {
            self.producer.send(Outgoing {
                topic: &partition.topic,
                partition: Some(partition.partition),
                timestamp: now,
                key: Some(FENCE_KEY),
                value: None,
                headers: &[],
            })?;
        }
        self.producer.send_offsets(offsets, group)?;
        self.producer.flush()?;
        self.abort()?;
        match self.producer.is_suspect() {
            true => Err(BrokerError::abort(
                "fence earlier producers",
                "it took too long",
            )),
            false => Ok(()),
        }
    }

    /// Waits until all that was sent is written; with transactions that is the commit's affair.
    pub(super) fn settle(&mut self) -> Result<(), BrokerError> {
        match self.transactional {
            true => Ok(()),
            false => {
                let written = self.producer.flush();
                written.map_err(|error| self.learn(error))
            }
        }
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
    pub(super) dead_letters: DeadLetters<'o>,
    pub(super) partitions: &'o BTreeMap<String, u32>,
}

impl Outputs for TaskOutputs<'_> {
    fn produce(&mut self, record: Produced<'_>) -> Result<(), OutputError> {
        // That a record was replayed is nobody else's affair.
        let headers = record.headers.iter();
        let headers: SmallVec<[(&str, &[u8]); 8]> = headers
            .filter(|(name, _)| !name.starts_with(dead_letters::REPLAY_PREFIX))
            .collect();
        Ok(self.writer.send(Outgoing {
            topic: record.topic,
            partition: record.partition,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &headers,
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
    /// Which topology it is.
    pub(super) config: &'d str,
    /// The wall-clock time.
    pub(super) now: Timestamp,
}

/// Of a dead letter that is too large for its topic, this much is kept.
const KEPT_OF_TOO_LARGE: usize = 64 << 10;

/// Of the words that say what is wrong, this much is kept: they may quote the record.
const KEPT_OF_MESSAGE: usize = 1 << 10;

/// Writes a dead letter: the record as it came, and in the headers where it came from and why. One
/// that is too large is cut to its beginning, with its whole length in a header. One from the
/// future is dated as of now: its topic, too, may refuse such times.
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
    let known: [(&str, &[u8]); 9] = [
        (dead_letters::GROUP, to.group.as_bytes()),
        (dead_letters::NODE, letter.node.as_bytes()),
        (dead_letters::REASON, letter.reason.name().as_bytes()),
        (dead_letters::MESSAGE, message.as_bytes()),
        (dead_letters::TOPIC, record.topic.as_bytes()),
        (dead_letters::PARTITION, partition.as_bytes()),
        (dead_letters::OFFSET, offset.as_bytes()),
        (dead_letters::TIMESTAMP, timestamp.as_bytes()),
        (dead_letters::CONFIG, to.config.as_bytes()),
    ];
    let own = record.headers.iter();
    let own = own.filter(|(name, _)| !name.starts_with(dead_letters::PREFIX));
    let mut headers: Vec<(&str, &[u8])> = known.into_iter().chain(own).collect();
    let whole = Outgoing {
        topic: to.topic,
        partition: None,
        timestamp: record.timestamp.min(to.now),
        key: record.key,
        value: record.value,
        headers: &headers,
    };
    match writer.send(whole) {
        Err(BrokerError::TooLarge { .. }) => {
            let keep = |bytes: &'_ [u8]| bytes.len().min(KEPT_OF_TOO_LARGE);
            // Headers of the record may be what is too large.
            headers.truncate(known.len());
            headers.push((dead_letters::LENGTH, length.as_bytes()));
            writer.send(Outgoing {
                topic: to.topic,
                partition: None,
                timestamp: record.timestamp.min(to.now),
                key: record.key.map(|key| &key[..keep(key)]),
                value: record.value.map(|value| &value[..keep(value)]),
                headers: &headers,
            })
        }
        sent => sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::memory::{MemoryBroker, Operation};
    use crate::broker::{
        Broker, Isolation, ProducerOptions, RecordMark, TIMESTAMP_AFTER_MAX, TopicSpec,
    };
    use crate::headers::PackedHeaders;
    use crate::processor::{DropReason, InRecord};
    use crate::time::ManualClock;

    const HOUR_MS: i64 = 3_600_000;
    const NOW: Timestamp = Timestamp(1_000 * HOUR_MS);
    const AHEAD: Timestamp = Timestamp(1_002 * HOUR_MS);

    struct Stage {
        broker: MemoryBroker,
        clock: ManualClock,
    }

    /// A log with the topics `free` and `bounded`, which takes times up to an hour ahead.
    fn stage() -> Stage {
        let clock = ManualClock::new(NOW);
        let broker = MemoryBroker::new(Arc::new(clock.clone()));
        let bound = (TIMESTAMP_AFTER_MAX.to_owned(), HOUR_MS.to_string());
        let spec = |name: &str, config| TopicSpec {
            name: name.to_owned(),
            partitions: 1,
            replication: -1,
            config,
        };
        let free = spec("free", BTreeMap::new());
        let bounded = spec("bounded", BTreeMap::from([bound]));
        broker.create_topics(&[free, bounded]).unwrap();
        Stage { broker, clock }
    }

    impl Stage {
        fn writer(&self, refusals: Refusals) -> Writer {
            let options = ProducerOptions {
                transactional_id: Some("id".to_owned()),
                transaction_timeout: None,
            };
            let producer = self.broker.producer(&options).unwrap();
            Writer::new(producer, Arc::new(self.clock.clone()), true, refusals)
        }

        /// The times of the committed records.
        fn times(&self, topic: &str) -> Vec<Timestamp> {
            let records = self.broker.records(topic, 0, Isolation::ReadCommitted);
            records.iter().map(|record| record.timestamp).collect()
        }
    }

    fn record(topic: &str, timestamp: Timestamp) -> Outgoing<'_> {
        Outgoing {
            topic,
            partition: Some(0),
            timestamp,
            key: None,
            value: Some(b"v"),
            headers: &[],
        }
    }

    #[test]
    fn a_record_that_is_refused_at_once_is_refused_alone() {
        let stage = stage();
        let mut writer = stage.writer(Refusals::new());
        writer.send(record("bounded", NOW)).unwrap();
        let refused = writer.send(record("bounded", AHEAD));
        assert!(matches!(refused, Err(BrokerError::Refused { .. })));
        writer.commit().unwrap();
        assert_eq!(stage.times("bounded"), [NOW]);
    }

    #[test]
    fn a_record_that_is_refused_at_the_commit_is_refused_alone_the_next_time() {
        let stage = stage();
        let mut writer = stage.writer(Refusals::new());
        let both = [record("free", NOW), record("free", AHEAD)];
        both.into_iter().for_each(|each| writer.send(each).unwrap());
        let refused = BrokerError::Refused {
            topic: "free".to_owned(),
            records: vec![RecordMark::of(&both[1])],
            reason: "too far ahead".to_owned(),
        };
        stage.broker.fail_next(Operation::Commit, refused);
        let lost = writer.commit();
        assert!(matches!(lost, Err(BrokerError::Abort { .. })), "{lost:?}");

        let mut writer = stage.writer(writer.into_refusals());
        writer.send(both[0]).unwrap();
        let refused = writer.send(both[1]).unwrap_err();
        let expected = "topic free refuses a record: too far ahead";
        assert_eq!(refused.to_string(), expected);
        writer.commit().unwrap();
        assert_eq!(stage.times("free"), [NOW]);
    }

    #[test]
    fn a_dead_letter_from_the_future_is_dated_as_of_now_and_says_its_time() {
        let stage = stage();
        let mut writer = stage.writer(Refusals::new());
        let letter = |timestamp| DeadLetter {
            node: "copy",
            reason: DropReason::RefusedByTopic,
            message: "too far ahead",
            record: InRecord {
                topic: "t",
                partition: 0,
                offset: 7,
                timestamp,
                key: None,
                value: Some(b"v"),
                headers: PackedHeaders::NONE,
            },
        };
        let to = DeadLetters {
            topic: "bounded",
            group: "g",
            config: "c",
            now: NOW,
        };
        let past = Timestamp(5);
        send_dead_letter(&mut writer, to, &letter(AHEAD)).unwrap();
        send_dead_letter(&mut writer, to, &letter(past)).unwrap();
        writer.commit().unwrap();
        assert_eq!(stage.times("bounded"), [NOW, past]);
        let letters = stage.broker.records("bounded", 0, Isolation::ReadCommitted);
        let time = AHEAD.0.to_string().into_bytes();
        let header = ("tidemill.timestamp_ms".to_owned(), time);
        assert!(letters[0].headers.contains(&header));
    }
}
