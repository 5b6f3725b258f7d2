//! Mistakes in the names and types of fields.

use expect_test::expect;

use super::shows;

#[test]
fn t020_a_path_that_is_none() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, timestamp: meta..dt, key: '', id: ' id', fields: { .wiki: string } } }
  a:
    aggregate: { from: s, by: [meta.], window: { tumbling: 1m }, set: { n: count() } }
  t: { sql: { from: a, table: t } }
",
        expect![[r#"
            error[T020]: `meta..dt` is not the path of a field: there is nothing on one side of a dot
             --> t.yaml:4:39
              |
            4 |   s: { source: { topic: t, timestamp: meta..dt, key: '', id: ' id', fields: { .wiki: string } } }
              |                                       ^^^^^^^^
              |
              = help: write the names from the outside in, with dots: `meta.dt`

            error[T020]: `` is not the path of a field: it is empty
             --> t.yaml:4:54
              |
            4 |   s: { source: { topic: t, timestamp: meta..dt, key: '', id: ' id', fields: { .wiki: string } } }
              |                                                      ^^
              |
              = help: write the names from the outside in, with dots: `meta.dt`

            error[T020]: ` id` is not the path of a field: it begins or ends with a space
             --> t.yaml:4:62
              |
            4 |   s: { source: { topic: t, timestamp: meta..dt, key: '', id: ' id', fields: { .wiki: string } } }
              |                                                              ^^^^^
              |
              = help: write the names from the outside in, with dots: `meta.dt`

            error[T020]: `.wiki` is not the path of a field: there is nothing on one side of a dot
             --> t.yaml:4:79
              |
            4 |   s: { source: { topic: t, timestamp: meta..dt, key: '', id: ' id', fields: { .wiki: string } } }
              |                                                                               ^^^^^
              |
              = help: write the names from the outside in, with dots: `meta.dt`

            error[T020]: `meta.` is not the path of a field: there is nothing on one side of a dot
             --> t.yaml:6:32
              |
            6 |     aggregate: { from: s, by: [meta.], window: { tumbling: 1m }, set: { n: count() } }
              |                                ^^^^^
              |
              = help: write the names from the outside in, with dots: `meta.dt`"#]],
    );
}

#[test]
fn t020_an_expression_is_no_path() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, timestamp: int(at), key: record_key() } }
  n:
    aggregate: { from: s, by: [\"lower(user)\", a.b(c)], window: { tumbling: 1m }, set: { n: count() } }
  out: { kafka: { from: n, topic: o } }",
        expect![[r#"
            error[T020]: `int(at)` is not the path of a field: it is an expression
             --> t.yaml:4:39
              |
            4 |   s: { source: { topic: t, timestamp: int(at), key: record_key() } }
              |                                       ^^^^^^^
              |
              = help: name a field of the record; what is computed is set by a `map` node behind the source

            error[T020]: `record_key()` is not the path of a field: it is an expression
             --> t.yaml:4:53
              |
            4 |   s: { source: { topic: t, timestamp: int(at), key: record_key() } }
              |                                                     ^^^^^^^^^^^^
              |
              = help: name a field of the record; what is computed is set by a `map` node behind the source

            error[T020]: `lower(user)` is not the path of a field: it is an expression
             --> t.yaml:6:32
              |
            6 |     aggregate: { from: s, by: ["lower(user)", a.b(c)], window: { tumbling: 1m }, set: { n: count() } }
              |                                ^^^^^^^^^^^^^
              |
              = help: let a `map` node in front set a field to it, and name that field

            error[T020]: `a.b(c)` is not the path of a field: it is an expression
             --> t.yaml:6:47
              |
            6 |     aggregate: { from: s, by: ["lower(user)", a.b(c)], window: { tumbling: 1m }, set: { n: count() } }
              |                                               ^^^^^^
              |
              = help: let a `map` node in front set a field to it, and name that field"#]],
    );
}

#[test]
fn t020_what_no_field_is_called() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, timestamp: at / 1000, key: user + 'x', id: 'a, b' } }
  n: { aggregate: { from: s, by: 'user, url', set: { n: count() }, window: none } }
  m: { aggregate: { from: s, by: ['{user}'], set: { n: count() }, window: none } }
  out: { kafka: { from: n, topic: o } }
  also: { kafka: { from: m, topic: p } }",
        expect![[r#"
            error[T020]: `at / 1000` is not the path of a field: it contains ' '
             --> t.yaml:4:39
              |
            4 |   s: { source: { topic: t, timestamp: at / 1000, key: user + 'x', id: 'a, b' } }
              |                                       ^^^^^^^^^
              |
              = help: name a field of the record; what is computed is set by a `map` node behind the source; if a field has this name, declare it under `fields`

            error[T020]: `user + 'x'` is not the path of a field: it contains ' '
             --> t.yaml:4:55
              |
            4 |   s: { source: { topic: t, timestamp: at / 1000, key: user + 'x', id: 'a, b' } }
              |                                                       ^^^^^^^^^^
              |
              = help: name a field of the record; what is computed is set by a `map` node behind the source; if a field has this name, declare it under `fields`

            error[T020]: `a, b` is not the path of a field: it contains ','
             --> t.yaml:4:71
              |
            4 |   s: { source: { topic: t, timestamp: at / 1000, key: user + 'x', id: 'a, b' } }
              |                                                                       ^^^^^^
              |
              = help: one field is named here; of several a `map` node behind the source makes one

            error[T020]: `user, url` is not the path of a field: it contains ','
             --> t.yaml:5:34
              |
            5 |   n: { aggregate: { from: s, by: 'user, url', set: { n: count() }, window: none } }
              |                                  ^^^^^^^^^^^
              |
              = help: several fields are a list: `[user, url]`

            error[T020]: `{user}` is not the path of a field: it contains '{'
             --> t.yaml:6:35
              |
            6 |   m: { aggregate: { from: s, by: ['{user}'], set: { n: count() }, window: none } }
              |                                   ^^^^^^^^
              |
              = help: let a `map` node in front set a field to it, and name that field; if a field has this name, let the source declare it under `fields`"#]],
    );
}

/// A field that is declared may be called anything, and many others are called so.
#[test]
fn t020_lets_names_of_fields_pass() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, timestamp: '@timestamp', key: 'user id', fields: { 'user id': string } } }
  n: { aggregate: { from: s, by: [user-id, a/b, größe, 'user id'], set: { n: count() }, window: none } }
  out: { kafka: { from: n, topic: o } }",
        expect![[r#"
            warning[T024]: the field `user-id` is not declared
             --> t.yaml:5:35
              |
            5 |   n: { aggregate: { from: s, by: [user-id, a/b, größe, 'user id'], set: { n: count() }, window: none } }
              |                                   ^^^^^^^
              |
              = help: did you mean `user id`? Declare the field if it exists"#]],
    );
}

#[test]
fn t021_a_name_that_no_made_field_can_have() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  m: { map: { from: s, set: { meta.dt: a, 1st: b, user-name: c } } }
  k: { kafka: { from: m, topic: u, fields: { '': a } } }
",
        expect![[r#"
            error[T021]: a field cannot be called `meta.dt` here: only whole fields can be set, not fields inside an object
             --> t.yaml:5:31
              |
            5 |   m: { map: { from: s, set: { meta.dt: a, 1st: b, user-name: c } } }
              |                               ^^^^^^^
              |
              = help: call it `meta_dt`

            error[T021]: a field cannot be called `1st` here: it begins with a digit
             --> t.yaml:5:43
              |
            5 |   m: { map: { from: s, set: { meta.dt: a, 1st: b, user-name: c } } }
              |                                           ^^^
              |
              = help: use letters, digits and `_`, not beginning with a digit

            error[T021]: a field cannot be called `user-name` here: it contains '-'
             --> t.yaml:5:51
              |
            5 |   m: { map: { from: s, set: { meta.dt: a, 1st: b, user-name: c } } }
              |                                                   ^^^^^^^^^
              |
              = help: use letters, digits and `_`, not beginning with a digit

            error[T021]: a field cannot be called `` here: the name is empty
             --> t.yaml:6:46
              |
            6 |   k: { kafka: { from: m, topic: u, fields: { '': a } } }
              |                                              ^^
              |
              = help: use letters, digits and `_`, not beginning with a digit"#]],
    );
}

#[test]
fn t022_a_name_that_is_used_twice() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { wiki: string, wiki: int } } }
  m: { map: { from: s, set: { a: b, a: c } } }
  a:
    aggregate:
      from: m
      by: [wiki, user, wiki]
      window: { tumbling: 1m }
      set: { n: count(), n: count_if(bot) }
  t: { sql: { from: m, table: t, columns: { title: title, Title: title }, key: [title, title] } }
  k: { kafka: { from: a, topic: u, fields: { wiki: wiki, wiki: user } } }
",
        expect![[r#"
            error[T022]: `wiki` is named twice
             --> t.yaml:4:52
              |
            4 |   s: { source: { topic: t, fields: { wiki: string, wiki: int } } }
              |                                      ----          ^^^^
              |                                      |
              |                                      the first one is here
              |
              = help: name it once

            error[T022]: `a` is named twice
             --> t.yaml:5:37
              |
            5 |   m: { map: { from: s, set: { a: b, a: c } } }
              |                               -     ^
              |                               |
              |                               the first one is here
              |
              = help: name it once

            error[T022]: `wiki` is named twice
             --> t.yaml:9:24
              |
            9 |       by: [wiki, user, wiki]
              |            ----        ^^^^
              |            |
              |            the first one is here
              |
              = help: name it once

            error[T022]: `n` is named twice
              --> t.yaml:11:26
               |
            11 |       set: { n: count(), n: count_if(bot) }
               |              -           ^
               |              |
               |              the first one is here
               |
               = help: name it once

            error[T022]: `Title` is named twice
              --> t.yaml:12:59
               |
            12 |   t: { sql: { from: m, table: t, columns: { title: title, Title: title }, key: [title, title] } }
               |                                             -----         ^^^^^
               |                                             |
               |                                             the first one is here
               |
               = help: name it once

            error[T022]: `title` is named twice
              --> t.yaml:12:88
               |
            12 |   t: { sql: { from: m, table: t, columns: { title: title, Title: title }, key: [title, title] } }
               |                                                                                 -----  ^^^^^
               |                                                                                 |
               |                                                                                 the first one is here
               |
               = help: name it once

            error[T022]: `wiki` is named twice
              --> t.yaml:13:58
               |
            13 |   k: { kafka: { from: a, topic: u, fields: { wiki: wiki, wiki: user } } }
               |                                              ----        ^^^^
               |                                              |
               |                                              the first one is here
               |
               = help: name it once"#]],
    );
}

#[test]
fn t023_a_field_that_cannot_be_there() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { bot: bool } } }
  a:
    aggregate: { from: s, by: [meta.domain], window: { tumbling: 1m }, set: { edits: count() } }
  f: { filter: { from: a, where: 'edit > 5 && title == meta_domain' } }
  b:
    aggregate: { from: f, by: [meta.domain, bot], window: { tumbling: 1h }, set: { n: 'sum(bytes)' } }
  c:
    aggregate: { from: s, by: [bot.name], window: { tumbling: 1h }, set: { n: count() } }
  t: { sql: { from: b, table: t } }
  u: { sql: { from: c, table: u } }
",
        expect![[r#"
            error[T023]: unknown field `edit`
             --> t.yaml:7:35
              |
            7 |   f: { filter: { from: a, where: 'edit > 5 && title == meta_domain' } }
              |                                   ^^^^
              |
              = help: did you mean `edits`?

            error[T023]: unknown field `title`
             --> t.yaml:7:47
              |
            7 |   f: { filter: { from: a, where: 'edit > 5 && title == meta_domain' } }
              |                                               ^^^^^
              |
              = help: known are meta_domain, window_start, window_end, edits

            error[T051]: `a` sends each of its results again whenever it changes, and every time it would be counted here
             --> t.yaml:9:24
              |
            9 |     aggregate: { from: f, by: [meta.domain, bot], window: { tumbling: 1h }, set: { n: 'sum(bytes)' } }
              |                        ^
              |
              = help: add `emit: close` to `a`: then each window's result comes once; or, if each update is to count, put a `to_stream` in between

            error[T023]: unknown field `meta.domain`
             --> t.yaml:9:32
              |
            9 |     aggregate: { from: f, by: [meta.domain, bot], window: { tumbling: 1h }, set: { n: 'sum(bytes)' } }
              |                                ^^^^^^^^^^^
              |
              = help: did you mean `meta_domain`?

            error[T023]: unknown field `bot`
             --> t.yaml:9:45
              |
            9 |     aggregate: { from: f, by: [meta.domain, bot], window: { tumbling: 1h }, set: { n: 'sum(bytes)' } }
              |                                             ^^^
              |
              = help: the fields here: meta_domain, window_start, window_end, edits

            error[T023]: unknown field `bytes`
             --> t.yaml:9:92
              |
            9 |     aggregate: { from: f, by: [meta.domain, bot], window: { tumbling: 1h }, set: { n: 'sum(bytes)' } }
              |                                                                                            ^^^^^
              |
              = help: known are meta_domain, window_start, window_end, edits

            error[T023]: `bot` is a bool, it has no fields
              --> t.yaml:11:32
               |
            11 |     aggregate: { from: s, by: [bot.name], window: { tumbling: 1h }, set: { n: count() } }
               |                                ^^^^^^^^
               |
               = help: name `bot` itself"#]],
    );
}

#[test]
fn t024_a_field_that_is_almost_a_declared_one() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { wiki: string, length.new: int, user: string } } }
  f: { filter: { from: s, where: 'length.nwe > 5 && length.old > 5 && users != title' } }
  a:
    aggregate: { from: f, by: [wikis], window: { tumbling: 1m }, set: { n: count() } }
  t: { sql: { from: a, table: t } }
",
        expect![[r#"
            warning[T024]: the field `length.nwe` is not declared
             --> t.yaml:5:35
              |
            5 |   f: { filter: { from: s, where: 'length.nwe > 5 && length.old > 5 && users != title' } }
              |                                   ^^^^^^^^^^
              |
              = help: did you mean `length.new`? Declare the field if it exists

            warning[T024]: the field `users` is not declared
             --> t.yaml:5:71
              |
            5 |   f: { filter: { from: s, where: 'length.nwe > 5 && length.old > 5 && users != title' } }
              |                                                                       ^^^^^
              |
              = help: did you mean `user`? Declare the field if it exists

            warning[T024]: the field `wikis` is not declared
             --> t.yaml:7:32
              |
            7 |     aggregate: { from: f, by: [wikis], window: { tumbling: 1m }, set: { n: count() } }
              |                                ^^^^^
              |
              = help: did you mean `wiki`? Declare the field if it exists"#]],
    );
}

#[test]
fn t024_a_node_in_front_of_a_field() {
    shows(
        "
app: a
nodes:
  orders: { source: { topic: t } }
  paid: { filter: { from: orders, where: orders.paid } }
  out: { kafka: { from: paid, topic: o, fields: { id: paid.id, at: other.at } } }",
        expect![[r#"
            warning[T024]: `orders.paid` is a field inside an object `orders`, which is not declared; `orders` is a node
             --> t.yaml:5:42
              |
            5 |   paid: { filter: { from: orders, where: orders.paid } }
              |                                          ^^^^^^^^^^^
              |
              = help: did you mean `paid`? Declare the field if it exists

            warning[T024]: `paid.id` is a field inside an object `paid`, which is not declared; `paid` is a node
             --> t.yaml:6:55
              |
            6 |   out: { kafka: { from: paid, topic: o, fields: { id: paid.id, at: other.at } } }
              |                                                       ^^^^^^^
              |
              = help: did you mean `id`? Declare the field if it exists"#]],
    );
}

#[test]
fn t024_key_time_and_id_of_a_source() {
    shows(
        "
app: a
nodes:
  s:
    source:
      topic: t
      key: wikki
      timestamp: meta.dtt
      id: meta.idd
      fields: { wiki: string, meta.dt: string, meta.id: string }
  k: { kafka: { from: s, topic: u } }
",
        expect![[r#"
            warning[T024]: the field `wikki` is not declared
             --> t.yaml:7:12
              |
            7 |       key: wikki
              |            ^^^^^
              |
              = help: did you mean `wiki`? Declare the field if it exists

            warning[T024]: the field `meta.dtt` is not declared
             --> t.yaml:8:18
              |
            8 |       timestamp: meta.dtt
              |                  ^^^^^^^^
              |
              = help: did you mean `meta.dt`? Declare the field if it exists

            warning[T024]: the field `meta.idd` is not declared
             --> t.yaml:9:11
              |
            9 |       id: meta.idd
              |           ^^^^^^^^
              |
              = help: did you mean `meta.id`? Declare the field if it exists"#]],
    );
}

#[test]
fn t024_constants_of_other_languages() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  f: { filter: { from: s, where: 'user != None && bot == TRUE' } }
  k: { kafka: { from: f, topic: u } }
",
        expect![[r#"
            warning[T024]: the field `None` is not declared
             --> t.yaml:5:43
              |
            5 |   f: { filter: { from: s, where: 'user != None && bot == TRUE' } }
              |                                           ^^^^
              |
              = help: did you mean `null`? Declare the field if it exists

            warning[T024]: the field `TRUE` is not declared
             --> t.yaml:5:58
              |
            5 |   f: { filter: { from: s, where: 'user != None && bot == TRUE' } }
              |                                                          ^^^^
              |
              = help: did you mean `true`? Declare the field if it exists"#]],
    );
}

#[test]
fn t130_types_that_json_does_not_have() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { at: timestamp, took: duration, body: bytes, n: int } } }
  g: { global_table: { topic: g, fields: { since: timestamp } } }
  j: { join: { from: s, with: g, as: r, on: n } }
  k: { kafka: { from: j, topic: u, fields: { n: n } } }
",
        expect![[r#"
            error[T130]: JSON has no timestamp: `at` is a text or a number there
             --> t.yaml:4:42
              |
            4 |   s: { source: { topic: t, fields: { at: timestamp, took: duration, body: bytes, n: int } } }
              |                                          ^^^^^^^^^
              |
              = help: declare it as `string` (RFC 3339) or `int` (milliseconds); as the `timestamp` of the source it is read as a time, and expressions make one of it with `timestamp(at)`

            error[T130]: JSON has no duration: `took` is a text or a number there
             --> t.yaml:4:59
              |
            4 |   s: { source: { topic: t, fields: { at: timestamp, took: duration, body: bytes, n: int } } }
              |                                                           ^^^^^^^^
              |
              = help: declare it as `string`, and write `duration(took)` where a length of time is wanted

            error[T130]: JSON has no bytes: `body` is a text or a number there
             --> t.yaml:4:75
              |
            4 |   s: { source: { topic: t, fields: { at: timestamp, took: duration, body: bytes, n: int } } }
              |                                                                           ^^^^^
              |
              = help: declare it as `string`

            error[T130]: JSON has no timestamp: `since` is a text or a number there
             --> t.yaml:5:51
              |
            5 |   g: { global_table: { topic: g, fields: { since: timestamp } } }
              |                                                   ^^^^^^^^^
              |
              = help: declare it as `string` (RFC 3339) or `int` (milliseconds); as the `timestamp` of the source it is read as a time, and expressions make one of it with `timestamp(since)`"#]],
    );
}

#[test]
fn t025_declarations_that_contradict_each_other() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { length: int, length.new: int, meta: map, meta.dt: string } } }
  k: { kafka: { from: s, topic: u } }
",
        expect![[r#"
            error[T025]: `length` is declared int, but has the field `length.new` inside it
             --> t.yaml:4:46
              |
            4 |   s: { source: { topic: t, fields: { length: int, length.new: int, meta: map, meta.dt: string } } }
              |                                              ^^^  ---------- declared here
              |
              = help: declare `length` as `map`, or leave out one of the two"#]],
    );
}

#[test]
fn t026_an_event_time_of_a_type_that_is_no_time() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, timestamp: bot, fields: { bot: bool } } }
  k: { kafka: { from: s, topic: u } }
",
        expect![[r#"
            error[T026]: `bot` is declared bool, which tells no time
             --> t.yaml:4:39
              |
            4 |   s: { source: { topic: t, timestamp: bot, fields: { bot: bool } } }
              |                                       ^^^
              |
              = help: event time is an RFC 3339 text (string or timestamp) or milliseconds (int)"#]],
    );
}

#[test]
fn t027_a_lead_that_is_negative_or_no_length_of_time() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, max_ahead: -5m } }
  r: { source: { topic: r, max_ahead: soon } }
  k: { kafka: { from: s, topic: u } }
  l: { kafka: { from: r, topic: v } }
",
        expect![[r#"
            error[T027]: a lead cannot be negative, found -5m
             --> t.yaml:4:39
              |
            4 |   s: { source: { topic: t, max_ahead: -5m } }
              |                                       ^^^
              |
              = help: `none` lets pass event times however far ahead of the clock

            error[Y010]: expected a whole number and a unit such as 30s or 1h30m, found "soon"
             --> t.yaml:5:39
              |
            5 |   r: { source: { topic: r, max_ahead: soon } }
              |                                       ^^^^
              |
              = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`"#]],
    );
}
