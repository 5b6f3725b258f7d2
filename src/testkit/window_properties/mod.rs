//! Windows of every kind against their definitions: out of order and late, with results that are
//! updated or leave once, beside the source and behind a repartition, with commits and crashes
//! anywhere.
//!
//! Runs are the same each time; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` make others. What has failed
//! once is kept in `src/testkit/regressions/failed.txt` and played first.

mod oracle;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::fate::{Fate, config, fate};
use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::processor::DropReason;
use crate::time::Timestamp;
use crate::topology::builder::{KafkaSink, Rollup, Source};
use crate::topology::duration::Millis;
use crate::topology::graph::{Emit, Topology, WindowKind};
use crate::window::{Period, Zone};
use oracle::{Results, expected};

const PARTITIONS: i32 = 3;

/// Where the clocks of partitions begin, in units. All windows lie behind the epoch.
const BEGIN: i64 = 10_000;

/// So far behind its partition's clock a record is late for everything.
const HOPELESS: i64 = 5_000;

/// How an aggregate folds.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: WindowKind,
    grace: i64,
    emit: Emit,
    /// Whether it is behind a repartition.
    is_moved: bool,
    /// How long a unit of the times of records is, and of the grace: of days there have to be some.
    unit_ms: i64,
    /// Where those times begin.
    zero_ms: i64,
}

/// What happens, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    Record {
        /// Behind a repartition; beside the source it is that of the key.
        partition: i32,
        key: u8,
        /// How far the partition's clock goes on, in units.
        advance: i64,
        late: Late,
        x: i64,
    },
    Fate(Fate),
}

/// How far a record is behind the clock of its partition.
#[derive(Clone, Copy, Debug)]
enum Late {
    /// In thousandths of the grace.
    WithinGrace(i64),
    /// Anything, where the windows have an answer that does not depend on what else there is.
    Any(i64),
    Hopeless,
}

/// A record that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    partition: i32,
    key: u8,
    /// In milliseconds.
    time: i64,
    x: i64,
}

fn step() -> impl Strategy<Value = Step> {
    let late = prop_oneof![
        6 => Just(Late::WithinGrace(0)),
        6 => (0..=1_000i64).prop_map(Late::WithinGrace),
        2 => (0..150i64).prop_map(Late::Any),
        1 => Just(Late::Hopeless),
    ];
    let record = (0..PARTITIONS, 0..3u8, 0..25i64, late, 0..100i64);
    prop_oneof![
        14 => record.prop_map(|(partition, key, advance, late, x)| Step::Record {
            partition, key, advance, late, x,
        }),
        5 => fate().prop_map(Step::Fate),
    ]
}

fn case(kind: impl Strategy<Value = WindowKind>) -> impl Strategy<Value = Case> {
    let emit = prop::sample::select(vec![Emit::Updates, Emit::Close]);
    (kind, 0..40i64, emit, any::<bool>()).prop_map(|(kind, grace, emit, is_moved)| Case {
        kind,
        grace,
        emit,
        is_moved,
        unit_ms: 1,
        zero_ms: 0,
    })
}

/// Days, weeks and months of zones whose clocks change: at midnight, by half an hour, or by a whole day;
/// over some weeks in different seasons.
fn calendar_case() -> impl Strategy<Value = Case> {
    let zones = [
        "Europe/Berlin",
        "America/New_York",
        "America/Santiago",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "UTC",
    ];
    let zone = prop::sample::select(zones.to_vec());
    let periods = [
        Period::Days(1),
        Period::Days(3),
        Period::Week,
        Period::Month,
    ];
    let kind = (zone, prop::sample::select(periods.to_vec()));
    let kind = kind.prop_map(|(zone, period)| WindowKind::Calendar {
        period,
        zone: Zone::find(zone).expect("a zone"),
    });
    // From the end of 2010, in steps of a day; Apia left out a day at the end of 2011.
    (case(kind), 0..900i64).prop_map(|(case, days)| Case {
        unit_ms: 40 * 60_000,
        zero_ms: 1_269_000_000_000 + days * 24 * 3_600_000,
        ..case
    })
}

impl Case {
    /// The time of so many units, in milliseconds.
    fn at(&self, units: i64) -> i64 {
        self.zero_ms + units * self.unit_ms
    }

    fn grace_ms(&self) -> i64 {
        self.grace * self.unit_ms
    }
}

fn topology(case: Case) -> Topology {
    let source = Source::json("in").timestamp("at").no_max_ahead();
    let source = match case.is_moved {
        true => source,
        false => source.key("k"),
    };
    let rollup = Rollup::by(["k"])
        .windows(case.kind)
        .grace(Millis(case.grace_ms()))
        .emit(case.emit)
        .set("n", "count()")
        .set("sum", "sum(x)");
    let sink = KafkaSink::topic("out")
        .key("json([k, window_start, window_end])")
        .field("n", "n")
        .field("sum", "sum");
    Topology::builder("app")
        .source("s", source)
        .aggregate("windows", "s", rollup)
        .kafka("out", "windows", sink)
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// What the engine makes of it.
struct Played {
    sent: Vec<Sent>,
    results: Results,
    late: u64,
}

fn played(case: Case, steps: &[Step]) -> Played {
    let options = DriverOptions {
        partitions: PARTITIONS as u32,
        commit_each: false,
        ..DriverOptions::default()
    };
    let mut driver = TopologyTestDriver::with_options(&topology(case), options).unwrap();
    // Partitions are far apart in time, as when a backlog is read.
    let mut clocks: Vec<i64> = (0..PARTITIONS)
        .map(|partition| BEGIN + i64::from(partition) * 100)
        .collect();
    let mut sent = Vec::new();
    for step in steps {
        match *step {
            Step::Record {
                partition,
                key,
                advance,
                late,
                x,
            } => {
                let partition = match case.is_moved {
                    true => partition,
                    false => i32::from(key) % PARTITIONS,
                };
                let clock = &mut clocks[partition as usize];
                *clock += advance;
                let time = case.at(*clock - late.behind(case));
                pipe(&mut driver, partition, &format!("k{key}"), time, x);
                sent.push(Sent {
                    partition,
                    key,
                    time,
                    x,
                });
            }
            Step::Fate(fate) => driver.meet(fate),
        }
    }
    // Time goes on everywhere, so that no window is open any more.
    for partition in 0..PARTITIONS {
        let key = format!("end {partition}");
        pipe(&mut driver, partition, &key, case.at(1_000_000), 0);
    }
    for _ in 0..3 {
        driver.commit().unwrap();
    }
    Played {
        results: read(&mut driver, case.emit),
        late: driver.drops("windows", DropReason::Late),
        sent,
    }
}

impl Late {
    fn behind(self, case: Case) -> i64 {
        use WindowKind::{Calendar, Hopping, Tumbling};
        match (self, case.kind) {
            (Late::WithinGrace(part), _) => case.grace * part / 1_000,
            (Late::Any(units), Tumbling { .. } | Hopping { .. } | Calendar { .. }) => units,
            // Which sessions and sliding windows such a record meets is a matter of what else has
            // come: the conformance cases have those.
            (Late::Any(units), _) => units.min(case.grace),
            (Late::Hopeless, _) => HOPELESS,
        }
    }
}

fn pipe(driver: &mut TopologyTestDriver, partition: i32, key: &str, time: i64, x: i64) {
    let value = format!(r#"{{"k":"{key}","at":{time},"x":{x}}}"#);
    let record = TestRecord::text(&value).key(key).in_partition(partition);
    driver.pipe_record("in", &record).unwrap();
}

/// The last word on each window. With `emit: close` there is one.
fn read(driver: &mut TopologyTestDriver, emit: Emit) -> Results {
    let mut said: BTreeMap<_, _> = BTreeMap::new();
    for record in driver.read("out") {
        let identity: (String, String, String) =
            serde_json::from_slice(&record.key.unwrap()).unwrap();
        let ms = |text: &str| Timestamp::parse_rfc3339(text).unwrap().0;
        let identity = (identity.0, ms(&identity.1), ms(&identity.2));
        let value = record.value.map(|value| {
            let value: serde_json::Value = serde_json::from_slice(&value).unwrap();
            (value["n"].as_i64().unwrap(), value["sum"].as_i64().unwrap())
        });
        let before = said.insert(identity.clone(), value);
        assert!(
            emit == Emit::Updates || before.is_none(),
            "{identity:?} has left twice"
        );
    }
    let there = said
        .into_iter()
        .filter_map(|(identity, value)| Some((identity, value?)));
    let of_steps = there.filter(|((key, ..), _)| !key.starts_with("end"));
    of_steps.collect()
}

fn holds(case: Case, steps: &[Step]) -> Result<(), TestCaseError> {
    let played = played(case, steps);
    let expected = expected(case, &played.sent);
    prop_assert_eq!(played.results, expected.results);
    prop_assert_eq!(played.late, expected.late, "late");
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn tumbling_windows_hold_what_is_in_them(
        case in case((1..60i64).prop_map(|size_ms| WindowKind::Tumbling { size_ms })),
        steps in steps(),
    ) {
        holds(case, &steps)?;
    }

    #[test]
    fn days_weeks_and_months_hold_what_is_in_them(case in calendar_case(), steps in steps()) {
        holds(case, &steps)?;
    }

    #[test]
    fn hopping_windows_hold_what_is_in_them(
        case in case((1..60i64, 1..60i64).prop_map(|(size_ms, advance)| WindowKind::Hopping {
            size_ms,
            advance_ms: advance.min(size_ms),
        })),
        steps in steps(),
    ) {
        holds(case, &steps)?;
    }

    #[test]
    fn sliding_windows_hold_what_is_in_them(
        case in case((1..60i64).prop_map(|difference_ms| WindowKind::Sliding { difference_ms })),
        steps in steps(),
    ) {
        holds(case, &steps)?;
    }

    #[test]
    fn sessions_hold_what_is_in_them(
        case in case((1..60i64).prop_map(|gap_ms| WindowKind::Session { gap_ms })),
        steps in steps(),
    ) {
        holds(case, &steps)?;
    }
}
