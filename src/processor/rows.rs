//! Rows as they are kept: how they are written, and what is read of them.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::input::MARKER_KEY;
use super::keyed::{self, KeyedStore};
use super::run::move_fields;
use super::{
    Before, Context, FoldedError, Kind, NodeCounts, OperatorState, ProcessError, Row, run_all,
};
use crate::codec::DecodeError;
use crate::record::{StoredRow, decode_json};
use crate::topology::graph::NodeName;
use crate::topology::plan::{Input, KeyField, OperatorId, RowsReader, TablePlan, WantedFields};
use crate::value::{Slot, Value, ValueType};

/// A table at work.
pub(super) struct RowTable {
    pub(super) rows: KeyedStore,
    buffer: Vec<u8>,
}

impl RowTable {
    pub(super) fn new(plan: &TablePlan, budget_bytes: usize) -> RowTable {
        RowTable {
            rows: KeyedStore::new(plan.store, budget_bytes),
            buffer: Vec::new(),
        }
    }
}

/// Keeps a row and sends it on, with the one that it replaces.
pub(super) fn keep_row<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &TablePlan,
    key: &[u8],
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    let operator = &context.plan.operators[id];
    let Kind::Table(table) = &mut operators[id].kind else {
        unreachable!("a table is at work here");
    };
    move_fields(&plan.moves, row);
    table.buffer.clear();
    if !row.no_value {
        encode_row(&plan.computed, row, &mut table.buffer);
    }
    let value = (!row.no_value).then_some(table.buffer.as_slice());
    let before = table.rows.replace(context, key, value, row.arena)?;
    let before = match before {
        None => None,
        Some(bytes) => {
            let fields = row
                .arena
                .alloc_slice_fill_copy(context.plan.slots, Value::Missing);
            let stored = decode_row(&operator.node, bytes, row.arena)?;
            read_fields(&stored, &plan.wanted, row.arena, fields);
            Some(fields)
        }
    };
    operators[id].counts.output += 1;
    let earlier = std::mem::replace(&mut row.before, Before::Row(before));
    let done = run_all(context, operators, &operator.next, row);
    row.before = earlier;
    done
}

/// The bytes of a row: its event, and the fields that this does not hold, or otherwise.
fn encode_row(computed: &[(String, Slot)], row: &Row<'_, '_>, out: &mut Vec<u8>) {
    let fields = row_fields(computed, row);
    StoredRow::new(row.time, row.record.value, &fields).encode_into(out);
}

/// The fields of a row in these slots, with their names.
pub(super) fn row_fields<'v, 'a: 'v>(
    computed: &'v [(String, Slot)],
    row: &Row<'_, 'a>,
) -> ArenaVec<'v, (&'v str, Value<'v>)> {
    let mut fields = ArenaVec::with_capacity_in(computed.len(), row.arena);
    for (name, slot) in computed {
        fields.push((name.as_str(), row.fields[slot.index()]));
    }
    fields
}

fn decode_row<'a>(
    node: &NodeName,
    bytes: &'a [u8],
    arena: &'a Bump,
) -> Result<StoredRow<'a>, ProcessError> {
    StoredRow::decode(bytes, arena).map_err(|source| foreign(node, source))
}

/// What is kept or sent cannot be read.
pub(super) fn foreign(node: &NodeName, source: DecodeError) -> ProcessError {
    ProcessError::Foreign {
        node: node.to_string(),
        source: FoldedError::from(source),
    }
}

/// Fills the slots of what is wanted of a kept row. Its event has been read before it was kept; should
/// it be none, its fields are missing.
pub(super) fn read_fields<'a>(
    stored: &StoredRow<'a>,
    wanted: &WantedFields,
    arena: &'a Bump,
    fields: &mut [Value<'a>],
) {
    let is_read = stored
        .raw()
        .is_some_and(|event| decode_json(event, &wanted.projection, arena, fields).is_ok());
    if !is_read {
        for (_, slot) in &wanted.fields {
            fields[slot.index()] = Value::Missing;
        }
    }
    for (name, value) in stored.fields() {
        if let Some((_, slot)) = wanted.fields.iter().find(|(path, _)| path == name) {
            fields[slot.index()] = *value;
        }
    }
}

/// A row of a table that another sub-topology keeps, or that it is no more.
pub(super) fn read_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    counts: &mut NodeCounts,
    reader: &RowsReader,
    input: &Input,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let Some(key) = row.record.key.filter(|key| *key != MARKER_KEY) else {
        return Ok(());
    };
    let damaged = || ProcessError::Damaged {
        node: reader.node.to_string(),
        what: "a row's key",
    };
    row.key = Some(keyed::record_key(key).ok_or_else(damaged)?);
    row.before = Before::Unknown;
    match row.record.value {
        None => {
            row.no_value = true;
            row.fields.fill(Value::Missing);
            fill_key(reader.key, row);
        }
        Some(bytes) => {
            let stored = decode_row(&reader.node, bytes, row.arena)?;
            row.time = stored.time();
            row.record.value = stored.raw();
            read_fields(&stored, &reader.wanted, row.arena, row.fields);
        }
    }
    counts.output += 1;
    run_all(context, operators, &input.next, row)
}

/// Fills the field that holds the key of a record, which is all that is known of one without a value.
pub(super) fn fill_key(key: Option<KeyField>, row: &mut Row<'_, '_>) {
    let Some(field) = key else {
        return;
    };
    let text = row.key.and_then(|key| std::str::from_utf8(key).ok());
    let value = text.map(|text| match field.kind {
        ValueType::Int => text.parse().map_or(Value::Str(text), Value::Int),
        _ => Value::Str(text),
    });
    row.set(field.slot, value.unwrap_or(Value::Null));
}
