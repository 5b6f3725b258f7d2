//! Holds what came of a test against what it expects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::matching::{Expected, Found, Problem, match_all};
use super::play::Played;
use super::report::Subject;
use super::values::{Comparison, Difference};
use crate::config::cases::{ExpectedRecord, ExpectedRow, TestCase};
use crate::testkit::record::TestRecord;
use crate::testkit::stores::TableRow;
use crate::topology::drop_reason::DropReason;

/// All that is not as the test expects it.
pub(super) fn judge(case: &TestCase, played: &Played) -> Vec<(Subject, Problem)> {
    let expect = &case.expect;
    let comparison = Comparison {
        compare: case.compare,
        numbers_as_texts: false,
    };
    let mut problems = Vec::new();
    let mut add = |subject: Subject, found: Vec<Problem>| {
        problems.extend(found.into_iter().map(|problem| (subject.clone(), problem)));
    };
    for (topic, expected) in &expect.topics {
        let found = played.topics[topic].iter().map(record).collect();
        let found = records(comparison, expected, found);
        add(Subject::Topic(topic.clone()), found);
    }
    for (node, expected) in &expect.rows {
        let found = played.rows[node].iter().map(table_row).collect();
        let found = records(comparison, expected, found);
        add(Subject::Store(node.clone()), found);
    }
    for (table, expected) in &expect.tables {
        let in_table = Comparison {
            numbers_as_texts: true,
            ..comparison
        };
        let found = rows(in_table, expected, &played.tables[table]);
        add(Subject::Table(table.clone()), found);
    }
    for (node, expected) in &expect.aggregates {
        let found = rows(comparison, expected, &played.aggregates[node]);
        add(Subject::Store(node.clone()), found);
    }
    add(Subject::Drops, drops(case, played));
    problems
}

/// A record in parts, of which a test may name some.
pub(super) fn record(record: &TestRecord) -> Json {
    let value = record.value.as_deref().map(|value| {
        let json = serde_json::from_slice::<Json>(value);
        json.unwrap_or_else(|_| Json::from(String::from_utf8_lossy(value)))
    });
    let mut parts = json!({
        "key": record.key_text(),
        "value": value,
        "time": record.timestamp.map(|time| time.to_string()),
    });
    if !record.headers.is_empty() {
        parts["headers"] = headers(record);
    }
    parts
}

/// The headers of a record by name; of several of a name the last counts.
fn headers(record: &TestRecord) -> Json {
    let headers = record.headers.iter();
    headers
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value)))
        .collect()
}

pub(super) fn table_row(row: &TableRow) -> Json {
    json!({"key": row.key, "value": row.fields, "time": row.timestamp.to_string()})
}

fn records(comparison: Comparison, expected: &[ExpectedRecord], found: Vec<Json>) -> Vec<Problem> {
    let expected: Vec<Expected> = expected
        .iter()
        .map(|expected| {
            let mut parts = Map::new();
            if let Some(key) = &expected.key {
                parts.insert("key".to_owned(), key.clone().into());
            }
            if let Some(value) = &expected.value {
                parts.insert("value".to_owned(), value.clone());
            }
            if !expected.headers.is_empty() {
                let headers = expected.headers.iter().cloned();
                parts.insert("headers".to_owned(), headers.collect());
            }
            if let Some(time) = expected.time {
                parts.insert("time".to_owned(), time.to_string().into());
            }
            Expected {
                line: expected.line,
                identity: parts.get("key").map(|key| format!("key {key}")),
                content: Json::Object(parts),
            }
        })
        .collect();
    let found: Vec<Found> = found
        .into_iter()
        .map(|content| Found {
            identity: format!("key {}", content["key"]),
            content,
        })
        .collect();
    match_all(&expected, &found, |expected, found| {
        // The parts that it does not name do not matter, however values are compared.
        let mut differences = Vec::new();
        for (part, value) in expected.as_object().into_iter().flatten() {
            comparison.values(part, value, found.get(part), &mut differences);
        }
        differences
    })
}

fn rows(
    comparison: Comparison,
    expected: &[ExpectedRow],
    found: &[Map<String, Json>],
) -> Vec<Problem> {
    let keyed = expected.iter().find(|expected| !expected.key.is_empty());
    let key: &[String] = keyed.map_or(&[], |expected| &expected.key);
    let identity = |row: &Map<String, Json>| {
        let columns = key.iter().map(|column| {
            let value = row.get(column).unwrap_or(&Json::Null);
            format!("{column} {value}")
        });
        columns.collect::<Vec<_>>().join(", ")
    };
    let expected: Vec<Expected> = expected
        .iter()
        .map(|expected| Expected {
            line: expected.line,
            identity: (!expected.key.is_empty()).then(|| identity(&expected.fields)),
            content: Json::Object(expected.fields.clone()),
        })
        .collect();
    let found: Vec<Found> = found
        .iter()
        .map(|row| Found {
            identity: identity(row),
            content: Json::Object(row.clone()),
        })
        .collect();
    match_all(&expected, &found, |expected, found| -> Vec<Difference> {
        match (expected, found) {
            (Json::Object(expected), Json::Object(found)) => {
                comparison.of_objects(expected, &parsed(expected, found))
            }
            _ => unreachable!("rows are objects"),
        }
    })
}

/// The row, with the lists and objects that are expected in place of their JSON, as tables have them.
fn parsed(expected: &Map<String, Json>, found: &Map<String, Json>) -> Map<String, Json> {
    let mut found = found.clone();
    for (column, value) in &mut found {
        let is_expected = matches!(expected.get(column), Some(Json::Array(_) | Json::Object(_)));
        if let (true, Json::String(text)) = (is_expected, &*value)
            && let Ok(parsed) = serde_json::from_str(text)
        {
            *value = parsed;
        }
    }
    found
}

/// Of drops there are only those that the test names.
fn drops(case: &TestCase, played: &Played) -> Vec<Problem> {
    let mut expected: BTreeMap<(&str, DropReason), u64> = BTreeMap::new();
    for (node, reason, count) in &case.expect.drops {
        *expected.entry((node, *reason)).or_default() += count;
    }
    let found = played.drops.keys();
    let found = found.map(|(node, reason)| (node.as_str(), *reason));
    let all: BTreeSet<(&str, DropReason)> = expected.keys().copied().chain(found).collect();
    let mut problems = Vec::new();
    for (node, reason) in all {
        let expected = expected.get(&(node, reason)).copied().unwrap_or(0);
        let found = played.drops.get(&(node.to_owned(), reason));
        let found = found.copied().unwrap_or(0);
        if expected != found {
            problems.push(Problem::Drops {
                node: node.to_owned(),
                reason,
                expected,
                found,
                messages: messages(played, node, reason),
            });
        }
    }
    problems
}

fn messages(played: &Played, node: &str, reason: DropReason) -> Vec<String> {
    let letters = played.dead_letters.iter();
    let of_node = letters.filter(|letter| {
        let has = |name: &str, text: &str| letter.header_text(name).as_deref() == Some(text);
        has("tidemill.node", node) && has("tidemill.reason", reason.name())
    });
    let mut messages: Vec<String> = of_node
        .filter_map(|letter| Some(letter.header_text("tidemill.message")?.into_owned()))
        .collect();
    messages.dedup();
    messages
}
