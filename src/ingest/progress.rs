//! Tells in the log how ingestion goes on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::ingest::metrics::IngestMetrics;
use crate::ingest::summary::Start;
use crate::time::Clock;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Logs how many events have come, for as long as it is polled; nothing while none come.
pub async fn report(clock: &dyn Clock, metrics: &IngestMetrics) {
    loop {
        let begun = Start::now(clock, metrics);
        tokio::time::sleep(EVERY).await;
        let gained = begun.summary(clock, metrics);
        if gained.events > 0 {
            let events = metrics.events.load(Ordering::Relaxed);
            let per_second = gained.events_per_second().unwrap_or_default().round();
            let last_event = metrics.last_event_time().map(|time| time.to_string());
            let last_event = last_event.unwrap_or_default();
            tracing::info!(events, per_second, last_event, "events come in");
        }
    }
}
