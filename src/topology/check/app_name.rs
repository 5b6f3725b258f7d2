//! T001: the application's name becomes the consumer group and the prefix of topics.

use super::{Context, Finding, Place, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T001",
    severity: Severity::Error,
    title: "the name of the application cannot be used",
    check,
};

/// With the name of a node and `-repartition` it must still fit into Kafka's 249.
const LONGEST: usize = 100;

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let name = cx.app.as_str();
    let reason = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > LONGEST {
        format!("it has {} characters, {LONGEST} are allowed", name.len())
    } else if name == "." || name == ".." {
        "Kafka does not allow it".to_owned()
    } else if let Some(bad) = name.chars().find(|&c| !is_allowed(c)) {
        format!("it contains {bad:?}")
    } else {
        return;
    };
    let message = format!("`{name}` cannot be the name of an application: {reason}");
    let help = "use letters, digits, `.`, `_` and `-`; the name prefixes groups and topics";
    out.push(RULE.finding(Place::topology("app"), message).help(help));
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}
