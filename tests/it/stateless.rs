//! The stateless operators on a real Kafka: two topics are merged, branched and taken apart, in front
//! of an aggregate and in front of a SQL sink, which runs copies of them in a group of its own.
//!
//! ```text
//!   a ─┐                    ┌─→ sum per wiki ─→ wikis
//!      ├→ merge ─→ branch ──┼─→ even ─→ NAME.even
//!   b ─┘                    └─→ odd  ─→ flat_map ─→ parts
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::{Raw, Run, Tidemill, Topics, stage, wait_until};

const TOPOLOGY: &str = "
app: NAME
nodes:
  a: { source: { topic: NAME.a, key: wiki, fields: { wiki: string, n: int } } }
  b: { source: { topic: NAME.b, key: wiki, fields: { wiki: string, n: int } } }
  all: { merge: { from: [a, b] } }
  parity: { branch: { from: all, branches: { even: n % 2 == 0 }, default: odd } }
  even: { kafka: { from: parity.even, topic: NAME.even } }
  parts: { flat_map: { from: parity.odd, each: range(n % 4), as: part } }
  part_table:
    sql: { from: parts, table: parts, key: [n, part], columns: { n: n, part: part, wiki: wiki } }
  wikis: { aggregate: { from: all, by: wiki, window: none, set: { events: count(), sum: sum(n) } } }
  wiki_table: { sql: { from: wikis, table: wikis } }
";

const TABLES: [&str; 2] = [
    "CREATE TABLE parts (n BIGINT, part BIGINT, wiki VARBINARY(20), PRIMARY KEY (n, part))",
    "CREATE TABLE wikis (wiki VARBINARY(20) PRIMARY KEY, events BIGINT, sum BIGINT)",
];

/// Records of both topics together: the numbers below this.
const RECORDS: i64 = 20_000;

const WIKIS: i64 = 50;

const PATIENCE: Duration = Duration::from_secs(90);

type Rows = BTreeMap<i64, Vec<i64>>;

/// The number of events and their sum, for each wiki.
fn expected_wikis() -> Rows {
    let mut wikis = Rows::new();
    for n in 0..RECORDS {
        let row = wikis.entry(n % WIKIS).or_insert_with(|| vec![0, 0]);
        row[0] += 1;
        row[1] += n;
    }
    wikis
}

fn record(n: i64) -> Raw {
    let wiki = (n % WIKIS).to_string();
    Raw {
        partition: None,
        value: Some(format!(r#"{{"wiki":"{wiki}","n":{n}}}"#).into_bytes()),
        key: Some(wiki.into_bytes()),
    }
}

/// Where `b` has the numbers that are divisible by 3, `a` the others.
fn write(topics: &Topics, run: &Run, from: i64, to: i64) {
    for (name, divisible) in [("a", false), ("b", true)] {
        let numbers = (from..to).filter(|n| (n % 3 == 0) == divisible);
        let records: Vec<Raw> = numbers.map(record).collect();
        topics.write(&format!("{}.{name}", run.name), &records);
    }
}

#[test]
fn merged_topics_are_branched_and_taken_apart_in_both_kinds_of_groups() {
    let Some(stage) = stage("stateless") else {
        return;
    };
    let run = Run::of(TOPOLOGY, &stage.bootstrap, stage.server(1).1);
    TABLES.iter().for_each(|table| run.database.run(table));
    let topics = Topics::connect(&stage.bootstrap);
    for name in ["a", "b"] {
        topics.create(&format!("{}.{name}", run.name), 4, 1 << 20);
    }
    write(&topics, &run, 0, RECORDS / 2);
    let more = ["--session-timeout", "6s", "--http", "off"];
    let mut members: Vec<Tidemill> = (0..2)
        .map(|n| run.member_with(&format!("member-{n}"), &more, &[]))
        .collect();
    wait_until("the first rows", PATIENCE, || {
        run.database.number("SELECT COUNT(*) FROM parts") > Some(0)
    });
    members[0].kill();
    write(&topics, &run, RECORDS / 2, RECORDS);
    members[0] = run.member_with("after", &more, &[]);

    let parts: i64 = (0..RECORDS).filter(|n| n % 2 == 1).map(|n| n % 4).sum();
    let query = "SELECT wiki, events, sum FROM wikis";
    let wikis = || -> Rows {
        let rows = run.database.rows(query).unwrap_or_default().into_iter();
        let number = |cell: &String| cell.parse::<i64>().expect("a number");
        rows.map(|row| (number(&row[0]), row[1..].iter().map(number).collect()))
            .collect()
    };
    let began = Instant::now();
    while run.database.number("SELECT COUNT(*) FROM parts") != Some(parts)
        || wikis() != expected_wikis()
    {
        assert!(
            !members.iter_mut().any(Tidemill::has_ended),
            "{}",
            members[1].log()
        );
        if began.elapsed() > PATIENCE {
            assert_eq!(wikis(), expected_wikis());
            let found = run.database.number("SELECT COUNT(*) FROM parts");
            assert_eq!(found, Some(parts), "{}", members[1].log());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let even = run.committed(&format!("{}.even", run.name));
    let mut even: Vec<i64> = even
        .iter()
        .map(|value| serde_json::from_slice::<serde_json::Value>(value).unwrap())
        .map(|value| value["n"].as_i64().expect("a number"))
        .collect();
    even.sort_unstable();
    let expected: Vec<i64> = (0..RECORDS).filter(|n| n % 2 == 0).collect();
    assert_eq!(even.len(), expected.len());
    assert_eq!(even, expected);
    // Every part, once, with its wiki.
    let wrong = format!("SELECT COUNT(*) FROM parts WHERE part >= n % 4 OR wiki <> n % {WIKIS}");
    assert_eq!(run.database.number(&wrong), Some(0));
    members.iter_mut().for_each(Tidemill::stop);
}
