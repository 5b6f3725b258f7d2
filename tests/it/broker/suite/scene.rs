//! A log to play on, and what plays there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidemill::broker::{
    Acknowledge, Broker, BrokerError, GroupEvent, GroupMember, Isolation, MemberOptions, Offset,
    Outgoing, OwnedRecord, Partition, Producer, ProducerOptions, Reader, TopicPartition, TopicSpec,
};
use tidemill::time::Timestamp;

use Isolation::{ReadCommitted, ReadUncommitted};

/// How long a condition may take on a slow machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A log to play on.
pub struct Scene {
    pub broker: Box<dyn Broker>,
    /// Begins every name.
    pub prefix: String,
    /// How long one poll waits.
    pub wait: Duration,
}

/// A member that remembers what it was told.
pub(super) struct Player<'s> {
    pub(super) scene: &'s Scene,
    pub(super) member: Box<dyn GroupMember>,
    pub(super) owned: BTreeSet<TopicPartition>,
    pub(super) values: Vec<String>,
}

impl Scene {
    pub fn topic(&self, name: &str, partitions: u32) -> String {
        let topic = format!("{}-{name}", self.prefix);
        self.broker
            .create_topics(&[spec(&topic, partitions)])
            .unwrap();
        topic
    }

    pub fn producer(&self, transactional_id: Option<&str>) -> Box<dyn Producer> {
        self.try_producer(transactional_id).unwrap()
    }

    pub fn try_producer(
        &self,
        transactional_id: Option<&str>,
    ) -> Result<Box<dyn Producer>, BrokerError> {
        let options = ProducerOptions {
            transactional_id: transactional_id.map(|id| format!("{}-{id}", self.prefix)),
            transaction_timeout: None,
        };
        self.broker.producer(&options)
    }

    pub fn group(&self) -> String {
        format!("{}-group", self.prefix)
    }

    pub fn member_options(&self, topics: &[&str], instance: Option<&str>) -> MemberOptions {
        MemberOptions {
            group: self.group(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            instance_id: instance.map(str::to_owned),
            session_timeout: Duration::from_secs(30),
            max_poll_interval: Duration::from_secs(60),
            isolation: ReadCommitted,
        }
    }

    pub(super) fn player(&self, topics: &[&str], instance: Option<&str>) -> Player<'_> {
        let member = self
            .broker
            .member(&self.member_options(topics, instance))
            .unwrap();
        Player {
            scene: self,
            member,
            owned: BTreeSet::new(),
            values: Vec::new(),
        }
    }

    pub(super) fn committed(
        &self,
        partition: &TopicPartition,
    ) -> Result<Option<Offset>, BrokerError> {
        let group = format!("{}-group", self.prefix);
        let found = self
            .broker
            .committed(&group, std::slice::from_ref(partition))?;
        Ok(found.get(partition).copied())
    }

    pub(super) fn end(&self, partition: &TopicPartition, isolation: Isolation) -> Offset {
        self.broker
            .end_offsets(std::slice::from_ref(partition), isolation)
            .unwrap()[partition]
    }

    pub(super) fn start(&self, partition: &TopicPartition) -> Offset {
        self.broker
            .start_offsets(std::slice::from_ref(partition))
            .unwrap()[partition]
    }

    /// A reader at the start of a partition.
    pub(super) fn reader(
        &self,
        partition: &TopicPartition,
        isolation: Isolation,
    ) -> Box<dyn Reader> {
        let mut reader = self.broker.reader(isolation).unwrap();
        reader
            .assign(&[(partition.clone(), self.start(partition))])
            .unwrap();
        reader
    }

    /// All that this isolation shows of a partition now.
    pub(super) fn read(
        &self,
        partition: &TopicPartition,
        isolation: Isolation,
    ) -> Vec<OwnedRecord> {
        let end = self.end(partition, isolation);
        let mut reader = self.reader(partition, isolation);
        let mut records = Vec::new();
        until("the reader reaches the end", || {
            reader
                .poll(self.wait, 1000, &mut |r| records.push(r.to_owned_record()))
                .unwrap();
            reader.position(partition) == Some(end)
        });
        records
    }

    pub(super) fn values(&self, partition: &TopicPartition, isolation: Isolation) -> Vec<String> {
        self.read(partition, isolation).iter().map(value).collect()
    }

    /// What was committed becomes readable a moment after the commit: the markers are written by
    /// the coordinator, not by the producer.
    #[track_caller]
    pub fn check_committed(&self, partition: &TopicPartition, expected: &[&str]) {
        until("all transactions are decided", || {
            self.end(partition, ReadCommitted) == self.end(partition, ReadUncommitted)
        });
        assert_eq!(self.values(partition, ReadCommitted), expected);
    }
}

impl Player<'_> {
    /// One poll; records and ownership are remembered, assignments are started from `from`.
    pub(super) fn step_from(&mut self, from: Offset) -> Option<GroupEvent> {
        let values = &mut self.values;
        let event = self
            .member
            .poll(self.scene.wait, 1000, &mut |r| {
                values.push(value(&r.to_owned_record()))
            })
            .unwrap();
        if let Some(GroupEvent::Assigned(all)) = &event {
            self.owned = all.iter().cloned().collect();
            self.start(all, from);
        }
        event
    }

    pub(super) fn step(&mut self) -> Option<GroupEvent> {
        self.step_from(0)
    }

    pub(super) fn start(&mut self, partitions: &[TopicPartition], from: Offset) {
        let positions: Vec<_> = partitions.iter().map(|p| (p.clone(), from)).collect();
        self.member
            .acknowledge(Acknowledge::Start(&positions))
            .unwrap();
    }

    /// Gives up everything.
    pub(super) fn stop(&mut self) {
        let owned: Vec<_> = std::mem::take(&mut self.owned).into_iter().collect();
        self.member.acknowledge(Acknowledge::Stop(&owned)).unwrap();
    }

    /// Polls until it is told of an assignment.
    pub(super) fn settle(&mut self) {
        until("the member is assigned", || {
            matches!(self.step(), Some(GroupEvent::Assigned(_)))
        });
    }

    /// `t-0 t-1 …`, without the scene's prefix.
    pub(super) fn owns(&self) -> String {
        let names = self.owned.iter().map(|p| p.to_string());
        names
            .map(|n| n[self.scene.prefix.len() + 1..].to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Polls members in turn until the condition holds; revocations are given up at once.
pub(super) fn play(
    players: &mut [&mut Player<'_>],
    what: &str,
    done: impl Fn(&[&mut Player<'_>]) -> bool,
) {
    until(what, || {
        for player in players.iter_mut() {
            if let Some(GroupEvent::Revoked(_)) = player.step() {
                player.stop();
            }
        }
        done(players)
    });
}

#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(PATIENCE, what, condition);
}

#[track_caller]
pub fn until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < patience, "waited in vain until {what}");
    }
}

/// Nothing is deleted for its age: the times in these tests are long past.
pub(super) fn spec(name: &str, partitions: u32) -> TopicSpec {
    let config = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
    TopicSpec {
        name: name.to_owned(),
        partitions,
        replication: -1,
        config,
    }
}

pub(super) fn outgoing<'a>(topic: &'a str, partition: Partition, value: &'a str) -> Outgoing<'a> {
    Outgoing {
        topic,
        partition: Some(partition),
        timestamp: Timestamp(1_000),
        key: Some(b"k"),
        value: Some(value.as_bytes()),
        headers: &[],
    }
}

pub(super) fn value(record: &OwnedRecord) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default()).unwrap()
}

pub(super) fn send_all(producer: &mut dyn Producer, topic: &str, values: &[&str]) {
    for value in values {
        producer.send(outgoing(topic, 0, value)).unwrap();
    }
}

/// Sends values to partition 0 in one committed transaction.
pub(super) fn commit_all(producer: &mut dyn Producer, topic: &str, values: &[&str]) {
    producer.begin().unwrap();
    send_all(producer, topic, values);
    producer.commit().unwrap();
}
