//! T042: an aggregate has windows.

use super::{Context, Finding, Rule, Severity};
use crate::topology::builder::Problem;

pub(super) const RULE: Rule = Rule {
    code: "T042",
    severity: Severity::Error,
    title: "an aggregate says nothing about its windows",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, problem) in cx.problems {
        if let Problem::NoWindow = problem {
            let name = place.node.map_or("", |number| cx.name(number));
            let message = format!("`{name}` does not say how time is cut into windows");
            let help = "add `window: { tumbling: 1m }`, or `window: none` for one result per key over all time";
            out.push(RULE.finding(place.clone(), message).help(help));
        }
    }
}
