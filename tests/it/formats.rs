//! Avro in and Protobuf out on a real Kafka, with a schema registry that the test serves: it is away
//! at the start and in the middle, a member is killed while it is, and everything counts once.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};

use crate::harness::{Raw, Run, Tidemill, Topics, header, stage, wait_until};

const TOPOLOGY: &str = r#"
app: NAME
nodes:
  orders: { source: { topic: NAME, format: avro, schema_registry: "REGISTRY" } }
  keyed: { select_key: { from: orders, key: shop } }
  copies: { kafka: { from: keyed, topic: NAME.copies } }
  per_shop: { aggregate: { from: orders, by: shop, window: none, set: { n: count(), units: sum(units) } } }
  order_table:
    sql: { from: orders, table: orders, key: id, columns: { id: id, shop: shop, units: units, note: "coalesce(note, 'none')", part: "record_header('case')" } }
  sums:
    kafka:
      from: per_shop
      topic: NAME.sums
      format: protobuf
      schema_registry: REGISTRY
      schema: |
        syntax = "proto3";
        message Other { string x = 1; }
        message Sums { string shop = 1; int64 n = 2; int64 units = 3; }
      message: Sums
"#;

const TABLE: &str = "CREATE TABLE orders (id VARBINARY(20) PRIMARY KEY, shop VARBINARY(20), \
                     units BIGINT, note VARBINARY(20), part VARBINARY(20))";

/// What orders were written as at first, and later.
const ORDERS: [&str; 2] = [
    r#"{"type": "record", "name": "Order", "fields": [
        {"name": "id", "type": "string"}, {"name": "shop", "type": "string"},
        {"name": "units", "type": "int"}]}"#,
    r#"{"type": "record", "name": "Order", "fields": [
        {"name": "note", "type": ["null", "string"]}, {"name": "shop", "type": "string"},
        {"name": "units", "type": "long"}, {"name": "id", "type": "string"}]}"#,
];

const PATIENCE: Duration = Duration::from_secs(90);

/// A schema registry that answers only those who know the password, and only while it is up.
#[derive(Clone, Default)]
struct Registry {
    contents: Arc<Mutex<Contents>>,
    is_down: Arc<AtomicBool>,
}

#[derive(Default)]
struct Contents {
    /// Each under its number, counted from 1: language and text.
    schemas: Vec<(String, String)>,
    subjects: HashMap<String, Vec<u32>>,
}

impl Contents {
    fn add(&mut self, subject: &str, language: &str, text: &str) -> u32 {
        let schema = (language.to_owned(), text.to_owned());
        let known = self.schemas.iter().position(|known| *known == schema);
        let at = known.unwrap_or_else(|| {
            self.schemas.push(schema);
            self.schemas.len() - 1
        });
        let ids = self.subjects.entry(subject.to_owned()).or_default();
        ids.push(at as u32 + 1);
        at as u32 + 1
    }

    fn show(&self, id: u32) -> Option<Value> {
        let (language, text) = self.schemas.get((id as usize).checked_sub(1)?)?;
        Some(json!({ "id": id, "schemaType": language, "schema": text }))
    }
}

fn not_found(code: u32) -> Response {
    let body = Json(json!({ "error_code": code, "message": "not found" }));
    (StatusCode::NOT_FOUND, body).into_response()
}

async fn by_id(State(registry): State<Registry>, Path(id): Path<u32>) -> Response {
    let shown = registry.contents.lock().unwrap().show(id);
    shown.map_or_else(|| not_found(40403), |schema| Json(schema).into_response())
}

async fn latest(State(registry): State<Registry>, Path(subject): Path<String>) -> Response {
    let contents = registry.contents.lock().unwrap();
    let id = contents.subjects.get(&subject).and_then(|ids| ids.last());
    let shown = id.and_then(|id| contents.show(*id));
    shown.map_or_else(|| not_found(40401), |schema| Json(schema).into_response())
}

async fn register(
    State(registry): State<Registry>,
    Path(subject): Path<String>,
    body: String,
) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let language = body["schemaType"].as_str().unwrap_or("AVRO");
    let text = body["schema"].as_str().unwrap();
    let mut contents = registry.contents.lock().unwrap();
    Json(json!({ "id": contents.add(&subject, language, text) })).into_response()
}

async fn guard(
    State(registry): State<Registry>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    // me:secret
    let is_known = headers
        .get("authorization")
        .is_some_and(|who| who == "Basic bWU6c2VjcmV0");
    match (registry.is_down.load(Ordering::SeqCst), is_known) {
        (true, _) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        (false, false) => StatusCode::UNAUTHORIZED.into_response(),
        (false, true) => next.run(request).await,
    }
}

impl Registry {
    fn add(&self, subject: &str, text: &str) -> u32 {
        self.contents.lock().unwrap().add(subject, "AVRO", text)
    }

    fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Answers at an address where nobody has answered so far.
    fn serve(&self, listener: TcpListener) {
        let app = Router::new()
            .route("/schemas/ids/{id}", get(by_id))
            .route("/subjects/{subject}/versions", post(register))
            .route("/subjects/{subject}/versions/latest", get(latest))
            .layer(middleware::from_fn_with_state(self.clone(), guard))
            .with_state(self.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
    }
}

/// An order as Confluent's serializer writes it with the schema of that number.
fn order(number: usize, version: usize, id: u32) -> Raw {
    let schema = apache_avro::Schema::parse_str(ORDERS[version]).unwrap();
    let (shop, units) = (format!("shop{}", number % 7), number as i64 % 10);
    let mut fields = vec![
        ("id".to_owned(), AvroValue::String(format!("o{number}"))),
        ("shop".to_owned(), AvroValue::String(shop)),
    ];
    match version {
        0 => fields.push(("units".to_owned(), AvroValue::Int(units as i32))),
        _ => {
            fields.push(("units".to_owned(), AvroValue::Long(units)));
            let note = Box::new(AvroValue::String("new".to_owned()));
            fields.push(("note".to_owned(), AvroValue::Union(1, note)));
        }
    }
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    // The library takes the fields of a record in any order.
    let datum = writer
        .write_value_to_vec(AvroValue::Record(fields))
        .unwrap();
    let value = [&[0][..], &id.to_be_bytes(), &datum].concat();
    Raw {
        partition: Some(number as i32 % 4),
        key: None,
        value: Some(value),
    }
}

/// The last sums of each shop: how many orders, and units.
fn sums(topics: &Topics, run: &Run) -> BTreeMap<String, (i64, i64)> {
    let compiled = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sums.proto"), text).unwrap();
        protox::compile(["sums.proto"], [folder.path()]).unwrap()
    };
    let text =
        "syntax = \"proto3\"; message Sums { string shop = 1; int64 n = 2; int64 units = 3; }";
    let pool = DescriptorPool::from_file_descriptor_set(compiled(text)).unwrap();
    let sums = pool.get_message_by_name("Sums").unwrap();
    let mut last = BTreeMap::new();
    for record in topics.read(&format!("{}.sums", run.name)) {
        let value = record.value.expect("a result");
        // The second schema, and in it the second message.
        assert_eq!(value[..7], [0, 0, 0, 0, 2, 2, 2]);
        let message = DynamicMessage::decode(sums.clone(), &value[7..]).unwrap();
        let number = |name: &str| message.get_field_by_name(name).unwrap().as_i64().unwrap();
        let shop = message.get_field_by_name("shop").unwrap();
        let shop = shop.as_str().unwrap().to_owned();
        last.insert(shop, (number("n"), number("units")));
    }
    last
}

fn expected(orders: usize) -> BTreeMap<String, (i64, i64)> {
    let mut sums = BTreeMap::new();
    for number in 0..orders {
        let sum: &mut (i64, i64) = sums.entry(format!("shop{}", number % 7)).or_default();
        *sum = (sum.0 + 1, sum.1 + number as i64 % 10);
    }
    sums
}

#[test]
fn records_with_schemas_of_a_registry_count_once_whenever_that_is_away() {
    let Some(stage) = stage("formats") else {
        return;
    };
    for server in 0..stage.servers.len() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let topology = TOPOLOGY.replace("REGISTRY", &address);
        let run = Run::of(&topology, &stage.bootstrap, stage.server(server).1);
        run.database.run(TABLE);
        let topics = Topics::connect(&stage.bootstrap);
        topics.create(&run.name, 4, 1 << 20);
        let registry = Registry::default();
        let old = registry.add("orders-value", ORDERS[0]);
        let orders = |range: std::ops::Range<usize>, version, id| -> Vec<Raw> {
            range.map(|number| order(number, version, id)).collect()
        };
        topics.write(&run.name, &orders(0..500, 0, old));
        // Nobody answers at the registry's address.
        let member = |name: &str| {
            let more = ["--session-timeout", "6s", "--http", "off"];
            run.member_with(
                name,
                &more,
                &[("TIDEMILL_SCHEMA_REGISTRY_AUTH", "me:secret")],
            )
        };
        let mut members = [member("one"), member("two")];
        let waits = |member: &Tidemill| member.log().contains("waiting for a schema");
        wait_until("a member waits", PATIENCE, || members.iter().any(waits));
        let rows = || {
            run.database
                .number("SELECT COUNT(*) FROM orders")
                .unwrap_or(0)
        };
        assert_eq!(rows(), 0);
        registry.serve(listener);
        wait_until("the first orders", PATIENCE, || rows() == 500);
        wait_until("the first sums", PATIENCE, || {
            sums(&topics, &run) == expected(500)
        });
        // It goes away, and there are orders of a schema that nobody knows yet.
        registry.set_down(true);
        let new = registry.add("orders-value", ORDERS[1]);
        assert_eq!(new, 3, "the sink has registered its own before");
        topics.write(&run.name, &orders(500..1_000, 1, new));
        let waits_again = |member: &Tidemill| member.log().contains("503");
        wait_until("a member waits again", PATIENCE, || {
            members.iter().any(waits_again)
        });
        members[0].kill();
        members[0] = member("three");
        registry.set_down(false);
        let wrong = |value: &[u8]| Raw {
            partition: Some(0),
            key: None,
            value: Some(value.to_vec()),
        };
        topics.write(&run.name, &[wrong(&[0, 0, 0, 0, 99, 2]), wrong(b"{}")]);
        wait_until("all orders", PATIENCE, || rows() == 1_000);
        wait_until("all sums", PATIENCE, || {
            sums(&topics, &run) == expected(1_000)
        });
        let notes = "SELECT COUNT(*) FROM orders WHERE note = 'new' AND part IS NOT NULL";
        assert_eq!(run.database.number(notes), Some(500));
        let letters = || topics.read(&format!("{}-dead-letters", run.name));
        // Each of both groups has put both records aside.
        wait_until("the dead letters", PATIENCE, || letters().len() >= 4);
        members.iter_mut().for_each(Tidemill::stop);
        let mut letters: Vec<_> = letters()
            .iter()
            .map(|letter| {
                assert_eq!(header(letter, "tidemill.reason"), Some("unreadable"));
                letter.value.clone().unwrap()
            })
            .collect();
        letters.sort();
        letters.dedup();
        assert_eq!(letters, [vec![0, 0, 0, 0, 99, 2], b"{}".to_vec()]);
        // What is passed on has the headers that it came with.
        let copies = topics.read(&format!("{}.copies", run.name));
        assert_eq!(copies.len(), 1_000);
        assert!(copies.iter().all(|copy| header(copy, "case").is_some()));
    }
}
