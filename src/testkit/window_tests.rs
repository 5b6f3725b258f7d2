//! Windows and what becomes of late records, played with the driver, one picture each.

use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::processor::DropReason;
use crate::time::Timestamp;

/// Counts by key with this window and these settings.
fn driver(window: &str, settings: &str) -> TopologyTestDriver {
    let file = format!(
        "
app: shop
nodes:
  orders: {{ source: {{ topic: orders, timestamp: at, key: shop }} }}
  counts:
    aggregate: {{ from: orders, by: shop, window: {{ {window} }}, set: {{ n: count() }}{settings} }}
  out: {{ kafka: {{ from: counts, topic: out }} }}
"
    );
    let topology =
        crate::config::parse(&file, "shop.yaml").unwrap_or_else(|report| panic!("{report}"));
    let options = DriverOptions {
        start: Timestamp(1_000_000),
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

/// Orders of one shop, at so many seconds.
fn pipe(driver: &mut TopologyTestDriver, seconds: &[i64]) {
    for at in seconds {
        let order = format!(r#"{{"shop":"a","at":{}}}"#, at * 1_000);
        let record = TestRecord::text(&order).key("a");
        driver.pipe_record("orders", &record).unwrap();
    }
}

/// The start of each new result's window, in seconds, and its count.
fn told(driver: &mut TopologyTestDriver) -> Vec<(i64, i64)> {
    let results = driver.read_json("out").into_iter();
    results
        .map(|result| {
            let start = result["window_start"].as_str().unwrap();
            let start = Timestamp::parse_rfc3339(start).unwrap().millis() / 1_000;
            (start, result["n"].as_i64().unwrap())
        })
        .collect()
}

/// ```text
///   order at    1    4    9   12   3     15   4
///   [0, 10)     1    2    3        4          late: 10 + 5 s of grace have come
///   [10, 20)                   1          2
/// ```
#[test]
fn a_tumbling_window_takes_records_until_its_grace_is_over() {
    let mut driver = driver("tumbling: 10s, grace: 5s", ", on_late: dead_letter");
    pipe(&mut driver, &[1, 4, 9, 12, 3, 15, 4]);
    let expected = [(0, 1), (0, 2), (0, 3), (10, 1), (0, 4), (10, 2)];
    assert_eq!(told(&mut driver), expected);
    assert_eq!(driver.drops("counts", DropReason::Late), 1);
    assert_eq!(driver.dead_letters().len(), 1);
}

/// ```text
///   order at    1    4   12   14   3   15 closes [0, 10)     2 is late     31 closes [10, 20)
///   told                               0: 3                                10: 3
/// ```
#[test]
fn a_window_that_closes_is_told_of_once() {
    let mut driver = driver("tumbling: 10s, grace: 5s", ", emit: close");
    pipe(&mut driver, &[1, 4, 12, 14, 3]);
    assert_eq!(told(&mut driver), []);
    pipe(&mut driver, &[15]);
    assert_eq!(told(&mut driver), [(0, 3)]);
    driver.lose_state();
    driver.restart().unwrap();
    pipe(&mut driver, &[2, 31]);
    assert_eq!(told(&mut driver), [(10, 3)]);
    assert_eq!(driver.drops("counts", DropReason::Late), 1);
}

/// ```text
///   order at      1    4     (silence: 29 s, 30 s of the clock)
///   told                                     0: 2
/// ```
#[test]
fn silence_closes_windows_when_everything_has_been_read() {
    let mut driver = driver("tumbling: 10s, grace: 5s, idle_close: 30s", ", emit: close");
    pipe(&mut driver, &[1, 4]);
    driver.advance_wall_clock(29_000).unwrap();
    assert_eq!(told(&mut driver), []);
    driver.advance_wall_clock(1_000).unwrap();
    driver.commit().unwrap();
    assert_eq!(told(&mut driver), [(0, 2)]);
    // Also when all of it passes at once.
    pipe(&mut driver, &[61]);
    driver.advance_wall_clock(24 * 3_600_000).unwrap();
    driver.commit().unwrap();
    assert_eq!(told(&mut driver), [(60, 1)]);
}

/// ```text
///   key    7      7      8      "7"     07
///   id     7      7      8       7       7: the topic is not keyed by it
///   n      1      2      1       1, a text is another key
/// ```
#[test]
fn a_topic_may_be_keyed_by_a_number() {
    let file = "
app: shop
nodes:
  orders: { source: { topic: orders, key: id } }
  counts: { aggregate: { from: orders, by: id, window: none, set: { n: count() } } }
  out: { kafka: { from: counts, topic: out } }
";
    let topology =
        crate::config::parse(file, "shop.yaml").unwrap_or_else(|report| panic!("{report}"));
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    for (key, id) in [
        ("7", "7"),
        ("7", "7"),
        ("8", "8"),
        ("7", "\"7\""),
        ("07", "7"),
        ("-9", "-9"),
    ] {
        driver.pipe("orders", Some(key), &format!(r#"{{"id":{id}}}"#));
    }
    let counts = driver.read_json("out").into_iter();
    let counts: Vec<_> = counts.map(|row| row["n"].as_i64().unwrap()).collect();
    assert_eq!(counts, [1, 2, 1, 1, 1]);
    assert_eq!(driver.drops("counts", DropReason::KeyMismatch), 1);
}

/// ```text
///   order at    11    26     14      5
///   [0, 20)      1            2 ?    partly late: [0, 20) is closed since 25, [10, 30) takes it
///   [10, 30)     1     1      …
/// ```
#[test]
fn a_record_may_be_late_for_some_of_its_hopping_windows() {
    let mut driver = driver("hopping: 20s, advance: 10s, grace: 5s", "");
    pipe(&mut driver, &[11]);
    assert_eq!(told(&mut driver), [(0, 1), (10, 1)]);
    pipe(&mut driver, &[26]);
    assert_eq!(told(&mut driver), [(10, 2), (20, 1)]);
    pipe(&mut driver, &[14]);
    assert_eq!(told(&mut driver), [(10, 3)]);
    pipe(&mut driver, &[5]);
    assert_eq!(told(&mut driver), []);
    // It is counted once for each window.
    assert_eq!(driver.drops("counts", DropReason::Late), 2);
}

/// ```text
///   order at        10        20       18          7           windows of 5 s, 3 s of grace
///   ending at 10    1
///   ending at 20              1
///   ending at 18                       1                       the one that begins at 18 gets 20 too
///   ending at 7                                    late
/// ```
#[test]
fn a_late_record_is_in_no_sliding_window() {
    let mut driver = driver("sliding: 5s, grace: 3s", ", on_late: dead_letter");
    pipe(&mut driver, &[10, 20]);
    assert_eq!(told(&mut driver), [(5, 1), (15, 1)]);
    pipe(&mut driver, &[18]);
    let mut told_now = told(&mut driver);
    told_now.sort_unstable();
    assert_eq!(told_now, [(13, 1), (15, 2), (18, 1)]);
    pipe(&mut driver, &[7]);
    assert_eq!(told(&mut driver), []);
    assert_eq!(driver.drops("counts", DropReason::Late), 1);
}

/// What is looked for is kept, whatever the retention: that a record is at 1 says that a window begins at 2.
///
/// ```text
///   order at (ms)   1          8          2          windows of 3 ms, 3 ms of grace
///   [2, 5]                                1          open until 8 - 3 is over
/// ```
#[test]
fn the_oldest_record_of_an_open_sliding_window_finds_those_before_it() {
    for retention in ["", ", retention: 9ms"] {
        let window = format!("sliding: 3ms, grace: 3ms{retention}");
        let mut driver = driver(&window, "");
        for ms in [1, 8, 2] {
            let order = format!(r#"{{"shop":"a","at":{}}}"#, 100_000 + ms);
            let record = TestRecord::text(&order).key("a");
            driver.pipe_record("orders", &record).unwrap();
        }
        let results = driver.read_json("out");
        let last = results.last().expect("a result");
        assert_eq!(
            last["window_start"], "1970-01-01T00:01:40.002Z",
            "{retention}"
        );
        assert_eq!(last["n"], 1);
    }
}

/// ```text
///   order at       1    61              121
///   in the store   0    0, 60           60, 120       [0, 10) began more than 100 s before 121
/// ```
#[test]
fn windows_are_kept_for_their_retention() {
    let mut driver = driver("tumbling: 10s, grace: 5s, retention: 100s", "");
    let kept = |driver: &TopologyTestDriver| driver.store("counts").len();
    pipe(&mut driver, &[1, 61]);
    assert_eq!(kept(&driver), 2);
    pipe(&mut driver, &[121]);
    assert_eq!(kept(&driver), 2);
    pipe(&mut driver, &[500]);
    assert_eq!(kept(&driver), 1);
}

/// A window whose only result is null is none: as in Kafka Streams it is not kept, and does not close.
///
/// ```text
///   order at, of      1: 5   2: -   11: -   12: 7   21: -   31
///   [ 0, 10)           5      5                                      closes with 5
///   [10, 20)                         none     7                      closes with 7, of second 12
///   [20, 30)                                         none            closes without a word
/// ```
#[test]
fn a_window_without_a_result_is_none() {
    for (window, starts) in [
        ("tumbling: 10s", &[0, 10][..]),
        ("hopping: 10s, advance: 5s", &[0, 5, 10]),
    ] {
        let file = format!(
            "
app: shop
nodes:
  orders: {{ source: {{ topic: orders, timestamp: at }} }}
  prices:
    aggregate: {{ from: orders, by: shop, window: {{ {window} }}, emit: EMIT, set: {{ n: max(price) }} }}
  out: {{ kafka: {{ from: prices, topic: out }} }}
"
        );
        let driver = |emit: &str| {
            let topology = crate::config::parse(&file.replace("EMIT", emit), "shop.yaml");
            let topology = topology.unwrap_or_else(|report| panic!("{report}"));
            let mut driver = TopologyTestDriver::new(&topology).unwrap();
            for (at, price) in [
                (1, "5"),
                (2, "null"),
                (11, "null"),
                (12, "7"),
                (21, "null"),
                (31, "1"),
            ] {
                let order = format!(r#"{{"shop":"a","at":{},"price":{price}}}"#, at * 1_000);
                driver.pipe("orders", Some("a"), &order);
                driver.crash();
                driver.restart().unwrap();
            }
            driver
        };
        let mut closing = driver("close");
        let closed = told(&mut closing);
        let begun: Vec<i64> = closed.iter().map(|(start, _)| *start).collect();
        assert_eq!(begun, starts, "{window}");
        assert!(closed.contains(&(10, 7)), "{closed:?}");
        let mut updating = driver("updates");
        let records = updating.read("out");
        let deletions = records.iter().filter(|record| record.value.is_none());
        let deletions: Vec<i64> = deletions.map(|record| record.timestamp.0).collect();
        let expected: &[i64] = match starts.len() {
            2 => &[11_000, 21_000],
            _ => &[11_000, 11_000, 21_000, 21_000],
        };
        assert_eq!(deletions, expected, "{window}");
        let kept = updating.store("prices");
        assert!(
            kept.iter().all(|entry| !entry.results["n"].is_null()),
            "{kept:?}"
        );
    }
}
