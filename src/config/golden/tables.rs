//! Tables, and what may be in front of and behind them.

use expect_test::expect;

use super::shows;

#[test]
fn t080_results_are_a_table_already() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, null_values: pass } }
  n: { aggregate: { from: s, by: wiki, window: none, set: { n: count() } } }
  big: { filter: { from: n, where: n > 5 } }
  rows: { table: { from: big } }
  k: { kafka: { from: rows, topic: u } }
",
        expect![[r#"
            error[T080]: the results of `n` replace one another already
             --> t.yaml:7:26
              |
            7 |   rows: { table: { from: big } }
              |                          ^^^
              |
              = help: read from the aggregate: its results are a table, in the store of that name"#]],
    );
}

#[test]
fn t081_a_table_whose_rows_are_never_deleted() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  rows: { table: { from: s } }
  k: { kafka: { from: rows, topic: u } }
",
        expect![[r#"
            warning[T081]: `s` lets no record without a value through
             --> t.yaml:5:26
              |
            5 |   rows: { table: { from: s } }
              |                          ^
              |
              = help: add `null_values: pass` to `s`: such a record deletes a row"#]],
    );
}

#[test]
fn t082_an_aggregate_that_cannot_take_back_what_a_replaced_row_has_added() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, null_values: pass } }
  rows: { table: { from: s } }
  adults: { filter: { from: rows, where: age >= 18 } }
  n: { aggregate: { from: adults, by: team, window: { tumbling: 1h }, set: { n: count(), oldest: max(age) } } }
  k: { kafka: { from: n, topic: u } }
",
        expect![[r#"
            error[T082]: the rows of `rows` replace one another, and an earlier one may be in a window that is closed
             --> t.yaml:7:53
              |
            7 |   n: { aggregate: { from: adults, by: team, window: { tumbling: 1h }, set: { n: count(), oldest: max(age) } } }
              |                                                     ^^^^^^^^^^^^^^^^
              |
              = help: write `window: none`; or, if each update is to count in the window of its time, put a `to_stream` in between

            error[T082]: the rows of `rows` replace one another, and `max` cannot take back what an earlier one has added
             --> t.yaml:7:98
              |
            7 |   n: { aggregate: { from: adults, by: team, window: { tumbling: 1h }, set: { n: count(), oldest: max(age) } } }
              |                                                                                                  ^^^^^^^^
              |
              = help: of such rows there are `count`, `count_if`, `sum`, `avg` and `histogram`; behind a `to_stream`, where each update counts for itself, all functions"#]],
    );
}

#[test]
fn t082_the_elements_of_rows_are_no_rows() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, null_values: pass } }
  rows: { table: { from: s } }
  tags: { flat_map: { from: rows, each: tags, as: tag } }
  n: { aggregate: { from: tags, by: tag, window: none, set: { n: count() } } }
  k: { kafka: { from: n, topic: u } }
",
        expect![[r#"
            error[T082]: the rows of `rows` replace one another, and which elements an earlier one had is not known
             --> t.yaml:7:27
              |
            7 |   n: { aggregate: { from: tags, by: tag, window: none, set: { n: count() } } }
              |                           ^^^^
              |
              = help: take the lists apart in front of `rows`, or aggregate its rows"#]],
    );
}

#[test]
fn t082_results_under_other_keys() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  per_user: { aggregate: { from: s, by: [wiki, user], window: none, set: { edits: count() } } }
  by_wiki: { select_key: { from: per_user, key: wiki } }
  n: { aggregate: { from: by_wiki, by: wiki, window: none, set: { users: count() } } }
  k: { kafka: { from: n, topic: u } }
",
        expect![[r#"
            error[T082]: the rows of `per_user` replace one another by their keys, and have other ones behind `select_key`
             --> t.yaml:7:27
              |
            7 |   n: { aggregate: { from: by_wiki, by: wiki, window: none, set: { users: count() } } }
              |                           ^^^^^^^
              |
              = help: read from in front of `select_key`: rows of `per_user` are grouped by fields"#]],
    );
}

#[test]
fn t131_a_stream_of_what_is_one_already() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  windows: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, emit: close, set: { n: count() } } }
  once: { to_stream: { from: s } }
  closed: { to_stream: { from: windows } }
  k: { kafka: { from: once, topic: u } }
  l: { kafka: { from: closed, topic: v } }
",
        expect![[r#"
            error[T131]: the records of `s` do not replace one another
             --> t.yaml:6:30
              |
            6 |   once: { to_stream: { from: s } }
              |                              ^
              |
              = help: read from `s` itself; `to_stream` is for the rows of a `table` and for results that are updated

            error[T131]: the records of `windows` do not replace one another
             --> t.yaml:7:32
              |
            7 |   closed: { to_stream: { from: windows } }
              |                                ^^^^^^^
              |
              = help: read from `windows` itself; `to_stream` is for the rows of a `table` and for results that are updated"#]],
    );
}

#[test]
fn t061_a_table_behind_a_join_says_its_columns() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  changes: { source: { topic: w, null_values: pass, key: wiki } }
  wikis: { table: { from: changes } }
  totals: { aggregate: { from: s, by: wiki, window: none, set: { n: count() } } }
  j: { join: { from: totals, with: wikis, as: w } }
  none: { sql: { from: j, table: nothing } }
  k: { kafka: { from: j, topic: v } }
  good: { sql: { from: j, table: good, columns: { wiki: record_key(), n: n, family: w.family }, key: wiki } }
",
        expect![[r#"
            error[T061]: `none` does not say which columns its table has
             --> t.yaml:9:11
              |
            9 |   none: { sql: { from: j, table: nothing } }
              |           ^^^
              |
              = help: add `columns: { name: expression, … }`, also with those of what was joined, `w.…`

            error[T086]: records behind a join are made of several events
              --> t.yaml:10:8
               |
            10 |   k: { kafka: { from: j, topic: v } }
               |        ^^^^^
               |
               = help: name what is to be written: `fields: { wiki: wiki, name: user.name }`"#]],
    );
}
