//! T100: what a schema explains means nothing without one.

use super::{Context, Finding, Rule, Severity};
use crate::format::Language;

pub(super) const RULE: Rule = Rule {
    code: "T100",
    severity: Severity::Error,
    title: "a format has no schema",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, format) in cx.schema_formats() {
        if format.schema.is_none() && format.registry.is_none() {
            let word = format.language.word();
            let message = format!("`format: {word}` says nothing about its schema");
            let file = match format.language {
                Language::Avro => "order.avsc",
                Language::Protobuf => "order.proto",
                Language::Json => "order.schema.json",
            };
            let help = format!(
                "give the file, `schema_file: {file}`, or where the schemas are that records name, \
                 `schema_registry: http://registry:8081`"
            );
            out.push(RULE.finding(place.key("format"), message).help(help));
        }
    }
}
