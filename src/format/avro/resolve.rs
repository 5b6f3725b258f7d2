//! What a reader with a schema of its own makes of records that were written with another one: the
//! rules of schema resolution in Avro's specification.
//!
//! The result is the writer's layout, with the reader's names and meanings: fields that the reader
//! does not know have no name, fields that only the reader has have a default. What cannot be
//! resolved is an error if every record meets it, and otherwise stays in the layout, for the records
//! that do.
//!
//! Records, enums and fixed bytes are told apart by their names. Where nothing has to be told apart,
//! because there is one on each side, they may be called anything, as with other readers of Avro:
//! whoever reads what is in a registry seldom calls a record as its writer does.

use std::slice;
use std::sync::Arc;

use super::layout::{Default, Enum, Field, Fixed, Layout, Name, Promotion, Record, Type, Unit};

/// The writer's layout as this reader sees it.
///
/// # Errors
/// Why no record that was written so can be read.
pub(in crate::format) fn resolve(writer: &Layout, reader: &Layout) -> Result<Layout, String> {
    let mut resolver = Resolver {
        writer,
        reader,
        reader_records: reader.records.clone().into(),
        known: Vec::new(),
        records: Vec::new(),
    };
    match resolver.kind(&writer.root, &reader.root) {
        Type::Unfit(reason) => Err(reason),
        root => Ok(Layout {
            root,
            records: resolver.records,
        }),
    }
}

struct Resolver<'s> {
    writer: &'s Layout,
    reader: &'s Layout,
    /// The reader's, for those who read defaults.
    reader_records: Arc<[Record]>,
    /// The pairs of records that have a number.
    known: Vec<(usize, usize)>,
    records: Vec<Record>,
}

impl<'s> Resolver<'s> {
    fn kind(&mut self, written: &'s Type, read: &'s Type) -> Type {
        match written {
            Type::Union(variants) => {
                let resolved = variants
                    .iter()
                    .map(|variant| self.variant(variants, variant, read));
                Type::Union(resolved.collect())
            }
            written => self.variant(slice::from_ref(written), written, read),
        }
    }

    /// What becomes of `written`, which is one of `variants`.
    fn variant(&mut self, variants: &'s [Type], written: &'s Type, read: &'s Type) -> Type {
        let wanted = alternatives(read);
        let found = match name(written, self.writer) {
            Some(name) => self.namesake(name, variants, written, wanted),
            None => counterpart(written, wanted),
        };
        match (found, name(written, self.writer), read) {
            (Some(found), ..) => self.pair(written, found),
            (None, Some(name), _) => {
                let kind = sort(written).name();
                Type::Unfit(format!(
                    "{kind} {}, which the reader's schema lacks",
                    name.full
                ))
            }
            (None, None, read) => Type::Unfit(format!(
                "{}, where the reader's schema has {}",
                written.name(),
                read.name()
            )),
        }
    }

    /// The one of the reader's types that is called like a record, an enum or fixed bytes of the
    /// writer: by the full name, or by an alias. By the name without its namespace, or whatever its
    /// name is, only if no other one could be meant on either side.
    fn namesake(
        &self,
        name: &Name,
        variants: &'s [Type],
        written: &'s Type,
        wanted: &'s [Type],
    ) -> Option<&'s Type> {
        let writers = named(variants, sort(written), self.writer);
        let readers = named(wanted, sort(written), self.reader);
        let is_short = |(other, _): &&(&Name, &Type)| other.short() == name.short();
        let is_one = |count: usize| count == 1;
        let found = readers
            .iter()
            .find(|(other, _)| other.full == name.full)
            .or_else(|| {
                let mut readers = readers.iter();
                readers.find(|(other, _)| other.aliases.contains(&name.full))
            })
            .or_else(|| {
                let is_clear = is_one(writers.iter().filter(is_short).count())
                    && is_one(readers.iter().filter(is_short).count());
                readers.iter().find(is_short).filter(|_| is_clear)
            })
            .or_else(|| {
                let is_clear = is_one(writers.len()) && is_one(readers.len());
                readers.first().filter(|_| is_clear)
            });
        found.map(|(_, kind)| *kind)
    }

    /// What becomes of a type for who reads this one.
    fn pair(&mut self, written: &'s Type, read: &'s Type) -> Type {
        let promoted = |wire, promotion| Type::Promoted(Box::new(wire), promotion);
        match (written, read) {
            (Type::Record(writer), Type::Record(reader)) => self.record(*writer, *reader),
            (Type::Array(written), Type::Array(read)) => {
                Type::Array(Box::new(self.kind(written, read)))
            }
            (Type::Map(written), Type::Map(read)) => Type::Map(Box::new(self.kind(written, read))),
            (Type::Enum(written), Type::Enum(read)) => Type::Enum(symbols(written, read)),
            (written, read) if is_same_wire(written, read) => read.clone(),
            (written, read) => match (sort(written), read) {
                (Sort::Int, Type::Float | Type::Double) => promoted(Type::Int, Promotion::Double),
                (Sort::Long, Type::Float | Type::Double) => promoted(Type::Long, Promotion::Double),
                (Sort::Float | Sort::Double, Type::Float | Type::Double) => written.clone(),
                (Sort::Bytes, Type::Str) => promoted(Type::Bytes, Promotion::Str),
                (Sort::Text, Type::Bytes) => promoted(Type::Str, Promotion::Bytes),
                _ => Type::Unfit(format!(
                    "{}, where the reader's schema has {}",
                    written.name(),
                    read.name()
                )),
            },
        }
    }

    fn record(&mut self, writer: usize, reader: usize) -> Type {
        let pair = (writer, reader);
        if let Some(number) = self.known.iter().position(|known| *known == pair) {
            return match refused(&self.records[number]) {
                Some(reason) => Type::Unfit(reason.to_owned()),
                None => Type::Record(number),
            };
        }
        let number = self.known.len();
        self.known.push(pair);
        self.records.push(Record::default());
        match self.fields(writer, reader) {
            Ok(record) => {
                self.records[number] = record;
                Type::Record(number)
            }
            Err(reason) => {
                // Records inside of it may hold it in their turn, and be read elsewhere.
                let unfit = Type::Unfit(reason);
                self.records[number].fields.push(Field {
                    name: None,
                    aliases: Vec::new(),
                    kind: unfit.clone(),
                    default: None,
                });
                unfit
            }
        }
    }

    fn fields(&mut self, writer: usize, reader: usize) -> Result<Record, String> {
        let (written, read) = (&self.writer.records[writer], &self.reader.records[reader]);
        let places = read.fields.iter().map(|field| place(field, written));
        let places: Vec<Option<usize>> = places.collect();
        let mut record = Record::default();
        for (at, field) in written.fields.iter().enumerate() {
            let known = places.iter().position(|place| *place == Some(at));
            let (name, kind) = match known.map(|known| &read.fields[known]) {
                Some(known) => (known.name.clone(), self.kind(&field.kind, &known.kind)),
                // Of a field that is not read, the records still have to be skipped.
                None => (None, self.skipped(&field.kind)),
            };
            record.fields.push(Field {
                name,
                kind,
                ..field.clone()
            });
        }
        for (field, place) in read.fields.iter().zip(places) {
            if place.is_none() {
                record.defaults.push(self.default(field)?);
            }
        }
        Ok(record)
    }

    /// What stands for a field that the writer does not have.
    fn default(&self, field: &Field) -> Result<Default, String> {
        let name = field.name.clone().unwrap_or_default();
        match &field.default {
            Some(Ok(bytes)) => Ok(Default {
                name,
                kind: field.kind.clone(),
                bytes: Arc::clone(bytes),
                records: Arc::clone(&self.reader_records),
            }),
            Some(Err(reason)) => Err(format!(
                "a record without the field {name}, whose default is none ({reason})"
            )),
            None => Err(format!(
                "a record without the field {name}, which has no default"
            )),
        }
    }

    /// A type of the writer that nobody reads, with its records among those of the result.
    fn skipped(&mut self, kind: &Type) -> Type {
        match kind {
            Type::Record(writer) => {
                // No reader has this number.
                let pair = (*writer, usize::MAX);
                if let Some(number) = self.known.iter().position(|known| *known == pair) {
                    return Type::Record(number);
                }
                let number = self.known.len();
                self.known.push(pair);
                self.records.push(Record::default());
                let fields = self.writer.records[*writer].fields.iter();
                let fields = fields.map(|field| Field {
                    name: None,
                    kind: self.skipped(&field.kind),
                    ..field.clone()
                });
                let fields = fields.collect();
                self.records[number].fields = fields;
                Type::Record(number)
            }
            Type::Array(items) => Type::Array(Box::new(self.skipped(items))),
            Type::Map(values) => Type::Map(Box::new(self.skipped(values))),
            Type::Union(variants) => {
                let variants = variants.iter();
                Type::Union(variants.map(|variant| self.skipped(variant)).collect())
            }
            other => other.clone(),
        }
    }
}

/// The types that a type leaves to choose from.
fn alternatives(kind: &Type) -> &[Type] {
    match kind {
        Type::Union(variants) => variants,
        kind => slice::from_ref(kind),
    }
}

/// How a record, an enum or fixed bytes are called; other types have no name.
fn name<'s>(kind: &'s Type, layout: &'s Layout) -> Option<&'s Name> {
    match kind {
        Type::Record(number) => Some(&layout.records[*number].name),
        Type::Enum(kind) => Some(&kind.name),
        kind => fixed(kind).map(|fixed| &fixed.name),
    }
}

fn fixed(kind: &Type) -> Option<&Fixed> {
    match kind {
        Type::Fixed(fixed) | Type::Uuid(Some(fixed)) => Some(fixed),
        Type::Decimal(decimal) => decimal.fixed.as_ref(),
        _ => None,
    }
}

/// Those that are of this sort, with their names.
fn named<'s>(types: &'s [Type], wanted: Sort, layout: &'s Layout) -> Vec<(&'s Name, &'s Type)> {
    let types = types.iter().filter(|kind| sort(kind) == wanted);
    types
        .filter_map(|kind| Some((name(kind, layout)?, kind)))
        .collect()
}

/// The first of the reader's types that is the one of the writer, or else the first that it can be
/// widened to, or else the first that may still take its values.
fn counterpart<'s>(written: &Type, wanted: &'s [Type]) -> Option<&'s Type> {
    let written = sort(written);
    let first = |takes: fn(Sort, Sort) -> bool| {
        let mut wanted = wanted.iter();
        wanted.find(|kind| takes(written, sort(kind)))
    };
    first(|written, read| written == read)
        .or_else(|| first(is_widened))
        .or_else(|| first(is_narrowed))
}

/// Whether the specification has values of one type become those of another.
fn is_widened(written: Sort, read: Sort) -> bool {
    matches!(
        (written, read),
        (Sort::Int, Sort::Long | Sort::Float | Sort::Double)
            | (Sort::Long, Sort::Float | Sort::Double)
            | (Sort::Float, Sort::Double)
            | (Sort::Bytes, Sort::Text)
            | (Sort::Text, Sort::Bytes)
    )
}

/// Whether values of one type may be those of another, as the library has it.
fn is_narrowed(written: Sort, read: Sort) -> bool {
    matches!(
        (written, read),
        (Sort::Long, Sort::Int) | (Sort::Double, Sort::Float)
    )
}

/// The writer's symbols as the reader knows them.
fn symbols(written: &Enum, read: &Enum) -> Enum {
    let known = |symbol: &Option<Box<str>>| match read.symbols.contains(symbol) {
        true => symbol.clone(),
        false => read.default.clone(),
    };
    Enum {
        symbols: written.symbols.iter().map(known).collect(),
        ..read.clone()
    }
}

/// Which field of the writer is the one of the reader: that of its name, or else of an alias.
fn place(field: &Field, written: &Record) -> Option<usize> {
    let place_of = |name: &str| {
        let mut fields = written.fields.iter();
        fields.position(|field| field.name.as_deref() == Some(name))
    };
    let aliases = field.aliases.iter().map(String::as_str);
    let mut names = field.name.as_deref().into_iter().chain(aliases);
    names.find_map(place_of)
}

/// Why no record of this layout can be read, if none can.
fn refused(record: &Record) -> Option<&str> {
    match &record.fields[..] {
        [
            Field {
                name: None,
                kind: Type::Unfit(reason),
                ..
            },
        ] => Some(reason),
        _ => None,
    }
}

/// Whether two types are the same bytes, so that the reader's meaning holds.
fn is_same_wire(written: &Type, read: &Type) -> bool {
    match (sort(written), sort(read)) {
        (Sort::Int | Sort::Long, Sort::Int | Sort::Long) => true,
        (Sort::Fixed, Sort::Fixed) => {
            let size = |kind| fixed(kind).map(|fixed| fixed.size);
            size(written) == size(read)
        }
        (Sort::Other, _) => false,
        (written, read) => written == read,
    }
}

/// A type as the specification tells them apart, whatever it means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Null,
    Bool,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed,
    Enum,
    Array,
    Map,
    Record,
    /// A union, or what is no type of a schema.
    Other,
}

impl Sort {
    /// With a name behind it, for messages.
    fn name(self) -> &'static str {
        match self {
            Sort::Record => "the record",
            Sort::Enum => "the enum",
            _ => "the fixed bytes",
        }
    }
}

fn sort(kind: &Type) -> Sort {
    match kind {
        Type::Null => Sort::Null,
        Type::Bool => Sort::Bool,
        Type::Int | Type::Date | Type::TimeOfDay(Unit::Millis) => Sort::Int,
        Type::Long | Type::Time(_) | Type::TimeOfDay(_) => Sort::Long,
        Type::Float => Sort::Float,
        Type::Double => Sort::Double,
        Type::Bytes => Sort::Bytes,
        Type::Str | Type::Uuid(None) => Sort::Text,
        Type::Decimal(decimal) if decimal.fixed.is_none() => Sort::Bytes,
        Type::Fixed(_) | Type::Decimal(_) | Type::Uuid(Some(_)) => Sort::Fixed,
        Type::Enum(_) => Sort::Enum,
        Type::Array(_) => Sort::Array,
        Type::Map(_) => Sort::Map,
        Type::Record(_) => Sort::Record,
        Type::Union(_) | Type::Promoted(..) | Type::Unfit(_) => Sort::Other,
    }
}
