//! Our encoding of Avro, by examples and against the library.

use std::fmt::Write as _;

use apache_avro::Schema;
use apache_avro::types::Value as Theirs;
use apache_avro::writer::datum::GenericDatumWriter;
use bumpalo::Bump;
use proptest::prelude::*;

use super::{AvroReader, Layout, parse, write};
use crate::format::json;
use crate::record::Projection;
use crate::time::Timestamp;
use crate::value::{FieldPath, Slot, Value};

const ORDER: &str = r#"{
    "type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "shop", "type": "string"},
        {"name": "count", "type": "int"},
        {"name": "id", "type": "long"},
        {"name": "ratio", "type": "float"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "paid", "type": "boolean"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["SALE", "GIFT"]}},
        {"name": "token", "type": {"type": "fixed", "name": "Token", "size": 2}},
        {"name": "note", "type": ["null", "string"], "default": null},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "extra", "type": {"type": "map", "values": "long"}},
        {"name": "buyer", "type": {"type": "record", "name": "Person", "fields": [
            {"name": "name", "type": "string"},
            {"name": "referrer", "type": ["null", "Person"], "default": null}
        ]}},
        {"name": "either", "type": ["long", "string", "Kind"]}
    ]}"#;

pub(super) fn layout(schema: &str) -> Layout {
    parse(schema, &[]).unwrap()
}

pub(super) fn encode(layout: &Layout, value: &serde_json::Value) -> Result<Vec<u8>, String> {
    let arena = Bump::new();
    let mut out = Vec::new();
    let written = write(layout, json::entries(value, &arena), &mut out);
    written.map(|()| out).map_err(|unfit| unfit.to_string())
}

/// Reads `paths` and shows what stands in their slots.
pub(super) fn read(layout: Layout, bytes: &[u8], paths: &[&str]) -> Result<String, String> {
    let paths: Vec<FieldPath> = paths.iter().map(|path| FieldPath::new(path)).collect();
    let projection = Projection::new(paths.iter().zip(0..).map(|(path, slot)| (path, Slot(slot))));
    let reader = AvroReader::new(layout, &projection);
    let arena = Bump::new();
    let mut fields = vec![Value::Missing; paths.len()];
    let done = reader.read(bytes, &arena, &mut fields);
    done.map_err(|error| error.to_string())?;
    // Whole events give the same fields.
    let all = reader.read_all(bytes, &arena).unwrap();
    let mut picked = vec![Value::Int(-1); paths.len()];
    projection.pick(all, &mut picked);
    assert_eq!(picked, fields);
    let mut shown = String::new();
    for field in &fields {
        match field {
            Value::Missing => shown += "- ",
            value => write!(shown, "{} ", json::of_value(value)).unwrap(),
        }
    }
    Ok(shown.trim_end().to_owned())
}

fn order() -> serde_json::Value {
    serde_json::json!({
        "shop": "köln", "count": -3, "id": 1_i64 << 40, "ratio": 0.5, "price": 12.34, "paid": true,
        "at": "2026-05-05T11:17:40.822Z", "day": "2026-05-05", "kind": "GIFT", "token": "ab",
        "tags": ["x", "y"], "extra": {"a": 1, "b": -1},
        "buyer": {"name": "Ann", "referrer": {"name": "Bob"}}, "either": "GIFT",
    })
}

#[test]
fn wanted_fields_are_read_and_the_rest_is_skipped() {
    let bytes = encode(&layout(ORDER), &order()).unwrap();
    let all = [
        "shop",
        "count",
        "id",
        "ratio",
        "price",
        "paid",
        "at",
        "day",
        "kind",
        "token",
        "note",
        "tags",
        "extra",
        "extra.b",
        "buyer.name",
        "buyer.referrer.name",
        "buyer.referrer.x",
        "either",
        "nowhere",
    ];
    let shown = read(layout(ORDER), &bytes, &all).unwrap();
    let expected = r#""köln" -3 1099511627776 0.5 12.34 true "2026-05-05T11:17:40.822Z" "2026-05-05T00:00:00.000Z" "GIFT" "ab" null ["x","y"] {"a":1,"b":-1} -1 "Ann" "Bob" - "GIFT" -"#;
    assert_eq!(shown, expected);
    assert_eq!(
        read(layout(ORDER), &bytes, &["buyer.name", "id"]).unwrap(),
        r#""Ann" 1099511627776"#
    );
    let buyer = read(layout(ORDER), &bytes, &["buyer", "buyer.name"]).unwrap();
    assert_eq!(
        buyer,
        r#"{"name":"Ann","referrer":{"name":"Bob","referrer":null}} "Ann""#
    );
}

#[test]
fn damage_is_an_error_and_not_a_panic() {
    let bytes = encode(&layout(ORDER), &order()).unwrap();
    for cut in 0..bytes.len() {
        assert!(
            read(layout(ORDER), &bytes[..cut], &["shop"]).is_err(),
            "{cut}"
        );
        assert!(
            read(layout(ORDER), &bytes[..cut], &["tags", "buyer"]).is_err(),
            "{cut}"
        );
    }
    let behind = [&bytes[..], &[0]].concat();
    let error = read(layout(ORDER), &behind, &["shop"]).unwrap_err();
    assert_eq!(error, "expected one record, found 1 bytes behind it");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(layout(ORDER), &bytes, &["shop", "buyer.name", "tags", "extra.a"]);
    }
}

#[test]
fn what_does_not_fit_says_where() {
    #[track_caller]
    fn check(field: &str, value: serde_json::Value, expected: &str) {
        let mut order = order();
        order[field] = value;
        assert_eq!(encode(&layout(ORDER), &order).unwrap_err(), expected);
    }
    use serde_json::json;
    check("shop", json!(5), "shop: expected a string, found the int 5");
    check("shop", json!(null), "shop: expected a string, found null");
    check(
        "count",
        json!(1_i64 << 40),
        "count: expected an int (32 bits), found the int 1099511627776",
    );
    check(
        "price",
        json!("0.125"),
        "price: expected a decimal, found \"0.125\"",
    );
    check(
        "kind",
        json!("LOAN"),
        "kind: expected a symbol of the enum, found \"LOAN\"",
    );
    check(
        "token",
        json!("abc"),
        "token: expected fixed bytes, found \"abc\"",
    );
    check(
        "buyer",
        json!({}),
        "buyer.name: expected a string, found no such field",
    );
    check(
        "buyer",
        json!({"name": "x", "age": 1}),
        "buyer.age: the schema has no such field",
    );
    check("more", json!(1), "more: the schema has no such field");
    check(
        "either",
        json!(true),
        "either: expected one of the union, found bool",
    );
}

#[test]
fn a_mistake_in_a_schema_is_told() {
    let error = |text: &str| parse(text, &[]).unwrap_err();
    assert_eq!(
        error("{\"type\": \"record\",\n \"name\" }"),
        "it is not JSON: expected `:` at line 2 column 9"
    );
    let unknown =
        error(r#"{"type": "record", "name": "A", "fields": [{"name": "x", "type": "B"}]}"#);
    assert!(unknown.contains('B'), "{unknown}");
}

#[test]
fn a_schema_may_name_others() {
    let person = r#"{"type": "record", "name": "Person", "namespace": "a", "fields": [{"name": "name", "type": "string"}]}"#;
    let order = r#"{"type": "record", "name": "Order", "namespace": "a", "fields": [{"name": "buyer", "type": "Person"}]}"#;
    let layout = parse(order, &[("a.Person".to_owned(), person.to_owned())]).unwrap();
    let value = serde_json::json!({"buyer": {"name": "Ann"}});
    let bytes = encode(&layout, &value).unwrap();
    assert_eq!(bytes, [6, b'A', b'n', b'n']);
    assert_eq!(read(layout, &bytes, &["buyer.name"]).unwrap(), r#""Ann""#);
}

#[test]
fn a_schema_that_is_no_record_is_one_value() {
    let bytes = encode(&layout("\"long\""), &serde_json::json!({"value": 5})).unwrap();
    assert_eq!(bytes, [10]);
    assert_eq!(read(layout("\"long\""), &bytes, &["value"]).unwrap(), "5");
}

/// A schema and values of it, for the library and for us.
fn any_value() -> impl Strategy<Value = (String, Vec<Theirs>)> {
    let leaf = prop_oneof![
        Just(("\"null\"".to_owned(), Just(Theirs::Null).boxed())),
        Just((
            "\"boolean\"".to_owned(),
            any::<bool>().prop_map(Theirs::Boolean).boxed()
        )),
        Just((
            "\"int\"".to_owned(),
            any::<i32>().prop_map(Theirs::Int).boxed()
        )),
        Just((
            "\"long\"".to_owned(),
            any::<i64>().prop_map(Theirs::Long).boxed()
        )),
        Just((
            "\"double\"".to_owned(),
            (-1e9..1e9).prop_map(Theirs::Double).boxed()
        )),
        Just((
            "\"string\"".to_owned(),
            ".{0,8}".prop_map(Theirs::String).boxed()
        )),
        Just((
            r#"{"type": "long", "logicalType": "timestamp-millis"}"#.to_owned(),
            (0..4_000_000_000_000i64)
                .prop_map(Theirs::TimestampMillis)
                .boxed(),
        )),
    ];
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|(schema, values)| {
                let values = proptest::collection::vec(values, 0..4).prop_map(Theirs::Array);
                (
                    format!(r#"{{"type": "array", "items": {schema}}}"#),
                    values.boxed(),
                )
            }),
            inner.prop_map(|(schema, values)| {
                let values = proptest::collection::hash_map("[a-z]{1,3}", values, 0..4);
                let values = values.prop_map(Theirs::Map);
                (
                    format!(r#"{{"type": "map", "values": {schema}}}"#),
                    values.boxed(),
                )
            }),
        ]
    });
    proptest::collection::vec((tree, any::<bool>()), 1..5).prop_flat_map(|fields| {
        let mut schema = String::new();
        let mut values = Vec::new();
        for (at, ((kind, value), is_optional)) in fields.into_iter().enumerate() {
            let is_optional = is_optional && kind != "\"null\"";
            let (kind, value) = match is_optional {
                true => {
                    let value = proptest::option::of(value).prop_map(|value| match value {
                        None => Theirs::Union(0, Box::new(Theirs::Null)),
                        Some(value) => Theirs::Union(1, Box::new(value)),
                    });
                    (format!("[\"null\", {kind}]"), value.boxed())
                }
                false => (kind, value),
            };
            let comma = if at > 0 { "," } else { "" };
            write!(schema, r#"{comma}{{"name": "f{at}", "type": {kind}}}"#).unwrap();
            values.push(value);
        }
        let schema = format!(r#"{{"type": "record", "name": "R", "fields": [{schema}]}}"#);
        (Just(schema), values)
    })
}

/// The library's value as we have it.
fn ours<'a>(value: &Theirs, arena: &'a Bump) -> Value<'a> {
    match value {
        Theirs::Null => Value::Null,
        Theirs::Boolean(value) => Value::Bool(*value),
        Theirs::Int(number) => Value::Int((*number).into()),
        Theirs::Long(number) => Value::Int(*number),
        Theirs::Double(number) => Value::Float(*number),
        Theirs::String(text) => Value::Str(arena.alloc_str(text)),
        Theirs::TimestampMillis(ms) => Value::Time(Timestamp(*ms)),
        Theirs::Array(items) => {
            let items = items.iter().map(|item| ours(item, arena));
            Value::List(arena.alloc_slice_fill_iter(items))
        }
        Theirs::Map(entries) => {
            let entries: Vec<(&str, Value<'_>)> = entries
                .iter()
                .map(|(name, value)| (&*arena.alloc_str(name), ours(value, arena)))
                .collect();
            Value::Map(arena.alloc_slice_copy(&entries))
        }
        Theirs::Union(_, value) => ours(value, arena),
        other => unreachable!("no {other:?} is made here"),
    }
}

proptest! {
    /// What the library writes we read, and what we write is what the library writes.
    #[test]
    fn our_encoding_is_that_of_the_library((text, values) in any_value()) {
        let schema = Schema::parse_str(&text).unwrap();
        let fields = values.iter().enumerate();
        let record = fields.map(|(at, value)| (format!("f{at}"), value.clone())).collect();
        let theirs = GenericDatumWriter::builder(&schema).build().unwrap();
        let bytes = theirs.write_value_to_vec(Theirs::Record(record)).unwrap();
        let arena = Bump::new();
        let reader = AvroReader::new(layout(&text), &Projection::default());
        let read = reader.read_all(&bytes, &arena).unwrap();
        for ((_, read), value) in read.iter().zip(&values) {
            prop_assert_eq!(json::of_value(read), json::of_value(&ours(value, &arena)));
        }
        let mut written = Vec::new();
        write(&layout(&text), read, &mut written).unwrap();
        prop_assert_eq!(written, bytes);
    }
}
