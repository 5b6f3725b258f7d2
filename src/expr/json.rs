//! Values as JSON text.

use bumpalo::Bump;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};

use super::calendar;
use super::convert::Seconds;
use super::error::EvalError;
use super::function::mismatch;
use crate::value::Value;

/// `json(x)`: compact, names in the order of the input, times and durations as `string()` writes
/// them, bytes as the text that they are; what JSON has no number for (NaN, infinity) is null.
pub(super) fn json<'a>(arguments: &[Value<'a>], arena: &'a Bump) -> Result<Value<'a>, EvalError> {
    let [value] = *arguments else {
        return mismatch("json", arguments);
    };
    let text = serde_json::to_string(&Json(value)).map_err(|_| EvalError::NotUtf8("json"))?;
    Ok(Value::Str(arena.alloc_str(&text)))
}

struct Json<'a>(Value<'a>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Missing | Value::Null => to.serialize_unit(),
            Value::Bool(flag) => to.serialize_bool(flag),
            Value::Int(number) => to.serialize_i64(number),
            Value::Float(number) => to.serialize_f64(number),
            Value::Str(text) => to.serialize_str(text),
            Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => to.serialize_str(text),
                Err(error) => Err(S::Error::custom(error)),
            },
            Value::Time(time) => match calendar::rfc3339(time) {
                Ok(time) => to.collect_str(&time),
                Err(_) => to.collect_str(&time),
            },
            Value::Duration(ms) => to.collect_str(&Seconds(ms)),
            Value::List(items) => to.collect_seq(items.iter().map(|item| Json(*item))),
            Value::Map(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                for (name, value) in entries {
                    map.serialize_entry(name, &Json(*value))?;
                }
                map.end()
            }
        }
    }
}
