//! What tests expect: read, and held against the fields that there are.

use serde_json::{Map, Value as Json};

use super::fit::fit;
use super::read::Reading;
use super::subjects::{Fields, Kept, Subjects};
use super::{Expectation, ExpectedRecord, ExpectedRow};
use crate::config::document::{Content, Entry};
use crate::config::keys::{Keys, items_of};
use crate::config::problem::{
    IMPOSSIBLE_VALUE, Kind, UNKNOWN_CHOICE, UNKNOWN_FIELD, UNKNOWN_SUBJECT, WRONG_TYPE,
};
use crate::topology::drop_reason::DropReason;
use crate::topology::finding::Place;
use crate::topology::nearest::did_you_mean;
use crate::value::ValueType;

/// Reads what is to be there.
pub(in crate::config) fn read_expectation(
    keys: &mut Keys<'_, '_>,
    reading: &Reading<'_>,
) -> Expectation {
    let mut expect = Expectation::default();
    if let Some(mut topics) = keys.named("topics") {
        read_topics(&mut topics, reading, &mut expect);
    }
    if let Some(mut tables) = keys.named("tables") {
        read_tables(&mut tables, reading, &mut expect);
    }
    if let Some(mut stores) = keys.named("stores") {
        read_stores(&mut stores, reading, &mut expect);
    }
    if let Some(mut drops) = keys.named("drops") {
        read_drops(&mut drops, reading, &mut expect);
    }
    expect
}

fn read_topics(topics: &mut Keys<'_, '_>, reading: &Reading<'_>, expect: &mut Expectation) {
    for (entry, place) in topics.any() {
        let fields = subject(topics, entry, reading, "topics", |subjects| {
            let message = format!("nothing writes the topic `{}`", entry.key);
            let found = subjects.topic(&entry.key);
            found.ok_or_else(|| (message, owned(subjects.topics())))
        });
        let records = records(topics, entry, place, fields.as_ref(), reading);
        expect.topics.push((entry.key.clone(), records));
    }
}

fn read_tables(tables: &mut Keys<'_, '_>, reading: &Reading<'_>, expect: &mut Expectation) {
    for (entry, place) in tables.any() {
        let fields = subject(tables, entry, reading, "tables", |subjects| {
            let message = format!("nothing writes the table `{}`", entry.key);
            let found = subjects.table(&entry.key);
            found.ok_or_else(|| (message, owned(subjects.tables())))
        });
        let rows = rows(tables, entry, place, fields.as_ref(), reading);
        expect.tables.push((entry.key.clone(), rows));
    }
}

fn read_stores(stores: &mut Keys<'_, '_>, reading: &Reading<'_>, expect: &mut Expectation) {
    for (entry, place) in stores.any() {
        let kept = subject(
            stores,
            entry,
            reading,
            "aggregates and tables",
            |subjects| {
                let message = format!("there is no aggregate or table `{}`", entry.key);
                let found = subjects.kept(&entry.key);
                found.ok_or_else(|| (message, owned(subjects.stores())))
            },
        );
        let name = entry.key.clone();
        match kept {
            Some(Kept::Results(fields)) => {
                let rows = rows(stores, entry, place, Some(&fields), reading);
                expect.aggregates.push((name, rows));
            }
            Some(Kept::Rows(fields)) => {
                let records = records(stores, entry, place, Some(&fields), reading);
                expect.rows.push((name, records));
            }
            None => {}
        }
    }
}

fn read_drops(drops: &mut Keys<'_, '_>, reading: &Reading<'_>, expect: &mut Expectation) {
    for (entry, place) in drops.any() {
        subject(drops, entry, reading, "nodes", |subjects| {
            let message = format!("there is no node `{}`", entry.key);
            let nodes = subjects.nodes();
            let found = nodes.contains(&entry.key.as_str()).then_some(());
            found.ok_or_else(|| (message, owned(nodes)))
        });
        let mut reasons = drops.inside(&entry.value, entry.key_span.clone(), place);
        for (reason, _) in reasons.any() {
            if let Some((reason, count)) = read_drop(&mut reasons, reason) {
                expect.drops.push((entry.key.clone(), reason, count));
            }
        }
    }
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// What is known of the thing that an entry names; reports one that is not there. None where nothing is
/// known.
fn subject<'s, T>(
    keys: &mut Keys<'_, '_>,
    entry: &Entry,
    reading: &Reading<'s>,
    what: &str,
    find: impl FnOnce(&'s Subjects<'s>) -> Result<T, (String, Vec<String>)>,
) -> Option<T> {
    match find(reading.subjects?) {
        Ok(found) => Some(found),
        Err((message, known)) => {
            let help = did_you_mean(&entry.key, what, known.iter().map(String::as_str));
            let diagnostic = UNKNOWN_SUBJECT.at(Some(entry.key_span.clone()), message);
            keys.push(&entry.key, diagnostic.maybe_help(help));
            None
        }
    }
}

fn records<'d>(
    keys: &mut Keys<'d, '_>,
    entry: &'d Entry,
    place: Place,
    fields: Option<&Fields<'_>>,
    reading: &Reading<'_>,
) -> Vec<ExpectedRecord> {
    let mut records = Vec::new();
    for (item, place) in items_of(&entry.value, place) {
        let mut inner = keys.inside(item, item.span.clone(), place);
        let mut record = read_record(&mut inner, fields);
        inner.finish();
        record.line = reading.line(&item.span);
        records.push(record);
    }
    records
}

/// Reads a record that is to be there.
pub(in crate::config) fn read_record(
    keys: &mut Keys<'_, '_>,
    fields: Option<&Fields<'_>>,
) -> ExpectedRecord {
    let key = keys.text_or_null("key");
    let value = keys.value("value");
    let time = keys.time("time");
    let headers = owned_pairs(keys.pairs("headers"));
    let value = value.map(|value| match &value.content {
        Content::Map(entries) => Json::Object(fitted(keys, "value", entries, fields)),
        _ => value.to_json(),
    });
    ExpectedRecord {
        line: 0,
        key: key.map(|key| key.map(str::to_owned)),
        value,
        headers,
        time,
    }
}

/// Names and texts.
pub(super) fn owned_pairs(pairs: Vec<(&str, &str)>) -> Vec<(String, String)> {
    let pairs = pairs.into_iter();
    let pairs = pairs.map(|(name, text)| (name.to_owned(), text.to_owned()));
    pairs.collect()
}

fn rows<'d>(
    keys: &mut Keys<'d, '_>,
    entry: &'d Entry,
    place: Place,
    fields: Option<&Fields<'_>>,
    reading: &Reading<'_>,
) -> Vec<ExpectedRow> {
    let mut rows = Vec::new();
    for (item, place) in items_of(&entry.value, place) {
        let mut inner = keys.inside(item, item.span.clone(), place);
        let entries: Vec<&Entry> = inner.any().map(|(entry, _)| entry).collect();
        let named = fitted(&mut inner, "", entries, fields);
        let key = fields.map(Fields::key).unwrap_or_default();
        let has_all = key.iter().all(|field| named.contains_key(*field));
        rows.push(ExpectedRow {
            line: reading.line(&item.span),
            fields: named,
            key: if has_all { owned(key) } else { Vec::new() },
        });
    }
    rows
}

/// The fields of an expected object, as they look where they are found. Reports those that are never
/// there, and values that a column never holds.
fn fitted<'e>(
    keys: &mut Keys<'_, '_>,
    inside: &str,
    entries: impl IntoIterator<Item = &'e Entry>,
    fields: Option<&Fields<'_>>,
) -> Map<String, Json> {
    let mut fit_all = Map::new();
    for entry in entries {
        let name = entry.key.as_str();
        let dot = if inside.is_empty() { "" } else { "." };
        let mut report = |kind: Kind, span, message: String, help: Option<String>| {
            let diagnostic = kind.at(Some(span), message).maybe_help(help);
            keys.push(&format!("{inside}{dot}{name}"), diagnostic);
        };
        let value = entry.value.to_json();
        let kind = match fields {
            None => Some(ValueType::Any),
            Some(fields) => fields.type_of(name),
        };
        let Some(kind) = kind else {
            let known = fields.map(Fields::names).unwrap_or_default();
            let help = did_you_mean(name, "fields", known);
            let message = format!("there is never a field `{name}`");
            report(UNKNOWN_FIELD, entry.key_span.clone(), message, help);
            continue;
        };
        let fitted = fit(&value, kind);
        if let (Err(expected), true) = (&fitted, fields.is_some_and(|fields| fields.are_columns)) {
            let message = format!("`{name}` is of type {kind} and is never {value}");
            let help = Some(format!("expect {expected}"));
            report(IMPOSSIBLE_VALUE, entry.span(), message, help);
        }
        fit_all.insert(name.to_owned(), fitted.unwrap_or(value));
    }
    fit_all
}

fn read_drop(keys: &mut Keys<'_, '_>, entry: &Entry) -> Option<(DropReason, u64)> {
    let named = |reason: &DropReason| reason.name() == entry.key;
    let Some(reason) = DropReason::ALL.into_iter().find(named) else {
        let message = format!("records are not dropped for the reason `{}`", entry.key);
        let reasons = DropReason::ALL.map(DropReason::name);
        let help = did_you_mean(&entry.key, "reasons", reasons);
        let diagnostic = UNKNOWN_CHOICE.at(Some(entry.key_span.clone()), message);
        keys.push(&entry.key, diagnostic.maybe_help(help));
        return None;
    };
    let count = match &entry.value.content {
        Content::Scalar(text) => text.parse().ok(),
        _ => None,
    };
    if count.is_none() {
        let message = "expected a whole number: how many records were dropped";
        let help = format!("write `{}: 1`", entry.key);
        let diagnostic = WRONG_TYPE.at(Some(entry.span()), message).help(help);
        keys.push(&entry.key, diagnostic);
    }
    Some((reason, count?))
}
