//! The producers of a stream thread, one after the other, and what each has to know of those before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::outputs::Writer;
use super::thread::Shared;
use super::trouble::ThreadError;
use crate::broker::{Isolation, ProducerOptions, Refusals, TopicPartition};
use crate::topology::graph::Guarantee;

pub(super) struct Writers {
    shared: Arc<Shared>,
    /// Of the thread; also the transactional id.
    name: String,
    current: Option<Writer>,
    /// What topics have refused, while there is no producer.
    refusals: Refusals,
    /// Whether this process has not written anything yet.
    is_first: bool,
    /// Whether a producer was given up, and none has taken its place.
    is_given_up: bool,
}

impl Writers {
    /// Makes no producer yet.
    pub(super) fn new(shared: Arc<Shared>, name: String) -> Writers {
        Writers {
            shared,
            name,
            current: None,
            refusals: Refusals::new(),
            is_first: true,
            is_given_up: false,
        }
    }

    /// The producer of running tasks.
    ///
    /// # Panics
    /// Unless [`Writers::ensure`] came before.
    pub(super) fn current(&mut self) -> &mut Writer {
        let current = self.current.as_mut();
        current.expect("tasks are opened with a producer")
    }

    /// Makes a producer if there is none.
    pub(super) fn ensure(&mut self) -> Result<(), ThreadError> {
        if self.current.is_none() {
            self.current = Some(self.make()?);
        }
        Ok(())
    }

    /// Makes a producer in place of one that was given up, also when this member has nothing to do just
    /// now: until then, what that one has left behind may hold up others.
    pub(super) fn replace(&mut self) -> Result<(), ThreadError> {
        match self.is_given_up {
            true => self.ensure(),
            false => Ok(()),
        }
    }

    /// Aborts what is open, and lets the producer go.
    pub(super) fn give_up(&mut self) {
        if let Some(mut writer) = self.current.take() {
            self.is_given_up = true;
            if let Err(error) = writer.abort() {
                tracing::debug!(thread = %self.name, %error, "the transaction is left to its timeout");
            }
            self.refusals = writer.into_refusals();
        }
    }

    fn make(&mut self) -> Result<Writer, ThreadError> {
        let transactional = self.shared.plan.guarantee == Guarantee::ExactlyOnce;
        let options = ProducerOptions {
            transactional_id: transactional.then(|| self.name.clone()),
            transaction_timeout: Some(self.shared.settings.transaction_timeout),
        };
        let producer = self.shared.broker.producer(&options)?;
        let refusals = std::mem::take(&mut self.refusals);
        let clock = Arc::clone(&self.shared.clock);
        let mut writer = Writer::new(producer, clock, transactional, refusals);
        if transactional {
            self.fence_earlier(&mut writer)?;
        }
        self.is_first = false;
        self.is_given_up = false;
        Ok(writer)
    }

    /// Makes sure that nothing comes any more of earlier producers of this thread, of this process or
    /// of those before it.
    fn fence_earlier(&self, writer: &mut Writer) -> Result<(), ThreadError> {
        let broker = &self.shared.broker;
        let plan = &self.shared.plan;
        // Others who read what is not committed see what is aborted too: so in their topics only after
        // this process has been cut off from them.
        let topics = match self.is_first {
            true => plan.private_topics(),
            false => plan.written_topics(),
        };
        let counts = broker.partition_counts(&topics)?;
        let mut partitions: Vec<TopicPartition> = counts
            .iter()
            .flat_map(|(topic, count)| {
                (0..*count as i32).map(|partition| TopicPartition::new(topic.as_str(), partition))
            })
            .collect();
        if self.is_first {
            // Where nothing was ever written nobody was cut off. And a changelog that was made anew
            // has to be found empty.
            let ends = broker.end_offsets(&partitions, Isolation::ReadUncommitted)?;
            partitions.retain(|partition| ends.get(partition).is_some_and(|end| *end > 0));
            if partitions.is_empty() {
                return Ok(());
            }
        }
        // They are aborted, so whatever they say. Who sends them need not be a member: it may have lost
        // its place, and another one waits for the offsets that it had begun to send.
        let inputs = self.shared.plan.processing.iter();
        let inputs: BTreeSet<&str> = inputs.flat_map(|sub| sub.topics()).collect();
        let offsets: Vec<_> = inputs
            .into_iter()
            .flat_map(|topic| {
                let count = self.shared.partitions.get(topic).copied().unwrap_or(0);
                (0..count as i32).map(move |partition| (TopicPartition::new(topic, partition), 0))
            })
            .collect();
        let group = broker.outsider(&self.shared.plan.group());
        Ok(writer.fence_earlier(&partitions, &offsets, &group)?)
    }
}
