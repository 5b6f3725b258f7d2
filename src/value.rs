//! What a field of a record can hold while the record is processed.
//!
//! A [`Value`] is `Copy` and owns nothing: texts and lists borrow from the record's bytes or from
//! the arena of the batch, so nothing is allocated or freed per field. What must outlive the batch
//! is encoded (state) or copied into an owned type (SQL rows).

use std::fmt;
use std::sync::Arc;

use bumpalo::Bump;

use crate::time::Timestamp;

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The field is not there.
    Missing,
    /// The field is there and is null.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number. Numbers of the input outside `i64` are read as [`Value::Float`].
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Str(&'a str),
    /// Bytes that need not be text.
    Bytes(&'a [u8]),
    /// A point in time.
    Time(Timestamp),
    /// A length of time in milliseconds; made by expressions only.
    Duration(i64),
    /// A list.
    List(&'a [Value<'a>]),
    /// An object: names and values in the order of the input.
    Map(&'a [(&'a str, Value<'a>)]),
}

impl<'a> Value<'a> {
    /// True for [`Value::Missing`] and [`Value::Null`].
    pub fn is_absent(&self) -> bool {
        matches!(self, Value::Missing | Value::Null)
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// A copy that borrows from an arena.
    pub fn copied_into<'c>(&self, arena: &'c Bump) -> Value<'c> {
        match *self {
            Value::Missing => Value::Missing,
            Value::Null => Value::Null,
            Value::Bool(value) => Value::Bool(value),
            Value::Int(value) => Value::Int(value),
            Value::Float(value) => Value::Float(value),
            Value::Str(text) => Value::Str(arena.alloc_str(text)),
            Value::Bytes(bytes) => Value::Bytes(arena.alloc_slice_copy(bytes)),
            Value::Time(time) => Value::Time(time),
            Value::Duration(ms) => Value::Duration(ms),
            Value::List(list) => {
                let copies = list.iter().map(|value| value.copied_into(arena));
                Value::List(arena.alloc_slice_fill_iter(copies))
            }
            Value::Map(entries) => {
                let copies = entries
                    .iter()
                    .map(|(name, value)| (&*arena.alloc_str(name), value.copied_into(arena)));
                Value::Map(arena.alloc_slice_fill_iter(copies))
            }
        }
    }

    /// The type's name as users know it, for error messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Missing => "missing",
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "double",
            Value::Str(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Time(_) => "timestamp",
            Value::Duration(_) => "duration",
            Value::List(_) => "list",
            Value::Map(_) => "map",
        }
    }
}

/// Which values a field can hold, as far as it is known before any record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// Not known; checked when the record is processed.
    Any,
    /// [`Value::Bool`].
    Bool,
    /// [`Value::Int`].
    Int,
    /// [`Value::Float`].
    Float,
    /// [`Value::Str`].
    Str,
    /// [`Value::Bytes`].
    Bytes,
    /// [`Value::Time`].
    Time,
    /// [`Value::Duration`].
    Duration,
    /// [`Value::List`].
    List,
    /// [`Value::Map`].
    Map,
}

impl ValueType {
    /// The name in topology files: `bool`, `int`, `double`, `string`, `bytes`, `timestamp`,
    /// `duration`, `list`, `map`, `any`.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::Any => "any",
            ValueType::Bool => "bool",
            ValueType::Int => "int",
            ValueType::Float => "double",
            ValueType::Str => "string",
            ValueType::Bytes => "bytes",
            ValueType::Time => "timestamp",
            ValueType::Duration => "duration",
            ValueType::List => "list",
            ValueType::Map => "map",
        }
    }

    /// All of them.
    pub const ALL: [ValueType; 10] = [
        ValueType::Bool,
        ValueType::Int,
        ValueType::Float,
        ValueType::Str,
        ValueType::Bytes,
        ValueType::Time,
        ValueType::Duration,
        ValueType::List,
        ValueType::Map,
        ValueType::Any,
    ];

    /// The type of that name, the inverse of [`ValueType::name`].
    pub fn from_name(name: &str) -> Option<ValueType> {
        ValueType::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a field stands in a record: names from the outside in, `meta.dt`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Arc<str>);

impl FieldPath {
    /// The path written as `a.b.c`. Names themselves cannot contain a dot.
    pub fn new(dotted: &str) -> FieldPath {
        FieldPath(dotted.into())
    }

    /// The dotted form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from the outside in.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The path of a field inside this one.
    #[must_use]
    pub fn join(&self, inside: &FieldPath) -> FieldPath {
        FieldPath(format!("{self}.{inside}").into())
    }

    /// Seen from `outer`, if it lies inside that: `dt` for `meta.dt` seen from `meta`.
    pub fn inside(&self, outer: &FieldPath) -> Option<FieldPath> {
        let rest = self.0.strip_prefix(outer.as_str())?.strip_prefix('.')?;
        Some(FieldPath::new(rest))
    }

    /// Whether it is a field inside `outer`.
    pub fn lies_in(&self, outer: &FieldPath) -> bool {
        let rest = self.0.strip_prefix(outer.as_str());
        rest.is_some_and(|rest| rest.starts_with('.'))
    }

    /// The outermost name: the variable that an expression begins with.
    pub fn root(&self) -> &str {
        self.segments().next().unwrap_or_default()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a field in the rows of one sub-topology: an index into its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// As an index into a slice of values.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
