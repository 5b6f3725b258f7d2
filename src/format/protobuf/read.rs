//! Reads Protobuf's binary encoding: the wanted fields in one pass, the rest is skipped.
//!
//! Texts and bytes borrow from the record; lists, maps and the names in them go to the arena. Where a
//! field that is there once is on the wire several times, the last one counts, and of a `oneof` the last
//! of its fields; messages are merged, which is what their bytes one behind the other mean.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::layout::{Field, Layout, Message, Shape, Type, Wire};
use crate::record::{Branch, Projection};
use crate::time::Timestamp;
use crate::value::{Slot, Value};

/// Messages inside one another deeper than this are refused.
const MAX_DEPTH: u32 = 100;

/// The bytes are not what the schema says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub(in crate::format) struct ProtobufError {
    expected: String,
    found: String,
}

impl ProtobufError {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> ProtobufError {
        ProtobufError {
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// What is read of messages of a layout.
#[derive(Debug)]
pub(in crate::format) struct ProtobufReader {
    layout: Layout,
    root: Steps,
}

/// What is read of a message: a step for each of its fields.
#[derive(Debug)]
struct Steps(Vec<Step>);

#[derive(Debug)]
enum Step {
    Skip,
    /// The value, and perhaps fields of it.
    Take(Slot, Branch),
    /// Fields of a value that has to be read whole for it.
    Pick(Branch),
    /// Fields of a message.
    Fields(Steps),
}

impl Steps {
    fn new(layout: &Layout, message: &Message, branch: &Branch) -> Steps {
        let step = |field: &Field| match branch.child(&field.name) {
            None => Step::Skip,
            Some(child) => match (child.slot, field.message()) {
                (Some(slot), _) => Step::Take(slot, child.clone()),
                (None, Some(inner)) => {
                    Step::Fields(Steps::new(layout, &layout.messages[inner], child))
                }
                (None, None) => Step::Pick(child.clone()),
            },
        };
        Steps(message.fields.iter().map(step).collect())
    }
}

impl ProtobufReader {
    /// Reads these fields of messages of a layout.
    pub(in crate::format) fn new(layout: Layout, projection: &Projection) -> ProtobufReader {
        let root = Steps::new(&layout, layout.root(), &projection.root);
        ProtobufReader { layout, root }
    }

    /// Fills the slots of the projection among `fields`; those that the message does not have stay as
    /// they are.
    ///
    /// # Errors
    /// When the bytes are not a message of the layout. The fields are then unspecified.
    pub(in crate::format) fn read<'a>(
        &self,
        bytes: &'a [u8],
        arena: &'a Bump,
        fields: &mut [Value<'a>],
    ) -> Result<(), ProtobufError> {
        let scene = self.scene(arena);
        scene.fields(self.layout.root(), &self.root, bytes, fields, 0)
    }

    /// All fields.
    ///
    /// # Errors
    /// When the bytes are not a message of the layout.
    pub(in crate::format) fn read_all<'a>(
        &self,
        bytes: &'a [u8],
        arena: &'a Bump,
    ) -> Result<&'a [(&'a str, Value<'a>)], ProtobufError> {
        let scene = self.scene(arena);
        scene.message(self.layout.root(), bytes, 0)
    }

    fn scene<'a>(&self, arena: &'a Bump) -> Scene<'_, 'a> {
        Scene {
            messages: &self.layout.messages,
            arena,
        }
    }
}

/// What reading needs besides bytes.
#[derive(Clone, Copy)]
struct Scene<'l, 'a> {
    messages: &'l [Message],
    arena: &'a Bump,
}

/// The values of the fields of one message: those that are there several times are collected. Messages
/// are still bytes, see [`Scene::finished`].
struct Found<'a> {
    values: ArenaVec<'a, Value<'a>>,
    lists: ArenaVec<'a, (usize, Several<'a>)>,
}

enum Several<'a> {
    /// The parts of one message.
    Message(ArenaVec<'a, u8>),
    List(ArenaVec<'a, Value<'a>>),
    Map(ArenaVec<'a, (&'a str, Value<'a>)>),
}

impl<'a> Found<'a> {
    fn new(message: &Message, arena: &'a Bump) -> Found<'a> {
        let fields = message.fields.iter();
        let mut values = ArenaVec::with_capacity_in(message.fields.len(), arena);
        values.extend(fields.map(unset));
        Found {
            values,
            lists: ArenaVec::new_in(arena),
        }
    }

    fn several(&mut self, at: usize, shape: &Shape, arena: &'a Bump) -> &mut Several<'a> {
        let known = self.lists.iter().position(|(field, _)| *field == at);
        let number = known.unwrap_or_else(|| {
            let empty = match shape {
                Shape::Map { .. } => Several::Map(ArenaVec::new_in(arena)),
                _ => Several::List(ArenaVec::new_in(arena)),
            };
            self.lists.push((at, empty));
            self.lists.len() - 1
        });
        &mut self.lists[number].1
    }

    /// Adds bytes to the message in a field.
    fn extend(&mut self, at: usize, bytes: &'a [u8], arena: &'a Bump) {
        let known = self.lists.iter_mut().find(|(field, _)| *field == at);
        match (known, self.values[at]) {
            (Some((_, Several::Message(parts))), _) => parts.extend_from_slice(bytes),
            (_, Value::Bytes(first)) => {
                let mut parts = ArenaVec::with_capacity_in(first.len() + bytes.len(), arena);
                parts.extend_from_slice(first);
                parts.extend_from_slice(bytes);
                self.lists.push((at, Several::Message(parts)));
            }
            _ => self.values[at] = Value::Bytes(bytes),
        }
    }

    /// Forgets the other fields of a `oneof`.
    fn choose(&mut self, message: &Message, at: usize) {
        let oneof = message.fields[at].oneof;
        for (other, field) in message.fields.iter().enumerate() {
            if other != at && field.oneof == oneof && self.values[other] != Value::Missing {
                self.values[other] = Value::Missing;
                self.lists.retain(|(field, _)| *field != other);
            }
        }
    }

    /// All values, by field.
    fn finish(mut self) -> &'a [Value<'a>] {
        for (at, several) in self.lists {
            self.values[at] = match several {
                Several::Message(parts) => Value::Bytes(parts.into_bump_slice()),
                Several::List(list) => Value::List(list.into_bump_slice()),
                Several::Map(entries) => Value::Map(entries.into_bump_slice()),
            };
        }
        self.values.into_bump_slice()
    }
}

/// What a field holds that is not on the wire.
fn unset<'a>(field: &Field) -> Value<'a> {
    match (&field.shape, &field.kind) {
        (Shape::Optional, _) => Value::Missing,
        (Shape::Repeated { .. }, _) => Value::List(&[]),
        (Shape::Map { .. }, _) => Value::Map(&[]),
        (Shape::Implicit, Type::Double | Type::Float) => Value::Float(0.0),
        (Shape::Implicit, Type::Bool) => Value::Bool(false),
        (Shape::Implicit, Type::Str) => Value::Str(""),
        (Shape::Implicit, Type::Bytes) => Value::Bytes(&[]),
        // The name is filled in where the value is used.
        (Shape::Implicit, Type::Enum(_)) => Value::Null,
        (Shape::Implicit, Type::Message(_) | Type::Time | Type::Duration | Type::Wrapper(_)) => {
            Value::Missing
        }
        (Shape::Implicit, _) => Value::Int(0),
    }
}

impl<'a> Scene<'_, 'a> {
    /// What steps want of a message.
    fn fields(
        self,
        message: &Message,
        Steps(steps): &Steps,
        bytes: &'a [u8],
        fields: &mut [Value<'a>],
        depth: u32,
    ) -> Result<(), ProtobufError> {
        check_depth(depth)?;
        let mut found = Found::new(message, self.arena);
        let mut cursor = Cursor(bytes);
        while let Some((number, wire)) = cursor.tag()? {
            let at = find(message, number);
            match at.map(|at| (at, &steps[at])) {
                None => cursor.skip(wire, depth)?,
                Some((at, Step::Skip)) => {
                    if message.fields[at].oneof.is_some() {
                        found.choose(message, at);
                    }
                    cursor.skip(wire, depth)?;
                }
                Some((at, Step::Take(..) | Step::Pick(_) | Step::Fields(_))) => {
                    self.occurrence(&mut found, message, at, wire, &mut cursor, depth)?;
                }
            }
        }
        let values = found.finish();
        for (at, step) in steps.iter().enumerate() {
            let field = &message.fields[at];
            let (slot, below) = match step {
                Step::Take(slot, below) => (Some(*slot), below),
                Step::Pick(below) => (None, below),
                Step::Skip => continue,
                Step::Fields(inner) => {
                    if let (Some(number), Value::Bytes(bytes)) = (field.message(), values[at]) {
                        self.fields(&self.messages[number], inner, bytes, fields, depth + 1)?;
                    }
                    continue;
                }
            };
            let value = self.finished(field, values[at], depth)?;
            if let Some(slot) = slot {
                fields[slot.index()] = value;
            }
            below.pick(value, fields);
        }
        Ok(())
    }

    /// A message, whole: its fields in the order of their numbers, without those that are not set.
    fn message(
        self,
        message: &Message,
        bytes: &'a [u8],
        depth: u32,
    ) -> Result<&'a [(&'a str, Value<'a>)], ProtobufError> {
        check_depth(depth)?;
        let mut found = Found::new(message, self.arena);
        let mut cursor = Cursor(bytes);
        while let Some((number, wire)) = cursor.tag()? {
            match find(message, number) {
                None => cursor.skip(wire, depth)?,
                Some(at) => self.occurrence(&mut found, message, at, wire, &mut cursor, depth)?,
            }
        }
        let mut entries = ArenaVec::with_capacity_in(message.fields.len(), self.arena);
        for (field, value) in message.fields.iter().zip(found.finish()) {
            let value = self.finished(field, *value, depth)?;
            if value != Value::Missing {
                let name: &'a str = self.arena.alloc_str(&field.name);
                entries.push((name, value));
            }
        }
        Ok(entries.into_bump_slice())
    }

    /// What was found of a field, as it is used: a message is read, now that all of it is there.
    fn finished(
        self,
        field: &Field,
        value: Value<'a>,
        depth: u32,
    ) -> Result<Value<'a>, ProtobufError> {
        match (value, &field.shape) {
            (Value::Bytes(bytes), Shape::Optional | Shape::Implicit) if field.kind.is_message() => {
                self.embedded(&field.kind, field, bytes, depth)
            }
            (value, _) => Ok(self.named(field, value)),
        }
    }

    /// The default of an enum has a name.
    fn named(self, field: &Field, value: Value<'a>) -> Value<'a> {
        match (value, &field.kind) {
            (Value::Null, Type::Enum(values)) => match values.first() {
                Some((name, _)) => Value::Str(self.arena.alloc_str(name)),
                None => Value::Int(0),
            },
            (value, _) => value,
        }
    }

    /// A field on the wire.
    fn occurrence(
        self,
        found: &mut Found<'a>,
        message: &Message,
        at: usize,
        wire: Wire,
        cursor: &mut Cursor<'a>,
        depth: u32,
    ) -> Result<(), ProtobufError> {
        let field = &message.fields[at];
        if field.oneof.is_some() {
            found.choose(message, at);
        }
        match &field.shape {
            _ if field.kind == Type::Group => cursor.skip(wire, depth)?,
            Shape::Optional | Shape::Implicit if field.kind.is_message() => {
                check_wire(&field.kind, field, wire)?;
                found.extend(at, cursor.sized()?, self.arena);
            }
            Shape::Optional | Shape::Implicit => {
                let value = self.value(&field.kind, field, wire, cursor, depth)?;
                found.values[at] = value;
            }
            Shape::Map { key } => {
                let entry = cursor.sized_as(wire, field)?;
                let entry = self.entry(key, field, entry, depth)?;
                if let Several::Map(entries) = found.several(at, &field.shape, self.arena) {
                    entries.push(entry);
                }
            }
            // Packed or not, whatever the schema says.
            Shape::Repeated { .. } if wire == Wire::Sized && field.kind.wire() != Wire::Sized => {
                let mut run = Cursor(cursor.sized()?);
                while !run.0.is_empty() {
                    let value =
                        self.value(&field.kind, field, field.kind.wire(), &mut run, depth)?;
                    found.several(at, &field.shape, self.arena).push(value);
                }
                found.several(at, &field.shape, self.arena);
            }
            Shape::Repeated { .. } => {
                let value = self.value(&field.kind, field, wire, cursor, depth)?;
                found.several(at, &field.shape, self.arena).push(value);
            }
        }
        Ok(())
    }

    fn entry(
        self,
        key: &Type,
        field: &Field,
        bytes: &'a [u8],
        depth: u32,
    ) -> Result<(&'a str, Value<'a>), ProtobufError> {
        let (mut name, mut value) = (None, None);
        let mut cursor = Cursor(bytes);
        while let Some((number, wire)) = cursor.tag()? {
            match number {
                1 => name = Some(self.value(key, field, wire, &mut cursor, depth)?),
                2 => value = Some(self.value(&field.kind, field, wire, &mut cursor, depth)?),
                _ => cursor.skip(wire, depth)?,
            }
        }
        let name = match (name, key) {
            (Some(Value::Str(name)), _) => name,
            (Some(Value::Int(number)), _) => {
                bumpalo::format!(in self.arena, "{}", number).into_bump_str()
            }
            (Some(Value::Float(number)), _) => {
                bumpalo::format!(in self.arena, "{}", number).into_bump_str()
            }
            (Some(Value::Bool(true)), _) => "true",
            (None, Type::Bool) | (Some(Value::Bool(false)), _) => "false",
            (None, Type::Str) => "",
            _ => "0",
        };
        let unset = || match &field.kind {
            Type::Message(_) => Value::Map(&[]),
            _ => {
                let implicit = Field {
                    shape: Shape::Implicit,
                    ..field.clone()
                };
                self.named(&implicit, unset(&implicit))
            }
        };
        Ok((name, value.unwrap_or_else(unset)))
    }

    fn value(
        self,
        kind: &Type,
        field: &Field,
        wire: Wire,
        cursor: &mut Cursor<'a>,
        depth: u32,
    ) -> Result<Value<'a>, ProtobufError> {
        check_wire(kind, field, wire)?;
        let unsigned = |number: u64| match i64::try_from(number) {
            Ok(number) => Value::Int(number),
            Err(_) => Value::Float(number as f64),
        };
        let zigzag = |number: u64| (number >> 1) as i64 ^ -((number & 1) as i64);
        Ok(match kind {
            Type::Double => Value::Float(f64::from_le_bytes(cursor.array()?)),
            Type::Float => Value::Float(f32::from_le_bytes(cursor.array()?).into()),
            Type::Int32 => Value::Int((cursor.varint()? as i32).into()),
            Type::Int64 => Value::Int(cursor.varint()? as i64),
            Type::Uint32 => Value::Int((cursor.varint()? as u32).into()),
            Type::Uint64 => unsigned(cursor.varint()?),
            Type::Sint32 => Value::Int((zigzag(cursor.varint()?) as i32).into()),
            Type::Sint64 => Value::Int(zigzag(cursor.varint()?)),
            Type::Fixed32 => Value::Int(u32::from_le_bytes(cursor.array()?).into()),
            Type::Fixed64 => unsigned(u64::from_le_bytes(cursor.array()?)),
            Type::Sfixed32 => Value::Int(i32::from_le_bytes(cursor.array()?).into()),
            Type::Sfixed64 => Value::Int(i64::from_le_bytes(cursor.array()?)),
            Type::Bool => Value::Bool(cursor.varint()? != 0),
            Type::Str => {
                let text = std::str::from_utf8(cursor.sized()?);
                Value::Str(text.map_err(|_| {
                    let expected = format!("a string in the field {}", field.name);
                    ProtobufError::new(expected, "bytes that are no UTF-8")
                })?)
            }
            Type::Bytes => Value::Bytes(cursor.sized()?),
            Type::Enum(values) => {
                let number = cursor.varint()? as i32;
                match values.iter().find(|(_, known)| *known == number) {
                    Some((name, _)) => Value::Str(self.arena.alloc_str(name)),
                    // One that this schema does not know yet.
                    None => Value::Int(number.into()),
                }
            }
            Type::Time | Type::Duration | Type::Wrapper(_) | Type::Message(_) => {
                self.embedded(kind, field, cursor.sized()?, depth)?
            }
            Type::Group => unreachable!("groups are skipped"),
        })
    }

    /// A message inside of another one, or what it means.
    fn embedded(
        self,
        kind: &Type,
        field: &Field,
        bytes: &'a [u8],
        depth: u32,
    ) -> Result<Value<'a>, ProtobufError> {
        Ok(match kind {
            Type::Time => {
                let (seconds, nanos) = self.seconds_and_nanos(bytes, depth)?;
                let ms = seconds.saturating_mul(1_000);
                Value::Time(Timestamp(ms.saturating_add(nanos.div_euclid(1_000_000))))
            }
            Type::Duration => {
                let (seconds, nanos) = self.seconds_and_nanos(bytes, depth)?;
                Value::Duration(
                    seconds
                        .saturating_mul(1_000)
                        .saturating_add(nanos / 1_000_000),
                )
            }
            Type::Wrapper(inner) => {
                let implicit = Field {
                    number: 1,
                    name: field.name.clone(),
                    kind: (**inner).clone(),
                    shape: Shape::Implicit,
                    is_required: false,
                    oneof: None,
                };
                let mut value = unset(&implicit);
                let mut wrapped = Cursor(bytes);
                while let Some((number, wire)) = wrapped.tag()? {
                    match number {
                        1 => value = self.value(inner, field, wire, &mut wrapped, depth)?,
                        _ => wrapped.skip(wire, depth)?,
                    }
                }
                value
            }
            Type::Message(number) => {
                Value::Map(self.message(&self.messages[*number], bytes, depth + 1)?)
            }
            other => unreachable!("{other:?} is no message"),
        })
    }

    fn seconds_and_nanos(self, bytes: &[u8], depth: u32) -> Result<(i64, i64), ProtobufError> {
        let (mut seconds, mut nanos) = (0, 0);
        let mut cursor = Cursor(bytes);
        while let Some((number, wire)) = cursor.tag()? {
            match (number, wire) {
                (1, Wire::Varint) => seconds = cursor.varint()? as i64,
                (2, Wire::Varint) => nanos = (cursor.varint()? as i32).into(),
                _ => cursor.skip(wire, depth)?,
            }
        }
        Ok((seconds, nanos))
    }
}

impl<'a> Several<'a> {
    fn push(&mut self, value: Value<'a>) {
        if let Several::List(list) = self {
            list.push(value);
        }
    }
}

fn find(message: &Message, number: u32) -> Option<usize> {
    let fields = &message.fields;
    fields
        .binary_search_by_key(&number, |field| field.number)
        .ok()
}

fn check_wire(kind: &Type, field: &Field, wire: Wire) -> Result<(), ProtobufError> {
    match wire == kind.wire() {
        true => Ok(()),
        false => Err(ProtobufError::new(
            format!("{} in the field {}", kind.name(), field.name),
            format!("bytes of another kind ({wire:?})"),
        )),
    }
}

fn check_depth(depth: u32) -> Result<(), ProtobufError> {
    match depth > MAX_DEPTH {
        true => Err(ProtobufError::new("a message", "one nested too deep")),
        false => Ok(()),
    }
}

/// What is left of a message's bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// The number of the next field, and how it is delimited; none at the end.
    fn tag(&mut self) -> Result<Option<(u32, Wire)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        match (number, Wire::of(tag)) {
            (Some(number), Some(wire)) => Ok(Some((number, wire))),
            _ => Err(ProtobufError::new("a field", format!("the tag {tag}"))),
        }
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut number = 0u64;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(match self.0.len() < 10 {
            true => ProtobufError::new("a number", "the end of the message"),
            false => ProtobufError::new("a number", "one of more than 64 bits"),
        })
    }

    fn sized(&mut self) -> Result<&'a [u8], ProtobufError> {
        let length = self.varint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn sized_as(&mut self, wire: Wire, field: &Field) -> Result<&'a [u8], ProtobufError> {
        match wire {
            Wire::Sized => self.sized(),
            other => Err(ProtobufError::new(
                format!("a message in the field {}", field.name),
                format!("bytes of another kind ({other:?})"),
            )),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("just so many"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ProtobufError> {
        match self.0.split_at_checked(count) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => Err(ProtobufError::new(
                format!("{count} bytes"),
                "the end of the message",
            )),
        }
    }

    fn skip(&mut self, wire: Wire, depth: u32) -> Result<(), ProtobufError> {
        check_depth(depth)?;
        match wire {
            Wire::Varint => drop(self.varint()?),
            Wire::Eight => drop(self.take(8)?),
            Wire::Four => drop(self.take(4)?),
            Wire::Sized => drop(self.sized()?),
            Wire::StartGroup => loop {
                match self.tag()? {
                    Some((_, Wire::EndGroup)) => break,
                    Some((_, inner)) => self.skip(inner, depth + 1)?,
                    None => return Err(ProtobufError::new("the end of a group", "the end")),
                }
            },
            Wire::EndGroup => {
                return Err(ProtobufError::new("a field", "the end of a group"));
            }
        }
        Ok(())
    }
}
