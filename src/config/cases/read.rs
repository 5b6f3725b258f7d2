//! From the tree of a file to its tests. What is wrong is reported and left out.

use std::collections::BTreeMap;
use std::ops::Range;

use bumpalo::Bump;
use serde_json::Value as Json;

use super::expect::{owned_pairs, read_expectation};
use super::subjects::Subjects;
use super::{Compare, Expectation, GivenRecord, GivenValue, Step, TestCase};
use crate::config::document::{Content, Entry, Value};
use crate::config::keys::{Findings, Keys, items_of};
use crate::config::problem::{
    BAD_DURATION, DUPLICATE_TEST, IMPOSSIBLE_VALUE, MISSING_KEY, UNKNOWN_SUBJECT, WRONG_TYPE,
};
use crate::format::Language;
use crate::format::json::entries;
use crate::topology::finding::Place;
use crate::topology::graph::{Format, Source};
use crate::topology::nearest::did_you_mean;

const COMPARE: &[(&str, Compare)] = &[("named", Compare::Named), ("whole", Compare::Whole)];

/// With more partitions a test is only slower.
const MOST_PARTITIONS: u64 = 64;

/// What tests are read with.
pub(in crate::config) struct Reading<'a> {
    /// The text of the file.
    pub text: &'a str,
    /// What tests can name; none when the topology is wrong: then names are not checked.
    pub subjects: Option<&'a Subjects<'a>>,
}

impl Reading<'_> {
    /// The line of a place, from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    }
}

/// Reads the tests of a file: a list of them, or a mapping of their names.
pub(in crate::config) fn read(
    tests: &Entry,
    reading: &Reading<'_>,
    findings: &mut Findings,
) -> Vec<TestCase> {
    let place = Place::topology("tests");
    let read: Vec<(TestCase, Range<usize>)> = match &tests.value.content {
        Content::Map(entries) => {
            let entries = entries.iter();
            let read = entries.map(|entry| named_case(entry, &place, reading, findings));
            read.collect()
        }
        _ => {
            let items = items_of(&tests.value, place).into_iter();
            let read = items.map(|(item, place)| listed_case(item, place, reading, findings));
            read.collect()
        }
    };
    report_equal_names(&read, findings);
    read.into_iter().map(|(case, _)| case).collect()
}

/// A test under its name, with the place of that.
fn named_case(
    entry: &Entry,
    outer: &Place,
    reading: &Reading<'_>,
    findings: &mut Findings,
) -> (TestCase, Range<usize>) {
    let (span, place) = (entry.key_span.clone(), outer.clone().entry(&entry.key, 0));
    let mut keys = Keys::new(&entry.value, span.clone(), place, None, findings);
    let mut case = read_case(&mut keys, Some(&entry.key), reading);
    keys.finish();
    case.line = reading.line(&span);
    (case, span)
}

/// A test of a list, with the place of its name.
fn listed_case(
    item: &Value,
    place: Place,
    reading: &Reading<'_>,
    findings: &mut Findings,
) -> (TestCase, Range<usize>) {
    let mut keys = Keys::new(item, item.span.clone(), place, None, findings);
    let mut case = read_case(&mut keys, None, reading);
    let name = keys.span("name");
    keys.finish();
    case.line = reading.line(&item.span);
    (case, name.unwrap_or(item.span.clone()))
}

fn report_equal_names(read: &[(TestCase, Range<usize>)], findings: &mut Findings) {
    let mut names: BTreeMap<&str, &Range<usize>> = BTreeMap::new();
    // One without a name has been reported.
    for (case, span) in read.iter().filter(|(case, _)| !case.name.is_empty()) {
        if let Some(first) = names.get(case.name.as_str()) {
            let message = format!("two tests are called `{}`", case.name);
            let diagnostic = DUPLICATE_TEST.at(Some(span.clone()), message);
            let diagnostic = diagnostic.related((*first).clone(), "the first one is here");
            findings.diagnostics.push(diagnostic);
        } else {
            names.insert(&case.name, span);
        }
    }
}

/// Reads a test; one without `named` has its name inside.
pub(in crate::config) fn read_case(
    keys: &mut Keys<'_, '_>,
    named: Option<&str>,
    reading: &Reading<'_>,
) -> TestCase {
    let name = match named {
        Some(name) => name,
        None => keys.required("name"),
    };
    let start = keys.time("start");
    let partitions = partitions(keys);
    let compare = keys.choice("compare", COMPARE).unwrap_or_default();
    keys.require("given");
    let mut given = Vec::new();
    for (item, place) in keys.items("given") {
        let mut step = keys.inside(item, item.span.clone(), place);
        given.extend(read_step(&mut step, reading));
        step.finish();
    }
    keys.require("expect");
    let mut expect = Expectation::default();
    if let Some(mut inner) = keys.mapping("expect") {
        expect = read_expectation(&mut inner, reading);
        inner.finish();
    }
    TestCase {
        name: name.to_owned(),
        line: 0,
        start,
        partitions,
        compare,
        given,
        expect,
    }
}

fn partitions(keys: &mut Keys<'_, '_>) -> Vec<u32> {
    let mut counts = Vec::new();
    for text in keys.texts("partitions") {
        match text.parse() {
            Ok(count) if (1..=MOST_PARTITIONS).contains(&count) => counts.push(count as u32),
            _ => {
                let message = format!("there are no tests with {text} partitions");
                let span = keys.span("partitions");
                let help = format!("write a number from 1 to {MOST_PARTITIONS}, or several");
                keys.push("partitions", WRONG_TYPE.at(span, message).help(help));
            }
        }
    }
    counts
}

/// Reads one thing that happens.
pub(in crate::config) fn read_step(keys: &mut Keys<'_, '_>, reading: &Reading<'_>) -> Option<Step> {
    keys.one_of(&["advance", "value", "raw"]);
    for other in ["source", "topic", "key", "time", "partition", "headers"] {
        keys.exclude("advance", other);
    }
    keys.exclude("source", "topic");
    if keys.has("advance") {
        return advance(keys);
    }
    let source = keys.text("source");
    let topic = keys.text("topic");
    let key = keys.text_or_null("key");
    let value = keys.value("value");
    let raw = keys.text("raw");
    let time = keys.time("time");
    let headers = owned_pairs(keys.pairs("headers"));
    let partition = partition(keys);
    if !keys.has("value") && !keys.has("raw") {
        let message = "the key `value` is missing";
        let help = "add `value: { … }`; `value: null` writes a record without a value";
        keys.report_missing(MISSING_KEY.at(None, message).help(help));
    }
    let (topic, source) = destination(keys, source, topic, reading)?;
    let event = value.map(|value| event(keys, value, source));
    let key = match key {
        Some(key) => key.map(str::to_owned),
        None => event.as_ref().and_then(|event| own_key(event, source?)),
    };
    let event = event.filter(|event| !event.is_null());
    Some(Step::Record(GivenRecord {
        topic,
        key,
        value: event
            .map(GivenValue::Event)
            .or(raw.map(|raw| GivenValue::Raw(raw.to_owned()))),
        headers,
        time,
        partition,
    }))
}

fn partition(keys: &mut Keys<'_, '_>) -> Option<i32> {
    let partition = keys.count("partition")?;
    if partition >= MOST_PARTITIONS {
        let message = format!("there is no partition {partition}");
        let help = format!("a test has at most {MOST_PARTITIONS}, counted from 0");
        let span = keys.span("partition");
        keys.push("partition", WRONG_TYPE.at(span, message).help(help));
        return None;
    }
    i32::try_from(partition).ok()
}

fn advance(keys: &mut Keys<'_, '_>) -> Option<Step> {
    let by = keys.duration("advance")?;
    if by.0 < 0 {
        let diagnostic = BAD_DURATION.at(keys.span("advance"), "time does not go back");
        keys.push("advance", diagnostic.help("remove the minus"));
    }
    Some(Step::Advance(by.0))
}

/// The topic of a record, and the source that reads it, where that is known.
fn destination<'t>(
    keys: &mut Keys<'_, '_>,
    source: Option<&str>,
    topic: Option<&str>,
    reading: &Reading<'t>,
) -> Option<(String, Option<&'t Source>)> {
    let Some(subjects) = reading.subjects else {
        return Some((topic.or(source).unwrap_or_default().to_owned(), None));
    };
    let sources = subjects.sources();
    let names = sources.clone().map(|(name, _)| name);
    let topics = sources.clone().flat_map(|(_, source)| &source.topics);
    let topics = topics.map(String::as_str);
    if let Some(topic) = topic {
        let mut reads = sources.filter(|(_, source)| source.topics.iter().any(|t| t == topic));
        if let Some((_, source)) = reads.next() {
            return Some((topic.to_owned(), Some(source)));
        }
        let message = format!("no source reads the topic `{topic}`");
        unknown(
            keys,
            "topic",
            message,
            did_you_mean(topic, "topics", topics),
        );
        return None;
    }
    let found = match source {
        Some(name) => {
            let found = sources.clone().find(|(known, _)| *known == name);
            if found.is_none() {
                let message = format!("there is no source `{name}`");
                unknown(
                    keys,
                    "source",
                    message,
                    did_you_mean(name, "sources", names),
                );
                return None;
            }
            found
        }
        None => sources.clone().next().filter(|_| sources.count() == 1),
    };
    match found.map(|(_, source)| (source, source.topics.as_slice())) {
        Some((source, [only])) => Some((only.clone(), Some(source))),
        Some(_) => {
            let all = topics.collect::<Vec<_>>().join(", ");
            let message = "the source reads several topics";
            let help = format!("name one of them with `topic`: {all}");
            keys.report_missing(MISSING_KEY.at(None, message).help(help));
            None
        }
        None => {
            let all = names.collect::<Vec<_>>().join(", ");
            let message = "the key `source` is missing";
            let help = format!("name one of the sources: {all}");
            keys.report_missing(MISSING_KEY.at(None, message).help(help));
            None
        }
    }
}

/// Finds what a schema cannot hold; what is not written with a schema may be anything.
fn check_against_schema(keys: &mut Keys<'_, '_>, value: &Value, source: Option<&Source>) {
    let Some(schema) = source.and_then(|source| source.format.schema()) else {
        return;
    };
    let Content::Map(_) = value.content else {
        return;
    };
    let arena = Bump::new();
    let json = value.to_json();
    let Err(unfit) = schema.hold(entries(&json, &arena)) else {
        return;
    };
    let span = Some(innermost(value, unfit.path()).span.clone());
    let message = format!("the source's schema cannot hold this: {unfit}");
    let help = "give what it can hold; `raw` writes any text as it is";
    keys.push("value", IMPOSSIBLE_VALUE.at(span, message).help(help));
}

/// What stands at a path, as far as that goes.
fn innermost<'v>(value: &'v Value, path: &str) -> &'v Value {
    let mut found = value;
    for name in path.split('.') {
        let Content::Map(entries) = &found.content else {
            break;
        };
        match entries.iter().find(|entry| entry.key == name) {
            Some(entry) => found = &entry.value,
            None => break,
        }
    }
    found
}

/// The value of a record that is written.
fn event(keys: &mut Keys<'_, '_>, value: &Value, source: Option<&Source>) -> Json {
    let is_single = matches!(
        source.map(|source| &source.format),
        Some(Format::Text | Format::Bytes)
    );
    let without_schema = matches!(
        source.map(|source| &source.format),
        Some(Format::Schema(format))
            if format.schema.is_none() && format.language != Language::Json
    );
    match value.content {
        Content::Map(_) if without_schema => {
            let message = "the source has no schema with which this value could be written";
            let help = "give the source the schema as well, with `schema_file`";
            let span = Some(value.span.clone());
            keys.push("value", MISSING_KEY.at(span, message).help(help));
        }
        Content::Scalar(_) if is_single => {}
        Content::Map(_) | Content::Null | Content::Broken => {}
        Content::Scalar(_) | Content::List(_) => {
            let message = format!("expected a mapping, found {}", value.kind());
            let help = "a value is an object, or null; `raw` writes any text as it is";
            let span = Some(value.span.clone());
            keys.push("value", WRONG_TYPE.at(span, message).help(help));
        }
    }
    check_against_schema(keys, value, source);
    value.to_json()
}

/// The key of a record that says none: the text of the field by which its topic is keyed.
fn own_key(event: &Json, source: &Source) -> Option<String> {
    let path = source.key.as_ref()?;
    let field = path
        .segments()
        .try_fold(event, |outer, name| outer.get(name));
    match field? {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn unknown(keys: &mut Keys<'_, '_>, key: &'static str, message: String, help: Option<String>) {
    let diagnostic = UNKNOWN_SUBJECT.at(keys.span(key), message);
    keys.push(key, diagnostic.maybe_help(help));
}
