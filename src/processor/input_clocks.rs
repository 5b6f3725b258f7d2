//! How far the inputs of a task have come: by that time goes on for operators whose rows come from other
//! partitions, and for processors of users.
//!
//! The near sides of a repartition say how far they are. The time of an input is the lowest of those that
//! its upstream partitions have reached; until each has said something, nothing is known. The time of an
//! input that is read from its source is the highest that was read.
//!
//! An upstream that is read to its end and silent holds nothing up for long: it says so again and
//! again, and each time vouches for what the others had reached when it last said so, those of other
//! inputs of the same operator too. What came into it before that has been read since. So does a source that
//! is read beside a repartition. One that cannot speak, because its process stands still or is gone, vouches
//! for nothing.

use std::collections::BTreeMap;

use super::clock::{NodeProgress, Progress, Upstream};
use crate::codec::{Decode, Encode};
use crate::time::Timestamp;
use crate::topology::plan::{Operator, SubTopology, TimeSource, Work};

/// Under which name it is kept how far the task has come: that of no node.
const TOLD: &str = "task:";

/// The only upstream of a source: its own partition.
const OWN: i32 = -1;

/// For how long nothing has come, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Idle {
    /// For how long all inputs of the task have been at their ends and nothing has come but the word of
    /// upstreams how far they are; 0 while something waits to be read, be it such a word.
    pub task_ms: i64,
    /// For how long nothing but such words has come, whether or not something waits.
    pub quiet_ms: i64,
    /// By input: for how long that has been at its end, and nothing at all has come.
    pub inputs_ms: Vec<i64>,
}

/// The stream time of one writer of a repartition topic, sent along with its partial results.
#[derive(Debug, Encode, Decode)]
pub(super) struct UpstreamTime {
    pub(super) partition: i32,
    pub(super) partitions: u32,
    pub(super) stream_time_ms: i64,
    pub(super) silent: bool,
}

/// The clocks of a task's inputs.
pub(super) struct InputClocks {
    /// None, where nobody asks for them.
    inputs: Vec<InputClock>,
    /// Whether the inputs have no other partition than the task's.
    is_alone: bool,
    /// Whether there are processors of users, to be told the time.
    tells: bool,
    /// The highest time that they were told. After a restart the upstreams have to say again what they vouch
    /// for; until then this holds.
    told: Timestamp,
}

/// What is read to its end says after so long that it is silent; a source again after as long.
pub(super) const SILENT_AFTER_MS: i64 = 5_000;

/// The clock of an input.
struct InputClock {
    /// Under which name its progress is kept: that of no node.
    name: String,
    progress: NodeProgress,
    /// Whether its records come from other partitions, whose near sides say how far they are.
    is_moved: bool,
    /// The inputs whose rows come to the same operators, itself included: for those a silent upstream vouches.
    peers: Vec<usize>,
    /// What silent upstreams vouch for. Not kept: after a restart they soon say it again.
    vouched: BTreeMap<i32, Vouched>,
    /// Of a source, for how long nothing had come when that was last said, in milliseconds; none: something
    /// has come since.
    silent_ms: Option<i64>,
    /// The lowest time that the upstreams have reached or vouch for; of a source, that it has.
    reached: Timestamp,
}

/// For what a silent upstream vouches: whatever it had of before that time has come.
#[derive(Clone, Copy)]
struct Vouched {
    until_ms: i64,
    /// For what it will when it says again that it is silent.
    next_ms: i64,
}

impl InputClocks {
    /// Those of a task in which nobody asks for them.
    pub(super) fn none() -> InputClocks {
        InputClocks {
            inputs: Vec::new(),
            is_alone: true,
            tells: false,
            told: Timestamp::MIN,
        }
    }

    /// Those of a task whose inputs have so many partitions, going on from `progress`.
    pub(super) fn new(plan: &SubTopology, partitions: u32, progress: &Progress) -> InputClocks {
        let mut all = plan.operators.iter();
        let tells = all.any(|operator| matches!(operator.work, Work::Process(_)));
        let is_asked_for = |operator: &Operator| match &operator.work {
            Work::Fold(_) => true,
            Work::Send(send) => send.tells_time.is_some(),
            work => work.time().is_some_and(|time| time.is_upstream),
        };
        if !tells && !plan.operators.iter().any(is_asked_for) {
            return InputClocks::none();
        }
        let inputs = plan.inputs.iter().enumerate().map(|(number, input)| {
            let name = format!("input:{}", input.topics[0]);
            let progress = progress.of(&name);
            let is_moved = input.reader.brings_time();
            InputClock::new(name, is_moved, peers(plan, number), progress)
        });
        InputClocks {
            inputs: inputs.collect(),
            is_alone: partitions == 1,
            tells,
            told: Timestamp(progress.of(TOLD).stream_time_ms),
        }
    }

    /// A record of this event time is read from an input. Gives the highest of that input.
    pub(super) fn advance(&mut self, input: usize, time: Timestamp) -> Timestamp {
        let Some(input) = self.inputs.get_mut(input) else {
            return time;
        };
        let highest_ms = &mut input.progress.stream_time_ms;
        *highest_ms = time.0.max(*highest_ms);
        let highest = Timestamp(*highest_ms);
        if !input.is_moved {
            if input.silent_ms.take().is_some() {
                input.vouched.clear();
            }
            input.reached = highest;
        }
        self.tell();
        highest
    }

    /// Before a commit: for how long each input has been at its end, and nothing has come.
    pub(super) fn listen(&mut self, idle: &Idle) {
        for (input, idle_ms) in idle.inputs_ms.iter().enumerate() {
            if self
                .inputs
                .get(input)
                .is_some_and(|it| it.is_silence_news(*idle_ms))
            {
                let highest_ms = self.highest_ms(input);
                let source = &mut self.inputs[input];
                source.silent_ms = Some(*idle_ms);
                source.vouch(OWN, highest_ms);
                source.reach();
            }
        }
        self.tell();
    }

    /// Whether it matters for how long nothing has come from a source: it is read beside a repartition.
    pub(super) fn listens(&self) -> bool {
        self.inputs.iter().any(|input| !input.is_moved) && self.inputs.iter().any(|it| it.is_moved)
    }

    /// Whether [`InputClocks::listen`] would hear something new.
    pub(super) fn hears(&self, idle: &Idle) -> bool {
        let mut inputs = self.inputs.iter().zip(&idle.inputs_ms);
        self.listens() && inputs.any(|(input, idle_ms)| input.is_silence_news(*idle_ms))
    }

    /// The highest time of an input and its peers.
    fn highest_ms(&self, input: usize) -> i64 {
        let peers = self.inputs[input].peers.iter();
        let times = peers.map(|peer| self.inputs[*peer].highest_ms());
        times.max().unwrap_or(i64::MIN)
    }

    /// An upstream partition of an input has said how far it is.
    pub(super) fn upstream(&mut self, input: usize, time: &UpstreamTime) {
        let Some(clock) = self.inputs.get_mut(input) else {
            return;
        };
        clock.take(time);
        match time.silent {
            false => {
                clock.vouched.remove(&time.partition);
            }
            true => {
                let highest_ms = self.highest_ms(input);
                self.inputs[input].vouch(time.partition, highest_ms);
            }
        }
        self.inputs[input].reach();
        self.tell();
    }

    /// The time of the near side of a repartition whose own rows have come to `own`. Rows that do not get
    /// that far count as well, where they say something of those that do, and somebody waits to hear it: for
    /// the only partition nobody waits, and stream time is that of the rows, as in Kafka Streams.
    pub(super) fn time_of_near(&self, source: &TimeSource, own: Timestamp) -> Timestamp {
        match source.only_input() {
            Some(input) if !self.is_alone => {
                own.max(Timestamp(self.inputs[input].progress.stream_time_ms))
            }
            _ => self.time_of(source, own),
        }
    }

    /// The time of an operator whose own rows have come to `own`.
    pub(super) fn time_of(&self, source: &TimeSource, own: Timestamp) -> Timestamp {
        if !source.is_upstream {
            return own;
        }
        let inputs = source.inputs.iter();
        let times = inputs.map(|input| self.inputs[*input].reached);
        let time = times.min().unwrap_or(Timestamp::MIN);
        let time = match time {
            Timestamp::MIN => time,
            time => time.plus_millis(-source.held_ms),
        };
        match source.waits_for_rows {
            true => time.min(own),
            false => time,
        }
    }

    /// Whether nothing is on its way to an operator from other partitions: they all have said so, and
    /// vouch for everything that has come.
    pub(super) fn are_silent(&self, source: &TimeSource) -> bool {
        let mut inputs = source.inputs.iter();
        !source.is_upstream || inputs.all(|input| self.inputs[*input].is_silent())
    }

    /// How far the task has come, as its processors see it: the lowest time of the inputs whose records come
    /// from other partitions; without such, the highest that was read. None before that is known.
    pub(super) fn task_time(&self) -> Option<Timestamp> {
        (self.told > Timestamp::MIN).then_some(self.told)
    }

    fn tell(&mut self) {
        if !self.tells {
            return;
        }
        let moved = self.inputs.iter().filter(|input| input.is_moved);
        let lowest = moved.map(|input| input.reached).min();
        let highest = || {
            let times = self.inputs.iter().map(|it| it.progress.stream_time_ms);
            Timestamp(times.max().unwrap_or(i64::MIN))
        };
        self.told = self.told.max(lowest.unwrap_or_else(highest));
    }

    /// To be stored with the commit.
    pub(super) fn save(&self, progress: &mut Progress) {
        for input in &self.inputs {
            progress.set(&input.name, input.progress.clone());
        }
        if self.tells {
            let told = NodeProgress {
                stream_time_ms: self.told.0,
                ..NodeProgress::default()
            };
            progress.set(TOLD, told);
        }
    }
}

/// The inputs whose rows come to an operator to which those of this one come. The rows of a table that is
/// only looked up come to none: however new they are, they say nothing of the stream.
fn peers(plan: &SubTopology, input: usize) -> Vec<usize> {
    let sources = plan.operators.iter().filter_map(|it| it.work.time());
    let mut peers = vec![input];
    for source in sources.filter(|source| source.inputs.contains(&input)) {
        peers.extend(&source.inputs);
    }
    peers.sort_unstable();
    peers.dedup();
    peers
}

impl InputClock {
    fn new(name: String, is_moved: bool, peers: Vec<usize>, progress: NodeProgress) -> InputClock {
        let mut clock = InputClock {
            name,
            progress,
            is_moved,
            peers,
            vouched: BTreeMap::new(),
            silent_ms: None,
            reached: Timestamp::MIN,
        };
        clock.reach();
        clock
    }

    /// An upstream partition has said how far it is.
    fn take(&mut self, time: &UpstreamTime) {
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
    }

    /// A silent upstream vouches for what was the highest when it last said so.
    fn vouch(&mut self, partition: i32, highest_ms: i64) {
        let known = self.vouched.entry(partition).or_insert(Vouched {
            until_ms: i64::MIN,
            next_ms: i64::MIN,
        });
        known.until_ms = known.next_ms;
        known.next_ms = highest_ms;
    }

    /// Whether some upstreams have not said yet how far they are.
    fn lacks_upstreams(&self) -> bool {
        let known = self.progress.upstream.len();
        known == 0 || known < self.progress.upstream_partitions as usize
    }

    /// The highest time of a record or an upstream.
    fn highest_ms(&self) -> i64 {
        let upstream = self.progress.upstream.values();
        let times = upstream.map(|upstream| upstream.stream_time_ms);
        times.fold(self.progress.stream_time_ms, i64::max)
    }

    fn reach(&mut self) {
        if !self.is_moved {
            let vouched_ms = self.vouched.get(&OWN).map(|vouched| vouched.until_ms);
            let reached_ms = self.progress.stream_time_ms;
            self.reached = Timestamp(vouched_ms.map_or(reached_ms, |ms| ms.max(reached_ms)));
            return;
        }
        if self.lacks_upstreams() {
            return;
        }
        let upstream = self.progress.upstream.iter().map(|(partition, upstream)| {
            let vouched = self.vouched.get(partition);
            vouched.map_or(upstream.stream_time_ms, |vouched| {
                upstream.stream_time_ms.max(vouched.until_ms)
            })
        });
        self.reached = Timestamp(upstream.min().unwrap_or(i64::MIN));
    }

    /// Whether all upstreams have said that they are silent, and vouch for everything that has come.
    fn is_silent(&self) -> bool {
        let is_silent = match self.is_moved {
            true => !self.lacks_upstreams() && self.progress.upstream.values().all(|u| u.silent),
            false => self.silent_ms.is_some(),
        };
        is_silent && self.reached.0 >= self.highest_ms()
    }

    /// Whether it is to be said of a source that nothing has come for so long.
    fn is_silence_news(&self, idle_ms: i64) -> bool {
        let due_ms = self.silent_ms.unwrap_or(0) + SILENT_AFTER_MS;
        !self.is_moved && idle_ms >= due_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clocks of so many inputs, all of them behind repartitions.
    fn clocks(inputs: usize) -> InputClocks {
        let all: Vec<usize> = (0..inputs).collect();
        let input = |input: &usize| {
            InputClock::new(
                format!("{input}"),
                true,
                all.clone(),
                NodeProgress::default(),
            )
        };
        InputClocks {
            inputs: all.iter().map(input).collect(),
            is_alone: false,
            tells: true,
            told: Timestamp::MIN,
        }
    }

    fn say(clocks: &mut InputClocks, input: usize, partition: i32, time_ms: i64, silent: bool) {
        let time = UpstreamTime {
            partition,
            partitions: 2,
            stream_time_ms: time_ms,
            silent,
        };
        clocks.upstream(input, &time);
    }

    fn source(inputs: &[usize]) -> TimeSource {
        TimeSource {
            inputs: inputs.to_vec(),
            is_upstream: !inputs.is_empty(),
            ..TimeSource::default()
        }
    }

    /// The time of an operator behind these inputs.
    fn time(clocks: &InputClocks, inputs: &[usize]) -> Timestamp {
        clocks.time_of(&source(inputs), Timestamp(1_000))
    }

    #[test]
    fn a_silent_upstream_vouches_for_what_others_had_reached_when_it_last_said_so() {
        let clocks = &mut clocks(1);
        say(clocks, 0, 0, 5, false);
        assert_eq!(time(clocks, &[0]), Timestamp::MIN, "one is not known");
        say(clocks, 0, 1, 3, true);
        assert_eq!(time(clocks, &[0]), Timestamp(3));
        say(clocks, 0, 0, 100, false);
        assert_eq!(time(clocks, &[0]), Timestamp(3), "it had not reached that");
        say(clocks, 0, 1, 3, true);
        assert_eq!(time(clocks, &[0]), Timestamp(5));
        say(clocks, 0, 1, 3, true);
        assert_eq!(time(clocks, &[0]), Timestamp(100));
        say(clocks, 0, 1, 50, false);
        assert_eq!(time(clocks, &[0]), Timestamp(50), "by its own time again");
    }

    #[test]
    fn an_input_that_is_silent_does_not_hold_up_another_one() {
        let clocks = &mut clocks(2);
        for partition in 0..2 {
            say(clocks, 0, partition, 3, true);
            say(clocks, 1, partition, 100, false);
        }
        assert_eq!(time(clocks, &[0, 1]), Timestamp(3));
        for partition in [0, 1, 0, 1] {
            say(clocks, 0, partition, 3, true);
        }
        assert_eq!(time(clocks, &[0, 1]), Timestamp(100));
        assert_eq!(clocks.task_time(), Some(Timestamp(100)));
        assert!(!clocks.are_silent(&source(&[0, 1])));
    }

    #[test]
    fn a_source_beside_a_repartition_counts_until_it_is_silent() {
        let clocks = &mut clocks(2);
        clocks.inputs[1].is_moved = false;
        let idle = |ms| Idle {
            inputs_ms: vec![0, ms],
            ..Idle::default()
        };
        say(clocks, 0, 0, 100, false);
        say(clocks, 0, 1, 100, false);
        assert_eq!(time(clocks, &[0, 1]), Timestamp::MIN);
        assert_eq!(clocks.advance(1, Timestamp(7)), Timestamp(7));
        assert_eq!(clocks.advance(1, Timestamp(5)), Timestamp(7));
        assert_eq!(time(clocks, &[0, 1]), Timestamp(7));
        for (ms, heard, expected) in [
            (4_000, false, 7),
            (5_000, true, 7),
            (9_000, false, 7),
            (10_000, true, 100),
        ] {
            assert_eq!(clocks.hears(&idle(ms)), heard, "{ms}");
            clocks.listen(&idle(ms));
            assert_eq!(time(clocks, &[0, 1]), Timestamp(expected), "{ms}");
        }
        clocks.advance(1, Timestamp(8));
        assert_eq!(time(clocks, &[0, 1]), Timestamp(8), "by its own time again");
    }

    /// Rows may be read in one commit, and how far their partition is with the next.
    #[test]
    fn nothing_is_known_before_the_first_word() {
        let clocks = &mut clocks(1);
        assert_eq!(clocks.advance(0, Timestamp(100)), Timestamp(100));
        assert_eq!(time(clocks, &[0]), Timestamp::MIN);
        assert!(!clocks.are_silent(&source(&[0])));
        assert_eq!(time(clocks, &[]), Timestamp(1_000), "its own");
    }

    #[test]
    fn what_is_held_back_holds_time_back() {
        let clocks = &mut clocks(1);
        let mut source = source(&[0]);
        source.held_ms = 30;
        let time = |clocks: &InputClocks, own| clocks.time_of(&source, Timestamp(own));
        assert_eq!(time(clocks, 40), Timestamp::MIN);
        say(clocks, 0, 0, 100, false);
        say(clocks, 0, 1, 100, false);
        assert_eq!(time(clocks, 40), Timestamp(70));
        source.waits_for_rows = true;
        let time = |clocks: &InputClocks, own| clocks.time_of(&source, Timestamp(own));
        assert_eq!(time(clocks, 40), Timestamp(40));
        assert_eq!(time(clocks, 80), Timestamp(70));
    }

    #[test]
    fn silence_counts_once_all_vouch_for_everything() {
        let clocks = &mut clocks(1);
        say(clocks, 0, 0, 100, true);
        say(clocks, 0, 1, 3, true);
        assert!(!clocks.are_silent(&source(&[0])));
        say(clocks, 0, 1, 3, true);
        assert!(clocks.are_silent(&source(&[0])));
    }

    #[test]
    fn after_a_restart_silence_has_to_be_said_anew() {
        let before = &mut clocks(1);
        say(before, 0, 0, 100, false);
        say(before, 0, 1, 3, true);
        say(before, 0, 1, 3, true);
        assert_eq!(time(before, &[0]), Timestamp(100));
        let clocks = &mut clocks(1);
        let progress = before.inputs[0].progress.clone();
        clocks.inputs[0] = InputClock::new("0".to_owned(), true, vec![0], progress);
        assert_eq!(time(clocks, &[0]), Timestamp(3));
        say(clocks, 0, 1, 3, true);
        say(clocks, 0, 1, 3, true);
        assert_eq!(time(clocks, &[0]), Timestamp(100));
    }
}
