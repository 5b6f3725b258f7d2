//! What a sub-topology under construction reads: sources, and what others have sent it. And what it
//! sends to others.

use super::super::aggregates::{functions, result_topic, result_types, results_scope, windows};
use super::super::suppress::replaces;
use super::super::{
    Input, InternalTopic, KeyField, Lateness, Purpose, Reader, ResultReader, ResultTopic, Route,
    RowTopic, RowsReader, SendPlan, SourceReader, TimeSource, WantedFields, Work,
};
use super::{Draft, Link, Outlet, PlanError, Scope, computed, error};
use crate::record::Projection;
use crate::topology::graph::{Aggregate, Node, NodeKind, NullValues, OnError, Source};
use crate::value::ValueType;

impl<'l, 't> Draft<'l, 't> {
    /// The records of a topic, read when all wanted fields are known.
    pub(in super::super) fn add_source(&mut self, node: &'t Node, source: &Source) {
        let timestamp = source.timestamp.as_ref();
        self.inputs.push(Input {
            topics: source.topics.clone(),
            reader: Reader::Source(SourceReader {
                node: node.name.clone(),
                format: source.format.clone(),
                keeps_events: false,
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
            with_headers: false,
            next: Vec::new(),
        });
        let input = self.inputs.len() - 1;
        let outlet = Outlet {
            scope: Scope::of_source(self.layout, &node.name, self.graph.shape(node).fields()),
            links: vec![Link::Input(input)],
            time: self.time_of_input(input),
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

    /// The rows behind a node that another sub-topology runs: of a table from its changelog, if nothing
    /// else is read; otherwise from where they are sent for this.
    pub(in super::super) fn add_rows(&mut self, node: &'t Node, is_alone: bool) {
        let (suffix, topic) = match &node.kind {
            NodeKind::Table(_) if is_alone => ("changelog", RowTopic::Changelog),
            _ => ("results", RowTopic::Results),
        };
        let name = self.graph.internal_topic(&node.name, suffix);
        let outlet = self.read_rows(node, name, topic, false);
        self.outlets.insert(&node.name, outlet);
    }

    /// The moved records of an input of a node, where they arrive.
    pub(in super::super) fn add_arrival(&mut self, node: &'t Node, input: usize) {
        let from = self.graph.node(&node.kind.inputs()[input]);
        let name = self.graph.repartition_topic(node, input);
        let brings_time = self.graph.time_need(node, input).is_some();
        let outlet = self.read_rows(from, name, RowTopic::Repartition, brings_time);
        self.arrivals.insert((&node.name, input), outlet);
    }

    /// The rows that leave a node, read from that topic.
    fn read_rows(
        &mut self,
        node: &Node,
        name: String,
        topic: RowTopic,
        brings_time: bool,
    ) -> Outlet<'l> {
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
                brings_time,
            }),
            with_headers: false,
            next: Vec::new(),
        });
        let input = self.inputs.len() - 1;
        Outlet {
            scope: Scope::of_rows(self.layout, &node.name, shape),
            links: vec![Link::Input(input)],
            time: self.time_of_input(input),
        }
    }

    /// Sends the records of an input of a node to the partitions of their keys.
    pub(in super::super) fn add_departure(
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
        let on_error = match &node.kind {
            NodeKind::Join(join) => join.on_error,
            NodeKind::Table(table) => table.on_error,
            NodeKind::Deduplicate(node) => node.on_error,
            NodeKind::Process(process) => process.on_error,
            _ => OnError::default(),
        };
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
            tells_time: self.graph.time_need(node, input),
            time: outlet.time,
            lateness,
            passes_headers: self.graph.reads_headers(node, &|_| true),
            on_error,
        });
        self.push(node, work, &outlet.links);
        Ok(())
    }

    /// Sends what leaves a node to a topic from which SQL sinks read it, if there are any.
    pub(in super::super) fn add_results_topic(&mut self, node: &'t Node, on_error: OnError) {
        if self.graph.feeds_sql(node) {
            self.send_results(node, on_error);
        }
    }

    /// Sends what leaves a node to a topic from which SQL sinks read it.
    pub(in super::super) fn send_results(&mut self, node: &'t Node, on_error: OnError) {
        let outlet = self.outlets[&node.name].clone();
        let topic = self.own_topic(node, "results", Purpose::Results);
        let work = Work::Send(SendPlan {
            computed: computed(&outlet.scope),
            topic,
            route: Route::Same,
            tells_time: None,
            time: TimeSource::default(),
            lateness: None,
            passes_headers: self.graph.are_headers_read_behind(&node.name, &|_| true),
            on_error,
        });
        self.push(node, work, &outlet.links);
    }

    /// The results of an aggregate that another sub-topology runs.
    pub(in super::super) fn add_results(&mut self, node: &'t Node, aggregate: &Aggregate) {
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
            with_headers: false,
            next: Vec::new(),
        });
        let outlet = Outlet {
            scope,
            links: vec![Link::Input(self.inputs.len() - 1)],
            time: TimeSource::default(),
        };
        self.outlets.insert(&node.name, outlet);
    }
}
