//! Mistakes in windows.

use expect_test::{Expect, expect};

use super::aggregates::aggregate;
use super::shows;

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
              = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`; windows of the calendar are `week`, `month` and `year`, and days `1d`"#]],
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

#[test]
fn t125_nothing_that_closes_and_t127_nothing_that_is_late() {
    aggregate(
        "by: wiki, window: none, emit: close, on_late: dead_letter, set: { n: count() }",
        expect![[r#"
            error[T125]: with `window: none` nothing ever closes, so no result would leave
             --> t.yaml:4:60
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: none, emit: close, on_late: dead_letter, set: { n: count() } } }
              |                                                            ^^^^^
              |
              = help: leave `emit` out for results that leave with every change, or write windows, as `window: { tumbling: 1h }`

            warning[T127]: `on_late` has no effect with `window: none`
             --> t.yaml:4:76
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: none, emit: close, on_late: dead_letter, set: { n: count() } } }
              |                                                                            ^^^^^^^^^^^
              |
              = help: leave it out"#]],
    );
}

#[test]
fn t128_windows_without_number() {
    aggregate(
        "by: wiki, window: { hopping: 365d, advance: 1ms }, set: { n: count() }",
        expect![[r#"
            error[T128]: each record would be in 31536000000 windows, and have a result in each of them
             --> t.yaml:4:74
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { hopping: 365d, advance: 1ms }, set: { n: count() } } }
              |                                                                          ^^^
              |
              = help: write an `advance` of 5m15s361ms or more"#]],
    );
}

#[test]
fn windows_of_lengths_that_are_none() {
    aggregate(
        "by: wiki, window: { hopping: 5 min, advance: 1m }, set: { n: count() }",
        expect![[r#"
            error[Y010]: 5 min is written as 5m
             --> t.yaml:4:59
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { hopping: 5 min, advance: 1m }, set: { n: count() } } }
              |                                                           ^^^^^
              |
              = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`"#]],
    );
    aggregate(
        "by: wiki, window: { session: 30min }, set: { n: count() }",
        expect![[r#"
            error[Y010]: 30min is written as 30m
             --> t.yaml:4:59
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { session: 30min }, set: { n: count() } } }
              |                                                           ^^^^^
              |
              = help: write whole numbers with their units, from large to small: `1h30m`, `500ms`"#]],
    );
}

#[test]
fn hopping_windows_that_do_not_say_how_they_advance() {
    aggregate(
        "by: wiki, window: { hopping: 1h }, set: { n: count() }",
        expect![[r#"
            error[Y006]: the key `advance` is missing
             --> t.yaml:4:40
              |
            4 |   a: { aggregate: { from: s, by: wiki, window: { hopping: 1h }, set: { n: count() } } }
              |                                        ^^^^^^
              |
              = help: add `advance: …`"#]],
    );
}

#[test]
fn a_word_that_is_misspelt_is_one_mistake() {
    shows(
        "
app: a
nodes:
  s: { source: { topics: t, fields: { wiki: string } } }
  a: { aggregate: { from: s, by: wiki, window: { tumblin: 1m }, set: { n: count() } } }
  b: { aggregate: { from: s, by: wiki, windows: { tumbling: 1m }, set: { n: count() } } }
  c: { aggregate: { from: s, by: wiki, window: { hoping: 1m, advance: 1m }, set: { n: count() } } }
  k: { kafka: { form: a, topic: u } }
  l: { kafka: { from: b, topic: v } }
  m: { kafka: { from: c, topic: w } }
",
        expect![[r#"
            error[Y004]: there is no key `tumblin` here
             --> t.yaml:5:50
              |
            5 |   a: { aggregate: { from: s, by: wiki, window: { tumblin: 1m }, set: { n: count() } } }
              |                                                  ^^^^^^^
              |
              = help: did you mean `tumbling`?

            error[Y004]: there is no key `windows` here
             --> t.yaml:6:40
              |
            6 |   b: { aggregate: { from: s, by: wiki, windows: { tumbling: 1m }, set: { n: count() } } }
              |                                        ^^^^^^^
              |
              = help: did you mean `window`?

            error[Y004]: there is no key `hoping` here
             --> t.yaml:7:50
              |
            7 |   c: { aggregate: { from: s, by: wiki, window: { hoping: 1m, advance: 1m }, set: { n: count() } } }
              |                                                  ^^^^^^
              |
              = help: did you mean `hopping`?

            error[Y004]: there is no key `form` here
             --> t.yaml:8:17
              |
            8 |   k: { kafka: { form: a, topic: u } }
              |                 ^^^^
              |
              = help: did you mean `from`?"#]],
    );
    shows(
        "
app: a
node:
  s: { source: { topic: t } }
",
        expect![[r#"
            error[Y004]: there is no key `node` here
             --> t.yaml:3:1
              |
            3 | node:
              | ^^^^
              |
              = help: did you mean `nodes`?"#]],
    );
    shows(
        "
app: a
nodes:
  s: { source: { topc: t } }
  k: { kafka: { from: s, topic: u } }
",
        expect![[r#"
            error[Y004]: there is no key `topc` here
             --> t.yaml:4:18
              |
            4 |   s: { source: { topc: t } }
              |                  ^^^^
              |
              = help: did you mean `topic`?"#]],
    );
}
