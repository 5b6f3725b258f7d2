//! A deduplicate in a sub-topology under construction.

use super::super::planner::compile;
use super::super::{DeduplicatePlan, Work};
use super::{Draft, Link, Outlet, PlanError};
use crate::expr::Expression;
use crate::topology::duration::Millis;
use crate::topology::graph::{Deduplicate, Node};

impl<'t> Draft<'_, 't> {
    /// A deduplicate whose input is partitioned by its key.
    pub(in super::super) fn add_deduplicate(
        &mut self,
        node: &'t Node,
        deduplicate: &Deduplicate,
    ) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let by = deduplicate.by.iter();
        let by = by.map(|each| compile(node, each, &outlet.scope));
        let (within_ms, grace_ms) = (deduplicate.within_ms, deduplicate.grace_ms());
        // What has passed is asked for by records that are as late as they may be.
        let retention_ms = Some(within_ms.saturating_add(grace_ms));
        let store = self.add_row_store(&node.name, retention_ms, content(deduplicate));
        let partitioned_by = self.graph.key_of_duplicates(deduplicate);
        let partitioned_by = partitioned_by.and_then(|path| outlet.scope.find(path));
        let work = Work::Deduplicate(DeduplicatePlan {
            store,
            by: by.collect::<Result<_, _>>()?,
            partitioned_by: partitioned_by.map(|(slot, _)| slot),
            within_ms,
            grace_ms,
            time: outlet.time.clone(),
            on_duplicate: deduplicate.on_duplicate,
            on_late: deduplicate.on_late,
            on_error: deduplicate.on_error,
        });
        let id = self.push(node, work, &outlet.links);
        let links = vec![Link::Operator(id)];
        self.outlets.insert(&node.name, Outlet { links, ..outlet });
        self.add_results_topic(node, deduplicate.on_error);
        Ok(())
    }
}

/// What an entry of the store is. How late records may be may change.
fn content(deduplicate: &Deduplicate) -> String {
    let by: Vec<&str> = deduplicate.by.iter().map(Expression::text).collect();
    let by = match by.as_slice() {
        [] => "the key".to_owned(),
        by => by.join(", "),
    };
    format!("passed by {by} within {}", Millis(deduplicate.within_ms))
}
