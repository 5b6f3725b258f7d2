//! A table in a sub-topology under construction, and whatever else keeps the last row of each key.

use super::super::{Purpose, StorePlan, TablePlan, WantedFields, Work};
use super::{Draft, Filling, Link, Outlet, PlanError, Scope, computed};
use crate::topology::graph::{Node, NodeName, OnError, Table};

impl<'l, 't> Draft<'l, 't> {
    /// A table whose input is partitioned by its key.
    pub(in super::super) fn add_table(
        &mut self,
        node: &'t Node,
        table: &Table,
    ) -> Result<(), PlanError> {
        let outlet = self.before(node)?;
        let prefixes = self.graph.shape(node).prefixes();
        let outlet = self.keep_rows(&node.name, prefixes, table.on_error, &outlet);
        self.outlets.insert(&node.name, outlet);
        if self.graph.feeds_sql_with_others(node) {
            self.send_results(node, table.on_error);
        }
        Ok(())
    }

    /// Keeps the last row of each key in a store of that name. Which fields of its rows are wanted is
    /// known at the end.
    pub(in super::super) fn keep_rows(
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
            time: outlet.time.clone(),
        }
    }

    /// A store of rows.
    pub(in super::super) fn add_row_store(
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
}
