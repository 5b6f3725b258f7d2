//! T002: a node's name becomes a part of the names of stores, topics and ledger rows.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T002",
    severity: Severity::Error,
    title: "the name of a node cannot be used",
    check,
};

const LONGEST: usize = 60;

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, node) in cx.nodes.iter().enumerate() {
        let name = node.name.as_str();
        let Some(reason) = reason(name) else { continue };
        let message = format!("`{name}` cannot be the name of a node: {reason}");
        let help = "use lower-case letters, digits and `_`, beginning with a letter";
        out.push(RULE.finding(Place::node(number), message).help(help));
    }
}

fn reason(name: &str) -> Option<String> {
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
