//! What every log must do. Each function plays on a scene whose names nobody else uses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidemill::broker::partitioner::partition_of;
use tidemill::broker::{
    Acknowledge, Broker, BrokerError, GroupEvent, GroupMember, Isolation, MemberOptions, Offset,
    Outgoing, OwnedRecord, Partition, Producer, ProducerOptions, Reader, RecordMark,
    TIMESTAMP_AFTER_MAX, TopicPartition, TopicSpec,
};
use tidemill::time::Timestamp;

use Isolation::{ReadCommitted, ReadUncommitted};

/// How long a condition may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log to play on.
pub struct Scene {
    pub broker: Box<dyn Broker>,
    /// Begins every name.
    pub prefix: String,
    /// How long one poll waits.
    pub wait: Duration,
}

/// A member that remembers what it was told.
struct Player<'s> {
    scene: &'s Scene,
    member: Box<dyn GroupMember>,
    owned: BTreeSet<TopicPartition>,
    values: Vec<String>,
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

    fn player(&self, topics: &[&str], instance: Option<&str>) -> Player<'_> {
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

    fn committed(&self, partition: &TopicPartition) -> Result<Option<Offset>, BrokerError> {
        let group = format!("{}-group", self.prefix);
        let found = self
            .broker
            .committed(&group, std::slice::from_ref(partition))?;
        Ok(found.get(partition).copied())
    }

    fn end(&self, partition: &TopicPartition, isolation: Isolation) -> Offset {
        self.broker
            .end_offsets(std::slice::from_ref(partition), isolation)
            .unwrap()[partition]
    }

    fn start(&self, partition: &TopicPartition) -> Offset {
        self.broker
            .start_offsets(std::slice::from_ref(partition))
            .unwrap()[partition]
    }

    /// A reader at the start of a partition.
    fn reader(&self, partition: &TopicPartition, isolation: Isolation) -> Box<dyn Reader> {
        let mut reader = self.broker.reader(isolation).unwrap();
        reader
            .assign(&[(partition.clone(), self.start(partition))])
            .unwrap();
        reader
    }

    /// All that this isolation shows of a partition now.
    fn read(&self, partition: &TopicPartition, isolation: Isolation) -> Vec<OwnedRecord> {
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

    fn values(&self, partition: &TopicPartition, isolation: Isolation) -> Vec<String> {
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
    fn step_from(&mut self, from: Offset) -> Option<GroupEvent> {
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

    fn step(&mut self) -> Option<GroupEvent> {
        self.step_from(0)
    }

    fn start(&mut self, partitions: &[TopicPartition], from: Offset) {
        let positions: Vec<_> = partitions.iter().map(|p| (p.clone(), from)).collect();
        self.member
            .acknowledge(Acknowledge::Start(&positions))
            .unwrap();
    }

    /// Gives up everything.
    fn stop(&mut self) {
        let owned: Vec<_> = std::mem::take(&mut self.owned).into_iter().collect();
        self.member.acknowledge(Acknowledge::Stop(&owned)).unwrap();
    }

    /// Polls until it is told of an assignment.
    fn settle(&mut self) {
        until("the member is assigned", || {
            matches!(self.step(), Some(GroupEvent::Assigned(_)))
        });
    }

    /// `t-0 t-1 …`, without the scene's prefix.
    fn owns(&self) -> String {
        let names = self.owned.iter().map(|p| p.to_string());
        names
            .map(|n| n[self.scene.prefix.len() + 1..].to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Polls members in turn until the condition holds; revocations are given up at once.
fn play(players: &mut [&mut Player<'_>], what: &str, done: impl Fn(&[&mut Player<'_>]) -> bool) {
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
fn spec(name: &str, partitions: u32) -> TopicSpec {
    let config = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
    TopicSpec {
        name: name.to_owned(),
        partitions,
        replication: -1,
        config,
    }
}

fn outgoing<'a>(topic: &'a str, partition: Partition, value: &'a str) -> Outgoing<'a> {
    Outgoing {
        topic,
        partition: Some(partition),
        timestamp: Timestamp(1_000),
        key: Some(b"k"),
        value: Some(value.as_bytes()),
        headers: &[],
    }
}

fn value(record: &OwnedRecord) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default()).unwrap()
}

fn send_all(producer: &mut dyn Producer, topic: &str, values: &[&str]) {
    for value in values {
        producer.send(outgoing(topic, 0, value)).unwrap();
    }
}

/// Sends values to partition 0 in one committed transaction.
fn commit_all(producer: &mut dyn Producer, topic: &str, values: &[&str]) {
    producer.begin().unwrap();
    send_all(producer, topic, values);
    producer.commit().unwrap();
}

pub fn a_record_comes_back_with_everything_that_was_sent(scene: &Scene) {
    let topic = scene.topic("t", 2);
    let mut producer = scene.producer(None);
    let full = Outgoing {
        topic: &topic,
        partition: Some(1),
        timestamp: Timestamp(1_777_979_860_822),
        key: Some(b"key"),
        value: Some(b"value"),
        headers: &[("reason", b"late"), ("empty", b""), ("reason", b"again")],
    };
    producer.send(full).unwrap();
    producer
        .send(Outgoing {
            value: None,
            headers: &[],
            ..full
        })
        .unwrap();
    producer
        .send(Outgoing {
            key: None,
            value: Some(b""),
            headers: &[],
            ..full
        })
        .unwrap();
    producer.flush().unwrap();

    let record =
        |offset, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &[u8])]| OwnedRecord {
            topic: topic.as_str().into(),
            partition: 1,
            offset,
            timestamp: full.timestamp,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.to_vec()))
                .collect(),
        };
    let (p0, p1) = (
        TopicPartition::new(topic.as_str(), 0),
        TopicPartition::new(topic.as_str(), 1),
    );
    let expected = [
        record(0, Some(b"key"), Some(b"value"), full.headers),
        record(1, Some(b"key"), None, &[]),
        record(2, None, Some(b""), &[]),
    ];
    assert_eq!(scene.read(&p1, ReadCommitted), expected);
    assert_eq!(scene.read(&p0, ReadCommitted), []);

    let mut found = Vec::new();
    let mut reader = scene.reader(&p1, ReadCommitted);
    until("the first record is read", || {
        let on_record = &mut |r: tidemill::broker::Fetched<'_>| {
            found.push((
                r.headers.get("reason").map(<[u8]>::to_vec),
                r.headers.get("none").is_some(),
            ));
        };
        reader.poll(scene.wait, 1, on_record).unwrap();
        !found.is_empty()
    });
    assert_eq!(found, [(Some(b"late".to_vec()), false)]);
}

pub fn a_key_goes_to_the_partition_that_java_would_choose(scene: &Scene) {
    let topic = scene.topic("t", 7);
    let mut producer = scene.producer(None);
    let keys: Vec<String> = (0..50).map(|n| format!("wiki{n}")).collect();
    for key in &keys {
        let record = outgoing(&topic, 0, "v");
        producer
            .send(Outgoing {
                partition: None,
                key: Some(key.as_bytes()),
                ..record
            })
            .unwrap();
    }
    producer.flush().unwrap();
    let mut found = BTreeMap::new();
    for partition in 0..7 {
        for record in scene.read(
            &TopicPartition::new(topic.as_str(), partition),
            ReadCommitted,
        ) {
            found.insert(String::from_utf8(record.key.unwrap()).unwrap(), partition);
        }
    }
    let expected: BTreeMap<String, Partition> = keys
        .iter()
        .map(|key| (key.clone(), partition_of(key.as_bytes(), 7)))
        .collect();
    assert_eq!(found, expected);
}

pub fn topics_that_exist_are_left_as_they_are(scene: &Scene) {
    let topic = scene.topic("t", 3);
    let other = format!("{}-other", scene.prefix);
    scene
        .broker
        .create_topics(&[spec(&topic, 5), spec(&other, 1)])
        .unwrap();
    let counts = scene
        .broker
        .partition_counts(&[&topic, &other, "no-such-topic"])
        .unwrap();
    assert_eq!(counts, BTreeMap::from([(topic, 3), (other, 1)]));
    let refused = scene.broker.create_topics(&[spec("", 1)]);
    assert!(
        matches!(refused, Err(BrokerError::Fatal { .. })),
        "{refused:?}"
    );
}

pub fn a_committed_read_sees_nothing_of_open_and_aborted_transactions(scene: &Scene) {
    let topic = scene.topic("t", 1);
    let p0 = TopicPartition::new(topic.as_str(), 0);
    let (mut one, mut two) = (scene.producer(Some("one")), scene.producer(Some("two")));
    commit_all(&mut *one, &topic, &["a"]);
    one.begin().unwrap();
    send_all(&mut *one, &topic, &["b"]);
    one.flush().unwrap();
    commit_all(&mut *two, &topic, &["c"]);

    // a, marker, b, c, marker
    until("the markers are written", || {
        scene.end(&p0, ReadUncommitted) == 5
    });
    assert_eq!(scene.end(&p0, ReadCommitted), 2);
    assert_eq!(scene.values(&p0, ReadCommitted), ["a"]);
    assert_eq!(scene.values(&p0, ReadUncommitted), ["a", "b", "c"]);
    one.abort().unwrap();
    scene.check_committed(&p0, &["a", "c"]);
    assert_eq!(scene.values(&p0, ReadUncommitted), ["a", "b", "c"]);
}

pub fn at_the_end_the_position_is_behind_the_transaction_marker(scene: &Scene) {
    let topic = scene.topic("t", 1);
    let p0 = TopicPartition::new(topic.as_str(), 0);
    let mut producer = scene.producer(Some("id"));
    let mut reader = scene.reader(&p0, ReadCommitted);
    for (round, end) in [(1, 3), (2, 6)] {
        commit_all(&mut *producer, &topic, &["a", "b"]);
        let mut count = 0;
        until("the reader is behind the marker", || {
            reader.poll(scene.wait, 1000, &mut |_| count += 1).unwrap();
            reader.position(&p0) == Some(end)
        });
        assert_eq!(count, 2, "round {round}");
        assert_eq!(scene.end(&p0, ReadCommitted), end);
    }
    producer.begin().unwrap();
    send_all(&mut *producer, &topic, &["c"]);
    // What is still in the queue at an abort never reaches the log.
    producer.flush().unwrap();
    producer.abort().unwrap();
    until("the reader is behind the aborted records", || {
        reader
            .poll(scene.wait, 1000, &mut |r| panic!("aborted: {r:?}"))
            .unwrap();
        reader.position(&p0) == Some(8)
    });
}

pub fn records_and_offsets_become_visible_together(scene: &Scene) {
    let (source, sink) = (scene.topic("in", 1), scene.topic("out", 2));
    let p0 = TopicPartition::new(source.as_str(), 0);
    let mut player = scene.player(&[&source], None);
    player.settle();
    let mut producer = scene.producer(Some("id"));
    for committed in [true, false] {
        producer.begin().unwrap();
        producer.send(outgoing(&sink, 0, "x")).unwrap();
        producer.send(outgoing(&sink, 1, "y")).unwrap();
        let offset = if committed { 42 } else { 99 };
        producer
            .send_offsets(&[(p0.clone(), offset)], &player.member.metadata().unwrap())
            .unwrap();
        if committed {
            producer.commit().unwrap()
        } else {
            producer.abort().unwrap()
        }
    }
    for partition in [0, 1] {
        let partition = TopicPartition::new(sink.as_str(), partition);
        scene.check_committed(
            &partition,
            if partition.partition == 0 {
                &["x"]
            } else {
                &["y"]
            },
        );
    }
    let mut found = None;
    until("the offsets are stable", || match scene.committed(&p0) {
        Ok(offset) => {
            found = offset;
            true
        }
        Err(BrokerError::Retry { .. }) => false,
        Err(error) => panic!("{error}"),
    });
    assert_eq!(found, Some(42));
}

pub fn a_newer_producer_fences_the_older_and_aborts_its_transaction(scene: &Scene) {
    let topic = scene.topic("t", 1);
    let p0 = TopicPartition::new(topic.as_str(), 0);
    let mut old = scene.producer(Some("id"));
    commit_all(&mut *old, &topic, &["a"]);
    old.begin().unwrap();
    send_all(&mut *old, &topic, &["b"]);
    old.flush().unwrap();
    assert!(!old.is_suspect());

    let mut new = scene.producer(Some("id"));
    let refused = old.commit();
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );
    assert!(old.is_suspect());
    // A fenced producer stays fenced, whatever it tries.
    let refused = old
        .abort()
        .and_then(|()| old.begin())
        .and_then(|()| old.commit());
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );

    commit_all(&mut *new, &topic, &["c"]);
    scene.check_committed(&p0, &["a", "c"]);
}

pub fn an_aborted_transaction_is_followed_by_a_good_one(scene: &Scene) {
    let topic = scene.topic("t", 1);
    let p0 = TopicPartition::new(topic.as_str(), 0);
    let mut producer = scene.producer(Some("id"));
    for round in 0..3 {
        producer.begin().unwrap();
        send_all(&mut *producer, &topic, &["bad"]);
        producer.abort().unwrap();
        commit_all(&mut *producer, &topic, &[&format!("good{round}")]);
    }
    producer.begin().unwrap();
    producer.commit().expect("an empty transaction commits");
    scene.check_committed(&p0, &["good0", "good1", "good2"]);
}

pub fn acknowledged_offsets_are_those_of_the_log(scene: &Scene) {
    let topic = scene.topic("t", 2);
    let mut producer = scene.producer(Some("id"));
    assert_eq!(producer.acknowledged(&topic, 0), None);
    commit_all(&mut *producer, &topic, &["a", "b", "c"]);
    assert_eq!(producer.acknowledged(&topic, 0), Some(3));
    commit_all(&mut *producer, &topic, &["d"]);
    assert_eq!(
        producer.acknowledged(&topic, 0),
        Some(5),
        "the marker has offset 3"
    );
    assert_eq!(producer.acknowledged(&topic, 1), None);
    assert_eq!(producer.acknowledged("other", 0), None);
}

pub fn a_large_transaction_arrives_whole_and_in_order(scene: &Scene) {
    const COUNT: usize = 60_000;
    let topic = scene.topic("t", 3);
    let mut producer = scene.producer(Some("id"));
    producer.begin().unwrap();
    let filler = "x".repeat(200);
    for n in 0..COUNT {
        let value = format!("{n} {filler}");
        producer
            .send(outgoing(&topic, (n % 3) as Partition, &value))
            .unwrap();
    }
    producer.commit().unwrap();

    let mut reader = scene.broker.reader(ReadCommitted).unwrap();
    let positions: Vec<_> = (0..3)
        .map(|p| (TopicPartition::new(topic.as_str(), p), 0))
        .collect();
    reader.assign(&positions).unwrap();
    let mut next = [0, 1, 2];
    let mut total = 0;
    until("everything is read", || {
        let mut polled = 0;
        let on_record = &mut |r: tidemill::broker::Fetched<'_>| {
            let text = std::str::from_utf8(r.value.unwrap()).unwrap();
            let number: usize = text.split(' ').next().unwrap().parse().unwrap();
            let expected = &mut next[r.partition as usize];
            assert_eq!(number, *expected);
            *expected += 3;
            polled += 1;
        };
        reader.poll(scene.wait, 500, on_record).unwrap();
        assert!(polled <= 500, "asked for 500, got {polled}");
        total += polled;
        total == COUNT
    });
}

pub fn a_record_that_is_too_large_is_refused_alone(scene: &Scene) {
    let topic = scene.topic("t", 1);
    let mut producer = scene.producer(Some("id"));
    producer.begin().unwrap();
    send_all(&mut *producer, &topic, &["a"]);
    let large = "x".repeat(30_000_000);
    match producer.send(outgoing(&topic, 0, &large)) {
        Err(BrokerError::TooLarge {
            topic: named,
            bytes: 30_000_001,
        }) => assert_eq!(named, topic),
        other => panic!("{other:?}"),
    }
    send_all(&mut *producer, &topic, &["b"]);
    producer.commit().unwrap();
    scene.check_committed(&TopicPartition::new(topic.as_str(), 0), &["a", "b"]);
}

pub fn a_refused_record_is_named_and_the_next_attempt_goes_without_it(scene: &Scene) {
    let future = Timestamp(4_102_444_800_000);
    let topic = format!("{}-t", scene.prefix);
    let bounded = TopicSpec {
        config: [("retention.ms", "-1"), (TIMESTAMP_AFTER_MAX, "3600000")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..spec(&topic, 1)
    };
    scene.broker.create_topics(&[bounded]).unwrap();
    let good = outgoing(&topic, 0, "good");
    let ahead = Outgoing {
        timestamp: future,
        ..outgoing(&topic, 0, "ahead")
    };
    // One log refuses it at once, another one later.
    let mut producer = scene.producer(Some("id"));
    producer.begin().unwrap();
    producer.send(good).unwrap();
    let sent = producer.send(ahead).and_then(|()| producer.commit());
    check_refused(sent, &ahead);
    drop(producer);
    let mut producer = scene.producer(Some("id"));
    commit_all(&mut *producer, &topic, &["good"]);
    scene.check_committed(&TopicPartition::new(topic.as_str(), 0), &["good"]);

    let mut producer = scene.producer(None);
    let sent = producer.send(ahead).and_then(|()| producer.flush());
    check_refused(sent, &ahead);
    producer.send(good).unwrap();
    producer.flush().unwrap();
    scene.check_committed(&TopicPartition::new(topic.as_str(), 0), &["good", "good"]);
}

pub fn a_compacted_topic_refuses_a_record_without_a_key(scene: &Scene) {
    let topic = format!("{}-t", scene.prefix);
    let compacted = TopicSpec {
        config: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
        ..spec(&topic, 1)
    };
    scene.broker.create_topics(&[compacted]).unwrap();
    let keyless = Outgoing {
        key: None,
        ..outgoing(&topic, 0, "keyless")
    };
    let mut producer = scene.producer(Some("id"));
    producer.begin().unwrap();
    let sent = producer.send(keyless).and_then(|()| producer.commit());
    check_refused(sent, &keyless);
}

#[track_caller]
fn check_refused(sent: Result<(), BrokerError>, record: &Outgoing<'_>) {
    match sent {
        Err(BrokerError::Refused { topic, records, .. }) => {
            assert_eq!(topic, record.topic);
            assert_eq!(records, [RecordMark::of(record)]);
        }
        other => panic!("{other:?}"),
    }
}

pub fn a_position_outside_the_log_is_reported_once(scene: &Scene) {
    let topic = scene.topic("t", 2);
    let (p0, p1) = (
        TopicPartition::new(topic.as_str(), 0),
        TopicPartition::new(topic.as_str(), 1),
    );
    let mut producer = scene.producer(None);
    send_all(&mut *producer, &topic, &["a"]);
    producer.send(outgoing(&topic, 1, "b")).unwrap();
    producer.flush().unwrap();

    let mut reader = scene.broker.reader(ReadCommitted).unwrap();
    reader.assign(&[(p0.clone(), 0), (p1.clone(), 7)]).unwrap();
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    until("the good partition is read", || {
        let on_record =
            &mut |r: tidemill::broker::Fetched<'_>| values.push(value(&r.to_owned_record()));
        errors.extend(reader.poll(scene.wait, 1000, on_record).err());
        !errors.is_empty() && reader.position(&p0) == Some(1)
    });
    for _ in 0..3 {
        errors.extend(
            reader
                .poll(scene.wait, 1000, &mut |r| panic!("{r:?}"))
                .err(),
        );
    }
    assert_eq!(values, ["a"]);
    match &errors[..] {
        [
            BrokerError::OutOfRange {
                partition,
                offset: 7,
            },
        ] => assert_eq!(*partition, p1),
        other => panic!("{other:?}"),
    }
    reader.assign(&[(p0, 1), (p1, 0)]).unwrap();
    until("the other partition is read", || {
        let on_record =
            &mut |r: tidemill::broker::Fetched<'_>| values.push(value(&r.to_owned_record()));
        reader.poll(scene.wait, 1000, on_record).unwrap();
        values == ["a", "b"]
    });
}

pub fn a_reader_takes_up_a_new_assignment(scene: &Scene) {
    let topic = scene.topic("t", 1);
    let p0 = TopicPartition::new(topic.as_str(), 0);
    let mut producer = scene.producer(None);
    send_all(&mut *producer, &topic, &["a", "b", "c"]);
    producer.flush().unwrap();
    let mut reader = scene.broker.reader(ReadCommitted).unwrap();
    assert_eq!(reader.position(&p0), None);
    for (from, expected) in [(0, &["a", "b", "c"][..]), (2, &["c"]), (1, &["b", "c"])] {
        reader.assign(&[(p0.clone(), from)]).unwrap();
        assert_eq!(reader.position(&p0), Some(from));
        let mut values = Vec::new();
        until("the end is reached", || {
            let on_record =
                &mut |r: tidemill::broker::Fetched<'_>| values.push(value(&r.to_owned_record()));
            reader.poll(scene.wait, 1000, on_record).unwrap();
            reader.position(&p0) == Some(3)
        });
        assert_eq!(values, expected, "from {from}");
    }
    reader.assign(&[]).unwrap();
    reader
        .poll(scene.wait, 1000, &mut |r| panic!("{r:?}"))
        .unwrap();
    assert_eq!(reader.position(&p0), None);
}

pub fn a_member_reads_copartitioned_topics_from_the_offsets_it_names(scene: &Scene) {
    let (left, right) = (scene.topic("left", 2), scene.topic("right", 2));
    let mut producer = scene.producer(None);
    send_all(&mut *producer, &left, &["l0", "l1"]);
    send_all(&mut *producer, &right, &["r0", "r1"]);
    producer.flush().unwrap();

    let mut player = scene.player(&[&left, &right], None);
    assert!(player.member.metadata().is_none());
    until("the member is assigned", || {
        matches!(player.step_from(0), Some(GroupEvent::Assigned(_)))
    });
    assert_eq!(player.owns(), "left-0 left-1 right-0 right-1");
    let (l0, r0) = (
        TopicPartition::new(left.as_str(), 0),
        TopicPartition::new(right.as_str(), 0),
    );
    assert!(!player.member.at_end(&l0));
    player
        .member
        .acknowledge(Acknowledge::Start(&[(l0.clone(), 1), (r0.clone(), 0)]))
        .unwrap();
    assert_eq!(player.member.position(&l0), Some(1));
    until("both are at their end", || {
        player.step();
        player.member.at_end(&l0) && player.member.at_end(&r0)
    });
    player.values.sort();
    assert_eq!(player.values, ["l1", "r0", "r1"]);
    assert_eq!(player.member.position(&l0), Some(2));

    player.member.commit(&[(l0.clone(), 2)]).unwrap();
    assert_eq!(scene.committed(&l0).unwrap(), Some(2));
    assert_eq!(scene.committed(&r0).unwrap(), None);

    send_all(&mut *producer, &left, &["l2"]);
    producer.flush().unwrap();
    until("the new record is read", || {
        player.step();
        player.values.last().is_some_and(|v| v == "l2")
    });
    assert_eq!(player.member.position(&l0), Some(3));
}

pub fn a_member_starts_partitions_bit_by_bit(scene: &Scene) {
    let topic = scene.topic("t", 2);
    let (p0, p1) = (
        TopicPartition::new(topic.as_str(), 0),
        TopicPartition::new(topic.as_str(), 1),
    );
    let mut producer = scene.producer(None);
    send_all(&mut *producer, &topic, &["a"]);
    producer.send(outgoing(&topic, 1, "b")).unwrap();
    producer.flush().unwrap();
    let mut player = scene.player(&[&topic], None);
    until("the member is assigned", || {
        let event = player
            .member
            .poll(scene.wait, 10, &mut |r| panic!("{r:?}"))
            .unwrap();
        event == Some(GroupEvent::Assigned(vec![p0.clone(), p1.clone()]))
    });
    for _ in 0..3 {
        let event = player
            .member
            .poll(scene.wait, 10, &mut |r| panic!("not started: {r:?}"));
        assert_eq!(event.unwrap(), None);
    }
    for (positions, expected) in [(vec![(p1.clone(), 0)], "b"), (vec![(p1, 1), (p0, 0)], "a")] {
        player
            .member
            .acknowledge(Acknowledge::Start(&positions))
            .unwrap();
        until("the started partitions are read", || {
            player.step();
            positions.iter().all(|(p, _)| player.member.at_end(p))
        });
        assert_eq!(std::mem::take(&mut player.values), [expected]);
    }
}

pub fn a_revocation_comes_before_the_new_assignment(scene: &Scene) {
    let (left, right) = (scene.topic("left", 4), scene.topic("right", 4));
    let mut one = scene.player(&[&left, &right], None);
    one.settle();
    assert_eq!(one.owned.len(), 8);
    let mut two = scene.player(&[&left, &right], None);
    let mut told = None;
    until("the first member is told to give up", || {
        assert!(two.step().is_none(), "nothing is free yet");
        told = one.step();
        told.is_some()
    });
    let Some(GroupEvent::Revoked(revoked)) = told else {
        panic!("{told:?}")
    };
    assert_eq!(revoked.into_iter().collect::<BTreeSet<_>>(), one.owned);
    for _ in 0..3 {
        assert!(
            one.step().is_none() && two.step().is_none(),
            "it has not given up yet"
        );
    }
    one.stop();
    play(&mut [&mut one, &mut two], "both own half", |players| {
        players.iter().all(|player| player.owned.len() == 4)
    });
    assert!(one.owned.is_disjoint(&two.owned));
    for player in [&one, &two] {
        let of = |topic: &str| {
            let mine = player.owned.iter().filter(|p| &*p.topic == topic);
            mine.map(|p| p.partition).collect::<Vec<_>>()
        };
        assert_eq!(of(&left), of(&right), "co-partitioned");
    }
}

pub fn a_leaving_member_hands_its_partitions_over(scene: &Scene) {
    let topic = scene.topic("t", 2);
    let (mut one, mut two) = (scene.player(&[&topic], None), scene.player(&[&topic], None));
    play(&mut [&mut one, &mut two], "both own one", |players| {
        players.iter().all(|player| player.owned.len() == 1)
    });
    drop(one);
    play(&mut [&mut two], "the other owns both", |players| {
        players[0].owned.len() == 2
    });
}

/// What the members of a group have been given together: the offset behind the last record of each
/// partition, whoever had it.
type Progress = BTreeMap<TopicPartition, Offset>;

/// Polls a member once, and goes on where the group is. Each record must be the next one.
fn take_over(member: &mut dyn GroupMember, next: &mut Progress) -> bool {
    let event = member.poll(Duration::from_millis(5), 50, &mut |record| {
        let partition = TopicPartition::new(record.topic, record.partition);
        let expected = next.entry(partition).or_default();
        assert_eq!(
            record.offset, *expected,
            "{}-{}",
            record.topic, record.partition
        );
        *expected += 1;
    });
    match event.unwrap() {
        None => false,
        Some(GroupEvent::Assigned(partitions)) => {
            let positions: Vec<_> = partitions
                .into_iter()
                .map(|partition| {
                    (
                        partition.clone(),
                        next.get(&partition).copied().unwrap_or(0),
                    )
                })
                .collect();
            member.acknowledge(Acknowledge::Start(&positions)).unwrap();
            true
        }
        Some(GroupEvent::Revoked(partitions)) => {
            member.acknowledge(Acknowledge::Stop(&partitions)).unwrap();
            true
        }
        Some(GroupEvent::Lost(partitions)) => panic!("{partitions:?} were lost"),
    }
}

pub fn no_record_is_lost_when_a_group_changes_while_records_come(scene: &Scene) {
    let topic = scene.topic("t", 4);
    let mut producer = scene.producer(None);
    let mut sent = 0;
    let mut send = |records: i32| {
        for _ in 0..records {
            let record = Outgoing {
                topic: &topic,
                partition: Some(sent % 4),
                timestamp: Timestamp(0),
                key: None,
                value: Some(b"value"),
                headers: &[],
            };
            producer.send(record).unwrap();
            sent += 1;
        }
        producer.flush().unwrap();
        sent
    };
    let join = || {
        scene
            .broker
            .member(&scene.member_options(&[&topic], None))
            .unwrap()
    };
    let mut next = Progress::new();
    let mut steady = join();
    for _ in 0..6 {
        // It joins, gets its share, and leaves.
        let mut guest = join();
        let mut events = 0;
        until("the guest has been given partitions", || {
            send(100);
            take_over(&mut *steady, &mut next);
            events += u32::from(take_over(&mut *guest, &mut next));
            events > 0
        });
        drop(guest);
    }
    let sent = i64::from(send(0));
    until("everything has been given", || {
        take_over(&mut *steady, &mut next);
        next.values().sum::<Offset>() == sent
    });
}

pub fn a_static_member_is_back_at_once_and_disturbs_nobody(scene: &Scene) {
    let topic = scene.topic("t", 4);
    let mut one = scene.player(&[&topic], Some("one"));
    let mut two = scene.player(&[&topic], Some("two"));
    play(&mut [&mut one, &mut two], "both own half", |players| {
        players.iter().all(|player| player.owned.len() == 2)
    });
    assert_eq!(
        (one.owns().as_str(), two.owns().as_str()),
        ("t-0 t-1", "t-2 t-3")
    );
    drop(one);
    for _ in 0..3 {
        assert_eq!(two.step(), None);
    }
    let start = Instant::now();
    let mut back = scene.player(&[&topic], Some("one"));
    until("it has its partitions back", || {
        assert_eq!(two.step(), None, "the other keeps its own");
        back.step();
        back.owns() == "t-0 t-1"
    });
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "it did not wait for the session timeout"
    );
    assert_eq!(two.step(), None);
}

pub fn a_second_holder_of_an_instance_id_fences_the_first(scene: &Scene) {
    let topic = scene.topic("t", 2);
    let p0 = TopicPartition::new(topic.as_str(), 0);
    let mut old = scene.player(&[&topic], Some("one"));
    old.settle();
    let stale = old.member.metadata().unwrap();
    let mut new = scene.player(&[&topic], Some("one"));
    until("the second has the partitions", || {
        new.step();
        new.owns() == "t-0 t-1"
    });
    until("the first learns of it", || {
        matches!(
            old.member.poll(scene.wait, 10, &mut |r| panic!("{r:?}")),
            Err(BrokerError::Replaced { .. })
        )
    });
    let refused = old.member.commit(&[(p0.clone(), 1)]);
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );
    let mut producer = scene.producer(Some("id"));
    producer.begin().unwrap();
    let refused = producer.send_offsets(&[(p0.clone(), 1)], &stale);
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );
    new.member.commit(&[(p0, 1)]).unwrap();
}

pub fn offsets_of_an_outdated_generation_are_refused(scene: &Scene) {
    let topic = scene.topic("t", 2);
    let p0 = TopicPartition::new(topic.as_str(), 0);
    let mut one = scene.player(&[&topic], None);
    one.settle();
    let stale = one.member.metadata().unwrap();
    let mut two = scene.player(&[&topic], None);
    play(&mut [&mut one, &mut two], "both own one", |players| {
        players.iter().all(|player| player.owned.len() == 1)
    });

    let mut producer = scene.producer(Some("zombie"));
    producer.begin().unwrap();
    producer.send(outgoing(&topic, 0, "zombie")).unwrap();
    let refused = producer.send_offsets(&[(p0.clone(), 5)], &stale);
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );
    drop(producer);

    let mut producer = scene.producer(Some("zombie"));
    producer.begin().unwrap();
    producer.send(outgoing(&topic, 0, "alive")).unwrap();
    producer
        .send_offsets(&[(p0.clone(), 7)], &one.member.metadata().unwrap())
        .unwrap();
    producer.commit().unwrap();
    scene.check_committed(&p0, &["alive"]);
    until("the offset is committed", || {
        scene.committed(&p0).ok() == Some(Some(7))
    });
}

pub fn offsets_in_an_open_transaction_are_unstable(scene: &Scene) {
    let topic = scene.topic("t", 2);
    let (p0, p1) = (
        TopicPartition::new(topic.as_str(), 0),
        TopicPartition::new(topic.as_str(), 1),
    );
    let mut player = scene.player(&[&topic], None);
    player.settle();
    player
        .member
        .commit(&[(p0.clone(), 3), (p1.clone(), 4)])
        .unwrap();
    let mut producer = scene.producer(Some("id"));
    producer.begin().unwrap();
    producer
        .send_offsets(&[(p0.clone(), 5)], &player.member.metadata().unwrap())
        .unwrap();

    let unstable = scene.committed(&p0);
    assert!(
        matches!(unstable, Err(BrokerError::Retry { .. })),
        "{unstable:?}"
    );
    assert_eq!(
        scene.committed(&p1).unwrap(),
        Some(4),
        "the other partition is not concerned"
    );
    producer.commit().unwrap();
    until("the offset is stable", || scene.committed(&p0).is_ok());
    assert_eq!(scene.committed(&p0).unwrap(), Some(5));
}

pub fn a_topic_that_does_not_exist_cannot_be_joined(scene: &Scene) {
    let topic = scene.topic("t", 1);
    let missing = format!("{}-missing", scene.prefix);
    match scene
        .broker
        .member(&scene.member_options(&[&topic, &missing], None))
    {
        Err(BrokerError::Fatal { reason, .. }) => assert!(reason.contains(&missing), "{reason}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("joined"),
    }
    let refused = scene
        .broker
        .end_offsets(&[TopicPartition::new(topic, 1)], ReadCommitted);
    assert!(
        matches!(refused, Err(BrokerError::Fatal { .. })),
        "{refused:?}"
    );
}
