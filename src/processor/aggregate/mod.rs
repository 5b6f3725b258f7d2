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
//! | hopping | [`hopping`]: one accumulator per pane | those of its panes, merged ([`pane_queue`]) |
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
mod input;
mod pane_queue;
mod read;
mod session;
mod sliding;

pub(super) use deletion::Deleting;
pub(super) use fixed::end_of;
use flush::Flush;
pub(super) use input::{check_record_key, fold_partial, fold_row};
pub(crate) use read::stored_results;

use super::clock::{NodeProgress, StreamClock};
use super::input_clocks::{Idle, InputClocks};
use super::operator::{Commit, Stateful, Surroundings};
use super::store::Store;
use super::table::Folded;
use super::{Context, ProcessError, Progress, Row};
use crate::aggregate::Accumulator;
use crate::expr::EvalError;
use crate::state::{StateBatch, StoreId};
use crate::time::Timestamp;
use crate::topology::graph::{Emit, Function};
use crate::topology::plan::{AggregatePlan, FoldShape, Operator, OperatorId, Work};
use crate::value::Value;
use crate::window::{Place, Windows};

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
    /// A row of a table, and the earlier one that it replaces, as far as they are in this group.
    Update {
        time: Timestamp,
        shape: &'a FoldShape,
        before: Option<&'a [Value<'a>]>,
        now: Option<&'a [Value<'a>]>,
    },
    Partial(&'a Folded),
}

impl Addition<'_> {
    /// Folds it in.
    pub(super) fn apply(&self, folded: &mut Folded) {
        if folded.is_void() && !matches!(self, Addition::Update { .. }) {
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
                each(folded, shape, arguments, |accumulator, function, own| {
                    accumulator.add(function, own, *time);
                });
            }
            Addition::Update {
                time,
                shape,
                before,
                now,
            } => {
                folded.max_time_ms = folded.max_time_ms.max(time.0);
                if let Some(before) = before {
                    each(folded, shape, before, Accumulator::take_back);
                }
                if let Some(now) = now {
                    each(folded, shape, now, |accumulator, function, own| {
                        accumulator.add(function, own, *time);
                    });
                }
            }
            Addition::Partial(partial) => folded.merge(partial),
        }
    }
}

/// Gives each accumulator its own of the arguments of all functions.
fn each(
    folded: &mut Folded,
    shape: &FoldShape,
    arguments: &[Value<'_>],
    mut take: impl FnMut(&mut Accumulator, &Function, &[Value<'_>]),
) {
    let mut rest = arguments;
    for (accumulator, (function, evaluators)) in folded.accumulators.iter_mut().zip(&shape.calls) {
        let (own, others) = rest.split_at(evaluators.len());
        take(accumulator, function, own);
        rest = others;
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
            Windows::Hopping(windows) => Box::new(hopping::Panes::new(windows, emit, budget_bytes)),
            Windows::Sliding(windows) => {
                Box::new(sliding::SlidingWindows::new(windows, emit, budget_bytes))
            }
            Windows::Session(windows) => {
                let kept_ms = plan.retention_ms.unwrap_or(i64::MAX);
                Box::new(session::Sessions::new(windows, kept_ms, emit, budget_bytes))
            }
        };
        Aggregator {
            functions: plan.shape.functions(),
            clock: StreamClock::new(progress, &plan.time),
            keeper,
            idle_close: emit == Emit::Close && plan.idle_close_ms.is_some(),
        }
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

    /// The time by which windows close.
    pub(super) fn closing_time(&self, inputs: &InputClocks) -> Timestamp {
        self.clock.closing_time(inputs)
    }
}

impl Stateful for Aggregator {
    fn flush(&mut self, commit: &mut Commit<'_, '_>) -> Result<(), ProcessError> {
        let Commit {
            context,
            operators,
            id,
            batch,
            idle,
            arena,
        } = commit;
        let id = *id;
        let operator = &context.plan.operators[id];
        let Work::Aggregate(plan) = &operator.work else {
            unreachable!("an aggregate is at work here");
        };
        let open_from = {
            let clock = &self.clock;
            let around = Surroundings {
                inputs: context.clocks,
                operators,
            };
            let time = clock.closing_time_after(&around, plan.idle_close_ms, idle.task_ms);
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
        self.expire(operator, context.clocks, batch);
        Ok(())
    }

    fn expire(&mut self, operator: &Operator, inputs: &InputClocks, batch: &mut StateBatch) {
        let Work::Aggregate(plan) = &operator.work else {
            unreachable!("an aggregate is at work here");
        };
        let closing_time = self.clock.closing_time(inputs);
        if let (Some(retention_ms), true) = (plan.retention_ms, closing_time > Timestamp::MIN) {
            let until = plan.shape.windows.kept_from(closing_time, retention_ms);
            self.keeper.purge(plan.store, until, batch);
            if plan.emit == Emit::Updates {
                // Also after a restart nothing of before that may begin anew.
                let gone_ms = &mut self.clock.progress.emitted_until_ms;
                *gone_ms = until.0.max(*gone_ms);
            }
        }
    }

    fn committed(&mut self) {
        self.keeper.trim();
    }

    fn save(&self, operator: &Operator, progress: &mut Progress) {
        progress.set(operator.node.as_str(), self.clock.progress.clone());
    }

    fn is_full(&self) -> bool {
        self.keeper.is_full()
    }

    /// Whether silence can still close a window: the newest event's has not left.
    fn waits_for_silence(&self) -> bool {
        let NodeProgress {
            stream_time_ms,
            emitted_until_ms,
            ..
        } = self.clock.progress;
        self.idle_close && stream_time_ms > i64::MIN && stream_time_ms >= emitted_until_ms
    }

    fn acts_after(&self, operator: &Operator, around: &Surroundings<'_>, idle: &Idle) -> bool {
        let Work::Aggregate(plan) = &operator.work else {
            unreachable!("an aggregate is at work here");
        };
        let clock = &self.clock;
        let time = clock.closing_time_after(around, plan.idle_close_ms, idle.task_ms);
        let open_from = plan.shape.windows.open_from(time);
        self.waits_for_silence() && open_from.0 > self.clock.progress.emitted_until_ms
    }

    /// With `emit: close`, what is in the windows that are open: those before have left.
    fn holds_from(&self) -> Option<Timestamp> {
        let NodeProgress {
            stream_time_ms,
            emitted_until_ms,
            ..
        } = self.clock.progress;
        let is_open = stream_time_ms > i64::MIN && stream_time_ms >= emitted_until_ms;
        is_open.then_some(Timestamp(emitted_until_ms))
    }

    fn stream_time(&self) -> Timestamp {
        self.clock.stream_time()
    }
}
