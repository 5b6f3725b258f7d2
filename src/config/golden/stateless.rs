//! Mistakes in nodes that take each record by itself.

use expect_test::{Expect, expect};

use super::shows;

/// A node `x` between a source and a topic.
#[track_caller]
fn node(x: &str, expected: Expect) {
    let yaml = format!(
        "app: a\nnodes:\n  s: {{ source: {{ topic: t, fields: {{ bot: bool, user: string }} }} }}\n  \
         x: {{ {x} }}\n  k: {{ kafka: {{ from: x, topic: u }} }}\n"
    );
    shows(&yaml, expected);
}

#[test]
fn a_filter_not_by_something_else_than_a_condition() {
    node(
        "filter_not: { from: s, where: user }",
        expect![[r#"
        error[T032]: a condition must be a bool, `user` is of type string
         --> t.yaml:4:38
          |
        4 |   x: { filter_not: { from: s, where: user } }
          |                                      ^^^^
          |
          = help: compare it with something, as in `x > 0`"#]],
    );
    node(
        "filter_not: { from: s, if: bot }",
        expect![[r#"
        error[Y006]: the key `where` is missing
         --> t.yaml:4:8
          |
        4 |   x: { filter_not: { from: s, if: bot } }
          |        ^^^^^^^^^^
          |
          = help: add `where: …`

        error[Y004]: there is no key `if` here
         --> t.yaml:4:31
          |
        4 |   x: { filter_not: { from: s, if: bot } }
          |                               ^^
          |
          = help: the keys here: from, where, on_error"#]],
    );
}

#[test]
fn a_select_key_without_a_key() {
    node(
        "select_key: { from: s }",
        expect![[r#"
        error[Y006]: the key `key` is missing
         --> t.yaml:4:8
          |
        4 |   x: { select_key: { from: s } }
          |        ^^^^^^^^^^
          |
          = help: add `key: …`"#]],
    );
    node(
        "select_key: { from: s, by: user }",
        expect![[r#"
        error[Y006]: the key `key` is missing
         --> t.yaml:4:8
          |
        4 |   x: { select_key: { from: s, by: user } }
          |        ^^^^^^^^^^
          |
          = help: add `key: …`

        error[Y004]: there is no key `by` here
         --> t.yaml:4:31
          |
        4 |   x: { select_key: { from: s, by: user } }
          |                               ^^
          |
          = help: the keys here: key, from, on_error"#]],
    );
    node(
        "select_key: { from: s, key: uzer + '!' }",
        expect![[r#"
        warning[T024]: the field `uzer` is not declared
         --> t.yaml:4:36
          |
        4 |   x: { select_key: { from: s, key: uzer + '!' } }
          |                                    ^^^^
          |
          = help: did you mean `user`? Declare the field if it exists"#]],
    );
}

#[test]
fn t126_a_table_that_is_merged_with_a_stream() {
    shows(
        "app: a
nodes:
  changes: { source: { topic: changes, null_values: pass } }
  users: { table: { from: changes } }
  clicks: { source: { topic: clicks } }
  all: { merge: { from: [users, clicks] } }
  out: { kafka: { from: all, topic: out } }
",
        expect![[r#"
            error[T126]: the rows of `users` replace one another, and the records of `clicks` do not
             --> t.yaml:6:33
              |
            6 |   all: { merge: { from: [users, clicks] } }
              |                                 ^^^^^^
              |
              = help: merge streams with streams, in front of a `table`, and tables with tables; a `to_stream` makes records of rows"#]],
    );
}
