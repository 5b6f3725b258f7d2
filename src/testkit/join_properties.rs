//! Joins against their definitions: all pairs that there are of two streams, over many partitions and
//! orders of arrival; and what is known of each key of tables.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::fate::{Fate, config, fate};
use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::broker::partitioner::partition_of;
use crate::time::Timestamp;
use crate::topology::builder::{Join, JoinKind, KafkaSink, Source, Table};
use crate::topology::duration::Millis;
use crate::topology::graph::{NullValues, Side, Topology};

const PARTITIONS: i32 = 3;
/// No record is later than this in its own partition.
const GRACE_MS: i64 = 20;

/// A join of two streams.
#[derive(Clone, Copy, Debug)]
struct Shape {
    kind: JoinKind,
    before_ms: i64,
    after_ms: i64,
    /// Which sides are keyed by something else in their topics, by [`Side`]; one of them at least. (Where
    /// neither is, Kafka Streams' own rules decide by the order of arrival.)
    are_moved: [bool; 2],
    end: End,
}

/// What comes behind everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A record in each partition of both topics.
    Everywhere,
    /// In each partition of this side; the other one is silent from then on.
    On(Side),
}

const USUAL: Shape = Shape {
    kind: JoinKind::Inner,
    before_ms: 30,
    after_ms: 10,
    are_moved: [true, true],
    end: End::Everywhere,
};

fn shape() -> impl Strategy<Value = Shape> {
    let kind = prop::sample::select(vec![JoinKind::Inner, JoinKind::Left, JoinKind::Outer]);
    let are_moved = prop::sample::select(vec![[true, true], [true, false], [false, true]]);
    let ends = vec![End::Everywhere, End::On(Side::Left), End::On(Side::Right)];
    let end = prop::sample::select(ends);
    (kind, 0..40i64, 0..40i64, are_moved, end).prop_map(
        |(kind, before_ms, after_ms, are_moved, end)| Shape {
            kind,
            before_ms,
            after_ms,
            are_moved,
            end,
        },
    )
}

/// What happens, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    Record {
        is_left: bool,
        partition: i32,
        key: u8,
        /// How far the partition's clock goes on.
        advance_ms: i64,
        /// How far behind it the record is.
        late_ms: i64,
    },
    Fate(Fate),
}

fn step() -> impl Strategy<Value = Step> {
    let record = (any::<bool>(), 0..PARTITIONS, 0..3u8, 0..25i64, 0..=GRACE_MS);
    prop_oneof![
        12 => record.prop_map(|(is_left, partition, key, advance_ms, late_ms)| Step::Record {
            is_left, partition, key, advance_ms, late_ms,
        }),
        5 => fate().prop_map(Step::Fate),
    ]
}

/// A record that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    side: Side,
    key: u8,
    time: i64,
    number: usize,
}

/// Later than everything else.
const END_MS: i64 = 10_000_000_000_000;

/// One is the beginning of another.
const KEYS: [&str; 3] = ["k", "k1", "k1é"];

fn topology(shape: Shape) -> Topology {
    let mut builder = Topology::builder("app");
    for side in Side::BOTH {
        let (name, topic) = (format!("{}_by_k", side.word()), side.word());
        let source = Source::json(topic).timestamp("at").no_max_ahead();
        builder = match shape.are_moved[side as usize] {
            true => builder.source(topic, source).select_key(&name, topic, "k"),
            false => builder.source(&name, source),
        };
    }
    let join = Join::with("right_by_k", "r")
        .before_and_after(Millis(shape.before_ms), Millis(shape.after_ms))
        .grace(Millis(GRACE_MS))
        .kind(shape.kind);
    let builder = builder.join("both", "left_by_k", join);
    let sink = KafkaSink::topic("out").field("l", "n").field("r", "r.n");
    builder.kafka("out", "both", sink).build().unwrap()
}

/// The numbers of the two records of each result; none for a side that is missing.
type Results = BTreeMap<(Option<usize>, Option<usize>), usize>;

/// What the definition of the join says.
fn expected(sent: &[Sent], shape: Shape) -> Results {
    let kind = shape.kind;
    let of = |side| sent.iter().filter(move |record| record.side == side);
    let meet = |l: &Sent, r: &Sent| {
        let around = l.time - shape.before_ms..=l.time + shape.after_ms;
        l.key == r.key && around.contains(&r.time)
    };
    let mut results = Results::new();
    for l in of(Side::Left) {
        for r in of(Side::Right).filter(|r| meet(l, r)) {
            results.insert((Some(l.number), Some(r.number)), 1);
        }
        if kind.keeps(Side::Left) && !of(Side::Right).any(|r| meet(l, r)) {
            results.insert((Some(l.number), None), 1);
        }
    }
    for r in of(Side::Right) {
        if kind.keeps(Side::Right) && !of(Side::Left).any(|l| meet(l, r)) {
            results.insert((None, Some(r.number)), 1);
        }
    }
    results
}

/// What the engine says.
fn played(steps: &[Step], shape: Shape) -> (Vec<Sent>, Results) {
    let options = DriverOptions {
        partitions: PARTITIONS as u32,
        commit_each: false,
        ..DriverOptions::default()
    };
    let mut driver = TopologyTestDriver::with_options(&topology(shape), options).unwrap();
    driver.broker().shuffle_reads(steps.len() as u64);
    // Partitions are far apart in time, as when a backlog is read.
    let mut clocks: Vec<i64> = (0..PARTITIONS).map(|p| i64::from(p) * 100).collect();
    let mut sent = Vec::new();
    let pipe = |driver: &mut TopologyTestDriver, side: Side, partition, time, k: &str, n: usize| {
        let value = format!(r#"{{"at":{time},"k":"{k}","n":{n}}}"#);
        let record = TestRecord::text(&value).key(k).in_partition(partition);
        driver.pipe_record(side.word(), &record).unwrap();
    };
    for step in steps {
        match *step {
            Step::Record {
                is_left,
                partition,
                key,
                advance_ms,
                late_ms,
            } => {
                let side = match is_left {
                    true => Side::Left,
                    false => Side::Right,
                };
                let k = KEYS[key as usize];
                let partition = match shape.are_moved[side as usize] {
                    true => partition,
                    false => partition_of(k.as_bytes(), PARTITIONS as u32),
                };
                let clock = &mut clocks[partition as usize];
                *clock += advance_ms;
                let (time, number) = (*clock - late_ms, sent.len());
                pipe(&mut driver, side, partition, time, k, number);
                sent.push(Sent {
                    side,
                    key,
                    time,
                    number,
                });
            }
            Step::Fate(fate) => driver.meet(fate),
        }
    }
    // Time goes on, so that nothing waits any more.
    let goes_on = |side: &Side| shape.end == End::Everywhere || shape.end == End::On(*side);
    for side in Side::BOTH.into_iter().filter(goes_on) {
        for partition in 0..PARTITIONS {
            let k = format!("end of {} {partition}", side.word());
            pipe(&mut driver, side, partition, END_MS, &k, usize::MAX);
        }
    }
    if shape.end != End::Everywhere {
        for _ in 0..6 {
            driver.commit().unwrap();
            driver.advance_wall_clock(5_001).unwrap();
        }
    }
    // Reads are in portions, of which a driver may see none for a while.
    for _ in 0..20 {
        driver.commit().unwrap();
    }
    let mut results = Results::new();
    for record in driver.read_json("out") {
        let number = |name: &str| record[name].as_u64().map(|n| n as usize);
        *results.entry((number("l"), number("r"))).or_default() += 1;
    }
    assert!(results.keys().all(|pair| *pair != (None, None)));
    (sent, results)
}

/// A partition is read thirty years ahead of another one: what that one has is joined as ever, and
/// nobody looks through all the time in between, which has more than a billion lengths of the window.
#[test]
fn a_partition_that_is_far_ahead_holds_up_nothing() {
    let record = |is_left, partition, key, advance_ms| Step::Record {
        is_left,
        partition,
        key,
        advance_ms,
        late_ms: 0,
    };
    let years_ms = 30 * 365 * 24 * 3_600_000;
    let mut steps = vec![
        record(true, 1, 0, years_ms),
        record(false, 1, 0, 0),
        Step::Fate(Fate::Commit),
    ];
    for n in 0..12 {
        steps.push(record(n % 2 == 0, 0, n % 3, 1));
        steps.push(Step::Fate(
            [Fate::Commit, Fate::LoseState][n as usize / 3 % 2],
        ));
    }
    for kind in [JoinKind::Inner, JoinKind::Outer] {
        let shape = Shape { kind, ..USUAL };
        let (sent, found) = played(&steps, shape);
        assert_eq!(found, expected(&sent, shape), "{kind:?}");
    }
}

proptest! {
    #![proptest_config(config(120))]

    /// Nothing is missed and nothing comes twice, whatever the order in which partitions are read,
    /// and wherever the process dies.
    #[test]
    fn two_streams_give_all_pairs_that_there_are(
        steps in prop::collection::vec(step(), 1..60),
        shape in shape(),
    ) {
        let (sent, found) = played(&steps, shape);
        prop_assert_eq!(found, expected(&sent, shape));
    }
}

/// What happens to the tables, one after the other.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// The row of a key, or that it is deleted.
    Row {
        is_left: bool,
        key: u8,
        row: Option<u8>,
    },
    Fate(Fate),
}

fn change() -> impl Strategy<Value = Change> {
    let row = (any::<bool>(), 0..5u8, prop::option::weighted(0.7, 0..4u8));
    prop_oneof![
        12 => row.prop_map(|(is_left, key, row)| Change::Row { is_left, key, row }),
        5 => fate().prop_map(Change::Fate),
    ]
}

/// A driver for `left` with the table `right`, one of whose stores each side needs.
fn with_tables(kind: JoinKind, left_is_table: bool) -> TopologyTestDriver {
    let passing = |topic: &str| Source::json(topic).null_values(NullValues::Pass);
    let builder = Topology::builder("app")
        .source("left_in", passing("left"))
        .source("right_in", passing("right"))
        .table("right_rows", "right_in", Table::new())
        .table("left_rows", "left_in", Table::new().not_stored());
    let left = match left_is_table {
        true => "left_rows",
        false => "left_in",
    };
    let sink = KafkaSink::topic("out").field("l", "n").field("r", "r.n");
    let topology = builder
        .join("both", left, Join::with("right_rows", "r").kind(kind))
        .kafka("out", "both", sink)
        .kafka("unused", "left_rows", KafkaSink::topic("unused"))
        .build()
        .unwrap();
    let options = DriverOptions {
        partitions: PARTITIONS as u32,
        commit_each: false,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

/// Plays changes; tells `seen` what is known of the key after each.
fn play_changes(
    driver: &mut TopologyTestDriver,
    changes: &[Change],
    mut seen: impl FnMut(bool, u8, Option<u8>, Option<u8>),
) {
    let mut rows: [BTreeMap<u8, u8>; 2] = Default::default();
    for (at, change) in changes.iter().enumerate() {
        match *change {
            Change::Row { is_left, key, row } => {
                let topic = if is_left { "left" } else { "right" };
                let value = row.map(|n| format!(r#"{{"n":{n}}}"#));
                let piped = driver.try_pipe(
                    topic,
                    Some(format!("k{key}").as_bytes()),
                    value.as_ref().map(String::as_bytes),
                    // What a crash has undone is taken in the same order again.
                    Timestamp(at as i64),
                );
                piped.unwrap();
                let rows_of_side = &mut rows[usize::from(!is_left)];
                match row {
                    Some(n) => rows_of_side.insert(key, n),
                    None => rows_of_side.remove(&key),
                };
                let known = |side: usize| rows[side].get(&key).copied();
                seen(is_left, key, known(0), known(1));
            }
            Change::Fate(fate) => driver.meet(fate),
        }
    }
    driver.commit().unwrap();
}

/// What a topic says, by key: the left and the right row of each result, in order.
fn said(driver: &mut TopologyTestDriver) -> BTreeMap<String, Vec<Option<serde_json::Value>>> {
    let mut said: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for record in driver.read("out") {
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        let value = record
            .value
            .map(|value| serde_json::from_slice(&value).unwrap());
        said.entry(key).or_default().push(value);
    }
    said
}

fn pair(left: Option<u8>, right: Option<u8>) -> serde_json::Value {
    serde_json::json!({"l": left, "r": right})
}

proptest! {
    #![proptest_config(config(40))]

    /// The last word on each key is what the definition says of the last rows.
    #[test]
    fn two_tables_end_as_the_join_of_their_rows(
        changes in prop::collection::vec(change(), 1..80),
        kind in prop::sample::select(vec![JoinKind::Inner, JoinKind::Left, JoinKind::Outer]),
    ) {
        let mut driver = with_tables(kind, true);
        let mut expected = BTreeMap::new();
        play_changes(&mut driver, &changes, |_, key, left, right| {
            let has_result = match (left, right) {
                (Some(_), Some(_)) => true,
                (Some(_), None) => kind.keeps(Side::Left),
                (None, Some(_)) => kind.keeps(Side::Right),
                (None, None) => false,
            };
            expected.insert(format!("k{key}"), has_result.then(|| pair(left, right)));
        });
        let last = said(&mut driver).into_iter();
        let mut last: BTreeMap<_, _> = last.map(|(key, mut all)| (key, all.pop().flatten())).collect();
        last.retain(|_, value| value.is_some());
        expected.retain(|_, value| value.is_some());
        prop_assert_eq!(last, expected);
    }

    /// Each record has the row of the moment in which it came.
    #[test]
    fn a_stream_finds_the_rows_of_a_table(
        changes in prop::collection::vec(change(), 1..80),
        kind in prop::sample::select(vec![JoinKind::Inner, JoinKind::Left]),
    ) {
        let mut driver = with_tables(kind, false);
        let mut expected: BTreeMap<String, Vec<_>> = BTreeMap::new();
        play_changes(&mut driver, &changes, |is_left, key, left, right| {
            if is_left && left.is_some() && (right.is_some() || kind.keeps(Side::Left)) {
                let results = expected.entry(format!("k{key}")).or_default();
                results.push(Some(pair(left, right)));
            }
        });
        prop_assert_eq!(said(&mut driver), expected);
    }
}
