//! T066: a key holds values that are equal or not, in the same way everywhere.

use super::{Context, Finding, Place, Rule, Severity};
use crate::value::{FieldPath, ValueType};

pub(super) const RULE: Rule = Rule {
    code: "T066",
    severity: Severity::Error,
    title: "a column of this type cannot be a part of a key",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.sql_sinks() {
        for (item, name) in sink.key.iter().enumerate() {
            let kind = cx.analysis.after[number].type_of(&FieldPath::new(name));
            if matches!(kind, ValueType::Float | ValueType::List | ValueType::Map) {
                let message =
                    format!("`{name}` is of type {kind}, which cannot be a part of a key");
                let help = match kind {
                    ValueType::Float => "make a text of it: `string(…)`",
                    _ => "make a text of it: `json(…)`",
                };
                let place = Place::node(number).key("key").item(item);
                out.push(RULE.finding(place, message).help(help));
            }
        }
    }
}
