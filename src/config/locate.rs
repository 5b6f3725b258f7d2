//! From the places of findings to spans of the file.

use std::ops::Range;

use super::document::{Content, Entry, Value};
use super::lower::Site;
use super::quoting;
use super::report::Diagnostic;
use crate::topology::finding::{Finding, Part, Place, Step};

/// A file and where its nodes stand.
pub(super) struct Locator<'d> {
    pub source: &'d str,
    pub root: &'d Value,
    pub sites: &'d [Site<'d>],
}

/// What is at a place.
struct Spot<'d> {
    /// The name of the entry; for an item of a list, the item.
    name: Range<usize>,
    value: Option<&'d Value>,
    /// Whether the whole way could be gone.
    is_exact: bool,
}

impl Locator<'_> {
    /// The finding, with spans of the file instead of places.
    pub fn diagnostic(&self, finding: Finding) -> Diagnostic {
        let span = self.span(&finding.place, finding.range.as_ref());
        let related = finding.related.into_iter();
        let related = related
            .map(|(place, what)| (self.span(&place, None), what))
            .collect();
        Diagnostic {
            code: finding.code,
            severity: finding.severity,
            message: finding.message,
            help: finding.help,
            node: finding.node,
            key: Some(finding.place.to_string()).filter(|keys| !keys.is_empty()),
            span: Some(span),
            related,
        }
    }

    fn span(&self, place: &Place, range: Option<&Range<usize>>) -> Range<usize> {
        let spot = self.spot(place);
        let value = spot.value.filter(|value| !value.span.is_empty());
        match value {
            Some(value) if spot.is_exact && place.part == Part::Value => self.within(value, range),
            _ => spot.name,
        }
    }

    /// The part of a text; all of it when it cannot be told apart.
    fn within(&self, value: &Value, range: Option<&Range<usize>>) -> Range<usize> {
        let (Content::Scalar(text), Some(range)) = (&value.content, range) else {
            return value.span.clone();
        };
        let written = &self.source[value.span.clone()];
        match quoting::locate(written, text, range) {
            Some(part) => part.start + value.span.start..part.end + value.span.start,
            None => value.span.clone(),
        }
    }

    /// As near to the place as the file goes: a missing key is at the node's kind.
    fn spot(&self, place: &Place) -> Spot<'_> {
        let mut spot = match place.node.map(|number| &self.sites[number]) {
            None => Spot {
                name: self.start(),
                value: Some(self.root),
                is_exact: true,
            },
            Some(site) if place.steps.is_empty() => Spot {
                name: site.name_span.clone(),
                value: None,
                is_exact: true,
            },
            Some(site) => Spot {
                name: site
                    .kind
                    .map_or(&site.name_span, |kind| &kind.key_span)
                    .clone(),
                value: site.kind.map(|kind| &kind.value),
                is_exact: true,
            },
        };
        for step in &place.steps {
            match spot.value.and_then(|value| go(value, step)) {
                Some(next) => spot = next,
                None => {
                    return Spot {
                        is_exact: false,
                        ..spot
                    };
                }
            }
        }
        spot
    }

    /// The first line of the file, for what is about the file as a whole.
    fn start(&self) -> Range<usize> {
        let start = self.root.span.start;
        let line = self.source[start..]
            .find('\n')
            .unwrap_or(self.source.len() - start);
        start..start + line
    }
}

/// One step into a value.
fn go<'d>(value: &'d Value, step: &Step) -> Option<Spot<'d>> {
    let entry = |entry: &'d Entry| Spot {
        name: entry.key_span.clone(),
        value: Some(&entry.value),
        is_exact: true,
    };
    let item = |value: &'d Value| Spot {
        name: value.span.clone(),
        value: Some(value),
        is_exact: true,
    };
    match (&value.content, step) {
        (Content::Map(entries), Step::Key(key)) => find(entries, key, 0).map(entry),
        (Content::Map(entries), Step::Entry(name, nth)) => find(entries, name, *nth).map(entry),
        (Content::List(items), Step::Item(index)) => items.get(*index).map(item),
        // A single text where a list may be.
        (Content::Scalar(_), Step::Item(0)) => Some(item(value)),
        _ => None,
    }
}

/// The entry of that name; the topics of a source may be given as `topic`.
fn find<'d>(entries: &'d [Entry], name: &str, nth: usize) -> Option<&'d Entry> {
    let named = |name: &str| entries.iter().filter(|entry| entry.key == name).nth(nth);
    let found = named(name);
    if name == "topics" {
        found.or_else(|| named("topic"))
    } else {
        found
    }
}
