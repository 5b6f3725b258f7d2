//! A suppress in a sub-topology under construction.

use super::super::aggregates::content;
use super::super::suppress::{closes_after_end_ms, replaces};
use super::super::{
    Bounds, Identity, OperatorId, Release, ResultSlots, SuppressPlan, TimeSource, WantedFields,
    Work,
};
use super::{Draft, Filling, Link, Outlet, PlanError, Scope, computed, error, windows};
use crate::topology::graph::{Node, OnError, Suppress, Until};

impl<'t> Draft<'_, 't> {
    /// A suppress behind an aggregate or a table of the same sub-topology. Which fields of its rows are wanted is
    /// known at the end.
    pub(in super::super) fn add_suppress(
        &mut self,
        node: &'t Node,
        suppress: &Suppress,
    ) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let (identity, release, content) = match self.graph.suppressed(node) {
            Some((origin, aggregate)) => {
                let found = self.aggregate(origin);
                let (id, slots) =
                    found.ok_or_else(|| error(node, "its aggregate runs elsewhere"))?;
                let identity = Identity::Result {
                    by: slots.by,
                    window: slots.window,
                };
                let after_end_ms = closes_after_end_ms(&windows(aggregate));
                let closing = Release::Close {
                    aggregate: id,
                    after_end_ms,
                    longest_ms: windows(aggregate).longest_ms(),
                };
                let release = release(suppress, Some(closing));
                (identity, release, content(aggregate))
            }
            None => (Identity::Key, release(suppress, None), "rows".to_owned()),
        };
        let release = release.ok_or_else(|| error(node, "there are no windows to be closed"))?;
        let held_until = match release {
            Release::Close { .. } => "until its window is closed",
            Release::TimeLimit { .. } => "for a time",
        };
        let held = format!("held {held_until}: {content}");
        let store = self.add_row_store(&node.name, None, held);
        let found = self.graph.suppressed(node);
        let work = Work::Suppress(SuppressPlan {
            store,
            identity,
            release,
            bounds: Bounds::of(suppress),
            held: computed(&outlet.scope),
            wanted: WantedFields::default(),
            replaces: replaces(suppress, found.map(|(_, aggregate)| aggregate)),
        });
        let id = self.push(node, work, &outlet.links);
        self.fill(Filling::Wanted {
            operator: id,
            place: node.name.clone(),
            prefixes: self.graph.shape(node).prefixes(),
        });
        let outlet = Outlet {
            scope: Scope::of_merge(self.layout, &node.name, vec![outlet.scope]),
            links: vec![Link::Operator(id)],
            time: TimeSource::released(id),
        };
        self.outlets.insert(&node.name, outlet);
        self.add_results_topic(node, OnError::default());
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
}

/// When rows leave; by the closing of windows only behind an aggregate, of which that is given.
fn release(suppress: &Suppress, closing: Option<Release>) -> Option<Release> {
    match suppress.until {
        Until::Close => closing,
        Until::TimeLimit { ms } => Some(Release::TimeLimit { ms }),
    }
}
