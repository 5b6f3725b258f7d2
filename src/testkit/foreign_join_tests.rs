//! Joins of two tables by a foreign key.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fate::{Fate, config, fate};
use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::topology::builder::{
    Builder, Join, JoinKind, KafkaSink, Rollup, Source, SqlSink, Table,
};
use crate::topology::graph::{NullValues, Topology};

fn table(builder: Builder, topic: &str) -> Builder {
    let source = Source::json(topic).null_values(NullValues::Pass);
    let input = format!("{topic}_in");
    builder
        .source(&input, source)
        .table(topic, &input, Table::new())
}

/// Orders with their customers.
fn orders(kind: JoinKind) -> Builder {
    let join = Join::with("customers", "customer").on("by").kind(kind);
    let builder = table(table(Topology::builder("app"), "orders"), "customers");
    builder.join("both", "orders", join)
}

fn to_topic(builder: Builder) -> Builder {
    let sink = KafkaSink::topic("out")
        .field("n", "n")
        .field("name", "customer.name");
    builder.kafka("out", "both", sink)
}

fn driver(builder: Builder, options: DriverOptions) -> TopologyTestDriver {
    let topology = builder
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

fn with_partitions(builder: Builder, partitions: u32) -> TopologyTestDriver {
    let options = DriverOptions {
        partitions,
        ..DriverOptions::default()
    };
    driver(builder, options)
}

/// The key and the value of the new records of the topic `out`.
fn written(driver: &mut TopologyTestDriver) -> Vec<(String, Value)> {
    let records = driver.read("out").into_iter();
    let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes).unwrap();
    let mut written: Vec<(String, Value)> = records
        .map(|record| {
            let key = String::from_utf8(record.key.unwrap()).unwrap();
            (key, record.value.map_or(Value::Null, parse))
        })
        .collect();
    written.sort_by(|one, other| one.0.cmp(&other.0));
    written
}

fn order(n: i64, by: &str) -> Option<String> {
    Some(json!({"n": n, "by": by}).to_string())
}

fn customer(name: &str) -> Option<String> {
    Some(json!({"name": name}).to_string())
}

/// ```text
///   customers           ann ────────────── Ann ─────────────────── deleted
///   orders     1 by ann      2 by ann           1 by bob
///   inner      (nothing)  1 ann   2 ann   1, 2 Ann   1 deleted      2 deleted
///   left       1 –        1 ann   2 ann   1, 2 Ann   1 –            2 –
/// ```
#[test]
fn each_left_row_has_the_right_row_that_it_leads_to() {
    for kind in [JoinKind::Inner, JoinKind::Left] {
        for partitions in [1, 3] {
            let mut driver = with_partitions(to_topic(orders(kind)), partitions);
            let mut step = |topic: &str, key: &str, value: Option<String>| {
                match value {
                    Some(value) => driver.pipe(topic, Some(key), &value),
                    None => driver.pipe_tombstone(topic, key),
                }
                let written = written(&mut driver);
                driver.lose_state();
                driver.restart().unwrap();
                written
            };
            let row =
                |key: &str, n: i64, name: &str| (key.to_owned(), json!({"n": n, "name": name}));
            let without = |key: &str, n: i64| match kind {
                JoinKind::Left => (key.to_owned(), json!({"n": n, "name": null})),
                _ => (key.to_owned(), Value::Null),
            };
            let first = step("orders", "1", order(5, "ann"));
            match kind {
                JoinKind::Left => assert_eq!(first, [without("1", 5)]),
                _ => assert_eq!(first, []),
            }
            assert_eq!(
                step("customers", "ann", customer("ann")),
                [row("1", 5, "ann")]
            );
            assert_eq!(step("orders", "2", order(6, "ann")), [row("2", 6, "ann")]);
            assert_eq!(
                step("customers", "ann", customer("Ann")),
                [row("1", 5, "Ann"), row("2", 6, "Ann")]
            );
            assert_eq!(step("orders", "1", order(7, "bob")), [without("1", 7)]);
            assert_eq!(step("customers", "ann", None), [without("2", 6)]);
            assert_eq!(step("customers", "ann", None), []);
            // Also in the inner join, where it has none: only the right side knows that.
            assert_eq!(step("orders", "2", None), [("2".to_owned(), Value::Null)]);
        }
    }
}

/// ```text
///   orders ─┐
///           ├─ by the customer ─→ per country: orders, sum
///   customers (ann: fr → de)
/// ```
#[test]
fn results_can_be_aggregated_and_written_to_tables() {
    let rollup = Rollup::by(["customer.country"])
        .unbounded()
        .set("orders", "count()")
        .set("sum", "sum(n)");
    let builder = orders(JoinKind::Inner)
        .sql(
            "table",
            "both",
            SqlSink::table("orders")
                .key(["id"])
                .column("id", "record_key()")
                .column("country", "customer.country"),
        )
        .aggregate("per_country", "both", rollup);
    let mut driver = with_partitions(builder, 2);
    for (id, n, by) in [("1", 5, "ann"), ("2", 6, "bob"), ("3", 7, "ann")] {
        driver.pipe("orders", Some(id), &order(n, by).unwrap());
    }
    for (name, country) in [("ann", "fr"), ("bob", "fr"), ("ann", "de")] {
        driver.pipe(
            "customers",
            Some(name),
            &json!({"country": country}).to_string(),
        );
        driver.crash();
        driver.restart().unwrap();
    }
    driver.pipe_tombstone("orders", "3");
    let results: BTreeMap<String, Value> = driver
        .store("per_country")
        .into_iter()
        .map(|entry| {
            (
                entry.key[0].as_str().unwrap().to_owned(),
                json!(entry.results),
            )
        })
        .collect();
    let expected = json!({"de": {"orders": 1, "sum": 5}, "fr": {"orders": 1, "sum": 6}});
    assert_eq!(json!(results), expected);
    let rows = driver.sql_rows("orders").unwrap();
    assert_eq!(
        json!(rows),
        json!([{"id": "1", "country": "de"}, {"id": "2", "country": "fr"}])
    );
}

/// ```text
///   left    1 by ann, deleted │ 1 by ann
///   right   ann               │ deleted
///   answers                   │     ann     the first one, which comes when there is such a row again
/// ```
#[test]
fn an_answer_that_is_out_of_date_does_not_stay() {
    let options = DriverOptions {
        commit_each: false,
        ..DriverOptions::default()
    };
    let mut driver = driver(to_topic(orders(JoinKind::Inner)), options);
    driver.pipe("customers", Some("ann"), &customer("ann").unwrap());
    driver.pipe("orders", Some("1"), &order(5, "ann").unwrap());
    driver.pipe_tombstone("orders", "1");
    driver.commit().unwrap();
    driver.pipe("orders", Some("1"), &order(5, "ann").unwrap());
    driver.pipe_tombstone("customers", "ann");
    for _ in 0..4 {
        driver.commit().unwrap();
    }
    let written = written(&mut driver);
    assert_eq!(
        written.last(),
        Some(&("1".to_owned(), Value::Null)),
        "{written:?}"
    );
}

/// What happens, one after the other.
#[derive(Clone, Debug)]
enum Step {
    /// A left row: the foreign key, if it has one, and a number; none: it is deleted.
    Left(u8, Option<(Option<u8>, u8)>),
    /// A right row.
    Right(u8, Option<u8>),
    Fate(Fate),
}

fn step() -> impl Strategy<Value = Step> {
    let left = prop::option::weighted(0.8, (prop::option::weighted(0.9, 0..3u8), 0..9u8));
    let right = prop::option::weighted(0.7, 0..9u8);
    prop_oneof![
        8 => (0..5u8, left).prop_map(|(key, row)| Step::Left(key, row)),
        5 => (0..3u8, right).prop_map(|(key, row)| Step::Right(key, row)),
        5 => fate().prop_map(Step::Fate),
    ]
}

proptest! {
    #![proptest_config(config(80))]

    /// Wherever the process dies: in the end each left row has its right one, and of the records that
    /// were sent for it the last says so.
    #[test]
    fn in_the_end_every_left_row_has_its_right_one(
        steps in prop::collection::vec(step(), 1..80),
        kind in prop::sample::select(vec![JoinKind::Inner, JoinKind::Left]),
        // Who fills a topic decides where its keys are; clients do not agree on a hash.
        are_hashed in any::<bool>(),
    ) {
        let place = |key: u8| (!are_hashed).then_some(i32::from(key % 3));
        let options = DriverOptions {
            partitions: 3,
            commit_each: false,
            ..DriverOptions::default()
        };
        let builder = to_topic(orders(kind)).table("kept", "both", Table::new());
        let mut driver = driver(builder, options);
        let mut lefts: BTreeMap<u8, (Option<u8>, u8)> = BTreeMap::new();
        let mut rights: BTreeMap<u8, u8> = BTreeMap::new();
        for step in &steps {
            match step {
                Step::Left(key, Some((by, n))) => {
                    let by = by.map(|by| format!("r{by}"));
                    let row = TestRecord {
                        key: Some(format!("l{key}").into_bytes()),
                        partition: place(*key),
                        ..TestRecord::json(&json!({"by": by, "n": n}))
                    };
                    driver.pipe_record("orders", &row).unwrap();
                }
                Step::Left(key, None) => {
                    let deletion = TestRecord {
                        key: Some(format!("l{key}").into_bytes()),
                        partition: place(*key),
                        ..TestRecord::default()
                    };
                    driver.pipe_record("orders", &deletion).unwrap();
                }
                Step::Right(key, Some(name)) => {
                    let row = json!({"name": name}).to_string();
                    driver.pipe("customers", Some(&format!("r{key}")), &row);
                }
                Step::Right(key, None) => driver.pipe_tombstone("customers", &format!("r{key}")),
                Step::Fate(fate) => driver.meet(*fate),
            }
            match step {
                Step::Left(key, Some(row)) => drop(lefts.insert(*key, *row)),
                Step::Left(key, None) => drop(lefts.remove(key)),
                Step::Right(key, Some(name)) => drop(rights.insert(*key, *name)),
                Step::Right(key, None) => drop(rights.remove(key)),
                _ => {}
            }
        }
        // Subscriptions, answers, results.
        for _ in 0..4 {
            driver.commit().unwrap();
        }
        let mut expected: BTreeMap<String, Value> = BTreeMap::new();
        for (key, (by, n)) in &lefts {
            let name = by.and_then(|by| rights.get(&by));
            if name.is_some() || kind == JoinKind::Left {
                expected.insert(format!("l{key}"), json!({"n": n, "name": name}));
            }
        }
        let mut last: BTreeMap<String, Value> = BTreeMap::new();
        for record in driver.read("out") {
            let key = String::from_utf8(record.key.unwrap()).unwrap();
            match record.value {
                Some(value) => drop(last.insert(key, serde_json::from_slice(&value).unwrap())),
                None => drop(last.remove(&key)),
            }
        }
        prop_assert_eq!(&last, &expected);
        let kept: BTreeMap<String, Value> = driver
            .rows("kept")
            .into_iter()
            .map(|row| {
                let name = row.fields["customer"]["name"].clone();
                (row.key, json!({"n": row.fields["n"], "name": name}))
            })
            .collect();
        prop_assert_eq!(kept, expected);
    }
}
