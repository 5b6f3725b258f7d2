//! Mistakes in the file itself.

use expect_test::expect;

use super::shows;
use crate::config::check_file;

#[test]
fn y001_a_file_that_cannot_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("t.yaml");
    std::fs::write(&path, b"app: \xff").expect("a written file");
    let report = check_file(&path).report.to_string();
    let shown = report.replace(&directory.path().display().to_string(), "DIR");
    expect![[r#"
        error[Y001]: cannot read `DIR/t.yaml`: it is not UTF-8: invalid utf-8 sequence of 1 bytes from index 5
        --> DIR/t.yaml
         = help: check its name and that it can be read"#]].assert_eq(&shown);
}

#[test]
fn y002_a_text_that_is_no_yaml() {
    shows(
        "app: [a\n",
        expect![[r#"
            error[Y002]: unclosed bracket '['
             --> t.yaml:1:6
              |
            1 | app: [a
              |      ^
              |
              = help: the bracket or quote that is open may stand further up; between `{` and `}`, a text with `[`, `]`, `,` or `: ` stands in quotes: `where: "type in ['a', 'b']"`"#]],
    );
    shows(
        "app: a: b\n",
        expect![[r#"
            error[Y002]: mapping values are not allowed in this context
             --> t.yaml:1:7
              |
            1 | app: a: b
              |       ^
              |
              = help: a text with `: ` in it stands in quotes; where it is a key, it is indented like the keys beside it"#]],
    );
    shows(
        "app: 'a\n",
        expect![[r#"
            error[Y002]: unclosed quote
             --> t.yaml:1:6
              |
            1 | app: 'a
              |      ^
              |
              = help: the bracket or quote that is open may stand further up; between `{` and `}`, a text with `[`, `]`, `,` or `: ` stands in quotes: `where: "type in ['a', 'b']"`"#]],
    );
    shows(
        "app: a\n  nodes: b\n",
        expect![[r#"
            error[Y002]: mapping values are not allowed in this context
             --> t.yaml:2:8
              |
            2 |   nodes: b
              |        ^
              |
              = help: a text with `: ` in it stands in quotes; where it is a key, it is indented like the keys beside it"#]],
    );
    shows(
        "app: a\nnodes: { s: { source: { topic: ${TOPIC} } } }\n",
        expect![[r#"
            error[Y002]: while parsing a flow mapping, did not find expected ',' or '}'
             --> t.yaml:2:33
              |
            2 | nodes: { s: { source: { topic: ${TOPIC} } } }
              |                                 ^
              |
              = help: between `{` and `}`, references to the environment stand in quotes"#]],
    );
    shows(
        "app: a\nnodes:\n  s:\n    source:\n      topic:clicks\n      key: user\n",
        expect![[r#"
            error[Y002]: mapping values are not allowed in this context
             --> t.yaml:6:10
              |
            6 |       key: user
              |          ^
              |
              = help: behind the colon of a key there is a space: in the line above, write `topic: clicks`"#]],
    );
    shows(
        "app: a\nnodes:\n  s:\n    source:\n        topic: clicks\n      key: user\n",
        expect![[r#"
            error[Y002]: while parsing a block mapping, did not find expected key
             --> t.yaml:6:7
              |
            6 |       key: user
              |       ^
              |
              = help: the keys of one mapping begin in one column: this one is not in that of the keys above it"#]],
    );
    shows(
        "app: a\n---\napp: b\n",
        expect![[r#"
            error[Y002]: a second YAML document begins here, a topology file has one
             --> t.yaml:3:1
              |
            3 | app: b
              | ^
              |
              = help: put it into a file of its own; `run` takes several files"#]],
    );
    shows(
        "app: a\nnodes:\n\ts: { source: { topic: t } }\n",
        expect![[r#"
            error[Y002]: tabs disallowed within this context (block indentation)
             --> t.yaml:3:2
              |
            3 |     s: { source: { topic: t } }
              |     ^
              |
              = help: YAML is indented with spaces, not with tabs"#]],
    );
    shows(
        "app: *a\n",
        expect![[r#"
            error[Y002]: alias references unknown anchor
             --> t.yaml:1:6
              |
            1 | app: *a
              |      ^
              |
              = help: a text that begins with `*` or `&` stands in quotes"#]],
    );
}

#[test]
fn y003_something_else_than_what_belongs_there() {
    shows(
        "- a\n- b\n",
        expect![[r#"
            error[Y003]: expected a mapping, found a list
             --> t.yaml:1:1
              |
            1 | - a
              | ^^^
              |
              = help: docs/TOPOLOGY.md shows how this key is written"#]],
    );
    shows(
        "
app: { name: a }
nodes:
  s: { source: { topic: [a, [b]], fields: [wiki] } }
  f: { filter: text }
  m: { map: { from: s, set: { a: , b: [1], c: { d: e } } } }
  a:
    aggregate: { from: s, by: wiki, window: 1m, set: count() }
",
        expect![[r#"
            error[Y003]: expected a text, found a mapping
             --> t.yaml:2:6
              |
            2 | app: { name: a }
              |      ^^^^^^^^^^^
              |
              = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: expected a text, found a list
             --> t.yaml:4:29
              |
            4 |   s: { source: { topic: [a, [b]], fields: [wiki] } }
              |                             ^^^
              |
              = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: expected a mapping, as in `{ name: … }`, found a list
             --> t.yaml:4:43
              |
            4 |   s: { source: { topic: [a, [b]], fields: [wiki] } }
              |                                           ^^^^^^
              |
              = help: write `fields: { wiki: … }`

            error[Y003]: expected a mapping, found a text
             --> t.yaml:5:16
              |
            5 |   f: { filter: text }
              |                ^^^^
              |
              = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: expected a text, found nothing
             --> t.yaml:6:31
              |
            6 |   m: { map: { from: s, set: { a: , b: [1], c: { d: e } } } }
              |                               ^
              |
              = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: expected a text, found a list
             --> t.yaml:6:39
              |
            6 |   m: { map: { from: s, set: { a: , b: [1], c: { d: e } } } }
              |                                       ^^^
              |
              = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: expected a text, found a mapping
             --> t.yaml:6:47
              |
            6 |   m: { map: { from: s, set: { a: , b: [1], c: { d: e } } } }
              |                                               ^^^^^^^^
              |
              = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: expected a mapping, found a text
             --> t.yaml:8:45
              |
            8 |     aggregate: { from: s, by: wiki, window: 1m, set: count() }
              |                                             ^^
              |
              = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: expected a mapping, as in `{ name: … }`, found a text
             --> t.yaml:8:54
              |
            8 |     aggregate: { from: s, by: wiki, window: 1m, set: count() }
              |                                                      ^^^^^^^
              |
              = help: docs/TOPOLOGY.md shows how this key is written"#]],
    );
    shows(
        "app: a\nnodes: [s]\n",
        expect![[r#"
        error[Y003]: expected a mapping of nodes, found a list
         --> t.yaml:2:8
          |
        2 | nodes: [s]
          |        ^^^
          |
          = help: write `name: { kind: { … } }` for each node"#]],
    );
}

#[test]
fn y004_a_key_that_does_not_exist() {
    shows(
        "
app: a
version: 3
nodes:
  s: { source: { topic: t, timestmp: meta.dt } }
  a:
    aggregate:
      from: s
      by: [wiki]
      window: { tumbling: 1m, graze: 30s }
      set: { n: count() }
      every: 5m
  t: { sql: { from: a, table: t } }
",
        expect![[r#"
            error[Y004]: there is no key `version` here
             --> t.yaml:3:1
              |
            3 | version: 3
              | ^^^^^^^
              |
              = help: the keys here: app, guarantee, nodes, tests

            error[Y004]: there is no key `timestmp` here
             --> t.yaml:5:28
              |
            5 |   s: { source: { topic: t, timestmp: meta.dt } }
              |                            ^^^^^^^^
              |
              = help: did you mean `timestamp`?

            error[Y004]: there is no key `graze` here
              --> t.yaml:10:31
               |
            10 |       window: { tumbling: 1m, graze: 30s }
               |                               ^^^^^
               |
               = help: did you mean `grace`?

            error[Y004]: there is no key `every` here
              --> t.yaml:12:7
               |
            12 |       every: 5m
               |       ^^^^^
               |
               = help: the keys here: from, by, window, emit, on_late, set, delete_if, on_error"#]],
    );
}

#[test]
fn y005_a_key_that_is_given_twice() {
    shows(
        "
app: a
app: b
nodes:
  s: { source: { topic: t, key: wiki, key: user } }
  k: { kafka: { from: s, topic: u } }
",
        expect![[r#"
            error[Y005]: the key `app` is given twice
             --> t.yaml:3:1
              |
            2 | app: a
              | --- the first one is here
            3 | app: b
              | ^^^
              |
              = help: remove one of them

            error[Y005]: the key `key` is given twice
             --> t.yaml:5:39
              |
            5 |   s: { source: { topic: t, key: wiki, key: user } }
              |                            ---        ^^^
              |                            |
              |                            the first one is here
              |
              = help: remove one of them"#]],
    );
}

#[test]
fn y006_a_key_that_is_missing() {
    shows(
        "
nodes:
  s: { source: { topic: t } }
  f: { filter: }
  t: { sql: { columns: { a: a }, key: a } }
  k: { kafka: { from: s } }
",
        expect![[r#"
            error[Y006]: the key `app` is missing
             --> t.yaml:2:1
              |
            2 | nodes:
              | ^
              |
              = help: add `app: …`

            error[Y006]: the key `from` is missing
             --> t.yaml:4:8
              |
            4 |   f: { filter: }
              |        ^^^^^^
              |
              = help: add `from: …`

            error[Y006]: the key `where` is missing
             --> t.yaml:4:8
              |
            4 |   f: { filter: }
              |        ^^^^^^
              |
              = help: add `where: …`

            error[Y006]: the key `from` is missing
             --> t.yaml:5:8
              |
            5 |   t: { sql: { columns: { a: a }, key: a } }
              |        ^^^
              |
              = help: add `from: …`

            error[Y006]: the key `table` is missing
             --> t.yaml:5:8
              |
            5 |   t: { sql: { columns: { a: a }, key: a } }
              |        ^^^
              |
              = help: add `table: …`

            error[Y006]: the key `topic` is missing
             --> t.yaml:6:8
              |
            6 |   k: { kafka: { from: s } }
              |        ^^^^^
              |
              = help: add `topic: …`"#]],
    );
}

#[test]
fn y007_a_kind_that_does_not_exist() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  f: { fliter: { from: s, where: a } }
  j: { teleport: { from: f } }
",
        expect![[r#"
            error[Y007]: there is no kind of node `fliter`
             --> t.yaml:5:8
              |
            5 |   f: { fliter: { from: s, where: a } }
              |        ^^^^^^
              |
              = help: did you mean `filter`?

            error[Y007]: there is no kind of node `teleport`
             --> t.yaml:6:8
              |
            6 |   j: { teleport: { from: f } }
              |        ^^^^^^^^
              |
              = help: the kinds of nodes: source, filter, filter_not, map, flat_map, select_key, branch, merge, log, to_stream, table, global_table, join, aggregate, suppress, deduplicate, sql, kafka"#]],
    );
}

#[test]
fn y008_a_node_without_exactly_one_kind() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  none:
  text: filter
  keys: { from: s, where: a }
  beside: { filter: { from: s, where: a }, on_error: drop }
  two: { filter: { from: s, where: a }, map: { from: s, set: { a: b } } }
  value: { kind: kafka, from: s }
",
        expect![[r#"
            error[Y008]: the node `none` has no kind
             --> t.yaml:5:3
              |
            5 |   none:
              |   ^^^^
              |
              = help: write `none: { kind: { … } }`; the kinds: source, filter, filter_not, map, flat_map, select_key, branch, merge, log, to_stream, table, global_table, join, aggregate, suppress, deduplicate, sql, kafka

            error[Y008]: the node `text` has no kind
             --> t.yaml:6:3
              |
            6 |   text: filter
              |   ^^^^
              |
              = help: write `text: { kind: { … } }`; the kinds: source, filter, filter_not, map, flat_map, select_key, branch, merge, log, to_stream, table, global_table, join, aggregate, suppress, deduplicate, sql, kafka

            error[Y008]: the node `keys` has no kind
             --> t.yaml:7:3
              |
            7 |   keys: { from: s, where: a }
              |   ^^^^
              |
              = help: write `keys: { kind: { … } }`; the kinds: source, filter, filter_not, map, flat_map, select_key, branch, merge, log, to_stream, table, global_table, join, aggregate, suppress, deduplicate, sql, kafka

            error[Y008]: the node `beside` has keys beside its kind
             --> t.yaml:8:44
              |
            8 |   beside: { filter: { from: s, where: a }, on_error: drop }
              |                                            ^^^^^^^^
              |
              = help: the keys of a node stand inside of its kind: indent `on_error` below `filter`

            error[Y008]: the node `two` has several kinds: `filter`, `map`
             --> t.yaml:9:3
              |
            9 |   two: { filter: { from: s, where: a }, map: { from: s, set: { a: b } } }
              |   ^^^
              |
              = help: write `two: { kind: { … } }`; the kinds: source, filter, filter_not, map, flat_map, select_key, branch, merge, log, to_stream, table, global_table, join, aggregate, suppress, deduplicate, sql, kafka

            error[Y008]: the node `value` has no kind
              --> t.yaml:10:3
               |
            10 |   value: { kind: kafka, from: s }
               |   ^^^^^
               |
               = help: the kind is the key: write `value: { kafka: { … } }`"#]],
    );
}

#[test]
fn y009_a_setting_that_is_none_of_the_possible_ones() {
    shows(
        "
app: a
guarantee: exactly-once
nodes:
  s: { source: { topic: t, format: avro, on_error: ignore, fields: { wiki: text, bot: boolean } } }
  a:
    aggregate:
      from: s
      by: [wiki]
      window: { tumbling: 1m }
      emit: final
      on_late: keep
      set: { n: count() }
  t: { sql: { from: a, table: t } }
",
        expect![[r#"
            error[Y009]: `guarantee` cannot be `exactly-once`
             --> t.yaml:3:12
              |
            3 | guarantee: exactly-once
              |            ^^^^^^^^^^^^
              |
              = help: it is exactly_once or at_least_once

            error[T100]: `format: avro` says nothing about its schema
             --> t.yaml:5:36
              |
            5 |   s: { source: { topic: t, format: avro, on_error: ignore, fields: { wiki: text, bot: boolean } } }
              |                                    ^^^^
              |
              = help: give the file, `schema_file: order.avsc`, or where the schemas are that records name, `schema_registry: http://registry:8081`

            error[Y009]: `on_error` cannot be `ignore`
             --> t.yaml:5:52
              |
            5 |   s: { source: { topic: t, format: avro, on_error: ignore, fields: { wiki: text, bot: boolean } } }
              |                                                    ^^^^^^
              |
              = help: it is one of dead_letter, drop, stop

            error[Y009]: there is no type `text`
             --> t.yaml:5:76
              |
            5 |   s: { source: { topic: t, format: avro, on_error: ignore, fields: { wiki: text, bot: boolean } } }
              |                                                                            ^^^^
              |
              = help: did you mean `string`?

            error[Y009]: there is no type `boolean`
             --> t.yaml:5:87
              |
            5 |   s: { source: { topic: t, format: avro, on_error: ignore, fields: { wiki: text, bot: boolean } } }
              |                                                                                       ^^^^^^^
              |
              = help: did you mean `bool`?

            error[Y009]: `emit` cannot be `final`
              --> t.yaml:11:13
               |
            11 |       emit: final
               |             ^^^^^
               |
               = help: it is updates or close

            error[Y009]: `on_late` cannot be `keep`
              --> t.yaml:12:16
               |
            12 |       on_late: keep
               |                ^^^^
               |
               = help: it is drop or dead_letter"#]],
    );
}

#[test]
fn y010_a_text_that_is_no_length_of_time() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  a:
    aggregate:
      from: s
      by: [wiki]
      window: { tumbling: 60, grace: 1.5s, idle_close: 1 minute, retention: 30m1h }
      set: { n: count() }
  t: { sql: { from: a, table: t } }
",
        expect![[r#"
            error[Y010]: expected a unit (ms, s, m, h, d) after 60
             --> t.yaml:9:27
              |
            9 |       window: { tumbling: 60, grace: 1.5s, idle_close: 1 minute, retention: 30m1h }
              |                           ^^
              |
              = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`; windows of the calendar are `week`, `month` and `year`, and days `1d`

            error[Y010]: unknown unit "."; the units are ms, s, m, h, d
             --> t.yaml:9:38
              |
            9 |       window: { tumbling: 60, grace: 1.5s, idle_close: 1 minute, retention: 30m1h }
              |                                      ^^^^
              |
              = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`

            error[Y010]: 1 minute is written as 1m
             --> t.yaml:9:56
              |
            9 |       window: { tumbling: 60, grace: 1.5s, idle_close: 1 minute, retention: 30m1h }
              |                                                        ^^^^^^^^
              |
              = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`

            error[Y010]: units must go from large to small, each once, as in 1h30m; found "30m1h"
             --> t.yaml:9:77
              |
            9 |       window: { tumbling: 60, grace: 1.5s, idle_close: 1 minute, retention: 30m1h }
              |                                                                             ^^^^^
              |
              = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`"#]],
    );
}

#[test]
fn y011_an_environment_variable_that_is_not_set() {
    shows(
        "
app: a
nodes:
  s: { source: { topics: ['${TOPIC}', 'x.${NONE}', \"${OTHER:-y}\"] } }
  f: { filter: { from: s, where: \"wiki == '${WIKI}'\" } }
  k: { kafka: { from: f, topic: u } }
",
        expect![[r#"
            error[Y011]: the environment variable `NONE` is not set
             --> t.yaml:4:42
              |
            4 |   s: { source: { topics: ['${TOPIC}', 'x.${NONE}', "${OTHER:-y}"] } }
              |                                          ^^^^^^^
              |
              = help: set it, or give a default: `${NONE:-default}`

            error[Y011]: the environment variable `WIKI` is not set
             --> t.yaml:5:44
              |
            5 |   f: { filter: { from: s, where: "wiki == '${WIKI}'" } }
              |                                            ^^^^^^^
              |
              = help: set it, or give a default: `${WIKI:-default}`"#]],
    );
}

#[test]
fn y012_a_reference_that_is_none() {
    shows(
        "
app: a
nodes:
  s: { source: { topics: ['${}', '${A B}', 'a${TOPIC', '$${x}'] } }
  k: { kafka: { from: s, topic: u } }
",
        expect![[r#"
            error[Y012]: this is not a reference to an environment variable
             --> t.yaml:4:28
              |
            4 |   s: { source: { topics: ['${}', '${A B}', 'a${TOPIC', '$${x}'] } }
              |                            ^^^
              |
              = help: write `${NAME}` or `${NAME:-default}`; `$${` stands for `${`

            error[Y012]: this is not a reference to an environment variable
             --> t.yaml:4:35
              |
            4 |   s: { source: { topics: ['${}', '${A B}', 'a${TOPIC', '$${x}'] } }
              |                                   ^^^^^^
              |
              = help: write `${NAME}` or `${NAME:-default}`; `$${` stands for `${`

            error[Y012]: this is not a reference to an environment variable
             --> t.yaml:4:46
              |
            4 |   s: { source: { topics: ['${}', '${A B}', 'a${TOPIC', '$${x}'] } }
              |                                              ^^^^^^^
              |
              = help: write `${NAME}` or `${NAME:-default}`; `$${` stands for `${`"#]],
    );
}

#[test]
fn y013_two_keys_that_say_the_same() {
    shows(
        "
app: a
nodes:
  s: { source: { topics: [t], topic: u } }
  k: { kafka: { from: s, topic: v } }
",
        expect![[r#"
            error[Y013]: `topic` and `topics` exclude each other, give one of them
             --> t.yaml:4:18
              |
            4 |   s: { source: { topics: [t], topic: u } }
              |                  ^^^^^^       ----- the other is here
              |
              = help: remove one of them"#]],
    );
}
