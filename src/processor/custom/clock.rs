//! The stream time of a task, as its processors see it.

use crate::processor::clock::{NodeProgress, Progress, StreamClock, UpstreamTime};
use crate::time::Timestamp;
use crate::topology::plan::{Input, Reader, RowTopic};

/// How far a task has come: the highest event time that it has read; behind a repartition, the lowest
/// of those that the upstream partitions have reached.
pub(in crate::processor) struct TaskClock {
    inputs: Vec<InputClock>,
    /// The highest time that it has told. After a restart the upstreams have to say again what they
    /// vouch for; until then this holds.
    told: Timestamp,
}

struct InputClock {
    /// Under which name its progress is kept: that of no node.
    name: String,
    clock: StreamClock,
}

impl TaskClock {
    /// Of a task in which nobody asks for it.
    pub(super) fn none() -> TaskClock {
        TaskClock {
            inputs: Vec::new(),
            told: Timestamp::MIN,
        }
    }

    pub(super) fn new(inputs: &[Input], progress: &Progress) -> TaskClock {
        let inputs = inputs.iter().map(|input| {
            let name = format!("input:{}", input.topics[0]);
            InputClock {
                clock: StreamClock::new(progress.of(&name), is_moved(&input.reader)),
                name,
            }
        });
        TaskClock {
            inputs: inputs.collect(),
            told: Timestamp(progress.of(TOLD).stream_time_ms),
        }
    }

    /// A record of this event time is read from an input.
    pub(in crate::processor) fn advance(&mut self, input: usize, time: Timestamp) {
        if let Some(input) = self.inputs.get_mut(input) {
            input.clock.advance(time);
            self.tell();
        }
    }

    /// An upstream partition of an input has said how far it is.
    pub(in crate::processor) fn upstream(&mut self, input: usize, time: &UpstreamTime) {
        if let Some(input) = self.inputs.get_mut(input) {
            input.clock.upstream(time);
            self.tell();
        }
    }

    fn tell(&mut self) {
        let clocks = || self.inputs.iter().map(|input| &input.clock);
        let moved = clocks().filter(|clock| clock.is_behind_repartition());
        let lowest = moved.map(StreamClock::closing_time).min();
        let highest = || {
            let times = clocks().map(StreamClock::stream_time);
            times.max().unwrap_or(Timestamp::MIN)
        };
        self.told = self.told.max(lowest.unwrap_or_else(highest));
    }

    /// How far it has come; none before that is known.
    pub(in crate::processor) fn time(&self) -> Option<Timestamp> {
        (self.told > Timestamp::MIN).then_some(self.told)
    }

    /// To be stored with the commit.
    pub(in crate::processor) fn save(&self, progress: &mut Progress) {
        for input in &self.inputs {
            progress.set(&input.name, input.clock.progress.clone());
        }
        if !self.inputs.is_empty() {
            let told = NodeProgress {
                stream_time_ms: self.told.0,
                ..NodeProgress::default()
            };
            progress.set(TOLD, told);
        }
    }
}

/// Under which name it is kept how far the task has come: that of no node.
const TOLD: &str = "task:";

/// Whether its records come through a repartition, whose near sides say how far they are.
fn is_moved(reader: &Reader) -> bool {
    match reader {
        Reader::Partials => true,
        Reader::Rows(rows) => rows.topic == RowTopic::Repartition,
        Reader::Source(_) | Reader::Results(_) | Reader::Foreign => false,
    }
}
