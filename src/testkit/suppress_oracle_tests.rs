//! What is held back against a model that looks at one record after the other: whenever commits and
//! crashes come in between, the same leaves in the same order.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{DriverOptions, TopologyTestDriver};
use crate::time::Timestamp;

const RECORDS: usize = 60;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// A window of a key, in the order in which results of equal times leave.
type Identity = (String, i64, i64);

/// A result that has left: whose, and how many records, none if it is no more; in seconds.
type Left = (Identity, Option<i64>);

#[derive(Clone, Copy, Debug)]
enum Windows {
    Hopping { size: i64, advance: i64 },
    Session { gap: i64 },
}

#[derive(Clone, Copy, Debug)]
enum Held {
    UntilClose,
    For { time: i64, max_rows: usize },
}

#[derive(Clone, Copy, Debug)]
struct Case {
    windows: Windows,
    grace: i64,
    held: Held,
}

/// One record after the other, everything in memory.
struct Model {
    case: Case,
    stream_time: i64,
    /// Of the results.
    held_time: i64,
    /// The number of records and the largest time.
    results: BTreeMap<Identity, (i64, i64)>,
    /// By the time under which they wait.
    held: BTreeSet<(i64, Identity)>,
    values: BTreeMap<Identity, Option<i64>>,
    left: Vec<Left>,
}

impl Model {
    fn new(case: Case) -> Model {
        Model {
            case,
            stream_time: i64::MIN,
            held_time: i64::MIN,
            results: BTreeMap::new(),
            held: BTreeSet::new(),
            values: BTreeMap::new(),
            left: Vec::new(),
        }
    }

    fn take(&mut self, key: &str, time: i64) {
        self.stream_time = self.stream_time.max(time);
        match self.case.windows {
            Windows::Hopping { size, advance } => self.count(key, time, size, advance),
            Windows::Session { gap } => self.join(key, time, gap),
        }
        self.let_go();
    }

    fn count(&mut self, key: &str, time: i64, size: i64, advance: i64) {
        let first = (time - size).div_euclid(advance) * advance + advance;
        for start in (first..=time).step_by(advance as usize) {
            let end = start + size;
            if end + self.case.grace > self.stream_time {
                let identity = (key.to_owned(), start, end);
                let result = self.results.entry(identity.clone()).or_insert((0, time));
                *result = (result.0 + 1, result.1.max(time));
                let (count, time) = *result;
                self.update(identity, Some(count), time);
            }
        }
    }

    fn join(&mut self, key: &str, time: i64, gap: i64) {
        let reached = |(other, start, end): &Identity| {
            other == key && *start <= time + gap && *end >= time - gap
        };
        let met: Vec<Identity> = self
            .results
            .keys()
            .filter(|it| reached(it))
            .cloned()
            .collect();
        let starts = met.iter().map(|(_, start, _)| *start);
        let ends = met.iter().map(|(_, _, end)| *end);
        let start = starts.chain([time]).min().unwrap();
        let end = ends.chain([time]).max().unwrap();
        if end < self.stream_time - self.case.grace - gap {
            return;
        }
        let mut count = 1;
        let mut gone: Vec<_> = met.iter().collect();
        gone.sort_by_key(|(_, _, end)| *end);
        for identity in gone {
            count += self.results.remove(identity).unwrap().0;
            if (identity.1, identity.2) != (time, time) {
                self.update(identity.clone(), None, identity.2);
            }
        }
        let identity = (key.to_owned(), start, end);
        self.results.insert(identity.clone(), (count, end));
        self.update(identity, Some(count), end);
    }

    fn update(&mut self, identity: Identity, value: Option<i64>, time: i64) {
        self.held_time = self.held_time.max(time);
        match (self.case.held, value) {
            (Held::UntilClose, None) => {
                self.held.remove(&(identity.2, identity.clone()));
            }
            (Held::UntilClose, Some(_)) => {
                self.held.insert((identity.2, identity.clone()));
            }
            (Held::For { .. }, _) if self.held.iter().any(|(_, held)| *held == identity) => {}
            (Held::For { .. }, _) => {
                self.held.insert((time, identity.clone()));
            }
        }
        self.values.insert(identity, value);
    }

    fn let_go(&mut self) {
        let after_end = match self.case.windows {
            Windows::Hopping { .. } => self.case.grace,
            Windows::Session { gap } => gap + self.case.grace,
        };
        while let Some((time, identity)) = self.held.first() {
            let is_due = match self.case.held {
                Held::UntilClose => time + after_end <= self.held_time,
                Held::For {
                    time: wait,
                    max_rows,
                } => time + wait <= self.held_time || self.held.len() > max_rows,
            };
            if !is_due {
                break;
            }
            self.left.push((identity.clone(), self.values[identity]));
            self.held.pop_first();
        }
    }
}

fn topology(case: Case) -> String {
    let window = match case.windows {
        Windows::Hopping { size, advance } if size == advance => format!("tumbling: {size}s"),
        Windows::Hopping { size, advance } => format!("hopping: {size}s, advance: {advance}s"),
        // What is closed is still there to be joined, as in the model.
        Windows::Session { gap } => format!("session: {gap}s, retention: 1h"),
    };
    let held = match case.held {
        Held::UntilClose => "until: close".to_owned(),
        Held::For { time, max_rows } => format!("for: {time}s, max_rows: {max_rows}"),
    };
    let grace = case.grace;
    format!(
        "
app: app
nodes:
  s: {{ source: {{ topic: in, key: k }} }}
  counts:
    aggregate: {{ from: s, by: k, window: {{ {window}, grace: {grace}s }}, set: {{ n: count() }} }}
  held: {{ suppress: {{ from: counts, {held} }} }}
  out:
    kafka:
      from: held
      topic: out
      key: \"json([k, int(window_start), int(window_end)])\"
      fields: {{ n: n }}
"
    )
}

fn left(driver: &mut TopologyTestDriver) -> Vec<Left> {
    let records = driver.read("out").into_iter();
    let parsed = records.map(|record| {
        let identity = serde_json::from_slice(&record.key.unwrap()).unwrap();
        let value = record.value.map(|value| {
            let value: serde_json::Value = serde_json::from_slice(&value).unwrap();
            value["n"].as_i64().unwrap()
        });
        (identity, value)
    });
    parsed.collect()
}

/// Records of several keys whose times go on, with some that come late, up to so much; the times are
/// even.
fn records(random: &mut StdRng, latest: i64) -> Vec<(&'static str, i64)> {
    let mut now = 1_000;
    let mut record = |_| {
        now += 2 * random.random_range(0..6);
        let late = match random.random_range(0..4) {
            0 => 2 * random.random_range(0..=latest / 2),
            _ => 0,
        };
        (KEYS[random.random_range(0..KEYS.len())], now - late)
    };
    let mut records: Vec<_> = (0..RECORDS).map(&mut record).collect();
    // Nothing is left waiting.
    records.push(("z", 100_000));
    records.push(("z", 200_000));
    records
}

/// Whether all commits are there, one after each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commits {
    Each,
    Random,
}

#[track_caller]
fn check(seed: u64, case: Case, commits: Commits) {
    let random = &mut StdRng::seed_from_u64(seed);
    // A record that is later than the grace may join a session that is closed, and may have left.
    let latest = match (case.windows, commits) {
        (Windows::Session { .. }, Commits::Random) => case.grace - 1,
        _ => 60,
    };
    let records = records(random, latest);
    let options = DriverOptions {
        commit_each: commits == Commits::Each,
        ..DriverOptions::default()
    };
    let topology = crate::config::parse(&topology(case), "t.yaml").unwrap();
    let mut driver = TopologyTestDriver::with_options(&topology, options).unwrap();
    let mut model = Model::new(case);
    let mut found = Vec::new();
    for (key, time) in records {
        let value = format!(r#"{{"k":"{key}"}}"#);
        let time_ms = Timestamp(time * 1_000);
        let piped = driver.try_pipe("in", Some(key.as_bytes()), Some(value.as_bytes()), time_ms);
        piped.unwrap();
        model.take(key, time);
        match random.random_range(0..12) {
            0..4 => driver.commit().unwrap(),
            4 => {
                driver.crash();
                driver.restart().unwrap();
            }
            5 => {
                driver.lose_state();
                driver.restart().unwrap();
            }
            _ => {}
        }
        found.extend(left(&mut driver));
    }
    driver.commit().unwrap();
    found.extend(left(&mut driver));
    assert_eq!(found, model.left, "seed {seed}, {case:?}, {commits:?}");
}

#[test]
fn until_close_the_same_results_leave_in_the_same_order_whenever_commits_come() {
    for seed in 0..60 {
        let random = &mut StdRng::seed_from_u64(seed);
        let advance = 2 * random.random_range(1..8);
        let windows = match seed % 3 {
            0 => Windows::Hopping {
                size: advance,
                advance,
            },
            1 => {
                let size = advance * random.random_range(1..4) + 2 * random.random_range(0..2);
                Windows::Hopping { size, advance }
            }
            _ => Windows::Session {
                gap: 2 * random.random_range(1..6),
            },
        };
        // All times are even: no record comes in the millisecond in which a session has left and is not
        // closed yet.
        let grace = match windows {
            Windows::Hopping { .. } => random.random_range(0..30),
            Windows::Session { .. } => 2 * random.random_range(0..15) + 1,
        };
        let case = Case {
            windows,
            grace,
            held: Held::UntilClose,
        };
        check(seed, case, Commits::Each);
        check(seed, case, Commits::Random);
    }
}

/// What leaves in between depends on which updates the aggregate sends, one with each commit.
#[test]
fn for_a_time_what_has_waited_so_long_leaves_and_what_finds_no_room() {
    for seed in 0..40 {
        let random = &mut StdRng::seed_from_u64(seed);
        let size = 2 * random.random_range(1..8);
        let windows = match seed % 2 {
            0 => Windows::Hopping {
                size,
                advance: size,
            },
            _ => Windows::Session { gap: size },
        };
        let case = Case {
            windows,
            grace: random.random_range(0..40),
            held: Held::For {
                time: random.random_range(1..40),
                max_rows: random.random_range(1..12),
            },
        };
        check(seed, case, Commits::Each);
    }
}
