//! A sub-topology under construction.

mod aggregate;
mod deduplicate;
mod global_join;
mod inputs;
mod process;
mod suppress;
mod table;

use std::collections::BTreeMap;

use super::aggregates::windows;
use super::graph::Graph;
use super::joins;
use super::planner::{PlanError, error};
use super::scope::{Layout, Scope};
use super::sinks::{kafka_plan, sql_plan};
use super::stateless;
use super::{
    Input, InternalTopic, Operator, OperatorId, Purpose, Reader, StorePlan, SubTopology,
    TimeSource, WantedFields, Work,
};
use crate::record::Projection;
use crate::topology::graph::{Aggregate, KafkaSink, Node, NodeKind, NodeName, OnError, SqlSink};
use crate::value::{FieldPath, Slot};

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
    /// By what time they are judged.
    pub(super) time: TimeSource,
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
    /// What it reads of the rows of a global table into that place.
    Row {
        operator: OperatorId,
        place: NodeName,
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

    /// A node behind which each update stands for itself. SQL sinks read all of them, and not what a
    /// compacted changelog has kept.
    pub(super) fn add_to_stream(&mut self, node: &'t Node) -> Result<(), PlanError> {
        self.add_stateless(node)?;
        self.add_results_topic(node, OnError::default());
        Ok(())
    }

    /// One operator per input, which moves its fields to where those behind look for them; which
    /// fields that are is known at the end.
    fn add_merge(&mut self, node: &'t Node, from: &[NodeName]) -> Result<(), PlanError> {
        let mut links = Vec::new();
        let mut scopes = Vec::new();
        let mut time = TimeSource::default();
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
            time = time.and(&outlet.time);
            scopes.push(outlet.scope);
        }
        let outlet = Outlet {
            scope: Scope::of_merge(self.layout, &node.name, scopes),
            links,
            time,
        };
        self.outlets.insert(&node.name, outlet);
        Ok(())
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
        let is_here = |node: &Node| {
            let mut operators = self.operators.iter();
            operators.any(|operator| operator.node == node.name)
        };
        let are_sent = self.operators.iter().any(|operator| match &operator.work {
            Work::Send(send) => send.passes_headers,
            _ => false,
        });
        for input in &mut self.inputs {
            let from = input.reader.node();
            let are_read = |from| self.graph.are_headers_read_behind(from, &is_here);
            let is_source = matches!(input.reader, Reader::Source(_));
            input.with_headers = is_source || are_sent || from.is_some_and(are_read);
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
            // Whoever plans it knows.
            group: String::new(),
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
                Filling::Row { operator, place } => {
                    let fields = self.layout.source_fields(place);
                    match &mut self.operators[*operator].work {
                        Work::GlobalJoin(join) => join.wanted = WantedFields::new(&fields, &[]),
                        _ => unreachable!("no other operator looks into global tables"),
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
        for input in &mut self.inputs {
            if let Reader::Source(source) = &mut input.reader {
                source.keeps_events = joins::are_events_kept(&self.operators, &input.next);
            }
        }
    }
}

/// The fields of rows that their events do not hold, or otherwise.
pub(super) fn computed(scope: &Scope<'_>) -> Vec<(String, Slot)> {
    let names = scope.names().iter();
    let slot = |path: &FieldPath| Some((path.to_string(), scope.find(path)?.0));
    names.filter_map(slot).collect()
}
