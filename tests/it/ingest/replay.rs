//! Replay of files and the generator, into the in-memory log.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use tidemill::broker::Isolation;
use tidemill::broker::memory::{MemoryBroker, Operation};
use tidemill::broker::{Broker, BrokerError, TIMESTAMP_AFTER_MAX, TopicSpec};
use tidemill::ingest::generate::{self, GenerateOptions};
use tidemill::ingest::metrics::{DeadReason, IngestMetrics};
use tidemill::ingest::pace::Pace;
use tidemill::ingest::replay::{self, ReplayError, ReplayOptions};
use tidemill::ingest::summary::Summary;
use tidemill::ingest::target::Partitions;
use tidemill::time::{ManualClock, SystemClock, Timestamp};
use tidemill::value::FieldPath;
use tokio_util::sync::CancellationToken;

use super::stage::{TOPIC, check_exactly_once, generated, memory, recorded, values};

fn file(folder: &TempDir, name: &str, lines: &[String]) -> PathBuf {
    let path = folder.path().join(name);
    let text = lines.join("\n") + "\n";
    let bytes = if name.ends_with(".gz") {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    } else {
        text.into_bytes()
    };
    std::fs::write(&path, bytes).unwrap();
    path
}

fn replay(options: &ReplayOptions, broker: &MemoryBroker) -> Result<Summary, ReplayError> {
    let metrics = IngestMetrics::default();
    replay::run(
        options,
        broker,
        &SystemClock,
        &metrics,
        &CancellationToken::new(),
    )
}

/// Replays a file into a log of its own.
fn replayed(path: &Path) -> (Summary, Arc<MemoryBroker>) {
    let broker = memory();
    let summary = replay(&ReplayOptions::new(path, TOPIC), &broker).unwrap();
    (summary, broker)
}

/// The line as a recorder writes it that keeps the time of receipt.
fn recording(line: &str, recv_ns: i64) -> String {
    format!(
        r#"{{"data":{},"recv_ns":{recv_ns}}}"#,
        serde_json::to_string(line).unwrap()
    )
}

#[test]
fn a_partition_count_that_was_asked_for_is_that_of_the_topic_or_refused() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "x.ndjson", &generated(40, 20));
    let broker = memory();
    let with = |partitions| {
        let mut options = ReplayOptions::new(&path, TOPIC);
        options.target.partitions = partitions;
        replay(&options, &broker)
    };
    with(Partitions::Exactly(4)).unwrap();
    let refused = with(Partitions::Exactly(6)).unwrap_err().to_string();
    for part in [
        TOPIC,
        "with 6 partitions",
        "it exists with 4",
        "leave --partitions away",
    ] {
        assert!(refused.contains(part), "{part:?} is not in: {refused}");
    }
    assert_eq!(values(&broker, TOPIC).len(), 20, "nothing was written");
    // What is only usual does not stand against a topic that is there.
    with(Partitions::Usually(6)).unwrap();
    with(Partitions::Exactly(4)).unwrap();
    assert_eq!(broker.partition_counts(&[TOPIC]).unwrap()[TOPIC], 4);
}

#[test]
fn plain_compressed_and_recorded_files_give_the_same_topic_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    let lines = generated(50, 500);
    let recorded: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(n, line)| recording(line, n as i64))
        .collect();
    for path in [
        file(&folder, "plain.ndjson", &lines),
        file(&folder, "packed.gz", &lines),
        file(&folder, "recorded.ndjson", &recorded),
        file(&folder, "recorded.gz", &recorded),
    ] {
        let (summary, broker) = replayed(&path);
        assert_eq!(
            (summary.events, summary.repeats, summary.dead_letters),
            (500, 0, 0)
        );
        assert_eq!(
            summary.bytes,
            lines.iter().map(|line| line.len() as u64).sum::<u64>()
        );
        check_exactly_once(&broker, TOPIC, &lines);
        let times = broker.records(TOPIC, 0, Isolation::ReadCommitted);
        assert!(
            times
                .iter()
                .all(|record| record.timestamp > Timestamp(1_777_000_000_000))
        );
    }
}

#[test]
fn the_real_captures_are_replayed_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    for (name, other) in [
        (
            "rc-2026-05-05-full-45s.ndjson.gz",
            Some("rc-2026-05-05-full-45s.recorded.ndjson.gz"),
        ),
        ("rc-2018-03-07-wikidata-5min.ndjson.gz", None),
        ("rc-2025-05-03-mixed.ndjson", None),
        ("rc-odd-shapes.ndjson", None),
    ] {
        let Some(lines) = recorded(name) else { return };
        let (summary, broker) = replayed(&file(&folder, "a.gz", &lines));
        assert_eq!(
            (summary.events, summary.dead_letters),
            (lines.len() as u64, 0),
            "{name}"
        );
        check_exactly_once(&broker, TOPIC, &lines);
        if let Some(other) = other.and_then(recorded) {
            let (_, broker) = replayed(&file(&folder, "b.gz", &other));
            check_exactly_once(&broker, TOPIC, &lines);
        }
    }
}

#[test]
fn repeats_are_dropped_unless_that_is_unwanted() {
    let folder = TempDir::new().unwrap();
    let lines = generated(51, 50);
    let twice = [&lines[..], &lines[10..30]].concat();
    let path = file(&folder, "twice.ndjson", &twice);
    let (summary, broker) = replayed(&path);
    assert_eq!((summary.events, summary.repeats), (50, 20));
    check_exactly_once(&broker, TOPIC, &lines);
    let broker = memory();
    let options = ReplayOptions {
        drop_repeats: false,
        ..ReplayOptions::new(&path, TOPIC)
    };
    let summary = replay(&options, &broker).unwrap();
    assert_eq!((summary.events, summary.repeats), (70, 0));
    check_exactly_once(&broker, TOPIC, &twice);
}

#[test]
fn lines_that_are_no_events_become_dead_letters_with_their_place() {
    let folder = TempDir::new().unwrap();
    let mut lines = generated(52, 4);
    lines.insert(1, String::new());
    lines.insert(2, "oops".to_owned());
    lines.insert(4, "[1]".to_owned());
    lines.push(recording("also bad", 5));
    let path = file(&folder, "bad.ndjson", &lines);
    let (summary, broker) = replayed(&path);
    assert_eq!((summary.events, summary.dead_letters), (4, 3));
    let dead_letters = format!("{TOPIC}-dead-letters");
    assert_eq!(values(&broker, &dead_letters), ["oops", "[1]", "also bad"]);
    let records = broker.records(&dead_letters, 0, Isolation::ReadCommitted);
    let origin = |index: usize| {
        let headers = &records[index].headers;
        let found = headers
            .iter()
            .find(|(name, _)| name == "tidemill.origin")
            .unwrap();
        String::from_utf8(found.1.clone()).unwrap()
    };
    assert_eq!(origin(0), format!("{} line 3", path.display()));
    assert_eq!(origin(2), format!("{} line 8", path.display()));
}

/// The line with another event time.
fn dated(line: &str, time: Timestamp) -> String {
    let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
    event["meta"]["dt"] = time.to_string().into();
    event.to_string()
}

#[test]
fn an_event_that_its_topic_refuses_becomes_a_dead_letter_of_today() {
    let folder = TempDir::new().unwrap();
    let now = Timestamp(1_800_000_000_000);
    let clock = ManualClock::new(now);
    let broker = MemoryBroker::new(Arc::new(clock.clone()));
    let spec = |name: &str| TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        replication: -1,
        config: BTreeMap::from([(TIMESTAMP_AFTER_MAX.to_owned(), "3600000".to_owned())]),
    };
    let dead_letters = format!("{TOPIC}-dead-letters");
    broker
        .create_topics(&[spec(TOPIC), spec(&dead_letters)])
        .unwrap();
    let good = generated(56, 10);
    let ahead = dated(&good[0], now.plus_millis(2 * 24 * 3_600_000));
    let mut lines = good.clone();
    lines.insert(5, ahead.clone());
    let path = file(&folder, "x.ndjson", &lines);
    let options = ReplayOptions {
        drop_repeats: false,
        ..ReplayOptions::new(&path, TOPIC)
    };
    let (metrics, shutdown) = (IngestMetrics::default(), CancellationToken::new());
    let summary = replay::run(&options, &broker, &clock, &metrics, &shutdown).unwrap();
    assert_eq!((summary.events, summary.dead_letters), (10, 1));
    assert_eq!(metrics.dead_letters(DeadReason::RefusedByTopic), 1);
    check_exactly_once(&broker, TOPIC, &good);
    let letters = broker.records(&dead_letters, 0, Isolation::ReadCommitted);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].value.as_deref(), Some(ahead.as_bytes()));
    assert_eq!(letters[0].timestamp, now);
}

#[test]
fn a_file_that_is_cut_off_is_an_error_that_says_how_many_events_got_through() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "cut.gz", &generated(53, 2000));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let broker = memory();
    let error = replay(&ReplayOptions::new(&path, TOPIC), &broker).unwrap_err();
    let through = values(&broker, TOPIC).len();
    assert!(through > 100 && through < 2000, "{through}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert!(
        text.ends_with(&format!("({through} events got through)")),
        "{text}"
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_named_and_creates_nothing() {
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("plain.ndjson.gz");
    std::fs::write(&plain, "{}\n").unwrap();
    let broker = memory();
    for (path, why) in [(Path::new("/nowhere"), ""), (&plain, "it is not gzip")] {
        let error = replay(&ReplayOptions::new(path, TOPIC), &broker).unwrap_err();
        let start = format!("open {}: {why}", path.display());
        assert!(error.to_string().starts_with(&start), "{error}");
    }
    assert!(broker.partition_counts(&[TOPIC]).unwrap().is_empty());
}

#[test]
fn a_log_that_refuses_is_an_error_with_the_file_and_passing_trouble_is_waited_out() {
    let folder = TempDir::new().unwrap();
    let lines = generated(54, 10);
    let path = file(&folder, "x.ndjson", &lines);
    let broker = memory();
    broker.fail_next(Operation::Send, BrokerError::retry("write", "queue full"));
    replay(&ReplayOptions::new(&path, TOPIC), &broker).unwrap();
    check_exactly_once(&broker, TOPIC, &lines);
    broker.fail_next(Operation::Send, BrokerError::fatal("write", "no rights"));
    let error = replay(&ReplayOptions::new(&path, "other"), &broker)
        .unwrap_err()
        .to_string();
    let expected = format!(
        "write: no rights (0 events of {} got through)",
        path.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn at_true_pace_a_recording_takes_as_long_as_it_took() {
    let folder = TempDir::new().unwrap();
    let lines = generated(55, 4);
    // Received within 300 ms, though the events themselves lie elsewhere.
    let recorded: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(n, line)| recording(line, 7_000_000_000 + n as i64 * 100_000_000))
        .collect();
    let path = file(&folder, "r.ndjson", &recorded);
    let took = |pace| {
        let begin = Instant::now();
        replay(
            &ReplayOptions {
                pace,
                ..ReplayOptions::new(&path, TOPIC)
            },
            &memory(),
        )
        .unwrap();
        begin.elapsed()
    };
    // The clock that paces counts whole milliseconds, so one of them may have begun before.
    assert!(took(Pace::Times(1.0)) >= Duration::from_millis(299));
    assert!(took(Pace::Times(2.0)) >= Duration::from_millis(149));
    assert!(took(Pace::Fastest) < Duration::from_secs(60));
}

#[test]
fn a_replay_at_its_own_pace_stops_at_the_shutdown() {
    let folder = TempDir::new().unwrap();
    let lines = [recording("{}", 0), recording("{}", i64::MAX)];
    let path = file(&folder, "r.ndjson", &lines);
    let options = ReplayOptions {
        pace: Pace::Times(1.0),
        ..ReplayOptions::new(&path, TOPIC)
    };
    let (broker, shutdown) = (memory(), CancellationToken::new());
    let until = shutdown.clone();
    let reader = broker.clone();
    let thread = std::thread::spawn(move || {
        replay::run(
            &options,
            &*reader,
            &SystemClock,
            &IngestMetrics::default(),
            &until,
        )
        .unwrap()
    });
    super::stage::wait_until("the first event is there", || {
        !broker.partition_counts(&[TOPIC]).unwrap().is_empty() && values(&broker, TOPIC).len() == 1
    });
    shutdown.cancel();
    assert_eq!(thread.join().unwrap().events, 1);
}

#[test]
fn generated_events_have_the_key_that_is_asked_for() {
    let broker = memory();
    let mut options = GenerateOptions::new(TOPIC);
    options.events = Some(500);
    options.target.key = Some(FieldPath::new("user"));
    let metrics = IngestMetrics::default();
    let shutdown = CancellationToken::new();
    generate::run(&options, &*broker, &SystemClock, &metrics, &shutdown).unwrap();
    for partition in 0..4 {
        for record in broker.records(TOPIC, partition, Isolation::ReadCommitted) {
            let event: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
            let user = event["user"].as_str().map(str::as_bytes);
            assert_eq!(user, record.key.as_deref());
        }
    }
}

#[test]
fn the_generator_writes_as_many_events_as_asked_for_keyed_by_wiki() {
    let broker = memory();
    let metrics = IngestMetrics::default();
    let clock = ManualClock::new(Timestamp(1_800_000_000_000));
    let options = GenerateOptions {
        events: Some(3000),
        ..GenerateOptions::new(TOPIC)
    };
    let shutdown = CancellationToken::new();
    let summary = generate::run(&options, &*broker, &clock, &metrics, &shutdown).unwrap();
    assert_eq!((summary.events, metrics.events.load(Relaxed)), (3000, 3000));
    for partition in 0..4 {
        for record in broker.records(TOPIC, partition, Isolation::ReadCommitted) {
            let event: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
            assert_eq!(
                event["wiki"].as_str().map(str::as_bytes),
                record.key.as_deref()
            );
            let time = event["meta"]["dt"].as_str().unwrap();
            assert_eq!(Timestamp::parse_rfc3339(time).unwrap(), record.timestamp);
        }
    }
    // The last event is of now.
    let last = metrics.last_event_time().unwrap().millis();
    assert!(
        (1_799_999_980_000..1_800_000_020_000).contains(&last),
        "{last}"
    );
    assert_eq!(metrics.dead_letters(DeadReason::NotJson), 0);
}

#[test]
fn the_generator_keeps_to_its_rate_and_stops_at_the_shutdown() {
    let (metrics, shutdown) = (IngestMetrics::default(), CancellationToken::new());
    let mut options = GenerateOptions::new(TOPIC);
    options.rate = Some(1000.0);
    options.events = Some(300);
    let begin = Instant::now();
    generate::run(&options, &*memory(), &SystemClock, &metrics, &shutdown).unwrap();
    // By chance the events lie a little closer or wider than 0.3 s together.
    assert!(
        begin.elapsed() > Duration::from_millis(120),
        "{:?}",
        begin.elapsed()
    );
    options.events = None;
    shutdown.cancel();
    let summary = generate::run(&options, &*memory(), &SystemClock, &metrics, &shutdown).unwrap();
    assert!(summary.events < 100, "{summary}");
}
