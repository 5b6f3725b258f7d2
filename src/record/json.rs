//! Reads the wanted fields out of a JSON object, in one pass over its bytes.
//!
//! Texts borrow from the record where they can; those with escapes, and lists and objects that are
//! wanted whole, go to the arena. What nobody wants is skipped without being looked at twice. Of
//! repeated names the last counts.

use std::fmt;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Projection;
use super::projection::Branch;
use crate::value::Value;

/// Lists and objects inside one another deeper than this are refused where they are wanted.
const MAX_DEPTH: u32 = 128;

/// And where they are skipped. The parser goes down with them, on the stack of the thread.
const MAX_SKIPPED_DEPTH: usize = 2_048;

/// The bytes are not a JSON object.
#[derive(Debug, thiserror::Error)]
#[error("expected a JSON object, found {found}")]
pub struct JsonError {
    found: String,
}

/// Fills the slots of the projection among `fields` from the JSON object in `bytes`; those whose path
/// is not there become [`Value::Missing`], and all others stay as they are.
///
/// # Errors
/// When the bytes are not one JSON object in UTF-8. The fields are then unspecified.
pub fn decode_json<'a>(
    bytes: &'a [u8],
    projection: &Projection,
    arena: &'a Bump,
    fields: &mut [Value<'a>],
) -> Result<(), JsonError> {
    for slot in projection.slots() {
        fields[slot.index()] = Value::Missing;
    }
    if is_too_deep(bytes) {
        return Err(JsonError {
            found: format!("lists and objects nested deeper than {MAX_SKIPPED_DEPTH}"),
        });
    }
    let mut deserializer = sonic_rs::Deserializer::from_slice(bytes);
    let seed = ObjectSeed {
        branch: &projection.root,
        arena,
        fields,
        depth: 0,
    };
    let parsed = deserializer
        .deserialize_map(seed)
        .and_then(|()| deserializer.end());
    parsed.map_err(|error| JsonError {
        found: describe(bytes, &error),
    })
}

/// Whether lists and objects lie deeper inside one another than the parser may follow. Of bytes that
/// are no JSON any answer will do.
fn is_too_deep(bytes: &[u8]) -> bool {
    // Each level takes two bytes; and few records have so many brackets.
    let has_room = bytes.len() > 2 * MAX_SKIPPED_DEPTH;
    let mut opening = memchr::memchr2_iter(b'[', b'{', bytes);
    has_room && opening.nth(MAX_SKIPPED_DEPTH).is_some() && depth(bytes) > MAX_SKIPPED_DEPTH
}

/// How deep lists and objects lie inside one another at most.
fn depth(bytes: &[u8]) -> usize {
    let (mut open, mut deepest) = (0usize, 0);
    let mut rest = bytes.iter();
    let mut in_text = false;
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                rest.next();
            }
            b'[' | b'{' if !in_text => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' if !in_text => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn describe(bytes: &[u8], error: &sonic_rs::Error) -> String {
    let message = error.to_string();
    let first_line = message.lines().next().unwrap_or_default();
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => "nothing".to_owned(),
        Some(b'{') => format!("an object that is damaged: {first_line}"),
        Some(b'[') => "a list".to_owned(),
        Some(b'"') => "a text".to_owned(),
        Some(_) => format!("other bytes: {first_line}"),
    }
}

/// Reads an object of which only some names are wanted.
struct ObjectSeed<'p, 'f, 'a> {
    branch: &'p Branch,
    arena: &'a Bump,
    fields: &'f mut [Value<'a>],
    depth: u32,
}

impl<'a> Visitor<'a> for ObjectSeed<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(NameSeed(self.branch))? {
            match found {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(branch) => map.next_value_seed(FieldSeed {
                    branch,
                    arena: self.arena,
                    fields: self.fields,
                    depth: self.depth + 1,
                })?,
            }
        }
        Ok(())
    }
}

/// Finds a name among the wanted ones.
struct NameSeed<'p>(&'p Branch);

impl<'de, 'p> DeserializeSeed<'de> for NameSeed<'p> {
    type Value = Option<&'p Branch>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for NameSeed<'p> {
    type Value = Option<&'p Branch>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(name))
    }
}

/// Reads a wanted value: into its slot, or the wanted fields below it, or both.
struct FieldSeed<'p, 'f, 'a> {
    branch: &'p Branch,
    arena: &'a Bump,
    fields: &'f mut [Value<'a>],
    depth: u32,
}

impl<'a> DeserializeSeed<'a> for FieldSeed<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.branch.slot {
            Some(slot) => {
                let value = ValueSeed {
                    arena: self.arena,
                    depth: self.depth,
                }
                .deserialize(deserializer)?;
                self.fields[slot.index()] = value;
                self.branch.pick(value, self.fields);
                Ok(())
            }
            None => {
                // An earlier value of the same name may have left something behind.
                self.branch.clear(self.fields);
                deserializer.deserialize_any(BelowVisitor(self))
            }
        }
    }
}

/// A value of which only fields below are wanted: anything but an object has none.
struct BelowVisitor<'p, 'f, 'a>(FieldSeed<'p, 'f, 'a>);

impl<'a> Visitor<'a> for BelowVisitor<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        let FieldSeed {
            branch,
            arena,
            fields,
            depth,
        } = self.0;
        ObjectSeed {
            branch,
            arena,
            fields,
            depth,
        }
        .visit_map(map)
    }
}

/// Reads a value whole, whatever it is.
#[derive(Clone, Copy)]
struct ValueSeed<'a> {
    arena: &'a Bump,
    depth: u32,
}

impl<'a> DeserializeSeed<'a> for ValueSeed<'a> {
    type Value = Value<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Value<'a>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> ValueSeed<'a> {
    fn below<E: serde::de::Error>(self) -> Result<ValueSeed<'a>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(ValueSeed {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'a> Visitor<'a> for ValueSeed<'a> {
    type Value = Value<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'a>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'a>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'a>, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'a>, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'a>, E> {
        Ok(Value::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<Value<'a>, E> {
        Ok(Value::Str(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'a>, E> {
        Ok(Value::Str(self.arena.alloc_str(value)))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Value<'a>, A::Error> {
        let below = self.below()?;
        let mut list = ArenaVec::new_in(self.arena);
        while let Some(value) = seq.next_element_seed(below)? {
            list.push(value);
        }
        Ok(Value::List(list.into_bump_slice()))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Value<'a>, A::Error> {
        let below = self.below()?;
        let mut entries = ArenaVec::new_in(self.arena);
        while let Some(name) = map.next_key_seed(TextSeed(self.arena))? {
            entries.push((name, map.next_value_seed(below)?));
        }
        Ok(Value::Map(entries.into_bump_slice()))
    }
}

/// Reads a name that is kept.
struct TextSeed<'a>(&'a Bump);

impl<'a> DeserializeSeed<'a> for TextSeed<'a> {
    type Value = &'a str;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<&'a str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for TextSeed<'a> {
    type Value = &'a str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<&'a str, E> {
        Ok(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<&'a str, E> {
        Ok(self.0.alloc_str(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{FieldPath, Slot};

    /// Reads `paths` out of `json` and shows what stands in their slots.
    #[track_caller]
    fn check(json: &str, paths: &[&str], expected: &str) {
        let paths: Vec<FieldPath> = paths.iter().map(|path| FieldPath::new(path)).collect();
        let projection =
            Projection::new(paths.iter().zip(0..).map(|(path, slot)| (path, Slot(slot))));
        let arena = Bump::new();
        let mut fields = vec![Value::Int(-1); paths.len()];
        let shown = match decode_json(json.as_bytes(), &projection, &arena, &mut fields) {
            Ok(()) => fields.iter().map(show).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{json}");
    }

    fn show(value: &Value<'_>) -> String {
        match value {
            Value::Missing => "-".to_owned(),
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => format!("{value:?}"),
            Value::Str(text) => format!("{text:?}"),
            Value::List(list) => {
                format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(","))
            }
            Value::Map(map) => {
                let entries: Vec<_> = map
                    .iter()
                    .map(|(k, v)| format!("{k}:{}", show(v)))
                    .collect();
                format!("{{{}}}", entries.join(","))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn wanted_fields_are_read_and_the_rest_is_skipped() {
        check(
            r#"{"a":1,"meta":{"dt":"x","junk":[{"dt":2}]},"b":[true],"c":{"d":null}}"#,
            &["meta.dt", "a", "c.d", "c.e", "nowhere"],
            r#""x" 1 null - -"#,
        );
    }

    #[test]
    fn all_kinds_of_values_are_read() {
        check(
            r#"{"a":-9223372036854775808,"b":18446744073709551615,"c":1e2,"d":"q\"\u00e9\ud83d\ude00","e":[1,"two",[]],"f":{}}"#,
            &["a", "b", "c", "d", "e", "f"],
            r#"-9223372036854775808 1.8446744073709552e19 100.0 "q\"é😀" [1,"two",[]] {}"#,
        );
    }

    #[test]
    fn a_value_and_fields_below_it_can_both_be_wanted() {
        check(r#"{"m":{"x":{"y":1}}}"#, &["m", "m.x.y"], "{x:{y:1}} 1");
        check(r#"{"m":7}"#, &["m", "m.x.y"], "7 -");
        check(r#"{"m":7}"#, &["m.x.y"], "-");
        check(r#"{"m":[{"x":1}]}"#, &["m.x"], "-");
    }

    #[test]
    fn of_repeated_names_the_last_counts() {
        check(r#"{"a":1,"a":2}"#, &["a"], "2");
        check(r#"{"m":{"x":1,"x":3},"m":{"y":2}}"#, &["m.x", "m.y"], "- 2");
        check(r#"{"m":{"x":1},"m":5}"#, &["m.x"], "-");
    }

    #[test]
    fn what_is_not_an_object_is_refused_with_what_it_is() {
        check("", &["a"], "expected a JSON object, found nothing");
        check("  ", &["a"], "expected a JSON object, found nothing");
        check("[1]", &["a"], "expected a JSON object, found a list");
        check("\"a\"", &["a"], "expected a JSON object, found a text");
        assert!(decodes(br#"{"a":1}"#));
        for broken in [
            &br#"{"a":1"#[..],
            br#"{"a":}"#,
            br#"{"a":1}}"#,
            br#"{"a":1} {"a":2}"#,
            b"{\"a\":\"\xff\"}",
            b"{\"skipped\":\"\xff\",\"a\":1}",
            br#"{'a':1}"#,
            br#"{"a":01}"#,
            br#"{"a":NaN}"#,
        ] {
            assert!(!decodes(broken), "{}", String::from_utf8_lossy(broken));
        }
    }

    /// An object with `levels` objects in `name`, and with a 1 in `a`.
    fn nested(name: &str, levels: usize) -> String {
        let (open, close) = ("{\"b\":[".repeat(levels / 2), "]}".repeat(levels / 2));
        format!("{{\"{name}\":{open}1{close},\"a\":1}}")
    }

    #[test]
    fn deep_nesting_is_refused_where_it_is_wanted_and_skipped_where_it_is_not() {
        assert!(!decodes(nested("a", 200).as_bytes()));
        check(&nested("z", MAX_SKIPPED_DEPTH - 2), &["a"], "1");
    }

    #[test]
    fn nesting_that_would_exhaust_the_stack_is_refused_everywhere() {
        for levels in [MAX_SKIPPED_DEPTH + 2, 20_000, 4_000_000] {
            assert!(!decodes(nested("z", levels).as_bytes()), "{levels}");
        }
        // What never ends, and what ends more often than it begins.
        assert!(!decodes("{\"z\":[".repeat(100_000).as_bytes()));
        assert!(!decodes("]}".repeat(100_000).as_bytes()));
    }

    #[test]
    fn brackets_side_by_side_or_in_texts_are_not_deep() {
        let pairs = format!("{{\"z\":[{}[]],\"a\":1}}", "[],".repeat(50_000));
        check(&pairs, &["a"], "1");
        let text = format!(r#"{{"z":"{}","a":1}}"#, r#"[\"{\\"#.repeat(50_000));
        check(&text, &["a"], "1");
    }

    fn decodes(bytes: &[u8]) -> bool {
        let path = FieldPath::new("a");
        let projection = Projection::new([(&path, Slot(0))]);
        decode_json(bytes, &projection, &Bump::new(), &mut [Value::Missing]).is_ok()
    }
}
