//! From the graph to what tasks run: sub-topologies, slots, stores, internal topics.
//!
//! The graph is cut wherever records must move between partitions or into another commit domain:
//!
//! ```text
//!  source → filter → map ─┬→ aggregate by the topic's key ──→ kafka     0   one task per partition
//!                         └→ fold ┄ repartition topic ┄┐
//!                                                       └→ aggregate    1   one task per partition
//!  source → filter ───────────────────────────────────────→ sql         2   a group of its own
//!  changelog of the aggregate ────────────────────────────→ sql         3   a group of its own
//! ```
//!
//! A SQL sink is a sub-topology of its own: it reads the source topic through copies of the
//! stateless nodes in front of it, or the changelog of the aggregate in front of it. Everything
//! persistent is named after nodes, never numbered, so an unrelated edit of the file moves nothing.

mod aggregates;
mod deduplicate;
mod draft;
mod foreign;
mod graph;
mod joins;
mod planner;
mod process;
mod scope;
mod sinks;
mod stages;
mod stateless;
mod suppress;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use deduplicate::DeduplicatePlan;
pub use foreign::{ForeignJoinPlan, SubscriptionsPlan};
pub(super) use graph::Keys;
pub use planner::{PlanError, plan};
pub use process::{GivenField, ProcessPlan};
pub use suppress::{Bounds, Identity, Release, SuppressPlan};

use crate::expr::Evaluator;
use crate::record::Projection;
use crate::topology::graph::{
    AppId, Emit, Function, Guarantee, JoinKind, JoinWindow, NodeName, NullValues, OnError, OnLate,
    Side, TableUse,
};
use crate::value::{FieldPath, Slot, ValueType};
use crate::window::Windows;

/// What an application runs.
#[derive(Debug)]
pub struct Plan {
    /// The application's name.
    pub app: AppId,
    /// Exactly once or at least once.
    pub guarantee: Guarantee,
    /// The sub-topologies that share the group `<app>`.
    pub processing: Vec<Arc<SubTopology>>,
    /// The sub-topologies that end in a SQL sink, each with a group of its own.
    pub sinks: Vec<Arc<SubTopology>>,
    /// Topics that Tidemill creates and owns.
    pub internal_topics: Vec<InternalTopic>,
}

/// A part of the graph that runs as one task per partition of its inputs.
#[derive(Debug)]
pub struct SubTopology {
    /// Its number, unique in the plan: the first half of a task's name. For people; nothing
    /// persistent depends on it.
    pub id: u32,
    /// The node in which it begins: its source (of several, the first by name), or the aggregate
    /// behind a repartition; for a SQL sink, the sink. The state of its tasks is found by this name.
    pub name: NodeName,
    /// Where its records come from; all with equal partition counts.
    pub inputs: Vec<Input>,
    /// Its operators; an operator's successors come after it.
    pub operators: Vec<Operator>,
    /// How many fields its rows have.
    pub slots: usize,
    /// Its stores, numbered by position.
    pub stores: Vec<StorePlan>,
    /// Nodes that an earlier sub-topology runs as well. Their records count there.
    pub copies: Vec<NodeName>,
}

/// Topics of one shape.
#[derive(Debug)]
pub struct Input {
    /// At least one.
    pub topics: Vec<String>,
    /// How records become rows.
    pub reader: Reader,
    /// The operators that get them.
    pub next: Vec<OperatorId>,
}

/// The index of an operator in its sub-topology.
pub type OperatorId = usize;

/// How the records of an input become rows.
#[derive(Debug)]
pub enum Reader {
    /// Events of a source topic.
    Source(SourceReader),
    /// Partial accumulators of a repartition topic; they go to the one aggregate behind it.
    Partials,
    /// What the sides of a join by a foreign key send each other; it goes to the one operator behind.
    Foreign,
    /// Results of an aggregate, from its changelog or its results topic.
    Results(ResultReader),
    /// Rows of a table, from its changelog, or of another node, from its results topic.
    Rows(RowsReader),
}

/// How rows are read that another sub-topology has written.
#[derive(Debug)]
pub struct RowsReader {
    /// The node behind which they were written.
    pub node: NodeName,
    /// Where.
    pub topic: RowTopic,
    /// What is read of them.
    pub wanted: WantedFields,
    /// Where the key goes when a row is deleted.
    pub key: Option<KeyField>,
    /// Whether they replace one another.
    pub replace: bool,
}

/// Where rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowTopic {
    /// The changelog of the store in which they are kept.
    Changelog,
    /// A repartition topic, to which they were sent to be with others of their key.
    Repartition,
    /// A topic to which they were sent for SQL sinks to read.
    Results,
}

/// The field that holds the key of a record: of a record without a value it is all there is.
#[derive(Clone, Copy, Debug)]
pub struct KeyField {
    /// Where it goes.
    pub slot: Slot,
    /// What it is declared to hold.
    pub kind: ValueType,
}

/// What is read of kept rows.
#[derive(Debug, Default)]
pub struct WantedFields {
    /// The fields that anyone asks for, by their paths.
    pub fields: Vec<(String, Slot)>,
    /// Those that the row's own event may hold.
    pub projection: Projection,
    /// Those that the event of a row may hold which was joined to it, by what their paths begin
    /// with.
    pub joined: Vec<(String, Projection)>,
}

impl WantedFields {
    /// These fields of rows to which others were joined under `prefixes`, each with its dot.
    fn new(fields: &[(FieldPath, Slot)], prefixes: &[String]) -> WantedFields {
        let mut own = Vec::new();
        let mut joined: BTreeMap<&str, Vec<(FieldPath, Slot)>> = BTreeMap::new();
        for (path, slot) in fields {
            let inside = prefixes
                .iter()
                .filter(|prefix| path.as_str().starts_with(prefix.as_str()))
                .max_by_key(|prefix| prefix.len());
            match inside {
                None => own.push((path.clone(), *slot)),
                Some(prefix) => {
                    let path = FieldPath::new(&path.as_str()[prefix.len()..]);
                    joined.entry(prefix).or_default().push((path, *slot));
                }
            }
        }
        let projection = |fields: &[(FieldPath, Slot)]| {
            Projection::new(fields.iter().map(|(path, slot)| (path, *slot)))
        };
        WantedFields {
            fields: fields
                .iter()
                .map(|(path, slot)| (path.to_string(), *slot))
                .collect(),
            projection: projection(&own),
            joined: joined
                .into_iter()
                .map(|(prefix, fields)| (prefix.to_owned(), projection(&fields)))
                .collect(),
        }
    }
}

/// How events of a source topic are read.
#[derive(Debug)]
pub struct SourceReader {
    /// The source node.
    pub node: NodeName,
    /// The fields that anyone asks for.
    pub projection: Projection,
    /// The event time.
    pub timestamp: Option<Slot>,
    /// What becomes of records without a value.
    pub null_values: NullValues,
    /// Where the key of those goes.
    pub key: Option<KeyField>,
    /// How far ahead of the wall clock an event time may be, in milliseconds; none: however far.
    pub max_ahead_ms: Option<i64>,
    /// When a record cannot be read.
    pub on_error: OnError,
}

/// How results of an aggregate are read.
#[derive(Clone, Debug)]
pub struct ResultReader {
    /// The aggregate.
    pub node: NodeName,
    /// What is kept for a result.
    pub functions: Vec<Function>,
    /// Its windows.
    pub windows: Windows,
    /// From which topic.
    pub topic: ResultTopic,
    /// When they leave.
    pub emit: Emit,
    /// Where the parts of a result go.
    pub slots: ResultSlots,
}

/// Where results of an aggregate are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultTopic {
    /// The changelog of its store: what is stored is a result.
    Changelog,
    /// A topic of its own, to which they are written for this.
    Results,
}

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
    /// Looks for the row of the other side of a join.
    Join(JoinPlan),
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

/// A field that is computed.
#[derive(Debug)]
pub struct Assignment {
    /// Its path.
    pub field: FieldPath,
    /// Where it goes.
    pub slot: Slot,
    /// Gives it.
    pub value: Evaluator,
}

/// A way behind a branch.
#[derive(Debug)]
pub struct Way {
    /// Gives a bool; none: this way goes what went no other.
    pub condition: Option<Evaluator>,
    /// Who is behind it; none: rows end here.
    pub next: Option<OperatorId>,
}

/// How rows are folded.
#[derive(Debug)]
pub struct FoldShape {
    /// The fields of the key.
    pub by: Vec<Slot>,
    /// The field whose text must equal the record's key, when the input is trusted to be
    /// partitioned by it.
    pub partitioned_by: Option<Slot>,
    /// The windows.
    pub windows: Windows,
    /// The functions that keep an accumulator, each with its arguments.
    pub calls: Vec<(Function, Vec<Evaluator>)>,
    /// What happens to late rows.
    pub on_late: OnLate,
    /// When an expression fails or a key field is missing.
    pub on_error: OnError,
}

/// An aggregate with its store.
#[derive(Debug)]
pub struct AggregatePlan {
    /// How rows are folded; behind a repartition, how partial results are merged.
    pub shape: FoldShape,
    /// Whether it merges what the near sides of a repartition have folded.
    pub is_behind_repartition: bool,
    /// Where results are kept.
    pub store: usize,
    /// When results leave.
    pub emit: Emit,
    /// Where results are written for SQL sinks to read; none when nobody does, or the changelog
    /// serves.
    pub results_topic: Option<String>,
    /// The row of a result.
    pub slots: ResultSlots,
    /// When a result is deleted.
    pub deletion: Option<Deletion>,
    /// How long windows stay in the store after their start (sessions: after their end), in
    /// milliseconds of stream time; none: for ever.
    pub retention_ms: Option<i64>,
    /// When the partition is caught up and silent for this long, windows close by the wall clock.
    pub idle_close_ms: Option<i64>,
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

/// One side of a join, where the other one is a table.
#[derive(Debug)]
pub struct JoinPlan {
    /// Which side the rows are on that come here.
    pub side: Side,
    /// Which keys have a result.
    pub kind: JoinKind,
    /// The fields of these rows: from where, if they have them, and to where.
    pub moves: Vec<(Option<Slot>, Slot)>,
    /// The table that has the other side's rows.
    pub other: OperatorId,
    /// What is read of those.
    pub wanted: WantedFields,
    /// What the paths of the right side's fields begin with behind the join, with the dot.
    pub prefix: String,
    /// Whether anybody behind it keeps or sends rows, with the events that they were made of.
    pub keeps_events: bool,
    /// When a record has no key or no value.
    pub on_error: OnError,
}

/// One side of a join of two streams.
#[derive(Debug)]
pub struct StreamJoinPlan {
    /// Which side the records are on that come here.
    pub side: Side,
    /// Which records have a result.
    pub kind: JoinKind,
    /// How near to each other they have to be.
    pub within: JoinWindow,
    /// The fields of these records: from where, if they have them, and to where.
    pub moves: Vec<(Option<Slot>, Slot)>,
    /// Those of them that their events do not hold, or otherwise.
    pub computed: Vec<(String, Slot)>,
    /// What is read of records of this side that are kept.
    pub wanted: WantedFields,
    /// The operators of both sides; the left one keeps the records of both.
    pub sides: [OperatorId; 2],
    /// Where those are kept.
    pub store: usize,
    /// Where those are kept that wait for another one, and have a result without it.
    pub waiting: Option<usize>,
    /// Whether the records of the left side, and of the right one, come through a repartition.
    pub are_moved: [bool; 2],
    /// What the paths of the right side's fields begin with behind the join, with the dot.
    pub prefix: String,
    /// Whether anybody behind it keeps or sends rows, with the events that they were made of.
    pub keeps_events: bool,
    /// When a record has no key or no value.
    pub on_error: OnError,
}

/// How rows are sent to a topic of the application's own.
#[derive(Debug)]
pub struct SendPlan {
    /// The topic.
    pub topic: String,
    /// To which of its partitions.
    pub route: Route,
    /// Whether the stream time goes along.
    pub tells_time: bool,
    /// Which rows are too late to be sent: where they arrive, this cannot be told any more.
    pub lateness: Option<Lateness>,
    /// The fields that the event does not hold, or otherwise.
    pub computed: Vec<(String, Slot)>,
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

/// The near side of a repartition.
#[derive(Debug)]
pub struct FoldPlan {
    /// How rows are folded.
    pub shape: FoldShape,
    /// Where partial results go, partitioned by the new key.
    pub topic: String,
    /// Whether somebody behind it waits for time to go on, as for windows to close.
    pub emit: Emit,
    /// Whether each row is sent by itself: the far side has to see them one after the other.
    pub one_by_one: bool,
}

/// When a result is deleted.
#[derive(Debug)]
pub struct Deletion {
    /// Gives a bool.
    pub condition: Evaluator,
    /// The results that it names, and where it looks for them.
    pub results: Vec<(ResultRead, Slot)>,
    /// How many fields its rows have.
    pub slots: usize,
}

/// Where the parts of a result go in a row.
#[derive(Clone, Debug)]
pub struct ResultSlots {
    /// The fields of the key.
    pub by: Vec<Slot>,
    /// The start and the end of the window; none without windows.
    pub window: Option<(Slot, Slot)>,
    /// The results.
    pub results: Vec<(ResultRead, Slot)>,
}

/// How a result is read. Several may be read from one accumulator.
#[derive(Clone, Debug)]
pub struct ResultRead {
    /// From which accumulator.
    pub accumulator: usize,
    /// As the result of which function.
    pub function: Function,
}

/// How records are written to a topic.
#[derive(Debug)]
pub struct KafkaPlan {
    /// The topic.
    pub topic: String,
    /// The record's key; none: the key of the input.
    pub key: Option<Evaluator>,
    /// Names and values of the JSON object; empty: the input's bytes as they came.
    pub fields: Vec<(String, Evaluator)>,
    /// When an expression fails.
    pub on_error: OnError,
}

/// How rows are written into a table.
#[derive(Debug)]
pub struct SqlPlan {
    /// The table.
    pub table: String,
    /// Columns and their values.
    pub columns: Vec<SqlColumn>,
    /// The columns of the primary key, as indexes.
    pub key: Vec<usize>,
    /// Who else may write the table.
    pub table_use: TableUse,
    /// When an expression fails or the database refuses the row.
    pub on_error: OnError,
}

/// A column of a table.
#[derive(Debug)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Evaluator,
    /// What it can hold, as far as known.
    pub kind: ValueType,
}

/// A state store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlan {
    /// The name of the node.
    pub name: String,
    /// The topic that it is rebuilt from.
    pub changelog: String,
    /// What an entry is: key, windows and functions, or what else it depends on. What was written for
    /// another one means something else. Empty: nothing is kept but progress.
    pub content: String,
}

/// A topic that Tidemill creates and owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    /// Its name: `<app>-<node>-…`.
    pub name: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Has as many partitions as the largest of these topics.
    pub sized_like: Vec<String>,
}

/// What an internal topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The history of a store: compacted, and windows older than this are deleted.
    Changelog {
        /// How long a window is kept; none: for ever.
        retention_ms: Option<i64>,
    },
    /// How far tasks have come that keep nothing else: compacted.
    Progress,
    /// Partial results on their way to another partition.
    Repartition,
    /// Results for SQL sinks.
    Results,
    /// Records that could not be handled.
    DeadLetters,
}

/// The work of one partition of a sub-topology, written `0_3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The sub-topology.
    pub sub_topology: u32,
    /// The partition.
    pub partition: i32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.sub_topology, self.partition)
    }
}

impl Reader {
    /// The node that a record is read for.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Reader::Source(source) => Some(&source.node),
            Reader::Results(results) => Some(&results.node),
            Reader::Rows(rows) => Some(&rows.node),
            Reader::Partials | Reader::Foreign => None,
        }
    }
}

impl FoldShape {
    /// The functions.
    pub fn functions(&self) -> Vec<Function> {
        let functions = self.calls.iter().map(|(function, _)| function);
        functions.cloned().collect()
    }
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
            Work::Send(send) => send.tells_time,
            _ => false,
        }
    }

    /// Whether it is a fold.
    pub fn is_fold(&self) -> bool {
        self.fold_shape().is_some()
    }
}

impl SubTopology {
    /// The name under which a task keeps its state.
    pub fn state_name(&self, partition: i32) -> String {
        format!("{}-{partition}", self.name)
    }

    /// The number of the input that reads this topic.
    pub fn input_of(&self, topic: &str) -> Option<usize> {
        let reads = |input: &Input| input.topics.iter().any(|known| known == topic);
        self.inputs.iter().position(reads)
    }

    /// All topics that it reads.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.inputs
            .iter()
            .flat_map(|input| input.topics.iter().map(String::as_str))
    }

    /// The topics that its Kafka sinks write to.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.operators
            .iter()
            .filter_map(|operator| match &operator.work {
                Work::Kafka(kafka) => Some(kafka.topic.as_str()),
                _ => None,
            })
    }

    /// The SQL sink in which it ends, if it does.
    pub fn sql(&self) -> Option<(&NodeName, &SqlPlan)> {
        self.operators
            .iter()
            .find_map(|operator| match &operator.work {
                Work::Sql(sql) => Some((&operator.node, sql)),
                _ => None,
            })
    }
}

impl Plan {
    /// The topic of records that could not be handled.
    pub fn dead_letter_topic(&self) -> String {
        format!("{}-dead-letters", self.app)
    }

    /// The consumer group of the processing sub-topologies.
    pub fn group(&self) -> String {
        self.app.to_string()
    }

    /// The consumer group of a SQL sink.
    pub fn sink_group(&self, sink: &NodeName) -> String {
        format!("{}-{sink}", self.app)
    }

    /// The topics of Kafka sinks, for others to read.
    pub fn output_topics(&self) -> Vec<&str> {
        let mut topics: Vec<&str> = self
            .processing
            .iter()
            .flat_map(|sub| sub.outputs())
            .collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// The topics that others fill: those that must exist before the application starts.
    pub fn source_topics(&self) -> Vec<&str> {
        let mut topics: Vec<&str> = self
            .processing
            .iter()
            .chain(&self.sinks)
            .flat_map(|sub| &sub.inputs)
            .filter(|input| matches!(input.reader, Reader::Source(_)))
            .flat_map(|input| input.topics.iter().map(String::as_str))
            .collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}
