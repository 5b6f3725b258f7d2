//! From taking over the position to the first trouble with the log: takes frames, decides with
//! the position, collects a batch, commits it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::broker::{BrokerError, Outgoing, TopicPartition};
use crate::ingest::delivery::{DeadLetter, Delivery, Event};
use crate::ingest::fields::{Scalar, Unreadable};
use crate::ingest::metrics::{DeadReason, IngestMetrics, ReconnectReason};
use crate::ingest::recent::EventId;
use crate::ingest::sse::Frame;
use crate::ingest::target::{Facts, LineReader, Target};
use crate::ingest::wikimedia::event_id::{IdEntry, read_id, speaker};
use crate::ingest::wikimedia::position::{Arrival, Gap, GapKind, Position, Resume, Verdict};
use crate::ingest::wikimedia::store::{OwnTopics, gap_record, records};
use crate::ingest::wikimedia::{BatchSettings, Protocol, StreamTarget, WikimediaOptions};
use crate::time::{Clock, Timestamp};
use crate::value::FieldPath;

/// The fields of an event that say where it came from. Their order is that of [`Origin`].
const ORIGIN_FIELDS: [&str; 5] = [
    "meta.stream",
    "meta.topic",
    "meta.partition",
    "meta.offset",
    "meta.domain",
];

/// Work from one claim of the position on.
pub(super) struct Session<'a> {
    pub position: Position,
    delivery: Delivery<'a>,
    readers: Vec<LineReader>,
    options: &'a WikimediaOptions,
    own: &'a OwnTopics,
    name: &'a str,
    streams: &'a [String],
    clock: &'a dyn Clock,
    metrics: &'a IngestMetrics,
    batch: Batch,
    /// Up to which number the identities of each topic are in the log.
    stored: BTreeMap<TopicPartition, u64>,
    /// The id of the frame before, in this connection.
    id_before: Vec<IdEntry>,
    /// The last id as the server sent it.
    server_id: String,
}

/// What a session needs besides the position and the producer.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub options: &'a WikimediaOptions,
    pub own: &'a OwnTopics,
    /// The name of this run.
    pub name: &'a str,
    pub streams: &'a [String],
    pub clock: &'a dyn Clock,
    pub metrics: &'a IngestMetrics,
}

/// What has come since the last commit.
#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    gaps: Vec<Gap>,
    bytes: usize,
    first: Option<Instant>,
}

struct Item {
    /// Index of the stream.
    stream: usize,
    key: Option<Box<[u8]>>,
    time: Timestamp,
    value: Box<[u8]>,
    /// The server's id.
    origin: Box<str>,
    /// Why it is a dead letter, in words, and how long it was.
    dead: Option<(DeadReason, String, usize)>,
}

/// Where an event says it came from.
#[derive(Default)]
struct Origin {
    stream: usize,
    place: Option<TopicPartition>,
    offset: Option<i64>,
    canary: bool,
}

impl<'a> Session<'a> {
    /// Goes on from this position, and from this last id of the server's.
    pub fn new(
        setting: Setting<'a>,
        position: Position,
        server_id: String,
        delivery: Delivery<'a>,
    ) -> Session<'a> {
        let Setting {
            options,
            own,
            name,
            streams,
            clock,
            metrics,
        } = setting;
        let fields = ORIGIN_FIELDS.map(FieldPath::new);
        let reader = |stream: &StreamTarget| stream.target.line_reader_with(&fields);
        let stored = position.topics().iter();
        let stored = stored
            .map(|(place, topic)| (place.clone(), topic.ids.inserted()))
            .collect();
        Session {
            readers: options.streams.iter().map(reader).collect(),
            position,
            delivery,
            options,
            own,
            name,
            streams,
            clock,
            metrics,
            batch: Batch::default(),
            stored,
            id_before: Vec::new(),
            server_id,
        }
    }

    /// A connection begins.
    pub fn connected(&mut self) {
        self.id_before.clear();
    }

    /// Takes a frame. A reason, when the connection is to be given up.
    pub fn take(&mut self, frame: Frame<'_>) -> Option<ReconnectReason> {
        match frame.event {
            _ if self.options.protocol == Protocol::Standard => {
                self.take_standard(frame);
                None
            }
            "message" => self.take_event(frame),
            "error" => {
                let error = String::from_utf8_lossy(&frame.data[..frame.data.len().min(500)]);
                tracing::warn!(%error, "the server reports an error");
                Some(ReconnectReason::ServerError)
            }
            other => {
                tracing::debug!(event = other, "frame of an unknown type skipped");
                None
            }
        }
    }

    /// Takes a frame of a connection that was made to learn the topics.
    pub fn take_topics(&mut self, frame: Frame<'_>) -> Option<ReconnectReason> {
        let id = read_id(frame.id).filter(|id| !id.is_empty())?;
        self.position.learned(&id);
        Some(ReconnectReason::TopicsLearned)
    }

    /// Takes an event of a server that follows the standard: its id is the position, and only the
    /// id field of the event itself, if there is one, can show that it has come before.
    fn take_standard(&mut self, frame: Frame<'_>) {
        let now = self.clock.now();
        frame.id.clone_into(&mut self.server_id);
        let (facts, _) = self.read(frame);
        let known = facts.as_ref().ok();
        let time = known.and_then(|facts| facts.time);
        if let Some(id) = known.and_then(|facts| facts.id) {
            let place = TopicPartition::new("", 0);
            let arrival = Arrival {
                place,
                offset: None,
                time,
                id,
            };
            if let Verdict::Repeat(_) = self.position.arrive(&arrival, now) {
                self.metrics.repeats.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        self.collect(frame, 0, time.unwrap_or(now), facts);
    }

    /// How to ask for the next connection.
    pub fn resume(&mut self) -> Resume {
        let by_position = self.position.resume();
        match self.options.protocol {
            Protocol::EventStreams => by_position,
            Protocol::Standard if self.server_id.is_empty() => Resume::Beginning,
            Protocol::Standard => Resume::LastEventId(self.server_id.clone()),
        }
    }

    fn take_event(&mut self, frame: Frame<'_>) -> Option<ReconnectReason> {
        let now = self.clock.now();
        let id = read_id(frame.id).unwrap_or_default();
        self.position.name_topics(&id);
        let (facts, origin) = self.read(frame);
        let place = origin.place.or_else(|| speaker(&self.id_before, &id));
        // Without any hint of a topic it can at least be recognised when it comes again.
        let place = place.unwrap_or_else(|| TopicPartition::new("", 0));
        let log_time = id
            .iter()
            .find(|entry| entry.partition() == place)
            .and_then(IdEntry::time);
        let event_time = facts.as_ref().ok().and_then(|facts| facts.time);
        let arrival = Arrival {
            place,
            offset: origin.offset,
            time: log_time.or(event_time),
            id: identity(frame, &facts),
        };
        let verdict = self.position.arrive(&arrival, now);
        self.id_before = id;
        match verdict {
            Verdict::NotContinued => return Some(ReconnectReason::NotContinued),
            Verdict::Repeat(jump) => {
                self.metrics.repeats.fetch_add(1, Ordering::Relaxed);
                self.report(jump);
            }
            Verdict::New(gap) => {
                self.report(gap);
                let time = event_time.or(arrival.time).unwrap_or(now);
                if origin.canary {
                    self.metrics.canary(time);
                }
                self.collect(frame, origin.stream, time, facts);
            }
        }
        None
    }

    /// Reads an event with the fields of its own stream.
    fn read<'f>(&self, frame: Frame<'f>) -> (Result<Facts<'f>, Flaw>, Origin) {
        if frame.length > frame.data.len() {
            return (Err(Flaw::TooLarge(frame.length)), Origin::default());
        }
        match self.readers[0].read(frame.data) {
            Err(error) => (Err(Flaw::Unreadable(error)), Origin::default()),
            Ok(facts) => {
                let origin = self.origin(&facts);
                let facts = match origin.stream {
                    0 => Ok(facts),
                    stream => self.readers[stream]
                        .read(frame.data)
                        .map_err(Flaw::Unreadable),
                };
                (facts, origin)
            }
        }
    }

    fn origin(&self, facts: &Facts<'_>) -> Origin {
        let text = |index: usize| match facts.extra.get(index) {
            Some(Some(Scalar::Text(text))) => Some(text.as_ref()),
            _ => None,
        };
        let number = |index: usize| facts.extra.get(index)?.as_ref()?.int();
        let place = text(1).zip(number(2).and_then(|number| i32::try_from(number).ok()));
        Origin {
            stream: text(0).map_or(0, |name| self.stream_index(name)),
            place: place.map(|(topic, partition)| TopicPartition::new(topic, partition)),
            offset: number(3),
            canary: text(4) == Some("canary"),
        }
    }

    /// The stream of that name, which may have been asked for by its alias; the first one when
    /// there is none.
    fn stream_index(&self, name: &str) -> usize {
        let alias = name.strip_prefix("mediawiki.").unwrap_or(name);
        let is = |stream: &StreamTarget| stream.stream == name || stream.stream == alias;
        self.options.streams.iter().position(is).unwrap_or(0)
    }

    fn report(&mut self, gap: Option<Gap>) {
        let Some(gap) = gap else { return };
        let Gap {
            topic,
            expected,
            found,
            missing,
            ..
        } = &gap;
        match gap.kind {
            GapKind::Gap => {
                tracing::error!(
                    topic,
                    expected,
                    found,
                    missing,
                    "events are missing in the stream"
                );
            }
            GapKind::Jump => {
                tracing::warn!(
                    topic,
                    expected,
                    found,
                    "the stream's offsets are numbered anew"
                );
            }
        }
        self.batch.first.get_or_insert_with(Instant::now);
        self.batch.gaps.push(gap);
    }

    fn collect(
        &mut self,
        frame: Frame<'_>,
        stream: usize,
        time: Timestamp,
        facts: Result<Facts<'_>, Flaw>,
    ) {
        let (key, dead) = match facts {
            Ok(facts) => (facts.key, None),
            Err(Flaw::Unreadable(error)) => (
                None,
                Some((DeadReason::from(&error), error.to_string(), frame.length)),
            ),
            Err(Flaw::TooLarge(bytes)) => {
                let most = self.options.max_event_bytes;
                let error = format!("expected at most {most} bytes of data, found {bytes}");
                (None, Some((DeadReason::TooLarge, error, bytes)))
            }
        };
        frame.id.clone_into(&mut self.server_id);
        self.batch.first.get_or_insert_with(Instant::now);
        self.batch.bytes += frame.data.len();
        self.batch.items.push(Item {
            stream,
            key: key.map(|key| key.as_bytes().into()),
            time,
            value: frame.data.into(),
            origin: frame.id.into(),
            dead,
        });
    }

    /// When the batch must be committed; none while it is empty.
    pub fn due(&self) -> Option<Instant> {
        let BatchSettings {
            max_events,
            max_bytes,
            max_age,
        } = self.options.batch;
        let first = self.batch.first?;
        let full = self.batch.items.len() >= max_events || self.batch.bytes >= max_bytes;
        Some(if full { first } else { first + max_age })
    }

    /// Commits the batch if it is due.
    pub fn commit_if_due(&mut self) -> Result<(), BrokerError> {
        match self.due() {
            Some(due) if due <= Instant::now() => self.commit(),
            _ => Ok(()),
        }
    }

    /// Commits the batch, unless it is empty.
    pub fn commit_rest(&mut self) -> Result<(), BrokerError> {
        if self.batch.first.is_some() {
            self.commit()
        } else {
            Ok(())
        }
    }

    /// Commits the batch, even if it is empty, with the position behind it, in one transaction.
    pub fn commit(&mut self) -> Result<(), BrokerError> {
        let now = self.clock.now();
        self.delivery.producer().begin()?;
        for item in &self.batch.items {
            item.write(
                &mut self.delivery,
                &self.options.streams[item.stream].target,
            )?;
        }
        for gap in &self.batch.gaps {
            let value = gap_record(gap, now);
            send(&mut self.delivery, &self.own.gaps, &gap.topic, &value, now)?;
        }
        let (own, position) = (self.own, &self.position);
        let rows = records(
            own,
            position,
            self.name,
            self.streams,
            &self.server_id,
            &self.stored,
        );
        for (key, value) in rows {
            send(&mut self.delivery, &own.position, &key, &value, now)?;
        }
        self.delivery.commit()?;
        self.committed();
        Ok(())
    }

    fn committed(&mut self) {
        let lost = self
            .batch
            .gaps
            .iter()
            .filter(|gap| gap.kind == GapKind::Gap);
        let (gaps, missing) = lost.fold((0, 0), |(n, sum), gap| (n + 1, sum + gap.missing));
        let jumps = self.batch.gaps.len() as u64 - gaps;
        self.metrics.gaps.fetch_add(gaps, Ordering::Relaxed);
        self.metrics
            .missing
            .fetch_add(missing.unsigned_abs(), Ordering::Relaxed);
        self.metrics.jumps.fetch_add(jumps, Ordering::Relaxed);
        for (place, topic) in self.position.topics() {
            self.stored.insert(place.clone(), topic.ids.inserted());
        }
        self.batch = Batch::default();
    }

    /// The producer must be replaced before the next transaction.
    pub fn is_suspect(&mut self) -> bool {
        self.delivery.producer().is_suspect()
    }
}

impl Item {
    fn write(&self, delivery: &mut Delivery<'_>, target: &Target) -> Result<(), BrokerError> {
        let Item {
            key,
            time,
            value,
            origin,
            dead,
            ..
        } = self;
        match dead {
            None => {
                let event = Event {
                    key: key.as_deref(),
                    time: *time,
                    value,
                };
                delivery.event(target, event, origin).map(drop)
            }
            Some((reason, error, length)) => {
                let (reason, time, length) = (*reason, *time, *length);
                let letter = DeadLetter {
                    reason,
                    error,
                    origin,
                    time,
                    value,
                    length,
                };
                delivery.dead_letter(target, letter)
            }
        }
    }
}

/// Writes a record of one of the connector's own topics.
fn send(
    delivery: &mut Delivery<'_>,
    topic: &str,
    key: &str,
    value: &[u8],
    now: Timestamp,
) -> Result<(), BrokerError> {
    delivery.producer().send(Outgoing {
        topic,
        partition: Some(0),
        timestamp: now,
        key: Some(key.as_bytes()),
        value: Some(value),
        headers: &[],
    })
}

/// Why an event is a dead letter.
enum Flaw {
    Unreadable(Unreadable),
    /// Bytes.
    TooLarge(usize),
}

/// What an event is recognised by: its own id, or else its bytes.
fn identity(frame: Frame<'_>, facts: &Result<Facts<'_>, Flaw>) -> EventId {
    let own = facts.as_ref().ok().and_then(|facts| facts.id);
    own.unwrap_or_else(|| EventId::of_bytes(frame.data))
}
