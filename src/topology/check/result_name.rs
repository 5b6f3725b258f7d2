//! T050: the fields of a result have different names.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Aggregate, WINDOW_END, WINDOW_START};

pub(super) const RULE: Rule = Rule {
    code: "T050",
    severity: Severity::Error,
    title: "a result has the name of a key field or of the window",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        check_key(&Place::node(number).key("by"), aggregate, out);
        check_results(&Place::node(number), aggregate, out);
    }
}

/// Key fields against the window and, once their dots are gone, against each other.
fn check_key(by: &Place, aggregate: &Aggregate, out: &mut Vec<Finding>) {
    let names: Vec<_> = aggregate.key_fields().collect();
    for (item, name) in names.iter().enumerate() {
        let place = by.clone().item(item);
        if matches!(name.as_str(), WINDOW_START | WINDOW_END) {
            let message = format!("the key field `{name}` has the name of a field of the window");
            out.push(
                RULE.finding(place, message)
                    .help("rename it in a map before"),
            );
        } else if let Some(first) = names[..item].iter().position(|other| other == name) {
            let (a, b) = (&aggregate.by[first], &aggregate.by[item]);
            if a != b {
                let message = format!("`{a}` and `{b}` are both called `{name}` in the result");
                let finding = RULE
                    .finding(place, message)
                    .help("rename one of them in a map before");
                out.push(finding.related(by.clone().item(first), "the first one is here"));
            }
        }
    }
}

const RENAME: &str = "give the result another name";

fn check_results(node: &Place, aggregate: &Aggregate, out: &mut Vec<Finding>) {
    for (field, _) in &aggregate.set {
        let place = node.clone().key("set").entry(field.as_str(), 0).name();
        if matches!(field.as_str(), WINDOW_START | WINDOW_END) {
            let message = format!("`{field}` is the name of a field of the window");
            out.push(RULE.finding(place, message).help(RENAME));
        } else if let Some(item) = aggregate.key_fields().position(|name| name == *field) {
            let message = format!("`{field}` is the name of a key field");
            let finding = RULE.finding(place, message).help(RENAME);
            out.push(finding.related(node.clone().key("by").item(item), "the key field is here"));
        }
    }
}
