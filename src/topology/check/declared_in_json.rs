//! T130: JSON has texts, numbers, bools, lists and objects.

use super::{Context, Finding, Place, Rule, Severity};
use crate::format::Format;
use crate::value::ValueType;

pub(super) const RULE: Rule = Rule {
    code: "T130",
    severity: Severity::Error,
    title: "a field is declared with a type that JSON does not have",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, source) in cx.readers() {
        if !matches!(source.format, Format::Json) {
            continue;
        }
        for (path, kind) in &source.fields {
            let help = match kind {
                ValueType::Time => format!(
                    "declare it as `string` (RFC 3339) or `int` (milliseconds); as the `timestamp` of \
                     the source it is read as a time, and expressions make one of it with \
                     `timestamp({path})`"
                ),
                ValueType::Duration => format!(
                    "declare it as `string`, and write `duration({path})` where a length of time is \
                     wanted"
                ),
                ValueType::Bytes => "declare it as `string`".to_owned(),
                _ => continue,
            };
            let message = format!("JSON has no {kind}: `{path}` is a text or a number there");
            let place = Place::node(number).key("fields").entry(path.as_str(), 0);
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
