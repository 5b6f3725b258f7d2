//! Which nodes run together.
//!
//! Nodes of the processing group are in one stage as long as records go from one to the other
//! without being moved between partitions. An aggregate whose input is not partitioned by its key
//! has one side in each of two stages. Tables, joins and processors with stores receive the records
//! whose key was replaced from another stage. Processors that share a store are in one stage.

use std::collections::BTreeMap;

use super::graph::Graph;
use super::planner::{PlanError, error};
use crate::topology::analysis::reaches;
use crate::topology::graph::{Aggregate, Join, Node, NodeKind, NodeName, Side, Source, StoreUse};

/// Nodes that become one sub-topology.
pub(super) struct Stage<'t> {
    /// The first of its sources by name, or else the first of its aggregates behind a repartition:
    /// what the state of its tasks is found by.
    pub(super) name: &'t NodeName,
    /// What runs in it, each after its inputs.
    pub(super) parts: Vec<Part<'t>>,
}

/// What a stage has of a node.
#[derive(Clone, Copy)]
pub(super) enum Part<'t> {
    /// A source.
    Source(&'t Node, &'t Source),
    /// All of another node.
    Whole(&'t Node),
    /// The side of an aggregate in front of a repartition.
    Near(&'t Node, &'t Aggregate),
    /// The side behind it.
    Far(&'t Node, &'t Aggregate),
    /// The records of an input on their way to the partitions of their keys.
    Send(&'t Node, usize),
    /// The same where they arrive.
    Receive(&'t Node, usize),
    /// The right side of a join by a foreign key. Its left side is the whole of it anywhere else.
    Foreign(&'t Node, &'t Join),
}

impl<'t> Part<'t> {
    pub(super) fn node(self) -> &'t Node {
        match self {
            Part::Source(node, _)
            | Part::Whole(node)
            | Part::Near(node, _)
            | Part::Far(node, _)
            | Part::Send(node, _)
            | Part::Receive(node, _)
            | Part::Foreign(node, _) => node,
        }
    }

    /// What a stage is called that begins with this.
    fn name(self) -> &'t NodeName {
        match self {
            // The join itself names the stage of its left side.
            Part::Receive(node, 1) | Part::Foreign(node, _) if is_foreign(node) => {
                &node.kind.inputs()[1]
            }
            part => &part.node().name,
        }
    }

    /// Whether it begins behind a repartition.
    fn arrives(&self) -> bool {
        matches!(self, Part::Far(..) | Part::Receive(..))
    }

    /// Whether records leave here for one that they arrive behind there.
    fn leads_to(self, other: Part<'_>) -> bool {
        match (self, other) {
            (Part::Near(node, _), Part::Far(other, _)) => node.name == other.name,
            (Part::Send(node, input), Part::Receive(other, at)) => {
                node.name == other.name && input == at
            }
            _ => false,
        }
    }
}

impl<'t> Stage<'t> {
    /// The topics that it reads: those of its sources, and the repartition topics of its nodes. What the
    /// sides of a join by a foreign key say to each other is sized like those.
    pub(super) fn topics(&self, graph: &Graph<'_>) -> Vec<String> {
        let topics = self.parts.iter().flat_map(|part| match part {
            Part::Source(_, source) => source.topics.clone(),
            Part::Far(node, _) => vec![graph.internal_topic(&node.name, "repartition")],
            Part::Receive(node, input) => vec![graph.repartition_topic(node, *input)],
            Part::Whole(_) | Part::Near(..) | Part::Send(..) | Part::Foreign(..) => Vec::new(),
        });
        topics.collect()
    }

    fn sources(&self) -> impl Iterator<Item = &'t Source> {
        self.parts.iter().filter_map(|part| match part {
            Part::Source(_, source) => Some(*source),
            _ => None,
        })
    }
}

/// Cuts the processing part of a topology into stages.
///
/// # Errors
/// When processors share a store of which one gets its records from the other's stage by a
/// repartition: they cannot be in one.
pub(super) fn cut<'t>(graph: &Graph<'t>) -> Result<Vec<Stage<'t>>, PlanError> {
    let mut parts = Vec::new();
    // The stage in which the records that leave a node are; numbers that were given up stay unused.
    let mut stages: BTreeMap<&NodeName, usize> = BTreeMap::new();
    // Who was the first to have each store.
    let mut holders: BTreeMap<&NodeName, &NodeName> = BTreeMap::new();
    for (number, node) in graph.order().iter().enumerate() {
        if !graph.is_processing(node) {
            continue;
        }
        let part = match &node.kind {
            NodeKind::Source(source) => Part::Source(node, source),
            NodeKind::Aggregate(aggregate) if graph.partitioned_by(aggregate).is_none() => {
                parts.push((stages[&aggregate.from], Part::Near(node, aggregate)));
                Part::Far(node, aggregate)
            }
            _ => Part::Whole(node),
        };
        let foreign = graph.foreign(node);
        let is_foreign = |input: usize| foreign.is_some() && input == Side::Right as usize;
        let inputs = graph.record_inputs(node);
        let moved: Vec<usize> = inputs
            .clone()
            .filter(|input| graph.is_moved(node, *input))
            .collect();
        let in_place: Vec<usize> = inputs
            .filter(|input| !moved.contains(input) && !is_foreign(*input))
            .collect();
        let with_inputs = in_place.iter().map(|at| stages[&node.kind.inputs()[*at]]);
        let with_stores = stores(node).iter();
        let with_stores = with_stores.filter_map(|store| Some(stages[holders.get(&store.name)?]));
        let together: Vec<usize> = with_inputs.chain(with_stores).collect();
        let stage = match (part, together.as_slice()) {
            (Part::Whole(_), [first, ..]) => {
                // From here on they are one.
                let of_nodes = stages.values_mut();
                let of_parts = parts.iter_mut().map(|(stage, _)| stage);
                of_nodes
                    .chain(of_parts)
                    .filter(|stage| together.contains(stage))
                    .for_each(|stage| *stage = *first);
                *first
            }
            _ => number,
        };
        let right = match moved.contains(&(Side::Right as usize)) {
            // No node has this number.
            true => number + graph.order().len(),
            false => foreign.map_or(stage, |join| stages[join.input(Side::Right)]),
        };
        for store in stores(node) {
            holders.entry(&store.name).or_insert(&node.name);
        }
        for input in moved {
            let from = stages[&node.kind.inputs()[input]];
            let to = if is_foreign(input) { right } else { stage };
            parts.push((from, Part::Send(node, input)));
            parts.push((to, Part::Receive(node, input)));
        }
        if let Some(join) = foreign {
            parts.push((right, Part::Foreign(node, join)));
        }
        stages.insert(&node.name, stage);
        parts.push((stage, part));
    }
    let mut found: Vec<(usize, Vec<Part<'t>>)> = Vec::new();
    for (stage, part) in parts {
        match found.iter_mut().find(|(known, _)| *known == stage) {
            Some((_, parts)) => parts.push(part),
            None => found.push((stage, vec![part])),
        }
    }
    let stages = found.into_iter().map(|(_, parts)| Stage {
        name: name(&parts),
        parts,
    });
    let stages: Vec<Stage<'t>> = stages.collect();
    refuse_circles(&stages)?;
    Ok(stages)
}

/// The stores of a processor.
fn stores(node: &Node) -> &[StoreUse] {
    match &node.kind {
        NodeKind::Process(process) => &process.stores,
        _ => &[],
    }
}

/// A shared store can make one stage of two of which one gets records from the other.
fn refuse_circles(stages: &[Stage<'_>]) -> Result<(), PlanError> {
    let behind = |stage: &Stage<'_>| -> Vec<usize> {
        let arrives = |part: &Part<'_>| stage.parts.iter().any(|other| other.leads_to(*part));
        let numbered = stages.iter().enumerate();
        let reached = numbered.filter(|(_, other)| other.parts.iter().any(arrives));
        reached.map(|(number, _)| number).collect()
    };
    let next: Vec<Vec<usize>> = stages.iter().map(behind).collect();
    for (number, stage) in stages.iter().enumerate() {
        let shares = |part: &&Part<'_>| stores(part.node()).iter().any(|store| store.is_shared);
        if let Some(part) = stage.parts.iter().find(shares)
            && reaches(number, number, &next)
        {
            let reason = "it shares a store with a processor whose records come to it, or to which \
                          its own go, through a repartition: give each a store of its own";
            return Err(error(part.node(), reason));
        }
    }
    Ok(())
}

fn is_foreign(node: &Node) -> bool {
    matches!(&node.kind, NodeKind::Join(join) if join.on.is_some())
}

fn name<'t>(parts: &[Part<'t>]) -> &'t NodeName {
    let first = |is_it: fn(&&Part<'t>) -> bool| {
        let found = parts.iter().filter(is_it);
        found.map(|part| part.name()).min()
    };
    first(|part| matches!(part, Part::Source(..)))
        .or_else(|| first(|part| part.arrives()))
        .expect("a stage begins with a source or behind a repartition")
}

/// The topics that the repartition topic is sized like for which records leave here: what is read
/// together has equal partition counts.
pub(super) fn repartition_size(
    graph: &Graph<'_>,
    stages: &[Stage<'_>],
    leaving: Part<'_>,
) -> Vec<String> {
    let behind = stages
        .iter()
        .find(|stage| stage.parts.iter().any(|part| leaving.leads_to(*part)))
        .expect("they arrive somewhere");
    let topics: Vec<String> = behind.sources().flat_map(|s| s.topics.clone()).collect();
    if !topics.is_empty() {
        return topics;
    }
    let leads_there = |part: &Part<'_>| behind.parts.iter().any(|other| part.leads_to(*other));
    let before = stages
        .iter()
        .filter(|stage| stage.parts.iter().any(leads_there));
    before.flat_map(|stage| stage.topics(graph)).collect()
}
