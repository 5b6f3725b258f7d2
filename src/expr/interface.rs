//! What expressions and evaluators tell about themselves, and what they see of a record.

use bumpalo::Bump;

use super::testing::{Record, row};
use super::{Constant, EvalError, Evaluator, Expression, Row, Scope};
use crate::time::Timestamp;
use crate::value::{FieldPath, Slot, Value, ValueType};

#[test]
fn a_record_without_key_or_value_has_null_for_them() {
    let arena = Bump::new();
    let with = |key, raw| Row {
        key,
        raw,
        ..row(&[], &arena)
    };
    let eval = |text: &str, row: &Row<'_, '_>| {
        let expression = Expression::parse(text);
        let record = Record::for_expression(&expression, "{}");
        expression
            .compile(&record)
            .unwrap()
            .eval(row)
            .map(Constant::of)
    };
    let text = |text: &str| Ok(Constant::Str(text.to_owned()));
    assert_eq!(eval("record_key()", &with(Some(b"k"), None)), text("k"));
    assert_eq!(eval("record_key()", &with(None, None)), Ok(Constant::Null));
    assert_eq!(
        eval("record_key()", &with(Some(b"\xff"), None)),
        Err(EvalError::NotUtf8("record_key"))
    );
    assert_eq!(eval("raw()", &with(None, Some(b"{ }"))), text("{ }"));
    assert_eq!(eval("raw()", &with(None, None)), Ok(Constant::Null));
    assert_eq!(
        eval("record_timestamp()", &with(None, None)),
        Ok(Constant::Time(Timestamp(1_777_979_860_822)))
    );
}

#[test]
fn a_condition_wants_a_bool_where_a_value_need_not_be_one() {
    let arena = Bump::new();
    let test = |text: &str, json: &str| {
        let expression = Expression::parse(text);
        let record = Record::for_expression(&expression, json);
        let fields = record.fields(&arena);
        expression
            .compile(&record)
            .unwrap()
            .test(&row(&fields, &arena))
    };
    assert_eq!(test("bot", r#"{"bot": true}"#), Ok(true));
    assert_eq!(test("bot", r#"{"bot": 1}"#), Err(EvalError::NotBool("int")));
    assert_eq!(
        test("bot", r#"{"bot": null}"#),
        Err(EvalError::NotBool("null"))
    );
    assert_eq!(
        test("bot", "{}"),
        Err(EvalError::NoSuchField(FieldPath::new("bot")))
    );
    assert_eq!(test("bot == 1", r#"{"bot": 1}"#), Ok(true));
}

#[test]
fn an_expression_knows_the_fields_that_it_touches() {
    let paths = |text: &str| {
        let paths = Expression::parse(text).paths();
        paths
            .iter()
            .map(FieldPath::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (text, expected) in [
        (
            "type in ['edit', 'new'] && meta.domain != 'canary'",
            "type meta.domain",
        ),
        (
            "has(length.old) ? length.new - length.old : length.new",
            "length.old length.new",
        ),
        ("has(user)", "user"),
        ("(meta).dt", "meta.dt"),
        ("meta['x y'].z", "meta.x y.z"),
        ("meta[name]", "meta name"),
        ("tags[0].name", "tags"),
        ("tags.exists(t, t.name == wiki)", "tags wiki"),
        ("tags.exists(wiki, wiki == 'x') && wiki == 'y'", "tags wiki"),
        ("{name: value}", "name value"),
        ("coalesce(a.b, c)", "a.b c"),
        ("math.abs(a)", "a"),
        ("json(meta)", "meta"),
        ("-a + !b ? [c] : d.e.f()", "a b c d.e"),
        ("record_key() + 'a'", ""),
        ("1 +", ""),
    ] {
        assert_eq!(paths(text), expected, "{text}");
    }
}

#[test]
fn an_expression_knows_whether_it_is_a_field_or_a_constant() {
    let field = |text: &str| Expression::parse(text).field().map(|path| path.to_string());
    assert_eq!(field("meta.dt").as_deref(), Some("meta.dt"));
    assert_eq!(field(" (meta).dt ").as_deref(), Some("meta.dt"));
    assert_eq!(field("meta.dt + ''"), None);
    assert_eq!(field("'meta'"), None);
    assert_eq!(field("a[0]"), None);
    let constant = |text: &str| Expression::parse(text).constant();
    assert_eq!(constant("10"), Some(Constant::Int(10)));
    assert_eq!(constant("-0.95"), Some(Constant::Float(-0.95)));
    assert_eq!(constant("'a' + 'b'"), Some(Constant::Str("ab".to_owned())));
    assert_eq!(
        constant("duration('5m')"),
        Some(Constant::Duration(300_000))
    );
    assert_eq!(
        constant("[1, null]"),
        Some(Constant::List(vec![Constant::Int(1), Constant::Null]))
    );
    assert_eq!(constant("title"), None);
    assert_eq!(constant("1 / 0"), None);
    assert_eq!(constant("record_offset()"), None);
    assert_eq!(constant("5u"), None);
}

#[test]
fn a_call_is_read_with_its_arguments_in_place() {
    let text = " top(10, title) ";
    let call = Expression::parse_call(text).unwrap();
    assert_eq!(call.name, "top");
    assert_eq!(call.arguments[0].constant(), Some(Constant::Int(10)));
    assert_eq!(call.arguments[1].field(), Some(FieldPath::new("title")));
    let parts: Vec<&str> = call
        .ranges
        .iter()
        .map(|range| &text[range.clone()])
        .collect();
    assert_eq!(parts, ["10", "title"]);
    assert_eq!(Expression::parse_call("count()").unwrap().arguments, []);

    let text = "count_if(type == )";
    let call = Expression::parse_call(text).unwrap();
    let error = call.arguments[0].errors()[0]
        .clone()
        .moved_by(call.ranges[0].start);
    assert_eq!((&text[error.range.clone()], error.range.start), ("", 16));
    let error = |text| Expression::parse_call(text).unwrap_err().to_string();
    assert_eq!(
        error("count"),
        "expected one call of a function (such as `count()` or `sum(x)`; what is computed from results goes into a `map` behind the aggregate)"
    );
    assert_eq!(
        error("sum(a) + 1"),
        "expected one call of a function (such as `count()` or `sum(x)`; what is computed from results goes into a `map` behind the aggregate)"
    );
    assert_eq!(error("sum(a"), "this `(` is not closed");
    assert_eq!(error("sum(a = b)"), "unexpected `=` (`==` compares)");
}

#[test]
fn types_are_known_as_far_as_the_fields_are() {
    use ValueType::{Any, Bool, Duration, Float, Int, List, Map, Str, Time};
    let types = [
        ("wiki", Str),
        ("bot", Bool),
        ("id", Int),
        ("score", Float),
        ("at", Time),
        ("tags", List),
        ("meta", Map),
        ("x", Any),
    ];
    for (text, expected) in [
        ("wiki", Str),
        ("id + 1", Int),
        ("id + score", Float),
        ("x + 1", Any),
        ("x + 1.5", Float),
        ("x + wiki", Str),
        ("at - at", Duration),
        ("at + (at - at)", Time),
        ("x && x", Bool),
        ("x == wiki", Bool),
        ("wiki in tags", Bool),
        ("bot ? id : id", Int),
        ("bot ? id : score", Any),
        ("bot ? id : null", Any),
        ("-id", Int),
        ("tags + x", List),
        ("tags[0]", Any),
        ("meta.a", Any),
        ("{'a': 1}", Map),
        ("tags.map(t, t)", List),
        ("tags.all(t, t == 1)", Bool),
        ("size(x)", Int),
        ("abs(id)", Int),
        ("abs(x)", Any),
        ("max(id, 1)", Int),
        ("max(id, 1.5)", Any),
        ("max(tags)", Any),
        ("coalesce(id, 0)", Int),
        ("coalesce(tags, [])", List),
        ("coalesce(x, 0)", Any),
        ("dyn(id)", Any),
        ("timestamp(x)", Time),
        ("raw()", Str),
        ("1 + 1", Int),
    ] {
        let expression = Expression::parse(text);
        let record = Record::for_expression(&expression, "{}").with_types(&types);
        assert_eq!(
            expression.compile(&record).unwrap().result_type(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_declared_type_that_a_record_does_not_have_is_an_error_and_no_more() {
    let text = "id + 1 > 5 && wiki.startsWith('en')";
    let types = [("id", ValueType::Int), ("wiki", ValueType::Str)];
    let expression = Expression::parse(text);
    let arena = Bump::new();
    let record =
        Record::for_expression(&expression, r#"{"id": "x", "wiki": "enwiki"}"#).with_types(&types);
    let fields = record.fields(&arena);
    let found = expression
        .compile(&record)
        .unwrap()
        .eval(&row(&fields, &arena));
    assert_eq!(
        found.unwrap_err().to_string(),
        "`+` does not take string and int"
    );
}

#[test]
fn a_field_within_a_map_that_is_known_is_found_there() {
    struct Computed;
    impl Scope for Computed {
        fn resolve(&self, path: &FieldPath) -> Option<(Slot, ValueType)> {
            (path.as_str() == "made").then_some((Slot(0), ValueType::Map))
        }

        fn known(&self) -> Vec<FieldPath> {
            vec![FieldPath::new("made")]
        }
    }
    let arena = Bump::new();
    let inner = [("b", Value::Int(5))];
    let entries = [("a", Value::Map(&inner))];
    let eval = |text: &str| {
        let fields = [Value::Map(&entries)];
        let evaluator = Expression::parse(text).compile(&Computed).unwrap();
        evaluator
            .eval(&row(&fields, &arena))
            .map(Constant::of)
            .map_err(|error| error.to_string())
    };
    assert_eq!(eval("made.a.b + 1"), Ok(Constant::Int(6)));
    assert_eq!(
        eval("has(made.a.b) && !has(made.a.c) && !has(made.x.y)"),
        Ok(Constant::Bool(true))
    );
    assert_eq!(
        eval("made.a.c + 1"),
        Err("no such field `made.a.c`".to_owned())
    );
    assert_eq!(
        eval("made.a.b.c + 1"),
        Err("`.` does not take int".to_owned())
    );
}

#[test]
fn expressions_and_evaluators_can_be_shared_among_threads() {
    fn shared<T: Send + Sync + Clone + std::fmt::Debug>() {}
    shared::<Expression>();
    shared::<Evaluator>();
    // What is returned per record stays small.
    assert!(size_of::<Result<Value<'_>, EvalError>>() <= 32);
}
