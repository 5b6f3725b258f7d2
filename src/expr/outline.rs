//! What can be seen in an expression's text before it is parsed: its tokens, and which brackets
//! belong together.
//!
//! It bounds size and depth, because the parser and everything after it recurse; and it gives nodes
//! their full ranges, since the parser tells the place of one token only.

use std::ops::Range;

use super::error::ExprError;
use super::scan::{Token, scan};

/// Longer texts are refused.
const MAX_BYTES: usize = 16 * 1024;
/// A chain such as `a + b + …` or `a.b.c…` is as deep a tree as it is long.
const MAX_OPERATORS: usize = 400;

/// Words that CEL reserves, but does not use.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "void",
    "while",
];

/// The tokens of a text that has no lexical mistakes.
pub(super) struct Outline<'t> {
    text: &'t str,
    tokens: Vec<(Token, Range<usize>)>,
}

impl<'t> Outline<'t> {
    /// Reads the tokens.
    ///
    /// # Errors
    /// The first thing that no expression can contain, or a limit that is exceeded.
    pub(super) fn of(text: &'t str) -> Result<Outline<'t>, ExprError> {
        if text.len() > MAX_BYTES {
            let message = format!(
                "an expression has at most {MAX_BYTES} bytes, found {}",
                text.len()
            );
            return Err(ExprError::new(0..text.len(), message));
        }
        let outline = Outline {
            text,
            tokens: scan(text)?,
        };
        outline.check_size()?;
        Ok(outline)
    }

    fn check_size(&self) -> Result<(), ExprError> {
        let Some(last) = self.tokens.last() else {
            let range = 0..self.text.len();
            return Err(ExprError::new(
                range,
                "expected an expression, found nothing",
            ));
        };
        let operators = (0..self.tokens.len())
            .filter(|index| self.is_operator(*index))
            .count();
        if operators > MAX_OPERATORS {
            let message =
                format!("an expression has at most {MAX_OPERATORS} operators, found {operators}");
            return Err(ExprError::new(0..last.1.end, message)
                .with_help("a long list of alternatives is shorter as `x in ['a', 'b', …]`"));
        }
        Ok(())
    }

    /// Whether the token makes the tree one deeper than what stands before it: marks, `in`, and
    /// the bracket of `a[0]`.
    fn is_operator(&self, index: usize) -> bool {
        let (token, range) = &self.tokens[index];
        let text = &self.text[range.clone()];
        match token {
            Token::Operator => true,
            Token::Name => text == "in",
            Token::Open { .. } if text == "[" => matches!(
                index.checked_sub(1).map(|before| &self.tokens[before]),
                Some((
                    Token::Name | Token::Escaped | Token::Close { .. } | Token::Quoted,
                    _
                ))
            ),
            _ => false,
        }
    }

    /// The text with names replaced by others of the same length that the parser lets pass.
    ///
    /// CEL reserves words for languages that embed it (`namespace`, `package`, `function`, …), and
    /// the parser refuses them as names. Tidemill does not use them, and records have such fields:
    /// every change in a wiki has a `namespace`. Names in backticks CEL knows behind a dot only, and
    /// only of some characters; records have others, and in front too.
    pub(super) fn with_plain_names(&self) -> String {
        let mut text = self.text.to_owned();
        let mut before = "";
        for (token, range) in &self.tokens {
            let written = &self.text[range.clone()];
            match token {
                Token::Escaped => text.replace_range(range.clone(), &"_".repeat(written.len())),
                // Behind a dot the parser lets them pass.
                Token::Name if before != "." && RESERVED.contains(&written) => {
                    text.replace_range(range.start..range.start + 1, "_");
                }
                _ => {}
            }
            before = written;
        }
        text
    }

    /// The name that stands there, without the backticks around it.
    pub(super) fn name_in(&self, token: Range<usize>) -> &'t str {
        self.text[token].trim_matches('`')
    }

    /// The range of the token that begins at byte `start`; the end of the text if there is none.
    pub(super) fn token_at(&self, start: usize) -> Range<usize> {
        match self.index_at(start) {
            Some(index) => self.tokens[index].1.clone(),
            None => self.text.len()..self.text.len(),
        }
    }

    /// The token before the one that begins at byte `start`.
    pub(super) fn before(&self, start: usize) -> Option<(Token, Range<usize>)> {
        let index = self
            .tokens
            .partition_point(|(_, range)| range.start < start);
        self.tokens.get(index.checked_sub(1)?).cloned()
    }

    /// The first token that begins at or after byte `end`.
    pub(super) fn after(&self, end: usize) -> Option<(Token, Range<usize>)> {
        self.tokens
            .get(self.tokens.partition_point(|(_, range)| range.start < end))
            .cloned()
    }

    /// The end of the bracket that is opened at byte `start`.
    pub(super) fn end_of_bracket(&self, start: usize) -> usize {
        match self.index_at(start).map(|index| self.tokens[index].0) {
            Some(Token::Open { partner, .. }) => self.tokens[partner].1.end,
            _ => self.token_at(start).end,
        }
    }

    /// `range` with the brackets that stand around nothing else: the `(a + b)` of `a + b`.
    pub(super) fn with_brackets(&self, mut range: Range<usize>) -> Range<usize> {
        while let Some((
            Token::Open {
                partner,
                call: false,
            },
            open,
        )) = self.before(range.start)
            && let Some((Token::Close { .. }, close)) = self.after(range.end)
            && self.tokens[partner].1 == close
            && self.text[open.clone()] == *"("
        {
            range = open.start..close.end;
        }
        range
    }

    /// When the whole text is one call `name(…)`: the name's range, and those of the arguments.
    pub(super) fn call(&self) -> Option<(Range<usize>, Vec<Range<usize>>)> {
        let [
            (Token::Name, name),
            (
                Token::Open {
                    partner,
                    call: true,
                },
                open,
            ),
            rest @ ..,
        ] = self.tokens.as_slice()
        else {
            return None;
        };
        let (_, close) = rest.last()?;
        if *partner + 1 != self.tokens.len() {
            return None;
        }
        if rest.len() == 1 {
            return Some((name.clone(), Vec::new()));
        }
        Some((
            name.clone(),
            self.split_at_commas(2..*partner, open.end, close.start),
        ))
    }

    /// The ranges between the outermost commas among the tokens of those indices.
    fn split_at_commas(
        &self,
        indices: Range<usize>,
        start: usize,
        end: usize,
    ) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut part_start = start;
        let mut index = indices.start;
        while index < indices.end {
            match self.tokens[index] {
                (Token::Open { partner, .. }, _) => index = partner,
                (Token::Comma, ref comma) => {
                    parts.push(self.trimmed(part_start..comma.start));
                    part_start = comma.end;
                }
                _ => {}
            }
            index += 1;
        }
        parts.push(self.trimmed(part_start..end));
        parts
    }

    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let part = &self.text[range.clone()];
        let start = range.start + (part.len() - part.trim_start().len());
        start..start + part.trim().len()
    }

    fn index_at(&self, start: usize) -> Option<usize> {
        self.tokens
            .binary_search_by_key(&start, |(_, range)| range.start)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_depth_are_bounded() {
        let error = |text: String| Outline::of(&text).err().map(|error| error.message);
        assert_eq!(
            error(" ".to_owned()).as_deref(),
            Some("expected an expression, found nothing")
        );
        assert_eq!(error("(".repeat(48) + "a" + &")".repeat(48)), None);
        assert_eq!(
            error("(".repeat(49) + "a" + &")".repeat(49)).as_deref(),
            Some("an expression nests at most 48 deep")
        );
        assert_eq!(
            error("a ? b : ".repeat(49) + "c").as_deref(),
            Some("an expression nests at most 48 deep")
        );
        assert_eq!(error("a + ".repeat(400) + "a"), None);
        assert_eq!(
            error("a + ".repeat(401) + "a").as_deref(),
            Some("an expression has at most 400 operators, found 401")
        );
        assert_eq!(error("a in ".repeat(400) + "a"), None);
        assert!(error("a in ".repeat(401) + "a").is_some());
        assert!(error("a".to_owned() + &"[0]".repeat(401)).is_some());
        assert!(error("a".to_owned() + &".b".repeat(401)).is_some());
        assert_eq!(
            error(format!("'{}'", "a".repeat(16 * 1024))).as_deref(),
            Some("an expression has at most 16384 bytes, found 16386")
        );
    }

    #[test]
    fn ternaries_beside_each_other_are_not_deep() {
        let list = vec!["(a ? 1 : 2)"; 100].join(", ");
        assert!(Outline::of(&format!("[{list}]")).is_ok());
    }

    #[test]
    fn a_range_takes_in_the_brackets_around_it() {
        let text = "f((a + b)) * ((c))";
        let outline = Outline::of(text).unwrap();
        assert_eq!(&text[outline.with_brackets(3..8)], "(a + b)");
        assert_eq!(&text[outline.with_brackets(15..16)], "((c))");
    }

    #[test]
    fn a_call_falls_into_its_name_and_arguments() {
        let parts = |text: &str| {
            let (name, arguments) = Outline::of(text).unwrap().call()?;
            let arguments = arguments.into_iter().map(|range| text[range].to_owned());
            Some((text[name].to_owned(), arguments.collect::<Vec<_>>()))
        };
        let call = |name: &str, arguments: &[&str]| {
            Some((
                name.to_owned(),
                arguments.iter().map(|a| (*a).to_owned()).collect(),
            ))
        };
        assert_eq!(parts("count()"), call("count", &[]));
        assert_eq!(
            parts(" top( 10 , f(a, b) )"),
            call("top", &["10", "f(a, b)"])
        );
        assert_eq!(
            parts("count_if(type in ['a', 'b'])"),
            call("count_if", &["type in ['a', 'b']"])
        );
        assert_eq!(parts("sum(a,)"), call("sum", &["a", ""]));
        assert_eq!(parts("sum(a) + 1"), None);
        assert_eq!(parts("sum"), None);
        assert_eq!(parts("a.sum(b)"), None);
    }
}
