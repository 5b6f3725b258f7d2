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

mod aggregate;
mod arrivals;
mod clock;
mod custom;
mod deduplicate;
mod drops;
mod error;
mod fold;
mod foreign;
mod input;
mod join;
mod joined;
mod keyed;
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
pub use error::ProcessError;
pub(crate) use input::MARKER_KEY;
pub(crate) use keyed::record_key as stored_key;
pub use outputs::{DeadLetter, OutputError, Outputs, Produced, TableRow};
pub use table::{Folded, FoldedError};

use aggregate::Aggregator;
use custom::{Hosted, User};
use deduplicate::Deduplicator;
use fold::Fold;
use foreign::Subscriptions;
use rows::{RowTable, Sender};
use run::{RowFault, drop_row, run_all};
use stream_join::StreamJoin;
use suppress::Suppressor;

use crate::expr;
use crate::record::JoinedEvent;
use crate::state::{StateBatch, TaskState};
use crate::time::Timestamp;
use crate::topology::graph::Side;
use crate::topology::plan::{Input, Reader, SubTopology, Work};
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
}

/// The operators of one task.
pub struct Processor {
    plan: Arc<SubTopology>,
    share: Share,
    operators: Vec<OperatorState>,
    /// What processors of users have together.
    hosted: Hosted,
    /// Of the node that each input is read for.
    input_counts: Vec<NodeCounts>,
    arena: Bump,
    /// Whether records have come, apart from those in which upstreams say how far they are.
    has_news: bool,
}

/// What an operator remembers.
struct OperatorState {
    kind: Kind,
    counts: NodeCounts,
    /// How many rows it has written into the log, or left out there.
    logged: u64,
    /// Whether another sub-topology runs it as well, and tells of its rows.
    is_copy: bool,
}

enum Kind {
    Stateless,
    Aggregate(Box<Aggregator>),
    Fold(Box<Fold>),
    Table(Box<RowTable>),
    /// What both sides of a join of two streams keep.
    StreamJoin(Box<StreamJoin>),
    /// The left side of a join by a foreign key, which writes its messages here.
    ForeignJoin(Vec<u8>),
    Subscriptions(Box<Subscriptions>),
    Send(Box<Sender>),
    Suppress(Box<Suppressor>),
    Deduplicate(Box<Deduplicator>),
    Process(Box<User>),
}

/// Everything that operators need to run, apart from what they remember.
pub(crate) struct Context<'c> {
    plan: &'c SubTopology,
    share: Share,
    state: &'c dyn TaskState,
    outputs: &'c mut dyn Outputs,
    hosted: &'c mut Hosted,
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
}

/// A row on its way: the record it came from and its fields.
pub(crate) struct Row<'f, 'a> {
    /// As the task reads it.
    record: InRecord<'a>,
    /// Its key: that of the record, until it is replaced.
    key: Option<&'a [u8]>,
    /// The event time.
    time: Timestamp,
    fields: &'f mut [Value<'a>],
    arena: &'a Bump,
    /// The event that it was made of, as it came.
    raw: Option<&'a [u8]>,
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
            raw: self.raw,
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
    /// `progress`.
    pub fn new(
        plan: Arc<SubTopology>,
        share: Share,
        cache_bytes: usize,
        progress: &Progress,
    ) -> Processor {
        let keepers = plan
            .operators
            .iter()
            .filter(|operator| operator.work.keeps())
            .count();
        let budget = cache_bytes / keepers.max(1);
        let operators = plan
            .operators
            .iter()
            .map(|operator| {
                let node = operator.node.as_str();
                let kind = match &operator.work {
                    Work::Aggregate(aggregate) => Kind::Aggregate(Box::new(Aggregator::new(
                        aggregate,
                        budget,
                        progress.of(node),
                    ))),
                    Work::Fold(fold) => {
                        Kind::Fold(Box::new(Fold::new(fold, budget, &progress.of(node))))
                    }
                    Work::Table(table) => Kind::Table(Box::new(RowTable::new(table, budget))),
                    Work::StreamJoin(join) if join.side == Side::Left => {
                        Kind::StreamJoin(Box::new(StreamJoin::new(join, node, budget, progress)))
                    }
                    Work::ForeignJoin(_) => Kind::ForeignJoin(Vec::new()),
                    Work::Subscriptions(plan) => {
                        Kind::Subscriptions(Box::new(Subscriptions::new(plan, budget)))
                    }
                    Work::Send(send) => Kind::Send(Box::new(Sender::new(send, progress))),
                    Work::Suppress(_) => {
                        Kind::Suppress(Box::new(Suppressor::new(budget, &progress.of(node))))
                    }
                    Work::Deduplicate(plan) => Kind::Deduplicate(Box::new(Deduplicator::new(
                        plan,
                        budget,
                        progress.of(node),
                    ))),
                    Work::Process(process) => Kind::Process(Box::new(User::new(process))),
                    _ => Kind::Stateless,
                };
                OperatorState {
                    kind,
                    counts: NodeCounts::default(),
                    logged: 0,
                    is_copy: plan.copies.contains(&operator.node),
                }
            })
            .collect();
        let hosted = Hosted::new(&plan, budget, progress);
        let input_counts = vec![NodeCounts::default(); plan.inputs.len()];
        Processor {
            plan,
            share,
            operators,
            hosted,
            input_counts,
            arena: Bump::new(),
            has_news: false,
        }
    }

    /// Processes a batch of records of the input with that index; `now` is the wall-clock time,
    /// which event times must not be too far ahead of.
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
    ) -> Result<(), ProcessError> {
        self.arena.reset();
        let Processor {
            plan,
            share,
            operators,
            hosted,
            input_counts,
            arena,
            has_news,
        } = self;
        let plan: &SubTopology = plan;
        let arena: &Bump = arena;
        let mut context = Context {
            plan,
            share: *share,
            state,
            outputs,
            hosted,
        };
        let has_processors = custom::begin(&mut context, operators, arena, now)?;
        let fields = arena.alloc_slice_fill_copy(plan.slots, Value::Missing);
        let reader = &plan.inputs[input].reader;
        for record in records {
            *has_news |= !input::is_about_time(reader, &record);
            // Records outlive the batch; their fields borrow from them and from the arena.
            let mut row = Row {
                record,
                key: record.key,
                time: record.timestamp,
                fields: &mut *fields,
                arena,
                raw: record.value,
                joined: &[],
                no_value: record.value.is_none(),
                before: Before::Stream,
            };
            input::read(
                &mut context,
                operators,
                &mut input_counts[input],
                input,
                now,
                &mut row,
            )?;
            if has_processors {
                let by = PunctuationType::StreamTime;
                custom::punctuate(&mut context, operators, by, arena)?;
            }
        }
        Ok(())
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
            hosted,
            arena,
            ..
        } = self;
        let mut context = Context {
            plan,
            share: *share,
            state,
            outputs,
            hosted,
        };
        context.hosted.set_now(now);
        let is_opened = custom::open(&mut context, operators, arena)?;
        let by = PunctuationType::WallClockTime;
        Ok(custom::punctuate(&mut context, operators, by, arena)? || is_opened)
    }

    /// Hands results to the outputs and collects in `batch` what has changed in the stores, to be
    /// written to their changelogs, and to them after the log has committed. `idle_ms` says for how
    /// long the task has been caught
    /// up with all its inputs and silent.
    ///
    /// # Errors
    /// When the task cannot go on.
    pub fn flush(
        &mut self,
        state: &dyn TaskState,
        outputs: &mut dyn Outputs,
        batch: &mut StateBatch,
        idle_ms: i64,
    ) -> Result<(), ProcessError> {
        self.arena.reset();
        let Processor {
            plan,
            share,
            operators,
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
            hosted,
        };
        for id in 0..operators.len() {
            // Whatever a flush sends on goes to later operators only, so the one at work can be
            // taken out for as long.
            let kind = std::mem::replace(&mut operators[id].kind, Kind::Stateless);
            let kind = match kind {
                Kind::StreamJoin(mut join) => {
                    join.flush(&mut context, operators, id, batch, arena)?;
                    Kind::StreamJoin(join)
                }
                Kind::Send(mut sender) => {
                    sender.flush(&mut context, id, idle_ms)?;
                    Kind::Send(sender)
                }
                Kind::Subscriptions(mut subscriptions) => {
                    subscriptions.flush(batch);
                    Kind::Subscriptions(subscriptions)
                }
                kind @ (Kind::Stateless | Kind::ForeignJoin(_)) => kind,
                Kind::Aggregate(mut aggregate) => {
                    aggregate.flush(&mut context, operators, id, batch, idle_ms, arena)?;
                    Kind::Aggregate(aggregate)
                }
                Kind::Fold(mut fold) => {
                    fold.flush(&mut context, id, idle_ms)?;
                    Kind::Fold(fold)
                }
                Kind::Table(mut table) => {
                    table.rows.flush(batch);
                    Kind::Table(table)
                }
                Kind::Suppress(mut suppressor) => {
                    suppressor.flush(&mut context, operators, id, batch, arena)?;
                    Kind::Suppress(suppressor)
                }
                Kind::Deduplicate(mut deduplicator) => {
                    deduplicator.flush(batch);
                    Kind::Deduplicate(deduplicator)
                }
                Kind::Process(user) => Kind::Process(user),
            };
            operators[id].kind = kind;
        }
        context.hosted.flush(batch);
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
            match &mut operator.kind {
                Kind::Aggregate(aggregate) => aggregate.committed(),
                Kind::Fold(fold) => fold.committed(),
                Kind::Table(table) => table.rows.committed(),
                Kind::StreamJoin(join) => join.committed(),
                Kind::Deduplicate(deduplicator) => deduplicator.committed(),
                Kind::Suppress(_)
                | Kind::Subscriptions(_)
                | Kind::ForeignJoin(_)
                | Kind::Send(_)
                | Kind::Process(_)
                | Kind::Stateless => {}
            }
        }
        self.hosted.committed();
    }

    /// How far the folds have come, to be stored with the commit.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for (operator, state) in self.plan.operators.iter().zip(&self.operators) {
            match &state.kind {
                Kind::Aggregate(aggregate) => {
                    progress.set(operator.node.as_str(), aggregate.progress())
                }
                Kind::Fold(fold) => progress.set(operator.node.as_str(), fold.progress()),
                Kind::StreamJoin(join) => join.save(operator.node.as_str(), &mut progress),
                Kind::Send(sender) => sender.save(&operator.work, &mut progress),
                Kind::Suppress(each) => progress.set(operator.node.as_str(), each.progress()),
                Kind::Deduplicate(each) => progress.set(operator.node.as_str(), each.progress()),
                Kind::Table(_)
                | Kind::Subscriptions(_)
                | Kind::ForeignJoin(_)
                | Kind::Process(_)
                | Kind::Stateless => {}
            }
        }
        self.hosted.clock.save(&mut progress);
        progress
    }

    /// Whether a table has outgrown its budget, so that a commit is due.
    pub fn wants_commit(&self) -> bool {
        let mut operators = self.operators.iter();
        let is_full = operators.any(|operator| match &operator.kind {
            Kind::Aggregate(aggregate) => aggregate.is_full(),
            Kind::Fold(fold) => fold.is_full(),
            Kind::Table(table) => table.rows.is_full(),
            Kind::StreamJoin(join) => join.is_full(),
            Kind::Suppress(suppressor) => suppressor.is_full(),
            Kind::Deduplicate(deduplicator) => deduplicator.is_full(),
            Kind::Subscriptions(subscriptions) => subscriptions.is_full(),
            Kind::ForeignJoin(_) | Kind::Send(_) | Kind::Process(_) | Kind::Stateless => false,
        });
        is_full || self.hosted.is_full()
    }

    /// Whether it matters for how long nothing has come: a window may close by that, or the far
    /// side of a repartition has to know.
    pub fn waits_for_silence(&self) -> bool {
        self.operators.iter().any(|operator| match &operator.kind {
            Kind::Aggregate(aggregate) => aggregate.waits_for_silence(),
            Kind::Fold(_) => true,
            Kind::Send(sender) => sender.tells_time(),
            Kind::Table(_)
            | Kind::StreamJoin(_)
            | Kind::Suppress(_)
            | Kind::Deduplicate(_)
            | Kind::Subscriptions(_)
            | Kind::ForeignJoin(_)
            | Kind::Process(_)
            | Kind::Stateless => false,
        })
    }

    /// Whether a flush would do something because nothing has come for so long.
    pub fn acts_after(&self, idle_ms: i64) -> bool {
        let mut operators = self.operators.iter().zip(&self.plan.operators);
        operators.any(
            |(operator, planned)| match (&operator.kind, &planned.work) {
                (Kind::Aggregate(aggregate), Work::Aggregate(plan)) => {
                    aggregate.closes_after(plan, idle_ms)
                }
                (Kind::Fold(fold), _) => fold.acts_after(idle_ms),
                (Kind::Send(sender), _) => sender.acts_after(idle_ms),
                _ => false,
            },
        )
    }

    /// The highest event time that any operator has seen that keeps one.
    pub fn stream_time(&self) -> Timestamp {
        let times = self.operators.iter().map(|operator| match &operator.kind {
            Kind::Aggregate(aggregate) => aggregate.stream_time(),
            Kind::Fold(fold) => fold.stream_time(),
            Kind::StreamJoin(join) => join.stream_time(),
            Kind::Suppress(suppressor) => suppressor.stream_time(),
            Kind::Deduplicate(deduplicator) => deduplicator.stream_time(),
            Kind::Table(_)
            | Kind::Subscriptions(_)
            | Kind::ForeignJoin(_)
            | Kind::Send(_)
            | Kind::Process(_)
            | Kind::Stateless => Timestamp::MIN,
        });
        times
            .chain(self.hosted.clock.time())
            .max()
            .unwrap_or(Timestamp::MIN)
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
