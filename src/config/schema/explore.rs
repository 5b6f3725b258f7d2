//! Which keys a reader knows: it is let loose on made-up mappings, and what it asks for is written down.
//!
//! A reader may ask for a key only when another one is there, or has a certain word. So it is given
//! mappings with no key, with all keys that are known so far, with each of them alone and with each word
//! of a choice, until it asks for nothing new.

use crate::config::document::{Content, Entry, Value};
use crate::config::keys::{Asked, Findings, Keys, Wanted};
use crate::topology::finding::{Place, Step};

/// Reads a mapping.
pub(super) type Reader<'r> = &'r dyn Fn(&mut Keys<'_, '_>);

/// What a reader asks of a mapping.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    /// In the order in which they are first asked for.
    pub keys: Vec<Key>,
}

/// A key of a mapping.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    /// All that is wanted of it.
    pub wanted: Vec<Wanted>,
    /// The keys beside which it has to be there.
    pub needed_beside: Vec<String>,
    /// What is asked of the mapping that it may be.
    pub inner: Mapping,
}

/// All that a reader can ask for.
pub(super) fn explore(read: Reader<'_>) -> Mapping {
    let mut mapping = Mapping::default();
    let mut known = 0;
    loop {
        for sample in samples(&mapping) {
            for asked in asked_of(&sample, read) {
                match asked.wanted {
                    Wanted::Presence => mapping.add_need(&sample, &asked),
                    _ => mapping.key_of(&asked).want(asked.wanted),
                }
            }
        }
        let now = mapping.size();
        if now == known {
            return mapping;
        }
        known = now;
    }
}

fn asked_of(sample: &Value, read: Reader<'_>) -> Vec<Asked> {
    let mut findings = Findings::default();
    let mut keys = Keys::new(sample, 0..0, Place::default(), None, &mut findings);
    read(&mut keys);
    findings.asked
}

impl Mapping {
    /// The key of that name.
    #[cfg(test)]
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// A key has to be there: always, if it is missed in an empty mapping; beside another one, if it is
    /// missed where only that is.
    fn add_need(&mut self, sample: &Value, asked: &Asked) {
        let others = entries_at(sample, &asked.place.steps);
        let key = self.key_of(asked);
        match others {
            [] => key.want(Wanted::Presence),
            [only] if only.key != asked.key => key.need_beside(&only.key),
            _ => {}
        }
    }

    /// What is known of a key. What is inside a list or under a user's own name has a reader of its own
    /// and is not asked for here.
    fn key_of(&mut self, asked: &Asked) -> &mut Key {
        let mut mapping = self;
        for step in &asked.place.steps {
            if let Step::Key(outer) = step {
                mapping = &mut mapping.entry(outer).inner;
            }
        }
        mapping.entry(asked.key)
    }

    fn entry(&mut self, name: &'static str) -> &mut Key {
        let at = self.keys.iter().position(|key| key.name == name);
        let at = at.unwrap_or_else(|| {
            self.keys.push(Key {
                name,
                wanted: Vec::new(),
                needed_beside: Vec::new(),
                inner: Mapping::default(),
            });
            self.keys.len() - 1
        });
        &mut self.keys[at]
    }

    /// How much is known.
    fn size(&self) -> usize {
        let sizes = self.keys.iter();
        let sizes = sizes.map(|key| {
            let known = key.wanted.len() + key.needed_beside.len();
            1 + known + key.inner.size()
        });
        sizes.sum()
    }
}

impl Key {
    fn want(&mut self, wanted: Wanted) {
        if !self.wanted.contains(&wanted) {
            self.wanted.push(wanted);
        }
    }

    fn need_beside(&mut self, other: &str) {
        let is_always_needed = self.wanted.contains(&Wanted::Presence);
        if !is_always_needed && !self.needed_beside.iter().any(|known| known == other) {
            self.needed_beside.push(other.to_owned());
        }
    }
}

/// The entries of a mapping in a sample.
fn entries_at<'s>(sample: &'s Value, steps: &[Step]) -> &'s [Entry] {
    let Content::Map(entries) = &sample.content else {
        return &[];
    };
    match steps {
        [Step::Key(key), rest @ ..] => {
            let inner = entries.iter().find(|entry| entry.key == *key);
            inner.map_or(&[], |inner| entries_at(&inner.value, rest))
        }
        _ => entries,
    }
}

fn samples(mapping: &Mapping) -> Vec<Value> {
    let mut samples = vec![of_content(Content::Map(Vec::new())), all(mapping)];
    for key in &mapping.keys {
        samples.extend(values(key).into_iter().map(|value| {
            let entries = vec![entry(key.name, value)];
            of_content(Content::Map(entries))
        }));
    }
    samples
}

/// A mapping with all keys.
fn all(mapping: &Mapping) -> Value {
    let entries = mapping.keys.iter().filter_map(|key| {
        let value = values(key).into_iter().next()?;
        Some(entry(key.name, value))
    });
    of_content(Content::Map(entries.collect()))
}

/// What a key may be: a mapping first, where it can be one.
fn values(key: &Key) -> Vec<Value> {
    let mut values = Vec::new();
    if key.wanted.contains(&Wanted::Mapping) {
        values.extend(samples(&key.inner));
        values.rotate_left(1);
    }
    for wanted in &key.wanted {
        match wanted {
            Wanted::Choice(words) => values.extend(words.iter().map(|word| text(word))),
            Wanted::Text | Wanted::Texts => values.push(text("x")),
            Wanted::Duration => values.push(text("1s")),
            Wanted::Time | Wanted::Count => values.push(text("1")),
            Wanted::Pairs => values.push(of_content(Content::Map(vec![entry("x", text("x"))]))),
            Wanted::PairsOf(words) => {
                let entries = words.iter().map(|word| entry(word, text(word)));
                values.push(of_content(Content::Map(entries.collect())));
            }
            Wanted::Entries => values.push(of_content(Content::Map(Vec::new()))),
            Wanted::List | Wanted::Value | Wanted::Null => values.push(of_content(Content::Null)),
            Wanted::Mapping | Wanted::Presence | Wanted::Absence(_) | Wanted::OneOf(_) => {}
        }
    }
    if values.is_empty() {
        values.push(text("x"));
    }
    values
}

fn text(text: &str) -> Value {
    of_content(Content::Scalar(text.to_owned()))
}

fn entry(key: &str, value: Value) -> Entry {
    Entry {
        key: key.to_owned(),
        key_span: 0..0,
        value,
    }
}

fn of_content(content: Content) -> Value {
    Value {
        span: 0..0,
        content,
        literal: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader asks for, in short: `key` or `key{inner}`.
    fn names(mapping: &Mapping) -> String {
        let name = |key: &Key| match key.inner.keys.is_empty() {
            true => key.name.to_owned(),
            false => format!("{}{{{}}}", key.name, names(&key.inner)),
        };
        let names: Vec<String> = mapping.keys.iter().map(name).collect();
        names.join(" ")
    }

    #[test]
    fn a_key_is_found_that_is_asked_for_in_a_corner_only() {
        let read = |keys: &mut Keys<'_, '_>| {
            if keys.choice("how", &[("slow", 1), ("fast", 2)]) == Some(2) {
                keys.count("speed");
            }
            if keys.is_word("window", "none") {
                keys.text("why_none");
            } else if let Some(mut window) = keys.mapping("window") {
                window.required("why");
                if window.duration("size").is_some() {
                    window.required("unit");
                }
            }
        };
        let found = explore(&read);
        assert_eq!(names(&found), "how window{why size unit} speed why_none");
        let window = &found.key("window").unwrap().inner;
        let needs = |name| {
            let key = window.key(name).unwrap();
            let always = key.wanted.contains(&Wanted::Presence);
            (always, key.needed_beside.join(" "))
        };
        assert_eq!(needs("why"), (true, String::new()));
        assert_eq!(needs("size"), (false, String::new()));
        assert_eq!(needs("unit"), (false, "size".to_owned()));
        let how = found.key("how").map(|key| &key.wanted);
        assert_eq!(how, Some(&vec![Wanted::Choice(vec!["slow", "fast"])]));
    }
}
