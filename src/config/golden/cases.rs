//! Mistakes in the tests of a file.

use expect_test::expect;

use super::shows;

const FILE: &str = "
app: shop
nodes:
  orders: { source: { topic: orders, key: shop, fields: { shop: string, price: int } } }
  parts: { source: { topics: [bolts, nuts] } }
  sales: { aggregate: { from: orders, by: shop, window: { tumbling: 1m }, set: { n: count() } } }
  topic: { kafka: { from: sales, topic: sales } }
  table: { sql: { from: sales, table: sales_per_shop } }
  copy: { kafka: { from: parts, topic: copies } }
tests:
";

#[track_caller]
fn shows_in(tests: &str, expected: expect_test::Expect) {
    shows(&format!("{FILE}{tests}"), expected);
}

#[test]
fn y015_a_thing_that_is_not_there() {
    shows_in(
        "
  - name: one
    given:
      - { source: order, value: {} }
      - { topic: sales, value: {} }
    expect:
      topics: { sale: [] }
      tables: { table: [] }
      stores: { orders: [] }
      drops: { shop: { late: 1 } }
",
        expect![[r#"
            error[Y015]: there is no source `order`
              --> t.yaml:14:19
               |
            14 |       - { source: order, value: {} }
               |                   ^^^^^
               |
               = help: did you mean `orders`?

            error[Y015]: no source reads the topic `sales`
              --> t.yaml:15:18
               |
            15 |       - { topic: sales, value: {} }
               |                  ^^^^^
               |
               = help: the topics: orders, bolts, nuts

            error[Y015]: nothing writes the topic `sale`
              --> t.yaml:17:17
               |
            17 |       topics: { sale: [] }
               |                 ^^^^
               |
               = help: did you mean `sales`?

            error[Y015]: nothing writes the table `table`
              --> t.yaml:18:17
               |
            18 |       tables: { table: [] }
               |                 ^^^^^
               |
               = help: the tables: sales_per_shop

            error[Y015]: there is no aggregate or table `orders`
              --> t.yaml:19:17
               |
            19 |       stores: { orders: [] }
               |                 ^^^^^^
               |
               = help: the aggregates and tables: sales

            error[Y015]: there is no node `shop`
              --> t.yaml:20:16
               |
            20 |       drops: { shop: { late: 1 } }
               |                ^^^^
               |
               = help: the nodes: orders, parts, sales, topic, table, copy"#]],
    );
}

#[test]
fn y016_a_field_that_is_never_there() {
    shows_in(
        "
  - name: one
    given: { source: orders, value: {} }
    expect:
      topics: { sales: [{ value: { wiki: a, n: 1 } }], copies: [{ value: { wiki: a } }] }
      tables: { sales_per_shop: [{ shop: a, nn: 1 }] }
      stores: { sales: [{ price: 1 }] }
",
        expect![[r#"
            error[Y016]: there is never a field `wiki`
              --> t.yaml:15:36
               |
            15 |       topics: { sales: [{ value: { wiki: a, n: 1 } }], copies: [{ value: { wiki: a } }] }
               |                                    ^^^^
               |
               = help: the fields: shop, window_start, window_end, n

            error[Y016]: there is never a field `nn`
              --> t.yaml:16:45
               |
            16 |       tables: { sales_per_shop: [{ shop: a, nn: 1 }] }
               |                                             ^^
               |
               = help: the fields: shop, window_start, window_end, n

            error[Y016]: there is never a field `price`
              --> t.yaml:17:27
               |
            17 |       stores: { sales: [{ price: 1 }] }
               |                           ^^^^^
               |
               = help: the fields: shop, window_start, window_end, n"#]],
    );
}

#[test]
fn y017_a_value_that_is_never_there() {
    shows_in(
        "
  - name: one
    given: { source: orders, value: {} }
    expect:
      topics: { sales: [{ value: { shop: 1 } }] }
      tables: { sales_per_shop: [{ shop: 1, n: 1.5 }, { window_start: noon, n: many }, { shop: ~, n: ~ }] }
",
        expect![[r#"
            error[Y017]: `shop` is of type string and is never 1
              --> t.yaml:16:42
               |
            16 |       tables: { sales_per_shop: [{ shop: 1, n: 1.5 }, { window_start: noon, n: many }, { shop: ~, n: ~ }] }
               |                                          ^
               |
               = help: expect a text

            error[Y017]: `n` is of type int and is never 1.5
              --> t.yaml:16:48
               |
            16 |       tables: { sales_per_shop: [{ shop: 1, n: 1.5 }, { window_start: noon, n: many }, { shop: ~, n: ~ }] }
               |                                                ^^^
               |
               = help: expect a whole number

            error[Y017]: `window_start` is of type timestamp and is never "noon"
              --> t.yaml:16:71
               |
            16 |       tables: { sales_per_shop: [{ shop: 1, n: 1.5 }, { window_start: noon, n: many }, { shop: ~, n: ~ }] }
               |                                                                       ^^^^
               |
               = help: expect a time such as 2026-05-05T11:17:40Z

            error[Y017]: `n` is of type int and is never "many"
              --> t.yaml:16:80
               |
            16 |       tables: { sales_per_shop: [{ shop: 1, n: 1.5 }, { window_start: noon, n: many }, { shop: ~, n: ~ }] }
               |                                                                                ^^^^
               |
               = help: expect a whole number"#]],
    );
}

#[test]
fn y017_a_value_that_a_schema_cannot_hold() {
    shows(
        r#"
app: shop
nodes:
  orders:
    source:
      topic: orders
      format: avro
      schema: '{"type": "record", "name": "R", "fields": [{"name": "shop", "type": "string"}, {"name": "at", "type": {"type": "record", "name": "A", "fields": [{"name": "n", "type": "int"}]}}]}'
  copy: { kafka: { from: orders, topic: copies } }
tests:
  - name: one
    given:
      - { source: orders, value: { shop: a, at: { n: 1 } } }
      - { source: orders, value: { shop: 7, at: { n: 1 } } }
      - { source: orders, value: { shop: a, at: { n: many } } }
      - { source: orders, value: { shop: a } }
      - { source: orders, value: { shop: a, at: { n: 1 }, price: 5 } }
    expect: { topics: { copies: [] } }
"#,
        expect![[r#"
            error[Y017]: the source's schema cannot hold this: shop: expected a string, found the int 7
              --> t.yaml:14:42
               |
            14 |       - { source: orders, value: { shop: 7, at: { n: 1 } } }
               |                                          ^
               |
               = help: give what it can hold; `raw` writes any text as it is

            error[Y017]: the source's schema cannot hold this: at.n: expected an int (32 bits), found "many"
              --> t.yaml:15:54
               |
            15 |       - { source: orders, value: { shop: a, at: { n: many } } }
               |                                                      ^^^^
               |
               = help: give what it can hold; `raw` writes any text as it is

            error[Y017]: the source's schema cannot hold this: at: expected a record, found no such field
              --> t.yaml:16:34
               |
            16 |       - { source: orders, value: { shop: a } }
               |                                  ^^^^^^^^^^^
               |
               = help: give what it can hold; `raw` writes any text as it is

            error[Y017]: the source's schema cannot hold this: price: the schema has no such field
              --> t.yaml:17:66
               |
            17 |       - { source: orders, value: { shop: a, at: { n: 1 }, price: 5 } }
               |                                                                  ^
               |
               = help: give what it can hold; `raw` writes any text as it is"#]],
    );
}

#[test]
fn y018_a_time_that_is_none() {
    shows_in(
        "
  - name: one
    start: yesterday
    given:
      - { source: orders, value: {}, time: 11:17 }
      - { source: orders, value: {}, time: 2026-05-05T11:17:40Z }
      - { source: orders, value: {}, time: 1777979860000 }
    expect: { topics: { sales: [{ time: 2026-05-05 }] } }
",
        expect![[r#"
            error[Y018]: expected an RFC 3339 time such as 2026-05-05T11:17:40.822Z, found "yesterday"
              --> t.yaml:13:12
               |
            13 |     start: yesterday
               |            ^^^^^^^^^
               |
               = help: write RFC 3339, such as 2026-05-05T11:17:40Z, or milliseconds since 1970

            error[Y018]: expected an RFC 3339 time such as 2026-05-05T11:17:40.822Z, found "11:17"
              --> t.yaml:15:44
               |
            15 |       - { source: orders, value: {}, time: 11:17 }
               |                                            ^^^^^
               |
               = help: write RFC 3339, such as 2026-05-05T11:17:40Z, or milliseconds since 1970

            error[Y018]: expected an RFC 3339 time such as 2026-05-05T11:17:40.822Z, found "2026-05-05"
              --> t.yaml:18:41
               |
            18 |     expect: { topics: { sales: [{ time: 2026-05-05 }] } }
               |                                         ^^^^^^^^^^
               |
               = help: write RFC 3339, such as 2026-05-05T11:17:40Z, or milliseconds since 1970"#]],
    );
}

#[test]
fn y019_a_name_that_is_there_twice() {
    shows_in(
        "
  - { name: one, given: [], expect: {} }
  - { name: one, given: [], expect: {} }
",
        expect![[r#"
            error[Y019]: two tests are called `one`
              --> t.yaml:13:13
               |
            12 |   - { name: one, given: [], expect: {} }
               |             --- the first one is here
            13 |   - { name: one, given: [], expect: {} }
               |             ^^^
               |
               = help: give one of them another name"#]],
    );
    shows_in(
        "
  one: { given: [], expect: {} }
  one: { given: [], expect: {} }
",
        expect![[r#"
            error[Y019]: two tests are called `one`
              --> t.yaml:13:3
               |
            12 |   one: { given: [], expect: {} }
               |   --- the first one is here
            13 |   one: { given: [], expect: {} }
               |   ^^^
               |
               = help: give one of them another name"#]],
    );
}

#[test]
fn what_a_test_lacks_and_what_it_has_too_much() {
    shows_in(
        "
  - given:
      - { value: {} }
      - { source: parts, value: {} }
      - { source: orders }
      - { source: orders, topic: orders, value: {}, raw: x }
      - { advance: 1m, source: orders, value: {} }
  - name: two
    expekt: {}
",
        expect![[r#"
            error[Y006]: the key `name` is missing
              --> t.yaml:12:5
               |
            12 |   - given:
               |     ^^^^^^
               |
               = help: add `name: …`

            error[Y006]: the key `expect` is missing
              --> t.yaml:12:5
               |
            12 |   - given:
               |     ^^^^^^
               |
               = help: add `expect: …`

            error[Y006]: the key `source` is missing
              --> t.yaml:13:9
               |
            13 |       - { value: {} }
               |         ^^^^^^^^^^^^^
               |
               = help: name one of the sources: orders, parts

            error[Y006]: the source reads several topics
              --> t.yaml:14:9
               |
            14 |       - { source: parts, value: {} }
               |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               |
               = help: name one of them with `topic`: orders, bolts, nuts

            error[Y006]: the key `value` is missing
              --> t.yaml:15:9
               |
            15 |       - { source: orders }
               |         ^^^^^^^^^^^^^^^^^^
               |
               = help: add `value: { … }`; `value: null` writes a record without a value

            error[Y013]: `source` and `topic` exclude each other, give one of them
              --> t.yaml:16:27
               |
            16 |       - { source: orders, topic: orders, value: {}, raw: x }
               |           ------          ^^^^^
               |           |
               |           the other is here
               |
               = help: remove one of them

            error[Y013]: `value` and `raw` exclude each other, give one of them
              --> t.yaml:16:53
               |
            16 |       - { source: orders, topic: orders, value: {}, raw: x }
               |                                          -----      ^^^
               |                                          |
               |                                          the other is here
               |
               = help: remove one of them

            error[Y013]: `advance` and `source` exclude each other, give one of them
              --> t.yaml:17:24
               |
            17 |       - { advance: 1m, source: orders, value: {} }
               |           -------      ^^^^^^
               |           |
               |           the other is here
               |
               = help: remove one of them

            error[Y013]: `advance` and `value` exclude each other, give one of them
              --> t.yaml:17:40
               |
            17 |       - { advance: 1m, source: orders, value: {} }
               |           ------- the other is here    ^^^^^
               |
               = help: remove one of them

            error[Y006]: the key `given` is missing
              --> t.yaml:18:5
               |
            18 |   - name: two
               |     ^^^^^^^^^
               |
               = help: add `given: …`

            error[Y004]: there is no key `expekt` here
              --> t.yaml:19:5
               |
            19 |     expekt: {}
               |     ^^^^^^
               |
               = help: did you mean `expect`?"#]],
    );
}

#[test]
fn what_is_of_another_form() {
    shows_in(
        "
  - name: one
    partitions: [0, 4, many]
    compare: all
    given:
      - now
      - { source: orders, value: [1] }
      - { source: orders, value: {}, partition: first }
      - { source: orders, value: {}, partition: 64 }
      - { advance: 5 }
      - { advance: -5s }
    expect:
      topics: sales
      tables: { sales_per_shop: all }
      drops: { sales: { lates: 1, late: some } }
",
        expect![[r#"
            error[Y003]: there are no tests with 0 partitions
              --> t.yaml:13:17
               |
            13 |     partitions: [0, 4, many]
               |                 ^^^^^^^^^^^^
               |
               = help: write a number from 1 to 64, or several

            error[Y003]: there are no tests with many partitions
              --> t.yaml:13:17
               |
            13 |     partitions: [0, 4, many]
               |                 ^^^^^^^^^^^^
               |
               = help: write a number from 1 to 64, or several

            error[Y009]: `compare` cannot be `all`
              --> t.yaml:14:14
               |
            14 |     compare: all
               |              ^^^
               |
               = help: it is named or whole

            error[Y003]: expected a mapping, found a text
              --> t.yaml:16:9
               |
            16 |       - now
               |         ^^^
               |
               = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: expected a mapping, found a list
              --> t.yaml:17:34
               |
            17 |       - { source: orders, value: [1] }
               |                                  ^^^
               |
               = help: a value is an object, or null; `raw` writes any text as it is

            error[Y003]: expected a whole number, found `first`
              --> t.yaml:18:49
               |
            18 |       - { source: orders, value: {}, partition: first }
               |                                                 ^^^^^
               |
               = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: there is no partition 64
              --> t.yaml:19:49
               |
            19 |       - { source: orders, value: {}, partition: 64 }
               |                                                 ^^
               |
               = help: a test has at most 64, counted from 0

            error[Y010]: expected a unit (ms, s, m, h, d) after 5
              --> t.yaml:20:20
               |
            20 |       - { advance: 5 }
               |                    ^
               |
               = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`

            error[Y010]: time does not go back
              --> t.yaml:21:20
               |
            21 |       - { advance: -5s }
               |                    ^^^
               |
               = help: remove the minus

            error[Y003]: expected a mapping, found a text
              --> t.yaml:23:15
               |
            23 |       topics: sales
               |               ^^^^^
               |
               = help: docs/TOPOLOGY.md shows how this key is written

            error[Y003]: expected a mapping, found a text
              --> t.yaml:24:33
               |
            24 |       tables: { sales_per_shop: all }
               |                                 ^^^
               |
               = help: docs/TOPOLOGY.md shows how this key is written

            error[Y009]: records are not dropped for the reason `lates`
              --> t.yaml:25:25
               |
            25 |       drops: { sales: { lates: 1, late: some } }
               |                         ^^^^^
               |
               = help: did you mean `late`?

            error[Y003]: expected a whole number: how many records were dropped
              --> t.yaml:25:41
               |
            25 |       drops: { sales: { lates: 1, late: some } }
               |                                         ^^^^
               |
               = help: write `late: 1`"#]],
    );
    shows_in(
        "  one\n",
        expect![[r#"
        error[Y003]: expected a mapping, found a text
          --> t.yaml:11:3
           |
        11 |   one
           |   ^^^
           |
           = help: docs/TOPOLOGY.md shows how this key is written"#]],
    );
}

#[test]
fn tests_of_a_topology_that_is_wrong_are_checked_for_their_form_only() {
    shows(
        "
app: shop
nodes:
  orders: { source: { topic: orders } }
  dear: { filter: { from: order, where: a } }
tests:
  one: { given: [{ source: ordres, value: {}, tim: 5 }], expect: {} }
",
        expect![[r#"
            error[T004]: there is no node `order`
             --> t.yaml:5:27
              |
            5 |   dear: { filter: { from: order, where: a } }
              |                           ^^^^^
              |
              = help: did you mean `orders`?

            error[Y004]: there is no key `tim` here
             --> t.yaml:7:47
              |
            7 |   one: { given: [{ source: ordres, value: {}, tim: 5 }], expect: {} }
              |                                               ^^^
              |
              = help: did you mean `time`?"#]],
    );
}
