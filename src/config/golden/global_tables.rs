//! Global tables: who may use them, and how.

use expect_test::{Expect, expect};

use super::shows;
use crate::topology::describe::{dot, mermaid, text};

/// A join with these settings between two sources and a global table.
#[track_caller]
fn join(settings: &str, expected: Expect) {
    let yaml = format!(
        "app: a\nnodes:\n  s: {{ source: {{ topic: t, key: id }} }}\n  \
         r: {{ source: {{ topic: u, null_values: pass }} }}\n  users: {{ table: {{ from: r }} }}\n  \
         countries: {{ global_table: {{ topic: c, fields: {{ name: string }} }} }}\n  \
         i: {{ join: {{ from: s, with: countries, as: other, on: code }} }}\n  \
         j: {{ join: {{ {settings} }} }}\n  \
         k: {{ kafka: {{ from: i, topic: v, fields: {{ a: other.name }} }} }}\n  \
         l: {{ kafka: {{ from: j, topic: w, fields: {{ a: a }} }} }}\n  \
         m: {{ kafka: {{ from: users, topic: x }} }}\n"
    );
    shows(&yaml, expected);
}

#[test]
fn t120_rows_do_not_come_out_of_a_global_table() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  countries: { global_table: { topic: c } }
  named: { filter: { from: countries, where: has(name) } }
  both: { merge: { from: [s, countries] } }
  users: { table: { from: s } }
  j: { join: { from: countries, with: users, as: user } }
  k: { kafka: { from: named, topic: u } }
  l: { kafka: { from: both, topic: v } }
  m: { kafka: { from: j, topic: w, fields: { a: a } } }
",
        expect![[r#"
            error[T120]: `countries` is a global table: rows are looked up in it, and none come out
             --> t.yaml:6:28
              |
            6 |   named: { filter: { from: countries, where: has(name) } }
              |                            ^^^^^^^^^
              |
              = help: join with it, `with: countries`; what has to see its records reads a `source` of the same topic

            error[T120]: `countries` is a global table: rows are looked up in it, and none come out
             --> t.yaml:7:30
              |
            7 |   both: { merge: { from: [s, countries] } }
              |                              ^^^^^^^^^
              |
              = help: join with it, `with: countries`; what has to see its records reads a `source` of the same topic

            warning[T081]: `s` lets no record without a value through
             --> t.yaml:8:27
              |
            8 |   users: { table: { from: s } }
              |                           ^
              |
              = help: add `null_values: pass` to `s`: such a record deletes a row

            error[T120]: `countries` is a global table: rows are looked up in it, and none come out
             --> t.yaml:9:22
              |
            9 |   j: { join: { from: countries, with: users, as: user } }
              |                      ^^^^^^^^^
              |
              = help: join with it, `with: countries`; what has to see its records reads a `source` of the same topic"#]],
    );
}

#[test]
fn t121_a_record_of_a_stream_finds_the_row_when_it_comes() {
    join(
        "from: users, with: countries, as: c",
        expect![[r#"
        error[T121]: the rows of `users` replace one another, and a change of `countries` would not change what was made of them
         --> t.yaml:8:22
          |
        8 |   j: { join: { from: users, with: countries, as: c } }
          |                      ^^^^^
          |
          = help: join `countries` with a stream, in front of the node that makes rows of it; or read its topic with a `source` and a `table`, which is joined with `users` by the keys of both"#]],
    );
    join(
        "from: s, with: countries, as: c, type: outer",
        expect![[r#"
            error[T121]: rows of `countries` alone have no result: each record finds the one that is there, and every process has all of them
             --> t.yaml:8:55
              |
            8 |   j: { join: { from: s, with: countries, as: c, type: outer } }
              |                                                       ^^^^^
              |
              = help: use `type: left`"#]],
    );
    join(
        "from: s, with: countries, as: c, within: 5m",
        expect![[r#"
        error[T121]: a record finds the row that `countries` has when it comes, and waits for none
         --> t.yaml:8:57
          |
        8 |   j: { join: { from: s, with: countries, as: c, within: 5m } }
          |                                                         ^^
          |
          = help: take `within`, `before`, `after` and `grace` away: they pair the records of two streams"#]],
    );
    join(
        "from: s, with: countries, as: c, before: 1m, grace: 1m",
        expect![[r#"
            error[T121]: a record finds the row that `countries` has when it comes, and waits for none
             --> t.yaml:8:57
              |
            8 |   j: { join: { from: s, with: countries, as: c, before: 1m, grace: 1m } }
              |                                                         ^^
              |
              = help: take `within`, `before`, `after` and `grace` away: they pair the records of two streams"#]],
    );
}

#[test]
fn t132_a_condition_is_no_key() {
    shows(
        "
app: a
nodes:
  orders:    { source: { topic: o, key: id, fields: { id: string, customer_id: string } } }
  customers: { global_table: { topic: c } }
  named:     { join: { from: orders, with: customers, as: customer, on: orders.customer_id == customers.id } }
  out:       { kafka: { from: named, topic: p, fields: { id: id, name: customer.name } } }
",
        expect![[r#"
            error[T132]: `orders.customer_id == customers.id` is true or false: `on` gives the key of the row of `customers` that is looked up
             --> t.yaml:6:73
              |
            6 |   named:     { join: { from: orders, with: customers, as: customer, on: orders.customer_id == customers.id } }
              |                                                                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: name what of a record of `orders` is that key: `on: customer_id`; the key of `customers` is that of its topic"#]],
    );
}

#[test]
fn t124_the_key_that_is_looked_up_is_of_the_record() {
    join(
        "from: s, with: countries, as: c, on: c.name",
        expect![[r#"
        error[T124]: `c.name` is a field of the row, which is found by `on`
         --> t.yaml:8:53
          |
        8 |   j: { join: { from: s, with: countries, as: c, on: c.name } }
          |                                                     ^^^^^^
          |
          = help: name what of a record of `s` is the key of the row: `on` sees that record alone"#]],
    );
    join(
        "from: s, with: countries, as: c, on: 'nothing(x)'",
        expect![[r#"
            error[T030]: unknown function `nothing`
             --> t.yaml:8:54
              |
            8 |   j: { join: { from: s, with: countries, as: c, on: 'nothing(x)' } }
              |                                                      ^^^^^^^
              |
              = help: docs/EXPRESSIONS.md has an example of each operator and function"#]],
    );
}

#[test]
fn t123_a_row_that_cannot_be_read_is_no_dead_letter() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  countries: { global_table: { topic: c, on_error: dead_letter, timestamp: at } }
  j: { join: { from: s, with: countries, as: c } }
  k: { kafka: { from: j, topic: u, fields: { a: c.name } } }
",
        expect![[r#"
            error[T123]: each process would put the same records aside, whenever it reads the table
             --> t.yaml:5:52
              |
            5 |   countries: { global_table: { topic: c, on_error: dead_letter, timestamp: at } }
              |                                                    ^^^^^^^^^^^
              |
              = help: leave `on_error` away: such records are dropped and counted, and the earlier row of their key stays; or `stop`

            error[Y004]: there is no key `timestamp` here
             --> t.yaml:5:65
              |
            5 |   countries: { global_table: { topic: c, on_error: dead_letter, timestamp: at } }
              |                                                                 ^^^^^^^^^
              |
              = help: the keys here: topic, topics, format, schema, schema_file, message, schema_registry, fields, on_error"#]],
    );
}

#[test]
fn topics_of_global_tables_are_held_to_the_rules_of_topics() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  c: { global_table: { topics: [t, a b] } }
  d: { global_table: { topic: t, fields: { x.y: int, x: string } } }
  e: { global_table: { fields: { x: int } } }
  unused: { global_table: { topic: u } }
  j: { join: { from: s, with: c, as: c } }
  i: { join: { from: j, with: d, as: d } }
  h: { join: { from: i, with: e, as: e } }
  k: { kafka: { from: h, topic: v, fields: { a: c.name } } }
",
        expect![[r#"
            error[T011]: Kafka does not allow a topic `a b`: the name contains ' '
             --> t.yaml:5:36
              |
            5 |   c: { global_table: { topics: [t, a b] } }
              |                                    ^^^
              |
              = help: use letters, digits, `.`, `_` and `-`, at most 249 of them

            error[T012]: the global tables `c` and `d` both read the topic `t`
             --> t.yaml:6:31
              |
            5 |   c: { global_table: { topics: [t, a b] } }
              |                                 - it is read here already
            6 |   d: { global_table: { topic: t, fields: { x.y: int, x: string } } }
              |                               ^
              |
              = help: one topic is read in one way; the two differ in fields

            error[T025]: `x` is declared string, but has the field `x.y` inside it
             --> t.yaml:6:57
              |
            6 |   d: { global_table: { topic: t, fields: { x.y: int, x: string } } }
              |                                            ---          ^^^^^^
              |                                            |
              |                                            declared here
              |
              = help: declare `x` as `map`, or leave out one of the two

            error[T010]: the global_table `e` names no topic
             --> t.yaml:7:8
              |
            7 |   e: { global_table: { fields: { x: int } } }
              |        ^^^^^^^^^^^^
              |
              = help: add `topic: …`, or `topics: […]` for several of the same shape

            warning[T009]: no node reads from `unused`
             --> t.yaml:8:3
              |
            8 |   unused: { global_table: { topic: u } }
              |   ^^^^^^
              |
              = help: remove it, or name it in the `with` of a join

            warning[T024]: `c.name` is a field inside an object `c`, which is not declared; `c` is a node
              --> t.yaml:12:49
               |
            12 |   k: { kafka: { from: h, topic: v, fields: { a: c.name } } }
               |                                                 ^^^^^^
               |
               = help: did you mean `name`? Declare the field if it exists"#]],
    );
}

#[test]
fn the_types_of_rows_are_known_behind_a_join() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { code: string } } }
  countries: { global_table: { topic: c, fields: { name: string, area: int } } }
  j: { join: { from: s, with: countries, as: country, on: code, type: left } }
  m: { map: { from: j, set: { a: country.area + 1, b: country.name + 1, c: country.nme, d: code + 1 } } }
  k: { kafka: { from: m, topic: u, fields: { a: a } } }
",
        expect![[r#"
            error[T031]: `+` does not take string and int
             --> t.yaml:7:55
              |
            7 |   m: { map: { from: j, set: { a: country.area + 1, b: country.name + 1, c: country.nme, d: code + 1 } } }
              |                                                       ^^^^^^^^^^^^^^^^
              |
              = help: `int(text)` reads a number, `string(number)` writes one

            warning[T024]: the field `country.nme` is not declared
             --> t.yaml:7:76
              |
            7 |   m: { map: { from: j, set: { a: country.area + 1, b: country.name + 1, c: country.nme, d: code + 1 } } }
              |                                                                            ^^^^^^^^^^^
              |
              = help: did you mean `country.name`? Declare the field if it exists

            error[T031]: `+` does not take string and int
             --> t.yaml:7:92
              |
            7 |   m: { map: { from: j, set: { a: country.area + 1, b: country.name + 1, c: country.nme, d: code + 1 } } }
              |                                                                                            ^^^^^^^^
              |
              = help: `int(text)` reads a number, `string(number)` writes one"#]],
    );
}

const ENRICHED: &str = "
app: shop
nodes:
  orders: { source: { topic: orders, fields: { id: int, country_code: string } } }
  countries: { global_table: { topics: [countries, regions], fields: { name: string } } }
  enriched: { join: { from: orders, with: countries, as: country, on: country_code, type: left } }
  named: { join: { from: enriched, with: countries, as: again } }
  out: { kafka: { from: named, topic: enriched, fields: { id: id, name: country.name } } }
";

#[test]
fn global_tables_are_described() {
    let topology = crate::config::parse(ENRICHED, "t.yaml").unwrap();
    expect![[r#"
        shop (exactly once)

          orders: source
              topic orders
          countries: global_table
              topic countries, regions
              all rows in each process
          enriched: join ← orders, countries
              left, with countries as country, on country_code
          named: join ← enriched, countries
              inner, with countries as again
          out: kafka ← named
              topic enriched
              id = id
              name = country.name
    "#]]
    .assert_eq(&text(&topology, &[]));
    expect![[r#"
        flowchart TB
          n_orders(["<b>orders</b><br>source orders"])
          n_countries(["<b>countries</b><br>global_table countries, regions"])
          n_enriched["<b>enriched</b><br>join"]
          n_named["<b>named</b><br>join"]
          n_out(["<b>out</b><br>kafka enriched"])
          n_orders --> n_enriched
          n_countries --> n_enriched
          n_enriched --> n_named
          n_countries --> n_named
          n_named --> n_out
    "#]]
    .assert_eq(&mermaid(&topology, &[]));
    expect![[r#"
        digraph "shop" {
          node [shape=box, fontname="sans-serif"];
          "orders" [shape=cds, label="orders\nsource", tooltip="topic orders"];
          "countries" [shape=cds, label="countries\nglobal_table", tooltip="topic countries, regions\nall rows in each process"];
          "enriched" [shape=box, label="enriched\njoin", tooltip="left, with countries as country, on country_code"];
          "named" [shape=box, label="named\njoin", tooltip="inner, with countries as again"];
          "out" [shape=cds, label="out\nkafka", tooltip="topic enriched\nid = id\nname = country.name"];
          "orders" -> "enriched";
          "countries" -> "enriched";
          "enriched" -> "named";
          "countries" -> "named";
          "named" -> "out";
        }
    "#]].assert_eq(&dot(&topology, &[]));
}
