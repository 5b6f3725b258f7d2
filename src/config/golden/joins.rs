//! Joins: what can be put together, and under which names.

use expect_test::expect;

use super::shows;

#[test]
fn t083_a_join_looks_for_one_row_by_key() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, key: wiki } }
  wikis: { source: { topic: w } }
  n: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { n: count() } } }
  j: { join: { from: s, with: wikis, as: wiki_row } }
  k: { kafka: { from: j, topic: u, fields: { wiki: wiki } } }
  i: { join: { from: s, with: n, as: counts } }
  l: { kafka: { from: i, topic: v, fields: { wiki: wiki } } }
",
        expect![[r#"
            error[T083]: the records of `wikis` do not replace one another, so there is no row to be found
             --> t.yaml:7:31
              |
            7 |   j: { join: { from: s, with: wikis, as: wiki_row } }
              |                               ^^^^^
              |
              = help: add a `table` node behind `wikis` and join with that, or say how near to each other the records of two streams have to be: `within: 10m`

            error[T083]: the results of `n` have a row for each window, and a join looks by key alone
             --> t.yaml:9:31
              |
            9 |   i: { join: { from: s, with: n, as: counts } }
              |                               ^
              |
              = help: give `n` `window: none`, or `emit: close` with a `table` node behind it, which keeps the last window of each key; or put the window into the key, with a `select_key` behind it that adds `string(window_start)`"#]],
    );
}

#[test]
fn t084_what_is_joined_hides_nothing() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { user: string } } }
  changes: { source: { topic: w, null_values: pass } }
  users: { table: { from: changes } }
  j: { join: { from: s, with: users, as: user } }
  k: { kafka: { from: j, topic: u, fields: { name: user.name } } }
",
        expect![[r#"
            error[T084]: `s` has the field `user`, which could not be seen any more
             --> t.yaml:7:42
              |
            7 |   j: { join: { from: s, with: users, as: user } }
              |                                          ^^^^
              |
              = help: join under another name: `as: users`"#]],
    );
}

#[test]
fn t085_rows_alone_have_no_result_where_a_stream_is_joined() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  changes: { source: { topic: w, null_values: pass } }
  users: { table: { from: changes } }
  j: { join: { from: s, with: users, as: user, type: outer } }
  k: { kafka: { from: j, topic: u, fields: { name: user.name } } }
",
        expect![[r#"
            error[T085]: `s` is a stream: each of its records finds the row that is there, and rows alone have no result
             --> t.yaml:7:54
              |
            7 |   j: { join: { from: s, with: users, as: user, type: outer } }
              |                                                      ^^^^^
              |
              = help: use `type: left`, or add a `table` node behind `s` to join two tables"#]],
    );
}

#[test]
fn t086_a_topic_cannot_have_a_joined_record_as_it_came() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  changes: { source: { topic: w, null_values: pass } }
  users: { table: { from: changes } }
  j: { join: { from: s, with: users, as: user } }
  k: { kafka: { from: j, topic: u } }
",
        expect![[r#"
            error[T086]: records behind a join are made of several events
             --> t.yaml:8:8
              |
            8 |   k: { kafka: { from: j, topic: u } }
              |        ^^^^^
              |
              = help: name what is to be written: `fields: { wiki: wiki, name: user.name }`"#]],
    );
}

#[test]
fn t024_a_joined_field_without_its_prefix() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { title: string } } }
  changes: { source: { topic: w, null_values: pass, fields: { name: string } } }
  users: { table: { from: changes } }
  j: { join: { from: s, with: users, as: user } }
  f: { filter: { from: j, where: \"name == 'x' || users.country == 'DE' || titles == user.country\" } }
  k: { kafka: { from: f, topic: u, fields: { title: title } } }
",
        expect![[r#"
            warning[T024]: the field `name` is not declared
             --> t.yaml:8:35
              |
            8 |   f: { filter: { from: j, where: "name == 'x' || users.country == 'DE' || titles == user.country" } }
              |                                   ^^^^
              |
              = help: did you mean `user.name`? Declare the field if it exists

            warning[T024]: the field `users.country` is not declared
             --> t.yaml:8:50
              |
            8 |   f: { filter: { from: j, where: "name == 'x' || users.country == 'DE' || titles == user.country" } }
              |                                                  ^^^^^^^^^^^^^
              |
              = help: did you mean `user.country`? Declare the field if it exists

            warning[T024]: the field `titles` is not declared
             --> t.yaml:8:75
              |
            8 |   f: { filter: { from: j, where: "name == 'x' || users.country == 'DE' || titles == user.country" } }
              |                                                                           ^^^^^^
              |
              = help: did you mean `title`? Declare the field if it exists"#]],
    );
}

#[test]
fn the_fields_of_both_sides_are_known() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { title: string } } }
  changes: { source: { topic: w, null_values: pass, fields: { name: string, age: int } } }
  users: { table: { from: changes } }
  per_user: { aggregate: { from: s, by: author, window: none, set: { edits: count() } } }
  j: { join: { from: s, with: users, as: user } }
  i: { join: { from: j, with: per_user, as: stats } }
  older: { map: { from: i, set: { a: user.age + 1, b: user.nme, c: stats.edit, d: title + 1, e: user } } }
  k: { kafka: { from: older, topic: u, fields: { a: a } } }
",
        expect![[r#"
            warning[T024]: the field `user.nme` is not declared
              --> t.yaml:10:55
               |
            10 |   older: { map: { from: i, set: { a: user.age + 1, b: user.nme, c: stats.edit, d: title + 1, e: user } } }
               |                                                       ^^^^^^^^
               |
               = help: did you mean `user.name`? Declare the field if it exists

            error[T023]: unknown field `stats.edit`
              --> t.yaml:10:68
               |
            10 |   older: { map: { from: i, set: { a: user.age + 1, b: user.nme, c: stats.edit, d: title + 1, e: user } } }
               |                                                                    ^^^^^^^^^^
               |
               = help: did you mean `stats.edits`?

            error[T031]: `+` does not take string and int
              --> t.yaml:10:83
               |
            10 |   older: { map: { from: i, set: { a: user.age + 1, b: user.nme, c: stats.edit, d: title + 1, e: user } } }
               |                                                                                   ^^^^^^^^^
               |
               = help: `int(text)` reads a number, `string(number)` writes one

            error[T023]: unknown field `user`
              --> t.yaml:10:97
               |
            10 |   older: { map: { from: i, set: { a: user.age + 1, b: user.nme, c: stats.edit, d: title + 1, e: user } } }
               |                                                                                                 ^^^^
               |
               = help: known are title, user.name, user.age, stats.author, stats.edits, a, b, c, d"#]],
    );
}

#[test]
fn mistakes_in_the_keys_of_a_join_are_shown_where_they_are() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  j: { join: { from: s, with: usres, as: user.row, type: cross } }
  users: { table: { from: s } }
  k: { kafka: { from: j, topic: u, fields: { a: a } } }
",
        expect![[r#"
            error[T004]: there is no node `usres`
             --> t.yaml:5:31
              |
            5 |   j: { join: { from: s, with: usres, as: user.row, type: cross } }
              |                               ^^^^^
              |
              = help: did you mean `users`?

            error[T021]: a field cannot be called `user.row` here: only whole fields can be set, not fields inside an object
             --> t.yaml:5:42
              |
            5 |   j: { join: { from: s, with: usres, as: user.row, type: cross } }
              |                                          ^^^^^^^^
              |
              = help: call it `user_row`

            error[Y009]: `type` cannot be `cross`
             --> t.yaml:5:58
              |
            5 |   j: { join: { from: s, with: usres, as: user.row, type: cross } }
              |                                                          ^^^^^
              |
              = help: it is one of inner, left, outer

            warning[T081]: `s` lets no record without a value through
             --> t.yaml:6:27
              |
            6 |   users: { table: { from: s } }
              |                           ^
              |
              = help: add `null_values: pass` to `s`: such a record deletes a row"#]],
    );
}

#[test]
fn t087_times_that_are_the_wrong_way_round() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  r: { source: { topic: w } }
  j: { join: { from: s, with: r, as: x, before: -5m, after: 1m, grace: -1s } }
  i: { join: { from: s, with: r, as: x, within: -5m } }
  k: { kafka: { from: j, topic: u, fields: { a: a } } }
  l: { kafka: { from: i, topic: v, fields: { a: a } } }
",
        expect![[r#"
            error[T087]: the right record cannot be both at most -5m earlier and at most 1m later than the left one
             --> t.yaml:6:49
              |
            6 |   j: { join: { from: s, with: r, as: x, before: -5m, after: 1m, grace: -1s } }
              |                                                 ^^^
              |
              = help: raise one of them: together they must not be negative

            error[T087]: a grace cannot be negative, found -1s
             --> t.yaml:6:72
              |
            6 |   j: { join: { from: s, with: r, as: x, before: -5m, after: 1m, grace: -1s } }
              |                                                                        ^^^
              |
              = help: `0s` waits for no record that is out of order

            error[T087]: a length of time cannot be negative here, found -5m
             --> t.yaml:7:49
              |
            7 |   i: { join: { from: s, with: r, as: x, within: -5m } }
              |                                                 ^^^
              |
              = help: `0s` pairs records of the same instant"#]],
    );
}

#[test]
fn streams_are_joined_within_a_time_and_tables_are_not() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, null_values: pass } }
  r: { source: { topic: w } }
  rows: { table: { from: s } }
  j: { join: { from: r, with: rows, as: x, within: 5m } }
  i: { join: { from: s, with: r, as: x, within: 5m, before: 1m } }
  h: { join: { from: s, with: r, as: x, grace: 5m } }
  k: { kafka: { from: j, topic: u, fields: { a: a } } }
  l: { kafka: { from: i, topic: v, fields: { a: a } } }
  m: { kafka: { from: h, topic: x, fields: { a: a } } }
",
        expect![[r#"
            error[T083]: the rows of `rows` replace one another, and `within` pairs records of streams
             --> t.yaml:7:31
              |
            7 |   j: { join: { from: r, with: rows, as: x, within: 5m } }
              |                               ^^^^
              |
              = help: take `within` away: a join with a table looks for the row that is there; or put a `to_stream` behind `rows`, and each of its updates is a record

            error[Y013]: `within` and `before` exclude each other, give one of them
             --> t.yaml:8:53
              |
            8 |   i: { join: { from: s, with: r, as: x, within: 5m, before: 1m } }
              |                                         ------      ^^^^^^
              |                                         |
              |                                         the other is here
              |
              = help: remove one of them

            error[Y006]: the key `within` is missing
             --> t.yaml:9:8
              |
            9 |   h: { join: { from: s, with: r, as: x, grace: 5m } }
              |        ^^^^
              |
              = help: add `within: …`, or `before` and `after`

            error[T083]: the records of `r` do not replace one another, so there is no row to be found
             --> t.yaml:9:31
              |
            9 |   h: { join: { from: s, with: r, as: x, grace: 5m } }
              |                               ^
              |
              = help: add a `table` node behind `r` and join with that, or say how near to each other the records of two streams have to be: `within: 10m`"#]],
    );
}

#[test]
fn t124_a_foreign_key_is_of_the_left_row() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, null_values: pass } }
  r: { source: { topic: u, null_values: pass } }
  orders: { table: { from: s } }
  users: { table: { from: r } }
  j: { join: { from: orders, with: users, as: user, on: user.id } }
  k: { kafka: { from: j, topic: v, fields: { a: user.name } } }
",
        expect![[r#"
            error[T124]: `user.id` is a field of the row, which is found by `on`
             --> t.yaml:8:57
              |
            8 |   j: { join: { from: orders, with: users, as: user, on: user.id } }
              |                                                         ^^^^^^^
              |
              = help: name what of a record of `orders` is the key of the row: `on` sees that record alone"#]],
    );
}

#[test]
fn t099_a_foreign_key_is_for_tables() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, null_values: pass } }
  r: { source: { topic: u, null_values: pass } }
  orders: { table: { from: s } }
  users: { table: { from: r } }
  streams: { join: { from: s, with: r, as: x, on: user, within: 5m } }
  outer: { join: { from: orders, with: users, as: x, on: user, type: outer } }
  stream: { join: { from: s, with: users, as: x, on: user } }
  good: { join: { from: orders, with: users, as: x, on: user, type: left } }
  all: { merge: { from: [streams, outer, stream, good] } }
  k: { kafka: { from: all, topic: v, fields: { a: a } } }
",
        expect![[r#"
            error[T099]: two streams are paired by their keys, and not by `on`
             --> t.yaml:8:51
              |
            8 |   streams: { join: { from: s, with: r, as: x, on: user, within: 5m } }
              |                                                   ^^^^
              |
              = help: take `on` away and put a `select_key` in front of the join, or `within`, to join two tables

            error[T099]: a right row that no left one leads to has no key for a result
             --> t.yaml:9:70
              |
            9 |   outer: { join: { from: orders, with: users, as: x, on: user, type: outer } }
              |                                                                      ^^^^^
              |
              = help: use `type: left`, or `inner`

            error[T099]: `s` is a stream, whose records find rows by their keys
              --> t.yaml:10:54
               |
            10 |   stream: { join: { from: s, with: users, as: x, on: user } }
               |                                                      ^^^^
               |
               = help: put a `select_key` behind `s`, with what `on` says as its `key`; or a `table`, to join two tables; or make the right side a `global_table`

            error[T126]: the rows of `outer` replace one another, and the records of `streams` do not
              --> t.yaml:12:26
               |
            12 |   all: { merge: { from: [streams, outer, stream, good] } }
               |                          ^^^^^^^
               |
               = help: merge streams with streams, in front of a `table`, and tables with tables; a `to_stream` makes records of rows"#]],
    );
}
