//! T099: a foreign key leads from the rows of one table to those of another.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{JoinKind, Side};

pub(super) const RULE: Rule = Rule {
    code: "T099",
    severity: Severity::Error,
    title: "a foreign key where there are no two tables",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, join) in cx.joins() {
        let place = Place::node(number);
        let looks_up = cx.global_table(number, Side::Right as usize).is_some();
        if join.on.is_none() || looks_up {
            continue;
        }
        if join.within.is_some() {
            let message = "two streams are paired by their keys, and not by `on`".to_owned();
            let help = "take `on` away and put a `select_key` in front of the join, or `within`, to \
                        join two tables";
            out.push(RULE.finding(place.clone().key("on"), message).help(help));
            continue;
        }
        if join.kind == JoinKind::Outer {
            let message =
                "a right row that no left one leads to has no key for a result".to_owned();
            let help = "use `type: left`, or `inner`";
            out.push(RULE.finding(place.clone().key("type"), message).help(help));
        }
        let left = cx.analysis.inputs[number][Side::Left as usize];
        let is_stream =
            |left: &usize| cx.nodes[*left].kind.is_some() && !cx.analysis.after[*left].replace();
        if let Some(left) = left.filter(is_stream) {
            let name = cx.name(left);
            let message = format!("`{name}` is a stream, whose records find rows by their keys");
            let help = format!(
                "put a `select_key` behind `{name}`, with what `on` says as its `key`; or a `table`, \
                 to join two tables; or make the right side a `global_table`"
            );
            out.push(RULE.finding(place.key("on"), message).help(help));
        }
    }
}
