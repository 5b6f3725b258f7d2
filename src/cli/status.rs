//! `tidemill status`: how processes fare, by what they say themselves.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::{Ended, Failure};
use super::interrupt::Process;
use crate::settings::HttpAddress;
use crate::time::Timestamp;
use crate::topology::duration::Millis;

const EXAMPLES: &str = "\
Examples:
  tidemill status
  tidemill status --at 127.0.0.1:8080 --at 127.0.0.1:8081
  TIDEMILL_HTTP_TOKEN_FILE=token tidemill status --at stream-1.example:8080 --format json

Each process is asked for what it serves at /api/status. Exit code 1 when one does not answer, or is
not ready.";

/// A process that does not answer for so long is not there.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {
    /// Where a process serves HTTP; may be repeated. By default at the address of the settings
    #[arg(long, value_name = "HOST:PORT")]
    at: Vec<String>,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A few lines per application
    Text,
    /// An object per process, as it says it itself
    Json,
}

impl Status {
    fn addresses(&self, context: &Context) -> Result<Vec<String>, Failure> {
        if !self.at.is_empty() {
            return Ok(self.at.clone());
        }
        match context.settings.http {
            HttpAddress::At(address) if address.port() != 0 => Ok(vec![address.to_string()]),
            _ => Err(Failure::usage(
                "the settings name no address at which a process serves HTTP: say --at HOST:PORT",
            )),
        }
    }
}

pub(super) fn status(args: &Status, context: &Context) -> Ended {
    let addresses = args.addresses(context)?;
    let process = Process::start()?;
    let asked = process.tokio.block_on(async {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let asked = addresses.iter().map(|at| ask(&client, at, context));
        Ok::<_, reqwest::Error>(futures_util::future::join_all(asked).await)
    });
    let asked = asked.map_err(|error| Failure::Failed(error.into()))?;
    let mut is_well = true;
    let mut out = io::stdout().lock();
    let mut said = Vec::new();
    for (at, answer) in addresses.iter().zip(asked) {
        let shown = answer.and_then(|answer| {
            let says: Says = serde_json::from_value(answer.clone())
                .with_context(|| format!("{at} does not serve the status of this version"))?;
            Ok((answer, says))
        });
        match (shown, args.format) {
            (Ok((_, says)), Format::Text) => {
                is_well &= says.is_ready();
                print(&mut out, at, &says)?;
            }
            (Ok((answer, says)), Format::Json) => {
                is_well &= says.is_ready();
                said.push(json!({ "at": at, "status": answer }));
            }
            (Err(error), Format::Text) => {
                is_well = false;
                writeln!(out, "{at}  {error:#}")?;
            }
            (Err(error), Format::Json) => {
                is_well = false;
                said.push(json!({ "at": at, "error": format!("{error:#}") }));
            }
        }
    }
    if args.format == Format::Json {
        writeln!(out, "{:#}", Value::Array(said))?;
    }
    match is_well {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

async fn ask(client: &reqwest::Client, at: &str, context: &Context) -> anyhow::Result<Value> {
    let mut request = client.get(format!("http://{at}/api/status"));
    if let Some(token) = &context.settings.http_token {
        request = request.bearer_auth(token.reveal());
    }
    let response = request.send().await;
    let response = response.map_err(|error| match error.is_timeout() {
        true => anyhow!("does not answer"),
        false => anyhow!("nothing answers there: is it running, with --http at that address?"),
    })?;
    match response.status() {
        status if status.is_success() => Ok(response.json().await?),
        reqwest::StatusCode::UNAUTHORIZED => Err(anyhow!(
            "asks for its http_token, which the settings here do not have"
        )),
        status => Err(anyhow!(
            "answers {status}: {}",
            response.text().await?.trim()
        )),
    }
}

/// What is shown of `/api/status`.
#[derive(Deserialize)]
struct Says {
    version: String,
    now_ms: i64,
    started: String,
    apps: Vec<App>,
}

#[derive(Deserialize)]
struct App {
    name: String,
    not_ready: Option<String>,
    tasks: Vec<Task>,
    restores: Vec<Restore>,
    global_tables: Vec<GlobalTable>,
    sinks: Vec<Sink>,
    lags: Vec<Lag>,
    lost_records: u64,
}

#[derive(Deserialize)]
struct Task {
    id: String,
}

#[derive(Deserialize)]
struct Restore {
    task: String,
    records: u64,
    bytes: u64,
    total: i64,
    left: i64,
    records_per_s: f64,
    left_s: Option<f64>,
}

#[derive(Deserialize)]
struct GlobalTable {
    name: String,
    is_whole: bool,
    records: u64,
    left: i64,
    last_error: Option<String>,
}

#[derive(Deserialize)]
struct Sink {
    name: String,
    rows: u64,
    last_error: Option<String>,
}

#[derive(Deserialize)]
struct Lag {
    group: String,
    lag: i64,
}

impl Says {
    fn is_ready(&self) -> bool {
        self.apps.iter().all(|app| app.not_ready.is_none())
    }
}

fn print(out: &mut impl io::Write, at: &str, says: &Says) -> io::Result<()> {
    let started = Timestamp::parse_rfc3339(&says.started);
    let up_s = started.map_or(0, |started| (says.now_ms - started.millis()) / 1_000);
    let up = Millis(up_s * 1_000);
    writeln!(out, "{at}  tidemill {}, up {up}", says.version)?;
    for app in &says.apps {
        print_app(out, app)?;
    }
    Ok(())
}

fn print_app(out: &mut impl io::Write, app: &App) -> io::Result<()> {
    let ready = match &app.not_ready {
        None => "ready".to_owned(),
        Some(reason) => format!("not ready: {reason}"),
    };
    writeln!(out, "{}: {ready}", app.name)?;
    let tasks: Vec<&str> = app.tasks.iter().map(|task| task.id.as_str()).collect();
    if !tasks.is_empty() {
        writeln!(out, "  tasks      {}", tasks.join(" "))?;
    }
    for restore in &app.restores {
        writeln!(out, "  restoring  {}", restore_line(restore))?;
    }
    for table in &app.global_tables {
        let GlobalTable { name, records, .. } = table;
        let state = match (&table.last_error, table.is_whole) {
            (Some(error), _) => format!("not kept: {error}"),
            (None, true) => "whole".to_owned(),
            (None, false) => format!("{} records left", table.left),
        };
        writeln!(out, "  table      {name}: {records} records read, {state}")?;
    }
    for sink in &app.sinks {
        let state = match &sink.last_error {
            None => String::new(),
            Some(error) => format!("; waiting: {error}"),
        };
        writeln!(
            out,
            "  sink       {}: {} rows written{state}",
            sink.name, sink.rows
        )?;
    }
    let mut groups: BTreeMap<&str, i64> = BTreeMap::new();
    for lag in &app.lags {
        *groups.entry(&lag.group).or_default() += lag.lag;
    }
    for (group, lag) in groups {
        writeln!(out, "  behind     {group}: {lag} records")?;
    }
    if app.lost_records > 0 {
        let lost = app.lost_records;
        writeln!(
            out,
            "  lost       {lost} records were deleted from topics before they were read"
        )?;
    }
    Ok(())
}

/// `0_3: 1204000 records, 48.1 MB, 60 %; 310000 records/s, 2.6 s left`.
fn restore_line(restore: &Restore) -> String {
    let Restore {
        task,
        records,
        bytes,
        total,
        left,
        records_per_s,
        left_s,
    } = restore;
    let megabytes = *bytes as f64 / 1e6;
    let percent = 100 * (total - left) / total.max(&1);
    let left = left_s.map_or(String::new(), |left_s| format!(", {left_s:.1} s left"));
    format!(
        "{task}: {records} records, {megabytes:.1} MB, {percent} %; {records_per_s:.0} records/s{left}"
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn what_a_process_says_is_shown_in_a_few_lines() {
        let says = json!({
            "version": "1.2.3", "now_ms": 200_000, "started": "1970-01-01T00:00:08.500Z",
            "apps": [{
                "name": "shop", "not_ready": "task 0_1 waits for its state",
                "tasks": [{ "id": "0_0" }, { "id": "1_0" }],
                "restores": [{
                    "task": "0_1", "records": 1_204_000, "bytes": 48_100_000, "total": 2_000_000,
                    "left": 800_000, "records_per_s": 310_000.4, "left_s": 2.58,
                }],
                "global_tables": [
                    { "name": "users", "is_whole": false, "records": 5, "left": 7, "last_error": null },
                    { "name": "goods", "is_whole": true, "records": 5, "left": 0, "last_error": null },
                ],
                "sinks": [
                    { "name": "raw", "rows": 12, "last_error": null },
                    { "name": "sums", "rows": 0, "last_error": "the database is away" },
                ],
                "lags": [{ "group": "shop", "lag": 3 }, { "group": "shop", "lag": 4 }],
                "lost_records": 0,
            }],
        });
        let says: Says = serde_json::from_value(says).unwrap();
        assert!(!says.is_ready());
        let mut out = Vec::new();
        print(&mut out, "127.0.0.1:8080", &says).unwrap();
        expect![[r#"
            127.0.0.1:8080  tidemill 1.2.3, up 3m11s
            shop: not ready: task 0_1 waits for its state
              tasks      0_0 1_0
              restoring  0_1: 1204000 records, 48.1 MB, 60 %; 310000 records/s, 2.6 s left
              table      users: 5 records read, 7 records left
              table      goods: 5 records read, whole
              sink       raw: 12 rows written
              sink       sums: 0 rows written; waiting: the database is away
              behind     shop: 7 records
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }
}
