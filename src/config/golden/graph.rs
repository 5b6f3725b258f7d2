//! Mistakes in names and edges.

use expect_test::expect;

use super::shows;

#[test]
fn t001_a_name_that_no_application_can_have() {
    let rest = "nodes:\n  s: { source: { topic: t } }\n  k: { kafka: { from: s, topic: u } }\n";
    for (app, expected) in [
        (
            "''",
            expect![[r#"
            error[T001]: `` cannot be the name of an application: it is empty
             --> t.yaml:1:6
              |
            1 | app: ''
              |      ^^
              |
              = help: use letters, digits, `.`, `_` and `-`; the name prefixes groups and topics"#]],
        ),
        (
            "wiki media",
            expect![[r#"
            error[T001]: `wiki media` cannot be the name of an application: it contains ' '
             --> t.yaml:1:6
              |
            1 | app: wiki media
              |      ^^^^^^^^^^
              |
              = help: use letters, digits, `.`, `_` and `-`; the name prefixes groups and topics"#]],
        ),
        (
            "..",
            expect![[r#"
            error[T001]: `..` cannot be the name of an application: Kafka does not allow it
             --> t.yaml:1:6
              |
            1 | app: ..
              |      ^^
              |
              = help: use letters, digits, `.`, `_` and `-`; the name prefixes groups and topics"#]],
        ),
    ] {
        shows(&format!("app: {app}\n{rest}"), expected);
    }
    shows(
        &format!("app: {}\n{rest}", "a".repeat(101)),
        expect![[r#"
        error[T001]: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` cannot be the name of an application: it has 101 characters, 100 are allowed
         --> t.yaml:1:6
          |
        1 | app: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
          |      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = help: use letters, digits, `.`, `_` and `-`; the name prefixes groups and topics"#]],
    );
}

#[test]
fn t002_a_name_that_no_node_can_have() {
    shows(
        "
app: a
nodes:
  Changes: { source: { topic: t } }
  1st: { filter: { from: Changes, where: a } }
  per-wiki: { kafka: { from: 1st, topic: u } }
  \"\": { kafka: { from: 1st, topic: v } }
  a_name_that_is_longer_than_any_name_should_be_because_topics_and_tables_have_limits: { kafka: { from: 1st, topic: w } }
",
        expect![[r#"
            error[T002]: `Changes` cannot be the name of a node: it does not begin with a lower-case letter
             --> t.yaml:4:3
              |
            4 |   Changes: { source: { topic: t } }
              |   ^^^^^^^
              |
              = help: use lower-case letters, digits and `_`, beginning with a letter

            error[T002]: `1st` cannot be the name of a node: it does not begin with a lower-case letter
             --> t.yaml:5:3
              |
            5 |   1st: { filter: { from: Changes, where: a } }
              |   ^^^
              |
              = help: use lower-case letters, digits and `_`, beginning with a letter

            error[T002]: `per-wiki` cannot be the name of a node: it contains '-'
             --> t.yaml:6:3
              |
            6 |   per-wiki: { kafka: { from: 1st, topic: u } }
              |   ^^^^^^^^
              |
              = help: use lower-case letters, digits and `_`, beginning with a letter

            error[T002]: `` cannot be the name of a node: it is empty
             --> t.yaml:7:3
              |
            7 |   "": { kafka: { from: 1st, topic: v } }
              |   ^^
              |
              = help: use lower-case letters, digits and `_`, beginning with a letter

            error[T002]: `a_name_that_is_longer_than_any_name_should_be_because_topics_and_tables_have_limits` cannot be the name of a node: it has 83 characters, 60 are allowed
             --> t.yaml:8:3
              |
            8 |   a_name_that_is_longer_than_any_name_should_be_because_topics_and_tables_have_limits: { kafka: { from: 1st, topic: w } }
              |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: use lower-case letters, digits and `_`, beginning with a letter"#]],
    );
}

#[test]
fn t003_two_nodes_of_one_name() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  f: { filter: { from: s, where: a } }
  f: { filter: { from: s, where: b } }
  k: { kafka: { from: f, topic: u } }
",
        expect![[r#"
            error[T003]: two nodes are called `f`
             --> t.yaml:6:3
              |
            5 |   f: { filter: { from: s, where: a } }
              |   - the first one is here
            6 |   f: { filter: { from: s, where: b } }
              |   ^
              |
              = help: give one of them another name"#]],
    );
}

#[test]
fn t004_a_from_that_leads_nowhere() {
    shows(
        "
app: a
nodes:
  changes: { source: { topic: t } }
  f: { filter: { from: chnages, where: a } }
  k: { kafka: { from: elsewhere, topic: u } }
",
        expect![[r#"
            error[T004]: there is no node `chnages`
             --> t.yaml:5:24
              |
            5 |   f: { filter: { from: chnages, where: a } }
              |                        ^^^^^^^
              |
              = help: did you mean `changes`?

            error[T004]: there is no node `elsewhere`
             --> t.yaml:6:23
              |
            6 |   k: { kafka: { from: elsewhere, topic: u } }
              |                       ^^^^^^^^^
              |
              = help: the nodes that can be read from: changes, f"#]],
    );
}

#[test]
fn t004_a_name_that_is_there_twice_is_offered_once() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  f: { filter: { from: s, where: a } }
  f: { filter: { from: s, where: b } }
  k: { kafka: { from: elsewhere, topic: u } }
",
        expect![[r#"
            error[T003]: two nodes are called `f`
             --> t.yaml:6:3
              |
            5 |   f: { filter: { from: s, where: a } }
              |   - the first one is here
            6 |   f: { filter: { from: s, where: b } }
              |   ^
              |
              = help: give one of them another name

            error[T004]: there is no node `elsewhere`
             --> t.yaml:7:23
              |
            7 |   k: { kafka: { from: elsewhere, topic: u } }
              |                       ^^^^^^^^^
              |
              = help: the nodes that can be read from: s, f"#]],
    );
}

#[test]
fn t004_nothing_is_said_about_what_follows_from_an_unknown_input() {
    shows(
        "
app: a
nodes:
  changes: { source: { topic: t } }
  t: { sql: { from: chnages, table: t } }
  u: { sql: { from: changes, table: u, columns: { id: id }, key: id } }
",
        expect![[r#"
            error[T004]: there is no node `chnages`
             --> t.yaml:5:21
              |
            5 |   t: { sql: { from: chnages, table: t } }
              |                     ^^^^^^^
              |
              = help: did you mean `changes`?"#]],
    );
}

#[test]
fn t005_a_from_that_names_a_sink() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  k: { kafka: { from: s, topic: u } }
  l: { kafka: { from: k, topic: v } }
  r: { sql: { from: s, table: raw, columns: { id: id }, key: id } }
  m: { kafka: { from: r, topic: w } }
",
        expect![[r#"
            error[T005]: `k` is a kafka sink, nothing comes out of it
             --> t.yaml:6:23
              |
            6 |   l: { kafka: { from: k, topic: v } }
              |                       ^
              |
              = help: read from `s`, or from a source of the topic `u`

            error[T005]: `r` is a sql sink, nothing comes out of it
             --> t.yaml:8:23
              |
            8 |   m: { kafka: { from: r, topic: w } }
              |                       ^
              |
              = help: did you mean its input, `s`?"#]],
    );
}

#[test]
fn t006_nodes_that_read_from_each_other() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  a: { filter: { from: c, where: x } }
  b: { filter: { from: a, where: x } }
  c: { filter: { from: b, where: x } }
  d: { filter: { from: d, where: x } }
  k: { kafka: { from: c, topic: u } }
  l: { kafka: { from: s, topic: v } }
  m: { kafka: { from: d, topic: w } }
",
        expect![[r#"
            error[T006]: nodes read from each other in a circle: `a` ← `c` ← `b` ← `a`
             --> t.yaml:5:24
              |
            5 |   a: { filter: { from: c, where: x } }
              |                        ^
              |
              = help: records flow one way; a loop needs a topic, written by one node and read by a source

            error[T006]: nodes read from each other in a circle: `d` ← `d`
             --> t.yaml:8:24
              |
            8 |   d: { filter: { from: d, where: x } }
              |                        ^
              |
              = help: records flow one way; a loop needs a topic, written by one node and read by a source"#]],
    );
}

#[test]
fn t007_no_source() {
    shows(
        "app: a\nnodes: {}\n",
        expect![[r#"
            error[T007]: there is no source, so no records
             --> t.yaml:2:1
              |
            2 | nodes: {}
              | ^^^^^
              |
              = help: add a node such as `changes: { source: { topic: … } }`"#]],
    );
    shows(
        "",
        expect![[r#"
        error[T007]: there is no source, so no records
         --> t.yaml:1:1
          |
        1 |
          | ^
          |
          = help: add a node such as `changes: { source: { topic: … } }`

        error[Y006]: the key `app` is missing
         --> t.yaml:1:1
          |
        1 |
          | ^
          |
          = help: add `app: …`"#]],
    );
}

#[test]
fn t008_no_sink() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
",
        expect![[r#"
            warning[T008]: there is no sink, so nothing is written anywhere
             --> t.yaml:3:1
              |
            3 | nodes:
              | ^^^^^
              |
              = help: add a node such as `table: { sql: { from: …, table: … } }`"#]],
    );
}

#[test]
fn t009_a_node_that_nobody_reads_from() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  f: { filter: { from: s, where: a } }
  k: { kafka: { from: s, topic: u } }
",
        expect![[r#"
            warning[T009]: no node reads from `f`
             --> t.yaml:5:3
              |
            5 |   f: { filter: { from: s, where: a } }
              |   ^
              |
              = help: remove it, or name it in the `from` of another node"#]],
    );
}

#[test]
fn t053_a_branch_in_place_of_one_of_its_arms() {
    let yaml = "app: a
nodes:
  s: { source: { topic: t } }
  b: { branch: { from: s, branches: { big: n > 5, Small: n < 2, rest: true }, default: rest } }
  k: { kafka: { from: b, topic: u } }
  l: { kafka: { from: b.bgi, topic: v } }
  m: { kafka: { from: b.big, topic: w } }
";
    shows(
        yaml,
        expect![[r#"
            error[T022]: `rest` is named twice
             --> t.yaml:4:27
              |
            4 |   b: { branch: { from: s, branches: { big: n > 5, Small: n < 2, rest: true }, default: rest } }
              |                           ^^^^^^^^                              ---- the first one is here
              |
              = help: name it once

            error[T002]: `Small` cannot be the name of a branch: it does not begin with a lower-case letter
             --> t.yaml:4:51
              |
            4 |   b: { branch: { from: s, branches: { big: n > 5, Small: n < 2, rest: true }, default: rest } }
              |                                                   ^^^^^
              |
              = help: use lower-case letters, digits and `_`, beginning with a letter

            error[T053]: `b` sends its records several ways: say which one
             --> t.yaml:5:23
              |
            5 |   k: { kafka: { from: b, topic: u } }
              |                       ^
              |
              = help: read from `b.big` or `b.Small` or `b.rest`

            error[T004]: there is no node `b.bgi`
             --> t.yaml:6:23
              |
            6 |   l: { kafka: { from: b.bgi, topic: v } }
              |                       ^^^^^
              |
              = help: did you mean `b.big`?"#]],
    );
}

#[test]
fn t054_something_that_is_no_list() {
    let yaml = "app: a
nodes:
  s: { source: { topic: t, fields: { n: int, tags: list } } }
  f: { flat_map: { from: s, each: n + 1, as: tag.name, position: 2nd } }
  g: { flat_map: { from: s, each: range(n), as: tag } }
  k: { kafka: { from: f, topic: u } }
  l: { kafka: { from: g, topic: v } }
";
    shows(
        yaml,
        expect![[r#"
        error[T054]: `each` must be a list, `n + 1` is of type int
         --> t.yaml:4:35
          |
        4 |   f: { flat_map: { from: s, each: n + 1, as: tag.name, position: 2nd } }
          |                                   ^^^^^
          |
          = help: name a field that holds a list, or make one: `[a, b]`, `range(n)`

        error[T021]: a field cannot be called `tag.name` here: only whole fields can be set, not fields inside an object
         --> t.yaml:4:46
          |
        4 |   f: { flat_map: { from: s, each: n + 1, as: tag.name, position: 2nd } }
          |                                              ^^^^^^^^
          |
          = help: call it `tag_name`

        error[T021]: a field cannot be called `2nd` here: it begins with a digit
         --> t.yaml:4:66
          |
        4 |   f: { flat_map: { from: s, each: n + 1, as: tag.name, position: 2nd } }
          |                                                                  ^^^
          |
          = help: use letters, digits and `_`, not beginning with a digit"#]],
    );
}

#[test]
fn t055_a_merge_of_fewer_than_two() {
    let yaml = "app: a
nodes:
  s: { source: { topic: t } }
  one: { merge: { from: s } }
  none: { merge: { } }
  same: { merge: { from: [s, s, z] } }
  k: { kafka: { from: one, topic: u } }
  l: { kafka: { from: none, topic: v } }
  m: { kafka: { from: same, topic: w } }
";
    shows(
        yaml,
        expect![[r#"
            error[T055]: `one` has only one input, there is nothing to merge
             --> t.yaml:4:25
              |
            4 |   one: { merge: { from: s } }
              |                         ^
              |
              = help: name all inputs: `from: [a, b]`

            error[T055]: `none` has no inputs, there is nothing to merge
             --> t.yaml:5:11
              |
            5 |   none: { merge: { } }
              |           ^^^^^
              |
              = help: name all inputs: `from: [a, b]`

            error[T022]: `s` is named twice
             --> t.yaml:6:30
              |
            6 |   same: { merge: { from: [s, s, z] } }
              |                           -  ^
              |                           |
              |                           the first one is here
              |
              = help: name it once

            error[T004]: there is no node `z`
             --> t.yaml:6:33
              |
            6 |   same: { merge: { from: [s, s, z] } }
              |                                 ^
              |
              = help: the nodes that can be read from: s, one, none"#]],
    );
}

#[test]
fn t056_a_branch_without_arms() {
    let yaml = "app: a
nodes:
  s: { source: { topic: t } }
  b: { branch: { from: s, default: rest } }
  k: { kafka: { from: b.rest, topic: u } }
";
    shows(
        yaml,
        expect![[r#"
        error[T056]: `b` does not say which ways there are
         --> t.yaml:4:8
          |
        4 |   b: { branch: { from: s, default: rest } }
          |        ^^^^^^
          |
          = help: add `branches: { name: condition }`, one entry for each way"#]],
    );
}

#[test]
fn t057_a_log_of_nothing() {
    let yaml = "app: a
nodes:
  s: { source: { topic: t } }
  l: { log: { from: s, text: user + 1, every: 0 } }
  m: { log: { from: l, every: often } }
  k: { kafka: { from: m, topic: u } }
";
    shows(
        yaml,
        expect![[r#"
            error[T057]: of 0 records none can be written
             --> t.yaml:4:47
              |
            4 |   l: { log: { from: s, text: user + 1, every: 0 } }
              |                                               ^
              |
              = help: `every: 1` writes all of them, `every: 1000` one of a thousand

            error[Y003]: expected a whole number, found `often`
             --> t.yaml:5:31
              |
            5 |   m: { log: { from: l, every: often } }
              |                               ^^^^^
              |
              = help: docs/TOPOLOGY.md shows how this key is written"#]],
    );
}

/// A condition is one wherever it stands.
#[test]
fn t032_conditions_of_branches_and_maps() {
    let yaml = "app: a
nodes:
  s: { source: { topic: t, fields: { n: int } } }
  b: { branch: { from: s, branches: { big: n } } }
  m: { map: { from: b.big, set: { x: n }, tombstone_if: x } }
  k: { kafka: { from: m, topic: u } }
";
    shows(
        yaml,
        expect![[r#"
        error[T032]: a condition must be a bool, `n` is of type int
         --> t.yaml:4:44
          |
        4 |   b: { branch: { from: s, branches: { big: n } } }
          |                                            ^
          |
          = help: compare it with something, as in `x > 0`

        error[T032]: a condition must be a bool, `x` is of type int
         --> t.yaml:5:57
          |
        5 |   m: { map: { from: b.big, set: { x: n }, tombstone_if: x } }
          |                                                         ^
          |
          = help: compare it with something, as in `x > 0`"#]],
    );
}
