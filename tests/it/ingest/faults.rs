//! The connector when the service refuses, or when the log is in trouble.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tidemill::broker::memory::{MemoryBroker, Operation};
use tidemill::broker::{BrokerError, RecordMark};
use tidemill::ingest::metrics::{DeadReason, ReconnectReason};
use tidemill::ingest::wikimedia::{ConnectorError, StreamTarget};

use crate::eventstreams::{Answer, Double, End};

use super::stage::{
    Running, TOPIC, check_exactly_once, generated, memory, options, time_of, values,
    wait_for_events, wait_until,
};

fn status(status: u16) -> Answer {
    Answer::Status(status, None, "refused".to_owned())
}

#[test]
fn whatever_the_service_answers_the_connector_comes_back_and_counts_why() {
    let lines = generated(30, 80);
    let double = Double::recentchange();
    double.publish(lines.iter().map(String::as_str));
    double.script(|n| match n {
        0 => status(403),
        1 => Answer::Status(429, Some("0".to_owned()), "Too Many Requests".to_owned()),
        2 => status(500),
        3 => status(503),
        4 => Answer::Html,
        5 => Answer::Silence,
        6 => Answer::Cut(20, End::Close),
        7 => status(502),
        8 => Answer::Cut(30, End::Break),
        9 => Answer::Cut(40, End::MidFrame),
        10 => Answer::Cut(50, End::Error),
        _ => Answer::Stream,
    });
    let broker = memory();
    let mut options = options(&double, time_of(&lines[0]));
    options.read_timeout = Duration::from_millis(300);
    let running = Running::start(options, broker.clone());
    wait_for_events(&broker, TOPIC, lines.len());
    wait_until("the silence after the last event is too long", || {
        double.asked().len() > 12
    });
    let metrics = Arc::clone(&running.metrics);
    running.stop().unwrap();
    check_exactly_once(&broker, TOPIC, &lines);
    for (reason, expected) in [
        (ReconnectReason::Forbidden, 1),
        (ReconnectReason::TooManyRequests, 1),
        (ReconnectReason::Status, 3),
        (ReconnectReason::NotAnEventStream, 1),
        (ReconnectReason::Closed, 1),
        (ReconnectReason::Broken, 2),
        (ReconnectReason::ServerError, 1),
        (ReconnectReason::Unreachable, 0),
        (ReconnectReason::NotContinued, 0),
        (ReconnectReason::Restarted, 0),
    ] {
        assert_eq!(metrics.reconnects(reason), expected, "{}", reason.label());
    }
    assert!(metrics.reconnects(ReconnectReason::Silence) >= 2);
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    let lines = generated(31, 5);
    let double = Double::recentchange();
    double.publish(lines.iter().map(String::as_str));
    double.script(|n| match n {
        0 => Answer::Status(429, Some("1".to_owned()), String::new()),
        _ => Answer::Stream,
    });
    let broker = memory();
    let begin = Instant::now();
    let running = Running::start(options(&double, time_of(&lines[0])), broker.clone());
    wait_for_events(&broker, TOPIC, lines.len());
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    running.stop().unwrap();
}

#[test]
fn a_second_connection_is_refused_and_gets_through_once_the_first_is_gone() {
    let lines = generated(32, 5);
    let double = Double::recentchange();
    double.limit_connections(1);
    double.publish(lines.iter().map(String::as_str));
    let (one, other) = (memory(), memory());
    let first = Running::start(options(&double, time_of(&lines[0])), one.clone());
    wait_for_events(&one, TOPIC, lines.len());
    let second = Running::start(options(&double, time_of(&lines[0])), other.clone());
    let refused = || second.metrics.reconnects(ReconnectReason::TooManyRequests) > 0;
    wait_until("the second one is refused", refused);
    first.stop().unwrap();
    wait_for_events(&other, TOPIC, lines.len());
    second.stop().unwrap();
}

#[test]
fn a_service_that_is_not_there_is_asked_again_until_the_shutdown() {
    let double = Double::recentchange();
    let mut options = options(&double, time_of(&generated(33, 1)[0]));
    drop(double);
    options.connect_timeout = Duration::from_millis(200);
    let running = Running::start(options, memory());
    let tried = || running.metrics.reconnects(ReconnectReason::Unreachable) > 2;
    wait_until("it has tried a few times", tried);
    running.stop().unwrap();
}

#[test]
fn a_stream_that_the_service_does_not_know_is_an_error_that_says_so() {
    let double = Double::recentchange();
    let mut options = options(&double, time_of(&generated(34, 1)[0]));
    options.streams[0] = StreamTarget::new("recentchnage", TOPIC);
    let error = Running::start(options, memory())
        .join()
        .expect_err("it stops");
    let text = error.to_string();
    assert!(
        text.contains("does not know a stream of recentchnage"),
        "{text}"
    );
    assert!(text.contains("Invalid streams: recentchnage"), "{text}");
}

#[test]
fn topics_that_the_service_does_not_know_any_more_are_learned_anew() {
    let lines = generated(35, 60);
    let broker = memory();
    let both = Double::recentchange();
    both.publish(lines[..30].iter().map(String::as_str));
    let first = Running::start(options(&both, time_of(&lines[0])), broker.clone());
    wait_for_events(&broker, TOPIC, 30);
    first.stop().unwrap();
    // The idle data centre's topic is gone.
    let one = Double::start(&[("recentchange", &["eqiad.mediawiki.recentchange"])]);
    one.publish(lines.iter().map(String::as_str));
    let second = Running::start(options(&one, time_of(&lines[0])), broker.clone());
    // Topics are learned from the first event that comes.
    wait_until("the topics are asked for", || one.asked().len() >= 2);
    one.publish(generated(35, 61)[60..].iter().map(String::as_str));
    wait_for_events(&broker, TOPIC, 61);
    second.stop().unwrap();
    check_exactly_once(&broker, TOPIC, &generated(35, 61));
}

/// Reads events while the log fails as `script` says, once the connector has begun.
fn check_log_trouble(what: &str, script: impl Fn(&MemoryBroker)) {
    let lines = generated(36, 300);
    let double = Double::recentchange();
    double.publish(lines[..100].iter().map(String::as_str));
    let broker = memory();
    let running = Running::start(options(&double, time_of(&lines[0])), broker.clone());
    wait_for_events(&broker, TOPIC, 100);
    script(&broker);
    double.publish(lines[100..].iter().map(String::as_str));
    wait_for_events(&broker, TOPIC, lines.len());
    assert_eq!(
        broker.pending_faults(),
        0,
        "{what}: all faults have happened"
    );
    let metrics = Arc::clone(&running.metrics);
    running.stop().unwrap();
    check_exactly_once(&broker, TOPIC, &lines);
    // What was committed without an answer is never counted.
    assert!(
        metrics.events.load(Relaxed) <= 300,
        "{what}: nothing is counted twice"
    );
}

#[test]
fn trouble_with_the_log_neither_loses_nor_repeats() {
    type Trouble = (&'static str, fn() -> BrokerError);
    let errors: [Trouble; 3] = [
        ("retry", || BrokerError::retry("x", "busy")),
        ("abort", || BrokerError::abort("x", "aborted")),
        ("fenced", || BrokerError::fenced("x", "timed out")),
    ];
    for operation in [Operation::Begin, Operation::Send, Operation::Commit] {
        for (name, error) in errors {
            let what = format!("{operation:?} {name}");
            check_log_trouble(&what, |broker| broker.fail_next(operation, error()));
        }
    }
    // The commit took place, but nobody was told.
    for (name, error) in errors {
        let what = format!("answer of commit lost, {name}");
        check_log_trouble(&what, |broker| {
            broker.lose_answer(Operation::Commit, error())
        });
    }
    // Trouble again while it recovers.
    check_log_trouble("one after the other", |broker| {
        broker.fail_next(Operation::Commit, BrokerError::abort("x", "aborted"));
        broker.fail_next(Operation::NewProducer, BrokerError::retry("x", "no broker"));
        broker.fail_next(Operation::NewReader, BrokerError::retry("x", "no broker"));
        broker.fail_next(
            Operation::StartOffsets,
            BrokerError::retry("x", "no broker"),
        );
    });
}

#[test]
fn a_log_that_needs_a_human_stops_the_connector() {
    let double = Double::recentchange();
    let broker = memory();
    broker.fail_next(
        Operation::CreateTopics,
        BrokerError::fatal("create topics", "no rights"),
    );
    let options = options(&double, time_of(&generated(37, 1)[0]));
    let error = Running::start(options, broker)
        .join()
        .expect_err("it stops");
    assert!(matches!(error, ConnectorError::Log(_)), "{error}");
    assert_eq!(error.to_string(), "create topics: no rights");
}

#[test]
fn a_record_that_the_log_refuses_only_at_the_commit_does_not_stop_the_run() {
    let lines = generated(38, 100);
    let double = Double::recentchange();
    double.publish(lines[..10].iter().map(String::as_str));
    let broker = memory();
    let running = Running::start(options(&double, time_of(&lines[0])), broker.clone());
    wait_for_events(&broker, TOPIC, 10);
    // The log does not say which record it was, only how large.
    let limit = 1800;
    let topic = TOPIC.to_owned();
    broker.fail_next(
        Operation::Commit,
        BrokerError::TooLarge {
            topic,
            bytes: limit,
        },
    );
    double.publish(lines[10..].iter().map(String::as_str));
    let size = |line: &String| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        line.len() + event["wiki"].as_str().map_or(0, str::len)
    };
    let (large, small): (Vec<_>, Vec<_>) = lines[10..]
        .iter()
        .cloned()
        .partition(|line| size(line) >= limit);
    assert!(!large.is_empty(), "the test needs some");
    wait_for_events(&broker, TOPIC, 10 + small.len());
    let dead_letters = format!("{TOPIC}-dead-letters");
    wait_for_events(&broker, &dead_letters, large.len());
    running.stop().unwrap();
    assert_eq!(values(&broker, &dead_letters), large);
    check_exactly_once(&broker, TOPIC, &[&lines[..10], &small].concat());
}

#[test]
fn an_event_whose_time_the_topic_refuses_at_the_commit_is_put_aside_when_it_comes_again() {
    let lines = generated(39, 60);
    let double = Double::recentchange();
    double.publish(lines[..10].iter().map(String::as_str));
    let broker = memory();
    let running = Running::start(options(&double, time_of(&lines[0])), broker.clone());
    wait_for_events(&broker, TOPIC, 10);
    let time = time_of(&lines[30]);
    broker.fail_next(
        Operation::Commit,
        BrokerError::Refused {
            topic: TOPIC.to_owned(),
            records: vec![RecordMark {
                timestamp: time,
                has_key: true,
            }],
            reason: "its time is too far ahead of the clock".to_owned(),
        },
    );
    double.publish(lines[10..].iter().map(String::as_str));
    let (refused, taken): (Vec<_>, Vec<_>) = lines[10..]
        .iter()
        .cloned()
        .partition(|line| time_of(line) == time);
    wait_for_events(&broker, TOPIC, 10 + taken.len());
    let dead_letters = format!("{TOPIC}-dead-letters");
    wait_for_events(&broker, &dead_letters, refused.len());
    let metrics = Arc::clone(&running.metrics);
    running.stop().unwrap();
    assert_eq!(values(&broker, &dead_letters), refused);
    check_exactly_once(&broker, TOPIC, &[&lines[..10], &taken].concat());
    let counted = metrics.dead_letters(DeadReason::RefusedByTopic);
    assert_eq!(counted, refused.len() as u64);
}
