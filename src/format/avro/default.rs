//! The defaults of fields: from JSON, as they stand in a schema, to the bytes that are on the wire where
//! the same is written.
//!
//! They are of the type that is on the wire, whatever that means to us: a `timestamp-micros` is a
//! number of microseconds, a `decimal` is bytes, and bytes are a text whose code points they are.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::layout::{Record, Type, Unit};
use super::write::{push_long, push_sized};

/// Defaults inside one another deeper than this are refused: some have no end.
const MAX_DEPTH: u32 = 64;

/// A record by its number, and a field by its place in it.
type Place = (usize, usize);

/// The defaults of a schema, where they are.
#[derive(Default)]
pub(super) struct Defaults(BTreeMap<Place, Json>);

impl Defaults {
    pub(super) fn add(&mut self, place: Place, default: &Json) {
        self.0.insert(place, default.clone());
    }

    /// Gives these defaults to the fields of the records.
    pub(super) fn encode(&self, records: &mut [Record]) {
        let encoded = self.0.iter().map(|((number, at), default)| {
            let mut encoder = Encoder {
                records,
                defaults: self,
                depth: 0,
                out: Vec::new(),
            };
            let done = encoder.value(&records[*number].fields[*at].kind, default);
            done.map(|()| encoder.out.into()).map_err(Into::into)
        });
        let encoded: Vec<_> = encoded.collect();
        for ((number, at), default) in self.0.keys().zip(encoded) {
            records[*number].fields[*at].default = Some(default);
        }
    }
}

struct Encoder<'l> {
    records: &'l [Record],
    defaults: &'l Defaults,
    depth: u32,
    out: Vec<u8>,
}

impl Encoder<'_> {
    fn value(&mut self, kind: &Type, json: &Json) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("expected one that is nested less deep".to_owned());
        }
        let unfit = || format!("expected {}, found {json}", kind.name());
        match (kind, json) {
            (Type::Null, Json::Null) => {}
            (Type::Bool, Json::Bool(value)) => self.out.push((*value).into()),
            (Type::Int | Type::Date | Type::TimeOfDay(Unit::Millis), json) => {
                let number = json.as_i64().and_then(|number| i32::try_from(number).ok());
                push_long(number.ok_or_else(unfit)?.into(), &mut self.out);
            }
            (Type::Long | Type::Time(_) | Type::TimeOfDay(_), json) => {
                push_long(json.as_i64().ok_or_else(unfit)?, &mut self.out);
            }
            (Type::Float, json) => {
                let number = double(json).ok_or_else(unfit)? as f32;
                self.out.extend_from_slice(&number.to_le_bytes());
            }
            (Type::Double, json) => {
                let number = double(json).ok_or_else(unfit)?;
                self.out.extend_from_slice(&number.to_le_bytes());
            }
            (Type::Str | Type::Uuid(None), Json::String(text)) => {
                push_sized(text.as_bytes(), &mut self.out);
            }
            (Type::Bytes, Json::String(text)) => {
                push_sized(&bytes(text).ok_or_else(unfit)?, &mut self.out);
            }
            (Type::Decimal(decimal), Json::String(text)) => {
                let bytes = bytes(text).ok_or_else(unfit)?;
                match &decimal.fixed {
                    None => push_sized(&bytes, &mut self.out),
                    Some(fixed) if fixed.size == bytes.len() => self.out.extend(bytes),
                    Some(_) => return Err(unfit()),
                }
            }
            (Type::Fixed(fixed) | Type::Uuid(Some(fixed)), Json::String(text)) => {
                let bytes = bytes(text).filter(|bytes| bytes.len() == fixed.size);
                self.out.extend(bytes.ok_or_else(unfit)?);
            }
            (Type::Enum(kind), Json::String(text)) => {
                let number = kind.number(text).ok_or_else(unfit)?;
                push_long(number, &mut self.out);
            }
            (Type::Array(items), Json::Array(list)) => self.array(items, list)?,
            (Type::Map(values), Json::Object(entries)) => self.map(values, entries)?,
            (Type::Union(variants), json) => self.variant(variants, json)?,
            (Type::Record(number), Json::Object(given)) => self.record(*number, given)?,
            _ => return Err(unfit()),
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self, items: &Type, list: &[Json]) -> Result<(), String> {
        if !list.is_empty() {
            push_long(list.len() as i64, &mut self.out);
        }
        for item in list {
            self.value(items, item)?;
        }
        push_long(0, &mut self.out);
        Ok(())
    }

    fn map(
        &mut self,
        values: &Type,
        entries: &serde_json::Map<String, Json>,
    ) -> Result<(), String> {
        if !entries.is_empty() {
            push_long(entries.len() as i64, &mut self.out);
        }
        for (name, value) in entries {
            push_sized(name.as_bytes(), &mut self.out);
            self.value(values, value)?;
        }
        push_long(0, &mut self.out);
        Ok(())
    }

    /// The first variant that takes it. Until Avro 1.12 that was the first one of the union; newer
    /// schemas have defaults of any.
    fn variant(&mut self, variants: &[Type], json: &Json) -> Result<(), String> {
        let (start, depth) = (self.out.len(), self.depth);
        let mut first = None;
        for (number, variant) in variants.iter().enumerate() {
            push_long(number as i64, &mut self.out);
            match self.value(variant, json) {
                Ok(()) => return Ok(()),
                Err(reason) => first.get_or_insert(reason),
            };
            self.out.truncate(start);
            self.depth = depth;
        }
        Err(first.unwrap_or_else(|| "a union of nothing has none".to_owned()))
    }

    /// What is not given of a record is what its field has as default.
    fn record(
        &mut self,
        number: usize,
        given: &serde_json::Map<String, Json>,
    ) -> Result<(), String> {
        let (records, defaults) = (self.records, self.defaults);
        for (at, field) in records[number].fields.iter().enumerate() {
            let name = field.name.as_deref().unwrap_or_default();
            let json = given.get(name).or_else(|| defaults.0.get(&(number, at)));
            let json = json.ok_or_else(|| format!("expected the field {name}, found none"))?;
            self.value(&field.kind, json)?;
        }
        Ok(())
    }
}

/// A number, or one of those that JSON has none for.
fn double(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "INF" | "Infinity" => Some(f64::INFINITY),
            "-INF" | "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// The code points of a text as bytes; none if one is beyond them.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let points = text.chars().map(|point| u8::try_from(u32::from(point)));
    points.collect::<Result<_, _>>().ok()
}
