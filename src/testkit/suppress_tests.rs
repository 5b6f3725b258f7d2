//! Results that are held back: when each leaves, and that no crash and no moment of a commit changes
//! which do.

use std::sync::Arc;

use super::sink_rows::sink_rows;
use super::{DriverOptions, TopologyTestDriver};
use crate::time::Timestamp;
use crate::topology::plan::plan;

/// Counts of `in`, keyed by `k`, with these windows, held back by `held`; `out` has what leaves.
fn topology(window: &str, held: &str) -> String {
    format!(
        "
app: app
nodes:
  s: {{ source: {{ topic: in, key: k }} }}
  counts: {{ aggregate: {{ from: s, by: k, window: {window}, set: {{ n: count() }} }} }}
  held: {{ suppress: {{ from: counts, {held} }} }}
  out: {{ kafka: {{ from: held, topic: out, key: KEY, fields: {{ n: n }} }} }}
  table: {{ sql: {{ from: held, table: t }} }}
",
    )
    .replace("KEY", if window == "none" { "k" } else { WINDOWED })
}

/// The key and the window in seconds: `a 0..10`.
const WINDOWED: &str = "\"k + ' ' + string(int(window_start)) + '..' + string(int(window_end))\"";

fn driver_with(file: &str, options: DriverOptions) -> TopologyTestDriver {
    let topology = crate::config::parse(file, "t.yaml").unwrap_or_else(|error| panic!("{error}"));
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

fn driver(file: &str) -> TopologyTestDriver {
    driver_with(file, DriverOptions::default())
}

fn pipe(driver: &mut TopologyTestDriver, key: &str, at_s: i64) {
    let value = format!(r#"{{"k":"{key}"}}"#);
    let (key, value) = (key.as_bytes(), value.as_bytes());
    let time = Timestamp(at_s * 1_000);
    driver.try_pipe("in", Some(key), Some(value), time).unwrap();
}

/// What has left since the last look: `a 0..10 = 3`.
fn left(driver: &mut TopologyTestDriver) -> Vec<String> {
    let records = driver.read("out").into_iter();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let shown = records.map(|record| {
        let value = record.value.map_or("deleted".to_owned(), |value| {
            let value: serde_json::Value = serde_json::from_slice(&value).unwrap();
            value["n"].to_string()
        });
        format!("{} = {value}", text(record.key.unwrap()))
    });
    shown.collect()
}

/// ```text
///            0        10        20   22
///   b        x  x     |          |    |   [0,10) b = 2
///   a           x     |  x       |    |   [0,10) a = 1, [10,20) a = 1
///   c                 |          |    x   22 ≥ 20 + grace: all of them leave, by end, then key
/// ```
#[test]
fn results_leave_once_when_their_windows_are_closed_by_the_results_that_came() {
    let mut driver = driver(&topology("{ tumbling: 10s, grace: 2s }", "until: close"));
    for (key, at_s) in [("b", 1), ("b", 4), ("a", 5), ("a", 11)] {
        pipe(&mut driver, key, at_s);
        assert_eq!(left(&mut driver), [""; 0]);
    }
    pipe(&mut driver, "c", 22);
    let expected = ["a 0..10 = 1", "b 0..10 = 2", "a 10..20 = 1"];
    assert_eq!(left(&mut driver), expected);
    assert_eq!(driver.counts("held").input, 5);
    assert_eq!(driver.counts("held").output, 3);
    pipe(&mut driver, "b", 3);
    pipe(&mut driver, "c", 31);
    assert_eq!(left(&mut driver), [""; 0], "a late one brings nothing back");
}

/// ```text
///   a 1, 4 ─ crash ─ b 5 ─ disk lost ─ a 12: both leave, with what was held before the crashes
/// ```
#[test]
fn what_is_held_back_outlives_a_crash_and_a_lost_disk() {
    let mut driver = driver(&topology("{ tumbling: 10s }", "until: close"));
    pipe(&mut driver, "a", 1);
    pipe(&mut driver, "a", 4);
    driver.crash();
    driver.restart().unwrap();
    pipe(&mut driver, "b", 5);
    driver.lose_state();
    driver.restart().unwrap();
    assert_eq!(left(&mut driver), [""; 0]);
    pipe(&mut driver, "a", 12);
    assert_eq!(left(&mut driver), ["a 0..10 = 2", "b 0..10 = 1"]);
    driver.lose_state();
    driver.restart().unwrap();
    pipe(&mut driver, "a", 13);
    assert_eq!(left(&mut driver), [""; 0], "what has left is held no more");
}

/// ```text
///   partition 0   a 1              x 25                      is far ahead
///   partition 1   a 2                     a 3          x 30  still adds to [0,10)
///                                                        ↑ now both are behind it: a = 3
/// ```
#[test]
fn a_partition_that_is_ahead_closes_no_window_that_another_one_adds_to() {
    let file = topology("{ tumbling: 10s }", "until: close").replace("key: k }", "timestamp: at }");
    let options = DriverOptions {
        partitions: 2,
        ..DriverOptions::default()
    };
    let mut driver = driver_with(&file, options);
    let mut pipe = |partition, key: &str, at_s: i64| {
        let at = Timestamp(at_s * 1_000);
        driver.pipe_to("in", partition, &format!(r#"{{"k":"{key}","at":"{at}"}}"#));
        left(&mut driver)
    };
    for (partition, key, at_s) in [(0, "a", 1), (1, "a", 2), (0, "a", 25), (1, "a", 3)] {
        assert_eq!(pipe(partition, key, at_s), [""; 0]);
    }
    assert_eq!(pipe(1, "a", 30), ["a 0..10 = 3"]);
}

/// ```text
///   gap 5 s:  a 0, 3 ─→ [0,3]          a 9 (another session)      a 6 joins them: [0,9] = 4
///   until close: [0,3] is taken back while it is held, and only [0,9] leaves
///   for 4s:      [0,3] has left with 7, and so does the word that it is no more
/// ```
#[test]
fn a_session_that_has_become_another_one_leaves_only_as_a_deletion_of_what_has_left() {
    let mut final_ones = driver(&topology("{ session: 5s, grace: 30s }", "until: close"));
    for at_s in [0, 3, 9, 6] {
        pipe(&mut final_ones, "a", at_s);
    }
    pipe(&mut final_ones, "b", 60);
    assert_eq!(left(&mut final_ones), ["a 0..9 = 4"]);

    let mut paced = driver(&topology("{ session: 5s, grace: 30s }", "for: 4s"));
    for at_s in [0, 3, 9, 6] {
        pipe(&mut paced, "a", at_s);
    }
    // A deletion has the time of the end of its window, and is due at once if that is long ago.
    let expected = ["a 0..0 = deleted", "a 0..3 = 2", "a 0..3 = deleted"];
    assert_eq!(left(&mut paced), expected);
    pipe(&mut paced, "b", 60);
    assert_eq!(left(&mut paced), ["a 0..9 = 4", "a 9..9 = deleted"]);
    let rows = sink_rows(&paced, "table");
    let expected = [
        "deleted: a, 0s, null, null",
        "a, 0s, 3s, 2",
        "deleted: a, 0s, null, null",
        "a, 0s, 9s, 4",
        "deleted: a, 9s, null, null",
    ];
    assert_eq!(rows, expected);
}

/// ```text
///   for 10 s     0     3      9 10     11      20
///   a            1     2      3  ·      4       ·     the first waits until 10: then the third leaves
///   b                  1               13: 2          held from 3 on, it leaves with the 2nd at 13
/// ```
#[test]
fn of_the_updates_of_a_key_the_last_one_leaves_in_so_much_time() {
    let mut driver = driver(&topology("none", "for: 10s"));
    for (key, at_s) in [("a", 0), ("b", 3), ("a", 3), ("a", 9)] {
        pipe(&mut driver, key, at_s);
        assert_eq!(left(&mut driver), [""; 0]);
    }
    pipe(&mut driver, "a", 10);
    assert_eq!(left(&mut driver), ["a = 4"]);
    driver.lose_state();
    driver.restart().unwrap();
    pipe(&mut driver, "a", 11);
    assert_eq!(left(&mut driver), [""; 0]);
    pipe(&mut driver, "b", 13);
    assert_eq!(left(&mut driver), ["b = 2"]);
    pipe(&mut driver, "c", 21);
    assert_eq!(left(&mut driver), ["a = 5"]);
    assert_eq!(sink_rows(&driver, "table"), ["a, 4", "b, 2", "a, 5"]);
}

/// ```text
///   counts ─→ n < 3 ─→ held until close        a = 3 does not pass, and was never final before
/// ```
#[test]
fn a_result_that_passes_a_filter_no_more_never_leaves() {
    let file = topology("{ tumbling: 10s }", "until: close")
        .replace("from: counts, until", "from: few, until")
        .replace(
            "  out:",
            "  few: { filter: { from: doubled, where: n < 3 } }\n  out:",
        )
        .replace(
            "  out:",
            "  doubled: { map: { from: counts, set: { twice: n * 2 } } }\n  out:",
        )
        .replace("{ n: n }", "{ n: twice }");
    let mut driver = driver(&file);
    for (key, at_s) in [("a", 1), ("b", 2), ("a", 2), ("b", 3), ("a", 3), ("a", 10)] {
        pipe(&mut driver, key, at_s);
    }
    assert_eq!(left(&mut driver), ["b 0..10 = 4"]);
    assert_eq!(sink_rows(&driver, "table"), ["b, 0s, 10s, 2, 4"]);
}

/// ```text
///   max_rows 2, for 1h:   a 0   b 1   a 2   c 3     one too many: a has waited longest, and leaves
/// ```
#[test]
fn beyond_its_bounds_the_oldest_leave_early_or_the_process_stops() {
    let mut paced = driver(&topology("none", "for: 1h, max_rows: 2"));
    for (key, at_s) in [("a", 0), ("b", 1), ("a", 2)] {
        pipe(&mut paced, key, at_s);
    }
    assert_eq!(left(&mut paced), [""; 0]);
    paced.lose_state();
    paced.restart().unwrap();
    pipe(&mut paced, "c", 3);
    assert_eq!(left(&mut paced), ["a = 2"]);
    pipe(&mut paced, "b", 4);
    assert_eq!(left(&mut paced), [""; 0], "an update needs no more room");

    // There is room for one of these rows and not for two.
    let mut small = driver(&topology("none", "for: 1h, max_bytes: 50"));
    for (key, at_s) in [("a", 0), ("b", 1), ("a", 2), ("c", 3)] {
        pipe(&mut small, key, at_s);
    }
    assert_eq!(left(&mut small), ["a = 1", "b = 1", "a = 2"]);

    let mut final_ones = driver(&topology("{ tumbling: 10s }", "until: close, max_rows: 2"));
    pipe(&mut final_ones, "a", 0);
    pipe(&mut final_ones, "b", 1);
    // Two windows are closed by what opens a third one, so there is room for it.
    pipe(&mut final_ones, "c", 10);
    assert_eq!(left(&mut final_ones), ["a 0..10 = 1", "b 0..10 = 1"]);
    pipe(&mut final_ones, "d", 11);
    let value = br#"{"k":"e"}"#;
    let refused = final_ones.try_pipe("in", Some(b"e"), Some(value), Timestamp(12_000));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("node held: 3 results of "), "{refused}");
}

#[test]
fn what_was_held_back_for_another_aggregate_or_in_another_way_is_refused() {
    let usual = topology("{ tumbling: 10s }", "until: close");
    let check = |file: &str, is_good: bool| {
        let mut driver = driver(&usual);
        pipe(&mut driver, "a", 1);
        let topology = crate::config::parse(file, "t.yaml").unwrap();
        driver.plan = Arc::new(plan(&topology).unwrap());
        let restarted = driver.restart().map_err(|error| error.to_string());
        assert_eq!(restarted.is_ok(), is_good, "{restarted:?}\n{file}");
        if let Err(error) = restarted {
            assert!(error.contains("the topology was changed"), "{error}");
        }
    };
    check(
        &topology("{ tumbling: 10s, grace: 1m }", "until: close"),
        true,
    );
    check(
        &topology("{ tumbling: 10s }", "until: close, max_rows: 9"),
        true,
    );
    check(&topology("{ tumbling: 10s }", "for: 1m"), false);
    check(&usual.replace("counts", "renamed"), true);
    let other = topology("{ tumbling: 20s }", "until: close");
    check(&other.replace("counts", "renamed"), false);
}

/// Held back by the aggregate itself or by a suppress, the same results leave, once each.
#[test]
fn of_tumbling_windows_the_same_leaves_as_with_emit_close() {
    let file = topology("{ tumbling: 10s, grace: 5s }", "until: close");
    let own = file
        .replace("set: { n", "emit: close, set: { n")
        .replace("  held: { suppress: { from: counts, until: close } }\n", "")
        .replace("from: held", "from: counts");
    let [mut held, mut own] = [driver(&file), driver(&own)];
    for (at, key) in ["a", "b", "a", "c", "b", "a", "c", "c"]
        .into_iter()
        .enumerate()
    {
        for driver in [&mut held, &mut own] {
            pipe(driver, key, [3, 14, 7, 26, 11, 33, 35, 60][at]);
        }
        assert_eq!(left(&mut held), left(&mut own));
    }
}

/// ```text
///   ann {"n":1} at 0 s ─→ table ─→ for 10 s ─→ (waits)
///   ann {"n":2} at 4 s ─→                      (waits in its place)
///   bob deleted at 5 s ─→                      (nothing was there, and it is said all the same)
///   ann {"n":3} at 10 s ─→                     ann {"n":3}
///   cyd {"n":4} at 30 s ─→                     bob deleted
/// ```
#[test]
fn rows_of_a_table_are_held_back_by_their_keys() {
    let file = "
app: app
nodes:
  changes: { source: { topic: rows, timestamp: at, null_values: pass } }
  rows: { table: { from: changes } }
  paced: { suppress: { from: rows, for: 10s } }
  out: { kafka: { from: paced, topic: out, fields: { n: n } } }
";
    let mut driver = driver_with(file, DriverOptions::default());
    let mut written = Vec::new();
    for (key, n, second) in [
        ("ann", Some(1), 0),
        ("ann", Some(2), 4),
        ("bob", None, 5),
        ("ann", Some(3), 10),
        ("cyd", Some(4), 30),
    ] {
        let at = Timestamp(second * 1_000);
        let value = n.map(|n| format!(r#"{{"n":{n},"at":{}}}"#, at.0));
        let piped = driver.try_pipe(
            "rows",
            Some(key.as_bytes()),
            value.as_deref().map(str::as_bytes),
            at,
        );
        piped.unwrap();
        driver.lose_state();
        driver.restart().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        written.extend(driver.read("out").into_iter().map(|record| {
            let value = record.value.map_or("deleted".to_owned(), text);
            format!("{second} s: {} {value}", text(record.key.unwrap()))
        }));
    }
    assert_eq!(written, ["10 s: ann {\"n\":3}", "30 s: bob deleted"]);
}
