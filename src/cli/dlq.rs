//! `tidemill dlq`: records that could not be handled.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr as _;

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::context::Context;
use super::failure::{Ended, Failure, say};
use super::flags::{KafkaFlags, Typed};
use super::load;
use crate::broker::Broker;
use crate::dead_letters::{Letter, LetterId, obstacle, read, replay, replayed_before};
use crate::sql::query::{Format, QueryResult, QueryValue, ResultColumn, ResultKind, parse_when};
use crate::time::{Clock as _, SystemClock, Timestamp};
use crate::topology::graph::Topology;
use crate::topology::plan::{Plan, plan};

const EXAMPLES: &str = "\
Examples:
  tidemill dlq list topology/wikimedia.yaml
  tidemill dlq list --topic wikimedia.recentchange-dead-letters     those of `ingest`
  tidemill dlq show topology/wikimedia.yaml --reason refused --since 1d
  tidemill dlq show topology/wikimedia.yaml --letter 0-17
  tidemill dlq replay topology/wikimedia.yaml --node raw_table --dry-run
  tidemill dlq replay topology/wikimedia.yaml --node raw_table

What `replay` gives to the topology again goes to the node that could not handle it alone, and each
letter once, however often it is tried. TIME is a length of time back from now (90s, 2h, 7d) or a time
(2026-05-05T11:00:00Z).";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Dlq {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How many there are, by node and reason
    List(List),
    /// The letters: where they came from, what was wrong, what they hold
    Show(Show),
    /// Gives them to their topology again, when what was wrong has been mended
    Replay(Replay),
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    place: PlaceFlags,
    #[command(flatten)]
    which: Which,
    /// table, json or csv
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = Format::from_str)]
    format: Format,
    #[command(flatten)]
    kafka: KafkaFlags,
}

#[derive(Args)]
struct Show {
    #[command(flatten)]
    place: PlaceFlags,
    #[command(flatten)]
    which: Which,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// One JSON object per line; keys and values that are no text are in base64
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kafka: KafkaFlags,
}

#[derive(Args)]
struct Replay {
    /// The topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Says what would be done, and does nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    kafka: KafkaFlags,
}

/// Where the letters are.
#[derive(Args)]
struct PlaceFlags {
    /// The topology file whose letters these are
    #[arg(value_name = "FILE", required_unless_present = "topic")]
    file: Option<PathBuf>,
    /// Their topic, in place of a file
    #[arg(long, value_name = "TOPIC", conflicts_with = "file")]
    topic: Option<String>,
}

/// Which of them.
#[derive(Args)]
struct Which {
    /// Only this one, as `list` and `show` name it; may be repeated
    #[arg(long = "letter", value_name = "ID", value_parser = LetterId::from_str)]
    letters: Vec<LetterId>,
    /// Only of this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only for this reason
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only those of which the record is of this time or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

impl Dlq {
    pub fn settings(&self) -> Result<Typed, Failure> {
        match &self.command {
            Command::List(List { kafka, .. })
            | Command::Show(Show { kafka, .. })
            | Command::Replay(Replay { kafka, .. }) => kafka.settings(),
        }
    }
}

impl PlaceFlags {
    fn topic(&self) -> Result<String, Failure> {
        match (&self.topic, &self.file) {
            (Some(topic), _) => Ok(topic.clone()),
            (None, Some(file)) => Ok(load::planned(file)?.dead_letter_topic()),
            (None, None) => Err(Failure::usage("name a topology file, or --topic TOPIC")),
        }
    }
}

impl Which {
    fn test(&self) -> Result<impl Fn(&Letter) -> bool + use<'_>, Failure> {
        let now = SystemClock.now();
        let since = self.since.as_deref().map(|text| parse_when(text, now));
        let since = since
            .transpose()
            .map_err(|error| Failure::usage(format!("--since: {error}")))?;
        Ok(move |letter: &Letter| {
            let is = |wanted: &Option<String>, found: &str| {
                wanted.as_deref().is_none_or(|wanted| wanted == found)
            };
            (self.letters.is_empty() || self.letters.contains(&letter.id))
                && is(&self.node, &letter.node)
                && is(&self.reason, &letter.reason)
                && since.is_none_or(|since| letter.timestamp >= since)
        })
    }
}

pub(super) fn dlq(args: &Dlq, context: &Context) -> Ended {
    match &args.command {
        Command::List(args) => list(args, context),
        Command::Show(args) => show(args, context),
        Command::Replay(args) => replay_letters(args, context),
    }
}

/// What letters of one kind have in common.
struct Kind {
    count: i64,
    replayed: i64,
    first: Timestamp,
    last: Timestamp,
    example: LetterId,
}

fn list(args: &List, context: &Context) -> Ended {
    let topic = args.place.topic()?;
    let wanted = args.which.test()?;
    let broker = &*context.kafka()?;
    let done = replayed_before(broker, &topic)?;
    let mut kinds: BTreeMap<(String, String, String), Kind> = BTreeMap::new();
    read(broker, &topic, &mut |letter| {
        if wanted(&letter) {
            let time = letter.timestamp;
            let is_replayed = done.has(&letter);
            let kind = kinds.entry((letter.group, letter.node, letter.reason));
            let kind = kind.or_insert(Kind {
                count: 0,
                replayed: 0,
                first: time,
                last: time,
                example: letter.id,
            });
            kind.count += 1;
            kind.replayed += i64::from(is_replayed);
            kind.first = kind.first.min(time);
            kind.last = kind.last.max(time);
        }
        ControlFlow::Continue(())
    })?;
    let column = |(name, kind): (&str, ResultKind)| ResultColumn {
        name: name.to_owned(),
        kind,
    };
    let columns = [
        ("group", ResultKind::Text),
        ("node", ResultKind::Text),
        ("reason", ResultKind::Text),
        ("letters", ResultKind::Int),
        ("replayed", ResultKind::Int),
        ("first", ResultKind::Time),
        ("last", ResultKind::Time),
        ("example", ResultKind::Text),
    ];
    let rows = kinds.into_iter().map(|((group, node, reason), kind)| {
        vec![
            QueryValue::Text(group),
            QueryValue::Text(node),
            QueryValue::Text(reason),
            QueryValue::Int(kind.count),
            QueryValue::Int(kind.replayed),
            QueryValue::Time(kind.first.to_string()),
            QueryValue::Time(kind.last.to_string()),
            QueryValue::Text(kind.example.to_string()),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let note = rows
        .is_empty()
        .then(|| format!("no such letters in {topic}"));
    let answer = QueryResult {
        columns: columns.map(column).to_vec(),
        rows,
        truncated: false,
        note: None,
    };
    if let Some(note) = note {
        say(note);
    }
    write!(std::io::stdout(), "{}", answer.render(args.format))?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: &Show, context: &Context) -> Ended {
    let topic = args.place.topic()?;
    let wanted = args.which.test()?;
    let broker = &*context.kafka()?;
    let done = replayed_before(broker, &topic)?;
    let (mut shown, mut more) = (0, false);
    let mut written = Ok(());
    read(broker, &topic, &mut |letter| {
        if !wanted(&letter) {
            return ControlFlow::Continue(());
        }
        if shown == args.limit {
            more = true;
            return ControlFlow::Break(());
        }
        shown += 1;
        let is_replayed = done.has(&letter);
        let text = match args.json {
            true => as_json(&letter, is_replayed).to_string() + "\n",
            false => as_text(&letter, is_replayed),
        };
        written = write!(std::io::stdout(), "{text}");
        match written.is_ok() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    written?;
    if shown == 0 {
        say(format_args!("no such letters in {topic}"));
    }
    if more {
        say("there are more: raise --limit, or narrow it with --node, --reason or --since");
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(letter: &Letter, is_replayed: bool) -> String {
    let mut lines = vec![format!(
        "{}  {}  {}{}",
        letter.id,
        letter.timestamp,
        letter.reason,
        if is_replayed { "  (replayed)" } else { "" },
    )];
    let mut push = |name: &str, text: &str| {
        if !text.is_empty() {
            lines.push(format!("    {name:9} {text}"));
        }
    };
    push("node", &letter.node);
    push("group", &letter.group);
    push("message", &letter.message);
    push("from", &from(letter));
    push("origin", letter.origin.as_deref().unwrap_or_default());
    if let Some(key) = &letter.key {
        push("key", &String::from_utf8_lossy(key));
    }
    for (name, value) in &letter.headers {
        push(
            "header",
            &format!("{name}: {}", String::from_utf8_lossy(value)),
        );
    }
    match &letter.value {
        None => push("value", "none"),
        Some(value) => push("value", &String::from_utf8_lossy(value)),
    }
    if let Some(whole) = letter.whole_length {
        push("", &format!("…, of {whole} bytes"));
    }
    lines.join("\n") + "\n"
}

fn from(letter: &Letter) -> String {
    match (letter.partition, letter.offset) {
        (Some(partition), Some(offset)) => {
            format!("{}, partition {partition}, offset {offset}", letter.topic)
        }
        _ => letter.topic.clone(),
    }
}

fn as_json(letter: &Letter, is_replayed: bool) -> Json {
    let bytes = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => {
            use base64::Engine as _;
            json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) })
        }
    };
    let headers = letter.headers.iter();
    let headers: Map<String, Json> = headers
        .map(|(name, value)| (name.clone(), bytes(value)))
        .collect();
    json!({
        "letter": letter.id.to_string(),
        "reason": letter.reason,
        "message": letter.message,
        "node": letter.node,
        "group": letter.group,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp.to_string(),
        "origin": letter.origin,
        "config": letter.config,
        "replayed": is_replayed,
        "whole_length": letter.whole_length,
        "key": letter.key.as_deref().map(bytes),
        "headers": headers,
        "value": letter.value.as_deref().map(bytes),
    })
}

fn replay_letters(args: &Replay, context: &Context) -> Ended {
    let topology = load::topology(&args.file)?;
    let plan = plan(&topology)?;
    let topic = plan.dead_letter_topic();
    let wanted = args.which.test()?;
    let broker = &*context.kafka()?;
    if args.dry_run {
        return dry_run(broker, &topic, &wanted, &topology, &plan);
    }
    let report = replay(broker, &topic, &mut |letter| wanted(letter), &|letter| {
        obstacle(letter, &topology, &plan)
    })?;
    writeln!(
        std::io::stdout(),
        "{} replayed, {} left",
        report.letters,
        report.left
    )?;
    for topic in &report.missing_topics {
        say(format_args!(
            "topic {topic} does not exist any more: make it again, or leave its letters"
        ));
    }
    if report.left > 0 {
        say("`--dry-run` says why letters are left");
    }
    Ok(ExitCode::SUCCESS)
}

/// How many would be replayed, and why others would not.
fn dry_run(
    broker: &dyn Broker,
    topic: &str,
    wanted: &dyn Fn(&Letter) -> bool,
    topology: &Topology,
    plan: &Plan,
) -> Ended {
    let done = replayed_before(broker, topic)?;
    let mut ready: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    read(broker, topic, &mut |letter| {
        if wanted(&letter) {
            let reason = match done.has(&letter) {
                true => Some("replayed before".to_owned()),
                false => obstacle(&letter, topology, plan).map(|found| found.to_string()),
            };
            match reason {
                Some(reason) => *left.entry(reason).or_default() += 1,
                None => *ready.entry((letter.node, letter.topic)).or_default() += 1,
            }
        }
        ControlFlow::Continue(())
    })?;
    let mut out = std::io::stdout();
    for ((node, topic), count) in &ready {
        writeln!(out, "{count} for {node}, into {topic}")?;
    }
    for (reason, count) in &left {
        writeln!(out, "{count} left: {reason}")?;
    }
    if ready.is_empty() && left.is_empty() {
        say(format_args!("no such letters in {topic}"));
    }
    Ok(ExitCode::SUCCESS)
}
