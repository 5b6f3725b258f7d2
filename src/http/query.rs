//! `/api/query`: rows of tables, bounded.
//!
//! `?ask=top-wikis&wiki=enwiki` asks a ready-made question,
//! `?table=edits_per_wiki_minute&where=wiki=enwiki&top=10&by=edits` a table; both take `since`,
//! `until` and `limit`.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Shared;
use crate::sql::query::{self, Format, QueryError, QueryOptions, QueryResult, Scope, parse_when};
use crate::time::Timestamp;

/// No answer has more rows.
const MOST_ROWS: usize = 1_000;

/// A query is ended after this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What can be asked for, read from the address; a key may occur more than once.
#[derive(Debug)]
enum Asked {
    Question(String, Scope),
    Table(QueryOptions),
}

pub(super) async fn page(
    State(facts): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Response {
    let Some(database) = &facts.database else {
        return refuse(StatusCode::NOT_FOUND, "no database is set");
    };
    let Ok(_permit) = facts.queries.try_acquire() else {
        return refuse(
            StatusCode::TOO_MANY_REQUESTS,
            "too many queries at once: try again",
        );
    };
    let asked = match read(&parameters, facts.clock.now()) {
        Ok(asked) => asked,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error),
    };
    let answer = match asked {
        Asked::Question(name, scope) => query::ask(database, &name, &scope).await,
        Asked::Table(options) => query::run(database, &options).await,
    };
    match answer {
        Ok(result) => show(&result),
        Err(error) => refuse(status_of(&error), &error.to_string()),
    }
}

fn show(result: &QueryResult) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, result.render(Format::Json)).into_response()
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "error": reason }))).into_response()
}

fn status_of(error: &QueryError) -> StatusCode {
    match error {
        QueryError::UnknownTable { .. } | QueryError::UnknownQuestion { .. } => {
            StatusCode::NOT_FOUND
        }
        QueryError::TooSlow(_) => StatusCode::GATEWAY_TIMEOUT,
        QueryError::Database(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn read(parameters: &[(String, String)], now: Timestamp) -> Result<Asked, String> {
    let get = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    const KNOWN: [&str; 10] = [
        "ask", "table", "wiki", "where", "since", "until", "limit", "top", "by", "columns",
    ];
    if let Some((name, _)) = parameters
        .iter()
        .find(|(key, _)| !KNOWN.contains(&key.as_str()))
    {
        return Err(format!(
            "there is no parameter {name}; there are {}",
            KNOWN.join(", ")
        ));
    }
    let when = |name| {
        let read = get(name).map(|text| parse_when(text, now));
        read.transpose().map_err(|error| error.to_string())
    };
    let count = |name: &str, default: usize| match get(name) {
        None => Ok(default),
        Some(text) => match text.parse::<usize>() {
            Ok(count) if (1..=MOST_ROWS).contains(&count) => Ok(count),
            _ => Err(format!(
                "{name}: expected a number from 1 to {MOST_ROWS}, found {text:?}"
            )),
        },
    };
    let (since, until, limit) = (when("since")?, when("until")?, count("limit", 50)?);
    match (get("ask"), get("table")) {
        (Some(question), None) => {
            let wiki = get("wiki").map(str::to_owned);
            let timeout = TIMEOUT;
            let scope = Scope {
                since,
                until,
                wiki,
                limit,
                timeout,
            };
            Ok(Asked::Question(question.to_owned(), scope))
        }
        (None, Some(table)) => {
            let filters = parameters.iter().filter(|(key, _)| key == "where");
            let filters = filters.map(|(_, text)| text.parse());
            let filters: Result<_, QueryError> = filters.collect();
            let columns = get("columns").unwrap_or_default().split(',');
            Ok(Asked::Table(QueryOptions {
                columns: columns
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect(),
                filters: filters.map_err(|error| error.to_string())?,
                since,
                until,
                top: get("top").map(|_| count("top", 10)).transpose()?,
                by: get("by").map(str::to_owned),
                limit,
                timeout: TIMEOUT,
                ..QueryOptions::of(table)
            }))
        }
        _ => Err("expected either ask=QUESTION or table=NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: &str) {
        let uri = format!("/?{address}").parse().unwrap();
        let Query::<Vec<(String, String)>>(parameters) = Query::try_from_uri(&uri).unwrap();
        let shown = match read(&parameters, Timestamp(7_200_000)) {
            Ok(asked) => format!("{asked:?}"),
            Err(error) => error,
        };
        assert!(shown.contains(expected), "{address}: {shown}");
    }

    #[test]
    fn parameters_become_a_bounded_question_or_query() {
        check(
            "ask=top-wikis&wiki=dewiki&since=1h",
            "since: Some(Timestamp(3600000))",
        );
        check(
            "ask=top-wikis&wiki=dewiki",
            "wiki: Some(\"dewiki\"), limit: 50, timeout: 10s",
        );
        check(
            "table=t&where=a%3D1&where=b%3E2&top=3&by=a",
            "top: Some(3), by: Some(\"a\")",
        );
        check("table=t&columns=a,b", "columns: [\"a\", \"b\"]");
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        check("", "expected either ask=QUESTION or table=NAME");
        check(
            "ask=a&table=b",
            "expected either ask=QUESTION or table=NAME",
        );
        check(
            "table=t&limit=100000",
            "limit: expected a number from 1 to 1000, found \"100000\"",
        );
        check(
            "table=t&where=nothing",
            "expected a condition such as wiki=enwiki",
        );
        check("table=t&limitt=1", "there is no parameter limitt");
    }
}
