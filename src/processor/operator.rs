//! An operator at work: what it remembers, and what the task asks of it once per commit.

use std::sync::Arc;

use bumpalo::Bump;

use super::aggregate::Aggregator;
use super::custom::User;
use super::deduplicate::Deduplicator;
use super::fold::Fold;
use super::foreign::Subscriptions;
use super::global_join::{GlobalJoin, GlobalTables};
use super::input_clocks::{Idle, InputClocks};
use super::rows::{RowTable, Sender};
use super::stream_join::StreamJoin;
use super::suppress::Suppressor;
use super::{Context, NodeCounts, ProcessError, Progress};
use crate::format::{EventWriter, Registries};
use crate::state::{StateBatch, TaskState};
use crate::time::Timestamp;
use crate::topology::graph::Side;
use crate::topology::plan::{KafkaPlan, Operator, OperatorId, TimeSource, Work, WrittenValue};

/// What an operator remembers.
pub(super) struct OperatorState {
    pub(super) kind: Kind,
    pub(super) counts: NodeCounts,
    /// How many rows it has written into the log, or left out there.
    pub(super) logged: u64,
    /// Whether another sub-topology runs it as well, and tells of its rows.
    pub(super) is_copy: bool,
}

pub(super) enum Kind {
    Stateless,
    Aggregate(Box<Aggregator>),
    Fold(Box<Fold>),
    Table(Box<RowTable>),
    GlobalJoin(Box<GlobalJoin>),
    /// What both sides of a join of two streams keep.
    StreamJoin(Box<StreamJoin>),
    /// The left side of a join by a foreign key, which writes its messages here.
    ForeignJoin(Vec<u8>),
    Subscriptions(Box<Subscriptions>),
    Send(Box<Sender>),
    /// A Kafka sink whose records a schema explains.
    Write(Box<EventWriter>),
    Suppress(Box<Suppressor>),
    Deduplicate(Box<Deduplicator>),
    Process(Box<User>),
}

/// What operators are made with.
pub(super) struct Resources<'r> {
    /// Memory for each of those that keep something.
    pub(super) budget_bytes: usize,
    pub(super) progress: &'r Progress,
    pub(super) registries: &'r Arc<dyn Registries>,
    pub(super) global_tables: &'r GlobalTables,
}

/// What the task asks of an operator that remembers something from one record to the next.
pub(super) trait Stateful {
    /// Sends what is to leave with this commit, and takes down what has changed.
    fn flush(&mut self, commit: &mut Commit<'_, '_>) -> Result<(), ProcessError>;

    /// Before the first record: asks its stores what it has to know.
    fn open(&mut self, _: &Operator, _: &dyn TaskState) -> Result<(), ProcessError> {
        Ok(())
    }

    /// Drops what is too old for its store, by how far it has come. A store that was rebuilt has such
    /// entries again.
    fn expire(&mut self, _: &Operator, _: &InputClocks, _: &mut StateBatch) {}

    /// Lets go of memory after a commit.
    fn committed(&mut self) {}

    /// Adds how far it has come, to be stored with the commit.
    fn save(&self, _: &Operator, _: &mut Progress) {}

    /// Whether a commit is due, to bound memory.
    fn is_full(&self) -> bool {
        false
    }

    /// Whether it matters for how long nothing has come.
    fn waits_for_silence(&self) -> bool {
        false
    }

    /// Whether a flush would do something because nothing has come for so long.
    fn acts_after(&self, _: &Operator, _: &Surroundings<'_>, _: &Idle) -> bool {
        false
    }

    /// What it holds back has at least this time; none: it holds nothing back.
    fn holds_from(&self) -> Option<Timestamp> {
        None
    }

    /// The highest event time that it has seen, if it keeps one.
    fn stream_time(&self) -> Timestamp {
        Timestamp::MIN
    }
}

/// What an operator sees of the task around it.
pub(super) struct Surroundings<'s> {
    pub(super) inputs: &'s InputClocks,
    pub(super) operators: &'s [OperatorState],
}

impl Surroundings<'_> {
    /// The lowest time of what is held back in front of an operator; none: nothing is.
    pub(super) fn held_from(&self, source: &TimeSource) -> Option<Timestamp> {
        let holders = source.holders.iter();
        let held = holders.filter_map(|id| self.operators[*id].kind.stateful()?.holds_from());
        held.min()
    }

    /// Whether nothing is on its way to an operator, neither from other partitions nor from what is held
    /// back in front of it.
    pub(super) fn are_silent(&self, source: &TimeSource) -> bool {
        self.held_from(source).is_none() && self.inputs.are_silent(source)
    }
}

/// The commit in which an operator is flushed.
pub(super) struct Commit<'k, 'c> {
    pub(super) context: &'k mut Context<'c>,
    pub(super) operators: &'k mut [OperatorState],
    /// The operator.
    pub(super) id: OperatorId,
    /// Collects what has changed in the stores.
    pub(super) batch: &'k mut StateBatch,
    /// For how long nothing has come.
    pub(super) idle: &'k Idle,
    pub(super) arena: &'k Bump,
}

impl Kind {
    pub(super) fn new(operator: &Operator, resources: &Resources<'_>) -> Kind {
        let Resources {
            budget_bytes: budget,
            progress,
            registries,
            global_tables,
        } = *resources;
        let node = operator.node.as_str();
        match &operator.work {
            Work::Aggregate(plan) => {
                let aggregator = Aggregator::new(plan, budget, progress.of(node));
                Kind::Aggregate(Box::new(aggregator))
            }
            Work::Fold(plan) => Kind::Fold(Box::new(Fold::new(plan, budget, &progress.of(node)))),
            Work::Table(plan) => Kind::Table(Box::new(RowTable::new(plan, budget))),
            Work::GlobalJoin(plan) => {
                Kind::GlobalJoin(Box::new(GlobalJoin::new(plan, global_tables, budget)))
            }
            Work::StreamJoin(plan) if plan.side == Side::Left => {
                Kind::StreamJoin(Box::new(StreamJoin::new(plan, node, budget, progress)))
            }
            Work::ForeignJoin(_) => Kind::ForeignJoin(Vec::new()),
            Work::Subscriptions(plan) => {
                Kind::Subscriptions(Box::new(Subscriptions::new(plan, budget)))
            }
            Work::Send(plan) => Kind::Send(Box::new(Sender::new(plan, progress))),
            Work::Kafka(KafkaPlan {
                topic,
                value: WrittenValue::Record(format, _),
                ..
            }) => Kind::Write(Box::new(EventWriter::new(format, topic, registries))),
            Work::Suppress(_) => {
                Kind::Suppress(Box::new(Suppressor::new(budget, &progress.of(node))))
            }
            Work::Deduplicate(plan) => {
                let deduplicator = Deduplicator::new(plan, budget, progress.of(node));
                Kind::Deduplicate(Box::new(deduplicator))
            }
            Work::Process(plan) => Kind::Process(Box::new(User::new(plan))),
            _ => Kind::Stateless,
        }
    }

    /// The operator, if it remembers something that commits are about. What users' processors keep
    /// belongs to all of them together, see [`super::custom::Hosted`].
    pub(super) fn stateful(&self) -> Option<&dyn Stateful> {
        match self {
            Kind::Aggregate(aggregate) => Some(&**aggregate),
            Kind::Fold(fold) => Some(&**fold),
            Kind::Table(table) => Some(&**table),
            Kind::StreamJoin(join) => Some(&**join),
            Kind::Subscriptions(subscriptions) => Some(&**subscriptions),
            Kind::Send(sender) => Some(&**sender),
            Kind::Suppress(suppressor) => Some(&**suppressor),
            Kind::Deduplicate(deduplicator) => Some(&**deduplicator),
            Kind::Stateless
            | Kind::GlobalJoin(_)
            | Kind::ForeignJoin(_)
            | Kind::Write(_)
            | Kind::Process(_) => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn stateful_mut(&mut self) -> Option<&mut dyn Stateful> {
        match self {
            Kind::Aggregate(aggregate) => Some(&mut **aggregate),
            Kind::Fold(fold) => Some(&mut **fold),
            Kind::Table(table) => Some(&mut **table),
            Kind::StreamJoin(join) => Some(&mut **join),
            Kind::Subscriptions(subscriptions) => Some(&mut **subscriptions),
            Kind::Send(sender) => Some(&mut **sender),
            Kind::Suppress(suppressor) => Some(&mut **suppressor),
            Kind::Deduplicate(deduplicator) => Some(&mut **deduplicator),
            Kind::Stateless
            | Kind::GlobalJoin(_)
            | Kind::ForeignJoin(_)
            | Kind::Write(_)
            | Kind::Process(_) => None,
        }
    }
}
