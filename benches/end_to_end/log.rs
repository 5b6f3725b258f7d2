//! The input topic, and what is asked of Kafka directly.

use std::process::Command;
use std::time::Duration;

use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde::Deserialize;

/// Partitions of every topic here.
pub const PARTITIONS: i32 = 4;

const PATIENCE: Duration = Duration::from_secs(10);

/// The last entry of a partition may be a transaction's marker, which never comes.
const LAST_ENTRY: Duration = Duration::from_secs(1);

/// The input: synthetic events with the statistics of Wikimedia's stream.
pub struct Topic {
    pub bootstrap: String,
    pub name: String,
    /// Values and keys together.
    pub bytes: u64,
}

/// What the job reads of an event.
#[derive(Deserialize)]
struct Event<'e> {
    meta: Meta<'e>,
    #[serde(rename = "type", default)]
    kind: &'e str,
}

#[derive(Deserialize)]
struct Meta<'e> {
    #[serde(borrow)]
    domain: std::borrow::Cow<'e, str>,
}

impl Topic {
    /// The topic, filled by `tidemill ingest generate` unless it is there.
    pub fn load(bootstrap: &str, events: u64) -> Topic {
        let name = format!("bench-{events}");
        let probe: BaseConsumer = consumer(bootstrap, "bench-probe");
        if ends(&probe, &name).iter().sum::<i64>() == 0 {
            eprintln!("filling {name}");
            let status = Command::new(env!("CARGO_BIN_EXE_tidemill"))
                .args([
                    "ingest",
                    "generate",
                    "--brokers",
                    bootstrap,
                    "--topic",
                    &name,
                ])
                .args([
                    "--partitions",
                    &PARTITIONS.to_string(),
                    "--events",
                    &events.to_string(),
                ])
                .args(["--http", "off", "--start", "2026-05-05T00:00:00Z"])
                .status()
                .expect("the built program");
            assert!(status.success(), "tidemill ingest generate failed");
        }
        Topic {
            bootstrap: bootstrap.to_owned(),
            name,
            bytes: 0,
        }
    }

    /// How many events the job's filter lets pass, counted independently of Tidemill. Also what
    /// the topic weighs.
    pub fn count_accepted(&mut self) -> u64 {
        let mut accepted = 0;
        let mut bytes = 0;
        read_all(&self.bootstrap, &self.name, &mut |key, value| {
            bytes += (key.len() + value.len()) as u64;
            let event: Event<'_> = serde_json::from_slice(value).expect("an event");
            let is_edit = matches!(event.kind, "edit" | "new");
            accepted += u64::from(is_edit && event.meta.domain != "canary");
        });
        self.bytes = bytes;
        accepted
    }

    /// The end of each partition.
    pub fn ends(&self) -> Vec<i64> {
        // Of what is committed the end lags behind the commit by the time of its markers.
        let probe: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", "bench-probe")
            .set("isolation.level", "read_uncommitted")
            .create()
            .expect("a consumer");
        let end = |partition| probe.fetch_watermarks(&self.name, partition, PATIENCE);
        (0..PARTITIONS)
            .map(|partition| end(partition).expect("the end of a partition").1)
            .collect()
    }
}

/// A consumer as a user would configure one for a fast read.
pub fn consumer(bootstrap: &str, group: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "20")
        .create()
        .expect("a consumer")
}

/// The end of each partition of a topic; 0 where there is none.
fn ends(probe: &BaseConsumer, topic: &str) -> Vec<i64> {
    let end = |partition| {
        probe
            .fetch_watermarks(topic, partition, PATIENCE)
            .map_or(0, |(_, end)| end)
    };
    (0..PARTITIONS).map(end).collect()
}

/// Reads a topic from its beginning; gives how many records there are, which is exact for topics
/// that were not written in transactions.
pub fn assign_all(consumer: &BaseConsumer, topic: &str) -> u64 {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .expect("a valid partition");
    }
    consumer.assign(&list).expect("an assignment");
    ends(consumer, topic).iter().sum::<i64>() as u64
}

/// Shows every committed record of a topic: key and value.
pub fn read_all(bootstrap: &str, topic: &str, visit: &mut dyn FnMut(&[u8], &[u8])) {
    let consumer = consumer(bootstrap, "bench-read");
    assign_all(&consumer, topic);
    let ends = ends(&consumer, topic);
    let mut next = vec![0; ends.len()];
    loop {
        let is_near = next.iter().zip(&ends).all(|(next, end)| next + 1 >= *end);
        let patience = if is_near { LAST_ENTRY } else { PATIENCE };
        let Some(message) = consumer.poll(patience) else {
            assert!(is_near, "{topic}: nothing came for {patience:?}");
            return;
        };
        let message = match message {
            Ok(message) => message,
            // Passing trouble, which librdkafka gets over by itself.
            Err(error) => {
                eprintln!("{topic}: {error}");
                continue;
            }
        };
        next[message.partition() as usize] = message.offset() + 1;
        visit(
            message.key().unwrap_or_default(),
            message.payload().unwrap_or_default(),
        );
    }
}

/// What a group has committed of a topic; 0 where it has nothing. Not waiting for open
/// transactions: what stands is what is asked for.
pub struct Committed(BaseConsumer);

impl Committed {
    pub fn of(bootstrap: &str, group: &str) -> Committed {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group)
            .set("isolation.level", "read_uncommitted")
            .create_with_context(rdkafka::consumer::DefaultConsumerContext);
        Committed(consumer.expect("a consumer"))
    }

    pub fn offsets(&self, topic: &str) -> Vec<i64> {
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition(topic, partition);
        }
        let Ok(found) = self.0.committed_offsets(list, PATIENCE) else {
            return vec![0; PARTITIONS as usize];
        };
        let offset = |partition| {
            let element = found.find_partition(topic, partition);
            match element.map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => offset,
                _ => 0,
            }
        };
        (0..PARTITIONS).map(offset).collect()
    }
}

/// Deletes topics of a finished run.
pub fn delete(bootstrap: &str, topics: &[String]) {
    let admin: rdkafka::admin::AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .expect("an admin client");
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let options = rdkafka::admin::AdminOptions::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let deleted = runtime
        .expect("a runtime")
        .block_on(admin.delete_topics(&names, &options));
    if let Err(error) = deleted {
        eprintln!("topics are left over: {error}");
    }
}

/// The topics whose names begin so.
pub fn topics_of(bootstrap: &str, prefix: &str) -> Vec<String> {
    let probe: BaseConsumer = consumer(bootstrap, "bench-probe");
    let metadata = probe.fetch_metadata(None, PATIENCE).expect("an answer");
    let names = metadata
        .topics()
        .iter()
        .map(|topic| topic.name().to_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}
