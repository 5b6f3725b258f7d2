//! T070: the key of a written record is a text.

use super::{Context, Finding, Place, Rule, Severity};
use crate::value::ValueType;

pub(super) const RULE: Rule = Rule {
    code: "T070",
    severity: Severity::Error,
    title: "the key of a written record is no text",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.kafka_sinks() {
        let Some(key) = &sink.key else { continue };
        let place = Place::node(number).key("key");
        let found = cx.analysis.type_at(&place);
        if !matches!(found, ValueType::Str | ValueType::Any) {
            let text = key.text();
            let message = format!("a key must be a string, `{text}` is of type {found}");
            let help = match (key.field(), found) {
                (Some(field), ValueType::List | ValueType::Map) => format!("write `json({field})`"),
                (Some(field), _) => format!("write `string({field})`"),
                (None, _) => {
                    "make texts of its parts, as in `string(a) + '|' + string(b)`".to_owned()
                }
            };
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
