//! Texts that a comma has cut: between `{` and `}` it ends a text. Of `{ n: distinct(a, b) }` YAML makes
//! the text `distinct(a` and a key `b)` without a value; that says nothing to a user, so it is found
//! before anything else looks at the pieces.

use super::document::{Content, Entry, Value};
use super::keys::Findings;
use super::problem::CUT_TEXT;

/// Reports the texts that are cut, and takes what is left of them for broken.
pub(super) fn find_all(value: &mut Value, source: &str, findings: &mut Findings) {
    match &mut value.content {
        Content::Null | Content::Scalar(_) | Content::Broken => {}
        Content::List(items) => {
            for item in items {
                find_all(item, source, findings);
            }
        }
        Content::Map(entries) => {
            find(entries, source, findings);
            for entry in entries {
                find_all(&mut entry.value, source, findings);
            }
        }
    }
}

fn find(entries: &mut Vec<Entry>, source: &str, findings: &mut Findings) {
    let mut at = 0;
    while at < entries.len() {
        let pieces = pieces_behind(&entries[at..], source);
        if pieces > 0 {
            let last = entries.drain(at + 1..=at + pieces).next_back();
            let last = last.expect("at least one piece");
            let first = &mut entries[at];
            let span = first.value.span.start..last.span().end;
            let text = &source[span.clone()];
            let quote = if text.contains('"') { '\'' } else { '"' };
            let diagnostic = CUT_TEXT
                .at(Some(span.clone()), "a comma cuts this text in two")
                .help(format!(
                    "between `{{` and `}}` it stands in quotes: `{}: {quote}{text}{quote}`",
                    first.key
                ));
            findings.diagnostics.push(diagnostic);
            first.value.content = Content::Broken;
        }
        at += 1;
    }
}

/// How many entries behind the first are pieces of its text: those up to the one that closes its
/// bracket, of which only the last may have a value, as in `f(a, b ? 1 : 2)`.
fn pieces_behind(entries: &[Entry], source: &str) -> usize {
    let [first, rest @ ..] = entries else {
        return 0;
    };
    let Content::Scalar(text) = &first.value.content else {
        return 0;
    };
    let is_quoted = source[first.value.span.clone()].starts_with(['"', '\'']);
    let mut open = open_brackets(text);
    if is_quoted || open <= 0 {
        return 0;
    }
    for (index, piece) in rest.iter().enumerate() {
        open += open_brackets(&piece.key);
        let has_value = match &piece.value.content {
            Content::Null => false,
            Content::Scalar(text) => {
                open += open_brackets(text);
                true
            }
            Content::Broken | Content::List(_) | Content::Map(_) => return 0,
        };
        if open <= 0 {
            return index + 1;
        }
        if has_value {
            return 0;
        }
    }
    0
}

/// How many more round brackets are opened than closed.
fn open_brackets(text: &str) -> isize {
    let count = |c: char| text.matches(c).count() as isize;
    count('(') - count(')')
}
