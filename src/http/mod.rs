//! HTTP: metrics, health, the first page and its data.
//!
//! | path | what it gives | token |
//! | --- | --- | --- |
//! | `/` | the first page; it holds no data itself | no |
//! | `/healthz` | 200 while the process lives | no |
//! | `/readyz` | 200 while every task makes progress or has nothing to do, else 503 | no |
//! | `/metrics` | OpenMetrics text | yes |
//! | `/api/status` | the same numbers as JSON, with the reason of `/readyz` | yes |
//! | `/api/query` | rows of tables | yes |
//!
//! The invariant: without a token the server answers only to requests that name a loopback host,
//! so that no web page elsewhere can read it through the user's browser (DNS rebinding).

mod facts;
mod guard;
mod metrics;
mod progress;
mod query;
mod status;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use tokio::net::TcpListener;

pub use facts::{AppFacts, Facts};
pub use progress::{Lag, Progress, Verdict};

/// So long a page waits for the log.
const PATIENCE: Duration = Duration::from_secs(3);

/// What all handlers share.
#[derive(Clone)]
struct Shared(Arc<Facts>);

impl std::ops::Deref for Shared {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.0
    }
}

/// Binds the address; gives the one that was taken and what serves it until `stop`.
///
/// # Errors
/// When the address cannot be had.
pub async fn bind(
    address: SocketAddr,
    facts: Arc<Facts>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<(SocketAddr, impl Future<Output = std::io::Result<()>>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let serving = axum::serve(listener, router(facts)).with_graceful_shutdown(stop);
    Ok((address, serving.into_future()))
}

fn router(facts: Arc<Facts>) -> Router {
    let shared = Shared(facts);
    let guarded = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/api/status", get(status_page))
        .route("/api/query", get(query::page))
        .route_layer(middleware::from_fn_with_state(shared.clone(), guard::token));
    Router::new()
        .route("/", get(first_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready_page))
        .merge(guarded)
        .layer(middleware::from_fn_with_state(shared.clone(), guard::host))
        .with_state(shared)
}

async fn first_page() -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                          script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("page.html")).into_response()
}

async fn metrics_page(State(facts): State<Shared>) -> Response {
    refresh(&facts).await;
    let content = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content)], metrics::render(&facts)).into_response()
}

async fn status_page(State(facts): State<Shared>) -> Response {
    refresh(&facts).await;
    Json(status::status(&facts)).into_response()
}

/// Without the reason when a token is asked for: it names tasks and databases.
async fn ready_page(State(facts): State<Shared>) -> Response {
    refresh(&facts).await;
    match facts.verdict() {
        Verdict::Ready => "ready\n".into_response(),
        Verdict::NotReady(reason) => {
            let shown = if facts.token.is_none() {
                reason.as_str()
            } else {
                "not ready"
            };
            (StatusCode::SERVICE_UNAVAILABLE, format!("{shown}\n")).into_response()
        }
    }
}

/// Asks the log how far everything has come. A log that is away must not hold up the other
/// numbers, so the wait is short; the question goes on behind it.
async fn refresh(facts: &Shared) {
    let facts = facts.clone();
    let asked = tokio::task::spawn_blocking(move || {
        facts.apps.iter().for_each(|app| app.progress.refresh());
    });
    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, asked).await {
        tracing::error!(%error, "the log could not be asked");
    }
}

#[cfg(test)]
mod tests;
