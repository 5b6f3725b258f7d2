//! Holds what came of a test in one run against what came of it in another with as many partitions: all
//! that the topology writes and keeps, whether the test names it or not.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::judge;
use super::matching::Problem;
use super::play::Played;
use super::report::Subject;
use super::values::{Comparison, Difference};
use super::ways::Run;
use crate::config::cases::Compare;
use crate::testkit::record::TestRecord;

const WHOLE: Comparison = Comparison {
    compare: Compare::Whole,
    numbers_as_texts: false,
};

/// Things by what they are known by; several of one identity in their order.
type Grouped = BTreeMap<String, Vec<Json>>;

/// In what a later run does not agree with the first one, of each thing once.
pub(super) fn disagreements(
    first_run: Run,
    first: &Played,
    other: &Played,
) -> Vec<(Subject, Problem)> {
    let mut found = Vec::new();
    let mut add = |subject: Subject, first: &Grouped, other: &Grouped| {
        let difference = first_difference(first, other);
        found.extend(difference.map(|(identity, differences)| {
            let problem = Problem::Disagrees {
                with: first_run,
                identity,
                differences,
            };
            (subject, problem)
        }));
    };
    for (topic, records) in &first.topics {
        let other = &other.topics[topic];
        add(
            Subject::Topic(topic.clone()),
            &by_key(records),
            &by_key(other),
        );
    }
    for (table, rows) in &first.tables {
        let [rows, other] = unshared(rows, &other.tables[table]);
        add(Subject::Table(table.clone()), &rows, &other);
    }
    for (node, results) in &first.aggregates {
        let [results, other] = unshared(results, &other.aggregates[node]);
        add(Subject::Store(node.clone()), &results, &other);
    }
    for (node, rows) in &first.rows {
        let [rows, other] = [rows, &other.rows[node]].map(|rows| {
            let rows = rows.iter().map(judge::table_row);
            let known = |row: &Json| format!("key {}", row["key"]);
            rows.map(|row| (known(&row), vec![row])).collect()
        });
        add(Subject::Store(node.clone()), &rows, &other);
    }
    found
}

/// The first thing that is another in another run, and in what.
fn first_difference(first: &Grouped, other: &Grouped) -> Option<(String, Vec<Difference>)> {
    let mut identities: Vec<&String> = first.keys().chain(other.keys()).collect();
    identities.sort_unstable();
    identities.dedup();
    identities.into_iter().find_map(|identity| {
        let none = Vec::new();
        let first = first.get(identity).unwrap_or(&none);
        let other = other.get(identity).unwrap_or(&none);
        let count = first.len().max(other.len());
        let mut differences = (0..count).map(|at| between(first.get(at), other.get(at)));
        let differences = differences.find(|differences| !differences.is_empty())?;
        Some((identity.clone(), differences))
    })
}

/// What is in one place in one run and in another; of a thing that is there in only one of them, all of
/// it.
fn between(first: Option<&Json>, other: Option<&Json>) -> Vec<Difference> {
    match (first, other) {
        (Some(Json::Object(first)), Some(Json::Object(other))) => WHOLE.of_objects(first, other),
        (first, other) => {
            vec![Difference {
                field: "the whole".to_owned(),
                expected: first.cloned(),
                found: other.cloned(),
            }]
        }
    }
}

/// Records by their keys, each key's in order. Those without a key lie in partitions by chance.
fn by_key(records: &[TestRecord]) -> Grouped {
    let mut grouped = Grouped::new();
    for record in records {
        let record = judge::record(record);
        let identity = match &record["key"] {
            Json::Null => format!("the record {}", rounded(&record)),
            key => format!("key {key}"),
        };
        grouped.entry(identity).or_default().push(record);
    }
    grouped
}

/// Rows that are there in only one of two runs, those of one beside those of the other. Rows are in no
/// order, and nothing tells which of them replace one another.
fn unshared(first: &[Map<String, Json>], other: &[Map<String, Json>]) -> [Grouped; 2] {
    let texts = |rows: &[Map<String, Json>]| -> BTreeMap<String, Vec<Json>> {
        let mut texts = Grouped::new();
        for row in rows {
            let row = Json::Object(row.clone());
            texts
                .entry(rounded(&row).to_string())
                .or_default()
                .push(row);
        }
        texts
    };
    let (mut first, mut other) = (texts(first), texts(other));
    for (text, rows) in &mut first {
        if let Some(others) = other.get_mut(text) {
            let shared = rows.len().min(others.len());
            rows.truncate(rows.len() - shared);
            others.truncate(others.len() - shared);
        }
    }
    [first, other].map(|rows| {
        let rows: Vec<Json> = rows.into_values().flatten().collect();
        Grouped::from([("a row".to_owned(), rows)])
    })
}

/// Without the last digits of fractions, which depend on the order of additions.
fn rounded(value: &Json) -> Json {
    match value {
        Json::Number(number) if number.is_f64() => {
            Json::from(number.as_f64().map(|number| format!("{number:.8e}")))
        }
        Json::Array(values) => values.iter().map(rounded).collect(),
        Json::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), rounded(value)));
            Json::Object(fields.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testkit::cases::ways::Way;

    fn record(key: &str, value: &Json) -> TestRecord {
        TestRecord::json(value).key(key)
    }

    fn row(value: Json) -> Map<String, Json> {
        match value {
            Json::Object(row) => row,
            other => panic!("{other}"),
        }
    }

    /// In what two runs do not agree, in short.
    fn shown(first: &Played, other: &Played) -> Vec<String> {
        let run = Run {
            partitions: 1,
            way: Way::Straight,
        };
        let found = disagreements(run, first, other).into_iter();
        let short = found.map(|(subject, problem)| match problem {
            Problem::Disagrees {
                identity,
                differences,
                ..
            } => {
                let fields = differences.iter().map(|difference| {
                    let text = |value: &Option<Json>| match value {
                        Some(value) => value.to_string(),
                        None => "nothing".to_owned(),
                    };
                    let (first, other) = (text(&difference.expected), text(&difference.found));
                    format!("{}: {first}, {other}", difference.field)
                });
                format!(
                    "{subject}, {identity}: {}",
                    fields.collect::<Vec<_>>().join("; ")
                )
            }
            other => panic!("{other:?}"),
        });
        short.collect()
    }

    fn topic(records: Vec<TestRecord>) -> Played {
        Played {
            topics: BTreeMap::from([("sales".to_owned(), records)]),
            ..Played::default()
        }
    }

    #[test]
    fn records_are_compared_whole_and_in_the_order_of_each_key() {
        let [one, two] = [1, 2].map(|n| json!({"n": n}));
        let first = topic(vec![
            record("a", &one),
            record("b", &one),
            record("a", &two),
        ]);
        let same = topic(vec![
            record("b", &one),
            record("a", &one),
            record("a", &two),
        ]);
        assert!(shown(&first, &same).is_empty());
        let turned = topic(vec![
            record("a", &two),
            record("a", &one),
            record("b", &one),
        ]);
        assert_eq!(
            shown(&first, &turned),
            [r#"topic sales, key "a": value.n: 1, 2"#]
        );
        let twice = topic(vec![
            record("a", &one),
            record("b", &one),
            record("a", &two),
            record("b", &one),
        ]);
        let [found] = shown(&first, &twice).try_into().unwrap();
        assert!(
            found.starts_with(r#"topic sales, key "b": the whole: nothing, {"#),
            "{found}"
        );
    }

    #[test]
    fn records_without_a_key_are_in_no_order() {
        let records = [1, 2].map(|n| TestRecord::json(&json!({"n": n})));
        let [one, two] = records;
        let first = topic(vec![one.clone(), two.clone()]);
        assert!(shown(&first, &topic(vec![two, one.clone()])).is_empty());
        let [found] = shown(&first, &topic(vec![one])).try_into().unwrap();
        assert!(
            found.contains(r#"the whole: {"key":null"#) && found.ends_with(", nothing"),
            "{found}"
        );
    }

    #[test]
    fn rows_are_in_no_order_and_sums_may_differ_in_their_last_digits() {
        let table = |rows: Vec<Json>| Played {
            tables: BTreeMap::from([("sales".to_owned(), rows.into_iter().map(row).collect())]),
            ..Played::default()
        };
        let first = table(vec![
            json!({"shop": "a", "sum": 0.1 + 0.2}),
            json!({"shop": "b", "sum": 1}),
        ]);
        let same = table(vec![
            json!({"shop": "b", "sum": 1}),
            json!({"shop": "a", "sum": 0.3}),
        ]);
        assert!(shown(&first, &same).is_empty());
        let other = table(vec![
            json!({"shop": "a", "sum": 0.3}),
            json!({"shop": "b", "sum": 2}),
        ]);
        assert_eq!(shown(&first, &other), ["table sales, a row: sum: 1, 2"]);
    }
}
