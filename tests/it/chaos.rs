//! The same job under fire: while events come in, processes are killed and frozen, servers are killed and
//! paused, lines are cut; and the tables are still exact.
//!
//! `TIDEMILL_TEST_LONG=1` plays more of each (docs/TESTING.md).

mod databases;
mod disks;
mod kafka;
mod lines;
mod members;
mod topics;

use std::time::{Duration, Instant};

use crate::harness::{Pair, Run, Tidemill, wait_for_tables, wait_until};

/// How long the events come in.
const FEED: Duration = Duration::from_secs(8);

/// Short, so that others take over soon what a dead process had.
const SESSION: [&str; 4] = ["--session-timeout", "3s", "--http", "off"];

/// Nothing here takes so long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// What tables must be at the end.
type Check = fn(&Run, &Pair, &str);

/// The main job on recorded events.
struct Job<'a> {
    run: Run,
    pair: &'a Pair,
    context: &'a str,
    /// How long the events come in.
    feed: Duration,
}

impl Job<'_> {
    /// Plays it while `harm` is done from the first rows on, which tells how often it could be before all
    /// was done. Holds the tables against `check` at the end, and the stores against the changelogs. Tells
    /// whether any harm was done.
    fn under(
        &self,
        mut members: Vec<Tidemill>,
        check: Check,
        harm: impl FnOnce(&mut Vec<Tidemill>) -> usize,
    ) -> bool {
        let mut feed = self.run.replay_within(self.pair, 6, self.feed);
        wait_until("the first rows", PATIENCE, || self.run.raw_rows() > Some(0));
        let harms = harm(&mut members);
        feed.succeed_within(self.feed + PATIENCE);
        wait_for_tables(&self.run, self.pair, &mut members);
        check(&self.run, self.pair, self.context);
        members.iter_mut().for_each(Tidemill::stop);
        self.run.assert_stores(self.context);
        eprintln!("{}: harmed {harms} times", self.context);
        harms > 0
    }

    fn members(&self, count: usize, arguments: &[&str]) -> Vec<Tidemill> {
        let member = |n| self.run.member_with(&format!("member-{n}"), arguments, &[]);
        (0..count).map(member).collect()
    }

    /// Whether everything is in the tables, and harm would meet nobody: a loaded machine is slow to do
    /// harm, and the feed does not wait.
    fn is_done(&self) -> bool {
        let is_done = self.run.raw_rows() == Some(self.pair.events());
        if is_done {
            eprintln!("{}: all was done", self.context);
        }
        is_done
    }

    /// Waits until the tables of aggregates grow again, by whoever runs, and says how long that took.
    fn recovers(&self) {
        let counted = || {
            let query = "SELECT CAST(SUM(events) AS CHAR) FROM edits_per_wiki_minute";
            self.run.database.number(query)
        };
        let begun = Instant::now();
        let mut before = None;
        wait_until("an answer", PATIENCE, || {
            before = counted();
            before.is_some()
        });
        if before < Some(self.pair.events()) {
            wait_until("rows after harm", PATIENCE, || counted() > before);
            let took = begun.elapsed().as_secs_f64();
            eprintln!("{}: rows again after {took:.1} s", self.context);
        }
    }
}

/// Plays something while the events come in for so long, which tells whether it came before all was done.
/// On a loaded machine it may not, and is played again more slowly.
fn in_time(context: &str, feed: Duration, played: impl FnMut(Duration) -> bool) {
    let is_in_time = [feed, 4 * feed].into_iter().any(played);
    assert!(
        is_in_time,
        "{context}: all was done before anything happened"
    );
}
