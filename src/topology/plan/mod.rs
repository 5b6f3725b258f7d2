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
mod global;
mod graph;
mod headers;
mod joins;
mod planner;
mod process;
mod reader;
mod scope;
mod sinks;
mod stages;
mod stateless;
mod suppress;
mod time;
mod work;

use std::fmt;
use std::sync::Arc;

pub use aggregates::{
    AggregatePlan, Deletion, FoldPlan, FoldShape, KeyPart, KeyPlace, ResultRead, ResultSlots,
};
pub use deduplicate::DeduplicatePlan;
pub use foreign::{ForeignJoinPlan, SubscriptionsPlan};
pub use global::{GlobalJoinPlan, GlobalTablePlan};
pub(super) use graph::Keys;
pub use joins::{JoinPlan, StreamJoinPlan};
pub use planner::{PlanError, plan};
pub use process::{GivenField, ProcessPlan};
pub use reader::{
    Input, KeyField, Reader, ResultReader, ResultTopic, RowTopic, RowsReader, SourceReader,
    WantedFields,
};
pub use sinks::{KafkaPlan, SqlColumn, SqlPlan, WrittenValue};
pub use stateless::{Assignment, Way};
pub use suppress::{Bounds, Identity, Release, SuppressPlan};
pub use time::{TimeNeed, TimeSource};
pub use work::{Lateness, Operator, OperatorId, Route, SendPlan, TablePlan, Work};

use crate::topology::graph::{AppId, Guarantee, NodeName};

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
    /// The tables that each process has whole, for joins to look into.
    pub global_tables: Vec<Arc<GlobalTablePlan>>,
    /// Topics that Tidemill creates and owns.
    pub internal_topics: Vec<InternalTopic>,
    /// A number of what the topology says, in hexadecimal: another one is another topology.
    pub fingerprint: String,
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
    /// The consumer group that runs it.
    pub group: String,
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

    /// Of each operator whether it is that of a node, or in front of it or behind it: what sees a record
    /// that is for this node alone. None: it does not run the node.
    pub fn around(&self, node: &str) -> Option<Vec<bool>> {
        let reads = |input: &Input| {
            input
                .reader
                .node()
                .is_some_and(|from| from.as_str() == node)
        };
        if self.inputs.iter().any(reads) {
            return Some(vec![true; self.operators.len()]);
        }
        let own = self.operators.iter();
        let own: Vec<bool> = own.map(|operator| operator.node.as_str() == node).collect();
        if !own.contains(&true) {
            return None;
        }
        let (mut behind, mut before) = (own.clone(), own);
        // Successors come later.
        for (id, operator) in self.operators.iter().enumerate() {
            if behind[id] {
                operator.next.iter().for_each(|next| behind[*next] = true);
            }
        }
        for (id, operator) in self.operators.iter().enumerate().rev() {
            before[id] |= operator.next.iter().any(|next| before[*next]);
        }
        Some(
            std::iter::zip(behind, before)
                .map(|(behind, before)| behind || before)
                .collect(),
        )
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

/// The topic of records that an application could not handle.
pub(crate) fn dead_letter_topic(app: &AppId) -> String {
    format!("{app}-dead-letters")
}

fn sink_group(app: &AppId, sink: &NodeName) -> String {
    format!("{app}-{sink}")
}

impl Plan {
    /// The topic of records that could not be handled.
    pub fn dead_letter_topic(&self) -> String {
        dead_letter_topic(&self.app)
    }

    /// The consumer group of the processing sub-topologies.
    pub fn group(&self) -> String {
        self.app.to_string()
    }

    /// The consumer group of a SQL sink.
    pub fn sink_group(&self, sink: &NodeName) -> String {
        sink_group(&self.app, sink)
    }

    /// The topics that tasks write to and nobody else reads.
    pub fn private_topics(&self) -> Vec<&str> {
        let own = self.internal_topics.iter();
        let own = own.filter(|topic| topic.purpose != Purpose::DeadLetters);
        own.map(|topic| topic.name.as_str()).collect()
    }

    /// The topics that tasks write to: their own, and those of Kafka sinks.
    pub fn written_topics(&self) -> Vec<&str> {
        let own = self.internal_topics.iter().map(|topic| topic.name.as_str());
        own.chain(self.output_topics()).collect()
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
            .flat_map(|input| &input.topics)
            .chain(self.global_tables.iter().flat_map(|table| &table.topics))
            .map(String::as_str)
            .collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}
