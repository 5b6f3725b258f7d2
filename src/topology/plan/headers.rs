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
    let mut reads = false;
    let mut see = |expression: &Expression| reads |= expression.reads_headers();
    match kind {
        NodeKind::Filter(filter) => see(&filter.condition),
        NodeKind::Map(map) => {
            map.set.iter().for_each(|(_, each)| see(each));
            map.tombstone_if.iter().for_each(see);
        }
        NodeKind::FlatMap(node) => see(&node.each),
        NodeKind::SelectKey(node) => see(&node.key),
        NodeKind::Branch(branch) => branch.arms.iter().for_each(|(_, each)| see(each)),
        NodeKind::Log(log) => log.text.iter().for_each(see),
        NodeKind::Aggregate(aggregate) => {
            let calls = aggregate.set.iter();
            calls
                .flat_map(|(_, call)| &call.arguments)
                .for_each(&mut see);
            aggregate.delete_if.iter().for_each(see);
        }
        NodeKind::Deduplicate(node) => node.by.iter().for_each(see),
        NodeKind::Sql(sink) => sink.columns.iter().for_each(|(_, each)| see(each)),
        NodeKind::Kafka(sink) => {
            sink.key.iter().for_each(&mut see);
            sink.fields.iter().for_each(|(_, each)| see(each));
            reads |= sink.headers == SinkHeaders::Pass;
        }
        NodeKind::Join(join) => join.on.iter().for_each(see),
        NodeKind::Source(_)
        | NodeKind::GlobalTable(_)
        | NodeKind::Process(_)
        | NodeKind::Arm(_)
        | NodeKind::Merge(_)
        | NodeKind::ToStream(_)
        | NodeKind::Table(_)
        | NodeKind::Suppress(_) => {}
    }
    reads
}
