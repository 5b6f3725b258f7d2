//! A join with a global table at work: each record of a stream finds the row that the process has under
//! the key that the record names.
//!
//! Rows are read by all threads of the process, so what a task has read it keeps, with the fields that it
//! wants already read out of the event, until the row changes ([`GlobalRows::version`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::joined::Events;
use super::outputs::key_bytes;
use super::rows::{decode_row, read_fields};
use super::run::{RowFault, drop_row, pass_on};
use super::{Before, Context, DropReason, Kind, OperatorState, ProcessError, Row};
use crate::record::StoredRow;
use crate::state::StateError;
use crate::state::global::{GlobalRows, Version};
use crate::topology::graph::{NodeName, Side};
use crate::topology::plan::{GlobalJoinPlan, OperatorId};
use crate::value::Value;

/// The global tables of a process.
pub type GlobalTables = BTreeMap<NodeName, Arc<GlobalRows>>;

/// What a join with a global table keeps in memory.
pub(super) struct GlobalJoin {
    table: Arc<GlobalRows>,
    known: HashMap<Box<[u8]>, Known, RandomState>,
    heap_bytes: usize,
    budget_bytes: usize,
    buffer: Vec<u8>,
}

/// A row that was read, or that there is none.
struct Known {
    version: Version,
    /// The wanted fields in their order, and the event where it is passed on.
    row: Option<Box<[u8]>>,
}

impl Known {
    /// Puts the wanted fields into their slots.
    fn fill<'a>(
        &self,
        plan: &GlobalJoinPlan,
        row: &mut Row<'_, 'a>,
    ) -> Result<Option<StoredRow<'a>>, ProcessError> {
        let Some(bytes) = &self.row else {
            return Ok(None);
        };
        let bytes = row.arena.alloc_slice_copy(bytes);
        let found = decode_row(&plan.table, bytes, row.arena)?;
        for ((_, slot), (_, value)) in plan.wanted.fields.iter().zip(found.fields()) {
            row.set(*slot, value);
        }
        Ok(Some(found))
    }

    fn row_bytes(&self) -> usize {
        self.row.as_ref().map_or(0, |row| row.len())
    }
}

impl GlobalJoin {
    /// # Panics
    /// When the process does not have the table.
    pub(super) fn new(
        plan: &GlobalJoinPlan,
        tables: &GlobalTables,
        budget_bytes: usize,
    ) -> GlobalJoin {
        let table = tables.get(&plan.table);
        let table = table.unwrap_or_else(|| panic!("the process has the table {}", plan.table));
        GlobalJoin {
            table: Arc::clone(table),
            known: HashMap::default(),
            heap_bytes: 0,
            budget_bytes,
            buffer: Vec::new(),
        }
    }

    /// The row of a key, its fields already in their slots.
    fn find<'a>(
        &mut self,
        plan: &GlobalJoinPlan,
        key: &[u8],
        row: &mut Row<'_, 'a>,
    ) -> Result<Option<StoredRow<'a>>, ProcessError> {
        let version = self.table.version(key);
        let known = self.known.get(key);
        if let Some(known) = known.filter(|known| known.version == version) {
            return known.fill(plan, row);
        }
        let known = Known {
            version,
            row: self.read(plan, key, row)?,
        };
        let found = known.fill(plan, row);
        self.keep(key, known);
        found
    }

    /// Reads a row from the table; what is wanted of it passes through the slots of `row`. One that cannot
    /// be read is damage: the table is in its topics.
    fn read(
        &mut self,
        plan: &GlobalJoinPlan,
        key: &[u8],
        row: &mut Row<'_, '_>,
    ) -> Result<Option<Box<[u8]>>, ProcessError> {
        if !self.table.get(key, &mut self.buffer)? {
            return Ok(None);
        }
        let bytes = row.arena.alloc_slice_copy(&self.buffer);
        let stored = StoredRow::decode(bytes, row.arena).map_err(|error| {
            self.table.damage();
            StateError::Corrupted {
                path: plan.table.to_string(),
                reason: error.to_string(),
            }
        })?;
        read_fields(&stored, &plan.wanted, row.arena, row.fields);
        let mut fields = ArenaVec::with_capacity_in(plan.wanted.fields.len(), row.arena);
        let wanted = plan.wanted.fields.iter();
        fields.extend(wanted.map(|(name, slot)| (name.as_str(), row.fields[slot.index()])));
        let event = stored.event().filter(|_| plan.keeps_events);
        self.buffer.clear();
        StoredRow::new(stored.time(), event, &fields).encode_into(&mut self.buffer);
        Ok(Some(self.buffer.as_slice().into()))
    }

    fn keep(&mut self, key: &[u8], known: Known) {
        if self.heap_bytes > self.budget_bytes {
            self.known.clear();
            self.heap_bytes = 0;
        }
        self.heap_bytes += known.row_bytes();
        match self.known.get_mut(key) {
            Some(older) => {
                self.heap_bytes -= older.row_bytes();
                *older = known;
            }
            None => {
                self.heap_bytes += size_of::<(Box<[u8]>, Known)>() + key.len();
                self.known.insert(key.into(), known);
            }
        }
    }
}

/// Joins a record with the row that it names and sends the result on.
pub(super) fn join_record<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &GlobalJoinPlan,
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    debug_assert!(
        matches!(row.before, Before::Stream),
        "the checker lets no rows in that replace one another"
    );
    let key = match key_of(plan, row) {
        Ok(key) => key,
        Err(RowFault { reason, message }) => {
            let node = &context.plan.operators[id].node;
            let counts = &mut operators[id].counts;
            return drop_row(context, counts, node, plan.on_error, reason, &message, row);
        }
    };
    let Kind::GlobalJoin(join) = &mut operators[id].kind else {
        unreachable!("a join with a global table is at work here");
    };
    let found = match key {
        Some(key) => join.find(plan, key, row)?,
        None => None,
    };
    match found {
        None if !plan.kind.keeps(Side::Left) => {
            operators[id].counts.filtered += 1;
            return Ok(());
        }
        None => {
            for (_, slot) in &plan.wanted.fields {
                row.set(*slot, Value::Missing);
            }
        }
        Some(_) => {}
    }
    let own = (row.event, row.joined);
    events(plan, row, found.as_ref(), row.arena).give_to(row);
    let done = pass_on(context, operators, id, row);
    (row.event, row.joined) = own;
    done
}

/// The key that a record names; none, if it names none and has a result all the same.
fn key_of<'a>(plan: &GlobalJoinPlan, row: &Row<'_, 'a>) -> Result<Option<&'a [u8]>, RowFault> {
    if row.no_value {
        let message = "the record has no value to be joined";
        return Err(RowFault::of(DropReason::NoValue, &message));
    }
    let key = match &plan.on {
        None => row.key,
        Some(on) => {
            let key = on.eval(&row.view());
            let key = key.map_err(|error| RowFault::expression_of("on", &error))?;
            key_bytes(&key, row.arena)
        }
    };
    match (key, &plan.on) {
        (Some(key), _) => Ok(Some(key)),
        (None, _) if plan.kind.keeps(Side::Left) => Ok(None),
        (None, Some(_)) => Err(RowFault::of(DropReason::NullKey, &"`on` gives no key")),
        (None, None) => Err(RowFault::null_key()),
    }
}

/// The events that a result is made of.
fn events<'a>(
    plan: &GlobalJoinPlan,
    row: &Row<'_, 'a>,
    found: Option<&StoredRow<'a>>,
    arena: &'a Bump,
) -> Events<'a> {
    let own = Events::of_row(row);
    // The event of a row is there only if somebody keeps it.
    let found = found.map_or_else(Events::default, |found| {
        Events::of_kept(found, false, arena)
    });
    let prefix = plan.keeps_events.then_some(plan.prefix.as_str());
    Events::of_sides(Side::Left, own, found, prefix, arena)
}
