//! What only the log in memory can show: time that is handed in, scripted faults, truncation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill::broker::memory::{MemoryBroker, Operation};
use tidemill::broker::{
    Acknowledge, Broker, BrokerError, GroupEvent, GroupMember, Isolation, MemberOptions, Outgoing,
    Producer, ProducerOptions, TopicPartition, TopicSpec,
};
use tidemill::time::{ManualClock, Timestamp};

use Isolation::{ReadCommitted, ReadUncommitted};

struct Stage {
    broker: MemoryBroker,
    clock: ManualClock,
}

/// A log with the topic `t` of two partitions, compacted.
fn stage() -> Stage {
    let clock = ManualClock::new(Timestamp(1_000_000));
    let broker = MemoryBroker::new(Arc::new(clock.clone()));
    let config = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    let spec = TopicSpec {
        name: "t".to_owned(),
        partitions: 2,
        replication: -1,
        config,
    };
    broker.create_topics(&[spec]).unwrap();
    Stage { broker, clock }
}

impl Stage {
    fn producer(&self, timeout_seconds: u64) -> Box<dyn Producer> {
        let options = ProducerOptions {
            transactional_id: Some("id".to_owned()),
            transaction_timeout: Some(Duration::from_secs(timeout_seconds)),
        };
        self.broker.producer(&options).unwrap()
    }

    fn member(&self, instance: Option<&str>) -> Box<dyn GroupMember> {
        let options = MemberOptions {
            group: "g".to_owned(),
            topics: vec!["t".to_owned()],
            instance_id: instance.map(str::to_owned),
            session_timeout: Duration::from_secs(10),
            max_poll_interval: Duration::from_secs(30),
            isolation: ReadCommitted,
        };
        self.broker.member(&options).unwrap()
    }

    fn keys(&self, isolation: Isolation) -> String {
        let records = self.broker.records("t", 0, isolation);
        records
            .iter()
            .map(|r| String::from_utf8(r.key.clone().unwrap()).unwrap())
            .collect()
    }
}

fn send(producer: &mut dyn Producer, key: &str) -> Result<(), BrokerError> {
    producer.send(Outgoing {
        topic: "t",
        partition: Some(0),
        timestamp: Timestamp(0),
        key: Some(key.as_bytes()),
        value: Some(b"v"),
        headers: &[],
    })
}

fn poll(member: &mut dyn GroupMember) -> Result<Option<GroupEvent>, BrokerError> {
    member.poll(Duration::ZERO, 100, &mut |_| ())
}

fn p(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

#[test]
fn a_transaction_that_is_too_old_is_aborted_and_its_producer_fenced() {
    let stage = stage();
    let mut producer = stage.producer(10);
    producer.begin().unwrap();
    send(&mut *producer, "a").unwrap();
    stage.clock.advance_millis(10_000);
    send(&mut *producer, "b").unwrap();
    assert_eq!(stage.broker.open_transactions(), ["id"]);
    stage.clock.advance_millis(1);
    assert!(stage.broker.open_transactions().is_empty());
    assert!(matches!(producer.commit(), Err(BrokerError::Fenced { .. })));
    assert_eq!(
        (stage.keys(ReadCommitted), stage.keys(ReadUncommitted)),
        ("".into(), "ab".into())
    );
}

#[test]
fn the_transaction_of_a_dropped_producer_stays_open_until_it_times_out() {
    let stage = stage();
    let mut producer = stage.producer(10);
    producer.begin().unwrap();
    send(&mut *producer, "a").unwrap();
    drop(producer);
    let end = || stage.broker.end_offsets(&[p(0)], ReadCommitted).unwrap()[&p(0)];
    assert_eq!(end(), 0);
    stage.clock.advance_millis(10_001);
    assert_eq!(end(), 2);
}

#[test]
fn a_member_that_does_not_poll_loses_its_partitions_and_rejoins_by_itself() {
    let stage = stage();
    let (mut one, mut two) = (stage.member(None), stage.member(None));
    assert_eq!(
        poll(&mut *one).unwrap(),
        Some(GroupEvent::Assigned(vec![p(0)]))
    );
    assert_eq!(
        poll(&mut *two).unwrap(),
        Some(GroupEvent::Assigned(vec![p(1)]))
    );
    stage.clock.advance_millis(20_000);
    assert_eq!(poll(&mut *two).unwrap(), None);
    stage.clock.advance_millis(10_001);
    assert_eq!(
        poll(&mut *two).unwrap(),
        Some(GroupEvent::Revoked(vec![p(1)]))
    );
    two.acknowledge(Acknowledge::Stop(&[p(1)])).unwrap();
    assert_eq!(
        poll(&mut *two).unwrap(),
        Some(GroupEvent::Assigned(vec![p(0), p(1)]))
    );

    let refused = one.acknowledge(Acknowledge::Start(&[(p(0), 0)]));
    assert!(
        matches!(refused, Err(BrokerError::Fenced { .. })),
        "{refused:?}"
    );
    assert!(matches!(
        one.commit(&[(p(0), 1)]),
        Err(BrokerError::Fenced { .. })
    ));
    assert_eq!(poll(&mut *one).unwrap(), Some(GroupEvent::Lost(vec![p(0)])));
    assert!(one.metadata().is_none());
    assert_eq!(poll(&mut *one).unwrap(), None);
    assert_eq!(
        poll(&mut *two).unwrap(),
        Some(GroupEvent::Revoked(vec![p(0), p(1)]))
    );
    two.acknowledge(Acknowledge::Stop(&[p(0), p(1)])).unwrap();
    assert_eq!(
        poll(&mut *one).unwrap(),
        Some(GroupEvent::Assigned(vec![p(1)]))
    );
}

#[test]
fn the_partitions_of_a_dropped_static_member_move_on_with_its_session() {
    let stage = stage();
    let (one, mut two) = (stage.member(Some("one")), stage.member(Some("two")));
    assert_eq!(
        poll(&mut *two).unwrap(),
        Some(GroupEvent::Assigned(vec![p(1)]))
    );
    drop(one);
    stage.clock.advance_millis(10_000);
    assert_eq!(poll(&mut *two).unwrap(), None);
    stage.clock.advance_millis(1);
    assert_eq!(
        poll(&mut *two).unwrap(),
        Some(GroupEvent::Revoked(vec![p(1)]))
    );
}

#[test]
fn compaction_and_truncation_leave_gaps_that_readers_step_over() {
    let stage = stage();
    let mut producer = stage.producer(10);
    producer.begin().unwrap();
    for key in ["a", "b", "a", "c"] {
        send(&mut *producer, key).unwrap();
    }
    producer.commit().unwrap();
    let mut reader = stage.broker.reader(ReadCommitted).unwrap();
    reader.assign(&[(p(0), 0)]).unwrap();
    assert_eq!(stage.broker.compact("t"), 1);
    let mut offsets = Vec::new();
    reader
        .poll(Duration::ZERO, 2, &mut |r| offsets.push(r.offset))
        .unwrap();
    assert_eq!(
        (&offsets[..], reader.position(&p(0))),
        (&[1, 2][..], Some(3))
    );

    stage.broker.delete_records(&p(0), 4);
    assert_eq!(stage.broker.start_offsets(&[p(0)]).unwrap()[&p(0)], 4);
    let truncated = reader.poll(Duration::ZERO, 2, &mut |r| panic!("{r:?}"));
    assert!(
        matches!(truncated, Err(BrokerError::OutOfRange { offset: 3, .. })),
        "{truncated:?}"
    );
}

#[test]
fn a_scripted_fault_is_as_good_as_a_real_one() {
    let stage = stage();
    let mut producer = stage.producer(10);
    producer.begin().unwrap();
    send(&mut *producer, "a").unwrap();
    stage.broker.fail_next(
        Operation::SendOffsets,
        BrokerError::abort("send", "scripted"),
    );
    stage
        .broker
        .fail_next(Operation::Abort, BrokerError::fenced("abort", "scripted"));
    let mut member = stage.member(None);
    poll(&mut *member).unwrap();
    let metadata = member.metadata().unwrap();
    let failed = producer.send_offsets(&[(p(0), 1)], &metadata);
    assert!(
        matches!(failed, Err(BrokerError::Abort { .. })),
        "{failed:?}"
    );
    assert!(
        matches!(producer.commit(), Err(BrokerError::Abort { .. })),
        "it must abort"
    );
    assert!(producer.is_suspect());
    assert!(matches!(producer.abort(), Err(BrokerError::Fenced { .. })));
    assert!(
        matches!(producer.abort(), Err(BrokerError::Fenced { .. })),
        "it is fenced now"
    );
    assert_eq!(stage.broker.pending_faults(), 0);
    assert!(stage.broker.open_transactions().is_empty());
    assert_eq!(stage.broker.committed_offsets("g"), BTreeMap::new());
}

#[test]
fn a_commit_whose_answer_was_lost_took_place_once() {
    let stage = stage();
    let mut producer = stage.producer(10);
    producer.begin().unwrap();
    send(&mut *producer, "a").unwrap();
    stage
        .broker
        .lose_answer(Operation::Commit, BrokerError::retry("commit", "scripted"));
    assert!(matches!(producer.commit(), Err(BrokerError::Retry { .. })));
    assert_eq!(stage.keys(ReadCommitted), "a");
    producer.commit().unwrap();
    assert!(
        matches!(producer.begin(), Err(BrokerError::Fenced { .. })),
        "it is suspect"
    );

    let mut producer = stage.producer(10);
    producer.begin().unwrap();
    send(&mut *producer, "b").unwrap();
    stage
        .broker
        .lose_answer(Operation::Commit, BrokerError::fenced("commit", "scripted"));
    assert!(matches!(producer.commit(), Err(BrokerError::Fenced { .. })));
    assert!(matches!(producer.begin(), Err(BrokerError::Fenced { .. })));
    assert_eq!(stage.keys(ReadCommitted), "ab");
    assert_eq!(
        stage
            .broker
            .records("t", 0, ReadUncommitted)
            .last()
            .unwrap()
            .offset,
        2
    );
}

#[test]
fn calls_out_of_order_are_refused_with_a_reason() {
    let stage = stage();
    let mut producer = stage.producer(10);
    let says = |result: Result<(), BrokerError>, expected: &str| {
        assert_eq!(result.unwrap_err().to_string(), expected);
    };
    says(
        producer.commit(),
        "commit the transaction: no transaction is open",
    );
    says(
        send(&mut *producer, "a"),
        "write to topic t: no transaction is open",
    );
    producer.begin().unwrap();
    says(
        producer.begin(),
        "begin a transaction: a transaction is open already",
    );
    let mut plain = stage.broker.producer(&ProducerOptions::default()).unwrap();
    says(
        plain.begin(),
        "begin a transaction: the producer has no transactional id",
    );
    let unkeyed = Outgoing {
        topic: "t",
        partition: None,
        timestamp: Timestamp(0),
        key: None,
        value: None,
        headers: &[],
    };
    says(
        plain.send(unkeyed),
        "topic t refuses a record: a compacted topic takes no record without key",
    );
    let elsewhere = Outgoing {
        topic: "u",
        ..unkeyed
    };
    says(
        plain.send(elsewhere),
        "write to topic u: topic u does not exist",
    );
    let beyond = Outgoing {
        partition: Some(2),
        key: Some(b"k"),
        ..unkeyed
    };
    says(
        plain.send(beyond),
        "write to topic t: partition t-2 does not exist",
    );
}

#[test]
fn records_without_a_key_are_spread_evenly() {
    let stage = stage();
    let config = BTreeMap::new();
    let spec = TopicSpec {
        name: "even".to_owned(),
        partitions: 3,
        replication: 1,
        config,
    };
    stage.broker.create_topics(&[spec]).unwrap();
    let mut producer = stage.broker.producer(&ProducerOptions::default()).unwrap();
    for _ in 0..9 {
        let record = Outgoing {
            topic: "even",
            partition: None,
            timestamp: Timestamp(0),
            key: None,
            value: Some(b"v"),
            headers: &[],
        };
        producer.send(record).unwrap();
    }
    for partition in 0..3 {
        assert_eq!(
            stage.broker.records("even", partition, ReadCommitted).len(),
            3
        );
    }
}

#[test]
fn a_waiting_poll_is_woken_by_a_record_of_another_thread() {
    let stage = stage();
    let mut member = stage.member(None);
    let assigned = poll(&mut *member).unwrap();
    assert_eq!(assigned, Some(GroupEvent::Assigned(vec![p(0), p(1)])));
    member
        .acknowledge(Acknowledge::Start(&[(p(0), 0), (p(1), 0)]))
        .unwrap();
    let reader = std::thread::spawn(move || {
        let mut offsets = Vec::new();
        member
            .poll(Duration::from_secs(60), 10, &mut |r| offsets.push(r.offset))
            .unwrap();
        offsets
    });
    let mut producer = stage.producer(10);
    producer.begin().unwrap();
    send(&mut *producer, "a").unwrap();
    producer.commit().unwrap();
    assert_eq!(reader.join().unwrap(), [0]);
}

#[test]
fn the_log_may_be_used_while_records_are_handed_over() {
    let stage = stage();
    let mut producer = stage.producer(10);
    producer.begin().unwrap();
    send(&mut *producer, "a").unwrap();
    producer.commit().unwrap();
    let mut reader = stage.broker.reader(ReadCommitted).unwrap();
    reader.assign(&[(p(0), 0)]).unwrap();
    producer.begin().unwrap();
    reader
        .poll(Duration::ZERO, 10, &mut |_| {
            send(&mut *producer, "b").unwrap()
        })
        .unwrap();
    producer.commit().unwrap();
    assert_eq!(stage.keys(ReadCommitted), "ab");
}
