//! Records of one schema as another one reads them, and what stands for what is not there.

use apache_avro::Schema;
use apache_avro::types::Value as Theirs;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value as Json, json};

use super::resolve;
use super::tests::{encode, layout, read};

/// A record of one schema as another one reads it.
#[track_caller]
fn evolved(written: &str, value: &Json, reader: &str, paths: &[&str], expected: &str) {
    let record = |fields: &str| {
        layout(&format!(
            r#"{{"type": "record", "name": "R", "fields": [{fields}]}}"#
        ))
    };
    let (written, reader) = (record(written), record(reader));
    let bytes = encode(&written, value).unwrap();
    let shown = match resolve(&written, &reader) {
        Ok(resolved) => read(resolved, &bytes, paths).unwrap_or_else(|error| error),
        Err(reason) => reason,
    };
    assert_eq!(shown, expected);
}

#[test]
fn a_reader_sees_records_as_its_own_schema_says() {
    let int = r#"{"name": "n", "type": "int"}"#;
    // Wider types, new fields with defaults, other names, fields that are not known.
    evolved(
        int,
        &json!({"n": 5}),
        r#"{"name": "n", "type": "double"}"#,
        &["n"],
        "5.0",
    );
    evolved(
        int,
        &json!({"n": 5}),
        r#"{"name": "m", "aliases": ["n"], "type": "long"}, {"name": "s", "type": "string", "default": "x"}"#,
        &["m", "n", "s"],
        r#"5 - "x""#,
    );
    evolved(
        r#"{"name": "a", "type": "string"}, {"name": "n", "type": "int"}"#,
        &json!({"a": "skipped", "n": 7}),
        int,
        &["n", "a"],
        "7 -",
    );
    evolved(
        int,
        &json!({"n": 86_400_000}),
        r#"{"name": "n", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]}"#,
        &["n"],
        r#""1970-01-02T00:00:00.000Z""#,
    );
    evolved(
        r#"{"name": "u", "type": ["null", "int", "string"]}"#,
        &json!({"u": 3}),
        r#"{"name": "u", "type": "long"}"#,
        &["u"],
        "3",
    );
    evolved(
        r#"{"name": "u", "type": ["null", "int", "string"]}"#,
        &json!({"u": "x"}),
        r#"{"name": "u", "type": "long"}"#,
        &["u"],
        "expected what the reader's schema says, found a string, where the reader's schema has a long",
    );
    evolved(
        r#"{"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}}"#,
        &json!({"e": "B"}),
        r#"{"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["B", "C"]}}"#,
        &["e"],
        r#""B""#,
    );
    evolved(
        int,
        &json!({"n": 1}),
        r#"{"name": "x", "type": "int"}"#,
        &["x"],
        "a record without the field x, which has no default",
    );
    evolved(
        r#"{"name": "p", "type": {"type": "record", "name": "P", "fields": [{"name": "a", "type": "int"}, {"name": "next", "type": ["null", "P"]}]}}"#,
        &json!({"p": {"a": 1, "next": {"a": 2}}}),
        r#"{"name": "p", "type": {"type": "record", "name": "P", "fields": [{"name": "next", "type": ["null", "P"]}, {"name": "b", "type": "int", "default": 9}]}}"#,
        &["p.next.b", "p.a", "p"],
        r#"9 - {"next":{"next":null,"b":9},"b":9}"#,
    );
}

const A: &str = r#"{"type": "record", "name": "A", "fields": [{"name": "id", "type": "int"}]}"#;
const B: &str = r#"{"type": "record", "name": "B", "fields": [{"name": "id", "type": "int"}, {"name": "extra", "type": "string", "default": "-"}]}"#;

/// A value of one type, written as the field `u`, as another type reads it.
#[track_caller]
fn retyped(written: &str, value: &Json, reader: &str, expected: &str) {
    let field = |kind: &str| format!(r#"{{"name": "u", "type": {kind}}}"#);
    evolved(
        &field(written),
        &json!({ "u": value }),
        &field(reader),
        &["u"],
        expected,
    );
}

#[test]
fn records_of_a_union_are_found_by_their_names() {
    let both = format!("[{A}, {B}]");
    let a = json!({"id": 1});
    let b = json!({"id": 1, "extra": "x"});
    let whole = r#"{"id":1,"extra":"x"}"#;
    retyped(&both, &b, &both, whole);
    retyped(&both, &b, &format!("[{B}, {A}]"), whole);
    retyped(&both, &a, &format!("[{B}, {A}]"), r#"{"id":1}"#);
    // The name as the reader's schema had it once.
    let renamed = B.replace(r#""B","#, r#""C", "aliases": ["B"],"#);
    retyped(&both, &b, &format!("[{A}, {renamed}]"), whole);
    // Where the reader has a choice and the writer none, or the other way round, names tell as well.
    retyped(B, &b, &both, whole);
    let lacking = "expected what the reader's schema says, found the record B, which the reader's schema lacks";
    retyped(&both, &b, A, lacking);
    retyped(&both, &b, &format!(r#"["null", {A}]"#), lacking);
    retyped(&both, &a, A, r#"{"id":1}"#);
    // Inside of lists too.
    let list = |of: &str| format!(r#"{{"type": "array", "items": {of}}}"#);
    retyped(
        &list(&both),
        &json!([b, a]),
        &list(&both),
        r#"[{"id":1,"extra":"x"},{"id":1}]"#,
    );
}

#[test]
fn namespaces_tell_records_apart_if_they_have_to() {
    let within = |schema: &str, space: &str| {
        let record = r#""type": "record""#;
        schema.replacen(record, &format!(r#"{record}, "namespace": "{space}""#), 1)
    };
    let (x, y) = (within(A, "x"), within(&B.replace(r#""B""#, r#""A""#), "y"));
    let b = json!({"id": 1, "extra": "x"});
    let whole = r#"{"id":1,"extra":"x"}"#;
    retyped(&format!("[{x}, {y}]"), &b, &format!("[{x}, {y}]"), whole);
    retyped(
        &format!("[{x}, {y}]"),
        &json!({"id": 1}),
        &format!("[{y}, {x}]"),
        r#"{"id":1}"#,
    );
    let lacking = "expected what the reader's schema says, found the record y.A, which the reader's schema lacks";
    retyped(
        &format!("[{x}, {y}]"),
        &b,
        &format!(r#"["null", {x}]"#),
        lacking,
    );
    // Another namespace of the same record does no harm.
    let moved = within(B, "z");
    retyped(
        &format!("[{A}, {B}]"),
        &b,
        &format!("[{A}, {moved}]"),
        whole,
    );
    // An alias is in the namespace of the record.
    let renamed = moved.replace(r#""B","#, r#""C", "aliases": ["B"],"#);
    let written = format!("[{A}, {}]", within(B, "z"));
    retyped(&written, &b, &format!("[{A}, {renamed}]"), whole);
}

#[test]
fn enums_and_fixed_of_a_union_are_found_by_their_names() {
    let one = r#"{"type": "enum", "name": "One", "symbols": ["X", "Y"]}"#;
    let two = r#"{"type": "enum", "name": "Two", "symbols": ["Y", "Z"]}"#;
    let both = format!("[{one}, {two}]");
    retyped(&both, &json!("Z"), &both, r#""Z""#);
    retyped(&both, &json!("X"), &format!("[{two}, {one}]"), r#""X""#);
    let raw = r#"{"type": "fixed", "name": "Raw", "size": 2}"#;
    let price = r#"{"type": "fixed", "name": "Price", "size": 2}"#;
    let decimal = price.replace(
        "}",
        r#", "logicalType": "decimal", "precision": 4, "scale": 2}"#,
    );
    retyped(
        price,
        &json!("00"),
        &format!("[{raw}, {decimal}]"),
        "123.36",
    );
}

#[test]
fn names_do_not_matter_where_nothing_has_to_be_told_apart() {
    let other = B.replace(r#""B""#, r#""Other""#);
    retyped(A, &json!({"id": 1}), &other, r#"{"id":1,"extra":"-"}"#);
    let optional = |kind: &str| format!(r#"["null", {kind}]"#);
    let extended = r#"{"id":1,"extra":"-"}"#;
    retyped(&optional(A), &json!({"id": 1}), &optional(&other), extended);
    let of = |name: &str, fields: &str| {
        layout(&format!(
            r#"{{"type": "record", "name": "{name}", "fields": [{fields}]}}"#
        ))
    };
    let int = r#"{"name": "n", "type": "int"}"#;
    let resolved = resolve(&of("com.shop.Order", int), &of("Purchase", int)).unwrap();
    assert_eq!(read(resolved, &[10], &["n"]).unwrap(), "5");
}

#[test]
fn types_are_widened_only_where_a_union_has_not_the_type_itself() {
    retyped(r#""int""#, &json!(5), r#"["double", "int"]"#, "5");
    retyped(
        r#""int""#,
        &json!(5),
        r#"["string", "double", "long"]"#,
        "5.0",
    );
    retyped(
        r#""int""#,
        &json!(5),
        r#"["string", "long", "double"]"#,
        "5",
    );
    retyped(r#""long""#, &json!(5), r#"["int", "double"]"#, "5.0");
    retyped(
        r#""string""#,
        &json!("x"),
        r#"["bytes", "string"]"#,
        r#""x""#,
    );
    let day = r#"{"type": "int", "logicalType": "date"}"#;
    retyped(
        r#""int""#,
        &json!(1),
        &format!(r#"["long", {day}]"#),
        r#""1970-01-02T00:00:00.000Z""#,
    );
    retyped(day, &json!("1970-01-02"), r#""double""#, "1.0");
}

#[test]
fn records_inside_of_optional_lists_and_maps_are_read() {
    let list = format!(r#"["null", {{"type": "array", "items": {A}}}]"#);
    retyped(&list, &json!([{"id": 1}]), &list, r#"[{"id":1}]"#);
    let map = format!(r#"["null", {{"type": "map", "values": {A}}}]"#);
    retyped(&map, &json!({"x": {"id": 1}}), &map, r#"{"x":{"id":1}}"#);
}

#[test]
fn a_record_that_cannot_be_read_cannot_be_read_anywhere() {
    let written = format!(
        r#"{{"name": "p", "type": ["null", {A}]}}, {{"name": "q", "type": ["null", "A"]}}, {{"name": "n", "type": "int"}}"#
    );
    let reader = written.replace(r#""id""#, r#""key""#);
    evolved(
        &written,
        &json!({"q": {"id": 1}, "n": 7}),
        &reader,
        &["n"],
        "expected what the reader's schema says, found a record without the field key, which has no default",
    );
}

#[test]
fn a_symbol_that_the_reader_does_not_know_is_the_default_of_its_enum() {
    let kind = |symbols: &str| format!(r#"{{"type": "enum", "name": "E", "symbols": {symbols}}}"#);
    let written = kind(r#"["A", "B"]"#);
    let reader = kind(r#"["OTHER", "B"], "default": "OTHER""#);
    retyped(&written, &json!("A"), &reader, r#""OTHER""#);
    retyped(&written, &json!("B"), &reader, r#""B""#);
    retyped(
        &written,
        &json!("A"),
        &format!(r#"["null", {reader}]"#),
        r#""OTHER""#,
    );
    // Without one, records that have it cannot be read.
    let error = "expected a symbol of the reader's enum, found number 0 of the writer's";
    retyped(&written, &json!("A"), &kind(r#"["B"]"#), error);
}

/// What a field is whose default is `default`: the same as what the library writes for `value`, both
/// for who writes it and for who reads records that do not have it.
#[track_caller]
fn defaulted(kind: &str, default: &Json, value: Theirs) {
    let text = format!(
        r#"{{"type": "record", "name": "R", "fields": [{{"name": "f", "type": {kind}, "default": {default}}}]}}"#
    );
    let schema = Schema::parse_str(&text).unwrap();
    let theirs = GenericDatumWriter::builder(&schema).build().unwrap();
    let record = Theirs::Record(vec![("f".to_owned(), value)]);
    let expected = theirs.write_value_to_vec(record).unwrap();
    assert_eq!(
        encode(&layout(&text), &json!({})),
        Ok(expected.clone()),
        "{kind}"
    );
    let without = layout(r#"{"type": "record", "name": "R", "fields": []}"#);
    let resolved = resolve(&without, &layout(&text)).unwrap();
    let paths = ["f", "f.at"];
    let given = read(layout(&text), &expected, &paths);
    assert_eq!(read(resolved, &[], &paths), given, "{kind}");
}

#[test]
fn defaults_are_what_the_schema_says_and_not_what_users_write() {
    let logical =
        |wire: &str, name: &str| format!(r#"{{"type": "{wire}", "logicalType": "{name}"}}"#);
    let micros = logical("long", "timestamp-micros");
    let time = 1_700_000_000_123_456;
    defaulted(&micros, &json!(time), Theirs::TimestampMicros(time));
    let millis = logical("long", "timestamp-millis");
    defaulted(&millis, &json!(5), Theirs::TimestampMillis(5));
    let nanos = logical("long", "timestamp-nanos");
    defaulted(&nanos, &json!(-time), Theirs::TimestampNanos(-time));
    defaulted(
        &logical("int", "date"),
        &json!(19_000),
        Theirs::Date(19_000),
    );
    let time_millis = logical("int", "time-millis");
    defaulted(&time_millis, &json!(1_500), Theirs::TimeMillis(1_500));
    let time_micros = logical("long", "time-micros");
    defaulted(
        &time_micros,
        &json!(1_500_000),
        Theirs::TimeMicros(1_500_000),
    );
    let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}"#;
    let number = || Theirs::Decimal(vec![0x04, 0xD2].into());
    defaulted(decimal, &json!("\u{4}\u{d2}"), number());
    let fixed = r#"{"type": "fixed", "name": "D", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 2}"#;
    defaulted(fixed, &json!("\u{4}\u{d2}"), number());
    defaulted(
        r#""bytes""#,
        &json!("\u{ff}x"),
        Theirs::Bytes(vec![0xFF, b'x']),
    );
    let token = r#"{"type": "fixed", "name": "T", "size": 2}"#;
    defaulted(token, &json!("\u{ff}x"), Theirs::Fixed(2, vec![0xFF, b'x']));
    let kind = r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#;
    defaulted(kind, &json!("B"), Theirs::Enum(1, "B".to_owned()));
    let uuid = "c2d1a0f0-5a3b-4c55-9f2e-1d0a6a1f7b11";
    let theirs = uuid::Uuid::try_parse(uuid).unwrap();
    defaulted(
        &logical("string", "uuid"),
        &json!(uuid),
        Theirs::Uuid(theirs),
    );
    defaulted(
        r#""string""#,
        &json!("\u{ff}"),
        Theirs::String("\u{ff}".to_owned()),
    );
    defaulted(r#""boolean""#, &json!(true), Theirs::Boolean(true));
    defaulted(r#""int""#, &json!(-5), Theirs::Int(-5));
    defaulted(r#""long""#, &json!(time), Theirs::Long(time));
    defaulted(r#""float""#, &json!(1), Theirs::Float(1.0));
    defaulted(r#""double""#, &json!(0.1), Theirs::Double(0.1));
    defaulted(
        r#""double""#,
        &json!("-INF"),
        Theirs::Double(f64::NEG_INFINITY),
    );
}

#[test]
fn defaults_hold_others() {
    let some = |at: u32, value: Theirs| Theirs::Union(at, Box::new(value));
    let bytes = || Theirs::Bytes(vec![0xFF]);
    defaulted(r#"["null", "bytes"]"#, &json!(null), some(0, Theirs::Null));
    defaulted(r#"["bytes", "string"]"#, &json!("\u{ff}"), some(0, bytes()));
    // Newer schemas have defaults of any variant.
    defaulted(r#"["null", "bytes"]"#, &json!("\u{ff}"), some(1, bytes()));
    defaulted(
        r#"["int", "double"]"#,
        &json!(0.5),
        some(1, Theirs::Double(0.5)),
    );
    let day = r#"{"type": "int", "logicalType": "date"}"#;
    let days = Theirs::Array(vec![Theirs::Date(1), Theirs::Date(2)]);
    let list = format!(r#"{{"type": "array", "items": {day}}}"#);
    defaulted(&list, &json!([1, 2]), days);
    defaulted(&list, &json!([]), Theirs::Array(Vec::new()));
    let map = Theirs::Map([("a".to_owned(), bytes())].into());
    defaulted(
        r#"{"type": "map", "values": "bytes"}"#,
        &json!({"a": "\u{ff}"}),
        map,
    );
    // A record inside of a record, and what that one does not say.
    let record = r#"{"type": "record", "name": "P", "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}, "default": 5000},
        {"name": "b", "type": "bytes"},
        {"name": "next", "type": ["null", "P"], "default": null}]}"#;
    let fields = |at: i64, next: Theirs| {
        let fields = [
            ("at", Theirs::TimestampMicros(at)),
            ("b", bytes()),
            ("next", next),
        ];
        Theirs::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
    };
    let last = || some(0, Theirs::Null);
    defaulted(record, &json!({"b": "\u{ff}"}), fields(5_000, last()));
    let outer = fields(5_000, some(1, fields(7_000, last())));
    let given = json!({"b": "\u{ff}", "next": {"at": 7_000, "b": "\u{ff}"}});
    defaulted(record, &given, outer);
}

#[test]
fn a_default_that_is_none_is_a_mistake_in_the_schema() {
    #[track_caller]
    fn check(kind: &str, default: &str, expected: &str) {
        let text = format!(
            r#"{{"type": "record", "name": "a.R", "fields": [{{"name": "f", "type": {kind}, "default": {default}}}]}}"#
        );
        assert_eq!(super::parse_given(&text).unwrap_err(), expected);
    }
    let expected = r#"the default of a.R.f: expected bytes, found "€""#;
    check(r#""bytes""#, r#""€""#, expected);
    let fixed = r#"{"type": "fixed", "name": "T", "size": 2}"#;
    let expected = r#"the default of a.R.f: expected fixed bytes, found "abc""#;
    check(fixed, r#""abc""#, expected);
}

#[test]
fn a_default_that_is_none_does_no_harm_to_who_does_not_need_it() {
    let record = |fields: &str| {
        layout(&format!(
            r#"{{"type": "record", "name": "R", "fields": [{fields}]}}"#
        ))
    };
    let (without, with) = (
        record(""),
        record(r#"{"name": "f", "type": "bytes", "default": "€"}"#),
    );
    let bytes = encode(&with, &json!({"f": "x"})).unwrap();
    assert_eq!(read(with.clone(), &bytes, &["f"]).unwrap(), r#""x""#);
    let reason = r#"(expected bytes, found "€")"#;
    assert_eq!(
        encode(&with, &json!({})).unwrap_err(),
        format!("f: expected a value, found a default that is none {reason}")
    );
    assert_eq!(
        resolve(&without, &with).unwrap_err(),
        format!("a record without the field f, whose default is none {reason}")
    );
}

#[test]
fn a_field_is_found_by_its_name_and_only_else_by_an_alias() {
    evolved(
        r#"{"name": "old", "type": "int"}, {"name": "new", "type": "int"}"#,
        &json!({"old": 1, "new": 2}),
        r#"{"name": "new", "aliases": ["old"], "type": "int"}"#,
        &["new"],
        "2",
    );
}
