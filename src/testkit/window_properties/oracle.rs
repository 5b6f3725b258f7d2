//! What windows are, in the simplest way there is: all records are known, and every window is looked
//! at.

use std::collections::{BTreeMap, BTreeSet};

use super::{Case, PARTITIONS, Sent};
use crate::topology::graph::WindowKind;

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
        WindowKind::Tumbling { size_ms } => grid(case, size_ms, size_ms, &judged),
        WindowKind::Hopping {
            size_ms,
            advance_ms,
        } => grid(case, size_ms, advance_ms, &judged),
        WindowKind::Sliding { difference_ms } => {
            of_records(case, &judged, |times| sliding(times, difference_ms))
        }
        WindowKind::Session { gap_ms } => {
            of_records(case, &judged, |times| sessions(times, gap_ms))
        }
        kind => unreachable!("no property looks at {kind}"),
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

/// Windows that begin at multiples of the advance. Each is closed when its end and the grace have
/// been reached.
fn grid(case: Case, size_ms: i64, advance_ms: i64, judged: &[(Sent, i64)]) -> Expected {
    let mut results = Results::new();
    let mut late = 0;
    for (record, stream_time) in judged {
        let last = record.time.div_euclid(advance_ms) * advance_ms;
        let starts = (0..).map(|back| last - back * advance_ms);
        for start in starts.take_while(|start| start + size_ms > record.time) {
            let end = start + size_ms;
            match end + case.grace_ms <= *stream_time {
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
    let is_late = |(record, stream_time): &&(Sent, i64)| record.time < stream_time - case.grace_ms;
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
