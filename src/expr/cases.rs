//! What expressions give: tables of cases, by subject.
//!
//! `docs/EXPRESSIONS.md` has one more for every operator and function; `oracle.rs` compares with the
//! interpreter of the `cel` crate; `interface.rs` has what expressions tell about themselves, and
//! `refusals.rs` what is refused.

use super::testing::outcome;

/// Each case: expression, record, what comes of it.
#[track_caller]
fn check(cases: &[(&str, &str, &str)]) {
    for (expression, record, expected) in cases {
        let found = outcome(expression, record);
        assert_eq!(found, *expected, "{expression} over {record}");
    }
}

/// Each case: expression, what comes of it over the record.
#[track_caller]
fn check_over(record: &str, cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        assert_eq!(
            outcome(expression, record),
            *expected,
            "{expression} over {record}"
        );
    }
}

#[test]
fn arithmetic_of_ints_is_checked_at_the_ends() {
    check_over(
        r#"{"max": 9223372036854775807, "min": -9223372036854775808, "one": 1, "zero": 0}"#,
        &[
            ("max + one", "error: integer overflow in `+`"),
            ("min - one", "error: integer overflow in `-`"),
            ("max * 2", "error: integer overflow in `*`"),
            ("min / -1", "error: integer overflow in `/`"),
            ("min % -1", "error: integer overflow in `%`"),
            ("-min", "error: integer overflow in `-`"),
            ("abs(min)", "error: integer overflow in `abs`"),
            ("-max", "-9223372036854775807"),
            ("one / zero", "error: division by zero"),
            ("one % zero", "error: division by zero"),
            ("max + 0", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("0x7fffffffffffffff == max", "true"),
        ],
    );
}

#[test]
fn an_int_meeting_a_double_becomes_one() {
    check_over(
        r#"{"i": 3, "f": 0.5, "big": 9007199254740993}"#,
        &[
            ("i + f", "3.5"),
            ("f + i", "3.5"),
            ("i - f", "2.5"),
            ("i * f", "1.5"),
            ("i / f", "6.0"),
            ("i % f", "error: `%` does not take int and double"),
            ("i + 1", "4"),
            ("i + 1.0", "4.0"),
            ("i == 3.0", "true"),
            ("i < 3.5", "true"),
            ("3.5 > i", "true"),
            ("i != 3.5", "true"),
            // As in CEL's other libraries, the int is rounded for the comparison.
            ("big == 9007199254740992.0", "true"),
            ("i in [1.0, 3.0]", "true"),
            ("[i] == [3.0]", "true"),
            ("min(i, 2.5)", "2.5"),
        ],
    );
}

#[test]
fn doubles_are_those_of_ieee_754() {
    check_over(
        r#"{"zero": 0.0, "one": 1.0}"#,
        &[
            ("one / zero > 1e308", "true"),
            ("-one / zero < -1e308", "true"),
            ("zero / zero == zero / zero", "false"),
            ("zero / zero != zero / zero", "true"),
            ("zero / zero < one", "false"),
            ("zero / zero >= one", "false"),
            ("int(one / zero)", "error: integer overflow in `int`"),
            ("int(zero / zero)", "error: integer overflow in `int`"),
            ("string(one / zero)", r#""inf""#),
            // JSON has no such number.
            ("one / zero", "null"),
        ],
    );
}

#[test]
fn arithmetic_refuses_other_types() {
    check_over(
        r#"{"s": "a", "b": true, "n": null, "l": [1], "m": {"x": 1}, "i": 1}"#,
        &[
            ("s + i", "error: `+` does not take string and int"),
            ("i + s", "error: `+` does not take int and string"),
            ("b + i", "error: `+` does not take bool and int"),
            ("n + i", "error: `+` does not take null and int"),
            ("m + m", "error: `+` does not take map and map"),
            ("s - s", "error: `-` does not take string and string"),
            ("l - l", "error: `-` does not take list and list"),
            ("s * 2", "error: `*` does not take string and int"),
            ("s / 2", "error: `/` does not take string and int"),
            ("s % 2", "error: `%` does not take string and int"),
            ("-s", "error: `-` does not take string"),
            ("s + s", r#""aa""#),
            ("l + l", "[1,1]"),
            ("b'x' + b'y' == b'xy'", "true"),
        ],
    );
}

#[test]
fn equality_never_fails() {
    check_over(
        r#"{"s": "1", "i": 1, "f": 1.5, "b": true, "n": null, "l": [1, "a"], "m": {"x": 1, "y": [2]}}"#,
        &[
            ("s == i", "false"),
            ("s != i", "true"),
            ("b == i", "false"),
            ("n == null", "true"),
            ("n == i", "false"),
            ("i == null", "false"),
            ("l == [1, 'a']", "true"),
            ("l == [1]", "false"),
            ("l == ['a', 1]", "false"),
            ("m == {'y': [2.0], 'x': 1}", "true"),
            ("m == {'x': 1}", "false"),
            ("m == {'x': 1, 'z': [2]}", "false"),
            ("m == l", "false"),
            ("f == 1.5", "true"),
        ],
    );
}

#[test]
fn order_is_only_between_the_same_types() {
    check_over(
        r#"{"s": "b", "i": 1, "b": true, "n": null, "l": [1]}"#,
        &[
            ("s < 'c' && s > 'a' && s <= 'b' && s >= 'b'", "true"),
            // By code point: capitals first, then what is not ASCII.
            ("'Z' < 'a' && 'z' < s + 'é' || 'z' < 'é'", "true"),
            ("i < 2 && i <= 1 && i > 0 && i >= 1", "true"),
            ("b > false", "true"),
            ("b'a' < b'b'", "true"),
            ("s < i", "error: `<` does not take string and int"),
            ("n <= n", "error: `<=` does not take null and null"),
            ("l > l", "error: `>` does not take list and list"),
            ("b >= i", "error: `>=` does not take bool and int"),
        ],
    );
}

#[test]
fn one_side_of_a_condition_decides_even_if_the_other_fails() {
    check_over(
        r#"{"yes": true, "no": false, "i": 1}"#,
        &[
            ("no && missing", "false"),
            ("missing && no", "false"),
            ("yes && missing", "error: no such field `missing`"),
            ("missing && yes", "error: no such field `missing`"),
            ("missing && absent", "error: no such field `missing`"),
            ("yes || missing", "true"),
            ("missing || yes", "true"),
            ("no || missing", "error: no such field `missing`"),
            ("missing || no", "error: no such field `missing`"),
            ("i && no", "false"),
            ("i || yes", "true"),
            ("i && yes", "error: expected a bool, found int"),
            ("yes && i", "error: expected a bool, found int"),
            ("no || i", "error: expected a bool, found int"),
            ("!i", "error: expected a bool, found int"),
            ("!missing", "error: no such field `missing`"),
            ("!yes", "false"),
            ("!!yes", "true"),
            ("yes ? 1 : missing", "1"),
            ("no ? missing : 2", "2"),
            ("missing ? 1 : 2", "error: no such field `missing`"),
            ("i ? 1 : 2", "error: expected a bool, found int"),
            ("no ? 1 : no ? 2 : 3", "3"),
        ],
    );
}

#[test]
fn what_is_missing_or_null_is_absent() {
    check_over(
        r#"{"n": null, "m": {"n": null, "x": 1, "deep": {"y": 2}}, "s": "a", "l": [{"a": 1}, {"a": null}, {}]}"#,
        &[
            ("has(n)", "false"),
            ("has(gone)", "false"),
            ("has(s)", "true"),
            ("has(m.n)", "false"),
            ("has(m.x)", "true"),
            ("has(m['x'])", "true"),
            ("has(m.gone)", "false"),
            ("has(m.deep.y)", "true"),
            ("has(m.gone.y)", "false"),
            ("has(gone.gone.gone)", "false"),
            ("has(m.n) || m.n == null", "true"),
            ("m.gone == null", "error: no such field `m.gone`"),
            ("n.x == 1", "error: no such field `n.x`"),
            ("gone", "missing"),
            ("(gone)", "missing"),
            ("[gone]", "error: no such field `gone`"),
            ("l.map(e, has(e.a))", "[true,false,false]"),
            ("l.map(e, has(e))", "[true,true,true]"),
            ("has(l[0].a)", "true"),
            ("has(l[2].a)", "false"),
            ("has(l[3].a)", "error: position 3 is outside of 3 elements"),
            ("has({'a': 1}.a)", "true"),
            ("l[2].a == 1", "error: no such field `a`"),
        ],
    );
}

#[test]
fn words_that_cel_only_reserves_are_names() {
    check_over(
        r#"{"namespace": 4, "package": {"import": "x"}, "for": [1, 2], "as": true}"#,
        &[
            ("namespace == 4 && namespace in [0, 4]", "true"),
            ("package.import + 'y'", r#""xy""#),
            ("has(package.import) && has(namespace)", "true"),
            ("for.map(while, while + namespace)", "[5,6]"),
            ("as ? 'namespace' : ''", r#""namespace""#),
            ("{'namespace': namespace}.namespace", "4"),
        ],
    );
}

#[test]
fn coalesce_gives_the_first_that_is_there() {
    check_over(
        r#"{"n": null, "m": {"x": 1}, "s": "a", "l": []}"#,
        &[
            ("coalesce(s)", r#""a""#),
            ("coalesce(gone, n, s, 'b')", r#""a""#),
            ("coalesce(gone, n)", "null"),
            ("coalesce(m.gone.gone, m.x)", "1"),
            ("coalesce(m.x - m.gone, 7)", "7"),
            ("coalesce(l[0], 7)", "7"),
            ("coalesce({'a': 1}['b' + string(n == null)], 7)", "7"),
            // What is wrong, rather than absent, stays wrong.
            (
                "coalesce(s - 1, 7)",
                "error: `-` does not take string and int",
            ),
            ("coalesce(m.x / 0, 7)", "error: division by zero"),
            ("coalesce(gone, false) ? 1 : 2", "2"),
        ],
    );
}

#[test]
fn membership_is_that_of_lists_and_of_names_in_maps() {
    check_over(
        r#"{"s": "b", "i": 2, "l": ["a", 2, null], "m": {"b": 1}, "n": null}"#,
        &[
            ("s in ['a', 'b']", "true"),
            ("s in ['a', 'c']", "false"),
            ("s in []", "false"),
            (
                "s in ['1', '2', '3', '4', '5', '6', '7', '8', '9', 'b']",
                "true",
            ),
            (
                "s in ['1', '2', '3', '4', '5', '6', '7', '8', '9', 'c']",
                "false",
            ),
            ("i in ['a', 'b']", "false"),
            ("i in [1, 2, 3]", "true"),
            ("n in [null]", "true"),
            ("n in ['a']", "false"),
            ("i in l", "true"),
            ("s in l", "false"),
            ("[1] in [[1], [2]]", "true"),
            ("s in m", "true"),
            ("i in m", "false"),
            ("s in {'b': 1}", "true"),
            ("s in s", "error: `in` does not take string and string"),
            ("gone in ['a']", "error: no such field `gone`"),
        ],
    );
}

#[test]
fn indexing_finds_items_and_names() {
    check_over(
        r#"{"l": ["a", "b"], "m": {"a b": {"c": 1}}, "i": 1, "f": 1.0, "h": 0.5, "s": "a b"}"#,
        &[
            ("l[0]", r#""a""#),
            ("l[i]", r#""b""#),
            ("l[f]", r#""b""#),
            ("l[h]", "error: `[]` does not take list and double"),
            ("l[-i]", "error: position -1 is outside of 2 elements"),
            ("l['a']", "missing"),
            ("l[s]", "error: `[]` does not take list and string"),
            ("m['a b'].c", "1"),
            ("m[s].c", "1"),
            ("m[s]['c']", "1"),
            ("m['x' + s]", "error: no such key `xa b`"),
            ("m[i]", "error: `[]` does not take map and int"),
            ("s[0]", "error: `[]` does not take string and int"),
            ("[[1, 2], [3]][0][i]", "2"),
        ],
    );
}

#[test]
fn macros_go_through_lists_and_the_names_of_maps() {
    check_over(
        r#"{"l": [1, 2, 3], "e": [], "m": {"a": 1, "b": 2}, "s": "x", "x": 9, "mix": [1, "a"]}"#,
        &[
            ("l.exists(v, v == 2)", "true"),
            ("l.exists(v, v == 9)", "false"),
            ("e.exists(v, true)", "false"),
            ("l.all(v, v > 0)", "true"),
            ("l.all(v, v > 1)", "false"),
            ("e.all(v, false)", "true"),
            ("l.exists_one(v, v > 2)", "true"),
            ("l.existsOne(v, v > 1)", "false"),
            ("l.filter(v, v % 2 == 1)", "[1,3]"),
            ("l.map(v, v * v)", "[1,4,9]"),
            ("l.map(v, v > 1, v * v)", "[4,9]"),
            ("m.map(k, m[k])", "[1,2]"),
            ("m.exists(k, k == 'b')", "true"),
            (
                "s.exists(v, true)",
                "error: `exists, all, filter or map` does not take string",
            ),
            // Variables hide fields, and each other.
            ("l.map(x, x)", "[1,2,3]"),
            ("l.map(x, l.map(x, x * 2))", "[[2,4,6],[2,4,6],[2,4,6]]"),
            (
                "l.map(a, l.map(b, l.map(c, a * 100 + b * 10 + c)))[2][1][0]",
                "321",
            ),
            ("l.map(a, x)", "[9,9,9]"),
            // An error counts only when no item decides.
            ("mix.exists(v, v > 0)", "true"),
            (
                "mix.exists(v, v > 5)",
                "error: `>` does not take string and int",
            ),
            ("mix.all(v, v > 5)", "false"),
            (
                "mix.all(v, v > 0)",
                "error: `>` does not take string and int",
            ),
            (
                "mix.exists_one(v, v > 0)",
                "error: `>` does not take string and int",
            ),
            (
                "mix.filter(v, v > 0)",
                "error: `>` does not take string and int",
            ),
            (
                "mix.map(v, v + 1)",
                "error: `+` does not take string and int",
            ),
            ("l.exists(v, v)", "error: expected a bool, found int"),
        ],
    );
}

#[test]
fn text_functions_count_code_points() {
    check_over(
        r#"{"s": "aß😀b", "e": "", "i": 5}"#,
        &[
            ("s.size()", "4"),
            ("size(s)", "4"),
            ("e.size()", "0"),
            ("s.indexOf('b')", "3"),
            ("s.indexOf('')", "0"),
            ("s.indexOf('', 9)", "4"),
            ("s.indexOf('x')", "-1"),
            ("s.indexOf('a', 1)", "-1"),
            (
                "s.indexOf('a', 4)",
                "error: position 4 is outside of 4 elements",
            ),
            (
                "s.indexOf('a', -1)",
                "error: position -1 is outside of 4 elements",
            ),
            ("s.substring(1)", r#""ß😀b""#),
            ("s.substring(4)", r#""""#),
            ("s.substring(1, 3)", r#""ß😀""#),
            ("s.substring(2, 2)", r#""""#),
            (
                "s.substring(i)",
                "error: position 5 is outside of 4 elements",
            ),
            (
                "s.substring(0, i)",
                "error: position 5 is outside of 4 elements",
            ),
            (
                "s.substring(3, 1)",
                "error: position 3 is outside of 1 elements",
            ),
            (
                "s.substring(-1)",
                "error: position -1 is outside of 4 elements",
            ),
            ("s.split('')", r#"["a","ß","😀","b"]"#),
            ("s.split('', 2)", r#"["a","ß😀b"]"#),
            ("s.split('x')", r#"["aß😀b"]"#),
            ("s.split('ß', 0)", "[]"),
            ("s.split('ß', 1)", r#"["aß😀b"]"#),
            ("s.split('ß', -1)", r#"["a","😀b"]"#),
            ("e.split(',')", r#"[""]"#),
            ("s.replace('', '-', 2)", r#""-a-ß😀b""#),
            ("s.replace('a', '', 0)", r#""aß😀b""#),
            ("s.upper()", r#""ASS😀B""#),
            ("s.upperAscii()", r#""Aß😀B""#),
            ("[s, 'x'].join(', ')", r#""aß😀b, x""#),
            ("[].join(',')", r#""""#),
            ("[s, i].join(',')", "error: `join` does not take int"),
            (
                "i.contains('a')",
                "error: `contains` does not take int and string",
            ),
            (
                "s.contains(i)",
                "error: `contains` does not take string and int",
            ),
            (
                "i.matches('a')",
                "error: `matches` does not take int and string",
            ),
            ("s.matches('^a.*b$') && !s.matches('^b')", "true"),
            ("matches(s, 'ß')", "true"),
        ],
    );
}

#[test]
fn editors_without_an_account_are_recognised() {
    for (user, is_ip, is_temp) in [
        ("192.0.2.7", true, false),
        ("2001:DB8:0:0:0:0:0:1", true, false),
        ("2001:db8::1", true, false),
        ("::ffff:192.0.2.7", true, false),
        ("192.0.2", false, false),
        ("192.0.2.256", false, false),
        ("1.2.3.4/24", false, false),
        ("Ann", false, false),
        ("", false, false),
        ("~2025-12345-6", false, true),
        ("~2025-1", false, true),
        ("~2025-", false, true),
        ("~2025", false, false),
        ("~202a-1", false, false),
        ("~20255-1", false, false),
        (" ~2025-1", false, false),
        ("2025-1", false, false),
    ] {
        let record = format!(r#"{{"user": "{user}"}}"#);
        assert_eq!(outcome("is_ip(user)", &record), is_ip.to_string(), "{user}");
        assert_eq!(
            outcome("is_temp_account(user)", &record),
            is_temp.to_string(),
            "{user}"
        );
        assert_eq!(
            outcome(r"user.matches(r'^~\d{4}-')", &record),
            is_temp.to_string(),
            "{user}"
        );
    }
}

/// Computed by Python, whose `hash` is SipHash-1-3 too when PYTHONHASHSEED is 0.
#[test]
fn a_hash_is_the_same_for_ever() {
    check_over(
        "{}",
        &[
            ("hash('Ann')", "9511036384671113"),
            ("hash('Köln')", "4279907557880784989"),
            ("hash(bytes('Ann')) == hash('Ann')", "true"),
        ],
    );
}

#[test]
fn conversions_read_what_cel_reads() {
    check_over(
        r#"{"t": "true", "i": 3, "f": -2.5, "b": true, "n": null, "big": 1e19, "s": "x", "l": []}"#,
        &[
            ("int(f)", "-2"),
            ("int(big)", "error: integer overflow in `int`"),
            ("int(b)", "error: `int` does not take bool"),
            ("int(n)", "error: `int` does not take null"),
            ("int(s)", r#"error: expected a whole number, found "x""#),
            ("int('+5') + int('-5')", "0"),
            ("double(i)", "3.0"),
            ("double('1e3')", "1000.0"),
            ("double(s)", r#"error: expected a number, found "x""#),
            ("string(f)", r#""-2.5""#),
            ("string(3.0)", r#""3""#),
            ("string(b)", r#""true""#),
            ("string(s)", r#""x""#),
            ("string(b'ab')", r#""ab""#),
            ("string(duration('-0.5s'))", r#""-0.5s""#),
            ("string(n)", "error: `string` does not take null"),
            ("string(l)", "error: `string` does not take list"),
            ("bool(t) && bool('1') && !bool('f')", "true"),
            ("bool(s)", r#"error: expected true or false, found "x""#),
            ("bool(i)", "error: `bool` does not take int"),
            (
                "timestamp(s)",
                r#"error: expected an RFC 3339 time, found "x""#,
            ),
            ("timestamp(i)", r#""1970-01-01T00:00:03Z""#),
            (
                "timestamp(9223372036854775807 - i)",
                "error: a time outside of the years 1 to 9999",
            ),
            ("timestamp(253402207197 + i)", r#""9999-12-30T22:00:00Z""#),
            (
                "timestamp(253402207198 + i)",
                "error: a time outside of the years 1 to 9999",
            ),
            (
                "duration(s)",
                r#"error: expected a duration such as 1h30m or 1.5s, found "x""#,
            ),
            (
                "type_of(n) + type_of(i) + type_of(f) + type_of(l)",
                r#""nullintdoublelist""#,
            ),
            ("dyn(i) == 's'", "false"),
        ],
    );
}

#[test]
fn times_and_durations_are_computed_with() {
    check_over(
        r#"{"a": "2026-05-05T11:17:40.5Z", "b": "2026-05-04T23:30:00Z", "end": "9999-12-30T22:00:00Z"}"#,
        &[
            ("timestamp(a) - timestamp(b)", r#""42460.5s""#),
            (
                "timestamp(a) - duration('500ms')",
                r#""2026-05-05T11:17:40Z""#,
            ),
            ("duration('1h') + timestamp(b)", r#""2026-05-05T00:30:00Z""#),
            ("duration('1h') - duration('90m')", r#""-1800s""#),
            ("duration('1h') == duration('60m')", "true"),
            ("timestamp(a) > timestamp(b)", "true"),
            (
                "timestamp(end) + duration('1s')",
                "error: a time outside of the years 1 to 9999",
            ),
            ("timestamp(b).getDate('Europe/Berlin')", "5"),
            ("timestamp(b).getHours('Asia/Kolkata')", "5"),
            ("timestamp(b).getMinutes('-00:45')", "45"),
            ("timestamp(b).getHours('')", "23"),
            ("timestamp(a).getMilliseconds()", "500"),
            ("(timestamp(a) - timestamp(b)).getHours()", "11"),
            ("(timestamp(a) - timestamp(b)).getSeconds()", "42460"),
            (
                "(timestamp(a) - timestamp(b)).getMilliseconds()",
                "42460500",
            ),
            ("a.getHours()", "error: `getHours` does not take string"),
            (
                "dyn(duration('1h')).getDate()",
                "refused: [dyn(duration('1h')).getDate()] this always fails: `getDate` does not take duration",
            ),
        ],
    );
}

#[test]
fn the_least_and_the_greatest_keep_their_type() {
    check_over(
        r#"{"i": 2, "f": 2.0, "s": "b", "e": [], "l": [3, 1.5, 2]}"#,
        &[
            ("min(l)", "1.5"),
            ("max(l)", "3"),
            ("max(i, f)", "2"),
            ("max(f, i)", "2.0"),
            ("greatest(i, 3, 1)", "3"),
            ("math.least(i, 3, 1)", "1"),
            ("min(s, 'a')", r#""a""#),
            (
                "max(timestamp(i), timestamp(1))",
                r#""1970-01-01T00:00:02Z""#,
            ),
            ("min(e)", "error: `min` of an empty list"),
            ("min(i, s)", "error: `min` does not take string and int"),
            ("ceil(1.5) + floor(1.5) + round(-1.5)", "1.0"),
            ("abs(-1.5)", "1.5"),
            ("round(s)", "error: `round` does not take string"),
        ],
    );
}

/// Examples of RFC 4648.
#[test]
fn bytes_are_written_in_base64() {
    check(&[
        ("base64.encode('')", "{}", r#""""#),
        ("base64.encode('f')", "{}", r#""Zg==""#),
        ("base64.encode(b'foobar')", "{}", r#""Zm9vYmFy""#),
        ("base64.encode(s)", r#"{"s": "ü"}"#, r#""w7w=""#),
        (r"base64.encode(b'\xfb\xff')", "{}", r#""+/8=""#),
        (
            "base64.encode(s)",
            r#"{"s": 5}"#,
            "error: `base64.encode` does not take int",
        ),
    ]);
}

#[test]
fn json_keeps_order_and_escapes() {
    check(&[
        (
            "json(a)",
            r#"{"a": {"z": [1, 2.0, null, true], "a": "\"ü\u0001"}}"#,
            r#""{\"z\":[1,2.0,null,true],\"a\":\"\\\"ü\\u0001\"}""#,
        ),
        (
            "json({'t': timestamp(0), 'd': duration('90s'), 'b': b'x'})",
            "{}",
            r#""{\"t\":\"1970-01-01T00:00:00Z\",\"d\":\"90s\",\"b\":\"x\"}""#,
        ),
        (
            "json(b'\\xff' + bytes(s))",
            r#"{"s": ""}"#,
            "error: `json`: the bytes are not UTF-8",
        ),
    ]);
}
