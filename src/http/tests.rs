//! The pages as a client sees them, over a real socket.

use std::sync::Arc;

use axum::http::StatusCode;

use super::*;
use crate::broker::memory::MemoryBroker;
use crate::ingest::metrics::IngestMetrics;
use crate::runtime::EngineMetrics;
use crate::settings::Secret;
use crate::time::{Clock, ManualClock, Timestamp};

/// A process that has an application without tasks, and a source.
fn facts() -> Facts {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(1_000)));
    let text =
        "app: demo\nnodes:\n  s: { source: { topic: t } }\n  k: { kafka: { from: s, topic: u } }\n";
    let topology = crate::config::parse(text, "t.yaml").unwrap();
    let plan = Arc::new(crate::topology::plan::plan(&topology).unwrap());
    let broker = Arc::new(MemoryBroker::new(Arc::clone(&clock)));
    let engine = Arc::<EngineMetrics>::default();
    let progress = Progress::new(plan, broker, Arc::clone(&engine), Arc::clone(&clock));
    let mut facts = Facts::new(clock);
    facts.apps.push(AppFacts {
        name: "demo".to_owned(),
        tables: Vec::new(),
        engine,
        progress,
    });
    let ingest = IngestMetrics::default();
    ingest.events(7, 700, Some(Timestamp(5_000)));
    facts.ingest = Some(Arc::new(ingest));
    facts
}

/// Serves on a free port, asks once, gives status and body.
fn ask(facts: Facts, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let address = "127.0.0.1:0".parse().unwrap();
        let (address, serving) = bind(address, Arc::new(facts), std::future::pending())
            .await
            .unwrap();
        tokio::spawn(async move { serving.await.unwrap() });
        let mut request = reqwest::Client::new().get(format!("http://{address}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
        (status, answer.text().await.unwrap())
    })
}

#[track_caller]
fn check(path: &str, status: StatusCode, part: &str) {
    let (found, body) = ask(facts(), path, &[]);
    assert_eq!(found, status, "{path}: {body}");
    assert!(body.contains(part), "{path}: {body}");
}

#[test]
fn every_page_answers() {
    check("/", StatusCode::OK, "<title>Tidemill</title>");
    check("/healthz", StatusCode::OK, "ok");
    check(
        "/readyz",
        StatusCode::SERVICE_UNAVAILABLE,
        "no tasks are assigned to this process",
    );
    check(
        "/metrics",
        StatusCode::OK,
        "tidemill_ingest_events_total 7\n",
    );
    check(
        "/metrics",
        StatusCode::OK,
        "tidemill_commits_total{app=\"demo\"} 0\n",
    );
    check(
        "/metrics",
        StatusCode::OK,
        "tidemill_ready{app=\"demo\"} 0.0\n",
    );
    check("/metrics", StatusCode::OK, "# EOF");
    check(
        "/api/status",
        StatusCode::OK,
        "\"not_ready\":\"no tasks are assigned",
    );
    check(
        "/api/query?ask=top-wikis",
        StatusCode::NOT_FOUND,
        "no database is set",
    );
    check("/nothing", StatusCode::NOT_FOUND, "");
}

#[test]
fn the_first_page_loads_nothing_from_elsewhere() {
    let page = include_str!("page.html");
    for word in ["src=", "@import", "https://", "innerHTML"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn with_a_token_numbers_are_for_those_who_have_it_and_health_is_for_all() {
    let guarded = || Facts {
        token: Some(Secret::new("sesame-open")),
        ..facts()
    };
    let status = |path, headers: &[(&str, &str)]| ask(guarded(), path, headers).0;
    assert_eq!(status("/metrics", &[]), StatusCode::UNAUTHORIZED);
    assert_eq!(
        status("/api/status", &[("authorization", "Bearer wrong")]),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        status("/metrics", &[("authorization", "Bearer sesame-open")]),
        StatusCode::OK
    );
    assert_eq!(status("/healthz", &[]), StatusCode::OK);
    assert_eq!(status("/", &[]), StatusCode::OK);
    let (ready, reason) = ask(guarded(), "/readyz", &[]);
    assert_eq!(
        (ready, reason.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    );
}

#[test]
fn without_a_token_foreign_host_names_are_refused() {
    let (status, _) = ask(facts(), "/api/status", &[("host", "evil.example")]);
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = ask(facts(), "/api/status", &[("host", "localhost:8080")]);
    assert_eq!(status, StatusCode::OK);
}
