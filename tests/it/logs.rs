//! What a member and an ingestion say, in their logs and when they cannot start.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Run, databases, kafka, skip, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A line of a log in JSON.
fn parsed(line: &str) -> Value {
    let object: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for field in ["timestamp", "level", "target", "message"] {
        assert!(object[field].is_string(), "{field} is not in: {line}");
    }
    object
}

#[test]
fn a_log_in_json_has_an_object_per_line_up_to_the_signal_that_ends_the_member() {
    let (Some(bootstrap), [(_, url), ..]) = (kafka(), &*databases()) else {
        return skip("logs", "no Kafka, or no database");
    };
    let run = Run::wikimedia(&bootstrap, url);
    run.make_topic(2);
    let mut member = run.member_with("run", &["--http", "off", "--log-format", "json"], &[]);
    // Longer than it takes until ingestion says how it goes on.
    let mut feed = run.generate(&["--rate", "100", "--events", "1200"]);
    wait_until("rows", PATIENCE, || run.raw_rows() > Some(0));
    feed.succeed();
    let progress = feed.log();
    assert!(progress.contains("events come in"), "{progress}");
    member.interrupt();

    let log = member.log();
    let lines: Vec<Value> = log.lines().map(parsed).collect();
    let said = |text: &str| -> Vec<&Value> {
        let said = lines.iter().filter(|line| line["message"] == text);
        said.collect()
    };
    assert_eq!(
        said("the tables of Tidemill and of the shipped topologies are up to date").len(),
        1,
        "{log}"
    );
    let [started] = said("started")[..] else {
        panic!("{log}");
    };
    assert_eq!(started["app"], run.name);
    let last = lines.last().expect("it has said something");
    assert_eq!(last["message"], "stopped; everything is committed");
}

const TWO_TABLES: &str = "
app: NAME
nodes:
  s: { source: { topic: NAME, key: k, fields: { k: string, n: int } } }
  first: { sql: { from: s, table: not_there, key: [k], columns: { k: k } } }
  second: { sql: { from: s, table: too_narrow, key: [k], columns: { k: k, n: n } } }
";

#[test]
fn tables_that_do_not_fit_are_all_named_before_any_group_is_joined() {
    let (Some(bootstrap), [(_, url), ..]) = (kafka(), &*databases()) else {
        return skip("logs", "no Kafka, or no database");
    };
    let run = Run::of(TWO_TABLES, &bootstrap, url);
    run.make_topic(2);
    let narrow = "CREATE TABLE too_narrow (k VARBINARY(20) PRIMARY KEY)";
    run.database.run(narrow);
    let log = run.member_with("run", &["--http", "off"], &[]).fails();
    for text in [
        "sink first: table not_there does not fit",
        "fix: CREATE TABLE `not_there`",
        "sink second: table too_narrow does not fit",
        "error[S04]",
        "tidemill describe FILE --tables mysql",
    ] {
        assert!(log.contains(text), "{text} is not in: {log}");
    }
    assert!(!log.contains("assigned"), "{log}");
    let in_json = ["--http", "off", "--log-format", "json"];
    let log = run.member_with("json", &in_json, &[]).fails();
    let last = parsed(log.lines().last().expect("a reason"));
    let message = last["message"].as_str().unwrap_or_default();
    assert!(message.contains("table not_there does not fit"), "{log}");
}

#[test]
fn a_member_that_is_told_to_stop_while_it_waits_for_its_topic_ends_well() {
    let (Some(bootstrap), [(_, url), ..]) = (kafka(), &*databases()) else {
        return skip("logs", "no Kafka, or no database");
    };
    let run = Run::wikimedia(&bootstrap, url);
    let mut member = run.member_with("run", &["--http", "off"], &[]);
    wait_until("it waits", PATIENCE, || {
        member.log().contains("waiting for the topic")
    });
    member.stop();
    let log = member.log();
    assert!(log.contains("stopped before anything was read"), "{log}");
}
