//! All functions alike: their results, and that parts which are merged give what all give.

use super::*;
use crate::topology::aggregation::{Aggregation, SIGNATURES};
use proptest::prelude::*;

/// The function of a call, such as `top_k(x, 3)`.
fn function(call: &str) -> Function {
    Aggregation::parse(call).expect(call).function
}

/// Adds values at times 0, 1, 2, … and reads the result.
#[track_caller]
fn check(call: &str, values: &[Value<'_>], expected: Value<'_>) {
    let function = function(call);
    let mut accumulator = Accumulator::new(&function);
    for (value, time) in values.iter().zip(0..) {
        let value = std::slice::from_ref(value);
        assert_eq!(check_arguments(&function, value), Ok(()), "{call}");
        accumulator.add(&function, value, Timestamp(time));
    }
    let arena = Bump::new();
    let found = accumulator.read(&function, &arena);
    assert_eq!(found, expected, "{call} of {values:?}");
}

#[test]
fn each_function_gives_its_result() {
    use Value::{Bool, Float, Int, List, Map, Missing, Null, Str};
    let numbers = [Int(5), Null, Int(-2), Missing, Int(4)];
    check("count()", &[], Int(0));
    check(
        "count_if(x)",
        &[Bool(true), Bool(false), Null, Bool(true)],
        Int(2),
    );
    check("sum(x)", &numbers, Int(7));
    check("sum(x)", &[], Int(0));
    check("sum(x)", &[Int(1), Float(0.5)], Float(1.5));
    check(
        "sum(x)",
        &[Int(i64::MAX), Int(1)],
        Float(9_223_372_036_854_775_808.0),
    );
    check("min(x)", &numbers, Int(-2));
    check("max(x)", &numbers, Int(5));
    check("min(x)", &[Int(2), Float(1.5)], Float(1.5));
    check("max(x)", &[Str("a"), Str("é"), Str("b")], Str("é"));
    check("min(x)", &[Null], Null);
    check("avg(x)", &numbers, Float(7.0 / 3.0));
    check("avg(x)", &[], Null);
    check("first(x)", &numbers, Int(5));
    check("last(x)", &[Str("x"), Str("y"), Null], Str("y"));
    check("earliest(x)", &[Null], Null);
    check("latest(x)", &numbers, Int(4));
    check("median(x)", &numbers, Float(4.0));
    check("median(x)", &[], Null);
    check("quantile(x, 0.75)", &numbers, Float(4.5));
    let ends = [Float(-2.0), Float(5.0)];
    check("quantiles(x, [0, 1])", &numbers, List(&ends));
    check("histogram(x, [0, 5])", &numbers, List(&[1, 1, 1].map(Int)));
    check("histogram(x, [0])", &[], List(&[Int(0), Int(0)]));
    check("distinct(x)", &[Str("x"), Str("y"), Null, Str("x")], Int(2));
    let texts = [Str("b"), Str("a"), Null, Str("b")];
    let top = [("value", Str("b")), ("count", Int(2))];
    check("top_k(x, 1)", &texts, List(&[Map(&top)]));
    check("top_k(x, 5)", &[Null], List(&[]));
    check("collect_set(x, 5)", &texts, List(&[Str("a"), Str("b")]));
    check("collect_list(x, 2)", &texts, List(&[Str("b"), Str("a")]));
}

#[test]
fn first_and_last_go_by_arrival_earliest_and_latest_by_event_time() {
    let arena = Bump::new();
    for (call, expected) in [
        ("first(x)", 10),
        ("last(x)", 40),
        ("earliest(x)", 20),
        ("latest(x)", 31),
    ] {
        let function = function(call);
        let mut accumulator = Accumulator::new(&function);
        for (time, value) in [(10, 10), (5, 20), (30, 30), (30, 31), (5, 21), (7, 40)] {
            accumulator.add(&function, &[Value::Int(value)], Timestamp(time));
        }
        let found = accumulator.read(&function, &arena);
        assert_eq!(found, Value::Int(expected), "{call}");
    }
}

#[test]
fn a_weight_counts_for_so_many_records() {
    let function = function("top_k(x, 1, n)");
    let mut top = Accumulator::new(&function);
    for (text, weight) in [
        ("a", Value::Int(5)),
        ("b", Value::Int(9)),
        ("a", Value::Null),
    ] {
        let arguments = [Value::Str(text), weight];
        assert_eq!(check_arguments(&function, &arguments), Ok(()));
        top.add(&function, &arguments, Timestamp(0));
    }
    let expected = [("value", Value::Str("b")), ("count", Value::Int(9))];
    let found = top.read(&function, &Bump::new()) == Value::List(&[Value::Map(&expected)]);
    assert!(found, "{top:?}");
}

#[test]
fn a_wrong_type_is_named() {
    #[track_caller]
    fn check(call: &str, arguments: &[Value<'_>], expected: &str) {
        let error = check_arguments(&function(call), arguments).expect_err(call);
        assert_eq!(error.to_string(), expected);
    }
    check(
        "sum(x)",
        &[Value::Str("7")],
        "sum takes a number, found string",
    );
    check(
        "count_if(x)",
        &[Value::Int(1)],
        "count_if takes a bool, found int",
    );
    let list = [Value::List(&[])];
    check(
        "max(x)",
        &list,
        "max takes a number, text or time, found list",
    );
    let weighted = |weight| [Value::Str("a"), weight];
    check(
        "top_k(x, 1, n)",
        &weighted(Value::Float(0.5)),
        "top_k takes a whole number as weight, found double",
    );
    check(
        "top_k(x, 1, n)",
        &weighted(Value::Int(-1)),
        "top_k takes no weight below 0, found one",
    );
    assert!(check_arguments(&Function::Sum, &[Value::Null]).is_ok());
}

/// A call of each function there is.
fn all() -> Vec<Function> {
    let calls = SIGNATURES.iter().map(|signature| {
        let mut arguments = vec!["x"; signature.takes.len().min(1)];
        if let Some(at) = signature.constant_at() {
            arguments.insert(at, signature.setting.example());
        }
        function(&format!("{}({})", signature.name, arguments.join(", ")))
    });
    calls.collect()
}

#[test]
fn before_the_first_record_and_after_it_a_state_is_of_its_function_only() {
    for one in all() {
        let mut state = Accumulator::new(&one);
        assert!(state.is_of(&one));
        state.merge(&Accumulator::new(&one));
        for other in all() {
            let is_same = one == other || one.shares_with(&other);
            let is_counter =
                |function: &Function| matches!(function, Function::Count | Function::CountIf);
            let expected = is_same || is_counter(&one) && is_counter(&other);
            assert_eq!(state.is_of(&other), expected, "{one:?} and {other:?}");
        }
    }
    let histogram = Accumulator::new(&function("histogram(x, [1, 2])"));
    assert!(!histogram.is_of(&function("histogram(x, [1, 2, 3])")));
}

/// What stores hold of the functions that have always been there.
#[test]
fn the_bytes_of_a_state_stay_as_they_are() {
    let mut lines = Vec::new();
    for call in [
        "count()",
        "sum(x)",
        "min(x)",
        "max(x)",
        "avg(x)",
        "first(x)",
        "last(x)",
        "distinct(x)",
        "stddev_pop(x)",
        "stddev_samp(x)",
        "earliest(x)",
        "latest(x)",
        "median(x)",
        "histogram(x, [0])",
        "top_k(x, 1)",
        "collect_set(x, 9)",
        "collect_list(x, 9)",
    ] {
        let function = function(call);
        let mut state = Accumulator::new(&function);
        let arguments = [Value::Int(3)];
        state.add(
            &function,
            &arguments[..call.contains('x').into()],
            Timestamp(5),
        );
        let mut bytes = Vec::new();
        crate::codec::encode_into(&state, &mut bytes);
        let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
        lines.push(format!("{} {call}", hex.collect::<String>()));
    }
    expect_test::expect![[r#"
        010002 count()
        01010006 sum(x)
        0102010106 min(x)
        0103010106 max(x)
        0104000602 avg(x)
        0105010a0106 first(x)
        0106010a0106 last(x)
        01070001ac191b59fcf36184 distinct(x)
        010800020612 stddev_pop(x)
        010900020612 stddev_samp(x)
        010a010a0106 earliest(x)
        010b010a0106 latest(x)
        010c00010000000000000840 median(x)
        010d020002 histogram(x, [0])
        010e0001010601 top_k(x, 1)
        010f09010106 collect_set(x, 9)
        011009010a0106 collect_list(x, 9)"#]]
    .assert_eq(&lines.join("\n"));
}

proptest! {
    #[test]
    fn folding_in_parts_and_merging_gives_what_folding_at_once_gives(
        values in prop::collection::vec((0i64..40, -50i64..50), 0..60),
        cut in 0usize..60,
    ) {
        let cut = cut.min(values.len());
        for function in all() {
            let add = |accumulator: &mut Accumulator, part: &[(i64, i64)]| {
                for &(time, value) in part {
                    let argument = match function {
                        Function::CountIf => Value::Bool(value > 0),
                        _ => Value::Int(value),
                    };
                    accumulator.add(&function, &[argument], Timestamp(time));
                }
            };
            let mut whole = Accumulator::new(&function);
            add(&mut whole, &values);
            let mut left = Accumulator::new(&function);
            add(&mut left, &values[..cut]);
            let mut right = Accumulator::new(&function);
            add(&mut right, &values[cut..]);
            let mut bytes = Vec::new();
            crate::codec::encode_into(&right, &mut bytes);
            left.merge(&crate::codec::decode(&bytes).unwrap());
            prop_assert_eq!(&left, &whole, "{:?}", function);
        }
    }
}
