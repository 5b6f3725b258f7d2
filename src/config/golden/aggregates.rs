//! Mistakes in aggregates.

use expect_test::{Expect, expect};

use super::shows;

/// An aggregate with these settings, between a source and a table.
#[track_caller]
pub(super) fn aggregate(settings: &str, expected: Expect) {
    let yaml = format!(
        "app: a\nnodes:\n  s: {{ source: {{ topic: t, fields: {{ bot: bool, delta: int, user: string, tags: list }} }} }}\n  \
         a: {{ aggregate: {{ from: s, {settings} }} }}\n  t: {{ sql: {{ from: a, table: t }} }}\n"
    );
    shows(&yaml, expected);
}

#[test]
fn t040_no_key() {
    aggregate(
        "window: { tumbling: 1m }, set: { n: count() }",
        expect![[r#"
        error[T040]: `a` does not say by which fields it folds
         --> t.yaml:4:8
          |
        4 |   a: { aggregate: { from: s, window: { tumbling: 1m }, set: { n: count() } } }
          |        ^^^^^^^^^
          |
          = help: add `by: [field, …]`; to fold everything into one row, set a constant field in a map before and fold by it"#]],
    );
    aggregate(
        "by: [], window: { tumbling: 1m }, set: { n: count() }",
        expect![[r#"
            error[T040]: `a` does not say by which fields it folds
             --> t.yaml:4:34
              |
            4 |   a: { aggregate: { from: s, by: [], window: { tumbling: 1m }, set: { n: count() } } }
              |                                  ^^
              |
              = help: add `by: [field, …]`; to fold everything into one row, set a constant field in a map before and fold by it"#]],
    );
}

#[test]
fn t041_no_results() {
    aggregate(
        "by: wiki, window: { tumbling: 1m }",
        expect![[r#"
        error[T041]: `a` computes nothing
         --> t.yaml:4:8
          |
        4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m } } }
          |        ^^^^^^^^^
          |
          = help: add `set: { events: count() }`"#]],
    );
    aggregate(
        "by: wiki, window: { tumbling: 1m }, set: {}",
        expect![[r#"
        error[T041]: `a` computes nothing
         --> t.yaml:4:71
          |
        4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: {} } }
          |                                                                       ^^
          |
          = help: add `set: { events: count() }`"#]],
    );
}

#[test]
fn y013_windows_of_two_kinds() {
    aggregate(
        "by: wiki, set: { n: count() }, window: { tumbling: 1m, session: 2m }",
        expect![[r#"
            error[Y013]: `tumbling` and `session` exclude each other, give one of them
             --> t.yaml:4:85
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { tumbling: 1m, session: 2m } } }
              |                                                                       --------      ^^^^^^^
              |                                                                       |
              |                                                                       the other is here
              |
              = help: remove one of them"#]],
    );
}

#[test]
fn t047_a_function_that_does_not_exist() {
    aggregate(
        "by: wiki, window: { tumbling: 1m }, set: { a: cuont(), b: modus(delta) }",
        expect![[r#"
            error[T047]: there is no aggregate function `cuont`
             --> t.yaml:4:76
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: cuont(), b: modus(delta) } } }
              |                                                                            ^^^^^
              |
              = help: did you mean `count`?

            error[T047]: there is no aggregate function `modus`
             --> t.yaml:4:88
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: cuont(), b: modus(delta) } } }
              |                                                                                        ^^^^^
              |
              = help: the aggregate functions: count, count_if, sum, min, max, avg, first, last, earliest, latest, stddev_pop, stddev_samp, median, quantile, quantiles, quantile_sketch, histogram, distinct, distinct_sketch, top_k, top_k_sketch, collect_set, collect_list"#]],
    );
}

#[test]
fn t048_a_wrong_number_of_arguments() {
    aggregate(
        "by: wiki, window: { tumbling: 1m }, set: { a: count(user), b: sum(), c: distinct(), d: 'last(user, delta)' }",
        expect![[r#"
            error[T048]: `count` takes no argument, found 1
             --> t.yaml:4:76
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: count(user), b: sum(), c: distinct(), d: 'last(user, delta...
              |                                                                            ^^^^^^^^^^^
              |
              = help: it is called as `count()`

            error[T048]: `sum` takes 1 argument, found 0
             --> t.yaml:4:92
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: count(user), b: sum(), c: distinct(), d: 'last(user, delta...
              |                                                                                            ^^^^^
              |
              = help: it is called as `sum(x)`

            error[T048]: `distinct` takes at least 1 argument, found 0
             --> t.yaml:4:102
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: count(user), b: sum(), c: distinct(), d: 'last(user, delta...
              |                                                                                                      ^^^^^^^^^^
              |
              = help: it is called as `distinct(x, …)`

            error[T048]: `last` takes 1 argument, found 2
             --> t.yaml:4:117
              |
            4 | ... }, set: { a: count(user), b: sum(), c: distinct(), d: 'last(user, delta)' } } }
              |                                                           ^^^^^^^^^^^^^^^^^^^
              |
              = help: it is called as `last(x)`"#]],
    );
}

#[test]
fn t059_constants_that_are_none_or_out_of_bounds() {
    aggregate(
        "by: wiki, window: { tumbling: 1m }, set: { a: 'top_k(user, delta)', b: 'top_k(user, 500)' }",
        expect![[r#"
            error[T059]: `top_k(x, k[, weight])` takes a whole number from 1 to 100, found `delta`
             --> t.yaml:4:89
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'top_k(user, delta)', b: 'top_k(user, 500)' } } }
              |                                                                                         ^^^^^
              |
              = help: write a constant, such as `top_k(x, 10)`

            error[T059]: `top_k(x, k[, weight])` takes a whole number from 1 to 100, found `500`
             --> t.yaml:4:114
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'top_k(user, delta)', b: 'top_k(user, 500)' } } }
              |                                                                                                                  ^^^
              |
              = help: write a constant, such as `top_k(x, 10)`"#]],
    );
    aggregate(
        "by: wiki, window: { tumbling: 1m }, set: { a: 'quantile(delta, 95)', b: 'quantiles(delta, [])' }",
        expect![[r#"
            error[T059]: `quantile(x, q)` takes a number from 0 to 1, found `95`
             --> t.yaml:4:93
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'quantile(delta, 95)', b: 'quantiles(delta, [])' } } }
              |                                                                                             ^^
              |
              = help: write `0.95`: 1 is all of them

            error[T059]: `quantiles(x, [q, …])` takes a list of 1 to 100 numbers from 0 to 1, found `[]`
             --> t.yaml:4:120
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'quantile(delta, 95)', b: 'quantiles(delta, [])' } } }
              |                                                                                                                        ^^
              |
              = help: write a constant, such as `quantiles(x, [0.5, 0.95])`"#]],
    );
    aggregate(
        "by: wiki, window: { tumbling: 1m }, set: { a: 'histogram(delta, [0, 10, 5])', b: \"collect_set(user, 'x')\" }",
        expect![[r#"
            error[T059]: `histogram(x, [bound, …])` takes a list of 1 to 100 numbers, each larger than the one before it, found `[0, 10, 5]`
             --> t.yaml:4:94
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'histogram(delta, [0, 10, 5])', b: "collect_set(user, 'x')...
              |                                                                                              ^^^^^^^^^^
              |
              = help: write a constant, such as `histogram(x, [0, 10, 100])`

            error[T059]: `collect_set(x, max)` takes a whole number from 1 to 1000, found `'x'`
             --> t.yaml:4:130
              |
            4 | ...et: { a: 'histogram(delta, [0, 10, 5])', b: "collect_set(user, 'x')" } } }
              |                                                                   ^^^
              |
              = help: write a constant, such as `collect_set(x, 10)`"#]],
    );
}

#[test]
fn t088_a_deletion_from_hopping_windows() {
    aggregate(
        "by: wiki, window: { hopping: 1h, advance: 5m }, set: { n: sum(delta) }, delete_if: n == 0",
        expect![[r#"
            error[T088]: hopping windows share what is kept of them, so no result of theirs can be deleted by itself
             --> t.yaml:4:113
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { hopping: 1h, advance: 5m }, set: { n: sum(delta) }, delete_if: n == 0 } }
              |                                                                                                                 ^^^^^^
              |
              = help: take back results with a filter behind: `where: "!(n == 0)"`"#]],
    );
}

#[test]
fn t032_t023_a_deletion_by_something_else_than_a_condition_over_results() {
    aggregate(
        "by: wiki, window: none, set: { n: count() }, delete_if: n",
        expect![[r#"
            error[T032]: a condition must be a bool, `n` is of type int
             --> t.yaml:4:86
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: none, set: { n: count() }, delete_if: n } }
              |                                                                                      ^
              |
              = help: compare it with something, as in `x > 0`"#]],
    );
    aggregate(
        "by: wiki, window: none, set: { n: count() }, delete_if: n == 0 || delta == 0",
        expect![[r#"
            error[T023]: unknown field `delta`
             --> t.yaml:4:96
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: none, set: { n: count() }, delete_if: n == 0 || delta == 0 } }
              |                                                                                                ^^^^^
              |
              = help: known are n"#]],
    );
    // One that could not be read leaves a gap, of which nothing is said.
    aggregate(
        "by: wiki, window: none, set: { n: count(), m: cout() }, delete_if: m == 0",
        expect![[r#"
            error[T047]: there is no aggregate function `cout`
             --> t.yaml:4:76
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: none, set: { n: count(), m: cout() }, delete_if: m == 0 } }
              |                                                                            ^^^^
              |
              = help: did you mean `count`?"#]],
    );
}

#[test]
fn t049_a_weight_that_is_no_whole_number() {
    aggregate(
        "by: wiki, window: { tumbling: 1m }, set: { a: 'top_k(user, 3, delta * 0.5)', b: 'top_k(tags, 3)' }",
        expect![[r#"
            error[T049]: `top_k(x, k[, weight])` takes a whole number (int), `delta * 0.5` is of type double
             --> t.yaml:4:92
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'top_k(user, 3, delta * 0.5)', b: 'top_k(tags, 3)' } } }
              |                                                                                            ^^^^^^^^^^^
              |
              = help: name a field of another type, or convert it: `int(x)`, `double(x)`, `string(x)`

            error[T049]: `top_k(x, k[, weight])` takes a single value, no list or map, `tags` is of type list
             --> t.yaml:4:117
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'top_k(user, 3, delta * 0.5)', b: 'top_k(tags, 3)' } } }
              |                                                                                                                     ^^^^
              |
              = help: name a field of another type, or convert it: `int(x)`, `double(x)`, `string(x)`"#]],
    );
}

#[test]
fn t049_arguments_of_a_wrong_type() {
    aggregate(
        "by: wiki, window: { tumbling: 1m }, set: { a: 'sum( user )', b: count_if(delta), c: max(tags), d: avg(bot) }",
        expect![[r#"
            error[T049]: `sum(x)` takes a number (int or double), `user` is of type string
             --> t.yaml:4:82
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'sum( user )', b: count_if(delta), c: max(tags), d: avg(bo...
              |                                                                                  ^^^^
              |
              = help: name a field of another type, or convert it: `int(x)`, `double(x)`, `string(x)`

            error[T049]: `count_if(condition)` takes a bool, `delta` is of type int
             --> t.yaml:4:103
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'sum( user )', b: count_if(delta), c: max(tags), d: avg(bo...
              |                                                                                                       ^^^^^
              |
              = help: name a field of another type, or convert it: `int(x)`, `double(x)`, `string(x)`

            error[T049]: `max(x)` takes a single value, no list or map, `tags` is of type list
             --> t.yaml:4:118
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { a: 'sum( user )', b: count_if(delta), c: max(tags), d: avg(bo...
              |                                                                                                                      ^^^^
              |
              = help: name a field of another type, or convert it: `int(x)`, `double(x)`, `string(x)`

            error[T049]: `avg(x)` takes a number (int or double), `bot` is of type bool
             --> t.yaml:4:132
              |
            4 | ...: { a: 'sum( user )', b: count_if(delta), c: max(tags), d: avg(bot) } } }
              |                                                                   ^^^
              |
              = help: name a field of another type, or convert it: `int(x)`, `double(x)`, `string(x)`"#]],
    );
}

#[test]
fn t050_results_that_are_called_like_something_else() {
    aggregate(
        "by: [wiki, window_end, meta.id, meta_id], window: { tumbling: 1m }, set: { window_start: count(), wiki: count(), meta_id: count() }",
        expect![[r#"
            error[T050]: the key field `window_end` has the name of a field of the window
             --> t.yaml:4:41
              |
            4 |   a: { aggregate: { from: s, by: [wiki, window_end, meta.id, meta_id], window: { tumbling: 1m }, set: { window_start: count(), wiki: ...
              |                                         ^^^^^^^^^^
              |
              = help: rename it in a map before

            error[T050]: `meta.id` and `meta_id` are both called `meta_id` in the result
             --> t.yaml:4:62
              |
            4 |   a: { aggregate: { from: s, by: [wiki, window_end, meta.id, meta_id], window: { tumbling: 1m }, set: { window_start: count(), wiki: ...
              |                                                     -------  ^^^^^^^
              |                                                     |
              |                                                     the first one is here
              |
              = help: rename one of them in a map before

            error[T050]: `window_start` is the name of a field of the window
             --> t.yaml:4:105
              |
            4 |   a: { aggregate: { from: s, by: [wiki, window_end, meta.id, meta_id], window: { tumbling: 1m }, set: { window_start: count(), wiki: ...
              |                                                                                                         ^^^^^^^^^^^^
              |
              = help: give the result another name

            error[T050]: `wiki` is the name of a key field
             --> t.yaml:4:128
              |
            4 | ...{ from: s, by: [wiki, window_end, meta.id, meta_id], window: { tumbling: 1m }, set: { window_start: count(), wiki: count(), meta_i...
              |                    ---- the key field is here                                                                   ^^^^
              |
              = help: give the result another name

            error[T050]: `meta_id` is the name of a key field
             --> t.yaml:4:143
              |
            4 | ...ki, window_end, meta.id, meta_id], window: { tumbling: 1m }, set: { window_start: count(), wiki: count(), meta_id: count() } } }
              |                    ------- the key field is here                                                             ^^^^^^^
              |
              = help: give the result another name"#]],
    );
}

#[test]
fn t051_results_that_would_be_counted_again_with_every_update() {
    let yaml = |emit| {
        format!(
            "app: a
nodes:
  s: {{ source: {{ topic: t }} }}
  minute: {{ aggregate: {{ from: s, by: [user], {emit}window: {{ tumbling: 1m }}, set: {{ n: count() }} }} }}
  big: {{ filter: {{ from: minute, where: n > 9 }} }}
  hour: {{ aggregate: {{ from: big, by: [user], window: {{ tumbling: 1h }}, set: {{ m: sum(n) }} }} }}
  t: {{ sql: {{ from: hour, table: t }} }}
"
        )
    };
    shows(
        &yaml(""),
        expect![[r#"
            error[T051]: `minute` sends each of its results again whenever it changes, and every time it would be counted here
             --> t.yaml:6:30
              |
            6 |   hour: { aggregate: { from: big, by: [user], window: { tumbling: 1h }, set: { m: sum(n) } } }
              |                              ^^^
              |
              = help: add `emit: close` to `minute`: then each window's result comes once; or, if each update is to count, put a `to_stream` in between"#]],
    );
    shows(&yaml("emit: close, "), expect![[""]]);
}
