//! What is known about types before any record is read: which types an operator or function
//! takes, and which it then gives.

use std::fmt;

use super::ast::Operator;
use crate::value::ValueType;

/// A set of types that a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    pub(super) const ANYTHING: Kinds = Kinds(u16::MAX);
    pub(super) const BOOL: Kinds = Kinds::one(ValueType::Bool);
    pub(super) const INT: Kinds = Kinds::one(ValueType::Int);
    pub(super) const FLOAT: Kinds = Kinds::one(ValueType::Float);
    pub(super) const TEXT: Kinds = Kinds::one(ValueType::Str);
    pub(super) const BYTES: Kinds = Kinds::one(ValueType::Bytes);
    pub(super) const TIME: Kinds = Kinds::one(ValueType::Time);
    pub(super) const DURATION: Kinds = Kinds::one(ValueType::Duration);
    pub(super) const LIST: Kinds = Kinds::one(ValueType::List);
    pub(super) const MAP: Kinds = Kinds::one(ValueType::Map);
    pub(super) const NUMBER: Kinds = Kinds::INT.or(Kinds::FLOAT);

    const fn one(kind: ValueType) -> Kinds {
        Kinds(1 << kind as u16)
    }

    pub(super) const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// Whether a value of that static type may be passed; one that is not known may.
    pub(super) fn admit(self, kind: ValueType) -> bool {
        kind == ValueType::Any || self.0 & Kinds::one(kind).0 != 0
    }
}

/// `int or double`.
impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ValueType::{Bool, Bytes, Duration, Float, Int, List, Map, Str, Time};
        let names: Vec<&str> = [Bool, Int, Float, Str, Bytes, Time, Duration, List, Map]
            .into_iter()
            .filter(|kind| self.admit(*kind))
            .map(ValueType::name)
            .collect();
        f.write_str(&names.join(" or "))
    }
}

/// What arithmetic gives: operator, left, right, result. What is not here is an error.
const ARITHMETIC: &[(Operator, ValueType, ValueType, ValueType)] = {
    use Operator::{Add, Divide, Multiply, Remainder, Subtract};
    use ValueType::{Bytes, Duration, Float, Int, List, Str, Time};
    &[
        (Add, Int, Int, Int),
        (Add, Int, Float, Float),
        (Add, Float, Int, Float),
        (Add, Float, Float, Float),
        (Add, Str, Str, Str),
        (Add, Bytes, Bytes, Bytes),
        (Add, List, List, List),
        (Add, Time, Duration, Time),
        (Add, Duration, Time, Time),
        (Add, Duration, Duration, Duration),
        (Subtract, Int, Int, Int),
        (Subtract, Int, Float, Float),
        (Subtract, Float, Int, Float),
        (Subtract, Float, Float, Float),
        (Subtract, Time, Time, Duration),
        (Subtract, Time, Duration, Time),
        (Subtract, Duration, Duration, Duration),
        (Multiply, Int, Int, Int),
        (Multiply, Int, Float, Float),
        (Multiply, Float, Int, Float),
        (Multiply, Float, Float, Float),
        (Divide, Int, Int, Int),
        (Divide, Int, Float, Float),
        (Divide, Float, Int, Float),
        (Divide, Float, Float, Float),
        (Remainder, Int, Int, Int),
    ]
};

/// The type that an arithmetic operator gives, `Any` when it depends on the record; none when it
/// takes no such values.
pub(super) fn arithmetic(
    operator: Operator,
    left: ValueType,
    right: ValueType,
) -> Option<ValueType> {
    let fits = |wanted: ValueType, found: ValueType| found == ValueType::Any || found == wanted;
    ARITHMETIC
        .iter()
        .filter(|(op, l, r, _)| *op == operator && fits(*l, left) && fits(*r, right))
        .map(|(_, _, _, result)| *result)
        .reduce(common)
}

/// The type of a value that is one or the other.
pub(super) fn common(one: ValueType, other: ValueType) -> ValueType {
    if one == other { one } else { ValueType::Any }
}

/// Whether values of the two static types can be equal.
pub(super) fn can_be_equal(left: ValueType, right: ValueType) -> bool {
    let any = left == ValueType::Any || right == ValueType::Any;
    any || left == right || (Kinds::NUMBER.admit(left) && Kinds::NUMBER.admit(right))
}

/// Whether there is an order between values of the two static types.
pub(super) fn can_be_ordered(left: ValueType, right: ValueType) -> bool {
    let no_order = |kind| matches!(kind, ValueType::List | ValueType::Map);
    !no_order(left) && !no_order(right) && can_be_equal(left, right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_typed_as_far_as_its_operands_are() {
        use Operator::{Add, Divide, Remainder, Subtract};
        use ValueType::{Any, Bool, Duration, Float, Int, Str, Time};
        for (operator, left, right, expected) in [
            (Add, Int, Int, Some(Int)),
            (Add, Int, Float, Some(Float)),
            (Add, Int, Any, Some(Any)),
            (Add, Float, Any, Some(Float)),
            (Add, Str, Any, Some(Str)),
            (Add, Any, Time, Some(Time)),
            (Add, Any, Any, Some(Any)),
            (Add, Bool, Any, None),
            (Add, Str, Int, None),
            (Add, Time, Time, None),
            (Subtract, Time, Time, Some(Duration)),
            (Subtract, Str, Str, None),
            (Divide, Float, Int, Some(Float)),
            (Remainder, Any, Any, Some(Int)),
            (Remainder, Float, Int, None),
        ] {
            assert_eq!(
                arithmetic(operator, left, right),
                expected,
                "{left} {operator:?} {right}"
            );
        }
    }

    #[test]
    fn a_set_of_types_names_them() {
        assert_eq!(Kinds::NUMBER.to_string(), "int or double");
        assert_eq!(
            Kinds::TEXT.or(Kinds::LIST).or(Kinds::MAP).to_string(),
            "string or list or map"
        );
    }
}
