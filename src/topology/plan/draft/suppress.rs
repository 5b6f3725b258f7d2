//! A suppress in a sub-topology under construction, and the rows of such nodes in that of a SQL sink.

use super::super::aggregates::content;
use super::super::suppress::{closes_after_end_ms, replaces};
use super::super::{
    Bounds, Input, OperatorId, Purpose, Reader, Release, ResultSlots, RowsReader, RowsTopic,
    StorePlan, SuppressPlan, WantedFields, Work,
};
use super::{Draft, Link, Outlet, PlanError, Scope, error, windows};
use crate::topology::graph::{Node, NodeKind, Suppress, Until};
use crate::value::{FieldPath, Slot};

impl<'t> Draft<'_, 't> {
    /// A suppress behind an aggregate of the same sub-topology. Which fields of its rows are wanted is
    /// known at the end.
    pub(in super::super) fn add_suppress(
        &mut self,
        node: &'t Node,
        suppress: &Suppress,
    ) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let found = self.graph.suppressed(node);
        let (origin, aggregate) = found.ok_or_else(|| error(node, "there is no aggregate"))?;
        let found = self.aggregate(origin);
        let (id, slots) = found.ok_or_else(|| error(node, "its aggregate runs elsewhere"))?;
        let (release, held_until) = match suppress.until {
            Until::Close => {
                let release = Release::Close {
                    aggregate: id,
                    after_end_ms: closes_after_end_ms(&windows(aggregate)),
                };
                (release, "until its window is closed")
            }
            Until::TimeLimit { ms } => (Release::TimeLimit { ms }, "for a time"),
        };
        let changelog = Purpose::Changelog { retention_ms: None };
        let changelog = self.own_topic(node, "changelog", changelog);
        let store = self.stores.len();
        self.stores.push(StorePlan {
            name: node.name.to_string(),
            changelog,
            content: format!("held {held_until}: {}", content(aggregate)),
        });
        let work = Work::Suppress(SuppressPlan {
            store,
            by: slots.by,
            window: slots.window,
            release,
            bounds: Bounds::of(suppress),
            held: computed(&outlet.scope),
            wanted: WantedFields::default(),
            replaces: replaces(suppress, aggregate),
            results_topic: self.results_topic(node),
        });
        let id = self.push(node, work, &outlet.links);
        let outlet = Outlet {
            scope: Scope::of_merge(self.layout, &node.name, vec![outlet.scope]),
            links: vec![Link::Operator(id)],
        };
        self.outlets.insert(&node.name, outlet);
        Ok(())
    }

    /// The operator of an aggregate, and where its results have their key and window.
    fn aggregate(&self, node: &Node) -> Option<(OperatorId, ResultSlots)> {
        let mut operators = self.operators.iter().enumerate();
        operators.find_map(|(id, operator)| match &operator.work {
            Work::Aggregate(plan) if operator.node == node.name => Some((id, plan.slots.clone())),
            _ => None,
        })
    }

    /// The topic for the SQL sinks behind a node, if there are any.
    pub(super) fn results_topic(&mut self, node: &Node) -> Option<String> {
        let is_read = self.graph.feeds_sql(node);
        is_read.then(|| self.own_topic(node, "results", Purpose::Results))
    }

    /// The rows of a node that another sub-topology runs and writes for SQL sinks.
    pub(in super::super) fn add_sent_rows(&mut self, node: &'t Node) {
        let shape = self.graph.shape(node);
        let replaces = match (&node.kind, self.graph.suppressed(node)) {
            (NodeKind::Suppress(suppress), Some((_, aggregate))) => replaces(suppress, aggregate),
            _ => false,
        };
        self.inputs.push(Input {
            topics: vec![self.graph.internal_topic(&node.name, "results")],
            reader: Reader::Rows(RowsReader {
                node: node.name.clone(),
                topic: RowsTopic::Results { replaces },
                wanted: WantedFields::default(),
                key: self.key_field(node),
            }),
            next: Vec::new(),
        });
        let scope = match shape.is_open() {
            true => Scope::of_source(self.layout, &node.name, shape.fields()),
            false => Scope::of_rows(self.layout, &node.name, shape.fields()),
        };
        let outlet = Outlet {
            scope,
            links: vec![Link::Input(self.inputs.len() - 1)],
        };
        self.outlets.insert(&node.name, outlet);
    }
}

/// The computed fields of a row, with their names.
pub(super) fn computed(scope: &Scope<'_>) -> Vec<(String, Slot)> {
    let slot = |path: &FieldPath| scope.find(path).map(|(slot, _)| (path.to_string(), slot));
    scope.names().iter().filter_map(slot).collect()
}
