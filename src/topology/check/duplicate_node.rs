//! T003: a name means one node.

use std::collections::HashMap;

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T003",
    severity: Severity::Error,
    title: "two nodes have the same name",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let mut first_of = HashMap::new();
    for (number, node) in cx.nodes.iter().enumerate() {
        // Their branch is said to be named twice, or to name one twice.
        if let Some(NodeKind::Arm(_)) = &node.kind {
            continue;
        }
        let first = *first_of.entry(&node.name).or_insert(number);
        if first != number {
            let message = format!("two nodes are called `{}`", node.name);
            let help = "give one of them another name";
            let finding = RULE.finding(Place::node(number), message).help(help);
            out.push(finding.related(Place::node(first), "the first one is here"));
        }
    }
}
