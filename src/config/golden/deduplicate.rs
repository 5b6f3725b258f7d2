//! Mistakes in deduplication.

use expect_test::{Expect, expect};

use super::shows;

/// A deduplicate with these settings behind a source with those, in front of a topic.
#[track_caller]
fn deduplicate(source: &str, settings: &str, expected: Expect) {
    let yaml = format!(
        "app: a\nnodes:\n  s: {{ source: {{ topic: t{source} }} }}\n  \
         first: {{ deduplicate: {{ from: s, {settings} }} }}\n  \
         k: {{ kafka: {{ from: first, topic: u }} }}\n"
    );
    shows(&yaml, expected);
}

#[test]
fn settings_that_are_missing_or_unknown() {
    deduplicate(
        "",
        "by: []",
        expect![[r#"
        error[Y006]: the key `within` is missing
         --> t.yaml:4:12
          |
        4 |   first: { deduplicate: { from: s, by: [] } }
          |            ^^^^^^^^^^^
          |
          = help: add `within: …`"#]],
    );
    deduplicate(
        "",
        "within: 1h, on_duplicate: stop",
        expect![[r#"
        error[Y009]: `on_duplicate` cannot be `stop`
         --> t.yaml:4:62
          |
        4 |   first: { deduplicate: { from: s, within: 1h, on_duplicate: stop } }
          |                                                              ^^^^
          |
          = help: it is drop or dead_letter"#]],
    );
    deduplicate(
        ", key: wiki",
        "within: 1h, by: [wiki, wiki, nothing(x)]",
        expect![[r#"
            error[T022]: `wiki` is named twice
             --> t.yaml:4:59
              |
            4 |   first: { deduplicate: { from: s, within: 1h, by: [wiki, wiki, nothing(x)] } }
              |                                                     ----  ^^^^
              |                                                     |
              |                                                     the first one is here
              |
              = help: name it once

            error[T030]: unknown function `nothing`
             --> t.yaml:4:65
              |
            4 |   first: { deduplicate: { from: s, within: 1h, by: [wiki, wiki, nothing(x)] } }
              |                                                                 ^^^^^^^
              |
              = help: docs/EXPRESSIONS.md has an example of each operator and function"#]],
    );
}

#[test]
fn t095_no_time_and_t044_a_grace_of_less() {
    deduplicate(
        "",
        "within: 0s, grace: -1s",
        expect![[r#"
            error[T095]: `within` must be longer than nothing, found 0s
             --> t.yaml:4:44
              |
            4 |   first: { deduplicate: { from: s, within: 0s, grace: -1s } }
              |                                            ^^
              |
              = help: `within: 1h` drops a record if another one with its key has passed whose time is at most an hour away

            error[T044]: a grace cannot be negative, found -1s
             --> t.yaml:4:55
              |
            4 |   first: { deduplicate: { from: s, within: 0s, grace: -1s } }
              |                                                       ^^^
              |
              = help: `0s` judges no record that is older than the newest one"#]],
    );
}

#[test]
fn t096_equal_records_in_different_partitions() {
    deduplicate(
        "",
        "within: 1h, by: meta.id",
        expect![[r#"
            error[T096]: records with equal `meta.id` may be in different partitions
             --> t.yaml:4:52
              |
            4 |   first: { deduplicate: { from: s, within: 1h, by: meta.id } }
              |                                                    ^^^^^^^
              |
              = help: if the topic is keyed by `meta.id`, say so: `key: meta.id` of the source; or make this the key, by a `select_key` in front, and leave `by` out"#]],
    );
    deduplicate(
        ", key: wiki",
        "within: 1h, by: meta.id",
        expect![[r#"
            error[T096]: records with equal `meta.id` may be in different partitions
             --> t.yaml:4:52
              |
            4 |   first: { deduplicate: { from: s, within: 1h, by: meta.id } }
              |                                                    ^^^^^^^
              |
              = help: the topic is keyed by `wiki`: name it in `by` too, if equal records agree in it; or make this the key, by a `select_key` in front, and leave `by` out"#]],
    );
    deduplicate(
        "",
        "within: 1h, by: user.lower()",
        expect![[r#"
            error[T096]: records with equal `user.lower()` may be in different partitions
             --> t.yaml:4:52
              |
            4 |   first: { deduplicate: { from: s, within: 1h, by: user.lower() } }
              |                                                    ^^^^^^^^^^^^
              |
              = help: name the field in `by` by which the topic is keyed (`key` of the source); or make this the key, by a `select_key` in front, and leave `by` out"#]],
    );
    deduplicate(
        ", key: wiki",
        "within: 1h, by: [wiki, meta.id]",
        expect![[r#""#]],
    );
    deduplicate(
        "",
        "within: 1h, by: [record_key(), meta.id]",
        expect![[r#""#]],
    );
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  users: { select_key: { from: s, key: user } }
  first: { deduplicate: { from: users, within: 1h } }
  k: { kafka: { from: first, topic: u } }
",
        expect![""],
    );
}

#[test]
fn t096_a_key_that_is_another_one_than_in_the_topic() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, key: wiki } }
  closed: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, emit: close, set: { n: count() } } }
  users: { select_key: { from: s, key: user } }
  a: { deduplicate: { from: closed, within: 1h, by: [wiki, n] } }
  b: { deduplicate: { from: closed, within: 1h, by: [record_key(), n] } }
  c: { deduplicate: { from: users, within: 1h, by: [record_key(), meta.id] } }
  all: { merge: { from: [b, c] } }
  k: { kafka: { from: all, topic: u } }
  l: { kafka: { from: a, topic: v } }
",
        expect![[r#"
            error[T096]: records with equal `wiki` may be in different partitions
             --> t.yaml:7:53
              |
            7 |   a: { deduplicate: { from: closed, within: 1h, by: [wiki, n] } }
              |                                                     ^^^^^^^^^
              |
              = help: put `record_key()` into `by` too, if equal records have equal keys: then they are moved to the partition of their key. A `select_key` in front makes another one the key"#]],
    );
}

#[test]
fn t097_rows_that_replace_one_another() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, null_values: pass } }
  n: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { n: count() } } }
  paced: { suppress: { from: n, for: 1m } }
  rows: { table: { from: s } }
  adults: { filter: { from: rows, where: age >= 18 } }
  a: { deduplicate: { from: adults, within: 1h } }
  b: { deduplicate: { from: paced, within: 1h } }
  all: { merge: { from: [a, b] } }
  k: { kafka: { from: all, topic: u } }
",
        expect![[r#"
            error[T097]: `rows` gives rows that replace one another: the later one counts, and here it would be dropped
             --> t.yaml:9:29
              |
            9 |   a: { deduplicate: { from: adults, within: 1h } }
              |                             ^^^^^^
              |
              = help: put the deduplicate in front of `rows`, or a `to_stream` between them, where each update is a record of its own

            error[T097]: `paced` gives rows that replace one another: the later one counts, and here it would be dropped
              --> t.yaml:10:29
               |
            10 |   b: { deduplicate: { from: paced, within: 1h } }
               |                             ^^^^^
               |
               = help: put the deduplicate in front of `paced`, or a `to_stream` between them, where each update is a record of its own"#]],
    );
}

#[test]
fn t098_values_that_tell_nothing_apart() {
    deduplicate(
        ", key: wiki, fields: { tags: list }",
        "within: 1h, by: [wiki, tags]",
        expect![[r#"
            error[T098]: `tags` is of type list, by which records cannot be told apart
             --> t.yaml:4:59
              |
            4 |   first: { deduplicate: { from: s, within: 1h, by: [wiki, tags] } }
              |                                                           ^^^^
              |
              = help: make a text of it: `json(tags)`"#]],
    );
}
