//! Processors of users at work.
//!
//! ```text
//!   record ──→ process() ─┬─ forward ──→ the operators behind, before it returns
//!   time   ──→ punctuate()├─ stores ───→ memory ──→ at the commit: changelog, then the store
//!                         └─ schedules
//! ```
//!
//! All processors of a task share its clock, its schedules and its stores ([`Hosted`]), so one may be
//! called while another one that is in front of it is at work.
//!
//! The invariant: what stream time brings about depends on the records that were read and their
//! order, not on how they were batched: schedules are looked at after each record.

mod entries;
mod schedules;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use super::run::{RowFault, drop_row, pass_on};
use super::{Before, Context, DropReason, InRecord, Kind, OperatorState, ProcessError, Row};
use crate::headers::PackedHeaders;
use crate::state::{OnEntry, StateBatch, TaskState};
use crate::time::Timestamp;
use crate::topology::plan::{OperatorId, ProcessPlan, SubTopology, TaskId, Work};
use crate::topology::process::{
    self as api, Failure, Host, Output, Punctuation, PunctuationType, Record, RecordParts, Schedule,
};
use crate::value::{Value, ValueType};
use entries::EntryStore;
use schedules::Schedules;

/// What the processors of a task have together.
pub(super) struct Hosted {
    /// Those that there are.
    operators: Vec<OperatorId>,
    /// By the number of the store; none of a store of another operator.
    stores: Vec<Option<EntryStore>>,
    schedules: Schedules,
    /// The wall clock.
    now: Timestamp,
    is_open: bool,
}

/// A user's processor, which is told when it ends.
pub(super) struct User {
    processor: Box<dyn api::Processor>,
    is_open: bool,
}

impl User {
    pub(super) fn new(plan: &ProcessPlan) -> User {
        User {
            processor: plan.supplier.supply(),
            is_open: false,
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.is_open {
            self.processor.close();
        }
    }
}

impl Hosted {
    /// What the processors of a sub-topology have, with caches of `budget_bytes` for each store.
    pub(super) fn new(plan: &SubTopology, budget_bytes: usize) -> Hosted {
        let mut operators = Vec::new();
        let mut stores: Vec<Option<EntryStore>> = plan.stores.iter().map(|_| None).collect();
        for (id, operator) in plan.operators.iter().enumerate() {
            if let Work::Process(process) = &operator.work {
                operators.push(id);
                for (_, store) in &process.stores {
                    stores[*store] = Some(EntryStore::new(*store, budget_bytes));
                }
            }
        }
        Hosted {
            operators,
            stores,
            schedules: Schedules::default(),
            now: Timestamp::MIN,
            is_open: false,
        }
    }

    /// Whether there are no processors.
    pub(super) fn is_empty(&self) -> bool {
        self.operators.is_empty()
    }

    /// Where the wall clock stands.
    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Writes what has changed in the stores since the last commit.
    pub(super) fn flush(&mut self, batch: &mut StateBatch) {
        let stores = self.stores.iter_mut().flatten();
        stores.for_each(|store| store.flush(batch));
    }

    /// Lets go of memory after a commit.
    pub(super) fn committed(&mut self) {
        let stores = self.stores.iter_mut().flatten();
        stores.for_each(EntryStore::committed);
    }

    /// Whether a commit is due, to bound memory.
    pub(super) fn is_full(&self) -> bool {
        self.stores.iter().flatten().any(EntryStore::is_full)
    }
}

/// Before a batch of records: tells processors where the wall clock stands, and the first time that
/// they begin. Whether there are any.
pub(super) fn begin(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    arena: &Bump,
    now: Timestamp,
) -> Result<bool, ProcessError> {
    if context.hosted.is_empty() {
        return Ok(false);
    }
    context.hosted.set_now(now);
    open(context, operators, arena)?;
    Ok(true)
}

/// Calls `init` of all processors, once; tells whether it did.
pub(super) fn open(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    arena: &Bump,
) -> Result<bool, ProcessError> {
    if context.hosted.is_open {
        return Ok(false);
    }
    for at in 0..context.hosted.operators.len() {
        let id = context.hosted.operators[at];
        let mut row = row_without_record(context, context.hosted.now, arena);
        let done = call(context, operators, id, &mut row, |user, context| {
            user.is_open = true;
            user.processor.init(context)
        })?;
        done.map_err(|failure| failed(context, id, "at its start", &failure))?;
    }
    context.hosted.is_open = true;
    Ok(true)
}

/// Calls the processors whose schedules are due; tells whether there were any.
pub(super) fn punctuate(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    by: PunctuationType,
    arena: &Bump,
) -> Result<bool, ProcessError> {
    let mut was_due = false;
    while let Some(time) = time_by(context, by)
        && let Some((id, schedule)) = context.hosted.schedules.take_due(by, time)
    {
        was_due = true;
        let punctuation = Punctuation { schedule, by, time };
        let mut row = row_without_record(context, time, arena);
        let done = call(context, operators, id, &mut row, |user, context| {
            user.processor.punctuate(context, &punctuation)
        })?;
        done.map_err(|failure| failed(context, id, "at a punctuation", &failure))?;
    }
    Ok(was_due)
}

fn time_by(context: &Context<'_>, by: PunctuationType) -> Option<Timestamp> {
    match by {
        PunctuationType::StreamTime => context.clocks.task_time(),
        PunctuationType::WallClockTime => Some(context.hosted.now),
    }
}

/// Gives a row to a processor.
pub(super) fn process_row(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &ProcessPlan,
    row: &mut Row<'_, '_>,
) -> Result<(), ProcessError> {
    let RowFault { reason, message } = match read(plan, row) {
        Err(fault) => fault,
        Ok(record) => {
            let done = call(context, operators, id, row, |user, context| {
                user.processor.process(context, &record)
            })?;
            match done {
                Ok(()) => return Ok(()),
                Err(failure) => RowFault::of(DropReason::Processor, &failure),
            }
        }
    };
    let node = &context.plan.operators[id].node;
    let counts = &mut operators[id].counts;
    drop_row(context, counts, node, plan.on_error, reason, &message, row)
}

/// What a processor sees of a row.
fn read<'r, 'a: 'r>(plan: &'r ProcessPlan, row: &Row<'_, 'a>) -> Result<Record<'r>, RowFault> {
    let view = row.view();
    let mut fields = ArenaVec::with_capacity_in(plan.reads.len(), row.arena);
    for (name, evaluator) in plan.names.iter().zip(&plan.reads) {
        fields.push(match evaluator.eval(&view) {
            Ok(value) => value,
            // Nobody needs the fields of a row that is no more.
            Err(_) if row.no_value => Value::Null,
            Err(error) => return Err(RowFault::expression_of(name, &error)),
        });
    }
    Ok(Record::new(RecordParts {
        names: &plan.names,
        fields: fields.into_bump_slice(),
        key: row.key,
        time: row.time,
        event: row
            .event
            .filter(|_| !row.no_value)
            .map(|event| event.bytes()),
        is_deletion: row.no_value,
        topic: row.record.topic,
        partition: row.record.partition,
        offset: row.record.offset,
    }))
}

fn failed(
    context: &Context<'_>,
    id: OperatorId,
    at: &'static str,
    failure: &Failure,
) -> ProcessError {
    ProcessError::Processor {
        node: context.plan.operators[id].node.to_string(),
        at,
        message: failure.to_string(),
    }
}

/// What a processor starts from that is not called for a record.
fn row_without_record<'a>(context: &Context<'_>, time: Timestamp, arena: &'a Bump) -> Row<'a, 'a> {
    let record = InRecord {
        topic: "",
        partition: context.share.partition,
        offset: -1,
        timestamp: time,
        key: None,
        value: None,
        headers: PackedHeaders::NONE,
    };
    Row {
        record,
        key: None,
        time,
        judged_by: time,
        fields: arena.alloc_slice_fill_copy(context.plan.slots, Value::Missing),
        arena,
        event: None,
        joined: &[],
        no_value: false,
        before: Before::Stream,
    }
}

/// Calls a processor. What it sends on goes to other operators, so it can be taken out for as long.
fn call(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    row: &mut Row<'_, '_>,
    work: impl FnOnce(&mut User, &mut api::Context<'_>) -> Result<(), Failure>,
) -> Result<Result<(), Failure>, ProcessError> {
    let kind = std::mem::replace(&mut operators[id].kind, Kind::Stateless);
    let Kind::Process(mut user) = kind else {
        unreachable!("a processor is at work here");
    };
    let plan = process_plan(context.plan, id);
    let mut call = Call {
        context,
        operators,
        id,
        plan,
        row,
        error: None,
    };
    let done = work(&mut user, &mut api::Context::new(&mut call));
    let error = call.error;
    operators[id].kind = Kind::Process(user);
    match error {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

fn process_plan(plan: &SubTopology, id: OperatorId) -> &ProcessPlan {
    match &plan.operators[id].work {
        Work::Process(process) => process,
        _ => unreachable!("a processor is at work here"),
    }
}

/// A processor that is being called.
struct Call<'r, 'c, 'f, 'a> {
    context: &'r mut Context<'c>,
    operators: &'r mut [OperatorState],
    id: OperatorId,
    plan: &'r ProcessPlan,
    /// That of the record, or one without a record.
    row: &'r mut Row<'f, 'a>,
    /// What ends the work of the task.
    error: Option<ProcessError>,
}

impl Call<'_, '_, '_, '_> {
    /// Remembers an error of the engine's own, and gives what the processor sees of it.
    fn keep(&mut self, error: ProcessError) -> Failure {
        let failure = Failure::new(&error);
        self.error.get_or_insert(error);
        failure
    }

    fn entries(&mut self, store: usize) -> (&mut EntryStore, &dyn TaskState) {
        let (_, number) = &self.plan.stores[store];
        let entries = self.context.hosted.stores[*number].as_mut();
        let entries = entries.expect("made for the stores of processors");
        (entries, self.context.state)
    }

    /// Puts what is sent on into the row.
    fn fill(&mut self, fields: &[(&str, Value<'_>)]) -> Result<(), Failure> {
        for given in &self.plan.gives {
            self.row.set(given.slot, Value::Null);
        }
        for (name, value) in fields {
            let mut gives = self.plan.gives.iter();
            let Some(given) = gives.find(|given| given.name == *name) else {
                panic!("the node does not say that it gives {name:?}; say so with Process::gives");
            };
            if !value.is_absent() && !fits(value, given.kind) {
                return Err(Failure::new(format_args!(
                    "the field {name} is said to be of type {}, found {}",
                    given.kind,
                    value.type_name()
                )));
            }
            let value = value.copied_into(self.row.arena);
            self.row.set(given.slot, value);
        }
        Ok(())
    }
}

fn fits(value: &Value<'_>, kind: ValueType) -> bool {
    kind == ValueType::Any || kind.name() == value.type_name()
}

impl Host for Call<'_, '_, '_, '_> {
    fn task(&self) -> TaskId {
        TaskId {
            sub_topology: self.context.plan.id,
            partition: self.context.share.partition,
        }
    }

    fn stream_time(&self) -> Option<Timestamp> {
        self.context.clocks.task_time()
    }

    fn wall_clock(&self) -> Timestamp {
        self.context.hosted.now
    }

    fn forward(&mut self, output: Output<'_>) -> Result<(), Failure> {
        self.fill(&output.fields)?;
        let row = &mut *self.row;
        let key = output.key.map(|key| &*row.arena.alloc_slice_copy(key));
        let keeps_event = self.plan.keeps_fields && !output.is_deletion;
        let record = (row.key, row.time, row.event, row.joined, row.no_value);
        let judged_by = row.judged_by;
        let before = std::mem::replace(&mut row.before, Before::Stream);
        row.key = key;
        row.time = output.time;
        if output.time != record.1 {
            // It is of the processor's own making, or has waited there.
            row.judged_by = output.time;
        }
        row.no_value = output.is_deletion;
        if !keeps_event {
            row.event = None;
            row.joined = &[];
        }
        let done = pass_on(self.context, self.operators, self.id, row);
        row.before = before;
        (row.key, row.time, row.event, row.joined, row.no_value) = record;
        row.judged_by = judged_by;
        done.map_err(|error| self.keep(error))
    }

    fn schedule(&mut self, every_ms: i64, by: PunctuationType) -> Schedule {
        let hosted = &mut *self.context.hosted;
        // Those of the start go on; later ones begin with what there is.
        let reached = self.context.clocks.task_time();
        let reached = reached.filter(|_| !hosted.is_open);
        hosted
            .schedules
            .add(self.id, by, every_ms, reached, hosted.now)
    }

    fn cancel(&mut self, schedule: Schedule) {
        self.context.hosted.schedules.cancel(schedule);
    }

    fn store(&self, name: &str) -> Option<usize> {
        let mut stores = self.plan.stores.iter();
        stores.position(|(known, _)| known == name)
    }

    fn get(&mut self, store: usize, key: &[u8]) -> Result<Option<&[u8]>, Failure> {
        let (entries, state) = self.entries(store);
        match entries.read(state, key) {
            Ok(()) => Ok(self.entries(store).0.value(key)),
            Err(error) => Err(self.keep(error.into())),
        }
    }

    fn set(&mut self, store: usize, key: &[u8], value: Option<&[u8]>) {
        self.entries(store).0.set(key, value);
    }

    fn scan(
        &mut self,
        store: usize,
        from: &[u8],
        to: Option<&[u8]>,
        visit: OnEntry<'_>,
    ) -> Result<(), Failure> {
        let (entries, state) = self.entries(store);
        let scanned = entries.scan(state, from, to, visit);
        scanned.map_err(|error| self.keep(error.into()))
    }
}
