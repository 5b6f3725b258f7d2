//! The stateless operators, as the driver runs them.

use std::time::Duration;

use serde_json::{Value, json};

use super::TopologyTestDriver;
use crate::processor::DropReason;
use crate::time::Timestamp;
use crate::topology::builder::{Branch, Builder, FlatMap, KafkaSink, Log, Map, Rollup, Source};
use crate::topology::graph::{NodeKind, NullValues, OnError, Topology};

fn driver(builder: Builder) -> TopologyTestDriver {
    let topology = builder
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"));
    TopologyTestDriver::new(&topology).expect("it can be planned")
}

fn changes() -> Builder {
    let source = Source::json("changes").null_values(NullValues::Pass);
    Topology::builder("app").source("changes", source)
}

/// Key and value of all that was written to a topic since the last time.
fn written(driver: &mut TopologyTestDriver, topic: &str) -> Vec<(Option<String>, Value)> {
    let records = driver.read(topic).into_iter();
    let text = |key: Vec<u8>| String::from_utf8(key).expect("a text");
    let value = |value: Vec<u8>| serde_json::from_slice(&value).expect("JSON");
    records
        .map(|record| {
            let value = record.value.map_or(Value::Null, value);
            (record.key.map(text), value)
        })
        .collect()
}

fn keyed(key: &str, value: Value) -> (Option<String>, Value) {
    (Some(key.to_owned()), value)
}

/// ```text
///   changes ─→ filter bot      ─→ bots
///           └→ filter_not bot  ─→ humans
/// ```
#[test]
fn a_record_passes_either_a_filter_or_its_opposite() {
    let mut driver = driver(
        changes()
            .filter("bots", "changes", "bot")
            .filter_not("humans", "changes", "bot")
            .kafka("bots_out", "bots", KafkaSink::topic("bots"))
            .kafka("humans_out", "humans", KafkaSink::topic("humans")),
    );
    driver.pipe("changes", Some("a"), r#"{"bot":true}"#);
    driver.pipe("changes", Some("b"), r#"{"bot":false}"#);
    // Neither true nor false: both say so.
    driver.pipe("changes", Some("c"), r#"{"bot":7}"#);
    assert_eq!(
        written(&mut driver, "bots"),
        [keyed("a", json!({"bot": true}))]
    );
    assert_eq!(
        written(&mut driver, "humans"),
        [keyed("b", json!({"bot": false}))]
    );
    assert_eq!(driver.drops("bots", DropReason::Expression), 1);
    assert_eq!(driver.drops("humans", DropReason::Expression), 1);
    assert_eq!(driver.counts("humans").filtered, 1);
}

/// ```text
///   {"wiki":"w","tags":["x","y"]}  ─→  flat_map tags as tag  ─→  (w,0,x), (w,1,y)
/// ```
#[test]
fn each_element_of_a_list_becomes_a_record_with_the_fields_around_it() {
    let tags = FlatMap::new("tags", "tag").position("nth");
    let sink = KafkaSink::topic("out")
        .field("wiki", "wiki")
        .field("nth", "nth")
        .field("tag", "tag");
    let mut driver = driver(
        changes()
            .flat_map("tags", "changes", tags)
            .kafka("out", "tags", sink),
    );
    driver.pipe("changes", Some("k"), r#"{"wiki":"w","tags":["x","y"]}"#);
    driver.pipe("changes", Some("k"), r#"{"wiki":"w","tags":[]}"#);
    driver.pipe("changes", Some("k"), r#"{"wiki":"w","tags":null}"#);
    driver.pipe("changes", Some("k"), r#"{"wiki":"w"}"#);
    driver.pipe("changes", Some("k"), r#"{"wiki":"w","tags":"x"}"#);
    assert_eq!(
        written(&mut driver, "out"),
        [
            keyed("k", json!({"wiki": "w", "nth": 0, "tag": "x"})),
            keyed("k", json!({"wiki": "w", "nth": 1, "tag": "y"})),
        ]
    );
    assert_eq!(driver.drops("tags", DropReason::Expression), 1);
    let letters = driver.dead_letters();
    let message = letters[0]
        .headers
        .iter()
        .find(|(name, _)| name == "tidemill.message");
    let message = message.map(|(_, text)| String::from_utf8_lossy(text).into_owned());
    assert_eq!(message.as_deref(), Some("expected a list, found string"));
}

/// ```text
///   {"items":[{"sku":"a"},{"sku":"b"},{}]}  ─→  flat_map items as it  ─→  count by it.sku
/// ```
#[test]
fn what_lies_inside_a_computed_field_can_be_a_key() {
    let mut driver = driver(
        changes()
            .flat_map("each", "changes", FlatMap::new("items", "it"))
            .aggregate(
                "skus",
                "each",
                Rollup::by(["it.sku"]).unbounded().set("n", "count()"),
            )
            .kafka("out", "skus", KafkaSink::topic("out").field("n", "n")),
    );
    driver.pipe("changes", None, r#"{"items":[{"sku":"a"},{"sku":"b"}]}"#);
    driver.pipe("changes", None, r#"{"items":[{"sku":"a"},{},"x"]}"#);
    assert_eq!(
        written(&mut driver, "out"),
        [
            keyed("a", json!({"n": 1})),
            keyed("b", json!({"n": 1})),
            keyed("a", json!({"n": 2})),
        ]
    );
    assert_eq!(driver.drops("skus", DropReason::NullKey), 2);
}

/// ```text
///              ┌ a new page       ─→ new
///   changes ─→ ┤ else an edit     ─→ edits
///              └ everything else  ─→ rest
/// ```
#[test]
fn a_record_goes_the_first_way_whose_condition_is_true() {
    let kinds = Branch::new()
        .arm("fresh", "has(type) && type == 'new'")
        .arm("edits", "has(type) && type in ['new', 'edit']")
        .default_arm("rest");
    let mut driver = driver(
        changes()
            .branch("kinds", "changes", kinds)
            .kafka("fresh_out", "kinds.fresh", KafkaSink::topic("new"))
            .kafka("edits_out", "kinds.edits", KafkaSink::topic("edits"))
            .kafka("rest_out", "kinds.rest", KafkaSink::topic("rest")),
    );
    for (key, kind) in [("1", "edit"), ("2", "new"), ("3", "log")] {
        driver.pipe("changes", Some(key), &format!(r#"{{"type":"{kind}"}}"#));
    }
    driver.pipe("changes", Some("4"), "{}");
    let keys = |driver: &mut TopologyTestDriver, topic| -> Vec<String> {
        let records = written(driver, topic).into_iter();
        records.filter_map(|(key, _)| key).collect()
    };
    assert_eq!(keys(&mut driver, "new"), ["2"]);
    assert_eq!(keys(&mut driver, "edits"), ["1"]);
    assert_eq!(keys(&mut driver, "rest"), ["3", "4"]);
}

/// ```text
///   count per user ─→ branch n < 2 ─→ few
///                            else  ─→ many     the row of a user that moves on leaves `few`
/// ```
#[test]
fn a_result_that_goes_another_way_is_taken_back_from_the_first() {
    let mut driver = driver(
        changes()
            .aggregate(
                "users",
                "changes",
                Rollup::by(["user"]).unbounded().set("n", "count()"),
            )
            .branch(
                "size",
                "users",
                Branch::new().arm("few", "n < 2").default_arm("many"),
            )
            .kafka("few_out", "size.few", KafkaSink::topic("few"))
            .kafka("many_out", "size.many", KafkaSink::topic("many")),
    );
    driver.pipe("changes", None, r#"{"user":"ann"}"#);
    driver.pipe("changes", None, r#"{"user":"ann"}"#);
    assert_eq!(
        written(&mut driver, "few"),
        [
            keyed("ann", json!({"user": "ann", "n": 1})),
            keyed("ann", Value::Null)
        ]
    );
    assert_eq!(
        written(&mut driver, "many"),
        [
            keyed("ann", Value::Null),
            keyed("ann", json!({"user": "ann", "n": 2}))
        ]
    );
}

/// ```text
///   sessions of a user ─→ branch n < 2 ─→ few
///                              else  ─→ many     a session that grows is another window
/// ```
///
/// What takes a session back has no results to ask the condition of, and goes every way.
#[test]
fn a_session_that_is_no_more_is_taken_back_from_every_way() {
    let visits = Rollup::by(["user"])
        .session(Duration::from_secs(10))
        .set("n", "count_if(true)")
        .set("top", "max(size)");
    let key = "json([user, string(window_start), string(window_end)])";
    let out = |topic: &str| KafkaSink::topic(topic).key(key).field("n", "n");
    let mut driver = driver(
        changes()
            .aggregate("visits", "changes", visits)
            .branch(
                "size",
                "visits",
                Branch::new().arm("small", "top < 5").default_arm("large"),
            )
            .kafka("small_out", "size.small", out("small"))
            .kafka("large_out", "size.large", out("large")),
    );
    let pipe = |driver: &mut TopologyTestDriver, ms: i64, size: u32| {
        let value = format!(r#"{{"user":"ann","size":{size}}}"#);
        let value = Some(value.as_bytes());
        driver
            .try_pipe("changes", None, value, Timestamp(ms))
            .expect("it goes on");
    };
    pipe(&mut driver, 1_000, 1);
    pipe(&mut driver, 2_000, 9);
    let shown = |driver: &mut TopologyTestDriver, topic| -> Vec<(String, Value)> {
        let records = written(driver, topic).into_iter();
        let end = |key: String| {
            let [_, _, end]: [String; 3] = serde_json::from_str(&key).expect("three texts");
            end
        };
        records
            .map(|(key, value)| (end(key.expect("a key")), value["n"].clone()))
            .collect()
    };
    let row = |second: u8, n: Value| (format!("1970-01-01T00:00:0{second}Z"), n);
    assert_eq!(
        shown(&mut driver, "small"),
        [row(1, json!(1)), row(1, Value::Null), row(2, Value::Null)]
    );
    assert_eq!(
        shown(&mut driver, "large"),
        [row(1, Value::Null), row(1, Value::Null), row(2, json!(2))]
    );
    assert!(driver.dead_letters().is_empty());
}

/// ```text
///   count per user ─→ flat_map range(n) ─→ filter i > 0 ─→ out
/// ```
///
/// Of a list only some elements pass: those that do not must not delete those that do.
#[test]
fn an_element_that_does_not_pass_takes_nothing_back() {
    let mut driver = driver(
        changes()
            .aggregate(
                "users",
                "changes",
                Rollup::by(["user"]).unbounded().set("n", "count()"),
            )
            .flat_map("each", "users", FlatMap::new("range(n)", "i"))
            .filter("later", "each", "i > 0")
            .kafka("out", "later", KafkaSink::topic("out").field("i", "i")),
    );
    driver.pipe("changes", None, r#"{"user":"ann"}"#);
    driver.pipe("changes", None, r#"{"user":"ann"}"#);
    assert_eq!(written(&mut driver, "out"), [keyed("ann", json!({"i": 1}))]);
}

/// ```text
///   a ─→ map size = bytes ─┐
///                          ├→ merge ─→ sum(size) by wiki
///   b ─────────────────────┘
/// ```
#[test]
fn a_merge_finds_each_field_where_its_input_has_it() {
    let mut driver = driver(
        Topology::builder("app")
            .source("a", Source::json("a").key("wiki"))
            .source("b", Source::json("b").key("wiki"))
            .map("sized", "a", [("size", "bytes")])
            .merge("all", ["sized", "b"])
            .filter("known", "all", "has(size)")
            .aggregate(
                "sums",
                "known",
                Rollup::by(["wiki"]).unbounded().set("sum", "sum(size)"),
            )
            .kafka("out", "sums", KafkaSink::topic("out")),
    );
    driver.pipe("a", Some("w"), r#"{"wiki":"w","bytes":1}"#);
    driver.pipe("b", Some("w"), r#"{"wiki":"w","size":10}"#);
    driver.pipe("b", Some("w"), r#"{"wiki":"w","bytes":100}"#);
    driver.pipe("a", Some("w"), r#"{"wiki":"w","bytes":1000,"size":7}"#);
    let sums = written(&mut driver, "out").into_iter();
    let sums: Vec<Value> = sums.map(|(_, value)| value["sum"].clone()).collect();
    assert_eq!(sums, [json!(1), json!(11), json!(1011)]);
    assert_eq!((driver.counts("a").input, driver.counts("b").input), (2, 2));
}

/// ```text
///   a ─→ merge ─→ …        a record of `a` comes twice: once by itself, once through the filter
///   └→ filter ─┘
/// ```
#[test]
fn a_merge_of_two_ways_from_one_source_has_the_records_of_both() {
    let mut driver = driver(
        changes()
            .filter("big", "changes", "n > 5")
            .merge("all", ["changes", "big"])
            .kafka("out", "all", KafkaSink::topic("out").field("n", "n")),
    );
    driver.pipe("changes", Some("k"), r#"{"n":1}"#);
    driver.pipe("changes", Some("k"), r#"{"n":9}"#);
    let numbers = written(&mut driver, "out").into_iter();
    let numbers: Vec<Value> = numbers.map(|(_, value)| value["n"].clone()).collect();
    assert_eq!(numbers, [json!(1), json!(9), json!(9)]);
}

/// ```text
///   key 7, {"user":"ann"}  ─→  select_key user  ─→  key ann     what fails keeps the old key
/// ```
#[test]
fn a_selected_key_is_that_of_the_records_behind_it_only() {
    let mut driver = driver(
        changes()
            .select_key("by_user", "changes", "user")
            .map("named", "by_user", [("key", "record_key()")])
            .kafka("out", "named", KafkaSink::topic("out").field("key", "key"))
            .kafka("raw", "changes", KafkaSink::topic("raw")),
    );
    driver.pipe("changes", Some("7"), r#"{"user":"ann"}"#);
    driver.pipe("changes", Some("8"), r#"{"user":null}"#);
    assert_eq!(
        written(&mut driver, "out"),
        [
            keyed("ann", json!({"key": "ann"})),
            (None, json!({"key": null}))
        ]
    );
    let raw = written(&mut driver, "raw").into_iter();
    let keys: Vec<_> = raw.map(|(key, _)| key.expect("they had one")).collect();
    assert_eq!(keys, ["7", "8"]);
}

/// ```text
///   {"op":"d","n":1}  ─→  map tombstone_if op == 'd'  ─→  no value
/// ```
#[test]
fn a_record_of_a_deletion_loses_its_value() {
    let map = Map::new("changes")
        .set("double", "n * 2")
        .tombstone_if("op == 'd'");
    let sink = KafkaSink::topic("out").field("double", "double");
    let mut driver = driver(
        changes()
            .node("rows", NodeKind::Map(map))
            .kafka("out", "rows", sink),
    );
    driver.pipe("changes", Some("k"), r#"{"op":"u","n":1}"#);
    driver.pipe("changes", Some("k"), r#"{"op":"d","n":1}"#);
    assert_eq!(
        written(&mut driver, "out"),
        [keyed("k", json!({"double": 2})), keyed("k", Value::Null)]
    );
}

/// ```text
///   changes ─→ log (nobody behind it)
/// ```
#[test]
fn a_log_at_the_end_is_run() {
    let topology = Topology::builder("app")
        .source("changes", Source::json("changes"))
        .log("seen", "changes", Log::new())
        .build()
        .unwrap();
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    driver.pipe("changes", None, "{}");
    assert_eq!(driver.counts("seen").input, 1);
}

/// ```text
///   changes ─→ log ─→ out     a text that fails is no reason to lose the record
/// ```
#[test]
fn a_log_passes_everything_on() {
    let log = Log::new().text("user + '!'").every(2);
    let mut driver = driver(changes().log("seen", "changes", log).kafka(
        "out",
        "seen",
        KafkaSink::topic("out"),
    ));
    for value in [r#"{"user":"ann"}"#, r#"{"user":"bob"}"#, r#"{"user":7}"#] {
        driver.pipe("changes", Some("k"), value);
    }
    assert_eq!(written(&mut driver, "out").len(), 3);
    assert_eq!(driver.counts("seen").output, 3);
}

#[test]
fn a_condition_of_a_branch_that_fails_is_handled_as_the_branch_says() {
    let kinds = Branch::new().arm("big", "n > 5").on_error(OnError::Drop);
    let mut driver = driver(changes().branch("kinds", "changes", kinds).kafka(
        "out",
        "kinds.big",
        KafkaSink::topic("out"),
    ));
    driver.pipe("changes", Some("k"), r#"{"n":"six"}"#);
    driver.pipe("changes", Some("k"), r#"{"n":6}"#);
    driver.pipe("changes", Some("k"), r#"{"n":5}"#);
    assert_eq!(written(&mut driver, "out").len(), 1);
    assert_eq!(driver.drops("kinds", DropReason::Expression), 1);
    assert_eq!(driver.counts("kinds").filtered, 1);
    assert!(driver.dead_letters().is_empty());
}

/// ```text
///   {"title":"Talk:Cat","old":3,"new":10} ─→ map ─→ {…, "delta":7, "talk":true, "sign":1}
/// ```
#[test]
fn a_map_sets_fields_each_of_which_sees_those_before_it() {
    let map = Map::new("changes")
        .set("delta", "new - old")
        .set("talk", "title.startsWith('Talk:')")
        .set("sign", "delta > 0 ? 1 : -1");
    let sink = ["title", "delta", "talk", "sign"]
        .iter()
        .fold(KafkaSink::topic("out"), |sink, name| sink.field(name, name));
    let builder = changes().node("sized", NodeKind::Map(map));
    let mut driver = driver(builder.kafka("out", "sized", sink));
    let change = r#"{"title":"Talk:Cat","old":3,"new":10}"#;
    driver.pipe("changes", Some("k"), change);
    let expected = json!({"title": "Talk:Cat", "delta": 7, "talk": true, "sign": 1});
    assert_eq!(written(&mut driver, "out"), [keyed("k", expected)]);
}
