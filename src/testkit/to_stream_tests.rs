//! Updates of rows that are records of their own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::processor::DropReason;
use crate::testkit::{DriverOptions, TopologyTestDriver};
use crate::topology::builder::{
    Builder, Deduplicate, Join, KafkaSink, Rollup, Source, SqlSink, Table,
};
use crate::topology::graph::{NullValues, Topology};

const MINUTE: Duration = Duration::from_secs(60);

/// The rows of a table `users`, and a stream `changes` of their updates.
fn changes() -> Builder {
    let source = Source::json("users").timestamp("at").key("name");
    Topology::builder("app")
        .source("profiles", source.null_values(NullValues::Pass))
        .table("users", "profiles", Table::new())
        .to_stream("changes", "users")
}

fn driver(builder: Builder, partitions: u32) -> TopologyTestDriver {
    let topology = builder
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    let options = DriverOptions {
        partitions,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

fn pipe(driver: &mut TopologyTestDriver, topic: &str, key: &str, value: &Value) {
    driver.pipe(topic, Some(key), &value.to_string());
}

/// The last value of a field of each record of a topic, by the key.
fn last(driver: &mut TopologyTestDriver, topic: &str, field: &str) -> Vec<(String, Value)> {
    let mut last: Vec<(String, Value)> = Vec::new();
    for record in driver.read(topic) {
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        let value: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let value = value[field].clone();
        match last.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => last.push((key, value)),
        }
    }
    last.sort_by(|a, b| a.0.cmp(&b.0));
    last
}

/// ```text
///   ann {"city":"x"} ─→ users ─→ to_stream ─→ windowed by city   x: 1
///   ann {"city":"y"} ─→                    ─→                    y: 1, and x still 1
///   bob {"city":"x"} ─→                    ─→                    x: 2
///   ann {"city":"y"} ─→                    ─→                    y: 2: the same row again is an update
/// ```
#[test]
fn each_update_of_a_row_counts_in_the_window_of_its_time() {
    let rollup = Rollup::by(["city"]).tumbling(MINUTE).set("n", "count()");
    for partitions in [1, 3] {
        let builder = changes().aggregate("per_city", "changes", rollup.clone());
        let builder = builder.kafka("out", "per_city", KafkaSink::topic("out"));
        let mut driver = driver(builder, partitions);
        for (name, city) in [("ann", "x"), ("ann", "y"), ("bob", "x"), ("ann", "y")] {
            let row = json!({"name": name, "city": city, "at": 1_000});
            pipe(&mut driver, "users", name, &row);
            driver.lose_state();
            driver.restart().unwrap();
        }
        let expected = [("x".to_owned(), json!(2)), ("y".to_owned(), json!(2))];
        assert_eq!(last(&mut driver, "out", "n"), expected, "{partitions}");
    }
}

/// ```text
///   3 clicks of a, one after the other ─→ per minute: 1, 2, 3 ─→ to_stream ─→ the largest of each user: 3
///   1 click of a in the next minute    ─→             1       ─→           ─→                            3
/// ```
#[test]
fn updates_of_windows_can_be_folded_as_records() {
    let clicks = Rollup::by(["user"]).tumbling(MINUTE).set("n", "count()");
    let most = Rollup::by(["user"])
        .unbounded()
        .set("most", "max(n)")
        .set("updates", "count()");
    let builder = Topology::builder("app")
        .source("clicks", Source::json("clicks").timestamp("at").key("user"))
        .aggregate("per_minute", "clicks", clicks)
        .to_stream("updates", "per_minute")
        .aggregate("most", "updates", most)
        .kafka("out", "most", KafkaSink::topic("out"));
    let mut driver = driver(builder, 2);
    for at in [1_000, 2_000, 3_000, 61_000] {
        pipe(&mut driver, "clicks", "a", &json!({"user": "a", "at": at}));
    }
    let results = driver.read_json("out");
    let result = results.last().expect("a result");
    assert_eq!(
        (&result["most"], &result["updates"]),
        (&json!(3), &json!(4))
    );
}

/// ```text
///   ann moves to x ─→ users ─→ to_stream ─┐
///                                         join within 10 s ─→ each move with each login that is near it
///   ann logs in    ─→ logins ─────────────┘
/// ```
#[test]
fn updates_are_paired_with_the_records_of_a_stream() {
    let logins = Source::json("logins").timestamp("at").key("name");
    let join = Join::with("logins", "login").within(Duration::from_secs(10));
    let fields = KafkaSink::topic("out")
        .field("city", "city")
        .field("from", "login.from");
    let builder = changes()
        .source("logins", logins)
        .join("moves", "changes", join)
        .kafka("out", "moves", fields);
    let mut driver = driver(builder, 1);
    let moves = |city: &str, at: i64| json!({"name": "ann", "city": city, "at": at});
    pipe(&mut driver, "users", "ann", &moves("x", 0));
    let login = json!({"name": "ann", "from": "phone", "at": 5_000});
    pipe(&mut driver, "logins", "ann", &login);
    pipe(&mut driver, "users", "ann", &moves("y", 9_000));
    pipe(&mut driver, "users", "ann", &moves("z", 60_000));
    assert_eq!(
        driver.read_json("out"),
        [
            json!({"city": "x", "from": "phone"}),
            json!({"city": "y", "from": "phone"})
        ]
    );
}

/// A changelog is compacted, so a table of all updates is not made of one. What deletes a row is a record
/// without a value, which has no fields.
///
/// ```text
///   ann x, ann y, ann deleted ─→ users ─→ to_stream ─→ results topic ─→ sql: x, y
/// ```
#[test]
fn a_sql_sink_gets_each_update() {
    let sink = SqlSink::table("moves")
        .column("place", "record_offset()")
        .column("name", "name")
        .column("city", "city")
        .key(["place"]);
    let builder = changes().sql("moves", "changes", sink);
    let mut driver = driver(builder, 1);
    for city in ["x", "y"] {
        let row = json!({"name": "ann", "city": city, "at": 1_000});
        pipe(&mut driver, "users", "ann", &row);
    }
    driver.pipe_tombstone("users", "ann");
    let rows = driver.sql_rows("moves").unwrap();
    let cities: Vec<&Value> = rows.iter().map(|row| &row["city"]).collect();
    assert_eq!(cities, [&json!("x"), &json!("y")]);
}

/// ```text
///   ann x, ann x, ann y ─→ users ─→ to_stream ─→ deduplicate by name and city ─→ ann x, ann y
/// ```
#[test]
fn updates_that_say_the_same_are_duplicates_behind_it() {
    let deduplicate = Deduplicate::within(MINUTE).by(["name", "city"]);
    let builder = changes()
        .deduplicate("moves", "changes", deduplicate)
        .kafka("out", "moves", KafkaSink::topic("out"));
    let mut driver = driver(builder, 1);
    for city in ["x", "x", "y"] {
        let row = json!({"name": "ann", "city": city, "at": 1_000});
        pipe(&mut driver, "users", "ann", &row);
    }
    let cities: Vec<Value> = driver
        .read_json("out")
        .iter()
        .map(|row| row["city"].clone())
        .collect();
    assert_eq!(cities, [json!("x"), json!("y")]);
    assert_eq!(driver.drops("moves", DropReason::Duplicate), 1);
}
