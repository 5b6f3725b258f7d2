//! Texts that a comma has cut.

use expect_test::expect;

use super::shows;

#[test]
fn y014_a_text_that_a_comma_cuts() {
    shows(
        r#"
app: a
nodes:
  s: { source: { topic: t } }
  f: { filter: { from: s, where: max(a, b) > size("x, y") } }
  m: { map: { from: s, set: { n: max(a, min(b, c)), d: a } } }
  a:
    aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { n: distinct(a, b), m: count() } }
  k: { kafka: { from: a, topic: u } }
  l: { kafka: { from: m, topic: v, key: max(a, b ? 1 : 2) } }
  o: { kafka: { from: f, topic: w } }
"#,
        expect![[r#"
            error[Y014]: a comma cuts this text in two
             --> t.yaml:5:34
              |
            5 |   f: { filter: { from: s, where: max(a, b) > size("x, y") } }
              |                                  ^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: between `{` and `}` it stands in quotes: `where: 'max(a, b) > size("x, y")'`

            error[Y014]: a comma cuts this text in two
             --> t.yaml:6:34
              |
            6 |   m: { map: { from: s, set: { n: max(a, min(b, c)), d: a } } }
              |                                  ^^^^^^^^^^^^^^^^^
              |
              = help: between `{` and `}` it stands in quotes: `n: "max(a, min(b, c))"`

            error[Y014]: a comma cuts this text in two
             --> t.yaml:8:73
              |
            8 |     aggregate: { from: s, by: wiki, window: { tumbling: 1m }, set: { n: distinct(a, b), m: count() } }
              |                                                                         ^^^^^^^^^^^^^^
              |
              = help: between `{` and `}` it stands in quotes: `n: "distinct(a, b)"`

            error[Y014]: a comma cuts this text in two
              --> t.yaml:10:41
               |
            10 |   l: { kafka: { from: m, topic: v, key: max(a, b ? 1 : 2) } }
               |                                         ^^^^^^^^^^^^^^^^^
               |
               = help: between `{` and `}` it stands in quotes: `key: "max(a, b ? 1 : 2)"`"#]],
    );
}

#[test]
fn what_only_looks_like_a_cut_text_is_none() {
    shows(
        r#"
app: a
nodes:
  s: { source: { topic: t } }
  f: { filter: { from: s, where: "max(a, b) > 1" } }
  m:
    map:
      from: f
      set:
        n: max(a, b)
  k: { kafka: { from: m, topic: u, fields: { n: (a, b: n } } }
"#,
        expect![[r#"
            error[T030]: this `(` is not closed
              --> t.yaml:11:49
               |
            11 |   k: { kafka: { from: m, topic: u, fields: { n: (a, b: n } } }
               |                                                 ^
               |
               = help: docs/EXPRESSIONS.md has an example of each operator and function"#]],
    );
}
