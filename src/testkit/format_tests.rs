//! Formats of records, as the driver runs them: the same topology gives the same, whatever its records
//! are written in.

use serde_json::{Value as Json, json};

use super::sink_rows::sink_rows;
use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::config;
use crate::format::{Format, Language, Schema, SchemaRegistry as _};
use crate::processor::DropReason;
use crate::time::Timestamp;
use crate::topology::builder::{KafkaSink, Source};
use crate::topology::graph::Topology;

const AVRO: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "string"},
    {"name": "shop", "type": "string"},
    {"name": "price", "type": "double"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "sku", "type": "string"}, {"name": "count", "type": "int"}]}}},
    {"name": "note", "type": ["null", "string"], "default": null}
]}"#;

const PROTOBUF: &str = r#"
syntax = "proto3";
import "google/protobuf/timestamp.proto";
message Line { string sku = 1; int32 count = 2; }
message Order {
  string id = 1;
  string shop = 2;
  double price = 3;
  google.protobuf.Timestamp at = 4;
  repeated Line lines = 5;
  optional string note = 6;
}
"#;

/// Everything that keeps or sends events, behind one source with these settings.
///
/// ```text
///   orders ─┬→ by_id ┄┄→ latest ─→ dear ─────→ latest-orders (as they came), SQL
///           │       └┄┄┄→ joined ────────────→ joined, SQL
///           ├→ first ────────────────────────→ SQL
///           ├→ per_shop ─→ held ─────────────→ sums
///           └→ as JSON, SQL
/// ```
fn file(source: &str) -> String {
    format!(
        "
app: shop
nodes:
  orders: {{ source: {{ topic: orders, timestamp: at, {source} }} }}
  by_id:  {{ select_key: {{ from: orders, key: id }} }}
  latest: {{ table: {{ from: by_id }} }}
  dear:   {{ filter: {{ from: latest, where: price > 1.0 }} }}
  came:   {{ kafka: {{ from: dear, topic: latest-orders }} }}
  kept:   {{ sql: {{ from: latest, table: kept, key: id, columns: {{ id: id, sku: 'lines[0].sku', note: \"coalesce(note, 'none')\" }} }} }}
  joined: {{ join: {{ from: by_id, with: latest, as: last }} }}
  pairs:  {{ kafka: {{ from: joined, topic: joined, fields: {{ id: id, then: last.price, sku: 'last.lines[0].sku' }} }} }}
  again:  {{ sql: {{ from: joined, table: again, key: id, columns: {{ id: id, then: last.price, at: timestamp(at) }} }} }}
  first:  {{ deduplicate: {{ from: orders, within: 1h, by: [record_key()] }} }}
  firsts: {{ sql: {{ from: first, table: firsts, key: id, columns: {{ id: id, price: price }} }} }}
  sums:   {{ aggregate: {{ from: orders, by: shop, window: {{ tumbling: 10s }}, set: {{ sum: sum(price), n: count() }} }} }}
  held:   {{ suppress: {{ from: sums, until: close }} }}
  out:    {{ kafka: {{ from: held, topic: sums }} }}
  copy:   {{ kafka: {{ from: orders, topic: json, format: json }} }}
  raw:    {{ sql: {{ from: orders, table: raw, key: id, columns: {{ id: id, at: timestamp(at), count: size(lines) }} }} }}
"
    )
}

fn topology(file: &str) -> Topology {
    config::parse(file, "shop.yaml").unwrap_or_else(|report| panic!("{report}"))
}

fn driver(file: &str) -> TopologyTestDriver {
    TopologyTestDriver::new(&topology(file)).expect("it can be planned")
}

fn order(id: &str, price: f64, second: i64) -> Json {
    json!({
        "id": id, "shop": "a", "price": price, "at": Timestamp(second * 1_000).to_string(),
        "lines": [{"sku": format!("sku-{id}"), "count": 2}], "note": null,
    })
}

/// What comes out of the topology; a crash with a new disk comes in the middle.
fn play(file: &str, prepare: impl FnOnce(&TopologyTestDriver)) -> String {
    let mut driver = driver(file);
    prepare(&driver);
    let mut orders = driver.input_topic("orders");
    orders.pipe(&mut driver, "k1", &order("x", 5.5, 3)).unwrap();
    orders.pipe(&mut driver, "k2", &order("y", 7.5, 4)).unwrap();
    driver.lose_state();
    driver.restart().unwrap();
    orders.pipe(&mut driver, "k1", &order("x", 0.5, 5)).unwrap();
    orders
        .pipe(&mut driver, "k3", &order("z", 2.5, 12))
        .unwrap();
    let mut shown = String::new();
    let mut show = |line: String| shown += &(line + "\n");
    for topic in ["latest-orders", "joined", "sums", "json"] {
        let topic_end = driver.output_topic(topic);
        for (key, value) in topic_end.read_key_values(&mut driver) {
            let price = value
                .get("price")
                .or(value.get("then"))
                .or(value.get("sum"));
            let id = value.get("id").unwrap_or(&Json::Null);
            let sku = value.pointer("/lines/0/sku").or(value.get("sku"));
            show(format!("{topic} {key:?}: {id} {price:?} {sku:?}"));
        }
    }
    for row in driver.rows("latest") {
        let (id, at, sku) = (
            &row.fields["id"],
            row.timestamp,
            &row.fields["lines"][0]["sku"],
        );
        show(format!(
            "latest {}: {id} {at} {sku} {}",
            row.key, row.fields["price"]
        ));
    }
    for sink in ["kept", "again", "firsts", "raw"] {
        for row in sink_rows(&driver, sink) {
            show(format!("{sink}: {row}"));
        }
    }
    shown
}

#[test]
fn the_same_records_give_the_same_in_every_format() {
    let in_json = play(&file("format: json"), |_| {});
    // What the others are held against is not empty.
    assert_eq!(
        in_json
            .lines()
            .filter(|line| line.contains("Some("))
            .count(),
        13,
        "{in_json}"
    );
    assert!(in_json.contains("raw: x, 5s, 1"), "{in_json}");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let avro = format!("format: avro, schema_file: {}", write("order.avsc", AVRO));
    let protobuf = write("order.proto", PROTOBUF);
    let protobuf = format!("format: protobuf, message: Order, schema_file: {protobuf}");
    let registry = "schema_registry: \"http://registry:8081\"";
    let numbered_json = format!("format: json, {registry}");
    for settings in [
        numbered_json,
        avro.clone(),
        format!("{avro}, {registry}"),
        protobuf.clone(),
        format!("{protobuf}, {registry}"),
    ] {
        assert_eq!(play(&file(&settings), |_| {}), in_json, "{settings}");
    }
    // Only the registry knows the schema.
    for (language, schema) in [
        ("avro", Schema::avro(AVRO)),
        (
            "protobuf, message: Order",
            Schema::protobuf(PROTOBUF, Some("Order")),
        ),
    ] {
        let file = file(&format!("format: {language}, {registry}"));
        let played = play(&file, |driver| {
            driver.registry().register("orders-value", &schema).unwrap();
        });
        assert_eq!(played, in_json, "{language}");
    }
}

#[test]
fn events_pass_through_a_table_with_the_bytes_that_they_came_with() {
    let avro = Format::avro(Schema::avro(AVRO));
    let topology = Topology::builder("app")
        .source("orders", Source::of("orders", avro))
        .table("latest", "orders", Default::default())
        .kafka("out", "latest", KafkaSink::topic("out"))
        .build()
        .unwrap();
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    let bytes = driver.encode("orders", &order("x", 5.5, 3)).unwrap();
    let record = TestRecord {
        value: Some(bytes.clone()),
        ..TestRecord::default()
    };
    driver.pipe_record("orders", &record.key("x")).unwrap();
    assert_eq!(driver.read("out")[0].value, Some(bytes));
}

/// ```text
///   s (json, numbered) ─┬→ as it came: with its number
///                       └→ json with a registry: with that of its own schema
/// ```
#[test]
fn json_may_have_the_number_of_a_schema_in_front() {
    let mut driver = driver(
        "
app: a
nodes:
  s:    { source: { topic: s, format: json, schema_registry: \"http://r\", fields: { x: int } } }
  came: { kafka: { from: s, topic: came } }
  out:  { kafka: { from: s, topic: out, format: json, schema_registry: \"http://r\", schema: '{\"type\": \"object\"}', fields: { y: x + 1 } } }
",
    );
    let numbered = Some(&b"\0\0\0\x01\x02{\"x\": 1}"[..]);
    driver.try_pipe("s", None, numbered, Timestamp(0)).unwrap();
    assert_eq!(driver.read("came")[0].value.as_deref(), numbered);
    let out = driver.read("out");
    assert_eq!(out[0].value.as_deref(), Some(&b"\0\0\0\0\x01{\"y\":2}"[..]));
    let schema = driver.registry().schema(1).unwrap();
    assert_eq!(
        (&*schema.language, &*schema.text),
        ("JSON", "{\"type\": \"object\"}")
    );
    for unreadable in [&b"{\"x\": 1}"[..], b"\0\0\0\0\x01[1]", b"\0\0"] {
        let piped = driver.try_pipe("s", None, Some(unreadable), Timestamp(0));
        piped.unwrap();
    }
    assert_eq!(driver.drops("s", DropReason::Unreadable), 3);
}

/// ```text
///   logs (string) ─┬→ errors ─→ by_level ┄┄→ latest
///                  └→ out (string), copies (as they came)
/// ```
#[test]
fn a_text_is_one_field() {
    let mut driver = driver(
        "
app: logs
nodes:
  logs:   { source: { topic: logs, format: string } }
  errors: { filter: { from: logs, where: value.startsWith('ERROR') } }
  keyed:  { select_key: { from: errors, key: 'value.split(\" \")[1]' } }
  latest: { table: { from: keyed } }
  same:   { kafka: { from: latest, topic: latest } }
  upper:  { kafka: { from: logs, topic: upper, format: string, fields: { value: value.upper() } } }
  copies: { kafka: { from: logs, topic: copies } }
  json:   { kafka: { from: logs, topic: json, format: json } }
",
    );
    driver.pipe("logs", None, "ERROR db away");
    driver.pipe("logs", None, "info all good");
    driver.pipe("logs", None, "");
    let invalid = Some(&b"\xff"[..]);
    driver
        .try_pipe("logs", None, invalid, Timestamp(0))
        .unwrap();
    assert_eq!(
        driver.read_json("upper"),
        ["ERROR DB AWAY", "INFO ALL GOOD", ""]
    );
    assert_eq!(driver.read_json("latest"), ["ERROR db away"]);
    assert_eq!(driver.rows("latest")[0].key, "db");
    assert_eq!(
        driver.rows("latest")[0].fields,
        json!({"value": "ERROR db away"})
    );
    let copies = driver
        .read("copies")
        .into_iter()
        .map(|record| record.value.unwrap());
    assert_eq!(
        copies.collect::<Vec<_>>(),
        [&b"ERROR db away"[..], b"info all good", b""]
    );
    assert_eq!(
        driver.read_json("json")[1],
        json!({"value": "info all good"})
    );
    assert_eq!(driver.drops("logs", DropReason::Unreadable), 1);
    let letter = &driver.dead_letters()[0];
    assert_eq!(letter.value.as_deref(), invalid);
}

#[test]
fn bytes_are_one_field() {
    let mut driver = driver(
        "
app: a
nodes:
  s: { source: { topic: s, format: bytes } }
  k: { kafka: { from: s, topic: k, format: bytes, fields: { value: value } } }
  n: { kafka: { from: s, topic: n, fields: { n: size(value) } } }
",
    );
    driver
        .try_pipe("s", None, Some(b"\xff\x00"), Timestamp(0))
        .unwrap();
    assert_eq!(driver.read("k")[0].value.as_deref(), Some(&b"\xff\x00"[..]));
    assert_eq!(driver.read_json("n"), [json!({"n": 2})]);
}

fn registered(more: &str) -> String {
    format!(
        "
app: shop
nodes:
  orders: {{ source: {{ topic: orders, format: avro, schema_registry: \"http://r\" }} }}
  by_id:  {{ select_key: {{ from: orders, key: id }} }}
  latest: {{ table: {{ from: by_id }} }}
  out:    {{ kafka: {{ from: latest, topic: out, fields: {{ id: id, price: price }} }} }}
{more}"
    )
}

#[test]
fn what_cannot_be_read_is_a_dead_letter_as_it_came() {
    let mut driver = driver(&registered(
        "  bad: { filter: { from: latest, where: int(id) > 1 } }\n  \
           b:   { kafka: { from: bad, topic: b } }\n",
    ));
    let registry = driver.registry().clone();
    let known = registry
        .register("orders-value", &Schema::avro(AVRO))
        .unwrap();
    let good = driver.encode("orders", &order("x", 5.5, 3)).unwrap();
    assert_eq!(good[..5], [0, 0, 0, 0, 1]);
    assert_eq!(known, 1);
    let cases: [&[u8]; 4] = [
        b"{\"id\": 1}",
        &good[..4],
        &[0, 0, 0, 0, 9, 2],
        &good[..good.len() - 1],
    ];
    for bytes in cases {
        driver
            .try_pipe("orders", None, Some(bytes), Timestamp(0))
            .unwrap();
    }
    let letters = driver.dead_letters();
    let shown: Vec<_> = letters
        .iter()
        .map(|letter| {
            let letter = TestRecord::from(letter.clone());
            assert_eq!(
                letter.header_text("tidemill.reason").as_deref(),
                Some("unreadable")
            );
            letter.header_text("tidemill.message").unwrap().into_owned()
        })
        .collect();
    assert_eq!(
        shown,
        [
            "expected the byte 0 in front of the number of a schema, found 123",
            "expected the number of a schema, found 4 bytes",
            "the schema registry has no schema 9",
            "this is not an Avro record of its schema: expected a number, found the end of the record",
        ]
    );
    let values: Vec<_> = letters
        .iter()
        .map(|letter| letter.value.as_deref().unwrap())
        .collect();
    assert_eq!(values, cases);
    // Behind a repartition too: the event, and not the row that was sent.
    driver
        .try_pipe("orders", None, Some(&good), Timestamp(0))
        .unwrap();
    let letters = driver.dead_letters();
    let letter = letters.last().unwrap();
    assert_eq!(letter.value.as_deref(), Some(&good[..]));
    assert_eq!(driver.read_json("out"), [json!({"id": "x", "price": 5.5})]);
}

#[test]
fn another_message_of_the_file_is_not_taken_for_the_one_that_is_meant() {
    let registered = Format::registered(Language::Protobuf, "http://r");
    for (schema, message) in [
        (Some(Schema::protobuf(PROTOBUF, Some("Order"))), None),
        (None, Some("Order".to_owned())),
    ] {
        let Format::Schema(mut format) = registered.clone() else {
            unreachable!("just made")
        };
        (format.schema, format.message) = (schema, message);
        let topology = Topology::builder("app")
            .source("orders", Source::of("orders", Format::Schema(format)))
            .kafka("out", "orders", KafkaSink::topic("out").field("id", "id"))
            .build()
            .unwrap();
        let mut driver = TopologyTestDriver::new(&topology).unwrap();
        let schema = Schema::protobuf(PROTOBUF, Some("Order"));
        driver.registry().register("x", &schema).unwrap();
        // The second message of the file is an order, the first one a line.
        let order = [&[0, 0, 0, 0, 1, 2, 2][..], &[10, 1, b'x']].concat();
        let line = [&[0, 0, 0, 0, 1, 0][..], &[10, 1, b'x']].concat();
        for record in [&order, &line] {
            driver
                .try_pipe("orders", None, Some(record), Timestamp(0))
                .unwrap();
        }
        assert_eq!(driver.read_json("out"), [json!({"id": "x"})]);
        let letter = TestRecord::from(driver.dead_letters()[0].clone());
        let message = letter.header_text("tidemill.message").unwrap().into_owned();
        let expected = "schema 1 of the registry: expected the message Order, found Line";
        assert_eq!(message, expected);
    }
}

#[test]
fn a_schema_that_appears_later_is_asked_for_again() {
    let mut driver = driver(&registered(""));
    let registry = driver.registry().clone();
    // The number that the next schema will have.
    let early = [0, 0, 0, 0, 1, 2, b'x'];
    driver
        .try_pipe("orders", None, Some(&early), Timestamp(0))
        .unwrap();
    assert_eq!(driver.drops("orders", DropReason::Unreadable), 1);
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "string"}]}"#;
    registry.register("s", &Schema::avro(schema)).unwrap();
    driver
        .try_pipe("orders", None, Some(&early), Timestamp(0))
        .unwrap();
    assert_eq!(driver.drops("orders", DropReason::Unreadable), 2);
    driver.advance_wall_clock(10_000).unwrap();
    driver
        .try_pipe("orders", None, Some(&early), Timestamp(0))
        .unwrap();
    assert_eq!(driver.read_json("out"), [json!({"id": "x", "price": null})]);
    assert_eq!(driver.drops("orders", DropReason::Unreadable), 2);
}

#[test]
fn a_registry_that_is_away_is_waited_for_and_nothing_is_lost_or_done_twice() {
    let options = DriverOptions {
        partitions: 2,
        ..DriverOptions::default()
    };
    let topology = topology(&registered(
        "  sums: { aggregate: { from: orders, by: shop, window: none, set: { n: count() } } }\n  \
           n:    { kafka: { from: sums, topic: n } }\n",
    ));
    let mut driver = TopologyTestDriver::with_options(&topology, options).unwrap();
    let registry = driver.registry().clone();
    registry
        .register("orders-value", &Schema::avro(AVRO))
        .unwrap();
    let bytes = |driver: &mut TopologyTestDriver, id: &str| {
        let value = driver.encode("orders", &order(id, 5.5, 3)).unwrap();
        TestRecord {
            value: Some(value),
            ..TestRecord::default()
        }
    };
    let (x, y) = (bytes(&mut driver, "x"), bytes(&mut driver, "y"));
    registry.set_away(true);
    driver
        .pipe_record("orders", &x.clone().in_partition(0))
        .unwrap();
    driver
        .pipe_record("orders", &y.clone().in_partition(0))
        .unwrap();
    assert_eq!(driver.read_json("out").len(), 0);
    driver.restart().unwrap();
    driver.advance_wall_clock(5_000).unwrap();
    assert_eq!(driver.read_json("out").len(), 0);
    assert_eq!(driver.counts("orders").input, 0);
    registry.set_away(false);
    driver.advance_wall_clock(1_000).unwrap();
    let ids = |driver: &mut TopologyTestDriver| {
        let found = driver.read_json("out").into_iter();
        let mut ids: Vec<_> = found.map(|value| value["id"].clone()).collect();
        ids.sort_by_key(Json::to_string);
        ids
    };
    assert_eq!(ids(&mut driver), ["x", "y"]);
    // What is known needs no registry; the other partition has a reader of its own, which asks.
    registry.set_away(true);
    driver.pipe_record("orders", &x.in_partition(0)).unwrap();
    driver.pipe_record("orders", &y.in_partition(1)).unwrap();
    assert_eq!(ids(&mut driver), ["x"]);
    registry.set_away(false);
    driver.advance_wall_clock(1_000).unwrap();
    assert_eq!(ids(&mut driver), ["y"]);
    let counts = driver.read_json("n");
    assert_eq!(counts.last().unwrap()["n"], 4);
    assert!(driver.dead_letters().is_empty());
}

/// ```text
///   orders ─→ per_shop ─→ sums (Avro, registered)
/// ```
#[test]
fn a_sink_writes_what_its_schema_says() {
    let sums = r#"{"type": "record", "name": "Sums", "fields": [
        {"name": "shop", "type": "string"}, {"name": "n", "type": "long"},
        {"name": "sum", "type": ["null", "double"]}]}"#;
    let format = Format::registered(Language::Avro, "http://r");
    let Format::Schema(mut format) = format else {
        unreachable!("just made")
    };
    format.schema = Some(Schema::avro(sums));
    let rollup = crate::topology::builder::Rollup::by(["shop"])
        .unbounded()
        .set("n", "count()")
        .set("sum", "sum(price)");
    let sink = KafkaSink::topic("sums").format(Format::Schema(format));
    let topology = Topology::builder("app")
        .source("orders", Source::json("orders"))
        .aggregate("per_shop", "orders", rollup)
        .kafka("out", "per_shop", sink)
        .build()
        .unwrap();
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    driver.registry().set_away(true);
    driver.pipe("orders", Some("a"), r#"{"shop":"a","price":1.5}"#);
    assert_eq!(driver.read_json("sums").len(), 0);
    driver.registry().set_away(false);
    driver.advance_wall_clock(1_000).unwrap();
    driver.pipe("orders", Some("b"), r#"{"shop":"b"}"#);
    // The shop of another record is no text.
    driver.pipe("orders", Some("7"), r#"{"shop":7}"#);
    let records = driver.read("sums");
    assert_eq!(
        records[0].value.as_deref().unwrap()[..7],
        [0, 0, 0, 0, 1, 2, b'a']
    );
    let values: Vec<Json> = records
        .iter()
        .map(|record| {
            driver
                .decode("sums", record.value.as_deref().unwrap())
                .unwrap()
        })
        .collect();
    let expected = [
        json!({"shop": "a", "n": 1, "sum": 1.5}),
        json!({"shop": "b", "n": 1, "sum": 0}),
    ];
    assert_eq!(values[0], expected[0]);
    assert_eq!(values[1]["shop"], expected[1]["shop"]);
    assert_eq!(driver.drops("out", DropReason::Unwritable), 1);
    let letter = TestRecord::from(driver.dead_letters()[0].clone());
    let message = letter.header_text("tidemill.message").unwrap().into_owned();
    assert_eq!(message, "shop: expected a string, found the int 7");
    assert_eq!(driver.registry().latest("sums-value").unwrap().0, 1);
}

/// JSON becomes Protobuf: the fields of the schema, each from that of its name.
#[test]
fn a_sink_converts_events_to_its_schema() {
    let topology = Topology::builder("app")
        .source("orders", Source::json("orders"))
        .kafka(
            "out",
            "orders",
            KafkaSink::topic("out")
                .format(Format::protobuf(Schema::protobuf(PROTOBUF, Some("Order")))),
        )
        .build()
        .unwrap();
    let mut driver = TopologyTestDriver::new(&topology).unwrap();
    let given = order("x", 5.5, 3);
    driver.pipe("orders", None, &given.to_string());
    let mut expected = given;
    expected.as_object_mut().unwrap().remove("note");
    assert_eq!(driver.read_json("out"), [expected]);
    driver.pipe("orders", None, r#"{"id": 5}"#);
    assert_eq!(driver.drops("out", DropReason::Unwritable), 1);
}

/// A sink of that registry, with this schema or without.
fn sums_sink(schema: Option<&str>, registers: bool) -> Topology {
    let Format::Schema(mut format) = Format::registered(Language::Avro, "http://r") else {
        unreachable!("just made")
    };
    format.schema = schema.map(Schema::avro);
    format.registers = registers;
    let sink = KafkaSink::topic("out")
        .field("n", "n")
        .format(Format::Schema(format));
    Topology::builder("app")
        .source("s", Source::json("s"))
        .kafka("out", "s", sink)
        .build()
        .unwrap()
}

#[test]
fn a_sink_finds_its_schema_in_the_registry_or_stops() {
    let number = r#"{"type": "record", "name": "N", "fields": [{"name": "n", "type": "long"}]}"#;
    // The newest of the subject.
    let mut driver = TopologyTestDriver::new(&sums_sink(None, true)).unwrap();
    driver
        .registry()
        .clone()
        .register("out-value", &Schema::avro(number))
        .unwrap();
    driver.pipe("s", None, r#"{"n": 5}"#);
    driver.pipe("s", None, r#"{"n": "x"}"#);
    assert_eq!(driver.read_json("out"), [json!({"n": 5})]);
    assert_eq!(driver.drops("out", DropReason::Unwritable), 1);
    // One that has to be there.
    let mut driver = TopologyTestDriver::new(&sums_sink(Some(number), false)).unwrap();
    let refused = driver.try_pipe("s", None, Some(br#"{"n": 5}"#), Timestamp(0));
    let expected = "node out: the schema registry memory refuses: out-value has no such schema";
    assert_eq!(refused.unwrap_err().to_string(), expected);
    let registry = driver.registry().clone();
    registry
        .register("out-value", &Schema::avro(number))
        .unwrap();
    driver.restart().unwrap();
    assert_eq!(driver.read_json("out"), [json!({"n": 5})]);
}

#[test]
fn tests_of_a_file_give_and_expect_values_of_any_format() {
    let file = "
app: shop
nodes:
  orders:
    source:
      topic: orders
      format: avro
      key: shop
      schema: |
        {\"type\": \"record\", \"name\": \"Order\", \"fields\": [
          {\"name\": \"shop\", \"type\": \"string\"}, {\"name\": \"price\", \"type\": \"double\"}]}
  sums: { aggregate: { from: orders, by: shop, window: none, set: { sum: sum(price) } } }
  out:
    kafka:
      from: sums
      topic: out
      format: protobuf
      schema: |
        syntax = \"proto3\";
        message Sum { string shop = 1; double sum = 2; }
  all: { kafka: { from: orders, topic: all } }
tests:
  - name: sums
    given:
      - { value: { shop: a, price: 1.5 }, headers: { t: x } }
      - { value: { shop: a, price: 2 } }
      - { raw: nonsense }
    expect:
      topics:
        out: [{ key: a, value: { shop: a, sum: 1.5 } }, { key: a, value: { sum: 3.5 } }]
        all: [{ key: a, value: { price: 1.5 }, headers: { t: x } }, { key: a, value: { price: 2 } }]
      drops: { orders: { unreadable: 1 } }
";
    let outcome = config::check(file, "shop.yaml", &|_| None);
    let topology = outcome
        .topology
        .unwrap_or_else(|| panic!("{}", outcome.report));
    let runner = super::CaseRunner::new(&topology).unwrap();
    let report = runner.run(&outcome.tests[0]);
    assert!(report.is_ok(), "{report}");
    // And see when it is something else.
    let other = file
        .replace("sum: 3.5", "sum: 3.6")
        .replace("t: x } },", "t: y } },");
    let outcome = config::check(&other, "shop.yaml", &|_| None);
    assert!(!runner.run(&outcome.tests[0]).is_ok());
}
