//! Tests of topology files, played: what they find, and that they find it in every way.

use expect_test::{Expect, expect};

use super::{CaseReport, CaseRunner};

/// Two shops: what they sell in ten seconds, what each of them sells at all, and their goods.
const SHOP: &str = "
app: shop
nodes:
  orders: { source: { topic: orders, key: shop, timestamp: at, fields: { shop: string, price: int } } }
  goods:  { source: { topic: goods, key: id, null_values: pass } }
  dear:   { filter: { from: orders, where: price > 0 } }
  sales:  { aggregate: { from: dear, by: shop, window: { tumbling: 10s }, set: { n: count(), sum: sum(price) } } }
  tills:  { aggregate: { from: dear, by: till, window: { tumbling: 10s }, emit: close, set: { n: count() } } }
  stock:  { table: { from: goods } }
  to_topic:  { kafka: { from: sales, topic: sales } }
  to_tills:  { kafka: { from: tills, topic: tills } }
  to_table:  { sql: { from: sales, table: sales } }
  raw_table: { sql: { from: dear, table: orders, key: [partition_id, record_offset], columns: { partition_id: record_partition(), record_offset: record_offset(), shop: shop, note: note } } }
";

/// What comes of the first of these tests.
#[track_caller]
fn report(topology: &str, tests: &str) -> CaseReport {
    let file = format!("{topology}tests:\n{tests}");
    let outcome = crate::config::check(&file, "shop.yaml", &|_| None);
    let topology = outcome
        .topology
        .unwrap_or_else(|| panic!("{}", outcome.report));
    let runner = CaseRunner::new(&topology).unwrap();
    runner.run(&outcome.tests[0])
}

#[track_caller]
fn passes(tests: &str) {
    let report = report(SHOP, tests);
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.runs.len(), 7);
}

#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "expect![] is written in place"
)]
fn shows(tests: &str, expected: Expect) {
    expected.assert_eq(&report(SHOP, tests).to_string());
}

/// ```text
///   a window of ten seconds ten minutes ago is gone from its store, also from one that was rebuilt
/// ```
#[test]
fn what_has_expired_is_in_no_store_in_any_way() {
    passes(
        "
  - name: sales
    given:
      - { source: orders, value: { shop: a, till: 1, price: 5, at: 1000 } }
      - { source: orders, value: { shop: a, till: 1, price: 2, at: 602000 } }
      - { source: orders, value: { shop: a, till: 1, price: 2, at: 603000 } }
    expect:
      stores: { sales: [{ shop: a, window_start: 1970-01-01T00:10:00Z, n: 2 }] }
",
    );
}

#[test]
fn dead_letters_are_records_of_their_topic() {
    passes(
        "
  - name: letters
    given: [{ source: orders, raw: 'no event', headers: { h: x } }]
    expect:
      topics:
        shop-dead-letters:
          - { headers: { tidemill.reason: unreadable, tidemill.group: shop, h: x } }
          - { headers: { tidemill.reason: unreadable, tidemill.group: shop-raw_table, h: x } }
      drops: { orders: { unreadable: 1 } }
",
    );
}

/// In JSON a number is sometimes a text; in the table, and as a key, they are one.
#[test]
fn a_key_is_what_its_field_is_declared_to_be() {
    let topology = "
app: shop
nodes:
  orders: { source: { topic: orders, fields: { id: int, name: string } } }
  by_id: { aggregate: { from: orders, by: id, window: none, set: { n: count() } } }
  by_name: { aggregate: { from: orders, by: name, window: none, set: { n: count() } } }
  ids: { sql: { from: by_id, table: ids } }
  names: { sql: { from: by_name, table: names } }
";
    let tests = "
  - name: keys
    given:
      - { source: orders, value: { id: 7, name: '7' } }
      - { source: orders, value: { id: '7', name: 7 } }
      - { source: orders, value: { id: 7.0, name: '7.5' } }
      - { source: orders, value: { id: '07a', name: 7.5 } }
      - { source: orders, value: { id: 1, name: true } }
    expect:
      tables:
        ids: [{ id: 7, n: 3 }, { id: 1, n: 1 }]
        names: [{ name: '7', n: 2 }, { name: '7.5', n: 2 }, { name: 'true', n: 1 }]
      drops: { ids: { refused: 1 } }
";
    let report = report(topology, tests);
    assert!(report.is_ok(), "{report}");
}

/// ```text
///   orders of a:   3    7  | 12        4: too late, its window was closed by 12
///   windows:     |- 0..10 -|- 10..20 -|
/// ```
const GIVEN: &str = "
  - name: sales
    given:
      - { source: orders, value: { shop: a, till: 1, price: 5, at: 3000 } }
      - { source: orders, value: { shop: a, till: 2, price: 2, at: 7000, note: 17 } }
      - { source: orders, value: { shop: c, till: 1, price: 1, at: 7500 } }
      - { source: orders, value: { shop: a, till: 1, price: 3, at: 12000 } }
      - { source: orders, value: { shop: a, till: 1, price: 9, at: 4000 } }
      - { source: goods, value: { id: x, left: 3 } }
      - { source: goods, value: { id: y, left: 1 } }
      - { source: goods, key: x, value: null }
";

#[test]
fn records_rows_stores_and_drops_are_compared_in_all_ways() {
    let expect = "
    expect:
      topics:
        sales:
          - { key: a, value: { n: 1, sum: 5 }, time: 1970-01-01T00:00:03Z }
          - { key: a, value: { n: 2, sum: 7 }, time: 1970-01-01T00:00:07Z }
          - { key: c, value: { n: 1, window_start: 1970-01-01T00:00:00Z } }
          - { key: a, value: { n: 1, window_start: 1970-01-01T00:00:10Z } }
      tables:
        sales:
          - { shop: a, window_start: 1970-01-01T00:00:00Z, sum: 7 }
          - { shop: c, window_start: 1970-01-01T00:00:00Z, sum: 1 }
          - { shop: a, window_start: 1970-01-01T00:00:10Z, sum: 3 }
        orders:
          - { shop: a, note: null }
          - { shop: a, note: 17 }
          - { shop: c }
          - { shop: a }
          - { shop: a }
      stores:
        sales:
          - { shop: a, window_start: 1970-01-01T00:00:00Z, n: 2 }
          - { shop: c, window_start: 1970-01-01T00:00:00Z, n: 1 }
          - { shop: a, window_start: 1970-01-01T00:00:10Z, n: 1 }
        stock:
          - { key: y, value: { left: 1 } }
      drops:
        sales: { late: 1 }
        tills: { late: 1 }
";
    passes(&format!("{GIVEN}{expect}"));
}

#[test]
fn what_is_not_as_expected_is_shown_once_for_all_runs() {
    let expect = "
    expect:
      topics: { sales: [{ key: a, value: { n: 1 } }, { key: a, value: { n: 3, sum: 7 } }, { key: z }] }
      tables: { sales: [{ shop: a, sum: 6 }], orders: [] }
      stores: { stock: { key: x, value: { left: 3 } } }
";
    shows(
        &format!("{GIVEN}{expect}"),
        expect![[r#"
            topic sales, in all runs:
              key "a", line 28:
                value.n: expected 3, found 2
              key "z", line 28: missing {"key":"z"}
              not expected: {"key":"c","value":{"shop":"c","window_start":"1970-01-01T00:00:00.000Z","window_end":"1970-01-01T00:00:10.000Z","n":1,"sum":1},"time":"1970-01-01T00:00:07.500Z"}
              not expected: {"key":"a","value":{"shop":"a","window_start":"1970-01-01T00:00:10.000Z","window_end":"1970-01-01T00:00:20.000Z","n":1,"sum":3},"time":"1970-01-01T00:00:12.000Z"}
            store stock, in all runs:
              key "x", line 30: missing {"key":"x","value":{"left":3}}
              not expected: {"key":"y","value":{"id":"y","left":1},"time":"2100-01-01T00:00:00.000Z"}
            table sales, in all runs:
              line 29:
                sum: expected 6, found 3
              not expected: {"shop":"a","window_start":"1970-01-01T00:00:00.000Z","window_end":"1970-01-01T00:00:10.000Z","n":2,"sum":7}
              not expected: {"shop":"c","window_start":"1970-01-01T00:00:00.000Z","window_end":"1970-01-01T00:00:10.000Z","n":1,"sum":1}
            table orders, in all runs:
              not expected: {"partition_id":0,"record_offset":0,"shop":"a","note":null}
              not expected: {"partition_id":0,"record_offset":1,"shop":"a","note":"17"}
              not expected: {"partition_id":0,"record_offset":3,"shop":"a","note":null}
            table orders, only with 1 partition:
              not expected: {"partition_id":0,"record_offset":2,"shop":"c","note":null}
              not expected: {"partition_id":0,"record_offset":4,"shop":"a","note":null}
            table orders, only with 4 partitions:
              not expected: {"partition_id":0,"record_offset":2,"shop":"a","note":null}
              not expected: {"partition_id":2,"record_offset":0,"shop":"c","note":null}
            drops, in all runs:
              sales, late: expected 0, found 1
              tills, late: expected 0, found 1
        "#]],
    );
}

#[test]
fn a_drop_that_is_not_expected_fails_a_test_with_what_is_wrong() {
    let tests = "
  broken:
    given:
      - { source: orders, value: { shop: a, till: 1, price: much, at: 3000 } }
      - { source: orders, key: a, raw: '{' }
    expect: { topics: { sales: [] } }
";
    shows(
        tests,
        expect![[r#"
            drops, in all runs:
              dear, expression: expected 0, found 1
                `>` does not take string and int
              orders, unreadable: expected 0, found 1
                expected a JSON object, found an object that is damaged: EOF while parsing at line 1 column 1
        "#]],
    );
}

#[test]
fn a_test_that_holds_with_one_partition_only_says_so() {
    let tests = "
  c closes the window of a:
    given:
      - { source: orders, value: { shop: a, till: 1, price: 1, at: 3000 } }
      - { source: orders, value: { shop: c, till: 1, price: 1, at: 12000 } }
      - { source: orders, value: { shop: a, till: 1, price: 1, at: 3000 } }
    expect: { drops: { sales: { late: 1 }, tills: { late: 1 } } }
";
    shows(
        tests,
        expect![[r#"
        drops, only with 4 partitions:
          sales, late: expected 1, found 0
          tills, late: expected 1, found 0
        help: each partition has a stream time of its own; `partitions: 1` is for tests of records that have to be in one
    "#]],
    );
    let alone = tests.replace("    given:", "    partitions: 1\n    given:");
    assert!(report(SHOP, &alone).is_ok());
    let together = tests.replace("{ source", "{ partition: 2, source");
    let report = report(SHOP, &together);
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.runs[0].partitions, 3);
}

#[test]
fn behind_a_repartition_windows_close_with_any_number_of_partitions() {
    passes(
        "
  - name: tills
    given:
      - { source: orders, value: { shop: a, till: 1, price: 1, at: 3000 } }
      - { source: orders, value: { shop: c, till: 1, price: 1, at: 4000 } }
      - { source: orders, value: { shop: a, till: 2, price: 1, at: 12000 } }
      - { source: orders, value: { shop: c, till: 2, price: 1, at: 12000 } }
    expect:
      topics: { tills: [{ key: 1, value: { n: 2, window_end: 1970-01-01T00:00:10Z } }] }
",
    );
}

#[test]
fn the_clock_goes_on_when_a_test_says_so() {
    let topology = "
app: shop
nodes:
  orders: { source: { topic: orders, timestamp: at, max_ahead: 1h } }
  sales:  { aggregate: { from: orders, by: shop, window: { tumbling: 10s, idle_close: 30s }, emit: close, set: { n: count() } } }
  out:    { kafka: { from: sales, topic: sales } }
";
    let tests = "
  - name: idle
    start: 2026-05-05T11:00:00Z
    given:
      - { key: a, value: { shop: a, at: 2026-05-05T12:00:00Z } }
      - { key: a, value: { shop: a, at: 2026-05-05T12:00:01Z } }
      - { advance: 1m }
    expect:
      topics: { sales: { value: { n: 1 } } }
      drops: { orders: { ahead: 1 } }
";
    let report = report(topology, tests);
    assert!(report.is_ok(), "{report}");
}

#[test]
fn a_whole_object_has_no_other_fields() {
    let whole = |value: &str| {
        let tests = format!(
            "
  whole:
    compare: whole
    given: {{ source: orders, value: {{ shop: a, till: 1, price: 5, at: 3000 }} }}
    expect: {{ topics: {{ sales: {{ value: {{ {value} }} }} }} }}
"
        );
        report(SHOP, &tests).is_ok()
    };
    let times = "window_start: 1970-01-01T00:00:00Z, window_end: 1970-01-01T00:00:10Z";
    assert!(whole(&format!("shop: a, n: 1, sum: 5, {times}")));
    assert!(!whole(&format!("shop: a, n: 1, {times}")));
}

#[test]
fn a_topology_that_stops_fails_the_test_with_its_reason() {
    let topology = "
app: shop
nodes:
  orders: { source: { topic: orders, on_error: stop } }
  out:    { kafka: { from: orders, topic: sales } }
";
    let tests = "  bad: { given: [{ raw: 'x' }], expect: {} }\n";
    expect![[r#"
        the topology stops, only with 1 partition:
          node orders stops at orders-0 offset 0: unreadable: expected a JSON object, found other bytes: Invalid JSON value at line 1 column 1
        the topology stops, only with 4 partitions:
          node orders stops at orders-1 offset 0: unreadable: expected a JSON object, found other bytes: Invalid JSON value at line 1 column 1
    "#]].assert_eq(&report(topology, tests).to_string());
}

#[test]
fn at_least_once_a_process_is_killed_between_commits_only() {
    let topology = "
app: shop
guarantee: at_least_once
nodes:
  orders: { source: { topic: orders } }
  out:    { kafka: { from: orders, topic: copies } }
";
    let tests = "  copy: { given: [{ value: { n: 1 } }, { value: { n: 2 } }], expect: { topics: { copies: [{ value: { n: 1 } }, { value: { n: 2 } }] } } }\n";
    let report = report(topology, tests);
    assert!(report.is_ok(), "{report}");
    let runs: Vec<String> = report.runs.iter().map(ToString::to_string).collect();
    expect![[r#"
        1 partition, straight
        1 partition, killed after each record
        1 partition, a new disk after each record
        4 partitions, straight
        4 partitions, a new disk after each record"#]]
    .assert_eq(&runs.join("\n"));
}

#[test]
fn the_example_of_the_reference_passes() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/TOPOLOGY.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split("\n## tests\n").nth(1).unwrap();
    let example = section.split("```yaml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let (topology, tests) = example.split_once("tests:\n").unwrap();
    let report = report(topology, tests);
    assert!(report.is_ok(), "{report}");
}

#[test]
fn lists_in_tables_are_compared_as_lists() {
    let topology = "
app: shop
nodes:
  orders: { source: { topic: orders, key: shop, timestamp: at } }
  best:   { aggregate: { from: orders, by: shop, window: none, set: { top: 'top_k(item, 2)' } } }
  to_table: { sql: { from: best, table: best } }
";
    let test = |count: u8| {
        format!(
            "
  - name: the best
    given:
      - {{ source: orders, value: {{ shop: a, item: x, at: 1 }} }}
      - {{ source: orders, value: {{ shop: a, item: y, at: 2 }} }}
      - {{ source: orders, value: {{ shop: a, item: y, at: 3 }} }}
    expect:
      tables:
        best: [{{ shop: a, top: [{{ value: y, count: {count} }}, {{ value: x, count: 1 }}] }}]
"
        )
    };
    let found = report(topology, &test(2));
    assert!(found.is_ok(), "{found}");
    assert!(!report(topology, &test(3)).is_ok());
}

/// ```text
///   b   x 4 at :04   x 6 at :06 ─┐
///                                ├→ merge ─→ the table has x 6 in every way, also where a process was
///   c         x 5 at :05 ────────┘            killed after each record
/// ```
#[test]
fn of_rows_of_one_key_that_of_the_last_step_stands_in_every_way() {
    let topology = "
app: shop
nodes:
  b: { source: { topic: b, key: name, timestamp: at } }
  c: { source: { topic: c, key: name, timestamp: at } }
  both: { merge: { from: [b, c] } }
  last: { sql: { from: both, table: last, key: [name], columns: { name: name, v: v } } }
";
    let tests = "
  - name: last
    given:
      - { source: b, value: { name: x, v: 4, at: 4000 } }
      - { source: c, value: { name: x, v: 5, at: 5000 } }
      - { source: b, value: { name: x, v: 6, at: 6000 } }
    expect:
      tables: { last: [{ name: x, v: 6 }] }
";
    let report = report(topology, tests);
    assert!(report.is_ok(), "{report}");
}
