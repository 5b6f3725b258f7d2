//! Deduplication: which of equal records pass, also across crashes, and what becomes of the others.

use std::ops::ControlFlow;
use std::sync::Arc;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

use super::fate::{Fate, config, fate};
use super::sink_rows::sink_rows;
use super::{DriverOptions, TopologyTestDriver};
use crate::processor::DropReason;
use crate::state::StateBackend as _;
use crate::time::Timestamp;
use crate::topology::plan::plan;

/// Records of `in` as they come, but for duplicates; `settings` are those of the deduplicate.
fn file(settings: &str) -> String {
    format!(
        "
app: app
nodes:
  s: {{ source: {{ topic: in, key: k, null_values: pass }} }}
  first: {{ deduplicate: {{ from: s, {settings} }} }}
  out: {{ kafka: {{ from: first, topic: out }} }}
"
    )
}

fn driver_with(file: &str, options: DriverOptions) -> TopologyTestDriver {
    let topology = crate::config::parse(file, "t.yaml").unwrap_or_else(|error| panic!("{error}"));
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

fn driver(file: &str) -> TopologyTestDriver {
    driver_with(file, DriverOptions::default())
}

/// Writes a record with that number; its time is in seconds.
fn pipe(driver: &mut TopologyTestDriver, key: &str, at_s: i64, n: usize) {
    let value = json!({"k": key, "n": n}).to_string();
    let (key, value) = (key.as_bytes(), value.as_bytes());
    let time = Timestamp(at_s * 1_000);
    driver.try_pipe("in", Some(key), Some(value), time).unwrap();
}

/// The numbers of those that have passed since the last look.
fn passed(driver: &mut TopologyTestDriver) -> Vec<usize> {
    let values = driver.read_json("out").into_iter();
    let numbers = values.map(|value| value["n"].as_u64().unwrap() as usize);
    numbers.collect()
}

/// ```text
///   within 10 s      0        10 11    15   20 21 22 23         33
///   a                p         d  p             d  p             p     10 s apart is near, 11 s is not
///   b                                   d   p        d                 15 came behind 20, and is near
///   c                                              l                   stream time 33: 22 is too old
/// ```
#[test]
fn of_records_that_are_near_each_other_the_first_passes() {
    let mut driver = driver(&file("within: 10s"));
    let times = [("a", 0), ("a", 10), ("a", 11), ("a", 21), ("a", 22)];
    for (n, (key, at_s)) in times.into_iter().enumerate() {
        pipe(&mut driver, key, at_s, n);
    }
    assert_eq!(passed(&mut driver), [0, 2, 4]);
    for (n, (key, at_s)) in [("b", 20), ("b", 15), ("a", 33), ("b", 23)]
        .into_iter()
        .enumerate()
    {
        pipe(&mut driver, key, at_s, 10 + n);
    }
    assert_eq!(passed(&mut driver), [10, 12]);
    assert_eq!(driver.drops("first", DropReason::Duplicate), 4);
    pipe(&mut driver, "c", 22, 20);
    assert_eq!(passed(&mut driver), [0; 0]);
    assert_eq!(driver.drops("first", DropReason::Late), 1);
    assert!(driver.dead_letters().is_empty());
}

/// ```text
///   a 0 ─ crash ─ a 5 ─ disk lost ─ a 9, b 9 ─ a 11        5 and 9 are duplicates all the same
/// ```
#[test]
fn what_has_passed_is_known_after_a_crash_and_on_another_disk() {
    let mut driver = driver(&file("within: 10s"));
    pipe(&mut driver, "a", 0, 0);
    driver.crash();
    driver.restart().unwrap();
    pipe(&mut driver, "a", 5, 1);
    driver.lose_state();
    driver.restart().unwrap();
    for (n, (key, at_s)) in [("a", 9), ("b", 9), ("a", 11)].into_iter().enumerate() {
        pipe(&mut driver, key, at_s, 2 + n);
    }
    assert_eq!(passed(&mut driver), [0, 3, 4]);
    driver.lose_state();
    driver.restart().unwrap();
    pipe(&mut driver, "c", 0, 9);
    assert_eq!(
        driver.drops("first", DropReason::Late),
        1,
        "it is known how far time had come"
    );
}

/// Many records, commits and crashes: each record passes or not as if nothing had happened.
#[test]
fn crashes_and_commits_change_nothing_about_what_passes() {
    for seed in 0..10 {
        let run = |is_quiet: bool| {
            let options = DriverOptions {
                commit_each: is_quiet,
                ..DriverOptions::default()
            };
            let mut driver = driver_with(&file("within: 10s, grace: 15s"), options);
            let random = &mut StdRng::seed_from_u64(seed);
            let (mut now, mut all) = (100, Vec::new());
            for n in 0..120 {
                now += random.random_range(0..4);
                let at_s = now - random.random_range(0..2) * random.random_range(0..25);
                pipe(
                    &mut driver,
                    ["a", "b", "c"][random.random_range(0..3)],
                    at_s,
                    n,
                );
                match random.random_range(0..10) {
                    _ if is_quiet => {}
                    0..3 => driver.commit().unwrap(),
                    3 => {
                        driver.crash();
                        driver.restart().unwrap();
                    }
                    4 => {
                        driver.lose_state();
                        driver.restart().unwrap();
                    }
                    _ => {}
                }
                all.extend(passed(&mut driver));
            }
            driver.commit().unwrap();
            all.extend(passed(&mut driver));
            let drops = [DropReason::Duplicate, DropReason::Late];
            (all, drops.map(|reason| driver.drops("first", reason)))
        };
        let quiet = run(true);
        assert!(quiet.1.iter().all(|count| *count > 0), "{quiet:?}");
        assert_eq!(run(false).0, quiet.0, "seed {seed}");
    }
}

/// ```text
///   by k and n:   a 1   a 2   a 1   b 1          a without n, or another k than the key: put aside
///                  p     p     d     p
/// ```
#[test]
fn records_are_told_apart_by_all_of_by_and_what_has_no_key_is_put_aside() {
    let mut driver = driver(&file(
        "by: [k, n * 1], within: 10s, on_duplicate: dead_letter",
    ));
    for (key, n) in [("a", 1), ("a", 2), ("a", 1), ("b", 1)] {
        pipe(&mut driver, key, 0, n);
    }
    assert_eq!(passed(&mut driver), [1, 2, 1]);
    let letters = driver.dead_letters();
    assert_eq!(
        letters[0].value.as_deref(),
        Some(&br#"{"k":"a","n":1}"#[..])
    );
    let message = letters[0]
        .headers
        .iter()
        .find(|(name, _)| name == "tidemill.message");
    assert_eq!(
        String::from_utf8_lossy(&message.unwrap().1),
        "of 1970-01-01T00:00:00.000Z: one of 1970-01-01T00:00:00.000Z has passed"
    );
    driver.pipe("in", Some("a"), r#"{"k":"a"}"#);
    driver.pipe("in", Some("a"), r#"{"k":"b","n":1}"#);
    driver.pipe("in", Some("a"), r#"{"k":"a","n":null}"#);
    assert_eq!(driver.drops("first", DropReason::Expression), 2);
    assert_eq!(driver.drops("first", DropReason::KeyMismatch), 1);
    assert_eq!(driver.dead_letters().len(), 3);
}

#[test]
fn a_record_without_a_key_is_told_apart_from_none() {
    let mut driver = driver(&file("within: 10s").replace(", key: k", ""));
    driver.pipe("in", None, r#"{"n":1}"#);
    driver.pipe("in", Some(""), r#"{"n":2}"#);
    assert_eq!(passed(&mut driver), [2]);
    assert_eq!(driver.drops("first", DropReason::NullKey), 1);
}

/// ```text
///   source ─→ map ─→ deduplicate ─→ filter ─→ SQL      reads the results topic, in a group of its own
/// ```
#[test]
fn a_sql_sink_gets_the_events_and_the_computed_fields_of_those_that_passed() {
    let table = "
  twice: { map: { from: s, set: { twice: n * 2 } } }
  some: { filter: { from: first, where: \"!has(n) || n != 3\" } }
  table: { sql: { from: some, table: t, key: k, columns: { k: k, n: n, twice: twice } } }
";
    let file = file("within: 10s").replace("from: s,", "from: twice,");
    let mut driver = driver(&format!("{}{table}", file.trim_end()));
    for (n, (key, at_s)) in [("a", 0), ("a", 1), ("b", 2), ("c", 3), ("a", 11)]
        .into_iter()
        .enumerate()
    {
        pipe(&mut driver, key, at_s, n);
    }
    let time = Timestamp(12_000);
    driver.try_pipe("in", Some(b"d"), None, time).unwrap();
    let rows = sink_rows(&driver, "table");
    assert_eq!(
        rows,
        ["a, 0, 0", "b, 2, 4", "a, 4, 8", "deleted: d, null, null"]
    );
}

#[test]
fn what_nobody_asks_for_any_more_is_deleted_from_the_store() {
    let mut driver = driver(&file("within: 10s, grace: 0s"));
    for n in 0..100 {
        pipe(&mut driver, "a", n as i64 * 20, n);
    }
    assert_eq!(passed(&mut driver).len(), 100);
    let state = driver.backend.open("s-0", &["first".to_owned()]).unwrap();
    let mut entries = 0;
    let mut count = |_: &[u8], _: &[u8]| {
        entries += 1;
        ControlFlow::Continue(())
    };
    state.scan(0, &[1], &[0xFF; 9], &mut count).unwrap();
    assert_eq!(entries, 1);
}

#[test]
fn another_length_or_key_is_refused_and_another_grace_is_not() {
    let check = |settings: &str, is_good: bool| {
        let mut driver = driver(&file("by: k, within: 10s"));
        pipe(&mut driver, "a", 1, 0);
        let topology = crate::config::parse(&file(settings), "t.yaml").unwrap();
        driver.plan = Arc::new(plan(&topology).unwrap());
        let restarted = driver.restart().map_err(|error| error.to_string());
        assert_eq!(restarted.is_ok(), is_good, "{restarted:?}\n{settings}");
        if let Err(error) = restarted {
            assert!(error.contains("the topology was changed"), "{error}");
        }
    };
    check("by: k, within: 10s, grace: 1m", true);
    check("by: k, within: 20s", false);
    check("by: [k, n], within: 10s", false);
}

const WITHIN_MS: i64 = 20;
const GRACE_MS: i64 = 15;

/// What happens, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    Record {
        partition: i32,
        key: u8,
        /// How far the partition's clock goes on.
        advance_ms: i64,
        /// How far behind it the record is.
        behind_ms: i64,
    },
    Fate(Fate),
}

fn step() -> impl Strategy<Value = Step> {
    let record = (0..3i32, 0..3u8, 0..10i64, 0..2 * GRACE_MS);
    prop_oneof![
        12 => record.prop_map(|(partition, key, advance_ms, behind_ms)| Step::Record {
            partition, key, advance_ms, behind_ms,
        }),
        5 => fate().prop_map(Step::Fate),
    ]
}

proptest! {
    #![proptest_config(config(60))]

    /// Records that are known by a key which they were given are moved to be together. Whichever of
    /// equal ones comes first, from partitions that are far apart in time, and wherever the process
    /// dies: of those that pass no two are duplicates, and any other one is a duplicate of one of them,
    /// or late in its own partition.
    #[test]
    fn records_under_another_key_are_judged_together(steps in prop::collection::vec(step(), 1..80)) {
        let file = format!(
            "
app: app
nodes:
  s: {{ source: {{ topic: in, timestamp: at }} }}
  by_k: {{ select_key: {{ from: s, key: k }} }}
  first: {{ deduplicate: {{ from: by_k, within: {WITHIN_MS}ms, grace: {GRACE_MS}ms }} }}
  out: {{ kafka: {{ from: first, topic: out }} }}
"
        );
        let options = DriverOptions {
            partitions: 3,
            commit_each: false,
            ..DriverOptions::default()
        };
        let mut driver = driver_with(&file, options);
        let mut clocks = [0, 1_000, 2_000];
        let mut highest = [i64::MIN; 3];
        let mut on_time = Vec::new();
        for step in steps {
            match step {
                Step::Record { partition, key, advance_ms, behind_ms } => {
                    let clock = &mut clocks[partition as usize];
                    *clock += advance_ms;
                    let at = *clock - behind_ms;
                    let highest = &mut highest[partition as usize];
                    *highest = at.max(*highest);
                    driver.pipe_to("in", partition, &json!({"k": format!("k{key}"), "at": at}).to_string());
                    if at >= *highest - GRACE_MS {
                        on_time.push((key, at));
                    }
                }
                Step::Fate(fate) => driver.meet(fate),
            }
        }
        for _ in 0..3 {
            driver.commit().unwrap();
        }
        let passed: Vec<(u8, i64)> = driver
            .read_json("out")
            .iter()
            .map(|record| {
                let key = record["k"].as_str().unwrap()[1..].parse().unwrap();
                (key, record["at"].as_i64().unwrap())
            })
            .collect();
        let are_near = |one: &(u8, i64), other: &(u8, i64)| {
            one.0 == other.0 && (one.1 - other.1).abs() <= WITHIN_MS
        };
        for (at, one) in passed.iter().enumerate() {
            prop_assert!(on_time.contains(one), "{one:?} was late");
            prop_assert!(!passed[at + 1..].iter().any(|other| are_near(one, other)), "{passed:?}");
        }
        for record in &on_time {
            prop_assert!(passed.iter().any(|one| are_near(one, record)), "{record:?} is lost: {passed:?}");
        }
    }
}

/// ```text
///   partition 0   u 1        u 2 ←── in order in its partition; what had passed for u at 1 is let go
///   partition 1   u 1200
/// ```
#[test]
fn what_may_be_a_duplicate_of_what_was_let_go_does_not_pass() {
    let file = "
app: app
nodes:
  s: { source: { topic: in, timestamp: at } }
  by_u: { select_key: { from: s, key: u } }
  first: { deduplicate: { from: by_u, within: 10s } }
  out: { kafka: { from: first, topic: out } }
";
    for is_killed in [false, true] {
        let options = DriverOptions {
            partitions: 2,
            ..DriverOptions::default()
        };
        let mut driver = driver_with(file, options);
        let pipe = |driver: &mut TopologyTestDriver, partition, second: i64, n: usize| {
            let value = json!({"u": "u", "at": second * 1_000, "n": n}).to_string();
            driver.pipe_to("in", partition, &value);
        };
        pipe(&mut driver, 0, 1, 1);
        pipe(&mut driver, 1, 1_200, 2);
        // What is kept depends on it that a partition is silent; that is said once a minute.
        for _ in 0..30 {
            driver.advance_wall_clock(6_000).unwrap();
        }
        if is_killed {
            driver.lose_state();
            driver.restart().unwrap();
        }
        pipe(&mut driver, 0, 2, 3);
        assert_eq!(passed(&mut driver), [1, 2], "killed: {is_killed}");
        assert_eq!(driver.drops("first", DropReason::Late), 1);
    }
}

/// ```text
///   partition 0   u ann, id 1 ─┐
///   partition 1   u ann, id 2 ─┼─→ select_key u ─→ moved by key ─→ by key and id: 1, 2
///   partition 2   u ann, id 1 ─┘
/// ```
#[test]
fn records_with_a_new_key_are_told_apart_by_it_and_more() {
    let file = "
app: app
nodes:
  s: { source: { topic: in, timestamp: at } }
  by_u: { select_key: { from: s, key: u } }
  first: { deduplicate: { from: by_u, by: [record_key(), id], within: 10s } }
  out: { kafka: { from: first, topic: out } }
";
    let options = DriverOptions {
        partitions: 3,
        ..DriverOptions::default()
    };
    let mut driver = driver_with(file, options);
    for (partition, (id, n)) in [(1, 1), (2, 2), (1, 3)].into_iter().enumerate() {
        let value = json!({"u": "ann", "id": id, "at": 1_000, "n": n}).to_string();
        driver.pipe_to("in", i32::try_from(partition).unwrap(), &value);
    }
    let mut passed = passed(&mut driver);
    passed.sort_unstable();
    assert_eq!(passed, [1, 2]);
    assert_eq!(driver.drops("first", DropReason::Duplicate), 1);
}
