//! A processor of a user's in a sub-topology under construction.

use super::super::planner::compile;
use super::super::{GivenField, ProcessPlan, Work};
use super::{Draft, Link, Outlet, PlanError, Scope};
use crate::topology::graph::{Node, NodeName, Process};

/// What is kept of processors is theirs to understand.
const CONTENT: &str = "entries of processors";

impl<'t> Draft<'_, 't> {
    /// A processor whose records of one key, if it has stores, are together.
    pub(in super::super) fn add_process(
        &mut self,
        node: &'t Node,
        process: &Process,
    ) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let reads = process.reads.iter();
        let reads = reads.map(|(_, expression)| compile(node, expression, &outlet.scope));
        let reads = reads.collect::<Result<_, _>>()?;
        let stores = process.stores.iter();
        let stores = stores.map(|store| (store.name.to_string(), self.entry_store(&store.name)));
        let stores = stores.collect();
        let mut scope = match process.keeps_fields {
            true => outlet.scope,
            false => Scope::of_results(self.layout),
        };
        let gives = process.gives.iter().map(|(path, kind)| GivenField {
            name: path.to_string(),
            kind: *kind,
            slot: scope.add(path.clone(), *kind),
        });
        let work = Work::Process(ProcessPlan {
            supplier: process.supplier.clone(),
            names: process.reads.iter().map(|(name, _)| name.clone()).collect(),
            reads,
            gives: gives.collect(),
            keeps_fields: process.keeps_fields,
            stores,
            on_error: process.on_error,
        });
        let id = self.push(node, work, &outlet.links);
        let links = vec![Link::Operator(id)];
        let time = outlet.time.processed();
        self.set_outlet(node, Outlet { scope, links, time });
        self.add_results_topic(node, process.on_error);
        Ok(())
    }

    /// The number of a store, which another processor may have brought already.
    fn entry_store(&mut self, name: &NodeName) -> usize {
        let mut known = self.stores.iter();
        match known.position(|store| store.name == name.as_str()) {
            Some(number) => number,
            None => self.add_row_store(name, None, CONTENT.to_owned()),
        }
    }
}
