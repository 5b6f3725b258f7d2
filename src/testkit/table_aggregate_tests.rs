//! Aggregates of tables: what a row has added is taken back when another one takes its place.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fate::{Fate, config, fate};
use super::{DriverOptions, TopologyTestDriver};
use crate::topology::builder::{Builder, KafkaSink, Rollup, Source, Table};
use crate::topology::graph::{NullValues, Topology};

/// Users with their team and their points, kept as a table.
fn users() -> Builder {
    let source = Source::json("users").null_values(NullValues::Pass);
    Topology::builder("app")
        .source("changes", source)
        .table("users", "changes", Table::new())
}

fn per_team() -> Rollup {
    Rollup::by(["team"])
        .unbounded()
        .set("users", "count()")
        .set("points", "sum(points)")
}

fn driver(builder: Builder, options: DriverOptions) -> TopologyTestDriver {
    let topology = builder
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

fn straight(builder: Builder) -> TopologyTestDriver {
    driver(builder, DriverOptions::default())
}

/// The results of an aggregate by its key.
fn results(driver: &TopologyTestDriver, node: &str) -> BTreeMap<String, Value> {
    let entries = driver.store(node).into_iter();
    entries
        .map(|entry| {
            let key = entry.key[0].as_str().map(str::to_owned);
            (key.unwrap(), json!(entry.results))
        })
        .collect()
}

/// ```text
///   ann {"team":"a","points":5} ─→ table ─→ per team    a 1, 5
///   bob {"team":"a","points":2} ─→                      a 2, 7
///   ann {"team":"b","points":5} ─→                      a 1, 2    b 1, 5
///   ann {"team":"b","points":9} ─→                      b 1, 9
///   ann {"points":9}            ─→                      b 0, 0              no team any more
///   bob deleted                 ─→                      a 0, 0
/// ```
#[test]
fn a_row_leaves_its_group_before_it_enters_another_one() {
    let sink = KafkaSink::topic("out")
        .field("team", "team")
        .field("users", "users")
        .field("points", "points");
    let builder = users()
        .aggregate("per_team", "users", per_team())
        .kafka("out", "per_team", sink);
    let mut driver = straight(builder);
    let mut steps = |key: &str, value: Option<&str>| {
        match value {
            Some(value) => driver.pipe("users", Some(key), value),
            None => driver.pipe_tombstone("users", key),
        }
        let records = driver.read_json("out");
        driver.lose_state();
        driver.restart().unwrap();
        records
    };
    let team = |team: &str, users: i64, points: i64| json!({"team": team, "users": users, "points": points});
    let ann = |value| ("ann", Some(value));
    for ((key, value), expected) in [
        (ann(r#"{"team":"a","points":5}"#), vec![team("a", 1, 5)]),
        (
            ("bob", Some(r#"{"team":"a","points":2}"#)),
            vec![team("a", 2, 7)],
        ),
        (
            ann(r#"{"team":"b","points":5}"#),
            vec![team("a", 1, 2), team("b", 1, 5)],
        ),
        (ann(r#"{"team":"b","points":9}"#), vec![team("b", 1, 9)]),
        (ann(r#"{"points":9}"#), vec![team("b", 0, 0)]),
        (("bob", None), vec![team("a", 0, 0)]),
        (("bob", None), vec![]),
    ] {
        assert_eq!(steps(key, value), expected, "{key} {value:?}");
    }
}

/// ```text
///   ann in a ─→ table ─→ per team, delete_if users == 0     a 1
///   ann in a ─→                                             a 1       never 0 in between
///   ann in b ─→                                             a deleted, b 1
/// ```
#[test]
fn a_group_that_nobody_is_in_can_be_deleted() {
    let rollup = Rollup::by(["team"])
        .unbounded()
        .set("users", "count()")
        .delete_if("users == 0");
    let sink = KafkaSink::topic("out").key("team").field("users", "users");
    let builder = users()
        .aggregate("per_team", "users", rollup)
        .kafka("out", "per_team", sink);
    let mut driver = straight(builder);
    let mut written = |value: &str| -> Vec<(String, Option<String>)> {
        driver.pipe("users", Some("ann"), value);
        let records = driver.read("out").into_iter();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        records
            .map(|record| (text(record.key.unwrap()), record.value.map(text)))
            .collect()
    };
    let one = Some(r#"{"users":1}"#.to_owned());
    assert_eq!(written(r#"{"team":"a"}"#), [("a".to_owned(), one.clone())]);
    assert_eq!(written(r#"{"team":"a"}"#), [("a".to_owned(), one.clone())]);
    assert_eq!(
        written(r#"{"team":"b"}"#),
        [("a".to_owned(), None), ("b".to_owned(), one)]
    );
}

/// ```text
///   edits ─→ per user: edits, badge ─→ with a badge ─→ per badge: users
///   ann                   1                                              (nothing)
///   ann                   2  bronze                     bronze 1
///   bob, bob              2  bronze                     bronze 2
///   ann                   3  silver                     bronze 1    silver 1
/// ```
#[test]
fn results_that_are_updated_count_once() {
    let edits = Rollup::by(["user"]).unbounded().set("edits", "count()");
    let badges = Rollup::by(["badge"])
        .unbounded()
        .set("users", "count()")
        .set("edits", "sum(edits)");
    let builder = Topology::builder("app")
        .source("edits", Source::json("edits"))
        .aggregate("per_user", "edits", edits)
        .filter("honoured", "per_user", "edits >= 2")
        .map(
            "badged",
            "honoured",
            [("badge", "edits == 2 ? 'bronze' : 'silver'")],
        )
        .aggregate("per_badge", "badged", badges)
        .sql(
            "table",
            "per_badge",
            crate::topology::builder::SqlSink::table("badges"),
        );
    for partitions in [1, 3] {
        let options = DriverOptions {
            partitions,
            ..DriverOptions::default()
        };
        let mut driver = driver(builder.clone(), options);
        for user in ["ann", "ann", "bob", "bob", "ann"] {
            driver.pipe("edits", Some(user), &json!({"user": user}).to_string());
            driver.lose_state();
            driver.restart().unwrap();
        }
        let expected = json!({
            "bronze": {"users": 1, "edits": 2},
            "silver": {"users": 1, "edits": 3},
        });
        assert_eq!(json!(results(&driver, "per_badge")), expected);
        assert_eq!(driver.sql_rows("badges").unwrap().len(), 2);
    }
}

/// What happens, one after the other.
#[derive(Clone, Debug)]
enum Step {
    /// The row of a user: its team, if it is in one, and its points; none: it is deleted.
    Row(u8, Option<(Option<u8>, i64)>),
    Fate(Fate),
}

fn step() -> impl Strategy<Value = Step> {
    let row = prop::option::of((prop::option::of(0..3u8), -9..9i64));
    prop_oneof![
        12 => (0..5u8, row).prop_map(|(user, row)| Step::Row(user, row)),
        5 => fate().prop_map(Step::Fate),
    ]
}

proptest! {
    #![proptest_config(config(60))]

    /// Wherever the process dies: in the end each team has the users that are in it.
    #[test]
    fn groups_are_what_the_rows_make_of_them(steps in prop::collection::vec(step(), 1..80)) {
        let options = DriverOptions {
            partitions: 3,
            commit_each: false,
            ..DriverOptions::default()
        };
        let rollup = per_team()
            .set("average", "avg(points)")
            .set("positive", "count_if(points > 0)")
            .set("classes", "histogram(points, [-5, 5])");
        let mut driver = driver(users().aggregate("per_team", "users", rollup), options);
        let mut rows: BTreeMap<u8, (Option<u8>, i64)> = BTreeMap::new();
        let mut teams: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for step in &steps {
            match step {
                Step::Row(user, Some((team, points))) => {
                    let name = team.map(|team| format!("t{team}"));
                    let row = json!({"team": name, "points": points});
                    driver.pipe("users", Some(&format!("u{user}")), &row.to_string());
                    rows.insert(*user, (*team, *points));
                    // A group stays when nobody is in it any more.
                    name.map(|name| teams.entry(name).or_default());
                }
                Step::Row(user, None) => {
                    driver.pipe_tombstone("users", &format!("u{user}"));
                    rows.remove(user);
                }
                Step::Fate(fate) => driver.meet(*fate),
            }
        }
        // Rows, partial results, results.
        for _ in 0..3 {
            driver.commit().unwrap();
        }
        for (team, points) in rows.values() {
            if let Some(team) = team {
                teams.get_mut(&format!("t{team}")).unwrap().push(*points);
            }
        }
        let expected: BTreeMap<String, Value> = teams
            .into_iter()
            .map(|(team, points)| {
                let sum: i64 = points.iter().sum();
                let count = |is_it: fn(i64) -> bool| points.iter().filter(|n| is_it(**n)).count();
                let average = (!points.is_empty()).then(|| sum as f64 / points.len() as f64);
                let results = json!({
                    "users": points.len(),
                    "points": sum,
                    "average": average,
                    "positive": count(|n| n > 0),
                    "classes": [count(|n| n < -5), count(|n| (-5..5).contains(&n)), count(|n| n >= 5)],
                });
                (team, results)
            })
            .collect();
        prop_assert_eq!(results(&driver, "per_team"), expected);
    }
}
