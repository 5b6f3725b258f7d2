//! A topology as plain text.

use std::fmt::Write;

use super::details::details;
use super::{Cluster, grouped};
use crate::topology::graph::{Guarantee, Node, NodeName, Topology};

/// One paragraph per cluster; of each node its name, kind and inputs, then what it does.
pub fn text(topology: &Topology, clusters: &[Cluster]) -> String {
    let mut out = format!("{} ({})\n", topology.app, guarantee(topology.guarantee));
    for (cluster, nodes) in grouped(topology, clusters) {
        out.push('\n');
        if let Some(name) = cluster {
            writeln!(out, "{name}").expect("a String takes everything");
        }
        for node in nodes {
            write_node(&mut out, node);
        }
    }
    out
}

fn write_node(out: &mut String, node: &Node) {
    let inputs: Vec<&str> = node.kind.inputs().iter().map(NodeName::as_str).collect();
    let from = if inputs.is_empty() {
        String::new()
    } else {
        format!(" ← {}", inputs.join(", "))
    };
    let (name, word) = (&node.name, node.kind.word());
    writeln!(out, "  {name}: {word}{from}").expect("a String takes everything");
    for part in details(&node.kind) {
        writeln!(out, "      {part}").expect("a String takes everything");
    }
}

fn guarantee(guarantee: Guarantee) -> &'static str {
    match guarantee {
        Guarantee::ExactlyOnce => "exactly once",
        Guarantee::AtLeastOnce => "at least once",
    }
}
