//! Reading a mapping key by key. What is wrong is reported and then treated as if it were not
//! there, so that reading goes on.

use std::ops::Range;

use super::document::{Content, Entry, Value};
use super::problem::{
    BAD_DURATION, CONTRADICTION, DUPLICATE_KEY, MISSING_KEY, UNKNOWN_CHOICE, UNKNOWN_KEY,
    WRONG_TYPE,
};
use super::report::Diagnostic;
use crate::topology::duration::Millis;
use crate::topology::finding::Place;
use crate::topology::nearest::did_you_mean;

/// What has been found while reading.
#[derive(Default)]
pub(super) struct Findings {
    pub diagnostics: Vec<Diagnostic>,
    /// The places that are not worth a second finding.
    pub reported: Vec<Place>,
}

/// The entries of one mapping.
pub(super) struct Keys<'d, 'f> {
    entries: &'d [Entry],
    /// What to point at when a key is missing.
    anchor: Range<usize>,
    place: Place,
    node: Option<&'d str>,
    asked: Vec<&'static str>,
    /// Whether it is no mapping at all, so that nothing can be missing in it.
    is_broken: bool,
    has_gaps: bool,
    findings: &'f mut Findings,
}

impl<'d, 'f> Keys<'d, 'f> {
    /// The entries of `value`, which is at `place`; `anchor` is what it belongs to.
    pub fn new(
        value: &'d Value,
        anchor: Range<usize>,
        place: Place,
        node: Option<&'d str>,
        findings: &'f mut Findings,
    ) -> Keys<'d, 'f> {
        let mut keys = Keys {
            entries: &[],
            anchor,
            place,
            node,
            asked: Vec::new(),
            is_broken: false,
            has_gaps: false,
            findings,
        };
        match &value.content {
            Content::Map(entries) => keys.entries = entries,
            // `source:` alone; the keys that it needs are reported as missing.
            Content::Null => {}
            Content::Scalar(_) | Content::List(_) | Content::Broken => {
                keys.wrong_type("a mapping", value, None);
                keys.findings.reported.push(keys.place.clone());
                keys.is_broken = true;
            }
        }
        keys.check_duplicates();
        keys
    }

    /// A text; numbers and bools are taken as they are written.
    pub fn text(&mut self, key: &'static str) -> Option<&'d str> {
        let entry = self.entry(key)?;
        if let Content::Scalar(text) = &entry.value.content {
            return Some(text);
        }
        self.wrong_type("a text", &entry.value, Some(entry));
        self.give_up(key);
        None
    }

    /// Whether there is that word.
    pub fn is_word(&mut self, key: &'static str, word: &str) -> bool {
        let content = self.entry(key).map(|entry| &entry.value.content);
        matches!(content, Some(Content::Scalar(text)) if text == word)
    }

    /// A text that must be there; empty when it is not.
    pub fn required(&mut self, key: &'static str) -> &'d str {
        if self.entry(key).is_none() && !self.is_broken {
            let message = format!("the key `{key}` is missing");
            let diagnostic = MISSING_KEY.at(Some(self.anchor.clone()), message);
            self.push(key, diagnostic.help(format!("add `{key}: …`")));
            self.give_up(key);
        }
        self.text(key).unwrap_or_default()
    }

    /// A list of texts, or a single one.
    pub fn texts(&mut self, key: &'static str) -> Vec<&'d str> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let (items, what) = match &entry.value.content {
            Content::List(items) => (items.as_slice(), "a text"),
            _ => (
                std::slice::from_ref(&entry.value),
                "a text or a list of texts",
            ),
        };
        let mut texts = Vec::new();
        for item in items {
            if let Content::Scalar(text) = &item.content {
                texts.push(text.as_str());
            } else {
                self.wrong_type(what, item, Some(entry));
                self.give_up(key);
            }
        }
        texts
    }

    /// Names and texts, in their order; a name may occur twice.
    pub fn pairs(&mut self, key: &'static str) -> Vec<(&'d str, &'d str)> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let Content::Map(entries) = &entry.value.content else {
            self.wrong_type("a mapping, as in `{ name: … }`", &entry.value, Some(entry));
            self.give_up(key);
            self.has_gaps = true;
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for pair in entries {
            match &pair.value.content {
                Content::Scalar(text) => pairs.push((pair.key.as_str(), text.as_str())),
                Content::Null if !pair.value.span.is_empty() => {
                    pairs.push((pair.key.as_str(), "null"));
                }
                _ => {
                    self.wrong_type("a text", &pair.value, Some(pair));
                    self.has_gaps = true;
                }
            }
        }
        pairs
    }

    /// One of the words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let one_of = if words.len() > 2 { "one of " } else { "" };
            let words = words.join(if words.len() > 2 { ", " } else { " or " });
            let diagnostic =
                UNKNOWN_CHOICE.at(self.span(key), format!("`{key}` cannot be `{text}`"));
            self.push(key, diagnostic.help(format!("it is {one_of}{words}")));
        }
        found.map(|(_, value)| *value)
    }

    /// A length of time.
    pub fn duration(&mut self, key: &'static str) -> Option<Millis> {
        let parsed = self.text(key)?.parse::<Millis>();
        if let Err(error) = &parsed {
            let diagnostic = BAD_DURATION.at(self.span(key), error.to_string());
            self.push(key, diagnostic);
            self.give_up(key);
        }
        parsed.ok()
    }

    /// A whole number that is not negative.
    pub fn count(&mut self, key: &'static str) -> Option<u64> {
        let text = self.text(key)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let message = format!("expected a whole number, found `{text}`");
            let diagnostic = WRONG_TYPE.at(self.span(key), message);
            self.push(key, diagnostic);
            self.give_up(key);
        }
        parsed
    }

    /// A mapping inside this one.
    pub fn mapping(&mut self, key: &'static str) -> Option<Keys<'d, '_>> {
        let entry = self.entry(key)?;
        let (anchor, place) = (entry.key_span.clone(), self.place.clone().key(key));
        Some(Keys::new(
            &entry.value,
            anchor,
            place,
            self.node,
            self.findings,
        ))
    }

    /// The entry of a key, which thereby becomes a known one.
    pub fn entry(&mut self, key: &'static str) -> Option<&'d Entry> {
        self.asked.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Reports that two keys are given of which only one makes sense.
    pub fn exclude(&mut self, key: &'static str, other: &'static str) {
        if let (Some(first), Some(second)) = (self.entry(key), self.entry(other)) {
            let message = format!("`{key}` and `{other}` exclude each other, give one of them");
            let diagnostic = CONTRADICTION.at(Some(second.key_span.clone()), message);
            let diagnostic = diagnostic.related(first.key_span.clone(), "the other is here");
            self.push(other, diagnostic);
        }
    }

    /// Reports that neither of two keys is given, or both.
    pub fn exactly_one(&mut self, key: &'static str, other: &'static str) {
        self.exclude(key, other);
        if self.entry(key).is_none() && self.entry(other).is_none() && !self.is_broken {
            let message = format!("one of the keys `{key}` and `{other}` is missing");
            let diagnostic = MISSING_KEY.at(Some(self.anchor.clone()), message);
            self.push(
                key,
                diagnostic.help(format!("add `{key}: …` or `{other}: …`")),
            );
            self.give_up(key);
        }
    }

    /// Reports that the text of an entry inside `key` is none of the possible ones.
    pub fn unknown_choice(&mut self, key: &'static str, name: &str, message: String, help: String) {
        let entries = match self.entry(key).map(|entry| &entry.value.content) {
            Some(Content::Map(entries)) => entries.as_slice(),
            _ => &[],
        };
        let entry = entries.iter().find(|entry| entry.key == name);
        let diagnostic = UNKNOWN_CHOICE
            .at(entry.map(Entry::span), message)
            .help(help);
        self.push(&format!("{key}.{name}"), diagnostic);
    }

    /// Whether names could not be read that are fields of the records behind the node.
    pub fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// Reports the keys that nobody has asked for.
    pub fn finish(mut self) {
        for entry in self.entries {
            if self.asked.contains(&entry.key.as_str()) {
                continue;
            }
            let mut known = self.asked.clone();
            known.dedup();
            let message = format!("there is no key `{}` here", entry.key);
            let diagnostic = UNKNOWN_KEY.at(Some(entry.key_span.clone()), message);
            let help = did_you_mean(&entry.key, "keys here", known);
            self.push(&entry.key, diagnostic.maybe_help(help));
        }
    }

    fn check_duplicates(&mut self) {
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some(first) = self.entries[..index]
                .iter()
                .find(|first| first.key == entry.key)
            {
                let message = format!("the key `{}` is given twice", entry.key);
                let diagnostic = DUPLICATE_KEY.at(Some(entry.key_span.clone()), message);
                let diagnostic =
                    diagnostic.related(first.key_span.clone(), "the first one is here");
                self.push(&entry.key, diagnostic);
            }
        }
    }

    /// Reports a value that is not what was expected, unless it is a text whose mistake has been
    /// reported.
    fn wrong_type(&mut self, expected: &str, value: &Value, entry: Option<&Entry>) {
        if value.content == Content::Broken {
            return;
        }
        let key_span = entry.map_or(&self.anchor, |entry| &entry.key_span);
        let span = if value.span.is_empty() {
            key_span
        } else {
            &value.span
        };
        let message = format!("expected {expected}, found {}", value.kind());
        let diagnostic = WRONG_TYPE.at(Some(span.clone()), message);
        self.push(entry.map_or("", |entry| &entry.key), diagnostic);
    }

    /// What is found at this key later follows from what has been reported.
    fn give_up(&mut self, key: &'static str) {
        self.findings.reported.push(self.place.clone().key(key));
    }

    fn span(&mut self, key: &'static str) -> Option<Range<usize>> {
        self.entry(key).map(Entry::span)
    }

    /// Adds a finding about the key `key` of this mapping.
    fn push(&mut self, key: &str, diagnostic: Diagnostic) {
        let outer = self.place.to_string();
        let dot = if outer.is_empty() || key.is_empty() {
            ""
        } else {
            "."
        };
        let key = format!("{outer}{dot}{key}");
        self.findings.diagnostics.push(Diagnostic {
            node: self.node.map(str::to_owned),
            key: Some(key).filter(|key| !key.is_empty()),
            ..diagnostic
        });
    }
}
