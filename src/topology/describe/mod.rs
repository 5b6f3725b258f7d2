//! A topology for the eye: as text, as a Mermaid flowchart, as a DOT graph.
//!
//! All three show the same: each node with its kind and what it does, and the edges.
//! Nodes can be grouped into named clusters (the sub-topologies that the planner cuts). The output
//! depends on the topology alone, so it can be compared and kept.

mod dot;
mod details;
mod mermaid;
mod text;

pub use dot::dot;
pub use mermaid::mermaid;
pub use text::text;

use super::graph::{Node, NodeName, Topology};

/// Nodes that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// What the group is called.
    pub name: String,
    /// Its nodes.
    pub nodes: Vec<NodeName>,
}

/// The nodes by cluster, then those in none; each in the order of the topology.
fn grouped<'a>(
    topology: &'a Topology,
    clusters: &'a [Cluster],
) -> impl Iterator<Item = (Option<&'a str>, Vec<&'a Node>)> {
    let in_cluster = |cluster: &'a Cluster| {
        let nodes = topology
            .nodes
            .iter()
            .filter(|node| cluster.nodes.contains(&node.name));
        (Some(cluster.name.as_str()), nodes.collect::<Vec<_>>())
    };
    let in_none = |node: &&Node| {
        !clusters
            .iter()
            .any(|cluster| cluster.nodes.contains(&node.name))
    };
    let rest = (None, topology.nodes.iter().filter(in_none).collect());
    clusters
        .iter()
        .map(in_cluster)
        .chain([rest])
        .filter(|(_, nodes)| !nodes.is_empty())
}

/// The edges: from, to.
fn edges(topology: &Topology) -> impl Iterator<Item = (&NodeName, &NodeName)> {
    topology.nodes.iter().flat_map(|node| {
        node.kind
            .inputs()
            .iter()
            .map(move |from| (from, &node.name))
    })
}
