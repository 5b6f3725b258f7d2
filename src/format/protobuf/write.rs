//! Writes values in Protobuf's binary encoding, fields by their numbers.

use smallvec::SmallVec;

use super::layout::{Field, Layout, Message, Shape, Type, Wire};
use crate::format::avro::time;
use crate::format::unfit::Unfit;
use crate::value::Value;

/// How often a message may hold another one.
const MAX_DEPTH: u32 = 100;

/// Appends a message with these fields.
///
/// # Errors
/// Which field does not fit. What has been appended by then means nothing.
pub(in crate::format) fn write(
    layout: &Layout,
    fields: &[(&str, Value<'_>)],
    out: &mut Vec<u8>,
) -> Result<(), Unfit> {
    let writer = Writer {
        messages: &layout.messages,
    };
    writer.message(layout.root(), fields, 0, out)
}

#[derive(Clone, Copy)]
struct Writer<'l> {
    messages: &'l [Message],
}

impl Writer<'_> {
    fn message(
        self,
        message: &Message,
        given: &[(&str, Value<'_>)],
        depth: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        if depth > MAX_DEPTH {
            return Err(Unfit::new(
                "messages nested less deep",
                "more than 100 levels",
            ));
        }
        let is_known = |name: &str| message.fields.iter().any(|field| *field.name == *name);
        if let Some((name, _)) = given.iter().find(|(name, _)| !is_known(name)) {
            return Err(Unfit::unknown_field(name));
        }
        for field in &message.fields {
            let found = given.iter().find(|(known, _)| *known == &*field.name);
            let value = found.map_or(Value::Missing, |(_, value)| *value);
            let written = self.field(field, value, depth, out);
            written.map_err(|error| error.within(&field.name))?;
        }
        Ok(())
    }

    fn field(
        self,
        field: &Field,
        value: Value<'_>,
        depth: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        match (&field.shape, value) {
            (_, Value::Missing | Value::Null) if field.is_required => {
                Err(Unfit::value(field.kind.name(), &value))
            }
            (_, Value::Missing | Value::Null) => Ok(()),
            (Shape::Implicit, value) if is_default(&field.kind, value) => Ok(()),
            (Shape::Optional | Shape::Implicit, value) => {
                self.tagged(field.number, &field.kind, value, depth, out)
            }
            (Shape::Repeated { is_packed: true }, Value::List(list)) => {
                if list.is_empty() {
                    return Ok(());
                }
                sized(field.number, out, |out| {
                    let mut items = list.iter();
                    items.try_for_each(|item| self.value(&field.kind, *item, depth, out))
                })
            }
            (Shape::Repeated { is_packed: false }, Value::List(list)) => {
                let mut items = list.iter();
                items.try_for_each(|item| self.tagged(field.number, &field.kind, *item, depth, out))
            }
            (Shape::Map { key }, Value::Map(entries)) => {
                let mut entries = entries.iter();
                entries.try_for_each(|(name, value)| {
                    sized(field.number, out, |out| {
                        self.key(key, name, out)?;
                        let written = self.tagged(2, &field.kind, *value, depth, out);
                        written.map_err(|error| error.within(name))
                    })
                })
            }
            (Shape::Repeated { .. }, value) => Err(Unfit::value("a list", &value)),
            (Shape::Map { .. }, value) => Err(Unfit::value("a map", &value)),
        }
    }

    fn key(self, kind: &Type, name: &str, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let unfit = || Unfit::new(kind.name(), format_args!("the name {name:?}"));
        let value = match kind {
            Type::Str => Value::Str(name),
            Type::Bool => Value::Bool(name.parse().map_err(|_| unfit())?),
            _ => Value::Int(name.parse().map_err(|_| unfit())?),
        };
        self.tagged(1, kind, value, 0, out)
    }

    fn tagged(
        self,
        number: u32,
        kind: &Type,
        value: Value<'_>,
        depth: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        if kind.wire() == Wire::Sized {
            return sized(number, out, |out| self.value(kind, value, depth, out));
        }
        tag(number, kind.wire(), out);
        self.value(kind, value, depth, out)
    }

    /// A value without its tag and, if it is of that kind, without its length.
    fn value(
        self,
        kind: &Type,
        value: Value<'_>,
        depth: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        let unfit = || Unfit::value(kind.name(), &value);
        match (kind, value) {
            (Type::Double, Value::Float(number)) => out.extend_from_slice(&number.to_le_bytes()),
            (Type::Double, Value::Int(number)) => {
                out.extend_from_slice(&(number as f64).to_le_bytes());
            }
            (Type::Float, Value::Float(number)) => {
                out.extend_from_slice(&(number as f32).to_le_bytes());
            }
            (Type::Float, Value::Int(number)) => {
                out.extend_from_slice(&(number as f32).to_le_bytes());
            }
            (Type::Int32, Value::Int(number)) => {
                let number = i32::try_from(number).map_err(|_| unfit())?;
                varint(i64::from(number) as u64, out);
            }
            (Type::Int64, Value::Int(number)) => varint(number as u64, out),
            (Type::Uint32, Value::Int(number)) => {
                varint(u32::try_from(number).map_err(|_| unfit())?.into(), out);
            }
            (Type::Uint64, value) => varint(unsigned(value).ok_or_else(unfit)?, out),
            (Type::Sint32, Value::Int(number)) => {
                let number = i32::try_from(number).map_err(|_| unfit())?;
                varint(zigzag(number.into()), out);
            }
            (Type::Sint64, Value::Int(number)) => varint(zigzag(number), out),
            (Type::Fixed32, Value::Int(number)) => {
                let number = u32::try_from(number).map_err(|_| unfit())?;
                out.extend_from_slice(&number.to_le_bytes());
            }
            (Type::Fixed64, value) => {
                let number = unsigned(value).ok_or_else(unfit)?;
                out.extend_from_slice(&number.to_le_bytes());
            }
            (Type::Sfixed32, Value::Int(number)) => {
                let number = i32::try_from(number).map_err(|_| unfit())?;
                out.extend_from_slice(&number.to_le_bytes());
            }
            (Type::Sfixed64, Value::Int(number)) => out.extend_from_slice(&number.to_le_bytes()),
            (Type::Bool, Value::Bool(value)) => out.push(value.into()),
            (Type::Str | Type::Bytes, Value::Str(text)) => out.extend_from_slice(text.as_bytes()),
            (Type::Str, Value::Time(time)) => out.extend_from_slice(time.to_string().as_bytes()),
            (Type::Bytes, Value::Bytes(bytes)) => out.extend_from_slice(bytes),
            (Type::Enum(values), Value::Str(name)) => {
                let found = values.iter().find(|(known, _)| **known == *name);
                let (_, number) = found.ok_or_else(unfit)?;
                varint(i64::from(*number) as u64, out);
            }
            (Type::Enum(_), Value::Int(number)) => {
                let number = i32::try_from(number).map_err(|_| unfit())?;
                varint(i64::from(number) as u64, out);
            }
            (Type::Time, value) => {
                let ms = time(value).ok_or_else(unfit)?.millis();
                seconds_and_nanos(ms.div_euclid(1_000), ms.rem_euclid(1_000), out);
            }
            (Type::Duration, Value::Duration(ms) | Value::Int(ms)) => {
                seconds_and_nanos(ms / 1_000, ms % 1_000, out);
            }
            (Type::Wrapper(inner), value) => {
                if !is_default(inner, value) {
                    self.tagged(1, inner, value, depth, out)?;
                }
            }
            (Type::Message(number), Value::Map(entries)) => {
                self.message(&self.messages[*number], entries, depth + 1, out)?;
            }
            _ => return Err(unfit()),
        }
        Ok(())
    }
}

fn seconds_and_nanos(seconds: i64, ms: i64, out: &mut Vec<u8>) {
    if seconds != 0 {
        tag(1, Wire::Varint, out);
        varint(seconds as u64, out);
    }
    if ms != 0 {
        tag(2, Wire::Varint, out);
        varint((ms * 1_000_000) as u64, out);
    }
}

/// What is not written, since it is what a field holds that is not there.
fn is_default(kind: &Type, value: Value<'_>) -> bool {
    match (kind, value) {
        (_, Value::Bool(value)) => !value,
        (Type::Enum(values), Value::Int(number)) => values
            .first()
            .is_some_and(|(_, default)| i64::from(*default) == number),
        (Type::Enum(values), Value::Str(name)) => values
            .first()
            .is_some_and(|(default, _)| **default == *name),
        (Type::Time | Type::Duration | Type::Wrapper(_) | Type::Message(_), _) => false,
        (_, Value::Int(number)) => number == 0,
        (_, Value::Float(number)) => number.to_bits() == 0,
        (_, Value::Str(text)) => text.is_empty(),
        (_, Value::Bytes(bytes)) => bytes.is_empty(),
        _ => false,
    }
}

/// A whole number of 64 bits that is not negative; beyond 63 bits it is a double.
fn unsigned(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(number).ok(),
        Value::Float(number)
            if number.fract() == 0.0 && number >= 0.0 && number < 2f64.powi(64) =>
        {
            Some(number as u64)
        }
        _ => None,
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn tag(number: u32, wire: Wire, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | wire as u64, out);
}

fn varint(mut rest: u64, out: &mut Vec<u8>) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A field with its length in front, which is known when the rest is there.
fn sized(
    number: u32,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    tag(number, Wire::Sized, out);
    let start = out.len();
    write(out)?;
    let mut length: SmallVec<[u8; 10]> = SmallVec::new();
    let mut rest = out.len() - start;
    while rest >= 0x80 {
        length.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    length.push(rest as u8);
    out.splice(start..start, length);
    Ok(())
}
