//! JSON as values, and values as JSON: for what is written in schemas and in tests of topologies.

use bumpalo::Bump;
use serde_json::Value as Json;

use crate::value::Value;

/// A JSON value; texts, lists and objects go to the arena.
pub(crate) fn value<'a>(json: &Json, arena: &'a Bump) -> Value<'a> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Str(arena.alloc_str(text)),
        Json::Array(items) => {
            let items = items.iter().map(|item| value(item, arena));
            Value::List(arena.alloc_slice_fill_iter(items))
        }
        Json::Object(_) => Value::Map(entries(json, arena)),
    }
}

/// The entries of a JSON object; none of anything else.
pub(crate) fn entries<'a>(json: &Json, arena: &'a Bump) -> &'a [(&'a str, Value<'a>)] {
    let Json::Object(entries) = json else {
        return &[];
    };
    let entries = entries.iter().map(|(name, item)| {
        let name: &'a str = arena.alloc_str(name);
        (name, value(item, arena))
    });
    arena.alloc_slice_fill_iter(entries)
}

/// A value as JSON: absent ones as null, times as RFC 3339, lengths of time in milliseconds, bytes as
/// text as far as they are any.
pub(crate) fn of_value(value: &Value<'_>) -> Json {
    match value {
        Value::Missing | Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) | Value::Duration(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Str(text) => (*text).into(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Time(time) => time.to_string().into(),
        Value::List(list) => list.iter().map(of_value).collect(),
        Value::Map(entries) => of_entries(entries),
    }
}

/// Names and values as a JSON object.
pub(crate) fn of_entries(entries: &[(&str, Value<'_>)]) -> Json {
    let entries = entries.iter();
    entries
        .map(|(name, value)| ((*name).to_owned(), of_value(value)))
        .collect()
}
