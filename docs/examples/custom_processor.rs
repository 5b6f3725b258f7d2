//! A program of its own that runs a topology with a processor written in Rust.
//!
//! It watches who edits each wiki, and says so when a wiki has fallen silent: a record of a stream is
//! the last of its kind only when time goes by without another one, which no filter or window says.
//!
//! ```sh
//! TIDEMILL_BROKERS=localhost:9092 cargo run --release --example custom_processor
//! ```
//!
//! Start it again, here or elsewhere, for another member. `--help` lists the flags, which are those of
//! `tidemill run`. `tests/it/processors.rs` drives it without Kafka.

use std::process::ExitCode;
use std::time::Duration;

use tidemill::time::Timestamp;
use tidemill::topology::builder::{KafkaSink, Process, Source};
use tidemill::topology::finding::Findings;
use tidemill::topology::graph::Topology;
use tidemill::topology::process::{
    Context, Failure, Output, Processor, Punctuation, PunctuationType, Record,
};
use tidemill::value::{Value, ValueType};

/// After so long without an edit, in event time, a wiki is silent.
const SILENT_AFTER_MS: i64 = 300_000;

/// How often it is looked for silent ones, by the wall clock.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Keeps of each wiki the time of its last edit and how many there were since it was last silent.
struct SilenceWatch;

/// An entry of the store `wikis`.
struct Seen {
    last: Timestamp,
    edits: i64,
}

impl Seen {
    fn to_bytes(&self) -> [u8; 16] {
        let both = i128::from(self.last.0) << 64 | i128::from(self.edits);
        both.to_be_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Seen, Failure> {
        let both = i128::from_be_bytes(bytes.try_into()?);
        Ok(Seen {
            last: Timestamp((both >> 64) as i64),
            edits: both as i64,
        })
    }
}

impl Processor for SilenceWatch {
    fn init(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        context.schedule(LOOK_EVERY, PunctuationType::WallClockTime)?;
        Ok(())
    }

    fn process(&mut self, context: &mut Context<'_>, record: &Record<'_>) -> Result<(), Failure> {
        let wiki = record.field("wiki").as_str().ok_or("the wiki is no text")?;
        let mut wikis = context.store("wikis");
        let mut seen = match wikis.get(wiki)? {
            Some(bytes) => Seen::from_bytes(bytes)?,
            None => Seen {
                last: record.time(),
                edits: 0,
            },
        };
        seen.last = seen.last.max(record.time());
        seen.edits += 1;
        wikis.put(wiki, seen.to_bytes());
        Ok(())
    }

    /// Lets go of the wikis that have fallen silent. Stream time stands still when nothing comes at
    /// all, so by the wall clock it is asked how far the others have come.
    fn punctuate(&mut self, context: &mut Context<'_>, now: &Punctuation) -> Result<(), Failure> {
        let Some(reached) = context.stream_time() else {
            return Ok(());
        };
        for (wiki, bytes) in context.store("wikis").all()? {
            let seen = Seen::from_bytes(&bytes)?;
            if seen.last.plus_millis(SILENT_AFTER_MS) > reached {
                continue;
            }
            context.store("wikis").delete(&wiki);
            let wiki = str::from_utf8(&wiki)?;
            context.forward(
                Output::new(now.time)
                    .key(wiki)
                    .field("wiki", Value::Str(wiki))
                    .field("silent_since", Value::Time(seen.last))
                    .field("edits", Value::Int(seen.edits)),
            )?;
        }
        Ok(())
    }
}

/// Edits, watched; those that fell silent go to the topic `wikimedia.silent`.
pub fn topology() -> Result<Topology, Findings> {
    let changes = Source::json("wikimedia.recentchange")
        .key("wiki")
        .timestamp("meta.dt");
    let watch = Process::new(|| SilenceWatch)
        .reads(["wiki"])
        .gives("wiki", ValueType::Str)
        .gives("silent_since", ValueType::Time)
        .gives("edits", ValueType::Int)
        .store("wikis");
    Topology::builder("silence-watch")
        .source("changes", changes)
        .filter("edits", "changes", "type in ['edit', 'new']")
        .process("watch", "edits", watch)
        .kafka("out", "watch", KafkaSink::topic("wikimedia.silent"))
        .build()
}

/// Does what `tidemill run` does with a file.
#[allow(
    dead_code,
    reason = "the tests that include this file have a main of their own"
)]
fn main() -> ExitCode {
    match topology() {
        Ok(topology) => tidemill::cli::run_topology(&topology),
        Err(findings) => {
            eprintln!("{findings}");
            ExitCode::FAILURE
        }
    }
}
