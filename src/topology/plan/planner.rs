//! Cuts a checked topology into sub-topologies.
//!
//! The topology has passed the checker, so what fails here is either an expression that does not
//! compile (which the checker reports with its place, before it comes this far) or a bug.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::aggregates::{
    content, fold_shape, functions, result_topic, result_types, results_scope, windows,
};
use super::scope::{Layout, Scope};
use super::sinks::{kafka_plan, sql_plan};
use super::{
    AggregatePlan, FoldPlan, FoldShape, Input, InternalTopic, Operator, OperatorId, Plan, Purpose,
    Reader, ResultReader, ResultTopic, SourceReader, StorePlan, SubTopology, Work,
};
use crate::expr::{Evaluator, Expression};
use crate::record::Projection;
use crate::topology::graph::{
    Aggregate, AppId, Emit, Node, NodeKind, NodeName, Source, SqlSink, Topology,
};
use crate::topology::shape::Shape;
use crate::value::{FieldPath, ValueType};

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
    let mut planner = Planner {
        graph: Graph::new(topology),
        shapes: {
            let names = topology.nodes.iter().map(|node| &node.name);
            names.zip(topology.shapes()).collect()
        },
        processing: Vec::new(),
        sinks: Vec::new(),
        topics: BTreeMap::new(),
        next_id: 0,
    };
    for node in &topology.nodes {
        if let NodeKind::Source(source) = &node.kind {
            planner.plan_source(node, source)?;
        }
    }
    for node in &topology.nodes {
        if let NodeKind::Sql(sink) = &node.kind {
            planner.plan_sink(node, sink)?;
        }
    }
    planner.add_dead_letters();
    Ok(Plan {
        app: topology.app.clone(),
        guarantee: topology.guarantee,
        processing: planner.processing,
        sinks: planner.sinks,
        internal_topics: planner.topics.into_values().collect(),
    })
}

/// The topology with its edges in both directions.
struct Graph<'t> {
    app: &'t AppId,
    nodes: BTreeMap<&'t NodeName, &'t Node>,
    /// In the order in which they were written.
    consumers: BTreeMap<&'t NodeName, Vec<&'t Node>>,
}

impl<'t> Graph<'t> {
    fn new(topology: &'t Topology) -> Graph<'t> {
        let nodes = topology
            .nodes
            .iter()
            .map(|node| (&node.name, node))
            .collect();
        let mut consumers: BTreeMap<&NodeName, Vec<&Node>> = BTreeMap::new();
        for node in &topology.nodes {
            if let Some(from) = node.kind.from() {
                consumers.entry(from).or_default().push(node);
            }
        }
        Graph {
            app: &topology.app,
            nodes,
            consumers,
        }
    }

    fn consumers(&self, name: &NodeName) -> &[&'t Node] {
        self.consumers.get(name).map_or(&[], Vec::as_slice)
    }

    fn input(&self, node: &Node) -> Result<&'t Node, PlanError> {
        let from = node
            .kind
            .from()
            .ok_or_else(|| error(node, "has no input"))?;
        self.nodes
            .get(from)
            .copied()
            .ok_or_else(|| error(node, format!("no node {from}")))
    }

    /// Whether the processing group has to run this node: it keeps state or writes to Kafka, or
    /// somebody behind it does. What leads to SQL sinks only is run by their groups.
    fn is_processing(&self, node: &Node) -> bool {
        match node.kind {
            NodeKind::Aggregate(_) | NodeKind::Kafka(_) => true,
            NodeKind::Sql(_) => false,
            NodeKind::Source(_) | NodeKind::Filter(_) | NodeKind::Map(_) => self
                .consumers(&node.name)
                .iter()
                .any(|consumer| self.is_processing(consumer)),
        }
    }

    /// Whether a SQL sink reads the results of this aggregate, perhaps through stateless nodes.
    fn feeds_sql(&self, node: &Node) -> bool {
        self.consumers(&node.name)
            .iter()
            .any(|consumer| match consumer.kind {
                NodeKind::Sql(_) => true,
                NodeKind::Filter(_) | NodeKind::Map(_) => self.feeds_sql(consumer),
                _ => false,
            })
    }

    fn internal_topic(&self, node: &NodeName, suffix: &str) -> String {
        format!("{}-{node}-{suffix}", self.app)
    }
}

struct Planner<'t> {
    graph: Graph<'t>,
    /// What leaves each node, by name.
    shapes: BTreeMap<&'t NodeName, Shape>,
    processing: Vec<Arc<SubTopology>>,
    sinks: Vec<Arc<SubTopology>>,
    topics: BTreeMap<String, InternalTopic>,
    next_id: u32,
}

/// What a sub-topology under construction has so far.
struct Draft<'l> {
    layout: &'l Layout,
    operators: Vec<Operator>,
    stores: Vec<StorePlan>,
    /// The topics that its internal topics are sized like.
    sized_like: Vec<String>,
    /// Aggregates behind a repartition, to be planned as sub-topologies of their own.
    cut: Vec<NodeName>,
}

impl<'l> Draft<'l> {
    fn new(layout: &'l Layout, sized_like: Vec<String>) -> Draft<'l> {
        Draft {
            layout,
            operators: Vec::new(),
            stores: Vec::new(),
            sized_like,
            cut: Vec::new(),
        }
    }

    fn push(&mut self, node: &Node, work: Work) -> OperatorId {
        self.operators.push(Operator {
            node: node.name.clone(),
            work,
            next: Vec::new(),
        });
        self.operators.len() - 1
    }
}

/// What stands in front of a node: the names it sees, and whether rows are in the partition of the
/// source's key.
#[derive(Clone)]
pub(super) struct Upstream<'l, 't> {
    pub(super) scope: Scope<'l>,
    /// The fields that hold the record's key: rows with equal ones are in one partition.
    pub(super) keyed_by: Vec<&'t FieldPath>,
    /// Whether rows are results that later ones of the same key replace.
    is_updated: bool,
}

impl<'t> Planner<'t> {
    fn plan_source(&mut self, node: &'t Node, source: &'t Source) -> Result<(), PlanError> {
        if !self.graph.is_processing(node) {
            return Ok(());
        }
        let layout = Layout::default();
        let mut draft = Draft::new(&layout, source.topics.clone());
        let upstream = source_upstream(&layout, source);
        let timestamp = source
            .timestamp
            .as_ref()
            .map(|path| layout.source_slot(path));
        let next = self.plan_consumers(node, &upstream, &mut draft)?;
        let reader = Reader::Source(source_reader(node, source, &layout, timestamp));
        let cut = std::mem::take(&mut draft.cut);
        let input = Input {
            topics: source.topics.clone(),
            reader,
            next,
        };
        self.finish_processing(node, draft, input);
        cut.iter()
            .try_for_each(|name| self.plan_repartitioned(name))
    }

    /// The sub-topology behind the repartition topic of an aggregate.
    fn plan_repartitioned(&mut self, name: &NodeName) -> Result<(), PlanError> {
        let node = self.graph.nodes[name];
        let NodeKind::Aggregate(aggregate) = &node.kind else {
            return Err(error(node, "only aggregates are repartitioned"));
        };
        let topic = self.graph.internal_topic(name, "repartition");
        let layout = Layout::default();
        let mut draft = Draft::new(&layout, vec![topic.clone()]);
        // Partial results carry their key and accumulators; the expressions ran on the near side.
        let shape = FoldShape {
            by: Vec::new(),
            partitioned_by: None,
            windows: windows(aggregate),
            calls: functions(aggregate)
                .map(|function| (function, Vec::new()))
                .collect(),
            on_late: aggregate.on_late,
            on_error: aggregate.on_error,
        };
        let by_types = vec![ValueType::Any; aggregate.by.len()];
        let types = vec![ValueType::Any; aggregate.set.len()];
        let id = self.add_aggregate(node, aggregate, shape, &by_types, &types, &mut draft)?;
        let cut = std::mem::take(&mut draft.cut);
        let input = Input {
            topics: vec![topic],
            reader: Reader::Partials,
            next: vec![id],
        };
        self.finish_processing(node, draft, input);
        cut.iter()
            .try_for_each(|name| self.plan_repartitioned(name))
    }

    fn finish_processing(&mut self, node: &Node, mut draft: Draft<'_>, input: Input) {
        if draft.stores.is_empty()
            && draft
                .operators
                .iter()
                .any(|operator| operator.work.is_fold())
        {
            // A fold keeps nothing, but its stream time must outlive a crash, or late rows would
            // be taken after one.
            let changelog = self.graph.internal_topic(&node.name, "progress");
            self.add_topic(&changelog, Purpose::Progress, draft.sized_like.clone());
            draft.stores.push(StorePlan {
                name: node.name.to_string(),
                changelog,
                content: String::new(),
            });
        }
        let sub_topology = SubTopology {
            id: self.next_id,
            name: node.name.clone(),
            inputs: vec![input],
            slots: draft.layout.slots(),
            copies: self.copies(&draft.operators, &[]),
            operators: draft.operators,
            stores: draft.stores,
        };
        self.processing.push(Arc::new(sub_topology));
        self.next_id += 1;
    }

    /// Plans what reads from `node` in the processing group, depth first.
    fn plan_consumers<'l>(
        &mut self,
        node: &'t Node,
        upstream: &Upstream<'l, 't>,
        draft: &mut Draft<'l>,
    ) -> Result<Vec<OperatorId>, PlanError> {
        let mut ids = Vec::new();
        for consumer in self.graph.consumers(&node.name).to_vec() {
            if self.graph.is_processing(consumer) {
                ids.push(self.plan_node(consumer, upstream, draft)?);
            }
        }
        Ok(ids)
    }

    fn plan_node<'l>(
        &mut self,
        node: &'t Node,
        upstream: &Upstream<'l, 't>,
        draft: &mut Draft<'l>,
    ) -> Result<OperatorId, PlanError> {
        match &node.kind {
            NodeKind::Filter(_) | NodeKind::Map(_) => {
                let mut upstream = upstream.clone();
                let work = stateless(node, &mut upstream)?;
                let id = draft.push(node, work);
                draft.operators[id].next = self.plan_consumers(node, &upstream, draft)?;
                Ok(id)
            }
            NodeKind::Aggregate(aggregate) => self.plan_aggregate(node, aggregate, upstream, draft),
            NodeKind::Kafka(sink) => {
                let plan = kafka_plan(node, sink, &upstream.scope)?;
                Ok(draft.push(node, Work::Kafka(plan)))
            }
            NodeKind::Source(_) | NodeKind::Sql(_) => {
                Err(error(node, "is not run by the processing group"))
            }
        }
    }

    fn plan_aggregate<'l>(
        &mut self,
        node: &'t Node,
        aggregate: &'t Aggregate,
        upstream: &Upstream<'l, 't>,
        draft: &mut Draft<'l>,
    ) -> Result<OperatorId, PlanError> {
        let (shape, by_types, types) = fold_shape(node, aggregate, upstream)?;
        if shape.partitioned_by.is_some() {
            return self.add_aggregate(node, aggregate, shape, &by_types, &types, draft);
        }
        let topic = self.graph.internal_topic(&node.name, "repartition");
        self.add_topic(&topic, Purpose::Repartition, draft.sized_like.clone());
        draft.cut.push(node.name.clone());
        Ok(draft.push(node, Work::Fold(FoldPlan { shape, topic })))
    }

    fn add_aggregate<'l>(
        &mut self,
        node: &'t Node,
        aggregate: &'t Aggregate,
        shape: FoldShape,
        by_types: &[ValueType],
        result_types: &[ValueType],
        draft: &mut Draft<'l>,
    ) -> Result<OperatorId, PlanError> {
        let least_ms = shape.windows.least_retention_ms();
        let retention_ms = aggregate
            .window
            .map(|window| window.retention_ms.map_or(least_ms, |ms| ms.max(least_ms)));
        let changelog = self.graph.internal_topic(&node.name, "changelog");
        self.add_topic(
            &changelog,
            Purpose::Changelog { retention_ms },
            draft.sized_like.clone(),
        );
        let writes_results = result_topic(aggregate) == ResultTopic::Results;
        let results_topic = (writes_results && self.graph.feeds_sql(node))
            .then(|| self.graph.internal_topic(&node.name, "results"));
        if let Some(topic) = &results_topic {
            self.add_topic(topic, Purpose::Results, draft.sized_like.clone());
        }
        let store = draft.stores.len();
        draft.stores.push(StorePlan {
            name: node.name.to_string(),
            changelog,
            content: content(aggregate),
        });
        let (scope, slots) = results_scope(aggregate, draft.layout, by_types, result_types);
        let id = draft.push(
            node,
            Work::Aggregate(AggregatePlan {
                shape,
                store,
                emit: aggregate.emit,
                results_topic,
                slots,
                retention_ms,
                idle_close_ms: aggregate.window.and_then(|window| window.idle_close_ms),
            }),
        );
        let upstream = Upstream {
            scope,
            keyed_by: Vec::new(),
            is_updated: aggregate.emit == Emit::Updates,
        };
        draft.operators[id].next = self.plan_consumers(node, &upstream, draft)?;
        Ok(id)
    }

    /// The sub-topology of a SQL sink: back through the stateless nodes to a source or aggregate.
    fn plan_sink(&mut self, node: &'t Node, sink: &'t SqlSink) -> Result<(), PlanError> {
        let mut chain = Vec::new();
        let mut origin = self.graph.input(node)?;
        while matches!(origin.kind, NodeKind::Filter(_) | NodeKind::Map(_)) {
            chain.push(origin);
            origin = self.graph.input(origin)?;
        }
        chain.reverse();
        let layout = Layout::default();
        let (topics, mut upstream, reader) = self.sink_origin(node, origin, &layout)?;
        let mut draft = Draft::new(&layout, topics.clone());
        for stateless_node in chain {
            let work = stateless(stateless_node, &mut upstream)?;
            link(&mut draft, stateless_node, work);
        }
        let plan = sql_plan(node, sink, origin, &upstream.scope, self.shape(node))?;
        link(&mut draft, node, Work::Sql(plan));
        let reader = match (reader, &origin.kind) {
            (Some(reader), _) => reader,
            (None, NodeKind::Source(source)) => {
                let timestamp = source
                    .timestamp
                    .as_ref()
                    .map(|path| layout.source_slot(path));
                Reader::Source(source_reader(origin, source, &layout, timestamp))
            }
            (None, _) => return Err(error(node, "reads neither a source nor an aggregate")),
        };
        let sub_topology = SubTopology {
            id: self.next_id,
            name: node.name.clone(),
            copies: self.copies(&draft.operators, &[&origin.name]),
            inputs: vec![Input {
                topics,
                reader,
                next: vec![0],
            }],
            slots: layout.slots(),
            operators: draft.operators,
            stores: Vec::new(),
        };
        self.sinks.push(Arc::new(sub_topology));
        self.next_id += 1;
        Ok(())
    }

    /// Those of these nodes that a sub-topology runs already.
    fn copies(&self, operators: &[Operator], readers: &[&NodeName]) -> Vec<NodeName> {
        let nodes = operators.iter().map(|operator| &operator.node);
        let nodes = nodes.chain(readers.iter().copied());
        let runs = |sub: &SubTopology, node: &NodeName| {
            let readers = sub.inputs.iter().filter_map(|input| input.reader.node());
            let mut nodes = readers.chain(sub.operators.iter().map(|operator| &operator.node));
            nodes.any(|each| each == node)
        };
        let earlier = || self.processing.iter().chain(&self.sinks);
        let copies = nodes.filter(|node| {
            // The two sides of a repartition are no copies of each other.
            !matches!(self.graph.nodes[*node].kind, NodeKind::Aggregate(_))
                && earlier().any(|sub| runs(sub, node))
        });
        copies.cloned().collect()
    }

    /// Which topics a sink reads, what its first node sees, and how results are read; for a source
    /// the reader is made last, when all wanted fields are known.
    fn sink_origin<'l>(
        &self,
        node: &Node,
        origin: &'t Node,
        layout: &'l Layout,
    ) -> Result<(Vec<String>, Upstream<'l, 't>, Option<Reader>), PlanError> {
        match &origin.kind {
            NodeKind::Source(source) => {
                Ok((source.topics.clone(), source_upstream(layout, source), None))
            }
            NodeKind::Aggregate(aggregate) => {
                let topic = result_topic(aggregate);
                let suffix = match topic {
                    ResultTopic::Changelog => "changelog",
                    ResultTopic::Results => "results",
                };
                let name = self.graph.internal_topic(&origin.name, suffix);
                let types = result_types(aggregate);
                let by_types = vec![ValueType::Any; aggregate.by.len()];
                let (scope, slots) = results_scope(aggregate, layout, &by_types, &types);
                let reader = Reader::Results(ResultReader {
                    node: origin.name.clone(),
                    functions: functions(aggregate).collect(),
                    windows: windows(aggregate),
                    topic,
                    slots,
                });
                Ok((
                    vec![name],
                    Upstream {
                        scope,
                        keyed_by: Vec::new(),
                        is_updated: aggregate.emit == Emit::Updates,
                    },
                    Some(reader),
                ))
            }
            _ => Err(error(node, format!("cannot read from {}", origin.name))),
        }
    }

    fn shape(&self, node: &Node) -> &Shape {
        &self.shapes[&node.name]
    }

    fn add_topic(&mut self, name: &str, purpose: Purpose, sized_like: Vec<String>) {
        let topic = InternalTopic {
            name: name.to_owned(),
            purpose,
            sized_like,
        };
        self.topics.insert(name.to_owned(), topic);
    }

    fn add_dead_letters(&mut self) {
        let name = format!("{}-dead-letters", self.graph.app);
        self.add_topic(&name, Purpose::DeadLetters, Vec::new());
    }
}

/// Appends an operator behind the last one.
fn link(draft: &mut Draft<'_>, node: &Node, work: Work) {
    let id = draft.push(node, work);
    if let Some(before) = id.checked_sub(1) {
        draft.operators[before].next.push(id);
    }
}

fn source_upstream<'l, 't>(layout: &'l Layout, source: &'t Source) -> Upstream<'l, 't> {
    Upstream {
        scope: Scope::of_source(layout, &source.fields),
        keyed_by: source.key.iter().collect(),
        is_updated: false,
    }
}

fn source_reader(
    node: &Node,
    source: &Source,
    layout: &Layout,
    timestamp: Option<crate::value::Slot>,
) -> SourceReader {
    let fields = layout.source_fields();
    SourceReader {
        node: node.name.clone(),
        projection: Projection::new(fields.iter().map(|(path, slot)| (path, *slot))),
        timestamp,
        null_values: source.null_values,
        on_error: source.on_error,
    }
}

/// A filter's or map's work; a map adds its fields to what is seen behind it.
fn stateless<'t>(node: &'t Node, upstream: &mut Upstream<'_, 't>) -> Result<Work, PlanError> {
    match &node.kind {
        NodeKind::Filter(filter) => Ok(Work::Filter {
            condition: compile(node, &filter.condition, &upstream.scope)?,
            takes_back: upstream.is_updated,
            on_error: filter.on_error,
        }),
        NodeKind::Map(map) => {
            let mut set = Vec::with_capacity(map.set.len());
            for (path, expression) in &map.set {
                let evaluator = compile(node, expression, &upstream.scope)?;
                let kind = evaluator.result_type();
                set.push((upstream.scope.add(path.clone(), kind), evaluator));
                upstream.keyed_by.retain(|key| *key != path);
                if expression.is_record_key() {
                    upstream.keyed_by.push(path);
                }
            }
            Ok(Work::Map {
                set,
                on_error: map.on_error,
            })
        }
        _ => Err(error(node, "is not stateless")),
    }
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
