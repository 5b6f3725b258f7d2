//! An Avro schema as it is read and written here: what is on the wire, and what it means to us.
//!
//! Records are numbered, so that one may hold itself. The names that a schema has for types are kept
//! only to find a type of the writer among those of a reader.

use std::sync::Arc;

use crate::value::ValueType;

/// Decimals of more digits are exact only as texts.
pub(in crate::format) const DOUBLE_DIGITS: usize = 15;

/// A schema.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::format) struct Layout {
    pub(super) root: Type,
    pub(super) records: Vec<Record>,
}

/// A record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    pub(super) name: Name,
    /// In the order in which they are on the wire.
    pub(super) fields: Vec<Field>,
    /// Fields of the reader's schema that the writer's does not have, with what they hold.
    pub(super) defaults: Vec<Default>,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// Its name; none: whoever reads does not know it.
    pub(super) name: Option<Box<str>>,
    pub(super) aliases: Vec<String>,
    pub(super) kind: Type,
    /// What it holds where nothing is said, as it would be on the wire; or why that is nothing of its
    /// type.
    pub(super) default: Option<Result<Arc<[u8]>, Arc<str>>>,
}

/// A field that is not on the wire.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Default {
    pub(super) name: Box<str>,
    pub(super) kind: Type,
    /// As it would be on the wire.
    pub(super) bytes: Arc<[u8]>,
    /// The records that `kind` numbers.
    pub(super) records: Arc<[Record]>,
}

/// How a schema calls a record, an enum or fixed bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    /// With the namespace.
    pub(super) full: Box<str>,
    /// As it was called before, each with a namespace.
    pub(super) aliases: Vec<Box<str>>,
}

/// So many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) name: Name,
    pub(super) size: usize,
}

/// One of some texts, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Enum {
    pub(super) name: Name,
    /// What each number stands for; none: whoever reads does not know it.
    pub(super) symbols: Vec<Option<Box<str>>>,
    /// What a reader takes those for that it does not know.
    pub(super) default: Option<Box<str>>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Null,
    Bool,
    /// `int`: 32 bits.
    Int,
    /// `long`: 64 bits.
    Long,
    Float,
    Double,
    Bytes,
    Str,
    Fixed(Fixed),
    /// A point in time.
    Time(Unit),
    /// A day since 1970.
    Date,
    /// The time since midnight, as an `int` or a `long`.
    TimeOfDay(Unit),
    Decimal(Decimal),
    /// A UUID, as 16 bytes; none: as a text.
    Uuid(Option<Fixed>),
    Enum(Enum),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    /// The record of that number.
    Record(usize),
    /// One thing on the wire, and another for who reads.
    Promoted(Box<Type>, Promotion),
    /// Whoever reads cannot take it: why.
    Unfit(String),
}

/// In what time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// A number with so many digits behind the point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) precision: usize,
    pub(super) scale: u32,
    /// The bytes that it has; none: as many as it needs, with their number in front.
    pub(super) fixed: Option<Fixed>,
}

/// What a value becomes for who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promotion {
    Double,
    Str,
    Bytes,
}

impl Name {
    /// Without the namespace.
    pub(super) fn short(&self) -> &str {
        match self.full.rsplit_once('.') {
            Some((_, short)) => short,
            None => &self.full,
        }
    }
}

impl Enum {
    /// The number of a symbol.
    pub(super) fn number(&self, text: &str) -> Option<i64> {
        let mut symbols = self.symbols.iter();
        let found = symbols.position(|symbol| symbol.as_deref() == Some(text));
        found.map(|number| number as i64)
    }
}

impl Unit {
    /// How many of it are a millisecond.
    pub(super) fn per_milli(self) -> i64 {
        match self {
            Unit::Millis => 1,
            Unit::Micros => 1_000,
            Unit::Nanos => 1_000_000,
        }
    }
}

impl Type {
    /// What a field of this type holds, beside null.
    pub(super) fn value_type(&self) -> ValueType {
        match self {
            Type::Null | Type::Unfit(_) => ValueType::Any,
            Type::Bool => ValueType::Bool,
            Type::Int | Type::Long => ValueType::Int,
            Type::Float | Type::Double => ValueType::Float,
            Type::Bytes | Type::Fixed(_) => ValueType::Bytes,
            Type::Str | Type::Uuid(_) | Type::Enum(_) => ValueType::Str,
            Type::Time(_) | Type::Date => ValueType::Time,
            Type::TimeOfDay(_) => ValueType::Duration,
            Type::Decimal(decimal) if decimal.precision <= DOUBLE_DIGITS => ValueType::Float,
            Type::Decimal(_) => ValueType::Str,
            Type::Array(_) => ValueType::List,
            Type::Map(_) | Type::Record(_) => ValueType::Map,
            Type::Union(_) => match self.only() {
                Some(only) => only.value_type(),
                None => ValueType::Any,
            },
            Type::Promoted(_, Promotion::Double) => ValueType::Float,
            Type::Promoted(_, Promotion::Str) => ValueType::Str,
            Type::Promoted(_, Promotion::Bytes) => ValueType::Bytes,
        }
    }

    /// The one type that is not null, of a union with null.
    pub(super) fn only(&self) -> Option<&Type> {
        let Type::Union(variants) = self else {
            return Some(self);
        };
        let mut others = variants.iter().filter(|variant| **variant != Type::Null);
        match (others.next(), others.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// Whether null is one of its values.
    pub(super) fn takes_null(&self) -> bool {
        match self {
            Type::Null => true,
            Type::Union(variants) => variants.contains(&Type::Null),
            _ => false,
        }
    }

    /// As users know it, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Type::Null => "null",
            Type::Bool => "a boolean",
            Type::Int => "an int (32 bits)",
            Type::Long => "a long",
            Type::Float => "a float",
            Type::Double => "a double",
            Type::Bytes => "bytes",
            Type::Str => "a string",
            Type::Fixed(_) => "fixed bytes",
            Type::Time(_) => "a timestamp",
            Type::Date => "a date",
            Type::TimeOfDay(_) => "a time of day",
            Type::Decimal(_) => "a decimal",
            Type::Uuid(_) => "a UUID",
            Type::Enum(_) => "a symbol of the enum",
            Type::Array(_) => "an array",
            Type::Map(_) => "a map",
            Type::Union(_) => "one of the union",
            Type::Record(_) => "a record",
            Type::Promoted(wire, _) => wire.name(),
            Type::Unfit(_) => "nothing",
        }
    }
}
