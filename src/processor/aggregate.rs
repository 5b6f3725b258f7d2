//! Windowed aggregates: rows in, results per key and window out.
//!
//! ```text
//!  row ──→ key, window ──→ late? ──→ table (memory) ──┐ at each commit
//!                            │                        ├─→ changelog, then the store
//!                          drop                       └─→ results, by `emit`
//! ```
//!
//! Time: a row advances the stream time before it is judged. A window is closed when its end plus
//! the grace has been reached. Behind a repartition rows were judged on the near side; here windows
//! close by the lowest stream time of the upstream partitions, apart from those that are read to
//! their ends and silent; when all are, by the highest. With `emit: close` a window's result leaves
//! once, at the first commit after it closed, and what comes for it later is late.

use std::collections::BTreeMap;

use super::fold::Partial;
use super::input::fill_result;
use super::outputs::result_key;
use super::table::{Folded, Lookup, Table};
use super::{
    Context, DropReason, InRecord, Kind, OperatorState, ProcessError, Produced, Row, RowFault,
    drop_row, run_all,
};
use crate::aggregate::check_arguments;
use crate::codec::{Decode, Encode};
use crate::state::{StateBatch, keys};
use crate::time::Timestamp;
use crate::topology::graph::{Emit, Function, OnError, OnLate};
use crate::topology::plan::{AggregatePlan, FoldShape, OperatorId, Work};
use crate::value::Value;
use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use std::ops::ControlFlow;

/// How far the folds of a task have come; stored with every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    nodes: BTreeMap<String, NodeProgress>,
}

/// How far one fold has come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeProgress {
    /// The highest event time seen.
    pub stream_time_ms: i64,
    /// The results of all windows that begin before this have left (`emit: close`).
    pub emitted_until_ms: i64,
    /// Behind a repartition: how far each upstream partition has come.
    pub upstream: BTreeMap<i32, Upstream>,
    /// Behind a repartition: how many upstream partitions there are.
    pub upstream_partitions: u32,
}

/// How far an upstream partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Upstream {
    /// The highest event time seen in it.
    pub stream_time_ms: i64,
    /// Whether it is read to its end, and nothing has come for a while.
    pub silent: bool,
}

impl Default for NodeProgress {
    fn default() -> NodeProgress {
        NodeProgress {
            stream_time_ms: i64::MIN,
            emitted_until_ms: i64::MIN,
            upstream: BTreeMap::new(),
            upstream_partitions: 0,
        }
    }
}

impl Progress {
    /// The progress of a node; that of a new one if it has none.
    pub fn of(&self, node: &str) -> NodeProgress {
        self.nodes.get(node).cloned().unwrap_or_default()
    }

    /// Sets the progress of a node.
    pub fn set(&mut self, node: &str, progress: NodeProgress) {
        self.nodes.insert(node.to_owned(), progress);
    }

    /// Whether no node has any.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds the nodes of another task part.
    pub fn extend(&mut self, other: Progress) {
        self.nodes.extend(other.nodes);
    }
}

/// The stream time of one writer of a repartition topic, sent along with its partial results.
#[derive(Debug, Encode, Decode)]
pub(super) struct UpstreamTime {
    pub(super) partition: i32,
    pub(super) partitions: u32,
    pub(super) stream_time_ms: i64,
    pub(super) silent: bool,
}

pub(super) struct WindowedAggregate {
    table: Table,
    functions: Vec<Function>,
    progress: NodeProgress,
    /// No stored window begins after this; unknown until the store was asked.
    newest_stored: Option<Timestamp>,
    /// Windows that begin before this are gone from the store.
    purged_until: Timestamp,
    /// Whether silence closes windows.
    idle_close: bool,
    value: Vec<u8>,
}

impl WindowedAggregate {
    pub(super) fn new(
        plan: &AggregatePlan,
        budget_bytes: usize,
        progress: NodeProgress,
    ) -> WindowedAggregate {
        WindowedAggregate {
            table: Table::new(budget_bytes),
            functions: plan
                .shape
                .calls
                .iter()
                .map(|(function, _)| *function)
                .collect(),
            progress,
            newest_stored: None,
            purged_until: Timestamp::MIN,
            idle_close: plan.emit == Emit::Close && plan.idle_close_ms.is_some(),
            value: Vec::new(),
        }
    }

    pub(super) fn upstream(&mut self, time: &UpstreamTime) {
        self.progress.upstream_partitions = time.partitions;
        let unknown = Upstream {
            stream_time_ms: i64::MIN,
            silent: false,
        };
        let known = self.progress.upstream.entry(time.partition);
        let known = known.or_insert(unknown);
        *known = Upstream {
            stream_time_ms: time.stream_time_ms.max(known.stream_time_ms),
            silent: time.silent,
        };
    }

    /// The time by which windows close.
    fn closing_time(&self) -> Timestamp {
        let NodeProgress {
            upstream,
            upstream_partitions,
            stream_time_ms,
            ..
        } = &self.progress;
        if *upstream_partitions == 0 {
            return Timestamp(*stream_time_ms);
        }
        if upstream.len() < *upstream_partitions as usize {
            return Timestamp::MIN;
        }
        let times = |upstream: &Upstream| upstream.stream_time_ms;
        let lowest = upstream.values().filter(|u| !u.silent).map(times).min();
        let highest = || upstream.values().map(times).max();
        Timestamp(lowest.or_else(highest).unwrap_or(i64::MIN))
    }

    /// Whether nothing is on its way: of upstream partitions, that they have said so.
    fn is_upstream_silent(&self) -> bool {
        let NodeProgress {
            upstream,
            upstream_partitions,
            ..
        } = &self.progress;
        upstream.len() >= *upstream_partitions as usize && upstream.values().all(|u| u.silent)
    }

    /// The time by which windows close when nothing has come for so long.
    fn closing_time_after(&self, plan: &AggregatePlan, idle_ms: i64) -> Timestamp {
        let closing_time = self.closing_time();
        let is_idle = plan
            .idle_close_ms
            .is_some_and(|after_ms| idle_ms >= after_ms);
        let seen = closing_time.max(Timestamp(self.progress.stream_time_ms));
        match is_idle && seen > Timestamp::MIN && self.is_upstream_silent() {
            true => seen.plus_millis(idle_ms),
            false => closing_time,
        }
    }

    /// The entry of a key, read from the store if it may be there.
    fn entry(
        &mut self,
        context: &Context<'_>,
        plan: &AggregatePlan,
        node: &str,
        start: Timestamp,
        key: &[u8],
    ) -> Result<&mut Folded, ProcessError> {
        let id = match self.table.find(key) {
            Lookup::Found(id) => id,
            Lookup::Absent(hash) => {
                let stored = self.load(context, plan, node, start, key)?;
                let folded = stored.unwrap_or_else(|| Folded::new(&self.functions));
                self.table.insert(hash, key, folded)
            }
        };
        Ok(self.table.change(id))
    }

    fn load(
        &mut self,
        context: &Context<'_>,
        plan: &AggregatePlan,
        node: &str,
        start: Timestamp,
        key: &[u8],
    ) -> Result<Option<Folded>, ProcessError> {
        let newest = match self.newest_stored {
            Some(newest) => newest,
            None => {
                context.state.last_key(plan.store, &mut self.value)?;
                let newest = keys::split_window(&self.value).map_or(Timestamp::MIN, |(at, _)| at);
                *self.newest_stored.insert(newest)
            }
        };
        if start > newest || !context.state.get(plan.store, key, &mut self.value)? {
            return Ok(None);
        }
        let stored = Folded::decode(&self.value, &self.functions);
        stored.map(Some).map_err(|source| ProcessError::Foreign {
            node: node.to_owned(),
            source,
        })
    }

    pub(super) fn flush(
        &mut self,
        context: &mut Context<'_>,
        operators: &mut [OperatorState],
        id: OperatorId,
        batch: &mut StateBatch,
        idle_ms: i64,
        arena: &Bump,
    ) -> Result<(), ProcessError> {
        let operator = &context.plan.operators[id];
        let Work::Aggregate(plan) = &operator.work else {
            unreachable!("an aggregate is at work here");
        };
        let emits_updates = plan.emit == Emit::Updates && !operator.next.is_empty();
        let WindowedAggregate {
            table,
            value,
            newest_stored,
            ..
        } = self;
        table.drain_dirty(|key, folded| -> Result<(), ProcessError> {
            value.clear();
            folded.encode(value);
            context.outputs.changelog(plan.store, key, Some(value))?;
            batch.put(plan.store, key, value);
            let (start, _) = keys::split_window(key).expect("made by fold_row");
            *newest_stored = newest_stored.map(|newest| newest.max(start));
            match emits_updates {
                true => emit(context, operators, id, plan, key, folded, arena),
                false => Ok(()),
            }
        })?;
        if plan.emit == Emit::Close {
            self.close_windows(context, operators, id, plan, idle_ms, arena)?;
        }
        self.purge(plan, batch);
        Ok(())
    }

    /// Sends the results of windows that have closed since the last time, by start, then key.
    fn close_windows(
        &mut self,
        context: &mut Context<'_>,
        operators: &mut [OperatorState],
        id: OperatorId,
        plan: &AggregatePlan,
        idle_ms: i64,
        arena: &Bump,
    ) -> Result<(), ProcessError> {
        let closing_time = self.closing_time_after(plan, idle_ms);
        let emitted_until = Timestamp(self.progress.emitted_until_ms);
        let open_from = plan.shape.window.open_from(closing_time);
        if open_from <= emitted_until {
            return Ok(());
        }
        let closed = self.collect(context, plan, emitted_until, open_from)?;
        for (key, bytes) in &closed {
            let node = context.plan.operators[id].node.as_str();
            let folded =
                Folded::decode(bytes, &self.functions).map_err(|source| ProcessError::Foreign {
                    node: node.to_owned(),
                    source,
                })?;
            if let Some(topic) = &plan.results_topic {
                let timestamp = Timestamp(folded.max_time_ms);
                let partition = Some(context.partition().0);
                let (key, value) = (Some(key.as_slice()), Some(bytes.as_slice()));
                context.outputs.produce(Produced {
                    topic,
                    partition,
                    key,
                    value,
                    timestamp,
                })?;
            }
            emit(context, operators, id, plan, key, &folded, arena)?;
        }
        self.progress.emitted_until_ms = open_from.0;
        Ok(())
    }

    /// The encoded results of the windows that begin in `[from, to)`: the store's, and over them
    /// those in memory, which are newer.
    fn collect(
        &self,
        context: &Context<'_>,
        plan: &AggregatePlan,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ProcessError> {
        let mut found = BTreeMap::new();
        let (mut first, mut end) = (Vec::new(), Vec::new());
        keys::push_window(from, &mut first);
        keys::push_window(to, &mut end);
        context
            .state
            .scan(plan.store, &first, &end, &mut |key, value| {
                found.insert(key.to_vec(), value.to_vec());
                ControlFlow::Continue(())
            })?;
        for entry in self.table.entries() {
            if first.as_slice() <= &*entry.key && *entry.key < *end.as_slice() {
                let mut value = Vec::new();
                entry.folded.encode(&mut value);
                found.insert(entry.key.to_vec(), value);
            }
        }
        Ok(found)
    }

    /// Drops windows whose retention is over.
    fn purge(&mut self, plan: &AggregatePlan, batch: &mut StateBatch) {
        let closing_time = self.closing_time();
        if closing_time == Timestamp::MIN {
            return;
        }
        let window = plan.shape.window;
        let until = window.start_of(closing_time.plus_millis(-plan.retention_ms));
        if until <= self.purged_until {
            return;
        }
        let (mut first, mut end) = (Vec::new(), Vec::new());
        keys::push_window(Timestamp::MIN, &mut first);
        keys::push_window(until, &mut end);
        batch.delete_range(plan.store, &first, &end);
        self.table.forget_before(until);
        self.purged_until = until;
    }

    pub(super) fn committed(&mut self) {
        self.table.trim();
    }

    pub(super) fn progress(&self) -> NodeProgress {
        self.progress.clone()
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    pub(super) fn stream_time(&self) -> Timestamp {
        Timestamp(self.progress.stream_time_ms)
    }

    /// Whether silence can still close a window: the newest event's has not left.
    pub(super) fn waits_for_silence(&self) -> bool {
        let NodeProgress {
            stream_time_ms,
            emitted_until_ms,
            ..
        } = self.progress;
        self.idle_close && stream_time_ms > i64::MIN && stream_time_ms >= emitted_until_ms
    }

    /// Whether windows close when nothing has come for so long.
    pub(super) fn closes_after(&self, plan: &AggregatePlan, idle_ms: i64) -> bool {
        let open_from = plan
            .shape
            .window
            .open_from(self.closing_time_after(plan, idle_ms));
        self.waits_for_silence() && open_from.0 > self.progress.emitted_until_ms
    }
}

/// Folds a row into the aggregate or fold with that number.
pub(super) fn fold_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let plan = context.plan;
    let operator = &plan.operators[id];
    let shape = operator
        .work
        .fold_shape()
        .expect("run() sends rows to folds only");
    let (group, arguments) = match prepare(shape, row) {
        Ok(prepared) => prepared,
        Err(RowFault { reason, message }) => {
            let counts = &mut operators[id].counts;
            return drop_row(
                context,
                counts,
                &operator.node,
                shape.on_error,
                reason,
                &message,
                row,
            );
        }
    };
    let start = shape.window.start_of(row.time);
    let mut key = ArenaVec::with_capacity_in(keys::WINDOW_BYTES + group.len(), row.arena);
    key.extend_from_slice_copy(&keys::window_bytes(start));
    key.extend_from_slice_copy(group);
    let folded = match (&mut operators[id].kind, &operator.work) {
        (Kind::Fold(fold), _) => {
            fold.stream_time = fold.stream_time.max(row.time);
            match shape.window.is_closed(start, fold.stream_time) {
                true => None,
                false => Some(fold.entry(&key)),
            }
        }
        (Kind::Aggregate(aggregate), Work::Aggregate(plan)) => {
            let progress = &mut aggregate.progress;
            progress.stream_time_ms = progress.stream_time_ms.max(row.time.0);
            let late = shape
                .window
                .is_closed(start, Timestamp(progress.stream_time_ms))
                || start.0 < progress.emitted_until_ms;
            match late {
                true => None,
                false => {
                    Some(aggregate.entry(context, plan, operator.node.as_str(), start, &key)?)
                }
            }
        }
        _ => unreachable!("run() sends rows to folds only"),
    };
    match folded {
        None => drop_late(context, operators, id, shape, start, row),
        Some(folded) => {
            folded.max_time_ms = folded.max_time_ms.max(row.time.0);
            let mut rest = arguments;
            for (accumulator, (_, evaluators)) in folded.accumulators.iter_mut().zip(&shape.calls) {
                let (own, others) = rest.split_at(evaluators.len());
                accumulator.add(own, row.time);
                rest = others;
            }
            Ok(())
        }
    }
}

/// The key of a row's group and the arguments of all functions, one behind the other.
type Prepared<'a> = (&'a [u8], &'a [Value<'a>]);

/// The key and the arguments of all functions, checked: a row counts wholly or not at all.
fn prepare<'a>(shape: &FoldShape, row: &Row<'_, 'a>) -> Result<Prepared<'a>, RowFault> {
    if let Some(slot) = shape.partitioned_by {
        check_record_key(row.fields[slot.index()], row.record.key)?;
    }
    let mut key = ArenaVec::with_capacity_in(64, row.arena);
    for slot in &shape.by {
        keys::push_field(row.fields[slot.index()], &mut key)
            .map_err(|error| RowFault::of(DropReason::NullKey, &error))?;
    }
    let view = row.view();
    let mut arguments = ArenaVec::with_capacity_in(shape.calls.len() + 4, row.arena);
    for (function, evaluators) in &shape.calls {
        let first = arguments.len();
        for evaluator in evaluators {
            let value = evaluator.eval(&view);
            arguments.push(value.map_err(|error| RowFault::of(DropReason::Expression, &error))?);
        }
        check_arguments(*function, &arguments[first..])
            .map_err(|error| RowFault::of(DropReason::Expression, &error))?;
    }
    Ok((key.into_bump_slice(), arguments.into_bump_slice()))
}

/// A topic that is said to be keyed by a field must be: rows of one key in two partitions would
/// overwrite each other's results.
fn check_record_key(field: Value<'_>, key: Option<&[u8]>) -> Result<(), RowFault> {
    match (field, key) {
        (Value::Str(text), Some(key)) if text.as_bytes() == key => Ok(()),
        (Value::Missing | Value::Null, _) => Ok(()),
        (field, key) => Err(RowFault {
            reason: DropReason::KeyMismatch,
            message: format!(
                "the source says that records are keyed by this field, but the field is {field:?} \
                 and the record's key is {:?}",
                key.map(String::from_utf8_lossy)
            ),
        }),
    }
}

/// Merges a partial result into the aggregate behind a repartition.
pub(super) fn fold_partial(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    group: &[u8],
    partial: Partial,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let plan = context.plan;
    let operator = &plan.operators[id];
    let (Kind::Aggregate(aggregate), Work::Aggregate(aggregate_plan)) =
        (&mut operators[id].kind, &operator.work)
    else {
        unreachable!("the planner puts an aggregate behind a repartition");
    };
    let start = Timestamp(partial.window_start_ms);
    let progress = &mut aggregate.progress;
    progress.stream_time_ms = progress.stream_time_ms.max(partial.folded.max_time_ms);
    if start.0 < progress.emitted_until_ms || start < aggregate.purged_until {
        return drop_late(context, operators, id, &aggregate_plan.shape, start, row);
    }
    let mut key = keys::window_bytes(start).to_vec();
    key.extend_from_slice(group);
    let node = operator.node.as_str();
    let entry = aggregate.entry(context, aggregate_plan, node, start, &key)?;
    entry.merge(partial.folded);
    operators[id].counts.input += 1;
    Ok(())
}

fn drop_late(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    shape: &FoldShape,
    start: Timestamp,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let on_late = match shape.on_late {
        OnLate::Drop => OnError::Drop,
        OnLate::DeadLetter => OnError::DeadLetter,
    };
    let message = match on_late {
        OnError::Drop => String::new(),
        _ => format!("the window that begins at {start} is closed"),
    };
    let node = &context.plan.operators[id].node;
    let counts = &mut operators[id].counts;
    drop_row(
        context,
        counts,
        node,
        on_late,
        DropReason::Late,
        &message,
        row,
    )
}

/// Sends a result on to the operators behind the aggregate.
fn emit(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &AggregatePlan,
    key: &[u8],
    folded: &Folded,
    arena: &Bump,
) -> Result<(), ProcessError> {
    let (start, group) = keys::split_window(key).expect("made by fold_row");
    let by = keys::read_fields(group, arena).expect("made by fold_row");
    let sub_topology = context.plan;
    let operator = &sub_topology.operators[id];
    let time = Timestamp(folded.max_time_ms);
    let record = InRecord {
        topic: "",
        partition: context.partition().0,
        offset: -1,
        timestamp: time,
        key: result_key(by, arena),
        value: None,
    };
    let fields = arena.alloc_slice_fill_copy(sub_topology.slots, Value::Missing);
    let mut row = Row {
        record,
        time,
        fields,
        arena,
    };
    fill_result(
        &mut row,
        &plan.slots,
        by,
        start,
        plan.shape.window.end_of(start),
        &folded.accumulators,
    );
    operators[id].counts.output += 1;
    run_all(context, operators, &operator.next, &mut row)
}
