//! The nodes of a topology and how they hang together.
//!
//! A [`Topology`] is made by the [builder](super::builder) (or by the config layer, which calls the
//! builder) and is immutable. It says what the user asked for; nothing here knows YAML, Kafka or
//! threads. Every persistent name (store, internal topic, ledger row) derives from the names given
//! here, so an unrelated edit never orphans state.

use std::fmt;
use std::sync::Arc;

pub use super::aggregation::{Aggregation, Function};
pub use super::deduplication::{Deduplicate, OnDuplicate};
use super::duration::Millis;
pub use super::process::{Process, StoreUse};
pub use super::suppression::{Suppress, Until, WhenFull};
use crate::expr::Expression;
use crate::value::{FieldPath, ValueType};
use crate::window::{Calendar, Period, Zone};

/// The name of an application: the Kafka group, and the prefix of all internal topics.
///
/// Letters, digits, `.`, `_` and `-`; at most 100 characters (the builder checks).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(pub Arc<str>);

/// The name of a node, unique in its topology.
///
/// Lower-case letters, digits and `_`, beginning with a letter; at most 60 characters (the builder
/// checks).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(pub Arc<str>);

/// What holds when a process dies at any moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// State, results and position move together, in Kafka transactions.
    #[default]
    ExactlyOnce,
    /// The same without transactions: after a crash some records may be processed again.
    AtLeastOnce,
}

/// A checked graph of named nodes.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The application's name.
    pub app: AppId,
    /// Exactly once or at least once.
    pub guarantee: Guarantee,
    /// In the order in which they were written.
    pub nodes: Vec<Node>,
}

/// A node: a name and what it does.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// What it does.
    pub kind: NodeKind,
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// Reads topics.
    Source(Source),
    /// Lets some records pass.
    Filter(Filter),
    /// Adds or replaces fields.
    Map(Map),
    /// Makes a record of each element of a list.
    FlatMap(FlatMap),
    /// Replaces the key.
    SelectKey(SelectKey),
    /// Sends each record one way.
    Branch(Branch),
    /// One way behind a branch.
    Arm(Arm),
    /// Makes one stream of several.
    Merge(Merge),
    /// Writes what passes into the log of the process.
    Log(Log),
    /// See [`Table`].
    Table(Table),
    /// See [`Join`].
    Join(Join),
    /// Folds records by key and window.
    Aggregate(Aggregate),
    /// Holds back the updates of results.
    Suppress(Suppress),
    /// Lets pass the first of equal records.
    Deduplicate(Deduplicate),
    /// Runs a user's own code.
    Process(Process),
    /// Writes rows into a table.
    Sql(SqlSink),
    /// Writes records to a topic.
    Kafka(KafkaSink),
}

/// Reads topics, all of the same shape. Several topics are merged by timestamp.
#[derive(Clone, Debug)]
pub struct Source {
    /// At least one; equal partition counts.
    pub topics: Vec<String>,
    /// How values are read.
    pub format: Format,
    /// The field that holds the event time (RFC 3339 text, or milliseconds as a number); the
    /// record's own timestamp when absent.
    pub timestamp: Option<FieldPath>,
    /// The field by whose text the topic is keyed and partitioned. An aggregate whose `by`
    /// contains it needs no repartition.
    pub key: Option<FieldPath>,
    /// The field that identifies an event; ingestion drops repeats by it.
    pub id: Option<FieldPath>,
    /// Declared types; a field that is not declared may hold anything.
    pub fields: Vec<(FieldPath, ValueType)>,
    /// What becomes of records without a value.
    pub null_values: NullValues,
    /// How far ahead of the wall clock an event time may be, in milliseconds; none: however far.
    pub max_ahead_ms: Option<i64>,
    /// What happens to a record that cannot be read.
    pub on_error: OnError,
}

impl Source {
    /// How far ahead of the wall clock an event time may be, unless the source says otherwise.
    pub const MAX_AHEAD_MS: i64 = 3_600_000;
}

/// What becomes of records without a value (tombstones).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NullValues {
    /// They cannot be read.
    #[default]
    Refuse,
    /// They are records without fields: in a table they delete the row of their key.
    Pass,
}

/// How the bytes of a record's value are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A JSON object, UTF-8.
    #[default]
    Json,
}

/// What happens to a record that a node cannot handle. It is always counted, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// To the topic `<app>-dead-letters`, with reason and origin.
    #[default]
    DeadLetter,
    /// Nowhere.
    Drop,
    /// The process stops and says where.
    Stop,
}

/// Lets pass the records for which the expression is true, or those for which it is not.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The input.
    pub from: NodeName,
    /// Must give a bool.
    pub condition: Expression,
    /// What the condition gives for a record that passes.
    pub passes_when: bool,
    /// When the expression fails.
    pub on_error: OnError,
}

/// Adds or replaces fields, one after the other: a later one sees the earlier ones.
#[derive(Clone, Debug)]
pub struct Map {
    /// The input.
    pub from: NodeName,
    /// Field name and its expression.
    pub set: Vec<(FieldPath, Expression)>,
    /// Must give a bool; records for which it is true lose their value: they say that what is known
    /// of their key is no more. It sees the fields of `set`.
    pub tombstone_if: Option<Expression>,
    /// When an expression fails.
    pub on_error: OnError,
}

/// Makes a record of each element of a list, all with the key and the other fields of the record
/// that it is in.
#[derive(Clone, Debug)]
pub struct FlatMap {
    /// The input.
    pub from: NodeName,
    /// Must give a list; of null or a missing field nothing is made.
    pub each: Expression,
    /// The field that holds the element.
    pub element: FieldPath,
    /// The field that holds the element's place in the list, counted from 0.
    pub position: Option<FieldPath>,
    /// When the expression fails or gives something else.
    pub on_error: OnError,
}

/// Replaces the key of records. They stay in their partition until a node that needs them together
/// moves them.
#[derive(Clone, Debug)]
pub struct SelectKey {
    /// The input.
    pub from: NodeName,
    /// The new key: a text, or anything else as JSON; null for none.
    pub key: Expression,
    /// When the expression fails.
    pub on_error: OnError,
}

/// Sends each record to the first of its [arms](Arm) whose condition is true. Nodes read from those,
/// not from the branch itself.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The input.
    pub from: NodeName,
    /// The name of each arm and its condition, which must give a bool; they are asked in this order.
    pub arms: Vec<(String, Expression)>,
    /// The arm of records for which none is true; without it, they end here.
    pub default: Option<String>,
    /// When a condition fails.
    pub on_error: OnError,
}

/// The records that a branch sends one way; its node has the name `branch.arm`.
#[derive(Clone, Debug)]
pub struct Arm {
    /// The branch.
    pub from: NodeName,
    /// Which of its arms; as many as there are conditions: the default one.
    pub number: usize,
}

/// Makes one stream of several, with all their records.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The inputs, at least two.
    pub from: Vec<NodeName>,
}

/// Takes records for the rows of a table: the last record of a key is its row, and one without a value
/// deletes it. Of those behind it, each knows which earlier row a row replaces.
#[derive(Clone, Debug)]
pub struct Table {
    /// The input.
    pub from: NodeName,
    /// Whether the rows are kept, in a store. If not, earlier rows are not known: whatever does not
    /// pass a filter becomes a deletion.
    pub stored: bool,
    /// What happens to a record without a key.
    pub on_error: OnError,
}

/// Puts the rows of two inputs with equal keys together.
///
/// A stream finds the row that a table has at that moment. Two tables make one, which changes with
/// either. Of two streams, records with times near to each other make pairs.
#[derive(Clone, Debug)]
pub struct Join {
    /// The left input, whose fields keep their names, and the right one.
    pub inputs: [NodeName; 2],
    /// How near records of two streams have to be; none: the right input is a table.
    pub within: Option<JoinWindow>,
    /// Gives the key of the right row, from a left one; none: both have the same key.
    pub on: Option<Expression>,
    /// Which keys have a result.
    pub kind: JoinKind,
    /// What the paths of the right input's fields begin with behind the join, without the dot.
    pub prefix: FieldPath,
    /// What happens to a record without a key or a value.
    pub on_error: OnError,
}

/// How near to each other records of two streams have to be. The right one's time is from `before`
/// earlier than the left one's to `after` later, both included; lengths in milliseconds, not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindow {
    /// How much earlier the right record may be.
    pub before_ms: i64,
    /// How much later it may be.
    pub after_ms: i64,
    /// For how much longer, in stream time, a record waits for another one that is out of order.
    pub grace_ms: i64,
}

impl JoinWindow {
    /// How much later than a record of this side one of the other side may be.
    pub fn reach_ms(&self, side: Side) -> i64 {
        match side {
            Side::Left => self.after_ms,
            Side::Right => self.before_ms,
        }
    }

    /// For how long, in stream time, a record is kept.
    pub fn kept_ms(&self) -> i64 {
        let window_ms = self.before_ms.saturating_add(self.after_ms);
        window_ms.saturating_add(self.grace_ms)
    }
}

/// Which keys have a result; of two streams, which records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinKind {
    /// Those that both inputs have.
    #[default]
    Inner,
    /// Those that the left input has.
    Left,
    /// Those that either input has.
    Outer,
}

/// One of the inputs of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one after `from`.
    Left,
    /// The one after `with`.
    Right,
}

impl Side {
    /// Both, in the order of the inputs.
    pub const BOTH: [Side; 2] = [Side::Left, Side::Right];

    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// The word for it in the names of stores and topics.
    pub fn word(self) -> &'static str {
        match self {
            Side::Left => "left",
            Side::Right => "right",
        }
    }
}

impl Join {
    /// The input of that side.
    pub fn input(&self, side: Side) -> &NodeName {
        &self.inputs[side as usize]
    }
}

impl JoinKind {
    /// The word for it in topology files.
    pub fn word(self) -> &'static str {
        match self {
            JoinKind::Inner => "inner",
            JoinKind::Left => "left",
            JoinKind::Outer => "outer",
        }
    }

    /// Whether a key has a result that only this side has.
    pub fn keeps(self, side: Side) -> bool {
        match self {
            JoinKind::Inner => false,
            JoinKind::Left => side == Side::Left,
            JoinKind::Outer => true,
        }
    }
}

/// Writes what passes into the log of the process, and passes it on as it is.
#[derive(Clone, Debug)]
pub struct Log {
    /// The input.
    pub from: NodeName,
    /// What is written; the record as it came unless given.
    pub text: Option<Expression>,
    /// Of so many records one is written, the first of them; at least 1.
    pub every: u64,
}

/// The field of an aggregate's results that holds the start of the window, inclusive.
pub const WINDOW_START: &str = "window_start";

/// The field of an aggregate's results that holds the end of the window: the first millisecond
/// behind a tumbling or hopping one, the last one in a sliding or session one.
pub const WINDOW_END: &str = "window_end";

/// Folds records by key and window. Its results have the fields of the key (see
/// [`Aggregate::key_fields`]), with windows [`WINDOW_START`] and [`WINDOW_END`], and those of `set`.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The input.
    pub from: NodeName,
    /// The fields of the key, at least one.
    pub by: Vec<FieldPath>,
    /// The windows; none: one result per key, over all time.
    pub window: Option<Window>,
    /// When results leave.
    pub emit: Emit,
    /// What happens to a record whose window is closed.
    pub on_late: OnLate,
    /// Result field and how it is computed.
    pub set: Vec<(FieldPath, Aggregation)>,
    /// Must give a bool; sees the fields of `set`. A result for which it is true is deleted: the
    /// next record of its key and window begins a new one.
    pub delete_if: Option<Expression>,
    /// When an expression fails, or a key field is missing.
    pub on_error: OnError,
}

/// How time is cut, and for how long a window matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The windows.
    pub kind: WindowKind,
    /// How long after its end a window still takes records, in milliseconds of stream time.
    pub grace_ms: i64,
    /// When the partition is caught up and silent for this long, stream time follows the wall
    /// clock.
    pub idle_close_ms: Option<i64>,
    /// How long a window stays in the store after its start; at least length + grace.
    pub retention_ms: Option<i64>,
}

/// How time is cut; lengths in milliseconds, above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Windows `[n·size, (n+1)·size)` since the epoch.
    Tumbling {
        /// Their length.
        size_ms: i64,
    },
    /// Days, weeks, months or years of a time zone, one after the other.
    Calendar {
        /// Their length.
        period: Period,
        /// The zone.
        zone: Zone,
    },
    /// Windows `[n·advance, n·advance + size)` since the epoch.
    Hopping {
        /// Their length.
        size_ms: i64,
        /// From the start of one to that of the next, at most their length.
        advance_ms: i64,
    },
    /// Windows `[t, t + difference]` that end with a record, or begin right after one.
    Sliding {
        /// The longest time between two records of a window.
        difference_ms: i64,
    },
    /// Windows from a record to the last that follows it, each at most the gap after another.
    Session {
        /// The longest time between two records that follow one another.
        gap_ms: i64,
    },
}

/// When results leave an aggregate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emit {
    /// With every commit in which they changed.
    #[default]
    Updates,
    /// Once, when the window closes.
    Close,
}

/// What happens to late records. They are always counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLate {
    /// Nothing more.
    #[default]
    Drop,
    /// To the dead-letter topic.
    DeadLetter,
}

/// Writes rows into a table: one per record, or one per key and window behind an aggregate.
#[derive(Clone, Debug)]
pub struct SqlSink {
    /// The input.
    pub from: NodeName,
    /// The table's name.
    pub table: String,
    /// Column and its expression; empty: behind an aggregate its key, window and results, each
    /// under its own name.
    pub columns: Vec<(String, Expression)>,
    /// The columns of the table's primary key; empty: behind an aggregate its key and window.
    pub key: Vec<String>,
    /// Who else may write the table.
    pub table_use: TableUse,
    /// When an expression fails, or the database refuses a row.
    pub on_error: OnError,
}

/// Who writes a table. Whoever it is, of rows with the same key the last one written stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableUse {
    /// This node alone.
    #[default]
    Own,
    /// Other nodes and other applications as well.
    Shared,
}

/// Writes records to a topic, as JSON objects.
#[derive(Clone, Debug)]
pub struct KafkaSink {
    /// The input.
    pub from: NodeName,
    /// The topic's name.
    pub topic: String,
    /// The record's key, a text; absent: the key of the input.
    pub key: Option<Expression>,
    /// Field and its expression; empty: behind an aggregate its key, window and results, otherwise
    /// the record's bytes as they came.
    pub fields: Vec<(String, Expression)>,
    /// When an expression fails.
    pub on_error: OnError,
}

impl NodeKind {
    /// The word for it in topology files.
    pub fn word(&self) -> &'static str {
        match self {
            NodeKind::Source(_) => "source",
            NodeKind::Filter(filter) if filter.passes_when => "filter",
            NodeKind::Filter(_) => "filter_not",
            NodeKind::Map(_) => "map",
            NodeKind::FlatMap(_) => "flat_map",
            NodeKind::SelectKey(_) => "select_key",
            NodeKind::Branch(_) => "branch",
            NodeKind::Arm(_) => "arm",
            NodeKind::Merge(_) => "merge",
            NodeKind::Log(_) => "log",
            NodeKind::Table(_) => "table",
            NodeKind::Join(_) => "join",
            NodeKind::Aggregate(_) => "aggregate",
            NodeKind::Suppress(_) => "suppress",
            NodeKind::Deduplicate(_) => "deduplicate",
            NodeKind::Process(_) => "process",
            NodeKind::Sql(_) => "sql",
            NodeKind::Kafka(_) => "kafka",
        }
    }

    /// Whether other nodes can name it as their input.
    pub fn can_be_read(&self) -> bool {
        !self.is_sink() && !matches!(self, NodeKind::Branch(_))
    }

    /// Whether nothing can come after it.
    pub fn is_sink(&self) -> bool {
        matches!(self, NodeKind::Sql(_) | NodeKind::Kafka(_))
    }

    /// Whether it looks at one record at a time and keeps nothing.
    pub fn is_stateless(&self) -> bool {
        match self {
            NodeKind::Filter(_)
            | NodeKind::Map(_)
            | NodeKind::FlatMap(_)
            | NodeKind::SelectKey(_)
            | NodeKind::Branch(_)
            | NodeKind::Arm(_)
            | NodeKind::Merge(_)
            | NodeKind::Log(_) => true,
            NodeKind::Table(table) => !table.stored,
            NodeKind::Source(_)
            | NodeKind::Join(_)
            | NodeKind::Aggregate(_)
            | NodeKind::Suppress(_)
            | NodeKind::Deduplicate(_)
            | NodeKind::Process(_)
            | NodeKind::Sql(_)
            | NodeKind::Kafka(_) => false,
        }
    }

    /// The node's inputs; none for a source.
    pub fn inputs(&self) -> &[NodeName] {
        let from = match self {
            NodeKind::Source(_) => return &[],
            NodeKind::Merge(node) => return &node.from,
            NodeKind::Join(node) => return &node.inputs,
            NodeKind::Filter(node) => &node.from,
            NodeKind::Map(node) => &node.from,
            NodeKind::FlatMap(node) => &node.from,
            NodeKind::SelectKey(node) => &node.from,
            NodeKind::Branch(node) => &node.from,
            NodeKind::Arm(node) => &node.from,
            NodeKind::Log(node) => &node.from,
            NodeKind::Table(node) => &node.from,
            NodeKind::Aggregate(node) => &node.from,
            NodeKind::Suppress(node) => &node.from,
            NodeKind::Deduplicate(node) => &node.from,
            NodeKind::Process(node) => &node.from,
            NodeKind::Sql(node) => &node.from,
            NodeKind::Kafka(node) => &node.from,
        };
        std::slice::from_ref(from)
    }
}

impl Topology {
    /// The node of that name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| &node.name == name)
    }

    /// The nodes that read from the node of that name.
    pub fn consumers<'a>(&'a self, name: &'a NodeName) -> impl Iterator<Item = &'a Node> {
        self.nodes
            .iter()
            .filter(move |node| node.kind.inputs().contains(name))
    }
}

impl WindowKind {
    /// The word for it in topology files.
    pub fn word(&self) -> &'static str {
        match self {
            WindowKind::Tumbling { .. } | WindowKind::Calendar { .. } => "tumbling",
            WindowKind::Hopping { .. } => "hopping",
            WindowKind::Sliding { .. } => "sliding",
            WindowKind::Session { .. } => "session",
        }
    }

    /// Whether the end of a window is the first millisecond behind it, and not the last one in it.
    pub fn ends_behind(&self) -> bool {
        match self {
            WindowKind::Tumbling { .. }
            | WindowKind::Calendar { .. }
            | WindowKind::Hopping { .. } => true,
            WindowKind::Sliding { .. } | WindowKind::Session { .. } => false,
        }
    }

    /// The length that is written behind that word, in milliseconds: size, difference or gap; of
    /// calendar windows, that of the longest.
    pub fn length_ms(&self) -> i64 {
        match *self {
            WindowKind::Tumbling { size_ms } | WindowKind::Hopping { size_ms, .. } => size_ms,
            WindowKind::Calendar { period, zone } => Calendar::new(period, zone, 0).longest_ms(),
            WindowKind::Sliding { difference_ms } => difference_ms,
            WindowKind::Session { gap_ms } => gap_ms,
        }
    }
}

/// As it is written: `hopping 1h, advance 5m`, `tumbling 1d, time zone Europe/Berlin`.
impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let WindowKind::Calendar { period, zone } = self {
            return write!(f, "{} {period}, time zone {zone}", self.word());
        }
        write!(f, "{} {}", self.word(), Millis(self.length_ms()))?;
        match self {
            WindowKind::Hopping { advance_ms, .. } => {
                write!(f, ", advance {}", Millis(*advance_ms))
            }
            _ => Ok(()),
        }
    }
}

impl Aggregate {
    /// The fields of the key as the results carry them: the path with dots replaced by `_`, so that
    /// `meta.domain` becomes `meta_domain`. In the order of `by`.
    pub fn key_fields(&self) -> impl Iterator<Item = FieldPath> {
        self.by.iter().map(flat_name)
    }
}

/// The path with dots replaced by `_`: a field's name where there are no objects, behind an
/// aggregate and in tables.
pub fn flat_name(path: &FieldPath) -> FieldPath {
    FieldPath::new(&path.as_str().replace('.', "_"))
}

impl AppId {
    /// That name; whether it is a good one is for the checker to say.
    pub fn new(name: &str) -> AppId {
        AppId(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NodeName {
    /// That name; whether it is a good one is for the checker to say.
    pub fn new(name: &str) -> NodeName {
        NodeName(name.into())
    }

    /// The name of the node of an arm of this branch.
    pub fn arm(&self, arm: &str) -> NodeName {
        NodeName::new(&format!("{self}.{arm}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
