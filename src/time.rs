//! Points in time, and the clocks that tell them.
//!
//! Event time is milliseconds since the Unix epoch, as in Kafka. The invariant of the whole crate:
//! nobody but [`SystemClock`] reads the wall clock; everyone else is handed a [`Clock`].

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z. May be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A text is not a timestamp that Tidemill reads.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected an RFC 3339 time such as 2026-05-05T11:17:40.822Z, found {0:?}")]
pub struct ParseTimestampError(String);

impl Timestamp {
    /// Before every other timestamp: the stream time of a task that has seen no record.
    pub const MIN: Timestamp = Timestamp(i64::MIN);

    /// Whether it lies in the years 1 to 9999, as far as calendars can show them all: databases and
    /// people know no other times.
    pub fn is_in_calendar(self) -> bool {
        const FIRST: i64 = -62_135_596_800_000;
        FIRST <= self.0 && self.0 <= jiff::Timestamp::MAX.as_millisecond()
    }

    /// Reads RFC 3339 with 0 to 9 fraction digits and any offset (`Z`, `+00:00`, …); what is finer
    /// than a millisecond is cut off towards the past.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse_rfc3339(text: &str) -> Result<Timestamp, ParseTimestampError> {
        let parsed: jiff::Timestamp = text
            .parse()
            .map_err(|_| ParseTimestampError(text.chars().take(80).collect()))?;
        Ok(Timestamp(
            parsed.as_nanosecond().div_euclid(1_000_000) as i64
        ))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This time plus `ms` milliseconds; stops at the ends of the range.
    #[must_use]
    pub const fn plus_millis(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
}

/// RFC 3339 in UTC with milliseconds, for example `2026-05-05T11:17:40.822Z`; a time outside the
/// calendar (years −9999 to 9999) is shown as its milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Tells the wall-clock time. Deterministic tests use [`ManualClock`].
pub trait Clock: Send + Sync {
    /// The current wall-clock time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock. It never goes back: when that of the machine is set back, it goes on slower until both
/// agree again, so nothing that waits for a time waits longer than it should.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        static LAST: Mutex<Option<(i128, Instant)>> = Mutex::new(None);
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, at) = (jiff::Timestamp::now().as_nanosecond(), Instant::now());
        let now = match *last {
            Some((before, then)) => steady(before, at.duration_since(then), wall),
            None => wall,
        };
        *last = Some((now, at));
        let ms = now.div_euclid(1_000_000);
        Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

/// What a clock shows that showed `before` so long ago, now that the machine's shows `wall`; in nanoseconds.
fn steady(before: i128, passed: Duration, wall: i128) -> i128 {
    let passed = passed.as_nanos() as i128;
    match wall >= before + passed {
        true => wall,
        false => wall.max(before + passed * 9 / 10),
    }
}

/// A clock that stands still until it is told otherwise. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> ManualClock {
        ManualClock(Arc::new(AtomicI64::new(start.0)))
    }

    /// Moves the clock forward by `ms` milliseconds.
    pub fn advance_millis(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_when_that_of_the_machine_is_set_back() {
        const S: i128 = 1_000_000_000;
        let after_1_s = |wall| steady(100 * S, Duration::from_secs(1), wall);
        // Right, ahead, a little behind, and an hour behind.
        assert_eq!(after_1_s(101 * S), 101 * S);
        assert_eq!(after_1_s(5_000 * S), 5_000 * S);
        assert_eq!(after_1_s(101 * S - 1), 101 * S - 1);
        assert_eq!(after_1_s(-3_500 * S), 100 * S + S * 9 / 10);
        // It is always a little later, however often it is asked.
        let mut now = 100 * S;
        for _ in 0..1_000 {
            now = steady(now, Duration::from_micros(10), -3_500 * S);
        }
        assert_eq!(now, 100 * S + 9_000_000);
    }

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(
            Timestamp::parse_rfc3339(text).ok().map(Timestamp::millis),
            expected,
            "{text}"
        );
    }

    #[test]
    fn every_form_of_the_stream_parses_to_its_instant() {
        check("2026-05-05T11:17:40.822Z", Some(1_777_979_860_822));
        check("2026-05-05T11:17:40Z", Some(1_777_979_860_000));
        check("2026-05-05T11:17:40.822999999Z", Some(1_777_979_860_822));
        check("2026-05-05T13:17:40.8+02:00", Some(1_777_979_860_800));
        check("2018-03-07T16:16:17+00:00", Some(1_520_439_377_000));
        check("1969-12-31T23:59:59.9999Z", Some(-1));
        check("yesterday", None);
        check("", None);
        check("2026-13-05T11:17:40Z", None);
    }

    #[test]
    fn the_calendar_ends_where_that_of_the_tables_does() {
        let at = |text| Timestamp::parse_rfc3339(text).unwrap().is_in_calendar();
        assert!(at("0001-01-01T00:00:00Z"));
        assert!(!at("0000-12-31T23:59:59.999Z"));
        assert!(at("9999-12-30T22:00:00.999Z"));
        assert!(!Timestamp(i64::MAX).is_in_calendar());
        assert!(!Timestamp::MIN.is_in_calendar());
    }

    #[test]
    fn a_timestamp_prints_as_rfc3339_in_utc() {
        assert_eq!(
            Timestamp(1_777_979_860_822).to_string(),
            "2026-05-05T11:17:40.822Z"
        );
        assert_eq!(Timestamp(i64::MAX).to_string(), "9223372036854775807 ms");
    }
}
