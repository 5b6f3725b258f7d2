//! Reading a mapping key by key. What is wrong is reported and then treated as if it were not
//! there, so that reading goes on.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::document::{Content, Entry, Value};
use super::problem::{
    BAD_DURATION, BAD_TIME, CONTRADICTION, DUPLICATE_KEY, MISSING_KEY, UNKNOWN_CHOICE, UNKNOWN_KEY,
    WRONG_TYPE,
};
use super::report::Diagnostic;
use crate::time::Timestamp;
use crate::topology::duration::Millis;
use crate::topology::finding::Place;
use crate::topology::nearest::{did_you_mean_word, word_meant};

/// What has been found while reading.
#[derive(Default)]
pub(super) struct Findings {
    /// Where the file is: other files that it names are looked for there.
    pub folder: PathBuf,
    pub diagnostics: Vec<Diagnostic>,
    /// The places that are not worth a second finding.
    pub reported: Vec<Place>,
    /// What was asked for: the schema of the file is made of it.
    pub asked: Vec<Asked>,
}

/// A key that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The mapping in which it was looked for.
    pub place: Place,
    pub key: &'static str,
    pub wanted: Wanted,
}

/// What was wanted of a key. Several things may be: `window` is a mapping or the word `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whatever is there.
    Value,
    /// That it is there.
    Presence,
    /// That another key is not.
    Absence(&'static str),
    /// That one of these is there, this one among them.
    OneOf(Vec<&'static str>),
    Text,
    Texts,
    /// Names with texts.
    Pairs,
    /// Names with one of these words each.
    PairsOf(Vec<&'static str>),
    Choice(Vec<&'static str>),
    Duration,
    Time,
    /// Nothing, beside what else is wanted.
    Null,
    Count,
    Mapping,
    /// Values of any kind.
    List,
    /// Names with values of any kind.
    Entries,
}

/// The entries of one mapping.
pub(super) struct Keys<'d, 'f> {
    entries: &'d [Entry],
    /// What to point at when a key is missing.
    anchor: Range<usize>,
    place: Place,
    node: Option<&'d str>,
    known: Vec<&'static str>,
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
            known: Vec::new(),
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
        self.scalar(key, Wanted::Text)
    }

    /// Whether there is that word.
    pub fn is_word(&mut self, key: &'static str, word: &'static str) -> bool {
        let entry = self.ask(key, Wanted::Choice(vec![word]));
        let content = entry.map(|entry| &entry.value.content);
        matches!(content, Some(Content::Scalar(text)) if text == word)
    }

    /// A text that must be there; empty when it is not.
    pub fn required(&mut self, key: &'static str) -> &'d str {
        self.require(key);
        self.text(key).unwrap_or_default()
    }

    /// Reports that a key is missing, if it is; tells whether it is there.
    pub fn require(&mut self, key: &'static str) -> bool {
        let is_there = self.ask(key, Wanted::Presence).is_some();
        if !is_there && !self.is_broken {
            let message = format!("the key `{key}` is missing");
            let diagnostic = MISSING_KEY.at(Some(self.anchor.clone()), message);
            self.push(key, diagnostic.help(format!("add `{key}: …`")));
            self.give_up(key);
        }
        is_there
    }

    /// The text of a key of which something more is wanted.
    fn scalar(&mut self, key: &'static str, wanted: Wanted) -> Option<&'d str> {
        let entry = self.ask(key, wanted)?;
        if let Content::Scalar(text) = &entry.value.content {
            return Some(text);
        }
        self.wrong_type("a text", &entry.value, Some(entry));
        self.give_up(key);
        None
    }

    /// A list of texts, or a single one.
    pub fn texts(&mut self, key: &'static str) -> Vec<&'d str> {
        let Some(entry) = self.ask(key, Wanted::Texts) else {
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
        self.read_pairs(key, Wanted::Pairs)
    }

    /// Names, each with one of the words; a name may occur twice. `others` are read as well, and not
    /// offered: what is wrong with them is said elsewhere.
    pub fn choices<T: Copy>(
        &mut self,
        key: &'static str,
        what: &str,
        choices: &[(&'static str, T)],
        others: &[(&'static str, T)],
    ) -> Vec<(&'d str, T)> {
        let words: Vec<&'static str> = choices.iter().map(|(word, _)| *word).collect();
        let mut chosen = Vec::new();
        for (name, text) in self.read_pairs(key, Wanted::PairsOf(words.clone())) {
            let mut all = choices.iter().chain(others);
            match all.find(|(word, _)| *word == text) {
                Some((_, choice)) => chosen.push((name, *choice)),
                None => {
                    let help = did_you_mean_word(text, &format!("{what}s"), words.iter().copied());
                    let message = format!("there is no {what} `{text}`");
                    self.unknown_choice(key, name, message, help.unwrap_or_default());
                }
            }
        }
        chosen
    }

    fn read_pairs(&mut self, key: &'static str, wanted: Wanted) -> Vec<(&'d str, &'d str)> {
        let Some(entry) = self.ask(key, wanted) else {
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
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let words: Vec<&'static str> = choices.iter().map(|(word, _)| *word).collect();
        let text = self.scalar(key, Wanted::Choice(words.clone()))?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
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
        let parsed = self.scalar(key, Wanted::Duration)?.parse::<Millis>();
        if let Err(error) = &parsed {
            let diagnostic = BAD_DURATION.at(self.span(key), error.to_string());
            let help = (key == "tumbling").then(|| {
                format!(
                    "{}; windows of the calendar are `week`, `month` and `year`, and days `1d`",
                    BAD_DURATION.fix
                )
            });
            self.push(key, diagnostic.maybe_help(help));
            self.give_up(key);
        }
        parsed.ok()
    }

    /// A whole number that is not negative.
    pub fn count(&mut self, key: &'static str) -> Option<u64> {
        let text = self.scalar(key, Wanted::Count)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let message = format!("expected a whole number, found `{text}`");
            let diagnostic = WRONG_TYPE.at(self.span(key), message);
            self.push(key, diagnostic);
            self.give_up(key);
        }
        parsed
    }

    /// A point in time: RFC 3339, or milliseconds since 1970.
    pub fn time(&mut self, key: &'static str) -> Option<Timestamp> {
        let text = self.scalar(key, Wanted::Time)?;
        let parsed = Timestamp::parse_rfc3339(text);
        let found = text
            .parse()
            .map(Timestamp)
            .ok()
            .or(parsed.as_ref().ok().copied());
        if let (None, Err(error)) = (found, parsed) {
            let diagnostic = BAD_TIME.at(self.span(key), error.to_string());
            self.push(key, diagnostic);
            self.give_up(key);
        }
        found
    }

    /// A text, or nothing (the inner none).
    pub fn text_or_null(&mut self, key: &'static str) -> Option<Option<&'d str>> {
        self.ask(key, Wanted::Null);
        let entry = self.ask(key, Wanted::Text)?;
        match entry.value.content {
            Content::Null => Some(None),
            _ => self.text(key).map(Some),
        }
    }

    /// Whatever is there.
    pub fn value(&mut self, key: &'static str) -> Option<&'d Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Where a file is that this one names.
    pub fn path(&self, name: &str) -> PathBuf {
        self.findings.folder.join(Path::new(name))
    }

    /// Whether a key is there, without asking for its value.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Reports that something is missing in this mapping.
    pub fn report_missing(&mut self, diagnostic: Diagnostic) {
        if !self.is_broken {
            let span = Some(self.anchor.clone());
            self.push("", Diagnostic { span, ..diagnostic });
        }
    }

    /// A list of anything, or a single one, each with its place.
    pub fn items(&mut self, key: &'static str) -> Vec<(&'d Value, Place)> {
        let place = self.place.clone().key(key);
        match self.ask(key, Wanted::List) {
            Some(entry) => items_of(&entry.value, place),
            None => Vec::new(),
        }
    }

    /// Names with anything.
    pub fn named(&mut self, key: &'static str) -> Option<Keys<'d, '_>> {
        self.ask(key, Wanted::Entries)?;
        self.mapping_at(key)
    }

    /// All entries, where they may have any name: then [`Keys::finish`] has nothing to say.
    pub fn any(&mut self) -> impl Iterator<Item = (&'d Entry, Place)> + use<'d> {
        let place = self.place.clone();
        let entries = self.entries.iter();
        entries.map(move |entry| (entry, place.clone().entry(&entry.key, 0)))
    }

    /// A mapping inside this one.
    pub fn mapping(&mut self, key: &'static str) -> Option<Keys<'d, '_>> {
        self.ask(key, Wanted::Mapping)?;
        self.mapping_at(key)
    }

    fn mapping_at(&mut self, key: &'static str) -> Option<Keys<'d, '_>> {
        let entry = self.find(key)?;
        let place = self.place.clone().key(key);
        Some(self.inside(&entry.value, entry.key_span.clone(), place))
    }

    /// A mapping somewhere inside this one; `anchor` is what it belongs to.
    pub fn inside(&mut self, value: &'d Value, anchor: Range<usize>, place: Place) -> Keys<'d, '_> {
        Keys::new(value, anchor, place, self.node, self.findings)
    }

    /// The entry of a key, which thereby becomes a known one.
    pub fn entry(&mut self, key: &'static str) -> Option<&'d Entry> {
        self.ask(key, Wanted::Value)
    }

    fn ask(&mut self, key: &'static str, wanted: Wanted) -> Option<&'d Entry> {
        self.known.push(key);
        self.findings.asked.push(Asked {
            place: self.place.clone(),
            key,
            wanted,
        });
        self.find(key)
    }

    fn find(&self, key: &str) -> Option<&'d Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Reports that several keys are given of which there has to be one. That there is none is for
    /// the checker to say.
    pub fn one_of(&mut self, keys: &[&'static str]) {
        for (at, key) in keys.iter().enumerate() {
            self.ask(key, Wanted::OneOf(keys.to_vec()));
            for other in &keys[at + 1..] {
                self.exclude(key, other);
            }
        }
    }

    /// Reports that two keys are given of which only one makes sense.
    pub fn exclude(&mut self, key: &'static str, other: &'static str) {
        let first = self.ask(key, Wanted::Absence(other));
        let second = self.ask(other, Wanted::Absence(key));
        if let (Some(first), Some(second)) = (first, second) {
            let message = format!("`{key}` and `{other}` exclude each other, give one of them");
            let diagnostic = CONTRADICTION.at(Some(second.key_span.clone()), message);
            let diagnostic = diagnostic.related(first.key_span.clone(), "the other is here");
            self.push(other, diagnostic);
        }
    }

    /// Reports that neither of two keys is given, or both.
    pub fn exactly_one(&mut self, key: &'static str, other: &'static str) {
        self.one_of(&[key, other]);
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
    fn unknown_choice(&mut self, key: &'static str, name: &str, message: String, help: String) {
        let entries = match self.find(key).map(|entry| &entry.value.content) {
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

    /// Whether a key is not there, and one that nobody asks for looks like it. To be asked when all that
    /// there are have been asked for.
    pub fn is_misspelt(&self, key: &str) -> bool {
        let mut unknown = self.entries.iter().filter(|entry| !self.is_known(entry));
        !self.has(key) && unknown.any(|entry| self.meant_by(entry) == Some(key))
    }

    fn is_known(&self, entry: &Entry) -> bool {
        self.known.contains(&entry.key.as_str())
    }

    /// The known key that is nearest to one that is not.
    fn meant_by(&self, entry: &Entry) -> Option<&'static str> {
        let near = word_meant(&entry.key, self.known.iter().copied())?;
        self.known.iter().find(|key| **key == near).copied()
    }

    /// Reports the keys that nobody has asked for.
    pub fn finish(mut self) {
        for entry in self.entries {
            if self.is_known(entry) {
                continue;
            }
            if let Some(meant) = self.meant_by(entry)
                && !self.has(meant)
            {
                self.forget_missing(meant);
                self.give_up(meant);
            }
            let mut known: Vec<&str> = Vec::new();
            for key in &self.known {
                if !known.contains(key) {
                    known.push(key);
                }
            }
            let message = format!("there is no key `{}` here", entry.key);
            let diagnostic = UNKNOWN_KEY.at(Some(entry.key_span.clone()), message);
            let help = did_you_mean_word(&entry.key, "keys here", known);
            self.push(&entry.key, diagnostic.maybe_help(help));
        }
    }

    /// A key that is not missing but misspelt.
    fn forget_missing(&mut self, key: &str) {
        let (node, path) = (self.node, self.path_of(key));
        self.findings.diagnostics.retain(|found| {
            found.code != MISSING_KEY.code
                || found.node.as_deref() != node
                || found.key.as_deref() != Some(&path)
        });
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
        let key = entry.map_or("", |entry| &entry.key);
        self.push(key, diagnostic.maybe_help(written_instead(key, value)));
    }

    /// What is found at this key later follows from what has been reported.
    pub fn give_up(&mut self, key: &'static str) {
        self.findings.reported.push(self.place.clone().key(key));
    }

    /// Where a key's value is, or the key itself when it has none.
    pub fn span(&self, key: &'static str) -> Option<Range<usize>> {
        self.find(key).map(Entry::span)
    }

    /// Adds a finding about the key `key` of this mapping.
    pub fn push(&mut self, key: &str, diagnostic: Diagnostic) {
        let key = self.path_of(key);
        self.findings.diagnostics.push(Diagnostic {
            node: self.node.map(str::to_owned),
            key: Some(key).filter(|key| !key.is_empty()),
            ..diagnostic
        });
    }

    /// The name of a key of this mapping, with those of the mappings that it is in.
    fn path_of(&self, key: &str) -> String {
        let outer = self.place.to_string();
        match outer.is_empty() || key.is_empty() {
            true => format!("{outer}{key}"),
            false => format!("{outer}.{key}"),
        }
    }
}

/// The items of a list, or the one thing that stands for a list, each with its place.
pub(super) fn items_of(value: &Value, place: Place) -> Vec<(&Value, Place)> {
    match &value.content {
        Content::List(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(at, item)| (item, place.clone().item(at)))
                .collect()
        }
        Content::Null => Vec::new(),
        _ => vec![(value, place)],
    }
}

/// How something of another type that users of other systems write is written here.
fn written_instead(key: &str, value: &Value) -> Option<String> {
    match (key, &value.content) {
        ("columns" | "fields" | "set", Content::List(names)) => {
            let name = |value: &Value| match &value.content {
                Content::Scalar(name) if name.contains('(') => Some(format!("name: {name}")),
                Content::Scalar(name) => Some(format!("{name}: …")),
                _ => None,
            };
            let pairs: Vec<String> = names.iter().map(name).collect::<Option<_>>()?;
            Some(format!("write `{key}: {{ {} }}`", pairs.join(", ")))
        }
        ("window", Content::Scalar(_)) => {
            Some("write the kind of the windows as well: `window: { tumbling: 1m }`".to_owned())
        }
        ("source" | "kafka", Content::Scalar(topic)) => {
            Some(format!("write `{key}: {{ topic: {topic} }}`"))
        }
        ("from", Content::List(_)) => Some(
            "a `merge` node in front reads several; a `join` has its right side in `with`"
                .to_owned(),
        ),
        _ => None,
    }
}
