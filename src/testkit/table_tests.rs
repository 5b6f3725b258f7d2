//! Tables: the last row of each key, and what is behind them.

use serde_json::{Value, json};

use crate::processor::DropReason;
use crate::testkit::TopologyTestDriver;
use crate::topology::builder::{Branch, Builder, KafkaSink, Map, Rollup, Source, Table};
use crate::topology::graph::{NodeKind, NullValues, Topology};

/// A table `users` of the topic of that name.
fn users() -> Builder {
    let source = Source::json("users").null_values(NullValues::Pass);
    Topology::builder("app")
        .source("changes", source)
        .table("users", "changes", Table::new())
}

fn driver(builder: Builder) -> TopologyTestDriver {
    let topology = builder
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    TopologyTestDriver::new(&topology).unwrap()
}

/// The key and the value of the records of a topic.
fn written(driver: &mut TopologyTestDriver, topic: &str) -> Vec<(String, Value)> {
    let records = driver.read(topic).into_iter();
    let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes).unwrap();
    records
        .map(|record| {
            let key = record.key.map(|key| String::from_utf8(key).unwrap());
            (key.unwrap(), record.value.map_or(Value::Null, parse))
        })
        .collect()
}

fn row(key: &str, value: Value) -> (String, Value) {
    (key.to_owned(), value)
}

/// ```text
///   ann {"age":17} ─→ table ─→ age >= 18 ─→ (nothing)      no adult was there before
///   ann {"age":18} ─→                    ─→ ann {"age":18}
///   ann {"age":17} ─→                    ─→ ann deleted     the adult is no more
///   ann {"age":16} ─→                    ─→ (nothing)
/// ```
#[test]
fn a_filter_behind_a_table_deletes_only_what_had_passed() {
    let mut driver = driver(users().filter("adults", "users", "age >= 18").kafka(
        "out",
        "adults",
        KafkaSink::topic("adults"),
    ));
    for age in [17, 18, 17, 16] {
        driver.pipe("users", Some("ann"), &format!(r#"{{"age":{age}}}"#));
    }
    assert_eq!(
        written(&mut driver, "adults"),
        [row("ann", json!({"age": 18})), row("ann", Value::Null)]
    );
}

/// ```text
///   ann {"team":"a"} ─→ table ─→ select_key team ─→ a {…}
///   ann {"team":"b"} ─→                          ─→ a deleted, b {…}
///   ann deleted      ─→                          ─→ b deleted
/// ```
#[test]
fn a_row_that_gets_another_key_is_deleted_under_the_earlier_one() {
    let mut driver = driver(users().select_key("teams", "users", "team").kafka(
        "out",
        "teams",
        KafkaSink::topic("teams").field("team", "team"),
    ));
    driver.pipe("users", Some("ann"), r#"{"team":"a"}"#);
    driver.pipe("users", Some("ann"), r#"{"team":"b"}"#);
    driver.pipe_tombstone("users", "ann");
    assert_eq!(
        written(&mut driver, "teams"),
        [
            row("a", json!({"team": "a"})),
            row("a", Value::Null),
            row("b", json!({"team": "b"})),
            row("b", Value::Null),
        ]
    );
}

/// ```text
///                           ┌─→ young ─→ ann 17            ann deleted
///   ann 17, then 18 ─→ table┤
///                           └─→ old   ─→                   ann 18
/// ```
#[test]
fn a_row_that_goes_another_way_is_deleted_from_the_earlier_one_only() {
    let ages = Branch::new()
        .arm("young", "age < 18")
        .arm("old", "age < 80")
        .default_arm("very_old");
    let sink = |topic: &str| KafkaSink::topic(topic);
    let mut driver = driver(
        users()
            .branch("ages", "users", ages)
            .kafka("y", "ages.young", sink("young"))
            .kafka("o", "ages.old", sink("old"))
            .kafka("v", "ages.very_old", sink("very_old")),
    );
    driver.pipe("users", Some("ann"), r#"{"age":17}"#);
    driver.pipe("users", Some("ann"), r#"{"age":18}"#);
    let young = [row("ann", json!({"age": 17})), row("ann", Value::Null)];
    assert_eq!(written(&mut driver, "young"), young);
    assert_eq!(
        written(&mut driver, "old"),
        [row("ann", json!({"age": 18}))]
    );
    assert_eq!(written(&mut driver, "very_old"), []);
}

/// ```text
///   ann {"a":1,"b":2} ─→ map c = a + 1 ─→ table      asked for: nothing, then b and c
/// ```
#[test]
fn a_row_is_kept_whole_and_outlives_a_crash_and_a_lost_disk() {
    let source = Source::json("users").null_values(NullValues::Pass);
    let builder = Topology::builder("app")
        .source("changes", source)
        .map("more", "changes", [("c", "a + 1")])
        .table("users", "more", Table::new());
    let sink = KafkaSink::topic("out").field("b", "b").field("c", "c");
    let mut driver = driver(
        builder
            .filter("all", "users", "c > 0")
            .kafka("out", "all", sink),
    );
    driver.pipe("users", Some("ann"), r#"{"a":1,"b":2}"#);
    driver.lose_state();
    driver.restart().unwrap();
    let kept = driver.rows("users");
    assert_eq!(kept[0].key, "ann");
    assert_eq!(kept[0].fields, json!({"a": 1, "b": 2, "c": 2}));
    driver.pipe("users", Some("ann"), r#"{"a":-9,"b":3}"#);
    assert_eq!(
        written(&mut driver, "out"),
        [row("ann", json!({"b": 2, "c": 2})), row("ann", Value::Null)]
    );
    driver.pipe_tombstone("users", "ann");
    assert_eq!(driver.rows("users"), []);
}

/// ```text
///   7 {"name":"ann"} ─→ table ─→ kafka key name ─→ ann {…}
///   7 deleted        ─→                         ─→ ann deleted
/// ```
#[test]
fn a_sink_with_a_key_of_its_own_deletes_under_the_key_that_the_row_had() {
    let sink = KafkaSink::topic("out").key("name");
    let mut driver = driver(users().kafka("out", "users", sink));
    driver.pipe("users", Some("7"), r#"{"name":"ann"}"#);
    driver.pipe_tombstone("users", "7");
    assert_eq!(
        written(&mut driver, "out"),
        [row("ann", json!({"name": "ann"})), row("ann", Value::Null)]
    );
}

/// ```text
///   ann deleted ─→ source key id ─→ id is ann      nothing else is known of it
/// ```
#[test]
fn a_record_without_a_value_has_the_field_of_its_key() {
    let source = Source::json("users")
        .key("id")
        .null_values(NullValues::Pass);
    let sink = KafkaSink::topic("out").key("id");
    let builder = Topology::builder("app").source("changes", source);
    let mut driver = driver(builder.kafka("out", "changes", sink));
    driver.pipe_tombstone("users", "ann");
    assert_eq!(written(&mut driver, "out"), [row("ann", Value::Null)]);
}

/// Users by team, behind a node that cannot take every one of them.
#[track_caller]
fn counted_once(node: impl FnOnce(Builder) -> Builder, drops: &str) {
    let by_team = Rollup::by(["team"]).unbounded().set("n", "count()");
    let builder = node(users()).aggregate("per_team", "taken", by_team);
    let sink = KafkaSink::topic("teams").key("team").field("n", "n");
    let mut driver = driver(builder.kafka("out", "per_team", sink));
    for row in [
        r#"{"age":20,"team":"a"}"#,
        r#"{"age":"twenty","team":"a"}"#,
        r#"{"age":30,"team":"b"}"#,
        r#"{"age":"thirty","team":"b"}"#,
    ] {
        driver.pipe("users", Some("ann"), row);
    }
    let expected = [("a", 1), ("a", 0), ("b", 1), ("b", 0)];
    let expected = expected.map(|(team, n)| row(team, json!({ "n": n })));
    assert_eq!(written(&mut driver, "teams"), expected);
    assert_eq!(driver.drops(drops, DropReason::Expression), 2);
    assert!(driver.drops(drops, DropReason::NullKey) == 0);
}

/// ```text
///   ann 20 in a       ─→ table ─→ filter, map, … ─→ count by team: a 1
///   ann "twenty" in a ─→           fails          ─→                a 0   ann 20 is no more
///   ann 30 in b       ─→                          ─→                b 1
///   ann "thirty" in b ─→           fails          ─→                b 0
/// ```
#[test]
fn a_row_that_a_node_cannot_take_takes_back_the_earlier_one() {
    counted_once(|users| users.filter("taken", "users", "age >= 18"), "taken");
    counted_once(
        |users| {
            let map = Map::new("users").set("next", "age + 1");
            users.node("taken", NodeKind::Map(map))
        },
        "taken",
    );
    counted_once(
        |users| users.select_key("taken", "users", "age + 1"),
        "taken",
    );
    counted_once(
        |users| {
            let ways = Branch::new().arm("adults", "age >= 18");
            let ways = ways.default_arm("others");
            let users = users.branch("split", "users", ways);
            users.filter("taken", "split.adults", "true")
        },
        "split",
    );
}
