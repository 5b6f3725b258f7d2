//! Whether a value is the one that was expected, and where it is not.

use serde_json::{Map, Value as Json};

use crate::config::cases::Compare;

/// Numbers with a fraction are equal when they differ by less than so much of the larger one: sums
/// depend on the order in which they were added up.
const TOLERANCE: f64 = 1e-9;

/// A field that is not what was expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Names from the outside in: `value.edits`.
    pub field: String,
    /// What was expected; none: no such field.
    pub expected: Option<Json>,
    /// What was found; none: no such field.
    pub found: Option<Json>,
}

/// How values are compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub compare: Compare,
    /// Whether the number `5` is expected where the text `5` is found: a column whose type is not known
    /// holds texts.
    pub numbers_as_texts: bool,
}

impl Comparison {
    /// Everything in which an object differs from the one that was expected.
    pub(super) fn of_objects(
        self,
        expected: &Map<String, Json>,
        found: &Map<String, Json>,
    ) -> Vec<Difference> {
        let mut differences = Vec::new();
        self.objects("", expected, found, &mut differences);
        differences
    }

    /// The same of any values, of a field of that name.
    pub(super) fn values(
        self,
        field: &str,
        expected: &Json,
        found: Option<&Json>,
        differences: &mut Vec<Difference>,
    ) {
        match (expected, found) {
            (Json::Object(expected), Some(Json::Object(found))) => {
                self.objects(field, expected, found, differences);
            }
            _ if self.is_same(expected, found.unwrap_or(&Json::Null)) => {}
            _ => differences.push(Difference {
                field: field.to_owned(),
                expected: Some(expected.clone()),
                found: found.cloned(),
            }),
        }
    }

    fn objects(
        self,
        outer: &str,
        expected: &Map<String, Json>,
        found: &Map<String, Json>,
        differences: &mut Vec<Difference>,
    ) {
        let path = |name: &str| match outer {
            "" => name.to_owned(),
            outer => format!("{outer}.{name}"),
        };
        for (name, value) in expected {
            self.values(&path(name), value, found.get(name), differences);
        }
        if self.compare == Compare::Whole {
            let more = found.iter();
            let more =
                more.filter(|(name, value)| !value.is_null() && !expected.contains_key(*name));
            differences.extend(more.map(|(name, value)| Difference {
                field: path(name),
                expected: None,
                found: Some(value.clone()),
            }));
        }
    }

    fn is_same(self, expected: &Json, found: &Json) -> bool {
        match (expected, found) {
            (Json::Number(expected), Json::Number(found)) => is_same_number(expected, found),
            (Json::Array(expected), Json::Array(found)) => {
                let pairs = expected.iter().zip(found);
                expected.len() == found.len() && pairs.into_iter().all(|(e, f)| self.is_same(e, f))
            }
            (Json::Object(expected), Json::Object(found)) => {
                self.of_objects(expected, found).is_empty()
            }
            (Json::Number(_) | Json::Bool(_), Json::String(text)) if self.numbers_as_texts => {
                let found = serde_json::from_str::<Json>(text);
                found.is_ok_and(|found| self.is_same(expected, &found))
            }
            _ => expected == found,
        }
    }
}

fn is_same_number(expected: &serde_json::Number, found: &serde_json::Number) -> bool {
    if expected == found {
        return true;
    }
    if expected.is_i64() && found.is_i64() {
        return false;
    }
    match (expected.as_f64(), found.as_f64()) {
        (Some(expected), Some(found)) => {
            (expected - found).abs() <= TOLERANCE * expected.abs().max(found.abs())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(compare: Compare, expected: &Json, found: &Json, differing: &[&str]) {
        let comparison = Comparison {
            compare,
            numbers_as_texts: true,
        };
        let mut differences = Vec::new();
        comparison.values("v", expected, Some(found), &mut differences);
        let fields: Vec<&str> = differences.iter().map(|d| d.field.as_str()).collect();
        assert_eq!(fields, differing, "{expected} {found}");
    }

    #[test]
    fn what_is_not_named_is_compared_only_when_the_whole_is() {
        let expected = json!({"a": 1, "b": {"c": 2}});
        let found = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": 4, "n": null});
        check(Compare::Named, &expected, &found, &[]);
        check(Compare::Whole, &expected, &found, &["v.b.d", "v.e"]);
        let found = json!({"a": 2, "b": {}});
        check(Compare::Named, &expected, &found, &["v.a", "v.b.c"]);
        check(
            Compare::Named,
            &json!([{"a": 1}]),
            &json!([{"a": 1, "b": 2}]),
            &[],
        );
        check(
            Compare::Whole,
            &json!([{"a": 1}]),
            &json!([{"a": 1, "b": 2}]),
            &["v"],
        );
        check(Compare::Named, &json!([1]), &json!([1, 2]), &["v"]);
    }

    #[test]
    fn null_is_what_is_not_there() {
        check(Compare::Named, &json!({"a": null}), &json!({}), &[]);
        check(
            Compare::Named,
            &json!({"a": null}),
            &json!({"a": 0}),
            &["v.a"],
        );
        check(Compare::Named, &json!({"a": 0}), &json!({}), &["v.a"]);
        check(Compare::Named, &json!({}), &Json::Null, &["v"]);
    }

    #[test]
    fn numbers_are_equal_up_to_the_order_in_which_they_were_added() {
        check(Compare::Named, &json!(5), &json!(5.0), &[]);
        check(Compare::Named, &json!(0.3), &json!(0.1 + 0.2), &[]);
        check(Compare::Named, &json!(0.3), &json!(0.300_01), &["v"]);
        check(
            Compare::Named,
            &json!(i64::MAX),
            &json!(i64::MAX - 1),
            &["v"],
        );
        check(Compare::Named, &json!(5), &json!("5"), &[]);
        check(Compare::Named, &json!(true), &json!("true"), &[]);
        check(Compare::Named, &json!("5"), &json!(5), &["v"]);
    }
}
