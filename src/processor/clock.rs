//! The time of an operator: how far its records have come, and by what windows close.
//!
//! A row advances the stream time before it is judged. Behind a repartition rows were judged on the
//! near side; here windows close by the lowest time of the upstream partitions.
//!
//! An upstream that is read to its end and silent holds nothing up for long: it says so again and
//! again, and each time vouches for what others had reached when it last said so. What came into it
//! before that has been read since. One that cannot speak, because its process stands still or is
//! gone, vouches for nothing.

use std::collections::BTreeMap;

use crate::codec::{Decode, Encode};
use crate::time::Timestamp;

/// How far the folds of a task have come; stored with every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    nodes: BTreeMap<String, NodeProgress>,
}

/// How far one fold has come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeProgress {
    /// The highest event time seen.
    pub stream_time_ms: i64,
    /// The results of all windows that begin before this (of sessions: end before this) have left
    /// (`emit: close`), or are no longer kept (`emit: updates`).
    pub emitted_until_ms: i64,
    /// Behind a repartition: how far each upstream partition has come.
    pub upstream: BTreeMap<i32, Upstream>,
    /// Behind a repartition: how many upstream partitions there are.
    pub upstream_partitions: u32,
}

/// How far an upstream partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Upstream {
    /// The highest event time seen in it.
    pub stream_time_ms: i64,
    /// Whether it is read to its end, and nothing has come for a while.
    pub silent: bool,
}

/// The stream time of one writer of a repartition topic, sent along with its partial results.
#[derive(Debug, Encode, Decode)]
pub(super) struct UpstreamTime {
    pub(super) partition: i32,
    pub(super) partitions: u32,
    pub(super) stream_time_ms: i64,
    pub(super) silent: bool,
}

impl Default for NodeProgress {
    fn default() -> NodeProgress {
        NodeProgress {
            stream_time_ms: i64::MIN,
            emitted_until_ms: i64::MIN,
            upstream: BTreeMap::new(),
            upstream_partitions: 0,
        }
    }
}

impl Progress {
    /// The progress of a node; that of a new one if it has none.
    pub fn of(&self, node: &str) -> NodeProgress {
        self.nodes.get(node).cloned().unwrap_or_default()
    }

    /// Sets the progress of a node.
    pub fn set(&mut self, node: &str, progress: NodeProgress) {
        self.nodes.insert(node.to_owned(), progress);
    }

    /// Whether no node has any.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds the nodes of another task part.
    pub fn extend(&mut self, other: Progress) {
        self.nodes.extend(other.nodes);
    }
}

/// The time of an operator at work.
pub(super) struct StreamClock {
    pub(super) progress: NodeProgress,
    /// Whether its rows come through one, whose near sides say how far they are. Until all of them
    /// have, nothing is known.
    is_behind_repartition: bool,
    /// What silent upstreams vouch for. Not kept: after a restart they soon say it again.
    vouched: BTreeMap<i32, Vouched>,
}

/// For what a silent upstream vouches: whatever it had of before that time has come.
struct Vouched {
    until_ms: i64,
    /// For what it will when it says again that it is silent.
    next_ms: i64,
}

impl StreamClock {
    pub(super) fn new(progress: NodeProgress, is_behind_repartition: bool) -> StreamClock {
        StreamClock {
            progress,
            is_behind_repartition,
            vouched: BTreeMap::new(),
        }
    }

    /// The highest event time seen.
    pub(super) fn stream_time(&self) -> Timestamp {
        Timestamp(self.progress.stream_time_ms)
    }

    /// A row has come, or a partial result.
    pub(super) fn advance(&mut self, time: Timestamp) {
        self.progress.stream_time_ms = self.progress.stream_time_ms.max(time.0);
    }

    /// An upstream partition has said how far it is.
    pub(super) fn upstream(&mut self, time: &UpstreamTime) {
        self.progress.upstream_partitions = time.partitions;
        let unknown = Upstream {
            stream_time_ms: i64::MIN,
            silent: false,
        };
        let known = self.progress.upstream.entry(time.partition);
        let known = known.or_insert(unknown);
        *known = Upstream {
            stream_time_ms: time.stream_time_ms.max(known.stream_time_ms),
            silent: time.silent,
        };
        match time.silent {
            false => {
                self.vouched.remove(&time.partition);
            }
            true => {
                let highest_ms = self.highest_ms();
                let vouched = self.vouched.entry(time.partition).or_insert(Vouched {
                    until_ms: i64::MIN,
                    next_ms: i64::MIN,
                });
                vouched.until_ms = vouched.next_ms;
                vouched.next_ms = highest_ms;
            }
        }
    }

    pub(super) fn is_behind_repartition(&self) -> bool {
        self.is_behind_repartition
    }

    /// Whether some upstreams have not said yet how far they are.
    fn lacks_upstreams(&self) -> bool {
        let known = self.progress.upstream.len();
        known == 0 || known < self.progress.upstream_partitions as usize
    }

    /// The highest time of an upstream.
    fn highest_ms(&self) -> i64 {
        let times = self.progress.upstream.values().map(|u| u.stream_time_ms);
        times.max().unwrap_or(i64::MIN)
    }

    /// The time by which windows close.
    pub(super) fn closing_time(&self) -> Timestamp {
        if !self.is_behind_repartition {
            return self.stream_time();
        }
        if self.lacks_upstreams() {
            return Timestamp::MIN;
        }
        let upstream = self.progress.upstream.iter().map(|(partition, upstream)| {
            let vouched = self.vouched.get(partition);
            vouched.map_or(upstream.stream_time_ms, |vouched| {
                upstream.stream_time_ms.max(vouched.until_ms)
            })
        });
        Timestamp(upstream.min().unwrap_or(i64::MIN))
    }

    /// The time by which windows close when nothing has come for so long, if they close by that
    /// after `idle_close_ms`.
    pub(super) fn closing_time_after(&self, idle_close_ms: Option<i64>, idle_ms: i64) -> Timestamp {
        let closing_time = self.closing_time();
        let is_idle = idle_close_ms.is_some_and(|after_ms| idle_ms >= after_ms);
        let seen = closing_time.max(self.stream_time());
        match is_idle && seen > Timestamp::MIN && self.is_upstream_silent() {
            true => seen.plus_millis(idle_ms),
            false => closing_time,
        }
    }

    /// Whether nothing is on its way: that all upstream partitions have said so, and vouch for
    /// everything that has come.
    fn is_upstream_silent(&self) -> bool {
        if !self.is_behind_repartition {
            return true;
        }
        let is_silent = self.progress.upstream.values().all(|u| u.silent);
        !self.lacks_upstreams() && is_silent && self.closing_time().0 >= self.highest_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(clock: &mut StreamClock, partition: i32, stream_time_ms: i64, silent: bool) {
        clock.upstream(&UpstreamTime {
            partition,
            partitions: 2,
            stream_time_ms,
            silent,
        });
    }

    #[test]
    fn a_silent_upstream_vouches_for_what_others_had_reached_when_it_last_said_so() {
        let mut clock = StreamClock::new(NodeProgress::default(), true);
        say(&mut clock, 0, 5, false);
        assert_eq!(clock.closing_time(), Timestamp::MIN, "one is not known");
        say(&mut clock, 1, 3, true);
        assert_eq!(clock.closing_time(), Timestamp(3));
        say(&mut clock, 0, 100, false);
        assert_eq!(
            clock.closing_time(),
            Timestamp(3),
            "it had not reached that"
        );
        say(&mut clock, 1, 3, true);
        assert_eq!(clock.closing_time(), Timestamp(5));
        say(&mut clock, 1, 3, true);
        assert_eq!(clock.closing_time(), Timestamp(100));
        say(&mut clock, 1, 50, false);
        assert_eq!(clock.closing_time(), Timestamp(50), "by its own time again");
    }

    /// Rows may be read in one commit, and how far their partition is with the next.
    #[test]
    fn behind_a_repartition_nothing_is_known_before_the_first_word() {
        let mut clock = StreamClock::new(NodeProgress::default(), true);
        clock.advance(Timestamp(100));
        assert_eq!(clock.closing_time(), Timestamp::MIN);
        assert_eq!(clock.closing_time_after(Some(10), 20), Timestamp::MIN);
        let mut clock = StreamClock::new(NodeProgress::default(), false);
        clock.advance(Timestamp(100));
        assert_eq!(clock.closing_time(), Timestamp(100));
        assert_eq!(clock.closing_time_after(Some(10), 20), Timestamp(120));
    }

    #[test]
    fn silence_counts_once_all_vouch_for_everything() {
        let mut clock = StreamClock::new(NodeProgress::default(), true);
        clock.advance(Timestamp(100));
        say(&mut clock, 0, 100, true);
        say(&mut clock, 1, 3, true);
        let after = |clock: &StreamClock| clock.closing_time_after(Some(10), 20);
        assert_eq!(after(&clock), Timestamp(3));
        say(&mut clock, 1, 3, true);
        assert_eq!(after(&clock), Timestamp(120));
    }

    #[test]
    fn after_a_restart_silence_has_to_be_said_anew() {
        let mut clock = StreamClock::new(NodeProgress::default(), true);
        say(&mut clock, 0, 100, false);
        say(&mut clock, 1, 3, true);
        say(&mut clock, 1, 3, true);
        assert_eq!(clock.closing_time(), Timestamp(100));
        let mut clock = StreamClock::new(clock.progress, true);
        assert_eq!(clock.closing_time(), Timestamp(3));
        say(&mut clock, 1, 3, true);
        say(&mut clock, 1, 3, true);
        assert_eq!(clock.closing_time(), Timestamp(100));
    }
}
