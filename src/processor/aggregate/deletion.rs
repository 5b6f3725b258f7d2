//! Results that are deleted: `delete_if` of an aggregate.
//!
//! The condition is asked after each record, so whether a result is deleted does not depend on when
//! results leave.

use std::cell::Cell;

use bumpalo::Bump;

use crate::expr::{EvalError, Row};
use crate::processor::InRecord;
use crate::processor::table::Folded;
use crate::time::Timestamp;
use crate::topology::plan::Deletion;
use crate::value::Value;

/// The condition of an aggregate, while a record is folded in.
pub(in crate::processor) struct Deleting<'c> {
    plan: &'c Deletion,
    record: InRecord<'c>,
    arena: &'c Bump,
    fault: Cell<Option<EvalError>>,
}

impl<'c> Deleting<'c> {
    pub(in crate::processor) fn new(
        plan: &'c Deletion,
        record: InRecord<'c>,
        arena: &'c Bump,
    ) -> Deleting<'c> {
        Deleting {
            plan,
            record,
            arena,
            fault: Cell::new(None),
        }
    }

    /// Whether a result is to be deleted; not if that cannot be told, which is remembered.
    pub(in crate::processor) fn is_due(&self, folded: &Folded) -> bool {
        let fields = self
            .arena
            .alloc_slice_fill_copy(self.plan.slots, Value::Missing);
        for (read, slot) in &self.plan.results {
            let accumulator = &folded.accumulators[read.accumulator];
            fields[slot.index()] = accumulator.read(&read.function, self.arena);
        }
        let tested = self.plan.condition.test(&Row {
            fields,
            arena: self.arena,
            key: self.record.key,
            timestamp: Timestamp(folded.max_time_ms),
            partition: self.record.partition,
            offset: self.record.offset,
            topic: self.record.topic,
            raw: self.record.value,
            headers: self.record.headers,
        });
        tested.unwrap_or_else(|fault| {
            self.fault.set(Some(fault));
            false
        })
    }

    /// Why it could not be told whether a result is to be deleted.
    pub(in crate::processor) fn into_fault(self) -> Option<EvalError> {
        self.fault.into_inner()
    }
}
