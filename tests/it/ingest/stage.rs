//! What the tests of ingestion share: events, a log, a running connector.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidemill::broker::memory::MemoryBroker;
use tidemill::broker::{Broker, Isolation, TopicPartition};
use tidemill::ingest::generate::{Generator, Synthetic};
use tidemill::ingest::metrics::IngestMetrics;
use tidemill::ingest::wikimedia::backoff::BackoffSettings;
use tidemill::ingest::wikimedia::{
    BatchSettings, ConnectorError, StreamTarget, WikimediaOptions, run,
};
use tidemill::time::{Clock, SystemClock, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::eventstreams::Double;
use crate::harness::skip;

/// Where events go in these tests.
pub const TOPIC: &str = "wikimedia.recentchange";
/// Nothing in these tests takes so long unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A file of real events, if this machine has it.
pub fn recorded(name: &str) -> Option<Vec<String>> {
    let folder = std::env::var_os("TIDEMILL_DATA_DIR").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"));
    let path = folder.join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        let missing = format!("there is no {}", path.display());
        skip("the part with real events", &missing);
        return None;
    };
    let mut text = String::new();
    if name.ends_with(".gz") {
        flate2::read::MultiGzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    Some(text.lines().map(str::to_owned).collect())
}

/// Events of the generator, in the order of their offsets.
pub fn generated(seed: u64, count: usize) -> Vec<String> {
    let mut generator = Generator::new(Synthetic {
        seed,
        ..Synthetic::default()
    });
    let mut line = Vec::new();
    let mut next = || {
        generator.next_event(&mut line);
        String::from_utf8(line.clone()).unwrap()
    };
    (0..count).map(|_| next()).collect()
}

/// The log time of an event.
pub fn time_of(line: &str) -> Timestamp {
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    Timestamp::parse_rfc3339(event["meta"]["dt"].as_str().unwrap()).unwrap()
}

/// Settings for a double: no waiting, small batches.
pub fn options(double: &Double, since: Timestamp) -> WikimediaOptions {
    let stream = StreamTarget::new("recentchange", TOPIC);
    let mut options = WikimediaOptions::new("test", vec![stream]);
    options.url = double.url();
    options.since = Some(since);
    options.backoff = BackoffSettings {
        floor: Duration::ZERO,
        ceiling: Duration::ZERO,
    };
    options.claim_patience = Duration::from_millis(20);
    options.batch = BatchSettings {
        max_age: Duration::from_millis(5),
        ..BatchSettings::default()
    };
    options
}

/// A connector in a thread of its own.
pub struct Running {
    pub metrics: Arc<IngestMetrics>,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<Result<(), ConnectorError>>>,
}

impl Running {
    pub fn start(options: WikimediaOptions, broker: Arc<dyn Broker>) -> Running {
        Running::start_with_clock(options, broker, Arc::new(SystemClock))
    }

    pub fn start_with_clock(
        options: WikimediaOptions,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
    ) -> Running {
        let metrics = Arc::new(IngestMetrics::default());
        let shutdown = CancellationToken::new();
        let (theirs, until) = (Arc::clone(&metrics), shutdown.clone());
        let thread = std::thread::spawn(move || run(&options, &*broker, &*clock, &theirs, &until));
        Running {
            metrics,
            shutdown,
            thread: Some(thread),
        }
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) -> Result<(), ConnectorError> {
        self.shutdown.cancel();
        self.join()
    }

    /// Waits until it stops by itself.
    pub fn join(&mut self) -> Result<(), ConnectorError> {
        self.end()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Waits until it ends, in whatever way.
    pub fn end(&mut self) -> std::thread::Result<Result<(), ConnectorError>> {
        self.thread.take().expect("joined once").join()
    }

    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A log.
pub fn memory() -> Arc<MemoryBroker> {
    Arc::new(MemoryBroker::new(Arc::new(SystemClock)))
}

/// Waits until the condition holds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The committed values of a topic, partition after partition.
pub fn values(broker: &MemoryBroker, topic: &str) -> Vec<String> {
    let counts = broker.partition_counts(&[topic]).unwrap();
    let partitions = counts.get(topic).copied().unwrap_or(0);
    (0..partitions as i32)
        .flat_map(|partition| broker.records(topic, partition, Isolation::ReadCommitted))
        .map(|record| String::from_utf8(record.value.unwrap()).unwrap())
        .collect()
}

/// How many records a topic holds, with transaction markers.
pub fn size(broker: &MemoryBroker, topic: &str) -> i64 {
    let counts = broker.partition_counts(&[topic]).unwrap();
    let partitions: Vec<_> = (0..counts.get(topic).copied().unwrap_or(0))
        .map(|partition| TopicPartition::new(topic, partition as i32))
        .collect();
    broker
        .end_offsets(&partitions, Isolation::ReadCommitted)
        .unwrap()
        .values()
        .sum()
}

/// Waits until the topic holds so many events.
#[track_caller]
pub fn wait_for_events(broker: &MemoryBroker, topic: &str, count: usize) {
    let mut seen = 0;
    wait_until(&format!("there are {count} events in {topic}"), || {
        // Counting is dear, so only when something has come.
        let size = size(broker, topic);
        let changed = std::mem::replace(&mut seen, size) != size;
        changed && values(broker, topic).len() >= count
    });
}

/// Checks that the topic holds exactly these lines, byte for byte, each once, and within a key in
/// their order.
#[track_caller]
pub fn check_exactly_once(broker: &MemoryBroker, topic: &str, expected: &[String]) {
    let found = values(broker, topic);
    let by_key = |lines: &[String]| {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            keys.entry(event["wiki"].to_string())
                .or_default()
                .push(line.clone());
        }
        keys
    };
    let (mut found, mut expected) = (by_key(&found), by_key(expected));
    // Events without a key are spread over the partitions.
    for lines in [&mut found, &mut expected] {
        if let Some(unkeyed) = lines.get_mut("null") {
            unkeyed.sort();
        }
    }
    for (key, lines) in &expected {
        let theirs = found.get(key).map_or(&[][..], Vec::as_slice);
        let lost = lines.iter().filter(|line| !theirs.contains(line)).count();
        assert_eq!(
            (theirs.len(), lost),
            (lines.len(), 0),
            "events of {key}, lost ones"
        );
        assert!(theirs == lines, "the events of {key} are in another order");
    }
    assert_eq!(found.len(), expected.len(), "keys");
}
