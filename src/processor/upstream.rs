//! How the near side of a repartition tells the far side how far it has come.
//!
//! Records reach the far side from many partitions, one of which may be hours ahead of another. So
//! each of them sends its stream time along, to all partitions, with the commit that holds what came
//! before; and says so when it has nothing more to send. A near side whose own rows come from other
//! partitions passes on how far those are.

use super::clock::NodeProgress;
use super::input_clocks::{Idle, InputClocks, SILENT_AFTER_MS, UpstreamTime};
use super::operator::{OperatorState, Surroundings};
use super::{Context, ProcessError, Produced, Row};
use crate::codec;
use crate::headers::PackedHeaders;
use crate::time::Timestamp;
use crate::topology::plan::{TimeNeed, TimeSource};

/// A partition that is silent says so again after so long, until something comes: where something waits for
/// it to go on.
const SILENT_AGAIN_MS: i64 = 5_000;

/// And where it matters only for how long state is kept.
const SILENT_AGAIN_RARELY_MS: i64 = 60_000;

/// The stream time of a near side.
pub(super) struct TimeTeller {
    source: TimeSource,
    /// Of rows from other partitions: the lowest time of those.
    stream_time: Timestamp,
    /// The highest event time of a row.
    highest: Timestamp,
    /// What was last sent along.
    sent: Timestamp,
    /// For how long nothing had come when that was last said, in milliseconds; none: something has
    /// come since.
    silent_ms: Option<i64>,
    silent_again_ms: i64,
    buffer: Vec<u8>,
}

impl TimeTeller {
    /// Going on from there.
    pub(super) fn new(progress: &NodeProgress, source: &TimeSource, need: TimeNeed) -> TimeTeller {
        let silent_again_ms = match need {
            TimeNeed::Release => SILENT_AGAIN_MS,
            TimeNeed::Retention => SILENT_AGAIN_RARELY_MS,
        };
        TimeTeller {
            source: source.clone(),
            stream_time: Timestamp(progress.stream_time_ms),
            highest: Timestamp(progress.stream_time_ms),
            sent: Timestamp(progress.stream_time_ms),
            silent_ms: None,
            silent_again_ms,
            buffer: Vec::new(),
        }
    }

    /// A row has come; gives the stream time that it is judged by.
    pub(super) fn judge_by(&mut self, row: &Row<'_, '_>, inputs: &InputClocks) -> Timestamp {
        self.highest = self.highest.max(row.time);
        match self.source.is_upstream {
            true => row.judged_by,
            false => inputs.time_of_near(&self.source, self.highest),
        }
    }

    /// The time that is told.
    pub(super) fn stream_time(&self) -> Timestamp {
        self.stream_time
    }

    /// Says how far it is, if that is news.
    pub(super) fn tell(
        &mut self,
        topic: &str,
        context: &mut Context<'_>,
        operators: &[OperatorState],
        idle: &Idle,
    ) -> Result<(), ProcessError> {
        let around = Surroundings {
            inputs: context.clocks,
            operators,
        };
        let time = around.inputs.time_of_near(&self.source, self.highest);
        // What is still to come of windows in front is not older than the first that is open.
        let held_from = around.held_from(&self.source).unwrap_or(Timestamp::MIN);
        self.stream_time = self.stream_time.max(time).max(held_from);
        let is_silence_news = self.acts_after(&around, idle);
        let speaks_again = self.silent_ms.is_some() && !self.is_quiet(&around, idle);
        if self.stream_time > self.sent || speaks_again || is_silence_news {
            if is_silence_news {
                self.silent_ms = Some(idle.task_ms);
            } else if speaks_again {
                self.silent_ms = None;
            }
            self.send(topic, context)?;
        }
        Ok(())
    }

    /// Whether nothing has come for so long that it counts as silence. What waits to be read may be no more
    /// than the word of an upstream.
    fn is_quiet(&self, around: &Surroundings<'_>, idle: &Idle) -> bool {
        idle.quiet_ms >= SILENT_AFTER_MS && around.are_silent(&self.source)
    }

    fn send(&mut self, topic: &str, context: &mut Context<'_>) -> Result<(), ProcessError> {
        let (partition, partitions) = context.partition();
        let time = UpstreamTime {
            partition,
            partitions,
            stream_time_ms: self.stream_time.0,
            silent: self.silent_ms.is_some(),
        };
        self.buffer.clear();
        codec::encode_into(&time, &mut self.buffer);
        for to in 0..context.outputs.partitions(topic) {
            context.outputs.produce(Produced {
                topic,
                partition: Some(to as i32),
                key: None,
                value: Some(&self.buffer),
                timestamp: self.stream_time,
                headers: PackedHeaders::NONE,
            })?;
        }
        self.sent = self.stream_time;
        Ok(())
    }

    /// Whether there is something to be said because nothing has come for so long.
    pub(super) fn acts_after(&self, around: &Surroundings<'_>, idle: &Idle) -> bool {
        let due_ms = match self.silent_ms {
            None => SILENT_AFTER_MS,
            Some(said_ms) => said_ms + self.silent_again_ms,
        };
        idle.task_ms >= due_ms && self.is_quiet(around, idle)
    }

    /// To be stored with the commit.
    pub(super) fn progress(&self) -> NodeProgress {
        NodeProgress {
            stream_time_ms: self.stream_time.0,
            ..NodeProgress::default()
        }
    }
}
