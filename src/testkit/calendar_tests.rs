//! Days of a time zone, over the nights in which clocks change.

use serde_json::json;

use super::{DriverOptions, TopologyTestDriver};
use crate::processor::DropReason;
use crate::time::Timestamp;

/// Counts by key and day in Berlin, into a topic and a table.
fn file(window: &str, emit: &str, key: &str) -> String {
    format!(
        "
app: app
nodes:
  s: {{ source: {{ topic: in{key} }} }}
  days:
    aggregate:
      from: s
      by: k
      window: {{ {window} }}
      emit: {emit}
      set: {{ n: count() }}
  out: {{ kafka: {{ from: days, topic: out }} }}
  rows: {{ sql: {{ from: days, table: days }} }}
"
    )
}

fn driver(file: &str, partitions: u32) -> TopologyTestDriver {
    let topology = crate::config::parse(file, "t.yaml").unwrap_or_else(|error| panic!("{error}"));
    let options = DriverOptions {
        partitions,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

fn pipe(driver: &mut TopologyTestDriver, key: &str, at: &str) {
    let value = json!({"k": key}).to_string();
    let time = Timestamp::parse_rfc3339(at).unwrap();
    let piped = driver.try_pipe("in", Some(key.as_bytes()), Some(value.as_bytes()), time);
    piped.unwrap();
}

/// The windows that have left: start, end and count.
fn read(driver: &mut TopologyTestDriver) -> Vec<String> {
    let values = driver.read_json("out").into_iter();
    let line = |value: serde_json::Value| {
        let text = |name: &str| {
            value[name]
                .as_str()
                .unwrap()
                .trim_end_matches(":00.000Z")
                .to_owned()
        };
        format!(
            "{} to {}: {}",
            text("window_start"),
            text("window_end"),
            value["n"]
        )
    };
    values.map(line).collect()
}

/// ```text
///   Berlin     28 March, 24 h    29 March, 23 h      30 March, 24 h
///   UTC      |27 23:00         |28 23:00        |29 22:00          |30 22:00
///                        22:59 x  x 23:00  21:59 x  x 22:00
/// ```
#[test]
fn a_day_in_spring_is_an_hour_shorter() {
    let mut driver = driver(
        &file(
            "tumbling: 1d, time_zone: Europe/Berlin",
            "close",
            ", key: k",
        ),
        1,
    );
    for at in [
        "2026-03-28T22:59:59Z",
        "2026-03-28T23:00:00Z",
        "2026-03-29T21:59:59Z",
    ] {
        pipe(&mut driver, "a", at);
    }
    assert_eq!(
        read(&mut driver),
        ["2026-03-27T23:00 to 2026-03-28T23:00: 1"]
    );
    pipe(&mut driver, "a", "2026-03-29T22:00:00Z");
    assert_eq!(
        read(&mut driver),
        ["2026-03-28T23:00 to 2026-03-29T22:00: 2"]
    );
    pipe(&mut driver, "a", "2026-03-29T21:59:59Z");
    assert_eq!(driver.drops("days", DropReason::Late), 1);
    pipe(&mut driver, "a", "2026-03-30T22:00:00Z");
    assert_eq!(
        read(&mut driver),
        ["2026-03-29T22:00 to 2026-03-30T22:00: 1"]
    );
}

/// ```text
///   Berlin     25 October, 25 h            26 October, 24 h
///   UTC      |24 22:00                   |25 23:00          |26 23:00
///              x 22:00   22:00 x   22:59 x   x 23:00
///                                             ··· 1 h grace ···|
/// ```
#[test]
fn a_day_in_autumn_is_an_hour_longer_and_takes_records_in_its_grace() {
    let window = "tumbling: 1d, time_zone: Europe/Berlin, grace: 1h";
    let mut driver = driver(&file(window, "updates", ", key: k"), 1);
    for at in [
        "2026-10-24T22:00:00Z",
        "2026-10-25T22:00:00Z",
        "2026-10-25T22:59:59Z",
        "2026-10-25T23:59:59Z",
        "2026-10-25T00:00:00Z",
        "2026-10-26T00:00:00Z",
        "2026-10-25T22:59:59Z",
    ] {
        pipe(&mut driver, "a", at);
    }
    let autumn = "2026-10-24T22:00 to 2026-10-25T23:00";
    let next = "2026-10-25T23:00 to 2026-10-26T23:00";
    assert_eq!(
        read(&mut driver),
        [
            format!("{autumn}: 1"),
            format!("{autumn}: 2"),
            format!("{autumn}: 3"),
            format!("{next}: 1"),
            format!("{autumn}: 4"),
            format!("{next}: 2"),
        ]
    );
    assert_eq!(driver.drops("days", DropReason::Late), 1);
}

#[test]
fn tables_have_the_moments_at_which_days_begin_and_end() {
    for emit in ["updates", "close"] {
        for key in [", key: k", ""] {
            let file = file("tumbling: 1d, time_zone: Europe/Berlin", emit, key);
            let mut driver = driver(&file, 2);
            pipe(&mut driver, "a", "2026-03-29T12:00:00Z");
            pipe(&mut driver, "b", "2026-10-25T12:00:00Z");
            driver.lose_state();
            driver.restart().unwrap();
            pipe(&mut driver, "b", "2026-10-25T12:00:00Z");
            for (key, partition) in [("c", 0), ("c", 1)] {
                let record = super::TestRecord::json(&json!({"k": format!("{key}{partition}")}));
                let late = Timestamp::parse_rfc3339("2027-01-01T12:00:00Z").unwrap();
                let key = format!("{key}{partition}");
                let record = record.key(&key).at(late).in_partition(partition);
                driver.pipe_record("in", &record).unwrap();
            }
            driver.commit().unwrap();
            let rows = driver.sql_rows("days").unwrap();
            let mut found: Vec<String> = rows
                .iter()
                .map(|row| {
                    let text = |name: &str| row[name].to_string();
                    let (start, end) = (text("window_start"), text("window_end"));
                    format!("{} {start} {end} {}", text("k"), text("n"))
                })
                .filter(|line| !line.starts_with("\"c"))
                .collect();
            found.sort();
            assert_eq!(
                found,
                [
                    r#""a" "2026-03-28T23:00:00.000Z" "2026-03-29T22:00:00.000Z" 1"#,
                    r#""b" "2026-10-24T22:00:00.000Z" "2026-10-25T23:00:00.000Z" 2"#,
                ],
                "emit: {emit}{key}"
            );
        }
    }
}

#[test]
fn months_are_as_long_as_they_are() {
    let mut driver = driver(
        &file(
            "tumbling: month, time_zone: Europe/Berlin",
            "close",
            ", key: k",
        ),
        1,
    );
    for at in [
        "2026-02-01T00:00:00Z",
        "2026-02-28T22:59:59Z",
        "2026-02-28T23:00:00Z",
        "2026-04-01T00:00:00Z",
    ] {
        pipe(&mut driver, "a", at);
    }
    assert_eq!(
        read(&mut driver),
        [
            "2026-01-31T23:00 to 2026-02-28T23:00: 2",
            "2026-02-28T23:00 to 2026-03-31T22:00: 1",
        ]
    );
}
