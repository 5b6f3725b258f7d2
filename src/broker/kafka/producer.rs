//! The Kafka producer.
//!
//! Everything happens on the caller's thread: delivery reports are served while it sends, flushes
//! and commits. There is no thread of ours and no allocation per record; a report finds its
//! counter by the number of the topic that went along with the record.
//!
//! *Safety mode*: a producer is suspect after an error of a transaction call, a record that was not
//! written, a slow commit, or lost connections while a transaction was open; see
//! [`Producer::is_suspect`]. Not even an abort is asked of it then: librdkafka 2.12 ends the process
//! when the answer to an earlier request arrives after an abort that needed a new epoch (assertion
//! `txn_req_cnt > 0` in `rd_kafka_txn_handle_AddPartitionsToTxn`; seen with a broker that was
//! stopped and killed, and with records that were refused while an abort waited for them). For the
//! same reason an abort first waits until no record is under way. The next producer of the same id
//! aborts for one that is suspect.

use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::bindings as c;
use rdkafka::bindings::rd_kafka_vtype_t as Type;
use rdkafka::bindings::rd_kafka_vu_s__bindgen_ty_1 as Value;
use smallvec::SmallVec;

use super::classify::{Code, Failure};
use super::member::Proof;
use super::native::{Handle, Kind, millis, text};
use super::reports::{Reports, Tag, Unwritten};
use super::{FIRST_CONNECTION, KafkaSettings, config, list};
use crate::broker::{
    BrokerError, GroupMetadata, Offset, Outgoing, Partition, Producer, ProducerOptions, RecordMark,
    TopicPartition,
};
use crate::time::{Clock, SystemClock};

/// How long the fencing of older producers, and their transactions' ends, are waited for.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A commit that takes longer is suspicious.
const SLOW_COMMIT: Duration = Duration::from_secs(3);

/// Delivery reports are served once in so many records.
const SERVE_EVERY: u32 = 256;

/// Behind a record's timeout, for its report to come.
const FLUSH_MARGIN: Duration = Duration::from_secs(3);

/// When a transaction breaks down, the report of a record that was not written is waited for so
/// long.
const REPORT_WAIT: Duration = Duration::from_millis(100);

/// How long an abort waits for the records that are under way.
const SETTLE_WAIT: Duration = Duration::from_secs(1);

/// How long a send waits for room in the queue before it looks again.
const FULL_QUEUE_WAIT: Duration = Duration::from_millis(10);

pub(super) struct KafkaProducer {
    topics: Vec<Topic>,
    handle: Handle<Reports>,
    phase: Phase,
    timeout: Duration,
    /// How long a record is tried to be written.
    record_timeout: Duration,
    /// Records that are not larger than this may share a batch with others.
    batch_bytes: usize,
    unserved: u32,
    suspect: bool,
}

/// Where a producer is between its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has no transactional id.
    Plain,
    Idle,
    Open,
}

/// A topic that has been written to.
struct Topic {
    name: String,
    topic: NonNull<c::rd_kafka_topic_t>,
}

// SAFETY: librdkafka's topic objects may be used from any thread.
unsafe impl Send for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and the client is still alive.
        unsafe { c::rd_kafka_topic_destroy(self.topic.as_ptr()) };
    }
}

impl KafkaProducer {
    pub(super) fn new(
        settings: &KafkaSettings,
        options: &ProducerOptions,
    ) -> Result<KafkaProducer, BrokerError> {
        let properties = config::producer(settings, options);
        let name = match &options.transactional_id {
            Some(id) => format!("producer {id}"),
            None => "producer".to_owned(),
        };
        let handle = Handle::new(
            Kind::Producer,
            name.clone(),
            &properties,
            Reports::default(),
        )?;
        let mut phase = Phase::Plain;
        if options.transactional_id.is_some() {
            // Without a connection the search for the coordinator begins with a pause of 500 ms.
            handle.is_connected(FIRST_CONNECTION);
            // SAFETY: the client is alive; the error is ours.
            let done = unsafe {
                let timeout = millis(INIT_TIMEOUT);
                Failure::take(c::rd_kafka_init_transactions(handle.ptr(), timeout))
            };
            done.map_err(|failure| failure.in_doing(format!("begin to use {name}")))?;
            phase = Phase::Idle;
        }
        Ok(KafkaProducer {
            topics: Vec::new(),
            handle,
            phase,
            timeout: config::transaction_timeout(options),
            record_timeout: config::record_timeout(&properties, options),
            batch_bytes: config::batch_bytes(&properties),
            unserved: 0,
            suspect: false,
        })
    }

    /// The number of a topic.
    fn topic(&mut self, name: &str) -> Result<usize, BrokerError> {
        if let Some(index) = self.topics.iter().position(|topic| topic.name == name) {
            return Ok(index);
        }
        let c_name = text(name)?;
        // SAFETY: client and name are alive; without a configuration the client's is used.
        let topic = unsafe {
            c::rd_kafka_topic_new(self.handle.ptr(), c_name.as_ptr(), std::ptr::null_mut())
        };
        let Some(topic) = NonNull::new(topic) else {
            // SAFETY: no preconditions.
            let code = unsafe { c::rd_kafka_last_error() };
            let failure = Failure::check(code).expect_err("librdkafka says why it gives no topic");
            return Err(failure.in_doing(format!("write to topic {name:?}")));
        };
        self.topics.push(Topic {
            name: name.to_owned(),
            topic,
        });
        Ok(self.topics.len() - 1)
    }

    /// Makes room in the queue; gives up when records are not written any more.
    fn wait_for_room(&mut self) -> Result<(), BrokerError> {
        self.handle.serve(FULL_QUEUE_WAIT);
        self.check_delivered()
    }

    /// The first error of the delivery reports so far.
    fn check_delivered(&mut self) -> Result<(), BrokerError> {
        let first_error = self.handle.callbacks().written().first_error.take();
        match first_error {
            None => Ok(()),
            Some(unwritten) => Err(self.undelivered(unwritten)),
        }
    }

    fn undelivered(&mut self, unwritten: Unwritten) -> BrokerError {
        self.suspect |= self.phase == Phase::Open;
        let refused = unwritten.culprits(SystemClock.now());
        let Unwritten {
            topic,
            bytes,
            failure,
            ..
        } = unwritten;
        let name = self
            .topics
            .get(topic)
            .map_or("?", |topic| topic.name.as_str());
        if failure.code == Code::MessageSizeTooLarge {
            // The broker judges batches. A record as large as a batch was alone in its own.
            return match bytes >= self.batch_bytes {
                true => BrokerError::TooLarge {
                    topic: name.to_owned(),
                    bytes,
                },
                false => BrokerError::fatal(
                    format!("write to topic {name}"),
                    format!(
                        "the topic's max.message.bytes is less than our batches of up to {} \
                         bytes: raise it, or set producer.batch.size below it",
                        self.batch_bytes
                    ),
                ),
            };
        }
        if !refused.is_empty() {
            return BrokerError::Refused {
                topic: name.to_owned(),
                records: refused,
                reason: failure.to_string(),
            };
        }
        let in_transaction = self.phase == Phase::Open;
        Failure {
            must_abort: in_transaction,
            ..failure
        }
        .in_doing(format!("write to topic {name}"))
    }

    /// Turns the failure of a transaction call into its reaction. A record that was not written is
    /// the better explanation, as librdkafka only says that there was one.
    fn suspicious(&mut self, action: &str, failure: Failure) -> BrokerError {
        self.suspect = true;
        if !failure.must_abort {
            return failure.in_doing(action);
        }
        match self.unwritten_within(REPORT_WAIT) {
            Some(unwritten) => self.undelivered(unwritten),
            // Of which record is not known yet; the next attempt will tell.
            None if failure.code == Code::MessageSizeTooLarge || failure.is_refusal() => {
                BrokerError::abort(action, failure.to_string())
            }
            None => failure.in_doing(action),
        }
    }

    /// The first record that was not written. Its report waits to be served, and may come a moment
    /// later than the news that the transaction is lost.
    fn unwritten_within(&mut self, wait: Duration) -> Option<Unwritten> {
        let until = Instant::now() + wait;
        loop {
            self.handle.serve(Duration::ZERO);
            let unwritten = self.handle.callbacks().written().first_error.take();
            if unwritten.is_some() || Instant::now() >= until {
                return unwritten;
            }
            self.handle.serve(Duration::from_millis(1));
        }
    }

    /// To send in a transaction that has broken down is refused as a call out of turn; the reason
    /// was given to someone else: the delivery report of an earlier record, or the client.
    fn unsent(&mut self, topic: &str, failure: Failure) -> BrokerError {
        let action = format!("write to topic {topic}");
        if failure.code != Code::State || self.phase != Phase::Open {
            return failure.in_doing(action);
        }
        match self.handle.fatal_error() {
            Some(cause) => self.suspicious(&action, cause),
            None => self.suspicious(
                &action,
                Failure {
                    must_abort: true,
                    ..failure
                },
            ),
        }
    }

    /// Waits for the records that are under way. The producer is suspect if one is not written, or
    /// none can be told.
    fn settle(&mut self) {
        // SAFETY: the client is alive.
        let flushed = unsafe { c::rd_kafka_flush(self.handle.ptr(), millis(SETTLE_WAIT)) };
        self.handle.serve(Duration::ZERO);
        let is_written = self.handle.callbacks().written().first_error.is_none();
        self.suspect |= Failure::check(flushed).is_err() || !is_written;
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.handle
            .callbacks()
            .in_transaction
            .store(phase == Phase::Open, Ordering::Relaxed);
    }

    fn require(&self, action: &str, phase: Phase) -> Result<(), BrokerError> {
        let reason = match self.phase {
            found if found == phase => return Ok(()),
            Phase::Plain => "the producer has no transactional id",
            Phase::Idle => "no transaction is open",
            Phase::Open => "a transaction is open already",
        };
        Err(BrokerError::fatal(action, reason))
    }
}

impl Producer for KafkaProducer {
    fn send(&mut self, record: Outgoing<'_>) -> Result<(), BrokerError> {
        if self.phase == Phase::Idle {
            self.require(&format!("write to topic {}", record.topic), Phase::Open)?;
        }
        let topic = self.topic(record.topic)?;
        let names: SmallVec<[CString; 4]> = record
            .headers
            .iter()
            .map(|(name, _)| text(name))
            .collect::<Result<_, _>>()?;
        let tag = Tag {
            topic,
            timestamp: RecordMark::of(&record).timestamp,
        };
        let parts = parts(&record, &names, self.topics[topic].topic, tag);
        loop {
            // SAFETY: the client, and all that the parts point to, live through this call, which
            // copies the key, the value and the headers.
            let sent = unsafe {
                let error = c::rd_kafka_produceva(self.handle.ptr(), parts.as_ptr(), parts.len());
                Failure::take(error)
            };
            match sent {
                Ok(()) => break,
                Err(failure) if failure.code == Code::QueueFull => self.wait_for_room()?,
                Err(failure) if failure.code == Code::MessageSizeTooLarge => {
                    return Err(BrokerError::TooLarge {
                        topic: record.topic.to_owned(),
                        bytes: record.bytes(),
                    });
                }
                Err(failure) => return Err(self.unsent(record.topic, failure)),
            }
        }
        self.unserved += 1;
        if self.unserved >= SERVE_EVERY {
            self.unserved = 0;
            self.handle.serve(Duration::ZERO);
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), BrokerError> {
        let action = "begin a transaction";
        self.require(action, Phase::Idle)?;
        self.handle.serve(Duration::ZERO);
        if self.is_suspect() {
            return Err(BrokerError::fenced(
                action,
                "the producer is suspect; make a new one",
            ));
        }
        // SAFETY: the client is alive; the error is ours.
        unsafe { Failure::take(c::rd_kafka_begin_transaction(self.handle.ptr())) }
            .map_err(|failure| self.suspicious(action, failure))?;
        self.handle.callbacks().written().first_error = None;
        self.enter(Phase::Open);
        Ok(())
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
        member: &GroupMetadata,
    ) -> Result<(), BrokerError> {
        let action = "add offsets to the transaction";
        self.require(action, Phase::Open)?;
        let proof: &Proof = (member.0.downcast_ref())
            .ok_or_else(|| BrokerError::fatal(action, "the membership is one of another log"))?;
        let list = list::with_offsets(action, offsets)?;
        // SAFETY: client, list and proof are alive; the error is ours.
        let sent = unsafe {
            Failure::take(c::rd_kafka_send_offsets_to_transaction(
                self.handle.ptr(),
                list.ptr(),
                proof.ptr(),
                millis(self.timeout),
            ))
        };
        sent.map_err(|failure| self.suspicious(action, failure))
    }

    fn commit(&mut self) -> Result<(), BrokerError> {
        let action = "commit the transaction";
        self.require(action, Phase::Open)?;
        let start = Instant::now();
        // SAFETY: the client is alive; the error is ours. A negative timeout is what is left of
        // the transaction's.
        let committed =
            unsafe { Failure::take(c::rd_kafka_commit_transaction(self.handle.ptr(), -1)) };
        self.handle.serve(Duration::ZERO);
        committed.map_err(|failure| self.suspicious(action, failure))?;
        let took = start.elapsed();
        if took > SLOW_COMMIT {
            tracing::warn!(?took, "a commit was slow; the producer will be replaced");
            self.suspect = true;
        }
        self.enter(Phase::Idle);
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BrokerError> {
        let action = "abort the transaction";
        self.require(action, Phase::Open)?;
        if !self.is_suspect() {
            self.settle();
        }
        if self.is_suspect() {
            self.enter(Phase::Idle);
            return self
                .handle
                .fatal_error()
                .map_or(Ok(()), |cause| Err(cause.in_doing(action)));
        }
        // SAFETY: as for the commit.
        let aborted =
            unsafe { Failure::take(c::rd_kafka_abort_transaction(self.handle.ptr(), -1)) };
        self.handle.serve(Duration::ZERO);
        aborted.map_err(|failure| self.suspicious(action, failure))?;
        self.handle.callbacks().written().first_error = None;
        self.enter(Phase::Idle);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BrokerError> {
        let action = "write all records";
        // Each record's own timeout would end the loop, but librdkafka 2.12 forgets those of partitions that
        // have lost their leader while it had none to ask (seen with a broker that stood still).
        let until = Instant::now() + self.record_timeout + FLUSH_MARGIN;
        loop {
            // SAFETY: the client is alive.
            let flushed = unsafe { c::rd_kafka_flush(self.handle.ptr(), 1000) };
            match Failure::check(flushed) {
                Ok(()) => return self.check_delivered(),
                Err(failure) if failure.code == Code::OperationTimedOut => {
                    self.handle.serve(Duration::ZERO);
                    self.check_delivered()?;
                }
                Err(failure) => return Err(failure.in_doing(action)),
            }
            if Instant::now() > until {
                self.suspect = true;
                return Err(BrokerError::retry(
                    action,
                    "some are neither written nor given up",
                ));
            }
        }
    }

    fn acknowledged(&self, topic: &str, partition: Partition) -> Option<Offset> {
        let topic = self.topics.iter().position(|known| known.name == topic)?;
        let written = self.handle.callbacks().written();
        *written
            .next
            .get(topic)?
            .get(usize::try_from(partition).ok()?)?
    }

    fn is_suspect(&self) -> bool {
        self.suspect || self.handle.callbacks().trouble.load(Ordering::Relaxed)
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        let flags = c::RD_KAFKA_PURGE_F_QUEUE
            | c::RD_KAFKA_PURGE_F_INFLIGHT
            | c::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the client is alive. What was not flushed is not wanted.
        unsafe { c::rd_kafka_purge(self.handle.ptr(), flags) };
        self.handle.serve(Duration::ZERO);
    }
}

/// A record as librdkafka takes it.
fn parts(
    record: &Outgoing<'_>,
    names: &[CString],
    topic: NonNull<c::rd_kafka_topic_t>,
    tag: Tag,
) -> SmallVec<[c::rd_kafka_vu_t; 8]> {
    let part = |vtype, u| c::rd_kafka_vu_t { vtype, u };
    let mut parts = SmallVec::new();
    parts.extend([
        part(
            Type::RD_KAFKA_VTYPE_RKT,
            Value {
                rkt: topic.as_ptr(),
            },
        ),
        part(
            Type::RD_KAFKA_VTYPE_PARTITION,
            Value {
                i32_: record.partition.unwrap_or(-1),
            },
        ),
        part(
            Type::RD_KAFKA_VTYPE_MSGFLAGS,
            Value {
                i: c::RD_KAFKA_MSG_F_COPY,
            },
        ),
        part(
            Type::RD_KAFKA_VTYPE_VALUE,
            Value {
                mem: memory(record.value),
            },
        ),
        part(
            Type::RD_KAFKA_VTYPE_KEY,
            Value {
                mem: memory(record.key),
            },
        ),
        part(
            Type::RD_KAFKA_VTYPE_TIMESTAMP,
            Value {
                i64_: record.log_time().millis(),
            },
        ),
        part(
            Type::RD_KAFKA_VTYPE_OPAQUE,
            Value {
                ptr: tag.pack() as *mut c_void,
            },
        ),
    ]);
    for (name, (_, value)) in names.iter().zip(record.headers) {
        let header = c::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
            name: name.as_ptr(),
            val: value.as_ptr().cast(),
            size: value.len() as isize,
        };
        parts.push(part(Type::RD_KAFKA_VTYPE_HEADER, Value { header }));
    }
    parts
}

fn memory(bytes: Option<&[u8]>) -> c::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    c::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: bytes.map_or(std::ptr::null_mut(), |bytes| bytes.as_ptr() as *mut c_void),
        size: bytes.map_or(0, <[u8]>::len),
    }
}
