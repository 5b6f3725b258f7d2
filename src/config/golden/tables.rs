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
              = help: write `window: none`

            error[T082]: the rows of `rows` replace one another, and `max` cannot take back what an earlier one has added
             --> t.yaml:7:98
              |
            7 |   n: { aggregate: { from: adults, by: team, window: { tumbling: 1h }, set: { n: count(), oldest: max(age) } } }
              |                                                                                                  ^^^^^^^^
              |
              = help: of such rows there are `count`, `count_if`, `sum`, `avg` and `histogram`"#]],
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
