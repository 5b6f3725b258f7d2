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

/// What a topology of two partitions sends to `out`, given the partition, the fields and the second of each
/// record of `in`; none of it: the clock goes on for as long.
fn of_two_partitions(nodes: &str, given: &[Option<(i32, &str, i64)>]) -> TopologyTestDriver {
    let file = format!(
        "
app: app
nodes:
  s: {{ source: {{ topic: in, timestamp: at, key: shop }} }}
{nodes}
"
    );
    let topology =
        crate::config::parse(&file, "t.yaml").unwrap_or_else(|report| panic!("{report}"));
    let options = DriverOptions {
        partitions: 2,
        ..DriverOptions::default()
    };
    let mut driver = TopologyTestDriver::with_options(&topology, options).unwrap();
    for step in given {
        match *step {
            None => driver.advance_wall_clock(6_000).unwrap(),
            Some((partition, fields, second)) => {
                let value = format!(r#"{{{fields},"at":{}}}"#, second * 1_000);
                let key = format!("{partition}");
                let value = value.replace("SHOP", &key);
                let record = TestRecord::text(&value).key(&key).in_partition(partition);
                driver.pipe_record("in", &record).unwrap();
            }
        }
    }
    driver
}

/// ```text
///   partition 0   x 1 ··· x 3600       both have come to 3600, so the window of 1 is closed
///   partition 1   y 1 ··· y 3600       although a filter lets nothing of this one through
/// ```
#[test]
fn what_a_filter_stops_says_how_far_its_partition_is() {
    let nodes = "
  xs: { filter: { from: s, where: kind == 'x' } }
  n: { aggregate: { from: xs, by: user, window: { tumbling: 10s }, emit: close, set: { n: count() } } }
  out: { kafka: { from: n, topic: out } }";
    let (x, y) = (
        r#""shop":"SHOP","user":"u","kind":"x""#,
        r#""shop":"SHOP","user":"u","kind":"y""#,
    );
    let given = [(0, x, 1), (1, y, 1), (0, x, 3600), (1, y, 3600)];
    let mut driver = of_two_partitions(nodes, &given.map(Some));
    assert_eq!(told(&mut driver), [(0, 1)]);
}

/// ```text
///   partition 0   p 5 ····· silence ····· p 55     its window of 5 is open, so it has something to send yet
///   partition 1   q 5  15  25  35
/// ```
#[test]
fn nobody_is_silent_who_holds_results_back() {
    let held = [
        "
  users: { aggregate: { from: s, by: [shop, country], window: { tumbling: 10s }, emit: close, set: { n: count() } } }",
        "
  updates: { aggregate: { from: s, by: [shop, country], window: { tumbling: 10s }, set: { n: count() } } }
  users: { suppress: { from: updates, until: close } }",
    ];
    for users in held {
        let nodes = format!(
            "{users}
  n: {{ aggregate: {{ from: users, by: country, window: {{ tumbling: 10s }}, emit: close, set: {{ n: count() }} }} }}
  out: {{ kafka: {{ from: n, topic: out }} }}"
        );
        let de = r#""shop":"SHOP","country":"de""#;
        let mut given = vec![Some((0, de, 5))];
        given.extend([5, 15, 25, 35].map(|second| Some((1, de, second))));
        given.extend([None; 5]);
        given.push(Some((0, de, 55)));
        let mut driver = of_two_partitions(&nodes, &given);
        assert_eq!(told(&mut driver)[..1], [(0, 2)], "{users}");
        assert_eq!(driver.drops("n", DropReason::Late), 0, "{users}");
    }
}

/// ```text
///   partition 0   a 5  15  25 ····
///   partition 1   nothing, ever: a suppress in front of the repartition holds nothing back there
/// ```
#[test]
fn a_suppress_that_holds_nothing_back_holds_nothing_up() {
    let nodes = "
  updates: { aggregate: { from: s, by: [shop, country], window: { tumbling: 10s }, set: { n: count() } } }
  users: { suppress: { from: updates, until: close } }
  n: { aggregate: { from: users, by: country, window: { tumbling: 10s }, emit: close, set: { n: count() } } }
  out: { kafka: { from: n, topic: out } }";
    let de = r#""shop":"SHOP","country":"de""#;
    let mut given: Vec<_> = [5, 15, 25, 35].map(|second| Some((0, de, second))).into();
    given.extend([None; 5]);
    let mut driver = of_two_partitions(nodes, &given);
    assert_eq!(told(&mut driver)[..1], [(0, 1)]);
}

/// Results are older than what is read meanwhile of the source, and not late for that.
#[test]
fn results_are_not_judged_by_what_they_are_merged_with() {
    let nodes = "
  users: { aggregate: { from: s, by: [shop, country], window: { tumbling: 10s }, emit: close, set: { n: count() } } }
  alerts: { filter: { from: s, where: kind == 'alert' } }
  both: { merge: { from: [users, alerts] } }
  n: { aggregate: { from: both, by: country, window: { tumbling: 10s }, set: { n: count() } } }
  out: { kafka: { from: n, topic: out } }";
    let de = r#""shop":"SHOP","country":"de","kind":"x""#;
    let given = [5, 15, 25, 35].map(|second| Some((0, de, second)));
    let mut driver = of_two_partitions(nodes, &given);
    assert_eq!(told(&mut driver), [(0, 1), (10, 1), (20, 1)]);
    assert_eq!(driver.drops("n", DropReason::Late), 0);
}
