//! Times as a user types them.

use jiff::SpanRelativeTo;

use super::QueryError;
use crate::time::Timestamp;

/// Reads `2h`, `1h30m`, `7d` (so long before `now`), `now`, `2026-05-05T11:17:40Z`,
/// `2026-05-05 11:17` or `2026-05-05` (UTC).
///
/// # Errors
/// When it is none of these.
pub fn parse_when(text: &str, now: Timestamp) -> Result<Timestamp, QueryError> {
    let text = text.trim();
    let wrong = || QueryError::When(text.chars().take(80).collect());
    if text == "now" {
        return Ok(now);
    }
    if let Ok(time) = Timestamp::parse_rfc3339(text) {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        let time = jiff::tz::Offset::UTC
            .to_timestamp(time)
            .map_err(|_| wrong())?;
        return Ok(Timestamp(time.as_millisecond()));
    }
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    let ms = i64::try_from(length.as_millis()).map_err(|_| wrong())?;
    Ok(now.plus_millis(ms.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let now = Timestamp::parse_rfc3339("2026-05-05T12:00:00Z").unwrap();
        let found = parse_when(text, now).ok().map(|time| time.to_string());
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn lengths_reach_back_from_now_and_times_stand_for_themselves() {
        check("2h", Some("2026-05-05T10:00:00.000Z"));
        check("1h30m", Some("2026-05-05T10:30:00.000Z"));
        check("7d", Some("2026-04-28T12:00:00.000Z"));
        check("1w", Some("2026-04-28T12:00:00.000Z"));
        check("now", Some("2026-05-05T12:00:00.000Z"));
        check("2026-05-01", Some("2026-05-01T00:00:00.000Z"));
        check("2026-05-01 11:17", Some("2026-05-01T11:17:00.000Z"));
        check("2026-05-01T11:17:40.822Z", Some("2026-05-01T11:17:40.822Z"));
        check(
            "2026-05-01T13:17:40+02:00",
            Some("2026-05-01T11:17:40.000Z"),
        );
    }

    #[test]
    fn anything_else_is_refused() {
        check("yesterday", None);
        check("2", None);
        check("", None);
        check("2 fortnights", None);
        check("1mo", None);
    }
}
