//! Suppression: results that are updated again and again are held back, and what is held back of one
//! leaves in its last state.

use super::duration::Millis;
use super::graph::NodeName;

/// Holds back the updates of an aggregate's results. A later update takes the place of an earlier one
/// of the same key and window.
#[derive(Clone, Debug)]
pub struct Suppress {
    /// The input.
    pub from: NodeName,
    /// For how long.
    pub until: Until,
    /// How many results are held back at most, in each partition.
    pub max_rows: Option<u64>,
    /// How many bytes they may take together, in each partition.
    pub max_bytes: Option<u64>,
    /// What happens when there are more; none: see [`Suppress::reaction`].
    pub when_full: Option<WhenFull>,
}

/// For how long a result is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until its window is closed.
    Close,
    /// Until stream time is so far beyond the time of the first update that was held back.
    TimeLimit {
        /// In milliseconds, above 0.
        ms: i64,
    },
}

/// What happens when more is held back than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// What has waited longest leaves before its time.
    Emit,
    /// The process stops and says where.
    Stop,
}

impl Suppress {
    /// Holds back the results of a window until it is closed: each leaves once.
    pub fn until_close() -> Suppress {
        Suppress::until(Until::Close)
    }

    /// Lets of the updates of a key (and window) one pass in so much time.
    pub fn time_limit(limit: impl Into<Millis>) -> Suppress {
        Suppress::until(Until::TimeLimit { ms: limit.into().0 })
    }

    fn until(until: Until) -> Suppress {
        Suppress {
            from: NodeName::new(""),
            until,
            max_rows: None,
            max_bytes: None,
            when_full: None,
        }
    }

    /// How many results are held back at most, in each partition; any number unless set.
    #[must_use]
    pub fn max_rows(mut self, rows: u64) -> Suppress {
        self.max_rows = Some(rows);
        self
    }

    /// How many bytes they may take together, in each partition; any number unless set.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Suppress {
        self.max_bytes = Some(bytes);
        self
    }

    /// What happens when there are more.
    #[must_use]
    pub fn when_full(mut self, reaction: WhenFull) -> Suppress {
        self.when_full = Some(reaction);
        self
    }

    /// What happens when more is held back than may be. Unless it is said, results that wait for
    /// their time leave early, and the process stops rather than let out one whose window is open.
    pub fn reaction(&self) -> WhenFull {
        self.when_full.unwrap_or(match self.until {
            Until::Close => WhenFull::Stop,
            Until::TimeLimit { .. } => WhenFull::Emit,
        })
    }
}
