//! Which fields the records behind a node have, and of which types, as far as that is known before
//! any record is read.
//!
//! Behind a source anything may be there (the shape is *open*); declared fields have their types.
//! A filter changes nothing; a map adds fields. Behind an aggregate there are exactly the fields of
//! its key, [`WINDOW_START`], [`WINDOW_END`] and its results (the shape is *closed*). The shape of a
//! SQL sink is its row.

use super::graph::{Aggregate, Source, WINDOW_END, WINDOW_START};
use crate::expr::Scope;
use crate::value::{FieldPath, Slot, ValueType};

/// The fields of the records that leave a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    fields: Vec<(FieldPath, ValueType)>,
    open: bool,
    certain: bool,
    key: Vec<FieldPath>,
}

/// What a shape knows about a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It may hold values of this type.
    Typed(ValueType),
    /// It lies inside a field that is no object.
    Inside(FieldPath, ValueType),
    /// It is not declared; it may be there.
    Undeclared,
    /// It cannot be there.
    Absent,
}

impl Shape {
    /// Any fields: the records of a node that is wrong.
    pub(super) fn unknown() -> Shape {
        Shape {
            fields: Vec::new(),
            open: true,
            certain: false,
            key: Vec::new(),
        }
    }

    /// The records of a source.
    pub(super) fn of_source(source: &Source) -> Shape {
        Shape {
            fields: source.fields.clone(),
            open: true,
            certain: true,
            key: Vec::new(),
        }
    }

    /// The results of an aggregate, its results' fields still to come.
    pub(super) fn of_aggregate(aggregate: &Aggregate, input: &Shape) -> Shape {
        let names: Vec<FieldPath> = aggregate.key_fields().collect();
        let types = aggregate.by.iter().map(|path| input.type_of(path));
        let mut fields: Vec<_> = names.iter().cloned().zip(types).collect();
        let mut key = names;
        if aggregate.window.is_some() {
            let (start, end) = (FieldPath::new(WINDOW_START), FieldPath::new(WINDOW_END));
            fields.push((start.clone(), ValueType::Time));
            fields.push((end, ValueType::Time));
            key.push(start);
        }
        Shape {
            fields,
            open: false,
            certain: true,
            key,
        }
    }

    /// What the condition of an aggregate sees that deletes results, of what leaves it: its results,
    /// and not their key and window.
    pub(super) fn of_deletion(aggregate: &Aggregate, results: &Shape) -> Shape {
        let is_result =
            |(path, _): &&(FieldPath, ValueType)| aggregate.set.iter().any(|(set, _)| set == path);
        Shape {
            fields: results.fields.iter().filter(is_result).cloned().collect(),
            ..results.clone()
        }
    }

    /// The records of several inputs together. What is known about a field is what all those know
    /// about it that can have it.
    pub(super) fn of_merge(inputs: impl Iterator<Item = Shape>) -> Shape {
        let inputs: Vec<Shape> = inputs.collect();
        let mut fields: Vec<(FieldPath, ValueType)> = Vec::new();
        for (path, _) in inputs.iter().flat_map(|input| &input.fields) {
            if fields.iter().any(|(known, _)| known == path) {
                continue;
            }
            let mut kinds = inputs.iter().filter_map(|input| match input.lookup(path) {
                Lookup::Absent => None,
                _ => Some(input.type_of(path)),
            });
            let first = kinds.next().unwrap_or(ValueType::Any);
            let kind = match kinds.all(|kind| kind == first) {
                true => first,
                false => ValueType::Any,
            };
            fields.push((path.clone(), kind));
        }
        let keys = inputs.iter().map(|input| &input.key);
        let same_key = keys.clone().all(|key| *key == inputs[0].key);
        Shape {
            fields,
            open: inputs.iter().any(|input| input.open),
            certain: inputs.iter().all(|input| input.certain),
            key: if same_key {
                inputs[0].key.clone()
            } else {
                Vec::new()
            },
        }
    }

    /// A row with these columns.
    pub(super) fn of_row(columns: Vec<(FieldPath, ValueType)>, key: Vec<FieldPath>) -> Shape {
        Shape {
            fields: columns,
            open: false,
            certain: true,
            key,
        }
    }

    /// The fields that are known, in the order in which they came to be.
    pub fn fields(&self) -> &[(FieldPath, ValueType)] {
        &self.fields
    }

    /// Whether records may have other fields as well.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The fields that identify a record: behind an aggregate those of its key and
    /// [`WINDOW_START`], in a table its primary key; empty elsewhere.
    pub fn key(&self) -> &[FieldPath] {
        &self.key
    }

    /// What is known about a field.
    pub fn lookup(&self, path: &FieldPath) -> Lookup {
        if let Some((_, kind)) = self.fields.iter().find(|(known, _)| known == path) {
            return Lookup::Typed(*kind);
        }
        if let Some((outer, kind)) = self.fields.iter().find(|(known, _)| lies_in(path, known)) {
            return match kind {
                ValueType::Map | ValueType::Any => Lookup::Typed(ValueType::Any),
                _ => Lookup::Inside(outer.clone(), *kind),
            };
        }
        if self.fields.iter().any(|(known, _)| lies_in(known, path)) {
            return Lookup::Typed(ValueType::Map);
        }
        if self.open {
            Lookup::Undeclared
        } else {
            Lookup::Absent
        }
    }

    /// Whether it is known to have a field or column of that name.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known.as_str() == name)
    }

    /// The type of a field; [`ValueType::Any`] when nothing is known about it.
    pub fn type_of(&self, path: &FieldPath) -> ValueType {
        match self.lookup(path) {
            Lookup::Typed(kind) => kind,
            Lookup::Inside(..) | Lookup::Undeclared | Lookup::Absent => ValueType::Any,
        }
    }

    /// Sets a field; whatever was known about it and the fields inside it is forgotten.
    pub(super) fn set(&mut self, path: &FieldPath, kind: ValueType) {
        self.fields
            .retain(|(known, _)| known != path && !lies_in(known, path));
        self.fields.push((path.clone(), kind));
    }

    /// Other fields may be there as well, which could not be read.
    pub(super) fn add_gap(&mut self) {
        self.open = true;
        self.certain = false;
    }

    /// Whether nothing is missing because of a mistake in this node or those before it.
    pub(super) fn is_certain(&self) -> bool {
        self.certain
    }
}

/// Whether `path` is a field inside the object `outer`.
fn lies_in(path: &FieldPath, outer: &FieldPath) -> bool {
    path.as_str()
        .strip_prefix(outer.as_str())
        .is_some_and(|rest| rest.starts_with('.'))
}

/// For type checks only: the slots mean nothing. A field inside another one is not resolved, so
/// that the expression looks for the other one and checks that it can have fields.
impl Scope for Shape {
    fn resolve(&self, path: &FieldPath) -> Option<(Slot, ValueType)> {
        match self.lookup(path) {
            Lookup::Typed(kind) => Some((Slot(0), kind)),
            Lookup::Undeclared => Some((Slot(0), ValueType::Any)),
            Lookup::Inside(..) | Lookup::Absent => None,
        }
    }

    fn known(&self) -> Vec<FieldPath> {
        self.fields.iter().map(|(path, _)| path.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Shape {
        let source = Source::json("t")
            .field("meta.dt", ValueType::Str)
            .field("bot", ValueType::Bool)
            .field("log_params", ValueType::Any);
        Shape::of_source(&source)
    }

    #[track_caller]
    fn check(shape: &Shape, path: &str, expected: &Lookup) {
        assert_eq!(&shape.lookup(&FieldPath::new(path)), expected, "{path}");
    }

    #[test]
    fn behind_a_source_declared_fields_have_types_and_others_may_be_there() {
        let shape = declared();
        check(&shape, "bot", &Lookup::Typed(ValueType::Bool));
        check(&shape, "meta.dt", &Lookup::Typed(ValueType::Str));
        check(&shape, "meta", &Lookup::Typed(ValueType::Map));
        check(&shape, "meta.id", &Lookup::Undeclared);
        check(&shape, "log_params.user", &Lookup::Typed(ValueType::Any));
        check(
            &shape,
            "bot.x",
            &Lookup::Inside(FieldPath::new("bot"), ValueType::Bool),
        );
        check(&shape, "bots", &Lookup::Undeclared);
    }

    #[test]
    fn a_field_that_is_set_hides_what_was_declared_inside_it() {
        let mut shape = declared();
        shape.set(&FieldPath::new("meta"), ValueType::Int);
        check(&shape, "meta", &Lookup::Typed(ValueType::Int));
        check(
            &shape,
            "meta.dt",
            &Lookup::Inside(FieldPath::new("meta"), ValueType::Int),
        );
    }

    #[test]
    fn a_closed_shape_has_no_other_fields() {
        let shape = Shape::of_row(vec![(FieldPath::new("wiki"), ValueType::Str)], Vec::new());
        check(&shape, "wiki", &Lookup::Typed(ValueType::Str));
        check(&shape, "user", &Lookup::Absent);
    }
}
