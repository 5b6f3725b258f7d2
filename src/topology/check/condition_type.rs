//! T032: a condition is true or false.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;
use crate::value::ValueType;

pub(super) const RULE: Rule = Rule {
    code: "T032",
    severity: Severity::Error,
    title: "a condition is neither true nor false",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        let NodeKind::Filter(filter) = kind else {
            continue;
        };
        let place = Place::node(number).key("where");
        let found = cx.analysis.type_at(&place);
        if !matches!(found, ValueType::Bool | ValueType::Any) {
            let text = filter.condition.text();
            let message = format!("a condition must be a bool, `{text}` is of type {found}");
            out.push(
                RULE.finding(place, message)
                    .help("compare it with something, as in `x > 0`"),
            );
        }
    }
}
