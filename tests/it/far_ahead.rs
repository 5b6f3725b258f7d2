//! The job that is compared with Kafka Streams, on recorded events of several years, one partition of
//! which is read far ahead of the others: nothing is dropped that was not late in its own partition.
//!
//! Kafka Streams judges behind its repartition by whichever partition was read first. So does the
//! count here that says how much that would cost.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use tidemill::processor::DropReason;
use tidemill::testkit::{DriverOptions, TestRecord, TopologyTestDriver};
use tidemill::time::Timestamp;
use tidemill::topology::builder::{KafkaSink, Map, Rollup, Source};
use tidemill::topology::graph::{NodeKind, Topology};

use crate::harness::{data_folder, lines, skip};

const PARTITIONS: u32 = 4;
const WIKI_MS: i64 = 60_000;
const USER_MS: i64 = 300_000;
const GRACE_MS: i64 = 10_000;

/// Recordings in the order of their times: of 2018, and of May and July 2026.
const FILES: [&str; 3] = [
    "rc-2018-03-07-wikidata-5min.ndjson.gz",
    "rc-2026-05-05-full-45s.ndjson.gz",
    "rc-2026-07-17-enwiki-edits-28min.ndjson.gz",
];

/// An event in its partition.
struct Event {
    wiki: String,
    user: String,
    time: i64,
    delta: i64,
    is_accepted: bool,
    value: Vec<u8>,
}

fn event(value: Vec<u8>) -> Event {
    let json: Json = serde_json::from_slice(&value).expect("a recorded event");
    let text = |path: &str| {
        json.pointer(path)
            .and_then(Json::as_str)
            .unwrap_or_default()
    };
    let length = |path: &str| json.pointer(path).and_then(Json::as_i64).unwrap_or(0);
    let is_change = matches!(text("/type"), "edit" | "new");
    Event {
        wiki: text("/wiki").to_owned(),
        user: text("/user").to_owned(),
        time: Timestamp::parse_rfc3339(text("/meta/dt"))
            .expect("a time")
            .0,
        delta: length("/length/new") - length("/length/old"),
        is_accepted: is_change && text("/meta/domain") != "canary",
        value,
    }
}

/// Edits by wiki and minute, and by wiki and user in five minutes. A topic that is said to be keyed
/// by its wiki needs no repartition.
fn topology(is_keyed: bool) -> Topology {
    let source = Source::json("changes").timestamp("meta.dt");
    let source = match is_keyed {
        true => source.key("wiki"),
        false => source,
    };
    let delta = "coalesce(length.new, 0) - coalesce(length.old, 0)";
    let rollup = |by: &[&str], size_ms: i64| {
        let size = std::time::Duration::from_millis(size_ms as u64);
        Rollup::by(by.iter().copied())
            .tumbling(size)
            .grace(std::time::Duration::from_millis(GRACE_MS as u64))
            .set("edits", "count()")
            .set("bytes_added", "sum(max(delta, 0))")
            .set("bytes_removed", "sum(max(-delta, 0))")
    };
    Topology::builder("compared")
        .source("changes", source)
        .filter(
            "edits",
            "changes",
            "type in ['edit', 'new'] && meta.domain != 'canary'",
        )
        .node(
            "sized",
            NodeKind::Map(Map::new("edits").set("delta", delta)),
        )
        .aggregate("per_wiki", "sized", rollup(&["wiki"], WIKI_MS))
        .aggregate("per_user", "sized", rollup(&["wiki", "user"], USER_MS))
        .kafka("wikis", "per_wiki", KafkaSink::topic("wikis"))
        .kafka("users", "per_user", KafkaSink::topic("users"))
        .build()
        .unwrap_or_else(|findings| panic!("{findings}"))
}

/// By wiki, user if that is asked for, and start: edits, bytes added and bytes removed.
type Results = BTreeMap<(String, String, i64), (i64, i64, i64)>;

fn counted(partitions: &[Vec<Event>], size_ms: i64, by_user: bool) -> Results {
    let mut results = Results::new();
    for event in partitions
        .iter()
        .flatten()
        .filter(|event| event.is_accepted)
    {
        let start = event.time.div_euclid(size_ms) * size_ms;
        let user = match by_user {
            true => event.user.clone(),
            false => String::new(),
        };
        let result = results
            .entry((event.wiki.clone(), user, start))
            .or_default();
        result.0 += 1;
        result.1 += event.delta.max(0);
        result.2 += (-event.delta).max(0);
    }
    results
}

/// The last word on each key and window.
fn written(driver: &mut TopologyTestDriver, topic: &str) -> Results {
    let mut results = Results::new();
    for row in driver.read_json(topic) {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| row[name].as_i64().expect("a whole number");
        let start = Timestamp::parse_rfc3339(&text("window_start")).expect("a time");
        let result = (
            number("edits"),
            number("bytes_added"),
            number("bytes_removed"),
        );
        results.insert((text("wiki"), text("user"), start.0), result);
    }
    results
}

/// How many events come too late when partitions are read in this order and the highest time of all
/// decides; with the time of each partition for itself if that is asked for.
fn late(partitions: &[Vec<Event>], order: &[usize], each_by_itself: bool) -> usize {
    let mut highest = i64::MIN;
    let mut late = 0;
    for partition in order {
        if each_by_itself {
            highest = i64::MIN;
        }
        for event in partitions[*partition]
            .iter()
            .filter(|event| event.is_accepted)
        {
            highest = event.time.max(highest);
            let end = event.time.div_euclid(USER_MS) * USER_MS + USER_MS;
            late += usize::from(end + GRACE_MS <= highest);
        }
    }
    late
}

/// Reads one partition wholly and commits, then the others.
fn play(topology: &Topology, partitions: &[Vec<Event>], order: &[usize]) -> TopologyTestDriver {
    let options = DriverOptions {
        partitions: PARTITIONS,
        commit_each: false,
        ..DriverOptions::default()
    };
    let mut driver = TopologyTestDriver::with_options(topology, options).expect("it starts");
    for part in [&order[..1], &order[1..]] {
        driver.crash();
        for partition in part {
            for event in &partitions[*partition] {
                let record = TestRecord {
                    key: Some(event.wiki.clone().into_bytes()),
                    value: Some(event.value.clone()),
                    timestamp: Some(Timestamp(event.time)),
                    partition: Some(*partition as i32),
                    ..TestRecord::default()
                };
                driver
                    .pipe_record("changes", &record)
                    .expect("the topic is there");
            }
        }
        driver.restart().expect("it starts again");
        // Once for each side of the repartition, and once for what has come of it.
        for _ in 0..3 {
            driver.commit().expect("it goes on");
        }
    }
    driver
}

#[test]
fn a_replay_in_which_one_partition_is_far_ahead_drops_nothing() {
    let folder = data_folder();
    let files = folder.map(|folder| FILES.map(|file| folder.join(file)));
    let Some(files) = files.filter(|files| files.iter().all(|file| file.is_file())) else {
        return skip("far ahead", "no recorded events");
    };
    // By wiki, as the topic of the job is keyed; the hash of a wiki decides nothing here.
    let mut partitions: Vec<Vec<Event>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    for event in files.iter().flat_map(|file| lines(file)).map(event) {
        let hash: usize = event.wiki.bytes().map(usize::from).sum();
        partitions[hash % PARTITIONS as usize].push(event);
    }
    let users = counted(&partitions, USER_MS, true);
    let wikis = counted(&partitions, WIKI_MS, false);
    let accepted: i64 = users.values().map(|(edits, ..)| edits).sum();
    let in_order: Vec<usize> = (0..partitions.len()).collect();
    assert_eq!(
        late(&partitions, &in_order, true),
        0,
        "none is late by itself"
    );
    for first in 0..partitions.len() {
        let mut order = in_order.clone();
        order.swap(0, first);
        for is_keyed in [true, false] {
            let context = format!("partition {first} first, keyed: {is_keyed}");
            let mut driver = play(&topology(is_keyed), &partitions, &order);
            for node in ["per_wiki", "per_user"] {
                assert_eq!(driver.drops(node, DropReason::Late), 0, "{context}, {node}");
            }
            assert!(driver.dead_letters().is_empty(), "{context}");
            assert_eq!(written(&mut driver, "users"), users, "{context}");
            assert_eq!(written(&mut driver, "wikis"), wikis, "{context}");
        }
    }
    let of_luck = |first: usize| {
        let mut order = in_order.clone();
        order.swap(0, first);
        late(&partitions, &order, false)
    };
    let most = (0..partitions.len())
        .map(of_luck)
        .max()
        .expect("partitions");
    assert!(
        most > 1_000,
        "{most} of {accepted}: the recordings are far enough apart"
    );
    eprintln!("0 of {accepted} dropped; by the highest time of all it would be up to {most}");
}
