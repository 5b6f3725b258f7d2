//! T102: the schema says which fields there are.

use super::{Context, Finding, Place, Rule, Severity};
use crate::format::Format;

pub(super) const RULE: Rule = Rule {
    code: "T102",
    severity: Severity::Error,
    title: "fields are declared that the format tells",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, source) in cx.readers() {
        if source.fields.is_empty() || source.format.paths().is_none() {
            continue;
        }
        let message = match &source.format {
            Format::Schema(_) => "the schema says which fields there are, and of which types",
            _ => "a text or bytes are one field, `value`",
        };
        let place = Place::node(number).key("fields");
        out.push(RULE.finding(place, message).help("remove `fields`"));
    }
}
