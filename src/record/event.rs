//! The event that a row was made of: whatever its format, as it came, and so that its fields can be
//! read again.
//!
//! JSON describes itself, and so do texts and bytes, which are one field. An event of another format
//! means nothing without its schema, which may be another one tomorrow: with it go all of its fields,
//! where somebody keeps or sends the row. So what is kept can be read for as long as it is kept,
//! without any schema.

use bumpalo::Bump;

use super::{Projection, decode_json};
use crate::value::Value;

/// The name of the one field of an event that is a text or bytes.
pub const WHOLE_VALUE: &str = "value";

/// An event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A JSON object.
    Json(&'a [u8]),
    /// A text, which is the one field [`WHOLE_VALUE`].
    Text(&'a str),
    /// Bytes, which are the one field [`WHOLE_VALUE`].
    Bytes(&'a [u8]),
    /// An event that only its schema explains.
    Typed {
        /// As it came.
        bytes: &'a [u8],
        /// All of its fields, in the order of the schema; empty where nobody keeps them.
        fields: &'a [(&'a str, Value<'a>)],
    },
}

impl<'a> Event<'a> {
    /// As it came.
    pub fn bytes(&self) -> &'a [u8] {
        match *self {
            Event::Json(bytes) | Event::Bytes(bytes) | Event::Typed { bytes, .. } => bytes,
            Event::Text(text) => text.as_bytes(),
        }
    }

    /// Fills the slots of the projection among `fields`; those whose path is not there become
    /// [`Value::Missing`]. It has been read before; should JSON be none, its fields are missing.
    pub fn read(&self, projection: &Projection, arena: &'a Bump, fields: &mut [Value<'a>]) {
        match *self {
            Event::Json(bytes) => {
                if decode_json(bytes, projection, arena, fields).is_err() {
                    projection.pick(&[], fields);
                }
            }
            Event::Text(text) => projection.pick(&[(WHOLE_VALUE, Value::Str(text))], fields),
            Event::Bytes(bytes) => projection.pick(&[(WHOLE_VALUE, Value::Bytes(bytes))], fields),
            Event::Typed { fields: all, .. } => projection.pick(all, fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{FieldPath, Slot};

    #[test]
    fn an_event_of_any_format_gives_its_fields() {
        let paths = ["value", "a.b", "a", "x"].map(FieldPath::new);
        let projection =
            Projection::new(paths.iter().zip(0..).map(|(path, slot)| (path, Slot(slot))));
        let arena = Bump::new();
        let read = |event: Event<'static>| {
            let mut fields = [Value::Int(-1); 4];
            event.read(&projection, &arena, &mut fields);
            fields
        };
        const NOTHING: Value<'_> = Value::Missing;
        let inner = Value::Map(&[("b", Value::Int(7))]);
        let typed = Event::Typed {
            bytes: b"\x0e",
            fields: &[("a", Value::Map(&[("b", Value::Int(7))]))],
        };
        assert_eq!(read(typed), [NOTHING, Value::Int(7), inner, NOTHING]);
        assert_eq!(read(Event::Json(br#"{"a":{"b":7}}"#)), read(typed));
        assert_eq!(read(Event::Json(b"{")), [NOTHING; 4]);
        let text = [Value::Str("ü"), NOTHING, NOTHING, NOTHING];
        assert_eq!(read(Event::Text("ü")), text);
        let bytes = [Value::Bytes(b"\xff"), NOTHING, NOTHING, NOTHING];
        assert_eq!(read(Event::Bytes(b"\xff")), bytes);
    }
}
