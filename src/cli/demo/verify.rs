//! The demo's own check: the tables against an independent count of the events.
//!
//! The events are made again from their seed, parsed by another JSON library and counted one by
//! one; none of the engine's code takes part.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use super::stage::{Generated, Stage};
use crate::cli::failure::Failure;
use crate::cli::interrupt::Process;
use crate::ingest::generate::{Generator, Synthetic};
use crate::processor::DropReason;
use crate::sql::query::{self, QueryResult, QueryValue, Scope};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the tables hold, and what they should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    expected: Count,
    raw_rows: u64,
    /// Events and edits in the table of wikis.
    events: u64,
    edits: u64,
    /// Events that came after their window had closed; they are in the raw table only.
    late: u64,
}

/// What the events themselves say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    all: u64,
    canaries: u64,
    /// Those that came again.
    repeats: u64,
    /// The others.
    events: u64,
    edits: u64,
}

pub(super) fn verify(
    generated: &Generated,
    stage: &Stage,
    process: &Process,
) -> Result<Verdict, Failure> {
    let expected = count(generated)?;
    let scope = Scope {
        since: None,
        until: None,
        wiki: None,
        limit: query::MOST_ROWS,
        timeout: PATIENCE,
    };
    let (raw_rows, wikis) = process.tokio.block_on(async {
        let raw_rows = query::count(&stage.database, "recentchange", PATIENCE).await?;
        let wikis = query::ask(&stage.database, "top-wikis", &scope).await?;
        Ok::<_, Failure>((raw_rows, wikis))
    })?;
    let per_wiki = stage.engine.status().node("per_wiki");
    Ok(Verdict {
        expected,
        raw_rows,
        events: sum(&wikis, "events"),
        edits: sum(&wikis, "edits"),
        late: per_wiki.drops_of(DropReason::Late),
    })
}

/// Makes the events again and counts them.
fn count(generated: &Generated) -> Result<Count, Failure> {
    let mut generator = Generator::new(Synthetic {
        seed: generated.seed,
        start: generated.start,
        events_per_second: generated.events_per_second,
        ..Synthetic::default()
    });
    let mut count = Count::default();
    let mut ids = HashSet::new();
    let mut line = Vec::new();
    for _ in 0..generated.events {
        generator.next_event(&mut line);
        count.add(&line, &mut ids).map_err(anyhow::Error::from)?;
    }
    Ok(count)
}

impl Count {
    fn add(&mut self, line: &[u8], ids: &mut HashSet<String>) -> serde_json::Result<()> {
        let event: serde_json::Value = serde_json::from_slice(line)?;
        let id = event["meta"]["id"].as_str().unwrap_or_default();
        self.all += 1;
        if event["meta"]["domain"] == "canary" {
            self.canaries += 1;
        } else if !ids.insert(id.to_owned()) {
            self.repeats += 1;
        } else {
            self.events += 1;
            self.edits += u64::from(event["type"] == "edit" || event["type"] == "new");
        }
        Ok(())
    }
}

/// The sum of a column of whole numbers.
fn sum(result: &QueryResult, column: &str) -> u64 {
    let at = result.columns.iter().position(|other| other.name == column);
    let value = |row: &Vec<QueryValue>| match at.map(|at| &row[at]) {
        Some(QueryValue::Int(value)) => u64::try_from(*value).unwrap_or(0),
        _ => 0,
    };
    result.rows.iter().map(value).sum()
}

impl Verdict {
    /// Whether the tables are what they should be.
    pub fn is_good(&self) -> bool {
        let Verdict {
            expected,
            raw_rows,
            events,
            edits,
            late,
        } = *self;
        // A late event may be an edit or not.
        let edits_fit = (edits..=edits + late).contains(&expected.edits);
        raw_rows == expected.events && events + late == expected.events && edits_fit
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count {
            all,
            canaries,
            repeats,
            events,
            edits,
        } = self.expected;
        writeln!(
            f,
            "{all} events in: {canaries} canaries, {repeats} repeats, {events} to be kept"
        )?;
        writeln!(f, "raw table    {} rows, expected {events}", self.raw_rows)?;
        writeln!(
            f,
            "rollup       {} events and {} late, expected {events}",
            self.events, self.late
        )?;
        writeln!(f, "             {} edits, expected {edits}", self.edits)?;
        f.write_str(match self.is_good() {
            true => "the tables are exactly what they should be",
            false => "THE TABLES ARE NOT WHAT THEY SHOULD BE",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Verdict {
        let expected = Count {
            all: 12,
            canaries: 1,
            repeats: 1,
            events: 10,
            edits: 4,
        };
        Verdict {
            expected,
            raw_rows: 10,
            events: 10,
            edits: 4,
            late: 0,
        }
    }

    #[track_caller]
    fn check(verdict: Verdict, is_good: bool) {
        assert_eq!(verdict.is_good(), is_good, "{verdict}");
    }

    #[test]
    fn one_row_too_few_or_too_many_is_not_good() {
        check(good(), true);
        check(
            Verdict {
                raw_rows: 9,
                ..good()
            },
            false,
        );
        check(
            Verdict {
                raw_rows: 11,
                ..good()
            },
            false,
        );
        check(
            Verdict {
                events: 9,
                ..good()
            },
            false,
        );
        check(
            Verdict {
                events: 11,
                ..good()
            },
            false,
        );
        check(Verdict { edits: 3, ..good() }, false);
        check(Verdict { edits: 5, ..good() }, false);
    }

    #[test]
    fn late_events_are_in_the_raw_table_only() {
        check(
            Verdict {
                events: 9,
                late: 1,
                ..good()
            },
            true,
        );
        check(
            Verdict {
                events: 9,
                edits: 3,
                late: 1,
                ..good()
            },
            true,
        );
        check(
            Verdict {
                events: 9,
                edits: 2,
                late: 1,
                ..good()
            },
            false,
        );
        check(
            Verdict {
                events: 10,
                late: 1,
                ..good()
            },
            false,
        );
    }

    #[test]
    fn events_are_told_apart_by_their_id_and_canaries_do_not_count() {
        let mut count = Count::default();
        let mut ids = HashSet::new();
        for line in [
            r#"{"meta":{"id":"a","domain":"x"},"type":"edit"}"#,
            r#"{"meta":{"id":"a","domain":"x"},"type":"edit"}"#,
            r#"{"meta":{"id":"b","domain":"x"},"type":"log"}"#,
            r#"{"meta":{"id":"c","domain":"canary"}}"#,
        ] {
            count.add(line.as_bytes(), &mut ids).unwrap();
        }
        let expected = Count {
            all: 4,
            canaries: 1,
            repeats: 1,
            events: 2,
            edits: 1,
        };
        assert_eq!(count, expected);
    }
}
