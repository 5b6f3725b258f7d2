//! `tidemill check`: everything that is wrong with topology files.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::failure::Ended;
use super::load::style;
use crate::config::{self, Outcome};
use crate::topology::finding::Severity;
use crate::topology::plan::plan;

const EXAMPLES: &str = "\
Examples:
  tidemill check topology/*.yaml
  tidemill check my.yaml --format json | jq '.[].message'
  tidemill check --codes

Exit code 1 when one of the findings is an error; warnings alone give 0.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// Topology files
    #[arg(required_unless_present = "codes", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How findings are shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Lists the codes of all findings that there are
    #[arg(long)]
    codes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The place in the file and what to do
    Text,
    /// An array of objects with code, severity, message, help, file, line, column
    Json,
}

pub(super) fn check(args: &Check) -> Ended {
    if args.codes {
        for each in config::explanations() {
            writeln!(
                io::stdout(),
                "{}  {:7}  {}",
                each.code,
                each.severity.word(),
                each.title
            )?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let checked: Vec<Checked> = args.files.iter().map(|path| Checked::new(path)).collect();
    match args.format {
        Format::Text => checked.iter().try_for_each(Checked::print)?,
        Format::Json => writeln!(
            io::stdout(),
            "{:#}",
            checked.iter().flat_map(Checked::json).collect::<Value>()
        )?,
    }
    match checked.iter().any(Checked::has_errors) {
        true => Ok(ExitCode::FAILURE),
        false => Ok(ExitCode::SUCCESS),
    }
}

struct Checked {
    file: String,
    outcome: Outcome,
    /// What the planner says, which the checker should have found.
    unplanned: Option<String>,
}

impl Checked {
    fn new(path: &Path) -> Checked {
        let outcome = config::check_file(path);
        let planned = outcome.topology.as_ref().map(plan);
        let unplanned = planned.and_then(Result::err).map(|error| error.to_string());
        let file = path.display().to_string();
        Checked {
            file,
            outcome,
            unplanned,
        }
    }

    fn has_errors(&self) -> bool {
        self.outcome.report.has_errors() || self.unplanned.is_some()
    }

    fn print(&self) -> io::Result<()> {
        let report = &self.outcome.report;
        if !report.is_empty() {
            writeln!(
                io::stdout(),
                "{}\n",
                report.render(style(io::stdout().is_terminal()))
            )?;
        }
        if let Some(reason) = &self.unplanned {
            writeln!(io::stdout(), "error: {reason}\n")?;
        }
        let errors = report.count(Severity::Error) + usize::from(self.unplanned.is_some());
        let file = &self.file;
        match (errors, report.count(Severity::Warning)) {
            (0, 0) => writeln!(io::stdout(), "{file}: ok"),
            (errors, warnings) => writeln!(
                io::stdout(),
                "{file}: {}, {}",
                counted(errors, "error"),
                counted(warnings, "warning")
            ),
        }
    }

    fn json(&self) -> Vec<Value> {
        let findings = self.outcome.report.to_json();
        let mut findings = findings.as_array().cloned().unwrap_or_default();
        if let Some(reason) = &self.unplanned {
            findings.push(json!({
                "code": "PLAN", "severity": "error", "message": reason, "file": self.file,
            }));
        }
        findings
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
