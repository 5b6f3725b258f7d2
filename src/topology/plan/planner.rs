//! Cuts a checked topology into sub-topologies.
//!
//! The topology has passed the checker, so what fails here is either an expression that does not
//! compile (which the checker reports with its place, before it comes this far) or a bug.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::Draft;
use super::graph::{Graph, are_several_read};
use super::scope::{Layout, Scope};
use super::stages::{Part, Stage, cut, repartition_size};
use super::{
    GlobalTablePlan, InternalTopic, Plan, Purpose, SubTopology, dead_letter_topic, sink_group,
};
use crate::expr::{Evaluator, Expression};
use crate::topology::describe;
use crate::topology::graph::{Aggregate, AppId, Node, NodeKind, NodeName, SqlSink, Topology};

/// A node that cannot be planned. The checker finds all of these first, with their places.
#[derive(Debug, thiserror::Error)]
#[error("node {node}: {reason}")]
pub struct PlanError {
    /// The node.
    pub node: NodeName,
    /// What is wrong.
    pub reason: String,
}

/// Plans a checked topology.
///
/// # Errors
/// When an expression does not compile against the fields that its node sees, or a name leads
/// nowhere; the checker reports these with their places.
pub fn plan(topology: &Topology) -> Result<Plan, PlanError> {
    let graph = Graph::new(topology);
    let mut planner = Planner {
        app: &topology.app,
        graph: &graph,
        processing: Vec::new(),
        sinks: Vec::new(),
        topics: BTreeMap::new(),
    };
    let stages = cut(&graph)?;
    for stage in &stages {
        planner.plan_stage(stage, &stages)?;
    }
    for node in &topology.nodes {
        if let NodeKind::Sql(sink) = &node.kind {
            planner.plan_sink(node, sink)?;
        }
    }
    planner.add_topic(InternalTopic {
        name: dead_letter_topic(&topology.app),
        purpose: Purpose::DeadLetters,
        sized_like: Vec::new(),
    });
    Ok(Plan {
        app: topology.app.clone(),
        guarantee: topology.guarantee,
        processing: planner.processing,
        sinks: planner.sinks,
        global_tables: global_tables(topology),
        internal_topics: planner.topics.into_values().collect(),
        fingerprint: fingerprint(topology),
    })
}

fn fingerprint(topology: &Topology) -> String {
    let said = describe::text(topology, &[]);
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(said.as_bytes()))
}

/// Those that joins look into.
fn global_tables(topology: &Topology) -> Vec<Arc<GlobalTablePlan>> {
    let used = topology
        .nodes
        .iter()
        .filter(|node| topology.consumers(&node.name).next().is_some());
    used.filter_map(|node| match &node.kind {
        NodeKind::GlobalTable(table) => Some(Arc::new(GlobalTablePlan::of(node, table))),
        _ => None,
    })
    .collect()
}

struct Planner<'g, 't> {
    app: &'g AppId,
    graph: &'g Graph<'t>,
    processing: Vec<Arc<SubTopology>>,
    sinks: Vec<Arc<SubTopology>>,
    topics: BTreeMap<String, InternalTopic>,
}

impl<'t> Planner<'_, 't> {
    fn plan_stage(&mut self, stage: &Stage<'t>, stages: &[Stage<'t>]) -> Result<(), PlanError> {
        let layout = Layout::default();
        let mut draft = Draft::new(self.graph, &layout, stage.topics(self.graph));
        for part in &stage.parts {
            let size = || repartition_size(self.graph, stages, *part);
            match *part {
                Part::Source(node, source) => draft.add_source(node, source),
                Part::Near(node, aggregate) => draft.add_near(node, aggregate, size())?,
                Part::Far(node, aggregate) => draft.add_far(node, aggregate)?,
                Part::Send(node, input) => draft.add_departure(node, input, size())?,
                Part::Receive(node, input) => draft.add_arrival(node, input),
                Part::Foreign(node, join) => draft.add_subscriptions(node, join)?,
                Part::Whole(node) => match &node.kind {
                    NodeKind::Aggregate(aggregate) => draft.add_aggregate(node, aggregate)?,
                    NodeKind::Table(table) if table.stored => draft.add_table(node, table)?,
                    NodeKind::Join(join) => draft.add_join(node, join)?,
                    NodeKind::Suppress(suppress) => draft.add_suppress(node, suppress)?,
                    NodeKind::Deduplicate(each) => draft.add_deduplicate(node, each)?,
                    NodeKind::ToStream(_) => draft.add_to_stream(node)?,
                    NodeKind::Process(process) => draft.add_process(node, process)?,
                    NodeKind::Kafka(sink) => draft.add_kafka(node, sink)?,
                    _ => draft.add_stateless(node)?,
                },
            }
        }
        let group = self.app.to_string();
        let planned = self.finish(draft, stage.name, group);
        self.processing.push(Arc::new(planned));
        Ok(())
    }

    /// The sub-topology of a SQL sink: from the sources and aggregates that it reads from through
    /// copies of the stateless nodes in between.
    fn plan_sink(&mut self, node: &'t Node, sink: &'t SqlSink) -> Result<(), PlanError> {
        let layout = Layout::default();
        let mut draft = Draft::new(self.graph, &layout, Vec::new());
        let mut aggregates: Vec<&Aggregate> = Vec::new();
        let all_before = self.graph.before_sink(node)?;
        let is_alone = !are_several_read(&all_before);
        for before in all_before {
            match &before.kind {
                NodeKind::Source(source) => draft.add_source(before, source),
                NodeKind::Aggregate(aggregate) => {
                    draft.add_results(before, aggregate);
                    aggregates.push(aggregate);
                }
                NodeKind::Table(table) if table.stored => draft.add_rows(before, is_alone),
                NodeKind::Suppress(_) => {
                    let origin = self.graph.suppressed(before);
                    aggregates.extend(origin.map(|(_, aggregate)| aggregate));
                    draft.add_rows(before, is_alone);
                }
                NodeKind::Join(_)
                | NodeKind::Deduplicate(_)
                | NodeKind::ToStream(_)
                | NodeKind::Process(_) => draft.add_rows(before, is_alone),
                _ => draft.add_stateless(before)?,
            }
        }
        draft.add_sql(node, sink, &aggregates)?;
        let group = sink_group(self.app, &node.name);
        let planned = self.finish(draft, &node.name, group);
        self.sinks.push(Arc::new(planned));
        Ok(())
    }

    fn finish(&mut self, draft: Draft<'_, '_>, name: &NodeName, group: String) -> SubTopology {
        let id = (self.processing.len() + self.sinks.len()) as u32;
        let (mut planned, topics) = draft.finish(id, name);
        planned.group = group;
        planned.copies = self.copies(&planned);
        topics.into_iter().for_each(|topic| self.add_topic(topic));
        planned
    }

    /// Those of its nodes that an earlier sub-topology runs already.
    fn copies(&self, planned: &SubTopology) -> Vec<NodeName> {
        let earlier = || self.processing.iter().chain(&self.sinks);
        let mut copies: Vec<NodeName> = nodes(planned)
            // The two sides of a repartition are no copies of each other.
            .filter(|name| {
                let kind = self.graph.find(name).map(|node| &node.kind);
                kind.is_some_and(|kind| kind.is_stateless() || matches!(kind, NodeKind::Source(_)))
            })
            .filter(|node| earlier().any(|sub| nodes(sub).any(|each| each == *node)))
            .cloned()
            .collect();
        copies.dedup();
        copies
    }

    fn add_topic(&mut self, topic: InternalTopic) {
        self.topics.insert(topic.name.clone(), topic);
    }
}

/// The nodes that a sub-topology reads for or runs.
fn nodes(sub_topology: &SubTopology) -> impl Iterator<Item = &NodeName> {
    let readers = sub_topology.inputs.iter();
    let readers = readers.filter_map(|input| input.reader.node());
    readers.chain(sub_topology.operators.iter().map(|operator| &operator.node))
}

pub(super) fn compile(
    node: &Node,
    expression: &Expression,
    scope: &Scope<'_>,
) -> Result<Evaluator, PlanError> {
    expression.compile(scope).map_err(|errors| {
        let messages: Vec<String> = errors.iter().map(|error| error.message.clone()).collect();
        error(
            node,
            format!(
                "expression {:?}: {}",
                expression.text(),
                messages.join("; ")
            ),
        )
    })
}

pub(super) fn error(node: &Node, reason: impl Into<String>) -> PlanError {
    PlanError {
        node: node.name.clone(),
        reason: reason.into(),
    }
}
