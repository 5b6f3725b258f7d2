//! What a producer's delivery reports say: how far its records were written, and which were not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::classify::{Code, Failure};
use super::native::{Callbacks, Delivery};
use crate::broker::{Offset, Partition};

/// What the delivery reports have said.
#[derive(Default)]
pub(super) struct Reports {
    written: Mutex<Written>,
    /// Records were not written, or connections lost while a transaction was open.
    pub(super) trouble: AtomicBool,
    pub(super) in_transaction: AtomicBool,
}

/// How far the records of each topic were written.
#[derive(Default)]
pub(super) struct Written {
    /// The offset behind the last record, by the number of the topic and the partition.
    pub(super) next: Vec<Vec<Option<Offset>>>,
    pub(super) first_error: Option<Unwritten>,
}

/// A record that was not written.
pub(super) struct Unwritten {
    /// The number of its topic.
    pub(super) topic: usize,
    pub(super) bytes: usize,
    pub(super) failure: Failure,
}

impl Callbacks for Reports {
    fn delivered(&self, report: &Delivery) {
        let mut written = self.written();
        match &report.error {
            None => written.count(report.tag, report.partition, report.offset),
            // What an abort throws away is no error.
            Some(failure) if matches!(failure.code, Code::PurgeQueue | Code::PurgeInflight) => {}
            Some(failure) => {
                written.first_error.get_or_insert_with(|| Unwritten {
                    topic: report.tag,
                    bytes: report.bytes,
                    failure: failure.clone(),
                });
            }
        }
    }

    fn failed(&self, code: Code) {
        let lost = matches!(
            code,
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::MessageTimedOut
        );
        if lost && self.in_transaction.load(Ordering::Relaxed) {
            self.trouble.store(true, Ordering::Relaxed);
        }
    }
}

impl Reports {
    /// What has been written so far.
    pub(super) fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn count(&mut self, topic: usize, partition: Partition, offset: Offset) {
        let (Ok(partition), true) = (usize::try_from(partition), offset >= 0) else {
            return;
        };
        if self.next.len() <= topic {
            self.next.resize_with(topic + 1, Vec::new);
        }
        let partitions = &mut self.next[topic];
        if partitions.len() <= partition {
            partitions.resize(partition + 1, None);
        }
        partitions[partition] = partitions[partition].max(Some(offset + 1));
    }
}
