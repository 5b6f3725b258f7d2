//! Mistakes in aggregates.

use expect_test::{Expect, expect};

use super::shows;

/// An aggregate with these settings, between a source and a table.
#[track_caller]
fn aggregate(settings: &str, expected: Expect) {
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
fn t042_no_window() {
    aggregate(
        "by: wiki, set: { n: count() }",
        expect![[r#"
            error[T042]: `a` does not say how time is cut into windows
             --> t.yaml:4:8
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() } } }
              |        ^^^^^^^^^
              |
              = help: add `window: { tumbling: 1m }`, or `window: none` for one result per key over all time"#]],
    );
    aggregate(
        "by: wiki, set: { n: count() }, window: { grace: 5s }",
        expect![[r#"
            error[T042]: `a` does not say how time is cut into windows
             --> t.yaml:4:61
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { grace: 5s } } }
              |                                                             ^^^^^^
              |
              = help: add `window: { tumbling: 1m }`, or `window: none` for one result per key over all time"#]],
    );
}

#[test]
fn t052_an_advance_that_leaves_gaps() {
    aggregate(
        "by: wiki, set: { n: count() }, window: { hopping: 1m, advance: 2m }",
        expect![[r#"
            error[T052]: windows of 1m must begin at distances above 0s and up to 1m, found 2m
             --> t.yaml:4:93
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { hopping: 1m, advance: 2m } } }
              |                                                                                             ^^
              |
              = help: write an `advance` that is no longer than the window, such as a tenth of it"#]],
    );
    aggregate(
        "by: wiki, set: { n: count() }, window: { hopping: 1m, advance: 0s }",
        expect![[r#"
            error[T052]: windows of 1m must begin at distances above 0s and up to 1m, found 0s
             --> t.yaml:4:93
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { hopping: 1m, advance: 0s } } }
              |                                                                                             ^^
              |
              = help: write an `advance` that is no longer than the window, such as a tenth of it"#]],
    );
    aggregate(
        "by: wiki, set: { n: count() }, window: { hopping: 1m }",
        expect![[r#"
            error[T042]: `a` does not say how time is cut into windows
             --> t.yaml:4:61
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { hopping: 1m } } }
              |                                                             ^^^^^^
              |
              = help: add `window: { tumbling: 1m }`, or `window: none` for one result per key over all time

            error[Y006]: the key `advance` is missing
             --> t.yaml:4:61
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { hopping: 1m } } }
              |                                                             ^^^^^^
              |
              = help: add `advance: …`"#]],
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
fn t043_a_window_without_length() {
    aggregate(
        "by: wiki, set: { n: count() }, window: { tumbling: 0s }",
        expect![[r#"
            error[T043]: a window must be longer than nothing, found 0s
             --> t.yaml:4:81
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { tumbling: 0s } } }
              |                                                                                 ^^
              |
              = help: write a length of time above 0, such as `1m`"#]],
    );
}

#[test]
fn t044_a_negative_grace() {
    aggregate(
        "by: wiki, set: { n: count() }, window: { tumbling: 1m, grace: -30s }",
        expect![[r#"
            error[T044]: a grace cannot be negative, found -30s
             --> t.yaml:4:92
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { tumbling: 1m, grace: -30s } } }
              |                                                                                            ^^^^
              |
              = help: `0s` takes no record after the end of its window"#]],
    );
}

#[test]
fn t045_a_retention_that_is_too_short() {
    aggregate(
        "by: wiki, set: { n: count() }, window: { tumbling: 1h, grace: 90s, retention: 1h }",
        expect![[r#"
            error[T045]: a window of 1h with a grace of 1m30s must be kept for 1h1m30s at least, found 1h
             --> t.yaml:4:108
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { tumbling: 1h, grace: 90s, retention: 1h } } }
              |                                                                                                            ^^
              |
              = help: write `1h1m30s` or more, or leave it out"#]],
    );
    aggregate(
        "by: wiki, set: { n: count() }, window: { tumbling: 1h, grace: 90s, retention: 1h1m30s }",
        expect![[""]],
    );
}

#[test]
fn t046_a_silence_without_length() {
    aggregate(
        "by: wiki, set: { n: count() }, window: { tumbling: 1m, idle_close: 0ms }",
        expect![[r#"
            error[T046]: a silence must be longer than nothing, found 0s
             --> t.yaml:4:97
              |
            4 |   a: { aggregate: { from: s, by: wiki, set: { n: count() }, window: { tumbling: 1m, idle_close: 0ms } } }
              |                                                                                                 ^^^
              |
              = help: leave `idle_close` out to close windows by the records' time alone"#]],
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
              = help: there are 22 aggregate functions, none of them with a similar name"#]],
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
          = help: add `emit: close` to `minute`: then each window's result comes once"#]],
    );
    shows(&yaml("emit: close, "), expect![[""]]);
}

#[test]
fn t058_an_idle_close_that_closes_nothing() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  a:
    aggregate:
      from: s
      by: wiki
      window: { tumbling: 1m, idle_close: 15s }
      set: { n: count() }
  k: { kafka: { from: a, topic: u } }
",
        expect![[r#"
            warning[T058]: `idle_close` has no effect with `emit: updates`
             --> t.yaml:9:43
              |
            9 |       window: { tumbling: 1m, idle_close: 15s }
              |                                           ^^^
              |
              = help: leave it out, or say `emit: close` for results that leave once"#]],
    );
}

#[test]
fn t114_a_time_zone_that_is_none() {
    let zone = |zone: &str, expected: Expect| {
        let window = format!("{{ tumbling: 1d, time_zone: {zone} }}");
        aggregate(
            &format!("by: user, window: {window}, set: {{ n: count() }}"),
            expected,
        );
    };
    zone(
        "Berlin",
        expect![[r#"
        error[T114]: there is no time zone `Berlin`
         --> t.yaml:4:75
          |
        4 |   a: { aggregate: { from: s, by: user, window: { tumbling: 1d, time_zone: Berlin }, set: { n: count() } } }
          |                                                                           ^^^^^^
          |
          = help: did you mean `Europe/Berlin`?"#]],
    );
    zone(
        "europe/berlin",
        expect![[r#"
        error[T114]: there is no time zone `europe/berlin`
         --> t.yaml:4:75
          |
        4 |   a: { aggregate: { from: s, by: user, window: { tumbling: 1d, time_zone: europe/berlin }, set: { n: count() } } }
          |                                                                           ^^^^^^^^^^^^^
          |
          = help: did you mean `Europe/Berlin`?"#]],
    );
    zone(
        "Europe/Berln",
        expect![[r#"
        error[T114]: there is no time zone `Europe/Berln`
         --> t.yaml:4:75
          |
        4 |   a: { aggregate: { from: s, by: user, window: { tumbling: 1d, time_zone: Europe/Berln }, set: { n: count() } } }
          |                                                                           ^^^^^^^^^^^^
          |
          = help: did you mean `Europe/Berlin`?"#]],
    );
    zone(
        "Atlantis",
        expect![[r#"
        error[T114]: there is no time zone `Atlantis`
         --> t.yaml:4:75
          |
        4 |   a: { aggregate: { from: s, by: user, window: { tumbling: 1d, time_zone: Atlantis }, set: { n: count() } } }
          |                                                                           ^^^^^^^^
          |
          = help: write a name such as `Europe/Berlin`, `America/New_York` or `UTC`"#]],
    );
}

#[test]
fn t115_no_days_and_t116_no_dates_and_t117_no_zone() {
    let window = |window: &str, expected: Expect| {
        aggregate(
            &format!("by: user, window: {window}, set: {{ n: count() }}"),
            expected,
        );
    };
    window(
        "{ tumbling: 36h, time_zone: Europe/Berlin }",
        expect![[r#"
        error[T115]: windows in a time zone are from 1d to 366d long, found 1d12h
         --> t.yaml:4:60
          |
        4 |   a: { aggregate: { from: s, by: user, window: { tumbling: 36h, time_zone: Europe/Berlin }, set: { n: count() } } }
          |                                                            ^^^
          |
          = help: write whole days, `week`, `month` or `year`, or take `time_zone` away"#]],
    );
    window(
        "{ tumbling: 400d, time_zone: UTC }",
        expect![[r#"
        error[T115]: windows in a time zone are from 1d to 366d long, found 400d
         --> t.yaml:4:60
          |
        4 |   a: { aggregate: { from: s, by: user, window: { tumbling: 400d, time_zone: UTC }, set: { n: count() } } }
          |                                                            ^^^^
          |
          = help: write whole days, `week`, `month` or `year`, or take `time_zone` away"#]],
    );
    window(
        "{ hopping: 1d, advance: 1h, time_zone: UTC }",
        expect![[r#"
            error[T116]: hopping windows do not begin with a date, so a time zone says nothing about them
             --> t.yaml:4:87
              |
            4 |   a: { aggregate: { from: s, by: user, window: { hopping: 1d, advance: 1h, time_zone: UTC }, set: { n: count() } } }
              |                                                                                       ^^^
              |
              = help: take `time_zone` away, or write `tumbling: 1d`, one window after the other"#]],
    );
    window(
        "{ tumbling: month }",
        expect![[r#"
        error[T117]: where a month begins depends on the time zone
         --> t.yaml:4:60
          |
        4 |   a: { aggregate: { from: s, by: user, window: { tumbling: month }, set: { n: count() } } }
          |                                                            ^^^^^
          |
          = help: add `time_zone: UTC`, or another one such as `Europe/Berlin`"#]],
    );
    window(
        "{ tumbling: fortnight, time_zone: UTC }",
        expect![[r#"
        error[Y010]: expected a whole number and a unit such as 30s or 1h30m, found "fortnight"
         --> t.yaml:4:60
          |
        4 |   a: { aggregate: { from: s, by: user, window: { tumbling: fortnight, time_zone: UTC }, set: { n: count() } } }
          |                                                            ^^^^^^^^^
          |
          = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`"#]],
    );
    window(
        "{ tumbling: 1d, time_zone: UTC, retention: 1d, grace: 1h }",
        expect![[r#"
            error[T045]: a window of 1d with a grace of 1h must be kept for 1d1h at least, found 1d
             --> t.yaml:4:91
              |
            4 |   a: { aggregate: { from: s, by: user, window: { tumbling: 1d, time_zone: UTC, retention: 1d, grace: 1h }, set: { n: count() } } }
              |                                                                                           ^^
              |
              = help: write `1d1h` or more, or leave it out"#]],
    );
}
