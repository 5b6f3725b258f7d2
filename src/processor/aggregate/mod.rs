//! Aggregates: rows in, results per key and window out.
//!
//! ```text
//!  row ──→ key, place ──→ late? ──→ table (memory) ──┐ at each commit
//!                           │                        ├─→ changelog, then the store
//!                         drop                       └─→ results, by `emit`
//! ```
//!
//! What the windows are decides what is kept, and how results are made of it:
//!
//! | windows | kept by key | a result is |
//! | --- | --- | --- |
//! | none, tumbling, calendar | [`fixed`]: one accumulator per window | that |
//! | hopping | [`hopping`]: one accumulator per pane | those of its panes, merged |
//! | sliding | [`sliding`]: one accumulator per window | that |
//! | session | [`session`]: one accumulator per session | that |
//!
//! With `emit: close` a result leaves once, at the first commit after its window closed, and what
//! comes for it later is late.

mod by_start;
mod deletion;
mod fixed;
mod flush;
mod hopping;
mod read;
mod session;
mod sliding;

pub(super) use deletion::Deleting;
pub(super) use fixed::end_of;
use flush::Flush;
pub(crate) use read::stored_results;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::clock::{NodeProgress, StreamClock, UpstreamTime};
use super::fold::Partial;
use super::store::Store;
use super::table::Folded;
use super::{Context, DropReason, Kind, OperatorState, ProcessError, Row, RowFault, drop_row};
use crate::aggregate::check_arguments;
use crate::expr::EvalError;
use crate::state::{StateBatch, StoreId, keys};
use crate::time::Timestamp;
use crate::topology::graph::{Emit, Function, OnError, OnLate};
use crate::topology::plan::{AggregatePlan, FoldShape, OperatorId, Work};
use crate::value::Value;
use crate::window::{Place, Placed, Windows};

/// An aggregate at work.
pub(super) struct Aggregator {
    functions: Vec<Function>,
    clock: StreamClock,
    keeper: Box<dyn Keeper>,
    /// Whether silence closes windows.
    idle_close: bool,
}

/// What an aggregate keeps, and how results are made of it.
trait Keeper: Send {
    /// Folds in at a place; gives the number of windows for which it came too late.
    fn add(
        &mut self,
        store: &Store<'_>,
        emitted_until: Timestamp,
        place: Place,
        group: &[u8],
        addition: &Addition<'_>,
    ) -> Result<u64, ProcessError>;

    /// Writes what has changed since the last commit, and sends results.
    fn flush(&mut self, flush: &mut Flush<'_, '_>, closing: Closing) -> Result<(), ProcessError>;

    /// Drops what begins (of sessions: ends) before `until`.
    fn purge(&mut self, store: StoreId, until: Timestamp, batch: &mut StateBatch);

    /// Lets go of memory after a commit.
    fn trim(&mut self);

    /// Whether a commit is due, to bound memory.
    fn is_full(&self) -> bool;
}

/// The windows to be closed: those that begin (of sessions: end) from the first time on and before
/// the second.
type Closing = Option<(Timestamp, Timestamp)>;

/// What became of a record that was folded in.
#[derive(Default)]
struct Added {
    /// The number of windows for which it came too late.
    late: u64,
    /// Why it could not be told whether a result is to be deleted.
    fault: Option<EvalError>,
}

/// What is folded in: a row, or what the near side of a repartition has made of several.
pub(super) enum Addition<'a> {
    Row {
        time: Timestamp,
        shape: &'a FoldShape,
        arguments: &'a [Value<'a>],
    },
    Partial(&'a Folded),
}

impl Addition<'_> {
    /// Folds it in.
    pub(super) fn apply(&self, folded: &mut Folded) {
        if folded.is_void() {
            // What only records that count for nothing have left begins anew.
            folded.max_time_ms = i64::MIN;
        }
        match self {
            Addition::Row {
                time,
                shape,
                arguments,
            } => {
                folded.max_time_ms = folded.max_time_ms.max(time.0);
                let mut rest = *arguments;
                for (accumulator, (function, evaluators)) in
                    folded.accumulators.iter_mut().zip(&shape.calls)
                {
                    let (own, others) = rest.split_at(evaluators.len());
                    accumulator.add(function, own, *time);
                    rest = others;
                }
            }
            Addition::Partial(partial) => folded.merge(partial),
        }
    }
}

impl Aggregator {
    pub(super) fn new(
        plan: &AggregatePlan,
        budget_bytes: usize,
        progress: NodeProgress,
    ) -> Aggregator {
        let emit = plan.emit;
        let keeper: Box<dyn Keeper> = match plan.shape.windows {
            windows @ (Windows::Unbounded | Windows::Tumbling(_) | Windows::Calendar(_)) => {
                Box::new(fixed::Fixed::new(windows, budget_bytes))
            }
            Windows::Hopping(windows) => Box::new(hopping::Panes::new(windows, budget_bytes)),
            Windows::Sliding(windows) => {
                Box::new(sliding::SlidingWindows::new(windows, emit, budget_bytes))
            }
            Windows::Session(windows) => {
                Box::new(session::Sessions::new(windows, emit, budget_bytes))
            }
        };
        Aggregator {
            functions: plan.shape.functions(),
            clock: StreamClock::new(progress, plan.is_behind_repartition),
            keeper,
            idle_close: emit == Emit::Close && plan.idle_close_ms.is_some(),
        }
    }

    /// How far an upstream partition has come.
    pub(super) fn upstream(&mut self, time: &UpstreamTime) {
        self.clock.upstream(time);
    }

    /// Folds in what comes with a record, at a place.
    fn add(
        &mut self,
        context: &Context<'_>,
        id: OperatorId,
        place: Place,
        group: &[u8],
        addition: &Addition<'_>,
        row: &Row<'_, '_>,
    ) -> Result<Added, ProcessError> {
        let operator = &context.plan.operators[id];
        let Work::Aggregate(plan) = &operator.work else {
            unreachable!("an aggregate is at work here");
        };
        let deletion = plan.deletion.as_ref();
        let deleting = deletion.map(|plan| Deleting::new(plan, row.record, row.arena));
        let store = Store {
            state: context.state,
            id: plan.store,
            node: operator.node.as_str(),
            functions: &self.functions,
            deleting: deleting.as_ref(),
        };
        let emitted_until = Timestamp(self.clock.progress.emitted_until_ms);
        let late = self
            .keeper
            .add(&store, emitted_until, place, group, addition)?;
        Ok(Added {
            late,
            fault: deleting.and_then(Deleting::into_fault),
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
        let closing_time = self.clock.closing_time();
        let open_from = {
            let time = self.clock.closing_time_after(plan.idle_close_ms, idle_ms);
            plan.shape.windows.open_from(time)
        };
        let emitted_until = Timestamp(self.clock.progress.emitted_until_ms);
        let closing = (plan.emit == Emit::Close && open_from > emitted_until)
            .then_some((emitted_until, open_from));
        let mut flush = Flush {
            context,
            operators,
            id,
            plan,
            functions: &self.functions,
            batch,
            arena,
            buffer: Vec::new(),
        };
        self.keeper.flush(&mut flush, closing)?;
        if closing.is_some() {
            self.clock.progress.emitted_until_ms = open_from.0;
        }
        if let (Some(retention_ms), true) = (plan.retention_ms, closing_time > Timestamp::MIN) {
            let until = closing_time.plus_millis(-retention_ms);
            self.keeper.purge(plan.store, until, batch);
            if plan.emit == Emit::Updates {
                // Also after a restart nothing of before that may begin anew.
                let gone_ms = &mut self.clock.progress.emitted_until_ms;
                *gone_ms = until.0.max(*gone_ms);
            }
        }
        Ok(())
    }

    /// Lets go of memory after a commit.
    pub(super) fn committed(&mut self) {
        self.keeper.trim();
    }

    /// Whether a commit is due, to bound memory.
    pub(super) fn is_full(&self) -> bool {
        self.keeper.is_full()
    }

    pub(super) fn progress(&self) -> NodeProgress {
        self.clock.progress.clone()
    }

    pub(super) fn stream_time(&self) -> Timestamp {
        self.clock.stream_time()
    }

    /// The time by which windows close.
    pub(super) fn closing_time(&self) -> Timestamp {
        self.clock.closing_time()
    }

    /// Whether silence can still close a window: the newest event's has not left.
    pub(super) fn waits_for_silence(&self) -> bool {
        let NodeProgress {
            stream_time_ms,
            emitted_until_ms,
            ..
        } = self.clock.progress;
        self.idle_close && stream_time_ms > i64::MIN && stream_time_ms >= emitted_until_ms
    }

    /// Whether windows close when nothing has come for so long.
    pub(super) fn closes_after(&self, plan: &AggregatePlan, idle_ms: i64) -> bool {
        let time = self.clock.closing_time_after(plan.idle_close_ms, idle_ms);
        let open_from = plan.shape.windows.open_from(time);
        self.waits_for_silence() && open_from.0 > self.clock.progress.emitted_until_ms
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
    let addition = Addition::Row {
        time: row.time,
        shape,
        arguments,
    };
    let added = match (&mut operators[id].kind, &operator.work) {
        (Kind::Fold(fold), Work::Fold(plan)) => {
            let stream_time = fold.time.advance(row.time);
            let Placed { place, late } = shape.windows.place(row.time, stream_time);
            match place {
                Some(place) if plan.one_by_one => {
                    fold.send(plan, place, group, &addition, context.outputs)?;
                }
                Some(place) => fold.add(place, group, &addition),
                None => {}
            }
            Added { late, fault: None }
        }
        (Kind::Aggregate(aggregate), _) => {
            aggregate.clock.advance(row.time);
            let stream_time = aggregate.clock.stream_time();
            let Placed { place, late } = shape.windows.place(row.time, stream_time);
            let mut added = match place {
                Some(place) => aggregate.add(context, id, place, group, &addition, row)?,
                None => Added::default(),
            };
            added.late += late;
            added
        }
        _ => unreachable!("run() sends rows to folds only"),
    };
    drop_added(context, operators, id, shape, &added, row)
}

/// The key of a row's group and the arguments of all functions, one behind the other.
type Prepared<'a> = (&'a [u8], &'a [Value<'a>]);

/// The key and the arguments of all functions, checked: a row counts wholly or not at all.
fn prepare<'a>(shape: &FoldShape, row: &Row<'_, 'a>) -> Result<Prepared<'a>, RowFault> {
    if row.no_value && !shape.windows.take_null_values() {
        return Err(RowFault {
            reason: DropReason::NoValue,
            message: "expected a record with a value, found a tombstone".to_owned(),
        });
    }
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
        check_arguments(function, &arguments[first..])
            .map_err(|error| RowFault::of(DropReason::Expression, &error))?;
    }
    Ok((key.into_bump_slice(), arguments.into_bump_slice()))
}

/// A topic that is said to be keyed by a field must be: rows of one key in two partitions would
/// overwrite each other's results.
pub(super) fn check_record_key(field: Value<'_>, key: Option<&[u8]>) -> Result<(), RowFault> {
    match (field, key) {
        (Value::Str(text), Some(key)) if text.as_bytes() == key => Ok(()),
        (Value::Missing | Value::Null, _) => Ok(()),
        (field, key) => Err(RowFault {
            reason: DropReason::KeyMismatch,
            message: format!(
                "the source says that records are keyed by this field, but it holds {} and the \
                 record's key is {}",
                match field {
                    Value::Str(text) => format!("`{text}`"),
                    other => format!("no text but a value of type {}", other.type_name()),
                },
                match key {
                    Some(key) => format!("`{}`", String::from_utf8_lossy(key)),
                    None => "missing".to_owned(),
                }
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
    partial: &Partial,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    let plan = context.plan;
    let operator = &plan.operators[id];
    let (Kind::Aggregate(aggregate), Work::Aggregate(aggregate_plan)) =
        (&mut operators[id].kind, &operator.work)
    else {
        unreachable!("the planner puts an aggregate behind a repartition");
    };
    aggregate
        .clock
        .advance(Timestamp(partial.folded.max_time_ms));
    let place = partial.place();
    let addition = Addition::Partial(&partial.folded);
    let added = aggregate.add(context, id, place, group, &addition, row)?;
    drop_added(context, operators, id, &aggregate_plan.shape, &added, row)
}

/// Puts a record aside that came too late or whose results leave it open whether they stay.
fn drop_added(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    shape: &FoldShape,
    added: &Added,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    drop_late(context, operators, id, shape, added.late, row)?;
    let Some(fault) = &added.fault else {
        return Ok(());
    };
    let RowFault { reason, message } = RowFault::expression_of("delete_if", fault);
    let node = &context.plan.operators[id].node;
    let counts = &mut operators[id].counts;
    drop_row(context, counts, node, shape.on_error, reason, &message, row)
}

/// Counts the windows for which a row came too late; it is put aside once.
fn drop_late(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    shape: &FoldShape,
    late: u64,
    row: &Row<'_, '_>,
) -> Result<(), ProcessError> {
    if late == 0 {
        return Ok(());
    }
    let on_late = match shape.on_late {
        OnLate::Drop => OnError::Drop,
        OnLate::DeadLetter => OnError::DeadLetter,
    };
    let message = match (on_late, late) {
        (OnError::Drop, _) => String::new(),
        (_, 1) => format!("the window of {} is closed", row.time),
        (_, late) => format!("{late} windows of {} are closed", row.time),
    };
    let node = &context.plan.operators[id].node;
    let counts = &mut operators[id].counts;
    for _ in 1..late {
        counts.dropped(DropReason::Late);
    }
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
