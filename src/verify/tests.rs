//! Tables that a driver has written, held against the events that went in.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use super::*;
use crate::config;
use crate::testkit::{DriverOptions, TopologyTestDriver};
use crate::topology::graph::Topology;
use crate::topology::plan::plan;

fn topology(nodes: &str) -> Topology {
    let file = format!(
        "
app: shop
nodes:
  orders:
    source: {{ topic: orders, key: shop, timestamp: at, id: id, fields: {{ id: string, shop: string, price: int, user: string }} }}
  real: {{ filter: {{ from: orders, where: price >= 0 }} }}
  raw_table:
    sql: {{ from: real, table: raw_orders, key: [at, id], columns: {{ at: record_timestamp(), id: id, event: raw() }} }}
{nodes}"
    );
    config::parse(&file, "shop.yaml").unwrap_or_else(|report| panic!("{report}"))
}

/// What is found in the tables that a driver has written.
fn found(topology: &Topology, driver: &mut TopologyTestDriver, stretch: Stretch) -> Report {
    driver.write_tables().unwrap();
    let database = driver.tables().unwrap().clone();
    let scheme = Scheme::of(topology, &plan(topology).unwrap(), &[], None).unwrap();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let mut place = Place {
        database: &database,
        tokio: tokio.handle(),
        progress: &mut |_| true,
        pause: &mut |_| true,
    };
    verify(&scheme, stretch, &mut place).unwrap()
}

/// Lets windows go that wait for partitions which have nothing.
fn settle(driver: &mut TopologyTestDriver) {
    for _ in 0..3 {
        driver.advance_wall_clock(15_000).unwrap();
    }
}

/// Orders of about an hour, of some shops and users, up to 20 seconds out of order, in four partitions.
fn pipe_orders(driver: &mut TopologyTestDriver, seed: u64, orders: i64) {
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..orders {
        let at = number * 3_600_000 / orders + random.random_range(0..20_000);
        let shop = ["a", "b", "c", "d", "e"][random.random_range(0..5)];
        let order = json!({
            "id": format!("o{number}"),
            "shop": shop,
            "user": format!("u{}", random.random_range(0..20)),
            "price": random.random_range(-10..100),
            "at": 1_777_979_860_000 + at,
        });
        driver.pipe("orders", Some(shop), &order.to_string());
    }
}

fn options() -> DriverOptions {
    DriverOptions {
        partitions: 4,
        ..DriverOptions::default()
    }
}

const EVERY_WINDOW: &str = "
  tumbling:
    aggregate:
      from: real
      by: [shop]
      window: { tumbling: 1m, grace: 1m }
      set: { orders: count(), sum: sum(price), mean: avg(price), users: distinct(user), last: last(user) }
  tumbling_table: { sql: { from: tumbling, table: per_shop_minute } }
  hopping:
    aggregate: { from: real, by: [user], window: { hopping: 10m, advance: 5m, grace: 1m }, set: { orders: count() } }
  hopping_table: { sql: { from: hopping, table: per_user_10m } }
  sliding:
    aggregate: { from: real, by: [shop], window: { sliding: 2m, grace: 1m }, set: { orders: count(), most: max(price) } }
  sliding_table: { sql: { from: sliding, table: per_shop_sliding } }
  session:
    aggregate: { from: real, by: [user], window: { session: 2m, grace: 1m }, set: { orders: count() } }
  session_table: { sql: { from: session, table: sessions } }
  closed:
    aggregate: { from: real, by: [user], window: { tumbling: 5m, grace: 1m }, emit: close, set: { orders: count() } }
  closed_table: { sql: { from: closed, table: closed_windows } }
  dear: { filter: { from: tumbling, where: sum > 100 } }
  held: { suppress: { from: dear, until: close } }
  held_table: { sql: { from: held, table: dear_minutes, columns: { shop: shop, at: window_start, twice: sum * 2 }, key: [shop, at] } }
";

#[test]
fn tables_of_every_kind_of_window_agree_with_the_events_that_they_were_made_of() {
    let topology = topology(EVERY_WINDOW);
    let mut driver = TopologyTestDriver::with_options(&topology, options()).unwrap();
    pipe_orders(&mut driver, 7, 1_500);
    settle(&mut driver);
    let report = found(&topology, &mut driver, Stretch::default());
    assert!(report.is_clean(), "{report:#?}");
    assert!(report.events > 1_200, "{}", report.events);
    for table in &report.tables {
        assert!(table.rows > 50, "{} has {} rows", table.table, table.rows);
        let waits = ["closed_windows", "dear_minutes"].contains(&table.table.as_str());
        assert!(
            waits || table.open == 0,
            "{} has {} open",
            table.table,
            table.open
        );
    }
}

#[test]
fn a_stretch_is_as_exact_at_its_ends_as_in_the_middle() {
    let topology = topology(EVERY_WINDOW);
    let mut driver = TopologyTestDriver::with_options(&topology, options()).unwrap();
    pipe_orders(&mut driver, 8, 1_500);
    settle(&mut driver);
    let all = found(&topology, &mut driver, Stretch::default());
    for (since, until) in [
        (600_000, 1_200_000),
        (601_234, 1_234_567),
        (600_001, 600_002),
    ] {
        let time = |ms: i64| Some(Timestamp(1_777_979_860_000 + ms));
        let (since, until) = (time(since), time(until));
        let report = found(&topology, &mut driver, Stretch { since, until });
        assert!(report.is_clean(), "{since:?} {report:#?}");
        assert!(report.events > 0 && report.events < all.events);
    }
}

#[test]
fn events_that_were_late_or_came_twice_are_told_of() {
    let topology = topology(
        "
  per_shop: { aggregate: { from: real, by: [shop], window: { tumbling: 1m }, set: { orders: count() } } }
  table: { sql: { from: per_shop, table: per_shop } }
",
    );
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    let order = |id: &str, second: i64| json!({"id": id, "shop": "a", "price": 1, "at": 1_777_979_820_000 + second * 1_000});
    // The fourth is late; the fifth comes twice.
    for (id, second) in [
        ("1", 0),
        ("2", 30),
        ("3", 70),
        ("4", 40),
        ("5", 130),
        ("5", 130),
    ] {
        driver.pipe("orders", Some("a"), &order(id, second).to_string());
    }
    let report = found(&topology, &mut driver, Stretch::default());
    let [table] = report.tables.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!((report.events, table.rows, table.differing), (5, 3, 2));
    let difference = |start_s: i64, events: i64, table: i64| RowDifference {
        start: Timestamp(1_777_979_820_000 + start_s * 1_000),
        key: vec![("shop".into(), QueryValue::Text("a".into()))],
        what: Discrepancy::Columns(vec![ColumnDifference {
            column: "orders".into(),
            events: QueryValue::Int(events),
            table: QueryValue::Int(table),
        }]),
    };
    assert_eq!(
        table.differences,
        [difference(0, 3, 2), difference(120, 1, 2)]
    );
}

#[test]
fn what_a_deduplicate_in_front_of_both_has_dropped_is_in_neither() {
    let file = "
app: shop
nodes:
  orders: { source: { topic: orders, key: shop, timestamp: at } }
  once: { deduplicate: { from: orders, by: [shop, id], within: 1h } }
  raw_table:
    sql: { from: once, table: raw_orders, key: [at, place], columns: { at: record_timestamp(), place: record_offset(), event: raw() } }
  per_shop: { aggregate: { from: once, by: [shop], window: { tumbling: 1m }, set: { n: count() } } }
  table: { sql: { from: per_shop, table: per_shop } }
";
    let topology = config::parse(file, "shop.yaml").unwrap_or_else(|report| panic!("{report}"));
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    for (id, second) in [
        ("1", 0),
        ("2", 30),
        ("2", 30),
        ("3", 70),
        ("1", 50),
        ("4", 130),
    ] {
        let order = json!({"id": id, "shop": "a", "at": 1_777_979_820_000_i64 + second * 1_000});
        driver.pipe("orders", Some("a"), &order.to_string());
    }
    let report = found(&topology, &mut driver, Stretch::default());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.events, report.tables[0].rows), (4, 3));
}

/// What has been written is taken away again, in the middle and at the end.
#[test]
fn a_closed_window_without_a_row_is_missed_once_its_key_has_a_later_one() {
    let topology = topology(
        "
  closed: { aggregate: { from: real, by: [shop], window: { tumbling: 1m }, emit: close, set: { n: count() } } }
  table: { sql: { from: closed, table: closed } }
",
    );
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    for minute in 0..6_i64 {
        let at = 1_777_979_820_000 + minute * 60_000;
        let order = json!({"id": minute.to_string(), "shop": "a", "price": 1, "at": at});
        driver.pipe("orders", Some("a"), &order.to_string());
    }
    let whole = found(&topology, &mut driver, Stretch::default());
    assert!(whole.is_clean(), "{whole:?}");
    assert_eq!((whole.tables[0].rows, whole.tables[0].open), (5, 1));
    let rows_left = |driver: &mut TopologyTestDriver, minutes: &[i64]| {
        for minute in minutes {
            let start = Timestamp(1_777_979_820_000 + minute * 60_000);
            driver.run_sql(&format!(
                "DELETE FROM closed WHERE window_start = '{start}'"
            ));
        }
        found(&topology, driver, Stretch::default())
            .tables
            .remove(0)
    };
    let table = rows_left(&mut driver, &[1, 3]);
    let starts = table
        .differences
        .iter()
        .map(|each| each.start.0 - 1_777_979_820_000);
    assert_eq!(starts.collect::<Vec<_>>(), [60_000, 180_000]);
    assert!(
        table
            .differences
            .iter()
            .all(|each| each.what == Discrepancy::Missing)
    );
    // Where no later one is left, nobody knows.
    let table = rows_left(&mut driver, &[4]);
    assert_eq!((table.differing, table.open), (1, 3));
}

#[test]
fn what_a_map_makes_of_results_is_compared_as_far_as_they_are() {
    let topology = topology(
        "
  per_shop:
    aggregate: { from: real, by: [shop], window: { tumbling: 1m }, set: { n: count(), top: 'top_k(user, 1)' } }
  more: { map: { from: per_shop, set: { twice: n * 2, best: 'top[0].value' } } }
  table: { sql: { from: more, table: more } }
",
    );
    let scheme = Scheme::of(&topology, &plan(&topology).unwrap(), &[], None).unwrap();
    let columns = scheme.rollups[0].columns.iter();
    let found = columns.map(|column| (column.name.as_str(), column.agreement));
    let expected = [
        ("window_end", Agreement::Equal),
        ("n", Agreement::Equal),
        ("top", Agreement::Unknown),
        ("twice", Agreement::Equal),
        ("best", Agreement::Unknown),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[track_caller]
fn refused(nodes: &str, tables: &[&str], expected: &str) {
    let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
    let topology = topology(nodes);
    let plan = plan(&topology).unwrap();
    let found = Scheme::of(&topology, &plan, &tables, None);
    let message = match found {
        Ok(scheme) => scheme
            .left_out
            .iter()
            .map(|each| format!("{}: {}", each.table, each.reason))
            .collect::<Vec<_>>()
            .join("; "),
        Err(error) => error.to_string(),
    };
    assert_eq!(message, expected);
}

#[test]
fn what_cannot_be_verified_is_named_with_its_reason() {
    let good = "
  good: { aggregate: { from: real, by: [shop], window: { tumbling: 1m }, set: { n: count() } } }
  good_table: { sql: { from: good, table: good } }
";
    let with_good = |nodes: &str| format!("{good}{nodes}");
    refused(good, &[], "");
    refused(good, &["nowhere"], "no node writes a table nowhere");
    refused(
        good,
        &["raw_orders"],
        "raw_orders has the events that tables are held against",
    );
    refused(
        &with_good(
            "
  all: { aggregate: { from: real, by: [shop], window: none, set: { n: count() } } }
  all_table: { sql: { from: all, table: totals } }
",
        ),
        &[],
        "totals: its results have no windows",
    );
    refused(
        &with_good(
            "
  once: { deduplicate: { from: real, by: [shop, id], within: 1h } }
  deduplicated: { aggregate: { from: once, by: [shop], window: { tumbling: 1m }, set: { n: count() } } }
  table: { sql: { from: deduplicated, table: deduplicated } }
",
        ),
        &["deduplicated"],
        "deduplicated cannot be verified: what comes through `once` (`deduplicate`) does not follow from \
         the events alone",
    );
    refused(
        &with_good(
            "
  free: { aggregate: { from: orders, by: [shop], window: { tumbling: 1m }, set: { n: count() } } }
  table: { sql: { from: free, table: with_others } }
",
        ),
        &[],
        "with_others: `real` stands in front of `raw_table`, which writes the raw events, and not in front \
         of it: some of its events are not among them",
    );
    refused(
        &with_good(
            "
  placed: { map: { from: real, set: { p: record_partition() } } }
  by_place: { aggregate: { from: placed, by: [p], window: { tumbling: 1m }, set: { n: count() } } }
  table: { sql: { from: by_place, table: by_place } }
",
        ),
        &[],
        "by_place: `placed` asks for `record_partition()`, which raw events do not say",
    );
    refused(
        &with_good(
            "
  sized: { aggregate: { from: real, by: [shop], window: { tumbling: 1m }, set: { n: count() } } }
  table:
    sql:
      from: sized
      table: sizes
      key: [shop, window_start, size]
      columns: { shop: shop, window_start: window_start, size: 'n > 9' }
",
        ),
        &[],
        "sizes: its key has `size`, which is made of results",
    );
    refused(
        &with_good(
            "
  typical: { aggregate: { from: real, by: [shop], window: { tumbling: 1m }, set: { m: median(price) } } }
  doubled: { map: { from: typical, set: { twice: m * 2.0 } } }
  high: { filter: { from: doubled, where: twice > 9.0 } }
  table: { sql: { from: high, table: high } }
",
        ),
        &[],
        "high: what comes through `high` depends on results that are estimates, or on the order of arrival",
    );
}

#[test]
fn a_topology_without_raw_events_is_refused() {
    let file = "
app: shop
nodes:
  orders: { source: { topic: orders, key: shop, timestamp: at } }
  per_shop: { aggregate: { from: orders, by: [shop], window: { tumbling: 1m }, set: { n: count() } } }
  table: { sql: { from: per_shop, table: per_shop } }
";
    let topology = config::parse(file, "shop.yaml").unwrap_or_else(|report| panic!("{report}"));
    let plan = plan(&topology).unwrap();
    let error = Scheme::of(&topology, &plan, &[], None).unwrap_err();
    assert_eq!(error, SchemeError::NoRawTable);
}

#[test]
fn rows_behind_the_last_event_have_lost_theirs() {
    let topology = topology(
        "
  per_shop: { aggregate: { from: real, by: [shop], window: { tumbling: 1m }, set: { n: count() } } }
  table: { sql: { from: per_shop, table: per_shop } }
",
    );
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    for minute in 0..6_i64 {
        let at = 1_777_979_820_000 + minute * 60_000;
        let order = json!({"id": minute.to_string(), "shop": "a", "price": 1, "at": at});
        driver.pipe("orders", Some("a"), &order.to_string());
    }
    assert!(found(&topology, &mut driver, Stretch::default()).is_clean());
    let last = Timestamp(1_777_979_820_000 + 4 * 60_000);
    driver.run_sql(&format!("DELETE FROM raw_orders WHERE at >= '{last}'"));
    let report = found(&topology, &mut driver, Stretch::default());
    let [table] = report.tables.as_slice() else {
        panic!("{report:?}");
    };
    let starts = table.differences.iter().map(|each| each.start);
    assert_eq!(starts.collect::<Vec<_>>(), [last, last.plus_millis(60_000)]);
    let extra = |each: &RowDifference| each.what == Discrepancy::Unfounded;
    assert!(table.differences.iter().all(extra), "{table:?}");
}
