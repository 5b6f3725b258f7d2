//! Questions that users of the Wikimedia tables ask, ready-made.

use std::time::Duration;

use super::filter::Bound;
use super::plan::{Select, Statement};
use super::schema::{Schema, did_you_mean};
use super::{MOST_ROWS, QueryError, QueryResult, Reader, ResultColumn, ResultKind};
use crate::sql::database::DatabaseUrl;
use crate::time::Timestamp;

/// A ready-made question.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Its name: `top-wikis`.
    pub name: &'static str,
    /// What it asks.
    pub about: &'static str,
    /// The table that it asks.
    pub table: &'static str,
    /// The columns of its answer, and what they mean.
    pub columns: &'static [(&'static str, ResultKind, &'static str)],
    statement: fn(&mut Select<'_>) -> String,
}

/// About which rows a question is asked.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Windows from this time on.
    pub since: Option<Timestamp>,
    /// Windows that begin before this time.
    pub until: Option<Timestamp>,
    /// One wiki only.
    pub wiki: Option<String>,
    /// How many rows.
    pub limit: usize,
    /// After this long the query is ended.
    pub timeout: Duration,
}

const QUESTIONS: [Question; 4] = [
    Question {
        name: "top-wikis",
        about: "which wikis are edited the most",
        table: "edits_per_wiki_minute",
        columns: &[
            ("wiki", ResultKind::Text, "the wiki's database name"),
            ("edits", ResultKind::Int, "edits and new pages"),
            (
                "events",
                ResultKind::Int,
                "all events, logs and categorisations too",
            ),
            ("new_pages", ResultKind::Int, "new pages"),
            (
                "bot_events",
                ResultKind::Int,
                "events that carry the bot flag",
            ),
            (
                "net_bytes",
                ResultKind::Int,
                "bytes added less bytes removed",
            ),
        ],
        statement: top_wikis,
    },
    Question {
        name: "top-users",
        about: "who edits the most",
        table: "edits_per_user_5m",
        columns: &[
            ("wiki", ResultKind::Text, "the wiki's database name"),
            (
                "user",
                ResultKind::Text,
                "name, temporary account or address",
            ),
            ("edits", ResultKind::Int, "edits and new pages"),
            (
                "net_bytes",
                ResultKind::Int,
                "bytes added less bytes removed",
            ),
        ],
        statement: top_users,
    },
    Question {
        name: "bots-vs-humans",
        about: "how much of the traffic is bots, per wiki; the first row is all wikis together",
        table: "edits_per_wiki_minute",
        columns: &[
            (
                "wiki",
                ResultKind::Text,
                "the wiki's database name, or (all)",
            ),
            ("events", ResultKind::Int, "all events"),
            (
                "bot_events",
                ResultKind::Int,
                "events that carry the bot flag",
            ),
            ("human_events", ResultKind::Int, "the others"),
            ("bot_percent", ResultKind::Double, "bots' share, in percent"),
        ],
        statement: bots_vs_humans,
    },
    Question {
        name: "edits-per-minute",
        about: "how many edits there were in each minute, newest first",
        table: "edits_per_wiki_minute",
        columns: &[
            ("minute", ResultKind::Time, "when the minute began"),
            ("edits", ResultKind::Int, "edits and new pages"),
            ("events", ResultKind::Int, "all events"),
            (
                "bot_events",
                ResultKind::Int,
                "events that carry the bot flag",
            ),
            ("wikis", ResultKind::Int, "wikis with at least one event"),
        ],
        statement: edits_per_minute,
    },
];

/// The ready-made questions.
pub fn questions() -> &'static [Question] {
    &QUESTIONS
}

/// Answers a ready-made question.
///
/// # Errors
/// When there is no such question, its table is not there, it takes too long, or the database
/// cannot be asked.
pub async fn ask(
    database: &DatabaseUrl,
    name: &str,
    scope: &Scope,
) -> Result<QueryResult, QueryError> {
    let Some(question) = QUESTIONS.iter().find(|question| question.name == name) else {
        let names = QUESTIONS.map(|question| question.name);
        let help = did_you_mean(name, "questions", &names);
        return Err(QueryError::UnknownQuestion {
            name: name.to_owned(),
            help,
        });
    };
    let mut reader = Reader::open(database, scope.timeout).await?;
    let schema = reader.schema(question.table).await?;
    let statement = statement(question, &schema, scope)?;
    let mut result = reader.answer(&statement).await?;
    let nothing = result
        .rows
        .iter()
        .all(|row| row.contains(&super::QueryValue::Null));
    if nothing && (scope.since.is_some() || scope.until.is_some()) {
        result.rows.clear();
        result.note = reader.why_empty(&schema).await?;
    }
    Ok(result)
}

fn statement(question: &Question, schema: &Schema, scope: &Scope) -> Result<Statement, QueryError> {
    let limit = scope.limit.clamp(1, MOST_ROWS);
    let mut select = Select::new(schema, limit, false);
    select.between(scope.since, scope.until)?;
    if let Some(wiki) = &scope.wiki {
        select.condition("wiki", Bound::Text(wiki.clone()));
    }
    let sql = (question.statement)(&mut select);
    let columns = question
        .columns
        .iter()
        .map(|&(name, kind, _)| ResultColumn {
            name: name.to_owned(),
            kind,
        });
    let columns = columns.collect();
    Ok(select.finish(&sql, columns))
}

/// Sums of columns, each under its own name or another.
fn sums(select: &Select<'_>, columns: &[(&str, &str)]) -> String {
    let dialect = select.dialect();
    let sum =
        |&(expression, name): &(&str, &str)| format!("{} AS {name}", dialect.whole_sum(expression));
    columns.iter().map(sum).collect::<Vec<_>>().join(", ")
}

fn top_wikis(select: &mut Select<'_>) -> String {
    let sums = sums(
        select,
        &[
            ("edits", "edits"),
            ("events", "events"),
            ("new_pages", "new_pages"),
            ("bot_events", "bot_events"),
            ("bytes_added - bytes_removed", "net_bytes"),
        ],
    );
    format!(
        "SELECT wiki, {sums} FROM edits_per_wiki_minute{} GROUP BY wiki ORDER BY 2 DESC, 1",
        select.where_clause()
    )
}

fn top_users(select: &mut Select<'_>) -> String {
    let sums = sums(select, &[("edits", "edits"), ("net_bytes", "net_bytes")]);
    format!(
        "SELECT wiki, user, {sums} FROM edits_per_user_5m{} GROUP BY wiki, user ORDER BY 3 DESC, 1, 2",
        select.where_clause()
    )
}

fn bots_vs_humans(select: &mut Select<'_>) -> String {
    let sums = sums(
        select,
        &[
            ("events", "events"),
            ("bot_events", "bot_events"),
            ("events - bot_events", "human_events"),
        ],
    );
    let share = "ROUND(100.0 * SUM(bot_events) / NULLIF(SUM(events), 0), 1) AS bot_percent";
    let wiki = select.dialect().as_text("wiki");
    let from = format!(
        "{sums}, {share} FROM edits_per_wiki_minute{}",
        select.where_clause()
    );
    // The conditions stand in both halves.
    select.repeat_values();
    format!(
        "SELECT '(all)' AS wiki, {from} UNION ALL SELECT {wiki} AS wiki, {from} GROUP BY edits_per_wiki_minute.wiki \
         ORDER BY 2 DESC, 1"
    )
}

fn edits_per_minute(select: &mut Select<'_>) -> String {
    let sums = sums(
        select,
        &[
            ("edits", "edits"),
            ("events", "events"),
            ("bot_events", "bot_events"),
        ],
    );
    format!(
        "SELECT window_start AS minute, {sums}, COUNT(*) AS wikis FROM edits_per_wiki_minute{} \
         GROUP BY window_start ORDER BY window_start DESC",
        select.where_clause()
    )
}
