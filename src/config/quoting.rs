//! Where the bytes of a YAML text stand in the file, despite quotes, escapes and indentation.

use std::ops::Range;

/// A character of the text and its bytes in the source.
struct Letter {
    c: char,
    at: Range<usize>,
}

/// The bytes of the source that stand for `range` of a scalar's text. `written` is the scalar as it
/// stands in the source, quotes included. None when the two do not correspond (replaced environment
/// references, escaped line breaks).
pub(super) fn locate(written: &str, text: &str, range: &Range<usize>) -> Option<Range<usize>> {
    let quoted = match written.chars().next()? {
        '\'' => single_quoted(written),
        '"' => double_quoted(written),
        _ => None,
    };
    let is_text = |letters: &Vec<Letter>| letters.iter().map(|letter| letter.c).eq(text.chars());
    let (letters, after) = match quoted.filter(is_text) {
        Some(letters) => (letters, written.len() - 1),
        None => (aligned(written, text)?, written.len()),
    };
    let mut byte = 0;
    let mut found: Option<Range<usize>> = None;
    for letter in letters {
        let is_inside = range.contains(&byte) || byte == range.start;
        if is_inside {
            let start = found.map_or(letter.at.start, |found| found.start);
            let is_part = byte < range.end;
            found = Some(start..if is_part { letter.at.end } else { start });
        }
        byte += letter.c.len_utf8();
    }
    Some(found.unwrap_or(after..after))
}

/// `'it''s'`
fn single_quoted(written: &str) -> Option<Vec<Letter>> {
    let inner = written.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut letters = Vec::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        let doubled = usize::from(c == '\'' && chars.next().is_some());
        let at = at + 1;
        letters.push(Letter {
            c,
            at: at..at + c.len_utf8() + doubled,
        });
    }
    Some(letters)
}

/// `"say \"x\""`
fn double_quoted(written: &str) -> Option<Vec<Letter>> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    let mut letters = Vec::new();
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        let at = inner.len() - rest.len() + 1;
        let (c, length) = match c {
            '\\' => escape(&rest[1..]).map(|(c, length)| (c, length + 1))?,
            c => (c, c.len_utf8()),
        };
        letters.push(Letter {
            c,
            at: at..at + length,
        });
        rest = &rest[length..];
    }
    Some(letters)
}

/// A text without quotes, perhaps over several lines: the source differs in white space only.
fn aligned(written: &str, text: &str) -> Option<Vec<Letter>> {
    let mut letters = Vec::new();
    let mut at = 0;
    for c in text.chars() {
        if !c.is_whitespace() {
            let rest = &written[at..];
            at += rest.len() - rest.trim_start().len();
        }
        let found = written[at..].chars().next();
        let length = match found {
            Some(found) if found == c || c.is_whitespace() && found.is_whitespace() => {
                found.len_utf8()
            }
            _ if c.is_whitespace() => 0,
            _ => return None,
        };
        letters.push(Letter {
            c,
            at: at..at + length,
        });
        at += length;
    }
    written[at..].trim().is_empty().then_some(letters)
}

/// The character that an escape stands for, and the length of the escape after its backslash.
fn escape(rest: &str) -> Option<(char, usize)> {
    let kind = rest.chars().next()?;
    let digits = match kind {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return Some((simple_escape(kind)?, kind.len_utf8())),
    };
    let code = u32::from_str_radix(rest.get(1..=digits)?, 16).ok()?;
    Some((char::from_u32(code)?, digits + 1))
}

fn simple_escape(kind: char) -> Option<char> {
    Some(match kind {
        '"' | '\\' | '/' | ' ' | '\t' => kind,
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        't' => '\t',
        'n' => '\n',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'r' => '\r',
        'e' => '\u{1b}',
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `part` of `text` stands for `expected` in the source.
    #[track_caller]
    fn check(written: &str, text: &str, part: &str, expected: Option<&str>) {
        let start = text.find(part).expect("a part of the text");
        let found = locate(written, text, &(start..start + part.len()));
        assert_eq!(found.map(|range| &written[range]), expected, "{written}");
    }

    #[test]
    fn a_part_of_a_text_is_found_in_the_source() {
        check("a + b", "a + b", "b", Some("b"));
        check("'a + b'", "a + b", "b", Some("b"));
        check("'x == ''é'' + b'", "x == 'é' + b", "'é'", Some("''é''"));
        check(
            r#""x == \"q\" + b""#,
            "x == \"q\" + b",
            "\"q\"",
            Some(r#"\"q\""#),
        );
        check(r#""\u00e9\t\x41 + b""#, "é\tA + b", "A", Some(r"\x41"));
        check(r#""\u00e9\t\x41 + b""#, "é\tA + b", "b", Some("b"));
    }

    #[test]
    fn a_part_of_a_text_over_several_lines_is_found_on_its_line() {
        check("a\n  b", "a b", "b", Some("b"));
        check(
            "'x' ==\n      y\n    && z",
            "'x' ==\n  y\n&& z\n",
            "y",
            Some("y"),
        );
        check(
            "'x' ==\n      y\n    && z",
            "'x' ==\n  y\n&& z\n",
            "z\n",
            Some("z"),
        );
    }

    #[test]
    fn what_does_not_correspond_is_not_found() {
        check("\"a\n  b\"", "a b", "b", None);
        check("'${X}'", "topic", "topic", None);
        check("${X}", "topic", "topic", None);
    }

    #[test]
    fn the_end_of_a_quoted_text_is_its_closing_quote() {
        assert_eq!(locate("'a +'", "a +", &(3..3)), Some(4..4));
    }
}
