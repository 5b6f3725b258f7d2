//! The picture in the terminal: redrawn in place, or one line a second when nobody is looking.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::stage::Stage;
use crate::cli::failure::Failure;
use crate::cli::interrupt::Process;
use crate::ingest::metrics::IngestMetrics;
use crate::runtime::{EngineMetrics, EngineStatus};
use crate::sql::DatabaseUrl;
use crate::sql::query::{self, QueryError, QueryResult, QueryValue, Scope};
use crate::time::Timestamp;

const MINUTE_MS: i64 = 60_000;

/// Wikis that are shown.
const TOP: usize = 10;

const BAR: usize = 28;

/// A rate over less time than this says nothing, in seconds.
const SHORTEST_S: f64 = 0.5;

/// Draws what happens.
pub(super) struct View {
    engine: Arc<EngineMetrics>,
    ingest: Arc<IngestMetrics>,
    database: DatabaseUrl,
    is_terminal: bool,
    /// Lines of the last picture.
    drawn: usize,
    /// What the last line said of tables and trouble.
    told: Option<(Tables, Option<String>)>,
    last: (Instant, u64),
    /// Events per second at that time.
    rate: f64,
}

/// Tables and rows written.
type Tables = Vec<(String, u64)>;

/// What is drawn.
#[derive(Debug, Default)]
struct Picture {
    events: u64,
    events_per_second: f64,
    /// The newest event time, and the minute from which the wikis are counted.
    stream_time: Option<Timestamp>,
    since: Option<Timestamp>,
    /// Name and edits.
    wikis: Vec<(String, i64)>,
    bots: i64,
    humans: i64,
    tables: Tables,
    dropped: u64,
    trouble: Option<String>,
}

impl View {
    pub fn new(stage: &Stage) -> View {
        View {
            engine: Arc::clone(&stage.engine),
            ingest: Arc::clone(&stage.ingest),
            database: stage.database.clone(),
            is_terminal: stdout().is_terminal(),
            drawn: 0,
            told: None,
            last: (Instant::now(), 0),
            rate: 0.0,
        }
    }

    /// Draws the present.
    pub fn show(&mut self, process: &Process) -> Result<(), Failure> {
        let picture = process.tokio.block_on(self.look())?;
        let mut text = String::new();
        if self.is_terminal {
            let drawn = picture.draw();
            if self.drawn > 0 {
                let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
            }
            self.drawn = drawn.lines().count();
            text.push_str(&drawn);
        } else {
            let line = picture.line();
            let told = Some((picture.tables, picture.trouble));
            // Where lines stay, one that says nothing new is not worth it.
            if told != self.told {
                let _ = writeln!(text, "{line}");
                self.told = told;
            }
        }
        let mut out = stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    async fn look(&mut self) -> Result<Picture, QueryError> {
        let events = self.ingest.events.load(Ordering::Relaxed);
        let seconds = self.last.0.elapsed().as_secs_f64();
        // The last look follows the one before at once.
        if seconds > SHORTEST_S {
            self.rate = events.saturating_sub(self.last.1) as f64 / seconds;
            self.last = (Instant::now(), events);
        }
        let events_per_second = self.rate;
        let status = self.engine.status();
        let times = status.tasks.values().map(|task| task.stream_time);
        let stream_time = times.filter(|time| *time != Timestamp::MIN).max();
        // This minute has only begun: the one before is counted too.
        let since = stream_time.map(|time| Timestamp((time.millis() / MINUTE_MS - 1) * MINUTE_MS));
        let scope = |since, limit| Scope {
            since,
            until: None,
            wiki: None,
            limit,
            timeout: Duration::from_secs(5),
        };
        let wikis = query::ask(&self.database, "top-wikis", &scope(since, TOP)).await?;
        let kinds = query::ask(&self.database, "bots-vs-humans", &scope(None, 1)).await?;
        Ok(Picture {
            events,
            events_per_second,
            stream_time,
            since,
            wikis: wikis
                .rows
                .iter()
                .map(|row| (text(&row[0]), number(&row[1])))
                .filter(|(_, edits)| *edits > 0)
                .collect(),
            bots: cell(&kinds, "bot_events"),
            humans: cell(&kinds, "human_events"),
            tables: status
                .sinks
                .iter()
                .map(|(name, sink)| (name.clone(), sink.rows))
                .collect(),
            dropped: dropped(&status),
            trouble: status
                .sinks
                .values()
                .find_map(|sink| sink.last_error.clone()),
        })
    }
}

fn dropped(status: &EngineStatus) -> u64 {
    status
        .nodes
        .values()
        .map(|counts| counts.drops.iter().sum::<u64>())
        .sum()
}

fn cell(result: &QueryResult, column: &str) -> i64 {
    let at = result.columns.iter().position(|other| other.name == column);
    at.zip(result.rows.first())
        .map_or(0, |(at, row)| number(&row[at]))
}

fn number(value: &QueryValue) -> i64 {
    match value {
        QueryValue::Int(number) => *number,
        _ => 0,
    }
}

fn text(value: &QueryValue) -> String {
    match value {
        QueryValue::Text(text) => text.clone(),
        _ => String::new(),
    }
}

impl Picture {
    fn draw(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text);
        let _ = writeln!(
            text,
            "{} events, {:.0}/s; event time {}",
            self.events,
            self.events_per_second,
            self.stream_time
                .map_or("-".to_owned(), |time| time.to_string())
        );
        let _ = writeln!(text, "{}", self.shares());
        let _ = writeln!(text, "\nedits per wiki since {}", clock_time(self.since));
        let most = self.wikis.first().map_or(1, |(_, edits)| *edits).max(1);
        for (wiki, edits) in &self.wikis {
            let length = (*edits * BAR as i64 / most) as usize;
            let _ = writeln!(text, "  {wiki:16.16} {edits:7} {}", "#".repeat(length));
        }
        let _ = writeln!(text, "\nrows written");
        for (table, rows) in &self.tables {
            let _ = writeln!(text, "  {table:16.16} {rows:7}");
        }
        let _ = writeln!(text, "dropped: {}   Ctrl-C ends", self.dropped);
        if let Some(trouble) = &self.trouble {
            let _ = writeln!(text, "trouble: {:.100}", trouble.replace('\n', " "));
        }
        text
    }

    fn shares(&self) -> String {
        let all = self.bots + self.humans;
        if all == 0 {
            return "no rows yet".to_owned();
        }
        let bots = (self.bots * BAR as i64 / all) as usize;
        format!(
            "bots {:2}% [{}{}] humans {:2}%",
            self.bots * 100 / all,
            "#".repeat(bots),
            ".".repeat(BAR - bots),
            100 - self.bots * 100 / all
        )
    }

    /// All of it that fits in a line.
    fn line(&self) -> String {
        let rows: Vec<String> = self
            .tables
            .iter()
            .map(|(table, rows)| format!("{table} {rows}"))
            .collect();
        let first = self.wikis.first();
        let first = first.map(|(wiki, edits)| format!("; {wiki} leads with {edits} edits"));
        let trouble = self
            .trouble
            .as_ref()
            .map(|trouble| format!("; trouble: {trouble}"));
        format!(
            "{} events ({:.0}/s); rows written: {}{}{}",
            self.events,
            self.events_per_second,
            rows.join(", "),
            first.unwrap_or_default(),
            trouble.unwrap_or_default()
        )
    }
}

fn clock_time(time: Option<Timestamp>) -> String {
    time.map_or("-".to_owned(), |time| {
        time.to_string().get(11..16).unwrap_or("-").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture {
            events: 1200,
            events_per_second: 199.7,
            stream_time: Some(Timestamp(1_777_979_860_822)),
            since: Some(Timestamp(1_777_979_760_000)),
            wikis: vec![("wikidatawiki".to_owned(), 28), ("enwiki".to_owned(), 14)],
            bots: 1,
            humans: 3,
            tables: vec![("raw_table".to_owned(), 1190)],
            dropped: 2,
            trouble: None,
        }
    }

    #[test]
    fn a_picture_shows_rates_wikis_bots_and_tables() {
        let expected = "
1200 events, 200/s; event time 2026-05-05T11:17:40.822Z
bots 25% [#######.....................] humans 75%

edits per wiki since 11:16
  wikidatawiki          28 ############################
  enwiki                14 ##############

rows written
  raw_table           1190
dropped: 2   Ctrl-C ends
";
        assert_eq!(picture().draw(), expected);
        assert_eq!(
            picture().line(),
            "1200 events (200/s); rows written: raw_table 1190; wikidatawiki leads with 28 edits"
        );
    }

    #[test]
    fn an_empty_picture_divides_by_nothing() {
        let empty = Picture::default();
        assert!(empty.draw().contains("no rows yet"));
        assert_eq!(empty.line(), "0 events (0/s); rows written: ");
    }
}
