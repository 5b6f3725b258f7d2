//! A sub-topology under construction.

mod deduplicate;
mod process;
mod suppress;

use std::collections::BTreeMap;

use super::aggregates::{
    content, deletion, fold_shape, functions, result_topic, result_types, results_scope, windows,
};
use super::graph::Graph;
use super::joins;
use super::planner::{PlanError, error};
use super::scope::{Layout, Scope};
use super::sinks::{kafka_plan, sql_plan};
use super::stateless;
use super::suppress::replaces;
use super::{
    AggregatePlan, FoldPlan, FoldShape, Input, InternalTopic, KeyField, Lateness, Operator,
    OperatorId, Purpose, Reader, ResultReader, ResultTopic, Route, RowTopic, RowsReader, SendPlan,
    SourceReader, StorePlan, SubTopology, TablePlan, WantedFields, Work,
};
use crate::record::Projection;
use crate::topology::graph::{
    Aggregate, Emit, KafkaSink, Node, NodeKind, NodeName, NullValues, OnError, Source, SqlSink,
    Table,
};
use crate::value::{FieldPath, Slot, ValueType};

/// What a sub-topology has so far. Nodes are added after their inputs.
pub(super) struct Draft<'l, 't> {
    pub(super) graph: &'l Graph<'t>,
    pub(super) layout: &'l Layout,
    pub(super) inputs: Vec<Input>,
    pub(super) operators: Vec<Operator>,
    stores: Vec<StorePlan>,
    outlets: BTreeMap<&'t NodeName, Outlet<'l>>,
    /// What is known where moved records arrive, by the node that needs them and its input.
    arrivals: BTreeMap<(&'t NodeName, usize), Outlet<'l>>,
    /// What is filled in when all wanted fields are known.
    fillings: Vec<Filling>,
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
    pub(super) links: Vec<Link>,
}

#[derive(Clone, Copy)]
pub(super) enum Link {
    Input(usize),
    Operator(OperatorId),
    Way(OperatorId, usize),
}

/// What an operator is told at the end, when it is known which fields anybody asks for.
pub(super) enum Filling {
    /// What it moves to this place in the layout, of one of its inputs.
    Moves {
        operator: OperatorId,
        place: NodeName,
        input: usize,
    },
    /// What it reads of kept rows into that place.
    Wanted {
        operator: OperatorId,
        place: NodeName,
        prefixes: Vec<String>,
    },
    /// The same, where the rows have been kept in another sub-topology.
    WantedElsewhere {
        operator: OperatorId,
        place: NodeName,
        prefixes: Vec<String>,
    },
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
            arrivals: BTreeMap::new(),
            fillings: Vec::new(),
            sized_like,
            topics: Vec::new(),
        }
    }

    /// What is known behind the only input of a node.
    fn before(&self, node: &Node) -> Result<Outlet<'l>, PlanError> {
        self.before_input(node, 0)
    }

    /// What is known behind an input of a node; where its records are moved, as they arrive.
    pub(super) fn before_input(&self, node: &Node, input: usize) -> Result<Outlet<'l>, PlanError> {
        let from = node.kind.inputs().get(input);
        let from = from.ok_or_else(|| error(node, "has no input"))?;
        let arrival = self.arrivals.get(&(&node.name, input));
        let outlet = arrival.or_else(|| self.outlets.get(from)).cloned();
        outlet.ok_or_else(|| error(node, format!("cannot read from {from}")))
    }

    /// What is known behind a node that has been added.
    pub(super) fn set_outlet(&mut self, node: &'t Node, outlet: Outlet<'l>) {
        self.outlets.insert(&node.name, outlet);
    }

    /// Something that the last operators are told at the end.
    pub(super) fn fill(&mut self, filling: Filling) {
        self.fillings.push(filling);
    }

    /// Adds an operator behind these.
    pub(super) fn push(&mut self, node: &Node, work: Work, behind: &[Link]) -> OperatorId {
        self.push_as(node.name.clone(), work, behind)
    }

    /// Adds an operator that goes by another name than its node.
    pub(super) fn push_as(&mut self, name: NodeName, work: Work, behind: &[Link]) -> OperatorId {
        let id = self.operators.len();
        self.operators.push(Operator {
            node: name,
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

    /// The rows behind a node that another sub-topology runs: of a table from its changelog, of
    /// anything else from where they are sent for this.
    pub(super) fn add_rows(&mut self, node: &'t Node) {
        let (suffix, topic) = match &node.kind {
            NodeKind::Table(_) => ("changelog", RowTopic::Changelog),
            _ => ("results", RowTopic::Results),
        };
        let name = self.graph.internal_topic(&node.name, suffix);
        let outlet = self.read_rows(node, name, topic);
        self.outlets.insert(&node.name, outlet);
    }

    /// The moved records of an input of a node, where they arrive.
    pub(super) fn add_arrival(&mut self, node: &'t Node, input: usize) {
        let from = self.graph.node(&node.kind.inputs()[input]);
        let name = self.graph.repartition_topic(node, input);
        let outlet = self.read_rows(from, name, RowTopic::Repartition);
        self.arrivals.insert((&node.name, input), outlet);
    }

    /// The rows that leave a node, read from that topic.
    fn read_rows(&mut self, node: &Node, name: String, topic: RowTopic) -> Outlet<'l> {
        let shape = self.graph.shape(node);
        let replace = match (&node.kind, self.graph.suppressed(node)) {
            (NodeKind::Suppress(held), found) => {
                replaces(held, found.map(|(_, aggregate)| aggregate))
            }
            _ => shape.replace(),
        };
        self.inputs.push(Input {
            topics: vec![name],
            reader: Reader::Rows(RowsReader {
                node: node.name.clone(),
                topic,
                wanted: WantedFields::default(),
                key: self.key_field(node),
                replace,
            }),
            next: Vec::new(),
        });
        Outlet {
            scope: Scope::of_rows(self.layout, &node.name, shape),
            links: vec![Link::Input(self.inputs.len() - 1)],
        }
    }

    /// Sends the records of an input of a node to the partitions of their keys.
    pub(super) fn add_departure(
        &mut self,
        node: &'t Node,
        input: usize,
        sized_like: Vec<String>,
    ) -> Result<(), PlanError> {
        let from = &node.kind.inputs()[input];
        let outlet = self.outlets.get(from).cloned();
        let outlet = outlet.ok_or_else(|| error(node, format!("cannot read from {from}")))?;
        let topic = self.graph.repartition_topic(node, input);
        self.topics.push(InternalTopic {
            name: topic.clone(),
            purpose: Purpose::Repartition,
            sized_like,
        });
        let (on_error, tells_time) = match &node.kind {
            NodeKind::Join(join) => (join.on_error, join.within.is_some()),
            NodeKind::Table(table) => (table.on_error, false),
            NodeKind::Deduplicate(node) => (node.on_error, true),
            NodeKind::Process(process) => (process.on_error, true),
            _ => (OnError::default(), false),
        };
        let tells_time = tells_time || self.graph.leads_to_processor(node);
        let lateness = match &node.kind {
            NodeKind::Deduplicate(node) => Some(Lateness {
                grace_ms: node.grace_ms(),
                on_late: node.on_late,
            }),
            _ => None,
        };
        let work = Work::Send(SendPlan {
            computed: computed(&outlet.scope),
            topic,
            route: Route::ByKey,
            tells_time,
            lateness,
            on_error,
        });
        self.push(node, work, &outlet.links);
        Ok(())
    }

    /// Sends what leaves a node to a topic from which SQL sinks read it, if there are any.
    pub(super) fn add_results_topic(&mut self, node: &'t Node, on_error: OnError) {
        if self.graph.feeds_sql(node) {
            let outlet = self.outlets[&node.name].clone();
            let topic = self.own_topic(node, "results", Purpose::Results);
            let work = Work::Send(SendPlan {
                computed: computed(&outlet.scope),
                topic,
                route: Route::Same,
                tells_time: false,
                lateness: None,
                on_error,
            });
            self.push(node, work, &outlet.links);
        }
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
        for input in 0..from.len() {
            let outlet = self.before_input(node, input)?;
            let work = Work::Merge { moves: Vec::new() };
            let operator = self.push(node, work, &outlet.links);
            self.fill(Filling::Moves {
                operator,
                place: node.name.clone(),
                input,
            });
            links.push(Link::Operator(operator));
            scopes.push(outlet.scope);
        }
        let outlet = Outlet {
            scope: Scope::of_merge(self.layout, &node.name, scopes),
            links,
        };
        self.outlets.insert(&node.name, outlet);
        Ok(())
    }

    /// A table whose input is partitioned by its key.
    pub(super) fn add_table(&mut self, node: &'t Node, table: &Table) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let prefixes = self.graph.shape(node).prefixes();
        let outlet = self.keep_rows(&node.name, prefixes, table.on_error, &outlet);
        self.outlets.insert(&node.name, outlet);
        Ok(())
    }

    /// Keeps the last row of each key in a store of that name. Which fields of its rows are wanted is
    /// known at the end.
    pub(super) fn keep_rows(
        &mut self,
        name: &NodeName,
        prefixes: Vec<String>,
        on_error: OnError,
        outlet: &Outlet<'l>,
    ) -> Outlet<'l> {
        let scope = Scope::of_merge(self.layout, name, vec![outlet.scope.clone()]);
        let computed = computed(&scope);
        let store = self.add_row_store(name, None, "rows".to_owned());
        let work = Work::Table(TablePlan {
            store,
            moves: Vec::new(),
            computed,
            wanted: WantedFields::default(),
            on_error,
        });
        let operator = self.push_as(name.clone(), work, &outlet.links);
        self.fill(Filling::Moves {
            operator,
            place: name.clone(),
            input: 0,
        });
        self.fill(Filling::Wanted {
            operator,
            place: name.clone(),
            prefixes,
        });
        Outlet {
            scope,
            links: vec![Link::Operator(operator)],
        }
    }

    /// A store of rows.
    pub(super) fn add_row_store(
        &mut self,
        name: &NodeName,
        retention_ms: Option<i64>,
        content: String,
    ) -> usize {
        let changelog = self.own_topic_of(name, "changelog", Purpose::Changelog { retention_ms });
        self.stores.push(StorePlan {
            name: name.to_string(),
            changelog,
            content,
        });
        self.stores.len() - 1
    }

    /// An aggregate whose input is partitioned by its key.
    pub(super) fn add_aggregate(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
    ) -> Result<(), PlanError> {
        let outlet = self.before_fold(node, aggregate)?;
        let (shape, by_types) = fold_shape(node, aggregate, &outlet.scope, self.graph)?;
        let types = result_types(aggregate);
        self.add_store(node, aggregate, shape, &by_types, &types, &outlet.links)
    }

    /// What is known in front of an aggregate. Rows that replace one another and do not say which ones
    /// are kept there, in a store of the aggregate's.
    fn before_fold(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
    ) -> Result<Outlet<'l>, PlanError> {
        let outlet = self.before(node)?;
        if !self.graph.keeps_input(aggregate) {
            return Ok(outlet);
        }
        let name = NodeName::new(&format!("{}-input", node.name));
        let from = self.graph.node(&aggregate.from);
        let prefixes = self.graph.shape(from).prefixes();
        Ok(self.keep_rows(&name, prefixes, aggregate.on_error, &outlet))
    }

    /// The side of an aggregate in front of its repartition topic.
    pub(super) fn add_near(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
        sized_like: Vec<String>,
    ) -> Result<(), PlanError> {
        let outlet = self.before_fold(node, aggregate)?;
        let (shape, _) = fold_shape(node, aggregate, &outlet.scope, self.graph)?;
        let topic = self.graph.internal_topic(&node.name, "repartition");
        self.topics.push(InternalTopic {
            name: topic.clone(),
            purpose: Purpose::Repartition,
            sized_like,
        });
        let is_waited_for =
            self.graph.is_held_until_close(node) || self.graph.leads_to_processor(node);
        let emit = match is_waited_for {
            true => Emit::Close,
            false => aggregate.emit,
        };
        let work = Work::Fold(FoldPlan {
            shape,
            topic,
            emit,
            one_by_one: aggregate.delete_if.is_some(),
        });
        self.push(node, work, &outlet.links);
        Ok(())
    }

    /// The side of an aggregate behind its repartition topic. Partial results carry their key and
    /// accumulators; the expressions ran on the near side.
    pub(super) fn add_far(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
    ) -> Result<(), PlanError> {
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
        self.add_store(node, aggregate, shape, &by_types, &types, &links)
    }

    fn add_store(
        &mut self,
        node: &'t Node,
        aggregate: &Aggregate,
        shape: FoldShape,
        by_types: &[ValueType],
        result_types: &[ValueType],
        behind: &[Link],
    ) -> Result<(), PlanError> {
        let least_ms = shape.windows.least_retention_ms();
        let retention_ms = aggregate
            .window
            .map(|window| window.retention_ms.map_or(least_ms, |ms| ms.max(least_ms)));
        let store = self.stores.len();
        let changelog = self.own_topic(node, "changelog", Purpose::Changelog { retention_ms });
        let of_rows = self.graph.shape(self.graph.node(&aggregate.from)).replace();
        self.stores.push(StorePlan {
            name: node.name.to_string(),
            changelog,
            content: match of_rows {
                true => format!("{}; of rows that replace one another", content(aggregate)),
                false => content(aggregate),
            },
        });
        let writes_results = result_topic(aggregate) == ResultTopic::Results;
        let results_topic = (writes_results && self.graph.feeds_sql(node))
            .then(|| self.own_topic(node, "results", Purpose::Results));
        let (scope, slots) = results_scope(aggregate, self.layout, by_types, result_types);
        let work = Work::Aggregate(AggregatePlan {
            is_behind_repartition: matches!(behind, [Link::Input(input)] if self.reads_partials(*input)),
            shape,
            store,
            emit: aggregate.emit,
            results_topic,
            slots,
            deletion: deletion(node, aggregate)?,
            retention_ms,
            idle_close_ms: aggregate.window.and_then(|window| window.idle_close_ms),
        });
        let id = self.push(node, work, behind);
        let outlet = Outlet {
            scope,
            links: vec![Link::Operator(id)],
        };
        self.outlets.insert(&node.name, outlet);
        Ok(())
    }

    fn reads_partials(&self, input: usize) -> bool {
        matches!(self.inputs[input].reader, Reader::Partials)
    }

    pub(super) fn add_kafka(&mut self, node: &'t Node, sink: &KafkaSink) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let before = self.graph.shape(self.graph.node(&sink.from));
        let plan = kafka_plan(node, sink, &outlet.scope, before)?;
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

    pub(super) fn own_topic(&mut self, node: &Node, suffix: &str, purpose: Purpose) -> String {
        self.own_topic_of(&node.name, suffix, purpose)
    }

    fn own_topic_of(&mut self, name: &NodeName, suffix: &str, purpose: Purpose) -> String {
        let name = self.graph.internal_topic(name, suffix);
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
                    let fields = self.layout.source_fields(&rows.node);
                    let node = self.graph.node(&rows.node);
                    rows.wanted = WantedFields::new(&fields, &self.graph.shape(node).prefixes());
                }
                Reader::Partials | Reader::Results(_) | Reader::Foreign => {}
            }
        }
        self.fill_in();
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
        let has_time = |operator: &Operator| operator.work.has_stream_time();
        if self.stores.is_empty() && self.operators.iter().any(has_time) {
            let node = self.graph.node(name);
            let changelog = self.own_topic(node, "progress", Purpose::Progress);
            self.stores.push(StorePlan {
                name: name.to_string(),
                changelog,
                content: String::new(),
            });
        }
    }

    /// What operators move to where those behind them look for it, and read of kept rows.
    fn fill_in(&mut self) {
        for filling in &self.fillings {
            match filling {
                Filling::Moves {
                    operator,
                    place,
                    input,
                } => {
                    let copies = self.layout.copies(place, *input);
                    match &mut self.operators[*operator].work {
                        Work::Merge { moves } => *moves = copies,
                        Work::Table(table) => table.moves = copies,
                        Work::Join(join) => join.moves = copies,
                        Work::StreamJoin(join) => join.moves = copies,
                        Work::ForeignJoin(join) => join.moves = copies,
                        _ => unreachable!("no other operator moves fields"),
                    }
                }
                Filling::Wanted {
                    operator,
                    place,
                    prefixes,
                } => {
                    let fields = self.layout.merged_fields(place);
                    let fields = WantedFields::new(&fields, prefixes);
                    match &mut self.operators[*operator].work {
                        Work::Table(table) => table.wanted = fields,
                        Work::Suppress(suppress) => suppress.wanted = fields,
                        Work::Join(join) => join.wanted = fields,
                        Work::StreamJoin(join) => join.wanted = fields,
                        _ => unreachable!("no other operator reads kept rows"),
                    }
                }
                Filling::WantedElsewhere {
                    operator,
                    place,
                    prefixes,
                } => {
                    let fields = self.layout.source_fields(place);
                    match &mut self.operators[*operator].work {
                        Work::ForeignJoin(join) => {
                            join.wanted = WantedFields::new(&fields, prefixes)
                        }
                        _ => unreachable!("no other operator reads rows from elsewhere"),
                    }
                }
            }
        }
        joins::decide_what_keeps_events(&mut self.operators);
    }
}

/// The fields of rows that their events do not hold, or otherwise.
pub(super) fn computed(scope: &Scope<'_>) -> Vec<(String, Slot)> {
    let names = scope.names().iter();
    let slot = |path: &FieldPath| Some((path.to_string(), scope.find(path)?.0));
    names.filter_map(slot).collect()
}
