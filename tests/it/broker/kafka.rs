//! What only a real Kafka can show: time that passes, and a broker that decides by itself.

use std::time::Duration;

use tidemill::broker::kafka::{KafkaBroker, KafkaSettings};
use tidemill::broker::{
    Acknowledge, Broker as _, BrokerError, GroupEvent, GroupMember, Isolation, MemberOptions,
    Outgoing, Producer, ProducerOptions, TopicPartition,
};
use tidemill::time::Timestamp;

use super::suite::{Scene, until, until_within};
use super::{kafka_scene, scene_on};
use crate::harness::{OwnServer, skip};

/// The broker's default minimum for sessions.
const SESSION: Duration = Duration::from_secs(6);

fn join(scene: &Scene, topic: &str) -> Box<dyn GroupMember> {
    let options = MemberOptions {
        group: format!("{}-group", scene.prefix),
        topics: vec![topic.to_owned()],
        instance_id: None,
        session_timeout: SESSION,
        max_poll_interval: SESSION,
        isolation: Isolation::ReadCommitted,
    };
    scene.broker.member(&options).unwrap()
}

fn poll(member: &mut dyn GroupMember) -> Option<GroupEvent> {
    member
        .poll(Duration::from_millis(50), 100, &mut |_| ())
        .unwrap()
}

fn produce_one(producer: &mut dyn Producer, topic: &str) {
    producer.begin().unwrap();
    let record = Outgoing {
        topic,
        partition: Some(0),
        timestamp: Timestamp(1),
        key: Some(b"k"),
        value: Some(b"v"),
        headers: &[],
    };
    producer.send(record).unwrap();
}

#[test]
fn who_has_an_instance_id_is_told_from_others_of_that_id() {
    let test = "who_has_an_instance_id";
    let Some(scene) = kafka_scene(test) else {
        return;
    };
    let group = format!("{}-group", scene.prefix);
    let options = MemberOptions {
        group: group.clone(),
        topics: vec![scene.topic("t", 1)],
        instance_id: Some("one".to_owned()),
        session_timeout: SESSION,
        max_poll_interval: SESSION,
        isolation: Isolation::ReadCommitted,
    };
    let mut member = scene.broker.member(&options).unwrap();
    until("the member is assigned", || poll(&mut *member).is_some());
    let settings = KafkaSettings {
        bootstrap: std::env::var("KAFKA_BOOTSTRAP").unwrap(),
        client_id: "others".to_owned(),
        ..KafkaSettings::default()
    };
    let others = KafkaBroker::connect(&settings).unwrap();
    assert!(!scene.broker.is_held_elsewhere(&group, "one").unwrap());
    assert!(others.is_held_elsewhere(&group, "one").unwrap());
    assert!(!others.is_held_elsewhere(&group, "two").unwrap());
}

/// The trap is the moment between the eviction and the member's next poll: librdkafka has then
/// forgotten generation and member id, and the broker takes any offsets that come without them.
#[test]
fn an_evicted_member_that_has_not_noticed_is_refused_and_then_told_what_is_lost() {
    let Some(scene) = kafka_scene("an_evicted_member_that_has_not_noticed_is_refused") else {
        return;
    };
    let topic = scene.topic("t", 2);
    let p0 = TopicPartition::new(topic.as_str(), 0);
    let mut silent = join(&scene, &topic);
    let mut owned = Vec::new();
    until("the member is assigned", || match poll(&mut *silent) {
        Some(GroupEvent::Assigned(all)) => {
            owned = all;
            true
        }
        _ => false,
    });
    silent
        .acknowledge(Acknowledge::Start(&[(p0.clone(), 0)]))
        .unwrap();

    let mut heir = join(&scene, &topic);
    let heritage = Some(GroupEvent::Assigned(owned.clone()));
    until("the silent member's partitions have moved on", || {
        poll(&mut *heir) == heritage
    });

    let mut producer = scene.producer(Some("zombie"));
    produce_one(&mut *producer, &topic);
    let refused = producer.send_offsets(&[(p0.clone(), 5)], &silent.metadata().unwrap());
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );
    assert!(producer.is_suspect());

    let mut lost = None;
    until("the silent member is told", || {
        lost = poll(&mut *silent);
        lost.is_some()
    });
    assert_eq!(lost, Some(GroupEvent::Lost(owned)));
    assert!(silent.metadata().is_none());
    let refused = silent.acknowledge(Acknowledge::Start(&[(p0.clone(), 0)]));
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );
    let refused = silent.commit(&[(p0, 5)]);
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );
    until("it has rejoined", || {
        if let Some(GroupEvent::Revoked(all)) = poll(&mut *heir) {
            heir.acknowledge(Acknowledge::Stop(&all)).unwrap();
        }
        matches!(poll(&mut *silent), Some(GroupEvent::Assigned(_)))
    });
}

/// The broker looks for old transactions every ten seconds.
#[test]
fn a_transaction_that_is_too_old_is_aborted_and_its_producer_fenced() {
    let Some(scene) = kafka_scene("a_transaction_that_is_too_old_is_aborted") else {
        return;
    };
    let topic = scene.topic("t", 1);
    let options = ProducerOptions {
        transactional_id: Some(format!("{}-slow", scene.prefix)),
        transaction_timeout: Some(Duration::from_secs(1)),
    };
    let mut producer = scene.broker.producer(&options).unwrap();
    produce_one(&mut *producer, &topic);
    producer.flush().unwrap();
    let p0 = [TopicPartition::new(topic.as_str(), 0)];
    until("the broker has aborted it", || {
        // The record and the marker.
        scene
            .broker
            .end_offsets(&p0, Isolation::ReadCommitted)
            .unwrap()[&p0[0]]
            == 2
    });
    let refused = producer.commit();
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );
    assert!(producer.is_suspect());
    drop(producer);

    let mut producer = scene.broker.producer(&options).unwrap();
    produce_one(&mut *producer, &topic);
    producer.commit().unwrap();
    scene.check_committed(&p0[0], &["v"]);
}

/// A restart begins a new epoch of each leader, and the client for questions knows the old one.
#[test]
fn questions_are_answered_soon_after_the_broker_is_back() {
    let Some(kafka) = OwnServer::start("kafka") else {
        return skip("questions after a restart", "Kafka is not ours to restart");
    };
    let scene = scene_on(&kafka.address());
    let topic = scene.topic("t", 2);
    let partitions = [0, 1].map(|partition| TopicPartition::new(topic.as_str(), partition));
    let ends = || {
        scene
            .broker
            .end_offsets(&partitions, Isolation::ReadCommitted)
    };
    let starts = || scene.broker.start_offsets(&partitions);
    until("the new topic is known", || {
        ends().is_ok() && starts().is_ok()
    });
    for _ in 0..2 {
        kafka.kill();
        kafka.restart();
        until_within(Duration::from_secs(10), "the ends are known", || {
            ends().is_ok()
        });
        until_within(Duration::from_secs(10), "the starts are known", || {
            starts().is_ok()
        });
    }
}
