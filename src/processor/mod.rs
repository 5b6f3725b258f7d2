//! What runs per record: the operators of one task, synchronous, without clocks or I/O of its own.
//!
//! A [`Processor`] belongs to one task. Records go in one by one ([`Processor::process`]); rows pass
//! from operator to operator by plain calls; results leave through [`Outputs`]. Folds keep their
//! changes in memory until [`Processor::flush`], which the task calls once per commit: it hands
//! results to the outputs, and collects what has changed in a [`StateBatch`], encoded. That goes to
//! the changelogs, and to the store after the log has committed.
//!
//! The invariant: nothing of an interval reaches the store before [`Processor::flush`], and after a
//! failed commit the processor is thrown away with everything it holds.

mod addressed;
mod aggregate;
mod arrivals;
mod clock;
mod custom;
mod deduplicate;
mod drops;
mod error;
mod event_time;
mod fold;
mod foreign;
mod global_join;
mod input;
mod input_clocks;
mod join;
mod joined;
mod keyed;
mod operator;
mod outputs;
mod rows;
mod run;
mod store;
mod stream_join;
mod suppress;
mod table;
mod timelines;
mod upstream;

use std::sync::Arc;

use bumpalo::Bump;

pub(crate) use aggregate::stored_results;
pub use clock::{NodeProgress, Progress};
pub use drops::{DropReason, NodeCounts};
pub use error::{ProcessError, Wait};
pub(crate) use event_time::{EventClock, WrittenTime, written_time};
pub use global_join::GlobalTables;
pub(crate) use input::MARKER_KEY;
pub use input_clocks::Idle;
pub(crate) use keyed::record_key as stored_key;
pub use outputs::{DeadLetter, OutputError, Outputs, Produced, TableRow};
pub use table::{Folded, FoldedError};

use addressed::Addressed;
use custom::Hosted;
use input::InputError;
use input_clocks::InputClocks;
use operator::{Commit, Kind, OperatorState, Resources, Stateful, Surroundings};
use run::{RowFault, drop_row, run_all};

use crate::expr;
use crate::format::{EventReader, Registries};
use crate::headers::PackedHeaders;
use crate::record::{Event, JoinedEvent};
use crate::state::{StateBatch, TaskState};
use crate::time::Timestamp;
use crate::topology::plan::{Input, Operator, OperatorId, Reader, SourceReader, SubTopology};
use crate::topology::process::PunctuationType;
use crate::value::{Slot, Value};

/// A record as a task reads it.
#[derive(Clone, Copy, Debug)]
pub struct InRecord<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The record's number.
    pub offset: i64,
    /// The time that the log has for it.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers, if somebody asks for them.
    pub headers: PackedHeaders<'a>,
}

/// The operators of one task.
pub struct Processor {
    plan: Arc<SubTopology>,
    share: Share,
    operators: Vec<OperatorState>,
    /// How far its inputs are.
    clocks: InputClocks,
    /// What processors of users have together.
    hosted: Hosted,
    /// Of the node that each input is read for.
    input_counts: Vec<NodeCounts>,
    /// How the events of each input are read, if it has any.
    readers: Vec<Option<EventReader>>,
    arena: Bump,
    /// Whether records have come, apart from those in which upstreams say how far they are.
    has_news: bool,
    /// Whether the schemas of all sinks are known.
    has_schemas: bool,
}

/// Everything that operators need to run, apart from what they remember.
pub(crate) struct Context<'c> {
    plan: &'c SubTopology,
    share: Share,
    state: &'c dyn TaskState,
    outputs: &'c mut dyn Outputs,
    clocks: &'c mut InputClocks,
    hosted: &'c mut Hosted,
    /// Of each operator whether it sees the record at hand, if that is not for all of them.
    only: Option<Vec<bool>>,
}

/// Which of how many partitions a task has.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The partition of the task's inputs.
    pub partition: i32,
    /// How many partitions the inputs have.
    pub partitions: u32,
}

impl Context<'_> {
    fn partition(&self) -> (i32, u32) {
        (self.share.partition, self.share.partitions)
    }

    /// Whether an operator sees the record at hand.
    fn is_for(&self, id: OperatorId) -> bool {
        self.only.as_ref().is_none_or(|only| only[id])
    }
}

/// A row on its way: the record it came from and its fields.
pub(crate) struct Row<'f, 'a> {
    /// As the task reads it.
    record: InRecord<'a>,
    /// Its key: that of the record, until it is replaced.
    key: Option<&'a [u8]>,
    /// The event time.
    time: Timestamp,
    /// The stream time of the partition that it comes from, at that moment; of a row that was made in the
    /// task its own time. It counts for operators whose rows come from other partitions.
    judged_by: Timestamp,
    fields: &'f mut [Value<'a>],
    arena: &'a Bump,
    /// The event that it was made of.
    event: Option<Event<'a>>,
    /// The events that were joined to that one.
    joined: &'a [JoinedEvent<'a>],
    /// Whether it has no value: the record has none, or it takes back what an earlier row of its
    /// key has left behind.
    no_value: bool,
    before: Before<'f, 'a>,
}

/// Whether a row takes the place of an earlier one of its key. Wherever it does not come through, the
/// earlier one has to be taken back.
pub(crate) enum Before<'f, 'a> {
    /// It stands for itself: it is a record of a stream.
    Stream,
    /// Perhaps there was one: it is a result, or a row of a table that is not kept.
    Unknown,
    /// The fields of that one; none: it is the first.
    Row(Option<&'f mut [Value<'a>]>),
}

impl<'a> Row<'_, 'a> {
    fn view(&self) -> expr::Row<'_, 'a> {
        self.view_of(self.fields)
    }

    /// The earlier row, where it is known.
    fn view_before(&self) -> Option<expr::Row<'_, 'a>> {
        match &self.before {
            Before::Row(Some(fields)) => Some(self.view_of(fields)),
            Before::Stream | Before::Unknown | Before::Row(None) => None,
        }
    }

    fn view_of<'v>(&'v self, fields: &'v [Value<'a>]) -> expr::Row<'v, 'a> {
        expr::Row {
            fields,
            arena: self.arena,
            key: self.key,
            timestamp: self.time,
            partition: self.record.partition,
            offset: self.record.offset,
            topic: self.record.topic,
            raw: self.event.map(|event| event.bytes()),
            headers: self.record.headers,
        }
    }

    fn set(&mut self, slot: Slot, value: Value<'a>) {
        self.fields[slot.index()] = value;
    }

    /// Sets a field of the earlier row, where it is known.
    fn set_before(&mut self, slot: Slot, value: Value<'a>) {
        if let Before::Row(Some(fields)) = &mut self.before {
            fields[slot.index()] = value;
        }
    }
}

impl Processor {
    /// The operators of a task, with tables of about `cache_bytes` together, going on from
    /// `progress`. Schemas that records name are in `registries`. `global_tables` has those that they
    /// look into; they are whole.
    pub fn new(
        plan: Arc<SubTopology>,
        share: Share,
        cache_bytes: usize,
        progress: &Progress,
        registries: &Arc<dyn Registries>,
        global_tables: &GlobalTables,
    ) -> Processor {
        let keepers = plan
            .operators
            .iter()
            .filter(|operator| operator.work.keeps())
            .count();
        let budget = cache_bytes / keepers.max(1);
        let resources = Resources {
            budget_bytes: budget,
            progress,
            registries,
            global_tables,
        };
        let operators = plan.operators.iter().map(|operator| OperatorState {
            kind: Kind::new(operator, &resources),
            counts: NodeCounts::default(),
            logged: 0,
            is_copy: plan.copies.contains(&operator.node),
        });
        let operators = operators.collect();
        let clocks = InputClocks::new(&plan, share.partitions, progress);
        let hosted = Hosted::new(&plan, budget);
        let input_counts = vec![NodeCounts::default(); plan.inputs.len()];
        let readers = plan.inputs.iter().map(|input| match &input.reader {
            Reader::Source(SourceReader {
                format,
                projection,
                keeps_events,
                ..
            }) => Some(EventReader::new(
                format,
                projection,
                *keeps_events,
                registries,
            )),
            Reader::Partials | Reader::Results(_) | Reader::Rows(_) | Reader::Foreign => None,
        });
        Processor {
            readers: readers.collect(),
            plan,
            share,
            operators,
            clocks,
            hosted,
            input_counts,
            arena: Bump::new(),
            has_news: false,
            has_schemas: false,
        }
    }

    /// Processes a batch of records of the input with that index; `now` is the wall-clock time,
    /// which event times must not be too far ahead of. It may have to wait before one of them.
    ///
    /// # Errors
    /// When the task cannot go on. What the batch has done so far must not be committed.
    pub fn process<'r>(
        &mut self,
        input: usize,
        records: impl Iterator<Item = InRecord<'r>>,
        now: Timestamp,
        state: &dyn TaskState,
        outputs: &mut dyn Outputs,
    ) -> Result<Option<Wait>, ProcessError> {
        if !self.has_schemas {
            if let Some(wait) = self.find_schemas()? {
                return Ok(Some(wait));
            }
            self.has_schemas = true;
        }
        self.arena.reset();
        let Processor {
            plan,
            share,
            operators,
            clocks,
            hosted,
            input_counts,
            readers,
            arena,
            has_news,
            ..
        } = self;
        let plan: &SubTopology = plan;
        let arena: &Bump = arena;
        let mut context = Context {
            plan,
            share: *share,
            state,
            outputs,
            clocks,
            hosted,
            only: None,
        };
        let has_processors = custom::begin(&mut context, operators, arena, now)?;
        let fields = arena.alloc_slice_fill_copy(plan.slots, Value::Missing);
        let input_plan = &plan.inputs[input];
        for (processed, record) in records.enumerate() {
            *has_news |= !input::is_about_time(&input_plan.reader, &record);
            context.only = None;
            if !record.headers.is_empty() {
                match addressed::of(plan, record.headers) {
                    Addressed::ToAll => {}
                    Addressed::ToSome(operators) => context.only = Some(operators),
                    Addressed::Elsewhere => continue,
                }
            }
            // Records outlive the batch; their fields borrow from them and from the arena.
            let mut row = Row {
                record,
                key: record.key,
                time: record.timestamp,
                judged_by: record.timestamp,
                fields: &mut *fields,
                arena,
                event: None,
                joined: &[],
                no_value: record.value.is_none(),
                before: Before::Stream,
            };
            let read = input::read(
                &mut context,
                operators,
                &mut input_counts[input],
                input,
                readers[input].as_mut(),
                now,
                &mut row,
            );
            match read {
                Ok(()) => {}
                Err(InputError::Process(error)) => return Err(error),
                Err(InputError::Registry(node, source)) => {
                    // It is counted when it comes again.
                    input_counts[input].input -= 1;
                    return Wait {
                        processed,
                        node: node.to_string(),
                        source,
                    }
                    .or_stop();
                }
            }
            if has_processors {
                let by = PunctuationType::StreamTime;
                custom::punctuate(&mut context, operators, by, arena)?;
            }
        }
        Ok(None)
    }

    /// Makes sure that sinks know the schemas of what they write, before anything is processed.
    fn find_schemas(&mut self) -> Result<Option<Wait>, ProcessError> {
        for (state, planned) in self.operators.iter_mut().zip(&self.plan.operators) {
            let Kind::Write(writer) = &mut state.kind else {
                continue;
            };
            match writer.open() {
                Ok(()) => {}
                Err(source) => {
                    return Wait {
                        processed: 0,
                        node: planned.node.to_string(),
                        source,
                    }
                    .or_stop();
                }
            }
        }
        Ok(None)
    }

    /// Whether there are processors of users, to be [punctuated](Processor::punctuate).
    pub fn has_processors(&self) -> bool {
        !self.hosted.is_empty()
    }

    /// Calls the processors of users that are to be called at this time of the wall clock; tells
    /// whether there were any.
    ///
    /// # Errors
    /// When the task cannot go on. What was done since the last commit must not be committed.
    pub fn punctuate(
        &mut self,
        now: Timestamp,
        state: &dyn TaskState,
        outputs: &mut dyn Outputs,
    ) -> Result<bool, ProcessError> {
        self.arena.reset();
        let Processor {
            plan,
            share,
            operators,
            clocks,
            hosted,
            arena,
            ..
        } = self;
        let mut context = Context {
            plan,
            share: *share,
            state,
            outputs,
            clocks,
            hosted,
            only: None,
        };
        context.hosted.set_now(now);
        let is_opened = custom::open(&mut context, operators, arena)?;
        let by = PunctuationType::WallClockTime;
        Ok(custom::punctuate(&mut context, operators, by, arena)? || is_opened)
    }

    /// Hands results to the outputs and collects in `batch` what has changed in the stores, to be
    /// written to their changelogs, and to them after the log has committed. `idle` says for how
    /// long nothing has come.
    ///
    /// # Errors
    /// When the task cannot go on.
    pub fn flush(
        &mut self,
        state: &dyn TaskState,
        outputs: &mut dyn Outputs,
        batch: &mut StateBatch,
        idle: &Idle,
    ) -> Result<(), ProcessError> {
        self.arena.reset();
        let Processor {
            plan,
            share,
            operators,
            clocks,
            hosted,
            arena,
            ..
        } = self;
        let plan: &SubTopology = plan;
        let mut context = Context {
            plan,
            share: *share,
            state,
            outputs,
            clocks,
            hosted,
            only: None,
        };
        context.clocks.listen(idle);
        for id in 0..operators.len() {
            // Whatever a flush sends on goes to later operators only, so the one at work can be
            // taken out for as long.
            let mut kind = std::mem::replace(&mut operators[id].kind, Kind::Stateless);
            if let Some(stateful) = kind.stateful_mut() {
                stateful.flush(&mut Commit {
                    context: &mut context,
                    operators,
                    id,
                    batch,
                    idle,
                    arena,
                })?;
            }
            operators[id].kind = kind;
        }
        context.hosted.flush(batch);
        Ok(())
    }

    /// Before the first record: finds out what the stores hold, and drops what is too old, which a store that
    /// was rebuilt from its changelog has again.
    ///
    /// # Errors
    /// When a store cannot be read.
    pub fn open(
        &mut self,
        state: &dyn TaskState,
        batch: &mut StateBatch,
    ) -> Result<(), ProcessError> {
        for (operator, operator_state) in self.plan.operators.iter().zip(&mut self.operators) {
            if let Some(stateful) = operator_state.kind.stateful_mut() {
                stateful.open(operator, state)?;
                stateful.expire(operator, &self.clocks, batch);
            }
        }
        Ok(())
    }

    /// Whether records have come since this was last asked. Those in which upstreams of a repartition
    /// say how far they are do not count.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// Lets go of memory after a commit.
    pub fn committed(&mut self) {
        for operator in &mut self.operators {
            if let Some(stateful) = operator.kind.stateful_mut() {
                stateful.committed();
            }
        }
        self.hosted.committed();
    }

    /// How far the folds have come, to be stored with the commit.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for (operator, stateful) in self.stateful() {
            stateful.save(operator, &mut progress);
        }
        self.clocks.save(&mut progress);
        progress
    }

    /// Whether a table has outgrown its budget, so that a commit is due.
    pub fn wants_commit(&self) -> bool {
        self.stateful().any(|(_, stateful)| stateful.is_full()) || self.hosted.is_full()
    }

    /// Whether it matters for how long nothing has come: a window may close by that, or the far
    /// side of a repartition has to know.
    pub fn waits_for_silence(&self) -> bool {
        let mut all = self.stateful();
        self.clocks.listens() || all.any(|(_, stateful)| stateful.waits_for_silence())
    }

    /// Whether a flush would do something because nothing has come for so long.
    pub fn acts_after(&self, idle: &Idle) -> bool {
        let mut all = self.stateful();
        let around = Surroundings {
            inputs: &self.clocks,
            operators: &self.operators,
        };
        let acts = |(operator, stateful): (&Operator, &dyn Stateful)| {
            stateful.acts_after(operator, &around, idle)
        };
        self.clocks.hears(idle) || all.any(acts)
    }

    /// The highest event time that any operator has seen that keeps one.
    pub fn stream_time(&self) -> Timestamp {
        let times = self.stateful().map(|(_, stateful)| stateful.stream_time());
        times
            .chain(self.clocks.task_time())
            .max()
            .unwrap_or(Timestamp::MIN)
    }

    /// The operators that remember something.
    fn stateful(&self) -> impl Iterator<Item = (&Operator, &dyn Stateful)> {
        let operators = self.plan.operators.iter().zip(&self.operators);
        operators.filter_map(|(operator, state)| Some((operator, state.kind.stateful()?)))
    }

    /// What each node has seen since the last call. Of nodes that another sub-topology runs as well
    /// only the drops, so that no record counts twice: the copies read different fields, and drop
    /// different records. So of nodes that another sub-topology runs whose results are read here.
    pub fn take_counts(&mut self) -> Vec<(String, NodeCounts)> {
        let plan = &self.plan;
        let inputs = plan.inputs.iter().zip(&mut self.input_counts);
        let read = |(input, counts): (&Input, &mut NodeCounts)| {
            let counts = std::mem::take(counts);
            let counts = match input.reader {
                Reader::Results(_) | Reader::Rows(_) => counts.only_drops(),
                Reader::Source(_) | Reader::Partials | Reader::Foreign => counts,
            };
            Some((input.reader.node()?.to_string(), counts))
        };
        let mut counts: Vec<_> = inputs.filter_map(read).collect();
        for (operator, state) in plan.operators.iter().zip(&mut self.operators) {
            counts.push((operator.node.to_string(), std::mem::take(&mut state.counts)));
        }
        for (node, counts) in &mut counts {
            if plan.copies.iter().any(|copy| copy.as_str() == node) {
                *counts = counts.only_drops();
            }
        }
        counts
    }
}
