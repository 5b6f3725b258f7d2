//! From the JSON of an Avro schema to its layout. The library knows what a schema is; here its names
//! are resolved, its logical types get their meanings, and its defaults become bytes.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{
    Aliases, FixedSchema, InnerDecimalSchema, Name as Named, RecordSchema, UuidSchema,
};
use serde_json::Value as Json;

use super::default::Defaults;
use super::layout::{Decimal, Enum, Field, Fixed, Layout, Name, Record, Type, Unit};

/// Reads a schema; `references` are those that it names, with their names.
///
/// # Errors
/// What is wrong with it, with line and column where that is known.
pub(in crate::format) fn parse(
    text: &str,
    references: &[(String, String)],
) -> Result<Layout, String> {
    let trimmed = text.trim();
    if let Err(error) = serde_json::from_str::<Json>(trimmed) {
        return Err(format!("it is not JSON: {error}"));
    }
    let others = references.iter().map(|(_, text)| text);
    let parsed = Schema::parse_str_with_list(trimmed, others);
    let (root, others) = parsed.map_err(|error| worded(&error))?;
    let mut builder = Builder::default();
    others.iter().for_each(|other| builder.collect(other, None));
    builder.collect(&root, None);
    let root = builder.kind(&root, None)?;
    let mut records = builder.records;
    builder.defaults.encode(&mut records);
    Ok(Layout { root, records })
}

/// The same of a schema that stands in a topology: a default that is none is a mistake there, as
/// somebody can mend it. In a registry there are some that nobody ever uses.
///
/// # Errors
/// As [`parse`].
pub(in crate::format) fn parse_given(text: &str) -> Result<Layout, String> {
    let layout = parse(text, &[])?;
    for record in &layout.records {
        for field in &record.fields {
            if let Some(Err(reason)) = &field.default {
                let (record, name) = (&record.name.full, field.name.as_deref());
                let name = name.unwrap_or_default();
                return Err(format!("the default of {record}.{name}: {reason}"));
            }
        }
    }
    Ok(layout)
}

/// The error with what caused it.
fn worded(error: &apache_avro::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[derive(Default)]
struct Builder<'s> {
    /// The schemas that have names, with the namespaces around them.
    named: HashMap<String, (&'s Schema, Option<String>)>,
    /// The records that have a number.
    numbers: HashMap<String, usize>,
    records: Vec<Record>,
    defaults: Defaults,
}

impl<'s> Builder<'s> {
    /// Finds all schemas that have names.
    fn collect(&mut self, schema: &'s Schema, namespace: Option<&str>) {
        let name = match schema {
            Schema::Record(record) => &record.name,
            Schema::Enum(kind) => &kind.name,
            Schema::Fixed(kind) | Schema::Duration(kind) => &kind.name,
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Fixed(kind) => &kind.name,
                InnerDecimalSchema::Bytes => return,
            },
            Schema::Uuid(UuidSchema::Fixed(kind)) => &kind.name,
            Schema::Array(array) => return self.collect(&array.items, namespace),
            Schema::Map(map) => return self.collect(&map.types, namespace),
            Schema::Union(union) => {
                let mut variants = union.variants().iter();
                return variants
                    .by_ref()
                    .for_each(|each| self.collect(each, namespace));
            }
            _ => return,
        };
        let full = name.fullname(namespace);
        let inner = namespace_of(name, namespace);
        let known = self
            .named
            .insert(full, (schema, namespace.map(str::to_owned)));
        if let (Schema::Record(record), None) = (schema, known) {
            for field in &record.fields {
                self.collect(&field.schema, inner.as_deref());
            }
        }
    }

    fn kind(&mut self, schema: &Schema, namespace: Option<&str>) -> Result<Type, String> {
        Ok(match schema {
            Schema::Null => Type::Null,
            Schema::Boolean => Type::Bool,
            Schema::Int => Type::Int,
            Schema::Long => Type::Long,
            Schema::Float => Type::Float,
            Schema::Double => Type::Double,
            Schema::Bytes | Schema::BigDecimal => Type::Bytes,
            Schema::String => Type::Str,
            Schema::Fixed(kind) | Schema::Duration(kind) => Type::Fixed(fixed(kind, namespace)),
            Schema::Array(array) => Type::Array(Box::new(self.kind(&array.items, namespace)?)),
            Schema::Map(map) => Type::Map(Box::new(self.kind(&map.types, namespace)?)),
            Schema::Union(union) => {
                let variants = union.variants().iter();
                let variants = variants.map(|variant| self.kind(variant, namespace));
                Type::Union(variants.collect::<Result<_, _>>()?)
            }
            Schema::Enum(kind) => {
                let symbols = kind.symbols.iter();
                Type::Enum(Enum {
                    name: name(&kind.name, &kind.aliases, namespace),
                    symbols: symbols.map(|symbol| Some(symbol.as_str().into())).collect(),
                    default: kind.default.as_deref().map(Into::into),
                })
            }
            Schema::Decimal(decimal) => Type::Decimal(Decimal {
                precision: decimal.precision,
                scale: u32::try_from(decimal.scale).map_err(|error| error.to_string())?,
                fixed: match &decimal.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(kind) => Some(fixed(kind, namespace)),
                },
            }),
            Schema::Uuid(UuidSchema::String) => Type::Uuid(None),
            Schema::Uuid(UuidSchema::Fixed(kind)) => Type::Uuid(Some(fixed(kind, namespace))),
            Schema::Uuid(UuidSchema::Bytes) => Type::Bytes,
            Schema::Date => Type::Date,
            Schema::TimeMillis => Type::TimeOfDay(Unit::Millis),
            Schema::TimeMicros => Type::TimeOfDay(Unit::Micros),
            Schema::TimestampMillis | Schema::LocalTimestampMillis => Type::Time(Unit::Millis),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => Type::Time(Unit::Micros),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Type::Time(Unit::Nanos),
            Schema::Record(record) => Type::Record(self.record(record, namespace)?),
            Schema::Ref { name } => {
                let full = name.fullname(namespace);
                let found = self.named.get(&full).cloned();
                let (schema, around) = found.ok_or_else(|| format!("there is no type {full}"))?;
                self.kind(schema, around.as_deref())?
            }
        })
    }

    fn record(&mut self, record: &RecordSchema, namespace: Option<&str>) -> Result<usize, String> {
        let full = record.name.fullname(namespace);
        if let Some(number) = self.numbers.get(&full) {
            return Ok(*number);
        }
        let number = self.records.len();
        self.numbers.insert(full, number);
        self.records.push(Record {
            name: name(&record.name, &record.aliases, namespace),
            ..Record::default()
        });
        let inner = namespace_of(&record.name, namespace);
        let fields = record.fields.iter().enumerate().map(|(at, field)| {
            if let Some(default) = &field.default {
                self.defaults.add((number, at), default);
            }
            Ok(Field {
                name: Some(field.name.as_str().into()),
                aliases: field.aliases.clone(),
                kind: self.kind(&field.schema, inner.as_deref())?,
                default: None,
            })
        });
        let fields = fields.collect::<Result<_, String>>()?;
        self.records[number].fields = fields;
        Ok(number)
    }
}

/// The namespace inside a schema of that name.
fn namespace_of(name: &Named, around: Option<&str>) -> Option<String> {
    name.namespace().or(around).map(str::to_owned)
}

fn fixed(kind: &FixedSchema, namespace: Option<&str>) -> Fixed {
    Fixed {
        name: name(&kind.name, &kind.aliases, namespace),
        size: kind.size,
    }
}

/// A name in the namespace around it, with its aliases, which are in its own.
fn name(name: &Named, aliases: &Aliases, around: Option<&str>) -> Name {
    let inner = namespace_of(name, around);
    let aliases = aliases.iter().flatten();
    Name {
        full: name.fullname(around).into(),
        aliases: aliases
            .map(|alias| alias.fullname(inner.as_deref()).into())
            .collect(),
    }
}
