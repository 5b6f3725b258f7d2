//! Time where records come from several partitions: what holds windows and joins up, and what does not.

use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::config;
use crate::processor::DropReason;
use crate::time::Timestamp;
use crate::topology::builder::{Builder, Join, JoinKind, KafkaSink, Rollup, Source, Table};
use crate::topology::duration::Millis;
use crate::topology::graph::{Emit, NullValues, Topology};

fn with_partitions(builder: Builder, partitions: u32) -> TopologyTestDriver {
    let options = DriverOptions {
        partitions,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&builder.build().unwrap(), options).unwrap()
}

/// The key of each new record.
fn keys(driver: &mut TopologyTestDriver) -> Vec<String> {
    let records = driver.read("out").into_iter();
    let key = records.map(|record| record.key.unwrap_or_default());
    key.map(|key| String::from_utf8(key).unwrap()).collect()
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
///   left   a 1 ──────────── b 9    then nothing more to the right, for good
///   right      c 1
/// ```
///
/// Each side is moved. What waits leaves by the time of the side on which records still come.
#[test]
fn a_side_that_falls_silent_holds_up_nothing() {
    let join = Join::with("right_by_k", "other")
        .within(Millis(1_000))
        .kind(JoinKind::Outer);
    let moved = |builder: Builder, side: &str| {
        let source = Source::json(side).timestamp("at");
        let by_k = format!("{side}_by_k");
        builder.source(side, source).select_key(&by_k, side, "k")
    };
    let builder = moved(moved(Topology::builder("app"), "left"), "right");
    let builder = builder.join("both", "left_by_k", join);
    let builder = builder.kafka("out", "both", KafkaSink::topic("out").field("at", "at"));
    let mut driver = with_partitions(builder, 2);
    let second = |n: i64| n * 1_000;
    let pipe = |driver: &mut TopologyTestDriver, side: &str, key: &str, at: i64| {
        let value = format!(r#"{{"k":"{key}","at":{at}}}"#);
        for partition in 0..2 {
            let record = TestRecord::text(&value).in_partition(partition);
            driver.pipe_record(side, &record).unwrap();
        }
    };
    pipe(&mut driver, "left", "a", second(1));
    pipe(&mut driver, "right", "c", second(1));
    pipe(&mut driver, "left", "b", second(9));
    let behind = "the right side may still be behind";
    assert_eq!(keys(&mut driver), [""; 0], "{behind}");
    for _ in 0..3 {
        driver.advance_wall_clock(6_000).unwrap();
    }
    let mut left = keys(&mut driver);
    left.sort_unstable();
    assert_eq!(left, ["a", "a", "c", "c"]);
}

/// Orders by the country of their customer, where the orders have to be moved.
fn orders_by_country() -> Builder {
    let customers = Source::json("customers").null_values(NullValues::Pass);
    let builder = Topology::builder("app")
        .source("customers_in", customers)
        .table("customers", "customers_in", Table::new())
        .source("orders", Source::json("orders").timestamp("at"))
        .select_key("by_customer", "orders", "customer")
        .join(
            "enriched",
            "by_customer",
            Join::with("customers", "c").kind(JoinKind::Left),
        );
    let rollup = Rollup::by(["c.country"]).tumbling(Millis(1_000));
    builder
        .aggregate("per_country", "enriched", rollup.set("n", "count()"))
        .kafka(
            "out",
            "per_country",
            KafkaSink::topic("out").field("n", "n"),
        )
}

/// ```text
///   orders      1 ·········· silence ·········· 5   10
///   customers   0   1,000,000                            their times say nothing of those of orders
/// ```
#[test]
fn the_times_of_a_table_are_not_those_of_the_stream() {
    for partitions in [1, 3] {
        let mut driver = with_partitions(orders_by_country(), partitions);
        let customer = |driver: &mut TopologyTestDriver, at: i64| {
            let (key, value) = (Some(&b"ann"[..]), Some(&br#"{"country":"de"}"#[..]));
            driver
                .try_pipe("customers", key, value, Timestamp(at))
                .unwrap();
        };
        let order = |driver: &mut TopologyTestDriver, at: i64| {
            let order = format!(r#"{{"customer":"ann","at":{at}}}"#);
            driver.pipe("orders", None, &order);
        };
        customer(&mut driver, 0);
        order(&mut driver, 1_000);
        customer(&mut driver, 1_000_000);
        for _ in 0..30 {
            driver.advance_wall_clock(6_000).unwrap();
        }
        order(&mut driver, 5_000);
        order(&mut driver, 10_000);
        assert_eq!(keys(&mut driver).len(), 3, "{partitions} partitions");
        assert_eq!(driver.drops("per_country", DropReason::Late), 0);
    }
}

/// Whoever has nothing more to send says so now and then, and no more.
#[test]
fn an_application_without_records_writes_little() {
    let mut driver = with_partitions(orders_by_country(), 2);
    driver.pipe("orders", None, r#"{"customer":"ann","at":1000}"#);
    let before = driver.total_records();
    for _ in 0..600 {
        driver.advance_wall_clock(500).unwrap();
    }
    // In five minutes each partition of both repartitions says to each other one at most once a minute
    // that it is silent, and once before; each word that is read is a commit with its markers.
    let words = 2 * 2 * 2 * 6;
    let written = driver.total_records() - before;
    assert!(written <= 5 * words, "{written} records, {words} words");
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

/// For the only partition nobody waits, and stream time is what it is in Kafka Streams.
///
/// ```text
///   x 1 ─→ filter ─→ moved ─→ 1 counts
///   y 3600 ─→ (nothing)       the window of 1 is open still
///   x 2 ─→        ─→       ─→ 2 is not late
///   x 3600                    the window closes
/// ```
#[test]
fn in_the_only_partition_what_a_filter_stops_says_nothing() {
    let file = "
app: app
nodes:
  s: { source: { topic: in, timestamp: at } }
  xs: { filter: { from: s, where: kind == 'x' } }
  n: { aggregate: { from: xs, by: user, window: { tumbling: 10s }, emit: close, set: { n: count() } } }
  out: { kafka: { from: n, topic: out } }
";
    let topology = config::parse(file, "t.yaml").unwrap_or_else(|report| panic!("{report}"));
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    for (kind, second) in [("x", 1), ("y", 3_600), ("x", 2)] {
        let at = second * 1_000;
        let record = format!(r#"{{"user":"u","kind":"{kind}","at":{at}}}"#);
        driver.pipe("in", None, &record);
    }
    assert_eq!(driver.read_json("out").len(), 0);
    assert_eq!(driver.drops("n", DropReason::Late), 0);
    driver.pipe("in", None, r#"{"user":"u","kind":"x","at":3600000}"#);
    let results = driver.read_json("out");
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["n"], 2);
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

/// ```text
///   partition 0   a pair at 5, and what goes on
///   partition 1   a pair at 5, then silence: nothing waits there for another side, also after a crash
/// ```
#[test]
fn a_join_in_which_nothing_waits_holds_up_nothing_after_a_crash() {
    let source = |topic| Source::json(topic).timestamp("at").key("k");
    let join = Join::with("views", "view").within(Millis(1_000));
    let rollup = Rollup::by(["page"]).tumbling(Millis(10_000));
    let builder = Topology::builder("app")
        .source("clicks", source("clicks"))
        .source("views", source("views"))
        .join("both", "clicks", join.kind(JoinKind::Left))
        .aggregate("n", "both", rollup.emit(Emit::Close).set("n", "count()"))
        .kafka("out", "n", KafkaSink::topic("out").field("n", "n"));
    for is_killed in [false, true] {
        let mut driver = with_partitions(builder.clone(), 2);
        let pair = |driver: &mut TopologyTestDriver, partition: i32, second: i64| {
            let at = second * 1_000;
            let value = format!(r#"{{"k":"{partition}","page":"p","at":{at}}}"#);
            let record = TestRecord::text(&value)
                .key(&partition.to_string())
                .in_partition(partition);
            for topic in ["clicks", "views"] {
                driver.pipe_record(topic, &record).unwrap();
            }
        };
        pair(&mut driver, 0, 5);
        pair(&mut driver, 1, 5);
        pair(&mut driver, 0, 60);
        pair(&mut driver, 0, 120);
        if is_killed {
            driver.lose_state();
            driver.restart().unwrap();
        }
        for _ in 0..4 {
            driver.advance_wall_clock(6_000).unwrap();
        }
        assert_eq!(keys(&mut driver)[..1], ["p"], "killed: {is_killed}");
    }
}
