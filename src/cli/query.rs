//! `tidemill query`: asks the tables.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::str::FromStr as _;
use std::time::Duration;

use clap::Args;

use super::context::Context;
use super::failure::{Ended, Failure, say};
use super::flags::{DatabaseFlags, Typed};
use super::interrupt::Process;
use crate::sql::query::{
    self, Comparison, Filter, Format, QueryOptions, QueryResult, Scope, parse_when, questions,
};
use crate::time::{Clock as _, SystemClock, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tidemill query top-wikis --since 2h
  tidemill query bots-vs-humans --since 1d --format json
  tidemill query edits_per_wiki_minute --where wiki=enwiki --since 2h
  tidemill query edits_per_wiki_minute --top 10 --by edits --since 2h
  tidemill query recentchange --where type=log --where bot=true --columns event_time,title --limit 5
  tidemill query                      lists the questions

TIME is a length of time back from now (90s, 2h, 7d) or a time (2026-05-05T11:00:00Z).";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Query {
    /// A table, or one of the ready-made questions
    #[arg(value_name = "TABLE|QUESTION")]
    target: Option<String>,
    /// A condition such as wiki=enwiki or edits>=10; all must hold
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// From this time on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The first so many, by the column of --by
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    top: Option<usize>,
    /// The column to sort by, largest first
    #[arg(long, value_name = "COLUMN")]
    by: Option<String>,
    /// The columns to show, with commas
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    columns: Vec<String>,
    /// At most so many rows
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
    limit: usize,
    /// table, json or csv
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = Format::from_str)]
    format: Format,
    /// The query is ended after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    #[command(flatten)]
    database: DatabaseFlags,
}

impl Query {
    pub fn settings(&self) -> Result<Typed, Failure> {
        Ok(self.database.settings())
    }

    fn conditions(&self) -> Result<Vec<Filter>, Failure> {
        let read = |text: &String| Filter::from_str(text).map_err(usage);
        self.conditions.iter().map(read).collect()
    }

    /// From when and until when.
    fn span(&self, now: Timestamp) -> Result<Span, Failure> {
        span(self.since.as_ref(), self.until.as_ref(), now)
    }

    fn options(&self, table: &str, now: Timestamp) -> Result<QueryOptions, Failure> {
        if self.top.is_some() && self.by.is_none() {
            return Err(Failure::usage(
                "--top: say by which column, with --by COLUMN",
            ));
        }
        let (since, until) = self.span(now)?;
        Ok(QueryOptions {
            columns: self.columns.clone(),
            filters: self.conditions()?,
            since,
            until,
            top: self.top,
            by: self.by.clone(),
            limit: self.limit,
            timeout: Duration::from_secs(self.timeout),
            ..QueryOptions::of(table)
        })
    }

    /// A question knows one condition: the wiki.
    fn scope(&self, now: Timestamp) -> Result<Scope, Failure> {
        let wiki = match self.conditions()?.as_slice() {
            [] => None,
            [
                Filter {
                    column,
                    comparison: Comparison::Equal,
                    value,
                },
            ] if column == "wiki" => Some(value.clone()),
            _ => {
                return Err(Failure::usage(
                    "a question takes no condition but --where wiki=NAME",
                ));
            }
        };
        if self.by.is_some() || !self.columns.is_empty() {
            return Err(Failure::usage(
                "a question has its own order and columns: it takes no --by and no --columns",
            ));
        }
        let (since, until) = self.span(now)?;
        Ok(Scope {
            since,
            until,
            wiki,
            limit: self.top.unwrap_or(self.limit),
            timeout: Duration::from_secs(self.timeout),
        })
    }
}

/// From when and until when, if that was said.
pub(super) type Span = (Option<Timestamp>, Option<Timestamp>);

/// What `--since` and `--until` say.
pub(super) fn span(
    since: Option<&String>,
    until: Option<&String>,
    now: Timestamp,
) -> Result<Span, Failure> {
    let when = |text: Option<&String>| {
        let when = text.map(|text| parse_when(text, now));
        when.transpose().map_err(usage)
    };
    match (when(since)?, when(until)?) {
        (Some(since), Some(until)) if since >= until => Err(Failure::usage(format!(
            "--until ({until}) is not after --since ({since})"
        ))),
        span => Ok(span),
    }
}

pub(super) fn query(args: &Query, context: &Context) -> Ended {
    let Some(target) = &args.target else {
        list_questions()?;
        return Ok(ExitCode::SUCCESS);
    };
    let result = answer(target, args, context)?;
    write!(io::stdout(), "{}", result.render(args.format))?;
    if args.format != Format::Table {
        if let Some(note) = &result.note {
            say(format_args!("note: {note}"));
        }
        if result.truncated {
            say("note: there are more rows: raise --limit");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(target: &str, args: &Query, context: &Context) -> Result<QueryResult, Failure> {
    let now = SystemClock.now();
    let database = context.database()?;
    let process = Process::start()?;
    let asked = async {
        if questions().iter().any(|question| question.name == target) {
            let scope = args.scope(now)?;
            Ok(query::ask(database, target, &scope).await?)
        } else {
            let options = args.options(target, now)?;
            Ok(query::run(database, &options).await?)
        }
    };
    process.tokio.block_on(async {
        tokio::select! {
            answer = asked => answer,
            () = process.stopped() => Err(Failure::Failed(anyhow::anyhow!("stopped"))),
        }
    })
}

fn list_questions() -> io::Result<()> {
    writeln!(io::stdout(), "questions:")?;
    for question in questions() {
        writeln!(io::stdout(), "  {:18} {}", question.name, question.about)?;
    }
    writeln!(
        io::stdout(),
        "\ntables: any table or view of the database, such as edits_per_wiki_minute"
    )?;
    writeln!(io::stdout(), "see `tidemill query --help`")
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("expected a whole number from 1 on".to_owned()),
    }
}

fn usage(error: impl std::error::Error) -> Failure {
    Failure::usage(error.to_string())
}
