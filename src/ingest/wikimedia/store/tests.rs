//! What is stored and read back, through a topic that keeps the last value of each key.

use super::*;
use crate::ingest::recent::EventId;
use crate::ingest::wikimedia::position::{Arrival, Verdict};

const SETTINGS: PositionSettings = PositionSettings {
    margin_ms: 10_000,
    ids_per_topic: 1000,
};

fn event(n: i64) -> Arrival {
    Arrival {
        place: TopicPartition::new("eqiad.x", 0),
        offset: Some(n),
        time: Some(Timestamp(1_000_000 + n)),
        id: EventId::of(&n.to_string()),
    }
}

/// A compacted topic: what was written last under each key.
#[derive(Default)]
struct Compacted(BTreeMap<String, Vec<u8>>);

impl Compacted {
    fn write(&mut self, position: &Position, stored: &mut BTreeMap<TopicPartition, u64>) {
        let own = OwnTopics::of("w");
        let streams = ["recentchange".to_owned()];
        for (key, value) in records(&own, position, "s1", &streams, "[]", stored) {
            self.0.insert(key, value);
        }
        for (place, topic) in position.topics() {
            stored.insert(place.clone(), topic.ids.inserted());
        }
    }

    fn read(&self, settings: PositionSettings) -> Result<Option<Stored>, LoadError> {
        let own = OwnTopics::of("w");
        let mut loader = Loader::new(&own);
        for (key, value) in &self.0 {
            loader.take(key.as_bytes(), Some(value));
        }
        loader.finish(settings)
    }
}

#[test]
fn a_restored_position_goes_on_exactly_where_the_stored_one_stood() {
    // Batches of odd sizes, over several times around the ring, restored after each.
    let mut position = Position::new(Timestamp(77), SETTINGS);
    let (mut topic, mut stored) = (Compacted::default(), BTreeMap::new());
    let mut n = 0;
    for batch in [1, 126, 1, 1, 300, 5, 999, 1000, 1001, 3, 2500, 128, 127] {
        for _ in 0..batch {
            assert_eq!(
                position.arrive(&event(n), Timestamp(i64::MAX)),
                Verdict::New(None)
            );
            n += 1;
        }
        topic.write(&position, &mut stored);
        let read = topic.read(SETTINGS).expect("readable").expect("there");
        assert_eq!((read.session.as_str(), read.began), ("s1", Timestamp(77)));
        assert_eq!(read.streams, ["recentchange"]);
        let (place, theirs) = read.topics.iter().next().expect("one topic");
        let ours = &position.topics()[place];
        assert_eq!(theirs.ids.inserted(), ours.ids.inserted());
        assert_eq!(theirs.ids.len(), ours.ids.len());
        let all = |topic: &TopicPosition| topic.ids.since(0, 2000).collect::<Vec<_>>();
        assert_eq!(all(theirs), all(ours), "after {n}");
        assert_eq!(
            (
                theirs.time,
                theirs.next,
                theirs.numbering,
                theirs.last,
                theirs.began
            ),
            (ours.time, ours.next, ours.numbering, ours.last, ours.began)
        );
    }
}

#[test]
fn a_commit_of_a_few_events_writes_little_however_many_are_remembered() {
    let mut position = Position::new(Timestamp(77), SETTINGS);
    let (mut topic, mut stored) = (Compacted::default(), BTreeMap::new());
    (0..1000).for_each(|n| drop(position.arrive(&event(n), Timestamp(i64::MAX))));
    topic.write(&position, &mut stored);
    (1000..1040).for_each(|n| drop(position.arrive(&event(n), Timestamp(i64::MAX))));
    let own = OwnTopics::of("w");
    let written = records(&own, &position, "s1", &[], "[]", &stored);
    let bytes: usize = written
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    assert_eq!(written.len(), 3, "two chunks and the position");
    assert!(bytes < 2 * (128 * 24 + 100) + 500, "{bytes}");
}

#[test]
fn a_larger_or_smaller_ring_than_before_takes_what_is_there() {
    let mut position = Position::new(Timestamp(77), SETTINGS);
    let (mut topic, mut stored) = (Compacted::default(), BTreeMap::new());
    (0..2500).for_each(|n| drop(position.arrive(&event(n), Timestamp(i64::MAX))));
    topic.write(&position, &mut stored);
    for (capacity, least) in [(100, 100), (5000, 1000)] {
        let settings = PositionSettings {
            ids_per_topic: capacity,
            ..SETTINGS
        };
        let read = topic.read(settings).expect("readable").expect("there");
        let ids = &read.topics.values().next().expect("one topic").ids;
        assert!(
            ids.len() >= least && ids.inserted() == 2500,
            "{} {capacity}",
            ids.len()
        );
        assert_eq!(ids.get(event(2499).id), Some(Some(2499)));
        assert!(ids.get(event(2500 - least as i64).id).is_some());
    }
}

#[test]
fn offsets_of_an_older_numbering_mean_nothing_after_a_restart() {
    let mut position = Position::new(Timestamp(77), SETTINGS);
    let (mut topic, mut stored) = (Compacted::default(), BTreeMap::new());
    (0..300).for_each(|n| drop(position.arrive(&event(n), Timestamp(i64::MAX))));
    topic.write(&position, &mut stored);
    // A jump back: another cluster.
    let jump = Arrival {
        id: EventId::of("a"),
        ..event(5)
    };
    assert!(matches!(
        position.arrive(&jump, Timestamp(i64::MAX)),
        Verdict::New(Some(_))
    ));
    topic.write(&position, &mut stored);
    let read = topic.read(SETTINGS).expect("readable").expect("there");
    let topic = read.topics.values().next().expect("one topic");
    assert_eq!(topic.numbering, 1);
    assert_eq!(topic.ids.get(event(10).id), Some(None));
    assert_eq!(topic.ids.get(jump.id), Some(Some(5)));
}

#[test]
fn a_position_that_this_version_does_not_know_is_refused_and_nothing_is_nothing() {
    assert!(
        Compacted::default()
            .read(SETTINGS)
            .expect("readable")
            .is_none()
    );
    let refused = |key: &str, value: &[u8], expected: &str| {
        let mut topic = Compacted::default();
        topic.write(&Position::new(Timestamp(0), SETTINGS), &mut BTreeMap::new());
        topic.0.insert(key.to_owned(), value.to_vec());
        let error = topic
            .read(SETTINGS)
            .expect_err("must be refused")
            .to_string();
        assert!(error.contains(expected), "{error}");
    };
    let newer = br#"{"version":9,"session":"","streams":[],"began":0,"learn":false,"server_id":"","topics":[]}"#;
    refused("w", newer, "expected version 1, found 9");
    refused("w", b"{}", "missing field");
    refused(
        "w/ids/t/0/0",
        b"\x02aaaaaaaaaaaa",
        "is not a chunk of identities",
    );
    refused("w/ids/t/0/0", b"", "is not a chunk of identities");
}

#[test]
fn a_gap_is_reported_with_readable_times() {
    let gap = Gap {
        topic: "eqiad.x".to_owned(),
        partition: 0,
        expected: 5,
        found: 8,
        missing: 3,
        kind: GapKind::Gap,
        after: Some(Timestamp(0)),
        before: None,
    };
    let expected = concat!(
        r#"{"kind":"gap","topic":"eqiad.x","partition":0,"expected":5,"found":8,"missing":3,"#,
        r#""after":"1970-01-01T00:00:00.000Z","before":null,"noticed":"1970-01-01T00:00:01.000Z"}"#
    );
    assert_eq!(
        String::from_utf8_lossy(&gap_record(&gap, Timestamp(1000))),
        expected
    );
}

#[test]
fn a_gap_report_becomes_the_row_that_the_table_wants() {
    let check = |kind, times: [Option<i64>; 2]| {
        let [after, before] = times.map(|ms| ms.map(Timestamp));
        let (expected, found, missing) = (6_101_423_904, 6_101_423_910, 6);
        let partition = 3;
        let gap = Gap {
            topic: "eqiad.\"x\"".to_owned(),
            partition,
            expected,
            found,
            missing,
            kind,
            after,
            before,
        };
        let row = GapRow {
            source: "w".to_owned(),
            partition: TopicPartition::new(gap.topic.as_str(), partition),
            expected,
            found,
            jump: kind == GapKind::Jump,
            missing,
            after,
            before,
            detected_at: Timestamp(1_777_979_999_123),
        };
        let record = gap_record(&gap, row.detected_at);
        assert_eq!(gap_row("w", &record), Some(row));
    };
    check(GapKind::Gap, [Some(1_777_979_860_822), Some(0)]);
    check(GapKind::Jump, [None, None]);
    for other in ["", "{}", r#"{"kind":"gap"}"#] {
        assert_eq!(gap_row("w", other.as_bytes()), None, "{other}");
    }
}
