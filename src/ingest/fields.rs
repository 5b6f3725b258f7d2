//! The few fields of a JSON line that ingestion looks at, found in one pass.
//!
//! The pass checks the whole line (it is JSON, UTF-8, an object, not nested absurdly deep), but
//! builds nothing from it: only the scalars under the wanted paths are kept. Whatever else the
//! line holds, of whatever shape, is skipped, so an unknown or odd event is never a reason to
//! lose it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;

use crate::value::FieldPath;

/// Deeper nesting than this is refused: parsers further on recurse.
pub const MAX_DEPTH: usize = 128;

/// Why a line cannot be taken as an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not a text.
    #[error("expected UTF-8, found a bad byte at {at}")]
    NotUtf8 {
        /// Index of the first bad byte.
        at: usize,
    },
    /// It is not JSON, or not only JSON.
    #[error("expected a JSON object, found bad JSON: {detail}")]
    NotJson {
        /// What the parser said, with the column.
        detail: String,
    },
    /// It is JSON, but another kind of value.
    #[error("expected a JSON object, found {found}")]
    NotAnObject {
        /// The kind that was found.
        found: &'static str,
    },
    /// Arrays and objects inside each other, more than [`MAX_DEPTH`].
    #[error("expected at most {MAX_DEPTH} levels of nesting, found {levels}")]
    TooDeep {
        /// How many.
        levels: usize,
    },
}

/// A value that is neither absent, null, a list nor an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// A text, unescaped.
    Text(Cow<'a, str>),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// True or false.
    Bool(bool),
}

/// What was found, in the order in which the paths were given.
pub type Found<'a> = SmallVec<[Option<Scalar<'a>>; 8]>;

/// The wanted paths as a tree.
#[derive(Clone, Debug)]
pub struct FieldTree {
    root: Branch,
    paths: usize,
}

#[derive(Clone, Debug, Default)]
struct Branch {
    slots: SmallVec<[usize; 1]>,
    children: Vec<(String, Branch)>,
}

impl FieldTree {
    /// A tree of these paths; [`FieldTree::read`] gives one value for each, in this order.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p FieldPath>) -> FieldTree {
        let mut tree = FieldTree {
            root: Branch::default(),
            paths: 0,
        };
        for path in paths {
            let leaf = path.segments().fold(&mut tree.root, Branch::child);
            leaf.slots.push(tree.paths);
            tree.paths += 1;
        }
        tree
    }

    /// Finds the fields in a line.
    ///
    /// # Errors
    /// When the line is not a JSON object.
    pub fn read<'a>(&self, line: &'a [u8]) -> Result<Found<'a>, Unreadable> {
        let text = std::str::from_utf8(line).map_err(|error| Unreadable::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        let levels = nesting(line);
        if levels > MAX_DEPTH {
            return Err(Unreadable::TooDeep { levels });
        }
        let mut found: Found<'a> = SmallVec::from_elem(None, self.paths);
        let mut json = serde_json::Deserializer::from_str(text);
        match text.trim_start().bytes().next() {
            Some(b'{') => Into {
                branch: &self.root,
                found: &mut found,
            }
            .deserialize(&mut json),
            _ => IgnoredAny::deserialize(&mut json).map(|_| ()),
        }
        .and_then(|()| json.end())
        .map_err(|error| Unreadable::NotJson {
            detail: error.to_string(),
        })?;
        match text.trim_start().bytes().next() {
            Some(b'{') => Ok(found),
            Some(b'[') => Err(Unreadable::NotAnObject { found: "an array" }),
            Some(b'"') => Err(Unreadable::NotAnObject { found: "a text" }),
            Some(b't' | b'f') => Err(Unreadable::NotAnObject { found: "a bool" }),
            Some(b'n') => Err(Unreadable::NotAnObject { found: "null" }),
            _ => Err(Unreadable::NotAnObject { found: "a number" }),
        }
    }
}

impl Branch {
    fn child(&mut self, name: &str) -> &mut Branch {
        let index = self
            .children
            .iter()
            .position(|(known, _)| known == name)
            .unwrap_or_else(|| {
                self.children.push((name.to_owned(), Branch::default()));
                self.children.len() - 1
            });
        &mut self.children[index].1
    }
}

impl Scalar<'_> {
    /// The text that stands for this value in a record's key.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Scalar::Text(text) => Cow::Borrowed(text),
            Scalar::Int(number) => Cow::Owned(number.to_string()),
            Scalar::Float(number) => Cow::Owned(number.to_string()),
            Scalar::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        }
    }

    /// The whole number, if this is one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Scalar::Int(number) => Some(*number),
            _ => None,
        }
    }
}

/// How deep arrays and objects lie inside each other. Exact only above [`MAX_DEPTH`]: a line with
/// fewer brackets than that, in texts or not, cannot be too deep, and nearly all lines are so.
fn nesting(line: &[u8]) -> usize {
    if memchr::memchr2_iter(b'{', b'[', line)
        .nth(MAX_DEPTH)
        .is_none()
    {
        return 0;
    }
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut bytes = line.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_text(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Goes behind the closing quote.
fn skip_text(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// Reads one value into the slots of a branch.
struct Into<'t, 'f, 'a> {
    branch: &'t Branch,
    found: &'f mut Found<'a>,
}

impl<'a> Into<'_, '_, 'a> {
    fn keep(self, value: Option<&Scalar<'a>>) {
        for slot in &self.branch.slots {
            self.found[*slot] = value.cloned();
        }
    }
}

impl<'a> DeserializeSeed<'a> for Into<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Into<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        self.keep(Some(&Scalar::Bool(truth)));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.keep(Some(&Scalar::Int(number)));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        let value = i64::try_from(number).map_or(Scalar::Float(number as f64), Scalar::Int);
        self.keep(Some(&value));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.keep(Some(&Scalar::Float(number)));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.keep(Some(&Scalar::Text(Cow::Borrowed(text))));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.keep(Some(&Scalar::Text(Cow::Owned(text.to_owned()))));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.keep(None);
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut list: S) -> Result<(), S::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.keep(None);
        Ok(())
    }

    fn visit_map<M: MapAccess<'a>>(self, mut object: M) -> Result<(), M::Error> {
        let Into { branch, found } = self;
        while let Some(name) = object.next_key_seed(NameIn(&branch.children))? {
            match name {
                Some(child) => {
                    object.next_value_seed(Into {
                        branch: child,
                        found: &mut *found,
                    })?;
                }
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Recognises a name among the children of a branch without keeping it.
struct NameIn<'t>(&'t [(String, Branch)]);

impl<'t, 'a> DeserializeSeed<'a> for NameIn<'t> {
    type Value = Option<&'t Branch>;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for NameIn<'t> {
    type Value = Option<&'t Branch>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self
            .0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, branch)| branch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> FieldTree {
        let paths = ["wiki", "meta.id", "meta.dt", "meta.offset"].map(FieldPath::new);
        FieldTree::new(&paths)
    }

    fn text(value: &str) -> Option<Scalar<'_>> {
        Some(Scalar::Text(Cow::Borrowed(value)))
    }

    #[track_caller]
    fn check(line: &str, expected: &[Option<Scalar<'_>>; 4]) {
        assert_eq!(
            tree().read(line.as_bytes()).expect(line).as_slice(),
            expected,
            "{line}"
        );
    }

    #[track_caller]
    fn check_refused(line: &[u8], expected: &str) {
        let error = tree().read(line).expect_err("must be refused").to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn the_wanted_fields_are_found_whatever_else_is_there() {
        check(
            r#"{"wiki":"enwiki","meta":{"dt":"D","id":"I","offset":7,"x":[1,{"id":2}]},"id":5}"#,
            &[text("enwiki"), text("I"), text("D"), Some(Scalar::Int(7))],
        );
        check(
            r#"{"$schema":"s","meta":{"id":"I"}}"#,
            &[None, text("I"), None, None],
        );
        check(r#" {} "#, &[None, None, None, None]);
    }

    #[test]
    fn log_params_may_be_an_object_a_list_or_a_text() {
        for params in [
            r#"[]"#,
            r#"[1,2,"3"]"#,
            r#"{"meta":{"id":0}}"#,
            r#""a\nb""#,
            "null",
        ] {
            check(
                &format!(r#"{{"log_params":{params},"wiki":"dewiki"}}"#),
                &[text("dewiki"), None, None, None],
            );
        }
    }

    #[test]
    fn null_lists_and_objects_count_as_absent_and_a_scalar_meta_is_survived() {
        check(r#"{"wiki":null,"meta":null}"#, &[None, None, None, None]);
        check(r#"{"wiki":["a"],"meta":"text"}"#, &[None, None, None, None]);
        check(
            r#"{"wiki":{"a":1},"meta":[{"id":1}]}"#,
            &[None, None, None, None],
        );
    }

    #[test]
    fn numbers_bools_and_escaped_texts_are_scalars_too() {
        check(
            r#"{"wiki":"z\u00fcri\"ch","meta":{"id":18446744073709551615,"dt":-1,"offset":1.5}}"#,
            &[
                text("züri\"ch"),
                Some(Scalar::Float(18446744073709551615.0)),
                Some(Scalar::Int(-1)),
                Some(Scalar::Float(1.5)),
            ],
        );
        check(
            r#"{"wiki":true}"#,
            &[Some(Scalar::Bool(true)), None, None, None],
        );
    }

    #[test]
    fn what_is_not_an_object_is_refused_with_what_was_found() {
        check_refused(
            b"not json",
            "expected a JSON object, found bad JSON: expected ident",
        );
        check_refused(b"", "expected a JSON object, found bad JSON: EOF");
        check_refused(b"{\"a\":1", "expected a JSON object, found bad JSON: EOF");
        check_refused(
            b"{\"a\":1} {}",
            "expected a JSON object, found bad JSON: trailing",
        );
        check_refused(b"{\"a\":\"\xff\"}", "expected UTF-8, found a bad byte at 6");
        check_refused(b"[1]", "expected a JSON object, found an array");
        check_refused(b" 12", "expected a JSON object, found a number");
        check_refused(b"\"x\"", "expected a JSON object, found a text");
        check_refused(b"null", "expected a JSON object, found null");
        check_refused(b"true", "expected a JSON object, found a bool");
    }

    #[test]
    fn absurd_nesting_is_refused_and_brackets_inside_texts_are_not_nesting() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        check_refused(
            deep.as_bytes(),
            "expected at most 128 levels of nesting, found 100001",
        );
        let wide = format!(r#"{{"a":"{}\"[","wiki":"x"}}"#, "[[:File:]] ".repeat(500));
        check(&wide, &[text("x"), None, None, None]);
        let list = format!(r#"{{"a":[{}[]],"wiki":"x"}}"#, "[],".repeat(500));
        check(&list, &[text("x"), None, None, None]);
    }
}
