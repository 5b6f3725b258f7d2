//! Mistakes in expressions: the caret is under the part that is wrong.

use expect_test::expect;

use super::shows;

#[test]
fn t030_an_expression_that_cannot_be_read() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  plain: { filter: { from: s, where: type = 'edit' } }
  single: { filter: { from: s, where: 'title.contain(''x'') && bot' } }
  double: { filter: { from: s, where: \"title == \\\"ü\\\" and bot\" } }
  ending: { filter: { from: s, where: 'bot &&' } }
  empty: { filter: { from: s, where: '' } }
  block:
    filter:
      from: s
      where: |
        type == 'edit'
          & bot
  m: { map: { from: s, set: { a: 5u, b: 'x ? 1' } } }
  a:
    aggregate:
      from: s
      by: [wiki]
      window: { tumbling: 1m }
      set: { n: count, m: 'distinct(user, size(), title)' }
  k: { kafka: { from: plain, topic: u } }
  l: { kafka: { from: single, topic: u, key: 'a b' } }
  o: { kafka: { from: double, topic: u } }
  p: { kafka: { from: ending, topic: u } }
  q: { kafka: { from: empty, topic: u } }
  r: { kafka: { from: block, topic: u } }
  t: { sql: { from: m, table: t, columns: { id: 'f(id)' }, key: id } }
  v: { sql: { from: a, table: v } }
",
        expect![[r#"
            error[T030]: unexpected `=`
             --> t.yaml:5:43
              |
            5 |   plain: { filter: { from: s, where: type = 'edit' } }
              |                                           ^
              |
              = help: `==` compares

            error[T030]: unknown function `contain`
             --> t.yaml:6:46
              |
            6 |   single: { filter: { from: s, where: 'title.contain(''x'') && bot' } }
              |                                              ^^^^^^^
              |
              = help: did you mean `contains`?

            error[T030]: unexpected `and`
             --> t.yaml:7:55
              |
            7 |   double: { filter: { from: s, where: "title == \"ü\" and bot" } }
              |                                                       ^^^
              |
              = help: `&&` means and

            error[T030]: expected more, found the end of the expression
             --> t.yaml:8:46
              |
            8 |   ending: { filter: { from: s, where: 'bot &&' } }
              |                                              ^
              |
              = help: docs/EXPRESSIONS.md has an example of each operator and function

            error[T030]: expected an expression, found nothing
             --> t.yaml:9:39
              |
            9 |   empty: { filter: { from: s, where: '' } }
              |                                       ^
              |
              = help: docs/EXPRESSIONS.md has an example of each operator and function

            error[T030]: unexpected `&`
              --> t.yaml:15:11
               |
            15 |           & bot
               |           ^
               |
               = help: `&&` means and

            error[T030]: unsigned numbers are not supported
              --> t.yaml:16:34
               |
            16 |   m: { map: { from: s, set: { a: 5u, b: 'x ? 1' } } }
               |                                  ^^
               |
               = help: write 5

            error[T030]: expected more, found the end of the expression
              --> t.yaml:16:47
               |
            16 |   m: { map: { from: s, set: { a: 5u, b: 'x ? 1' } } }
               |                                               ^
               |
               = help: docs/EXPRESSIONS.md has an example of each operator and function

            error[T030]: expected one call of a function
              --> t.yaml:22:17
               |
            22 |       set: { n: count, m: 'distinct(user, size(), title)' }
               |                 ^^^^^
               |
               = help: such as `count()` or `sum(x)`; what is computed from results goes into a `map` behind the aggregate

            error[T030]: `size` takes 1 argument, found 0
              --> t.yaml:22:43
               |
            22 |       set: { n: count, m: 'distinct(user, size(), title)' }
               |                                           ^^^^^^
               |
               = help: docs/EXPRESSIONS.md has an example of each operator and function

            error[T030]: unexpected `b`
              --> t.yaml:24:49
               |
            24 |   l: { kafka: { from: single, topic: u, key: 'a b' } }
               |                                                 ^
               |
               = help: docs/EXPRESSIONS.md has an example of each operator and function

            error[T030]: unknown function `f`
              --> t.yaml:29:50
               |
            29 |   t: { sql: { from: m, table: t, columns: { id: 'f(id)' }, key: id } }
               |                                                  ^
               |
               = help: docs/EXPRESSIONS.md has an example of each operator and function"#]],
    );
}

#[test]
fn t031_types_that_do_not_fit() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { user: string, length.new: int, bot: bool } } }
  f: { filter: { from: s, where: 'user + 1 == 2 || bot.name' } }
  m: { map: { from: f, set: { twice: 2 * length.new, odd: \"twice + 'x'\" } } }
  a:
    aggregate: { from: m, by: [user], window: { tumbling: 1m }, set: { n: 'sum(  -bot )' } }
  t: { sql: { from: a, table: t } }
",
        expect![[r#"
            error[T031]: `+` does not take string and int
             --> t.yaml:5:35
              |
            5 |   f: { filter: { from: s, where: 'user + 1 == 2 || bot.name' } }
              |                                   ^^^^^^^^
              |
              = help: `int(text)` reads a number, `string(number)` writes one

            error[T031]: `bot` is a bool, it has no fields
             --> t.yaml:5:52
              |
            5 |   f: { filter: { from: s, where: 'user + 1 == 2 || bot.name' } }
              |                                                    ^^^^^^^^
              |
              = help: docs/EXPRESSIONS.md says what each takes; `int(x)`, `double(x)`, `string(x)` and `timestamp(x)` convert

            error[T031]: `+` does not take int and string
             --> t.yaml:6:60
              |
            6 |   m: { map: { from: f, set: { twice: 2 * length.new, odd: "twice + 'x'" } } }
              |                                                            ^^^^^^^^^^^
              |
              = help: `int(text)` reads a number, `string(number)` writes one

            error[T031]: `-` does not take bool
             --> t.yaml:8:82
              |
            8 |     aggregate: { from: m, by: [user], window: { tumbling: 1m }, set: { n: 'sum(  -bot )' } }
              |                                                                                  ^^^^
              |
              = help: docs/EXPRESSIONS.md says what each takes; `int(x)`, `double(x)`, `string(x)` and `timestamp(x)` convert"#]],
    );
}

#[test]
fn t032_a_condition_that_is_neither_true_nor_false() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t, fields: { user: string } } }
  f: { filter: { from: s, where: user } }
  g: { filter: { from: s, where: 5 } }
  h: { filter: { from: s, where: true } }
  k: { kafka: { from: f, topic: u } }
  l: { kafka: { from: g, topic: u } }
  m: { kafka: { from: h, topic: u } }
",
        expect![[r#"
            error[T032]: a condition must be a bool, `user` is of type string
             --> t.yaml:5:34
              |
            5 |   f: { filter: { from: s, where: user } }
              |                                  ^^^^
              |
              = help: compare it with something, as in `x > 0`

            error[T032]: a condition must be a bool, `5` is of type int
             --> t.yaml:6:34
              |
            6 |   g: { filter: { from: s, where: 5 } }
              |                                  ^
              |
              = help: compare it with something, as in `x > 0`"#]],
    );
}
