//! A sub-topology under construction.

mod deduplicate;
mod suppress;

use std::collections::BTreeMap;

use super::aggregates::{
    content, fold_shape, functions, result_topic, result_types, results_scope, windows,
};
use super::graph::Graph;
use super::planner::{PlanError, error};
use super::scope::{Layout, Scope};
use super::sinks::{kafka_plan, sql_plan};
use super::stateless;
use super::{
    AggregatePlan, FoldPlan, FoldShape, Input, InternalTopic, KeyField, Operator, OperatorId,
    Purpose, Reader, ResultReader, ResultTopic, RowsReader, RowsTopic, SourceReader, StorePlan,
    SubTopology, TablePlan, WantedFields, Work,
};
use crate::record::Projection;
use crate::topology::graph::{
    Aggregate, Emit, KafkaSink, Node, NodeKind, NodeName, NullValues, Source, SqlSink, Table,
};
use crate::value::{FieldPath, ValueType};

/// What a sub-topology has so far. Nodes are added after their inputs.
pub(super) struct Draft<'l, 't> {
    graph: &'l Graph<'t>,
    layout: &'l Layout,
    inputs: Vec<Input>,
    operators: Vec<Operator>,
    stores: Vec<StorePlan>,
    outlets: BTreeMap<&'t NodeName, Outlet<'l>>,
    /// The topics that its internal topics are sized like.
    sized_like: Vec<String>,
    /// The internal topics that it needs.
    topics: Vec<InternalTopic>,
}

/// What is known behind a node that has been added.
#[derive(Clone)]
pub(super) struct Outlet<'l> {
    /// What is seen there.
    pub(super) scope: Scope<'l>,
    /// Where rows come from: whoever is behind the node is to be linked to all of these.
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
enum Link {
    Input(usize),
    Operator(OperatorId),
    Way(OperatorId, usize),
}

impl<'l, 't> Draft<'l, 't> {
    pub(super) fn new(
        graph: &'l Graph<'t>,
        layout: &'l Layout,
        sized_like: Vec<String>,
    ) -> Draft<'l, 't> {
        Draft {
            graph,
            layout,
            inputs: Vec::new(),
            operators: Vec::new(),
            stores: Vec::new(),
            outlets: BTreeMap::new(),
            sized_like,
            topics: Vec::new(),
        }
    }

    /// What is known behind the only input of a node.
    fn before(&self, node: &Node) -> Result<Outlet<'l>, PlanError> {
        let from = node.kind.inputs().first();
        let from = from.ok_or_else(|| error(node, "has no input"))?;
        let outlet = self.outlets.get(from).cloned();
        outlet.ok_or_else(|| error(node, format!("cannot read from {from}")))
    }

    /// Adds an operator behind these.
    fn push(&mut self, node: &Node, work: Work, behind: &[Link]) -> OperatorId {
        let id = self.operators.len();
        self.operators.push(Operator {
            node: node.name.clone(),
            work,
            next: Vec::new(),
        });
        for link in behind {
            match *link {
                Link::Input(input) => self.inputs[input].next.push(id),
                Link::Operator(before) => self.operators[before].next.push(id),
                Link::Way(branch, way) => match &mut self.operators[branch].work {
                    Work::Branch { ways, .. } => ways[way].next = Some(id),
                    _ => unreachable!("ways are made for branches only"),
                },
            }
        }
        id
    }

    /// The records of a topic, read when all wanted fields are known.
    pub(super) fn add_source(&mut self, node: &'t Node, source: &Source) {
        let timestamp = source.timestamp.as_ref();
        self.inputs.push(Input {
            topics: source.topics.clone(),
            reader: Reader::Source(SourceReader {
                node: node.name.clone(),
                projection: Projection::default(),
                timestamp: timestamp.map(|path| self.layout.source_slot(&node.name, path)),
                key: match source.null_values {
                    NullValues::Refuse => None,
                    NullValues::Pass => self.key_field(node),
                },
                max_ahead_ms: source.max_ahead_ms,
                null_values: source.null_values,
                on_error: source.on_error,
            }),
            next: Vec::new(),
        });
        let outlet = Outlet {
            scope: Scope::of_source(self.layout, &node.name, &source.fields),
            links: vec![Link::Input(self.inputs.len() - 1)],
        };
        self.outlets.insert(&node.name, outlet);
    }

    /// Where the key goes of a record without a value.
    fn key_field(&self, node: &Node) -> Option<KeyField> {
        let path = self.graph.key_field(node)?;
        Some(KeyField {
            slot: self.layout.source_slot(&node.name, path),
            kind: self.graph.shape(node).type_of(path),
        })
    }

    /// The rows of a table that another sub-topology keeps.
    pub(super) fn add_rows(&mut self, node: &'t Node) {
        self.inputs.push(Input {
            topics: vec![self.graph.internal_topic(&node.name, "changelog")],
            reader: Reader::Rows(RowsReader {
                node: node.name.clone(),
                topic: RowsTopic::Changelog,
                wanted: WantedFields::default(),
                key: self.key_field(node),
            }),
            next: Vec::new(),
        });
        let fields = self.graph.shape(node).fields();
        let outlet = Outlet {
            scope: Scope::of_source(self.layout, &node.name, fields),
            links: vec![Link::Input(self.inputs.len() - 1)],
        };
        self.outlets.insert(&node.name, outlet);
    }

    /// The results of an aggregate that another sub-topology runs.
    pub(super) fn add_results(&mut self, node: &'t Node, aggregate: &Aggregate) {
        let topic = result_topic(aggregate);
        let suffix = match topic {
            ResultTopic::Changelog => "changelog",
            ResultTopic::Results => "results",
        };
        let types = result_types(aggregate);
        let by_types = vec![ValueType::Any; aggregate.by.len()];
        let (scope, slots) = results_scope(aggregate, self.layout, &by_types, &types);
        self.inputs.push(Input {
            topics: vec![self.graph.internal_topic(&node.name, suffix)],
            reader: Reader::Results(ResultReader {
                node: node.name.clone(),
                functions: functions(aggregate).collect(),
                windows: windows(aggregate),
                topic,
                emit: aggregate.emit,
                slots,
            }),
            next: Vec::new(),
        });
        let outlet = Outlet {
            scope,
            links: vec![Link::Input(self.inputs.len() - 1)],
        };
        self.outlets.insert(&node.name, outlet);
    }

    /// A node that keeps nothing.
    pub(super) fn add_stateless(&mut self, node: &'t Node) -> Result<(), PlanError> {
        match &node.kind {
            NodeKind::Merge(merge) => return self.add_merge(node, &merge.from),
            NodeKind::Branch(branch) => {
                let outlet = self.before(node)?;
                let work = stateless::branch(node, branch, &outlet)?;
                let id = self.push(node, work, &outlet.links);
                let links = (0..=branch.arms.len()).map(|way| Link::Way(id, way));
                let links = links.collect();
                self.outlets.insert(&node.name, Outlet { links, ..outlet });
            }
            kind => {
                let mut outlet = self.before(node)?;
                let work = stateless::work(node, &mut outlet)?;
                let behind = match kind {
                    NodeKind::Arm(arm) => std::slice::from_ref(&outlet.links[arm.number]),
                    _ => &outlet.links,
                };
                let id = self.push(node, work, behind);
                let links = vec![Link::Operator(id)];
                self.outlets.insert(&node.name, Outlet { links, ..outlet });
            }
        }
        Ok(())
    }

    /// One operator per input, which moves its fields to where those behind look for them; which
    /// fields that are is known at the end.
    fn add_merge(&mut self, node: &'t Node, from: &[NodeName]) -> Result<(), PlanError> {
        let mut links = Vec::new();
        let mut scopes = Vec::new();
        for input in from {
            let outlet = self.outlets.get(input).cloned();
            let outlet = outlet.ok_or_else(|| error(node, format!("cannot read from {input}")))?;
            let work = Work::Merge { moves: Vec::new() };
            links.push(Link::Operator(self.push(node, work, &outlet.links)));
            scopes.push(outlet.scope);
        }
        let outlet = Outlet {
            scope: Scope::of_merge(self.layout, &node.name, scopes),
            links,
        };
        self.outlets.insert(&node.name, outlet);
        Ok(())
    }

    /// A table whose input is partitioned by its key. Which fields of its rows are wanted is known at
    /// the end.
    pub(super) fn add_table(&mut self, node: &'t Node, table: &Table) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let computed = outlet.scope.names().to_vec();
        let scope = Scope::of_merge(self.layout, &node.name, vec![outlet.scope]);
        let slot = |path: &FieldPath| scope.find(path).map(|(slot, _)| (path.to_string(), slot));
        let computed = computed.iter().filter_map(slot).collect();
        let store = self.stores.len();
        let changelog =
            self.own_topic(node, "changelog", Purpose::Changelog { retention_ms: None });
        self.stores.push(StorePlan {
            name: node.name.to_string(),
            changelog,
            content: "rows".to_owned(),
        });
        let work = Work::Table(TablePlan {
            store,
            moves: Vec::new(),
            computed,
            wanted: WantedFields::default(),
            on_error: table.on_error,
        });
        let id = self.push(node, work, &outlet.links);
        let outlet = Outlet {
            scope,
            links: vec![Link::Operator(id)],
        };
        self.outlets.insert(&node.name, outlet);
        Ok(())
    }

    /// An aggregate whose input is partitioned by its key.
    pub(super) fn add_aggregate(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
    ) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let (shape, by_types) = fold_shape(node, aggregate, &outlet.scope, self.graph)?;
        let types = result_types(aggregate);
        self.add_store(node, aggregate, shape, &by_types, &types, &outlet.links);
        Ok(())
    }

    /// The side of an aggregate in front of its repartition topic.
    pub(super) fn add_near(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
        sized_like: Vec<String>,
    ) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let (shape, _) = fold_shape(node, aggregate, &outlet.scope, self.graph)?;
        let topic = self.graph.internal_topic(&node.name, "repartition");
        self.topics.push(InternalTopic {
            name: topic.clone(),
            purpose: Purpose::Repartition,
            sized_like,
        });
        let emit = match self.graph.is_held_until_close(node) {
            true => Emit::Close,
            false => aggregate.emit,
        };
        let work = Work::Fold(FoldPlan { shape, topic, emit });
        self.push(node, work, &outlet.links);
        Ok(())
    }

    /// The side of an aggregate behind its repartition topic. Partial results carry their key and
    /// accumulators; the expressions ran on the near side.
    pub(super) fn add_far(&mut self, node: &'t Node, aggregate: &Aggregate) {
        self.inputs.push(Input {
            topics: vec![self.graph.internal_topic(&node.name, "repartition")],
            reader: Reader::Partials,
            next: Vec::new(),
        });
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
        let links = [Link::Input(self.inputs.len() - 1)];
        self.add_store(node, aggregate, shape, &by_types, &types, &links);
    }

    fn add_store(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
        shape: FoldShape,
        by_types: &[ValueType],
        result_types: &[ValueType],
        behind: &[Link],
    ) {
        let least_ms = shape.windows.least_retention_ms();
        let retention_ms = aggregate
            .window
            .map(|window| window.retention_ms.map_or(least_ms, |ms| ms.max(least_ms)));
        let store = self.stores.len();
        let changelog = self.own_topic(node, "changelog", Purpose::Changelog { retention_ms });
        self.stores.push(StorePlan {
            name: node.name.to_string(),
            changelog,
            content: content(aggregate),
        });
        let writes_results = result_topic(aggregate) == ResultTopic::Results;
        let results_topic = (writes_results && self.graph.feeds_sql(node))
            .then(|| self.own_topic(node, "results", Purpose::Results));
        let (scope, slots) = results_scope(aggregate, self.layout, by_types, result_types);
        let work = Work::Aggregate(AggregatePlan {
            shape,
            store,
            emit: aggregate.emit,
            results_topic,
            slots,
            retention_ms,
            idle_close_ms: aggregate.window.and_then(|window| window.idle_close_ms),
        });
        let id = self.push(node, work, behind);
        let outlet = Outlet {
            scope,
            links: vec![Link::Operator(id)],
        };
        self.outlets.insert(&node.name, outlet);
    }

    pub(super) fn add_kafka(&mut self, node: &'t Node, sink: &KafkaSink) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let plan = kafka_plan(node, sink, &outlet.scope)?;
        self.push(node, Work::Kafka(plan), &outlet.links);
        Ok(())
    }

    pub(super) fn add_sql(
        &mut self,
        node: &'t Node,
        sink: &SqlSink,
        aggregates: &[&Aggregate],
    ) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let shape = self.graph.shape(node);
        let plan = sql_plan(node, sink, aggregates, &outlet.scope, shape)?;
        self.push(node, Work::Sql(plan), &outlet.links);
        Ok(())
    }

    fn own_topic(&mut self, node: &Node, suffix: &str, purpose: Purpose) -> String {
        let name = self.graph.internal_topic(&node.name, suffix);
        self.topics.push(InternalTopic {
            name: name.clone(),
            purpose,
            sized_like: self.sized_like.clone(),
        });
        name
    }

    /// The sub-topology and the internal topics that it needs.
    pub(super) fn finish(mut self, id: u32, name: &NodeName) -> (SubTopology, Vec<InternalTopic>) {
        self.add_progress(name);
        for input in &mut self.inputs {
            match &mut input.reader {
                Reader::Source(source) => {
                    let fields = self.layout.source_fields(&source.node);
                    source.projection =
                        Projection::new(fields.iter().map(|(path, slot)| (path, *slot)));
                }
                Reader::Rows(rows) => {
                    rows.wanted = WantedFields::new(&self.layout.source_fields(&rows.node));
                }
                Reader::Partials | Reader::Results(_) => {}
            }
        }
        self.fill_moves();
        let sub_topology = SubTopology {
            id,
            name: name.clone(),
            inputs: self.inputs,
            slots: self.layout.slots(),
            operators: self.operators,
            stores: self.stores,
            copies: Vec::new(),
        };
        (sub_topology, self.topics)
    }

    /// A fold keeps nothing, but its stream time must outlive a crash, or late rows would be taken
    /// after one.
    fn add_progress(&mut self, name: &NodeName) {
        let folds = |operator: &Operator| operator.work.is_fold();
        if self.stores.is_empty() && self.operators.iter().any(folds) {
            let node = self.graph.node(name);
            let changelog = self.own_topic(node, "progress", Purpose::Progress);
            self.stores.push(StorePlan {
                name: name.to_string(),
                changelog,
                content: String::new(),
            });
        }
    }

    /// What merges and tables move to where those behind them look for it, and what is read of kept
    /// rows.
    fn fill_moves(&mut self) {
        let mut inputs: BTreeMap<NodeName, usize> = BTreeMap::new();
        for operator in &mut self.operators {
            let node = &operator.node;
            match &mut operator.work {
                Work::Merge { moves } => {
                    let input = inputs.entry(node.clone()).or_default();
                    *moves = self.layout.copies(node, *input);
                    *input += 1;
                }
                Work::Table(table) => {
                    table.moves = self.layout.copies(node, 0);
                    table.wanted = WantedFields::new(&self.layout.merged_fields(node));
                }
                Work::Suppress(suppress) => {
                    suppress.wanted = WantedFields::new(&self.layout.merged_fields(node));
                }
                _ => {}
            }
        }
    }
}
