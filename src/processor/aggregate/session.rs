//! Session windows: one accumulator per session, kept under its end and its key.
//!
//! ```text
//!   gap 30 s     |--- A ---|   x   |-- B --|        x reaches A and B:
//!                |----------- A x B -------|        the three become one session
//! ```
//!
//! A session that grows or merges is another window than before: what has left about the old one is
//! taken back, then the new result is sent.

use super::fixed::Closing;
use super::store::Store;
use super::timelines::{Entry, KeyId, Timelines};
use super::{Addition, Flush};
use crate::codec::{self, Decode, Encode};
use crate::processor::ProcessError;
use crate::processor::table::{Folded, FoldedError, Kept};
use crate::state::StateBatch;
use crate::time::Timestamp;
use crate::topology::graph::{Emit, Function};
use crate::topology::plan::AggregatePlan;
use crate::window::{Place, Session};

/// A session; it is kept under its end.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::processor) struct SessionEntry {
    pub(super) start: Timestamp,
    pub(super) folded: Folded,
    /// Whether its result has left as it is; of what is read from the store, always.
    has_left: bool,
}

#[derive(Encode, Decode)]
struct Stored<F> {
    start_ms: i64,
    folded: F,
}

impl Kept for SessionEntry {
    fn heap_bytes(&self) -> usize {
        self.folded.heap_bytes()
    }
}

impl Entry for SessionEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        let stored = Stored {
            start_ms: self.start.0,
            folded: &self.folded,
        };
        codec::encode_into(&stored, out);
    }

    fn decode(bytes: &[u8], functions: &[Function]) -> Result<SessionEntry, FoldedError> {
        let Stored::<Folded> { start_ms, folded } = codec::decode(bytes)?;
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
    /// With `emit: updates`, what has happened since the last commit.
    news: Option<Vec<News>>,
    lines: Timelines<SessionEntry>,
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
    pub(super) fn new(windows: Session, emit: Emit, budget_bytes: usize) -> Sessions {
        Sessions {
            windows,
            news: (emit == Emit::Updates).then(Vec::new),
            lines: Timelines::new(
                windows.gap_ms.saturating_add(windows.grace_ms),
                budget_bytes,
            ),
        }
    }

    pub(super) fn add(
        &mut self,
        store: &Store<'_>,
        emitted_until: Timestamp,
        place: Place,
        group: &[u8],
        addition: &Addition<'_>,
    ) -> Result<u64, ProcessError> {
        let (time, open_from) = (place.at, self.windows.open_from(place.from));
        let (reach_back, reach_on) = (
            time.plus_millis(-self.windows.gap_ms),
            time.plus_millis(self.windows.gap_ms),
        );
        let key = self.lines.open(store, group, open_from.max(reach_back))?;
        // Sessions do not overlap, so of those that end late enough, those that begin early enough
        // come first.
        let within = |(_, session): &(Timestamp, &SessionEntry)| session.start <= reach_on;
        let everything = Timestamp(i64::MAX);
        let is_open = time >= open_from
            || self
                .lines
                .between(key, open_from.max(reach_back), everything)
                .take_while(within)
                .next()
                .is_some();
        if !is_open || self.lines.is_purged(time) {
            return Ok(1);
        }
        let key = self.lines.open(store, group, reach_back)?;
        let met: Vec<Timestamp> = self
            .lines
            .between(key, reach_back, everything)
            .take_while(within)
            .map(|(end, _)| end)
            .collect();
        let end = met.last().map_or(time, |end| time.max(*end));
        if end < emitted_until {
            return Ok(1);
        }
        self.join(store, key, time, &met, addition);
        Ok(0)
    }

    /// Makes one session of those that the record met and the record.
    fn join(
        &mut self,
        store: &Store<'_>,
        key: KeyId,
        time: Timestamp,
        met: &[Timestamp],
        addition: &Addition<'_>,
    ) {
        let mut joined: Option<SessionEntry> = None;
        let mut end = time;
        for old_end in met {
            end = end.max(*old_end);
            let Some(old) = self.lines.set(key, *old_end, None) else {
                continue;
            };
            let is_point = old.start == time && *old_end == time;
            if let (Some(news), true, false) = (&mut self.news, old.has_left, is_point) {
                news.push(News::Gone(key, old.start, *old_end));
            }
            match &mut joined {
                Some(joined) => joined.folded.merge(old.folded),
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
        let news = match session.folded.is_void() {
            true => News::Gone(key, session.start, end),
            false => {
                self.lines.set(key, end, Some(session));
                News::Changed(key, end)
            }
        };
        if let Some(all) = &mut self.news {
            all.push(news);
        }
    }

    pub(super) fn flush(
        &mut self,
        flush: &mut Flush<'_, '_>,
        closing: Closing,
    ) -> Result<(), ProcessError> {
        let news = self.news.as_mut().map(std::mem::take).unwrap_or_default();
        if flush.emits_updates() {
            // What is gone had left with an earlier commit. Told after a new session that begins
            // with it, it would take that one back.
            let (gone, changed): (Vec<News>, Vec<News>) = news
                .into_iter()
                .partition(|each| matches!(each, News::Gone(..)));
            for each in gone.into_iter().chain(changed) {
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
        self.lines.flush(flush)
    }

    fn tell(&mut self, flush: &mut Flush<'_, '_>, news: News) -> Result<(), ProcessError> {
        match news {
            News::Gone(key, start, end) => {
                let group = self.lines.group(key).to_vec();
                flush.emit(&group, start, end, Err(end))
            }
            News::Changed(key, end) => {
                let group = self.lines.group(key).to_vec();
                let Some(session) = self.lines.change(key, end) else {
                    return Ok(());
                };
                match std::mem::replace(&mut session.has_left, true) {
                    true => Ok(()),
                    false => {
                        let (start, folded) = (session.start, session.folded.clone());
                        flush.emit(&group, start, end, Ok(&folded))
                    }
                }
            }
        }
    }

    /// Drops sessions that end before `until`.
    pub(super) fn purge(&mut self, plan: &AggregatePlan, until: Timestamp, batch: &mut StateBatch) {
        self.lines.purge(plan.store, until, batch);
    }

    pub(super) fn committed(&mut self) {
        self.lines.trim();
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.is_full()
    }
}
