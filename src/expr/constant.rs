//! Values that are known before any record is read.

use bumpalo::Bump;

use super::operators::equals;
use crate::time::Timestamp;
use crate::value::{Value, ValueType};

/// A value that stands in an expression's text, or that is computed from such values alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// `null`.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Str(String),
    /// Bytes that need not be text.
    Bytes(Vec<u8>),
    /// A point in time.
    Time(Timestamp),
    /// A length of time in milliseconds.
    Duration(i64),
    /// A list.
    List(Vec<Constant>),
    /// Names and values, in order.
    Map(Vec<(String, Constant)>),
}

impl Constant {
    /// The value, copied into the arena: the constant need not live as long.
    pub fn value<'a>(&self, arena: &'a Bump) -> Value<'a> {
        match self {
            Constant::Null => Value::Null,
            Constant::Bool(flag) => Value::Bool(*flag),
            Constant::Int(number) => Value::Int(*number),
            Constant::Float(number) => Value::Float(*number),
            Constant::Str(text) => Value::Str(arena.alloc_str(text)),
            Constant::Bytes(bytes) => Value::Bytes(arena.alloc_slice_copy(bytes)),
            Constant::Time(time) => Value::Time(*time),
            Constant::Duration(ms) => Value::Duration(*ms),
            Constant::List(items) => {
                Value::List(arena.alloc_slice_fill_iter(items.iter().map(|item| item.value(arena))))
            }
            Constant::Map(entries) => Value::Map(
                arena.alloc_slice_fill_iter(
                    entries
                        .iter()
                        .map(|(name, item)| (&*arena.alloc_str(name), item.value(arena))),
                ),
            ),
        }
    }

    /// The type; that of null is not known.
    pub fn value_type(&self) -> ValueType {
        match self {
            Constant::Null => ValueType::Any,
            Constant::Bool(_) => ValueType::Bool,
            Constant::Int(_) => ValueType::Int,
            Constant::Float(_) => ValueType::Float,
            Constant::Str(_) => ValueType::Str,
            Constant::Bytes(_) => ValueType::Bytes,
            Constant::Time(_) => ValueType::Time,
            Constant::Duration(_) => ValueType::Duration,
            Constant::List(_) => ValueType::List,
            Constant::Map(_) => ValueType::Map,
        }
    }

    /// The constant of that value; a missing one becomes null.
    pub(super) fn of(value: Value<'_>) -> Constant {
        match value {
            Value::Missing | Value::Null => Constant::Null,
            Value::Bool(flag) => Constant::Bool(flag),
            Value::Int(number) => Constant::Int(number),
            Value::Float(number) => Constant::Float(number),
            Value::Str(text) => Constant::Str(text.to_owned()),
            Value::Bytes(bytes) => Constant::Bytes(bytes.to_owned()),
            Value::Time(time) => Constant::Time(time),
            Value::Duration(ms) => Constant::Duration(ms),
            Value::List(items) => Constant::List(items.iter().copied().map(Constant::of).collect()),
            Value::Map(entries) => Constant::Map(
                entries
                    .iter()
                    .map(|(name, item)| ((*name).to_owned(), Constant::of(*item)))
                    .collect(),
            ),
        }
    }

    /// The value, borrowed; none for lists and maps.
    #[inline]
    pub(super) fn scalar(&self) -> Option<Value<'_>> {
        Some(match self {
            Constant::Null => Value::Null,
            Constant::Bool(flag) => Value::Bool(*flag),
            Constant::Int(number) => Value::Int(*number),
            Constant::Float(number) => Value::Float(*number),
            Constant::Str(text) => Value::Str(text),
            Constant::Bytes(bytes) => Value::Bytes(bytes),
            Constant::Time(time) => Value::Time(*time),
            Constant::Duration(ms) => Value::Duration(*ms),
            Constant::List(_) | Constant::Map(_) => return None,
        })
    }
}

/// Up to so many texts are compared one by one, which is then faster than hashing.
const FEW_TEXTS: usize = 8;

/// A constant list, made ready for `x in […]`.
pub(super) enum Set {
    FewTexts(Box<[Box<str>]>),
    Texts(hashbrown::HashSet<Box<str>, foldhash::fast::RandomState>),
    Scalars(Box<[Constant]>),
}

impl Set {
    /// None when the list holds lists or maps.
    pub(super) fn of(items: &[Constant]) -> Option<Set> {
        let texts = items.iter().map(|item| match item {
            Constant::Str(text) => Some(text.as_str().into()),
            _ => None,
        });
        if let Some(texts) = texts.collect::<Option<Box<[Box<str>]>>>() {
            return Some(if texts.len() <= FEW_TEXTS {
                Set::FewTexts(texts)
            } else {
                Set::Texts(texts.into_iter().collect())
            });
        }
        items
            .iter()
            .all(|item| item.scalar().is_some())
            .then(|| Set::Scalars(items.into()))
    }

    /// Whether one of the items equals `value`.
    #[inline]
    pub(super) fn contains(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Set::FewTexts(texts), Value::Str(text)) => texts.iter().any(|item| **item == *text),
            (Set::Texts(texts), Value::Str(text)) => texts.contains(text),
            (Set::FewTexts(_) | Set::Texts(_), _) => false,
            (Set::Scalars(items), _) => items
                .iter()
                .filter_map(Constant::scalar)
                .any(|item| equals(item, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_survives_the_way_through_a_value() {
        let all = Constant::List(vec![
            Constant::Null,
            Constant::Bool(true),
            Constant::Int(-1),
            Constant::Float(0.5),
            Constant::Str("ü".to_owned()),
            Constant::Bytes(vec![0, 255]),
            Constant::Time(Timestamp(7)),
            Constant::Duration(60_000),
            Constant::Map(vec![
                ("b".to_owned(), Constant::Int(1)),
                ("a".to_owned(), Constant::Null),
            ]),
        ]);
        assert_eq!(Constant::of(all.value(&Bump::new())), all);
    }

    #[test]
    fn a_set_finds_equal_values_however_it_is_kept() {
        let texts = |count: usize| {
            let items = (0..count).map(|n| Constant::Str(format!("w{n}")));
            Set::of(&items.collect::<Vec<_>>()).unwrap()
        };
        assert!(matches!(texts(8), Set::FewTexts(_)));
        assert!(matches!(texts(9), Set::Texts(_)));
        for count in [1, 8, 9, 100] {
            assert!(texts(count).contains(Value::Str("w0")));
            assert!(texts(count).contains(Value::Str(&format!("w{}", count - 1))));
            assert!(!texts(count).contains(Value::Str(&format!("w{count}"))));
            assert!(!texts(count).contains(Value::Int(0)));
        }
        let mixed =
            Set::of(&[Constant::Int(1), Constant::Str("a".into()), Constant::Null]).unwrap();
        assert!(mixed.contains(Value::Float(1.0)));
        assert!(mixed.contains(Value::Str("a")));
        assert!(mixed.contains(Value::Null));
        assert!(!mixed.contains(Value::Bool(true)));
        assert!(Set::of(&[Constant::List(vec![])]).is_none());
    }
}
