//! Sessions, where the conformance cases do not reach.

use serde_json::json;

use crate::processor::DropReason;
use crate::testkit::{DriverOptions, TopologyTestDriver};
use crate::time::Timestamp;

/// Sessions of `in`, by key, a record goes out for each change.
const FILE: &str = "
app: app
nodes:
  s: { source: { topic: in, key: k } }
  visits: { aggregate: { from: s, by: k, window: { session: 10s, grace: 1s }, set: { n: count() } } }
  out: { kafka: { from: visits, topic: out, key: string(window_start), fields: { k: k, n: n } } }
";

fn driver(commit_each: bool) -> TopologyTestDriver {
    let options = DriverOptions {
        commit_each,
        ..DriverOptions::default()
    };
    let topology = crate::config::parse(FILE, "t.yaml").unwrap();
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

fn pipe(driver: &mut TopologyTestDriver, key: &str, at_s: i64) {
    let value = format!(r#"{{"k":"{key}"}}"#);
    let (key, value) = (key.as_bytes(), value.as_bytes());
    let time = Timestamp(at_s * 1_000);
    driver.try_pipe("in", Some(key), Some(value), time).unwrap();
}

/// ```text
///   gap 10 s, grace 1 s       44    54        62         72       whatever ends before 61 is closed
///                                              s          T
///                              x     x                            54 reaches s, which is open: it joins
///                                                                 44 reaches [54,62]: so does it
/// ```
#[test]
fn an_old_record_is_welcome_in_a_session_that_is_young_enough() {
    let mut driver = driver(true);
    for (key, at_s) in [("a", 62), ("b", 72), ("a", 54), ("a", 44), ("a", 33)] {
        pipe(&mut driver, key, at_s);
    }
    let last = driver.read("out").pop().unwrap();
    assert_eq!(last.key.unwrap(), b"1970-01-01T00:00:44Z");
    let value: serde_json::Value = serde_json::from_slice(&last.value.unwrap()).unwrap();
    assert_eq!(value, json!({"k": "a", "n": 3}));
    assert_eq!(driver.drops("visits", DropReason::Late), 1);
}

/// ```text
///   commit 1:  20                            [20,20] = 1 has left
///   commit 2:  20 again, and then 15         [20,20] would be 2, but is a part of [15,20] = 3
/// ```
#[test]
fn a_session_of_one_instant_that_changes_and_grows_within_a_commit_is_taken_back() {
    let mut driver = driver(false);
    let mut out = |times: &[i64]| {
        times.iter().for_each(|at_s| pipe(&mut driver, "a", *at_s));
        driver.commit().unwrap();
        let records = driver.read("out").into_iter();
        let shown = records.map(|record| {
            let key = String::from_utf8(record.key.unwrap()).unwrap();
            (key, record.value.is_some())
        });
        shown.collect::<Vec<_>>()
    };
    let of = |second: i64, is_there| (format!("1970-01-01T00:00:{second}Z"), is_there);
    assert_eq!(out(&[20]), [of(20, true)]);
    assert_eq!(out(&[20, 20]), [of(20, true)]);
    assert_eq!(out(&[20, 15]), [of(20, false), of(15, true)]);
}

/// ```text
///   gap 5 ms     a: 0         b: 6        a: 5 reaches the first one, which is past its retention: 5 < 6
/// ```
#[test]
fn a_session_past_its_retention_is_not_met_wherever_the_clock_stands() {
    for shift_ms in 1_000..1_020 {
        for commit_each in [true, false] {
            let file = FILE.replace("session: 10s, grace: 1s", "session: 5ms");
            let topology = crate::config::parse(&file, "t.yaml").unwrap();
            let options = DriverOptions {
                commit_each,
                ..DriverOptions::default()
            };
            let mut driver = TopologyTestDriver::with_options(&topology, options).unwrap();
            for (key, at_ms) in [("a", 0), ("b", 6), ("a", 5)] {
                let value = format!(r#"{{"k":"{key}"}}"#);
                let time = Timestamp(shift_ms + at_ms);
                let (key, value) = (key.as_bytes(), value.as_bytes());
                driver.try_pipe("in", Some(key), Some(value), time).unwrap();
            }
            driver.commit().unwrap();
            let counts = driver.read_json("out").into_iter();
            let counts: Vec<_> = counts.map(|value| value["n"].clone()).collect();
            assert_eq!(
                counts,
                [json!(1), json!(1), json!(1)],
                "{shift_ms} {commit_each}"
            );
        }
    }
}
