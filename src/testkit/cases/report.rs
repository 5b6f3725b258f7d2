//! What came of a test, for people and for programs.

use std::fmt::{self, Write as _};

use serde_json::{Value as Json, json};

use super::matching::Problem;
use super::values::Difference;
use super::ways::{Run, Way, counted_partitions};
use crate::config::cases::TestCase;

/// A value that is longer is cut when people read it, in characters.
const SHOWN: usize = 240;

/// What was expected and what was found stand in one line while both are this short together, in bytes.
const ONE_LINE: usize = 60;

/// What came of a test in all its runs.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// The name of the test.
    pub name: String,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// How it was played.
    pub runs: Vec<Run>,
    /// What was not as expected.
    pub failures: Vec<CaseFailure>,
}

/// One thing that was not as expected, and in which runs.
#[derive(Clone, Debug)]
pub struct CaseFailure {
    /// In these.
    pub runs: Vec<Run>,
    /// What it is about.
    pub subject: Subject,
    /// What is wrong.
    pub problem: Problem,
}

/// What a failure is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The records of a topic.
    Topic(String),
    /// The rows of a SQL table.
    Table(String),
    /// What an aggregate or a table of the topology holds.
    Store(String),
    /// Records that were dropped.
    Drops,
    /// The topology as a whole.
    Topology,
}

impl Subject {
    /// Whether a run tells something of it: what a process has counted since its last commit goes with a
    /// commit whose answer is lost.
    pub(super) fn is_seen_in(&self, run: Run) -> bool {
        *self != Subject::Drops || run.way != Way::FailingCommits
    }
}

impl CaseReport {
    pub(super) fn new(case: &TestCase, runs: &[Run]) -> CaseReport {
        CaseReport {
            name: case.name.clone(),
            line: case.line,
            runs: runs.to_vec(),
            failures: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, run: Run, problems: Vec<(Subject, Problem)>) {
        let seen = problems.into_iter();
        let seen = seen.filter(|(subject, _)| subject.is_seen_in(run));
        for (subject, problem) in seen {
            let mut known = self.failures.iter_mut();
            let same = known.find(|known| {
                known.subject == subject
                    && known.problem == problem
                    && known.runs.last() != Some(&run)
            });
            match same {
                Some(known) => known.runs.push(run),
                None => self.failures.push(CaseFailure {
                    runs: vec![run],
                    subject,
                    problem,
                }),
            }
        }
    }

    /// Whether all was as expected, in all runs.
    pub fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }

    /// The report for programs: `name`, `line`, `outcome` (`ok` or `failed`), `runs`, and `failures`, each
    /// with `runs`, `subject`, `message` and what is known of `line`, `key`, `node`, `reason`, `expected`,
    /// `found` and `differences`.
    pub fn to_json(&self) -> Json {
        let names = |runs: &[Run]| runs.iter().map(Run::to_string).collect::<Vec<_>>();
        let failure = |failure: &CaseFailure| {
            let mut json = problem_json(&failure.problem);
            json["runs"] = names(&failure.runs).into();
            json["subject"] = failure.subject.to_string().into();
            json
        };
        json!({
            "name": self.name,
            "line": self.line,
            "outcome": if self.is_ok() { "ok" } else { "failed" },
            "runs": names(&self.runs),
            "failures": self.failures.iter().map(failure).collect::<Vec<_>>(),
        })
    }

    /// Says in which of the runs something was so, of those that look at it.
    fn runs_text(&self, subject: &Subject, runs: &[Run]) -> String {
        let looking = self.runs.iter().filter(|run| subject.is_seen_in(**run));
        let looking: Vec<Run> = looking.copied().collect();
        if runs.len() == looking.len() {
            return "in all runs".to_owned();
        }
        let with = |all: &[Run], partitions| {
            let with = all.iter().filter(|run| run.partitions == partitions);
            with.count()
        };
        let mut parts: Vec<String> = Vec::new();
        for run in runs {
            let count = run.partitions;
            let is_every_way = with(runs, count) == with(&looking, count);
            parts.push(match is_every_way {
                true => counted_partitions(count),
                false => run.to_string(),
            });
        }
        parts.dedup();
        format!("only with {}", parts.join("; with "))
    }

    /// The failures, those of a thing together, and of those the ones of the same runs.
    fn blocks(&self) -> Vec<(&Subject, &[Run], Vec<&Problem>)> {
        let mut blocks: Vec<(&Subject, &[Run], Vec<&Problem>)> = Vec::new();
        for failure in &self.failures {
            let (subject, runs) = (&failure.subject, failure.runs.as_slice());
            let same = blocks
                .iter_mut()
                .find(|block| (block.0, block.1) == (subject, runs));
            match same {
                Some((_, _, problems)) => problems.push(&failure.problem),
                None => {
                    let last = blocks.iter().rposition(|block| block.0 == subject);
                    let at = last.map_or(blocks.len(), |last| last + 1);
                    blocks.insert(at, (subject, runs, vec![&failure.problem]));
                }
            }
        }
        blocks
    }

    /// Whether it depends on the number of partitions alone.
    fn depends_on_partitions(&self) -> bool {
        let first = self.runs.first().map_or(1, |run| run.partitions);
        let mut runs = self.failures.iter().flat_map(|failure| &failure.runs);
        !self.is_ok() && runs.all(|run| run.partitions != first)
    }
}

fn problem_json(problem: &Problem) -> Json {
    match problem {
        Problem::Differs {
            line,
            identity,
            differences,
        } => json!({
            "message": "is another than expected",
            "line": line,
            "key": identity,
            "differences": differences_json(differences),
        }),
        Problem::Missing {
            line,
            identity,
            expected,
        } => json!({
            "message": "is missing",
            "line": line,
            "key": identity,
            "expected": expected,
        }),
        Problem::Unexpected { found } => json!({"message": "is not expected", "found": found}),
        Problem::Drops {
            node,
            reason,
            expected,
            found,
            messages,
        } => json!({
            "message": messages.first().cloned().unwrap_or("records were dropped".to_owned()),
            "node": node,
            "reason": reason.name(),
            "expected": expected,
            "found": found,
        }),
        Problem::Disagrees {
            with,
            identity,
            differences,
        } => json!({
            "message": format!("is another than with {with}"),
            "key": identity,
            "differences": differences_json(differences),
        }),
        Problem::Ended(message) => json!({"message": message}),
    }
}

fn differences_json(differences: &[Difference]) -> Json {
    let differences = differences.iter();
    let differences = differences.map(|difference| {
        json!({
            "field": difference.field,
            "expected": difference.expected,
            "found": difference.found,
        })
    });
    differences.collect()
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Topic(name) => write!(f, "topic {name}"),
            Subject::Table(name) => write!(f, "table {name}"),
            Subject::Store(name) => write!(f, "store {name}"),
            Subject::Drops => f.write_str("drops"),
            Subject::Topology => f.write_str("the topology stops"),
        }
    }
}

/// What failed, one block for each thing and set of runs; nothing when all is well.
impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (subject, runs, problems) in self.blocks() {
            writeln!(f, "{subject}, {}:", self.runs_text(subject, runs))?;
            problems
                .iter()
                .try_for_each(|problem| write_problem(f, problem))?;
        }
        if self.depends_on_partitions() {
            writeln!(
                f,
                "help: each partition has a stream time of its own; `partitions: 1` is for tests of \
                 records that have to be in one"
            )?;
        }
        Ok(())
    }
}

fn write_problem(f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
    let known = |identity: &Option<String>| match identity {
        Some(identity) => format!("{identity}, "),
        None => String::new(),
    };
    match problem {
        Problem::Differs {
            line,
            identity,
            differences,
        } => {
            writeln!(f, "  {}line {line}:", known(identity))?;
            differences
                .iter()
                .try_for_each(|difference| write_difference(f, difference))
        }
        Problem::Missing {
            line,
            identity,
            expected,
        } => {
            let (known, expected) = (known(identity), shown(Some(expected)));
            writeln!(f, "  {known}line {line}: missing {expected}")
        }
        Problem::Unexpected { found } => writeln!(f, "  not expected: {}", shown(Some(found))),
        Problem::Drops {
            node,
            reason,
            expected,
            found,
            messages,
        } => {
            writeln!(f, "  {node}, {reason}: expected {expected}, found {found}")?;
            messages
                .iter()
                .try_for_each(|message| writeln!(f, "    {message}"))
        }
        Problem::Disagrees {
            with,
            identity,
            differences,
        } => {
            writeln!(f, "  {identity}, another than with {with}:")?;
            differences
                .iter()
                .try_for_each(|difference| write_difference(f, difference))
        }
        Problem::Ended(message) => writeln!(f, "  {message}"),
    }
}

fn write_difference(f: &mut fmt::Formatter<'_>, difference: &Difference) -> fmt::Result {
    let field = &difference.field;
    let expected = shown(difference.expected.as_ref());
    let found = shown(difference.found.as_ref());
    match expected.len() + found.len() <= ONE_LINE {
        true => writeln!(f, "    {field}: expected {expected}, found {found}"),
        false => {
            writeln!(f, "    {field}:")?;
            writeln!(f, "      expected {expected}")?;
            writeln!(f, "      found    {found}")
        }
    }
}

fn shown(value: Option<&Json>) -> String {
    let Some(value) = value else {
        return "nothing".to_owned();
    };
    let text = value.to_string();
    let mut letters = text.chars();
    let mut cut: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_some() {
        let _ = write!(cut, "… ({} characters)", text.chars().count());
    }
    cut
}
