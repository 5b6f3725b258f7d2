//! Global tables: a record finds any row, whatever happens to the process and to the topic.

use serde_json::{Value, json};

use super::{CaseRunner, DriverError, DriverOptions, TestRecord, TopologyTestDriver};
use crate::broker::memory::Operation;
use crate::broker::{BrokerError, TopicPartition};
use crate::format::{Format, Language, Schema, SchemaFormat, SchemaRegistry as _};
use crate::processor::DropReason;
use crate::runtime::store_names;
use crate::state::global::row_key;
use crate::state::{StateBackend, StateBatch};
use crate::time::Timestamp;
use crate::topology::builder::{
    Builder, GlobalTable, Join, JoinKind, KafkaSink, Rollup, Source, SqlSink, Table,
};
use crate::topology::graph::{NullValues, OnError, Topology};
use crate::topology::plan::Purpose;

/// Orders and the countries that their field `code` names.
fn enriched(join: Join) -> Builder {
    let orders = Source::json("orders").key("shop");
    let orders = orders.null_values(NullValues::Pass);
    Topology::builder("app")
        .source("orders", orders)
        .global_table("countries", GlobalTable::json("countries"))
        .join("enriched", "orders", join)
        .kafka(
            "out",
            "enriched",
            KafkaSink::topic("out")
                .field("id", "id")
                .field("name", "country.name"),
        )
}

fn by_code(kind: JoinKind) -> Join {
    Join::with("countries", "country").on("code").kind(kind)
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

fn country(driver: &mut TopologyTestDriver, code: &str, name: &str) {
    let value = json!({ "name": name }).to_string();
    driver.pipe("countries", Some(code), &value);
}

fn order(driver: &mut TopologyTestDriver, shop: &str, id: i64, code: &str) {
    let value = json!({"id": id, "shop": shop, "code": code}).to_string();
    driver.pipe("orders", Some(shop), &value);
}

/// The number of each new result and the name that it has found, by number.
fn named(driver: &mut TopologyTestDriver) -> Vec<(i64, Value)> {
    let records = driver.read_json("out").into_iter();
    let mut found: Vec<_> = records
        .map(|value| (value["id"].as_i64().unwrap(), value["name"].clone()))
        .collect();
    found.sort_by_key(|(id, _)| *id);
    found
}

/// Countries in Avro, the fields of which `fields` declares.
fn in_avro(fields: &str) -> Builder {
    let schema = format!(r#"{{"type": "record", "name": "Country", "fields": [{fields}]}}"#);
    let format = Format::Schema(SchemaFormat {
        schema: Some(Schema::avro(&schema)),
        registry: Some("http://r".to_owned()),
        ..SchemaFormat::new(Language::Avro)
    });
    let countries = GlobalTable::new(Source::of("countries", format));
    Topology::builder("app")
        .source("orders", Source::json("orders").key("shop"))
        .global_table("countries", countries)
        .join("enriched", "orders", by_code(JoinKind::Left))
        .kafka(
            "out",
            "enriched",
            KafkaSink::topic("out")
                .field("id", "id")
                .field("name", "country.name"),
        )
}

const NAME: &str = r#"{"name": "name", "type": "string"}"#;
const CAPITAL: &str = r#"{"name": "capital", "type": "string", "default": "?"}"#;

/// ```text
///   countries   de ───── (registry away) fr ───────────── (back)
///   orders          1: de                    2: fr                 3: fr
///   name            Germany                  null                  France
/// ```
#[test]
fn rows_of_a_schema_are_read_when_its_registry_answers() {
    let mut driver = with_partitions(in_avro(NAME), 1);
    country(&mut driver, "de", "Germany");
    order(&mut driver, "a", 1, "de");
    let registry = driver.registry().clone();
    // This schema is in the registry, and nobody has asked for it yet.
    let schema =
        format!(r#"{{"type": "record", "name": "Country", "fields": [{NAME}, {CAPITAL}]}}"#);
    let id = registry
        .register("countries-value", &Schema::avro(&schema))
        .unwrap();
    let mut france = vec![0];
    france.extend(id.to_be_bytes());
    france.extend(b"\x0cFrance\x0aParis");
    registry.set_away(true);
    let piped = TestRecord {
        value: Some(france),
        ..TestRecord::default()
    };
    driver.pipe_record("countries", &piped.key("fr")).unwrap();
    order(&mut driver, "a", 2, "fr");
    registry.set_away(false);
    driver.advance_wall_clock(1_000).unwrap();
    order(&mut driver, "a", 3, "fr");
    let expected = [
        (1, json!("Germany")),
        (2, Value::Null),
        (3, json!("France")),
    ];
    assert_eq!(named(&mut driver), expected);
    assert_eq!(names(&driver), [row("de", "Germany"), row("fr", "France")]);
}

fn names(driver: &TopologyTestDriver) -> Vec<(String, Value)> {
    let rows = driver.rows("countries").into_iter();
    rows.map(|row| (row.key, row.fields["name"].clone()))
        .collect()
}

fn row(key: &str, name: &str) -> (String, Value) {
    (key.to_owned(), name.into())
}

/// ```text
///   countries   de → Germany ───────────── de → Deutschland ────── de deleted ────
///   orders                    1 of de                    2 of de             3 of de
///   inner                     1 Germany                  2 Deutschland       (nothing)
///   left                      1 Germany                  2 Deutschland       3, no name
/// ```
#[test]
fn a_record_finds_the_row_that_is_there_when_it_comes_in_any_partition() {
    for (kind, last) in [
        (JoinKind::Inner, None),
        (JoinKind::Left, Some((3, Value::Null))),
    ] {
        let mut driver = with_partitions(enriched(by_code(kind)), 4);
        country(&mut driver, "de", "Germany");
        order(&mut driver, "a", 1, "de");
        country(&mut driver, "de", "Deutschland");
        order(&mut driver, "b", 2, "de");
        driver.pipe_tombstone("countries", "de");
        order(&mut driver, "c", 3, "de");
        let first = [(1, json!("Germany")), (2, json!("Deutschland"))];
        let expected: Vec<_> = first.into_iter().chain(last).collect();
        assert_eq!(named(&mut driver), expected, "{kind:?}");
        assert_eq!(driver.counts("enriched").output, expected.len() as u64);
    }
}

/// ```text
///   countries   de, fr ──── (down: fr deleted, it) ─────────────────────────
///   orders                  1 of fr, 2 of it          3 of de
///               crash ──── restart ──── new disk ──── crash ──── restart
/// ```
#[test]
fn rows_outlive_the_process_and_what_comes_meanwhile_is_read_before_anything_else() {
    let mut driver = with_partitions(enriched(by_code(JoinKind::Left)), 3);
    country(&mut driver, "de", "Germany");
    country(&mut driver, "fr", "France");
    driver.crash();
    order(&mut driver, "a", 1, "fr");
    order(&mut driver, "b", 2, "it");
    driver.pipe_tombstone("countries", "fr");
    country(&mut driver, "it", "Italy");
    driver.restart().unwrap();
    let expected = [(1, Value::Null), (2, json!("Italy"))];
    assert_eq!(named(&mut driver), expected);
    driver.lose_state();
    driver.restart().unwrap();
    order(&mut driver, "c", 3, "de");
    assert_eq!(named(&mut driver), [(3, json!("Germany"))]);
    assert_eq!(names(&driver), [row("de", "Germany"), row("it", "Italy")]);
}

/// ```text
///   order 1, key a, time 5000, code de ──▶ join ──▶ key a, time 5000
///                                            └─────▶ count by shop: in the same partition, nothing is moved
/// ```
#[test]
fn a_record_keeps_its_key_and_its_time_and_is_not_moved() {
    let builder = enriched(by_code(JoinKind::Inner)).aggregate(
        "per_shop",
        "enriched",
        Rollup::by(["shop"]).unbounded().set("n", "count()"),
    );
    let builder = builder.kafka("counts", "per_shop", KafkaSink::topic("counts"));
    let mut driver = with_partitions(builder, 2);
    country(&mut driver, "de", "Germany");
    let value = r#"{"id":1,"shop":"a","code":"de"}"#;
    let record = TestRecord::text(value).key("a").at(Timestamp(5_000));
    driver.pipe_record("orders", &record).unwrap();
    let result = driver.read("out").remove(0);
    assert_eq!(result.key.as_deref(), Some(&b"a"[..]));
    assert_eq!(result.timestamp, Timestamp(5_000));
    let mut topics = driver.plan.internal_topics.iter();
    assert!(topics.all(|topic| topic.purpose != Purpose::Repartition));
    assert_eq!(driver.store("per_shop")[0].results["n"], 1);
}

/// ```text
///   order 1: from de, to fr ──▶ join as seller on from ──▶ join as buyer on to ──▶ Germany, France
/// ```
#[test]
fn a_record_finds_two_rows_of_one_table() {
    let builder = Topology::builder("app")
        .source("orders", Source::json("orders"))
        .global_table("countries", GlobalTable::json("countries"))
        .join(
            "sold",
            "orders",
            Join::with("countries", "seller").on("from"),
        )
        .join("both", "sold", Join::with("countries", "buyer").on("to"))
        .kafka(
            "out",
            "both",
            KafkaSink::topic("out")
                .field("seller", "seller.name")
                .field("buyer", "buyer.name"),
        );
    let mut driver = with_partitions(builder, 1);
    country(&mut driver, "de", "Germany");
    country(&mut driver, "fr", "France");
    driver.pipe("orders", None, r#"{"from":"de","to":"fr"}"#);
    driver.pipe("orders", None, r#"{"from":"fr","to":"fr"}"#);
    let expected = [
        json!({"seller": "Germany", "buyer": "France"}),
        json!({"seller": "France", "buyer": "France"}),
    ];
    assert_eq!(driver.read_json("out"), expected);
}

/// ```text
///   1, without a code   inner: dropped as null_key, a dead letter     left: 1, no name
///   (no value)          dropped as no_value                           the same
///   2, code + '!'       dropped as expression, as 7 is no text        the same
/// ```
#[test]
fn a_record_that_names_no_row_is_dropped_or_passes_without_one() {
    for (kind, expected) in [
        (JoinKind::Inner, vec![]),
        (JoinKind::Left, vec![(1, Value::Null)]),
    ] {
        let mut driver = with_partitions(enriched(by_code(kind)), 1);
        driver.pipe("orders", Some("a"), r#"{"id":1,"shop":"a"}"#);
        driver.pipe_tombstone("orders", "a");
        assert_eq!(named(&mut driver), expected);
        let null_keys = u64::from(kind == JoinKind::Inner);
        assert_eq!(driver.drops("enriched", DropReason::NullKey), null_keys);
        assert_eq!(driver.drops("enriched", DropReason::NoValue), 1);
        assert_eq!(driver.dead_letters().len() as u64, null_keys + 1);

        let mut driver = with_partitions(enriched(by_code(kind).on("code + '!'")), 1);
        driver.pipe("orders", Some("a"), r#"{"id":2,"shop":"a","code":7}"#);
        assert_eq!(driver.drops("enriched", DropReason::Expression), 1);
        let letter = TestRecord::from(driver.dead_letters().remove(0));
        let message = letter.header_text("tidemill.message").unwrap();
        assert!(message.starts_with("on: "), "{message}");
    }
}

/// ```text
///   key de ──▶ join without `on` ──▶ the row of de         no key ──▶ dropped as null_key
/// ```
#[test]
fn without_on_the_key_of_the_record_is_looked_up() {
    let join = Join::with("countries", "country");
    let mut driver = with_partitions(enriched(join), 2);
    country(&mut driver, "de", "Germany");
    order(&mut driver, "de", 1, "fr");
    driver.pipe("orders", None, r#"{"id":2,"shop":"de"}"#);
    assert_eq!(named(&mut driver), [(1, json!("Germany"))]);
    assert_eq!(driver.drops("enriched", DropReason::NullKey), 1);
}

/// ```text
///   countries   de → Germany ── de → not JSON ── de → (no bytes) ── (no key) ──
///               the earlier row stays; each is counted, also when the process starts anew
/// ```
#[test]
fn what_cannot_be_a_row_is_dropped_and_the_earlier_row_stays() {
    let mut driver = with_partitions(enriched(by_code(JoinKind::Left)), 1);
    country(&mut driver, "de", "Germany");
    driver.pipe("countries", Some("de"), "[1]");
    driver.pipe("countries", Some("de"), "");
    driver.pipe("countries", None, "{}");
    driver.restart().unwrap();
    driver.lose_state();
    driver.restart().unwrap();
    assert_eq!(names(&driver), [row("de", "Germany")]);
    for reason in [
        DropReason::Unreadable,
        DropReason::NoValue,
        DropReason::NullKey,
    ] {
        assert_eq!(driver.drops("countries", reason), 1, "{reason}");
    }
    assert!(driver.dead_letters().is_empty());
}

#[test]
fn a_table_that_is_told_to_stops_at_what_cannot_be_a_row() {
    let builder = Topology::builder("app")
        .source("orders", Source::json("orders"))
        .global_table(
            "countries",
            GlobalTable::json("countries").on_error(OnError::Stop),
        )
        .join("j", "orders", Join::with("countries", "country"))
        .kafka("out", "j", KafkaSink::topic("out").field("id", "id"));
    let mut driver = with_partitions(builder, 1);
    country(&mut driver, "de", "Germany");
    let record = TestRecord::text("[1]").key("fr");
    let stopped = driver.pipe_record("countries", &record).unwrap_err();
    assert!(matches!(stopped, DriverError::GlobalTable(_)));
    expect_test::expect!["node countries stops at countries-0 offset 1: unreadable: expected a JSON object, found a list"]
        .assert_eq(&stopped.to_string());
    // It is met again, and nothing of before is lost.
    assert!(driver.restart().is_err());
    assert_eq!(names(&driver), [row("de", "Germany")]);
}

/// ```text
///   kept:   de, fr          the topic, made anew:   it          → it
///                           as long as before:      it, es      → it, es
///                           cut in front of fr:     fr          → fr
/// ```
#[test]
fn a_topic_that_is_not_the_old_one_any_more_is_read_anew() {
    let topic_made_anew = |rows: &[(&str, &str)]| {
        let mut driver = with_partitions(enriched(by_code(JoinKind::Left)), 1);
        country(&mut driver, "de", "Germany");
        country(&mut driver, "fr", "France");
        driver.crash();
        driver.broker().recreate_topic("countries");
        for (code, name) in rows {
            country(&mut driver, code, name);
        }
        driver.restart().unwrap();
        names(&driver)
    };
    assert_eq!(topic_made_anew(&[("it", "Italy")]), [row("it", "Italy")]);
    let as_long = [("it", "Italy"), ("es", "Spain")];
    let expected = [row("es", "Spain"), row("it", "Italy")];
    assert_eq!(topic_made_anew(&as_long), expected);

    let mut driver = with_partitions(enriched(by_code(JoinKind::Left)), 1);
    country(&mut driver, "de", "Germany");
    driver.crash();
    country(&mut driver, "es", "Spain");
    country(&mut driver, "fr", "France");
    let partition = TopicPartition::new("countries", 0);
    driver.broker().delete_records(&partition, 2);
    driver.restart().unwrap();
    assert_eq!(names(&driver), [row("fr", "France")]);
}

/// ```text
///   slot 0   de ──── out of range ──── served until slot 1 is whole ─┐ empty
///   slot 1                             de, fr ────────────────────── └ served
/// ```
#[test]
fn a_running_table_that_lost_its_place_is_read_anew_beside_the_old_one() {
    let mut driver = with_partitions(enriched(by_code(JoinKind::Left)), 1);
    country(&mut driver, "de", "Germany");
    order(&mut driver, "a", 1, "de");
    for (id, code) in [(2, "fr"), (3, "de")] {
        let error = BrokerError::OutOfRange {
            partition: TopicPartition::new("countries", 0),
            offset: 1,
        };
        driver.broker().fail_next(Operation::ReaderPoll, error);
        country(&mut driver, "fr", "France");
        order(&mut driver, "a", id, code);
    }
    let expected = [
        (1, json!("Germany")),
        (2, json!("France")),
        (3, json!("Germany")),
    ];
    assert_eq!(named(&mut driver), expected);
    let table = &driver.metrics.status().global_tables["countries"];
    assert_eq!((table.rebuilds, table.is_whole), (2, true));
    assert_eq!(names(&driver), [row("de", "Germany"), row("fr", "France")]);
}

/// ```text
///   the log refuses twice ──▶ tried again, from where the disk is
/// ```
#[test]
fn passing_trouble_with_the_log_loses_no_row() {
    let mut driver = with_partitions(enriched(by_code(JoinKind::Left)), 2);
    for operation in [Operation::ReaderPoll, Operation::ReaderPoll] {
        let (action, reason) = ("poll".to_owned(), "the test wants it".to_owned());
        let error = BrokerError::Retry { action, reason };
        driver.broker().fail_next(operation, error);
    }
    country(&mut driver, "de", "Germany");
    country(&mut driver, "fr", "France");
    assert_eq!(driver.broker().pending_faults(), 0);
    order(&mut driver, "a", 1, "fr");
    assert_eq!(named(&mut driver), [(1, json!("France"))]);
    assert_eq!(names(&driver), [row("de", "Germany"), row("fr", "France")]);
}

/// State of another table, and a marker that is none.
#[test]
fn what_is_on_disk_and_not_this_table_is_read_anew() {
    let renamed = |topic: &str| {
        Topology::builder("app")
            .source("orders", Source::json("orders"))
            .global_table("countries", GlobalTable::json(topic))
            .join("j", "orders", Join::with("countries", "country"))
            .kafka("out", "j", KafkaSink::topic("out").field("id", "id"))
    };
    let mut driver = with_partitions(renamed("regions"), 1);
    driver.pipe("regions", Some("de"), r#"{"name":"the region"}"#);
    let backend = driver.backend.clone();
    let mut driver = with_partitions(renamed("countries"), 1);
    driver.backend = backend;
    country(&mut driver, "fr", "France");
    driver.restart().unwrap();
    assert_eq!(names(&driver), [row("fr", "France")]);

    let state = driver.backend.open("countries-global", &store_names());
    let mut state = state.unwrap();
    let mut batch = StateBatch::default();
    batch.put(0, &[1, b'x'], b"no row");
    batch.put(2, b"marker", b"no marker");
    state.write(&batch).unwrap();
    driver.restart().unwrap();
    assert_eq!(names(&driver), [row("fr", "France")]);
    let left_over = state.reader().get(0, &[1, b'x'], &mut Vec::new());
    assert!(!left_over.unwrap());
}

/// ```text
///   de on disk is damaged ──▶ an order of de finds that ──▶ the table is read anew ──▶ Germany
/// ```
#[test]
fn a_row_that_turns_out_to_be_damaged_is_read_anew() {
    let mut driver = with_partitions(enriched(by_code(JoinKind::Left)), 1);
    country(&mut driver, "de", "Germany");
    country(&mut driver, "fr", "France");
    driver.restart().unwrap();
    let state = driver.backend.open("countries-global", &store_names());
    let mut batch = StateBatch::default();
    batch.put(0, &row_key(b"de"), b"no row");
    state.unwrap().write(&batch).unwrap();
    order(&mut driver, "a", 1, "fr");
    order(&mut driver, "a", 2, "de");
    let expected = [(1, json!("France")), (2, json!("Germany"))];
    assert_eq!(named(&mut driver), expected);
    assert_eq!(
        driver.metrics.status().global_tables["countries"].rebuilds,
        1
    );
    assert_eq!(names(&driver), [row("de", "Germany"), row("fr", "France")]);
}

/// ```text
///   wall clock  0 h: de     13 h, down: the topic has forgotten that de was deleted    restart: fr alone
/// ```
#[test]
fn a_table_that_was_away_for_long_is_read_anew() {
    let mut driver = with_partitions(enriched(by_code(JoinKind::Left)), 1);
    country(&mut driver, "de", "Germany");
    driver.crash();
    driver.advance_wall_clock(11 * 3_600_000).unwrap();
    country(&mut driver, "fr", "France");
    driver
        .broker()
        .delete_records(&TopicPartition::new("countries", 0), 1);
    driver.restart().unwrap();
    assert_eq!(names(&driver), [row("de", "Germany"), row("fr", "France")]);
    // While it runs, time that goes by says nothing.
    driver.advance_wall_clock(24 * 3_600_000).unwrap();
    driver.restart().unwrap();
    assert_eq!(names(&driver).len(), 2);
    driver.crash();
    driver.advance_wall_clock(13 * 3_600_000).unwrap();
    driver.restart().unwrap();
    assert_eq!(names(&driver), [row("fr", "France")]);
}

/// ```text
///   orders ──▶ join ──┬▶ table ──▶ the event of the order, and that of the row
///                     └▶ sql: through a results topic, looked up once
/// ```
#[test]
fn results_are_kept_and_written_as_they_were_made() {
    let builder = enriched(by_code(JoinKind::Left))
        .table("last", "enriched", Table::new())
        .kafka("lasts", "last", KafkaSink::topic("lasts").field("id", "id"))
        .sql(
            "rows",
            "enriched",
            SqlSink::table("enriched")
                .column("id", "id")
                .column("name", "country.name")
                .key(["id"]),
        );
    let mut driver = with_partitions(builder, 2);
    country(&mut driver, "de", "Germany");
    order(&mut driver, "a", 1, "de");
    // The sink comes later than the change.
    country(&mut driver, "de", "Deutschland");
    driver.lose_state();
    driver.restart().unwrap();
    let rows = driver.sql_rows("enriched").unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["name"], "Germany");
    let kept = json!({"id": 1, "shop": "a", "code": "de", "country": {"name": "Germany"}});
    assert_eq!(driver.rows("last")[0].fields, kept);
    let topics = driver.plan.sinks[0].topics().collect::<Vec<_>>();
    assert_eq!(topics, ["app-enriched-results"]);
}

#[test]
fn the_driver_looks_into_global_tables() {
    let mut driver = with_partitions(enriched(by_code(JoinKind::Left)), 3);
    let mut countries = driver.input_topic("countries");
    let germany = json!({"name": "Germany", "area": 357_022});
    countries.pipe(&mut driver, "de", &germany).unwrap();
    assert!(driver.state_stores().contains(&"countries"));
    let store = driver.key_value_store("countries");
    assert_eq!(store.get("de"), Some(&germany));
    assert_eq!(driver.counts("countries").input, 1);
}

/// A topic that a source reads as well, and a table of two topics.
#[test]
fn topics_are_read_beside_a_source_and_together() {
    let both = GlobalTable::new(Source::json_topics(["countries", "regions"]));
    let builder = Topology::builder("app")
        .source("orders", Source::json("orders"))
        .source("changes", Source::json("countries"))
        .kafka("copied", "changes", KafkaSink::topic("copies"))
        .global_table("places", both)
        .join("j", "orders", Join::with("places", "place").on("code"))
        .kafka(
            "out",
            "j",
            KafkaSink::topic("out").field("name", "place.name"),
        );
    let mut driver = with_partitions(builder, 2);
    country(&mut driver, "de", "Germany");
    driver.pipe("regions", Some("eu"), r#"{"name":"Europe"}"#);
    for code in ["de", "eu"] {
        driver.pipe("orders", None, &json!({ "code": code }).to_string());
    }
    let mut found = driver.read_json("out");
    found.sort_by_key(|value| value["name"].to_string());
    assert_eq!(
        found,
        [json!({"name": "Europe"}), json!({"name": "Germany"})]
    );
    assert_eq!(driver.read("copies").len(), 1);
}

const SHOP: &str = "
app: shop
nodes:
  orders: { source: { topic: orders, key: id } }
  countries: { global_table: { topic: countries, fields: { name: string } } }
  enriched: { join: { from: orders, with: countries, as: country, on: code } }
  to_topic: { kafka: { from: enriched, topic: enriched, fields: { name: country.name } } }
  to_table: { sql: { from: enriched, table: enriched, key: id, columns: { id: id, name: country.name } } }
tests:
  - name: an order has the name that its country had
    given:
      - { source: countries, key: de, value: { name: Germany }, time: 1970-01-01T00:00:07Z }
      - { source: countries, key: fr, value: { name: France } }
      - { source: orders, value: { id: a, code: de } }
      - { source: countries, key: de, value: { name: Deutschland }, time: 1970-01-01T00:00:09Z }
      - { source: orders, value: { id: b, code: de } }
      - { source: countries, key: fr, value: null }
      - { source: countries, key: de, raw: no object }
      - { source: orders, value: { id: c, code: fr } }
      - { source: orders, value: { id: d } }
    expect:
      topics:
        enriched: [{ key: a, value: { name: Germany } }, { key: b, value: { name: Deutschland } }]
      tables:
        enriched: [{ id: a, name: Germany }, { id: b, name: Deutschland }]
      stores:
        countries: [{ key: de, value: { name: Deutschland }, time: 1970-01-01T00:00:09Z }]
      drops: { countries: { unreadable: 1 }, enriched: { null_key: 1 } }
";

/// ```text
///   countries   de Germany, fr ─────── de Deutschland ─────────── fr deleted ──────────
///   orders                      a of de                  b of de             c of fr, d of none
///               straight, killed, killed around commits, failing commits, new disks: a, b
/// ```
#[test]
fn a_test_in_a_topology_file_agrees_in_all_ways() {
    let outcome = crate::config::check(SHOP, "shop.yaml", &|_| None);
    let topology = outcome
        .topology
        .unwrap_or_else(|| panic!("{}", outcome.report));
    let runner = CaseRunner::new(&topology).unwrap();
    let report = runner.run(&outcome.tests[0]);
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.runs.len(), 7);
    let other = SHOP.replace(
        "{ name: Deutschland }, time: 1970-01-01T00:00:09Z }]",
        "{ name: x } }]",
    );
    let outcome = crate::config::check(&other, "shop.yaml", &|_| None);
    let report = runner.run(&outcome.tests[0]);
    assert!(!report.is_ok(), "{report}");
}
