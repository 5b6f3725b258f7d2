//! What leaves an aggregate at a commit: changes of its store and results.

use bumpalo::Bump;

use crate::headers::PackedHeaders;
use crate::processor::input::{ResultParts, StoredChange, fill_result};
use crate::processor::outputs::result_key;
use crate::processor::store::{Store, StoreWriter};
use crate::processor::table::Folded;
use crate::processor::{
    Before, Context, InRecord, OperatorState, ProcessError, Produced, Row, run_all,
};
use crate::state::{StateBatch, keys};
use crate::time::Timestamp;
use crate::topology::graph::{Emit, Function};
use crate::topology::plan::{AggregatePlan, OperatorId};
use crate::value::Value;

/// A commit of one aggregate.
pub(super) struct Flush<'f, 'c> {
    pub(super) context: &'f mut Context<'c>,
    pub(super) operators: &'f mut [OperatorState],
    pub(super) id: OperatorId,
    pub(super) plan: &'f AggregatePlan,
    pub(super) functions: &'f [Function],
    pub(super) batch: &'f mut StateBatch,
    pub(super) arena: &'f Bump,
    pub(super) buffer: Vec<u8>,
}

impl<'c> Flush<'_, 'c> {
    /// The aggregate's store.
    pub(super) fn store(&self) -> Store<'_> {
        Store {
            state: self.context.state,
            id: self.plan.store,
            node: self.node(),
            functions: self.functions,
            deleting: None,
        }
    }

    fn node(&self) -> &str {
        self.context.plan.operators[self.id].node.as_str()
    }

    /// Whether anybody wants results before their windows close.
    pub(super) fn emits_updates(&self) -> bool {
        let is_read = !self.context.plan.operators[self.id].next.is_empty();
        self.plan.emit == Emit::Updates && (is_read || self.plan.results_topic.is_some())
    }

    /// A result leaves: it is sent on, or somebody else reads it from the changelog.
    pub(super) fn count(&mut self) {
        self.operators[self.id].counts.output += 1;
    }

    /// The aggregate's store, to be written.
    pub(super) fn writer(&mut self) -> StoreWriter<'_> {
        StoreWriter {
            store: self.plan.store,
            batch: self.batch,
            buffer: &mut self.buffer,
        }
    }

    /// Sends the result of a window on, to the operators behind the aggregate and to SQL sinks;
    /// no result: the window is no more.
    pub(super) fn emit(
        &mut self,
        group: &[u8],
        start: Timestamp,
        end: Timestamp,
        result: Result<&Folded, Timestamp>,
    ) -> Result<(), ProcessError> {
        self.count();
        let (folded, time) = match result {
            Ok(folded) => (Some(folded), Timestamp(folded.max_time_ms)),
            Err(time) => (None, time),
        };
        if let Some(topic) = &self.plan.results_topic {
            let mut key = keys::window_bytes(start).to_vec();
            key.extend_from_slice(group);
            self.buffer.clear();
            StoredChange::encode(end, time, folded, &mut self.buffer);
            self.context.outputs.produce(Produced {
                topic,
                partition: Some(self.context.partition().0),
                key: Some(&key),
                value: Some(&self.buffer),
                timestamp: time,
                headers: PackedHeaders::NONE,
            })?;
        }
        let sub_topology = self.context.plan;
        let operator = &sub_topology.operators[self.id];
        if operator.next.is_empty() {
            return Ok(());
        }
        let arena = self.arena;
        let by = keys::read_fields(group, arena).expect("made by fold_row");
        let record = InRecord {
            topic: "",
            partition: self.context.partition().0,
            offset: -1,
            timestamp: time,
            key: result_key(by, arena),
            value: None,
            headers: PackedHeaders::NONE,
        };
        let fields = arena.alloc_slice_fill_copy(sub_topology.slots, Value::Missing);
        let mut row = Row {
            record,
            key: record.key,
            time,
            judged_by: time,
            fields,
            arena,
            event: None,
            joined: &[],
            no_value: folded.is_none(),
            before: match self.plan.emit {
                Emit::Updates => Before::Unknown,
                Emit::Close => Before::Stream,
            },
        };
        let parts = ResultParts {
            by,
            start,
            end,
            accumulators: folded.map(|folded| folded.accumulators.as_slice()),
        };
        fill_result(&mut row, &self.plan.slots, &parts);
        run_all(self.context, self.operators, &operator.next, &mut row)
    }
}
