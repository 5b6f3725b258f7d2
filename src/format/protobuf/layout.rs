//! A Protobuf message as it is read and written here: its fields by number, and what they mean to us.
//!
//! Messages are numbered, so that one may hold itself.

use std::collections::HashMap;

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};

use crate::format::schema::SchemaField;
use crate::value::ValueType;

/// A message and those inside it.
#[derive(Clone, Debug)]
pub(in crate::format) struct Layout {
    /// The first is the message itself.
    pub(super) messages: Vec<Message>,
}

/// A message.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    /// By their numbers.
    pub(super) fields: Vec<Field>,
}

/// A field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: Box<str>,
    pub(super) kind: Type,
    pub(super) shape: Shape,
    pub(super) is_required: bool,
    /// The `oneof` that it is in, counted in its message: of its fields one is there.
    pub(super) oneof: Option<usize>,
}

/// How often a field is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Once, or not at all.
    Optional,
    /// Once; what is not on the wire has its default, 0 or empty.
    Implicit,
    /// Any number of times.
    Repeated {
        /// Whether it is written as one run.
        is_packed: bool,
    },
    /// Any number of times, with a key each.
    Map {
        /// The type of the keys.
        key: Type,
    },
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    Str,
    Bytes,
    /// Names and numbers of its values, the default first.
    Enum(Vec<(Box<str>, i32)>),
    /// `google.protobuf.Timestamp`.
    Time,
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.StringValue` and its like: a message of one field.
    Wrapper(Box<Type>),
    /// The message of that number.
    Message(usize),
    /// A group, which Protobuf gave up long ago.
    Group,
}

/// How the bytes of a value are delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Varint = 0,
    Eight = 1,
    Sized = 2,
    StartGroup = 3,
    EndGroup = 4,
    Four = 5,
}

impl Wire {
    pub(super) fn of(tag: u64) -> Option<Wire> {
        Some(match tag & 7 {
            0 => Wire::Varint,
            1 => Wire::Eight,
            2 => Wire::Sized,
            3 => Wire::StartGroup,
            4 => Wire::EndGroup,
            5 => Wire::Four,
            _ => return None,
        })
    }
}

impl Layout {
    pub(in crate::format) fn of(message: &MessageDescriptor) -> Layout {
        let mut builder = Builder::default();
        builder.message(message);
        Layout {
            messages: builder.messages,
        }
    }

    pub(super) fn root(&self) -> &Message {
        &self.messages[0]
    }

    /// The fields of the message.
    pub(in crate::format) fn fields(&self) -> impl Iterator<Item = SchemaField<'_>> {
        let fields = self.root().fields.iter();
        fields.map(|field| SchemaField {
            name: &field.name,
            can_be_left_out: !field.is_required,
            what: match field.shape {
                Shape::Repeated { .. } => "a list",
                Shape::Map { .. } => "a map",
                Shape::Optional | Shape::Implicit => field.kind.name(),
            },
            takes: match field.shape {
                Shape::Repeated { .. } => &[ValueType::List],
                Shape::Map { .. } => &[ValueType::Map],
                Shape::Optional | Shape::Implicit => field.kind.takes(),
            },
        })
    }
}

#[derive(Default)]
struct Builder {
    numbers: HashMap<String, usize>,
    messages: Vec<Message>,
}

impl Builder {
    fn message(&mut self, message: &MessageDescriptor) -> usize {
        if let Some(number) = self.numbers.get(message.full_name()) {
            return *number;
        }
        let number = self.messages.len();
        self.numbers.insert(message.full_name().to_owned(), number);
        self.messages.push(Message::default());
        let mut fields: Vec<Field> = message.fields().map(|field| self.field(&field)).collect();
        fields.sort_by_key(|field| field.number);
        self.messages[number].fields = fields;
        number
    }

    fn field(&mut self, field: &FieldDescriptor) -> Field {
        let (shape, kind) = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let key = self.kind(&entry.map_entry_key_field().kind());
                let value = entry.map_entry_value_field().kind();
                (Shape::Map { key }, self.kind(&value))
            }
            kind => {
                let shape = match field.is_list() {
                    true => Shape::Repeated {
                        is_packed: field.is_packed(),
                    },
                    false if field.supports_presence() => Shape::Optional,
                    false => Shape::Implicit,
                };
                (shape, self.kind(&kind))
            }
        };
        Field {
            number: field.number(),
            name: field.name().into(),
            kind: if field.is_group() { Type::Group } else { kind },
            shape,
            is_required: field.cardinality() == Cardinality::Required,
            oneof: oneof(field),
        }
    }

    fn kind(&mut self, kind: &Kind) -> Type {
        match kind {
            Kind::Double => Type::Double,
            Kind::Float => Type::Float,
            Kind::Int32 => Type::Int32,
            Kind::Int64 => Type::Int64,
            Kind::Uint32 => Type::Uint32,
            Kind::Uint64 => Type::Uint64,
            Kind::Sint32 => Type::Sint32,
            Kind::Sint64 => Type::Sint64,
            Kind::Fixed32 => Type::Fixed32,
            Kind::Fixed64 => Type::Fixed64,
            Kind::Sfixed32 => Type::Sfixed32,
            Kind::Sfixed64 => Type::Sfixed64,
            Kind::Bool => Type::Bool,
            Kind::String => Type::Str,
            Kind::Bytes => Type::Bytes,
            Kind::Enum(kind) => {
                let default = kind.default_value().number();
                let mut values: Vec<(Box<str>, i32)> = kind
                    .values()
                    .map(|value| (value.name().into(), value.number()))
                    .collect();
                values.sort_by_key(|(_, number)| *number != default);
                Type::Enum(values)
            }
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => Type::Time,
                "google.protobuf.Duration" => Type::Duration,
                name => match wrapped(name) {
                    Some(inner) => Type::Wrapper(Box::new(inner)),
                    None => Type::Message(self.message(message)),
                },
            },
        }
    }
}

/// Where the `oneof` of a field stands in its message; that of an `optional` is none.
fn oneof(field: &FieldDescriptor) -> Option<usize> {
    let oneof = field.containing_oneof()?;
    let mut all = field.parent_message().oneofs();
    all.position(|other| other == oneof && !oneof.is_synthetic())
}

/// What a well-known message of one field holds.
fn wrapped(name: &str) -> Option<Type> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "DoubleValue" => Type::Double,
        "FloatValue" => Type::Float,
        "Int64Value" => Type::Int64,
        "UInt64Value" => Type::Uint64,
        "Int32Value" => Type::Int32,
        "UInt32Value" => Type::Uint32,
        "BoolValue" => Type::Bool,
        "StringValue" => Type::Str,
        "BytesValue" => Type::Bytes,
        _ => return None,
    })
}

impl Field {
    /// What the field holds, beside null.
    pub(super) fn value_type(&self) -> ValueType {
        match self.shape {
            Shape::Repeated { .. } => ValueType::List,
            Shape::Map { .. } => ValueType::Map,
            Shape::Optional | Shape::Implicit => self.kind.value_type(),
        }
    }

    /// The message that the field holds, if it holds one and not several.
    pub(super) fn message(&self) -> Option<usize> {
        match (&self.shape, &self.kind) {
            (Shape::Optional | Shape::Implicit, Type::Message(number)) => Some(*number),
            _ => None,
        }
    }
}

impl Type {
    /// Whether it is a message on the wire, whatever it means to us.
    pub(super) fn is_message(&self) -> bool {
        matches!(
            self,
            Type::Time | Type::Duration | Type::Wrapper(_) | Type::Message(_)
        )
    }

    fn value_type(&self) -> ValueType {
        match self {
            Type::Double | Type::Float => ValueType::Float,
            // Beyond 63 bits it is a double.
            Type::Uint64 | Type::Fixed64 => ValueType::Any,
            Type::Int32
            | Type::Int64
            | Type::Uint32
            | Type::Sint32
            | Type::Sint64
            | Type::Fixed32
            | Type::Sfixed32
            | Type::Sfixed64 => ValueType::Int,
            Type::Bool => ValueType::Bool,
            Type::Str | Type::Enum(_) => ValueType::Str,
            Type::Bytes => ValueType::Bytes,
            Type::Time => ValueType::Time,
            Type::Duration => ValueType::Duration,
            Type::Wrapper(inner) => inner.value_type(),
            Type::Message(_) => ValueType::Map,
            Type::Group => ValueType::Any,
        }
    }

    /// The types of values that can be written as this.
    fn takes(&self) -> &'static [ValueType] {
        use ValueType as V;
        match self {
            Type::Double | Type::Float => &[V::Int, V::Float],
            Type::Uint64 | Type::Fixed64 => &[V::Int, V::Float],
            Type::Int32
            | Type::Int64
            | Type::Uint32
            | Type::Sint32
            | Type::Sint64
            | Type::Fixed32
            | Type::Sfixed32
            | Type::Sfixed64 => &[V::Int],
            Type::Bool => &[V::Bool],
            Type::Str => &[V::Str, V::Time],
            Type::Bytes => &[V::Bytes, V::Str],
            Type::Enum(_) => &[V::Str, V::Int],
            Type::Time => &[V::Time, V::Str, V::Int],
            Type::Duration => &[V::Duration, V::Int],
            Type::Wrapper(inner) => inner.takes(),
            Type::Message(_) => &[V::Map],
            Type::Group => &[],
        }
    }

    pub(super) fn wire(&self) -> Wire {
        match self {
            Type::Double | Type::Fixed64 | Type::Sfixed64 => Wire::Eight,
            Type::Float | Type::Fixed32 | Type::Sfixed32 => Wire::Four,
            Type::Int32
            | Type::Int64
            | Type::Uint32
            | Type::Uint64
            | Type::Sint32
            | Type::Sint64
            | Type::Bool
            | Type::Enum(_) => Wire::Varint,
            Type::Str
            | Type::Bytes
            | Type::Time
            | Type::Duration
            | Type::Wrapper(_)
            | Type::Message(_) => Wire::Sized,
            Type::Group => Wire::StartGroup,
        }
    }

    /// As users know it, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Type::Double => "a double",
            Type::Float => "a float",
            Type::Int32 => "an int32",
            Type::Int64 => "an int64",
            Type::Uint32 => "a uint32",
            Type::Uint64 => "a uint64",
            Type::Sint32 => "a sint32",
            Type::Sint64 => "a sint64",
            Type::Fixed32 => "a fixed32",
            Type::Fixed64 => "a fixed64",
            Type::Sfixed32 => "a sfixed32",
            Type::Sfixed64 => "a sfixed64",
            Type::Bool => "a bool",
            Type::Str => "a string",
            Type::Bytes => "bytes",
            Type::Enum(_) => "a value of the enum",
            Type::Time => "a google.protobuf.Timestamp",
            Type::Duration => "a google.protobuf.Duration",
            Type::Wrapper(inner) => inner.name(),
            Type::Message(_) => "a message",
            Type::Group => "a group",
        }
    }
}
