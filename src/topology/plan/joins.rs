//! What a join is planned as: a table for each side that is looked up, and an operator for each side
//! that looks.
//!
//! ```text
//!  stream ──────────────────▶ join (left) ──▶         left ──▶ table ──▶ join (left) ──▶
//!                                 │ looks up                     ▲  ╲       │
//!  right ──▶ table ◀──────────────┘                              │   ╲──────┼─ looks up
//!                                                     right ──▶ table ◀─────┘
//!                                                                 ╲──▶ join (right) ──▶
//! ```
//!
//! Two streams share one store, in which each finds the records of the other; the left side's operator
//! has it.
//!
//! A join by a foreign key has its sides in two places, see [`super::foreign`].
//!
//! A side that is a `table` node is looked up in the store of that; any other one gets a store of its
//! own, `<join>-left` or `<join>-right`. Rows of a global table are looked up where the process has them
//! (`draft/global_join.rs`).

use super::draft::{Draft, Filling, Link, Outlet, computed};
use super::planner::PlanError;
use super::scope::Scope;
use super::time::TimeSource;
use super::{Operator, OperatorId, WantedFields, Work, WrittenValue};
use crate::topology::duration::Millis;
use crate::topology::graph::{Join, JoinKind, JoinWindow, Node, NodeName, OnError, Side};
use crate::value::Slot;

/// One side of a join, where the other one is a table.
#[derive(Debug)]
pub struct JoinPlan {
    /// Which side the rows are on that come here.
    pub side: Side,
    /// Which keys have a result.
    pub kind: JoinKind,
    /// The fields of these rows: from where, if they have them, and to where.
    pub moves: Vec<(Option<Slot>, Slot)>,
    /// The table that has the other side's rows.
    pub other: OperatorId,
    /// What is read of those.
    pub wanted: WantedFields,
    /// What the paths of the right side's fields begin with behind the join, with the dot.
    pub prefix: String,
    /// Whether anybody behind it keeps or sends rows, with the events that they were made of.
    pub keeps_events: bool,
    /// When a record has no key or no value.
    pub on_error: OnError,
}

/// One side of a join of two streams.
#[derive(Debug)]
pub struct StreamJoinPlan {
    /// Which side the records are on that come here.
    pub side: Side,
    /// Which records have a result.
    pub kind: JoinKind,
    /// How near to each other they have to be.
    pub within: JoinWindow,
    /// The fields of these records: from where, if they have them, and to where.
    pub moves: Vec<(Option<Slot>, Slot)>,
    /// Those of them that their events do not hold, or otherwise.
    pub computed: Vec<(String, Slot)>,
    /// What is read of records of this side that are kept.
    pub wanted: WantedFields,
    /// The operators of both sides; the left one keeps the records of both.
    pub sides: [OperatorId; 2],
    /// Where those are kept.
    pub store: usize,
    /// Where those are kept that wait for another one, and have a result without it.
    pub waiting: Option<usize>,
    /// By what time records are let go.
    pub time: TimeSource,
    /// What the paths of the right side's fields begin with behind the join, with the dot.
    pub prefix: String,
    /// Whether anybody behind it keeps or sends rows, with the events that they were made of.
    pub keeps_events: bool,
    /// When a record has no key or no value.
    pub on_error: OnError,
}

/// A side of a join.
struct Half<'l> {
    /// What is seen of it behind the join.
    scope: Scope<'l>,
    /// Where its rows come from.
    links: Vec<Link>,
    /// By what time those are judged.
    time: TimeSource,
    /// The operator that keeps them; none for a stream.
    table: Option<OperatorId>,
    /// Where its fields are in the layout, if they have a place there of their own.
    place: Option<NodeName>,
}

/// What is seen behind a join, before that is put together.
pub(super) struct Joined<'l> {
    /// What is seen of the left side.
    pub(super) left: Scope<'l>,
    /// What is seen of the right side.
    pub(super) right: Scope<'l>,
    /// Where results come from.
    pub(super) links: Vec<Link>,
    /// By what time those are judged.
    pub(super) time: TimeSource,
}

impl<'l, 't> Draft<'l, 't> {
    /// A join whose inputs are partitioned by their keys.
    pub(super) fn add_join(&mut self, node: &'t Node, join: &Join) -> Result<(), PlanError> {
        let joined = match (self.graph.global_table(node), join.within, &join.on) {
            (Some(table), ..) => self.add_global_join(node, join, table)?,
            (None, Some(within), _) => self.add_stream_join(node, join, within)?,
            (None, None, Some(key)) => self.add_foreign_join(node, join, key)?,
            (None, None, None) => self.add_table_join(node, join)?,
        };
        let outlet = Outlet {
            scope: Scope::of_join(joined.left, &join.prefix, joined.right),
            links: joined.links,
            time: joined.time,
        };
        self.set_outlet(node, outlet);
        self.add_results_topic(node, join.on_error);
        Ok(())
    }

    /// A join with a table.
    fn add_table_join(&mut self, node: &'t Node, join: &Join) -> Result<Joined<'l>, PlanError> {
        let left = self.graph.node(join.input(Side::Left));
        let left = match self.graph.shape(left).replace() {
            true => self.table_half(node, join, Side::Left)?,
            false => {
                let Outlet { scope, links, time } = self.before_input(node, 0)?;
                Half {
                    scope,
                    links,
                    time,
                    table: None,
                    place: None,
                }
            }
        };
        let right = self.table_half(node, join, Side::Right)?;
        let mut links = vec![self.add_half(node, join, Side::Left, &left, &right)];
        let mut time = left.time.clone();
        if self.graph.brings_results(join, Side::Right as usize) {
            links.push(self.add_half(node, join, Side::Right, &right, &left));
            time = time.and(&right.time);
        }
        Ok(Joined {
            left: left.scope,
            right: right.scope,
            links,
            time,
        })
    }

    /// A join of two streams. The operator of the left side keeps the records of both.
    fn add_stream_join(
        &mut self,
        node: &'t Node,
        join: &Join,
        within: JoinWindow,
    ) -> Result<Joined<'l>, PlanError> {
        let content = format!(
            "{} join, before {}, after {}",
            join.kind.word(),
            Millis(within.before_ms),
            Millis(within.after_ms)
        );
        let store = self.add_row_store(&node.name, Some(within.kept_ms()), content.clone());
        let waits = Side::BOTH.into_iter().any(|side| join.kind.keeps(side));
        let waiting = waits.then(|| {
            let name = NodeName::new(&format!("{}-waiting", node.name));
            self.add_row_store(&name, None, content)
        });
        let first = self.operators.len();
        let mut scopes = Vec::new();
        let outlets = [
            self.before_input(node, Side::Left as usize)?,
            self.before_input(node, Side::Right as usize)?,
        ];
        let time = outlets[0].time.clone().and(&outlets[1].time);
        for (side, outlet) in Side::BOTH.into_iter().zip(outlets) {
            let place = place(node, side);
            let scope = Scope::of_merge(self.layout, &place, vec![outlet.scope]);
            let work = Work::StreamJoin(StreamJoinPlan {
                side,
                kind: join.kind,
                within,
                moves: Vec::new(),
                computed: computed(&scope),
                wanted: WantedFields::default(),
                sides: [first, first + 1],
                store,
                waiting,
                time: time.clone(),
                prefix: format!("{}.", join.prefix),
                keeps_events: false,
                on_error: join.on_error,
            });
            let operator = self.push(node, work, &outlet.links);
            let prefixes = self.prefixes(join, side);
            self.fill(Filling::Moves {
                operator,
                place: place.clone(),
                input: 0,
            });
            self.fill(Filling::Wanted {
                operator,
                place,
                prefixes,
            });
            scopes.push(scope);
        }
        let links = vec![Link::Operator(first), Link::Operator(first + 1)];
        let right = scopes.pop().expect("two sides");
        let left = scopes.pop().expect("two sides");
        // One without a match leaves when none can come for it any more.
        let kept = Side::BOTH.into_iter().filter(|side| join.kind.keeps(*side));
        let held = kept.map(|side| within.wait_ms(side)).max();
        Ok(Joined {
            left,
            right,
            links,
            time: match held {
                Some(held) => time.held_back(first, held),
                None => time,
            },
        })
    }

    /// A side whose rows are kept, and where.
    pub(super) fn kept_side(
        &mut self,
        node: &'t Node,
        join: &Join,
        side: Side,
    ) -> Result<(Outlet<'l>, OperatorId), PlanError> {
        let mut outlet = self.before_input(node, side as usize)?;
        let table = match self.kept_at(&outlet) {
            Some(table) => table,
            None => {
                let name = NodeName::new(&format!("{}-{}", node.name, side.word()));
                let prefixes = self.prefixes(join, side);
                outlet = self.keep_rows(&name, prefixes, join.on_error, &outlet);
                self.kept_at(&outlet).expect("just added")
            }
        };
        Ok((outlet, table))
    }

    /// A side whose rows are kept, seen from behind the join.
    fn table_half(
        &mut self,
        node: &'t Node,
        join: &Join,
        side: Side,
    ) -> Result<Half<'l>, PlanError> {
        let (outlet, table) = self.kept_side(node, join, side)?;
        let place = place(node, side);
        Ok(Half {
            scope: Scope::of_merge(self.layout, &place, vec![outlet.scope]),
            links: outlet.links,
            time: outlet.time,
            table: Some(table),
            place: Some(place),
        })
    }

    /// The table that keeps all rows that come from there.
    fn kept_at(&self, outlet: &Outlet<'l>) -> Option<OperatorId> {
        match outlet.links.as_slice() {
            [Link::Operator(only)] => {
                let is_table = matches!(self.operators[*only].work, Work::Table(_));
                is_table.then_some(*only)
            }
            _ => None,
        }
    }

    pub(super) fn prefixes(&self, join: &Join, side: Side) -> Vec<String> {
        let input = self.graph.node(join.input(side));
        self.graph.shape(input).prefixes()
    }

    /// The operator that gets the rows of a side and looks for the other one's.
    fn add_half(
        &mut self,
        node: &'t Node,
        join: &Join,
        side: Side,
        own: &Half<'l>,
        other: &Half<'l>,
    ) -> Link {
        let work = Work::Join(JoinPlan {
            side,
            kind: join.kind,
            moves: Vec::new(),
            other: other.table.expect("a stream is not looked up"),
            wanted: WantedFields::default(),
            prefix: format!("{}.", join.prefix),
            keeps_events: false,
            on_error: join.on_error,
        });
        let operator = self.push(node, work, &own.links);
        if let Some(place) = &own.place {
            self.fill(Filling::Moves {
                operator,
                place: place.clone(),
                input: 0,
            });
        }
        if let Some(place) = &other.place {
            let prefixes = self.prefixes(join, side.other());
            self.fill(Filling::Wanted {
                operator,
                place: place.clone(),
                prefixes,
            });
        }
        Link::Operator(operator)
    }
}

/// Where the fields of a side are in the layout. No node has a dot in its name but an arm, and that
/// one is no join.
pub(super) fn place(node: &Node, side: Side) -> NodeName {
    NodeName::new(&format!("{}.{}", node.name, side.word()))
}

/// Joins put the events of their rows together only where somebody behind them keeps or sends those.
pub(super) fn decide_what_keeps_events(operators: &mut [Operator]) {
    for at in (0..operators.len()).rev() {
        let keeps = keeps_events(operators, at);
        match &mut operators[at].work {
            Work::Join(join) => join.keeps_events = keeps,
            Work::GlobalJoin(join) => join.keeps_events = keeps,
            Work::StreamJoin(join) => join.keeps_events = keeps,
            Work::ForeignJoin(join) => join.keeps_events = keeps,
            _ => {}
        }
    }
}

/// Whether anybody behind an operator keeps or sends rows.
fn keeps_events(operators: &[Operator], at: OperatorId) -> bool {
    let ways = match &operators[at].work {
        Work::Branch { ways, .. } => ways.as_slice(),
        _ => &[],
    };
    let ways = ways.iter().filter_map(|way| way.next);
    let next: Vec<OperatorId> = operators[at].next.iter().copied().chain(ways).collect();
    are_events_kept(operators, &next)
}

/// Whether any of these operators, or anybody behind them, keeps or sends rows, or writes events as
/// something else than they came as.
pub(super) fn are_events_kept(operators: &[Operator], ids: &[OperatorId]) -> bool {
    ids.iter().any(|id| match &operators[*id].work {
        Work::Table(_) | Work::StreamJoin(_) | Work::Send(_) | Work::Suppress(_) => true,
        Work::Kafka(kafka) => matches!(kafka.value, WrittenValue::EventAsJson),
        Work::Aggregate(_) | Work::Fold(_) => false,
        _ => keeps_events(operators, *id),
    })
}
