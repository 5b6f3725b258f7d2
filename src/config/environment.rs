//! References to the environment in the texts of a file: `${NAME}`, or `${NAME:-default}` for a
//! variable that may be unset or empty. `$${` stands for `${`.
//!
//! The environment is an argument, so that tests have their own.

use std::ops::Range;

/// Tells the value of a variable, if it is set.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A reference that cannot be replaced, with its bytes in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// The variable is not set, and there is no default.
    Undefined { name: String, range: Range<usize> },
    /// Not a reference: no closing brace, or not a name.
    Malformed { range: Range<usize> },
}

/// The text with its references replaced; none if it has no references.
///
/// # Errors
/// All references that cannot be replaced.
pub(super) fn expand(
    text: &str,
    environment: &Environment<'_>,
) -> Result<Option<String>, Vec<Unresolved>> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::new();
    let mut unresolved = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let start = text.len() - rest.len() + dollar;
        if rest[..dollar].ends_with('$') {
            out.push_str(&rest[..dollar - 1]);
            out.push_str("${");
            rest = &rest[dollar + 2..];
            continue;
        }
        out.push_str(&rest[..dollar]);
        let inside = &rest[dollar + 2..];
        let Some(length) = inside.find('}') else {
            unresolved.push(Unresolved::Malformed {
                range: start..text.len(),
            });
            return Err(unresolved);
        };
        let range = start..start + length + 3;
        match resolve(&inside[..length], environment) {
            Ok(value) => out.push_str(&value),
            Err(Some(name)) => unresolved.push(Unresolved::Undefined { name, range }),
            Err(None) => unresolved.push(Unresolved::Malformed { range }),
        }
        rest = &inside[length + 1..];
    }
    out.push_str(rest);
    if unresolved.is_empty() {
        Ok(Some(out))
    } else {
        Err(unresolved)
    }
}

/// The value of `NAME` or `NAME:-default`; the name if it has none, nothing if it is not a name.
fn resolve(reference: &str, environment: &Environment<'_>) -> Result<String, Option<String>> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(None);
    }
    match (environment(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Some(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "TOPIC" => Some("changes".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(
            expand(text, &environment),
            Ok(expected.map(str::to_owned)),
            "{text}"
        );
    }

    #[test]
    fn references_are_replaced_and_other_dollars_are_not() {
        check("plain", None);
        check("costs $5, {x}", None);
        check("${TOPIC}", Some("changes"));
        check("a.${TOPIC}.b ${TOPIC}", Some("a.changes.b changes"));
        check("${NONE:-default}", Some("default"));
        check("${TOPIC:-default}", Some("changes"));
        check("${EMPTY:-default}", Some("default"));
        check("${EMPTY}", Some(""));
        check("${NONE:-}", Some(""));
        check("$${TOPIC} ${TOPIC}", Some("${TOPIC} changes"));
    }

    #[test]
    fn every_reference_that_cannot_be_replaced_is_reported() {
        let undefined = |name: &str, range| Unresolved::Undefined {
            name: name.to_owned(),
            range,
        };
        assert_eq!(
            expand("${A} ${TOPIC} ${B}", &environment),
            Err(vec![undefined("A", 0..4), undefined("B", 14..18)])
        );
        for (text, range) in [
            ("x ${", 2..4),
            ("${TOPIC", 0..7),
            ("a${}b", 1..4),
            ("${a-b}", 0..6),
        ] {
            assert_eq!(
                expand(text, &environment),
                Err(vec![Unresolved::Malformed { range }]),
                "{text}"
            );
        }
    }
}
