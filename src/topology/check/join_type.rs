//! T085: a record of a stream is joined when it comes; nothing comes when a row of the table changes.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{JoinKind, Side};

pub(super) const RULE: Rule = Rule {
    code: "T085",
    severity: Severity::Error,
    title: "an outer join of a stream with a table",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, join) in cx.joins() {
        let Some(left) = cx.analysis.inputs[number][Side::Left as usize] else {
            continue;
        };
        if cx.global_table(number, Side::Right as usize).is_some() {
            // T121 has another way out.
            continue;
        }
        let is_stream = cx.nodes[left].kind.is_some() && !cx.analysis.after[left].replace();
        if join.kind == JoinKind::Outer && join.within.is_none() && is_stream {
            let name = cx.name(left);
            let message = format!(
                "`{name}` is a stream: each of its records finds the row that is there, and rows \
                 alone have no result"
            );
            let help = format!(
                "use `type: left`, or add a `table` node behind `{name}` to join two tables"
            );
            let place = Place::node(number).key("type");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
