//! From a recorded operator to a topology of ours.
//!
//! The key of a record is its field `k`. A result is written under a key that says its window too,
//! so that a deletion can be told apart from others.

use serde_json::Value;
use tidemill::topology::builder::{
    Branch, Builder, FlatMap, Join, JoinKind, KafkaSink, Map, Rollup, Source, Suppress, Table,
};
use tidemill::topology::duration::Millis;
use tidemill::topology::graph::{Emit, NodeKind, NullValues, Topology};

use super::case::Operator;

/// The topology; none when an operator that it needs is not there yet.
pub fn topology(operator: &Operator) -> Option<Topology> {
    let builder = match operator.text("kind") {
        "windowed_aggregate" => windowed(operator)?,
        "aggregate" | "reduce" => over_all_time(operator)?,
        "stateless" => stateless(operator)?,
        "table" => table(operator)?,
        "table_group_aggregate" => table_grouped_anew(operator)?,
        "stream_table_join" => stream_table_join(operator)?,
        "table_table_join" => table_table_join(operator)?,
        "stream_stream_join" => stream_stream_join(operator)?,
        _ => return None,
    };
    Some(
        builder
            .build()
            .unwrap_or_else(|findings| panic!("{findings}")),
    )
}

/// Records of a topic, with their key as field `k`.
fn keyed(builder: Builder, topic: &str) -> (Builder, String) {
    let source = Source::json(topic).null_values(NullValues::Pass);
    let keyed = format!("{topic}_keyed");
    let builder = builder.source(&format!("{topic}_source"), source).map(
        &keyed,
        &format!("{topic}_source"),
        [("k", "record_key()")],
    );
    (builder, keyed)
}

fn windowed(operator: &Operator) -> Option<Builder> {
    let (builder, from) = keyed(Topology::builder("case"), "in");
    let (builder, from) = steps(builder, from, &operator.raw["pre"])?;
    let window = &operator.raw["window"];
    let ms = |name: &str| Millis(window[name].as_i64().unwrap_or_default());
    let rollup = Rollup::by(["k"]).grace(ms("grace_ms"));
    let rollup = match window["kind"].as_str()? {
        "tumbling" => rollup.tumbling(ms("size_ms")),
        "hopping" => rollup.hopping(ms("size_ms"), ms("advance_ms")),
        "sliding" => rollup.sliding(ms("time_difference_ms")),
        "session" => rollup.session(ms("gap_ms")),
        _ => return None,
    };
    let rollup = match operator.text("emit") {
        "updates" | "suppress_until_window_closes" => rollup.emit(Emit::Updates),
        "on_window_close" => rollup.emit(Emit::Close),
        _ => return None,
    };
    let least = match window["kind"].as_str()? {
        "session" => ms("gap_ms").0 + ms("grace_ms").0,
        "sliding" => 2 * ms("time_difference_ms").0 + ms("grace_ms").0,
        _ => ms("size_ms").0 + ms("grace_ms").0,
    };
    let retention = operator.raw["retention_ms"].as_i64()?;
    let rollup = match retention >= least {
        true => rollup.retention(Millis(retention)),
        false => rollup,
    };
    let rollup = aggregate(rollup, operator.text("aggregate"))?;
    let builder = builder.aggregate("agg", &from, rollup);
    let (builder, from) = match operator.text("emit") {
        "suppress_until_window_closes" => {
            let suppress = Suppress::until_close();
            (builder.suppress("final", "agg", suppress), "final")
        }
        _ => (builder, "agg"),
    };
    let sink = windowed_sink(operator.text("aggregate"));
    Some(builder.kafka("out", from, sink))
}

/// A result that is not in what was recorded.
pub const RECORDS: &str = "records";

/// A field in which a map says that there is no value any more.
pub const IS_NULL: &str = "is_null";

/// Aggregates and reductions without windows.
fn over_all_time(operator: &Operator) -> Option<Builder> {
    let (builder, from) = keyed(Topology::builder("case"), "in");
    let (builder, from) = steps(builder, from, &operator.raw["pre"])?;
    let rollup = Rollup::by(["k"]).unbounded();
    let sink = KafkaSink::topic("out").key("k");
    let (rollup, sink) = match operator.text("reduce") {
        "" => {
            let function = operator.text("aggregate");
            let rollup = aggregate(rollup, function)?;
            let rollup = match operator.raw["null_if_zero"] == true {
                true => rollup.delete_if("v == 0"),
                false => rollup,
            };
            (rollup, results(sink, function))
        }
        // The first record is not reduced.
        "sum_or_null" => {
            let rollup = rollup.set("n", "sum(n)").set(RECORDS, "count()");
            let condition = format!("n == 0 && {RECORDS} > 1");
            (rollup.delete_if(&condition), sink.field("n", "n"))
        }
        // Of records `{"n"}` comes such a record.
        function @ ("sum" | "min" | "max" | "first" | "last") => {
            let rollup = rollup.set("n", &format!("{function}(n)"));
            (rollup, sink.field("n", "n"))
        }
        _ => return None,
    };
    Some(
        builder
            .aggregate("agg", &from, rollup)
            .kafka("out", "agg", sink),
    )
}

/// The results that stand for an aggregate of Kafka Streams over the field `n`.
fn aggregate(rollup: Rollup, function: &str) -> Option<Rollup> {
    Some(match function {
        "count" => rollup.set("v", "count()"),
        "sum" | "min" | "max" => rollup.set("v", &format!("{function}(n)")),
        "avg" => rollup.set("sum", "sum(n)").set("count", "count_if(has(n))"),
        _ => return None,
    })
}

fn windowed_sink(function: &str) -> KafkaSink {
    let key = "json([k, string(window_start), string(window_end)])";
    results(KafkaSink::topic("out").key(key), function)
}

fn results(sink: KafkaSink, function: &str) -> KafkaSink {
    match function {
        "avg" => sink.field("sum", "sum").field("count", "count"),
        _ => sink.field("v", "v"),
    }
}

/// A table, with filters and maps behind it; the one that is kept is `agg`.
fn table(operator: &Operator) -> Option<Builder> {
    let kept = operator.text("materialized");
    let source = Source::json("in").null_values(NullValues::Pass);
    let builder = Topology::builder("case").source("in_source", source);
    let (builder, from) = match kept {
        "source" => (builder.table("agg", "in_source", Table::new()), "agg"),
        _ => {
            let table = Table::new().not_stored();
            (builder.table("rows", "in_source", table), "rows")
        }
    };
    let all = operator.raw["steps"].as_array()?;
    let (builder, from) = steps(builder, from.to_owned(), &operator.raw["steps"])?;
    let (builder, from) = match kept {
        "result" => (builder.table("agg", &from, Table::new()), "agg".to_owned()),
        _ => (builder, from),
    };
    let sink = KafkaSink::topic("out");
    let sink = match all.iter().any(|step| step["op"] == "map_values") {
        true => sink.field("g", "g").field("n", "n"),
        false => sink,
    };
    Some(builder.kafka("out", &from, sink))
}

/// Rows of a table, grouped by a field.
fn table_grouped_anew(operator: &Operator) -> Option<Builder> {
    let source = Source::json("in").null_values(NullValues::Pass);
    let (by, function) = (operator.text("key_from"), operator.text("aggregate"));
    let rollup = aggregate(Rollup::by([by]).unbounded(), function)?;
    let sink = results(KafkaSink::topic("out").key(by), function);
    let builder = Topology::builder("case")
        .source("in_source", source)
        .table("rows", "in_source", Table::new())
        .aggregate("agg", "rows", rollup)
        .kafka("out", "agg", sink);
    Some(builder)
}

/// A value is read as `{"v": …}`, so that it can be told from a side that is missing.
fn joined(builder: Builder, operator: &Operator, left: &str, right: &str) -> Option<Builder> {
    let window = &operator.raw["window"];
    let ms = |name: &str| Millis(window[name].as_i64().unwrap_or_default());
    let join = Join::with(right, "r");
    let join = match window.is_null() {
        true => join,
        false => join
            .before_and_after(ms("before_ms"), ms("after_ms"))
            .grace(ms("grace_ms")),
    };
    let kind = match operator.text("join") {
        "inner" => JoinKind::Inner,
        "left" => JoinKind::Left,
        "outer" => JoinKind::Outer,
        _ => return None,
    };
    Some(builder.join("joined", left, join.kind(kind)))
}

fn joined_sink() -> KafkaSink {
    KafkaSink::topic("out")
        .field("left", "v")
        .field("right", "r.v")
}

fn with_nulls(topic: &str) -> Source {
    Source::json(topic).null_values(NullValues::Pass)
}

fn stream_stream_join(operator: &Operator) -> Option<Builder> {
    let builder = Topology::builder("case")
        .source("left", with_nulls("left"))
        .source("right", with_nulls("right"));
    let builder = joined(builder, operator, "left", "right")?;
    Some(builder.kafka("out", "joined", joined_sink()))
}

fn stream_table_join(operator: &Operator) -> Option<Builder> {
    let builder = Topology::builder("case")
        .source("stream", with_nulls("stream"))
        .source("table", with_nulls("table"))
        .table("agg", "table", Table::new());
    let builder = joined(builder, operator, "stream", "agg")?;
    Some(builder.kafka("out", "joined", joined_sink()))
}

fn table_table_join(operator: &Operator) -> Option<Builder> {
    let filter = &operator.raw["left_filter"];
    let left = match (filter.is_null(), operator.text("join")) {
        // Kafka Streams does not ask for the earlier row there.
        (false, "inner") => Table::new().not_stored(),
        _ => Table::new(),
    };
    let builder = Topology::builder("case")
        .source("left", with_nulls("left"))
        .table("left_rows", "left", left)
        .source("right", with_nulls("right"))
        .table("right_rows", "right", Table::new());
    let (builder, left) = match filter["op"].as_str() {
        None => (builder, "left_rows"),
        Some(op) => {
            let field = filter["field"].as_str()?;
            let condition = predicate_of(&format!("v.{field}"), filter);
            let builder = match op {
                "filter" => builder.filter("passing", "left_rows", &condition),
                "filter_not" => builder.filter_not("passing", "left_rows", &condition),
                _ => return None,
            };
            (builder, "passing")
        }
    };
    let builder = joined(builder, operator, left, "right_rows")?;
    let (builder, from) = match operator.raw["materialized"].as_bool()? {
        true => (builder.table("agg", "joined", Table::new()), "agg"),
        false => (builder, "joined"),
    };
    Some(builder.kafka("out", from, joined_sink()))
}

/// Stateless operators alone; keys are those of the records.
fn stateless(operator: &Operator) -> Option<Builder> {
    let mut builder = Topology::builder("case");
    let mut sources = Vec::new();
    for topic in operator.raw["inputs"].as_array()? {
        let topic = topic.as_str()?;
        let name = topic.replace('-', "_");
        let source = Source::json(topic).null_values(NullValues::Pass);
        builder = builder.source(&name, source);
        sources.push(name);
    }
    let mut from = sources.first()?.clone();
    if sources.len() > 1 {
        builder = builder.merge("merged", sources.iter().map(String::as_str));
        "merged".clone_into(&mut from);
    }
    let all = operator.raw["steps"].as_array()?;
    let (builder, from) = steps(builder, from, &operator.raw["steps"])?;
    let does = |op: &str| all.iter().any(|step| step["op"] == op);
    let sink = |topic: &str| match (does("flat_map_values"), does("map") || does("map_values")) {
        (true, _) => KafkaSink::topic(topic).field("n", "n"),
        (_, true) => KafkaSink::topic(topic).field("g", "g").field("n", "n"),
        // Values as they came.
        _ => KafkaSink::topic(topic),
    };
    let split = &operator.raw["split"];
    if split.is_null() {
        return Some(builder.kafka("sink", &from, sink("out")));
    }
    let mut branch = Branch::new();
    let mut topics = Vec::new();
    for (at, way) in split["branches"].as_array()?.iter().enumerate() {
        branch = branch.arm(&format!("arm{at}"), &predicate(&way["when"]));
        topics.push((format!("split.arm{at}"), way["topic"].as_str()?));
    }
    if let Some(topic) = split["default_topic"].as_str() {
        branch = branch.default_arm("rest");
        topics.push(("split.rest".to_owned(), topic));
    }
    let builder = builder.branch("split", &from, branch);
    let sinks = topics.into_iter().enumerate();
    Some(sinks.fold(builder, |builder, (at, (arm, topic))| {
        builder.kafka(&format!("sink{at}"), &arm, sink(topic))
    }))
}

/// Stateless steps behind one another. A new key is also the field `k`, by which aggregates go.
fn steps(builder: Builder, from: String, steps: &Value) -> Option<(Builder, String)> {
    let mut builder = builder;
    let mut from = from;
    for (at, step) in steps.as_array().into_iter().flatten().enumerate() {
        let name = format!("{from}_{at}");
        if let Some(condition) = step.get("null_if") {
            // What is behind it sees nothing of the value any more.
            let (asked, nulled) = (format!("{name}_asked"), format!("{name}_null"));
            let without = |field: &str| format!("{IS_NULL} || !has({field}) ? null : {field}");
            let map = Map::new(&asked)
                .set("n", &without("n"))
                .set("g", &without("g"))
                .tombstone_if(IS_NULL);
            builder = builder
                .map(&asked, &from, [(IS_NULL, predicate(condition).as_str())])
                .node(&nulled, NodeKind::Map(map));
            from = nulled;
        }
        let added = step["add"].as_i64().map(|add| format!("n + {add}"));
        builder = match step["op"].as_str()? {
            "filter" => builder.filter(&name, &from, &predicate(step)),
            "filter_not" => builder.filter_not(&name, &from, &predicate(step)),
            "map_values" => builder.map(&name, &from, [("n", added?.as_str())]),
            "flat_map_values" => {
                // Values of which nothing is left but the number.
                let elements = format!("{name}_elements");
                builder
                    .flat_map(&elements, &from, FlatMap::new("range(n)", "n"))
                    .map(&name, &elements, [("g", "null")])
            }
            op @ ("select_key" | "map") => {
                let mut set = Map::new(&from).set("k", step["key_from"].as_str()?);
                if op == "map" {
                    set = set.set("n", &added?);
                }
                let with_field = format!("{name}_k");
                builder
                    .node(&with_field, NodeKind::Map(set))
                    .select_key(&name, &with_field, "k")
            }
            _ => return None,
        };
        from = name;
    }
    Some((builder, from))
}

fn predicate(step: &Value) -> String {
    predicate_of(step["field"].as_str().unwrap_or_default(), step)
}

/// The same, of a field that is called otherwise here.
fn predicate_of(field: &str, step: &Value) -> String {
    let compare = step["cmp"].as_str().unwrap_or_default();
    format!(
        "has({field}) && {field} != null && {field} {compare} {}",
        step["value"]
    )
}
