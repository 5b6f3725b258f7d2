//! What a replay or a generator has done, for the person who has started it.

use std::fmt;

use crate::ingest::metrics::IngestMetrics;
use crate::time::{Clock, Timestamp};

use std::sync::atomic::Ordering::Relaxed;

/// The figures at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Events written to the topic.
    pub events: u64,
    /// Bytes of those events.
    pub bytes: u64,
    /// Events that came again and were dropped.
    pub repeats: u64,
    /// Events that could not be written as such.
    pub dead_letters: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Measures a run: what the counters have gained since its start.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    at: Timestamp,
    events: u64,
    bytes: u64,
    repeats: u64,
    dead_letters: u64,
}

impl Start {
    /// Now.
    pub fn now(clock: &dyn Clock, metrics: &IngestMetrics) -> Start {
        Start {
            at: clock.now(),
            events: metrics.events.load(Relaxed),
            bytes: metrics.bytes.load(Relaxed),
            repeats: metrics.repeats.load(Relaxed),
            dead_letters: metrics.all_dead_letters(),
        }
    }

    /// What has happened since.
    pub fn summary(&self, clock: &dyn Clock, metrics: &IngestMetrics) -> Summary {
        let now = Start::now(clock, metrics);
        Summary {
            events: now.events - self.events,
            bytes: now.bytes - self.bytes,
            repeats: now.repeats - self.repeats,
            dead_letters: now.dead_letters - self.dead_letters,
            seconds: now.at.millis().saturating_sub(self.at.millis()) as f64 / 1000.0,
        }
    }
}

impl Summary {
    /// Events per second; none for a run that took no time.
    pub fn events_per_second(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.events as f64 / self.seconds)
    }
}

/// One line: `2476 events (3.4 MB) in 0.2 s, 12380 events/s; 0 repeats, 0 dead letters`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = self.bytes as f64 / 1e6;
        write!(
            f,
            "{} events ({megabytes:.1} MB) in {:.1} s",
            self.events, self.seconds
        )?;
        if let Some(rate) = self.events_per_second() {
            write!(f, ", {rate:.0} events/s")?;
        }
        write!(
            f,
            "; {} repeats, {} dead letters",
            self.repeats, self.dead_letters
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_reads_as_one_line() {
        let summary = Summary {
            events: 2476,
            bytes: 3_427_800,
            repeats: 1,
            dead_letters: 2,
            seconds: 0.2,
        };
        let expected = "2476 events (3.4 MB) in 0.2 s, 12380 events/s; 1 repeats, 2 dead letters";
        assert_eq!(summary.to_string(), expected);
        let instant = Summary {
            seconds: 0.0,
            ..summary
        };
        assert_eq!(
            instant.to_string(),
            "2476 events (3.4 MB) in 0.0 s; 1 repeats, 2 dead letters"
        );
    }
}
