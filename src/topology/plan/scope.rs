//! Which names a node sees, and in which slots their values stand.
//!
//! A slot belongs to one place only (a field of a source, one entry of a map, an aggregate's
//! result, a field behind a merge), so branches of a sub-topology share one row and never disturb
//! each other. Fields of sources and behind merges get their slots when somebody asks for them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::expr;
use crate::topology::graph::NodeName;
use crate::topology::shape::{Lookup, Shape};
use crate::value::{FieldPath, Slot, ValueType};

/// The slots of one sub-topology, handed out as they are asked for.
#[derive(Debug, Default)]
pub(super) struct Layout {
    next: RefCell<u32>,
    /// Fields that the readers of sources fill.
    sources: RefCell<BTreeMap<NodeName, BTreeMap<FieldPath, Slot>>>,
    /// Fields that are copied to a merge.
    merges: RefCell<BTreeMap<NodeName, BTreeMap<FieldPath, Merged>>>,
}

/// A field behind a merge.
#[derive(Clone, Debug)]
struct Merged {
    slot: Slot,
    kind: ValueType,
    /// Where each input has it.
    from: Vec<Option<Slot>>,
}

impl Layout {
    pub(super) fn new_slot(&self) -> Slot {
        let mut next = self.next.borrow_mut();
        let slot = Slot(*next);
        *next += 1;
        slot
    }

    /// The slot of a field of a source.
    pub(super) fn source_slot(&self, source: &NodeName, path: &FieldPath) -> Slot {
        let mut sources = self.sources.borrow_mut();
        let fields = sources.entry(source.clone()).or_default();
        if let Some(slot) = fields.get(path) {
            return *slot;
        }
        let slot = self.new_slot();
        fields.insert(path.clone(), slot);
        slot
    }

    /// All fields that anyone asked the source for.
    pub(super) fn source_fields(&self, source: &NodeName) -> Vec<(FieldPath, Slot)> {
        let sources = self.sources.borrow();
        let fields = sources.get(source).into_iter().flatten();
        fields.map(|(path, slot)| (path.clone(), *slot)).collect()
    }

    /// What has to be copied from an input of a merge: from which slot, if it has the field, and
    /// to which.
    pub(super) fn copies(&self, merge: &NodeName, input: usize) -> Vec<(Option<Slot>, Slot)> {
        let merges = self.merges.borrow();
        let fields = merges.get(merge).into_iter().flat_map(BTreeMap::values);
        fields
            .map(|field| (field.from[input], field.slot))
            .collect()
    }

    /// The fields behind a merge that anyone asked for.
    pub(super) fn merged_fields(&self, merge: &NodeName) -> Vec<(FieldPath, Slot)> {
        let merges = self.merges.borrow();
        let fields = merges.get(merge).into_iter().flatten();
        fields
            .map(|(path, field)| (path.clone(), field.slot))
            .collect()
    }

    pub(super) fn slots(&self) -> usize {
        *self.next.borrow() as usize
    }
}

/// The names that a node sees.
#[derive(Clone, Debug)]
pub(super) struct Scope<'l> {
    layout: &'l Layout,
    /// Computed fields and results.
    computed: BTreeMap<FieldPath, (Slot, ValueType)>,
    /// The computed names in the order in which they were added.
    order: Vec<FieldPath>,
    base: Base<'l>,
}

/// Where names come from that are not computed.
#[derive(Clone, Debug)]
enum Base<'l> {
    /// There are none.
    Nowhere,
    /// Any path is a field of the record, with these types declared.
    Source {
        node: NodeName,
        declared: BTreeMap<FieldPath, ValueType>,
    },
    /// Fields of rows that are read as they were kept or sent: those that were computed then, and of
    /// the events that the rows were made of any other path.
    Rows { node: NodeName, shape: Rc<Shape> },
    /// What any of the inputs has.
    Merge {
        node: NodeName,
        inputs: Rc<[Scope<'l>]>,
    },
    /// What the left side has, and below the prefix what the right side has.
    Join {
        left: Rc<Scope<'l>>,
        prefix: FieldPath,
        right: Rc<Scope<'l>>,
    },
}

impl<'l> Scope<'l> {
    /// Behind a source with these declared fields.
    pub(super) fn of_source(
        layout: &'l Layout,
        source: &NodeName,
        declared: &[(FieldPath, ValueType)],
    ) -> Scope<'l> {
        let base = Base::Source {
            node: source.clone(),
            declared: declared.iter().cloned().collect(),
        };
        Scope::over(layout, base, Vec::new())
    }

    /// Of rows that left a node with this shape and are read elsewhere.
    pub(super) fn of_rows(layout: &'l Layout, node: &NodeName, shape: &Shape) -> Scope<'l> {
        let base = Base::Rows {
            node: node.clone(),
            shape: Rc::new(shape.clone()),
        };
        Scope::over(layout, base, shape.computed().to_vec())
    }

    /// Behind an aggregate: nothing but what is added.
    pub(super) fn of_results(layout: &'l Layout) -> Scope<'l> {
        Scope::over(layout, Base::Nowhere, Vec::new())
    }

    /// Behind a merge of what is seen there.
    pub(super) fn of_merge(
        layout: &'l Layout,
        merge: &NodeName,
        inputs: Vec<Scope<'l>>,
    ) -> Scope<'l> {
        let mut order: Vec<FieldPath> = Vec::new();
        for path in inputs.iter().flat_map(|input| &input.order) {
            if !order.contains(path) {
                order.push(path.clone());
            }
        }
        let base = Base::Merge {
            node: merge.clone(),
            inputs: inputs.into(),
        };
        Scope::over(layout, base, order)
    }

    /// Behind a join of what is seen on its sides.
    pub(super) fn of_join(left: Scope<'l>, prefix: &FieldPath, right: Scope<'l>) -> Scope<'l> {
        let inside = right.order.iter().map(|path| prefix.join(path));
        let outside = left.order.iter().filter(|path| !hides(prefix, path));
        let order = outside.cloned().chain(inside).collect();
        let layout = left.layout;
        let base = Base::Join {
            left: Rc::new(left),
            prefix: prefix.clone(),
            right: Rc::new(right),
        };
        Scope::over(layout, base, order)
    }

    fn over(layout: &'l Layout, base: Base<'l>, order: Vec<FieldPath>) -> Scope<'l> {
        Scope {
            layout,
            computed: BTreeMap::new(),
            order,
            base,
        }
    }

    /// Adds a computed field, hiding an older one of that name.
    pub(super) fn add(&mut self, path: FieldPath, kind: ValueType) -> Slot {
        let slot = self.layout.new_slot();
        self.computed.insert(path.clone(), (slot, kind));
        if !self.order.contains(&path) {
            self.order.push(path);
        }
        slot
    }

    /// Whether fields beyond the computed ones can be named.
    pub(super) fn is_open(&self) -> bool {
        match &self.base {
            Base::Nowhere => false,
            Base::Source { .. } => true,
            Base::Rows { shape, .. } => shape.is_open(),
            Base::Merge { inputs, .. } => inputs.iter().any(Scope::is_open),
            Base::Join { left, right, .. } => left.is_open() || right.is_open(),
        }
    }

    /// The computed names in the order in which they were added.
    pub(super) fn names(&self) -> &[FieldPath] {
        &self.order
    }

    /// The slot and type of a path; none when there can be no such field.
    pub(super) fn find(&self, path: &FieldPath) -> Option<(Slot, ValueType)> {
        if let Some(found) = self.computed.get(path) {
            return Some(*found);
        }
        let hidden = self
            .computed
            .keys()
            .any(|known| path.lies_in(known) || known.lies_in(path));
        if hidden {
            return None;
        }
        match &self.base {
            Base::Nowhere => None,
            Base::Source { node, declared } => {
                let kind = declared.get(path).copied().unwrap_or(ValueType::Any);
                Some((self.layout.source_slot(node, path), kind))
            }
            Base::Rows { node, shape } => {
                let is_computed = self.order.contains(path);
                let is_hidden = |known: &FieldPath| path.lies_in(known) || known.lies_in(path);
                let is_absent = shape.lookup(path) == Lookup::Absent;
                if !is_computed && (is_absent || self.order.iter().any(is_hidden)) {
                    return None;
                }
                let mut declared = shape.fields().iter();
                let declared = declared.find(|(known, _)| known == path);
                let kind = declared.map_or(ValueType::Any, |(_, kind)| *kind);
                Some((self.layout.source_slot(node, path), kind))
            }
            Base::Merge { node, inputs } => self.find_merged(node, inputs, path),
            Base::Join {
                left,
                prefix,
                right,
            } => match path.inside(prefix) {
                Some(inside) => right.find(&inside),
                None if path == prefix => None,
                None => left.find(path),
            },
        }
    }

    fn find_merged(
        &self,
        merge: &NodeName,
        inputs: &[Scope<'l>],
        path: &FieldPath,
    ) -> Option<(Slot, ValueType)> {
        let known = |merged: &Merged| (merged.slot, merged.kind);
        if let Some(fields) = self.layout.merges.borrow().get(merge)
            && let Some(found) = fields.get(path)
        {
            return Some(known(found));
        }
        let found: Vec<_> = inputs.iter().map(|input| input.find(path)).collect();
        let mut kinds = found.iter().flatten().map(|(_, kind)| *kind);
        let first = kinds.next()?;
        let merged = Merged {
            slot: self.layout.new_slot(),
            kind: match kinds.all(|kind| kind == first) {
                true => first,
                false => ValueType::Any,
            },
            from: found
                .iter()
                .map(|found| found.map(|(slot, _)| slot))
                .collect(),
        };
        let answer = known(&merged);
        let mut merges = self.layout.merges.borrow_mut();
        let fields = merges.entry(merge.clone()).or_default();
        fields.insert(path.clone(), merged);
        Some(answer)
    }
}

impl expr::Scope for Scope<'_> {
    fn resolve(&self, path: &FieldPath) -> Option<(Slot, ValueType)> {
        self.find(path)
    }

    fn known(&self) -> Vec<FieldPath> {
        let computed = self.computed.keys().cloned();
        match &self.base {
            Base::Nowhere => computed.collect(),
            Base::Source { declared, .. } => computed.chain(declared.keys().cloned()).collect(),
            Base::Rows { shape, .. } => {
                let declared = shape.fields().iter().map(|(path, _)| path.clone());
                computed.chain(declared).collect()
            }
            Base::Merge { inputs, .. } => {
                let inputs = inputs.iter().flat_map(expr::Scope::known);
                computed.chain(inputs).collect()
            }
            Base::Join {
                left,
                prefix,
                right,
            } => {
                let left = expr::Scope::known(&**left).into_iter();
                let right = expr::Scope::known(&**right).into_iter();
                let right = right.map(|path| prefix.join(&path));
                computed.chain(left).chain(right).collect()
            }
        }
    }
}

/// Whether a field cannot be seen where something else has this name.
fn hides(name: &FieldPath, path: &FieldPath) -> bool {
    path == name || path.lies_in(name)
}
