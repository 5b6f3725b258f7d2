//! Bad input: whatever comes is stored, or put aside with the reason, and counted; and what comes
//! behind it arrives as if nothing had been.

mod cases;
mod refused;
mod sizes;
mod times;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::time::Duration;

use serde_json::Value;
use tidemill::broker::OwnedRecord;
use tidemill::time::Timestamp;

use crate::harness::{
    LOG_TIME, Raw, Run, Tidemill, Topics, data_folder, databases, header, kafka, skip, wait_until,
};
use cases::{cases, edit};

/// Long enough for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(180);

const PARTITIONS: i32 = 3;

/// Larger than a dead letter may be.
const TOPIC_BYTES: usize = 20 << 20;

/// This much is kept of a dead letter that is too large.
const KEPT_BYTES: usize = 64 << 10;

#[test]
fn every_record_is_stored_or_put_aside_and_counted() {
    let Some(bootstrap) = kafka() else {
        return skip("input", "no Kafka");
    };
    let servers = databases();
    if servers.is_empty() {
        return skip("input", "no database");
    }
    for (name, server) in &servers {
        let found = Found::after_a_run(&bootstrap, server);
        found.assert_that_odd_shapes_are_stored_and_counted();
        found.assert_that_letters_are_whole();
        found.assert_that_columns_are_what_the_events_say();
        let fates = found.fates();
        found.assert_that_drops_are_counted(&fates);
        expect_test::expect_file!["input/fates.txt"].assert_eq(&shown(&fates, &found.names));
        eprintln!("every record accounted for: {name}");
    }
}

/// Everything that a run has left behind.
struct Found {
    app: String,
    /// Real events, in the order of their times.
    odd_shapes: Vec<String>,
    names: Vec<String>,
    /// The records of the cases as they are in the topic.
    records: Vec<OwnedRecord>,
    letters: Vec<OwnedRecord>,
    /// Column name to text, of each row of the raw table.
    raw_rows: Vec<BTreeMap<&'static str, String>>,
    /// Wiki, window, events, edits, bytes added, bytes removed.
    wiki_rows: Vec<Vec<String>>,
    /// Wiki, user, edits, net bytes.
    user_rows: Vec<Vec<String>>,
    drops: BTreeMap<(String, String), u64>,
}

/// What has become of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fate {
    stored: bool,
    /// Its row of the table of wikis.
    wiki: Option<String>,
    /// Its row of the table of users.
    user: Option<String>,
    /// Group, node and reason of its dead letters.
    letters: BTreeSet<(String, String, String)>,
}

impl Found {
    fn after_a_run(bootstrap: &str, server: &str) -> Found {
        let topics = Topics::connect(bootstrap);
        let run = Run::wikimedia(bootstrap, server);
        topics.create(&run.name, PARTITIONS as u32, TOPIC_BYTES);
        let mut members: Vec<_> = (0..2)
            .map(|n| member(&run, &format!("member-{n}")))
            .collect();
        let odd_shapes = odd_shapes();
        let cases = cases();
        let mut records: Vec<Raw> = odd_shapes.iter().map(|line| raw(line)).collect();
        records.extend(one_per_partition("before"));
        let first = records.len();
        records.extend(cases.iter().map(|case| case.record.clone()));
        records.extend(one_per_partition("after"));
        topics.write(&run.name, &records);
        wait_for_those_behind(&run, &mut members);
        let drops = drops(&members);
        members.iter_mut().for_each(Tidemill::stop);
        let mut records = topics.read(&run.name);
        records.sort_by_key(place);
        let rows = |query: &str| run.database.rows(query).expect("an answer");
        Found {
            odd_shapes,
            names: cases.into_iter().map(|case| case.name).collect(),
            records: records
                .drain(first..records.len() - PARTITIONS as usize)
                .collect(),
            letters: topics.read(&format!("{}-dead-letters", run.name)),
            raw_rows: raw_rows(&rows),
            wiki_rows: rows(
                "SELECT wiki, DATE_FORMAT(window_start, '%Y-%m-%dT%H:%i:%sZ'), events, edits, \
                 bytes_added, bytes_removed FROM edits_per_wiki_minute",
            ),
            user_rows: rows("SELECT wiki, user, edits, net_bytes FROM edits_per_user_5m"),
            drops,
            app: run.name.clone(),
        }
    }

    fn fates(&self) -> Vec<Fate> {
        let mut fates = vec![Fate::default(); self.records.len()];
        let by_payload: HashMap<_, _> = (self.records.iter().enumerate())
            .filter_map(|(at, record)| Some((record.value.as_deref()?, at)))
            .collect();
        for row in &self.raw_rows {
            if let Some(at) = by_payload.get(row["payload"].as_bytes()) {
                assert!(!fates[*at].stored, "{} is there twice", self.names[*at]);
                fates[*at].stored = true;
            }
        }
        let by_wiki: HashMap<_, _> = (self.records.iter().enumerate())
            .filter_map(|(at, record)| Some((wiki(record)?, at)))
            .collect();
        for row in &self.wiki_rows {
            if let Some(at) = by_wiki.get(&row[0]) {
                let text = format!("{} +{} -{}", of(&row[2], &row[3]), row[4], row[5]);
                assert_eq!(fates[*at].wiki.replace(text), None, "{row:?}");
            }
        }
        for row in &self.user_rows {
            if let Some(at) = by_wiki.get(&row[0]) {
                let text = format!("{} {}", row[2], row[3]);
                assert_eq!(fates[*at].user.replace(text), None, "{row:?}");
            }
        }
        for letter in &self.letters {
            let at = self.case_of(letter);
            let group = header(letter, "tidemill.group").expect("who");
            let group = group.strip_prefix(&self.app).expect("a group of the run");
            let text = |name| header(letter, name).expect("in every letter").to_owned();
            fates[at].letters.insert((
                group.trim_start_matches('-').to_owned(),
                text("tidemill.node"),
                text("tidemill.reason"),
            ));
        }
        fates
    }

    /// The case that a dead letter is about: the record itself, or a result of which it is part.
    fn case_of(&self, letter: &OwnedRecord) -> usize {
        let origin = header(letter, "tidemill.topic").expect("where from");
        if origin == self.app {
            let is_origin = |record: &OwnedRecord| {
                let number = |name| header(letter, name).and_then(|text| text.parse().ok());
                Some(i64::from(record.partition)) == number("tidemill.partition")
                    && Some(record.offset) == number("tidemill.offset")
            };
            let found = self.records.iter().position(is_origin);
            return found.expect("no letter is about a good record");
        }
        let key = String::from_utf8_lossy(letter.key.as_deref().expect("a group's key"));
        let (_, wiki) = key.split_once("case").expect("the wiki of a case");
        wiki[..3].parse().expect("its number")
    }

    /// A letter is the record as it came, and says where it came from and why it was put aside.
    fn assert_that_letters_are_whole(&self) {
        for letter in &self.letters {
            let context = || format!("{}: {:?}", self.names[self.case_of(letter)], letter.headers);
            for name in [
                "tidemill.group",
                "tidemill.node",
                "tidemill.reason",
                "tidemill.message",
            ] {
                assert!(
                    header(letter, name).is_some_and(|text| !text.is_empty()),
                    "{}",
                    context()
                );
            }
            if header(letter, "tidemill.topic") != Some(&self.app) {
                continue;
            }
            let record = &self.records[self.case_of(letter)];
            let time = LOG_TIME.millis().to_string();
            assert_eq!(header(letter, "tidemill.timestamp_ms"), Some(time.as_str()));
            assert_eq!(letter.key, record.key, "{}", context());
            match header(letter, "tidemill.length") {
                None => assert!(letter.value == record.value, "{}", context()),
                Some(length) => {
                    let whole = record.value.as_deref().expect("it was too large");
                    assert_eq!(length, whole.len().to_string());
                    assert!(whole.len() > 16 << 20, "{}", context());
                    assert!(
                        letter.value.as_deref() == Some(&whole[..KEPT_BYTES]),
                        "{}",
                        context()
                    );
                }
            }
        }
        // What the exactly-once group puts aside is put aside once.
        let mut seen = BTreeSet::new();
        for letter in &self.letters {
            if header(letter, "tidemill.group") == Some(&self.app) {
                assert!(seen.insert(letter.headers.clone()), "{:?}", letter.headers);
            }
        }
    }

    /// Every dead letter is a drop in `/metrics`, and nothing else is; what is not in a roll-up has
    /// been put aside.
    fn assert_that_drops_are_counted(&self, fates: &[Fate]) {
        let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut count = |node: &str, reason: &str| {
            *expected
                .entry((node.to_owned(), reason.to_owned()))
                .or_default() += 1;
        };
        for (name, fate) in self.names.iter().zip(fates) {
            for (_, node, reason) in &fate.letters {
                count(node, reason);
            }
            if name == "a canary" {
                continue;
            }
            assert!(fate.stored || !fate.letters.is_empty(), "{name} is nowhere");
            let put_aside = |nodes: &[&str]| {
                let of_this = |(_, node, _): &(_, String, _)| nodes.contains(&node.as_str());
                fate.letters.iter().any(of_this)
            };
            let before = ["changes", "real", "enriched"];
            let of_wiki = ["per_wiki", "wiki_table"];
            let is_known = fate.wiki.is_some() || put_aside(&before) || put_aside(&of_wiki);
            assert!(is_known, "{name} is in no roll-up");
        }
        assert_eq!(self.drops, expected);
    }

    /// The columns of a stored event are its fields, to the last character.
    fn assert_that_columns_are_what_the_events_say(&self) {
        for row in &self.raw_rows {
            // This parser, unlike the one under test, goes no deeper than 128.
            let Ok(event) = serde_json::from_str::<Value>(&row["payload"]) else {
                continue;
            };
            for (column, field) in COLUMNS {
                let said = match event.pointer(field) {
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Number(number)) if number.is_i64() => number.to_string(),
                    Some(Value::Bool(flag)) if FLAGS.contains(&column) => {
                        u8::from(*flag).to_string()
                    }
                    None | Some(Value::Null) => "NULL".to_owned(),
                    Some(_) => continue,
                };
                assert_eq!(row[column], said, "{column} of {}", row["payload"]);
            }
        }
    }

    /// Real events of every shape that was found in years of the stream.
    fn assert_that_odd_shapes_are_stored_and_counted(&self) {
        let stored: BTreeSet<_> = self
            .raw_rows
            .iter()
            .map(|row| row["payload"].as_str())
            .collect();
        let mut expected: BTreeMap<(String, String), (u32, u32)> = BTreeMap::new();
        for line in &self.odd_shapes {
            let letters: Vec<_> = (self.letters.iter())
                .filter(|letter| letter.value.as_deref() == Some(line.as_bytes()))
                .map(|letter| &letter.headers)
                .collect();
            assert!(
                stored.contains(line.as_str()),
                "not stored, but put aside as {letters:?}: {line}"
            );
            let event: Value = serde_json::from_str(line).expect("an event");
            let text = |field| {
                event
                    .pointer(field)
                    .and_then(Value::as_str)
                    .expect("a text")
            };
            let minute = time(line).millis().div_euclid(60_000) * 60_000;
            let minute = Timestamp(minute).to_string().replace(".000Z", "Z");
            let counts = expected
                .entry((text("/wiki").to_owned(), minute))
                .or_default();
            counts.0 += 1;
            counts.1 += u32::from(["edit", "new"].contains(&text("/type")));
        }
        for ((wiki, minute), (events, edits)) in expected {
            let row = (self.wiki_rows.iter())
                .find(|row| row[0] == wiki && row[1] == minute)
                .unwrap_or_else(|| panic!("no row of {wiki} at {minute}"));
            assert_eq!(
                row[2..4],
                [events.to_string(), edits.to_string()],
                "{row:?}"
            );
        }
    }
}

const FLAGS: [&str; 3] = ["bot", "minor", "patrolled"];

/// Columns of the raw table whose values are fields of the event.
const COLUMNS: [(&str, &str); 22] = [
    ("event_id", "/meta/id"),
    ("wiki", "/wiki"),
    ("type", "/type"),
    ("namespace", "/namespace"),
    ("title", "/title"),
    ("user", "/user"),
    ("bot", "/bot"),
    ("minor", "/minor"),
    ("patrolled", "/patrolled"),
    ("rc_id", "/id"),
    ("log_id", "/log_id"),
    ("log_type", "/log_type"),
    ("log_action", "/log_action"),
    ("length_old", "/length/old"),
    ("length_new", "/length/new"),
    ("revision_old", "/revision/old"),
    ("revision_new", "/revision/new"),
    ("comment", "/comment"),
    ("server_name", "/server_name"),
    ("domain", "/meta/domain"),
    ("source_partition", "/meta/partition"),
    ("source_offset", "/meta/offset"),
];

fn raw_rows(rows: &dyn Fn(&str) -> Vec<Vec<String>>) -> Vec<BTreeMap<&'static str, String>> {
    let names: Vec<_> = COLUMNS
        .iter()
        .map(|(column, _)| *column)
        .chain(["payload"])
        .collect();
    rows(&format!(
        "SELECT `{}` FROM recentchange",
        names.join("`, `")
    ))
    .into_iter()
    .map(|row| names.iter().copied().zip(row).collect())
    .collect()
}

/// The real events, in the order of their times: none is late.
fn odd_shapes() -> Vec<String> {
    let Some(folder) = data_folder() else {
        eprintln!("without the real events of odd shapes: no data folder");
        return Vec::new();
    };
    let text = fs::read_to_string(folder.join("rc-odd-shapes.ndjson")).expect("a readable file");
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort_by_key(|line| time(line));
    lines
}

fn time(line: &str) -> Timestamp {
    let event: Value = serde_json::from_str(line).expect("an event");
    let text = event.pointer("/meta/dt").and_then(Value::as_str);
    Timestamp::parse_rfc3339(text.expect("a text")).expect("a time")
}

/// An event as it is ingested.
fn raw(event: &str) -> Raw {
    let parsed: Value = serde_json::from_str(event).expect("an event");
    let wiki = parsed["wiki"].as_str().expect("a text");
    Raw {
        partition: None,
        key: Some(wiki.as_bytes().to_vec()),
        value: Some(event.as_bytes().to_vec()),
    }
}

/// Faultless events of the wikis `<name>0`, `<name>1`, …, one in each partition.
fn one_per_partition(name: &str) -> impl Iterator<Item = Raw> {
    (0..PARTITIONS).map(move |partition| Raw {
        partition: Some(partition),
        ..raw(&edit(&format!("{name}{partition}")).to_string())
    })
}

/// Waits until the good events behind the bad ones are in every table: so is then everything
/// that came before them, or will never be.
fn wait_for_those_behind(run: &Run, members: &mut [Tidemill]) {
    wait_until("the events behind the bad ones", TIMEOUT, || {
        for member in &mut *members {
            assert!(!member.has_ended(), "a process gave up:\n{}", member.log());
        }
        ["recentchange", "edits_per_wiki_minute", "edits_per_user_5m"]
            .iter()
            .all(|table| {
                let query = format!("SELECT COUNT(*) FROM {table} WHERE wiki LIKE 'after%'");
                run.database.number(&query) == Some(i64::from(PARTITIONS))
            })
    });
}

/// A process with a page.
fn member(run: &Run, name: &str) -> Tidemill {
    run.member_with(name, &["--http", "127.0.0.1:0"], &[])
}

/// The drops of all members that are not zero, by node and reason.
fn drops(members: &[Tidemill]) -> BTreeMap<(String, String), u64> {
    let mut drops = BTreeMap::new();
    for member in members {
        for line in member.page("metrics").lines() {
            let Some(rest) = line.strip_prefix("tidemill_dropped_rows_total{") else {
                continue;
            };
            let (labels, number) = rest.rsplit_once("} ").expect("labels and a number");
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\"")).expect("the label");
                rest.split('"').next().expect("its value").to_owned()
            };
            let number: u64 = number.parse().expect("a number");
            if number > 0 {
                *drops.entry((label("node"), label("reason"))).or_default() += number;
            }
        }
    }
    drops
}

/// The place of a record in the list that was written.
fn place(record: &OwnedRecord) -> usize {
    header(record, "case")
        .and_then(|text| text.parse().ok())
        .expect("a number")
}

/// What the roll-ups call the wiki of an event.
fn wiki(record: &OwnedRecord) -> Option<String> {
    let Ok(event) = serde_json::from_slice::<Value>(record.value.as_deref()?) else {
        let key = record.key.as_deref()?;
        return Some(str::from_utf8(key).ok()?.to_owned());
    };
    match event.get("wiki")? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn of(events: &str, edits: &str) -> String {
    match (events, edits) {
        ("1", "1") => "edit".to_owned(),
        ("1", "0") => "event".to_owned(),
        other => panic!("a case is one record: {other:?}"),
    }
}

/// The cases by what has become of them.
fn shown(fates: &[Fate], names: &[String]) -> String {
    let mut by_fate: BTreeMap<&Fate, Vec<&str>> = BTreeMap::new();
    for (fate, name) in fates.iter().zip(names) {
        by_fate.entry(fate).or_default().push(name);
    }
    let mut text = String::new();
    for (fate, names) in by_fate {
        let stored = if fate.stored { "stored" } else { "not stored" };
        text.push_str(stored);
        let counted = [("wiki", &fate.wiki), ("user", &fate.user)];
        for (table, row) in counted {
            if let Some(row) = row {
                text.push_str(&format!(", {table}: {row}"));
            }
        }
        for (group, node, reason) in &fate.letters {
            let group = if group.is_empty() {
                "processing"
            } else {
                group
            };
            text.push_str(&format!(", {group} puts aside at {node}: {reason}"));
        }
        text.push('\n');
        names
            .iter()
            .for_each(|name| text.push_str(&format!("    {name}\n")));
    }
    text
}
