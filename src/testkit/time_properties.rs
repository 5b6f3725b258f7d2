//! Time that does not depend on luck: the same records give the same results, whatever is read first,
//! in whatever portions, at the pace at which they were made or all at once, with commits anywhere.
//!
//! ```text
//!   a-0  ●  ● ●   ●      ┐                ┐ windows by user:
//!   b-0    ●   ●    ● ●  ┴→ merged, task 0 ├→ each holds what its definition says,
//!   a-1  ● ●   ●   ●     ┐                │ and nothing is late that was not
//!   b-1   ●  ●    ●      ┴→ merged, task 1 ┘
//! ```
//!
//! Between the records and the windows there may be something that moves them one by one ([`Front`]).

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::broker::{Isolation, TopicPartition};
use crate::processor::DropReason;
use crate::time::Timestamp;
use crate::topology::builder::{Builder, Deduplicate, Join, KafkaSink, Rollup, Source, Table};
use crate::topology::duration::Millis;
use crate::topology::graph::{Emit, JoinKind, Topology, WindowKind};
use crate::window::{Period, Zone};

const PARTITIONS: i32 = 4;
const SIZE_MS: i64 = 1_000;
const ADVANCE_MS: i64 = 400;
const GRACE_MS: i64 = 200;
const GAP_MS: i64 = 150;
const DIFFERENCE_MS: i64 = 250;
const BEGIN_MS: i64 = 100_000;
/// Times of days are as many times longer.
const DAYS: i64 = 40_000;

/// What moves records one by one before they come to the windows. All of them get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    Nothing,
    /// A key that no two records have, by which duplicates are dropped; the windows are of users, so
    /// there is a second repartition.
    Deduplicate,
    /// The row of a user, whose key the records get; the windows are where it is.
    Table,
    /// A record of another stream, of which there is none: they leave when their time is up.
    Stream,
    /// The same, and moved on.
    StreamAndKey,
}

/// A record, where it lies.
#[derive(Clone, Debug)]
struct Sent {
    topic: &'static str,
    partition: i32,
    /// None: a filter holds it back. It counts for the time of its partition all the same.
    user: Option<u8>,
    time: i64,
}

/// How the records come to the engine.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// One after the other as they were made, each read and perhaps committed before the next.
    Live,
    /// All at once, after they were made.
    Replay,
    /// One partition wholly, committed, before the others.
    OneFarAhead,
}

/// Which windows there are.
#[derive(Clone, Copy, Debug)]
struct Shape {
    kind: WindowKind,
    /// How long a millisecond of the constants is.
    scale: i64,
    begin_ms: i64,
}

/// By user, start and end: how many.
type Results = BTreeMap<(String, i64, i64), i64>;

fn topology(shape: Shape, front: Front, topics: &[&'static str]) -> Topology {
    let mut builder = Topology::builder("app");
    for topic in topics {
        let source = Source::json(topic).timestamp("at").no_max_ahead();
        builder = builder.source(&format!("{topic}_in"), source);
    }
    let inputs: Vec<String> = topics.iter().map(|topic| format!("{topic}_in")).collect();
    let from = match inputs.as_slice() {
        [only] => only.clone(),
        several => {
            builder = builder.merge("all", several.iter().map(String::as_str));
            "all".to_owned()
        }
    };
    builder = builder.filter("heard", &from, "user != 'noise'");
    let from = "heard".to_owned();
    let hour = Millis(3_600_000);
    let others = |builder: Builder| {
        let builder = builder.source("others", Source::json("others").key("user"));
        builder.select_key("by_user", &from, "user")
    };
    let alone = Join::with("others", "other").within(Millis(SIZE_MS * shape.scale));
    let alone = alone.kind(JoinKind::Left);
    let (builder, from) = match front {
        Front::Nothing => (builder, from.as_str()),
        Front::Deduplicate => {
            let deduplicate = Deduplicate::within(Millis(1)).grace(Millis(i64::MAX / 4));
            let builder = builder.select_key("by_id", &from, "id");
            (builder.deduplicate("front", "by_id", deduplicate), "front")
        }
        Front::Table => {
            let table = Join::with("rows", "other").kind(JoinKind::Left);
            let builder = others(builder).table("rows", "others", Table::new());
            (builder.join("front", "by_user", table), "front")
        }
        Front::Stream => (others(builder).join("front", "by_user", alone), "front"),
        Front::StreamAndKey => {
            let deduplicate = Deduplicate::within(hour).grace(Millis(i64::MAX / 4));
            let builder = others(builder).join("alone", "by_user", alone);
            let builder = builder.select_key("by_id", "alone", "id");
            (builder.deduplicate("front", "by_id", deduplicate), "front")
        }
    };
    let rollup = Rollup::by(["user"])
        .windows(shape.kind)
        .grace(Millis(GRACE_MS * shape.scale))
        .emit(Emit::Close)
        .set("n", "count()");
    let sink = KafkaSink::topic("out").key("json([user, window_start, window_end])");
    builder
        .aggregate("windows", from, rollup)
        .kafka("out", "windows", sink.field("n", "n"))
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Records over some seconds, in the order in which they were made, out of order by at most the
/// grace; some much later than that, if those are wanted.
fn records(
    random: &mut StdRng,
    shape: Shape,
    topics: &[&'static str],
    with_late: bool,
) -> Vec<Sent> {
    let noise = match with_late {
        true => [0.0, 0.3][random.random_range(0..2)],
        false => 0.0,
    };
    let mut clock = 0;
    let mut sent = Vec::new();
    for _ in 0..random.random_range(50..400) {
        clock += random.random_range(0..60);
        let late_ms = match random.random_range(0..10) {
            0 if with_late => random.random_range(0..5 * SIZE_MS),
            0..4 => random.random_range(0..GRACE_MS),
            _ => 0,
        };
        sent.push(Sent {
            topic: topics[random.random_range(0..topics.len())],
            partition: random.random_range(0..PARTITIONS),
            user: (!random.random_bool(noise)).then(|| random.random_range(0..6)),
            time: shape.begin_ms + (clock - late_ms) * shape.scale,
        });
    }
    sent
}

/// What windows of a grid hold, and how often a record is late for one of them in its own partition.
fn on_a_grid(
    sent: &[Sent],
    shape: Shape,
    windows_of: impl Fn(i64) -> Vec<(i64, i64)>,
) -> (Results, u64) {
    let mut highest: BTreeMap<i32, i64> = BTreeMap::new();
    let (mut results, mut late) = (Results::new(), 0);
    for record in sent {
        let stream_time = highest.entry(record.partition).or_insert(record.time);
        *stream_time = record.time.max(*stream_time);
        let Some(user) = record.user else {
            continue;
        };
        for (start, end) in windows_of(record.time) {
            if end + GRACE_MS * shape.scale <= *stream_time {
                late += 1;
                continue;
            }
            let user = format!("u{user}");
            *results.entry((user, start, end)).or_default() += 1;
        }
    }
    (results, late)
}

/// The windows of a size that hold a time, one beginning so long after the other.
fn hops(time: i64, size: i64, advance: i64) -> Vec<(i64, i64)> {
    let last = time.div_euclid(advance) * advance;
    let starts = (0..).map(|hop| last - hop * advance);
    let starts = starts.take_while(|start| start + size > time);
    starts.map(|start| (start, start + size)).collect()
}

/// The day in Berlin that holds a time, in spring of 2026: that of the 29th of March has 23 hours.
fn day_in_berlin(time: i64) -> Vec<(i64, i64)> {
    const HOUR_MS: i64 = 3_600_000;
    let short = Timestamp::parse_rfc3339("2026-03-28T23:00:00Z").unwrap().0;
    let next = short + 23 * HOUR_MS;
    let day = |midnight: i64| {
        let start = midnight + (time - midnight).div_euclid(24 * HOUR_MS) * 24 * HOUR_MS;
        (start, start + 24 * HOUR_MS)
    };
    vec![match time {
        _ if time < short => day(short),
        _ if time < next => (short, next),
        _ => day(next),
    }]
}

/// The times of each user's records, in order.
fn times(sent: &[Sent]) -> BTreeMap<u8, Vec<i64>> {
    let mut times: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
    for record in sent {
        let user = record.user.expect("no noise where nothing is late");
        times.entry(user).or_default().push(record.time);
    }
    times.values_mut().for_each(|times| times.sort_unstable());
    times
}

/// What sliding windows hold, where nothing is late: those that end with a record, and those that begin
/// behind one and hold another.
fn sliding(sent: &[Sent]) -> Results {
    let mut results = Results::new();
    for (user, times) in times(sent) {
        for time in &times {
            for start in [time - DIFFERENCE_MS, time + 1] {
                let window = start..=start + DIFFERENCE_MS;
                let count = times.iter().filter(|time| window.contains(time)).count();
                if count > 0 {
                    let key = (format!("u{user}"), start, start + DIFFERENCE_MS);
                    results.insert(key, count as i64);
                }
            }
        }
    }
    results
}

/// What sessions hold, where nothing is late.
fn in_sessions(sent: &[Sent]) -> Results {
    let mut results = Results::new();
    for (user, times) in times(sent) {
        let together = times.chunk_by(|one, next| next - one <= GAP_MS);
        for session in together {
            let (start, end) = (session[0], session[session.len() - 1]);
            results.insert((format!("u{user}"), start, end), session.len() as i64);
        }
    }
    results
}

/// A run of the engine.
struct Play {
    driver: TopologyTestDriver,
    /// How many records there are.
    piped: usize,
    topics: Vec<&'static str>,
    random: StdRng,
}

impl Play {
    fn pipe(&mut self, record: &Sent) {
        let user = record
            .user
            .map_or("noise".to_owned(), |user| format!("u{user}"));
        self.pipe_of(record.topic, record.partition, record.time, &user);
    }

    fn pipe_of(&mut self, topic: &str, partition: i32, at: i64, user: &str) {
        self.piped += 1;
        let id = format!("id {}", self.piped);
        let value = format!(r#"{{"user":"{user}","at":{at},"id":"{id}"}}"#);
        let record = TestRecord::text(&value).in_partition(partition);
        let piped = self.driver.pipe_record(topic, &record.at(Timestamp(at)));
        piped.unwrap();
    }

    /// What is piped from here on waits in its topics.
    fn stand_still(&mut self) {
        self.driver.commit().unwrap();
        self.driver.crash();
    }

    /// Reads what waits, in portions and an order of chance.
    fn go_on(&mut self) {
        self.driver.broker().shuffle_reads(self.random.random());
        self.driver.restart().unwrap();
        // A driver takes it for quiet when nothing has come through in a few rounds, as by chance.
        for _ in 0..1_000 {
            self.driver.commit().unwrap();
            if self.is_all_read() {
                return;
            }
        }
        panic!("something is never read");
    }

    fn is_all_read(&self) -> bool {
        let broker = self.driver.broker();
        let read = broker.committed_offsets("app");
        self.topics.iter().all(|topic| {
            (0..PARTITIONS).all(|partition| {
                let written = broker
                    .records(topic, partition, Isolation::ReadCommitted)
                    .len();
                let next = read.get(&TopicPartition::new(*topic, partition));
                next.copied().unwrap_or(0) == written as i64
            })
        })
    }

    fn records(&mut self, sent: &[Sent], pace: Pace) {
        match pace {
            Pace::Live => {
                for record in sent {
                    self.pipe(record);
                    if self.random.random_bool(0.1) {
                        self.driver.commit().unwrap();
                    }
                }
            }
            Pace::Replay => {
                self.stand_still();
                sent.iter().for_each(|record| self.pipe(record));
                self.go_on();
            }
            Pace::OneFarAhead => {
                let mut first: Vec<i32> = (0..PARTITIONS).collect();
                first.shuffle(&mut self.random);
                let (ahead, rest): (Vec<_>, Vec<_>) =
                    sent.iter().partition(|record| record.partition == first[0]);
                for part in [ahead, rest] {
                    self.stand_still();
                    part.into_iter().for_each(|record| self.pipe(record));
                    self.go_on();
                }
            }
        }
    }

    /// Time goes on everywhere; everything has left then.
    fn results(mut self, end_ms: i64) -> (Results, u64) {
        for topic in self.topics.clone() {
            for partition in 0..PARTITIONS {
                self.pipe_of(topic, partition, end_ms, &format!("end of {topic}"));
            }
        }
        // The topic of the other stream has nothing, and says so.
        for _ in 0..6 {
            self.driver.advance_wall_clock(5_001).unwrap();
            self.driver.commit().unwrap();
        }
        let mut results = Results::new();
        for record in self.driver.read("out") {
            let key: (String, String, String) =
                serde_json::from_slice(&record.key.unwrap()).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
            let ms = |text: &str| Timestamp::parse_rfc3339(text).unwrap().0;
            let key = (key.0, ms(&key.1), ms(&key.2));
            let before = results.insert(key.clone(), value["n"].as_i64().unwrap());
            assert_eq!(before, None, "{key:?} has left twice");
        }
        results.retain(|(user, ..), _| !user.starts_with("end"));
        (results, self.driver.drops("windows", DropReason::Late))
    }
}

fn one_answer(shape: Shape, topics: &[&'static str], with_late: bool, seed: u64) {
    one_answer_behind(Front::Nothing, shape, topics, with_late, seed);
}

fn one_answer_behind(
    front: Front,
    shape: Shape,
    topics: &[&'static str],
    with_late: bool,
    seed: u64,
) {
    let random = &mut StdRng::seed_from_u64(seed);
    let sent = records(random, shape, topics, with_late);
    let (expected, late) = match shape.kind {
        WindowKind::Tumbling { size_ms } => {
            on_a_grid(&sent, shape, |time| hops(time, size_ms, size_ms))
        }
        WindowKind::Hopping {
            size_ms,
            advance_ms,
        } => on_a_grid(&sent, shape, |time| hops(time, size_ms, advance_ms)),
        WindowKind::Calendar { .. } => on_a_grid(&sent, shape, day_in_berlin),
        WindowKind::Sliding { .. } => (sliding(&sent), 0),
        WindowKind::Session { .. } => (in_sessions(&sent), 0),
    };
    assert!(with_late || late == 0, "the records are as late as that");
    for pace in [Pace::Live, Pace::Replay, Pace::Replay, Pace::OneFarAhead] {
        let options = DriverOptions {
            partitions: PARTITIONS as u32,
            commit_each: random.random_bool(0.5),
            ..DriverOptions::default()
        };
        let topology = topology(shape, front, topics);
        let mut play = Play {
            driver: TopologyTestDriver::with_options(&topology, options).unwrap(),
            piped: 0,
            topics: topics.to_vec(),
            random: StdRng::seed_from_u64(random.random()),
        };
        play.records(&sent, pace);
        let (found, dropped) = play.results(shape.begin_ms + 10_000_000 * shape.scale);
        assert_eq!(found, expected, "seed {seed}, {front:?}, {pace:?}");
        assert_eq!(dropped, late, "seed {seed}, {front:?}, {pace:?}");
    }
}

fn of(kind: WindowKind) -> Shape {
    Shape {
        kind,
        scale: 1,
        begin_ms: BEGIN_MS,
    }
}

const TUMBLING: WindowKind = WindowKind::Tumbling { size_ms: SIZE_MS };

#[test]
fn windows_behind_a_repartition_have_one_answer() {
    (0..15).for_each(|seed| one_answer(of(TUMBLING), &["a"], true, seed));
}

#[test]
fn hopping_windows_behind_a_repartition_have_one_answer() {
    let hopping = WindowKind::Hopping {
        size_ms: SIZE_MS,
        advance_ms: ADVANCE_MS,
    };
    (300..315).for_each(|seed| one_answer(of(hopping), &["a"], true, seed));
}

#[test]
fn days_behind_a_repartition_have_one_answer() {
    let days = Shape {
        kind: WindowKind::Calendar {
            period: Period::Days(1),
            zone: Zone::find("Europe/Berlin").expect("a zone"),
        },
        scale: DAYS,
        begin_ms: Timestamp::parse_rfc3339("2026-03-28T00:00:00Z").unwrap().0,
    };
    (400..415).for_each(|seed| one_answer(days, &["a"], true, seed));
}

#[test]
fn sliding_windows_behind_a_repartition_have_one_answer() {
    let sliding = WindowKind::Sliding {
        difference_ms: DIFFERENCE_MS,
    };
    (500..515).for_each(|seed| one_answer(of(sliding), &["a"], false, seed));
}

#[test]
fn sessions_behind_a_repartition_have_one_answer() {
    let sessions = WindowKind::Session { gap_ms: GAP_MS };
    (100..115).for_each(|seed| one_answer(of(sessions), &["a"], false, seed));
}

/// Two inputs of a task are taken by time, so neither makes a record of the other late.
#[test]
fn merged_inputs_have_one_answer() {
    (200..215).for_each(|seed| one_answer(of(TUMBLING), &["a", "b"], false, seed));
}

#[test]
fn behind_what_moves_records_one_by_one_there_is_one_answer_too() {
    let fronts = [
        Front::Deduplicate,
        Front::Table,
        Front::Stream,
        Front::StreamAndKey,
    ];
    for (at, front) in (0..).zip(fronts) {
        let seeds = 600 + 10 * at..607 + 10 * at;
        seeds.for_each(|seed| one_answer_behind(front, of(TUMBLING), &["a"], true, seed));
    }
}

#[test]
fn sessions_behind_what_moves_records_one_by_one_have_one_answer_too() {
    let sessions = of(WindowKind::Session { gap_ms: GAP_MS });
    for front in [Front::Deduplicate, Front::Table, Front::StreamAndKey] {
        (700..704).for_each(|seed| one_answer_behind(front, sessions, &["a"], false, seed));
    }
}
