//! What windows are, in the simplest way there is: all records are known, and every window is looked
//! at.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::{Case, PARTITIONS, Sent};
use crate::topology::graph::WindowKind;
use crate::window::Period;

/// By key, start and end: how many records, and the sum of their `x`.
pub(super) type Results = BTreeMap<(String, i64, i64), (i64, i64)>;

pub(super) struct Expected {
    pub(super) results: Results,
    /// How many windows records came too late for.
    pub(super) late: u64,
}

pub(super) fn expected(case: Case, sent: &[Sent]) -> Expected {
    let judged = judge(sent);
    match case.kind {
        WindowKind::Tumbling { size_ms } => {
            grid(case, &judged, |time| hops(time, size_ms, size_ms))
        }
        WindowKind::Hopping {
            size_ms,
            advance_ms,
        } => grid(case, &judged, |time| hops(time, size_ms, advance_ms)),
        WindowKind::Calendar { period, zone } => {
            let zone = TimeZoneDatabase::bundled().get(&zone.to_string());
            let zone = zone.expect("a zone");
            grid(case, &judged, |time| vec![in_calendar(time, period, &zone)])
        }
        WindowKind::Sliding { difference_ms } => {
            of_records(case, &judged, |times| sliding(times, difference_ms))
        }
        WindowKind::Session { gap_ms } => {
            of_records(case, &judged, |times| sessions(times, gap_ms))
        }
    }
}

/// Each record with the highest time of its partition, its own included: by that it is judged, also
/// behind a repartition.
fn judge(sent: &[Sent]) -> Vec<(Sent, i64)> {
    let mut highest = [i64::MIN; PARTITIONS as usize];
    let judge = |record: &Sent| {
        let stream_time = &mut highest[record.partition as usize];
        *stream_time = record.time.max(*stream_time);
        (*record, *stream_time)
    };
    sent.iter().map(judge).collect()
}

/// Windows that begin at multiples of the advance.
fn hops(time: i64, size_ms: i64, advance_ms: i64) -> Vec<(i64, i64)> {
    let last = time.div_euclid(advance_ms) * advance_ms;
    let starts = (0..).map(|back| last - back * advance_ms);
    let starts = starts.take_while(|start| start + size_ms > time);
    starts.map(|start| (start, start + size_ms)).collect()
}

/// As far as clocks of the zone show a date of the same window: looked for in steps of half a day, and
/// from there in steps of a minute.
fn in_calendar(time: i64, period: Period, zone: &TimeZone) -> (i64, i64) {
    const MINUTE_MS: i64 = 60_000;
    const HALF_DAY_MS: i64 = 12 * 60 * MINUTE_MS;
    let window = |time: i64| {
        let at = jiff::Timestamp::from_millisecond(time).expect("a time");
        let date = zone.to_datetime(at).date();
        let day = (date - Date::constant(1970, 1, 1)).get_days();
        match period {
            Period::Days(days) => (day.div_euclid(days as i32), 0),
            // The first of January 1970 was a Thursday.
            Period::Week => ((day + 3).div_euclid(7), 0),
            Period::Month => (i32::from(date.year()), i32::from(date.month())),
            Period::Year => (i32::from(date.year()), 0),
        }
    };
    let is_in = |other: i64| window(other) == window(time);
    let mut start = time.div_euclid(MINUTE_MS) * MINUTE_MS;
    let mut end = start;
    while is_in(start) {
        start -= HALF_DAY_MS;
    }
    while !is_in(start) {
        start += MINUTE_MS;
    }
    while is_in(end) {
        end += HALF_DAY_MS;
    }
    while !is_in(end - MINUTE_MS) {
        end -= MINUTE_MS;
    }
    (start, end)
}

/// Windows that lie fast. Each is closed when its end and the grace have been reached.
fn grid(case: Case, judged: &[(Sent, i64)], windows: impl Fn(i64) -> Vec<(i64, i64)>) -> Expected {
    let mut results = Results::new();
    let mut late = 0;
    for (record, stream_time) in judged {
        for (start, end) in windows(record.time) {
            match end + case.grace_ms() <= *stream_time {
                true => late += 1,
                false => add(&mut results, record, (start, end)),
            }
        }
    }
    Expected { results, late }
}

/// Windows that lie as the records of a key do. Those that are within the grace are in all of their
/// windows, and the others, which are much too late, in none.
fn of_records(
    case: Case,
    judged: &[(Sent, i64)],
    windows: impl Fn(&BTreeSet<i64>) -> Vec<(i64, i64)>,
) -> Expected {
    let is_late =
        |(record, stream_time): &&(Sent, i64)| record.time < stream_time - case.grace_ms();
    let (late, taken): (Vec<_>, Vec<_>) = judged.iter().partition(is_late);
    let mut times: BTreeMap<u8, BTreeSet<i64>> = BTreeMap::new();
    for (record, _) in &taken {
        times.entry(record.key).or_default().insert(record.time);
    }
    let mut results = Results::new();
    for (key, times) in &times {
        for (start, end) in windows(times) {
            let is_inside =
                |record: &Sent| record.key == *key && (start..=end).contains(&record.time);
            for (record, _) in taken.iter().filter(|(record, _)| is_inside(record)) {
                add(&mut results, record, (start, end));
            }
        }
    }
    Expected {
        results,
        late: late.len() as u64,
    }
}

/// Those that end with a record, and those that begin right after one and have another in them.
fn sliding(times: &BTreeSet<i64>, difference_ms: i64) -> Vec<(i64, i64)> {
    let with = times.iter().map(|time| (time - difference_ms, *time));
    let behind = times
        .iter()
        .map(|time| (time + 1, time + 1 + difference_ms));
    let behind = behind.filter(|(start, end)| times.range(start..=end).next().is_some());
    let windows: BTreeSet<_> = with.chain(behind).collect();
    windows.into_iter().collect()
}

/// From a record to the last that follows it, each at most the gap after another.
fn sessions(times: &BTreeSet<i64>, gap_ms: i64) -> Vec<(i64, i64)> {
    let mut sessions: Vec<(i64, i64)> = Vec::new();
    for time in times {
        match sessions.last_mut() {
            Some((_, end)) if *time - *end <= gap_ms => *end = *time,
            _ => sessions.push((*time, *time)),
        }
    }
    sessions
}

fn add(results: &mut Results, record: &Sent, (start, end): (i64, i64)) {
    let identity = (format!("k{}", record.key), start, end);
    let (n, sum) = results.entry(identity).or_default();
    *n += 1;
    *sum += record.x;
}
