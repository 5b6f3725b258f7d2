//! T101: a schema has to be one.

use super::{Context, Finding, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T101",
    severity: Severity::Error,
    title: "a schema cannot be read",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, format) in cx.schema_formats() {
        let Some(schema) = &format.schema else {
            continue;
        };
        let Some(error) = schema.error() else {
            continue;
        };
        let (key, help) = match schema.file_name() {
            Some(_) => (
                "schema_file",
                "the file is looked for from where the topology file is",
            ),
            None if is_file_name(schema.text()) => (
                "schema",
                "for a file write `schema_file` in place of `schema`",
            ),
            None => ("schema", "a schema over several lines stands behind `|`"),
        };
        let (key, help) = match &format.message {
            Some(_) if error.contains("it has no message `") => ("message", "name one of them"),
            None if error.contains("it has several messages") => {
                ("message", "say which: `message: NAME`")
            }
            _ => (key, help),
        };
        let word = format.language.word();
        let message = format!("this is no schema for `format: {word}`: {error}");
        out.push(RULE.finding(place.key(key), message).help(help));
    }
}

fn is_file_name(text: &str) -> bool {
    let ends = [".avsc", ".proto", ".json"];
    !text.contains('\n') && ends.iter().any(|end| text.trim().ends_with(end))
}
