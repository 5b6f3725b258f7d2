//! The whole way of an event, as in production: from EventStreams (a double of it that serves what
//! was recorded from the real one) through `tidemill ingest wikimedia` into a real Kafka, and through
//! `tidemill run` into a real database.
//!
//! ```text
//!  double ──► ingest wikimedia ──► Kafka ──► run ──► MySQL or MariaDB
//!    │ cuts      (a process)         │      (a process)      │
//!    │                               ▼                       ▼
//!    └──────────────── each event exactly once,     tables equal to the oracle,
//!                                                    every gap of the recording in its own
//! ```
//!
//! Every pair of the data folder whose events say where they lay in Wikimedia's Kafka is served, the
//! whole of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tidemill::time::Timestamp;

use crate::eventstreams::{Answer, Double, End};
use crate::harness::{
    Pair, Run, Tidemill, assert_tables, data_folder, databases, is_wikiticker, kafka, lines, pairs,
    skip, wait_for_tables, wait_until,
};

const ENDS: [End; 4] = [End::Close, End::Break, End::MidFrame, End::Error];

/// So many runs at a time: each waits for Kafka and a database now and then.
const AT_A_TIME: usize = 4;

/// The topics of a stream, whether or not the recording has events of both data centres.
const TOPICS: [&str; 2] = [
    "eqiad.mediawiki.recentchange",
    "codfw.mediawiki.recentchange",
];

/// A recording, as the service had it.
struct Recording {
    pair: Pair,
    /// Events and where they lay, in the order of the file; within a topic in that of the log.
    events: Vec<Event>,
}

#[derive(Clone)]
struct Event {
    topic: String,
    offset: i64,
    time: Timestamp,
    id: String,
    line: String,
}

/// When connections end.
#[derive(Clone, Copy, Debug)]
enum Cuts {
    /// After every so many events, with each kind of end in turn.
    Every(u64),
    /// At random.
    Seeded(u64),
}

impl Event {
    /// None when the recorder has not kept where the event lay.
    fn read(line: Vec<u8>) -> Option<Event> {
        let line = String::from_utf8(line).ok()?;
        let event: Value = serde_json::from_str(&line).ok()?;
        let meta = &event["meta"];
        Some(Event {
            topic: meta["topic"].as_str()?.to_owned(),
            offset: meta["offset"].as_i64()?,
            time: Timestamp::parse_rfc3339(meta["dt"].as_str()?).ok()?,
            id: meta["id"].as_str()?.to_owned(),
            line,
        })
    }
}

impl Recording {
    /// None when some event does not say where it lay.
    fn read(pair: Pair) -> Option<Recording> {
        let read: Option<Vec<Event>> = lines(&pair.events).into_iter().map(Event::read).collect();
        let read = read?;
        // A recorder that was cut off itself has written events twice, and some late.
        let mut logs: BTreeMap<String, BTreeMap<i64, Event>> = BTreeMap::new();
        for event in &read {
            let log = logs.entry(event.topic.clone()).or_default();
            log.entry(event.offset).or_insert_with(|| event.clone());
        }
        let next = |event: Event| Some(logs.get_mut(&event.topic)?.pop_first()?.1);
        let events = read.into_iter().filter_map(next).collect();
        Some(Recording { pair, events })
    }

    /// A service with the recording's topics, without events as yet.
    fn serve(&self) -> Double {
        let mut topics: Vec<&str> = self.events.iter().map(|event| &*event.topic).collect();
        topics.extend(TOPICS);
        topics.sort_unstable();
        topics.dedup();
        Double::start(&[("recentchange", &topics)])
    }

    /// A time before all events.
    fn beginning(&self) -> Timestamp {
        let first = self.events.iter().map(|event| event.time).min();
        first.expect("events").plus_millis(-1000)
    }

    /// Topic, and the offsets before and behind each gap: what a recorder has left out was never in
    /// the double's log either. None when events came twice, and offsets tell nothing.
    fn gaps(&self) -> Option<BTreeSet<Vec<String>>> {
        let ids: BTreeSet<&str> = self.events.iter().map(|event| &*event.id).collect();
        if ids.len() < self.events.len() {
            return None;
        }
        let mut next: BTreeMap<&str, i64> = BTreeMap::new();
        let mut gaps = BTreeSet::new();
        for Event { topic, offset, .. } in &self.events {
            match next.insert(topic, offset + 1) {
                Some(expected) if expected != *offset => {
                    gaps.insert(vec![
                        topic.clone(),
                        expected.to_string(),
                        offset.to_string(),
                    ]);
                }
                _ => {}
            }
        }
        Some(gaps)
    }

    /// Waits until the table of gaps holds as many as there are, and returns them.
    fn wait_for_gaps(&self, run: &Run, gaps: usize) -> BTreeSet<Vec<String>> {
        let query = "SELECT topic, expected_offset, found_offset FROM v_tidemill_gaps";
        let mut found = Vec::new();
        wait_until("all gaps", Duration::from_secs(60), || {
            found = run.database.rows(query).expect("an answer");
            found.len() >= gaps
        });
        found.into_iter().collect()
    }

    /// The topic holds each event, byte for byte and once, and nothing else.
    #[track_caller]
    fn check_topic(&self, run: &Run, context: &str) {
        let mut expected: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for event in &self.events {
            expected.entry(&event.id).or_insert(event.line.as_bytes());
        }
        let mut expected: Vec<&[u8]> = expected.into_values().collect();
        let found = run.topic();
        let mut found: Vec<&[u8]> = found.iter().map(Vec::as_slice).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found.len(), expected.len(), "{context}: events in Kafka");
        assert!(found == expected, "{context}: other events in Kafka");
    }
}

/// What can be served of the data folder.
fn recordings(test: &str) -> Vec<Recording> {
    let folder = data_folder().map(|folder| pairs(&folder));
    let of_the_stream = folder
        .into_iter()
        .flatten()
        .filter(|pair| !is_wikiticker(pair));
    let read = |pair: Pair| {
        let name = pair.name.clone();
        let recording = Recording::read(pair);
        if recording.is_none() {
            skip(test, &format!("{name} does not say where its events lay"));
        }
        recording
    };
    of_the_stream.filter_map(read).collect()
}

/// What all tests here need.
struct Surroundings {
    recordings: Vec<Recording>,
    bootstrap: String,
    servers: Vec<(&'static str, String)>,
}

impl Surroundings {
    /// None, and a word about it, when something is not there.
    fn find(test: &str) -> Option<Surroundings> {
        let (recordings, bootstrap, servers) = (recordings(test), kafka(), databases());
        match bootstrap {
            None => skip(test, "no Kafka"),
            Some(_) if recordings.is_empty() => skip(test, "no recorded events"),
            Some(_) if servers.is_empty() => skip(test, "no database"),
            Some(bootstrap) => {
                return Some(Surroundings {
                    recordings,
                    bootstrap,
                    servers,
                });
            }
        }
        None
    }
}

fn publish(double: &Double, events: &[Event]) {
    double.publish(events.iter().map(|event| &*event.line));
}

/// Cuts the connections of a double.
fn cut(double: &Double, cuts: Cuts) {
    match cuts {
        Cuts::Every(k) => double.script(move |n| Answer::Cut(k, ENDS[n % 4])),
        Cuts::Seeded(seed) => {
            let mut random = StdRng::seed_from_u64(seed);
            double.script(move |_| {
                Answer::Cut(random.random_range(1..60), ENDS[random.random_range(0..4)])
            });
        }
    }
}

/// Lets all events through, as `play` publishes them and whatever else it does, and holds Kafka and
/// the tables against what they must be.
fn check(
    recording: &Recording,
    bootstrap: &str,
    server: &(&str, String),
    cuts: Cuts,
    play: impl FnOnce(&Run, &Double, &mut Tidemill),
) {
    let pair = &recording.pair;
    let context = format!("{} on {}, {cuts:?}", pair.name, server.0);
    let begun = Instant::now();
    let run = Run::new(pair, bootstrap, &server.1);
    let double = recording.serve();
    cut(&double, cuts);
    run.make_topic(4);
    let mut connector = run.connector("ingest", &double.url(), recording.beginning());
    let member = run.member("member");
    play(&run, &double, &mut connector);
    let mut processes = [connector, member];
    wait_for_tables(&run, pair, &mut processes);
    if let Some(gaps) = recording.gaps() {
        assert_eq!(recording.wait_for_gaps(&run, gaps.len()), gaps, "{context}");
    }
    // With the connector gone nothing comes any more: what is there once now stays there once.
    processes.iter_mut().for_each(Tidemill::stop);
    recording.check_topic(&run, &context);
    assert_tables(&run, pair, &context);
    eprintln!(
        "equal: {context}: {} connections, {:.1} s",
        double.asked().len(),
        begun.elapsed().as_secs_f64()
    );
}

/// Does all the work, some of it at the same time.
fn all<T: Send>(work: Vec<T>, done: impl Fn(T) + Sync) {
    let queue = Mutex::new(work.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().next();
                    let Some(next) = next else { return };
                    done(next);
                }
            });
        }
    });
}

#[test]
fn every_event_is_in_the_tables_once_however_the_stream_is_cut() {
    let Some(around) = Surroundings::find("live") else {
        return;
    };
    let Surroundings {
        recordings,
        bootstrap,
        servers,
    } = &around;
    // Those that take longest come first. Each server sees every recording, and every other cut of it.
    let every = [1, 2, 3, 7, 50, 400].map(Cuts::Every);
    let mut work = Vec::new();
    for (round, cuts) in every.into_iter().chain([Cuts::Seeded(1)]).enumerate() {
        for (at, recording) in recordings.iter().enumerate() {
            work.push((recording, cuts, &servers[(round + at) % servers.len()]));
        }
    }
    all(work, |(recording, cuts, server)| {
        check(recording, bootstrap, server, cuts, |_, double, _| {
            publish(double, &recording.events);
        });
    });
}

/// How often a connector is killed.
const KILLS: usize = 8;

#[test]
fn a_connector_that_is_killed_again_and_again_goes_on_where_it_was() {
    let Some(around) = Surroundings::find("live, killed") else {
        return;
    };
    let Surroundings {
        recordings,
        bootstrap,
        servers,
    } = &around;
    let work: Vec<_> = (0u64..).zip(recordings).collect();
    all(work, |(seed, recording)| {
        let server = &servers[seed as usize % servers.len()];
        let slice = recording.events.len().div_ceil(KILLS + 1);
        check(
            recording,
            bootstrap,
            server,
            Cuts::Seeded(seed),
            |run, double, connector| {
                let mut random = StdRng::seed_from_u64(seed);
                let mut slices = recording.events.chunks(slice);
                for kill in 0..KILLS {
                    publish(double, slices.next().unwrap_or_default());
                    // From before it has claimed its position to after it has read everything.
                    std::thread::sleep(Duration::from_millis(random.random_range(0..1500)));
                    assert!(!connector.has_ended(), "{}", connector.log());
                    connector.kill();
                    let log = format!("ingest-after-{kill}");
                    *connector = run.connector(&log, &double.url(), recording.beginning());
                }
                slices.for_each(|slice| publish(double, slice));
            },
        );
    });
}
