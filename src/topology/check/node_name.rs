//! T002: a node's name becomes a part of the names of stores, topics and ledger rows.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T002",
    severity: Severity::Error,
    title: "the name of a node cannot be used",
    check,
};

const LONGEST: usize = 60;

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, node) in cx.nodes.iter().enumerate() {
        match &node.kind {
            // Its name is made of two that are checked.
            Some(NodeKind::Arm(_)) => {}
            Some(NodeKind::Branch(branch)) => {
                let arms = Place::node(number).key("branches");
                for (arm, _) in &branch.arms {
                    out.extend(finding(arms.clone().entry(arm, 0).name(), arm, "a branch"));
                }
                let default = Place::node(number).key("default");
                let name = branch.default.iter();
                out.extend(name.filter_map(|arm| finding(default.clone(), arm, "a branch")));
                out.extend(finding(Place::node(number), node.name.as_str(), "a node"));
            }
            _ => out.extend(finding(Place::node(number), node.name.as_str(), "a node")),
        }
    }
}

fn finding(place: Place, name: &str, what: &str) -> Option<Finding> {
    let reason = reason(name)?;
    let message = format!("`{name}` cannot be the name of {what}: {reason}");
    let help = "use lower-case letters, digits and `_`, beginning with a letter";
    Some(RULE.finding(place, message).help(help))
}

/// Why a node, or a store, cannot have a name.
pub(super) fn reason(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".to_owned());
    }
    if name.len() > LONGEST {
        return Some(format!(
            "it has {} characters, {LONGEST} are allowed",
            name.len()
        ));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Some("it does not begin with a lower-case letter".to_owned());
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars()
        .find(|&c| !allowed(c))
        .map(|bad| format!("it contains {bad:?}"))
}
