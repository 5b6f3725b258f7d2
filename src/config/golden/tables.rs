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
fn t082_an_aggregate_behind_a_table() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, null_values: pass } }
  rows: { table: { from: s } }
  adults: { filter: { from: rows, where: age >= 18 } }
  n: { aggregate: { from: adults, by: team, window: none, set: { n: count() } } }
  k: { kafka: { from: n, topic: u } }
",
        expect![[r#"
            error[T082]: the rows of `rows` replace one another
             --> t.yaml:7:27
              |
            7 |   n: { aggregate: { from: adults, by: team, window: none, set: { n: count() } } }
              |                           ^^^^^^
              |
              = help: read from what is in front of `rows` to count records; rows cannot be aggregated yet"#]],
    );
}
