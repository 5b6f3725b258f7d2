//! `tidemill ingest`: gets events into Kafka.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use url::Url;

use super::context::Context;
use super::failure::{Ended, Failure};
use super::flags::{DatabaseFlags, HttpFlags, KafkaFlags, Typed};
use super::interrupt::Process;
use super::{load, serve};
use crate::format::Format;
use crate::http::Facts;
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::pace::Pace;
use crate::ingest::summary::Summary;
use crate::ingest::target::{Partitions, Target, TopicRetention};
use crate::ingest::wikimedia::backoff::BackoffSettings;
use crate::ingest::{generate, progress, replay, wikimedia};
use crate::sql::query::parse_when;
use crate::time::{Clock, SystemClock, Timestamp};
use crate::topology::duration::Millis;
use crate::value::FieldPath;

const EXAMPLES: &str = "\
Examples:
  tidemill ingest wikimedia --contact you@example.org
  tidemill ingest replay events.ndjson.gz --topology topology/wikimedia.yaml --speed 10
  tidemill ingest generate --rate 500 --events 100000";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ingest {
    #[command(subcommand)]
    source: IngestSource,
}

#[derive(Subcommand)]
enum IngestSource {
    /// Recorded events: NDJSON, plain or gzip
    Replay(Replay),
    /// Synthetic events with the statistics of Wikimedia's stream
    Generate(Generate),
    /// The live stream of Wikimedia's changes: nothing lost, nothing twice
    Wikimedia(Wikimedia),
}

#[derive(Args)]
struct Replay {
    /// The file; - is the standard input
    file: PathBuf,
    /// So many times as fast as the events happened; without it, as fast as possible
    #[arg(long, value_name = "TIMES")]
    speed: Option<f64>,
    /// Writes events again whose id has come before
    #[arg(long)]
    keep_repeats: bool,
    #[command(flatten)]
    to: To,
}

#[derive(Args)]
struct Generate {
    /// Events per second; without it, as fast as possible
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How many; without it, until a signal
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// The same seed, start and rate give the same events
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The time of the first event: RFC 3339, or a length of time back from now
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    #[command(flatten)]
    to: To,
}

#[derive(Args)]
struct Wikimedia {
    /// The stream; may be repeated
    #[arg(long = "stream", value_name = "NAME", default_value = "recentchange")]
    streams: Vec<String>,
    /// A URL or mail address that Wikimedia can reach you at [setting: contact]
    #[arg(long, value_name = "CONTACT")]
    contact: Option<String>,
    /// Where a first run begins: RFC 3339, or a length of time back from now [default: now]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The connector's name: its position is kept under it
    #[arg(long, value_name = "NAME", default_value = "wikimedia")]
    name: String,
    /// Another EventStreams service
    #[arg(long, value_name = "URL", default_value = wikimedia::WIKIMEDIA_URL)]
    url: Url,
    /// Shortest wait before the next connection; 0s for none while connections bring events
    #[arg(long, value_name = "TIME", default_value = "1s")]
    retry_min: Millis,
    /// Longest wait, reached by doubling while connections bring nothing
    #[arg(long, value_name = "TIME", default_value = "60s")]
    retry_max: Millis,
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    database: DatabaseFlags,
}

/// Where events go.
#[derive(Args)]
struct To {
    /// Takes topic, key, id and time field from a source of this topology
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Which of its sources, when there are several
    #[arg(long, value_name = "NODE", requires = "topology")]
    source: Option<String>,
    /// The topic [default: wikimedia.STREAM]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// The field whose text becomes the record's key [default: wiki]
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// The field by which repeats are recognised [default: meta.id]
    #[arg(long, value_name = "FIELD")]
    id: Option<String>,
    /// The field that holds the event time [default: meta.dt]
    #[arg(long, value_name = "FIELD")]
    time: Option<String>,
    /// How many partitions the topic must have [default: 4 when it is created]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: Option<u32>,
    /// How long the topic keeps its records, when it is created: a length of time such as 30d,
    /// forever, or broker for the broker's own setting. Brokers count from the event time: what is
    /// older is deleted before it is read [default: forever; wikimedia: broker]
    #[arg(long, value_name = "TIME", value_parser = parse_retention)]
    retention: Option<TopicRetention>,
    #[command(flatten)]
    kafka: KafkaFlags,
    #[command(flatten)]
    http: HttpFlags,
}

impl Ingest {
    pub fn settings(&self) -> Result<Typed, Failure> {
        let (to, own) = match &self.source {
            IngestSource::Replay(args) => (&args.to, Typed::new()),
            IngestSource::Generate(args) => (&args.to, Typed::new()),
            IngestSource::Wikimedia(args) => (&args.to, args.settings()),
        };
        Ok([to.kafka.settings()?, to.http.settings(), own].concat())
    }
}

impl Wikimedia {
    fn settings(&self) -> Typed {
        let contact = self.contact.clone();
        let contact = contact.map(|contact| ("contact".to_owned(), contact));
        [Vec::from_iter(contact), self.database.settings()].concat()
    }

    fn backoff(&self) -> Result<BackoffSettings, Failure> {
        let floor = length("--retry-min", self.retry_min)?;
        let ceiling = length("--retry-max", self.retry_max)?;
        match ceiling >= floor {
            true => Ok(BackoffSettings { floor, ceiling }),
            false => Err(Failure::usage(format!(
                "--retry-max: expected at least --retry-min, which is {}, found {}",
                self.retry_min, self.retry_max
            ))),
        }
    }
}

impl To {
    /// The target, whose topic keeps its records for so long unless something else was typed.
    fn target(
        &self,
        usual_topic: &str,
        usual_retention: TopicRetention,
        context: &Context,
    ) -> Result<Target, Failure> {
        let target = match &self.topology {
            Some(file) => {
                let topology = load::topology(file)?;
                let source = load::source(&topology, self.source.as_deref())?;
                if source.format != Format::Json {
                    return Err(Failure::usage(format!(
                        "ingestion writes JSON, and this source reads {}",
                        source.format.word()
                    )));
                }
                Target::for_source(source)
            }
            None => Target::new(self.topic.as_deref().unwrap_or(usual_topic)),
        };
        let field = |typed: &Option<String>, other| typed.as_deref().map(FieldPath::new).or(other);
        let topic = self.topic.clone().unwrap_or(target.topic);
        let dead_letters = target.dead_letters.map(|_| format!("{topic}-dead-letters"));
        Ok(Target {
            key: field(&self.key, target.key),
            id: field(&self.id, target.id),
            time: field(&self.time, target.time),
            partitions: self
                .partitions
                .map_or(target.partitions, Partitions::Exactly),
            replication: context.settings.engine.replication,
            retention: self.retention.unwrap_or(usual_retention),
            dead_letters,
            topic,
            ..target
        })
    }
}

pub(super) fn ingest(args: &Ingest, context: &Context) -> Ended {
    match &args.source {
        IngestSource::Replay(args) => replay(args, context),
        IngestSource::Generate(args) => generate(args, context),
        IngestSource::Wikimedia(args) => wikimedia(args, context),
    }
}

fn parse_retention(text: &str) -> Result<TopicRetention, String> {
    match text {
        "forever" => Ok(TopicRetention::Forever),
        "broker" => Ok(TopicRetention::Broker),
        time => match time.parse::<Millis>() {
            Ok(Millis(ms)) if ms > 0 => Ok(TopicRetention::For(Duration::from_millis(ms as u64))),
            Ok(_) => Err("expected a length of time above nothing".to_owned()),
            Err(error) => Err(format!("{error}; or forever, or broker")),
        },
    }
}

const USUAL_TOPIC: &str = "wikimedia.recentchange";

fn replay(args: &Replay, context: &Context) -> Ended {
    replay::check_file(&args.file)?;
    let target = args
        .to
        .target(USUAL_TOPIC, TopicRetention::Forever, context)?;
    let options = replay::ReplayOptions {
        pace: match args.speed {
            None => Pace::Fastest,
            Some(times) => Pace::Times(positive("--speed", times)?),
        },
        drop_repeats: !args.keep_repeats,
        target: target.clone(),
        ..replay::ReplayOptions::new(&args.file, &target.topic)
    };
    let work = Work::start(context)?;
    let broker = context.kafka()?;
    writeln!(io::stdout(), "{} -> {}", args.file.display(), target.topic)?;
    let (clock, metrics, shutdown) = (&SystemClock, &*work.metrics, &work.process.shutdown);
    let summary = replay::run(&options, &*broker, clock, metrics, shutdown)?;
    say(&summary, &target)?;
    Ok(ExitCode::SUCCESS)
}

fn generate(args: &Generate, context: &Context) -> Ended {
    let target = args
        .to
        .target(USUAL_TOPIC, TopicRetention::Forever, context)?;
    let options = generate::GenerateOptions {
        seed: args.seed,
        rate: args.rate.map(|rate| positive("--rate", rate)).transpose()?,
        events: args.events,
        start: when("--start", args.start.as_ref())?,
        target: target.clone(),
    };
    let work = Work::start(context)?;
    let broker = context.kafka()?;
    writeln!(io::stdout(), "generated events -> {}", target.topic)?;
    let (clock, metrics, shutdown) = (&SystemClock, &*work.metrics, &work.process.shutdown);
    let summary = generate::run(&options, &*broker, clock, metrics, shutdown)?;
    say(&summary, &target)?;
    Ok(ExitCode::SUCCESS)
}

fn wikimedia(args: &Wikimedia, context: &Context) -> Ended {
    let own_topic = args.to.topic.is_some() || args.to.topology.is_some();
    if args.streams.len() > 1 && own_topic {
        return Err(Failure::usage(
            "several streams go to topics of their own: leave --topic and --topology away",
        ));
    }
    let mut streams = Vec::new();
    for stream in &args.streams {
        let usual = wikimedia::StreamTarget::new(stream, &format!("wikimedia.{stream}"));
        let target = args
            .to
            .target(&usual.target.topic, TopicRetention::Broker, context)?;
        let key = match args.to.key.is_some() || args.to.topology.is_some() {
            true => target.key,
            false => usual.target.key,
        };
        streams.push(wikimedia::StreamTarget {
            target: Target { key, ..target },
            ..usual
        });
    }
    let options = wikimedia::WikimediaOptions {
        url: args.url.clone(),
        contact: context.settings.contact.clone(),
        since: when("--since", args.since.as_ref())?,
        backoff: args.backoff()?,
        gap_table: context.settings.database.clone(),
        chance: rand::random(),
        ..wikimedia::WikimediaOptions::new(&args.name, streams)
    };
    let work = Work::start(context)?;
    let broker = context.kafka()?;
    work.process.watch(context.settings.stop_timeout);
    for stream in &options.streams {
        writeln!(io::stdout(), "{} -> {}", stream.stream, stream.target.topic)?;
    }
    let (clock, metrics, shutdown) = (&SystemClock, &*work.metrics, &work.process.shutdown);
    wikimedia::run(&options, &*broker, clock, metrics, shutdown)?;
    Ok(ExitCode::SUCCESS)
}

/// What all sources have: counters, a log of them, signals and, when it was asked for, the pages.
struct Work {
    metrics: Arc<IngestMetrics>,
    process: Process,
}

impl Work {
    fn start(context: &Context) -> Result<Work, Failure> {
        let process = Process::start()?;
        let metrics = Arc::<IngestMetrics>::default();
        let (counted, stopped) = (Arc::clone(&metrics), process.stopped());
        process.tokio.spawn(async move {
            tokio::select! {
                () = progress::report(&SystemClock, &counted) => {}
                () = stopped => {}
            }
        });
        if !context.settings.http_is_default {
            let mut facts = Facts::new(Arc::new(SystemClock));
            facts.token = context.settings.http_token.clone();
            facts.ingest = Some(Arc::clone(&metrics));
            if let Some(address) = serve::serve(facts, &context.settings, &process)? {
                writeln!(io::stdout(), "http {address}")?;
            }
        }
        Ok(Work { metrics, process })
    }
}

fn say(summary: &Summary, target: &Target) -> io::Result<()> {
    writeln!(io::stdout(), "{}: {summary}", target.topic)?;
    match &target.dead_letters {
        Some(topic) if summary.dead_letters > 0 => writeln!(
            io::stdout(),
            "why there are dead letters: tidemill dlq show --topic {topic}"
        ),
        _ => Ok(()),
    }
}

fn positive(flag: &str, number: f64) -> Result<f64, Failure> {
    match number.is_finite() && number > 0.0 {
        true => Ok(number),
        false => Err(Failure::usage(format!(
            "{flag}: expected a number above 0, found {number}"
        ))),
    }
}

fn length(flag: &str, time: Millis) -> Result<Duration, Failure> {
    let ms = u64::try_from(time.0);
    ms.map(Duration::from_millis)
        .map_err(|_| Failure::usage(format!("{flag}: expected 0s or more, found {time}")))
}

fn when(flag: &str, text: Option<&String>) -> Result<Option<Timestamp>, Failure> {
    let read = text.map(|text| parse_when(text, SystemClock.now()));
    read.transpose()
        .map_err(|error| Failure::usage(format!("{flag}: {error}")))
}
