//! Topology files: YAML in, a [`Topology`] out, or everything that is wrong with it.
//!
//! ```yaml
//! app: wikimedia
//! nodes:
//!   changes:    { source: { topic: wikimedia.recentchange, timestamp: meta.dt, key: wiki } }
//!   per_wiki:   { aggregate: { from: changes, by: [wiki], window: { tumbling: 1m }, set: { events: count() } } }
//!   wiki_table: { sql: { from: per_wiki, table: events_per_wiki } }
//! ```
//!
//! The file is lowered by calling the [builder](crate::topology::builder), whose checker knows no
//! YAML; this module finds what is wrong with the file itself, and gives every finding its line
//! and column. `docs/TOPOLOGY.md` is the reference of all keys.

pub(crate) mod document;
mod environment;
mod problem;
mod keys;
mod cut;
mod formats;
mod nodes;
mod lower;
pub mod cases;
mod quoting;
mod locate;
mod report;
mod schema;
#[cfg(test)]
mod golden;

use std::path::Path;

pub use environment::Environment;
pub use report::{Diagnostic, Report, Style};
pub use schema::{schema, schema_text};

use cases::{Reading, Subjects, TestCase};
use document::Value;
use keys::Findings;
use locate::Locator;
use problem::{SYNTAX, UNREADABLE};

use crate::topology::Explanation;
use crate::topology::graph::Topology;

/// What came out of a file.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The topology, unless one of the findings is an error.
    pub topology: Option<Topology>,
    /// Its tests, those that could be read.
    pub tests: Vec<TestCase>,
    /// All findings, warnings too.
    pub report: Report,
}

/// Reads a file; references to the environment are replaced from the process's own.
///
/// # Errors
/// All that is wrong with the file, when one of the findings is an error.
pub fn load(path: &Path) -> Result<Topology, Report> {
    check_file(path).into_result()
}

/// Reads a text as if it were the file `name`; references to the environment are replaced from the
/// process's own.
///
/// # Errors
/// All that is wrong with the text, when one of the findings is an error.
pub fn parse(text: &str, name: &str) -> Result<Topology, Report> {
    check(text, name, &process_environment).into_result()
}

/// Reads a file and gives the warnings, too.
pub fn check_file(path: &Path) -> Outcome {
    let name = path.display().to_string();
    let read = std::fs::read(path).map_err(|error| error.to_string());
    let text = read.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))
    });
    match text {
        Ok(text) => check(&text, &name, &process_environment),
        Err(reason) => {
            let diagnostic = UNREADABLE.at(None, format!("cannot read `{name}`: {reason}"));
            Outcome {
                topology: None,
                tests: Vec::new(),
                report: Report::new(&name, "", vec![diagnostic]),
            }
        }
    }
}

/// Reads a text as if it were the file `name`, and gives the warnings, too.
pub fn check(text: &str, name: &str, environment: &Environment<'_>) -> Outcome {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut root = match Value::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let help = error.help(text);
            let diagnostic = SYNTAX.at(Some(error.span), error.message).maybe_help(help);
            return Outcome {
                topology: None,
                tests: Vec::new(),
                report: Report::new(name, text, vec![diagnostic]),
            };
        }
    };
    let mut findings = Findings {
        folder: Path::new(name).parent().unwrap_or(Path::new("")).to_owned(),
        ..Findings::default()
    };
    cut::find_all(&mut root, text, &mut findings);
    lower::expand_all(&mut root, text, environment, &mut findings);
    let lowered = lower::lower(&root, &mut findings);
    let (topology, found) = lowered.builder.check();
    let locator = Locator {
        source: text,
        root: &root,
        sites: &lowered.sites,
    };
    let subjects = topology.as_ref().map(Subjects::of);
    let reading = Reading {
        text,
        subjects: subjects.as_ref(),
    };
    let tests = lowered.tests;
    let tests = tests.map_or_else(Vec::new, |tests| {
        cases::read(tests, &reading, &mut findings)
    });
    let mut diagnostics = findings.diagnostics;
    diagnostics.extend(
        found
            .0
            .into_iter()
            .map(|finding| locator.diagnostic(finding)),
    );
    let report = Report::new(name, text, diagnostics);
    let topology = topology.filter(|_| !report.has_errors());
    Outcome {
        topology,
        tests,
        report,
    }
}

/// What all codes of findings mean: first those of files, then those of topologies.
pub fn explanations() -> impl Iterator<Item = Explanation> {
    problem::explanations().chain(crate::topology::explanations())
}

impl Outcome {
    /// The topology, or the findings if one of them is an error.
    ///
    /// # Errors
    /// See above.
    pub fn into_result(self) -> Result<Topology, Report> {
        self.topology.ok_or(self.report)
    }
}

fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
