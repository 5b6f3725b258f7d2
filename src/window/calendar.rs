//! Calendar windows: days, weeks, months or years of a time zone.
//!
//! ```text
//!   Europe/Berlin, 1d          clocks go forward                       closed when stream time
//!   |------- 24 h -------|------ 23 h -----|------- 24 h -------|··· grace ···|  <-- reaches this
//!   28 March, 00:00     29 March          30 March             31 March
//! ```
//!
//! A window begins with its first date, at the first moment that the clocks of the zone show it, and
//! ends where the next one begins. Days are counted from 1 January 1970; weeks begin on Monday.
//!
//! Asking a time zone is slow next to folding a record. So the starts of some generations of windows
//! are computed once for a process, in a table that is looked into by arithmetic; times outside it are
//! computed anew each time. Zones are those of the database that the program brings along, the same
//! on every member.

use std::collections::HashMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, ToSpan as _};

use crate::time::Timestamp;

/// The time zones that there are.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Their names.
static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| DATABASE.available().map(|name| name.to_string()).collect());

/// The tables of this process. There are as many as topologies name, so they stay.
static TABLES: LazyLock<Mutex<HashMap<(Period, Zone), &'static Table>>> =
    LazyLock::new(Mutex::default);

/// The years of which a table has the windows.
const YEARS: (i16, i16) = (1970, 2100);

/// A time zone, by its name, such as `Europe/Berlin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone(&'static str);

/// How long a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// So many days, at least one.
    Days(u32),
    /// From Monday to Sunday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

/// Calendar windows: every point in time lies in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Their length.
    pub period: Period,
    /// The zone.
    pub zone: Zone,
    /// How long after its end a window takes records, in milliseconds of stream time.
    pub grace_ms: i64,
    table: &'static Table,
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone("UTC");

    /// The zone of that name, as the database writes it.
    pub fn find(name: &str) -> Option<Zone> {
        let known = NAMES.iter().find(|known| *known == name);
        known.map(|known| Zone(known))
    }

    /// The names of all zones, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        NAMES.iter().map(String::as_str)
    }

    fn time_zone(self) -> TimeZone {
        DATABASE.get(self.0).expect("a name of the database")
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// As it is written: `1d`, `week`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Period::Days(days) => write!(f, "{days}d"),
            Period::Week => f.write_str("week"),
            Period::Month => f.write_str("month"),
            Period::Year => f.write_str("year"),
        }
    }
}

impl Calendar {
    /// Windows of that length and grace, in that zone.
    pub fn new(period: Period, zone: Zone, grace_ms: i64) -> Calendar {
        let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        let table = *tables
            .entry((period, zone))
            .or_insert_with(|| Box::leak(Box::new(Table::new(period, zone.time_zone()))));
        Calendar {
            period,
            zone,
            grace_ms,
            table,
        }
    }

    /// The start of the window of a point in time.
    pub fn start_of(&self, time: Timestamp) -> Timestamp {
        self.table.bounds(time).0
    }

    /// The first point in time behind the window that begins at `start`.
    pub fn end_of(&self, start: Timestamp) -> Timestamp {
        self.table.bounds(start).1
    }

    /// Whether the window that begins at `start` takes no more records at this stream time.
    pub fn is_closed(&self, start: Timestamp, stream_time: Timestamp) -> bool {
        self.end_of(start).plus_millis(self.grace_ms) <= stream_time
    }

    /// All windows that begin before this are closed at this stream time.
    pub fn open_from(&self, stream_time: Timestamp) -> Timestamp {
        match stream_time {
            Timestamp::MIN => Timestamp::MIN,
            _ => self.start_of(stream_time.plus_millis(-self.grace_ms)),
        }
    }

    /// How long a window of the table is at most, in milliseconds.
    pub fn longest_ms(&self) -> i64 {
        self.table.longest_ms
    }
}

/// Where windows begin.
struct Table {
    period: Period,
    zone: TimeZone,
    /// The starts of the windows of some generations, rising.
    starts: Vec<Timestamp>,
    longest_ms: i64,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} starts)", self.starts.len())
    }
}

/// There is one table for a period and zone.
impl PartialEq for Table {
    fn eq(&self, other: &Table) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Table {}

impl Table {
    fn new(period: Period, zone: TimeZone) -> Table {
        let mut table = Table {
            period,
            zone,
            starts: Vec::new(),
            longest_ms: 0,
        };
        let number = |year| period.number_of(Date::constant(year, 1, 1));
        let numbers = number(YEARS.0)..=number(YEARS.1);
        table.starts = numbers.map(|number| table.start(number)).collect();
        // A date that a zone has left out has no time.
        table.starts.dedup();
        let lengths = table.starts.windows(2).map(|pair| pair[1].0 - pair[0].0);
        table.longest_ms = lengths.max().expect("more than one window");
        table
    }

    /// The start of the window of a point in time, and that of the next.
    fn bounds(&self, time: Timestamp) -> (Timestamp, Timestamp) {
        let (first, last) = (self.starts[0], self.starts[self.starts.len() - 1]);
        if time < first || time >= last {
            return self.computed_bounds(time);
        }
        let gone_ms = i128::from(time.0 - first.0);
        let all = (self.starts.len() - 1) as i128;
        // Windows are of nearly equal lengths, so this is the right one or very near to it.
        let mut at = (gone_ms * all / i128::from(last.0 - first.0)) as usize;
        while self.starts[at] > time {
            at -= 1;
        }
        while self.starts[at + 1] <= time {
            at += 1;
        }
        (self.starts[at], self.starts[at + 1])
    }

    /// The same, asked of the zone.
    fn computed_bounds(&self, time: Timestamp) -> (Timestamp, Timestamp) {
        let mut number = self.period.number_of(self.date_of(time));
        while self.start(number) > time && number > self.period.number_of(EARLIEST) {
            number -= 1;
        }
        while self.start(number + 1) <= time && number < self.period.number_of(LATEST) {
            number += 1;
        }
        (self.start(number), self.start(number + 1))
    }

    /// The date that clocks show then; of a time outside the calendar, the nearest that it has.
    fn date_of(&self, time: Timestamp) -> Date {
        match jiff::Timestamp::from_millisecond(time.0) {
            Ok(time) => self.zone.to_datetime(time).date().clamp(EARLIEST, LATEST),
            Err(_) if time < Timestamp(0) => EARLIEST,
            Err(_) => LATEST,
        }
    }

    /// The first moment of a window.
    fn start(&self, number: i64) -> Timestamp {
        let midnight = self.period.first_date(number).at(0, 0, 0, 0);
        // Where clocks skip midnight: the moment at which they do; where they show it twice: the
        // first time.
        let start = self.zone.to_timestamp(midnight);
        let start = start.expect("a date well inside the calendar");
        Timestamp(start.as_millisecond())
    }
}

/// Dates outside of these are not told apart.
const EARLIEST: Date = Date::constant(-9990, 1, 1);
const LATEST: Date = Date::constant(9990, 1, 1);

const EPOCH: Date = Date::constant(1970, 1, 1);
const A_MONDAY: Date = Date::constant(1970, 1, 5);

impl Period {
    /// The number of the window that a date belongs to.
    fn number_of(self, date: Date) -> i64 {
        match self {
            Period::Days(days) => days_since(EPOCH, date).div_euclid(i64::from(days)),
            Period::Week => days_since(A_MONDAY, date).div_euclid(7),
            Period::Month => i64::from(date.year()) * 12 + i64::from(date.month()) - 1,
            Period::Year => date.year().into(),
        }
    }

    /// The first date of the window with that number.
    fn first_date(self, number: i64) -> Date {
        match self {
            Period::Days(days) => after(EPOCH, number * i64::from(days)),
            Period::Week => after(A_MONDAY, number * 7),
            Period::Month => {
                let (year, month) = (number.div_euclid(12), number.rem_euclid(12));
                Date::constant(year as i16, month as i8 + 1, 1)
            }
            Period::Year => Date::constant(number as i16, 1, 1),
        }
    }
}

fn days_since(first: Date, date: Date) -> i64 {
    let span: Span = date - first;
    span.get_days().into()
}

fn after(first: Date, days: i64) -> Date {
    first
        .checked_add(days.days())
        .expect("a date well inside the calendar")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("a time")
    }

    fn windows(period: Period, zone: &str) -> Calendar {
        Calendar::new(period, Zone::find(zone).expect("a zone"), 0)
    }

    /// The window of a time: start, and length in hours.
    #[track_caller]
    fn check(period: Period, zone: &str, time: &str, start: &str, hours: i64) {
        let windows = windows(period, zone);
        let found = windows.start_of(at(time));
        assert_eq!(found, at(start), "{time}: {found}");
        let end = windows.end_of(found);
        assert_eq!(end.0 - found.0, hours * 3_600_000, "{time}: until {end}");
    }

    #[test]
    fn a_day_begins_and_ends_with_the_date_of_the_zone() {
        let berlin =
            |time, start, hours| check(Period::Days(1), "Europe/Berlin", time, start, hours);
        berlin("2026-05-05T21:59:59.999Z", "2026-05-04T22:00:00Z", 24);
        berlin("2026-05-05T22:00:00Z", "2026-05-05T22:00:00Z", 24);
        // Clocks go forward on 29 March and back on 25 October.
        berlin("2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", 23);
        berlin("2026-03-30T12:00:00Z", "2026-03-29T22:00:00Z", 24);
        berlin("2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", 25);
        berlin("2026-10-25T22:59:59Z", "2026-10-24T22:00:00Z", 25);
        check(
            Period::Days(1),
            "UTC",
            "2026-03-29T12:00:00Z",
            "2026-03-29T00:00:00Z",
            24,
        );
        check(
            Period::Days(1),
            "Asia/Kolkata",
            "2026-03-29T18:30:00Z",
            "2026-03-29T18:30:00Z",
            24,
        );
    }

    #[test]
    fn a_day_without_midnight_begins_an_hour_later() {
        let days = Period::Days(1);
        check(
            days,
            "America/Sao_Paulo",
            "2018-11-04T12:00:00Z",
            "2018-11-04T03:00:00Z",
            23,
        );
        // Havana shows the hour after midnight twice.
        check(
            days,
            "America/Havana",
            "2019-11-03T04:30:00Z",
            "2019-11-03T04:00:00Z",
            25,
        );
        // Samoa left 30 December 2011 out.
        check(
            days,
            "Pacific/Apia",
            "2011-12-30T09:00:00Z",
            "2011-12-29T10:00:00Z",
            24,
        );
        check(
            days,
            "Pacific/Apia",
            "2011-12-30T10:00:00Z",
            "2011-12-30T10:00:00Z",
            24,
        );
    }

    #[test]
    fn days_weeks_months_and_years() {
        let berlin = "Europe/Berlin";
        check(
            Period::Days(2),
            berlin,
            "1970-01-02T12:00:00Z",
            "1969-12-31T23:00:00Z",
            48,
        );
        check(
            Period::Week,
            berlin,
            "2026-03-29T12:00:00Z",
            "2026-03-22T23:00:00Z",
            167,
        );
        check(
            Period::Month,
            berlin,
            "2026-03-29T12:00:00Z",
            "2026-02-28T23:00:00Z",
            743,
        );
        check(
            Period::Month,
            berlin,
            "2024-02-29T12:00:00Z",
            "2024-01-31T23:00:00Z",
            696,
        );
        check(
            Period::Year,
            berlin,
            "2026-12-31T22:59:59Z",
            "2025-12-31T23:00:00Z",
            8_760,
        );
    }

    #[test]
    fn there_are_windows_beyond_the_table_and_at_the_ends_of_time() {
        let berlin =
            |time, start, hours| check(Period::Days(1), "Europe/Berlin", time, start, hours);
        berlin("1969-07-20T20:17:40Z", "1969-07-19T23:00:00Z", 24);
        berlin("2345-07-01T00:00:00Z", "2345-06-30T22:00:00Z", 24);
        for period in [Period::Days(1), Period::Week, Period::Month, Period::Year] {
            let windows = windows(period, "America/New_York");
            for time in [Timestamp(i64::MIN + 1), Timestamp(i64::MAX)] {
                let start = windows.start_of(time);
                assert_eq!(windows.start_of(start), start, "{period} {time}");
                assert!(windows.end_of(start) > start, "{period} {time}");
            }
        }
    }

    #[test]
    fn zones_are_known_by_their_names() {
        assert_eq!(Zone::find("UTC"), Some(Zone::UTC));
        assert_eq!(
            Zone::find("Europe/Berlin")
                .map(|zone| zone.to_string())
                .as_deref(),
            Some("Europe/Berlin")
        );
        assert_eq!(Zone::find("Berlin"), None);
        assert!(Zone::names().count() > 400);
    }

    proptest! {
        /// The table says what the zone says.
        #[test]
        fn windows_are_the_same_in_the_table_and_outside(
            ms in -100_000_000_000i64..4_200_000_000_000, zone in 0usize..5, period in 0usize..5,
        ) {
            let zone = ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu",
                "Pacific/Apia"][zone];
            let period = [Period::Days(1), Period::Days(3), Period::Week, Period::Month, Period::Year][period];
            let windows = windows(period, zone);
            let time = Timestamp(ms);
            let (start, end) = windows.table.bounds(time);
            prop_assert_eq!((start, end), windows.table.computed_bounds(time));
            prop_assert!(start <= time && time < end);
            prop_assert_eq!(windows.start_of(end), end);
            // In São Paulo 1968 was an hour longer than any year of the table.
            let is_in_table = start >= windows.table.starts[0];
            prop_assert!(!is_in_table || end.0 - start.0 <= windows.longest_ms());
        }

        #[test]
        fn open_from_parts_the_closed_windows_from_the_open_ones(
            hours in 0i64..10_000, grace_h in 0i64..80, shift_h in -200i64..200,
        ) {
            let hour_ms = 3_600_000;
            let begin = 1_767_225_600_000;
            let zone = Zone::find("Europe/Berlin").expect("a zone");
            let windows = Calendar::new(Period::Days(1), zone, grace_h * hour_ms);
            let stream_time = Timestamp(begin + hours * hour_ms);
            let start = windows.start_of(stream_time.plus_millis(shift_h * hour_ms));
            prop_assert_eq!(
                windows.is_closed(start, stream_time),
                start < windows.open_from(stream_time)
            );
        }
    }
}
