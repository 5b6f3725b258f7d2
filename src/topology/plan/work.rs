//! What operators do.

use super::aggregates::{AggregatePlan, FoldPlan, FoldShape};
use super::deduplicate::DeduplicatePlan;
use super::foreign::{ForeignJoinPlan, SubscriptionsPlan};
use super::global::GlobalJoinPlan;
use super::joins::{JoinPlan, StreamJoinPlan};
use super::process::ProcessPlan;
use super::reader::WantedFields;
use super::sinks::{KafkaPlan, SqlPlan};
use super::stateless::{Assignment, Way};
use super::suppress::SuppressPlan;
use super::time::{TimeNeed, TimeSource};
use crate::expr::Evaluator;
use crate::topology::graph::{NodeName, OnError, OnLate};
use crate::value::Slot;

/// The index of an operator in its sub-topology.
pub type OperatorId = usize;

/// An operator: what it does, and who gets what comes out.
#[derive(Debug)]
pub struct Operator {
    /// The node it came from.
    pub node: NodeName,
    /// What it does.
    pub work: Work,
    /// Who gets what comes out.
    pub next: Vec<OperatorId>,
}

/// What an operator does.
#[derive(Debug)]
pub enum Work {
    /// Lets rows pass for which the condition is right.
    Filter {
        /// Gives a bool.
        condition: Evaluator,
        /// Which one.
        passes_when: bool,
        /// When it fails.
        on_error: OnError,
    },
    /// Computes fields.
    Map {
        /// In this order; a later one sees the earlier ones.
        set: Vec<Assignment>,
        /// Whether the row loses its value.
        tombstone_if: Option<Evaluator>,
        /// When one fails.
        on_error: OnError,
    },
    /// Makes a row of each element of a list.
    FlatMap {
        /// Gives the list.
        each: Evaluator,
        /// Where the element goes.
        element: Slot,
        /// Where its place in the list goes.
        position: Option<Slot>,
        /// When it fails or gives something else.
        on_error: OnError,
    },
    /// Replaces the key.
    SelectKey {
        /// Gives the new one.
        key: Evaluator,
        /// When it fails.
        on_error: OnError,
    },
    /// Sends each row the first way whose condition is true. Who is behind it is said there, and
    /// not in [`Operator::next`].
    Branch {
        /// The ways; the last one is for what is left.
        ways: Vec<Way>,
        /// When a condition fails.
        on_error: OnError,
    },
    /// Passes rows on as they are: the beginning of a way behind a branch.
    Pass,
    /// Moves the fields of one input of a merge to where those behind it look for them.
    Merge {
        /// From where, if this input has the field, and to where.
        moves: Vec<(Option<Slot>, Slot)>,
    },
    /// Writes into the log of the process.
    Log {
        /// What; none: the record as it came.
        text: Option<Evaluator>,
        /// Of so many rows one is written.
        every: u64,
    },
    /// Says that rows replace one another.
    Updates {
        /// When a record has no key.
        on_error: OnError,
    },
    /// Keeps the last row of each key.
    Table(TablePlan),
    /// Lets each update of a row stand for itself.
    ToStream,
    /// Looks for the row of the other side of a join.
    Join(JoinPlan),
    /// Looks for the row of a global table.
    GlobalJoin(GlobalJoinPlan),
    /// Looks for the records of the other stream of a join.
    StreamJoin(StreamJoinPlan),
    /// Subscribes to the rows of the right side, by foreign keys, and makes results of the answers.
    ForeignJoin(ForeignJoinPlan),
    /// Answers those who have subscribed to rows.
    Subscriptions(SubscriptionsPlan),
    /// Sends rows to a topic of the application's own.
    Send(SendPlan),
    /// Folds rows into a store.
    Aggregate(AggregatePlan),
    /// Folds rows for one commit interval and sends the partial results to a repartition topic.
    Fold(FoldPlan),
    /// Holds rows back.
    Suppress(SuppressPlan),
    /// Lets pass the first of equal rows.
    Deduplicate(DeduplicatePlan),
    /// Runs a user's own code.
    Process(ProcessPlan),
    /// Writes records to a topic.
    Kafka(KafkaPlan),
    /// Writes rows into a table.
    Sql(SqlPlan),
}

/// A table with its store.
#[derive(Debug)]
pub struct TablePlan {
    /// Where rows are kept.
    pub store: usize,
    /// The fields of a row: from where, if the input has them, and to where.
    pub moves: Vec<(Option<Slot>, Slot)>,
    /// The fields that the event does not hold, or otherwise.
    pub computed: Vec<(String, Slot)>,
    /// What is read of an earlier row.
    pub wanted: WantedFields,
    /// When a record has no key.
    pub on_error: OnError,
}

/// How rows are sent to a topic of the application's own.
#[derive(Debug)]
pub struct SendPlan {
    /// The topic.
    pub topic: String,
    /// To which of its partitions.
    pub route: Route,
    /// What depends on the stream time, which goes along then; nothing does, and it does not.
    pub tells_time: Option<TimeNeed>,
    /// By what time rows are judged.
    pub time: TimeSource,
    /// Which rows are too late to be sent: where they arrive, this cannot be told any more.
    pub lateness: Option<Lateness>,
    /// The fields that the event does not hold, or otherwise.
    pub computed: Vec<(String, Slot)>,
    /// Whether anybody who reads them asks for the headers of the record.
    pub passes_headers: bool,
    /// When a record has no key.
    pub on_error: OnError,
}

/// Which rows are too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lateness {
    /// Those that are further behind stream time than this, in milliseconds.
    pub grace_ms: i64,
    /// What happens to them.
    pub on_late: OnLate,
}

/// To which partition a row goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To that of its key: rows that are to be together. One without a key ends here.
    ByKey,
    /// To that of the task.
    Same,
}

impl Work {
    /// How rows are folded, if they are.
    pub fn fold_shape(&self) -> Option<&FoldShape> {
        match self {
            Work::Aggregate(aggregate) => Some(&aggregate.shape),
            Work::Fold(fold) => Some(&fold.shape),
            _ => None,
        }
    }

    /// Whether it keeps anything from one record to the next.
    pub fn keeps(&self) -> bool {
        let keeps_rows = matches!(
            self,
            Work::Table(_)
                | Work::GlobalJoin(_)
                | Work::StreamJoin(_)
                | Work::Subscriptions(_)
                | Work::Suppress(_)
                | Work::Deduplicate(_)
        );
        let has_stores = matches!(self, Work::Process(plan) if !plan.stores.is_empty());
        self.is_fold() || keeps_rows || has_stores
    }

    /// Whether it has a stream time, which must outlive a crash.
    pub fn has_stream_time(&self) -> bool {
        match self {
            Work::Aggregate(_)
            | Work::Fold(_)
            | Work::StreamJoin(_)
            | Work::Suppress(_)
            | Work::Deduplicate(_)
            | Work::Process(_) => true,
            Work::Send(send) => send.tells_time.is_some(),
            _ => false,
        }
    }

    /// By what time it judges rows, if it does.
    pub fn time(&self) -> Option<&TimeSource> {
        match self {
            Work::Aggregate(plan) => Some(&plan.time),
            Work::Fold(plan) => Some(&plan.time),
            Work::StreamJoin(plan) => Some(&plan.time),
            Work::Deduplicate(plan) => Some(&plan.time),
            Work::Send(plan) => Some(&plan.time),
            _ => None,
        }
    }

    /// Whether it is a fold.
    pub fn is_fold(&self) -> bool {
        self.fold_shape().is_some()
    }
}
