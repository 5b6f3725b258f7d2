//! The schema is what the readers read and what the reference says, and editors can rely on it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use expect_test::expect_file;
use jsonschema::Validator;

use super::*;
use crate::config::document::Value;
use crate::config::keys::Asked;
use crate::topology::finding::Step;

static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft7::new(&schema()).expect("a schema"));

static KINDS: LazyLock<Vec<Part>> = LazyLock::new(kind_parts);

/// What the schema has against a file.
fn complaints(yaml: &str) -> Vec<String> {
    let file = Value::parse(yaml).expect("YAML").to_json();
    let errors = VALIDATOR.iter_errors(&file);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// For files with which nothing is wrong, wherever they stand in tests.
#[track_caller]
pub(in crate::config) fn accepts(yaml: &str) {
    let complaints = complaints(yaml);
    assert!(complaints.is_empty(), "{yaml}\n{complaints:#?}");
}

/// Whatever is asked for while a file is read is in the schema.
#[track_caller]
pub(in crate::config) fn knows_what_is_asked(asked: &[Asked], kind_of: impl Fn(usize) -> String) {
    for asked in asked {
        let Some(node) = asked.place.node else {
            continue;
        };
        let word = kind_of(node);
        let part = KINDS.iter().find(|part| part.name == word);
        let mut mapping = &part.expect("a kind").mapping;
        for step in &asked.place.steps {
            let Step::Key(outer) = step else {
                continue;
            };
            mapping = &mapping.key(outer).expect("a mapping").inner;
        }
        let key = mapping.key(asked.key);
        let is_known = key.is_some_and(|key| match asked.wanted {
            Wanted::Presence => !key.wanted.is_empty(),
            _ => key.wanted.contains(&asked.wanted),
        });
        assert!(is_known, "the schema of {word} lacks {asked:?}");
    }
}

fn shipped() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topology");
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn the_schema_is_one() {
    assert!(jsonschema::draft7::meta::is_valid(&schema()));
}

#[test]
fn the_file_of_the_schema_is_up_to_date() {
    expect_file!["../../../docs/topology.schema.json"].assert_eq(&schema_text());
}

#[test]
fn every_key_that_is_read_is_described_and_of_a_known_kind() {
    let mut generator = Generator::new();
    generator.file();
    assert!(generator.gaps.is_empty(), "{:#?}", generator.gaps);
}

#[test]
fn every_key_that_is_described_is_read() {
    let reference = Reference::read();
    let mut parts = kind_parts();
    parts.push(file_part());
    parts.extend(case_parts());
    let is_read = |heading: &str, of: &str, key: &str| {
        parts
            .iter()
            .filter(|part| part.heading == heading)
            .any(|part| {
                let own = part.of == of && part.mapping.key(key).is_some();
                let inner = part.mapping.key(of);
                own || inner.is_some_and(|inner| inner.inner.key(key).is_some())
            })
    };
    let mut described = 0;
    let mut headings: Vec<&str> = parts.iter().map(|part| part.heading.as_str()).collect();
    headings.dedup();
    for heading in headings {
        for (of, key) in reference.keys(heading) {
            assert!(
                is_read(heading, of, key),
                "{heading} {of}: nobody reads {key}"
            );
            described += 1;
        }
    }
    assert!(described > 60, "only {described} keys");
}

#[test]
fn the_shipped_files_are_valid_and_name_the_schema() {
    let files = shipped();
    assert!(files.len() >= 2, "only {} files", files.len());
    for (path, text) in files {
        let first = text.lines().next();
        let named = "# yaml-language-server: $schema=../docs/topology.schema.json";
        assert_eq!(first, Some(named), "{}", path.display());
        accepts(&text);
    }
}

#[test]
fn typical_mistakes_are_refused() {
    const FILE: &str = "
app: a
guarantee: exactly_once
nodes:
  s: { source: { topic: t, key: wiki, fields: { wiki: string }, max_ahead: 1h } }
  f: { filter: { from: s, where: bot } }
  a: { aggregate: { from: f, by: [wiki], window: { tumbling: 1m, grace: 30s }, set: { n: count() } } }
  q: { sql: { from: a, table: t, shared: false } }
tests:
  - name: one
    given: [{ source: s, value: { wiki: w }, time: 2026-05-05T11:17:40Z }, { advance: 1m }]
    expect: { tables: { t: [{ wiki: w, n: 1 }] }, drops: { a: { late: 1 } } }
";
    #[track_caller]
    fn refused(written: &str, mistake: &str) {
        assert!(FILE.contains(written), "{written}");
        let wrong = FILE.replace(written, mistake);
        assert!(!complaints(&wrong).is_empty(), "{mistake} is accepted");
    }
    accepts(FILE);
    refused("app: a\n", "");
    refused("app: a\n", "app: a\nversion: 3\n");
    refused("exactly_once", "at_most_once");
    refused("topic: t,", "topik: t,");
    refused("topic: t,", "");
    refused("topic: t,", "topic: t, topics: [t, u],");
    refused("fields: { wiki: string }", "fields: { wiki: text }");
    refused("fields: { wiki: string }", "fields: [wiki]");
    refused("max_ahead: 1h", "max_ahead: 60");
    refused("filter:", "fliter:");
    refused("from: s, where: bot", "where: bot");
    refused("from: s, where: bot", "from: s");
    refused(
        "{ filter: { from: s, where: bot } }",
        "{ from: s, where: bot }",
    );
    refused("{ filter:", "{ log: { from: s }, filter:");
    refused("by: [wiki], ", "");
    refused("window: { tumbling: 1m, grace: 30s }, ", "");
    refused("window: { tumbling: 1m, grace: 30s }", "window: never");
    refused("tumbling: 1m, grace", "tumbling: 1m, session: 1m, grace");
    refused("tumbling: 1m, grace", "grace");
    refused("tumbling: 1m, grace", "hopping: 1m, grace");
    refused("tumbling: 1m, grace", "hopping: 1m, advance: 5, grace");
    refused("grace: 30s", "grace: 30sec");
    refused("set: { n: count() }", "set: [count()]");
    refused("shared: false", "shared: maybe");
    refused("name: one", "title: one");
    refused("source: s, value: { wiki: w }", "source: s");
    refused("source: s, value: { wiki: w }", "source: s, value: [w]");
    refused("time: 2026-05-05T11:17:40Z", "time: yesterday");
    refused("{ advance: 1m }", "{ advance: 1m, key: a }");
    refused("tables: { t: [{ wiki: w, n: 1 }] }", "rows: { t: [] }");
    refused("late: 1", "lated: 1");
    refused("late: 1", "late: many");
}

#[test]
fn what_check_takes_is_taken() {
    accepts("
app: ${APP:-a}
guarantee: ${GUARANTEE}
nodes:
  s: { source: { topics: [t, u], null_values: pass, max_ahead: none } }
  m: { map: { from: s, set: { a: 1, b: true, c: null } } }
  e: { aggregate: { from: m, by: wiki, window: none, set: { n: count() } } }
  w: { aggregate: { from: m, by: wiki, window: { hopping: 1h, advance: 5m, grace: '${GRACE:-1d}' }, set: { n: count() } } }
tests:
  two:
    partitions: [1, 3]
    given: { source: s, key: null, raw: '{', partition: 0 }
    expect: { topics: { x: { key: null, value: null } }, stores: {} }
");
}
