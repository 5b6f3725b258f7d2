//! What a join by a foreign key is planned as.
//!
//! ```text
//!  where left rows are                               where right rows are
//!
//!  left ──▶ table ──▶ foreign join ─── subscriptions ──▶ subscriptions ◀── table ◀── right
//!              ▲          │   ▲                               │
//!              └─ looks up┘   └─────────── answers ◀──────────┘
//!                         ▼
//!                      results
//! ```
//!
//! A left row subscribes to the right row of its foreign key, in the partition where that is. From
//! there it is answered: at once, and whenever the right row changes. An answer is joined to the left
//! row that there is when it comes; one for another foreign key than that row has now is out of date.
//! So all results of a left row come from one place, the last one last.

use super::draft::{Draft, Filling, Link};
use super::joins::{Joined, place};
use super::planner::{PlanError, compile};
use super::scope::Scope;
use super::time::TimeSource;
use super::{Input, OperatorId, Purpose, Reader, WantedFields, Work};
use crate::expr::{Evaluator, Expression};
use crate::topology::graph::{Join, JoinKind, Node, OnError, Side};
use crate::value::Slot;

/// The left side of a join by a foreign key.
#[derive(Debug)]
pub struct ForeignJoinPlan {
    /// Which keys have a result.
    pub kind: JoinKind,
    /// Gives the foreign key of a left row, as its table has it.
    pub key: Evaluator,
    /// The table of left rows, in front.
    pub table: OperatorId,
    /// The fields of left rows: from where, if they have them, and to where.
    pub moves: Vec<(Option<Slot>, Slot)>,
    /// What is read of right rows.
    pub wanted: WantedFields,
    /// Where subscriptions are sent.
    pub subscriptions: String,
    /// What the paths of the right side's fields begin with behind the join, with the dot.
    pub prefix: String,
    /// Whether anybody behind it keeps or sends rows, with the events that they were made of.
    pub keeps_events: bool,
    /// When no foreign key can be told.
    pub on_error: OnError,
}

/// The right side of a join by a foreign key.
#[derive(Debug)]
pub struct SubscriptionsPlan {
    /// Where subscriptions are kept.
    pub store: usize,
    /// The table of right rows, in front.
    pub table: OperatorId,
    /// Where answers are sent.
    pub answers: String,
}

impl<'l, 't> Draft<'l, 't> {
    /// The left side.
    pub(super) fn add_foreign_join(
        &mut self,
        node: &'t Node,
        join: &Join,
        key: &Expression,
    ) -> Result<Joined<'l>, PlanError> {
        let (outlet, table) = self.kept_side(node, join, Side::Left)?;
        let [left, right] = Side::BOTH.map(|side| place(node, side));
        let from = self.graph.node(join.input(Side::Right));
        let shape = self.graph.shape(from);
        let work = Work::ForeignJoin(ForeignJoinPlan {
            kind: join.kind,
            key: compile(node, key, &outlet.scope)?,
            table,
            moves: Vec::new(),
            wanted: WantedFields::default(),
            subscriptions: self.graph.internal_topic(&node.name, "subscriptions"),
            prefix: format!("{}.", join.prefix),
            keeps_events: false,
            on_error: join.on_error,
        });
        let answers = self.own_topic(node, "answers", Purpose::Repartition);
        let behind = [outlet.links, vec![self.add_input(answers, Reader::Foreign)]].concat();
        let operator = self.push(node, work, &behind);
        self.fill(Filling::Moves {
            operator,
            place: left.clone(),
            input: 0,
        });
        self.fill(Filling::WantedElsewhere {
            operator,
            place: right.clone(),
            prefixes: self.prefixes(join, Side::Right),
        });
        Ok(Joined {
            left: Scope::of_merge(self.layout, &left, vec![outlet.scope]),
            right: Scope::of_rows(self.layout, &right, shape),
            links: vec![Link::Operator(operator)],
            // Results come from wherever right rows are.
            time: TimeSource::default(),
        })
    }

    /// The right side.
    pub(super) fn add_subscriptions(
        &mut self,
        node: &'t Node,
        join: &Join,
    ) -> Result<(), PlanError> {
        let (outlet, table) = self.kept_side(node, join, Side::Right)?;
        let name = super::NodeName::new(&format!("{}-subscriptions", node.name));
        let store = self.add_row_store(&name, None, "subscriptions".to_owned());
        let subscriptions = self.own_topic(node, "subscriptions", Purpose::Repartition);
        let behind = [
            outlet.links,
            vec![self.add_input(subscriptions, Reader::Foreign)],
        ]
        .concat();
        let work = Work::Subscriptions(SubscriptionsPlan {
            store,
            table,
            answers: self.graph.internal_topic(&node.name, "answers"),
        });
        self.push(node, work, &behind);
        Ok(())
    }

    fn add_input(&mut self, topic: String, reader: Reader) -> Link {
        self.inputs.push(Input {
            topics: vec![topic],
            reader,
            with_headers: false,
            next: Vec::new(),
        });
        Link::Input(self.inputs.len() - 1)
    }
}
