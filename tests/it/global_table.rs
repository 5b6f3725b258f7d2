//! A global table on a real Kafka, with another number of partitions than the stream: two members look
//! rows up while rows change and go and a member is killed; each event has one result, with a row that
//! there was, and the table of the database says what the topic behind the same join says.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Raw, Run, Tidemill, Topics, stage, wait_until};

const TOPOLOGY: &str = "
app: NAME
nodes:
  events: { source: { topic: NAME, fields: { id: int, code: string } } }
  countries: { global_table: { topic: NAME.countries, fields: { name: string } } }
  enriched: { join: { from: events, with: countries, as: country, on: code, type: left } }
  enriched_topic: { kafka: { from: enriched, topic: NAME.enriched, fields: { id: id, code: code, name: country.name } } }
  enriched_table:
    sql: { from: enriched, table: enriched, key: id, columns: { id: id, name: country.name } }
";

const TABLE: &str = "CREATE TABLE enriched (id BIGINT PRIMARY KEY, name VARBINARY(20))";

const EVENT_PARTITIONS: usize = 4;
const TABLE_PARTITIONS: usize = 3;
const CODES: usize = 300;
const EVENTS: usize = 3_000;
/// Events that only ask how far the members are.
const PROBES: usize = 1_000_000;

const PATIENCE: Duration = Duration::from_secs(90);

fn raw(partition: Option<usize>, key: &str, value: Option<Value>) -> Raw {
    Raw {
        partition: partition.map(|partition| partition as i32),
        key: Some(key.as_bytes().to_vec()),
        value: value.map(|value| value.to_string().into_bytes()),
    }
}

/// Whether the second version of the table has no row of this code.
fn is_deleted(code: usize) -> bool {
    code.is_multiple_of(5)
}

/// All rows of a version of the table, and behind them in each partition a row that says which one it is.
fn rows(version: usize) -> Vec<Raw> {
    let row = |code: usize| {
        let is_row = version == 1 || !is_deleted(code);
        let value = is_row.then(|| json!({ "name": format!("{code} v{version}") }));
        raw(Some(code % TABLE_PARTITIONS), &format!("c{code}"), value)
    };
    let mark = |partition: usize| {
        let value = json!({ "name": format!("v{version}") });
        raw(Some(partition), &format!("version{partition}"), Some(value))
    };
    let rows = (0..CODES).map(row);
    rows.chain((0..TABLE_PARTITIONS).map(mark)).collect()
}

fn event(id: usize) -> Raw {
    let code = format!("c{}", id % CODES);
    raw(None, &id.to_string(), Some(json!({"id": id, "code": code})))
}

/// An event in each partition of the stream for each partition of the table.
fn probes(round: usize) -> Vec<Raw> {
    let each = EVENT_PARTITIONS * TABLE_PARTITIONS;
    let probe = |at: usize| {
        let (id, code) = (
            PROBES + round * each + at,
            format!("version{}", at % TABLE_PARTITIONS),
        );
        let value = json!({"id": id, "code": code});
        raw(Some(at / TABLE_PARTITIONS), &id.to_string(), Some(value))
    };
    (0..each).map(probe).collect()
}

/// The names that the topic of results has, by event, each once.
fn found(topics: &Topics, run: &Run) -> BTreeMap<usize, Value> {
    let mut found = BTreeMap::new();
    for record in topics.read(&format!("{}.enriched", run.name)) {
        let value: Value = serde_json::from_slice(&record.value.expect("a result")).expect("JSON");
        let id = value["id"].as_u64().expect("an id") as usize;
        let before = found.insert(id, value["name"].clone());
        assert_eq!(before, None, "event {id} has two results");
    }
    found
}

/// Writes events until all tasks see a version of all partitions of the table.
fn wait_for_version(version: usize, round: &mut usize, topics: &Topics, run: &Run) {
    let each = EVENT_PARTITIONS * TABLE_PARTITIONS;
    wait_until("the members to have read the table", PATIENCE, || {
        topics.write(&run.name, &probes(*round));
        let first = PROBES + *round * each;
        *round += 1;
        let mut last = BTreeMap::new();
        wait_until("the results", PATIENCE, || {
            last = found(topics, run).split_off(&first);
            last.len() == each
        });
        last.values()
            .all(|name| *name == json!(format!("v{version}")))
    });
}

fn expected(id: usize, version: usize) -> Value {
    match id % CODES {
        code if version == 2 && is_deleted(code) => Value::Null,
        code => json!(format!("{code} v{version}")),
    }
}

fn is_through(topics: &Topics, run: &Run, events: usize) -> bool {
    found(topics, run).range(..PROBES).count() == events
}

#[test]
fn two_members_look_rows_up_while_rows_change_and_one_is_killed() {
    let Some(stage) = stage("global_table") else {
        return;
    };
    let run = Run::of(TOPOLOGY, &stage.bootstrap, stage.server(0).1);
    run.database.run(TABLE);
    let topics = Topics::connect(&stage.bootstrap);
    let table = format!("{}.countries", run.name);
    topics.create(&run.name, EVENT_PARTITIONS as u32, 1 << 20);
    topics.create(&table, TABLE_PARTITIONS as u32, 1 << 20);
    topics.create(
        &format!("{}.enriched", run.name),
        EVENT_PARTITIONS as u32,
        1 << 20,
    );
    topics.write(&table, &rows(1));
    let write = |from: usize, to: usize| {
        let events: Vec<Raw> = (from..to).map(event).collect();
        topics.write(&run.name, &events);
    };
    // The whole table is there for the first event.
    write(0, EVENTS);
    let more = ["--session-timeout", "6s", "--http", "off", "--threads", "2"];
    let mut members: Vec<Tidemill> = (0..2)
        .map(|n| run.member_with(&format!("member-{n}"), &more, &[]))
        .collect();
    wait_until("the first results", PATIENCE, || {
        is_through(&topics, &run, EVENTS)
    });
    // Either version may be met while rows change, and while a member dies and comes back.
    write(EVENTS, EVENTS + EVENTS / 2);
    topics.write(&table, &rows(2));
    members[0].kill();
    write(EVENTS + EVENTS / 2, 2 * EVENTS);
    members[0] = run.member_with("member-0", &more, &[]);
    wait_until("the results of changes", PATIENCE, || {
        is_through(&topics, &run, 2 * EVENTS)
    });
    let mut round = 0;
    wait_for_version(2, &mut round, &topics, &run);
    write(2 * EVENTS, 3 * EVENTS);
    wait_until("the last results", PATIENCE, || {
        is_through(&topics, &run, 3 * EVENTS)
    });
    let found = found(&topics, &run);
    for (id, name) in found.range(..PROBES) {
        let met = |version| *name == expected(*id, version);
        let is_right = match id / EVENTS {
            0 => met(1),
            1 => met(1) || met(2),
            _ => met(2),
        };
        assert!(is_right, "event {id} has {name}");
    }
    assert_eq!(found.range(..PROBES).count(), 3 * EVENTS);
    let stored = || -> BTreeMap<usize, Value> {
        let rows = run
            .database
            .rows("SELECT id, COALESCE(name, '') FROM enriched");
        let rows = rows.unwrap_or_default().into_iter();
        rows.map(|row| {
            let name = Some(row[1].as_str()).filter(|name| !name.is_empty());
            (row[0].parse().expect("an id"), json!(name))
        })
        .collect()
    };
    wait_until("the table of the database", PATIENCE, || {
        stored().len() == found.len()
    });
    assert_eq!(stored(), found);
    // The one that was killed had the table on its disk.
    let log = members[0].log();
    let starts: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("reading a global table"))
        .collect();
    let [_, again] = starts[..] else {
        panic!("{log}");
    };
    let left = again.split("left=").nth(1).expect("how much is left");
    let left: usize = left
        .split_whitespace()
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    assert!(left <= CODES + TABLE_PARTITIONS, "{again}");
    members.iter_mut().for_each(Tidemill::stop);
}
