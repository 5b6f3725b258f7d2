//! `tidemill verify`: holds tables of windows against the raw events.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::context::Context;
use super::failure::{Ended, Failure, say};
use super::flags::{DatabaseFlags, Typed};
use super::interrupt::Process;
use super::load;
use super::query::span;
use crate::sql::query::QueryValue;
use crate::time::{Clock as _, SystemClock};
use crate::topology::plan::plan;
use crate::verify::{
    Agreement, Discrepancy, Place, Report, RowDifference, Scheme, Stretch, TableReport,
    VerifyError, verify as compare,
};

const EXAMPLES: &str = "\
Examples:
  tidemill verify topology/wikimedia.yaml
  tidemill verify topology/wikimedia.yaml --since 2h
  tidemill verify topology/wikimedia.yaml --table edits_per_wiki_minute --format json

The tables are computed anew from the table that has the events themselves (`raw()`), by the same
nodes, in memory. TIME is a length of time back from now (90s, 2h, 7d) or a time
(2026-05-05T11:00:00Z). A running application may go on meanwhile: what differs is looked at again.

Exit code 1 when a row is not what the events say.";

/// Between two words of how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// The topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Windows that begin at this time or later; by default as far back as there are events
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Windows that begin before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this table of windows; may be repeated
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// The table that has the events, where the topology has several
    #[arg(long, value_name = "TABLE")]
    raw: Option<String>,
    /// At most so many differences are shown of each table
    #[arg(long, value_name = "N", default_value_t = 20)]
    show: usize,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    database: DatabaseFlags,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line per table, and below it what differs
    Text,
    /// An object with events, tables and their differences
    Json,
}

impl Verify {
    pub fn settings(&self) -> Result<Typed, Failure> {
        Ok(self.database.settings())
    }

    fn stretch(&self) -> Result<Stretch, Failure> {
        let now = SystemClock.now();
        let (since, until) = span(self.since.as_ref(), self.until.as_ref(), now)?;
        Ok(Stretch { since, until })
    }
}

pub(super) fn verify(args: &Verify, context: &Context) -> Ended {
    let topology = load::topology(&args.file)?;
    let stretch = args.stretch()?;
    let plan = plan(&topology)?;
    let scheme = Scheme::of(&topology, &plan, &args.tables, args.raw.as_deref());
    let scheme = scheme.map_err(|error| Failure::Failed(error.into()))?;
    let database = context.database()?;
    let process = Process::start()?;
    let mut told = Instant::now();
    let mut place = Place {
        database,
        tokio: process.tokio.handle(),
        progress: &mut |time| {
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                say(format_args!("events are processed up to {time}"));
            }
            !process.stop.is_set()
        },
        pause: &mut |pause| !process.stop.wait(pause),
    };
    let report = compare(&scheme, stretch, &mut place);
    let report = report.map_err(|error| match error {
        VerifyError::Stopped => Failure::Failed(anyhow!("stopped; nothing was found out")),
        error => Failure::Failed(error.into()),
    })?;
    let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
    if let (0, 0, Some((oldest, newest))) = (report.events, rows, report.bounds) {
        return Err(Failure::Failed(anyhow!(
            "no events and no rows are in that stretch: events are there from {oldest} to {newest}"
        )));
    }
    match args.format {
        Format::Text => print(&scheme, &report, args.show)?,
        Format::Json => writeln!(io::stdout(), "{:#}", to_json(&scheme, &report, args.show))?,
    }
    match report.is_clean() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

fn print(scheme: &Scheme, report: &Report, most: usize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (raw, events) = (&scheme.raw.table, report.events);
    writeln!(out, "{raw}: {events} events were processed again")?;
    for (rollup, table) in scheme.rollups.iter().zip(&report.tables) {
        print_table(&mut out, report, table, most)?;
        let unknown = rollup.columns.iter();
        let unknown = unknown.filter(|column| column.agreement == Agreement::Unknown);
        let unknown: Vec<&str> = unknown.map(|column| column.name.as_str()).collect();
        if !unknown.is_empty() {
            let columns = unknown.join(", ");
            writeln!(
                out,
                "  not compared: {columns} (estimates, or by the order of arrival)"
            )?;
        }
    }
    for left_out in &scheme.left_out {
        writeln!(out, "{}: not verified: {}", left_out.table, left_out.reason)?;
    }
    Ok(())
}

fn print_table(
    out: &mut impl io::Write,
    report: &Report,
    table: &TableReport,
    most: usize,
) -> io::Result<()> {
    let (name, rows, differing) = (&table.table, table.rows, table.differing);
    match differing {
        0 => writeln!(out, "{name}: {rows} rows, all as the events say")?,
        _ => writeln!(
            out,
            "{name}: {rows} rows; {differing} are not as the events say"
        )?,
    }
    if table.open > 0 {
        let open = table.open;
        writeln!(
            out,
            "  not compared, as their results may be still to come: {open} windows"
        )?;
    }
    if table.moving > 0 {
        writeln!(
            out,
            "  not compared, as they are being written: {} rows",
            table.moving
        )?;
    }
    for difference in table.differences.iter().take(most) {
        print_difference(out, difference)?;
    }
    let shown = table.differences.len().min(most) as u64;
    if differing > shown {
        writeln!(out, "  and {} more", differing - shown)?;
    }
    let first = table.differences.first();
    if let (Some(first), Some((oldest, _))) = (first, report.bounds)
        && first.start < oldest
    {
        writeln!(
            out,
            "  windows that began before the oldest event ({oldest}) may have had others, which are gone: \
             --since {oldest} leaves them out"
        )?;
    }
    Ok(())
}

fn print_difference(out: &mut impl io::Write, difference: &RowDifference) -> io::Result<()> {
    let key = difference.key.iter();
    let key: Vec<String> = key
        .map(|(column, value)| format!("{column}={}", value_text(value)))
        .collect();
    write!(out, "  {} {}: ", difference.start, key.join(" "))?;
    match &difference.what {
        Discrepancy::Missing => writeln!(out, "events, and no row"),
        Discrepancy::Unfounded => writeln!(out, "a row, and no events"),
        Discrepancy::Columns(columns) => {
            let columns = columns.iter().map(|column| {
                let (events, table) = (value_text(&column.events), value_text(&column.table));
                format!("{} is {table}, by the events {events}", column.column)
            });
            writeln!(out, "{}", columns.collect::<Vec<_>>().join("; "))
        }
    }
}

fn value_text(value: &QueryValue) -> String {
    match value_json(value) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn value_json(value: &QueryValue) -> Value {
    match value {
        QueryValue::Null => Value::Null,
        QueryValue::Bool(value) => json!(value),
        QueryValue::Int(value) => json!(value),
        QueryValue::Double(value) => json!(value),
        QueryValue::Text(value) | QueryValue::Time(value) => json!(value),
    }
}

fn to_json(scheme: &Scheme, report: &Report, most: usize) -> Value {
    let key = |difference: &RowDifference| -> serde_json::Map<String, Value> {
        let key = difference.key.iter();
        key.map(|(column, value)| (column.clone(), value_json(value)))
            .collect()
    };
    let difference = |difference: &RowDifference| {
        let (what, columns) = match &difference.what {
            Discrepancy::Missing => ("missing", Vec::new()),
            Discrepancy::Unfounded => ("unfounded", Vec::new()),
            Discrepancy::Columns(columns) => ("differs", columns.clone()),
        };
        let columns = columns.iter().map(|column| {
            json!({
                "column": column.column,
                "events": value_json(&column.events),
                "table": value_json(&column.table),
            })
        });
        json!({
            "window_start": difference.start.to_string(),
            "key": key(difference),
            "what": what,
            "columns": columns.collect::<Vec<_>>(),
        })
    };
    let table = |table: &TableReport| {
        let shown = table.differences.iter().take(most).map(difference);
        json!({
            "table": table.table,
            "rows": table.rows,
            "open_windows": table.open,
            "moving": table.moving,
            "differing": table.differing,
            "differences": shown.collect::<Vec<_>>(),
        })
    };
    let left_out = scheme.left_out.iter();
    let left_out = left_out.map(|each| json!({"table": each.table, "reason": each.reason}));
    json!({
        "raw_table": scheme.raw.table,
        "events": report.events,
        "tables": report.tables.iter().map(table).collect::<Vec<_>>(),
        "not_verified": left_out.collect::<Vec<_>>(),
    })
}
