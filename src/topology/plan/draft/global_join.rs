//! A join with a global table in a sub-topology under construction.
//!
//! ```text
//!  stream ───▶ global join ───▶
//!                  ┊ looks up
//!  topic ┄┄▶ the table, in each process
//! ```
//!
//! The table is no input of the sub-topology: its records are in no partition of a task.

use super::super::joins::{Joined, place};
use super::super::planner::compile;
use super::super::scope::Scope;
use super::super::{GlobalJoinPlan, WantedFields, Work};
use super::{Draft, Filling, Link, Outlet, PlanError};
use crate::topology::graph::{GlobalTable, Join, Node, Side};

impl<'l, 't> Draft<'l, 't> {
    /// A join of a stream with a global table.
    pub(in super::super) fn add_global_join(
        &mut self,
        node: &'t Node,
        join: &Join,
        table: &GlobalTable,
    ) -> Result<Joined<'l>, PlanError> {
        let Outlet {
            scope: left,
            links,
            time,
        } = self.before_input(node, Side::Left as usize)?;
        let on = join.on.as_ref();
        let on = on.map(|on| compile(node, on, &left)).transpose()?;
        let work = Work::GlobalJoin(GlobalJoinPlan {
            table: join.input(Side::Right).clone(),
            kind: join.kind,
            on,
            wanted: WantedFields::default(),
            prefix: format!("{}.", join.prefix),
            keeps_events: false,
            on_error: join.on_error,
        });
        let operator = self.push(node, work, &links);
        // Each join has places of its own: a record may find two rows of one table.
        let place = place(node, Side::Right);
        let right = Scope::of_source(self.layout, &place, &table.source.fields);
        self.fill(Filling::Row { operator, place });
        Ok(Joined {
            left,
            right,
            links: vec![Link::Operator(operator)],
            time,
        })
    }
}
