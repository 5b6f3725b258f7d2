//! What files mean: the topologies that the builder makes for Rust users.

use std::time::Duration;

use crate::config::check;
use crate::config::schema::tests::accepts;
use crate::topology::builder::{Filter, KafkaSink, Map, Rollup, Source, SqlSink};
use crate::topology::graph::{Emit, Guarantee, NodeKind, OnError, OnLate, TableUse, Topology};
use crate::value::ValueType;

/// The topology of a file with which nothing is wrong.
#[track_caller]
fn lowered(yaml: &str) -> Topology {
    let outcome = check(yaml, "t.yaml", &|_| None);
    assert!(outcome.report.is_empty(), "{}", outcome.report);
    accepts(yaml);
    outcome.topology.expect("a topology without findings")
}

#[track_caller]
fn check_equal(yaml: &str, built: &Topology) {
    assert_eq!(format!("{:#?}", lowered(yaml)), format!("{built:#?}"));
}

#[test]
fn every_key_of_every_kind_says_what_its_method_says() {
    let yaml = "
app: a
guarantee: at_least_once
nodes:
  s:
    source:
      topics: [t, u]
      format: json
      timestamp: meta.dt
      key: wiki
      id: meta.id
      fields: { wiki: string, bot: bool }
      max_ahead: 2h
      on_error: stop
  f: { filter: { from: s, where: bot, on_error: drop } }
  m: { map: { from: f, set: { b: 1, a: b + 1, n: null, t: true }, on_error: drop } }
  g:
    aggregate:
      from: m
      by: [wiki, user]
      window: { tumbling: 1m, grace: 30s, idle_close: 15s, retention: 1h30m }
      emit: close
      on_late: dead_letter
      set: { edits: count(), last: last(title) }
      on_error: drop
  x: { sql: { from: m, table: x, columns: { id: id, wiki: wiki }, key: [id], shared: true, on_error: stop } }
  y: { kafka: { from: g, topic: y, key: wiki, fields: { n: edits }, on_error: drop } }
";
    let minute = Duration::from_secs(60);
    let source = Source::json_topics(["t", "u"])
        .timestamp("meta.dt")
        .key("wiki")
        .id("meta.id")
        .field("wiki", ValueType::Str)
        .field("bot", ValueType::Bool)
        .max_ahead(120 * minute)
        .on_error(OnError::Stop);
    let filter = Filter::new("s", "bot").on_error(OnError::Drop);
    let map = Map::new("f")
        .set("b", "1")
        .set("a", "b + 1")
        .set("n", "null")
        .set("t", "true")
        .on_error(OnError::Drop);
    let rollup = Rollup::by(["wiki", "user"])
        .tumbling(minute)
        .grace(minute / 2)
        .idle_close(minute / 4)
        .retention(90 * minute)
        .emit(Emit::Close)
        .on_late(OnLate::DeadLetter)
        .set("edits", "count()")
        .set("last", "last(title)")
        .on_error(OnError::Drop);
    let table = SqlSink::table("x")
        .column("id", "id")
        .column("wiki", "wiki")
        .key(["id"])
        .table_use(TableUse::Shared)
        .on_error(OnError::Stop);
    let topic = KafkaSink::topic("y")
        .key("wiki")
        .field("n", "edits")
        .on_error(OnError::Drop);
    let built = Topology::builder("a")
        .guarantee(Guarantee::AtLeastOnce)
        .source("s", source)
        .node("f", NodeKind::Filter(filter))
        .node("m", NodeKind::Map(map))
        .aggregate("g", "m", rollup)
        .sql("x", "m", table)
        .kafka("y", "g", topic)
        .build()
        .expect("nothing is wrong");
    check_equal(yaml, &built);
}

#[test]
fn what_is_left_out_has_the_default_of_its_method() {
    let yaml = "
app: a
nodes:
  s: { source: { topic: t } }
  g: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { n: count() } } }
  x: { sql: { from: g, table: x } }
";
    let rollup = Rollup::by(["wiki"])
        .tumbling(Duration::from_secs(60))
        .set("n", "count()");
    let built = Topology::builder("a")
        .source("s", Source::json("t"))
        .aggregate("g", "s", rollup)
        .sql("x", "g", SqlSink::table("x"))
        .build()
        .expect("nothing is wrong");
    check_equal(yaml, &built);
}

#[test]
fn nodes_may_stand_in_any_order() {
    let topology = lowered(
        "
app: a
nodes:
  x: { kafka: { from: f, topic: x } }
  f: { filter: { from: s, where: bot } }
  s: { source: { topic: t } }
",
    );
    let names: Vec<&str> = topology
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(names, ["x", "f", "s"]);
}

#[test]
fn anchors_and_merge_keys_of_yaml_work() {
    let merged = lowered(
        "
app: a
nodes:
  s: { source: { topic: t } }
  g: { aggregate: { from: s, by: wiki, window: &minute { tumbling: 1m, grace: 5s }, set: &set { n: count() } } }
  h: { aggregate: { from: s, by: user, window: { <<: *minute, grace: 9s }, set: *set } }
  x: { sql: { from: g, table: x } }
  y: { sql: { from: h, table: y } }
",
    );
    let written = lowered(
        "
app: a
nodes:
  s: { source: { topic: t } }
  g: { aggregate: { from: s, by: wiki, window: { tumbling: 1m, grace: 5s }, set: { n: count() } } }
  h: { aggregate: { from: s, by: user, window: { tumbling: 1m, grace: 9s }, set: { n: count() } } }
  x: { sql: { from: g, table: x } }
  y: { sql: { from: h, table: y } }
",
    );
    assert_eq!(format!("{merged:?}"), format!("{written:?}"));
}

#[test]
fn references_to_the_environment_are_replaced_before_anything_is_checked() {
    let yaml = "
app: ${APP:-a}
nodes:
  s: { source: { topic: '${TOPIC}' } }
  k: { kafka: { from: s, topic: '${TOPIC}.copy', fields: { text: \"'$${TOPIC}'\" } } }
";
    let environment = |name: &str| (name == "TOPIC").then(|| "changes".to_owned());
    let outcome = check(yaml, "t.yaml", &environment);
    let topology = outcome
        .into_result()
        .unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(topology.app.as_str(), "a");
    let NodeKind::Kafka(sink) = &topology.nodes[1].kind else {
        panic!("a Kafka sink")
    };
    assert_eq!(sink.topic, "changes.copy");
    assert_eq!(sink.fields[0].1.text(), "'${TOPIC}'");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let yaml =
        "app: a\nnodes:\n  s: { source: { topic: t } }\n  k: { kafka: { from: s, topic: u } }\n";
    let windows = format!("\u{feff}{}", yaml.replace('\n', "\r\n"));
    assert_eq!(
        format!("{:?}", lowered(&windows)),
        format!("{:?}", lowered(yaml))
    );
}
