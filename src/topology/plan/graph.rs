//! The topology as the planner looks at it: with its edges in both directions, and with what is
//! known about the partitions that records are in.

use std::collections::{BTreeMap, BTreeSet};

use super::planner::{PlanError, error};
use crate::topology::graph::{
    Aggregate, AppId, Deduplicate, GlobalTable, Join, Node, NodeKind, NodeName, Side, Topology,
    Until,
};
use crate::topology::shape::Shape;
use crate::value::FieldPath;

pub(super) struct Graph<'t> {
    pub(super) app: &'t AppId,
    nodes: BTreeMap<&'t NodeName, &'t Node>,
    /// In the order in which they were written.
    consumers: BTreeMap<&'t NodeName, Vec<&'t Node>>,
    /// Every node after its inputs.
    order: Vec<&'t Node>,
    /// What leaves each node.
    shapes: BTreeMap<&'t NodeName, Shape>,
    keys: BTreeMap<&'t NodeName, Keys>,
}

/// Which fields of a record are the key by which it was partitioned, as a text.
#[derive(Clone, Default)]
pub(in crate::topology) struct Keys {
    /// Records with equal values in one of these are in one partition.
    fields: Vec<FieldPath>,
    /// Whether the record still has that key.
    has_record_key: bool,
    /// The field that the record's key was taken from since.
    selected: Option<FieldPath>,
    /// Whether they are in no partition, but in every process: the rows of a global table.
    are_everywhere: bool,
}

/// Whether more than one topic is read for a sink: of those in front of it, stateless nodes have none.
pub(super) fn are_several_read(before_sink: &[&Node]) -> bool {
    let read = before_sink.iter().filter(|node| !node.kind.is_stateless());
    read.count() > 1
}

impl<'t> Graph<'t> {
    pub(super) fn new(topology: &'t Topology) -> Graph<'t> {
        let names = topology.nodes.iter().map(|node| &node.name);
        let shapes = names.clone().zip(topology.shapes()).collect();
        let mut consumers: BTreeMap<&NodeName, Vec<&Node>> = BTreeMap::new();
        for node in &topology.nodes {
            for from in node.kind.inputs() {
                consumers.entry(from).or_default().push(node);
            }
        }
        let mut graph = Graph {
            app: &topology.app,
            nodes: names.zip(&topology.nodes).collect(),
            consumers,
            order: Vec::new(),
            shapes,
            keys: BTreeMap::new(),
        };
        graph.order = graph.inputs_first(topology);
        for node in graph.order.clone() {
            let keys = graph.keys_after(node);
            graph.keys.insert(&node.name, keys);
        }
        graph
    }

    /// Every node after its inputs and, as far as that goes, before what was written after it
    /// (the reverse of a depth-first search's postorder).
    fn inputs_first(&self, topology: &'t Topology) -> Vec<&'t Node> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for node in topology.nodes.iter().rev() {
            if node.kind.inputs().is_empty() {
                self.visit(node, &mut seen, &mut order);
            }
        }
        order.reverse();
        order
    }

    fn visit(&self, node: &'t Node, seen: &mut BTreeSet<&'t NodeName>, order: &mut Vec<&'t Node>) {
        if seen.insert(&node.name) {
            for consumer in self.consumers(&node.name).iter().rev() {
                self.visit(consumer, seen, order);
            }
            order.push(node);
        }
    }

    /// Every node after its inputs.
    pub(super) fn order(&self) -> &[&'t Node] {
        &self.order
    }

    pub(super) fn node(&self, name: &NodeName) -> &'t Node {
        self.nodes[name]
    }

    /// The node of that name; of the stores that joins have for their sides, none.
    pub(super) fn find(&self, name: &NodeName) -> Option<&'t Node> {
        self.nodes.get(name).copied()
    }

    pub(super) fn consumers(&self, name: &NodeName) -> &[&'t Node] {
        self.consumers.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn shape(&self, node: &Node) -> &Shape {
        &self.shapes[&node.name]
    }

    /// The name of a topic that belongs to a node.
    pub(super) fn internal_topic(&self, node: &NodeName, suffix: &str) -> String {
        format!("{}-{node}-{suffix}", self.app)
    }

    /// Whether the processing group has to run this node: it keeps state or writes to Kafka, or
    /// somebody behind it does. What leads to SQL sinks only is run by their groups.
    pub(super) fn is_processing(&self, node: &Node) -> bool {
        match node.kind {
            NodeKind::Aggregate(_)
            | NodeKind::Join(_)
            | NodeKind::Suppress(_)
            | NodeKind::Deduplicate(_)
            | NodeKind::ToStream(_)
            | NodeKind::Process(_)
            | NodeKind::Kafka(_) => true,
            // One at the end is there for what it writes.
            NodeKind::Log(_) if self.consumers(&node.name).is_empty() => true,
            NodeKind::Sql(_) | NodeKind::GlobalTable(_) => false,
            NodeKind::Table(_) if !node.kind.is_stateless() => true,
            _ => self
                .consumers(&node.name)
                .iter()
                .any(|consumer| self.is_processing(consumer)),
        }
    }

    /// Whether a SQL sink reads what leaves this node, perhaps through stateless nodes.
    pub(super) fn feeds_sql(&self, node: &Node) -> bool {
        self.consumers(&node.name)
            .iter()
            .any(|consumer| match &consumer.kind {
                NodeKind::Sql(_) => true,
                kind => kind.is_stateless() && self.feeds_sql(consumer),
            })
    }

    /// Whether a SQL sink reads the rows of this table together with others, behind a merge. It has to
    /// know when they changed, and a changelog does not say when a row was deleted.
    pub(super) fn feeds_sql_with_others(&self, table: &Node) -> bool {
        let mut sinks = self
            .order
            .iter()
            .filter(|node| matches!(node.kind, NodeKind::Sql(_)));
        sinks.any(|sink| {
            let before = self.before_sink(sink).unwrap_or_default();
            before.iter().any(|node| node.name == table.name) && are_several_read(&before)
        })
    }

    /// The aggregate whose results a suppress holds back; none behind any other node.
    pub(super) fn suppressed(&self, node: &Node) -> Option<(&'t Node, &'t Aggregate)> {
        let NodeKind::Suppress(suppress) = &node.kind else {
            return None;
        };
        let mut at = *self.nodes.get(&suppress.from)?;
        while at.kind.is_stateless() {
            at = *self.nodes.get(at.kind.inputs().first()?)?;
        }
        match &at.kind {
            NodeKind::Aggregate(aggregate) => Some((at, aggregate)),
            _ => None,
        }
    }

    /// Whether somebody behind an aggregate holds its results back until their windows are closed.
    pub(super) fn is_held_until_close(&self, node: &Node) -> bool {
        let mut consumers = self.consumers(&node.name).iter();
        consumers.any(|consumer| match &consumer.kind {
            NodeKind::Suppress(suppress) => suppress.until == Until::Close,
            kind => kind.is_stateless() && self.is_held_until_close(consumer),
        })
    }

    /// Whether a processor that can tell the time is behind a node, however far.
    pub(super) fn leads_to_processor(&self, node: &Node) -> bool {
        let mut consumers = self.consumers(&node.name).iter();
        consumers.any(|consumer| {
            matches!(consumer.kind, NodeKind::Process(_)) || self.leads_to_processor(consumer)
        })
    }

    /// The nodes that a SQL sink reads from through stateless nodes, and those: all that its own
    /// group has to run, each after its inputs.
    pub(super) fn before_sink(&self, sink: &Node) -> Result<Vec<&'t Node>, PlanError> {
        let mut wanted = BTreeSet::new();
        let mut open: Vec<&NodeName> = sink.kind.inputs().iter().collect();
        while let Some(name) = open.pop() {
            let node = self.nodes.get(name);
            let node = node.ok_or_else(|| error(sink, format!("no node {name}")))?;
            if wanted.insert(&node.name) && node.kind.is_stateless() {
                open.extend(node.kind.inputs());
            }
        }
        let before = self.order.iter().filter(|node| wanted.contains(&node.name));
        Ok(before.copied().collect())
    }

    /// The field that holds the key of a record, as a text, where the key is still the record's own.
    pub(super) fn key_field(&self, node: &Node) -> Option<&FieldPath> {
        let keys = &self.keys[&node.name];
        keys.fields.first().filter(|_| keys.has_record_key)
    }

    /// The field of an aggregate's key by which its input is partitioned already; none: records
    /// have to be moved.
    pub(super) fn partitioned_by(&self, aggregate: &Aggregate) -> Option<usize> {
        let keys = self.keys.get(&aggregate.from)?;
        let mut fields = keys.fields.iter();
        fields.find_map(|key| aggregate.by.iter().position(|path| path == key))
    }

    /// Whether an aggregate has to keep the rows that it reads: they replace one another, and do not
    /// say which ones.
    pub(super) fn keeps_input(&self, aggregate: &Aggregate) -> bool {
        let from = self.node(&aggregate.from);
        self.shape(from).replace() && !self.knows_earlier(from)
    }

    /// Whether the rows that leave a node know those which they replace.
    fn knows_earlier(&self, node: &Node) -> bool {
        match &node.kind {
            NodeKind::Table(table) => table.stored,
            NodeKind::Join(join) => join.on.is_none(),
            kind => {
                let mut inputs = kind.inputs().iter();
                kind.is_stateless() && inputs.all(|input| self.knows_earlier(self.node(input)))
            }
        }
    }

    /// The global table that a join looks into.
    pub(super) fn global_table(&self, node: &Node) -> Option<&'t GlobalTable> {
        let NodeKind::Join(join) = &node.kind else {
            return None;
        };
        match &self.nodes.get(join.input(Side::Right))?.kind {
            NodeKind::GlobalTable(table) => Some(table),
            _ => None,
        }
    }

    /// The inputs of a node from which it gets records.
    pub(super) fn record_inputs(&self, node: &Node) -> std::ops::Range<usize> {
        match self.global_table(node) {
            Some(_) => 0..1,
            None => 0..node.kind.inputs().len(),
        }
    }

    /// Whether the records of an input have to be moved to the partitions of their keys, for a node
    /// that needs those of one key together.
    pub(super) fn is_moved(&self, node: &Node, input: usize) -> bool {
        let needs_keys = match &node.kind {
            NodeKind::Join(_) => self.global_table(node).is_none(),
            NodeKind::Table(table) => table.stored,
            NodeKind::Deduplicate(node) => {
                node.is_by_key() && self.key_of_duplicates(node).is_none()
            }
            NodeKind::Process(process) => !process.stores.is_empty(),
            _ => false,
        };
        needs_keys && !self.keys[&node.kind.inputs()[input]].has_record_key
    }

    /// The join whose right side runs elsewhere, since its rows are found by a foreign key; none for any
    /// other node.
    pub(super) fn foreign(&self, node: &'t Node) -> Option<&'t Join> {
        match &node.kind {
            NodeKind::Join(join) if join.on.is_some() && self.global_table(node).is_none() => {
                Some(join)
            }
            _ => None,
        }
    }

    /// The name of the topic through which they are moved.
    pub(super) fn repartition_topic(&self, node: &Node, input: usize) -> String {
        match &node.kind {
            NodeKind::Join(_) => {
                let suffix = format!("{}-repartition", Side::BOTH[input].word());
                self.internal_topic(&node.name, &suffix)
            }
            _ => self.internal_topic(&node.name, "repartition"),
        }
    }

    /// The field of a deduplicate's key by which its input is said to be partitioned.
    pub(super) fn key_of_duplicates(&self, node: &Deduplicate) -> Option<&FieldPath> {
        self.keys.get(&node.from)?.field_of(node)
    }

    fn keys_after(&self, node: &'t Node) -> Keys {
        let inputs = node.kind.inputs().iter().map(|name| &self.keys[name]);
        Keys::after(&node.kind, inputs)
    }
}

impl Keys {
    /// Those of the records that leave a node, given those of its inputs.
    pub(in crate::topology) fn after<'k>(
        kind: &NodeKind,
        mut inputs: impl Iterator<Item = &'k Keys>,
    ) -> Keys {
        let mut first = || inputs.next().cloned().unwrap_or_default();
        match kind {
            NodeKind::Source(source) => Keys {
                fields: source.key.iter().cloned().collect(),
                has_record_key: true,
                ..Keys::default()
            },
            NodeKind::GlobalTable(_) => Keys {
                are_everywhere: true,
                ..Keys::default()
            },
            NodeKind::Aggregate(_)
            | NodeKind::Process(_)
            | NodeKind::Sql(_)
            | NodeKind::Kafka(_) => Keys::default(),
            NodeKind::SelectKey(select) => Keys {
                has_record_key: false,
                selected: select.key.field(),
                ..first()
            },
            NodeKind::Merge(_) => {
                let first = first();
                inputs.fold(first, Keys::common)
            }
            NodeKind::Map(map) => {
                let mut keys = first();
                for (path, expression) in &map.set {
                    keys.forget(path);
                    if keys.has_record_key && expression.is_record_key() {
                        keys.fields.push(path.clone());
                    }
                }
                keys
            }
            NodeKind::FlatMap(node) => {
                let mut keys = first();
                keys.forget(&node.element);
                node.position.iter().for_each(|path| keys.forget(path));
                keys
            }
            NodeKind::Join(join) => {
                let left = first();
                let mut keys = match inputs.next().is_some_and(|right| right.are_everywhere) {
                    true => left,
                    false => left.moved(),
                };
                match join.kind.keeps(Side::Right) {
                    // Results that only the right side has lack the fields of the left one.
                    true => keys.fields.clear(),
                    false => keys.forget(&join.prefix),
                }
                keys
            }
            NodeKind::Table(table) if table.stored => first().moved(),
            NodeKind::Filter(_)
            | NodeKind::Branch(_)
            | NodeKind::Arm(_)
            | NodeKind::Log(_)
            | NodeKind::ToStream(_)
            | NodeKind::Table(_)
            | NodeKind::Suppress(_) => first(),
            NodeKind::Deduplicate(node) => {
                let keys = first();
                match node.is_by_key() && keys.field_of(node).is_none() {
                    true => keys.moved(),
                    false => keys,
                }
            }
        }
    }
}

impl Keys {
    /// Whether records that a deduplicate takes for equal are in one partition, or are moved there since
    /// they have equal keys.
    pub(in crate::topology) fn hold(&self, node: &Deduplicate) -> bool {
        node.is_by_key() || self.field_of(node).is_some()
    }

    /// A field by which records are partitioned.
    pub(in crate::topology) fn field(&self) -> Option<&FieldPath> {
        self.fields.first()
    }

    /// The field of its key by which records are partitioned.
    fn field_of(&self, node: &Deduplicate) -> Option<&FieldPath> {
        let mut fields = self.fields.iter();
        fields.find(|key| {
            let mut by = node.by.iter();
            by.any(|each| each.field().as_ref() == Some(*key))
        })
    }

    /// When records are where their keys belong.
    fn moved(self) -> Keys {
        match self.has_record_key {
            true => self,
            false => Keys {
                fields: self.selected.into_iter().collect(),
                has_record_key: true,
                ..Keys::default()
            },
        }
    }

    /// The field holds something else from here on.
    fn forget(&mut self, path: &FieldPath) {
        let stays = |key: &FieldPath| key != path && !key.lies_in(path);
        self.fields.retain(stays);
        self.selected = self.selected.take().filter(stays);
    }

    fn common(self, other: &Keys) -> Keys {
        let fields = self.fields.into_iter();
        Keys {
            fields: fields.filter(|key| other.fields.contains(key)).collect(),
            has_record_key: self.has_record_key && other.has_record_key,
            selected: self
                .selected
                .filter(|key| other.selected.as_ref() == Some(key)),
            are_everywhere: false,
        }
    }
}
