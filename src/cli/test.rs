//! `tidemill test`: plays the tests that stand in topology files.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::failure::{Ended, Failure, say};
use super::load::style;
use crate::config;
use crate::testkit::{CaseReport, CaseRunner};

const EXAMPLES: &str = "\
Examples:
  tidemill test topology/*.yaml
  tidemill test my.yaml --filter late
  tidemill test my.yaml --format json | jq '.[] | select(.outcome != \"ok\")'

Exit code 1 when a test fails, a file cannot be used, or no test has the filter in its name.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Test {
    /// Topology files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Plays only tests with this text in their names
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// How results are shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line per test, and below it what is not as expected
    Text,
    /// An array of objects with file, line, name, outcome, runs and failures
    Json,
}

/// What came of all files so far.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    filtered: usize,
    refused: usize,
    json: Vec<Value>,
}

pub(super) fn test(args: &Test) -> Ended {
    let mut tally = Tally::default();
    for file in &args.files {
        play_file(file, args, &mut tally)?;
    }
    match args.format {
        Format::Text => writeln!(io::stdout(), "{}", tally.summary())?,
        Format::Json => writeln!(io::stdout(), "{:#}", Value::from(tally.json.clone()))?,
    }
    if let Some(filter) = args.filter.as_deref().filter(|_| tally.is_nothing_played()) {
        let reason = anyhow::anyhow!("no test has {filter:?} in its name");
        return Err(Failure::Failed(reason));
    }
    match tally.failed + tally.refused {
        0 => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

fn play_file(file: &Path, args: &Test, tally: &mut Tally) -> Result<(), Failure> {
    let is_text = args.format == Format::Text;
    let outcome = config::check_file(file);
    if is_text {
        writeln!(io::stdout(), "{}", file.display())?;
        if !outcome.report.is_empty() {
            say(outcome.report.render(style(io::stderr().is_terminal())));
        }
    }
    let Some(topology) = outcome.topology else {
        tally.refused += 1;
        tally.json.push(json!({
            "file": file.display().to_string(),
            "outcome": "refused",
            "findings": outcome.report.to_json(),
        }));
        return match is_text {
            true => Ok(writeln!(io::stdout(), "  cannot be used\n")?),
            false => Ok(()),
        };
    };
    let runner = CaseRunner::new(&topology).map_err(anyhow::Error::from)?;
    let is_wanted = |name: &str| {
        let filter = args.filter.as_deref();
        filter.is_none_or(|filter| name.contains(filter))
    };
    let (wanted, others): (Vec<_>, Vec<_>) =
        outcome.tests.iter().partition(|case| is_wanted(&case.name));
    tally.filtered += others.len();
    for case in wanted {
        let report = runner.run(case);
        if is_text {
            print(&report)?;
        }
        tally.add(file, &report);
    }
    if is_text {
        let note = if outcome.tests.is_empty() {
            "  no tests\n"
        } else {
            ""
        };
        writeln!(io::stdout(), "{note}")?;
    }
    Ok(())
}

fn print(report: &CaseReport) -> io::Result<()> {
    let (name, line) = (&report.name, report.line);
    if report.is_ok() {
        return writeln!(io::stdout(), "  ok      {name}");
    }
    writeln!(io::stdout(), "  FAILED  {name} (line {line})")?;
    let text = report.to_string();
    text.lines()
        .try_for_each(|line| writeln!(io::stdout(), "    {line}"))
}

impl Tally {
    fn add(&mut self, file: &Path, report: &CaseReport) {
        match report.is_ok() {
            true => self.passed += 1,
            false => self.failed += 1,
        }
        let mut json = report.to_json();
        json["file"] = file.display().to_string().into();
        self.json.push(json);
    }

    fn is_nothing_played(&self) -> bool {
        self.passed + self.failed + self.refused == 0
    }

    fn summary(&self) -> String {
        let mut summary = format!("{} passed, {} failed", self.passed, self.failed);
        if self.filtered > 0 {
            summary.push_str(&format!(", {} filtered out", self.filtered));
        }
        match self.refused {
            0 => {}
            1 => summary.push_str(", 1 file cannot be used"),
            files => summary.push_str(&format!(", {files} files cannot be used")),
        }
        summary
    }
}
