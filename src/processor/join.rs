//! One side of a join at work: it looks for the row that the other side has, in the table of that.
//!
//! | left side | the other side | a row of this side gives |
//! | --- | --- | --- |
//! | a stream | a table | a record, with the row that the table has at that moment |
//! | a table | a table | the new pair in place of the old one, as far as there is one |

use bumpalo::Bump;

use super::joined::Events;
use super::rows::{decode_row, read_fields};
use super::run::{Parts, RowFault, drop_fault, move_fields, partly, pass_on};
use super::{Before, Context, DropReason, Kind, OperatorState, ProcessError, Row};
use crate::record::StoredRow;
use crate::time::Timestamp;
use crate::topology::graph::{JoinKind, Side};
use crate::topology::plan::{JoinPlan, OperatorId};
use crate::value::Value;

/// Joins a row with that of the other side and sends the result on.
pub(super) fn join_row<'a>(
    context: &mut Context<'_>,
    operators: &mut [OperatorState],
    id: OperatorId,
    plan: &JoinPlan,
    row: &mut Row<'_, 'a>,
) -> Result<(), ProcessError> {
    if let Some(fault) = unfit(plan, row) {
        return drop_fault(context, operators, id, plan.on_error, &fault, row);
    }
    let other = look_up(context, operators, plan, row)?;
    let sides = Sides {
        kind: plan.kind,
        own: plan.side,
        other: other.is_some(),
    };
    let verdict = match &row.before {
        Before::Stream => Verdict::of_record(sides),
        before => Verdict::of_update(
            sides,
            Own {
                now: !row.no_value,
                before: matches!(before, Before::Row(Some(_))),
            },
        ),
    };
    match verdict {
        Verdict::Nothing => {
            operators[id].counts.filtered += 1;
            Ok(())
        }
        Verdict::Pair { now, before } => {
            let pair = Pair {
                other: other.as_ref(),
                now,
                before,
            };
            pair.send(context, operators, id, plan, row)
        }
    }
}

/// What makes it impossible to join a record of a stream. Rows of tables have keys.
fn unfit(plan: &JoinPlan, row: &Row<'_, '_>) -> Option<RowFault> {
    if !matches!(row.before, Before::Stream) {
        return None;
    }
    let keeps_it = plan.kind.keeps(plan.side);
    match (row.key, row.no_value) {
        (_, true) => Some(RowFault::of(
            DropReason::NoValue,
            &"the record has no value to be joined",
        )),
        (None, false) if !keeps_it => Some(RowFault::null_key()),
        _ => None,
    }
}

/// The row of the other side.
fn look_up<'a>(
    context: &Context<'_>,
    operators: &mut [OperatorState],
    plan: &JoinPlan,
    row: &Row<'_, 'a>,
) -> Result<Option<StoredRow<'a>>, ProcessError> {
    let Some(key) = row.key else {
        return Ok(None);
    };
    let Kind::Table(table) = &mut operators[plan.other].kind else {
        unreachable!("the planner puts a table on the other side");
    };
    let node = &context.plan.operators[plan.other].node;
    let bytes = table.rows.get(context, key, row.arena)?;
    bytes
        .map(|bytes| decode_row(node, bytes, row.arena))
        .transpose()
}

/// What is known before a row is looked at.
#[derive(Clone, Copy)]
struct Sides {
    kind: JoinKind,
    /// The side that the row is on.
    own: Side,
    /// Whether the other one has a row.
    other: bool,
}

impl Sides {
    /// Whether the key has a result if the own side has a row or not.
    fn have_result(self, own: bool) -> bool {
        match (own, self.other) {
            (true, true) => true,
            (true, false) => self.kind.keeps(self.own),
            (false, true) => self.kind.keeps(self.own.other()),
            (false, false) => false,
        }
    }
}

/// Whether the own side has a row, and had one before.
#[derive(Clone, Copy)]
struct Own {
    now: bool,
    before: bool,
}

/// What a row of one side changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing is to be said.
    Nothing,
    /// Whether the key has a result now, and had one before.
    Pair { now: bool, before: bool },
}

impl Verdict {
    /// Of a record of a stream.
    fn of_record(sides: Sides) -> Verdict {
        match sides.have_result(true) {
            true => Verdict::Pair {
                now: true,
                before: false,
            },
            false => Verdict::Nothing,
        }
    }

    /// Of a row of a table. Like Kafka Streams it says that there is no result even where there was
    /// none before, as long as the other side has a row, or this side had one.
    fn of_update(sides: Sides, own: Own) -> Verdict {
        let is_silent = match sides.other {
            true => false,
            false => !sides.kind.keeps(sides.own) || !(own.now || own.before),
        };
        match is_silent {
            true => Verdict::Nothing,
            false => Verdict::Pair {
                now: sides.have_result(own.now),
                before: sides.have_result(own.before),
            },
        }
    }
}

/// A result on its way.
struct Pair<'r, 'a> {
    other: Option<&'r StoredRow<'a>>,
    /// Whether the key has a result now.
    now: bool,
    /// Whether it had one before.
    before: bool,
}

impl<'a> Pair<'_, 'a> {
    /// Sends it to whoever is behind the join, and leaves the row as it was.
    fn send(
        &self,
        context: &mut Context<'_>,
        operators: &mut [OperatorState],
        id: OperatorId,
        plan: &JoinPlan,
        row: &mut Row<'_, 'a>,
    ) -> Result<(), ProcessError> {
        move_fields(&plan.moves, row);
        if row.no_value {
            for (_, slot) in &plan.moves {
                row.set(*slot, Value::Missing);
            }
        }
        self.fill(plan, row.arena, row.fields);
        // The other side alone was the result before.
        let only_other = self.before && matches!(row.before, Before::Row(None));
        if only_other {
            let slots = context.plan.slots;
            let fields = row.arena.alloc_slice_fill_copy(slots, Value::Missing);
            row.before = Before::Row(Some(fields));
        }
        if let Before::Row(Some(fields)) = &mut row.before {
            self.fill(plan, row.arena, fields);
        }
        let own = (row.no_value, row.time, row.judged_by, row.event, row.joined);
        row.time = self.time(row);
        row.judged_by = row.judged_by.max(row.time);
        self.events(plan, row).give_to(row);
        row.no_value = !self.now;
        let parts = Parts {
            value: true,
            before: self.before,
        };
        let done = partly(parts, row, |row| pass_on(context, operators, id, row));
        (row.no_value, row.time, row.judged_by, row.event, row.joined) = own;
        if only_other {
            row.before = Before::Row(None);
        }
        done
    }

    /// Fills the fields of the other side.
    fn fill(&self, plan: &JoinPlan, arena: &'a Bump, fields: &mut [Value<'a>]) {
        match self.other {
            Some(stored) => read_fields(stored, &plan.wanted, arena, fields),
            None => {
                for (_, slot) in &plan.wanted.fields {
                    fields[slot.index()] = Value::Missing;
                }
            }
        }
    }

    /// A record of a stream keeps its time; a pair of rows is as new as the newer one.
    fn time(&self, row: &Row<'_, 'a>) -> Timestamp {
        match (&row.before, self.other) {
            (Before::Stream, _) | (_, None) => row.time,
            (_, Some(other)) => row.time.max(other.time()),
        }
    }

    /// The events of the pair.
    fn events(&self, plan: &JoinPlan, row: &Row<'_, 'a>) -> Events<'a> {
        let own = match row.no_value {
            true => Events::default(),
            false => Events::of_row(row),
        };
        let other = self.other.map_or_else(Events::default, |stored| {
            Events::of_kept(stored, plan.keeps_events, row.arena)
        });
        let prefix = plan.keeps_events.then_some(plan.prefix.as_str());
        Events::of_sides(plan.side, own, other, prefix, row.arena)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of a side, the other one of which has a row or not: what is said then.
    fn verdicts(kind: JoinKind, own: Side) -> String {
        let mut lines = String::new();
        for other in [false, true] {
            for (before, now) in [(false, false), (false, true), (true, true), (true, false)] {
                let verdict = Verdict::of_update(Sides { kind, own, other }, Own { now, before });
                let said = match verdict {
                    Verdict::Nothing => "nothing",
                    Verdict::Pair { now: true, .. } => "a pair",
                    Verdict::Pair { before: true, .. } => "a deletion",
                    Verdict::Pair { .. } => "a deletion of nothing",
                };
                let (other, before, now) = (shown(other), shown(before), shown(now));
                lines += &format!("{other} there, {before} -> {now}: {said}\n");
            }
        }
        lines
    }

    fn shown(is_there: bool) -> &'static str {
        match is_there {
            true => "row",
            false => "none",
        }
    }

    #[test]
    fn an_inner_join_is_silent_without_the_other_side() {
        expect_test::expect![[r#"
            none there, none -> none: nothing
            none there, none -> row: nothing
            none there, row -> row: nothing
            none there, row -> none: nothing
            row there, none -> none: a deletion of nothing
            row there, none -> row: a pair
            row there, row -> row: a pair
            row there, row -> none: a deletion
        "#]]
        .assert_eq(&verdicts(JoinKind::Inner, Side::Left));
    }

    #[test]
    fn a_left_join_speaks_of_what_the_left_side_has() {
        expect_test::expect![[r#"
            none there, none -> none: nothing
            none there, none -> row: a pair
            none there, row -> row: a pair
            none there, row -> none: a deletion
            row there, none -> none: a deletion of nothing
            row there, none -> row: a pair
            row there, row -> row: a pair
            row there, row -> none: a deletion
        "#]]
        .assert_eq(&verdicts(JoinKind::Left, Side::Left));
        expect_test::expect![[r#"
            none there, none -> none: nothing
            none there, none -> row: nothing
            none there, row -> row: nothing
            none there, row -> none: nothing
            row there, none -> none: a pair
            row there, none -> row: a pair
            row there, row -> row: a pair
            row there, row -> none: a pair
        "#]]
        .assert_eq(&verdicts(JoinKind::Left, Side::Right));
    }

    #[test]
    fn an_outer_join_speaks_of_what_either_side_has() {
        expect_test::expect![[r#"
            none there, none -> none: nothing
            none there, none -> row: a pair
            none there, row -> row: a pair
            none there, row -> none: a deletion
            row there, none -> none: a pair
            row there, none -> row: a pair
            row there, row -> row: a pair
            row there, row -> none: a pair
        "#]]
        .assert_eq(&verdicts(JoinKind::Outer, Side::Right));
    }
}
