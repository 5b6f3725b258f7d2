//! Readers and members of groups: where they read, what is given to them, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidemill::broker::{
    Acknowledge, BrokerError, GroupEvent, GroupMember, Isolation, Offset, Outgoing, TopicPartition,
};
use tidemill::time::Timestamp;

use Isolation::ReadCommitted;

use super::scene::{Scene, outgoing, play, send_all, until, value};

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

pub fn topics_and_groups_are_taken_away_unless_somebody_is_there(scene: &Scene) {
    let topic = scene.topic("t", 2);
    let p0 = TopicPartition::new(topic.as_str(), 0);
    let group = scene.group();
    let broker = &scene.broker;
    assert_eq!(broker.members(&group).unwrap(), [] as [String; 0]);
    broker.delete_group(&group).unwrap();

    let mut player = scene.player(&[&topic], None);
    player.settle();
    player.member.commit(&[(p0.clone(), 3)]).unwrap();
    assert_eq!(broker.members(&group).unwrap().len(), 1);
    let refused = broker.delete_group(&group);
    assert!(
        matches!(refused, Err(BrokerError::Fatal { .. })),
        "{refused:?}"
    );
    drop(player);
    until("nobody is there", || {
        broker.members(&group).unwrap().is_empty()
    });
    assert_eq!(scene.committed(&p0).unwrap(), Some(3));
    broker.delete_group(&group).unwrap();
    assert_eq!(scene.committed(&p0).unwrap(), None);

    let missing = format!("{}-missing", scene.prefix);
    broker.delete_topics(&[&topic, &missing]).unwrap();
    assert!(broker.partition_counts(&[&topic]).unwrap().is_empty());
    broker.delete_topics(&[&topic]).unwrap();
    broker.delete_topics(&[]).unwrap();
}

pub fn a_static_member_is_known_by_its_instance_until_its_session_is_over(scene: &Scene) {
    let topic = scene.topic("t", 1);
    let mut player = scene.player(&[&topic], Some("one"));
    player.settle();
    drop(player);
    assert_eq!(scene.broker.members(&scene.group()).unwrap(), ["one"]);
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
