//! Which fields the records behind a node have, and of which types, as far as that is known before
//! any record is read.
//!
//! Behind a source anything may be there (the shape is *open*); declared fields have their types.
//! A filter changes nothing; a map adds fields. Behind an aggregate there are exactly the fields of
//! its key, [`WINDOW_START`], [`WINDOW_END`] and its results (the shape is *closed*). Behind a join
//! each side has a shape of its own. The shape of a SQL sink is its row.

use super::graph::{
    Aggregate, Emit, GlobalTable, Join, KafkaSink, Process, Side, Source, Suppress, Until,
    WINDOW_END, WINDOW_START,
};
use crate::expr::{Expression, Scope};
use crate::value::{FieldPath, Slot, ValueType};

/// The fields of the records that leave a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    fields: Vec<(FieldPath, ValueType)>,
    open: bool,
    /// Whether the events have no other fields than the known ones: a schema says so.
    sealed: bool,
    certain: bool,
    key: Vec<FieldPath>,
    /// Those that nodes have made, in the order in which they came to be.
    computed: Vec<FieldPath>,
    /// What was joined, and under which names.
    joined: Vec<(FieldPath, Shape)>,
    replace: bool,
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
    pub(crate) fn unknown() -> Shape {
        Shape {
            fields: Vec::new(),
            open: true,
            sealed: false,
            certain: false,
            key: Vec::new(),
            computed: Vec::new(),
            joined: Vec::new(),
            replace: false,
        }
    }

    /// The records of a source.
    pub(super) fn of_source(source: &Source) -> Shape {
        let schema = source.format.schema();
        let is_wrong = schema.is_some_and(|schema| schema.error().is_some());
        let of_format = source.format.paths();
        Shape {
            sealed: of_format.is_some() && !is_wrong,
            fields: of_format.unwrap_or_else(|| source.fields.clone()),
            open: true,
            certain: !is_wrong,
            key: Vec::new(),
            computed: Vec::new(),
            joined: Vec::new(),
            replace: false,
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
            computed: fields.iter().map(|(path, _)| path.clone()).collect(),
            fields,
            open: false,
            sealed: false,
            certain: true,
            key,
            joined: Vec::new(),
            replace: aggregate.emit == Emit::Updates,
        }
    }

    /// The results of a join: on the left side's fields follow, under their prefix, the right side's.
    pub(super) fn of_join(join: &Join, left: &Shape, right: &Shape) -> Shape {
        let mut shape = left.clone();
        shape.hide(&join.prefix);
        let inside = right.fields.iter();
        shape
            .fields
            .extend(inside.map(|(path, kind)| (join.prefix.join(path), *kind)));
        let inside = right.computed.iter();
        shape
            .computed
            .extend(inside.map(|path| join.prefix.join(path)));
        shape.joined.push((join.prefix.clone(), right.clone()));
        shape.certain = left.certain && right.certain;
        if join.kind.keeps(Side::Right) {
            // Of results that only the right side has.
            shape.key.clear();
        }
        shape
    }

    /// The records of a table.
    pub(super) fn of_table(input: &Shape) -> Shape {
        Shape {
            replace: true,
            ..input.clone()
        }
    }

    /// The rows of a global table.
    pub(super) fn of_global_table(table: &GlobalTable) -> Shape {
        Shape::of_table(&Shape::of_source(&table.source))
    }

    /// The rows that leave a suppress.
    pub(super) fn of_suppress(suppress: &Suppress, input: &Shape) -> Shape {
        Shape {
            replace: input.replace && suppress.until != Until::Close,
            ..input.clone()
        }
    }

    /// The records that are made of one of these, each of which stands for itself.
    pub(super) fn of_elements(input: &Shape) -> Shape {
        Shape {
            replace: false,
            ..input.clone()
        }
    }

    /// The updates of these rows, of which one key has many.
    pub(super) fn of_updates(input: &Shape) -> Shape {
        Shape {
            key: Vec::new(),
            ..Shape::of_elements(input)
        }
    }

    /// The rows that a processor sends on, each of which stands for itself.
    pub(super) fn of_process(process: &Process, input: &Shape) -> Shape {
        let mut shape = match process.keeps_fields {
            true => Shape::of_elements(input),
            false => Shape::of_row(Vec::new(), Vec::new()),
        };
        for (path, kind) in &process.gives {
            shape.set(path, *kind);
        }
        shape
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
            sealed: inputs.iter().all(Shape::is_known),
            joined: Shape::joined_to_any(&inputs),
            computed: Shape::computed_in_any(&inputs),
            replace: inputs.iter().any(|input| input.replace),
            certain: inputs.iter().all(|input| input.certain),
            key: if same_key {
                inputs[0].key.clone()
            } else {
                Vec::new()
            },
        }
    }

    fn computed_in_any(inputs: &[Shape]) -> Vec<FieldPath> {
        let mut computed: Vec<FieldPath> = Vec::new();
        for path in inputs.iter().flat_map(|input| &input.computed) {
            if !computed.contains(path) {
                computed.push(path.clone());
            }
        }
        computed
    }

    /// What was joined to the records of some of the inputs. Where others have something else in its
    /// place, nothing is known of it.
    fn joined_to_any(inputs: &[Shape]) -> Vec<(FieldPath, Shape)> {
        let mut joined: Vec<(FieldPath, Shape)> = Vec::new();
        for (prefix, right) in inputs.iter().flat_map(|input| &input.joined) {
            if joined.iter().all(|(known, _)| known != prefix) {
                let is_it = |(other, shape): &(FieldPath, Shape)| other == prefix && shape == right;
                let same = inputs.iter().all(|input| input.joined.iter().any(is_it));
                let shape = match same {
                    true => right.clone(),
                    false => Shape::unknown(),
                };
                joined.push((prefix.clone(), shape));
            }
        }
        joined
    }

    /// A row with these columns.
    pub(super) fn of_row(columns: Vec<(FieldPath, ValueType)>, key: Vec<FieldPath>) -> Shape {
        Shape {
            fields: columns,
            open: false,
            sealed: false,
            certain: true,
            key,
            computed: Vec::new(),
            joined: Vec::new(),
            replace: false,
        }
    }

    /// The fields that are known, in the order in which they came to be.
    pub fn fields(&self) -> &[(FieldPath, ValueType)] {
        &self.fields
    }

    /// The fields that nodes have made, in the order in which they came to be: what a record's events
    /// do not hold, or otherwise.
    pub fn computed(&self) -> &[FieldPath] {
        &self.computed
    }

    /// Whether records are events that may have other fields as well, or fields that nobody has asked
    /// for.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it is so, or anything that was joined is.
    pub(super) fn has_open_part(&self) -> bool {
        self.open || self.joined.iter().any(|(_, right)| right.has_open_part())
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
        if let Some((outer, kind)) = self.fields.iter().find(|(known, _)| path.lies_in(known)) {
            return match kind {
                ValueType::Map | ValueType::Any => Lookup::Typed(ValueType::Any),
                _ => Lookup::Inside(outer.clone(), *kind),
            };
        }
        for (prefix, right) in &self.joined {
            if path == prefix {
                return Lookup::Absent;
            }
            if let Some(inside) = path.inside(prefix) {
                return match right.lookup(&inside) {
                    Lookup::Inside(outer, kind) => Lookup::Inside(prefix.join(&outer), kind),
                    other => other,
                };
            }
        }
        if self.fields.iter().any(|(known, _)| known.lies_in(path)) {
            return Lookup::Typed(ValueType::Map);
        }
        match self.is_known() {
            true => Lookup::Absent,
            false => Lookup::Undeclared,
        }
    }

    /// Whether all fields are known that records can have.
    fn is_known(&self) -> bool {
        self.sealed || !self.open
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
        let known = self.computed.iter().position(|known| known == path);
        self.hide(path);
        self.fields.push((path.clone(), kind));
        // One that is set again keeps its place.
        let place = known.unwrap_or(usize::MAX).min(self.computed.len());
        self.computed.insert(place, path.clone());
    }

    /// Forgets what was known about a field and those inside it.
    fn hide(&mut self, path: &FieldPath) {
        let stays = |known: &FieldPath| known != path && !known.lies_in(path);
        self.fields.retain(|(known, _)| stays(known));
        self.joined.retain(|(known, _)| stays(known));
        self.computed.retain(stays);
    }

    /// Other fields may be there as well, which could not be read.
    pub(super) fn add_gap(&mut self) {
        self.open = true;
        self.sealed = false;
        self.certain = false;
    }

    /// Whether a record takes the place of the earlier one of its key: rows of a table, and results
    /// that are updated.
    pub fn replace(&self) -> bool {
        self.replace
    }

    /// Whether anything was joined to the records.
    pub fn is_joined(&self) -> bool {
        !self.joined.is_empty()
    }

    /// What was joined to the records, and what its fields begin with.
    pub(super) fn joined(&self) -> &[(FieldPath, Shape)] {
        &self.joined
    }

    /// What the paths of fields begin with that were joined, each with its dot.
    pub(super) fn prefixes(&self) -> Vec<String> {
        let joined = self.joined.iter().flat_map(|(prefix, right)| {
            let inside = right.prefixes().into_iter();
            let inside = inside.map(move |inside| format!("{prefix}.{inside}"));
            [format!("{prefix}.")].into_iter().chain(inside)
        });
        joined.collect()
    }

    /// Whether nothing is missing because of a mistake in this node or those before it.
    pub(super) fn is_certain(&self) -> bool {
        self.certain
    }
}

impl KafkaSink {
    /// What a sink writes behind events when it has a schema and names no fields: those of the schema
    /// that the events can have, each under its own name.
    pub(super) fn fields_of_schema(&self, before: &Shape) -> Vec<(String, Expression)> {
        let schema = self.format.as_ref().and_then(|format| format.schema());
        let names = schema.into_iter().flat_map(|schema| schema.fields());
        let names = names.map(|field| field.name);
        let known = names.filter(|name| before.lookup(&FieldPath::new(name)) != Lookup::Absent);
        known
            .map(|name| (name.to_owned(), Expression::parse(name)))
            .collect()
    }
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
