//! What ingestion counts. Plain atomics; whoever serves metrics reads them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::time::Timestamp;

/// The counters of one ingesting process.
#[derive(Debug)]
pub struct IngestMetrics {
    /// Events written to the topic.
    pub events: AtomicU64,
    /// Bytes of those events.
    pub bytes: AtomicU64,
    /// Events that came again and were dropped.
    pub repeats: AtomicU64,
    /// Times at which offsets were missing in the source.
    pub gaps: AtomicU64,
    /// Offsets that were missing in all those gaps together.
    pub missing: AtomicU64,
    /// Times at which the source's offsets jumped: another cluster, or a topic made anew.
    pub jumps: AtomicU64,
    /// Transactions (or flushes) that succeeded.
    pub commits: AtomicU64,
    dead_letters: [AtomicU64; DeadReason::ALL.len()],
    reconnects: [AtomicU64; ReconnectReason::ALL.len()],
    last_event_ms: AtomicI64,
    last_canary_ms: AtomicI64,
}

/// Why an event went to the dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadReason {
    /// Not a text.
    NotUtf8,
    /// Not JSON.
    NotJson,
    /// JSON, but not an object.
    NotAnObject,
    /// Nested too deep.
    TooDeep,
    /// Larger than a record may be.
    TooLarge,
    /// The topic takes no such record: its time is too far from the broker's clock, or it lacks the
    /// key that a compacted topic needs.
    RefusedByTopic,
}

/// Why a connection to the source ended, or did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReconnectReason {
    /// The server ended the response properly.
    Closed,
    /// The response broke off.
    Broken,
    /// Nothing came for the read time-out.
    Silence,
    /// An event of type `error` came.
    ServerError,
    /// Status 403: most likely the User-Agent.
    Forbidden,
    /// Status 429.
    TooManyRequests,
    /// Another status than 200.
    Status,
    /// Status 200 with something else than an event stream.
    NotAnEventStream,
    /// No connection, or no answer.
    Unreachable,
    /// The first event did not continue where the last connection had ended.
    NotContinued,
    /// The connection was made only to learn the topics' names.
    TopicsLearned,
    /// Our side: the log refused a batch, so the work began again from the last commit.
    Restarted,
}

impl DeadReason {
    /// All of them.
    pub const ALL: [DeadReason; 6] = [
        DeadReason::NotUtf8,
        DeadReason::NotJson,
        DeadReason::NotAnObject,
        DeadReason::TooDeep,
        DeadReason::TooLarge,
        DeadReason::RefusedByTopic,
    ];

    /// The label in metrics and in the dead letter's header.
    pub fn label(self) -> &'static str {
        match self {
            DeadReason::NotUtf8 => "not_utf8",
            DeadReason::NotJson => "not_json",
            DeadReason::NotAnObject => "not_an_object",
            DeadReason::TooDeep => "too_deep",
            DeadReason::TooLarge => "too_large",
            DeadReason::RefusedByTopic => "refused_by_topic",
        }
    }
}

impl ReconnectReason {
    /// All of them.
    pub const ALL: [ReconnectReason; 12] = [
        ReconnectReason::Closed,
        ReconnectReason::Broken,
        ReconnectReason::Silence,
        ReconnectReason::ServerError,
        ReconnectReason::Forbidden,
        ReconnectReason::TooManyRequests,
        ReconnectReason::Status,
        ReconnectReason::NotAnEventStream,
        ReconnectReason::Unreachable,
        ReconnectReason::NotContinued,
        ReconnectReason::TopicsLearned,
        ReconnectReason::Restarted,
    ];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            ReconnectReason::Closed => "closed",
            ReconnectReason::Broken => "broken",
            ReconnectReason::Silence => "silence",
            ReconnectReason::ServerError => "server_error",
            ReconnectReason::Forbidden => "forbidden",
            ReconnectReason::TooManyRequests => "too_many_requests",
            ReconnectReason::Status => "status",
            ReconnectReason::NotAnEventStream => "not_an_event_stream",
            ReconnectReason::Unreachable => "unreachable",
            ReconnectReason::NotContinued => "not_continued",
            ReconnectReason::TopicsLearned => "topics_learned",
            ReconnectReason::Restarted => "restarted",
        }
    }
}

impl IngestMetrics {
    /// Counts dead letters.
    pub fn dead_letters_add(&self, reason: DeadReason, count: u64) {
        self.dead_letters[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// How many dead letters there were for this reason.
    pub fn dead_letters(&self, reason: DeadReason) -> u64 {
        self.dead_letters[reason as usize].load(Ordering::Relaxed)
    }

    /// How many dead letters there were.
    pub fn all_dead_letters(&self) -> u64 {
        DeadReason::ALL
            .iter()
            .map(|reason| self.dead_letters(*reason))
            .sum()
    }

    /// Counts the end of a connection.
    pub fn reconnect(&self, reason: ReconnectReason) {
        self.reconnects[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections ended for this reason.
    pub fn reconnects(&self, reason: ReconnectReason) -> u64 {
        self.reconnects[reason as usize].load(Ordering::Relaxed)
    }

    /// Counts events that are now in the topic; `last` is the highest event time among them.
    pub fn events(&self, count: u64, bytes: u64, last: Option<Timestamp>) {
        self.events.fetch_add(count, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(time) = last {
            self.last_event_ms
                .fetch_max(time.millis(), Ordering::Relaxed);
        }
    }

    /// Notes a canary event: the proof that a quiet feed is alive.
    pub fn canary(&self, time: Timestamp) {
        self.last_canary_ms
            .fetch_max(time.millis(), Ordering::Relaxed);
    }

    /// The highest event time so far; none before the first event.
    pub fn last_event_time(&self) -> Option<Timestamp> {
        known(&self.last_event_ms)
    }

    /// The time of the last canary event; none before the first.
    pub fn last_canary_time(&self) -> Option<Timestamp> {
        known(&self.last_canary_ms)
    }
}

impl Default for IngestMetrics {
    fn default() -> IngestMetrics {
        IngestMetrics {
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            jumps: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            dead_letters: Default::default(),
            reconnects: Default::default(),
            last_event_ms: AtomicI64::new(i64::MIN),
            last_canary_ms: AtomicI64::new(i64::MIN),
        }
    }
}

fn known(ms: &AtomicI64) -> Option<Timestamp> {
    Some(Timestamp(ms.load(Ordering::Relaxed))).filter(|time| *time != Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_its_own_label() {
        let metrics = IngestMetrics::default();
        for (index, reason) in DeadReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            metrics.dead_letters_add(reason, 1);
            assert_eq!(metrics.dead_letters(reason), 1);
        }
        for (index, reason) in ReconnectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            metrics.reconnect(reason);
            assert_eq!(metrics.reconnects(reason), 1);
        }
        let mut labels: Vec<_> = ReconnectReason::ALL.map(ReconnectReason::label).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ReconnectReason::ALL.len());
    }

    #[test]
    fn the_last_times_never_go_back() {
        let metrics = IngestMetrics::default();
        assert_eq!(metrics.last_event_time(), None);
        metrics.events(1, 10, Some(Timestamp(5)));
        metrics.events(1, 10, Some(Timestamp(3)));
        metrics.events(0, 0, None);
        assert_eq!(metrics.last_event_time(), Some(Timestamp(5)));
    }
}
