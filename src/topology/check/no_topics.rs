//! T010: a source reads a topic.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T010",
    severity: Severity::Error,
    title: "a source names no topic",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, source) in cx.sources() {
        if source.topics.is_empty() {
            let message = format!("the source `{}` names no topic", cx.name(number));
            let help = "add `topic: …`, or `topics: […]` for several of the same shape";
            out.push(
                RULE.finding(Place::node(number).key("topics"), message)
                    .help(help),
            );
        }
    }
}
