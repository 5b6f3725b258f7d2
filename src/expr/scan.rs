//! From text to tokens, with the common slips (`=` for `==`, an open quote, an open bracket) worded
//! better than a grammar can.

use std::ops::Range;

use super::error::ExprError;

/// Brackets within brackets, and `?:` within `?:`; the parser itself gives up at 96.
const MAX_DEPTH: usize = 48;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or a keyword.
    Name,
    /// A number.
    Number,
    /// A text or bytes in quotes.
    Quoted,
    /// A name in backticks.
    Escaped,
    /// An opening bracket; the index of its partner.
    Open {
        partner: usize,
        /// It opens the arguments of a call.
        call: bool,
    },
    /// A closing bracket; the index of its partner.
    Close { partner: usize },
    /// A comma.
    Comma,
    /// Any other mark.
    Operator,
}

/// The tokens of a text, each with its range.
///
/// # Errors
/// The first thing that no expression can contain, or that nests too deep.
pub(super) fn scan(text: &str) -> Result<Vec<(Token, Range<usize>)>, ExprError> {
    let mut scanner = Scanner {
        text,
        at: 0,
        tokens: Vec::new(),
        open: Vec::new(),
    };
    scanner.scan()?;
    Ok(scanner.tokens)
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<(Token, Range<usize>)>,
    /// Indices of the brackets (and of the `?`) that are still open.
    open: Vec<usize>,
}

impl Scanner<'_> {
    fn scan(&mut self) -> Result<(), ExprError> {
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\r' | '\n' | '\u{c}' => self.at += 1,
                '/' if self.rest().starts_with("//") => self.skip_comment(),
                '\'' | '"' => self.quoted(self.at, false)?,
                '`' => self.escaped()?,
                'a'..='z' | 'A'..='Z' | '_' => self.name()?,
                '0'..='9' => self.number(),
                '.' if self.rest()[1..].starts_with(is_digit) => self.number(),
                '(' | '[' | '{' => self.open()?,
                ')' | ']' | '}' => self.close()?,
                _ => self.operator(next)?,
            }
        }
        match self
            .open
            .iter()
            .rfind(|index| self.tokens[**index].0 != Token::Operator)
        {
            Some(&index) => Err(self.unclosed(index)),
            None => Ok(()),
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, token: Token, start: usize) {
        self.tokens.push((token, start..self.at));
    }

    fn skip_comment(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    fn name(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        self.at += self
            .rest()
            .find(|c| !is_part(c))
            .unwrap_or(self.rest().len());
        let name = &self.text[start..self.at];
        if self.rest().starts_with(['\'', '"']) {
            match name {
                "r" | "R" | "br" | "bR" | "Br" | "BR" => return self.quoted(start, true),
                "b" | "B" => return self.quoted(start, false),
                _ => {}
            }
        }
        self.push(Token::Name, start);
        Ok(())
    }

    fn number(&mut self) {
        let start = self.at;
        let is_hex = self.rest().starts_with("0x");
        let mut has_point = is_hex;
        let mut previous = '0';
        while let Some(next) = self.peek() {
            let is_sign = matches!(next, '+' | '-') && matches!(previous, 'e' | 'E') && !is_hex;
            let is_point = next == '.' && !has_point && self.rest()[1..].starts_with(is_digit);
            if !(next.is_ascii_alphanumeric() || is_sign || is_point) {
                break;
            }
            has_point |= is_point;
            previous = next;
            self.at += 1;
        }
        self.push(Token::Number, start);
    }

    /// A text whose first token byte is at `start` (a prefix such as `r` may precede the quote).
    fn quoted(&mut self, start: usize, raw: bool) -> Result<(), ExprError> {
        let quote = &self.rest()[..1];
        let triple = quote.repeat(3);
        let long = self.rest().starts_with(&triple);
        let end = if long { triple } else { quote.to_owned() };
        self.at += end.len();
        while !self.rest().starts_with(&end) {
            match self.peek() {
                None => return Err(self.unclosed_text(start, &end)),
                Some('\n' | '\r') if !long => return Err(self.unclosed_text(start, &end)),
                Some('\\') if !raw => self.escape()?,
                Some(other) => self.at += other.len_utf8(),
            }
        }
        self.at += end.len();
        self.push(Token::Quoted, start);
        Ok(())
    }

    fn unclosed_text(&self, start: usize, end: &str) -> ExprError {
        ExprError::new(start..self.at, "this text is not closed")
            .with_help(format!("close it with {end}"))
    }

    /// One escape sequence; at the backslash.
    fn escape(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        self.at += 1;
        let kind = self.peek();
        self.at += kind.map_or(0, char::len_utf8);
        let (digits, is_digit): (usize, fn(&char) -> bool) = match kind {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => {
                return Ok(());
            }
            Some('x' | 'X') => (2, char::is_ascii_hexdigit),
            Some('u') => (4, char::is_ascii_hexdigit),
            Some('U') => (8, char::is_ascii_hexdigit),
            Some('0'..='3') => (2, |c| matches!(c, '0'..='7')),
            _ => (usize::MAX, |_| false),
        };
        let found = self
            .rest()
            .chars()
            .take(digits)
            .take_while(is_digit)
            .count();
        if found == digits {
            self.at += digits;
            return Ok(());
        }
        Err(ExprError::new(
            start..self.at,
            format!("unknown escape `{}`", &self.text[start..self.at]),
        )
        .with_help("a backslash is written `\\\\`, or as it is in a raw text: r'\\d+'"))
    }

    fn escaped(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        match self.rest()[1..].find('`') {
            Some(length) if length > 0 => {
                self.at += length + 2;
                self.push(Token::Escaped, start);
                Ok(())
            }
            _ => Err(ExprError::new(start..start + 1, "this name is not closed")
                .with_help("a name in backticks ends with one: `b-c`")),
        }
    }

    fn open(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        let call = self.rest().starts_with('(')
            && matches!(self.tokens.last(), Some((Token::Name, name)) if self.text[name.clone()] != *"in");
        self.at += 1;
        self.push(
            Token::Open {
                partner: usize::MAX,
                call,
            },
            start,
        );
        self.nest()
    }

    fn nest(&mut self) -> Result<(), ExprError> {
        self.open.push(self.tokens.len() - 1);
        if self.open.len() > MAX_DEPTH {
            let message = format!("an expression nests at most {MAX_DEPTH} deep");
            return Err(ExprError::new(self.at - 1..self.at, message)
                .with_help("compute parts of it in a `map` node before"));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        let found = self.rest().as_bytes()[0];
        self.at += 1;
        while self
            .open
            .last()
            .is_some_and(|index| self.tokens[*index].0 == Token::Operator)
        {
            self.open.pop();
        }
        let Some(partner) = self.open.pop() else {
            return Err(ExprError::new(
                start..self.at,
                format!("unexpected `{}`: nothing is open", found as char),
            ));
        };
        let opened = self.text.as_bytes()[self.tokens[partner].1.start];
        if !matches!((opened, found), (b'(', b')') | (b'[', b']') | (b'{', b'}')) {
            return Err(self.unclosed(partner));
        }
        let this = self.tokens.len();
        if let Token::Open { partner, .. } = &mut self.tokens[partner].0 {
            *partner = this;
        }
        self.push(Token::Close { partner }, start);
        Ok(())
    }

    fn unclosed(&self, index: usize) -> ExprError {
        let range = self.tokens[index].1.clone();
        let message = format!("this `{}` is not closed", &self.text[range.clone()]);
        ExprError::new(range, message)
    }

    fn operator(&mut self, first: char) -> Result<(), ExprError> {
        let start = self.at;
        let two = self.rest().get(..2).unwrap_or_default();
        let length = match first {
            _ if matches!(two, "==" | "!=" | "<=" | ">=" | "&&" | "||") => 2,
            ',' | '<' | '>' | '+' | '-' | '*' | '/' | '%' | '!' | '?' | ':' | '.' => 1,
            _ => return Err(self.unexpected(first)),
        };
        self.at += length;
        if first == ',' {
            self.push(Token::Comma, start);
            return Ok(());
        }
        self.push(Token::Operator, start);
        // `a ? b : c ? d : e` is as deep as it has question marks; `a.?b` is not one.
        match first {
            '?' if !self.text[..start].ends_with(['.', '[']) => self.nest(),
            _ => Ok(()),
        }
    }

    fn unexpected(&self, found: char) -> ExprError {
        let error = ExprError::new(
            self.at..self.at + found.len_utf8(),
            format!("unexpected `{found}`"),
        );
        match found {
            '=' => error.with_help("`==` compares"),
            '&' => error.with_help("`&&` means and"),
            '|' => error.with_help("`||` means or"),
            '‘' | '’' | '“' | '”' => error.with_help("texts stand in plain quotes: 'text'"),
            other if other.is_alphabetic() || matches!(other, '@' | '$' | '#') => error.with_help(
                "names have letters a to z, digits and `_`, and stand in backticks if they have others: \
                 `größe`; texts stand in quotes: 'text'",
            ),
            _ => error,
        }
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match scan(text) {
            Ok(tokens) => tokens
                .iter()
                .map(|(_, range)| &text[range.clone()])
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("{:?} {error}", error.range),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_text_falls_into_its_tokens() {
        check("a.b == 'x' && !c", "a . b == 'x' && ! c");
        check("1 + 2.5e-3 - .5 * 0xFFu", "1 + 2.5e-3 - .5 * 0xFFu");
        check("1.e", "1 . e");
        check("1.2.3", "1.2 .3");
        check(
            r#"r'\d' + "\"" + '''a'b''' + b'\x00'"#,
            r#"r'\d' + "\"" + '''a'b''' + b'\x00'"#,
        );
        check("a // the rest ' is a remark\n+ b", "a + b");
        check("a.`b-c`", "a . `b-c`");
        check("'ü' + 'ß'", "'ü' + 'ß'");
    }

    #[test]
    fn common_slips_are_named_where_they_stand() {
        check("a = b", "2..3 unexpected `=` (`==` compares)");
        check("a & b", "2..3 unexpected `&` (`&&` means and)");
        check("a == 'b", "5..7 this text is not closed (close it with ')");
        check(
            "a == 'b\n'",
            "5..7 this text is not closed (close it with ')",
        );
        check(
            r"a.matches('\d')",
            r"11..13 unknown escape `\d` (a backslash is written `\\`, or as it is in a raw text: r'\d+')",
        );
        check("f(a", "1..2 this `(` is not closed");
        check("f(a]", "1..2 this `(` is not closed");
        check("f(a ? b", "1..2 this `(` is not closed");
        check("a)", "1..2 unexpected `)`: nothing is open");
        check(
            "größe > 1",
            "2..4 unexpected `ö` (names have letters a to z, digits and `_`, and stand in backticks if they have others: `größe`; texts stand in quotes: 'text')",
        );
    }
}
