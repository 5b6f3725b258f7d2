//! T044: a grace is not negative.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::duration::Millis;
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T044",
    severity: Severity::Error,
    title: "a grace is negative",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        let grace_ms = aggregate.window.map_or(0, |window| window.grace_ms);
        if grace_ms < 0 {
            let message = format!("a grace cannot be negative, found {}", Millis(grace_ms));
            let help = "`0s` takes no record after the end of its window";
            let place = Place::node(number).key("window").key("grace");
            out.push(RULE.finding(place, message).help(help));
        }
    }
    for (number, kind) in cx.kinds() {
        if let NodeKind::Deduplicate(node) = kind
            && let Some(grace_ms) = node.grace_ms.filter(|ms| *ms < 0)
        {
            let message = format!("a grace cannot be negative, found {}", Millis(grace_ms));
            let help = "`0s` judges no record that is older than the newest one";
            let place = Place::node(number).key("grace");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
