//! Which names a node sees, and in which slots their values stand.
//!
//! A slot is written by one place only (the source's reader, one entry of a map, or an aggregate's
//! result), so branches of a sub-topology share one row and never disturb each other.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::expr;
use crate::value::{FieldPath, Slot, ValueType};

/// The slots of one sub-topology, handed out as they are asked for.
#[derive(Debug, Default)]
pub(super) struct Layout {
    next: RefCell<u32>,
    /// Fields that the source's reader fills.
    source: RefCell<BTreeMap<FieldPath, Slot>>,
}

impl Layout {
    pub(super) fn new_slot(&self) -> Slot {
        let mut next = self.next.borrow_mut();
        let slot = Slot(*next);
        *next += 1;
        slot
    }

    /// The slot of a field of the source.
    pub(super) fn source_slot(&self, path: &FieldPath) -> Slot {
        if let Some(slot) = self.source.borrow().get(path) {
            return *slot;
        }
        let slot = self.new_slot();
        self.source.borrow_mut().insert(path.clone(), slot);
        slot
    }

    /// All fields that anyone asked the source for.
    pub(super) fn source_fields(&self) -> Vec<(FieldPath, Slot)> {
        self.source
            .borrow()
            .iter()
            .map(|(path, slot)| (path.clone(), *slot))
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
    /// Behind a source: any other path is a field of the record, with these types declared.
    source: Option<BTreeMap<FieldPath, ValueType>>,
}

impl<'l> Scope<'l> {
    /// Behind a source with these declared fields.
    pub(super) fn of_source(layout: &'l Layout, declared: &[(FieldPath, ValueType)]) -> Scope<'l> {
        let declared = declared.iter().cloned().collect();
        Scope {
            layout,
            computed: BTreeMap::new(),
            order: Vec::new(),
            source: Some(declared),
        }
    }

    /// Behind an aggregate: nothing but what is added.
    pub(super) fn of_results(layout: &'l Layout) -> Scope<'l> {
        Scope {
            layout,
            computed: BTreeMap::new(),
            order: Vec::new(),
            source: None,
        }
    }

    /// Adds a computed field, hiding an older one of that name.
    pub(super) fn add(&mut self, path: FieldPath, kind: ValueType) -> Slot {
        let slot = self.layout.new_slot();
        if self.computed.insert(path.clone(), (slot, kind)).is_none() {
            self.order.push(path);
        }
        slot
    }

    /// Whether fields beyond the computed ones can be named.
    pub(super) fn is_open(&self) -> bool {
        self.source.is_some()
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
            .any(|known| is_below(path, known) || is_below(known, path));
        let declared = self.source.as_ref()?;
        if hidden {
            return None;
        }
        let kind = declared.get(path).copied().unwrap_or(ValueType::Any);
        Some((self.layout.source_slot(path), kind))
    }
}

impl expr::Scope for Scope<'_> {
    fn resolve(&self, path: &FieldPath) -> Option<(Slot, ValueType)> {
        self.find(path)
    }

    fn known(&self) -> Vec<FieldPath> {
        let declared = self.source.iter().flat_map(|source| source.keys());
        self.computed.keys().chain(declared).cloned().collect()
    }
}

/// Whether `path` is a field of `parent`.
fn is_below(path: &FieldPath, parent: &FieldPath) -> bool {
    path.as_str()
        .strip_prefix(parent.as_str())
        .is_some_and(|rest| rest.starts_with('.'))
}
