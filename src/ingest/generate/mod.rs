//! Synthetic events with the real stream's statistics.
//!
//! For demos, tests and benchmarks: they need events that behave like the real ones (a few wikis
//! with most of the traffic, bots in bursts, events out of order, odd shapes), in any number, at
//! any rate, the same for the same seed. [`mix`] holds the figures, [`event`] makes the events,
//! [`text`] the words in them.

mod event;
pub mod mix;
mod text;

pub use event::{ACTIVE_TOPIC, Generator, IDLE_TOPIC, Made, Synthetic};

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError, ProducerOptions};
use crate::ingest::delivery::{Delivery, Event};
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::pace::{Pace, Pacer, nap};
use crate::ingest::summary::{Start, Summary};
use crate::ingest::target::{Lacking, Target};
use crate::time::{Clock, Timestamp};

/// So often it is made sure that events are in the log, and they are counted.
const FLUSH_EVERY_MS: i64 = 1000;
/// How long ago events begin that have no end.
const ENDLESS_SPAN_MS: i64 = 30 * 86_400_000;
/// So many events are made between two looks at the clock.
const LOOK_EVERY: u64 = 256;

/// What to generate, how fast and where to.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// The same seed, start and rate give the same events.
    pub seed: u64,
    /// Events per second of the wall clock, in which they also lie in event time; none: as fast as
    /// possible, and in event time at the real stream's rate.
    pub rate: Option<f64>,
    /// How many; none: until the shutdown.
    pub events: Option<u64>,
    /// The time of the first event; none: now with a rate, and otherwise so long ago that the last
    /// event is of now, or, without an end, thirty days ago. Events that have come up to now come as they
    /// happen from then on: those of the future are refused.
    pub start: Option<Timestamp>,
    /// Where to.
    pub target: Target,
}

impl GenerateOptions {
    /// As fast as possible into a topic.
    pub fn new(topic: &str) -> GenerateOptions {
        let target = Target::new(topic);
        GenerateOptions {
            seed: 1,
            rate: None,
            events: None,
            start: None,
            target,
        }
    }

    fn synthetic(&self, now: Timestamp) -> Synthetic {
        let events_per_second = self.rate.unwrap_or(mix::EVENTS_PER_SECOND);
        let span_ms = match (self.rate, self.events) {
            (Some(_), _) => 0,
            (None, Some(events)) => (events as f64 / events_per_second * 1000.0) as i64,
            (None, None) => ENDLESS_SPAN_MS,
        };
        let start = self.start.unwrap_or(now.plus_millis(-span_ms));
        Synthetic {
            seed: self.seed,
            start,
            events_per_second,
            ..Synthetic::default()
        }
    }
}

/// Writes events until there are enough, or until the shutdown. Blocks.
///
/// # Errors
/// What the log says.
pub fn run(
    options: &GenerateOptions,
    broker: &dyn Broker,
    clock: &dyn Clock,
    metrics: &IngestMetrics,
    shutdown: &CancellationToken,
) -> Result<Summary, BrokerError> {
    options.target.create_topics(broker)?;
    let producer = broker.producer(&ProducerOptions::default())?;
    let mut delivery = Delivery::new(producer, clock, metrics);
    let start = Start::now(clock, metrics);
    let mut generator = Generator::new(options.synthetic(clock.now()));
    let mut pacer = Pacer::new(options.rate.map_or(Pace::Fastest, |_| Pace::Times(1.0)));
    let is_bound_by_now = options.rate.is_none() && options.start.is_none();
    let mut flushed = clock.now();
    let mut line = Vec::with_capacity(8192);
    let mut made = 0;
    // The wiki is known without looking.
    let is_by_wiki = options.target.key == Target::new("").key;
    let reader = (!is_by_wiki).then(|| options.target.line_reader());
    let mut lacking = Lacking::default();
    while options.events.is_none_or(|events| made < events) {
        let event = generator.next_event(&mut line);
        if options.rate.is_some() || made % LOOK_EVERY == 0 {
            let now = clock.now();
            if now >= flushed.plus_millis(FLUSH_EVERY_MS) {
                delivery.flush()?;
                flushed = now;
            }
            let wait = pacer.wait(now, event.time.millis().saturating_mul(1_000_000));
            let ahead_ms = match is_bound_by_now {
                true => event.time.millis() - now.millis(),
                false => 0,
            };
            let ahead = Duration::from_millis(u64::try_from(ahead_ms).unwrap_or(0));
            if !nap(wait.max(ahead), shutdown) {
                break;
            }
        }
        let facts = reader.as_ref().and_then(|reader| reader.read(&line).ok());
        let key = match &facts {
            Some(facts) => {
                lacking.note(facts);
                facts.key.as_deref()
            }
            None => event.wiki,
        };
        let event = Event {
            key: key.map(str::as_bytes),
            time: event.time,
            value: &line,
        };
        let target = &options.target;
        delivery.patiently(shutdown, |delivery| {
            delivery.event(target, event, "generated")
        })?;
        made += 1;
    }
    delivery.flush()?;
    lacking.warn(&options.target);
    Ok(start.summary(clock, metrics))
}

#[cfg(test)]
mod tests;
