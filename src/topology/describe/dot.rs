//! A topology as a graph for Graphviz.

use std::fmt::Write;

use super::details::details;
use super::{Cluster, edges, grouped};
use crate::topology::graph::{Node, NodeKind, Topology};

/// A directed graph in the DOT language.
pub fn dot(topology: &Topology, clusters: &[Cluster]) -> String {
    let mut out = format!("digraph {} {{\n", quoted(topology.app.as_str()));
    out.push_str("  node [shape=box, fontname=\"sans-serif\"];\n");
    for (number, (cluster, nodes)) in grouped(topology, clusters).enumerate() {
        let indent = if cluster.is_some() { "    " } else { "  " };
        if let Some(name) = cluster {
            writeln!(
                out,
                "  subgraph cluster_{number} {{\n    label={};",
                quoted(name)
            )
            .expect("a String takes everything");
        }
        for node in nodes {
            writeln!(out, "{indent}{}", declaration(node)).expect("a String takes everything");
        }
        if cluster.is_some() {
            out.push_str("  }\n");
        }
    }
    for (from, to) in edges(topology) {
        let (from, to) = (quoted(from.as_str()), quoted(to.as_str()));
        writeln!(out, "  {from} -> {to};").expect("a String takes everything");
    }
    out.push_str("}\n");
    out
}

fn declaration(node: &Node) -> String {
    let shape = match node.kind {
        NodeKind::Source(_) | NodeKind::GlobalTable(_) | NodeKind::Kafka(_) => "cds",
        NodeKind::Sql(_) => "cylinder",
        _ => "box",
    };
    let label = quoted(&format!("{}\n{}", node.name, node.kind.word()));
    let (name, tooltip) = (
        quoted(node.name.as_str()),
        quoted(&details(&node.kind).join("\n")),
    );
    format!("{name} [shape={shape}, label={label}, tooltip={tooltip}];")
}

fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}
