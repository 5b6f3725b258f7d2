//! Mistakes in sinks.

use expect_test::{Expect, expect};

use super::shows;

/// Sinks behind a source `s` and an aggregate `a`.
#[track_caller]
fn sinks(nodes: &str, expected: Expect) {
    let yaml = format!(
        "app: a
nodes:
  s: {{ source: {{ topic: t, fields: {{ delta: int, ratio: double, tags: list }} }} }}
  a:
    aggregate: {{ from: s, by: [wiki, meta.id], window: {{ tumbling: 1m }}, set: {{ n: count() }} }}
{nodes}
  k: {{ kafka: {{ from: s, topic: u }} }}
  l: {{ kafka: {{ from: a, topic: v }} }}
"
    );
    shows(&yaml, expected);
}

#[test]
fn a_table_behind_an_aggregate_needs_nothing_but_its_name() {
    sinks("  x: { sql: { from: a, table: t } }", expect![[""]]);
}

#[test]
fn t060_a_name_that_no_table_can_have() {
    sinks(
        "  x: { sql: { from: a, table: db.t } }
  y: { sql: { from: a, table: tidemill_ledger } }
  z: { sql: { from: a, table: 2t } }",
        expect![[r#"
            error[T060]: a table cannot be called `db.t`: it contains '.'
             --> t.yaml:6:31
              |
            6 |   x: { sql: { from: a, table: db.t } }
              |                               ^^^^
              |
              = help: use letters, digits and `_`, not beginning with a digit

            error[T060]: a table cannot be called `tidemill_ledger`: names with `tidemill_` are reserved
             --> t.yaml:7:31
              |
            7 |   y: { sql: { from: a, table: tidemill_ledger } }
              |                               ^^^^^^^^^^^^^^^
              |
              = help: choose a name that does not begin with `tidemill_`

            error[T060]: a table cannot be called `2t`: it begins with a digit
             --> t.yaml:8:31
              |
            8 |   z: { sql: { from: a, table: 2t } }
              |                               ^^
              |
              = help: use letters, digits and `_`, not beginning with a digit"#]],
    );
}

#[test]
fn t061_a_table_of_records_without_columns() {
    sinks(
        "  x: { sql: { from: s, table: t, key: id } }",
        expect![[r#"
            error[T061]: `x` does not say which columns its table has
             --> t.yaml:6:8
              |
            6 |   x: { sql: { from: s, table: t, key: id } }
              |        ^^^
              |
              = help: add `columns: { name: expression, … }`; only behind an aggregate are the fields known without"#]],
    );
}

#[test]
fn t062_a_table_of_records_without_a_key() {
    sinks(
        "  x: { sql: { from: s, table: t, columns: { id: id } } }",
        expect![[r#"
            error[T062]: `x` does not say what identifies a row of its table
             --> t.yaml:6:8
              |
            6 |   x: { sql: { from: s, table: t, columns: { id: id } } }
              |        ^^^
              |
              = help: add `key: [column, …]`; a record without an identity of its own has `record_partition()` and `record_offset()`"#]],
    );
}

#[test]
fn t063_a_table_of_two_nodes() {
    sinks(
        "  x: { sql: { from: a, table: t } }
  y: { sql: { from: s, table: T, columns: { id: id }, key: id } }",
        expect![[r#"
            error[T063]: `x` and `y` both write into the table `T`
             --> t.yaml:7:31
              |
            6 |   x: { sql: { from: a, table: t } }
              |                               - the first one is here
            7 |   y: { sql: { from: s, table: T, columns: { id: id }, key: id } }
              |                               ^
              |
              = help: give each its own table, or both `shared: true`, if they write rows of different keys"#]],
    );
}

#[test]
fn nodes_that_share_a_table_say_so_both() {
    sinks(
        "  x: { sql: { from: a, table: t, shared: true } }
  y: { sql: { from: a, table: t, shared: true } }",
        expect![[""]],
    );
    sinks(
        "  x: { sql: { from: a, table: t, shared: true } }
  y: { sql: { from: a, table: t } }
  z: { sql: { from: a, table: u, shared: yes } }",
        expect![[r#"
            error[T063]: `x` and `y` both write into the table `t`
             --> t.yaml:7:31
              |
            6 |   x: { sql: { from: a, table: t, shared: true } }
              |                               - the first one is here
            7 |   y: { sql: { from: a, table: t } }
              |                               ^
              |
              = help: give each its own table, or both `shared: true`, if they write rows of different keys

            error[Y009]: `shared` cannot be `yes`
             --> t.yaml:8:42
              |
            8 |   z: { sql: { from: a, table: u, shared: yes } }
              |                                          ^^^
              |
              = help: it is false or true"#]],
    );
}

#[test]
fn t064_a_key_without_its_column() {
    sinks(
        "  x: { sql: { from: s, table: t, columns: { id: id, title: title }, key: [ids] } }
  y: { sql: { from: a, table: u, columns: { wiki: wiki, n: n } } }
  z: { sql: { from: a, table: v, key: [wiki, meta_id, window_strat] } }",
        expect![[r#"
            error[T064]: the table `t` has no column `ids`
             --> t.yaml:6:75
              |
            6 |   x: { sql: { from: s, table: t, columns: { id: id, title: title }, key: [ids] } }
              |                                                                           ^^^
              |
              = help: did you mean `id`?

            error[T064]: the columns of `u` lack the key field `meta_id`
             --> t.yaml:7:43
              |
            7 |   y: { sql: { from: a, table: u, columns: { wiki: wiki, n: n } } }
              |                                           ^^^^^^^^^^^^^^^^^^^^
              |
              = help: add `meta_id: meta_id`, or name the columns of the key with `key:`

            error[T064]: the columns of `u` lack the key field `window_start`
             --> t.yaml:7:43
              |
            7 |   y: { sql: { from: a, table: u, columns: { wiki: wiki, n: n } } }
              |                                           ^^^^^^^^^^^^^^^^^^^^
              |
              = help: add `window_start: window_start`, or name the columns of the key with `key:`

            error[T064]: the table `v` has no column `window_strat`
             --> t.yaml:8:55
              |
            8 |   z: { sql: { from: a, table: v, key: [wiki, meta_id, window_strat] } }
              |                                                       ^^^^^^^^^^^^
              |
              = help: did you mean `window_start`?"#]],
    );
}

#[test]
fn t065_a_field_whose_name_no_column_can_have() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  n: { aggregate: { from: s, by: [user-id], set: { n: count() }, window: none } }
  t: { sql: { from: n, table: t } }",
        expect![[r#"
            error[T065]: the column of the field `user-id` cannot be called so: it contains '-'
             --> t.yaml:6:8
              |
            6 |   t: { sql: { from: n, table: t } }
              |        ^^^
              |
              = help: say which columns there are: `columns: { name: expression, … }`; a field with such a name stands in backticks in an expression"#]],
    );
}

#[test]
fn t065_a_name_that_no_column_can_have() {
    sinks(
        "  x: { sql: { from: s, table: t, columns: { id: id, meta.dt: meta.dt, '': title }, key: id } }",
        expect![[r#"
            error[T065]: a column cannot be called `meta.dt`: it contains '.'
             --> t.yaml:6:53
              |
            6 |   x: { sql: { from: s, table: t, columns: { id: id, meta.dt: meta.dt, '': title }, key: id } }
              |                                                     ^^^^^^^
              |
              = help: use letters, digits and `_`, not beginning with a digit

            error[T065]: a column cannot be called ``: the name is empty
             --> t.yaml:6:71
              |
            6 |   x: { sql: { from: s, table: t, columns: { id: id, meta.dt: meta.dt, '': title }, key: id } }
              |                                                                       ^^
              |
              = help: use letters, digits and `_`, not beginning with a digit"#]],
    );
}

#[test]
fn t066_a_key_of_a_type_that_cannot_be_one() {
    sinks(
        "  x: { sql: { from: s, table: t, columns: { r: ratio, t: tags, d: delta }, key: [r, t, d] } }",
        expect![[r#"
            error[T066]: `r` is of type double, which cannot be a part of a key
             --> t.yaml:6:82
              |
            6 |   x: { sql: { from: s, table: t, columns: { r: ratio, t: tags, d: delta }, key: [r, t, d] } }
              |                                                                                  ^
              |
              = help: make a text of it: `string(…)`

            error[T066]: `t` is of type list, which cannot be a part of a key
             --> t.yaml:6:85
              |
            6 |   x: { sql: { from: s, table: t, columns: { r: ratio, t: tags, d: delta }, key: [r, t, d] } }
              |                                                                                     ^
              |
              = help: make a text of it: `json(…)`"#]],
    );
}

#[test]
fn t067_a_key_that_is_less_than_that_of_the_aggregate() {
    sinks(
        "  x: { sql: { from: a, table: t, key: [wiki] } }
  y: { sql: { from: a, table: u, columns: { w: wiki, m: meta_id, s: window_start, n: n }, key: [w, m, s] } }",
        expect![[r#"
            warning[T067]: the key of `t` lacks `meta_id`, `window_start`
             --> t.yaml:6:39
              |
            6 |   x: { sql: { from: a, table: t, key: [wiki] } }
              |                                       ^^^^^^
              |
              = help: results that differ only there overwrite one another"#]],
    );
}

#[test]
fn t129_a_key_that_is_not_known_of_what_is_deleted() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, key: id, null_values: pass } }
  r: { source: { topic: u, null_values: pass } }
  orders: { table: { from: s } }
  users: { table: { from: r } }
  own: { map: { from: orders, set: { upper_id: id.upper(), total: price * 2 } } }
  j: { join: { from: own, with: users, as: user, type: left } }
  good: { sql: { from: j, table: good, columns: { a: record_key(), b: id, c: upper_id, d: user.name }, key: [a, b, c] } }
  bad: { sql: { from: j, table: bad, columns: { a: id, b: total, c: user.name }, key: [a, b, c] } }
  none: { sql: { from: users, table: none, columns: { a: name }, key: a } }
",
        expect![[r#"
            warning[T129]: rows of `bad` are deleted too, and of a deleted one `total` is not known
              --> t.yaml:11:59
               |
            11 |   bad: { sql: { from: j, table: bad, columns: { a: id, b: total, c: user.name }, key: [a, b, c] } }
               |                                                           ^^^^^
               |
               = help: leave `b` out of `key`, or fill it from what is known: `record_key()` or `id`

            warning[T129]: rows of `bad` are deleted too, and of a deleted one `user.name` is not known
              --> t.yaml:11:69
               |
            11 |   bad: { sql: { from: j, table: bad, columns: { a: id, b: total, c: user.name }, key: [a, b, c] } }
               |                                                                     ^^^^^^^^^
               |
               = help: leave `c` out of `key`, or fill it from what is known: `record_key()` or `id`

            warning[T129]: rows of `none` are deleted too, and of a deleted one `name` is not known
              --> t.yaml:12:58
               |
            12 |   none: { sql: { from: users, table: none, columns: { a: name }, key: a } }
               |                                                          ^^^^
               |
               = help: leave `a` out of `key`, or fill it from what is known: `record_key()`, or the field that the source names as `key`"#]],
    );
}

#[test]
fn t068_more_columns_than_a_table_can_have() {
    let columns = |count: usize| {
        let columns: Vec<String> = (0..count).map(|n| format!("c{n}: c{n}")).collect();
        columns.join(", ")
    };
    let key: Vec<String> = (0..17).map(|n| format!("c{n}")).collect();
    sinks(
        &format!(
            "  x: {{ sql: {{ from: s, table: t, key: [{}], columns: {{ {} }} }} }}",
            key.join(", "),
            columns(17)
        ),
        expect![[r#"
            error[T068]: a key has at most 16 columns, `t` has 17
             --> t.yaml:6:39
              |
            6 |   x: { sql: { from: s, table: t, key: [c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16], columns: { c0: c0,...
              |                                       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: leave some out; `raw()` keeps the whole record in one column"#]],
    );
    let yaml = format!(
        "app: a\nnodes:\n  s: {{ source: {{ topic: t }} }}\n  x:\n    sql:\n      from: s\n      table: t\n      key: c0\n      columns:\n        {}\n",
        columns(1_018).replace(", ", "\n        ")
    );
    shows(
        &yaml,
        expect![[r#"
            error[T068]: a table has at most 1017 columns, `t` has 1018
              --> t.yaml:10:9
               |
            10 |         c0: c0
               |         ^^^^^^
               |
               = help: leave some out; `raw()` keeps the whole record in one column"#]],
    );
}

#[test]
fn t070_a_key_of_a_record_that_is_no_text() {
    sinks(
        "  x: { kafka: { from: s, topic: w, key: delta, fields: { d: delta } } }
  y: { kafka: { from: s, topic: x, key: string(delta) } }",
        expect![[r#"
            error[T070]: a key must be a string, `delta` is of type int
             --> t.yaml:6:41
              |
            6 |   x: { kafka: { from: s, topic: w, key: delta, fields: { d: delta } } }
              |                                         ^^^^^
              |
              = help: write `string(delta)`"#]],
    );
}
