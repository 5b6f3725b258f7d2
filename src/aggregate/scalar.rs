//! A single value that outlives its record, for `min`, `max`, `first` and `last`.

use std::cmp::Ordering;

use bumpalo::Bump;

use crate::codec::{Decode, Encode};
use crate::time::Timestamp;
use crate::value::Value;

/// An owned value with an order within its kind; whole numbers and those with a fraction compare
/// with each other. Values of different kinds are ordered by kind, so that any mix has one answer.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Scalar {
    /// False is below true.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text, ordered by its bytes (which is by code points).
    Str(Box<str>),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// Milliseconds since the epoch.
    Time(i64),
    /// A length of time in milliseconds.
    Duration(i64),
}

impl Scalar {
    /// A copy of the value; none for absent values, lists and objects.
    pub fn new(value: Value<'_>) -> Option<Scalar> {
        Some(match value {
            Value::Bool(value) => Scalar::Bool(value),
            Value::Int(value) => Scalar::Int(value),
            Value::Float(value) => Scalar::Float(value),
            Value::Str(text) => Scalar::Str(text.into()),
            Value::Bytes(bytes) => Scalar::Bytes(bytes.into()),
            Value::Time(time) => Scalar::Time(time.0),
            Value::Duration(ms) => Scalar::Duration(ms),
            Value::Missing | Value::Null | Value::List(_) | Value::Map(_) => return None,
        })
    }

    /// Whether [`Scalar::new`] can hold it.
    pub fn can_hold(value: &Value<'_>) -> bool {
        !matches!(
            value,
            Value::Missing | Value::Null | Value::List(_) | Value::Map(_)
        )
    }

    /// The value, borrowing from this.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Scalar::Bool(value) => Value::Bool(*value),
            Scalar::Int(value) => Value::Int(*value),
            Scalar::Float(value) => Value::Float(*value),
            Scalar::Str(text) => Value::Str(text),
            Scalar::Bytes(bytes) => Value::Bytes(bytes),
            Scalar::Time(ms) => Value::Time(Timestamp(*ms)),
            Scalar::Duration(ms) => Value::Duration(*ms),
        }
    }

    /// The value, copied into the arena.
    pub fn read<'a>(&self, arena: &'a Bump) -> Value<'a> {
        match self {
            Scalar::Bool(value) => Value::Bool(*value),
            Scalar::Int(value) => Value::Int(*value),
            Scalar::Float(value) => Value::Float(*value),
            Scalar::Str(text) => Value::Str(arena.alloc_str(text)),
            Scalar::Bytes(bytes) => Value::Bytes(arena.alloc_slice_copy(bytes)),
            Scalar::Time(ms) => Value::Time(Timestamp(*ms)),
            Scalar::Duration(ms) => Value::Duration(*ms),
        }
    }

    /// Whether this is larger than `value`.
    pub fn is_above(&self, value: Value<'_>) -> bool {
        order(self.as_value(), value) == Ordering::Greater
    }

    /// Whether this is smaller than `value`.
    pub fn is_below(&self, value: Value<'_>) -> bool {
        order(self.as_value(), value) == Ordering::Less
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Scalar::Str(text) => text.len(),
            Scalar::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

fn order(left: Value<'_>, right: Value<'_>) -> Ordering {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(&right),
        (Value::Int(left), Value::Int(right)) => left.cmp(&right),
        (Value::Float(left), Value::Float(right)) => left.total_cmp(&right),
        (Value::Int(left), Value::Float(right)) => (left as f64).total_cmp(&right),
        (Value::Float(left), Value::Int(right)) => left.total_cmp(&(right as f64)),
        (Value::Str(left), Value::Str(right)) => left.cmp(right),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        (Value::Time(left), Value::Time(right)) => left.cmp(&right),
        (Value::Duration(left), Value::Duration(right)) => left.cmp(&right),
        (left, right) => kind(left).cmp(&kind(right)),
    }
}

fn kind(value: Value<'_>) -> u8 {
    match value {
        Value::Missing | Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 2,
        Value::Time(_) => 3,
        Value::Duration(_) => 4,
        Value::Str(_) => 5,
        Value::Bytes(_) => 6,
        Value::List(_) => 7,
        Value::Map(_) => 8,
    }
}
