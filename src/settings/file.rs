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

use std::path::{Path, PathBuf};

use super::{Given, Origin, SettingsError};
use crate::config::document::{Content, Entry, Value};

/// Reads a settings file.
pub(super) fn read(path: &Path) -> Result<Vec<Given>, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Vec<Given>, SettingsError> {
    let file = File { text, path };
    let root = Value::parse(text).map_err(|error| SettingsError::Line {
        path: path.to_owned(),
        line: file.line(error.span.start),
        reason: error.message,
    })?;
    let mut given = Vec::new();
    match &root.content {
        Content::Null => {}
        Content::Map(entries) => file.flatten("", entries, &mut given)?,
        _ => return Err(file.wrong(&root, "expected `key: value` lines")),
    }
    Ok(given)
}

struct File<'t> {
    text: &'t str,
    path: &'t Path,
}

impl File<'_> {
    fn flatten(
        &self,
        prefix: &str,
        entries: &[Entry],
        given: &mut Vec<Given>,
    ) -> Result<(), SettingsError> {
        for entry in entries {
            let name = format!("{prefix}{}", entry.key);
            let line = self.line(entry.key_span.start);
            match &entry.value.content {
                Content::Map(inner) => self.flatten(&format!("{name}."), inner, given)?,
                Content::Scalar(value) => given.push(Given {
                    name,
                    value: value.clone(),
                    origin: Origin::File {
                        path: self.path.to_owned(),
                        line,
                    },
                }),
                Content::Null => {
                    return Err(self.wrong(&entry.value, format!("{name} has no value")));
                }
                Content::List(_) | Content::Broken => {
                    return Err(self.wrong(
                        &entry.value,
                        format!("{name}: expected one value, found a list"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn wrong(&self, value: &Value, reason: impl Into<String>) -> SettingsError {
        SettingsError::Line {
            path: PathBuf::from(self.path),
            line: self.line(value.span.start),
            reason: reason.into(),
        }
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
        let shown = match parse(text, Path::new("t.yaml")) {
            Ok(given) => given
                .iter()
                .map(|given| format!("{}={} ({})", given.name, given.value, given.origin))
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
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
        check("a: 1\nthreads:\n", "t.yaml:2: threads has no value");
        check("- threads", "t.yaml:1: expected `key: value` lines");
    }
}
