//! The connector against the double: whatever the service does, each event is in the topic
//! exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidemill::broker::Isolation;
use tidemill::ingest::generate::{ACTIVE_TOPIC, IDLE_TOPIC};
use tidemill::ingest::metrics::{DeadReason, ReconnectReason};
use tidemill::ingest::sse::Parser;
use tidemill::ingest::wikimedia::{ConnectorError, StreamTarget};
use tidemill::time::Timestamp;

use crate::eventstreams::{Answer, Double, End, Order};

use super::mortal::{Killed, Mortal};
use super::stage::{
    Running, TOPIC, check_exactly_once, generated, memory, options, recorded, time_of, values,
    wait_for_events, wait_until,
};

/// The complete stream of 45 seconds.
const FULL: &str = "rc-2026-05-05-full-45s.ndjson.gz";

const ENDS: [End; 4] = [End::Close, End::Break, End::MidFrame, End::Error];

fn before(lines: &[String]) -> Timestamp {
    time_of(&lines[0]).plus_millis(-1000)
}

fn texts(lines: &[String]) -> impl Iterator<Item = &str> {
    lines.iter().map(String::as_str)
}

/// The same event as it would stand at another offset of its topic.
fn at_offset(line: &str, offset: i64) -> String {
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    let old = event["meta"]["offset"].as_i64().unwrap();
    line.replacen(
        &format!("\"offset\":{old}"),
        &format!("\"offset\":{offset}"),
        1,
    )
}

/// The same event in the other data centre's topic, at this offset.
fn in_codfw(line: &str, offset: i64) -> String {
    at_offset(line, offset).replacen(ACTIVE_TOPIC, IDLE_TOPIC, 1)
}

/// The events that the idle data centre's topic does not have: without canaries.
fn without_canaries(lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .filter(|line| line.contains("\"wiki\":"))
        .collect()
}

/// Reads the lines while connections are cut as `script` says.
#[track_caller]
fn check_cut(what: &str, lines: &[String], script: impl FnMut(usize) -> Answer + Send + 'static) {
    let double = Double::recentchange();
    double.publish(texts(lines));
    double.script(script);
    let broker = memory();
    let running = Running::start(options(&double, before(lines)), broker.clone());
    wait_for_events(&broker, TOPIC, lines.len());
    let metrics = Arc::clone(&running.metrics);
    running.stop().unwrap();
    println!(
        "{what}: {} connections, {:?} repeats",
        double.asked().len(),
        metrics.repeats
    );
    check_exactly_once(&broker, TOPIC, lines);
    assert_eq!(metrics.events.load(Relaxed), lines.len() as u64, "{what}");
    assert_eq!(
        (metrics.gaps.load(Relaxed), metrics.jumps.load(Relaxed)),
        (0, 0),
        "{what}"
    );
}

/// Cuts after every k-th event, with each kind of end in turn.
#[track_caller]
fn check_every_kth(lines: &[String]) {
    // Below the number of repeats in the margin it takes some seven connections to get on, so the
    // smaller k, the fewer events.
    for (k, count) in [
        (1, 40),
        (2, 80),
        (3, 120),
        (7, 400),
        (50, 1500),
        (400, usize::MAX),
    ] {
        let lines = &lines[..lines.len().min(count)];
        check_cut(&format!("k={k}"), lines, move |n| {
            Answer::Cut(k, ENDS[n % 4])
        });
    }
    for seed in 0..2 {
        let mut rng = StdRng::seed_from_u64(seed);
        let lines = &lines[..lines.len().min(600)];
        check_cut(&format!("random, seed {seed}"), lines, move |_| {
            Answer::Cut(rng.random_range(1..60), ENDS[rng.random_range(0..4)])
        });
    }
}

#[test]
fn every_generated_event_comes_exactly_once_however_the_connection_is_cut() {
    check_every_kth(&generated(1, 2000));
}

#[test]
fn every_real_event_comes_exactly_once_however_the_connection_is_cut() {
    let Some(lines) = recorded(FULL) else { return };
    check_every_kth(&lines);
}

/// What a client gets that sends the server's own id back, as the standard has it, when its
/// connections are cut after every `k` events.
fn naive(double: &Double, since: Timestamp, k: usize, until: &str) -> Vec<String> {
    let url = format!("{}/recentchange?since={}", double.url(), since.millis());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (mut found, mut last_id) = (Vec::new(), None::<String>);
        let mut done = false;
        while !done {
            let mut request = client.get(&url);
            if let Some(id) = &last_id {
                request = request.header("Last-Event-ID", id);
            }
            let mut response = request.send().await.unwrap();
            let (mut parser, mut events) = (Parser::new(1 << 20), 0);
            while !done
                && events < k
                && let Some(chunk) = response.chunk().await.unwrap()
            {
                let mut rest = &chunk[..];
                while events < k
                    && let Some(frame) = parser.next_frame(&mut rest)
                {
                    events += 1;
                    let line = String::from_utf8(frame.data.to_vec()).unwrap();
                    done |= line == until;
                    found.push(line);
                    last_id = Some(frame.id.to_owned());
                }
            }
        }
        found
    })
}

#[test]
fn a_client_that_sends_the_servers_id_back_loses_events() {
    let mut lines = without_canaries(generated(3, 1000));
    // The last one is later than all others: no client can miss it.
    let latest = |lines: &[String]| lines.iter().rev().skip(1).map(|line| time_of(line)).max();
    while Some(time_of(lines.last().unwrap())) <= latest(&lines) {
        lines.pop();
    }
    let last = lines.last().unwrap();
    let lost = |k| {
        let double = Double::recentchange();
        double.publish(texts(&lines));
        let found = naive(&double, before(&lines), k, last);
        lines.iter().filter(|line| !found.contains(line)).count()
    };
    assert_eq!(lost(usize::MAX), 0, "nothing is lost within one connection");
    // Some 20 % of the reconnects lose an event or more.
    let (cuts, lost) = (lines.len() / 10, lost(10));
    assert!(
        lost > cuts / 10,
        "{lost} of {} lost in {cuts} cuts",
        lines.len()
    );
}

#[test]
fn a_connector_that_is_killed_anywhere_neither_loses_nor_repeats() {
    let lines = generated(4, 600);
    let double = Double::recentchange();
    double.publish(texts(&lines));
    double.script(|n| Answer::Cut(40 + n as u64 % 50, ENDS[n % 4]));
    let broker = memory();
    let mut rng = StdRng::seed_from_u64(5);
    let mut options = options(&double, before(&lines));
    options.batch.max_events = 20;
    let mut deaths = 0;
    // Each call that changes the log may be the last one: first each of the first forty, before
    // and behind it, then at random.
    let lives = (0..80).chain(std::iter::repeat_with(move || rng.random_range(60..400)));
    for life in lives.take(140) {
        options.chance += 1;
        let mortal = Arc::new(Mortal::new(broker.clone(), life));
        let mut running = Running::start(options.clone(), mortal);
        let all_there = || values(&broker, TOPIC).len() >= lines.len();
        wait_until("it dies or is done", || {
            running.has_ended() || (life >= 60 && all_there())
        });
        if !running.has_ended() {
            running.stop().ok();
            continue;
        }
        let died = running
            .end()
            .err()
            .is_some_and(|panic| panic.is::<Killed>());
        assert!(died, "only a kill ends it");
        deaths += 1;
    }
    let running = Running::start(options, broker.clone());
    wait_for_events(&broker, TOPIC, lines.len());
    running.stop().unwrap();
    assert!(deaths >= 80, "{deaths} deaths");
    check_exactly_once(&broker, TOPIC, &lines);
}

#[test]
fn a_switch_of_the_data_centre_while_the_connector_is_away_loses_nothing() {
    let lines = without_canaries(generated(6, 300));
    let (first, second) = lines.split_at(150);
    let second: Vec<String> = second
        .iter()
        .zip(900_000..)
        .map(|(line, offset)| in_codfw(line, offset))
        .collect();
    let double = Double::recentchange();
    // An old event stands in the idle topic, long before the connector begins.
    let old = in_codfw(&lines[0], 899_999);
    let long_ago = before(&lines).plus_millis(-86_400_000).millis();
    double.publish_at(IDLE_TOPIC, 899_999, long_ago, &old);
    double.publish(texts(first));
    let back = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&back);
    let end = first.len() as u64;
    double.script(move |n| match n {
        0 => Answer::Cut(end, End::Break),
        _ if gate.load(Relaxed) => Answer::Stream,
        _ => Answer::Status(503, None, "upstream connect error".to_owned()),
    });
    let broker = memory();
    let running = Running::start(options(&double, before(&lines)), broker.clone());
    wait_until("the connector is turned away", || double.asked().len() > 2);
    double.publish(texts(&second));
    back.store(true, Relaxed);
    wait_for_events(&broker, TOPIC, lines.len());
    running.stop().unwrap();
    let all: Vec<String> = first.iter().chain(&second).cloned().collect();
    check_exactly_once(&broker, TOPIC, &all);
}

#[test]
fn no_resume_ever_names_an_offset_for_a_silent_topic_or_leaves_a_topic_out() {
    let lines = without_canaries(generated(7, 200));
    let double = Double::recentchange();
    double.publish(texts(&lines));
    double.script(|_| Answer::Cut(30, End::Close));
    let broker = memory();
    let running = Running::start(options(&double, before(&lines)), broker.clone());
    wait_for_events(&broker, TOPIC, lines.len());
    running.stop().unwrap();
    let asked = double.asked();
    assert_eq!(asked[0].last_event_id, None);
    assert_eq!(asked[0].since, Some(before(&lines).millis().to_string()));
    for request in &asked[1..] {
        let id = request.last_event_id.as_deref().expect("a resume");
        let entries: Vec<serde_json::Value> = serde_json::from_str(id).unwrap();
        assert_eq!(entries.len(), 2, "{id}");
        for entry in entries {
            let has = |name: &str| entry.get(name).is_some();
            assert!(has("offset") != has("timestamp"), "{id}");
            assert!(entry["topic"] != IDLE_TOPIC || has("timestamp"), "{id}");
        }
    }
}

#[test]
fn another_cluster_with_other_offsets_loses_nothing_and_is_reported_as_a_jump() {
    let shifts = [-5_000_000_000, 7, -7];
    for (k, shift) in [2, 25, 400]
        .into_iter()
        .flat_map(|k| shifts.map(|shift| (k, shift)))
    {
        let lines = without_canaries(generated(8, 120));
        let double = Double::recentchange();
        double.add_cluster(shift);
        double.publish(texts(&lines[..60]));
        double.script(move |_| Answer::Cut(k, End::Close));
        let broker = memory();
        let mut options = options(&double, before(&lines));
        // An offset of the one cluster may lie behind the end of the other: then nothing comes.
        options.read_timeout = Duration::from_millis(300);
        let running = Running::start(options, broker.clone());
        wait_for_events(&broker, TOPIC, 60);
        double.route_to(1);
        double.publish(texts(&lines[60..]));
        wait_for_events(&broker, TOPIC, lines.len());
        let metrics = Arc::clone(&running.metrics);
        running.stop().unwrap();
        // The offset inside the event is the cluster's; which one it came from is a matter of
        // when the connection was cut.
        let id = |line: &String| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["meta"]["id"].as_str().unwrap().to_owned()
        };
        let mut found: Vec<_> = values(&broker, TOPIC).iter().map(id).collect();
        let mut expected: Vec<_> = lines.iter().map(id).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "k={k} {shift}");
        assert_eq!(metrics.gaps.load(Relaxed), 0, "k={k} {shift}");
        assert!(metrics.jumps.load(Relaxed) >= 1, "k={k} {shift}");
    }
}

#[test]
fn missing_offsets_are_counted_exactly_and_reported_in_a_topic() {
    let mut lines = generated(9, 400);
    // Offsets of one topic: 3, 1 and 20 of them are missing.
    for range in [300..320, 150..151, 40..43] {
        lines.drain(range);
    }
    for k in [1, 8, 1000] {
        let lines = if k == 1 { &lines[..60] } else { &lines };
        let double = Double::recentchange();
        double.publish(texts(lines));
        double.script(move |_| Answer::Cut(k, End::Close));
        let broker = memory();
        let running = Running::start(options(&double, before(lines)), broker.clone());
        wait_for_events(&broker, TOPIC, lines.len());
        let metrics = Arc::clone(&running.metrics);
        running.stop().unwrap();
        check_exactly_once(&broker, TOPIC, lines);
        let expected: &[i64] = if k == 1 { &[3] } else { &[3, 1, 20] };
        let reports = values(&broker, "test-ingest-gaps");
        let missing: Vec<i64> = reports
            .iter()
            .map(|report| serde_json::from_str::<serde_json::Value>(report).unwrap())
            .map(|report| report["missing"].as_i64().unwrap())
            .collect();
        assert_eq!(missing, expected, "k={k} {reports:?}");
        assert_eq!(metrics.gaps.load(Relaxed), expected.len() as u64, "k={k}");
        assert_eq!(
            metrics.missing.load(Relaxed),
            expected.iter().sum::<i64>() as u64,
            "k={k}"
        );
        assert_eq!(metrics.jumps.load(Relaxed), 0, "k={k}");
    }
}

#[test]
fn events_that_retention_has_taken_while_the_connector_was_down_are_a_gap() {
    let lines = without_canaries(generated(10, 200));
    let double = Double::recentchange();
    double.publish(texts(&lines[..100]));
    let broker = memory();
    let first = Running::start(options(&double, before(&lines)), broker.clone());
    wait_for_events(&broker, TOPIC, 100);
    first.stop().unwrap();
    double.publish(texts(&lines[100..]));
    let event: serde_json::Value = serde_json::from_str(&lines[130]).unwrap();
    double.forget(ACTIVE_TOPIC, event["meta"]["offset"].as_i64().unwrap());
    let second = Running::start(options(&double, before(&lines)), broker.clone());
    wait_for_events(&broker, TOPIC, 170);
    let metrics = Arc::clone(&second.metrics);
    second.stop().unwrap();
    let left: Vec<String> = lines[..100].iter().chain(&lines[130..]).cloned().collect();
    check_exactly_once(&broker, TOPIC, &left);
    assert_eq!(
        (metrics.gaps.load(Relaxed), metrics.missing.load(Relaxed)),
        (1, 30)
    );
}

#[test]
fn an_event_that_lies_in_the_services_log_twice_is_written_once() {
    let lines = without_canaries(generated(11, 60));
    let event: serde_json::Value = serde_json::from_str(&lines[59]).unwrap();
    let end = event["meta"]["offset"].as_i64().unwrap() + 1;
    let double = Double::recentchange();
    double.publish(texts(&lines));
    let again: Vec<String> = lines[20..30]
        .iter()
        .zip(end..)
        .map(|(line, offset)| at_offset(line, offset))
        .collect();
    double.publish(texts(&again));
    let more = at_offset(&generated(12, 1)[0], end + 10);
    double.publish([more.as_str()]);
    double.script(|_| Answer::Cut(17, End::Close));
    let broker = memory();
    let running = Running::start(options(&double, before(&lines)), broker.clone());
    wait_for_events(&broker, TOPIC, 61);
    let metrics = Arc::clone(&running.metrics);
    running.stop().unwrap();
    let expected: Vec<String> = lines.into_iter().chain([more]).collect();
    check_exactly_once(&broker, TOPIC, &expected);
    assert_eq!(metrics.gaps.load(Relaxed), 0);
}

/// Lines of another stream, which has other fields.
fn page_changes(count: usize, first: Timestamp) -> Vec<String> {
    (0..count as i64)
        .map(|n| {
            format!(
                concat!(
                    r#"{{"$schema":"/mediawiki/page/change/1.2.0","meta":{{"stream":"mediawiki.page_change.v1","#,
                    r#""id":"page-{n}","dt":"{dt}","topic":"eqiad.mediawiki.page_change.v1","partition":0,"#,
                    r#""offset":{n}}},"wiki_id":"w{w}","page_change_kind":"edit"}}"#
                ),
                n = n,
                dt = first.plus_millis(n * 60),
                w = n % 5
            )
        })
        .collect()
}

fn two_streams() -> Double {
    Double::start(&[
        ("recentchange", &[ACTIVE_TOPIC, IDLE_TOPIC]),
        (
            "mediawiki.page_change.v1",
            &[
                "eqiad.mediawiki.page_change.v1",
                "codfw.mediawiki.page_change.v1",
            ],
        ),
    ])
}

#[test]
fn a_backlog_that_comes_topic_by_topic_is_read_exactly_once_into_two_topics() {
    let lines = generated(13, 700);
    // Both backlogs are of the same hour, and each is longer than the margin.
    let pages = page_changes(300, before(&lines));
    for k in [9, 100] {
        let double = two_streams();
        double.publish(texts(&lines).chain(texts(&pages)));
        double.order(Order::TopicByTopic);
        double.script(move |n| Answer::Cut(k, ENDS[n % 4]));
        let broker = memory();
        let mut options = options(&double, before(&lines));
        options
            .streams
            .push(StreamTarget::new("mediawiki.page_change.v1", "pages"));
        let running = Running::start(options, broker.clone());
        wait_for_events(&broker, TOPIC, lines.len());
        wait_for_events(&broker, "pages", pages.len());
        running.stop().unwrap();
        check_exactly_once(&broker, TOPIC, &lines);
        let mut found = values(&broker, "pages");
        let mut expected = pages.clone();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "k={k}");
        // Its key has another name.
        let first = broker
            .records("pages", 0, Isolation::ReadCommitted)
            .remove(0);
        assert!(first.key.unwrap().starts_with(b"w"));
    }
}

#[test]
fn a_stream_that_is_added_later_is_read_from_then_on_and_the_first_one_goes_on() {
    let lines = without_canaries(generated(14, 100));
    let double = two_streams();
    double.publish(texts(&lines[..50]));
    let broker = memory();
    let mut options = options(&double, before(&lines));
    let first = Running::start(options.clone(), broker.clone());
    wait_for_events(&broker, TOPIC, 50);
    first.stop().unwrap();
    // While it is down, both streams go on.
    double.publish(texts(&lines[50..]));
    options
        .streams
        .push(StreamTarget::new("mediawiki.page_change.v1", "pages"));
    let second = Running::start(options, broker.clone());
    wait_for_events(&broker, TOPIC, 100);
    let pages = page_changes(20, Timestamp(1_900_000_000_000));
    double.publish(texts(&pages));
    wait_for_events(&broker, "pages", 20);
    let metrics = Arc::clone(&second.metrics);
    second.stop().unwrap();
    check_exactly_once(&broker, TOPIC, &lines);
    assert_eq!(metrics.reconnects(ReconnectReason::TopicsLearned), 1);
}

#[test]
fn what_is_no_event_becomes_a_dead_letter_once_and_everything_else_goes_on() {
    let lines = without_canaries(generated(15, 90));
    let time = |index: usize| time_of(&lines[index]).millis();
    let offset = |index: usize| {
        let event: serde_json::Value = serde_json::from_str(&lines[index]).unwrap();
        event["meta"]["offset"].as_i64().unwrap()
    };
    let huge = format!(r#"{{"wiki":"x","text":"{}"}}"#, "x".repeat(300_000));
    let large = format!(r#"{{"wiki":"x","text":"{}"}}"#, "y".repeat(80_000));
    for k in [4, 1000] {
        let double = Double::recentchange();
        let mut shift = 0;
        for (index, line) in lines.iter().enumerate() {
            let bad = match index {
                20 => Some("not json"),
                40 => Some("[1,2]"),
                60 => Some(huge.as_str()),
                70 => Some(large.as_str()),
                _ => None,
            };
            if let Some(bad) = bad {
                double.publish_at(ACTIVE_TOPIC, offset(index) + shift, time(index), bad);
                shift += 1;
            }
            double.publish([at_offset(line, offset(index) + shift).as_str()]);
        }
        double.script(move |_| Answer::Cut(k, End::Close));
        let broker = memory();
        let mut options = options(&double, before(&lines));
        options.max_event_bytes = 100_000;
        options.streams[0].target.max_record_bytes = 50_000;
        let running = Running::start(options, broker.clone());
        wait_for_events(&broker, TOPIC, lines.len());
        let metrics = Arc::clone(&running.metrics);
        running.stop().unwrap();
        let letters = broker.records(
            &format!("{TOPIC}-dead-letters"),
            0,
            Isolation::ReadCommitted,
        );
        let told: Vec<_> = letters
            .iter()
            .map(|letter| {
                let header = |name: &str| {
                    let found = letter.headers.iter().find(|(known, _)| known == name);
                    found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
                };
                assert!(header("tidemill.origin").unwrap().contains(ACTIVE_TOPIC));
                let kept = letter.value.as_ref().unwrap().len();
                (
                    header("tidemill.reason").unwrap(),
                    kept,
                    header("tidemill.length"),
                )
            })
            .collect();
        let expected = [
            ("not_json".to_owned(), 8, None),
            ("not_an_object".to_owned(), 5, None),
            (
                "too_large".to_owned(),
                100_000,
                Some(huge.len().to_string()),
            ),
            ("too_large".to_owned(), large.len(), None),
        ];
        assert_eq!(told, expected, "k={k}");
        let counts = DeadReason::ALL.map(|reason| metrics.dead_letters(reason));
        assert_eq!(counts, [0, 1, 1, 0, 2, 0], "k={k}");
        assert_eq!(
            metrics.gaps.load(Relaxed),
            0,
            "a dead letter is not missing, k={k}"
        );
        assert_eq!(values(&broker, TOPIC).len(), lines.len(), "k={k}");
    }
}

#[test]
fn canary_events_pass_without_a_key_and_are_noted() {
    // More than half an hour of event time holds canaries of both data centres.
    let lines = generated(16, 60_000);
    let at: Vec<usize> = (0..lines.len())
        .filter(|n| lines[*n].contains("\"canary\""))
        .collect();
    let lines = &lines[at[0] - 20..at[1] + 20];
    let double = Double::recentchange();
    double.publish(texts(lines));
    let broker = memory();
    let running = Running::start(options(&double, before(lines)), broker.clone());
    wait_for_events(&broker, TOPIC, lines.len());
    let metrics = Arc::clone(&running.metrics);
    running.stop().unwrap();
    check_exactly_once(&broker, TOPIC, lines);
    let canaries = (0..4)
        .flat_map(|partition| broker.records(TOPIC, partition, Isolation::ReadCommitted))
        .filter(|record| record.key.is_none())
        .count();
    assert_eq!(canaries, 2);
    assert_eq!(metrics.last_canary_time(), Some(time_of(&lines[21])));
}

#[test]
fn two_connectors_of_one_name_do_not_write_twice_and_the_older_stops() {
    let lines = generated(17, 400);
    let double = Double::recentchange();
    double.publish(texts(&lines[..200]));
    let broker = memory();
    let mut options = options(&double, before(&lines));
    let mut older = Running::start(options.clone(), broker.clone());
    wait_for_events(&broker, TOPIC, 200);
    options.chance = 99;
    let newer = Running::start(options, broker.clone());
    wait_until("the newer one reads", || double.asked().len() >= 2);
    double.publish(texts(&lines[200..]));
    let stopped = older.join().expect_err("it is fenced");
    assert!(
        matches!(stopped, ConnectorError::TakenOver { .. }),
        "{stopped}"
    );
    wait_for_events(&broker, TOPIC, lines.len());
    newer.stop().unwrap();
    check_exactly_once(&broker, TOPIC, &lines);
}

#[test]
fn a_restart_goes_on_where_the_last_run_ended_whatever_since_says() {
    let lines = generated(18, 200);
    let double = Double::recentchange();
    double.publish(texts(&lines[..120]));
    let broker = memory();
    let run = |wanted: usize| {
        let running = Running::start(options(&double, before(&lines)), broker.clone());
        wait_for_events(&broker, TOPIC, wanted);
        running.stop().unwrap();
    };
    run(120);
    let first = double.asked().len();
    double.publish(texts(&lines[120..]));
    run(200);
    check_exactly_once(&broker, TOPIC, &lines);
    let resumed = &double.asked()[first];
    assert!(
        resumed.since.is_none() && resumed.last_event_id.is_some(),
        "{resumed:?}"
    );
}

#[test]
fn frames_in_chunks_of_a_few_bytes_are_read() {
    let lines = generated(19, 60);
    let double = Double::recentchange();
    double.publish(texts(&lines));
    double.chop(7);
    let broker = memory();
    let running = Running::start(options(&double, before(&lines)), broker.clone());
    wait_for_events(&broker, TOPIC, lines.len());
    running.stop().unwrap();
    check_exactly_once(&broker, TOPIC, &lines);
}

#[test]
fn events_that_come_live_are_read_as_they_come() {
    let lines = generated(20, 50);
    let double = Double::recentchange();
    let broker = memory();
    let mut options = options(&double, before(&lines));
    options.contact = Some("ops@example.org".to_owned());
    options.read_timeout = Duration::from_secs(60);
    let running = Running::start(options, broker.clone());
    wait_until("it is connected", || !double.asked().is_empty());
    for (index, line) in lines.iter().enumerate() {
        double.publish([line.as_str()]);
        wait_for_events(&broker, TOPIC, index + 1);
    }
    running.stop().unwrap();
    check_exactly_once(&broker, TOPIC, &lines);
    assert_eq!(double.asked().len(), 1, "one connection did it");
    let agent = double.asked()[0].user_agent.clone().unwrap();
    assert!(
        agent.starts_with("tidemill/") && agent.contains("ops@example.org"),
        "{agent}"
    );
}
