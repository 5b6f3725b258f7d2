//! Which properties each kind of client gets.
//!
//! Three layers: tuning that the user may change, the user's properties, and what correctness
//! hangs on, which the user may not touch.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use super::KafkaSettings;
use crate::broker::{
    BrokerError, DEFAULT_TRANSACTION_TIMEOUT, Isolation, MemberOptions, ProducerOptions,
};

/// librdkafka's properties.
pub(super) type Properties = BTreeMap<String, String>;

/// Set by Tidemill, since exactly-once hangs on them.
const RESERVED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "max.poll.interval.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Who a property without a prefix is for: everyone. `consumer.` and `producer.` before it, as in
/// Kafka Streams, narrow it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Consumer,
    Producer,
}

/// Whether a property's value must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    const HINTS: &[&str] = &[
        "password",
        "secret",
        "token",
        "credential",
        "jaas",
        ".pem",
        "private",
        "oauthbearer",
    ];
    HINTS.iter().any(|hint| key.contains(hint))
}

impl KafkaSettings {
    /// Whether Tidemill sets this property itself, so that it cannot be set.
    pub fn is_reserved(key: &str) -> bool {
        let name = key
            .trim_start_matches("consumer.")
            .trim_start_matches("producer.");
        RESERVED.contains(&name)
    }
}

/// Refuses properties that Tidemill sets itself.
pub(super) fn check(settings: &KafkaSettings) -> Result<(), BrokerError> {
    let mut keys = settings.properties.keys();
    match keys.find(|key| KafkaSettings::is_reserved(key)) {
        None => Ok(()),
        Some(key) => Err(BrokerError::fatal(
            format!("set the Kafka property {key}"),
            "Tidemill sets it itself; remove it",
        )),
    }
}

/// For questions and topic creation. In no group.
pub(super) fn admin(settings: &KafkaSettings) -> Properties {
    let mut rules = base_rules(settings);
    rules.push(("allow.auto.create.topics", "false".to_owned()));
    layers(settings, Role::Consumer, Vec::new(), rules)
}

/// For questions about a group's committed offsets. With this isolation librdkafka asks for
/// stable ones, which wait for open transactions.
pub(super) fn committed(settings: &KafkaSettings, group: &str) -> Properties {
    let mut rules = consumer_rules(settings, group);
    rules.push(("isolation.level", isolation_level(Isolation::ReadCommitted)));
    layers(settings, Role::Consumer, Vec::new(), rules)
}

/// For a reader of named partitions. The group id is never joined nor committed to, but
/// librdkafka's `assign` wants one.
pub(super) fn reader(settings: &KafkaSettings, isolation: Isolation) -> Properties {
    let mut rules = consumer_rules(settings, &settings.client_id);
    rules.push(("isolation.level", isolation_level(isolation)));
    layers(settings, Role::Consumer, consumer_tuning(settings), rules)
}

/// The client id of the members that this process makes: from those of another process with the same
/// instance ids they are told apart by it.
pub(super) fn client_id_of_member(settings: &KafkaSettings) -> String {
    static PROCESS: LazyLock<u32> = LazyLock::new(rand::random);
    format!("{}-{:08x}", settings.client_id, *PROCESS)
}

/// For a member of a group.
pub(super) fn member(settings: &KafkaSettings, options: &MemberOptions) -> Properties {
    let session = millis(options.session_timeout);
    // Kafka wants at least three heartbeats per session; a member learns of a rebalance by the
    // next one, so never slower than one second.
    let heartbeat = (session / 3).clamp(1, 1000);
    let mut rules = consumer_rules(settings, &options.group);
    rules.extend([
        ("client.id", client_id_of_member(settings)),
        ("isolation.level", isolation_level(options.isolation)),
        ("group.protocol", "classic".to_owned()),
        // The only one that co-partitions.
        ("partition.assignment.strategy", "range".to_owned()),
        ("session.timeout.ms", session.to_string()),
        ("heartbeat.interval.ms", heartbeat.to_string()),
        (
            "max.poll.interval.ms",
            millis(options.max_poll_interval).to_string(),
        ),
    ]);
    if let Some(instance) = &options.instance_id {
        rules.push(("group.instance.id", instance.clone()));
    }
    layers(settings, Role::Consumer, consumer_tuning(settings), rules)
}

/// For a producer.
pub(super) fn producer(settings: &KafkaSettings, options: &ProducerOptions) -> Properties {
    let mut rules = base_rules(settings);
    rules.extend([
        ("enable.idempotence", "true".to_owned()),
        ("acks", "all".to_owned()),
        ("allow.auto.create.topics", "false".to_owned()),
        ("partitioner", "murmur2_random".to_owned()),
        ("delivery.report.only.error", "false".to_owned()),
    ]);
    if let Some(id) = &options.transactional_id {
        let timeout = options
            .transaction_timeout
            .unwrap_or(DEFAULT_TRANSACTION_TIMEOUT);
        rules.push(("transactional.id", id.clone()));
        rules.push(("transaction.timeout.ms", millis(timeout).to_string()));
    }
    layers(settings, Role::Producer, producer_tuning(settings), rules)
}

/// How large a producer's batches may become; a larger record is alone in its batch.
pub(super) fn batch_bytes(producer: &Properties) -> usize {
    let set = producer
        .get("batch.size")
        .and_then(|size| size.parse().ok());
    set.unwrap_or(1_000_000)
}

/// How long such a producer tries to write a record: by librdkafka's rules, with transactions at most as long
/// as one may last.
pub(super) fn record_timeout(producer: &Properties, options: &ProducerOptions) -> Duration {
    let set = ["message.timeout.ms", "delivery.timeout.ms"];
    let set = set
        .iter()
        .find_map(|name| producer.get(*name)?.parse().ok());
    let usual = Duration::from_millis(set.unwrap_or(300_000));
    match options.transactional_id {
        Some(_) => usual.min(transaction_timeout(options)),
        None => usual,
    }
}

/// How long the open transaction of such a producer may last.
pub(super) fn transaction_timeout(options: &ProducerOptions) -> Duration {
    options
        .transaction_timeout
        .unwrap_or(DEFAULT_TRANSACTION_TIMEOUT)
}

const BASE_TUNING: &[(&str, &str)] = &[
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
    ("reconnect.backoff.max.ms", "3000"),
    // Brokers close idle connections; that is no news.
    ("log.connection.close", "false"),
];

/// What librdkafka keeps of a record that has arrived, besides what the record says, in bytes.
const FETCHED_OVERHEAD: usize = 400;

/// The memory of a consumer is that of records that have arrived and not been asked for. librdkafka looks at
/// it before it fetches; so a fetch has to be small against it.
fn consumer_tuning(settings: &KafkaSettings) -> Vec<(&'static str, String)> {
    let bytes = settings.memory.fetched;
    let most_records = bytes / 2 / FETCHED_OVERHEAD;
    let most_fetched = (bytes / 8)
        .clamp(1 << 20, 50 << 20)
        .max(largest_record(settings));
    let mut tuning = vec![
        (
            "queued.max.messages.kbytes",
            (bytes / 4 * 3 / 1024).max(1).to_string(),
        ),
        ("queued.min.messages", most_records.max(1).to_string()),
        ("fetch.max.bytes", most_fetched.to_string()),
    ];
    tuning.extend(owned(CONSUMER_TUNING));
    tuning
}

/// A fetch must have room for the largest record that the user expects.
fn largest_record(settings: &KafkaSettings) -> usize {
    let set = ["consumer.message.max.bytes", "message.max.bytes"];
    let mut set = set.iter().filter_map(|name| settings.properties.get(*name));
    set.find_map(|bytes| bytes.parse().ok()).unwrap_or(0)
}

fn producer_tuning(settings: &KafkaSettings) -> Vec<(&'static str, String)> {
    let kilobytes = (settings.memory.sent >> 10).max(1);
    let mut tuning = vec![("queue.buffering.max.kbytes", kilobytes.to_string())];
    tuning.extend(owned(PRODUCER_TUNING));
    tuning
}

fn owned(properties: &[(&'static str, &str)]) -> impl Iterator<Item = (&'static str, String)> {
    properties
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
}

const CONSUMER_TUNING: &[(&str, &str)] = &[
    // How soon to fetch again when that is full.
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
    // How soon partitions are found that a topic has been given.
    ("topic.metadata.refresh.interval.ms", "30000"),
];

const PRODUCER_TUNING: &[(&str, &str)] = &[
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("batch.size", "1000000"),
    // What a topic takes is the topic's business; internal ones take 16 MiB.
    ("message.max.bytes", "17825792"),
    ("queue.buffering.max.messages", "200000"),
    // The first offsets of a transaction meet the markers of the one before: measured, 10 ms
    // rather than the default 100 ms halve the cost of a small transaction.
    ("retry.backoff.ms", "10"),
];

fn base_rules(settings: &KafkaSettings) -> Vec<(&'static str, String)> {
    vec![
        ("bootstrap.servers", settings.bootstrap.clone()),
        ("client.id", settings.client_id.clone()),
    ]
}

fn consumer_rules(settings: &KafkaSettings, group: &str) -> Vec<(&'static str, String)> {
    let mut rules = base_rules(settings);
    rules.extend([
        ("group.id", group.to_owned()),
        ("enable.auto.commit", "false".to_owned()),
        ("enable.auto.offset.store", "false".to_owned()),
        // A position outside the log is the caller's decision.
        ("auto.offset.reset", "error".to_owned()),
        ("allow.auto.create.topics", "false".to_owned()),
        ("enable.partition.eof", "true".to_owned()),
        ("check.crcs", "true".to_owned()),
    ]);
    rules
}

fn layers(
    settings: &KafkaSettings,
    role: Role,
    tuning: Vec<(&'static str, String)>,
    rules: Vec<(&'static str, String)>,
) -> Properties {
    let (mine, others) = match role {
        Role::Consumer => ("consumer.", "producer."),
        Role::Producer => ("producer.", "consumer."),
    };
    let tuning = owned(BASE_TUNING).chain(tuning);
    let tuning = tuning.map(|(k, v)| (k.to_owned(), v));
    let user = settings.properties.iter();
    let general = user
        .clone()
        .filter(|(k, _)| !k.starts_with(mine) && !k.starts_with(others));
    let special = user.filter_map(|(k, v)| Some((k.strip_prefix(mine)?.to_owned(), v.clone())));
    let rules = rules.into_iter().map(|(k, v)| (k.to_owned(), v));
    tuning
        .chain(general.map(|(k, v)| (k.clone(), v.clone())))
        .chain(special)
        .chain(rules)
        .collect()
}

fn isolation_level(isolation: Isolation) -> String {
    match isolation {
        Isolation::ReadCommitted => "read_committed".to_owned(),
        Isolation::ReadUncommitted => "read_uncommitted".to_owned(),
    }
}

fn millis(duration: Duration) -> u128 {
    duration.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::kafka::ClientMemory;

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            bootstrap: "kafka:9092".to_owned(),
            client_id: "app".to_owned(),
            properties: properties
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            memory: ClientMemory::default(),
        }
    }

    #[test]
    fn the_user_may_tune_but_not_touch_what_correctness_hangs_on() {
        #[track_caller]
        fn check_key(key: &str, allowed: bool) {
            assert_eq!(check(&settings(&[(key, "x")])).is_ok(), allowed, "{key}");
        }
        check_key("linger.ms", true);
        check_key("consumer.fetch.wait.max.ms", true);
        check_key("sasl.password", true);
        check_key("isolation.level", false);
        check_key("producer.enable.idempotence", false);
        check_key("consumer.group.id", false);
    }

    #[test]
    fn a_prefix_narrows_a_property_down_and_wins() {
        let settings = settings(&[
            ("linger.ms", "1"),
            ("producer.linger.ms", "2"),
            ("consumer.linger.ms", "3"),
            ("debug", "all"),
        ]);
        let producer = producer(&settings, &ProducerOptions::default());
        assert_eq!(
            (producer["linger.ms"].as_str(), producer["debug"].as_str()),
            ("2", "all")
        );
        let reader = reader(&settings, Isolation::ReadCommitted);
        assert_eq!(reader["linger.ms"], "3");
        assert!(reader.keys().all(|key| !key.starts_with("producer.")));
    }

    #[test]
    fn clients_keep_to_their_memory_unless_the_user_says_otherwise() {
        let mut settings = settings(&[("message.max.bytes", "5000000")]);
        settings.memory = ClientMemory {
            fetched: 16 << 20,
            sent: 8 << 20,
        };
        let reader = reader(&settings, Isolation::ReadCommitted);
        assert_eq!(reader["queued.max.messages.kbytes"], "12288");
        assert_eq!(reader["queued.min.messages"], "20971");
        assert_eq!(reader["fetch.max.bytes"], "5000000");
        let producer = producer(&settings, &ProducerOptions::default());
        assert_eq!(producer["queue.buffering.max.kbytes"], "8192");
    }

    #[test]
    fn a_member_sends_three_heartbeats_per_session_and_one_a_second() {
        let heartbeat = |seconds: u64| {
            let options = MemberOptions {
                group: "g".to_owned(),
                topics: vec![],
                instance_id: None,
                session_timeout: Duration::from_millis(seconds),
                max_poll_interval: Duration::from_secs(300),
                isolation: Isolation::ReadCommitted,
            };
            member(&settings(&[]), &options)["heartbeat.interval.ms"].clone()
        };
        assert_eq!(
            (heartbeat(45_000), heartbeat(1_500)),
            ("1000".into(), "500".into())
        );
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for key in [
            "sasl.password",
            "ssl.key.pem",
            "ssl.key.password",
            "sasl.jaas.config",
        ] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("linger.ms") && !is_secret("sasl.mechanism"));
    }
}
