//! T041: an aggregate has results.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T041",
    severity: Severity::Error,
    title: "an aggregate has no results",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        if aggregate.set.is_empty() && !cx.nodes[number].has_gaps {
            let message = format!("`{}` computes nothing", cx.name(number));
            let help = "add `set: { events: count() }`";
            out.push(
                RULE.finding(Place::node(number).key("set"), message)
                    .help(help),
            );
        }
    }
}
