//! The driver as those use it who test their topologies.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::processor::DropReason;
use crate::time::Timestamp;

const ORDERS: &str = "
app: shop
nodes:
  orders:   { source: { topic: orders, key: shop, fields: { shop: string, price: int } } }
  paid:     { filter: { from: orders, where: price > 0 } }
  per_shop: { aggregate: { from: paid, by: shop, window: { tumbling: 10s }, set: { n: count(), sum: sum(price) } } }
  totals:   { aggregate: { from: paid, by: [shop, till], window: none, set: { n: count() } } }
  sales:    { kafka: { from: per_shop, topic: sales } }
  to_table: { sql: { from: per_shop, table: sales } }
  lines:    { sql: { from: paid, table: lines, key: [id], columns: { id: id, price: price, vip: price > 5 } } }
";

fn driver(partitions: u32) -> TopologyTestDriver {
    let topology = crate::config::parse(ORDERS, "shop.yaml").unwrap();
    let options = DriverOptions {
        partitions,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

fn order(id: i64, shop: &str, price: i64) -> serde_json::Value {
    json!({"id": id, "shop": shop, "till": 1, "price": price})
}

/// ```text
///   orders of a:   0    4    8 |  12        each 4 s after the one before
///   windows:     |--- 0..10 ---|--- 10..20 ---|
/// ```
#[test]
fn an_input_topic_has_a_time_that_goes_on_with_each_record() {
    let mut driver = driver(1);
    let step = Duration::from_secs(4);
    let orders = driver.input_topic("orders").starting_at(Timestamp(0));
    let mut orders = orders.advancing_by(step);
    let values = (1..=4).map(|id| ("a", order(id, "a", 1)));
    orders.pipe_all(&mut driver, values).unwrap();
    let windows = driver.window_store("per_shop");
    let counts: Vec<_> = windows
        .fetch_key(&[json!("a")])
        .map(|entry| (entry.window_start.0, entry.results["n"].clone()))
        .collect();
    assert_eq!(counts, [(0, json!(3)), (10_000, json!(1))]);

    orders.advance_time(Duration::from_secs(60));
    orders.pipe(&mut driver, "a", &order(5, "a", 1)).unwrap();
    let early = TestRecord::json(&order(6, "a", 1))
        .key("a")
        .at(Timestamp(0));
    orders.pipe_record(&mut driver, early).unwrap();
    orders.pipe(&mut driver, "a", &order(7, "a", 1)).unwrap();
    let windows = driver.window_store("per_shop");
    assert!(windows.fetch(&[json!("a")], Timestamp(70_000)).is_some());
    let last = windows.fetch(&[json!("a")], Timestamp(80_000)).unwrap();
    assert_eq!(last.timestamp, Timestamp(80_000));
    assert_eq!(driver.drops("per_shop", DropReason::Late), 1);
}

#[test]
fn an_output_topic_is_read_record_by_record_or_as_a_whole() {
    let mut driver = driver(1);
    let sales = driver.output_topic("sales");
    assert!(sales.is_empty(&driver));
    assert!(driver.produced_topics().is_empty());
    let mut orders = driver.input_topic("orders").starting_at(Timestamp(5));
    for (id, shop) in [(1, "a"), (2, "b"), (3, "a")] {
        orders.pipe(&mut driver, shop, &order(id, shop, 2)).unwrap();
    }
    assert_eq!(sales.queue_size(&driver), 3);
    let first = sales.read_record(&mut driver).unwrap();
    assert_eq!(first.key_text().as_deref(), Some("a"));
    assert_eq!(first.to_json()["sum"], 2);
    assert_eq!(first.timestamp, Some(Timestamp(5)));
    let rest = sales.read_key_values_to_map(&mut driver);
    let sums: Vec<_> = rest
        .iter()
        .map(|(shop, sale)| (shop.as_str(), sale["sum"].clone()))
        .collect();
    assert_eq!(sums, [("a", json!(4)), ("b", json!(2))]);
    assert!(sales.read_record(&mut driver).is_none());
    assert!(driver.produced_topics().contains("sales"));
}

#[test]
fn what_has_been_read_of_one_partition_is_not_read_again_when_another_one_grows() {
    let mut driver = driver(4);
    let sales = driver.output_topic("sales");
    let mut orders = driver.input_topic("orders").starting_at(Timestamp(5));
    for round in 1..=3 {
        for shop in ["a", "b", "c", "d", "e"] {
            orders.pipe(&mut driver, shop, &order(1, shop, 1)).unwrap();
        }
        let read = sales.read_values(&mut driver);
        let counts: Vec<_> = read.iter().map(|sale| sale["n"].clone()).collect();
        assert_eq!(counts, vec![json!(round); 5]);
    }
}

#[test]
fn stores_are_asked_by_key() {
    let mut driver = driver(1);
    let mut orders = driver.input_topic("orders");
    orders.pipe(&mut driver, "a", &order(1, "a", 1)).unwrap();
    orders.pipe(&mut driver, "a", &order(2, "a", 1)).unwrap();
    assert_eq!(driver.state_stores(), ["per_shop", "totals"]);
    let totals = driver.key_value_store("totals");
    assert_eq!(totals.get(r#"["a",1]"#), Some(&json!({"n": 2})));
    assert_eq!(totals.get("a"), None);
    assert_eq!((totals.len(), totals.all().count()), (1, 1));
}

#[test]
fn sql_sinks_write_when_a_table_is_asked_for_and_go_on_from_their_ledger_after_a_crash() {
    let mut driver = driver(2);
    let mut orders = driver.input_topic("orders").starting_at(Timestamp(1_000));
    for id in 1..=3 {
        let shop = if id == 2 { "b" } else { "a" };
        orders
            .pipe(&mut driver, shop, &order(id, shop, 3 * id))
            .unwrap();
    }
    let sums = |driver: &mut TopologyTestDriver| {
        let rows = driver.sql_rows("sales").unwrap().into_iter();
        let sums = rows.map(|row| (row["shop"].to_string(), row["sum"].as_i64()));
        sums.collect::<BTreeMap<_, _>>()
    };
    let expected = [("\"a\"", Some(12)), ("\"b\"", Some(6))];
    let expected = expected.map(|(shop, sum)| (shop.to_owned(), sum));
    assert_eq!(sums(&mut driver), BTreeMap::from(expected));
    driver.lose_state();
    assert_eq!(sums(&mut driver).len(), 2, "tables outlive the process");
    driver.restart().unwrap();
    orders.pipe(&mut driver, "a", &order(4, "a", 1)).unwrap();
    let lines = driver.sql_rows("lines").unwrap();
    assert_eq!(lines.len(), 4);
    let line = |id: &str| lines.iter().find(|row| row["id"] == id).unwrap();
    assert_eq!(
        (&line("2")["vip"], &line("4")["vip"]),
        (&json!(true), &json!(false))
    );
    // The row that was written again is the same row.
    let sales = driver.sql_rows("sales").unwrap();
    assert_eq!(sales.len(), 2);
    assert_eq!(sales[0]["window_start"], "1970-01-01T00:00:00.000Z");
}

#[test]
fn a_row_that_two_groups_drop_is_dropped_once() {
    let mut driver = driver(1);
    let mut orders = driver.input_topic("orders");
    let broken = json!({"id": 1, "shop": "a", "price": "much"});
    orders.pipe(&mut driver, "a", &broken).unwrap();
    driver.write_tables().unwrap();
    // One letter of the application and one of the sink `lines`.
    let letters = driver.dead_letters();
    assert_eq!(letters.len(), 2);
    assert_eq!(driver.drops("paid", DropReason::Expression), 1);
    assert_eq!(driver.dropped().len(), 1);
}

#[test]
fn what_is_piped_while_the_process_is_down_is_processed_when_it_is_back() {
    let mut driver = driver(1);
    let mut orders = driver.input_topic("orders").starting_at(Timestamp(0));
    driver.crash();
    orders.pipe(&mut driver, "a", &order(1, "a", 1)).unwrap();
    driver.write_tables().unwrap();
    assert!(driver.produced_topics().is_empty());
    driver.restart().unwrap();
    assert_eq!(driver.output_topic("sales").queue_size(&driver), 1);
    assert_eq!(driver.sql_rows("sales").unwrap().len(), 1);
}

#[test]
#[should_panic(expected = "no source reads the topic sales; they read orders")]
fn a_topic_that_nobody_reads_is_no_input() {
    driver(1).input_topic("sales");
}
