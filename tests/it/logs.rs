//! What a member and an ingestion say in their logs.

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
    let messages: Vec<String> = log
        .lines()
        .map(|line| {
            parsed(line)["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let said = |text: &str| {
        messages
            .iter()
            .filter(|message| message.contains(text))
            .count()
    };
    assert_eq!(said("schema is up to date"), 1, "{log}");
    assert_eq!(said(&format!("app       {}", run.name)), 1, "{log}");
    assert_eq!(
        messages.last().map(String::as_str),
        Some("stopped; everything is committed")
    );
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
