//! T108: while only a registry knows the schema, a sink behind events has to say what it writes.

use super::{Context, Finding, Place, Rule, Severity};
use crate::format::{Format, Language};

pub(super) const RULE: Rule = Rule {
    code: "T108",
    severity: Severity::Error,
    title: "a sink does not say which fields it writes",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.kafka_sinks() {
        let is_unknown = matches!(
            &sink.format,
            Some(Format::Schema(format)) if format.registry.is_some()
                && (format.schema.is_none() || format.language == Language::Json)
        );
        if is_unknown && sink.fields.is_empty() && cx.analysis.before[number].is_open() {
            let is_json = matches!(
                &sink.format,
                Some(Format::Schema(format)) if format.language == Language::Json
            );
            let (message, help) = match is_json {
                true => (
                    "a JSON schema does not tell which fields are written",
                    "name them: `fields: { wiki: wiki }`; to write records as they came, remove `format`",
                ),
                false => (
                    "only the registry knows which fields its schema has",
                    "name what is to be written, `fields: { wiki: wiki }`, or give the schema with \
                     `schema_file`; to write records as they came, remove `format`",
                ),
            };
            let place = Place::node(number).key("fields");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
