//! Duplicates are dropped and results are held back on a real Kafka, while a member is killed: every
//! final result is in its topic once, and in the tables of the database.
//!
//! ```text
//!   events ─→ deduplicate ─┬─→ firsts                                     a group of its own
//!                          └─→ counts ─┬─→ until: close ─┬─→ NAME.final
//!                                      │                 └─→ finals       a group of its own
//!                                      └─→ for: 30s ───────→ paced        a group of its own
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::{Raw, Run, Tidemill, Topics, stage, wait_until};

const TOPOLOGY: &str = "
app: NAME
nodes:
  events:
    source: { topic: NAME, key: wiki, timestamp: at, fields: { wiki: string, id: int, at: int } }
  first: { deduplicate: { from: events, by: [wiki, id], within: 1m } }
  first_table: { sql: { from: first, table: firsts, key: [wiki, id], columns: { wiki: wiki, id: id } } }
  counts:
    aggregate:
      from: first
      by: wiki
      window: { tumbling: 10s, grace: 5s }
      set: { events: count() }
  timed: { map: { from: counts, set: { second: int(window_start) } } }
  final: { suppress: { from: timed, until: close } }
  final_topic: { kafka: { from: final, topic: NAME.final } }
  final_table: { sql: { from: final, table: finals, key: [wiki, second], columns: COLUMNS } }
  paced: { suppress: { from: timed, for: 30s, max_rows: 60 } }
  paced_table: { sql: { from: paced, table: paced, key: [wiki, second], columns: COLUMNS } }
";

const COLUMNS: &str = "{ wiki: wiki, second: second, events: events }";

const TABLES: [&str; 3] = [
    "CREATE TABLE firsts (wiki VARBINARY(20), id BIGINT, PRIMARY KEY (wiki, id))",
    "CREATE TABLE finals (wiki VARBINARY(20), second BIGINT, events BIGINT, PRIMARY KEY (wiki, second))",
    "CREATE TABLE paced (wiki VARBINARY(20), second BIGINT, events BIGINT, PRIMARY KEY (wiki, second))",
];

const PARTITIONS: i32 = 4;

const WIKIS: i64 = 30;

/// Different ones; a third as many come again.
const EVENTS: i64 = 8_000;

/// The time of the first event.
const BEGINNING_MS: i64 = 1_700_000_000_000;

const MS_PER_EVENT: i64 = 25;

const PATIENCE: Duration = Duration::from_secs(120);

/// The number of events by wiki and window.
type Counts = BTreeMap<(String, i64), i64>;

fn record(partition: Option<i32>, wiki: &str, id: i64, at: i64) -> Raw {
    let value = json!({"wiki": wiki, "id": id, "at": at}).to_string();
    Raw {
        partition,
        key: Some(wiki.as_bytes().to_vec()),
        value: Some(value.into_bytes()),
    }
}

/// Events with these numbers, some of them again at once and some a while later.
fn events(random: &mut StdRng, ids: std::ops::Range<i64>, counts: &mut Counts) -> Vec<Raw> {
    let mut all: Vec<Raw> = Vec::new();
    for id in ids {
        let (wiki, at) = (
            format!("wiki{}", random.random_range(0..WIKIS)),
            id * MS_PER_EVENT,
        );
        let at = BEGINNING_MS + at;
        let second = at.div_euclid(10_000) * 10;
        *counts.entry((wiki.clone(), second)).or_default() += 1;
        all.push(record(None, &wiki, id, at));
        let again = match random.random_range(0..6) {
            0 => all.len() - 1,
            1 => all.len() - random.random_range(1..=all.len().min(500)),
            _ => continue,
        };
        all.push(all[again].clone());
    }
    all
}

/// In each partition a record that comes long after all others.
fn closers() -> Vec<Raw> {
    let at = BEGINNING_MS + 3_600_000;
    let closer = |partition| record(Some(partition), "closer", i64::from(partition), at);
    (0..PARTITIONS).map(closer).collect()
}

fn stored(run: &Run, table: &str) -> Counts {
    let query = format!("SELECT wiki, second, events FROM {table}");
    let rows = run.database.rows(&query).unwrap_or_default().into_iter();
    let number = |text: &String| text.parse().expect("a number");
    rows.map(|row| ((row[0].clone(), number(&row[1])), number(&row[2])))
        .collect()
}

#[test]
fn what_is_held_back_leaves_once_and_duplicates_never_though_a_member_is_killed() {
    let Some(stage) = stage("held") else {
        return;
    };
    let topology = TOPOLOGY.replace("COLUMNS", COLUMNS);
    for server in 0..stage.servers.len() {
        let run = Run::of(&topology, &stage.bootstrap, stage.server(server).1);
        TABLES.iter().for_each(|table| run.database.run(table));
        let topics = Topics::connect(&stage.bootstrap);
        topics.create(&run.name, PARTITIONS as u32, 1 << 20);
        let random = &mut StdRng::seed_from_u64(server as u64);
        let mut counts = Counts::new();
        topics.write(&run.name, &events(random, 0..EVENTS / 2, &mut counts));
        let more = ["--session-timeout", "6s", "--http", "off"];
        let mut members: Vec<Tidemill> = (0..2)
            .map(|n| run.member_with(&format!("member-{n}"), &more, &[]))
            .collect();
        wait_until("the first results", PATIENCE, || {
            !stored(&run, "finals").is_empty()
        });
        members[0].kill();
        let mut rest = events(random, EVENTS / 2..EVENTS, &mut counts);
        rest.extend(closers());
        topics.write(&run.name, &rest);
        members[0] = run.member_with("after", &more, &[]);
        let firsts = EVENTS + i64::from(PARTITIONS);
        let began = Instant::now();
        let is_done = || {
            stored(&run, "finals") == counts
                && stored(&run, "paced") == counts
                && run.database.number("SELECT COUNT(*) FROM firsts") == Some(firsts)
        };
        while !is_done() {
            let ended = members.iter_mut().any(Tidemill::has_ended);
            assert!(!ended, "{}", members[1].log());
            if began.elapsed() > PATIENCE {
                assert_eq!(
                    run.database.number("SELECT COUNT(*) FROM firsts"),
                    Some(firsts)
                );
                assert_eq!(stored(&run, "paced"), counts);
                assert_eq!(stored(&run, "finals"), counts);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        members.iter_mut().for_each(Tidemill::stop);
        let written = topics.read(&format!("{}.final", run.name)).into_iter();
        let mut finals: Vec<_> = written
            .map(|record| {
                let value: Value =
                    serde_json::from_slice(&record.value.expect("no deletion")).expect("an object");
                let number = |name: &str| value[name].as_i64().expect("a number");
                let wiki = value["wiki"].as_str().expect("a text").to_owned();
                ((wiki, number("second")), number("events"))
            })
            .collect();
        finals.sort();
        assert!(finals.into_iter().eq(counts), "each once");
    }
}
