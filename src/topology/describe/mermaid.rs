//! A topology as a Mermaid flowchart, as GitHub and the dashboard show it.

use std::fmt::Write;

use super::{Cluster, edges, grouped};
use crate::topology::graph::{GlobalTable, Node, NodeKind, Topology};

/// A flowchart from top to bottom. Sources and Kafka sinks are drawn as queues, tables as
/// cylinders.
pub fn mermaid(topology: &Topology, clusters: &[Cluster]) -> String {
    let mut out = String::from("flowchart TB\n");
    for (number, (cluster, nodes)) in grouped(topology, clusters).enumerate() {
        let indent = if cluster.is_some() { "    " } else { "  " };
        if let Some(name) = cluster {
            writeln!(out, "  subgraph cluster{number} [\"{}\"]", escaped(name))
                .expect("a String takes everything");
        }
        for node in nodes {
            writeln!(out, "{indent}{}", declaration(node)).expect("a String takes everything");
        }
        if cluster.is_some() {
            out.push_str("  end\n");
        }
    }
    for (from, to) in edges(topology) {
        writeln!(out, "  n_{from} --> n_{to}").expect("a String takes everything");
    }
    out
}

/// Prefixed, since `end` and other words of Mermaid's own may be names of nodes.
fn declaration(node: &Node) -> String {
    let label = format!(
        "\"<b>{}</b><br>{}\"",
        node.name,
        escaped(&label(&node.kind))
    );
    let (open, close) = match node.kind {
        NodeKind::Source(_) | NodeKind::GlobalTable(_) | NodeKind::Kafka(_) => ("([", "])"),
        NodeKind::Sql(_) => ("[(", ")]"),
        _ => ("[", "]"),
    };
    format!("n_{}{open}{label}{close}", node.name)
}

/// The kind, and the place outside of Tidemill that it touches.
fn label(kind: &NodeKind) -> String {
    match kind {
        NodeKind::Source(source) | NodeKind::GlobalTable(GlobalTable { source }) => {
            format!("{} {}", kind.word(), source.topics.join(", "))
        }
        NodeKind::Kafka(sink) => format!("kafka {}", sink.topic),
        NodeKind::Sql(sink) => format!("sql {}", sink.table),
        other => other.word().to_owned(),
    }
}

/// Mermaid's own entity codes.
fn escaped(text: &str) -> String {
    text.replace('#', "#35;")
        .replace('&', "#amp;")
        .replace('"', "#quot;")
        .replace('<', "#lt;")
        .replace('>', "#gt;")
}
