//! SQL sinks behind a merge: they read the topics of its inputs themselves.

use serde_json::{Value, json};

use super::TopologyTestDriver;
use crate::expr::Expression;
use crate::topology::builder::{Branch, Builder, KafkaSink, Rollup, Source, SqlSink, Table};
use crate::topology::graph::{Map, NodeKind, NodeName, OnError, Topology};
use crate::value::FieldPath;

/// Sources `a` and `b`, with event times.
fn sources() -> Builder {
    Topology::builder("app")
        .source("a", Source::json("a").timestamp("at").key("name"))
        .source("b", Source::json("b").timestamp("at").key("name"))
}

/// A driver that has a table with the last `v` of each name.
fn driver(builder: Builder, from: &str) -> TopologyTestDriver {
    let sink = SqlSink::table("last").column("name", "name");
    let sink = sink.column("v", "v").key(["name"]);
    let topology = builder.sql("last", from, sink).build();
    TopologyTestDriver::new(&topology.unwrap_or_else(|findings| panic!("{findings}")))
        .expect("it can be planned")
}

fn pipe(driver: &mut TopologyTestDriver, topic: &str, name: &str, at: i64, v: i64) {
    let value = json!({"name": name, "at": at, "v": v});
    driver.pipe(topic, Some(name), &value.to_string());
}

/// The rows of the table as `name v`, sorted.
fn last(driver: &mut TopologyTestDriver) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let rows = driver.sql_rows("last").unwrap().into_iter();
    let mut rows: Vec<String> = rows
        .map(|row| format!("{} {}", text(&row["name"]), text(&row["v"])))
        .collect();
    rows.sort_unstable();
    rows
}

/// ```text
///   a   x 4 at :04   x 6 at :06 ─┐
///                                ├→ merge ─→ x 6: what happened last, if all of it is there
///   b         x 5 at :05 ────────┘
///
///   b         x 7 at :05          ─→ x 7: what came last
/// ```
#[test]
fn the_row_of_the_newest_event_stands_as_far_as_events_are_there() {
    let mut driver = driver(sources().merge("both", ["a", "b"]), "both");
    for (topic, at) in [("b", 5), ("a", 4), ("a", 6)] {
        pipe(&mut driver, topic, "x", at * 1_000, at);
    }
    assert_eq!(last(&mut driver), ["x 6"]);
    pipe(&mut driver, "b", "x", 5_000, 7);
    assert_eq!(last(&mut driver), ["x 7"]);
}

/// Rows of tables and results of aggregates have the time of their events, not that of the log.
#[test]
fn what_other_tasks_have_written_is_taken_by_event_time_too() {
    let tables = sources()
        .table("rows_a", "a", Table::new())
        .table("rows_b", "b", Table::new());
    let newest = |rollup: Rollup| rollup.set("v", "last(v)");
    let results = sources()
        .aggregate("rows_a", "a", newest(Rollup::by(["name"]).unbounded()))
        .aggregate("rows_b", "b", newest(Rollup::by(["name"]).unbounded()));
    for builder in [tables, results] {
        let mut driver = driver(builder.merge("both", ["rows_a", "rows_b"]), "both");
        pipe(&mut driver, "a", "x", 6_000, 6);
        pipe(&mut driver, "b", "x", 5_000, 5);
        pipe(&mut driver, "b", "y", 9_000, 9);
        pipe(&mut driver, "a", "y", 8_000, 8);
        assert_eq!(last(&mut driver), ["x 6", "y 9"]);
    }
}

/// ```text
///   a                      all of a is newer than all of b: it waits, and is read no further ahead
///   b   0   1   2   3   …  than some thousands of records, until b has come to its end
/// ```
#[test]
fn an_input_that_is_far_ahead_waits_for_the_other() {
    const PAIRS: i64 = 16_000;
    let mut driver = driver(sources().merge("both", ["a", "b"]), "both");
    for (topic, first) in [("a", PAIRS), ("b", 0)] {
        for pair in 0..PAIRS {
            let at = first + pair;
            pipe(&mut driver, topic, &format!("p{pair}"), at, at);
        }
    }
    let rows = last(&mut driver);
    assert_eq!(rows.len(), PAIRS as usize);
    for row in rows {
        let (name, v) = row.split_once(' ').unwrap();
        let pair: i64 = name[1..].parse().unwrap();
        assert_eq!(v, (PAIRS + pair).to_string(), "{name}");
    }
}

/// ```text
///   s  ─→ map src = x ─→ table tx ─┐
///      └→ map src = y ─→ table ty ─┴→ merge ─→ topic, table        y deletes its row last: so no row is left
/// ```
#[test]
fn a_deletion_has_the_time_of_its_record_like_any_row() {
    let mut driver = driver(
        Topology::builder("app")
            .source("s", Source::json("s").timestamp("at").key("name"))
            .map("x", "s", [("v", "1")])
            .node("y", NodeKind::Map(map_that_deletes()))
            .table("tx", "x", Table::new())
            .table("ty", "y", Table::new())
            .merge("both", ["tx", "ty"])
            .kafka("out", "both", KafkaSink::topic("out").field("v", "v")),
        "both",
    );
    pipe(&mut driver, "s", "x", 4_000, 0);
    pipe(&mut driver, "s", "x", 5_000, 0);
    let values = driver.read("out").into_iter().map(|record| record.value);
    assert_eq!(values.last(), Some(None), "the last word of the topic");
    assert_eq!(last(&mut driver), [] as [&str; 0]);
}

fn map_that_deletes() -> Map {
    Map {
        from: NodeName("s".into()),
        set: vec![(FieldPath::new("v"), Expression::parse("2"))],
        tombstone_if: Some(Expression::parse("at == 5000")),
        on_error: OnError::Stop,
    }
}

/// ```text
///   few ─┐
///        ├→ merge        a row that goes another way than before is taken back there first, so the
///   many ┘               last word is the row, in whichever order the ways come together
/// ```
#[test]
fn the_ways_of_a_branch_come_together_in_one_table() {
    for order in [["few", "many"], ["many", "few"]] {
        let counts = Rollup::by(["name"]).unbounded().set("n", "count()");
        let builder = Topology::builder("app")
            .source("s", Source::json("s").timestamp("at").key("name"))
            .aggregate("counts", "s", counts)
            .branch(
                "b",
                "counts",
                Branch::new().arm("few", "n < 3").default_arm("many"),
            );
        let mut driver = driver(
            builder
                .map("few", "b.few", [("v", "'few'")])
                .map("many", "b.many", [("v", "'many'")])
                .merge("both", order)
                .kafka("out", "both", KafkaSink::topic("out").field("v", "v")),
            "both",
        );
        for count in 1..=4 {
            pipe(&mut driver, "s", "x", 1_000 * count, count);
        }
        let values = driver.read_json("out").into_iter();
        let values: Vec<Value> = values.map(|value| value["v"].clone()).collect();
        assert_eq!(values.last(), Some(&json!("many")), "{values:?}");
        assert_eq!(last(&mut driver), ["x many"]);
    }
}
