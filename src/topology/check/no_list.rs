//! T054: a flat map goes through a list.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;
use crate::value::ValueType;

pub(super) const RULE: Rule = Rule {
    code: "T054",
    severity: Severity::Error,
    title: "`each` is no list",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::FlatMap(node) = kind else {
            continue;
        };
        let place = Place::node(number).key("each");
        let found = cx.analysis.type_at(&place);
        if !matches!(found, ValueType::List | ValueType::Any) {
            let text = node.each.text();
            let message = format!("`each` must be a list, `{text}` is of type {found}");
            let help = "name a field that holds a list, or make one: `[a, b]`, `range(n)`";
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
