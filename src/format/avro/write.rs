//! Writes values in Avro's binary encoding.

use super::decimal;
use super::layout::{Field, Layout, Record, Type, Unit};
use crate::format::schema::SchemaField;
use crate::format::unfit::Unfit;
use crate::record::WHOLE_VALUE;
use crate::time::Timestamp;
use crate::value::{Value, ValueType};

/// How often a value may hold another one.
const MAX_DEPTH: u32 = 128;

/// Appends a record with these fields.
///
/// # Errors
/// Which field does not fit. What has been appended by then means nothing.
pub(in crate::format) fn write(
    layout: &Layout,
    fields: &[(&str, Value<'_>)],
    out: &mut Vec<u8>,
) -> Result<(), Unfit> {
    let mut writer = Writer {
        records: &layout.records,
        depth: 0,
        out,
    };
    match &layout.root {
        Type::Record(number) => writer.record(&layout.records[*number], fields),
        root => match fields {
            [(WHOLE_VALUE, value)] => writer
                .value(root, *value)
                .map_err(|e| e.within(WHOLE_VALUE)),
            _ => Err(Unfit::no_field(WHOLE_VALUE)),
        },
    }
}

/// The fields that a record of this layout has.
pub(in crate::format) fn fields(layout: &Layout) -> Vec<SchemaField<'_>> {
    let Type::Record(number) = &layout.root else {
        return vec![schema_field(WHOLE_VALUE, false, &layout.root)];
    };
    let fields = layout.records[*number].fields.iter();
    let named = fields.filter_map(|field| {
        let name = field.name.as_deref()?;
        Some(schema_field(name, can_be_left_out(field), &field.kind))
    });
    named.collect()
}

fn schema_field<'s>(name: &'s str, can_be_left_out: bool, kind: &Type) -> SchemaField<'s> {
    let only = kind.only().unwrap_or(kind);
    SchemaField {
        name,
        can_be_left_out,
        what: only.name(),
        takes: takes(only),
    }
}

/// The types of values that [`Writer::value`] may write; none: it depends.
fn takes(kind: &Type) -> &'static [ValueType] {
    use ValueType as V;
    match kind {
        Type::Bool => &[V::Bool],
        Type::Int | Type::Long => &[V::Int],
        Type::Float | Type::Double => &[V::Int, V::Float],
        Type::Bytes | Type::Fixed(_) => &[V::Bytes, V::Str],
        Type::Str => &[V::Str, V::Time],
        Type::Time(_) => &[V::Time, V::Str, V::Int],
        Type::Date => &[V::Time, V::Str],
        Type::TimeOfDay(_) => &[V::Duration, V::Int],
        Type::Decimal(_) => &[V::Int, V::Float, V::Str],
        Type::Uuid(_) | Type::Enum(_) => &[V::Str],
        Type::Array(_) => &[V::List],
        Type::Map(_) | Type::Record(_) => &[V::Map],
        Type::Null | Type::Union(_) | Type::Promoted(..) | Type::Unfit(_) => &[],
    }
}

fn can_be_left_out(field: &Field) -> bool {
    field.default.is_some() || field.kind.takes_null()
}

struct Writer<'l, 'o> {
    records: &'l [Record],
    depth: u32,
    out: &'o mut Vec<u8>,
}

impl Writer<'_, '_> {
    fn record(&mut self, record: &Record, given: &[(&str, Value<'_>)]) -> Result<(), Unfit> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unfit::new(
                "values nested less deep",
                "more than 128 levels",
            ));
        }
        let is_known = |name: &str| {
            let mut fields = record.fields.iter();
            fields.any(|field| field.name.as_deref() == Some(name))
        };
        if let Some((name, _)) = given.iter().find(|(name, _)| !is_known(name)) {
            return Err(Unfit::unknown_field(name));
        }
        for (at, field) in record.fields.iter().enumerate() {
            let name = field.name.as_deref().unwrap_or_default();
            // Usually they are given in the order of the schema.
            let same = given.get(at).filter(|(known, _)| *known == name);
            let found = same.or_else(|| given.iter().find(|(known, _)| *known == name));
            let value = found.map_or(Value::Missing, |(_, value)| *value);
            self.field(field, value)
                .map_err(|error| error.within(name))?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(&mut self, field: &Field, value: Value<'_>) -> Result<(), Unfit> {
        match (&field.default, value) {
            (Some(Ok(default)), Value::Missing) => {
                self.out.extend_from_slice(default);
                Ok(())
            }
            (Some(Err(reason)), Value::Missing) => Err(Unfit::new(
                "a value",
                format_args!("a default that is none ({reason})"),
            )),
            _ => self.value(&field.kind, value),
        }
    }

    fn value(&mut self, kind: &Type, value: Value<'_>) -> Result<(), Unfit> {
        let unfit = || Err(Unfit::value(kind.name(), &value));
        match (kind, value) {
            (Type::Union(variants), value) => return self.variant(kind, variants, value),
            (Type::Null, Value::Missing | Value::Null) => {}
            (Type::Bool, Value::Bool(value)) => self.out.push(value.into()),
            (Type::Int, Value::Int(number)) if i32::try_from(number).is_ok() => self.long(number),
            (Type::Long, Value::Int(number)) => self.long(number),
            (Type::Float, Value::Float(number)) => {
                self.out.extend_from_slice(&(number as f32).to_le_bytes());
            }
            (Type::Float, Value::Int(number)) => {
                self.out.extend_from_slice(&(number as f32).to_le_bytes());
            }
            (Type::Double, Value::Float(number)) => {
                self.out.extend_from_slice(&number.to_le_bytes());
            }
            (Type::Double, Value::Int(number)) => {
                self.out.extend_from_slice(&(number as f64).to_le_bytes());
            }
            (Type::Bytes, Value::Bytes(bytes)) => self.sized(bytes),
            (Type::Bytes | Type::Str, Value::Str(text)) => self.sized(text.as_bytes()),
            (Type::Str, Value::Time(time)) => self.sized(time.to_string().as_bytes()),
            (Type::Fixed(fixed), Value::Bytes(bytes)) if bytes.len() == fixed.size => {
                self.out.extend_from_slice(bytes);
            }
            (Type::Fixed(fixed), Value::Str(text)) if text.len() == fixed.size => {
                self.out.extend_from_slice(text.as_bytes());
            }
            (Type::Time(unit), value) => match time(value) {
                Some(time) => self.time(time, *unit)?,
                None => return unfit(),
            },
            (Type::Date, value) => match date(value) {
                Some(days) => self.long(days),
                None => return unfit(),
            },
            (Type::TimeOfDay(unit), Value::Duration(ms) | Value::Int(ms)) => {
                self.long(ms.saturating_mul(unit.per_milli()));
            }
            (Type::Decimal(decimal), value) => match decimal::write(decimal, value) {
                Some(bytes) if decimal.fixed.is_some() => self.out.extend_from_slice(&bytes),
                Some(bytes) => self.sized(&bytes),
                None => return unfit(),
            },
            (Type::Uuid(fixed), Value::Str(text)) => match uuid::Uuid::try_parse(text) {
                Ok(_) if fixed.is_none() => self.sized(text.as_bytes()),
                Ok(uuid) => self.out.extend_from_slice(uuid.as_bytes()),
                Err(_) => return unfit(),
            },
            (Type::Enum(kind), Value::Str(text)) => match kind.number(text) {
                Some(number) => self.long(number),
                None => return unfit(),
            },
            (Type::Array(items), Value::List(list)) => {
                if !list.is_empty() {
                    self.long(list.len() as i64);
                }
                for item in list {
                    self.value(items, *item)?;
                }
                self.long(0);
            }
            (Type::Map(values), Value::Map(entries)) => {
                if !entries.is_empty() {
                    self.long(entries.len() as i64);
                }
                for (name, value) in entries {
                    self.sized(name.as_bytes());
                    self.value(values, *value)
                        .map_err(|error| error.within(name))?;
                }
                self.long(0);
            }
            (Type::Record(number), Value::Map(entries)) => {
                let records = self.records;
                return self.record(&records[*number], entries);
            }
            _ => return unfit(),
        }
        Ok(())
    }

    /// The variant of a union that fits best: of one with null the other one, of several the first
    /// that is just that, or else the first that takes the value.
    fn variant(&mut self, union: &Type, variants: &[Type], value: Value<'_>) -> Result<(), Unfit> {
        let start = self.out.len();
        if value.is_absent() {
            return match variants.iter().position(|variant| *variant == Type::Null) {
                Some(number) => {
                    self.long(number as i64);
                    Ok(())
                }
                None => Err(Unfit::value(union.name(), &value)),
            };
        }
        let only = union.only();
        let exact = variants
            .iter()
            .position(|variant| is_exact(variant, &value));
        let others = (0..variants.len()).filter(|number| Some(*number) != exact);
        for number in exact.into_iter().chain(others) {
            if variants[number] == Type::Null {
                continue;
            }
            let depth = self.depth;
            self.long(number as i64);
            match self.value(&variants[number], value) {
                Ok(()) => return Ok(()),
                Err(error) if only.is_some() => return Err(error),
                Err(_) => {
                    self.out.truncate(start);
                    self.depth = depth;
                }
            }
        }
        Err(Unfit::value(union.name(), &value))
    }

    fn time(&mut self, time: Timestamp, unit: Unit) -> Result<(), Unfit> {
        match time.millis().checked_mul(unit.per_milli()) {
            Some(number) => {
                self.long(number);
                Ok(())
            }
            None => Err(Unfit::new(
                "a timestamp",
                format!("{time}, which is too far away"),
            )),
        }
    }

    fn sized(&mut self, bytes: &[u8]) {
        push_sized(bytes, self.out);
    }

    fn long(&mut self, number: i64) {
        push_long(number, self.out);
    }
}

/// Appends bytes with their number in front.
pub(super) fn push_sized(bytes: &[u8], out: &mut Vec<u8>) {
    push_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// Appends a number in zigzag coding.
pub(super) fn push_long(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Whether a variant of a union is just what the value is.
fn is_exact(kind: &Type, value: &Value<'_>) -> bool {
    match (kind, value) {
        (Type::Bool, Value::Bool(_))
        | (Type::Long, Value::Int(_))
        | (Type::Double, Value::Float(_))
        | (Type::Str, Value::Str(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Time(_), Value::Time(_))
        | (Type::TimeOfDay(_), Value::Duration(_))
        | (Type::Array(_), Value::List(_)) => true,
        (Type::Enum(kind), Value::Str(text)) => kind.number(text).is_some(),
        _ => false,
    }
}

/// A point in time: itself, RFC 3339, or milliseconds since 1970.
pub(in crate::format) fn time(value: Value<'_>) -> Option<Timestamp> {
    match value {
        Value::Time(time) => Some(time),
        Value::Str(text) => Timestamp::parse_rfc3339(text).ok(),
        Value::Int(ms) => Some(Timestamp(ms)),
        _ => None,
    }
}

/// The number of a day since 1970: of a point in time, or of a text such as `2026-05-05`.
fn date(value: Value<'_>) -> Option<i64> {
    let time = match value {
        Value::Str(text) if text.len() == 10 => {
            Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")).ok()
        }
        Value::Time(_) | Value::Str(_) => time(value),
        _ => None,
    };
    time.map(|time| time.millis().div_euclid(86_400_000))
}
