//! Our encoding of Protobuf, by examples and against the library.

use std::fmt::Write as _;

use bumpalo::Bump;
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, Value as Theirs};

use super::{Layout, ProtobufReader, find_message, message_at, message_path, parse, write};
use crate::format::json;
use crate::record::Projection;
use crate::value::{FieldPath, Slot, Value};

const ORDER: &str = r#"
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";

message Unused { int32 x = 1; }
message Order {
  string shop = 1;
  int32 count = 2;
  sint64 id = 3;
  float ratio = 4;
  double price = 5;
  bool paid = 6;
  google.protobuf.Timestamp at = 7;
  google.protobuf.Duration took = 8;
  enum Kind { SALE = 0; GIFT = 5; }
  Kind kind = 9;
  optional string note = 10;
  repeated string tags = 11;
  repeated int32 sizes = 12;
  map<string, int64> extra = 13;
  map<int32, Person> people = 14;
  message Person { string name = 1; Person referrer = 2; }
  Person buyer = 15;
  oneof payment { string card = 16; int64 voucher = 17; }
  google.protobuf.StringValue wrapped = 18;
  bytes token = 19;
  uint64 big = 20;
  repeated Kind kinds = 21;
  fixed32 f32 = 22;
  sfixed64 sf64 = 23;
}
"#;

fn order() -> MessageDescriptor {
    let file = parse("order.proto", ORDER, &[], None).unwrap();
    find_message(&file, Some("shop.Order")).unwrap()
}

fn layout() -> Layout {
    Layout::of(&order())
}

fn encode(value: &serde_json::Value) -> Result<Vec<u8>, String> {
    let arena = Bump::new();
    let mut out = Vec::new();
    let written = write(&layout(), json::entries(value, &arena), &mut out);
    written.map(|()| out).map_err(|unfit| unfit.to_string())
}

/// Reads `paths` and shows what stands in their slots.
fn read(bytes: &[u8], paths: &[&str]) -> Result<String, String> {
    let paths: Vec<FieldPath> = paths.iter().map(|path| FieldPath::new(path)).collect();
    let projection = Projection::new(paths.iter().zip(0..).map(|(path, slot)| (path, Slot(slot))));
    let reader = ProtobufReader::new(layout(), &projection);
    let arena = Bump::new();
    let mut fields = vec![Value::Missing; paths.len()];
    let done = reader.read(bytes, &arena, &mut fields);
    done.map_err(|error| error.to_string())?;
    // Whole events give the same fields.
    if let Ok(all) = reader.read_all(bytes, &arena) {
        let mut picked = vec![Value::Int(-1); paths.len()];
        projection.pick(all, &mut picked);
        assert_eq!(picked, fields);
    }
    let mut shown = String::new();
    for field in &fields {
        match field {
            Value::Missing => shown += "- ",
            value => write!(shown, "{} ", json::of_value(value)).unwrap(),
        }
    }
    Ok(shown.trim_end().to_owned())
}

fn full() -> serde_json::Value {
    serde_json::json!({
        "shop": "köln", "count": -3, "id": -(1_i64 << 40), "ratio": 0.5, "price": 12.34,
        "paid": true, "at": "2026-05-05T11:17:40.822Z", "took": 1_500, "kind": "GIFT",
        "note": "", "tags": ["x", "y"], "sizes": [1, -1, 300], "extra": {"a": 1, "b": -1},
        "people": {"7": {"name": "Eve"}}, "buyer": {"name": "Ann", "referrer": {"name": "Bob"}},
        "voucher": 5, "wrapped": "w", "token": "ab", "big": 7, "kinds": ["SALE", "GIFT"],
        "f32": 9, "sf64": -9,
    })
}

#[test]
fn wanted_fields_are_read_and_the_rest_is_skipped() {
    let bytes = encode(&full()).unwrap();
    let all = [
        "shop",
        "count",
        "id",
        "ratio",
        "price",
        "paid",
        "at",
        "took",
        "kind",
        "note",
        "tags",
        "sizes",
        "extra",
        "extra.b",
        "people.7.name",
        "buyer.name",
        "buyer.referrer.name",
        "card",
        "voucher",
        "wrapped",
        "token",
        "big",
        "kinds",
        "f32",
        "sf64",
        "nowhere",
    ];
    let expected = r#""köln" -3 -1099511627776 0.5 12.34 true "2026-05-05T11:17:40.822Z" 1500 "GIFT" "" ["x","y"] [1,-1,300] {"a":1,"b":-1} -1 "Eve" "Ann" "Bob" - 5 "w" "ab" 7 ["SALE","GIFT"] 9 -9 -"#;
    assert_eq!(read(&bytes, &all).unwrap(), expected);
    assert_eq!(
        read(&bytes, &["buyer.referrer.name", "count"]).unwrap(),
        r#""Bob" -3"#
    );
    let buyer = read(&bytes, &["buyer", "buyer.name"]).unwrap();
    assert_eq!(buyer, r#"{"name":"Ann","referrer":{"name":"Bob"}} "Ann""#);
}

#[test]
fn what_is_not_on_the_wire_is_missing_or_has_its_default() {
    let all = [
        "shop",
        "count",
        "price",
        "paid",
        "kind",
        "tags",
        "extra",
        "token",
        "at",
        "took",
        "note",
        "buyer",
        "buyer.name",
        "card",
        "wrapped",
    ];
    let expected = r#""" 0 0.0 false "SALE" [] {} "" - - - - - - -"#;
    assert_eq!(read(&[], &all).unwrap(), expected);
    // And is not written.
    let defaults = serde_json::json!({"shop": "", "count": 0, "kind": "SALE", "tags": []});
    assert_eq!(encode(&defaults), Ok(Vec::new()));
}

#[test]
fn numbers_in_a_row_are_read_packed_or_not() {
    let packed = [12 << 3 | 2, 2, 1, 2];
    let one_by_one = [12 << 3, 1, 11 << 3 | 2, 1, b'x', 12 << 3, 2];
    assert_eq!(read(&packed, &["sizes", "tags"]).unwrap(), "[1,2] []");
    assert_eq!(
        read(&one_by_one, &["sizes", "tags"]).unwrap(),
        r#"[1,2] ["x"]"#
    );
}

#[test]
fn damage_is_an_error_and_not_a_panic() {
    let bytes = encode(&full()).unwrap();
    for cut in 0..bytes.len() {
        let _ = read(&bytes[..cut], &["shop", "tags", "buyer"]);
    }
    let error = |bytes: &[u8]| read(bytes, &["shop"]).unwrap_err();
    assert_eq!(
        error(&[10, 5, b'x']),
        "expected 5 bytes, found the end of the message"
    );
    assert_eq!(
        error(&[10, 1, 0xFF]),
        "expected a string in the field shop, found bytes that are no UTF-8"
    );
    let other_kind = "expected a string in the field shop, found bytes of another kind (Varint)";
    assert_eq!(error(&[8, 1]), other_kind);
    assert_eq!(error(&[0]), "expected a field, found the tag 0");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, &["shop", "buyer.name", "tags", "extra.a", "people"]);
    }
}

#[test]
fn what_does_not_fit_says_where() {
    #[track_caller]
    fn check(field: &str, value: serde_json::Value, expected: &str) {
        let mut order = full();
        order[field] = value;
        assert_eq!(encode(&order).unwrap_err(), expected);
    }
    use serde_json::json;
    check("shop", json!(5), "shop: expected a string, found the int 5");
    check(
        "count",
        json!(1_i64 << 40),
        "count: expected an int32, found the int 1099511627776",
    );
    check("big", json!(-1), "big: expected a uint64, found the int -1");
    check(
        "kind",
        json!("LOAN"),
        "kind: expected a value of the enum, found \"LOAN\"",
    );
    check("tags", json!("x"), "tags: expected a list, found \"x\"");
    check(
        "buyer",
        json!({"age": 1}),
        "buyer.age: the schema has no such field",
    );
    check(
        "people",
        json!({"x": {}}),
        "people: expected an int32, found the name \"x\"",
    );
    check("more", json!(1), "more: the schema has no such field");
}

#[test]
fn messages_are_found_by_name_and_by_place() {
    let file = parse("order.proto", ORDER, &[], None).unwrap();
    let found = |name| find_message(&file, name).map(|found| found.full_name().to_owned());
    let person = Ok("shop.Order.Person".to_owned());
    assert_eq!(found(Some("Order.Person")), person);
    assert_eq!(found(Some("shop.Order.Person")), person);
    let all = "shop.Unused, shop.Order, shop.Order.Person";
    assert_eq!(found(None), Err(format!("it has several messages: {all}")));
    let expected = format!("it has no message `Ordr`; there are: {all}");
    assert_eq!(found(Some("Ordr")), Err(expected));
    for message in [order(), find_message(&file, Some("Order.Person")).unwrap()] {
        let path = message_path(&message);
        let found = message_at(&message.parent_file(), &path);
        assert_eq!(found, Some(message));
    }
    assert_eq!(message_path(&order()), [1]);
}

#[test]
fn a_mistake_in_a_schema_is_told_with_its_place() {
    let error = parse(
        "a.proto",
        "syntax = \"proto3\";\nmessage A { int32 x; }\n",
        &[],
        None,
    );
    let error = error.unwrap_err();
    assert!(error.starts_with("a.proto:2:"), "{error}");
    let imports = [(
        "b.proto".to_owned(),
        "syntax = \"proto3\"; message B {}".to_owned(),
    )];
    let text = "syntax = \"proto3\"; import \"b.proto\"; message A { B b = 1; }";
    assert!(parse("a.proto", text, &imports, None).is_ok());
    assert!(parse("a.proto", text, &[], None).is_err());
}

/// A value of a field of that kind, of the library.
fn any_of(kind: &Kind, depth: u32) -> BoxedStrategy<Theirs> {
    match kind {
        Kind::Double => (-1e9..1e9).prop_map(Theirs::F64).boxed(),
        Kind::Float => any::<i16>()
            .prop_map(|number| Theirs::F32(number.into()))
            .boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => any::<i32>().prop_map(Theirs::I32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => any::<i64>().prop_map(Theirs::I64).boxed(),
        Kind::Uint32 | Kind::Fixed32 => any::<u32>().prop_map(Theirs::U32).boxed(),
        Kind::Uint64 | Kind::Fixed64 => (0..i64::MAX as u64).prop_map(Theirs::U64).boxed(),
        Kind::Bool => any::<bool>().prop_map(Theirs::Bool).boxed(),
        Kind::String => ".{0,8}".prop_map(Theirs::String).boxed(),
        Kind::Bytes => proptest::collection::vec(any::<u8>(), 0..4)
            .prop_map(|bytes| Theirs::Bytes(bytes.into()))
            .boxed(),
        Kind::Enum(_) => {
            prop_oneof![Just(Theirs::EnumNumber(0)), Just(Theirs::EnumNumber(5))].boxed()
        }
        Kind::Message(message) => {
            let is_time = message.full_name() == "google.protobuf.Timestamp";
            let is_length = message.full_name() == "google.protobuf.Duration";
            match is_time || is_length {
                // Whole milliseconds.
                true => {
                    let message = message.clone();
                    let time = (0..4_000_000_000i64, 0..1_000i32).prop_map(move |(seconds, ms)| {
                        let mut time = DynamicMessage::new(message.clone());
                        time.set_field_by_number(1, Theirs::I64(seconds));
                        time.set_field_by_number(2, Theirs::I32(ms * 1_000_000));
                        Theirs::Message(time)
                    });
                    time.boxed()
                }
                false => any_message(message.clone(), depth + 1)
                    .prop_map(Theirs::Message)
                    .boxed(),
            }
        }
    }
}

fn any_message(message: MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    let fields: Vec<_> = message.fields().collect();
    let values: Vec<BoxedStrategy<Option<Theirs>>> = fields
        .iter()
        .map(|field| {
            let is_deep = matches!(field.kind(), Kind::Message(_)) && depth > 1;
            if is_deep {
                return Just(None).boxed();
            }
            let value = match (field.kind(), field.is_map(), field.is_list()) {
                (Kind::Message(entry), true, _) => {
                    let value = any_of(&entry.map_entry_value_field().kind(), depth + 1);
                    // With one entry there is one order.
                    match entry.map_entry_key_field().kind() {
                        Kind::String => ("[a-z]{0,3}", value)
                            .prop_map(|(key, value)| (MapKey::String(key), value))
                            .boxed(),
                        _ => (any::<i32>(), value)
                            .prop_map(|(key, value)| (MapKey::I32(key), value))
                            .boxed(),
                    }
                    .prop_map(|entry| Theirs::Map([entry].into()))
                    .boxed()
                }
                (kind, _, true) => proptest::collection::vec(any_of(&kind, depth), 0..4)
                    .prop_map(Theirs::List)
                    .boxed(),
                (kind, ..) => any_of(&kind, depth),
            };
            proptest::option::of(value).boxed()
        })
        .collect();
    values
        .prop_map(move |values| {
            let mut made = DynamicMessage::new(message.clone());
            for (field, value) in fields.iter().zip(values) {
                if let Some(value) = value {
                    made.set_field(field, value);
                }
            }
            made
        })
        .boxed()
}

proptest! {
    /// What the library writes we read, and what we write of that the library reads as the same.
    #[test]
    fn our_encoding_is_that_of_the_library(
        // Descriptors of messages that hold themselves have no end when they are shown.
        bytes in any_message(order(), 0).prop_map(|message| message.encode_to_vec())
    ) {
        let arena = Bump::new();
        let reader = ProtobufReader::new(layout(), &Projection::default());
        let read = reader.read_all(&bytes, &arena).unwrap();
        let mut written = Vec::new();
        write(&layout(), read, &mut written).unwrap();
        let order = order();
        let decoded = |bytes: &[u8]| DynamicMessage::decode(order.clone(), bytes).unwrap();
        prop_assert!(decoded(&written) == decoded(&bytes), "{read:?}");
    }

    /// Two messages behind each other are one: their embedded messages are merged, of a `oneof` the
    /// last is there, of other fields the last counts.
    #[test]
    fn what_is_there_twice_is_merged_as_the_library_does(
        first in any_message(order(), 0).prop_map(|message| message.encode_to_vec()),
        second in any_message(order(), 0).prop_map(|message| message.encode_to_vec()),
    ) {
        let bytes = [first, second].concat();
        let arena = Bump::new();
        let reader = ProtobufReader::new(layout(), &Projection::default());
        let all = reader.read_all(&bytes, &arena).unwrap();
        let mut written = Vec::new();
        write(&layout(), all, &mut written).unwrap();
        let order = order();
        let decoded = |bytes: &[u8]| DynamicMessage::decode(order.clone(), bytes).unwrap();
        prop_assert!(decoded(&written) == decoded(&bytes), "{all:?}");
        // The same, field by field.
        let some = ["card", "at", "buyer.name", "buyer.referrer.name", "wrapped", "extra", "voucher"];
        read(&bytes, &some).unwrap();
        for one in some {
            read(&bytes, &[one]).unwrap();
        }
    }
}

#[test]
fn messages_that_are_there_several_times_are_merged() {
    let part = |value: serde_json::Value| encode(&value).unwrap();
    let bytes = [
        part(serde_json::json!({"buyer": {"name": "Ann", "referrer": {"name": "Bob"}}})),
        part(serde_json::json!({"buyer": {"referrer": {"referrer": {"name": "Eve"}}}})),
        // Half a point in time, then the other half.
        vec![7 << 3 | 2, 2, 8, 5, 7 << 3 | 2, 3, 16, 0x80, 0x40],
    ]
    .concat();
    let expected =
        r#"{"name":"Ann","referrer":{"name":"Bob","referrer":{"name":"Eve"}}} "Eve" "Ann""#;
    let paths = ["buyer", "buyer.referrer.referrer.name", "buyer.name"];
    assert_eq!(read(&bytes, &paths).unwrap(), expected);
    assert_eq!(read(&bytes, &paths[1..]).unwrap(), r#""Eve" "Ann""#);
    assert_eq!(
        read(&bytes, &["at"]).unwrap(),
        r#""1970-01-01T00:00:05.000Z""#
    );
}

#[test]
fn of_a_oneof_the_last_is_there() {
    let bytes = [
        encode(&serde_json::json!({"voucher": 5})).unwrap(),
        encode(&serde_json::json!({"card": "c"})).unwrap(),
    ]
    .concat();
    assert_eq!(read(&bytes, &["voucher", "card"]).unwrap(), r#"- "c""#);
    assert_eq!(read(&bytes, &["voucher"]).unwrap(), "-");
}
