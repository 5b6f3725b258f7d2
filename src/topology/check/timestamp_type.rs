//! T026: event time is read from a text or a number.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::shape::Shape;
use crate::value::ValueType;

pub(super) const RULE: Rule = Rule {
    code: "T026",
    severity: Severity::Error,
    title: "the field of the event time has a type that is no time",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, source) in cx.sources() {
        let Some(path) = &source.timestamp else {
            continue;
        };
        let kind = Shape::of_source(source).type_of(path);
        if !matches!(
            kind,
            ValueType::Any | ValueType::Str | ValueType::Int | ValueType::Time
        ) {
            let message = format!("`{path}` is declared {kind}, which tells no time");
            let help = "event time is an RFC 3339 text (string or timestamp) or milliseconds (int)";
            out.push(
                RULE.finding(Place::node(number).key("timestamp"), message)
                    .help(help),
            );
        }
    }
}
