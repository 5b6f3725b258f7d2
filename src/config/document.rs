//! A YAML text as a tree in which everything knows where it stands.
//!
//! Reading stops at the first error of syntax only; duplicate keys, wrong types and unknown names
//! are for the layers above, so that they can all be reported at once. Bytes count from the
//! beginning of the text.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_saphyr::{DuplicateKeyPolicy, Location, NonFiniteFloatPolicy, Spanned};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    /// Without the trailing white space of block texts; of lists and mappings, from the first to
    /// the last thing in them. Empty when nothing is written.
    pub span: Range<usize>,
    pub content: Content,
    /// The number or bool that YAML takes it for, where one is written. Most readers take the text.
    pub literal: Option<Json>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, number or bool. Which of them is for the reader to say: `1` can be an expression.
    Scalar(String),
    /// A text of which a mistake has been reported.
    Broken,
    /// `[a, b]`
    List(Vec<Value>),
    /// `{ a: b }`
    Map(Vec<Entry>),
}

/// A key and its value. A key may occur more than once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Value,
}

/// The text is not YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SyntaxError {
    pub message: String,
    pub span: Range<usize>,
}

impl SyntaxError {
    /// What to do about it, where a slip is recognised.
    pub fn help(&self, text: &str) -> Option<String> {
        let line_start = text[..self.span.start].rfind('\n').map_or(0, |at| at + 1);
        let before = &text[line_start..self.span.start];
        if before.ends_with('$')
            || before
                .rfind("${")
                .is_some_and(|at| !before[at..].contains('"'))
        {
            return Some(
                "between `{` and `}`, references to the environment stand in quotes".into(),
            );
        }
        let no_mapping = self.message.contains("mapping values are not allowed");
        let above = text[..line_start].lines().next_back().unwrap_or_default();
        if let (true, Some((key, value))) = (no_mapping, key_without_space(above.trim())) {
            return Some(format!(
                "behind the colon of a key there is a space: in the line above, write `{key}: {value}`"
            ));
        }
        let line = text[line_start..].lines().next().unwrap_or_default();
        let blank = line.len() - line.trim_start().len();
        let hints = [
            (
                no_mapping,
                "a text with `: ` in it stands in quotes; where it is a key, it is indented like the keys beside it",
            ),
            (
                self.message
                    .contains("block mapping, did not find expected key"),
                "the keys of one mapping begin in one column: this one is not in that of the keys above it",
            ),
            (
                self.message.contains("second YAML document"),
                "put it into a file of its own; `run` takes several files",
            ),
            (
                line[..blank].contains('\t'),
                "YAML is indented with spaces, not with tabs",
            ),
            (
                self.message.contains("unsupported tag"),
                "a text that begins with `!` stands in quotes: `where: \"!bot\"`",
            ),
            (
                self.message.contains("invalid trailing content after"),
                "a text that begins with a quote stands in others: `where: \"'a' in tags\"`",
            ),
            (
                self.message.contains("unknown anchor"),
                "a text that begins with `*` or `&` stands in quotes",
            ),
        ];
        let hint = hints.iter().find(|(applies, _)| *applies);
        hint.map(|(_, help)| (*help).to_owned())
    }
}

/// `topic:clicks`.
fn key_without_space(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let is_key = !key.is_empty() && key.chars().all(is_name);
    (is_key && !value.is_empty() && !value.starts_with([' ', '/'])).then_some((key, value))
}

impl Value {
    /// Reads a text.
    ///
    /// # Errors
    /// When it is not YAML, or goes beyond what a topology can need (depth, aliases).
    pub fn parse(text: &str) -> Result<Value, SyntaxError> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            strict_booleans: true,
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
            reject_unsupported_tags: true,
        };
        let tree: Spanned<Tree> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| syntax_error(text, &error))?;
        Lifter { text }.value(tree)
    }

    /// The value as JSON: numbers and bools as YAML takes them, everything else that is no list, mapping
    /// or nothing as text. Of a key that is given twice the last one counts.
    pub fn to_json(&self) -> Json {
        match &self.content {
            Content::Null | Content::Broken => Json::Null,
            Content::Scalar(text) => match &self.literal {
                Some(literal) => literal.clone(),
                None => Json::from(text.as_str()),
            },
            Content::List(items) => items.iter().map(Value::to_json).collect(),
            Content::Map(entries) => {
                let pairs = entries.iter();
                let pairs = pairs.map(|entry| (entry.key.clone(), entry.value.to_json()));
                Json::Object(pairs.collect())
            }
        }
    }

    /// What it is, for messages: `a list`.
    pub fn kind(&self) -> &'static str {
        match &self.content {
            Content::Null => "nothing",
            Content::Scalar(_) | Content::Broken => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}

/// The tree as the YAML library gives it.
enum Tree {
    Null,
    Text(String),
    /// A number or bool: its spelling is in the source. None for one that JSON does not have.
    Literal(Option<Json>),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<Tree>, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Literal(Some(value.into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Literal(Some(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(fraction(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Literal(Some(value.into())))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Tree, E> {
        Ok(fraction(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(fraction(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}

fn fraction(value: f64) -> Tree {
    Tree::Literal(serde_json::Number::from_f64(value).map(Json::Number))
}

/// Turns locations into spans, and keys into texts.
struct Lifter<'t> {
    text: &'t str,
}

impl Lifter<'_> {
    fn value(&self, tree: Spanned<Tree>) -> Result<Value, SyntaxError> {
        let span = span_of(self.text, tree.defined);
        let mut literal = None;
        let (span, content) = match tree.value {
            Tree::Null => (span, Content::Null),
            Tree::Text(text) => (span, Content::Scalar(text)),
            Tree::Literal(value) => {
                literal = value;
                (span.clone(), Content::Scalar(self.text[span].to_owned()))
            }
            Tree::List(items) => {
                let items = items.into_iter().map(|item| self.value(item));
                let items: Vec<Value> = items.collect::<Result<_, _>>()?;
                let end = items.last().map_or(span.end, |item| item.span.end);
                (self.around(span, end), Content::List(items))
            }
            Tree::Map(entries) => {
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| self.entry(key, value));
                let entries: Vec<Entry> = entries.collect::<Result<_, _>>()?;
                let end = entries.last().map_or(span.end, Entry::end);
                (self.around(span, end), Content::Map(entries))
            }
        };
        Ok(Value {
            span,
            content,
            literal,
        })
    }

    fn entry(&self, key: Spanned<Tree>, value: Spanned<Tree>) -> Result<Entry, SyntaxError> {
        let key_span = span_of(self.text, key.defined);
        let key = match key.value {
            Tree::Text(text) => text,
            Tree::Null | Tree::Literal(_) => self.text[key_span.clone()].to_owned(),
            Tree::List(_) | Tree::Map(_) => {
                let message = "a key must be a text".to_owned();
                return Err(SyntaxError {
                    message,
                    span: key_span,
                });
            }
        };
        Ok(Entry {
            key,
            key_span,
            value: self.value(value)?,
        })
    }

    /// From the opening bracket, if there is one, to the closing one.
    fn around(&self, start: Range<usize>, last: usize) -> Range<usize> {
        let end = last.max(start.end);
        if !self.text[start.clone()].starts_with(['[', '{']) {
            return start.start..end;
        }
        let is_between = |c: char| c.is_whitespace() || c == ',';
        let rest = self.text[end..].trim_start_matches(is_between);
        match rest.starts_with([']', '}']) {
            true => start.start..self.text.len() - rest.len() + 1,
            false => start.start..end,
        }
    }
}

impl Entry {
    /// The value, or the key when no value is written.
    pub fn span(&self) -> Range<usize> {
        let written = !self.value.span.is_empty();
        if written {
            self.value.span.clone()
        } else {
            self.key_span.clone()
        }
    }

    fn end(&self) -> usize {
        self.value.span.end.max(self.key_span.end)
    }
}

/// The bytes of a location, without trailing white space.
fn span_of(text: &str, location: Location) -> Range<usize> {
    let span = location.span();
    let bytes = span.byte_offset().zip(span.byte_len());
    let (start, end) = match bytes {
        Some((start, length)) => (as_usize(start), as_usize(start + length)),
        None => {
            let start = byte_of_char(text, as_usize(span.offset()));
            (
                start,
                byte_of_char(text, as_usize(span.offset() + span.len())),
            )
        }
    };
    let trimmed = text.get(start..end).map_or(0, |part| part.trim_end().len());
    start.min(text.len())..start.min(text.len()) + trimmed
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).expect("a position in a text in memory fits into usize")
}

fn byte_of_char(text: &str, index: usize) -> usize {
    text.char_indices()
        .nth(index)
        .map_or(text.len(), |(byte, _)| byte)
}

fn syntax_error(text: &str, error: &serde_saphyr::Error) -> SyntaxError {
    let error = error.without_snippet();
    let span = error
        .location()
        .map_or(0..0, |location| span_of(text, location));
    let message = error.to_string();
    // The library appends the place, which is shown in another way here.
    if message.starts_with("multiple YAML documents") {
        let message = "a second YAML document begins here, a topology file has one".to_owned();
        return SyntaxError { message, span };
    }
    let message = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(text, _)| text);
    SyntaxError {
        message: message.to_owned(),
        span,
    }
}
