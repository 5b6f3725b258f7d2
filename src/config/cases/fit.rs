//! Whether a value can be what a field holds, and how it looks there.

use serde_json::Value as Json;

use crate::time::Timestamp;
use crate::topology::duration::Millis;
use crate::value::ValueType;

/// The value as a record or a table shows it in a field of that type: times in UTC with milliseconds,
/// lengths of time in milliseconds.
///
/// # Errors
/// What is expected there, when it is something else.
pub(super) fn fit(value: &Json, kind: ValueType) -> Result<Json, &'static str> {
    let same = |fits: bool, expected| match fits {
        true => Ok(value.clone()),
        false => Err(expected),
    };
    match kind {
        ValueType::Any => Ok(value.clone()),
        _ if value.is_null() => Ok(Json::Null),
        ValueType::Bool => same(value.is_boolean(), "true or false"),
        ValueType::Int => same(value.is_i64(), "a whole number"),
        ValueType::Float => same(value.is_number(), "a number"),
        ValueType::Str | ValueType::Bytes => same(value.is_string(), "a text"),
        ValueType::List => same(value.is_array(), "a list"),
        ValueType::Map => same(value.is_object(), "a mapping"),
        ValueType::Time => time(value)
            .map(|time| time.to_string().into())
            .ok_or("a time such as 2026-05-05T11:17:40Z"),
        ValueType::Duration => {
            let text = value.as_str().and_then(|text| text.parse::<Millis>().ok());
            let ms = value.as_i64().or(text.map(|length| length.0));
            ms.map(Json::from)
                .ok_or("a length of time such as 1h30m, or milliseconds")
        }
    }
}

/// A time that is written as RFC 3339 or in milliseconds since 1970.
fn time(value: &Json) -> Option<Timestamp> {
    let text = value.as_str();
    let parsed = text.and_then(|text| Timestamp::parse_rfc3339(text).ok());
    parsed.or(value.as_i64().map(Timestamp))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: &Json, kind: ValueType, expected: Result<&Json, &str>) {
        let fitted = fit(value, kind);
        let fitted = fitted.as_ref().map_err(|expected| *expected);
        assert_eq!(fitted, expected, "{value} as {kind}");
    }

    #[test]
    fn values_become_what_a_field_of_the_type_shows() {
        check(&json!(5), ValueType::Int, Ok(&json!(5)));
        check(&json!(5.5), ValueType::Int, Err("a whole number"));
        check(&json!("5"), ValueType::Int, Err("a whole number"));
        check(&json!(5), ValueType::Float, Ok(&json!(5)));
        check(&json!("x"), ValueType::Any, Ok(&json!("x")));
        check(&json!(5), ValueType::Str, Err("a text"));
        check(&json!(1), ValueType::Bool, Err("true or false"));
        check(&json!({}), ValueType::List, Err("a list"));
        check(&json!([1]), ValueType::Map, Err("a mapping"));
        check(&json!("1m30s"), ValueType::Duration, Ok(&json!(90_000)));
        check(&json!(5), ValueType::Duration, Ok(&json!(5)));
        let expected = "a length of time such as 1h30m, or milliseconds";
        check(&json!("5"), ValueType::Duration, Err(expected));
    }

    #[test]
    fn times_are_shown_in_utc_with_milliseconds() {
        let shown = json!("2026-05-05T11:17:40.000Z");
        let written = json!("2026-05-05T13:17:40+02:00");
        check(&written, ValueType::Time, Ok(&shown));
        check(&json!(1_777_979_860_000_i64), ValueType::Time, Ok(&shown));
        let expected = "a time such as 2026-05-05T11:17:40Z";
        check(&json!("noon"), ValueType::Time, Err(expected));
    }

    #[test]
    fn null_is_in_any_field() {
        for kind in ValueType::ALL {
            check(&Json::Null, kind, Ok(&Json::Null));
        }
    }
}
