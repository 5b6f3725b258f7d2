//! What the parser of the `cel` crate has against a text, worded for users.

use super::error::ExprError;
use super::outline::Outline;

/// The first of the parser's errors, worded for users; what follows it is mostly noise.
pub(super) fn syntax_error(
    text: &str,
    outline: &Outline<'_>,
    errors: &[cel::ParseError],
) -> ExprError {
    let by_grammar = errors
        .iter()
        .find(|error| error.msg.starts_with("Syntax error"));
    let Some(error) = by_grammar.or(errors.first()) else {
        return ExprError::new(0..text.len(), "this is no CEL expression");
    };
    let range = outline.token_at(byte_at(text, error.pos));
    let found = &text[range.clone()];
    if found.is_empty() {
        return ExprError::new(range, "expected more, found the end of the expression");
    }
    let message = match error.msg.split(':').next() {
        Some("invalid int literal") => format!("`{found}` does not fit a 64-bit whole number"),
        Some("invalid double literal") => format!("`{found}` does not fit a double"),
        Some("invalid string literal" | "invalid bytes literal") => {
            format!("{found} has an escape that stands for no character")
        }
        _ => format!("unexpected `{found}`"),
    };
    let before = outline.before(range.start).map(|(_, range)| &text[range]);
    let error = ExprError::new(range, message);
    match help_for(found, before) {
        Some(help) => error.with_help(help),
        None => error,
    }
}

fn help_for(found: &str, before: Option<&str>) -> Option<&'static str> {
    let before = before.unwrap_or_default();
    match (
        before.to_lowercase().as_str(),
        found.to_lowercase().as_str(),
    ) {
        ("case", _) | (_, "when" | "case") => Some("a choice is written `condition ? a : b`"),
        ("?", "?") => Some("`coalesce(a, b)` gives b where a is null or missing"),
        ("-", ">") => Some("a field inside another is written with a dot: `meta.id`"),
        (_, "as") => Some("`int(x)`, `double(x)`, `string(x)` turn a value into another type"),
        (_, "between") => Some("write `x >= a && x <= b`"),
        (_, "and") => Some("`&&` means and"),
        (_, "or") => Some("`||` means or"),
        ("not", _) | (_, "not") => Some("`!` means not"),
        ("<", ">") => Some("`!=` means different"),
        (_, "is") => Some("`==` compares; `has(x)` tells whether a field is there"),
        (_, "like") => Some("`x.contains('…')`, `x.startsWith('…')` or `x.matches(r'…')`"),
        ("if" | "then" | "else", _) | (_, "if" | "then" | "else") => {
            Some("a choice is written `condition ? a : b`")
        }
        _ => None,
    }
}

/// The byte of the parser's line and column, both from 1, the column in code points.
fn byte_at(text: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line - 1).unwrap_or(0);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let column = usize::try_from(column - 1).unwrap_or(0);
    let rest = text.get(start..).unwrap_or_default();
    start
        + rest
            .char_indices()
            .nth(column)
            .map_or(rest.len(), |(byte, _)| byte)
}
