//! Kafka sinks whose topic does not take everything.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Raw, Run, Topics, databases, header, kafka, skip, wait_until};

use super::{TIMEOUT, drops, member};

const TOPOLOGY: &str = "
app: NAME
guarantee: GUARANTEE
nodes:
  events: { source: { topic: NAME, key: id, fields: { id: string } } }
  copy: { kafka: { from: events, topic: NAME-copy } }
";

/// Events of which none compresses well: so many, of that size each.
fn events(count: usize, bytes: usize) -> Vec<Raw> {
    let mut random = StdRng::seed_from_u64(1);
    let mut event = |id: usize| {
        let noise = std::iter::repeat_with(|| random.random_range(b'a'..=b'z'));
        let noise: Vec<u8> = noise.take(bytes).collect();
        let noise = String::from_utf8(noise).expect("letters");
        Raw {
            partition: None,
            key: Some(id.to_string().into_bytes()),
            value: Some(format!(r#"{{"id":"{id}","noise":"{noise}"}}"#).into_bytes()),
        }
    };
    (0..count).map(&mut event).collect()
}

/// How often each event is in the topic, by its key.
fn copies(topics: &Topics, topic: &str) -> BTreeMap<Vec<u8>, usize> {
    let mut copies = BTreeMap::new();
    for record in topics.read(topic) {
        *copies.entry(record.key.expect("a key")).or_default() += 1;
    }
    copies
}

/// A run whose copy has room for records of that size, if Kafka and a database are there.
fn run(test: &str, guarantee: &str, copy_bytes: usize) -> Option<(Topics, Run)> {
    let (Some(bootstrap), Some((_, server))) = (kafka(), databases().into_iter().next()) else {
        skip(test, "no Kafka, or no database");
        return None;
    };
    let topics = Topics::connect(&bootstrap);
    let run = Run::of(
        &TOPOLOGY.replace("GUARANTEE", guarantee),
        &bootstrap,
        &server,
    );
    topics.create(&run.name, 3, 4 << 20);
    topics.create(&format!("{}-copy", run.name), 3, copy_bytes);
    Some((topics, run))
}

/// One event of 1.5 MB among 300 small ones, for a topic that takes 1 MiB.
fn check_too_large(guarantee: &str, most_copies: usize) {
    let Some((topics, run)) = run("a record too large for its topic", guarantee, 1 << 20) else {
        return;
    };
    let copy = format!("{}-copy", run.name);
    let mut records = events(300, 1_000);
    let large = Raw {
        key: Some(b"large".to_vec()),
        ..events(1, 1_500_000).remove(0)
    };
    records.insert(150, large.clone());
    topics.write(&run.name, &records);
    let mut process = member(&run, guarantee);
    let letters = format!("{}-dead-letters", run.name);
    wait_until("all that fits", TIMEOUT, || {
        assert!(!process.has_ended(), "{}", process.log());
        copies(&topics, &copy).len() == 300 && !topics.read(&letters).is_empty()
    });
    let too_large = [(("copy".to_owned(), "too_large".to_owned()), 1)].into();
    wait_until("the drop to be counted", TIMEOUT, || {
        drops(std::slice::from_ref(&process)) == too_large
    });
    process.stop();

    let copies = copies(&topics, &copy);
    assert!(!copies.contains_key(b"large".as_slice()));
    assert!(
        copies.values().all(|count| *count <= most_copies),
        "{copies:?}"
    );
    let letters = topics.read(&letters);
    assert!(
        (1..=most_copies).contains(&letters.len()),
        "{}",
        letters.len()
    );
    for letter in &letters {
        assert_eq!(header(letter, "tidemill.node"), Some("copy"));
        assert_eq!(header(letter, "tidemill.reason"), Some("too_large"));
        assert!((&letter.key, &letter.value) == (&large.key, &large.value));
    }
}

#[test]
fn a_record_too_large_for_its_topic_is_put_aside_and_the_rest_is_there_exactly_once() {
    check_too_large("exactly_once", 1);
}

/// What a failed flush had written already is written again.
#[test]
fn a_record_too_large_for_its_topic_is_put_aside_and_the_rest_is_there_at_least_once() {
    check_too_large("at_least_once", 5);
}

#[test]
fn a_topic_that_takes_less_than_a_batch_stops_the_process_with_what_to_do() {
    let test = "a topic that takes less than a batch";
    for guarantee in ["exactly_once", "at_least_once"] {
        let Some((topics, run)) = run(test, guarantee, 100_000) else {
            return;
        };
        let copy = format!("{}-copy", run.name);
        topics.write(&run.name, &events(1_000, 1_000));
        let log = member(&run, "stops").fails();
        for part in [
            &copy,
            "max.message.bytes",
            "set producer.batch.size below it",
        ] {
            assert!(log.contains(part), "{part}: {log}");
        }

        let batches = ["--kafka", "producer.batch.size=90000", "--http", "off"];
        let mut process = run.member_with("goes-on", &batches, &[]);
        wait_until("all records", TIMEOUT, || {
            assert!(!process.has_ended(), "{}", process.log());
            copies(&topics, &copy).len() == 1_000
        });
        process.stop();
        let most = copies(&topics, &copy).into_values().max();
        assert!(guarantee == "at_least_once" || most == Some(1), "{most:?}");
    }
}

/// A recording with an event of 3 MB and one of 17 MB among 200 small ones: into a topic that the
/// replay creates, and into one that takes 1 MiB.
#[test]
fn large_events_of_a_recording_are_written_whole_where_that_is_possible() {
    for (topic_bytes, whole, put_aside) in [
        (None, 201, vec![65_536]),
        (Some(1 << 20), 200, vec![65_536, 3_000_000]),
    ] {
        let (Some(bootstrap), Some((_, server))) = (kafka(), databases().into_iter().next()) else {
            return skip("large events of a recording", "no Kafka, or no database");
        };
        let topics = Topics::connect(&bootstrap);
        let run = Run::of(
            &TOPOLOGY.replace("GUARANTEE", "exactly_once"),
            &bootstrap,
            &server,
        );
        if let Some(bytes) = topic_bytes {
            topics.create(&run.name, 3, bytes);
        }
        let mut records = events(200, 1_000);
        records.insert(70, events(1, 3_000_000).remove(0));
        records.insert(140, events(1, 17_000_000).remove(0));
        let lines = records.into_iter().map(|raw| raw.value.expect("an event"));
        let lines: Vec<Vec<u8>> = lines.collect();
        let folder = tempfile::tempdir().expect("a temp directory");
        let file = folder.path().join("large.ndjson");
        std::fs::write(&file, lines.join(&b'\n')).expect("a writable folder");
        run.replay(&file, 3);

        let events = topics.read(&run.name).into_iter();
        let events: Vec<_> = events.filter_map(|event| event.value).collect();
        assert_eq!(events.len(), whole);
        assert!(events.iter().all(|event| lines.contains(event)));
        let letters = topics.read(&format!("{}-dead-letters", run.name));
        let mut kept: Vec<usize> = letters
            .iter()
            .map(|letter| letter.value.as_ref().map_or(0, Vec::len))
            .map(|bytes| bytes.min(3_000_000))
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, put_aside);
        for letter in &letters {
            assert_eq!(header(letter, "tidemill.reason"), Some("too_large"));
        }
    }
}
