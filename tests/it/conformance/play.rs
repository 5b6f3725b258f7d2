//! Plays a case.

use serde_json::Value;
use tidemill::broker::OwnedRecord;
use tidemill::processor::DropReason;
use tidemill::testkit::TopologyTestDriver;
use tidemill::time::Timestamp;
use tidemill::topology::graph::{NodeKind, Topology};

use super::case::{Case, Output, Step, Stored, WindowOf};
use super::translate::{IS_NULL, RECORDS};

/// How a case is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Straight,
    /// The process dies after every second record; every fourth time its disk is lost as well.
    Crashing,
}

/// What came of it.
pub struct Played {
    pub output: Vec<Output>,
    pub late: u64,
    pub null: u64,
    pub store: Vec<Stored>,
}

pub fn play(case: &Case, topology: &Topology, way: Way) -> Played {
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    let topics = topics(topology);
    let mut output = Vec::new();
    for (number, step) in case.input.iter().enumerate() {
        match step {
            Step::Record(record) => {
                let value = (!record.value.is_null()).then(|| match case.is_join() {
                    true => serde_json::json!({"v": record.value}).to_string(),
                    false => record.value.to_string(),
                });
                let key = record.key.as_deref().map(str::as_bytes);
                let time = Timestamp(record.timestamp_ms);
                let piped = driver.try_pipe(
                    &record.topic,
                    key,
                    value.as_deref().map(str::as_bytes),
                    time,
                );
                piped.unwrap();
            }
            Step::Advance {
                advance_wall_clock_ms,
            } => driver.advance_wall_clock(*advance_wall_clock_ms).unwrap(),
        }
        for topic in &topics {
            let records = driver.read(topic);
            output.extend(records.iter().map(|record| written(number, topic, record)));
        }
        if way == Way::Crashing && number % 2 == 1 {
            match number % 8 {
                7 => driver.lose_state(),
                _ => driver.crash(),
            }
            driver.restart().unwrap();
        }
    }
    let nodes = ["agg", "rows", "joined", "left_rows", "right_rows"];
    let counts = |reason| -> u64 { nodes.iter().map(|node| driver.drops(node, reason)).sum() };
    Played {
        late: counts(DropReason::Late),
        null: counts(DropReason::NullKey) + counts(DropReason::NoValue),
        store: match &case.store {
            Some(_) => stored(case, &driver),
            None => Vec::new(),
        },
        output,
    }
}

pub fn is_table(case: &Case) -> bool {
    case.operator.text("kind") == "table"
}

/// All topics that are written, whatever was recorded of them.
fn topics(topology: &Topology) -> Vec<String> {
    let written = topology.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Kafka(sink) => Some(sink.topic.clone()),
        _ => None,
    });
    let mut topics: Vec<String> = written.collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// A record of an output topic; a key of three parts is that of a window.
fn written(after_input: usize, topic: &str, record: &OwnedRecord) -> Output {
    let key = record.key.as_deref();
    let parts: Option<(String, String, String)> =
        key.and_then(|key| serde_json::from_slice(key).ok());
    let (key, window) = match parts {
        Some((key, start, end)) => {
            let ms = |text: &str| Timestamp::parse_rfc3339(text).unwrap().millis();
            let window = WindowOf {
                start_ms: ms(&start),
                end_ms: ms(&end),
            };
            (Some(key), Some(window))
        }
        None => (
            key.map(|key| String::from_utf8(key.to_vec()).unwrap()),
            None,
        ),
    };
    let value: Option<Value> = record
        .value
        .as_deref()
        .map(|value| serde_json::from_slice(value).unwrap());
    Output {
        after_input,
        topic: topic.to_owned(),
        key,
        window,
        value: value.map_or(Value::Null, unwrapped),
        timestamp_ms: record.timestamp.millis(),
    }
}

/// A single result is written as `{"v": …}`.
fn unwrapped(mut value: Value) -> Value {
    match value.get_mut("v") {
        Some(result) => result.take(),
        None => value,
    }
}

fn recorded<T>(results: impl Iterator<Item = (String, T)>) -> impl Iterator<Item = (String, T)> {
    results.filter(|(name, _)| name != RECORDS)
}

fn stored(case: &Case, driver: &TopologyTestDriver) -> Vec<Stored> {
    if is_table(case) || case.is_join() {
        let is_pair = case.family == "table-table-join";
        let rows = driver.rows("agg").into_iter();
        let stored = rows.map(|row| Stored {
            key: Some(row.key),
            window: None,
            value: match is_pair {
                true => serde_json::json!({"left": row.fields["v"], "right": row.fields["r"]["v"]}),
                false => only_given(unwrapped(row.fields)),
            },
            timestamp_ms: Some(row.timestamp.millis()),
        });
        return stored.collect();
    }
    let is_windowed = case.operator.text("kind") == "windowed_aggregate";
    let entries = driver.store("agg").into_iter();
    let stored = entries.map(|entry| Stored {
        key: entry.key[0].as_str().map(str::to_owned),
        window: is_windowed.then_some(WindowOf {
            start_ms: entry.window_start.millis(),
            end_ms: entry.window_end.millis(),
        }),
        value: unwrapped(recorded(entry.results.into_iter()).collect()),
        timestamp_ms: Some(entry.timestamp.millis()),
    });
    stored.collect()
}

/// A field that is not there is written as null, and a map has a field of its own.
pub fn only_given(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, value| !value.is_null() && name != IS_NULL);
    }
    value
}
