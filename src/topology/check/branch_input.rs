//! T053: nodes read from the arms of a branch.

use super::{Context, Finding, Rule, Severity};
use crate::topology::graph::{Branch, NodeKind};

pub(super) const RULE: Rule = Rule {
    code: "T053",
    severity: Severity::Error,
    title: "`from` names a branch and not one of its arms",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, kind) in cx.kinds() {
        if let NodeKind::Arm(_) = kind {
            continue;
        }
        for (item, input) in cx.analysis.inputs[number].iter().enumerate() {
            let Some(input) = input else { continue };
            let Some(NodeKind::Branch(branch)) = &cx.nodes[*input].kind else {
                continue;
            };
            let name = cx.name(*input);
            let message = format!("`{name}` sends its records several ways: say which one");
            let place = cx.input_place(number, item);
            out.push(RULE.finding(place, message).help(help(name, branch)));
        }
    }
}

fn help(name: &str, branch: &Branch) -> String {
    let arms = branch
        .arms
        .iter()
        .map(|(arm, _)| arm)
        .chain(&branch.default);
    let mut arms: Vec<String> = arms.map(|arm| format!("`{name}.{arm}`")).collect();
    // An arm that is named twice is another rule's finding.
    arms.dedup();
    format!("read from {}", arms.join(" or "))
}
