//! T010: a source reads a topic, and so does a global table.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T010",
    severity: Severity::Error,
    title: "a source names no topic",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, source) in cx.readers() {
        if source.topics.is_empty() {
            let word = cx.nodes[number]
                .kind
                .as_ref()
                .map_or("node", NodeKind::word);
            let message = format!("the {word} `{}` names no topic", cx.name(number));
            let help = "add `topic: …`, or `topics: […]` for several of the same shape";
            out.push(
                RULE.finding(Place::node(number).key("topics"), message)
                    .help(help),
            );
        }
    }
}
