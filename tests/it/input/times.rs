//! Events from the future, and topics that others have made: a broker takes times up to an hour
//! ahead of its clock.

use std::fs;

use tidemill::broker::OwnedRecord;
use tidemill::time::{Clock, SystemClock, Timestamp};

use crate::harness::{
    Raw, Run, Tidemill, Topics, databases, header, kafka, skip, unique, wait_until,
};

use super::{TIMEOUT, drops, member};

const TOPOLOGY: &str = "
app: NAME
guarantee: GUARANTEE
nodes:
  events:
    source: { topic: NAME, key: wiki, timestamp: meta.dt, max_ahead: none, fields: { wiki: string } }
  copy: { kafka: { from: events, topic: NAME-copy } }
";

const TWO_DAYS_MS: i64 = 2 * 24 * 3_600_000;

/// So many events are good.
const GOOD: usize = 300;

fn event(wiki: usize, time: Timestamp) -> String {
    format!(r#"{{"wiki":"w{wiki}","meta":{{"id":"{wiki}","dt":"{time}"}}}}"#)
}

/// Good events, and between them one that is two days ahead; and that one alone.
fn events() -> (Vec<String>, String) {
    let now = SystemClock.now();
    let mut events: Vec<_> = (0..GOOD)
        .map(|at| event(at, now.plus_millis(-(at as i64))))
        .collect();
    let ahead = event(GOOD, now.plus_millis(TWO_DAYS_MS));
    events.insert(GOOD / 2, ahead.clone());
    (events, ahead)
}

/// The values of a topic, sorted; each as often as it is there.
fn values(topics: &Topics, topic: &str) -> Vec<String> {
    let text = |record: OwnedRecord| String::from_utf8(record.value.expect("a value"));
    let records = topics.read(topic).into_iter();
    sorted(records.map(|record| text(record).expect("JSON")).collect())
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort_unstable();
    values
}

/// The good events, sorted.
fn without(mut events: Vec<String>, ahead: &str) -> Vec<String> {
    events.retain(|event| event != ahead);
    sorted(events)
}

/// Each letter is the event from the future, with the reason, and dated as of today.
#[track_caller]
fn assert_put_aside(letters: &[OwnedRecord], ahead: &str) {
    for letter in letters {
        assert_eq!(header(letter, "tidemill.reason"), Some("refused_by_topic"));
        assert_eq!(letter.value.as_deref(), Some(ahead.as_bytes()));
        assert!(letter.timestamp <= SystemClock.now());
    }
}

fn check_kafka_sink(guarantee: &str, most_copies: usize) {
    let test = "an event whose time the topic of a Kafka sink refuses";
    let (Some(bootstrap), Some((_, server))) = (kafka(), databases().into_iter().next()) else {
        return skip(test, "no Kafka, or no database");
    };
    let topics = Topics::connect(&bootstrap);
    let run = Run::of(
        &TOPOLOGY.replace("GUARANTEE", guarantee),
        &bootstrap,
        &server,
    );
    let (copy, letters) = (
        format!("{}-copy", run.name),
        format!("{}-dead-letters", run.name),
    );
    topics.create(&run.name, 3, 1 << 20);
    topics.create(&copy, 3, 1 << 20);
    // This topic, too, refuses the future.
    topics.create(&letters, 1, 1 << 20);
    let (events, ahead) = events();
    let record = |event: &String| Raw {
        partition: None,
        key: event.split('"').nth(3).map(|wiki| wiki.as_bytes().to_vec()),
        value: Some(event.clone().into_bytes()),
    };
    topics.write(&run.name, &events.iter().map(record).collect::<Vec<_>>());
    let mut process = member(&run, guarantee);
    let good = without(events, &ahead);
    wait_until("all good events", TIMEOUT, || {
        assert!(!process.has_ended(), "{}", process.log());
        let mut copies = values(&topics, &copy);
        copies.dedup();
        copies == good && !topics.read(&letters).is_empty()
    });
    let refused = [(("copy".to_owned(), "refused_by_topic".to_owned()), 1)].into();
    wait_until("the drop to be counted", TIMEOUT, || {
        drops(std::slice::from_ref(&process)) == refused
    });
    process.stop();
    let most = GOOD * most_copies;
    let copies = values(&topics, &copy).len();
    assert!((GOOD..=most).contains(&copies), "{copies}");
    let letters = topics.read(&letters);
    assert!((1..=most_copies).contains(&letters.len()));
    assert_put_aside(&letters, &ahead);
}

#[test]
fn an_event_whose_time_a_topic_refuses_is_put_aside_and_the_rest_is_there_exactly_once() {
    check_kafka_sink("exactly_once", 1);
}

/// What a failed flush had written already is written again.
#[test]
fn an_event_whose_time_a_topic_refuses_is_put_aside_and_the_rest_is_there_at_least_once() {
    check_kafka_sink("at_least_once", 5);
}

/// Replays the events into a topic; gives its values and its dead letters.
fn replayed(topics: &Topics, topic: &str, bootstrap: &str, events: &[String]) -> Vec<OwnedRecord> {
    let folder = tempfile::tempdir().expect("a temp directory");
    let file = folder.path().join("events.ndjson");
    fs::write(&file, events.join("\n") + "\n").expect("a writable folder");
    let file = file.to_str().expect("UTF-8");
    let arguments = ["ingest", "replay", file, "--topic", topic];
    let arguments = [&arguments[..], &["--brokers", bootstrap]].concat();
    Tidemill::run(folder.path(), "replay", &arguments);
    topics.read(&format!("{topic}-dead-letters"))
}

#[test]
fn a_replay_goes_on_behind_an_event_whose_time_its_topic_refuses() {
    let Some(bootstrap) = kafka() else {
        return skip("a replay of the future", "no Kafka");
    };
    let topics = Topics::connect(&bootstrap);
    let (events, ahead) = events();
    let topic = unique("future");
    topics.create(&topic, 3, 1 << 20);
    let letters = replayed(&topics, &topic, &bootstrap, &events);
    assert_eq!(values(&topics, &topic), without(events, &ahead));
    assert_eq!(letters.len(), 1);
    assert_put_aside(&letters, &ahead);
}

#[test]
fn a_topic_that_is_made_for_a_replay_takes_the_future() {
    let Some(bootstrap) = kafka() else {
        return skip("a replay of the future", "no Kafka");
    };
    let topics = Topics::connect(&bootstrap);
    let (events, _) = events();
    let topic = unique("future");
    let letters = replayed(&topics, &topic, &bootstrap, &events);
    assert!(letters.is_empty());
    assert_eq!(values(&topics, &topic), sorted(events));
}
