//! Mistakes in what is held back.

use expect_test::{Expect, expect};

use super::shows;
use crate::config::parse;
use crate::topology::describe::text;

/// A suppress with these settings, between an aggregate and a topic.
#[track_caller]
fn suppress(window: &str, settings: &str, expected: Expect) {
    let yaml = format!(
        "app: a\nnodes:\n  s: {{ source: {{ topic: t }} }}\n  \
         n: {{ aggregate: {{ from: s, by: wiki, window: {window}, set: {{ n: count() }} }} }}\n  \
         held: {{ suppress: {{ from: n, {settings} }} }}\n  k: {{ kafka: {{ from: held, topic: u }} }}\n"
    );
    shows(&yaml, expected);
}

#[test]
fn neither_until_nor_for_or_both() {
    suppress(
        "{ tumbling: 1m }",
        "max_rows: 5",
        expect![[r#"
        error[Y006]: one of the keys `until` and `for` is missing
         --> t.yaml:5:11
          |
        5 |   held: { suppress: { from: n, max_rows: 5 } }
          |           ^^^^^^^^
          |
          = help: add `until: …` or `for: …`"#]],
    );
    suppress(
        "{ tumbling: 1m }",
        "until: close, for: 1m",
        expect![[r#"
            error[Y013]: `until` and `for` exclude each other, give one of them
             --> t.yaml:5:46
              |
            5 |   held: { suppress: { from: n, until: close, for: 1m } }
              |                                -----         ^^^
              |                                |
              |                                the other is here
              |
              = help: remove one of them"#]],
    );
    suppress(
        "{ tumbling: 1m }",
        "until: closed",
        expect![[r#"
        error[Y009]: `until` cannot be `closed`
         --> t.yaml:5:39
          |
        5 |   held: { suppress: { from: n, until: closed } }
          |                                       ^^^^^^
          |
          = help: it is close"#]],
    );
}

#[test]
fn t090_what_cannot_be_held_back() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, null_values: pass } }
  n: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { n: count() } } }
  once: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, emit: close, set: { n: count() } } }
  rows: { table: { from: s } }
  other_key: { select_key: { from: n, key: n } }
  big: { filter: { from: n, where: n > 5 } }
  a: { suppress: { from: s, until: close } }
  b: { suppress: { from: once, until: close } }
  c: { suppress: { from: rows, for: 1m } }
  d: { suppress: { from: other_key, until: close } }
  e: { suppress: { from: big, until: close } }
  f: { suppress: { from: e, for: 1m } }
  all: { merge: { from: [a, b, c, d, f] } }
  k: { kafka: { from: all, topic: u } }
",
        expect![[r#"
            error[T090]: the records of `s` are no updates of one another
              --> t.yaml:10:26
               |
            10 |   a: { suppress: { from: s, until: close } }
               |                          ^
               |
               = help: hold back the rows of a table, or the results of an aggregate with `emit: updates`

            error[T090]: each result of `once` leaves once, when its window is closed
              --> t.yaml:11:26
               |
            11 |   b: { suppress: { from: once, until: close } }
               |                          ^^^^
               |
               = help: read from `once` itself, or take `emit: close` away from it

            error[T090]: behind `other_key` it is not known which row is an update of which
              --> t.yaml:13:26
               |
            13 |   d: { suppress: { from: other_key, until: close } }
               |                          ^^^^^^^^^
               |
               = help: put `other_key` behind the suppress

            error[T090]: `e` holds results back already
              --> t.yaml:15:26
               |
            15 |   f: { suppress: { from: e, for: 1m } }
               |                          ^
               |
               = help: read from what is in front of `e`, or from `e` itself"#]],
    );
}

#[test]
fn t091_results_that_are_never_final() {
    suppress(
        "none",
        "until: close",
        expect![[r#"
            error[T091]: `n` has no windows, so what leaves it is never final
             --> t.yaml:5:39
              |
            5 |   held: { suppress: { from: n, until: close } }
              |                                       ^^^^^
              |
              = help: `for: 5m` lets one update of each key pass in five minutes"#]],
    );
    suppress("none", "for: 1m", expect![[r#""#]]);
}

#[test]
fn t092_no_time() {
    suppress(
        "none",
        "for: 0s",
        expect![[r#"
            error[T092]: results must be held back for longer than nothing, found 0s
             --> t.yaml:5:37
              |
            5 |   held: { suppress: { from: n, for: 0s } }
              |                                     ^^
              |
              = help: `for: 5m` lets one update of each key and window pass in five minutes"#]],
    );
    suppress(
        "none",
        "for: soon",
        expect![[r#"
        error[Y010]: expected a whole number and a unit such as 30s or 1h30m, found "soon"
         --> t.yaml:5:37
          |
        5 |   held: { suppress: { from: n, for: soon } }
          |                                     ^^^^
          |
          = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`"#]],
    );
}

#[test]
fn t093_nothing() {
    suppress(
        "none",
        "for: 1m, max_rows: 0, max_bytes: 0",
        expect![[r#"
            error[T093]: `max_rows: 0` lets nothing be held back
             --> t.yaml:5:51
              |
            5 |   held: { suppress: { from: n, for: 1m, max_rows: 0, max_bytes: 0 } }
              |                                                   ^
              |
              = help: leave `max_rows` out to hold back however much there is

            error[T093]: `max_bytes: 0` lets nothing be held back
             --> t.yaml:5:65
              |
            5 |   held: { suppress: { from: n, for: 1m, max_rows: 0, max_bytes: 0 } }
              |                                                                 ^
              |
              = help: leave `max_bytes` out to hold back however much there is"#]],
    );
}

#[test]
fn t094_when_full_does_not_fit() {
    suppress(
        "none",
        "for: 1m, when_full: stop",
        expect![[r#"
        error[T094]: any number of results may be held back here
         --> t.yaml:5:52
          |
        5 |   held: { suppress: { from: n, for: 1m, when_full: stop } }
          |                                                    ^^^^
          |
          = help: say how many: `max_rows: 100000`, or `max_bytes: …`"#]],
    );
    suppress(
        "{ tumbling: 1m }",
        "until: close, max_rows: 5, when_full: emit",
        expect![[r#"
            error[T094]: a result that leaves before its window is closed is not final
             --> t.yaml:5:70
              |
            5 |   held: { suppress: { from: n, until: close, max_rows: 5, when_full: emit } }
              |                                                                      ^^^^
              |
              = help: take `when_full` away: the process stops when the bound is reached"#]],
    );
    suppress(
        "{ tumbling: 1m }",
        "until: close, max_rows: 5, when_full: stop",
        expect![[r#""#]],
    );
}

/// What leaves once can be counted; what is rate-limited, and a session that leaves a millisecond
/// before it is final, cannot.
#[test]
fn an_aggregate_behind_what_is_held_back() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  n: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { n: count() } } }
  m: { aggregate: { from: s, by: wiki, window: { session: 1m }, set: { n: count() } } }
  once: { suppress: { from: n, until: close } }
  paced: { suppress: { from: n, for: 1m } }
  twice: { suppress: { from: m, until: close } }
  a: { aggregate: { from: once, by: wiki, window: none, set: { n: count() } } }
  b: { aggregate: { from: paced, by: wiki, window: none, set: { n: count() } } }
  c: { aggregate: { from: twice, by: wiki, window: none, set: { n: count() } } }
  all: { merge: { from: [a, b, c] } }
  k: { kafka: { from: all, topic: u } }
",
        expect![[r#"
            error[T051]: `n` sends each of its results again whenever it changes, and every time it would be counted here
              --> t.yaml:11:27
               |
            11 |   b: { aggregate: { from: paced, by: wiki, window: none, set: { n: count() } } }
               |                           ^^^^^
               |
               = help: add `emit: close` to `n`: then each window's result comes once; or, if each update is to count, put a `to_stream` in between

            error[T051]: `m` sends each of its results again whenever it changes, and every time it would be counted here
              --> t.yaml:12:27
               |
            12 |   c: { aggregate: { from: twice, by: wiki, window: none, set: { n: count() } } }
               |                           ^^^^^
               |
               = help: add `emit: close` to `m`: then each window's result comes once; or, if each update is to count, put a `to_stream` in between"#]],
    );
}

#[test]
fn what_is_held_back_and_dropped_is_described() {
    let file = "
app: a
nodes:
  s: { source: { topic: t, key: wiki } }
  first: { deduplicate: { from: s, by: [wiki, id], within: 1h, grace: 2h, on_late: dead_letter } }
  by_key: { deduplicate: { from: s, within: 5m, on_duplicate: dead_letter } }
  n: { aggregate: { from: first, by: wiki, window: { tumbling: 1m }, set: { n: count() } } }
  final: { suppress: { from: n, until: close } }
  paced: { suppress: { from: n, for: 5m, max_rows: 100, max_bytes: 5000 } }
  strict: { suppress: { from: n, for: 5m, max_rows: 100, when_full: stop } }
";
    let topology = parse(file, "t.yaml").expect("nothing is wrong");
    expect![[r#"
        a (exactly once)

          s: source
              topic t; key wiki
          first: deduplicate ← s
              by wiki, id within 1h, grace 2h, late ones to the dead letters
          by_key: deduplicate ← s
              by the key within 5m, duplicates to the dead letters
          n: aggregate ← first
              by wiki in tumbling 1m
              n = count()
          final: suppress ← n
              until the window is closed
          paced: suppress ← n
              for 5m
              beyond 100 rows or 5000 bytes the oldest leave early
          strict: suppress ← n
              for 5m
              beyond 100 rows the process stops
    "#]]
    .assert_eq(&text(&topology, &[]));
}
