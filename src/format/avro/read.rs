//! Reads Avro's binary encoding: the wanted fields in one pass, the rest is skipped.
//!
//! Texts and bytes borrow from the record; lists, maps and the names in them go to the arena.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::decimal;
use super::layout::{Default, Enum, Fixed, Layout, Promotion, Record, Type, Unit};
use crate::record::{Branch, Projection};
use crate::time::Timestamp;
use crate::value::{Slot, Value};

/// Records, arrays and maps inside one another deeper than this are refused.
const MAX_DEPTH: u32 = 128;

/// The bytes are not what the schema says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub(in crate::format) struct AvroError {
    expected: &'static str,
    found: String,
}

impl AvroError {
    fn new(expected: &'static str, found: impl Into<String>) -> AvroError {
        AvroError {
            expected,
            found: found.into(),
        }
    }
}

/// What is read of records of a layout.
#[derive(Debug)]
pub(in crate::format) struct AvroReader {
    layout: Layout,
    root: Step,
}

/// What is read of a value.
#[derive(Debug)]
enum Step {
    Skip,
    /// The value, and perhaps fields of it.
    Take(Slot, Branch),
    /// Fields of a value that has to be read whole for it.
    Pick(Branch),
    /// Fields of a record, one step for each of its fields, and for those that are not on the wire.
    Fields {
        steps: Vec<Step>,
        defaults: Vec<Step>,
    },
    /// One step for each variant of a union.
    Variants(Vec<Step>),
}

impl Step {
    fn new(layout: &Layout, kind: &Type, branch: &Branch) -> Step {
        if let Some(slot) = branch.slot {
            return Step::Take(slot, branch.clone());
        }
        match kind {
            Type::Record(number) => Step::of_record(layout, &layout.records[*number], branch),
            Type::Union(variants) => {
                let steps = variants.iter();
                Step::Variants(
                    steps
                        .map(|variant| Step::new(layout, variant, branch))
                        .collect(),
                )
            }
            Type::Map(_) => Step::Pick(branch.clone()),
            _ => Step::Skip,
        }
    }

    fn of_record(layout: &Layout, record: &Record, branch: &Branch) -> Step {
        let below = |name: &str, kind: &Type| match branch.child(name) {
            Some(child) => Step::new(layout, kind, child),
            None => Step::Skip,
        };
        let steps = record.fields.iter().map(|field| match &field.name {
            Some(name) => below(name, &field.kind),
            None => Step::Skip,
        });
        let defaults = record.defaults.iter();
        let defaults = defaults.map(|default| match branch.child(&default.name) {
            Some(child) if child.slot.is_none() => Step::Pick(child.clone()),
            Some(child) => Step::Take(child.slot.expect("just seen"), child.clone()),
            None => Step::Skip,
        });
        Step::Fields {
            steps: steps.collect(),
            defaults: defaults.collect(),
        }
    }
}

impl AvroReader {
    /// Reads these fields of records of a layout.
    pub(in crate::format) fn new(layout: Layout, projection: &Projection) -> AvroReader {
        let root = match &layout.root {
            Type::Record(number) => {
                Step::of_record(&layout, &layout.records[*number], &projection.root)
            }
            kind => match projection.root.child(crate::record::WHOLE_VALUE) {
                Some(child) => Step::new(&layout, kind, child),
                None => Step::Skip,
            },
        };
        AvroReader { layout, root }
    }

    /// Fills the slots of the projection among `fields`; those that the record does not have stay as
    /// they are.
    ///
    /// # Errors
    /// When the bytes are not one value of the layout. The fields are then unspecified.
    pub(in crate::format) fn read<'a>(
        &self,
        bytes: &'a [u8],
        arena: &'a Bump,
        fields: &mut [Value<'a>],
    ) -> Result<(), AvroError> {
        let mut cursor = self.cursor(bytes, arena);
        cursor.step(&self.layout.root, &self.root, fields)?;
        cursor.end()
    }

    /// All fields.
    ///
    /// # Errors
    /// When the bytes are not one value of the layout.
    pub(in crate::format) fn read_all<'a>(
        &self,
        bytes: &'a [u8],
        arena: &'a Bump,
    ) -> Result<&'a [(&'a str, Value<'a>)], AvroError> {
        let mut cursor = self.cursor(bytes, arena);
        let value = cursor.value(&self.layout.root)?;
        cursor.end()?;
        Ok(match (value, &self.layout.root) {
            (Value::Map(entries), Type::Record(_)) => entries,
            (value, _) => arena.alloc_slice_copy(&[(crate::record::WHOLE_VALUE, value)]),
        })
    }

    fn cursor<'a>(&self, bytes: &'a [u8], arena: &'a Bump) -> Cursor<'_, 'a> {
        Cursor {
            records: &self.layout.records,
            rest: bytes,
            arena,
            depth: 0,
        }
    }
}

/// What is left of a record's bytes.
struct Cursor<'l, 'a> {
    records: &'l [Record],
    rest: &'a [u8],
    arena: &'a Bump,
    depth: u32,
}

impl<'l, 'a> Cursor<'l, 'a> {
    fn end(&self) -> Result<(), AvroError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(AvroError::new(
                "one record",
                format!("{left} bytes behind it"),
            )),
        }
    }

    /// Reads what a step wants of a value.
    fn step(
        &mut self,
        kind: &'l Type,
        step: &Step,
        fields: &mut [Value<'a>],
    ) -> Result<(), AvroError> {
        match (step, kind) {
            (Step::Skip, kind) => self.skip(kind),
            (Step::Take(slot, below), kind) => {
                let value = self.value(kind)?;
                fields[slot.index()] = value;
                below.pick(value, fields);
                Ok(())
            }
            (Step::Pick(below), kind) => {
                let value = self.value(kind)?;
                below.pick(value, fields);
                Ok(())
            }
            (Step::Variants(steps), Type::Union(variants)) => {
                let number = self.variant(variants)?;
                self.step(&variants[number], &steps[number], fields)
            }
            (Step::Fields { steps, defaults }, Type::Record(number)) => {
                let record = &self.records[*number];
                self.deeper()?;
                for (field, step) in record.fields.iter().zip(steps) {
                    self.step(&field.kind, step, fields)?;
                }
                self.depth -= 1;
                for (default, step) in record.defaults.iter().zip(defaults) {
                    let (below, slot) = match step {
                        Step::Take(slot, below) => (below, Some(*slot)),
                        Step::Pick(below) => (below, None),
                        _ => continue,
                    };
                    let value = self.default(default)?;
                    if let Some(slot) = slot {
                        fields[slot.index()] = value;
                    }
                    below.pick(value, fields);
                }
                Ok(())
            }
            _ => unreachable!("steps are made of the layout"),
        }
    }

    /// A value, whole.
    fn value(&mut self, kind: &'l Type) -> Result<Value<'a>, AvroError> {
        Ok(match kind {
            Type::Null => Value::Null,
            Type::Bool => match self.take(1, "a boolean")?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(AvroError::new("a boolean", format!("the byte {other}"))),
            },
            Type::Int | Type::Long => Value::Int(self.long()?),
            Type::Float => Value::Float(f32::from_le_bytes(self.array("a float")?).into()),
            Type::Double => Value::Float(f64::from_le_bytes(self.array("a double")?)),
            Type::Bytes => Value::Bytes(self.sized("bytes")?),
            Type::Str => Value::Str(self.text()?),
            Type::Fixed(fixed) => Value::Bytes(self.take(fixed.size, "fixed bytes")?),
            Type::Time(unit) => Value::Time(self.time(*unit)?),
            Type::Date => {
                let ms = self.long()?.checked_mul(86_400_000);
                let ms = ms.ok_or_else(|| AvroError::new("a date", "a number beyond all dates"))?;
                Value::Time(Timestamp(ms))
            }
            Type::TimeOfDay(unit) => Value::Duration(self.long()?.div_euclid(unit.per_milli())),
            Type::Decimal(decimal) => {
                let bytes = match &decimal.fixed {
                    Some(Fixed { size, .. }) => self.take(*size, "a decimal")?,
                    None => self.sized("a decimal")?,
                };
                decimal::read(decimal, bytes, self.arena)
                    .ok_or_else(|| AvroError::new("a decimal", "more than 38 digits"))?
            }
            Type::Uuid(None) => Value::Str(self.text()?),
            Type::Uuid(Some(_)) => {
                let uuid = uuid::Uuid::from_bytes(self.array("a UUID")?);
                Value::Str(bumpalo::format!(in self.arena, "{}", uuid).into_bump_str())
            }
            Type::Enum(kind) => Value::Str(self.symbol(kind)?),
            Type::Array(items) => {
                self.deeper()?;
                let mut list = ArenaVec::new_in(self.arena);
                while let Some(block) = self.block()? {
                    for _ in 0..block.count {
                        list.push(self.value(items)?);
                    }
                }
                self.depth -= 1;
                Value::List(list.into_bump_slice())
            }
            Type::Map(values) => {
                self.deeper()?;
                let mut entries = ArenaVec::new_in(self.arena);
                while let Some(block) = self.block()? {
                    for _ in 0..block.count {
                        let name = self.text()?;
                        entries.push((name, self.value(values)?));
                    }
                }
                self.depth -= 1;
                Value::Map(entries.into_bump_slice())
            }
            Type::Union(variants) => {
                let number = self.variant(variants)?;
                self.value(&variants[number])?
            }
            Type::Record(number) => self.record(*number)?,
            Type::Promoted(wire, promotion) => promoted(self.value(wire)?, *promotion),
            Type::Unfit(reason) => {
                return Err(AvroError::new(
                    "what the reader's schema says",
                    reason.as_str(),
                ));
            }
        })
    }

    fn record(&mut self, number: usize) -> Result<Value<'a>, AvroError> {
        let record = &self.records[number];
        self.deeper()?;
        let room = record.fields.len() + record.defaults.len();
        let mut entries = ArenaVec::with_capacity_in(room, self.arena);
        for field in &record.fields {
            match &field.name {
                Some(name) => {
                    let name: &'a str = self.arena.alloc_str(name);
                    entries.push((name, self.value(&field.kind)?));
                }
                None => self.skip(&field.kind)?,
            }
        }
        self.depth -= 1;
        for default in &record.defaults {
            let name: &'a str = self.arena.alloc_str(&default.name);
            entries.push((name, self.default(default)?));
        }
        Ok(Value::Map(entries.into_bump_slice()))
    }

    /// What a field holds that is not on the wire.
    fn default(&self, default: &'l Default) -> Result<Value<'a>, AvroError> {
        let mut cursor = Cursor {
            records: &default.records,
            rest: self.arena.alloc_slice_copy(&default.bytes),
            arena: self.arena,
            depth: self.depth,
        };
        cursor.value(&default.kind)
    }

    fn skip(&mut self, kind: &'l Type) -> Result<(), AvroError> {
        match kind {
            Type::Null => {}
            Type::Bool => drop(self.take(1, "a boolean")?),
            Type::Int
            | Type::Long
            | Type::Time(_)
            | Type::Date
            | Type::TimeOfDay(_)
            | Type::Enum(_) => drop(self.long()?),
            Type::Float => drop(self.take(4, "a float")?),
            Type::Double => drop(self.take(8, "a double")?),
            Type::Bytes | Type::Str | Type::Uuid(None) => {
                self.sized("a text or bytes")?;
            }
            Type::Decimal(decimal) => match &decimal.fixed {
                Some(Fixed { size, .. }) => drop(self.take(*size, "a decimal")?),
                None => drop(self.sized("a decimal")?),
            },
            Type::Fixed(fixed) => drop(self.take(fixed.size, "fixed bytes")?),
            Type::Uuid(Some(_)) => drop(self.take(16, "a UUID")?),
            Type::Array(items) => self.skip_blocks(false, items)?,
            Type::Map(values) => self.skip_blocks(true, values)?,
            Type::Union(variants) => {
                let number = self.variant(variants)?;
                self.skip(&variants[number])?;
            }
            Type::Record(number) => {
                self.deeper()?;
                let record = &self.records[*number];
                for field in &record.fields {
                    self.skip(&field.kind)?;
                }
                self.depth -= 1;
            }
            Type::Promoted(wire, _) => self.skip(wire)?,
            Type::Unfit(reason) => {
                return Err(AvroError::new(
                    "what the reader's schema says",
                    reason.as_str(),
                ));
            }
        }
        Ok(())
    }

    fn skip_blocks(&mut self, is_map: bool, items: &'l Type) -> Result<(), AvroError> {
        self.deeper()?;
        while let Some(block) = self.block()? {
            match block.bytes {
                Some(bytes) => drop(self.take(bytes, "a block")?),
                None => {
                    for _ in 0..block.count {
                        if is_map {
                            self.sized("a name")?;
                        }
                        self.skip(items)?;
                    }
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// The next block of an array or a map; none at its end.
    fn block(&mut self) -> Result<Option<Block>, AvroError> {
        let count = self.long()?;
        let bytes = match count < 0 {
            true => Some(self.length("a block")?),
            false => None,
        };
        let count = count.unsigned_abs();
        // Items may be empty (null), but nobody writes that many of them.
        if count > self.rest.len() as u64 && count > 1_000_000 {
            return Err(AvroError::new("a block", format!("{count} items in it")));
        }
        Ok((count > 0).then_some(Block { count, bytes }))
    }

    fn variant(&mut self, variants: &[Type]) -> Result<usize, AvroError> {
        let number = self.long()?;
        let found = usize::try_from(number).ok();
        found
            .filter(|number| *number < variants.len())
            .ok_or_else(|| AvroError::new("one of the union", format!("number {number}")))
    }

    fn symbol(&mut self, kind: &Enum) -> Result<&'a str, AvroError> {
        let number = self.long()?;
        let symbol = usize::try_from(number).ok();
        match symbol.and_then(|number| kind.symbols.get(number)) {
            Some(Some(symbol)) => Ok(self.arena.alloc_str(symbol)),
            Some(None) => Err(AvroError::new(
                "a symbol of the reader's enum",
                format!("number {number} of the writer's"),
            )),
            None => Err(AvroError::new("a symbol", format!("number {number}"))),
        }
    }

    fn time(&mut self, unit: Unit) -> Result<Timestamp, AvroError> {
        Ok(Timestamp(self.long()?.div_euclid(unit.per_milli())))
    }

    fn text(&mut self) -> Result<&'a str, AvroError> {
        let bytes = self.sized("a string")?;
        std::str::from_utf8(bytes)
            .map_err(|_| AvroError::new("a string", "bytes that are no UTF-8"))
    }

    fn sized(&mut self, what: &'static str) -> Result<&'a [u8], AvroError> {
        let length = self.length(what)?;
        self.take(length, what)
    }

    fn length(&mut self, what: &'static str) -> Result<usize, AvroError> {
        let length = self.long()?;
        usize::try_from(length).map_err(|_| AvroError::new(what, format!("{length} bytes of it")))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], AvroError> {
        let bytes = self.take(N, what)?;
        Ok(bytes.try_into().expect("just so many"))
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], AvroError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(AvroError::new(what, "the end of the record")),
        }
    }

    /// A number in zigzag coding, at most ten bytes.
    fn long(&mut self) -> Result<i64, AvroError> {
        let mut number = 0u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(match self.rest.len() < 10 {
            true => AvroError::new("a number", "the end of the record"),
            false => AvroError::new("a number", "one of more than 64 bits"),
        })
    }

    fn deeper(&mut self) -> Result<(), AvroError> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(AvroError::new("a record", "one nested too deep")),
            false => Ok(()),
        }
    }
}

/// A part of an array or a map.
struct Block {
    count: u64,
    /// How many bytes it has, if it says so.
    bytes: Option<usize>,
}

fn promoted(value: Value<'_>, promotion: Promotion) -> Value<'_> {
    match (promotion, value) {
        (Promotion::Double, Value::Int(number)) => Value::Float(number as f64),
        (Promotion::Str, Value::Bytes(bytes)) => {
            std::str::from_utf8(bytes).map_or(value, Value::Str)
        }
        (Promotion::Bytes, Value::Str(text)) => Value::Bytes(text.as_bytes()),
        _ => value,
    }
}
