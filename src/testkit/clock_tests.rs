//! Event times against the wall clock, played with the driver.

use super::{DriverOptions, TopologyTestDriver};
use crate::processor::DropReason;
use crate::time::Timestamp;

const HOUR_MS: i64 = 3_600_000;

/// Where the clock stands.
const NOW: Timestamp = Timestamp(1_000 * HOUR_MS);

/// Counts by minute, sent when the minute closes; `source` is more of the source's keys.
fn driver(source: &str) -> TopologyTestDriver {
    let file = "
app: shop
nodes:
  orders: { source: { topic: orders, timestamp: at SOURCE } }
  per_minute:
    aggregate: { from: orders, by: shop, window: { tumbling: 1m }, emit: close, set: { n: count() } }
  out: { kafka: { from: per_minute, topic: out } }
";
    let file = file.replace("SOURCE", source);
    let topology = crate::config::parse(&file, "shop.yaml").unwrap();
    let options = DriverOptions {
        start: NOW,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

fn pipe(driver: &mut TopologyTestDriver, ahead_ms: i64) {
    let at = NOW.plus_millis(ahead_ms);
    driver.pipe("orders", None, &format!(r#"{{"shop":"a","at":"{at}"}}"#));
}

/// ```text
///   now                            now + 1h
///    |-- minute 0 --|-- minute 1 --|
///    x     x                        f      f is put aside, and minute 0 goes on
///             x        x                   only this one closes it
/// ```
#[test]
fn a_record_too_far_ahead_of_the_clock_is_put_aside_and_moves_no_time() {
    let mut driver = driver("");
    for ahead_ms in [0, 10_000, HOUR_MS + 1, 20_000] {
        pipe(&mut driver, ahead_ms);
    }
    assert!(driver.read("out").is_empty());
    assert_eq!(driver.drops("orders", DropReason::Ahead), 1);
    let letters = driver.dead_letters();
    let header = |name: &str| {
        let mut headers = letters[0].headers.iter();
        let value = headers.find(|(known, _)| known == name).map(|(_, v)| v);
        String::from_utf8(value.unwrap().clone()).unwrap()
    };
    assert_eq!(letters.len(), 1);
    assert_eq!(header("tidemill.reason"), "ahead");
    assert_eq!(
        header("tidemill.message"),
        "the event time 1970-02-11T17:00:00.001Z is more than 1h ahead of 1970-02-11T16:00:00.000Z"
    );
    pipe(&mut driver, 60_000);
    let closed = driver.read_json("out");
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0]["n"], 3);
}

#[test]
fn a_record_is_ahead_until_the_clock_has_come_near() {
    let mut driver = driver("");
    pipe(&mut driver, HOUR_MS);
    pipe(&mut driver, HOUR_MS + 1);
    driver.advance_wall_clock(1).unwrap();
    pipe(&mut driver, HOUR_MS + 1);
    assert_eq!(driver.drops("orders", DropReason::Ahead), 1);
    assert_eq!(driver.counts("orders").output, 2);
}

#[test]
fn a_source_says_how_far_ahead_its_records_may_be() {
    #[track_caller]
    fn check(source: &str, ahead_ms: i64, dropped: u64) {
        let mut driver = driver(source);
        pipe(&mut driver, ahead_ms);
        let found = driver.drops("orders", DropReason::Ahead);
        assert_eq!(found, dropped, "{source}, {ahead_ms}");
    }
    check(", max_ahead: 5m", 300_000, 0);
    check(", max_ahead: 5m", 300_001, 1);
    check(", max_ahead: 0s", 1, 1);
    check(", max_ahead: none", 1_000_000 * HOUR_MS, 0);
}
