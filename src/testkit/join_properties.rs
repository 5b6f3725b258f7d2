//! Joins of two streams against all pairs that there are, over many partitions and orders of arrival.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{DriverOptions, TopologyTestDriver};
use crate::topology::builder::{Join, JoinKind, KafkaSink, Source};
use crate::topology::duration::Millis;
use crate::topology::graph::{Side, Topology};

const PARTITIONS: i32 = 3;
const BEFORE_MS: i64 = 30;
const AFTER_MS: i64 = 10;
/// No record is later than this in its own partition.
const GRACE_MS: i64 = 20;

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
    Commit,
    Crash,
    LoseState,
}

fn step() -> impl Strategy<Value = Step> {
    let record = (any::<bool>(), 0..PARTITIONS, 0..3u8, 0..25i64, 0..=GRACE_MS);
    prop_oneof![
        12 => record.prop_map(|(is_left, partition, key, advance_ms, late_ms)| Step::Record {
            is_left, partition, key, advance_ms, late_ms,
        }),
        3 => Just(Step::Commit),
        1 => Just(Step::Crash),
        1 => Just(Step::LoseState),
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

/// Both streams are keyed by something else than what they are joined by.
fn topology(kind: JoinKind) -> Topology {
    let builder = Topology::builder("app")
        .source("left_in", Source::json("left").timestamp("at"))
        .source("right_in", Source::json("right").timestamp("at"))
        .select_key("left_by_k", "left_in", "k")
        .select_key("right_by_k", "right_in", "k")
        .join(
            "both",
            "left_by_k",
            Join::with("right_by_k", "r")
                .before_and_after(Millis(BEFORE_MS), Millis(AFTER_MS))
                .grace(Millis(GRACE_MS))
                .kind(kind),
        );
    let sink = KafkaSink::topic("out").field("l", "n").field("r", "r.n");
    builder.kafka("out", "both", sink).build().unwrap()
}

/// The numbers of the two records of each result; none for a side that is missing.
type Results = BTreeMap<(Option<usize>, Option<usize>), usize>;

/// What the definition of the join says.
fn expected(sent: &[Sent], kind: JoinKind) -> Results {
    let of = |side| sent.iter().filter(move |record| record.side == side);
    let meet = |l: &Sent, r: &Sent| {
        l.key == r.key && (l.time - BEFORE_MS..=l.time + AFTER_MS).contains(&r.time)
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
fn played(steps: &[Step], kind: JoinKind) -> (Vec<Sent>, Results) {
    let options = DriverOptions {
        partitions: PARTITIONS as u32,
        commit_each: false,
        ..DriverOptions::default()
    };
    let mut driver = TopologyTestDriver::with_options(&topology(kind), options).unwrap();
    // Partitions are far apart in time, as when a backlog is read.
    let mut clocks: Vec<i64> = (0..PARTITIONS).map(|p| i64::from(p) * 100).collect();
    let mut sent = Vec::new();
    let pipe = |driver: &mut TopologyTestDriver, topic, partition, time, k: &str, n: usize| {
        let value = format!(r#"{{"at":{time},"k":"{k}","n":{n}}}"#);
        driver.pipe_to(topic, partition, &value);
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
                let clock = &mut clocks[partition as usize];
                *clock += advance_ms;
                let (side, topic) = match is_left {
                    true => (Side::Left, "left"),
                    false => (Side::Right, "right"),
                };
                let (time, number) = (*clock - late_ms, sent.len());
                pipe(
                    &mut driver,
                    topic,
                    partition,
                    time,
                    &format!("k{key}"),
                    number,
                );
                sent.push(Sent {
                    side,
                    key,
                    time,
                    number,
                });
            }
            Step::Commit => driver.commit().unwrap(),
            Step::Crash => {
                driver.crash();
                driver.restart().unwrap();
            }
            Step::LoseState => {
                driver.lose_state();
                driver.restart().unwrap();
            }
        }
    }
    // Time goes on everywhere, so that nothing waits any more.
    for topic in ["left", "right"] {
        for partition in 0..PARTITIONS {
            let k = format!("end of {topic} {partition}");
            pipe(&mut driver, topic, partition, 1_000_000, &k, usize::MAX);
        }
    }
    for _ in 0..3 {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Nothing is missed and nothing comes twice, whatever the order in which partitions are read,
    /// and wherever the process dies.
    #[test]
    fn two_streams_give_all_pairs_that_there_are(
        steps in prop::collection::vec(step(), 1..60),
        kind in prop::sample::select(vec![JoinKind::Inner, JoinKind::Left, JoinKind::Outer]),
    ) {
        let (sent, found) = played(&steps, kind);
        prop_assert_eq!(found, expected(&sent, kind));
    }
}
