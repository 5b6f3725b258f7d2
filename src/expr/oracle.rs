//! Random expressions over random records: compiled code and the interpreter of the `cel` crate
//! give the same values, and have none for the same records.
//!
//! The generator keeps to what both mean alike. Left out, since Tidemill differs knowingly
//! (`docs/EXPRESSIONS.md` says how): `has` of a plain field or of null, arithmetic between int and
//! double, functions of numbers over ints that CEL has for doubles only, order between texts by
//! `min` and `max`, and expressions that are nothing but a missing field. No double is divided by 0,
//! since comparisons with NaN are false here, as the specification says, where the crate has an
//! error. Expressions are well typed but for the record: what could never work is refused
//! beforehand, and is tested in `cases.rs`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use bumpalo::Bump;
use proptest::prelude::*;

use super::testing::row;
use super::{EvalError, Evaluator, Expression, Scope};
use crate::value::{FieldPath, Slot, Value, ValueType};

/// The fields of every record. Those within `m` may be missing, the others may be null.
const FIELDS: [&str; 14] = [
    "b", "c", "i", "j", "x", "y", "s", "u", "l", "t", "m.b", "m.i", "m.s", "m.l",
];

/// The value of a field, missing ones aside.
#[derive(Clone, Debug)]
enum Field {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'static str),
    List(Vec<Field>),
}

type Record = [Option<Field>; FIELDS.len()];

fn text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "", "a", "b", "ab", "abab", "Üb", " a ", "1", "-7", "true", "1e3",
    ])
}

fn texts() -> impl Strategy<Value = Field> {
    prop::collection::vec(text().prop_map(Field::Text), 0..4).prop_map(Field::List)
}

/// Now and then a value of another type, or null; never a number in the place of the other kind.
fn or_wrong(right: impl Strategy<Value = Field> + 'static) -> BoxedStrategy<Option<Field>> {
    let wrong = prop_oneof![
        Just(Field::Null),
        any::<bool>().prop_map(Field::Bool),
        text().prop_map(Field::Text),
        texts(),
    ];
    prop_oneof![12 => right, 1 => wrong].prop_map(Some).boxed()
}

fn or_missing(field: BoxedStrategy<Option<Field>>) -> BoxedStrategy<Option<Field>> {
    // A null within `m` would be there for CEL's `has`, and is not for ours.
    let there = field.prop_map(|field| field.filter(|field| !matches!(field, Field::Null)));
    prop_oneof![3 => there, 1 => Just(None)].boxed()
}

fn record() -> impl Strategy<Value = Record> {
    let flag = || or_wrong(any::<bool>().prop_map(Field::Bool));
    let int = || {
        let extreme = prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX]);
        or_wrong(prop_oneof![8 => -5_i64..6, 1 => extreme].prop_map(Field::Int))
    };
    let float = || {
        let numbers = vec![0.0, 0.5, -1.5, 2.0, 1e18, -1e19];
        or_wrong(prop::sample::select(numbers).prop_map(Field::Float))
    };
    let text = || or_wrong(text().prop_map(Field::Text));
    let list = || or_wrong(texts());
    let seconds = or_wrong((0_i64..2_000_000_000).prop_map(Field::Int));
    [
        flag(),
        flag(),
        int(),
        int(),
        float(),
        float(),
        text(),
        text(),
        list(),
        seconds,
        or_missing(flag()),
        or_missing(int()),
        or_missing(text()),
        or_missing(list()),
    ]
}

/// Expressions by their type (as long as the record's fields have theirs), up to some depth.
#[derive(Clone)]
struct Level {
    flag: BoxedStrategy<String>,
    int: BoxedStrategy<String>,
    float: BoxedStrategy<String>,
    text: BoxedStrategy<String>,
    list: BoxedStrategy<String>,
}

fn one_of(texts: &[&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(texts.to_vec())
        .prop_map(str::to_owned)
        .boxed()
}

/// The pattern with each `#` replaced by one of the parts.
fn fill<const N: usize>(
    pattern: &'static str,
    parts: [&BoxedStrategy<String>; N],
) -> BoxedStrategy<String> {
    parts
        .map(Clone::clone)
        .prop_map(move |parts| {
            let mut pieces = pattern.split('#');
            let mut text = pieces.next().unwrap_or_default().to_owned();
            for (part, piece) in parts.iter().zip(pieces) {
                text.push_str(part);
                text.push_str(piece);
            }
            text
        })
        .boxed()
}

impl Level {
    fn leaves() -> Level {
        Level {
            flag: one_of(&[
                "true", "false", "b", "c", "m.b", "has(m.b)", "has(m.i)", "i == s", "l != u",
            ]),
            int: one_of(&["0", "1", "2", "(-3)", "i", "j", "m.i", "m['i']"]),
            float: one_of(&["0.5", "2.0", "(-1.5)", "x", "y"]),
            text: one_of(&["''", "'a'", "'b'", "'ab'", "'Ü'", "s", "u", "m.s"]),
            list: one_of(&["l", "m.l", "['a', 'b']", "[s, u]", "[]"]),
        }
    }

    fn above(self) -> Level {
        let Level {
            flag: b,
            int: i,
            float: x,
            text: s,
            list: l,
        } = &self;
        let any_of =
            |patterns: Vec<BoxedStrategy<String>>| prop::strategy::Union::new(patterns).boxed();
        let flag = any_of(vec![
            b.clone(),
            fill("!(#)", [b]),
            fill("(# && #)", [b, b]),
            fill("(# || #)", [b, b]),
            fill("(# ? # : #)", [b, b, b]),
            fill("(# == #)", [b, b]),
            fill("(# == #)", [i, i]),
            fill("(# != #)", [i, x]),
            fill("(# < #)", [i, i]),
            fill("(# <= #)", [x, i]),
            fill("(# > #)", [x, x]),
            fill("(# >= #)", [s, s]),
            fill("(# == #)", [s, s]),
            fill("(# == #)", [l, l]),
            fill("#.contains(#)", [s, s]),
            fill("#.startsWith(#)", [s, s]),
            fill("#.endsWith(#)", [s, s]),
            fill("#.matches('^a|b$')", [s]),
            fill("(# in ['a', 'b', 'ab'])", [s]),
            fill("(# in [0, 1, 2.0])", [i]),
            fill("(# in #)", [s, l]),
            fill("#.exists(v, v == # || #)", [l, s, b]),
            fill("#.all(v, v != # && #)", [l, s, b]),
            fill("#.exists_one(v, v.startsWith(#))", [l, s]),
            fill("(timestamp(t) < timestamp(#))", [i]),
            fill("bool(#)", [s]),
        ]);
        let int = any_of(vec![
            i.clone(),
            fill("(# + #)", [i, i]),
            fill("(# - #)", [i, i]),
            fill("(# * #)", [i, i]),
            fill("(# / #)", [i, i]),
            fill("(# % #)", [i, i]),
            fill("-(#)", [i]),
            fill("(# ? # : #)", [b, i, i]),
            fill("size(#)", [s]),
            fill("#.size()", [l]),
            fill("int(#)", [x]),
            fill("int(#)", [s]),
            fill("#.indexOf(#)", [s, s]),
            fill("#.indexOf(#, #)", [s, s, i]),
            fill("math.abs(#)", [i]),
            fill("math.greatest(# + 1, # - 1)", [i, i]),
            fill("math.least([# + 1, # - 1, 0])", [i, i]),
            fill("int(timestamp(t) - duration('90s'))", []),
            one_of(&[
                "timestamp(t).getFullYear()",
                "timestamp(t).getMonth()",
                "timestamp(t).getDate()",
                "timestamp(t).getDayOfMonth()",
                "timestamp(t).getDayOfWeek()",
                "timestamp(t).getDayOfYear('-08:00')",
                "timestamp(t).getHours('Europe/Berlin')",
                "timestamp(t).getMinutes('05:30')",
                "timestamp(t).getSeconds()",
                "(timestamp(t) - timestamp(0)).getMinutes()",
            ]),
        ]);
        let float = any_of(vec![
            x.clone(),
            fill("(# + #)", [x, x]),
            fill("(# - #)", [x, x]),
            fill("(# * #)", [x, x]),
            fill("(# / (math.abs(#) + 0.5))", [x, x]),
            fill("-(#)", [x]),
            fill("(# ? # : #)", [b, x, x]),
            fill("double(#)", [i]),
            fill("double(#)", [s]),
            fill("math.floor(# + 0.25)", [x]),
            fill("math.ceil(# - 0.25)", [x]),
            fill("math.round(# * 0.5)", [x]),
            fill("math.abs(#)", [x]),
        ]);
        let text = any_of(vec![
            s.clone(),
            fill("(# + #)", [s, s]),
            fill("(# ? # : #)", [b, s, s]),
            fill("#.lowerAscii()", [s]),
            fill("#.upperAscii()", [s]),
            fill("#.trim()", [s]),
            fill("#.replace(#, #)", [s, s, s]),
            fill("#.replace(#, 'x', #)", [s, s, i]),
            fill("#.substring(#)", [s, i]),
            fill("#.substring(#, #)", [s, i, i]),
            fill("#[#]", [l, i]),
            fill("#.join(#)", [l, s]),
            fill("string(#)", [i]),
            fill("string(#)", [x]),
            fill("string(#)", [b]),
            one_of(&[
                "string(timestamp(t))",
                "string(timestamp(t) - timestamp(0))",
            ]),
        ]);
        let list = any_of(vec![
            l.clone(),
            fill("(# + #)", [l, l]),
            fill("[#, #]", [s, s]),
            fill("#.split(#)", [s, s]),
            fill("#.split(#, #)", [s, s, i]),
            fill("#.filter(v, v != #)", [l, s]),
            fill("#.map(v, v + #)", [l, s]),
            fill("#.map(v, v.size() > 1, v + #)", [l, s]),
            fill(
                "#.map(v, [v].filter(w, w in #).size()).filter(n, n > 0).map(n, 'n')",
                [l, l],
            ),
        ]);
        Level {
            flag,
            int,
            float,
            text,
            list,
        }
    }
}

fn expression() -> impl Strategy<Value = String> {
    let Level {
        flag,
        int,
        float,
        text,
        list,
    } = Level::leaves().above().above().above();
    prop_oneof![4 => flag, 2 => int, 1 => float, 1 => text, 1 => list]
        // A field alone may be missing without an error.
        .prop_filter("nothing but a field", |text| {
            Expression::parse(text).field().is_none()
        })
}

struct EveryField;

impl Scope for EveryField {
    fn resolve(&self, path: &FieldPath) -> Option<(Slot, ValueType)> {
        let slot = FIELDS.iter().position(|field| *field == path.as_str())?;
        Some((Slot(slot as u32), ValueType::Any))
    }

    fn known(&self) -> Vec<FieldPath> {
        FIELDS.iter().map(|field| FieldPath::new(field)).collect()
    }
}

fn ours<'a>(field: Option<&Field>, arena: &'a Bump) -> Value<'a> {
    match field {
        None => Value::Missing,
        Some(Field::Null) => Value::Null,
        Some(Field::Bool(flag)) => Value::Bool(*flag),
        Some(Field::Int(number)) => Value::Int(*number),
        Some(Field::Float(number)) => Value::Float(*number),
        Some(Field::Text(text)) => Value::Str(text),
        Some(Field::List(items)) => Value::List(
            arena.alloc_slice_fill_iter(items.iter().map(|item| ours(Some(item), arena))),
        ),
    }
}

fn theirs(field: &Field) -> cel::Value {
    match field {
        Field::Null => cel::Value::Null,
        Field::Bool(flag) => cel::Value::Bool(*flag),
        Field::Int(number) => cel::Value::Int(*number),
        Field::Float(number) => cel::Value::Float(*number),
        Field::Text(text) => cel::Value::from(*text),
        Field::List(items) => cel::Value::List(Arc::new(items.iter().map(theirs).collect())),
    }
}

static LIBRARY: LazyLock<Arc<cel::Env>> = LazyLock::new(|| {
    let mut env = cel::Env::stdlib();
    env.add_extension(cel::extensions::strings).unwrap();
    env.add_extension(cel::extensions::math).unwrap();
    Arc::new(env)
});

fn interpreted(program: &cel::Program, record: &Record) -> Result<cel::Value, cel::ExecutionError> {
    let mut context = cel::Context::with_env(LIBRARY.clone());
    let mut within_m: HashMap<String, cel::Value> = HashMap::new();
    for (name, field) in FIELDS.iter().zip(record) {
        let Some(field) = field else { continue };
        match name.strip_prefix("m.") {
            Some(name) => drop(within_m.insert(name.to_owned(), theirs(field))),
            None => context.add_variable_from_value(*name, theirs(field)),
        }
    }
    context.add_variable_from_value("m", within_m);
    program.execute(&context)
}

fn same(ours: &Value<'_>, theirs: &cel::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, cel::Value::Null) => true,
        (Value::Bool(a), cel::Value::Bool(b)) => a == b,
        (Value::Int(a), cel::Value::Int(b)) => a == b,
        (Value::Float(a), cel::Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Value::Str(a), cel::Value::String(b)) => *a == b.as_str(),
        (Value::List(a), cel::Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b))
        }
        _ => false,
    }
}

/// Compares over one record.
fn agree(text: &str, evaluator: &Evaluator, program: &cel::Program, record: &Record) {
    let arena = Bump::new();
    let fields: Vec<Value<'_>> = record
        .iter()
        .map(|field| ours(field.as_ref(), &arena))
        .collect();
    let found: Result<Value<'_>, EvalError> = evaluator.eval(&row(&fields, &arena));
    let expected = interpreted(program, record);
    match (&found, &expected) {
        (Ok(found), Ok(expected)) if same(found, expected) => {}
        (Err(_), Err(_)) => {}
        _ => panic!("{text}\nover {record:?}\ngives {found:?}\nexpected {expected:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn compiled_code_does_what_the_interpreter_does(
        text in expression(),
        records in prop::collection::vec(record(), 8),
    ) {
        let evaluator = match Expression::parse(&text).compile(&EveryField) {
            Ok(evaluator) => evaluator,
            Err(errors) => {
                // Ours computes constants beforehand, and reports then what theirs meets later.
                let is_folding = |message: &str| message.starts_with("this always fails");
                prop_assert!(errors.iter().all(|error| is_folding(&error.message)), "{text}: {errors:?}");
                return Ok(());
            }
        };
        let program = LIBRARY.compile(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for record in &records {
            agree(&text, &evaluator, &program, record);
        }
    }
}
