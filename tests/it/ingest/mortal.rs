//! A log whose user dies at a given call: the process, so to speak, is killed there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tidemill::broker::{
    Broker, BrokerError, GroupMember, GroupMetadata, Isolation, MemberOptions, Offset, Outgoing,
    Partition, Producer, ProducerOptions, Reader, TopicPartition, TopicSpec,
};

/// What the thread that dies leaves behind.
pub struct Killed;

/// Kills its user at one of the calls that change the log: half of the time before the call takes
/// place, half of the time behind it. No panic message is printed, and nothing of the user's own
/// runs afterwards but destructors.
pub struct Mortal {
    inner: Arc<dyn Broker>,
    life: Arc<Life>,
}

struct Life {
    /// Twice the calls that are left, plus one when the last one still takes place.
    left: AtomicI64,
}

impl Life {
    fn step<T>(&self, call: impl FnOnce() -> T) -> T {
        let left = self.left.fetch_sub(2, Ordering::SeqCst);
        if left == 0 {
            std::panic::resume_unwind(Box::new(Killed));
        }
        let answer = call();
        if left == 1 {
            std::panic::resume_unwind(Box::new(Killed));
        }
        answer
    }
}

impl Mortal {
    /// A log that ends its user's life so.
    pub fn new(inner: Arc<dyn Broker>, life: i64) -> Mortal {
        Mortal {
            inner,
            life: Arc::new(Life {
                left: AtomicI64::new(life),
            }),
        }
    }
}

struct MortalProducer {
    inner: Box<dyn Producer>,
    life: Arc<Life>,
}

impl Broker for Mortal {
    fn partition_counts(&self, topics: &[&str]) -> Result<BTreeMap<String, u32>, BrokerError> {
        self.inner.partition_counts(topics)
    }
    fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BrokerError> {
        self.life.step(|| self.inner.create_topics(topics))
    }
    fn delete_topics(&self, topics: &[&str]) -> Result<(), BrokerError> {
        self.inner.delete_topics(topics)
    }
    fn members(&self, group: &str) -> Result<Vec<String>, BrokerError> {
        self.inner.members(group)
    }
    fn is_held_elsewhere(&self, group: &str, instance_id: &str) -> Result<bool, BrokerError> {
        self.inner.is_held_elsewhere(group, instance_id)
    }
    fn delete_group(&self, group: &str) -> Result<(), BrokerError> {
        self.inner.delete_group(group)
    }
    fn end_offsets(
        &self,
        partitions: &[TopicPartition],
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        self.inner.end_offsets(partitions, isolation)
    }
    fn start_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        self.inner.start_offsets(partitions)
    }
    fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
        self.inner.committed(group, partitions)
    }
    fn member(&self, options: &MemberOptions) -> Result<Box<dyn GroupMember>, BrokerError> {
        self.inner.member(options)
    }
    fn outsider(&self, group: &str) -> GroupMetadata {
        self.inner.outsider(group)
    }
    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, BrokerError> {
        self.inner.reader(isolation)
    }
    fn producer(&self, options: &ProducerOptions) -> Result<Box<dyn Producer>, BrokerError> {
        let inner = self.life.step(|| self.inner.producer(options))?;
        Ok(Box::new(MortalProducer {
            inner,
            life: Arc::clone(&self.life),
        }))
    }
}

impl Producer for MortalProducer {
    fn send(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
        self.life.step(|| self.inner.send(record))
    }
    fn begin(&mut self) -> Result<(), BrokerError> {
        self.life.step(|| self.inner.begin())
    }
    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
        member: &GroupMetadata,
    ) -> Result<(), BrokerError> {
        self.inner.send_offsets(offsets, member)
    }
    fn commit(&mut self) -> Result<(), BrokerError> {
        self.life.step(|| self.inner.commit())
    }
    fn abort(&mut self) -> Result<(), BrokerError> {
        self.life.step(|| self.inner.abort())
    }
    fn flush(&mut self) -> Result<(), BrokerError> {
        self.life.step(|| self.inner.flush())
    }
    fn acknowledged(&self, topic: &str, partition: Partition) -> Option<Offset> {
        self.inner.acknowledged(topic, partition)
    }
    fn is_suspect(&self) -> bool {
        self.inner.is_suspect()
    }
}
