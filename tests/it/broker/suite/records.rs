//! Records and transactions: what is sent is read, whole, in order, once it is committed.

use std::collections::BTreeMap;

use tidemill::broker::partitioner::partition_of;
use tidemill::broker::{
    BrokerError, Isolation, Outgoing, OwnedRecord, Partition, RecordMark, TIMESTAMP_AFTER_MAX,
    TopicPartition, TopicSpec,
};
use tidemill::time::Timestamp;

use Isolation::{ReadCommitted, ReadUncommitted};

use super::scene::{Scene, commit_all, outgoing, send_all, spec, until};

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
