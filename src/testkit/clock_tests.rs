//! Event times against the wall clock and against those of other inputs, played with the driver.

use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::format::{Schema, SchemaRegistry as _};
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

/// Orders, of which each finds the price of its time; `format` is that of the prices.
fn priced(format: &str) -> TopologyTestDriver {
    let file = "
app: shop
nodes:
  prices: { source: { topic: prices, timestamp: at, fields: { price: int }FORMAT } }
  price: { table: { from: prices } }
  orders: { source: { topic: orders, timestamp: at } }
  both: { join: { from: orders, with: price, as: price } }
  out: { kafka: { from: both, topic: out, fields: { order: id, price: price.price } } }
";
    let file = file.replace("FORMAT", format);
    let topology = crate::config::parse(&file, "shop.yaml").unwrap_or_else(|r| panic!("{r}"));
    let options = DriverOptions {
        start: NOW,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

/// Writes a record that the log has later than all before it, whatever it says itself.
fn write(driver: &mut TopologyTestDriver, topic: &str, value: &[u8]) {
    let written = i64::try_from(driver.total_records()).unwrap();
    let record = TestRecord {
        value: Some(value.to_vec()),
        timestamp: Some(NOW.plus_millis(written)),
        ..TestRecord::default()
    };
    driver.pipe_record(topic, &record.key("a")).unwrap();
}

fn order(id: i32, at: i64) -> String {
    format!(r#"{{"id":{id},"at":{at}}}"#)
}

fn prices_of_orders(driver: &mut TopologyTestDriver) -> Vec<(i64, i64)> {
    let written = driver.read_json("out").into_iter();
    written
        .map(|pair| {
            let number = |name: &str| pair[name].as_i64().unwrap();
            (number("order"), number("price"))
        })
        .collect()
}

/// ```text
///   event time     10    20    30    40
///   prices          1           2     x        x: no record, and one from the far future
///   orders                1           2
///   in the log:    orders first, prices behind them
/// ```
#[test]
fn a_replay_takes_two_topics_by_the_times_that_their_events_say() {
    let mut driver = priced("");
    driver.crash();
    for (id, at) in [(1, 20), (2, 40)] {
        write(&mut driver, "orders", order(id, at).as_bytes());
    }
    write(&mut driver, "prices", br#"{"price":1,"at":10}"#);
    // These will be dropped, and so hold up nothing.
    write(&mut driver, "prices", b"no event");
    write(
        &mut driver,
        "prices",
        br#"{"price":7,"at":200000000000000}"#,
    );
    write(&mut driver, "prices", br#"{"price":7}"#);
    write(&mut driver, "prices", br#"{"price":2,"at":30}"#);
    driver.restart().unwrap();
    assert_eq!(prices_of_orders(&mut driver), [(1, 1), (2, 2)]);
    assert_eq!(driver.dead_letters().len(), 3);
}

/// While the schema of the prices cannot be had, it is not known which of them an order has to find.
#[test]
fn a_record_waits_for_the_schema_that_tells_when_another_happened() {
    let schema = r#"{"type": "record", "name": "Price", "fields": [
        {"name": "price", "type": "long"}, {"name": "at", "type": "long"}]}"#;
    let mut driver = priced(r#", format: avro, schema_registry: "http://r""#);
    let registry = driver.registry().clone();
    registry
        .register("prices-value", &Schema::avro(schema))
        .unwrap();
    driver.crash();
    write(&mut driver, "orders", order(1, 20).as_bytes());
    for (price, at) in [(1, 10), (2, 30)] {
        let json = serde_json::json!({"price": price, "at": at});
        let price = driver.encode("prices", &json).unwrap();
        write(&mut driver, "prices", &price);
    }
    registry.set_away(true);
    driver.restart().unwrap();
    driver.advance_wall_clock(10_000).unwrap();
    assert_eq!(prices_of_orders(&mut driver), []);
    registry.set_away(false);
    driver.advance_wall_clock(1_000).unwrap();
    assert_eq!(prices_of_orders(&mut driver), [(1, 1)]);
}

/// Several records of both topics have the same time; they are read in portions of chance.
#[test]
fn records_of_equal_times_come_in_one_order() {
    let played = |seed| {
        let mut driver = priced("");
        driver.crash();
        for n in 0..60 {
            let at = n / 5;
            match n % 3 {
                0 => {
                    let price = format!(r#"{{"price":{n},"at":{at}}}"#);
                    write(&mut driver, "prices", price.as_bytes());
                }
                _ => write(&mut driver, "orders", order(n, i64::from(at)).as_bytes()),
            }
        }
        driver.broker().shuffle_reads(seed);
        driver.restart().unwrap();
        for _ in 0..20 {
            driver.commit().unwrap();
        }
        prices_of_orders(&mut driver)
    };
    let first = played(0);
    assert!(first.len() > 30, "{first:?}");
    for seed in 1..20 {
        assert_eq!(played(seed), first, "seed {seed}");
    }
}
