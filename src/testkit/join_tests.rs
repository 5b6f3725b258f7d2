//! Joins: a stream that finds the rows of a table, and two tables that make one.

use std::time::Duration;

use serde_json::{Value, json};

use super::{DriverOptions, TopologyTestDriver};
use crate::processor::DropReason;
use crate::time::Timestamp;
use crate::topology::builder::{
    Builder, Join, JoinKind, KafkaSink, Rollup, Source, SqlSink, Table,
};
use crate::topology::duration::Millis;
use crate::topology::graph::{Emit, NullValues, Topology};

/// A source of the topic of that name, with tombstones.
fn source(builder: Builder, topic: &str) -> Builder {
    let source = Source::json(topic).null_values(NullValues::Pass);
    builder.source(&format!("{topic}_in"), source)
}

/// A table of the topic of that name.
fn table(builder: Builder, topic: &str) -> Builder {
    source(builder, topic).table(topic, &format!("{topic}_in"), Table::new())
}

/// Edits with the team of their user.
fn edits_with_users(kind: JoinKind) -> Builder {
    let builder = table(Topology::builder("app"), "users").source("edits", Source::json("edits"));
    builder
        .join("both", "edits", Join::with("users", "user").kind(kind))
        .kafka(
            "out",
            "both",
            KafkaSink::topic("out")
                .field("title", "title")
                .field("team", "user.team"),
        )
}

/// Two tables, `left` and `right`, with the field `n` of each.
fn two_tables(kind: JoinKind) -> Builder {
    let builder = table(table(Topology::builder("app"), "left"), "right");
    builder
        .join("both", "left", Join::with("right", "r").kind(kind))
        .kafka("out", "both", sides())
}

fn sides() -> KafkaSink {
    KafkaSink::topic("out").field("l", "n").field("r", "r.n")
}

fn driver(builder: Builder) -> TopologyTestDriver {
    with_partitions(builder, 1)
}

fn with_partitions(builder: Builder, partitions: u32) -> TopologyTestDriver {
    let topology = builder
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    let options = DriverOptions {
        partitions,
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

/// The key and the value of the new records of the topic `out`.
fn written(driver: &mut TopologyTestDriver) -> Vec<(String, Value)> {
    let records = driver.read("out").into_iter();
    let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes).unwrap();
    records
        .map(|record| {
            let key = record.key.unwrap_or_default();
            let key = String::from_utf8(key).unwrap();
            (key, record.value.map_or(Value::Null, parse))
        })
        .collect()
}

fn pair(key: &str, value: Value) -> (String, Value) {
    (key.to_owned(), value)
}

/// ```text
///   users   ann → red ───────────── ann → blue ────── ann deleted ─────
///   edits              ann edits A              ann edits B         ann edits C
///   inner              A red                    B blue              (nothing)
///   left               A red                    B blue              C, no team
/// ```
#[test]
fn a_record_finds_the_row_that_is_there_when_it_comes() {
    for (kind, last) in [
        (JoinKind::Inner, None),
        (JoinKind::Left, Some(json!({"title": "C", "team": null}))),
    ] {
        let mut driver = driver(edits_with_users(kind));
        driver.pipe("users", Some("ann"), r#"{"team":"red"}"#);
        driver.pipe("edits", Some("ann"), r#"{"title":"A"}"#);
        driver.pipe("users", Some("ann"), r#"{"team":"blue"}"#);
        driver.crash();
        driver.restart().unwrap();
        driver.pipe("edits", Some("ann"), r#"{"title":"B"}"#);
        driver.pipe_tombstone("users", "ann");
        driver.pipe("edits", Some("ann"), r#"{"title":"C"}"#);
        let expected: Vec<(String, Value)> = [
            Some(json!({"title": "A", "team": "red"})),
            Some(json!({"title": "B", "team": "blue"})),
            last,
        ]
        .into_iter()
        .flatten()
        .map(|value| pair("ann", value))
        .collect();
        assert_eq!(written(&mut driver), expected, "{kind:?}");
    }
}

/// ```text
///   edits   (no key) A ─→ inner: a dead letter     left: A, no team
/// ```
#[test]
fn a_record_without_a_key_finds_nothing() {
    let mut inner = driver(edits_with_users(JoinKind::Inner));
    inner.pipe("edits", None, r#"{"title":"A"}"#);
    assert!(written(&mut inner).is_empty());
    assert_eq!(inner.drops("both", DropReason::NullKey), 1);
    assert_eq!(inner.dead_letters().len(), 1);
    let mut left = driver(edits_with_users(JoinKind::Left));
    left.pipe("edits", None, r#"{"title":"A"}"#);
    let expected = [pair("", json!({"title": "A", "team": null}))];
    assert_eq!(written(&mut left), expected);
}

/// ```text
///   left    a 1 ─────────── a 3 ────────────── a deleted
///   right         a 2 ──────────── a deleted ─────────────── a 4
///   inner         1,2      3,2     deleted
///   left    1,-   1,2      3,2     3,-         deleted
///   outer   1,-   1,2      3,2     3,-         deleted       -,4
/// ```
#[test]
fn two_tables_make_one_that_changes_with_either() {
    let one_two = json!({"l": 1, "r": 2});
    let three_two = json!({"l": 3, "r": 2});
    let left_only = |l: i64| json!({"l": l, "r": null});
    let right_only = json!({"l": null, "r": 4});
    for (kind, expected) in [
        (
            JoinKind::Inner,
            vec![one_two.clone(), three_two.clone(), Value::Null],
        ),
        (
            JoinKind::Left,
            vec![
                left_only(1),
                one_two.clone(),
                three_two.clone(),
                left_only(3),
                Value::Null,
            ],
        ),
        (
            JoinKind::Outer,
            vec![
                left_only(1),
                one_two,
                three_two,
                left_only(3),
                Value::Null,
                right_only,
            ],
        ),
    ] {
        let mut driver = driver(two_tables(kind));
        driver.pipe("left", Some("a"), r#"{"n":1}"#);
        driver.pipe("right", Some("a"), r#"{"n":2}"#);
        driver.lose_state();
        driver.restart().unwrap();
        driver.pipe("left", Some("a"), r#"{"n":3}"#);
        driver.pipe_tombstone("right", "a");
        driver.pipe_tombstone("left", "a");
        driver.pipe("right", Some("a"), r#"{"n":4}"#);
        let found: Vec<Value> = written(&mut driver).into_iter().map(|(_, v)| v).collect();
        assert_eq!(found, expected, "{kind:?}");
    }
}

/// ```text
///   left    a 1 ──────── a 1
///   right         a 2 ──────── a 8
///   n + r.n       3      3     9 ──→ filter > 5 ──→ only 9: 3 had never passed
///                                    then a 1, a 2: 3 ──→ 9 is deleted
/// ```
#[test]
fn a_filter_behind_two_tables_knows_the_earlier_pair() {
    let builder = table(table(Topology::builder("app"), "left"), "right")
        .join("both", "left", Join::with("right", "r"))
        .map("added", "both", [("sum", "n + r.n")])
        .filter("large", "added", "sum > 5")
        .kafka("out", "large", KafkaSink::topic("out").field("sum", "sum"));
    let mut driver = driver(builder);
    driver.pipe("left", Some("a"), r#"{"n":1}"#);
    for right in [2, 8, 2] {
        driver.pipe("right", Some("a"), &format!(r#"{{"n":{right}}}"#));
        driver.pipe("left", Some("a"), r#"{"n":1}"#);
    }
    let nine = pair("a", json!({"sum": 9}));
    let expected = [nine.clone(), nine, pair("a", Value::Null)];
    assert_eq!(written(&mut driver), expected);
}

/// ```text
///   partition 0, 1, 2 …  edits by title ─→ select_key user ┄ repartition ┄┐
///                        users by user ─────────────────────────────────── join ─→ title, team
/// ```
#[test]
fn records_with_another_key_are_moved_to_the_rows_of_their_key() {
    let builder = table(Topology::builder("app"), "users")
        .source("edits", Source::json("edits").timestamp("at"))
        .map("loud", "edits", [("shout", "title + \"!\"")])
        .select_key("by_user", "loud", "user_name")
        .join("both", "by_user", Join::with("users", "user"))
        .kafka(
            "out",
            "both",
            KafkaSink::topic("out")
                .field("shout", "shout")
                .field("team", "user.team"),
        );
    let mut driver = with_partitions(builder, 3);
    for user in ["ann", "bob", "cid", "dan"] {
        let team = format!(r#"{{"team":"team of {user}"}}"#);
        driver.pipe("users", Some(user), &team);
    }
    for (title, user) in [("A", "ann"), ("B", "bob"), ("C", "cid"), ("D", "dan")] {
        let edit = format!(r#"{{"title":"{title}","user_name":"{user}","at":1000}}"#);
        driver.pipe("edits", Some(title), &edit);
    }
    driver.pipe("edits", Some("E"), r#"{"title":"E","at":1000}"#);
    let mut found = written(&mut driver);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("A", "ann"), ("B", "bob"), ("C", "cid"), ("D", "dan")].map(|(title, user)| {
        let value = json!({"shout": format!("{title}!"), "team": format!("team of {user}")});
        pair(user, value)
    });
    assert_eq!(found, expected);
    assert_eq!(driver.drops("both", DropReason::NullKey), 1);
}

/// ```text
///   edits ─→ count by user, over all time ─┐
///   users ─────────────────────────────────┴ join ─→ user, team, edits
/// ```
#[test]
fn results_over_all_time_are_a_table() {
    let builder = table(Topology::builder("app"), "users")
        .source("edits", Source::json("edits"))
        .aggregate(
            "per_user",
            "edits",
            Rollup::by(["name"]).unbounded().set("edits", "count()"),
        )
        .join(
            "both",
            "users",
            Join::with("per_user", "stats").kind(JoinKind::Left),
        )
        .kafka(
            "out",
            "both",
            KafkaSink::topic("out")
                .field("team", "team")
                .field("edits", "stats.edits"),
        );
    let mut driver = with_partitions(builder, 2);
    driver.pipe("users", Some("ann"), r#"{"team":"red"}"#);
    for _ in 0..2 {
        driver.pipe("edits", Some("x"), r#"{"name":"ann"}"#);
    }
    let values: Vec<Value> = written(&mut driver).into_iter().map(|(_, v)| v).collect();
    let expected = [Value::Null, json!(1), json!(2)];
    assert_eq!(
        values,
        expected.map(|edits| json!({"team": "red", "edits": edits}))
    );
}

/// ```text
///   edits  by wiki and ten seconds:   enwiki 0..10 2          enwiki 10..20 1
///   logs   by wiki and ten seconds:   enwiki 0..10 1
///   both   by wiki and window:        enwiki|0..10 2, 1
/// ```
#[test]
fn results_of_windows_are_joined_under_a_key_with_the_window_in_it() {
    let mut builder = Topology::builder("app");
    for topic in ["edits", "logs"] {
        let [source, counts] = [format!("{topic}_in"), format!("{topic}_n")];
        let rollup = Rollup::by(["wiki"])
            .tumbling(Millis(10_000))
            .set("n", "count()");
        builder = builder
            .source(&source, Source::json(topic).timestamp("at"))
            .aggregate(&counts, &source, rollup)
            .select_key(topic, &counts, "wiki + '|' + string(window_start)");
    }
    let join = Join::with("logs", "logs").kind(JoinKind::Left);
    let sink = KafkaSink::topic("out")
        .field("edits", "n")
        .field("logs", "logs.n");
    let mut driver = driver(
        builder
            .join("both", "edits", join)
            .kafka("out", "both", sink),
    );
    for (topic, at) in [
        ("edits", 1_000),
        ("logs", 2_000),
        ("edits", 3_000),
        ("edits", 12_000),
    ] {
        driver.pipe(topic, None, &format!(r#"{{"wiki":"enwiki","at":{at}}}"#));
        driver.crash();
        driver.restart().unwrap();
    }
    let [first, second] = ["00", "10"].map(|s| format!("enwiki|1970-01-01T00:00:{s}Z"));
    assert_eq!(
        written(&mut driver),
        [
            pair(&first, json!({"edits": 1, "logs": null})),
            pair(&first, json!({"edits": 1, "logs": 1})),
            pair(&first, json!({"edits": 2, "logs": 1})),
            pair(&second, json!({"edits": 1, "logs": null})),
        ]
    );
}

/// ```text
///   left, right ─→ join as r ─→ table ─┐
///   third ─→ table ────────────────────┴ join as t ─→ table ─→ n, r.n, t.n after a restore
/// ```
#[test]
fn rows_of_joins_are_kept_with_the_events_that_they_were_made_of() {
    let mut builder = Topology::builder("app");
    for topic in ["left", "right", "third"] {
        builder = table(builder, topic);
    }
    let builder = builder
        .join("two", "left", Join::with("right", "r"))
        .table("pairs", "two", Table::new())
        .join("three", "third", Join::with("pairs", "p"))
        .table("all", "three", Table::new())
        .kafka("out", "all", KafkaSink::topic("out").field("n", "n"));
    let mut driver = driver(builder);
    for (topic, n) in [("left", 1), ("right", 2), ("third", 3)] {
        driver.pipe(
            topic,
            Some("a"),
            &format!(r#"{{"n":{n},"only":"{topic}"}}"#),
        );
    }
    driver.lose_state();
    driver.restart().unwrap();
    let rows = driver.rows("all");
    let fields = json!({
        "n": 3, "only": "third",
        "p": {"n": 1, "only": "left", "r": {"n": 2, "only": "right"}},
    });
    assert_eq!(rows[0].fields, fields);
    assert_eq!(rows.len(), 1);
}

/// A pair is as new as the newer of its rows; a record of a stream keeps its time.
#[test]
fn pairs_have_the_time_of_the_newer_row() {
    let mut tables = driver(two_tables(JoinKind::Inner));
    let mut pipe = |topic: &str, time: i64| {
        let piped = tables.try_pipe(topic, Some(b"a"), Some(br#"{"n":1}"#), Timestamp(time));
        piped.unwrap();
    };
    pipe("left", 50);
    pipe("right", 20);
    pipe("left", 10);
    let times: Vec<i64> = tables.read("out").iter().map(|r| r.timestamp.0).collect();
    assert_eq!(times, [50, 20]);
}

/// Two streams, `left` and `right`, with the field `n` of each.
fn two_streams(join: Join) -> Builder {
    source(source(Topology::builder("app"), "left"), "right")
        .join("both", "left_in", join)
        .kafka("out", "both", sides())
}

/// The pairs that have come, with their times.
fn pairs(driver: &mut TopologyTestDriver) -> Vec<(i64, Value)> {
    let records = driver.read("out").into_iter();
    let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes).unwrap();
    records
        .map(|record| (record.timestamp.0, record.value.map_or(Value::Null, parse)))
        .collect()
}

fn pipe_at(driver: &mut TopologyTestDriver, topic: &str, key: &str, time: i64, n: i64) {
    let value = format!(r#"{{"n":{n}}}"#);
    let piped = driver.try_pipe(
        topic,
        Some(key.as_bytes()),
        Some(value.as_bytes()),
        Timestamp(time),
    );
    piped.unwrap();
}

/// ```text
///   time    0    100        250        400   500
///   left         1 ────────────────────2
///   right   7              8                 9        within 150:  1,7  1,8  2,8  2,9
/// ```
#[test]
fn records_of_two_streams_meet_within_a_time() {
    let join = Join::with("right_in", "r").within(Millis(150));
    let mut driver = driver(two_streams(join));
    pipe_at(&mut driver, "right", "a", 0, 7);
    pipe_at(&mut driver, "left", "a", 100, 1);
    pipe_at(&mut driver, "right", "b", 110, 0);
    pipe_at(&mut driver, "right", "a", 250, 8);
    driver.lose_state();
    driver.restart().unwrap();
    pipe_at(&mut driver, "left", "a", 400, 2);
    pipe_at(&mut driver, "right", "a", 500, 9);
    let expected = [(100, 1, 7), (250, 1, 8), (400, 2, 8), (500, 2, 9)];
    let expected = expected.map(|(time, l, r)| (time, json!({"l": l, "r": r})));
    assert_eq!(pairs(&mut driver), expected);
}

/// ```text
///   time    0     40    100    110    130   200     right up to 20 before left, or up to 100 after it
///   left          1            2
///   right   4           5             6     7
///   pairs               1,5    2,5    1,6   2,7     4 is 40 before 1, and 7 is 160 after it
///                                     2,6
/// ```
#[test]
fn a_window_may_reach_farther_to_one_side() {
    let join = Join::with("right_in", "r").before_and_after(Millis(20), Millis(100));
    let mut driver = driver(two_streams(join));
    pipe_at(&mut driver, "right", "a", 0, 4);
    pipe_at(&mut driver, "left", "a", 40, 1);
    pipe_at(&mut driver, "right", "a", 100, 5);
    pipe_at(&mut driver, "left", "a", 110, 2);
    driver.lose_state();
    driver.restart().unwrap();
    pipe_at(&mut driver, "right", "a", 130, 6);
    pipe_at(&mut driver, "right", "a", 200, 7);
    let expected = [
        (100, 1, 5),
        (110, 2, 5),
        (130, 1, 6),
        (130, 2, 6),
        (200, 2, 7),
    ];
    let expected = expected.map(|(time, l, r)| (time, json!({"l": l, "r": r})));
    assert_eq!(pairs(&mut driver), expected);
}

/// ```text
///   left    a 0 ─── b 10 ──────────────── c 200
///   right        a 5                                within 50, left:
///                                         b is alone since 60; it leaves with c, before c's pairs
/// ```
#[test]
fn a_record_without_a_match_leaves_when_its_time_is_up() {
    let join = Join::with("right_in", "r")
        .within(Millis(50))
        .kind(JoinKind::Left);
    let mut driver = driver(two_streams(join));
    pipe_at(&mut driver, "left", "a", 0, 1);
    pipe_at(&mut driver, "right", "a", 5, 7);
    pipe_at(&mut driver, "left", "b", 10, 2);
    assert_eq!(pairs(&mut driver), [(5, json!({"l": 1, "r": 7}))]);
    driver.crash();
    driver.restart().unwrap();
    pipe_at(&mut driver, "left", "c", 200, 3);
    assert_eq!(pairs(&mut driver), [(10, json!({"l": 2, "r": null}))]);
}

/// A look ends behind the first records of both sides whose time is not up, and the next one is due by the
/// time of the one that it ended at: here the second of two of the same time.
///
/// ```text
///   time    677   782   915 915   1113        1717               1952
///   left                 ●   ●                 ● looks: 677 out    ● looks again: 915 + 1000 < 1952
///   right    ●     ●                ●
/// ```
#[test]
fn a_look_ends_at_a_record_and_not_at_a_time() {
    let join = Join::with("right_in", "r")
        .within(Millis(0))
        .grace(Millis(1_000));
    let mut driver = driver(two_streams(join.kind(JoinKind::Outer)));
    let records = [
        ("right", 677),
        ("right", 782),
        ("left", 915),
        ("left", 915),
        ("right", 1_113),
        ("left", 1_717),
    ];
    for (n, (topic, time)) in (1..).zip(records) {
        pipe_at(&mut driver, topic, "a", time, n);
    }
    assert_eq!(pairs(&mut driver), [(677, json!({"l": null, "r": 1}))]);
    pipe_at(&mut driver, "left", "a", 1_952, 7);
    assert_eq!(
        pairs(&mut driver),
        [
            (782, json!({"l": null, "r": 2})),
            (915, json!({"l": 3, "r": null})),
            (915, json!({"l": 4, "r": null})),
        ]
    );
}

/// ```text
///   partition 0 of left, by another key:  0 ──── 1000 ──── 2000     far ahead
///   partition 1 of left:                  0                          an hour behind, then 10
///   right:                                5 waits for both: the time of the slower one counts
/// ```
#[test]
fn behind_a_repartition_the_slowest_partition_decides_what_is_forgotten() {
    let timed = |topic: &str| Source::json(topic).timestamp("at");
    let builder = Topology::builder("app")
        .source("left_in", timed("left"))
        .source("right_in", timed("right"))
        .select_key("left_by_k", "left_in", "k")
        .select_key("right_by_k", "right_in", "k")
        .join(
            "both",
            "left_by_k",
            Join::with("right_by_k", "r")
                .within(Millis(50))
                .kind(JoinKind::Outer),
        )
        .kafka("out", "both", sides());
    let mut driver = with_partitions(builder, 2);
    let mut pipe = |topic: &str, partition: i32, at: i64, k: &str, n: i64| {
        let value = format!(r#"{{"k":"{k}","n":{n},"at":{at}}}"#);
        driver.pipe_to(topic, partition, &value);
    };
    pipe("left", 0, 2_000, "x", 1);
    pipe("right", 0, 2_000, "x", 2);
    pipe("left", 1, 10, "y", 3);
    pipe("right", 1, 20, "y", 4);
    // Everybody is behind 100: nothing of before can come any more.
    for topic in ["left", "right"] {
        for partition in [0, 1] {
            pipe(topic, partition, 9_000, "z", 5);
        }
    }
    let mut found = pairs(&mut driver);
    found.sort_by_key(|(time, value)| (*time, value.to_string()));
    let z = (9_000, json!({"l": 5, "r": 5}));
    let expected = [
        (20, json!({"l": 3, "r": 4})),
        (2_000, json!({"l": 1, "r": 2})),
        z.clone(),
        z.clone(),
        z.clone(),
        z,
    ];
    assert_eq!(found, expected);
}

/// ```text
///   edits ─→ map ─→ select_key ┄ repartition ┄→ table ─┐
///   users ─→ table ────────────────────────────────────┴ join as e ─→ table: e.loud is kept
/// ```
#[test]
fn computed_fields_are_kept_however_often_rows_are_moved() {
    let builder = table(Topology::builder("app"), "users")
        .source("edits", Source::json("edits"))
        .map("loud", "edits", [("shout", "title + \"!\"")])
        .select_key("by_user", "loud", "user_name")
        .table("last_edits", "by_user", Table::new())
        .join("both", "users", Join::with("last_edits", "e"))
        .table("kept", "both", Table::new())
        .kafka(
            "out",
            "kept",
            KafkaSink::topic("out").field("shout", "e.shout"),
        );
    let mut driver = with_partitions(builder, 2);
    driver.pipe("users", Some("ann"), r#"{"team":"red"}"#);
    driver.pipe("edits", Some("x"), r#"{"title":"A","user_name":"ann"}"#);
    assert_eq!(written(&mut driver), [pair("ann", json!({"shout": "A!"}))]);
    let edit = json!({"title": "A", "user_name": "ann", "shout": "A!"});
    let fields = json!({"team": "red", "e": edit});
    assert_eq!(driver.rows("kept")[0].fields, fields);
}

/// ```text
///   time    0     10     20       before, after and grace are 0
///   left    1     2      3
///   right   4            5        1,4   3,5
/// ```
#[test]
fn records_of_the_same_instant_meet_where_nothing_else_may() {
    let join = Join::with("right_in", "r").before_and_after(Millis(0), Millis(0));
    let mut driver = driver(two_streams(join));
    for (topic, time, n) in [
        ("left", 0, 1),
        ("right", 0, 4),
        ("left", 10, 2),
        ("right", 20, 5),
        ("left", 20, 3),
    ] {
        pipe_at(&mut driver, topic, "a", time, n);
    }
    let expected = [(0, 1, 4), (20, 3, 5)];
    let expected = expected.map(|(time, l, r)| (time, json!({"l": l, "r": r})));
    assert_eq!(pairs(&mut driver), expected);
}

/// What a SQL sink reads is kept in a topic of rows, with the events of both sides.
///
/// ```text
///   per wiki ────┐
///                join ─→ sql: wiki, n, family
///   wikis ───────┘
/// ```
#[test]
fn a_sql_sink_behind_joined_results_has_the_fields_of_both_sides() {
    for emit in [Emit::Updates, Emit::Close] {
        let rollup = match emit {
            Emit::Updates => Rollup::by(["wiki"]).unbounded(),
            Emit::Close => Rollup::by(["wiki"])
                .tumbling(Duration::from_secs(10))
                .emit(emit),
        };
        let sink = SqlSink::table("totals")
            .column("wiki", "wiki")
            .column("n", "n")
            .column("family", "w.family")
            .key(["wiki"]);
        let wikis = Source::json("wikis")
            .key("wiki")
            .null_values(NullValues::Pass);
        let topology = Topology::builder("app")
            .source(
                "changes",
                Source::json("changes").key("wiki").timestamp("at"),
            )
            .source("rows", wikis)
            .table("wikis", "rows", Table::new())
            .aggregate("per_wiki", "changes", rollup.set("n", "count()"))
            .join("both", "per_wiki", Join::with("wikis", "w"))
            .sql("out", "both", sink)
            .build()
            .unwrap_or_else(|findings| panic!("{findings}"));
        let mut driver = TopologyTestDriver::new(&topology).unwrap();
        driver.pipe("wikis", Some("dewiki"), r#"{"family":"wikipedia"}"#);
        for at in [1_000, 2_000, 60_000] {
            let change = json!({"wiki": "dewiki", "at": at}).to_string();
            driver.pipe("changes", Some("dewiki"), &change);
        }
        let rows = driver.sql_rows("totals").unwrap();
        let [row] = rows.as_slice() else {
            panic!("{rows:?}");
        };
        let n = if emit == Emit::Updates { 3 } else { 2 };
        // The type of neither is told, so columns hold texts.
        assert_eq!(row["wiki"], "dewiki", "{emit:?}");
        assert_eq!(row["family"], "wikipedia", "{emit:?}");
        assert_eq!(row["n"], n, "{emit:?}");
    }
}
