//! Settings files: YAML, a flat mapping.
//!
//! ```yaml
//! brokers: kafka-1:9092,kafka-2:9092
//! database_url_file: /run/secrets/database-url
//! kafka:
//!   security.protocol: sasl_ssl
//!   sasl.password_file: /run/secrets/kafka-password
//! ```
//!
//! Mappings within are joined with dots, so `kafka.linger.ms: 5` and `kafka: { linger.ms: 5 }` are
//! the same.

use std::path::Path;

use super::{Given, Origin, SettingsError};
use crate::config::document::{Content, Entry, Value};

/// Reads a settings file: what it gives, and what is wrong with the rest.
pub(super) fn read(path: &Path) -> (Vec<Given>, Vec<SettingsError>) {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) => {
            let error = SettingsError::File {
                path: path.to_owned(),
                reason: error.to_string(),
            };
            (Vec::new(), vec![error])
        }
    }
}

fn parse(text: &str, path: &Path) -> (Vec<Given>, Vec<SettingsError>) {
    let mut file = File {
        text,
        path,
        given: Vec::new(),
        errors: Vec::new(),
    };
    match Value::parse(text) {
        Err(error) => file.wrong(error.span.start, error.message),
        Ok(root) => match &root.content {
            Content::Null => {}
            Content::Map(entries) => file.flatten("", entries),
            _ => file.wrong(root.span.start, "expected `key: value` lines"),
        },
    }
    (file.given, file.errors)
}

struct File<'t> {
    text: &'t str,
    path: &'t Path,
    given: Vec<Given>,
    errors: Vec<SettingsError>,
}

impl File<'_> {
    fn flatten(&mut self, prefix: &str, entries: &[Entry]) {
        for entry in entries {
            let name = format!("{prefix}{}", entry.key);
            let (line, start) = (self.line(entry.key_span.start), entry.value.span.start);
            match &entry.value.content {
                Content::Map(inner) => self.flatten(&format!("{name}."), inner),
                Content::Scalar(value) => self.given.push(Given {
                    name,
                    value: value.clone(),
                    origin: Origin::File {
                        path: self.path.to_owned(),
                        line,
                    },
                }),
                Content::Null => self.wrong(start, format!("{name} has no value")),
                Content::List(_) | Content::Broken => {
                    self.wrong(start, format!("{name}: expected one value, found a list"));
                }
            }
        }
    }

    fn wrong(&mut self, byte: usize, reason: impl Into<String>) {
        self.errors.push(SettingsError::Line {
            path: self.path.to_owned(),
            line: self.line(byte),
            reason: reason.into(),
        });
    }

    fn line(&self, byte: usize) -> usize {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let (given, errors) = parse(text, Path::new("t.yaml"));
        let given = given
            .iter()
            .map(|given| format!("{}={} ({})", given.name, given.value, given.origin));
        let shown: Vec<_> = given
            .chain(errors.iter().map(ToString::to_string))
            .collect();
        assert_eq!(shown.join("\n"), expected);
    }

    #[test]
    fn mappings_are_joined_with_dots_and_numbers_keep_their_spelling() {
        check(
            "threads: 2\nkafka:\n  sasl.password: 0123\n  linger.ms: 5\nkafka.debug: all\n",
            "threads=2 (t.yaml:1)\nkafka.sasl.password=0123 (t.yaml:3)\n\
             kafka.linger.ms=5 (t.yaml:4)\nkafka.debug=all (t.yaml:5)",
        );
        check("# nothing\n", "");
    }

    #[test]
    fn what_is_not_a_setting_is_named_with_its_line() {
        check(
            "threads: [1, 2]",
            "t.yaml:1: threads: expected one value, found a list",
        );
        check(
            "threads:\na: 1\nkafka: { debug: [all] }\n",
            "a=1 (t.yaml:2)\nt.yaml:1: threads has no value\n\
             t.yaml:3: kafka.debug: expected one value, found a list",
        );
        check("- threads", "t.yaml:1: expected `key: value` lines");
    }
}
