//! The main job on recorded events: replay, processes, tables, and what the tables must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidemill::broker::kafka::{KafkaBroker, KafkaSettings};
use tidemill::broker::{Broker, Fetched, Isolation, TopicPartition, TopicSpec};
use tidemill::time::Timestamp;
use url::Url;

use super::stores::assert_stores;
use super::{Database, Groups, Tidemill, unique, wait_until};

/// How long nothing may come to the tables; long enough for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Recorded events and the tables that they must give.
pub struct Pair {
    /// What the files are called.
    pub name: String,
    /// The events.
    pub events: PathBuf,
    /// Kind (`wiki_minute`) and file.
    pub expected: Vec<(String, PathBuf)>,
}

/// Every pair of the folder.
pub fn pairs(folder: &Path) -> Vec<Pair> {
    let mut oracles: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
    for entry in fs::read_dir(folder.join("oracle"))
        .expect("the oracle folder")
        .flatten()
    {
        let file = entry.file_name().to_string_lossy().into_owned();
        if let Some((name, kind)) = file.strip_suffix(".tsv").and_then(|f| f.rsplit_once('.')) {
            oracles
                .entry(name.to_owned())
                .or_default()
                .push((kind.to_owned(), entry.path()));
        }
    }
    oracles
        .into_iter()
        .filter_map(|(name, expected)| {
            let candidates = [".ndjson.gz", ".ndjson", "-sampled.json.gz"]
                .map(|end| folder.join(format!("{name}{end}")));
            let events = candidates.into_iter().find(|path| path.is_file())?;
            Some(Pair {
                name,
                events,
                expected,
            })
        })
        .collect()
}

/// The lines of a file, unpacked.
pub fn lines(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).expect("a readable file");
    let mut text = Vec::new();
    match bytes.starts_with(&[0x1F, 0x8B]) {
        true => {
            flate2::read::MultiGzDecoder::new(&bytes[..])
                .read_to_end(&mut text)
                .expect("gzip");
        }
        false => text = bytes,
    }
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// One run: a topology under a name of its own, a topic, a database, some processes.
pub struct Run {
    folder: tempfile::TempDir,
    /// The name of the application and of its topic.
    pub name: String,
    topology: PathBuf,
    bootstrap: String,
    /// Where the tables are.
    pub database: Database,
}

impl Run {
    /// A run of the shipped topology that fits the pair.
    pub fn new(pair: &Pair, bootstrap: &str, server: &str) -> Run {
        match is_wikiticker(pair) {
            true => Run::shipped(
                "wikiticker",
                "${WIKITICKER_TOPIC:-wikiticker}",
                bootstrap,
                server,
            ),
            false => Run::wikimedia(bootstrap, server),
        }
    }

    /// A run of the main job.
    pub fn wikimedia(bootstrap: &str, server: &str) -> Run {
        let topic = "${WIKIMEDIA_TOPIC:-wikimedia.recentchange}";
        Run::shipped("wikimedia", topic, bootstrap, server)
    }

    fn shipped(app: &str, topic: &str, bootstrap: &str, server: &str) -> Run {
        let path = format!("{}/topology/{app}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).expect("the shipped topology");
        let text = text
            .replace(&format!("app: {app}"), "app: NAME")
            .replace(topic, "NAME");
        Run::of(&text, bootstrap, server)
    }

    /// A run of a topology of a test's own, in which `NAME` stands for the run's name.
    pub fn of(topology: &str, bootstrap: &str, server: &str) -> Run {
        let folder = tempfile::tempdir().expect("a temp directory");
        let name = unique("oracle");
        let path = folder.path().join("topology.yaml");
        fs::write(&path, topology.replace("NAME", &name)).expect("a writable folder");
        Run {
            folder,
            name,
            topology: path,
            bootstrap: bootstrap.to_owned(),
            database: Database::create(server),
        }
    }

    /// The same with the weaker guarantee.
    pub fn at_least_once(self) -> Run {
        self.rewrite(|text| {
            let weaker = text.replace("guarantee: exactly_once\n", "");
            let weaker = weaker.replacen("\nnodes:", "\nguarantee: at_least_once\nnodes:", 1);
            assert!(weaker.contains("at_least_once"), "{weaker}");
            weaker
        });
        self
    }

    /// Changes the topology file.
    pub fn rewrite(&self, change: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(&self.topology).expect("just written");
        fs::write(&self.topology, change(&text)).expect("a writable folder");
    }

    fn topology(&self) -> &str {
        self.topology.to_str().expect("UTF-8")
    }

    /// Replays the events into the topic, which is made with that many partitions.
    pub fn replay(&self, events: &Path, partitions: u32) {
        let partitions = partitions.to_string();
        let arguments = self.replay_arguments(events, &partitions);
        Tidemill::run(self.folder.path(), "replay", &arguments);
    }

    /// Begins to replay the events, so fast that it takes about that long.
    pub fn replay_within(&self, pair: &Pair, partitions: u32, time: Duration) -> Tidemill {
        let partitions = partitions.to_string();
        let speed = (pair.span().as_secs_f64() / time.as_secs_f64()).to_string();
        let mut arguments = self.replay_arguments(&pair.events, &partitions);
        arguments.extend(["--speed", &speed]);
        Tidemill::start(self.folder.path(), "replay", &arguments)
    }

    /// Begins to write synthetic events into the topic.
    pub fn generate(&self, more: &[&str]) -> Tidemill {
        let mut arguments = vec!["ingest", "generate", "--topology", self.topology()];
        arguments.extend(["--brokers", &self.bootstrap]);
        arguments.extend(more);
        Tidemill::start(self.folder.path(), "generate", &arguments)
    }

    fn replay_arguments<'a>(&'a self, events: &'a Path, partitions: &'a str) -> Vec<&'a str> {
        let events = events.to_str().expect("UTF-8");
        let mut arguments = vec!["ingest", "replay", events, "--topology", self.topology()];
        arguments.extend(["--partitions", partitions, "--brokers", &self.bootstrap]);
        arguments
    }

    /// Starts the connector: EventStreams at that address into the topic, from a time on. Asks
    /// again at once whenever a connection has ended.
    pub fn connector(&self, log: &str, address: &Url, since: Timestamp) -> Tidemill {
        let url = self.database.url();
        Tidemill::start(
            self.folder.path(),
            log,
            &[
                "ingest",
                "wikimedia",
                "--url",
                address.as_str(),
                "--since",
                &since.to_string(),
                "--retry-min",
                "0s",
                "--name",
                &self.name,
                "--topology",
                self.topology(),
                "--brokers",
                &self.bootstrap,
                "--database-url",
                &url,
                "--log",
                "warn",
            ],
        )
    }

    /// Makes the topic so that it keeps its records: a broker counts from the event time, and would
    /// delete a recording of weeks ago before it is read.
    pub fn make_topic(&self, partitions: u32) {
        self.make_topic_with(partitions, &[]);
    }

    /// The same, with records that have the time at which they come. By that time a broker that was killed
    /// knows what it has of a producer, and forgets what is older than a day.
    pub fn make_topic_of_log_time(&self, partitions: u32) {
        self.make_topic_with(partitions, &[("message.timestamp.type", "LogAppendTime")]);
    }

    /// The same, with so many bytes in each partition at most.
    pub fn make_topic_that_keeps(&self, partitions: u32, bytes: u64) {
        let bytes = bytes.to_string();
        self.make_topic_with(partitions, &[("retention.bytes", &bytes)]);
    }

    fn make_topic_with(&self, partitions: u32, config: &[(&str, &str)]) {
        let config = config.iter().chain(&[("retention.ms", "-1")]);
        let config = config.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let spec = TopicSpec {
            name: self.name.clone(),
            partitions,
            replication: -1,
            config: config.collect(),
        };
        self.kafka().create_topics(&[spec]).expect("a topic");
    }

    /// The committed values of the topic.
    pub fn topic(&self) -> Vec<Vec<u8>> {
        self.committed(&self.name)
    }

    /// The committed values of a topic.
    pub fn committed(&self, topic: &str) -> Vec<Vec<u8>> {
        let broker = self.kafka();
        let counts = broker.partition_counts(&[topic]).expect("an answer");
        let partitions: Vec<_> = (0..counts[topic] as i32)
            .map(|partition| TopicPartition::new(topic, partition))
            .collect();
        let ends = broker.end_offsets(&partitions, Isolation::ReadCommitted);
        let ends = ends.expect("an answer");
        let mut reader = broker.reader(Isolation::ReadCommitted).expect("a reader");
        let starts: Vec<_> = partitions.iter().map(|place| (place.clone(), 0)).collect();
        reader.assign(&starts).expect("partitions");
        let mut values = Vec::new();
        let patience = Duration::from_secs(30);
        wait_until("the whole topic to be read", patience, || {
            let mut take = |record: Fetched<'_>| {
                values.push(record.value.expect("an event").to_vec());
            };
            let poll = Duration::from_millis(100);
            reader.poll(poll, usize::MAX, &mut take).expect("a poll");
            let reached = |place| reader.position(place) >= ends.get(place).copied();
            partitions.iter().all(reached)
        });
        values
    }

    fn kafka(&self) -> KafkaBroker {
        let settings = KafkaSettings {
            bootstrap: self.bootstrap.clone(),
            client_id: "test".to_owned(),
            ..KafkaSettings::default()
        };
        KafkaBroker::connect(&settings).expect("Kafka answers")
    }

    /// Starts a process of the cluster.
    pub fn member(&self, name: &str) -> Tidemill {
        self.member_with(name, &["--http", "off"], &[])
    }

    /// Starts a process of the cluster with more arguments and variables of the environment.
    pub fn member_with(&self, name: &str, more: &[&str], variables: &[(&str, &str)]) -> Tidemill {
        let (state, url) = (self.state(), self.database.url());
        let mut arguments = vec!["run", self.topology(), "--brokers", &self.bootstrap];
        arguments.extend(["--database-url", &url]);
        arguments.extend(["--state-dir", state.to_str().expect("UTF-8")]);
        arguments.extend([
            "--log",
            "info,tidemill::runtime::sink=debug,tidemill::sql=debug",
        ]);
        arguments.extend(more);
        Tidemill::start_with(self.folder.path(), name, &arguments, variables)
    }

    /// Where its processes keep their state.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Holds what its processes keep on disk, which are stopped, against the changelogs.
    ///
    /// # Panics
    /// When they differ.
    pub fn assert_stores(&self, context: &str) {
        assert_stores(&self.bootstrap, &self.topology, &self.state(), context);
    }

    /// Begins to reset the application.
    pub fn reset(&self, more: &[&str]) -> Tidemill {
        let (state, url) = (self.state(), self.database.url());
        let mut arguments = vec!["reset", self.topology(), "--brokers", &self.bootstrap];
        arguments.extend(["--database-url", &url]);
        arguments.extend(["--state-dir", state.to_str().expect("UTF-8")]);
        arguments.extend(more);
        Tidemill::start(self.folder.path(), &unique("reset"), &arguments)
    }

    /// Holds the tables against the raw events.
    pub fn verify(&self, more: &[&str]) -> Tidemill {
        let url = self.database.url();
        let mut arguments = vec!["verify", self.topology(), "--database-url", &url];
        arguments.extend(more);
        Tidemill::start(self.folder.path(), &unique("verify"), &arguments)
    }

    /// Runs a command that ends by itself; `FILE` stands for the topology. Gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn command(&self, arguments: &[&str]) -> String {
        let arguments = arguments.iter().map(|argument| match *argument {
            "FILE" => self.topology(),
            other => other,
        });
        let brokers = ["--brokers", &self.bootstrap];
        let arguments: Vec<&str> = arguments.chain(brokers).collect();
        Tidemill::run(self.folder.path(), &unique("command"), &arguments)
    }

    /// How many events the table of raw events has; none while it cannot be asked.
    pub fn raw_rows(&self) -> Option<i64> {
        self.database.number("SELECT COUNT(*) FROM recentchange")
    }

    /// How far its groups have come.
    pub fn groups(&self) -> Groups {
        Groups::of(&self.bootstrap, &self.topology)
    }
}

impl Pair {
    /// From the first event to the last.
    fn span(&self) -> Duration {
        let times = lines(&self.events).into_iter().map(|line| {
            let event: serde_json::Value = serde_json::from_slice(&line).expect("an event");
            let time = event["meta"]["dt"].as_str().expect("a time");
            Timestamp::parse_rfc3339(time).expect("a time").millis()
        });
        let times: Vec<i64> = times.collect();
        let (first, last) = (times.iter().min(), times.iter().max());
        let ms = last.zip(first).map_or(0, |(last, first)| last - first);
        Duration::from_millis(ms as u64)
    }

    /// How many events reach the tables.
    pub fn events(&self) -> i64 {
        number_of_events(self) as i64
    }

    /// Whether these are Wikimedia's recent changes.
    pub fn is_recentchange(&self) -> bool {
        !is_wikiticker(self)
    }
}

/// The table of the database that answers a kind of oracle, as rows of the oracle's columns.
fn query(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "wiki_minute" => {
            "SELECT wiki, DATE_FORMAT(window_start, '%Y-%m-%dT%H:%i:%sZ'), events, edits, new_pages, \
             logs, categorize, bot_events, anon_or_temp_edits, minor_edits, bytes_added, \
             bytes_removed, distinct_edit_users, distinct_edited_pages FROM edits_per_wiki_minute"
        }
        "wiki_user" => {
            "SELECT wiki, user, CAST(SUM(edits) AS CHAR), CAST(SUM(net_bytes) AS CHAR) \
             FROM edits_per_user_5m GROUP BY wiki, user"
        }
        "channel_hour" => {
            "SELECT channel, DATE_FORMAT(window_start, '%Y-%m-%dT%H:%i:%sZ'), edits, bot_edits, \
             anon_edits, new_pages, added, deleted, distinct_users, distinct_pages \
             FROM wikiticker_channel_hour"
        }
        _ => return None,
    })
}

fn expected_rows(path: &Path) -> BTreeSet<Vec<String>> {
    let text = fs::read_to_string(path).expect("an oracle");
    text.lines()
        .skip(1)
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

fn stored_rows(database: &Database, kind: &str, oracle: &Path) -> BTreeSet<Vec<String>> {
    let query =
        query(kind).unwrap_or_else(|| panic!("no table for the oracle {}", oracle.display()));
    let rows = database.rows(query).expect("an answer");
    rows.into_iter().collect()
}

#[track_caller]
fn assert_equal(database: &Database, kind: &str, oracle: &Path, context: &str) {
    let expected = expected_rows(oracle);
    let found = stored_rows(database, kind, oracle);
    let missing: Vec<_> = expected.difference(&found).take(5).collect();
    let extra: Vec<_> = found.difference(&expected).take(5).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{context}: {kind}: {} rows expected, {} found\nmissing: {missing:#?}\nextra: {extra:#?}",
        expected.len(),
        found.len()
    );
}

fn number_of_events(pair: &Pair) -> usize {
    // The captures have neither canaries nor repeats, but other pairs may.
    let mut ids = BTreeSet::new();
    for line in lines(&pair.events) {
        let event: serde_json::Value = serde_json::from_slice(&line).expect("an event");
        if event["meta"]["domain"] != "canary" {
            ids.insert(event["meta"]["id"].as_str().expect("an id").to_owned());
        }
    }
    ids.len()
}

/// Whether the events are of the other shape.
pub fn is_wikiticker(pair: &Pair) -> bool {
    pair.expected.iter().any(|(kind, _)| kind == "channel_hour")
}

/// Holds all tables of a finished run against the pair's oracles.
#[track_caller]
pub fn assert_tables(run: &Run, pair: &Pair, context: &str) {
    for (kind, oracle) in &pair.expected {
        assert_equal(&run.database, kind, oracle, context);
    }
    match is_wikiticker(pair) {
        true => assert_rows_of_wikiticker(&run.database, pair, context),
        false => assert_payloads(&run.database, pair, context),
    }
}

/// The same where processes were killed under the weaker guarantee: each row is there and counts no
/// less than the oracle. What was under way at a kill may be counted twice; the tables of events,
/// which keep their positions themselves, are exact here too.
#[track_caller]
pub fn assert_tables_at_least(run: &Run, pair: &Pair, context: &str) {
    for (kind, oracle) in &pair.expected {
        let counts = |rows: BTreeSet<Vec<String>>| -> BTreeMap<[String; 2], i64> {
            let count = |row: Vec<String>| {
                let [first, second, count, ..] = &row[..] else {
                    panic!("{context}: {kind}: {row:?}");
                };
                let count = count.parse().expect("a count");
                ([first.clone(), second.clone()], count)
            };
            rows.into_iter().map(count).collect()
        };
        let expected = counts(expected_rows(oracle));
        let found = counts(stored_rows(&run.database, kind, oracle));
        assert!(
            expected.keys().eq(found.keys()),
            "{context}: {kind}: other rows than expected"
        );
        let less: Vec<_> = std::iter::zip(&expected, found.values())
            .filter(|((_, expected), found)| found < expected)
            .collect();
        assert!(less.is_empty(), "{context}: {kind}: lost: {less:#?}");
        let twice = found.values().sum::<i64>() - expected.values().sum::<i64>();
        eprintln!("{context}: {kind}: {twice} counted twice");
    }
    assert_payloads(&run.database, pair, context);
}

/// Waits until as many events have reached the tables as there are, for as long as there are ever
/// more of them: how long they all take is a matter of the machine.
///
/// # Panics
/// When a member has ended, or nothing has come for [`TIMEOUT`].
pub fn wait_for_tables(run: &Run, pair: &Pair, members: &mut [Tidemill]) {
    let (raw, total, rolled_up) = match is_wikiticker(pair) {
        true => (
            "SELECT COUNT(*) FROM wikiticker",
            lines(&pair.events).len(),
            "SELECT CAST(SUM(edits) AS CHAR) FROM wikiticker_channel_hour",
        ),
        false => (
            "SELECT COUNT(*) FROM recentchange",
            number_of_events(pair),
            "SELECT CAST(SUM(events) AS CHAR) FROM edits_per_wiki_minute",
        ),
    };
    let users: Option<i64> = pair
        .expected
        .iter()
        .find(|(kind, _)| kind == "wiki_user")
        .map(|(_, path)| {
            expected_rows(path)
                .iter()
                .map(|row| row[2].parse::<i64>().expect("a number"))
                .sum()
        });
    let total = total as i64;
    let wanted = [
        (raw, Some(total)),
        (rolled_up, Some(total)),
        (
            "SELECT CAST(SUM(edits) AS CHAR) FROM edits_per_user_5m",
            users,
        ),
    ];
    let mut last = (Instant::now(), Vec::new());
    loop {
        for member in &mut *members {
            assert!(!member.has_ended(), "a process gave up:\n{}", member.log());
        }
        let missing: Vec<String> = wanted
            .iter()
            .filter_map(|(query, wanted)| {
                let found = run.database.number(query);
                let wanted = wanted.filter(|wanted| found < Some(*wanted))?;
                Some(format!("{query}: {found:?} of {wanted}"))
            })
            .collect();
        if missing.is_empty() {
            break;
        }
        if missing != last.1 {
            last = (Instant::now(), missing);
        } else if last.0.elapsed() > TIMEOUT {
            let letters = run.committed(&format!("{}-dead-letters", run.name));
            let letters: Vec<_> = letters.iter().map(|l| String::from_utf8_lossy(l)).collect();
            panic!("nothing new in {TIMEOUT:?}: {missing:#?}\ndead letters: {letters:#?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // What would be too much comes later still.
    let groups = run.groups();
    let begun = Instant::now();
    loop {
        let behind = groups.behind();
        if behind.is_empty() {
            return;
        }
        assert!(begun.elapsed() < TIMEOUT, "not through: {behind:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The raw table holds each row as often as the file does, byte for byte: rows have no id, and some
/// are equal.
fn assert_rows_of_wikiticker(database: &Database, pair: &Pair, context: &str) {
    let stored = database.rows("SELECT payload FROM wikiticker");
    let stored = stored.expect("an answer").into_iter();
    let mut stored: Vec<Vec<u8>> = stored.map(|mut row| row.remove(0).into_bytes()).collect();
    let mut sent = lines(&pair.events);
    assert_eq!(stored.len(), sent.len(), "{context}: one row per line");
    stored.sort_unstable();
    sent.sort_unstable();
    let differing = std::iter::zip(&stored, &sent).find(|(stored, sent)| stored != sent);
    assert!(differing.is_none(), "{context}: {differing:?}");
}

/// The raw table holds each event once, byte for byte.
fn assert_payloads(database: &Database, pair: &Pair, context: &str) {
    let stored = database
        .rows("SELECT payload FROM recentchange")
        .expect("an answer");
    let stored: Vec<Vec<u8>> = stored
        .into_iter()
        .map(|mut row| row.remove(0).into_bytes())
        .collect();
    let distinct: BTreeSet<_> = stored.iter().collect();
    assert_eq!(distinct.len(), stored.len(), "{context}: no payload twice");
    let sent: BTreeSet<Vec<u8>> = lines(&pair.events).into_iter().collect();
    let foreign = distinct.iter().find(|payload| !sent.contains(**payload));
    assert!(
        foreign.is_none(),
        "{context}: not as it was sent: {foreign:?}"
    );
    assert_eq!(
        stored.len(),
        number_of_events(pair),
        "{context}: one row per event"
    );
}
