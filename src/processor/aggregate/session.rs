//! Session windows: one accumulator per session, kept under its end and its key.
//!
//! ```text
//!   gap 30 s     |--- A ---|   x   |-- B --|        x reaches A and B:
//!                |----------- A x B -------|        the three become one session
//! ```
//!
//! A session that grows or merges is another window than before: what has left about the old one is
//! taken back, then the new result is sent.

use super::{Addition, Closing, Flush, Keeper};
use crate::codec::{self, Decode, Encode};
use crate::processor::ProcessError;
use crate::processor::store::{Store, Stored};
use crate::processor::table::{Folded, FoldedError, Kept};
use crate::processor::timelines::{KeyId, Timelines};
use crate::state::{StateBatch, StoreId};
use crate::time::Timestamp;
use crate::topology::graph::{Emit, Function};
use crate::window::{Place, Session};

/// A session; it is kept under its end.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::processor) struct SessionEntry {
    pub(super) start: Timestamp,
    pub(super) folded: Folded,
    /// Whether its result has left as it is; of what is read from the store, always.
    has_left: bool,
}

/// How a session is written.
#[derive(Encode, Decode)]
struct Written<F> {
    start_ms: i64,
    folded: F,
}

impl Kept for SessionEntry {
    fn heap_bytes(&self) -> usize {
        self.folded.heap_bytes()
    }
}

impl Stored for SessionEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        let written = Written {
            start_ms: self.start.0,
            folded: &self.folded,
        };
        codec::encode_into(&written, out);
    }

    fn decode(bytes: &[u8], functions: &[Function]) -> Result<SessionEntry, FoldedError> {
        let Written::<Folded> { start_ms, folded } = codec::decode(bytes)?;
        folded.check(functions)?;
        Ok(SessionEntry {
            start: Timestamp(start_ms),
            folded,
            has_left: true,
        })
    }
}

pub(super) struct Sessions {
    windows: Session,
    /// How long after its end a session is met by records.
    kept_ms: i64,
    /// With `emit: updates`, what has happened since the last commit.
    news: Option<Vec<News>>,
    lines: Timelines<SessionEntry>,
    /// The ends of the sessions that a record meets; kept for its memory.
    met: Vec<Timestamp>,
}

/// What has happened to a session.
#[derive(Clone, Copy)]
enum News {
    /// It is no more, and its result has left.
    Gone(KeyId, Timestamp, Timestamp),
    /// There is one that ends then, and its result has to leave.
    Changed(KeyId, Timestamp),
}

impl Sessions {
    pub(super) fn new(windows: Session, kept_ms: i64, emit: Emit, budget_bytes: usize) -> Sessions {
        Sessions {
            windows,
            kept_ms,
            news: (emit == Emit::Updates).then(Vec::new),
            lines: Timelines::new(
                windows.gap_ms.saturating_add(windows.grace_ms),
                budget_bytes,
            ),
            met: Vec::new(),
        }
    }

    /// Makes one session of those that end at these times and a record.
    fn join(
        &mut self,
        store: &Store<'_>,
        key: KeyId,
        time: Timestamp,
        met: &[Timestamp],
        addition: &Addition<'_>,
    ) {
        let end = met.last().map_or(time, |end| time.max(*end));
        let mut joined: Option<SessionEntry> = None;
        // Whether it is to be told of a session with this end already.
        let mut is_told = false;
        for old_end in met {
            let Some(old) = self.lines.set(key, *old_end, None) else {
                continue;
            };
            is_told |= !old.has_left && *old_end == end;
            if let (Some(news), true) = (&mut self.news, old.has_left) {
                news.push(News::Gone(key, old.start, *old_end));
            }
            match &mut joined {
                Some(joined) => joined.folded.merge(&old.folded),
                None => joined = Some(old),
            }
        }
        let mut session = joined.unwrap_or_else(|| SessionEntry {
            start: time,
            folded: store.empty(),
            has_left: false,
        });
        session.start = session.start.min(time);
        session.has_left = false;
        addition.apply(&mut session.folded);
        // A session of which nothing is known is none.
        let is_gone = session.folded.is_void() || store.deletes(&session.folded);
        let news = match is_gone {
            true => News::Gone(key, session.start, end),
            false => {
                self.lines.set(key, end, Some(session));
                News::Changed(key, end)
            }
        };
        match (&mut self.news, news) {
            (Some(_), News::Changed(..)) if is_told => {}
            (Some(all), news) => all.push(news),
            (None, _) => {}
        }
    }

    fn has(&self, key: KeyId, start: Timestamp, end: Timestamp) -> bool {
        let session = self.lines.get(key, end);
        session.is_some_and(|session| session.start == start)
    }

    fn tell(&mut self, flush: &mut Flush<'_, '_>, news: News) -> Result<(), ProcessError> {
        match news {
            // One of a single point in time that is still that: the new result takes its place.
            News::Gone(key, start, end) if start == end && self.has(key, start, end) => Ok(()),
            News::Gone(key, start, end) => flush.emit(self.lines.group(key), start, end, Err(end)),
            News::Changed(key, end) => {
                // It may have become a part of another one, and is told of once.
                let Some(session) = self.lines.get(key, end).filter(|session| !session.has_left)
                else {
                    return Ok(());
                };
                let (start, folded) = (session.start, &session.folded);
                flush.emit(self.lines.group(key), start, end, Ok(folded))?;
                if let Some(session) = self.lines.change(key, end) {
                    session.has_left = true;
                }
                Ok(())
            }
        }
    }
}

impl Keeper for Sessions {
    fn add(
        &mut self,
        store: &Store<'_>,
        emitted_until: Timestamp,
        place: Place,
        group: &[u8],
        addition: &Addition<'_>,
    ) -> Result<u64, ProcessError> {
        let (time, open_from) = (place.at, self.windows.open_from(place.from));
        // What is past its retention is not met, whether or not it has been let go of.
        let kept_from = place.from.plus_millis(-self.kept_ms);
        let reach_back = kept_from.max(time.plus_millis(-self.windows.gap_ms));
        let reach_on = time.plus_millis(self.windows.gap_ms);
        // Sessions do not overlap, so of those that end late enough, those that begin early enough
        // come first.
        let within = |(_, session): &(Timestamp, &SessionEntry)| session.start <= reach_on;
        let everything = Timestamp(i64::MAX);
        let from = open_from.max(reach_back);
        let mut key = self.lines.open(store, group, from, everything)?;
        let mut young = self.lines.between(key, from, everything).take_while(within);
        let is_open = time >= open_from || young.next().is_some();
        drop(young);
        if !is_open {
            return Ok(1);
        }
        if reach_back < from {
            key = self.lines.open(store, group, reach_back, everything)?;
        }
        let mut met = std::mem::take(&mut self.met);
        met.clear();
        let reached = self.lines.between(key, reach_back, everything);
        met.extend(reached.take_while(within).map(|(end, _)| end));
        let end = met.last().map_or(time, |end| time.max(*end));
        let is_late = end < emitted_until || self.lines.is_purged(end);
        if !is_late {
            self.join(store, key, time, &met, addition);
        }
        self.met = met;
        Ok(u64::from(is_late))
    }

    fn flush(&mut self, flush: &mut Flush<'_, '_>, closing: Closing) -> Result<(), ProcessError> {
        let mut news = self.news.as_mut().map(std::mem::take).unwrap_or_default();
        if flush.emits_updates() {
            // What is gone had left with an earlier commit. Told after a new session that begins
            // with it, it would take that one back.
            news.sort_by_key(|each| matches!(each, News::Changed(..)));
            for each in news {
                self.tell(flush, each)?;
            }
        }
        if let Some((from, to)) = closing {
            let mut closed = self.lines.collect(&flush.store(), from..to)?;
            closed.sort_by(|(end, group, session), (other_end, other_group, other)| {
                (end, session.start, group).cmp(&(other_end, other.start, other_group))
            });
            for (end, group, session) in closed {
                flush.emit(&group, session.start, end, Ok(&session.folded))?;
            }
        }
        self.lines.flush(&mut flush.writer());
        Ok(())
    }

    fn purge(&mut self, store: StoreId, until: Timestamp, batch: &mut StateBatch) {
        self.lines.purge(store, until, batch);
    }

    fn trim(&mut self) {
        self.lines.trim();
    }

    fn is_full(&self) -> bool {
        self.lines.is_full()
    }
}
