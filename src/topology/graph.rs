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
pub use super::global_table::GlobalTable;
pub use super::joining::{Join, JoinKind, JoinWindow, Side, Table};
pub use super::process::{Process, StoreUse};
pub use super::sinks::{KafkaSink, SinkHeaders, SqlSink, TableUse};
pub use super::stateless::{Arm, Branch, Filter, FlatMap, Log, Map, Merge, SelectKey, ToStream};
pub use super::suppression::{Suppress, Until, WhenFull};
pub use super::windowing::{Aggregate, Emit, OnLate, WINDOW_END, WINDOW_START, Window, WindowKind};
use crate::expr::Expression;
pub use crate::format::Format;
use crate::value::{FieldPath, ValueType};

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
    /// Makes records of rows that replace one another.
    ToStream(ToStream),
    /// Writes what passes into the log of the process.
    Log(Log),
    /// See [`Table`].
    Table(Table),
    /// See [`GlobalTable`].
    GlobalTable(GlobalTable),
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
            NodeKind::ToStream(_) => "to_stream",
            NodeKind::Log(_) => "log",
            NodeKind::Table(_) => "table",
            NodeKind::GlobalTable(_) => "global_table",
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
            // What is behind it must not be made of a compacted changelog.
            NodeKind::ToStream(_) => false,
            NodeKind::Source(_)
            | NodeKind::GlobalTable(_)
            | NodeKind::Join(_)
            | NodeKind::Aggregate(_)
            | NodeKind::Suppress(_)
            | NodeKind::Deduplicate(_)
            | NodeKind::Process(_)
            | NodeKind::Sql(_)
            | NodeKind::Kafka(_) => false,
        }
    }

    /// What it reads of topics that others fill.
    pub fn source(&self) -> Option<&Source> {
        match self {
            NodeKind::Source(source) => Some(source),
            NodeKind::GlobalTable(table) => Some(&table.source),
            _ => None,
        }
    }

    /// The expressions that it runs on what comes to it.
    pub fn expressions(&self) -> Vec<&Expression> {
        match self {
            NodeKind::Filter(node) => vec![&node.condition],
            NodeKind::Map(node) => {
                let set = node.set.iter().map(|(_, each)| each);
                set.chain(&node.tombstone_if).collect()
            }
            NodeKind::FlatMap(node) => vec![&node.each],
            NodeKind::SelectKey(node) => vec![&node.key],
            NodeKind::Branch(node) => node.arms.iter().map(|(_, each)| each).collect(),
            NodeKind::Log(node) => node.text.iter().collect(),
            NodeKind::Aggregate(node) => {
                let arguments = node.set.iter().flat_map(|(_, call)| &call.arguments);
                arguments.chain(&node.delete_if).collect()
            }
            NodeKind::Deduplicate(node) => node.by.iter().collect(),
            NodeKind::Join(node) => node.on.iter().collect(),
            NodeKind::Process(node) => node.reads.iter().map(|(_, each)| each).collect(),
            NodeKind::Sql(node) => node.columns.iter().map(|(_, each)| each).collect(),
            NodeKind::Kafka(node) => {
                let fields = node.fields.iter().map(|(_, each)| each);
                node.key.iter().chain(fields).collect()
            }
            NodeKind::Source(_)
            | NodeKind::GlobalTable(_)
            | NodeKind::Arm(_)
            | NodeKind::Merge(_)
            | NodeKind::ToStream(_)
            | NodeKind::Table(_)
            | NodeKind::Suppress(_) => Vec::new(),
        }
    }

    /// The node's inputs; none for a source or a global table.
    pub fn inputs(&self) -> &[NodeName] {
        let from = match self {
            NodeKind::Source(_) | NodeKind::GlobalTable(_) => return &[],
            NodeKind::Merge(node) => return &node.from,
            NodeKind::Join(node) => return &node.inputs,
            NodeKind::Filter(node) => &node.from,
            NodeKind::Map(node) => &node.from,
            NodeKind::FlatMap(node) => &node.from,
            NodeKind::SelectKey(node) => &node.from,
            NodeKind::Branch(node) => &node.from,
            NodeKind::Arm(node) => &node.from,
            NodeKind::ToStream(node) => &node.from,
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
