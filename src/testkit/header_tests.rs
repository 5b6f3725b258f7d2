//! Headers, as the driver passes them on.

use serde_json::{Value as Json, json};

use super::{TestRecord, TopologyTestDriver};
use crate::config;

fn driver(file: &str) -> TopologyTestDriver {
    let topology = config::parse(file, "a.yaml").unwrap_or_else(|report| panic!("{report}"));
    TopologyTestDriver::new(&topology).expect("it can be planned")
}

/// A header as the driver has read it, or `-`.
fn header(record: &crate::broker::OwnedRecord, name: &str) -> String {
    let record = TestRecord::from(record.clone());
    let found = record.header_text(name).map(|text| text.into_owned());
    found.unwrap_or_else(|| "-".to_owned())
}

/// ```text
///   s ─┬→ some ─→ out                          t: a header of the record
///      ├→ keyed ┄→ rows ─→ behind              goes along everywhere, but through
///      ├→ keyed ┄→ joined ─→ pairs, SQL        the aggregate
///      ├→ n ─→ counts
///      └→ bare (headers: drop)
/// ```
#[test]
fn headers_go_along_with_a_record_as_long_as_it_is_one() {
    let mut driver = driver(
        "
app: a
nodes:
  s:      { source: { topic: s } }
  some:   { filter: { from: s, where: record_header('t') != 'no' } }
  out:    { kafka: { from: some, topic: out } }
  keyed:  { select_key: { from: s, key: id } }
  rows:   { table: { from: keyed } }
  behind: { kafka: { from: rows, topic: behind } }
  joined: { join: { from: keyed, with: rows, as: r } }
  pairs:  { kafka: { from: joined, topic: pairs, fields: { id: id, t: record_header('t') } } }
  sql:    { sql: { from: joined, table: x, key: id, columns: { id: id, t: record_header('t') } } }
  raw:    { sql: { from: s, table: y, key: id, columns: { id: id, t: record_header('t') } } }
  n:      { aggregate: { from: s, by: id, window: none, set: { n: count(), t: last(record_header('t')) } } }
  counts: { kafka: { from: n, topic: counts } }
  bare:   { kafka: { from: s, topic: bare, headers: drop } }
",
    );
    let record = TestRecord::text(r#"{"id":"x"}"#)
        .header("t", b"1")
        .header("u", b"\xff");
    driver.pipe_record("s", &record).unwrap();
    driver
        .pipe_record("s", &TestRecord::text(r#"{"id":"y"}"#).header("t", b"no"))
        .unwrap();
    driver
        .pipe_record("s", &TestRecord::text(r#"{"id":"z"}"#))
        .unwrap();
    let seen = |driver: &mut TopologyTestDriver, topic: &str| {
        let records = driver.read(topic);
        records
            .iter()
            .map(|record| header(record, "t"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let out = driver.read("out");
    assert_eq!(out[0].headers, record.headers);
    assert_eq!(out.len(), 2);
    assert_eq!(seen(&mut driver, "behind"), "1 no -");
    let pairs = driver.read("pairs");
    assert_eq!(header(&pairs[0], "t"), "1");
    let value: Json = serde_json::from_slice(pairs[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(value, json!({"id": "x", "t": "1"}));
    let counts = driver.read_json("counts");
    assert_eq!(counts[0], json!({"id": "x", "n": 1, "t": "1"}));
    assert_eq!(seen(&mut driver, "bare"), "- - -");
    let repartition = driver.read("a-joined-left-repartition");
    assert_eq!(header(&repartition[0], "u"), "\u{fffd}");
}

#[test]
fn sql_sinks_see_headers_in_front_and_behind_a_join() {
    let file = "
app: a
nodes:
  s:      { source: { topic: s } }
  rows:   { table: { from: s } }
  joined: { join: { from: s, with: rows, as: r } }
  sql:    { sql: { from: joined, table: x, key: id, columns: { id: id, t: record_header('t') } } }
  raw:    { sql: { from: s, table: y, key: id, columns: { id: id, t: record_header('t') } } }
";
    let mut driver = driver(file);
    let record = TestRecord::text(r#"{"id":"x"}"#).key("x").header("t", b"1");
    driver.pipe_record("s", &record).unwrap();
    assert_eq!(driver.sql_rows("x").unwrap()[0]["t"], "1");
    assert_eq!(driver.sql_rows("y").unwrap()[0]["t"], "1");
}

/// ```text
///   s ─→ f ─┬→ by_a ─→ as         a record for by_a:     by_a and what is behind it, through f
///           ├→ by_b ─→ bs                   for raw:      the group of that sink alone
///           ├→ copies                       for s:        all of its group
///           └→ raw (SQL)                    for nobody:   none
/// ```
#[test]
fn a_dead_letter_that_comes_again_is_for_the_node_that_could_not_handle_it() {
    let mut driver = driver(
        "
app: a
nodes:
  s:      { source: { topic: s } }
  f:      { filter: { from: s, where: has(x) } }
  by_a:   { aggregate: { from: f, by: x, window: none, set: { n: count() } } }
  as:     { kafka: { from: by_a, topic: as } }
  by_b:   { aggregate: { from: f, by: x, window: none, set: { n: count() } } }
  bs:     { kafka: { from: by_b, topic: bs } }
  copies: { kafka: { from: f, topic: copies } }
  raw:    { sql: { from: f, table: raw, key: id, columns: { id: record_offset(), x: x } } }
",
    );
    let mut check = |addressed: Option<(&str, &str)>, expected: [usize; 4]| {
        let mut record = TestRecord::text(r#"{"x":"1"}"#).header("own", b"1");
        if let Some((group, node)) = addressed {
            record = record
                .header("tidemill.replay.group", group.as_bytes())
                .header("tidemill.replay.node", node.as_bytes());
        }
        let rows = driver.sql_rows("raw").unwrap().len();
        driver.pipe_record("s", &record).unwrap();
        let mut written = ["as", "bs", "copies"]
            .map(|topic| driver.read(topic).len())
            .to_vec();
        written.push(driver.sql_rows("raw").unwrap().len() - rows);
        assert_eq!(written, expected, "{addressed:?}");
    };
    check(None, [1, 1, 1, 1]);
    check(Some(("a", "by_a")), [1, 0, 0, 0]);
    check(Some(("a", "copies")), [0, 0, 1, 0]);
    check(Some(("a-raw", "raw")), [0, 0, 0, 1]);
    check(Some(("a", "s")), [1, 1, 1, 0]);
    check(Some(("a", "f")), [1, 1, 1, 0]);
    check(Some(("a", "nobody")), [0, 0, 0, 0]);
    check(Some(("other", "by_a")), [0, 0, 0, 0]);
}

#[test]
fn that_a_record_was_replayed_is_not_passed_on() {
    let mut driver = driver(
        "
app: a
nodes:
  s:   { source: { topic: s } }
  out: { kafka: { from: s, topic: out } }
",
    );
    let record = TestRecord::text("{}")
        .header("own", b"1")
        .header("tidemill.replay.group", b"a")
        .header("tidemill.replay.node", b"out");
    driver.pipe_record("s", &record).unwrap();
    let out = driver.read("out");
    assert_eq!(out[0].headers, [("own".to_owned(), b"1".to_vec())]);
}

#[test]
fn a_dead_letter_has_the_headers_of_its_record_and_says_which_topology_it_was() {
    let mut driver = driver(
        "
app: a
nodes:
  s:   { source: { topic: s } }
  n:   { aggregate: { from: s, by: x, window: none, set: { n: count() } } }
  out: { kafka: { from: n, topic: out } }
",
    );
    let record = TestRecord::text(r#"{"y":1}"#).header("own", b"1");
    driver.pipe_record("s", &record).unwrap();
    let letters = driver.dead_letters();
    assert_eq!(header(&letters[0], "own"), "1");
    assert_eq!(header(&letters[0], "tidemill.reason"), "null_key");
    assert_eq!(
        header(&letters[0], "tidemill.config"),
        driver.plan.fingerprint
    );
}
