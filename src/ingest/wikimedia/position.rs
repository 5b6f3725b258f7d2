//! How far the connector has come, and where it reads on: decided here, done elsewhere.
//!
//! EventStreams sends an `id` with every event, but sending it back loses events: it holds the
//! log time of the event **plus one millisecond**, and events that lie behind it in the log can
//! have the same or an earlier time; and a topic that has not spoken stands in it with
//! `"offset":-1`, which means "from the end". So the connector keeps a position of its own:
//!
//! - for every topic the highest log time that it has seen. The server answers a time with the
//!   first event that has this time or a later one, which never lies behind the event itself, so
//!   nothing can be missed. A margin is taken off, because the two data centres' clusters may
//!   differ;
//! - for a topic that has not spoken, the time at which the connector began to listen to it;
//! - the identities of the last events, to drop those that come again.
//!
//! A margin costs progress when connections are cut before they have brought all the repeats. So
//! a connection that brought nothing new lowers the margin of the next one:
//!
//! ```text
//!                  nothing new           nothing new              nothing new
//!   margin 10 s ───────────────► 5 s … ───────────────► margin 0 ─────────────► by offset
//!        ▲                                                  ▲                       │
//!        │            something new, from anywhere          │     nothing at all    │
//!        └──────────────────────────────────────────────────┴───────────────────────┘
//! ```
//!
//! An offset means something within one cluster only, and the next connection may reach another
//! cluster, where the same offset is that of a later event. So an offset is used for a topic only
//! after a repeat has come at exactly the offset where it was seen before, and then the last event is
//! asked for once more: if the connection begins with it, nothing can be missing behind it. Only
//! when such a connection ends before it brings anything else, the next one asks for what is behind,
//! and its first event must lie there. Whatever does not fit ends the connection, and the next one
//! goes by time again.
//!
//! Offsets also prove that nothing is missing: within a cluster they are contiguous. Where they
//! are not, a [`Gap`] is reported.

use std::collections::BTreeMap;

use crate::broker::{Offset, TopicPartition};
use crate::ingest::recent::{EventId, RecentIds};
use crate::ingest::wikimedia::event_id::{IdEntry, ResumeAt, last_event_id};
use crate::time::Timestamp;

/// Below this a margin is not halved but dropped.
const LEAST_MARGIN_MS: i64 = 500;

/// An event from this far ahead of the clock says nothing about how far the log has come.
const AHEAD_OF_CLOCK_MS: i64 = 60_000;

/// After a resume by offset, an event that is this much older than the newest known one shows that
/// the offset belongs to another cluster.
const NEAR_MS: i64 = 60_000;

/// The stream carries some 40 events a second and 114 in its fastest one. More missing offsets
/// than this rate explains are another numbering, not lost events.
const MOST_EVENTS_PER_S: i64 = 500;

/// Missing offsets that need no explanation by time.
const SMALL_GAP: i64 = 10_000;

/// What the position depends on besides the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionSettings {
    /// How far a resume goes back behind the newest event.
    pub margin_ms: i64,
    /// How many identities are remembered per topic.
    pub ids_per_topic: usize,
}

/// How far the connector has come in every topic, and what it does about bad connections.
#[derive(Clone, Debug)]
pub struct Position {
    settings: PositionSettings,
    /// The time from which topics that have not spoken are read.
    began: Timestamp,
    topics: BTreeMap<TopicPartition, TopicPosition>,
    /// The topics' names must be learned before the next resume.
    learn: bool,
    step: Step,
    /// A first event that did not continue after a resume by offset.
    refused: Option<Discontinuity>,
    connection: Connection,
}

/// How far the connector has come in one topic and partition.
#[derive(Clone, Debug)]
pub struct TopicPosition {
    /// When the connector began to listen to it.
    pub began: Timestamp,
    /// The highest log time of its events so far.
    pub time: Option<Timestamp>,
    /// The offset behind its last event, in the cluster that it came from.
    pub next: Option<Offset>,
    /// Goes up when the offsets turn out to be another cluster's.
    pub numbering: u32,
    /// The identities of its last events.
    pub ids: RecentIds,
    /// The time of the last event in the order of the log.
    pub last: Option<Timestamp>,
    trust: Trust,
    /// Repeats in a row that came at another offset than before.
    strange: u32,
}

/// How far a topic's offsets are known to mean the same as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Nothing has shown it.
    None,
    /// A repeat has come at the offset where it was seen before.
    Repeat,
    /// A connection that was resumed at the offset of the last event has begun with it.
    Last,
}

/// What a topic must begin with after a resume by offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The last event, at its offset.
    Last(Offset),
    /// The event behind it.
    Next(Offset),
}

/// How the next resume is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// By time, this far back.
    Margin(i64),
    /// By offset, where that is known to mean something; otherwise by time without a margin.
    Offsets,
}

/// What the current connection has brought.
#[derive(Clone, Debug, Default)]
struct Connection {
    events: u64,
    new: u64,
    refused: bool,
    /// The topics resumed by offset that have not spoken since.
    expected: BTreeMap<TopicPartition, Expected>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Discontinuity {
    place: TopicPartition,
    expected: Expected,
    found: Option<Offset>,
}

/// How to ask for the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// From wherever the server begins. (Never asked for by a [`Position`].)
    Beginning,
    /// From this time on; the topics are not known yet.
    Since(Timestamp),
    /// Only to learn the topics: take the id of the first frame, then call [`Position::learned`].
    Learn(Timestamp),
    /// With this `Last-Event-ID`.
    LastEventId(String),
}

/// An event, as far as the position is concerned.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Where it lies.
    pub place: TopicPartition,
    /// At which offset.
    pub offset: Option<Offset>,
    /// Its log time.
    pub time: Option<Timestamp>,
    /// What it is recognised by.
    pub id: EventId,
}

/// What is to be done with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new: write it, and report the gap before it if there is one.
    New(Option<Gap>),
    /// It has been written before: drop it. Repeats can show that the offsets are another
    /// cluster's; that is reported too.
    Repeat(Option<Gap>),
    /// The stream does not continue where it should: drop the event and the connection.
    NotContinued,
}

/// Offsets that are not contiguous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The source's topic.
    pub topic: String,
    /// The source's partition.
    pub partition: i32,
    /// The offset that was expected.
    pub expected: Offset,
    /// The offset that came instead.
    pub found: Offset,
    /// How many events are missing; 0 for a jump.
    pub missing: i64,
    /// Missing events, or another numbering.
    pub kind: GapKind,
    /// The time of the event before.
    pub after: Option<Timestamp>,
    /// The time of the event that came.
    pub before: Option<Timestamp>,
}

/// What it means that offsets are not contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// Events are missing.
    Gap,
    /// The offsets are another cluster's, or the topic was made anew: they say nothing.
    Jump,
}

impl Position {
    /// The position of a connector that begins at `began`.
    pub fn new(began: Timestamp, settings: PositionSettings) -> Position {
        Position::restored(began, settings, BTreeMap::new(), false)
    }

    /// The position that an earlier run has left. With `learn`, the topics' names are learned
    /// first, because the streams are not the same as then; new topics are read from `began`.
    pub fn restored(
        began: Timestamp,
        settings: PositionSettings,
        topics: BTreeMap<TopicPartition, TopicPosition>,
        learn: bool,
    ) -> Position {
        Position {
            settings,
            began,
            learn: learn && !topics.is_empty(),
            topics,
            step: Step::Margin(settings.margin_ms),
            refused: None,
            connection: Connection::default(),
        }
    }

    /// The time from which topics that have not spoken are read.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Whether the topics' names must be learned before the next resume.
    pub fn is_learning(&self) -> bool {
        self.learn
    }

    /// The topics, for keeping them.
    pub fn topics(&self) -> &BTreeMap<TopicPartition, TopicPosition> {
        &self.topics
    }

    /// How to make the next connection. Call once for each; then report what it brings, and its
    /// end.
    pub fn resume(&mut self) -> Resume {
        self.connection = Connection::default();
        let step = self.step;
        // An event that named no topic is remembered under an empty name.
        let named = self
            .topics
            .iter()
            .filter(|(place, _)| !place.topic.is_empty());
        let plan: Vec<_> = named
            .map(|(place, topic)| (place, topic.at(step)))
            .collect();
        if plan.is_empty() {
            return Resume::Since(self.began);
        }
        if self.learn {
            // From where there is an event for certain, so that the answer comes at once.
            let known = self.topics.values().filter_map(|topic| topic.time).min();
            let since = known.map_or(self.began, |known| known.min(self.began));
            return Resume::Learn(since.plus_millis(-self.settings.margin_ms));
        }
        let expected = plan.iter().filter_map(|(place, _)| {
            let expected = self.topics[*place].expects(step)?;
            Some(((*place).clone(), expected))
        });
        self.connection.expected = expected.collect();
        Resume::LastEventId(last_event_id(plan.into_iter()))
    }

    /// Takes note of the topics that a frame's id names.
    pub fn name_topics(&mut self, id: &[IdEntry]) {
        for entry in id {
            let place = entry.partition();
            if !self.topics.contains_key(&place) {
                self.topics
                    .insert(place, TopicPosition::new(self.began, self.settings));
            }
        }
    }

    /// Takes the topics from a frame's id after [`Resume::Learn`]: these, and no others.
    pub fn learned(&mut self, id: &[IdEntry]) {
        self.name_topics(id);
        self.topics
            .retain(|place, _| id.iter().any(|entry| entry.partition() == *place));
        self.learn = false;
    }

    /// The server has refused our topics: learn them again.
    pub fn topics_refused(&mut self) {
        self.learn = true;
    }

    /// Decides about an event, and takes note of it unless the verdict is
    /// [`Verdict::NotContinued`]. `now` is the wall clock.
    pub fn arrive(&mut self, event: &Arrival, now: Timestamp) -> Verdict {
        self.connection.events += 1;
        if self.breaks_off(event) {
            return Verdict::NotContinued;
        }
        let settings = self.settings;
        let began = self.began;
        let topic = self
            .topics
            .entry(event.place.clone())
            .or_insert_with(|| TopicPosition::new(began, settings));
        let known = topic.ids.get(event.id);
        let verdict = match known {
            Some(seen_at) => Verdict::Repeat(topic.repeat(event, seen_at)),
            None => {
                self.connection.new += 1;
                Verdict::New(topic.advance(event))
            }
        };
        let latest = now.plus_millis(AHEAD_OF_CLOCK_MS);
        topic.time = topic.time.max(event.time.map(|time| time.min(latest)));
        verdict
    }

    /// After a resume by offset: true when the first event of the topic is not the one that must
    /// come.
    fn breaks_off(&mut self, event: &Arrival) -> bool {
        let Some(expected) = self.connection.expected.remove(&event.place) else {
            return false;
        };
        let topic = self.topics.get_mut(&event.place);
        let topic = topic.expect("only known topics are resumed by offset");
        if topic.continues(event, expected) {
            return false;
        }
        let finding = Discontinuity {
            place: event.place.clone(),
            expected,
            found: event.offset,
        };
        // The same finding twice is the truth: those offsets do not exist any more. But another
        // event in the last one's place is another cluster's, however often it is found.
        let exists = matches!(expected, Expected::Last(offset) if event.offset == Some(offset));
        if !exists && self.refused.as_ref() == Some(&finding) {
            return false;
        }
        self.refused = Some(finding);
        self.connection.refused = true;
        true
    }

    /// The connection has ended, after the server had answered with an event stream. (Attempts
    /// that did not come so far say nothing about the position.)
    /// Returns how many events it has brought, new ones or not.
    pub fn ended(&mut self) -> u64 {
        let full = Step::Margin(self.settings.margin_ms);
        let connection = std::mem::take(&mut self.connection);
        if connection.new > 0 {
            self.step = full;
            self.refused = None;
            self.trust_no_offset();
        } else if connection.refused {
            self.step = full;
            self.trust_no_offset();
        } else {
            self.step = match self.step {
                Step::Margin(0) => Step::Offsets,
                Step::Margin(margin) if margin / 2 < LEAST_MARGIN_MS => Step::Margin(0),
                Step::Margin(margin) => Step::Margin(margin / 2),
                Step::Offsets if connection.events > 0 => Step::Offsets,
                Step::Offsets => {
                    self.trust_no_offset();
                    Step::Margin(0)
                }
            };
        }
        connection.events
    }

    fn trust_no_offset(&mut self) {
        self.topics
            .values_mut()
            .for_each(|topic| topic.trust = Trust::None);
    }
}

impl TopicPosition {
    fn new(began: Timestamp, settings: PositionSettings) -> TopicPosition {
        TopicPosition::restored(began, RecentIds::new(settings.ids_per_topic))
    }

    /// A topic with these identities, about which nothing else is known.
    pub fn restored(began: Timestamp, ids: RecentIds) -> TopicPosition {
        TopicPosition {
            began,
            time: None,
            next: None,
            numbering: 0,
            ids,
            last: None,
            trust: Trust::None,
            strange: 0,
        }
    }

    fn at(&self, step: Step) -> ResumeAt {
        let newest = self.time.unwrap_or(self.began);
        match (self.expects(step), step) {
            (Some(Expected::Last(offset) | Expected::Next(offset)), _) => ResumeAt::Offset(offset),
            (None, Step::Offsets) => ResumeAt::Time(newest),
            (None, Step::Margin(margin)) => ResumeAt::Time(newest.plus_millis(-margin)),
        }
    }

    /// What must come first when this topic is resumed by offset; none when it is resumed by time.
    fn expects(&self, step: Step) -> Option<Expected> {
        match (step, self.trust) {
            (Step::Margin(_), _) | (_, Trust::None) => None,
            (Step::Offsets, Trust::Repeat) => Some(Expected::Last(self.next? - 1)),
            (Step::Offsets, Trust::Last) => Some(Expected::Next(self.next?)),
        }
    }

    /// Whether the first event after a resume by offset is the one that must come.
    fn continues(&mut self, event: &Arrival, expected: Expected) -> bool {
        match expected {
            Expected::Last(offset) => {
                // An event that cannot be read has no offset of its own.
                let there = event.offset.is_none_or(|found| found == offset);
                let it_is = there && self.ids.get(event.id) == Some(Some(offset));
                if it_is {
                    self.trust = Trust::Last;
                }
                it_is
            }
            Expected::Next(offset) => {
                let old = match (self.time, event.time) {
                    (Some(newest), Some(time)) => time < newest.plus_millis(-NEAR_MS),
                    _ => false,
                };
                event.offset == Some(offset) && !old
            }
        }
    }

    /// An event has come again, which was seen at the offset `seen_at` (none: seen at an offset
    /// that means nothing any more).
    fn repeat(&mut self, event: &Arrival, seen_at: Option<Offset>) -> Option<Gap> {
        let (offset, reached) = (event.offset?, self.next?);
        if offset < reached && seen_at == Some(offset) {
            if self.trust == Trust::None {
                self.trust = Trust::Repeat;
            }
            self.strange = 0;
        } else if offset < reached && seen_at.is_none() {
            self.ids.set_offset(event.id, offset);
        } else if offset == reached {
            // It lies twice in the source's own log, or was the last one before a renumbering.
            self.next = Some(offset + 1);
            self.ids.set_offset(event.id, offset);
        } else {
            self.strange += 1;
            // One strange offset may be an event that lies in the log twice. Two are not.
            if self.strange >= 2 {
                let jump = self.discontinuity(event, reached, offset);
                self.renumber();
                self.next = Some(offset + 1);
                self.ids.set_offset(event.id, offset);
                return Some(jump);
            }
        }
        None
    }

    /// An event has come for the first time.
    fn advance(&mut self, event: &Arrival) -> Option<Gap> {
        let gap = match (self.next, event.offset) {
            (Some(expected), Some(found)) if expected != found => {
                Some(self.discontinuity(event, expected, found))
            }
            _ => None,
        };
        if gap.as_ref().is_some_and(|gap| gap.kind == GapKind::Jump) {
            self.renumber();
        }
        self.strange = 0;
        self.next = match event.offset {
            Some(offset) => Some(offset + 1),
            None => self.next.map(|next| next + 1),
        };
        self.last = event.time.or(self.last);
        let at = event.offset.or(self.next.map(|next| next - 1));
        self.ids.insert(event.id, at);
        gap
    }

    fn discontinuity(&self, event: &Arrival, expected: Offset, found: Offset) -> Gap {
        let elapsed_ms = match (self.last, event.time) {
            (Some(last), Some(time)) => time.millis().saturating_sub(last.millis()).max(0),
            _ => 0,
        };
        let missing = found.saturating_sub(expected);
        let most = SMALL_GAP.saturating_add((elapsed_ms / 1000).saturating_mul(MOST_EVENTS_PER_S));
        let lost = missing > 0 && missing <= most && self.strange == 0;
        Gap {
            topic: event.place.topic.to_string(),
            partition: event.place.partition,
            expected,
            found,
            missing: if lost { missing } else { 0 },
            kind: if lost { GapKind::Gap } else { GapKind::Jump },
            after: self.last,
            before: event.time,
        }
    }

    /// The offsets are another cluster's from now on.
    fn renumber(&mut self) {
        self.numbering += 1;
        self.ids.forget_offsets();
        self.trust = Trust::None;
        self.strange = 0;
    }
}

#[cfg(test)]
mod tests;
