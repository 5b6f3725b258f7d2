//! Who asks for the headers of records: they are copied for nobody else.

use super::graph::Graph;
use crate::expr::Expression;
use crate::topology::graph::{Node, NodeKind, NodeName, SinkHeaders};

impl Graph<'_> {
    /// Whether anybody behind a node, among these nodes, asks for the headers of the records that
    /// leave it.
    pub(super) fn are_headers_read_behind(
        &self,
        node: &NodeName,
        among: &dyn Fn(&Node) -> bool,
    ) -> bool {
        let mut consumers = self.consumers(node).iter();
        consumers.any(|consumer| among(consumer) && self.reads_headers(consumer, among))
    }

    /// Whether a node, or anybody behind it among these nodes, asks for the headers of the records
    /// that come to it.
    pub(super) fn reads_headers(&self, node: &Node, among: &dyn Fn(&Node) -> bool) -> bool {
        asks_for_headers(&node.kind)
            || (passes_headers(&node.kind) && self.are_headers_read_behind(&node.name, among))
    }
}

/// Whether what leaves a node still has the headers of the record that came.
fn passes_headers(kind: &NodeKind) -> bool {
    !matches!(kind, NodeKind::Aggregate(_) | NodeKind::Suppress(_)) && !kind.is_sink()
}

fn asks_for_headers(kind: &NodeKind) -> bool {
    let passes_on = matches!(kind, NodeKind::Kafka(sink) if sink.headers == SinkHeaders::Pass);
    let mut expressions = kind.expressions().into_iter();
    passes_on || expressions.any(Expression::reads_headers)
}
