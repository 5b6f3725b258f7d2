//! T025: a field that has fields inside it is an object.

use super::{Context, Finding, Place, Rule, Severity};
use crate::value::ValueType;

pub(super) const RULE: Rule = Rule {
    code: "T025",
    severity: Severity::Error,
    title: "declared types contradict each other",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, source) in cx.readers() {
        let place = |path: &str| Place::node(number).key("fields").entry(path, 0);
        for (outer, kind) in &source.fields {
            if matches!(kind, ValueType::Map | ValueType::Any) {
                continue;
            }
            let prefix = format!("{outer}.");
            let inner = source
                .fields
                .iter()
                .find(|(path, _)| path.as_str().starts_with(&prefix));
            if let Some((inner, _)) = inner {
                let message =
                    format!("`{outer}` is declared {kind}, but has the field `{inner}` inside it");
                let help = format!("declare `{outer}` as `map`, or leave out one of the two");
                let finding = RULE.finding(place(outer.as_str()), message).help(help);
                out.push(finding.related(place(inner.as_str()).name(), "declared here"));
            }
        }
    }
}
