//! T107: a text or bytes are one value.

use super::{Context, Finding, Place, Rule, Severity};
use crate::format::Format;

pub(super) const RULE: Rule = Rule {
    code: "T107",
    severity: Severity::Error,
    title: "a text or bytes are not one field",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.kafka_sinks() {
        if !matches!(sink.format, Some(Format::Text | Format::Bytes)) {
            continue;
        }
        let is_event = sink.fields.is_empty() && cx.analysis.before[number].is_open();
        let is_joined = cx.analysis.before[number].is_joined();
        if sink.fields.len() == 1 || (is_event && !is_joined) {
            continue;
        }
        let message = format!("expected one field, found {}", sink.fields.len());
        let help = "name the expression that gives it: `fields: { value: title }`";
        let place = Place::node(number).key("fields");
        out.push(RULE.finding(place, message).help(help));
    }
}
