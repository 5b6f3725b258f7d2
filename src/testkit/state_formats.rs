//! State as it was written once is read by every later version.
//!
//! ```text
//!   version-1.jsonl: changelogs of the first half ──→ restored ──→ second half ──┐
//!                                                                                ├─ the same outputs and stores
//!   first half, second half, processed by what is there today ───────────────────┘
//! ```
//!
//! Where a format changes, the old files stay, and a version is added: `TIDEMILL_WRITE_STATE=1` writes the
//! changelogs of a version that has none yet.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{DriverOptions, TestRecord, TopologyTestDriver};
use crate::broker::{Broker as _, Isolation, Outgoing, ProducerOptions, TopicPartition};
use crate::time::Timestamp;
use crate::topology::graph::NodeKind;
use crate::topology::plan::Purpose;

const TOPOLOGY: &str = include_str!("formats_of_state/version-1.yaml");
const CHANGELOGS: &str = "src/testkit/formats_of_state/version-1.jsonl";

/// What a process leaves behind, a line each.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Left {
    Record(Kept),
    /// How far it has come in a topic.
    Position(String, i64),
}

/// A record of a changelog.
#[derive(Deserialize, Serialize)]
struct Kept {
    topic: String,
    offset: i64,
    key: String,
    value: Option<String>,
    time_ms: i64,
}

/// The topic, the key and the value of each record, in their order: half of them before, half after.
fn given() -> [Vec<(&'static str, String, String)>; 2] {
    let order = |id: i64, second: i64| {
        let shop = ["a", "b"][(id % 2) as usize];
        let item = ["tea", "ink", "oil"][(id % 3) as usize];
        let price = id * 7 % 10;
        let at = 1_000 * second;
        let value =
            format!(r#"{{"id":{id},"shop":"{shop}","price":{price},"item":"{item}","at":{at}}}"#);
        ("orders", shop.to_owned(), value)
    };
    let refund = |id: i64, second: i64| {
        let shop = ["a", "b"][(id % 2) as usize];
        let value = format!(r#"{{"id":{id},"shop":"{shop}","at":{}}}"#, 1_000 * second);
        ("refunds", shop.to_owned(), value)
    };
    let shop = |shop: &str, town: &str, size: i64| {
        let value = format!(r#"{{"shop":"{shop}","town":"{town}","size":{size}}}"#);
        ("shops", shop.to_owned(), value)
    };
    let town = |town: &str, people: i64| {
        (
            "towns",
            town.to_owned(),
            format!(r#"{{"people":{people}}}"#),
        )
    };
    let first = vec![
        town("rom", 7),
        shop("a", "rom", 3),
        shop("b", "bonn", 4),
        order(1, 1),
        order(2, 2),
        order(3, 3),
        refund(2, 4),
        order(4, 5),
        order(5, 8),
        order(6, 12),
        shop("b", "rom", 5),
        order(7, 13),
        order(8, 14),
        order(9, 21),
    ];
    let second = vec![
        order(10, 22),
        refund(9, 23),
        town("rom", 8),
        town("bonn", 9),
        shop("a", "bonn", 6),
        order(11, 19),
        order(12, 24),
        order(13, 25),
        order(14, 40),
        shop("b", "bonn", 1),
        order(15, 130),
        refund(15, 140),
        order(16, 300),
    ];
    [first, second]
}

/// Writes records, the first of them at that second; rows of tables have no other time.
fn pipe(driver: &mut TopologyTestDriver, second: i64, records: &[(&str, String, String)]) {
    for (at, (topic, key, value)) in (second..).zip(records) {
        let record = TestRecord::text(value).key(key).at(Timestamp(1_000 * at));
        driver.pipe_record(topic, &record).unwrap();
    }
}

fn driver() -> TopologyTestDriver {
    let topology = crate::config::parse(TOPOLOGY, "version-1.yaml");
    let topology = topology.unwrap_or_else(|report| panic!("{report}"));
    let options = DriverOptions {
        start: Timestamp(10_000_000),
        ..DriverOptions::default()
    };
    TopologyTestDriver::with_options(&topology, options).unwrap()
}

/// The names of the topics that state is read back from, and of those between tasks.
fn changelogs(driver: &TopologyTestDriver) -> Vec<String> {
    let topics = driver.plan.internal_topics.iter();
    let kept = topics.filter(|topic| {
        matches!(
            topic.purpose,
            Purpose::Changelog { .. } | Purpose::Progress | Purpose::Repartition
        )
    });
    kept.map(|topic| topic.name.clone()).collect()
}

fn written(driver: &TopologyTestDriver) -> String {
    let mut lines = String::new();
    for topic in changelogs(driver) {
        for record in driver.broker().records(&topic, 0, Isolation::ReadCommitted) {
            let kept = Kept {
                topic: topic.clone(),
                offset: record.offset,
                key: STANDARD.encode(record.key.unwrap_or_default()),
                value: record.value.map(|value| STANDARD.encode(value)),
                time_ms: record.timestamp.0,
            };
            let line = serde_json::to_string(&Left::Record(kept));
            writeln!(lines, "{}", line.unwrap()).unwrap();
        }
    }
    for (partition, next) in driver.broker().committed_offsets("kept") {
        let line = serde_json::to_string(&Left::Position(partition.topic.to_string(), next));
        writeln!(lines, "{}", line.unwrap()).unwrap();
    }
    lines
}

/// A process that finds what a version before it has left.
fn restored(text: &str, first: &[(&str, String, String)]) -> TopologyTestDriver {
    let mut driver = driver();
    driver.lose_state();
    pipe(&mut driver, 0, first);
    let broker = driver.broker().clone();
    let options = ProducerOptions {
        transactional_id: Some("the version before".to_owned()),
        transaction_timeout: None,
    };
    let mut producer = broker.producer(&options).unwrap();
    let mut before: Option<(String, i64)> = None;
    let mut positions = Vec::new();
    producer.begin().unwrap();
    for line in text.lines() {
        let kept = match serde_json::from_str(line).unwrap() {
            Left::Record(kept) => kept,
            Left::Position(topic, next) => {
                positions.push((TopicPartition::new(topic, 0), next));
                continue;
            }
        };
        // Where offsets skip one there was the end of a transaction.
        let next = (kept.topic.clone(), kept.offset);
        if before
            .replace((kept.topic.clone(), kept.offset + 1))
            .is_some_and(|before| before != next)
        {
            producer.commit().unwrap();
            producer.begin().unwrap();
        }
        let decoded = |text: &String| STANDARD.decode(text).unwrap();
        let (key, value) = (decoded(&kept.key), kept.value.as_ref().map(decoded));
        producer
            .send(Outgoing {
                topic: &kept.topic,
                partition: Some(0),
                timestamp: Timestamp(kept.time_ms),
                key: Some(key.as_slice()).filter(|key| !key.is_empty()),
                value: value.as_deref(),
                headers: &[],
            })
            .unwrap();
    }
    producer.commit().unwrap();
    producer.begin().unwrap();
    producer
        .send_offsets(&positions, &broker.outsider("kept"))
        .unwrap();
    producer.commit().unwrap();
    driver.restart().unwrap();
    driver
}

/// All that it keeps and has written, apart from what it had written before.
fn told(driver: &mut TopologyTestDriver) -> String {
    let mut text = String::new();
    let nodes = driver.topology.nodes.clone();
    for node in &nodes {
        let name = node.name.as_str();
        match &node.kind {
            NodeKind::Aggregate(_) => {
                for entry in driver.store(name) {
                    writeln!(text, "{name}: {entry:?}").unwrap();
                }
            }
            NodeKind::Table(_) => {
                for row in driver.rows(name) {
                    writeln!(text, "{name}: {row:?}").unwrap();
                }
            }
            NodeKind::Kafka(sink) => {
                for record in driver.read(&sink.topic) {
                    let shown = |bytes: Option<Vec<u8>>| {
                        bytes.map(|b| String::from_utf8_lossy(&b).into_owned())
                    };
                    let (key, value) = (shown(record.key), shown(record.value));
                    writeln!(
                        text,
                        "{}: {key:?} {value:?} {}",
                        sink.topic, record.timestamp
                    )
                    .unwrap();
                }
            }
            _ => {}
        }
    }
    text
}

#[test]
fn state_of_the_first_version_is_gone_on_from() {
    let [first, second] = given();
    let mut today = driver();
    pipe(&mut today, 0, &first);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CHANGELOGS);
    if std::env::var_os("TIDEMILL_WRITE_STATE").is_some() && !path.exists() {
        std::fs::write(&path, written(&today)).unwrap();
    }
    let of_first = told(&mut today);
    assert!(of_first.lines().count() > 60, "{of_first}");
    pipe(&mut today, 100, &second);
    let expected = told(&mut today);

    let text = std::fs::read_to_string(&path).unwrap();
    let mut later = restored(&text, &first);
    pipe(&mut later, 100, &second);
    let found = told(&mut later);
    let differs = expected
        .lines()
        .zip(found.lines())
        .find(|(expected, found)| expected != found);
    assert_eq!(differs, None);
    assert_eq!(expected.lines().count(), found.lines().count());
    for topic in [
        "functions",
        "hops",
        "slides",
        "pairs",
        "placed",
        "once",
        "final",
        "slowly",
        "per-town",
        "both",
    ] {
        assert!(
            found.contains(&format!("out-{topic}: ")),
            "nothing comes of {topic}"
        );
    }
}
