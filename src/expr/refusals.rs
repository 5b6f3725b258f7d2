//! What is refused before any record is read: with its place, all of it at once, and whatever the
//! text is, without a panic.

use proptest::prelude::*;

use super::testing::{listed, outcome, outcome_with_types};
use super::{ExprError, Expression};
use crate::value::ValueType;

/// Each case: expression, and `[place] message (help)` of every mistake.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        assert_eq!(
            outcome(expression, "{}"),
            format!("refused: {expected}"),
            "{expression}"
        );
    }
}

#[test]
fn text_that_is_no_cel() {
    check(&[
        ("a +", "[] expected more, found the end of the expression"),
        ("a ? b", "[] expected more, found the end of the expression"),
        ("a and b", "[and] unexpected `and` (`&&` means and)"),
        ("a or b", "[or] unexpected `or` (`||` means or)"),
        ("not a", "[a] unexpected `a` (`!` means not)"),
        ("a <> b", "[>] unexpected `>` (`!=` means different)"),
        (
            "a like 'b'",
            "[like] unexpected `like` (`x.contains('…')`, `x.startsWith('…')` or `x.matches(r'…')`)",
        ),
        (
            "if a then b else c",
            "[a] unexpected `a` (a choice is written `condition ? a : b`)",
        ),
        (
            "CASE WHEN a THEN b END",
            "[WHEN] unexpected `WHEN` (a choice is written `condition ? a : b`)",
        ),
        (
            "CAST(a AS int)",
            "[AS] unexpected `AS` (`int(x)`, `double(x)`, `string(x)` turn a value into another type)",
        ),
        (
            "a ?? b",
            "[?] unexpected `?` (`coalesce(a, b)` gives b where a is null or missing)",
        ),
        (
            "a->b",
            "[>] unexpected `>` (a field inside another is written with a dot: `meta.id`)",
        ),
        (
            "a BETWEEN 1 AND 2",
            "[BETWEEN] unexpected `BETWEEN` (write `x >= a && x <= b`)",
        ),
        ("a b", "[b] unexpected `b`"),
        ("a, b", "[,] unexpected `,`"),
        ("f(a,)", "[)] unexpected `)`"),
        ("a..b", "[.] unexpected `.`"),
        ("1.2.3", "[.3] unexpected `.3`"),
        ("'ü' + 'ß' 'x'", "['x'] unexpected `'x'`"),
        ("'ü' +\n'ß' )", "[)] unexpected `)`: nothing is open"),
        ("'ü' +\n 'ß' 7", "[7] unexpected `7`"),
        (
            "99999999999999999999",
            "[99999999999999999999] `99999999999999999999` does not fit a 64-bit whole number",
        ),
        ("1e999", "[1e999] `1e999` does not fit a double"),
        (
            r"'\ud800'",
            r"['\ud800'] '\ud800' has an escape that stands for no character",
        ),
    ]);
}

#[test]
fn cel_that_is_not_supported() {
    let optional = "optional values (`?`) are not supported (`has(x)` tells whether a field is there, `coalesce(x, y)` gives another value)";
    check(&[
        (
            "5u + 1",
            "[5u] unsigned numbers are not supported (write 5)",
        ),
        ("a.?b", &format!("[.?] {optional}")),
        ("a[?0]", &format!("[[?] {optional}")),
        ("[?a]", &format!("[[?a]] {optional}")),
        ("{?'a': b}", &format!("[{{?'a': b}}] {optional}")),
        (
            "a == Point{x: 1}",
            "[Point{x: 1}] messages are not supported (a map is written {'name': value})",
        ),
        (
            ".a",
            "[a] names that begin with a dot are not supported (leave out the dot)",
        ),
        (
            "a.`b.c`",
            "[`b.c`] names with a dot are not supported (read the field around it, then index that)",
        ),
        (
            "type(a)",
            "[type] unknown function `type` (`type_of(x)` gives the type's name as a text)",
        ),
        (
            "uint(a)",
            "[uint] unknown function `uint` (whole numbers are signed: `int(x)`)",
        ),
        ("{1: 2}", "[1] the names in a map are texts, found int"),
        (
            "{'a': 1, 'b': 2, 'a': 3}",
            "['a'] `a` stands in this map twice",
        ),
        (
            "a.matches(b)",
            "[b] the pattern of `matches` is a constant text",
        ),
        (
            "a.getHours(b)",
            "[b] the time zone is a constant text (such as 'Europe/Berlin', '+05:30' or 'UTC')",
        ),
    ]);
}

#[test]
fn functions_that_are_called_wrongly() {
    check(&[
        (
            "a.contain('x')",
            "[contain] unknown function `contain` (did you mean `contains`?)",
        ),
        (
            "isIp(a)",
            "[isIp] unknown function `isIp` (did you mean `is_ip`?)",
        ),
        (
            "lenght(a)",
            "[lenght] unknown function `lenght` (that is `size(x)`)",
        ),
        (
            "frobnicate(a)",
            "[frobnicate] unknown function `frobnicate`",
        ),
        (
            "a.startswith('x')",
            "[startswith] unknown function `startswith` (did you mean `startsWith`?)",
        ),
        (
            "contains(a, 'x')",
            "[contains] `contains` is called on its first argument (write `a.contains('x')`)",
        ),
        (
            "a.b.is_ip()",
            "[is_ip] `is_ip` is not called on a value (write `is_ip(a.b)`)",
        ),
        (
            "exists(a, b, c)",
            "[exists] unknown function `exists` (write `list.exists(item, …)`)",
        ),
        ("size()", "[size()] `size` takes 1 argument, found 0"),
        (
            "(a).size(1)",
            "[(a).size(1)] `size` takes 0 arguments, found 1",
        ),
        (
            "a.replace('b')",
            "[a.replace('b')] `replace` takes 2 or 3 arguments, found 1",
        ),
        (
            "coalesce()",
            "[coalesce()] `coalesce` takes 1 or more arguments, found 0",
        ),
        (
            "record_key(1)",
            "[record_key(1)] `record_key` takes 0 arguments, found 1",
        ),
        ("has()", "[has()] `has` takes 1 argument, found 0"),
        ("has(a, b)", "[has(a, b)] `has` takes 1 argument, found 2"),
        (
            "has(a[0])",
            "[a[0]] `has` takes a field (`x != null` tells whether any other expression has a value)",
        ),
        (
            "a.exists(b)",
            "[a.exists(b)] `exists` takes a variable and an expression, found 1",
        ),
        (
            "a.exists(b, c, d)",
            "[a.exists(b, c, d)] `exists` takes a variable and an expression, found 3",
        ),
        (
            "a.exists(1, true)",
            "[1] expected the name of a variable (as in `tags.exists(tag, tag == 'x')`)",
        ),
    ]);
}

#[test]
fn types_that_never_fit() {
    let numbers = "(`int(text)` reads a number, `string(number)` writes one)";
    check(&[
        (
            "'a' + 1",
            &format!("['a' + 1] `+` does not take string and int {numbers}"),
        ),
        ("true + x", "[true + x] `+` does not take bool and any"),
        (
            "'a' == 1",
            &format!("['a' == 1] `==` between string and int is never true {numbers}"),
        ),
        (
            "'a' != 1",
            &format!("['a' != 1] `!=` between string and int is always true {numbers}"),
        ),
        (
            "size(a) < 'b'",
            &format!("[size(a) < 'b'] `<` does not take int and string {numbers}"),
        ),
        ("[1] < [2]", "[[1] < [2]] `<` does not take list and list"),
        ("1.5 % 2", "[1.5 % 2] `%` does not take double and int"),
        (
            "timestamp(a) > '2026-01-01'",
            "[timestamp(a) > '2026-01-01'] `>` does not take timestamp and string (`timestamp(text)` reads a time)",
        ),
        (
            "timestamp(a) + '5m'",
            "[timestamp(a) + '5m'] `+` does not take timestamp and string (`timestamp(text)` reads a time)",
        ),
        (
            "duration(a) > '5m'",
            "[duration(a) > '5m'] `>` does not take duration and string (`duration(text)` reads a duration, `timestamp(text)` a time)",
        ),
        (
            "size(5)",
            "[5] `size` takes string or bytes or list or map, found int",
        ),
        (
            "(1 + 2).contains('a')",
            "[1 + 2] `contains` takes string, found int",
        ),
        ("!size(a)", "[size(a)] expected a bool, found int"),
        ("-'a'", "[-'a'] `-` does not take string"),
        (
            "(a + 1) * ('b' + c)",
            "[(a + 1) * ('b' + c)] `*` does not take any and string",
        ),
        ("'a' && b", "['a'] expected a bool, found string"),
        ("b || 1", "[1] expected a bool, found int"),
        ("1 ? a : b", "[1] expected a bool, found int"),
        (
            "a in 'abc'",
            "[a in 'abc'] `in` takes a list or a map, found string (`text.contains(part)` looks into a text)",
        ),
        (
            "1 in ['a', 'b']",
            "[1 in ['a', 'b']] this is never true: it holds no int",
        ),
        ("1[0]", "[1[0]] `[]` takes a list or a map, found int"),
        (
            "[1]['a']",
            "[[1]['a']] the place in a list is int or double, found string",
        ),
        ("true.x", "[true] a bool has no fields"),
        (
            "'a'.exists(b, b)",
            "['a'] expected a list or a map, found string",
        ),
        ("[1].exists(b, 'x')", "['x'] expected a bool, found string"),
    ]);
}

#[test]
fn what_fails_for_every_record() {
    check(&[
        ("a + 1 / 0", "[1 / 0] this always fails: division by zero"),
        (
            "9223372036854775807 + 1 > a",
            "[9223372036854775807 + 1] this always fails: integer overflow in `+`",
        ),
        (
            "a > timestamp('yesterday')",
            "[timestamp('yesterday')] this always fails: expected an RFC 3339 time, found \"yesterday\"",
        ),
        (
            "a > duration('5 parsecs')",
            "[duration('5 parsecs')] this always fails: expected a duration such as 1h30m or 1.5s, found \"5 parsecs\"",
        ),
        (
            "[1, 2][2]",
            "[[1, 2][2]] this always fails: position 2 is outside of 2 elements",
        ),
        (
            "{'a': 1}['b']",
            "[{'a': 1}['b']] this always fails: no such key `b`",
        ),
        (
            "a.matches('[')",
            "['['] this is no regular expression: unclosed character class",
        ),
        (
            "a.getHours('Mars/Base')",
            "['Mars/Base'] unknown time zone `Mars/Base` (such as 'Europe/Berlin', '+05:30' or 'UTC')",
        ),
        (
            "a.getHours('25:00')",
            "['25:00'] unknown time zone `25:00` (such as 'Europe/Berlin', '+05:30' or 'UTC')",
        ),
    ]);
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_text() {
    check(&[(
        "titel.contain(1 / 0) && size(5) == 'x' || f(g(h))",
        "[contain] unknown function `contain` (did you mean `contains`?); \
         [1 / 0] this always fails: division by zero; \
         [5] `size` takes string or bytes or list or map, found int; \
         [f] unknown function `f`; \
         [g] unknown function `g`",
    )]);
}

#[test]
fn declared_types_make_unknown_fields_and_wrong_types_findings() {
    use ValueType::{Bool, Int, List, Map, Str};
    let types = [
        ("title", Str),
        ("bot", Bool),
        ("length.old", Int),
        ("length.new", Int),
        ("tags", List),
        ("log", Map),
    ];
    for (text, expected) in [
        (
            "titel == 'x'",
            "[titel] unknown field `titel` (did you mean `title`?)",
        ),
        (
            "length.odl > 5",
            "[length.odl] unknown field `length.odl` (did you mean `length.old`?)",
        ),
        (
            "has(lenght.old)",
            "[lenght.old] unknown field `lenght.old` (did you mean `length.old`?)",
        ),
        (
            "wiki == 'x'",
            "[wiki] unknown field `wiki` (known are title, bot, length.old, length.new, tags, log)",
        ),
        ("bot + 1", "[bot + 1] `+` does not take bool and int"),
        (
            "title > length.new",
            "[title > length.new] `>` does not take string and int (`int(text)` reads a number, `string(number)` writes one)",
        ),
        (
            "title in [1, 2]",
            "[title in [1, 2]] this is never true: it holds no string",
        ),
        (
            "length.new in log",
            "[length.new in log] this is never true: it holds no int",
        ),
        (
            "title.x == 1",
            "[title.x] `title` is a string, it has no fields",
        ),
        ("title ? 1 : 2", "[title] expected a bool, found string"),
        (
            "abs(title)",
            "[title] `abs` takes int or double, found string",
        ),
        (
            "titel.contain(bott)",
            "[titel] unknown field `titel` (did you mean `title`?); [contain] unknown function `contain` (did you mean `contains`?); [bott] unknown field `bott` (did you mean `bot`?)",
        ),
    ] {
        assert_eq!(
            outcome_with_types(text, "{}", &types),
            format!("refused: {expected}"),
            "{text}"
        );
    }
}

#[test]
fn errors_are_known_before_fields_are() {
    let errors = |text: &str| listed(text, Expression::parse(text).errors());
    assert_eq!(errors("a + f(b)"), "[f] unknown function `f`");
    assert_eq!(
        errors("a +"),
        "[] expected more, found the end of the expression"
    );
    assert_eq!(errors("a + 1"), "");
}

/// The deepest texts of each kind that are let through: reading, compiling, running and dropping
/// them fits the 2 MiB of stack that a test has.
#[test]
fn the_deepest_expressions_fit_the_stack() {
    let nested = |open: &str, core: &str, close: &str| open.repeat(48) + core + &close.repeat(48);
    let chained = |first: &str, more: &str| first.to_owned() + &more.repeat(400);
    let record = r#"{"a": 1, "l": [1], "t": true}"#;
    for (text, expected) in [
        (chained("a", " + a"), "401"),
        (chained("a", " && a"), "error: expected a bool, found int"),
        (chained("t", " && t"), "true"),
        (chained("a", ".a"), "missing"),
        (chained("l", "[0]"), "error: `[]` does not take int and int"),
        (chained("a", " in l"), "false"),
        (chained("'a'", " + 'a'"), "…"),
        (nested("(", "a", ")"), "1"),
        (nested("[", "a", "]"), "…"),
        (nested("{'a': ", "a", "}"), "…"),
        (nested("-(", "a", ")"), "1"),
        (nested("abs(", "a", ")"), "1"),
        (nested("l.map(v, ", "v", ")"), "…"),
        ("t ? a : ".repeat(48) + "a", "1"),
        ("(t ? a : ".repeat(24) + "a" + &")".repeat(24), "1"),
    ] {
        let found = outcome(&text, record);
        match expected {
            "…" => assert!(
                !found.starts_with("error") && !found.starts_with("refused"),
                "{found}"
            ),
            _ => assert_eq!(found, expected, "{}…", &text[..20]),
        }
    }
}

fn assert_places_are_in_the_text(text: &str, errors: &[ExprError]) {
    for error in errors {
        assert!(
            text.get(error.range.clone()).is_some(),
            "{error:?} in {text:?}"
        );
    }
}

fn read_whatever_it_is(text: &str) {
    let expression = Expression::parse(text);
    assert_places_are_in_the_text(text, expression.errors());
    expression.constant();
    expression.paths();
    if let Err(errors) = expression.compile(&super::Fieldless) {
        assert!(!errors.is_empty());
        assert_places_are_in_the_text(text, &errors);
    }
    if let Ok(call) = Expression::parse_call(text) {
        assert_eq!(call.arguments.len(), call.ranges.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        read_whatever_it_is(&text);
    }

    #[test]
    fn no_heap_of_tokens_makes_the_reader_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "a", "b", "has", "exists", "map", "size", "in", "true", "null", "if", "math", "Point",
            "(", ")", "(", ")", "[", "]", "{", "}", ",", ".", "?", ":", "!", "-", "+", "*", "/", "%",
            "==", "!=", "<", "&&", "||", "=", "&", "1", "0x", "2.5", "5u", "1e", "9999999999999999999",
            "'x'", "\"ü\"", "r'\\'", "b'\\xff'", "'\\", "'''", "`b-c`", "`", "//", "\n", " ", "é", "\u{0}",
        ]), 0..16),
    ) {
        read_whatever_it_is(&tokens.concat());
        read_whatever_it_is(&tokens.join(" "));
    }
}
