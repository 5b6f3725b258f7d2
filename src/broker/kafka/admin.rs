//! Questions to the cluster, and the creation of topics.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;

use super::Questions;
use super::answer::{Answer, AnswerQueue};
use super::classify::{Code, Failure};
use super::list::{self, Entry};
use super::native::{Handle, Text, millis, text, to_text};
use crate::broker::{
    BrokerError, Isolation, Offset, TIMESTAMP_AFTER_MAX, TopicPartition, TopicSpec,
};

/// How long the cluster has for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

pub(super) type Admin = Handle<Questions>;

/// The partition counts of those topics that exist.
pub(super) fn partition_counts(
    admin: &Admin,
    topics: &[&str],
) -> Result<BTreeMap<String, u32>, BrokerError> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let action = "find out about topics";
    let names: Vec<CString> = topics
        .iter()
        .map(|name| text(name))
        .collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let request = Request::new(admin, Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
    // SAFETY: all that is passed lives through the call, which copies what it needs.
    let answer = unsafe {
        let topics =
            c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        c::rd_kafka_DescribeTopics(admin.ptr(), topics, request.options.0, request.queue.ptr());
        c::rd_kafka_TopicCollection_destroy(topics);
        request.answer(action)?
    };
    let mut counts = BTreeMap::new();
    // SAFETY: the answer is one to this request, and keeps what is read alive.
    unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(answer.ptr());
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for index in 0..count {
            let topic = *topics.add(index);
            let name = to_text(c::rd_kafka_TopicDescription_name(topic));
            match Failure::read(c::rd_kafka_TopicDescription_error(topic)) {
                Ok(()) => {
                    let mut partitions = 0;
                    c::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
                    counts.insert(name, partitions as u32);
                }
                Err(failure) if is_missing(failure.code) => {}
                Err(failure) => {
                    return Err(failure.in_doing(format!("find out about topic {name}")));
                }
            }
        }
    }
    Ok(counts)
}

pub(super) fn is_missing(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic
    )
}

/// Creates the topics that do not exist, and waits until all can be used. Brokers that do not know
/// [`TIMESTAMP_AFTER_MAX`] get them without it.
pub(super) fn create_topics(admin: &Admin, specs: &[TopicSpec]) -> Result<(), BrokerError> {
    if specs.is_empty() {
        return Ok(());
    }
    let refused = request_topics(admin, specs)?;
    let (unbounded, refused): (Vec<_>, Vec<_>) = refused
        .into_iter()
        .partition(|(_, failure)| is_about_times(failure));
    check_refused(refused)?;
    let unbounded: Vec<TopicSpec> = specs
        .iter()
        .filter(|spec| unbounded.iter().any(|(name, _)| *name == spec.name))
        .map(without_bound)
        .collect();
    if !unbounded.is_empty() {
        check_refused(request_topics(admin, &unbounded)?)?;
    }
    wait_until_known(admin, specs)
}

/// Whether a broker does not know the bound on times.
fn is_about_times(failure: &Failure) -> bool {
    failure.code == Code::InvalidConfig && failure.text.contains(TIMESTAMP_AFTER_MAX)
}

fn without_bound(spec: &TopicSpec) -> TopicSpec {
    let mut spec = spec.clone();
    spec.config.remove(TIMESTAMP_AFTER_MAX);
    spec
}

fn check_refused(refused: Vec<(String, Failure)>) -> Result<(), BrokerError> {
    match refused.into_iter().next() {
        Some((name, failure)) => Err(failure.in_doing(format!("create topic {name}"))),
        None => Ok(()),
    }
}

/// Creates the topics that do not exist; gives those that were refused.
fn request_topics(
    admin: &Admin,
    specs: &[TopicSpec],
) -> Result<Vec<(String, Failure)>, BrokerError> {
    let topics: Vec<NewTopic> = specs.iter().map(NewTopic::new).collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = topics.iter().map(|topic| topic.0.as_ptr()).collect();
    let request = Request::new(admin, Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS);
    // SAFETY: all that is passed lives through the call, which copies what it needs; the answer is
    // one to this request, and keeps what is read alive.
    unsafe {
        c::rd_kafka_CreateTopics(
            admin.ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            request.options.0,
            request.queue.ptr(),
        );
        let answer = request.answer("create topics")?;
        let result = c::rd_kafka_event_CreateTopics_result(answer.ptr());
        let mut count = 0;
        let results = c::rd_kafka_CreateTopics_result_topics(result, &mut count);
        let refused = (0..count).filter_map(|index| refused_topic(*results.add(index)));
        let is_there = |failure: &Failure| failure.code == Code::TopicAlreadyExists;
        Ok(refused.filter(|(_, failure)| !is_there(failure)).collect())
    }
}

/// The topic's name and what is wrong, if anything is.
///
/// # Safety
/// The pointer is a result that lives through this call.
pub(super) unsafe fn refused_topic(
    result: *const c::rd_kafka_topic_result_t,
) -> Option<(String, Failure)> {
    // SAFETY: as required.
    let (code, reason, name) = unsafe {
        let code = c::rd_kafka_topic_result_error(result) as i32;
        let reason = to_text(c::rd_kafka_topic_result_error_string(result));
        (code, reason, to_text(c::rd_kafka_topic_result_name(result)))
    };
    Failure::from_code(code, Some(reason)).map(|failure| (name, failure))
}

/// The controller creates; the other brokers hear of it a moment later.
fn wait_until_known(admin: &Admin, specs: &[TopicSpec]) -> Result<(), BrokerError> {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    for _ in 0..100 {
        let known = partition_counts(admin, &names)?;
        if names.iter().all(|name| known.contains_key(*name)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(BrokerError::retry(
        "create topics",
        "the brokers do not know them yet",
    ))
}

/// The first offset of each partition.
///
/// By `rd_kafka_query_watermark_offsets` and not by `rd_kafka_ListOffsets`, which under load now and
/// then answered a question for the earliest offset with the latest (seen with librdkafka 2.12.1).
pub(super) fn start_offsets(
    admin: &Admin,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
    let mut offsets = BTreeMap::new();
    for partition in partitions {
        let topic = text(&partition.topic)?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: the client and the name live through the call, which writes the two numbers.
        let answer = unsafe {
            c::rd_kafka_query_watermark_offsets(
                admin.ptr(),
                topic.as_ptr(),
                partition.partition,
                &mut low,
                &mut high,
                millis(TIMEOUT),
            )
        };
        Failure::check(answer).map_err(|failure| {
            let action = format!("find the start of {partition}");
            admin.callbacks().unanswered(failure, action)
        })?;
        offsets.insert(partition.clone(), low);
    }
    Ok(offsets)
}

/// The offset behind the last record of each partition, as such a reader sees it.
pub(super) fn end_offsets(
    admin: &Admin,
    partitions: &[TopicPartition],
    isolation: Isolation,
) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
    let ends = ask_for_ends(admin, partitions, isolation);
    match &ends {
        // Of partitions that do not exist librdkafka says the same as of those without a leader.
        Err(BrokerError::Retry { .. }) => check_existence(admin, partitions).and(ends),
        _ => ends,
    }
}

/// Whether all partitions exist, of those topics of which that can be told just now.
fn check_existence(admin: &Admin, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
    let topics: BTreeSet<&str> = partitions.iter().map(|p| &*p.topic).collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    let counts = partition_counts(admin, &topics).unwrap_or_default();
    let is_missing = |partition: &&TopicPartition| {
        let count = counts.get(&*partition.topic);
        count.is_some_and(|count| partition.partition as u32 >= *count)
    };
    match partitions.iter().find(is_missing) {
        Some(missing) => Err(BrokerError::fatal(
            "find the ends of partitions",
            format!("partition {missing} does not exist"),
        )),
        None => Ok(()),
    }
}

fn ask_for_ends(
    admin: &Admin,
    partitions: &[TopicPartition],
    isolation: Isolation,
) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
    use c::rd_kafka_IsolationLevel_t as Level;
    use c::rd_kafka_OffsetSpec_t as Spec;
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let action = "find the ends of partitions";
    let spec = Spec::RD_KAFKA_OFFSET_SPEC_LATEST;
    let level = match isolation {
        Isolation::ReadCommitted => Level::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
        Isolation::ReadUncommitted => Level::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
    };
    let asked: Vec<_> = partitions
        .iter()
        .map(|p| (p.clone(), spec as i64))
        .collect();
    let list = list::with_offsets(action, &asked)?;
    let request = Request::new(admin, Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS);
    let mut entries = Vec::new();
    // SAFETY: all that is passed lives through the call, which copies what it needs; the answer is
    // one to this request, and keeps what is read alive.
    unsafe {
        let set = c::rd_kafka_AdminOptions_set_isolation_level(request.options.0, level);
        Failure::take(set).map_err(|failure| failure.in_doing(action))?;
        c::rd_kafka_ListOffsets(
            admin.ptr(),
            list.ptr(),
            request.options.0,
            request.queue.ptr(),
        );
        let answer = request.answer(action)?;
        let result = c::rd_kafka_event_ListOffsets_result(answer.ptr());
        let mut count = 0;
        let infos = c::rd_kafka_ListOffsets_result_infos(result, &mut count);
        for index in 0..count {
            let entry = c::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
            entries.push(list::read_entry(entry));
        }
    }
    let doing = "find the end of";
    let ends = entries.into_iter().map(|entry| found(admin, entry, doing));
    let ends: BTreeMap<_, _> = ends.collect::<Result<_, _>>()?;
    // While partitions have no leader, librdkafka says so of the whole, or gives no offset and no error.
    match ends.iter().find(|(_, end)| **end < 0) {
        Some((partition, _)) => {
            admin.callbacks().is_outdated.store(true, Ordering::Relaxed);
            let reason = "nobody leads it just now";
            Err(BrokerError::retry(format!("{doing} {partition}"), reason))
        }
        None => Ok(ends),
    }
}

fn found(
    asker: &Admin,
    entry: Entry,
    doing: &str,
) -> Result<(TopicPartition, Offset), BrokerError> {
    match entry.error {
        None => Ok((entry.partition, entry.offset)),
        Some(failure) => {
            let action = format!("{doing} {}", entry.partition);
            Err(asker.callbacks().unanswered(failure, action))
        }
    }
}

/// The committed offsets of a group, where there are some. Waits for open transactions that hold
/// offsets of these partitions.
///
/// `asker` is a consumer that names the group and reads committed data, which makes librdkafka ask
/// for stable offsets. Its `ListConsumerGroupOffsets` would do without such a consumer, but aborts
/// the process when a connection breaks at the wrong time (confluentinc/librdkafka#5397; seen).
pub(super) fn committed(
    asker: &Admin,
    group: &str,
    partitions: &[TopicPartition],
    patience: Duration,
) -> Result<BTreeMap<TopicPartition, Offset>, BrokerError> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let action = format!("find the committed offsets of group {group}");
    let none = i64::from(c::RD_KAFKA_OFFSET_INVALID);
    let asked: Vec<_> = partitions.iter().map(|p| (p.clone(), none)).collect();
    let list = list::with_offsets(&action, &asked)?;
    // SAFETY: client and list are alive; the answer is written into the list.
    let entries = unsafe {
        let answer = c::rd_kafka_committed(asker.ptr(), list.ptr(), millis(patience));
        Failure::check(answer).map_err(|failure| failure.in_doing(action))?;
        list::read(list.ptr())
    };
    let doing = format!("find the committed offset (group {group}) of");
    let offsets = entries.into_iter().map(|entry| found(asker, entry, &doing));
    offsets
        .filter(|found| !matches!(found, Ok((_, offset)) if *offset < 0))
        .collect()
}

/// A request that is being made up.
pub(super) struct Request<'a> {
    admin: &'a Admin,
    pub(super) queue: AnswerQueue,
    pub(super) options: Options,
}

pub(super) struct Options(pub(super) *mut c::rd_kafka_AdminOptions_t);

impl Request<'_> {
    pub(super) fn new(admin: &Admin, operation: Operation) -> Request<'_> {
        let mut reason = Text::new();
        // SAFETY: the client is alive; the objects are ours.
        unsafe {
            let options = c::rd_kafka_AdminOptions_new(admin.ptr(), operation);
            let timeout = millis(TIMEOUT);
            c::rd_kafka_AdminOptions_set_request_timeout(
                options,
                timeout,
                reason.ptr(),
                reason.capacity(),
            );
            Request {
                admin,
                queue: AnswerQueue::new(admin),
                options: Options(options),
            }
        }
    }

    /// Waits for the answer.
    pub(super) fn answer(&self, action: &str) -> Result<Answer, BrokerError> {
        // The request has its own timeout; this one is only for a librdkafka that forgets it.
        let answer = self.queue.wait(TIMEOUT + Duration::from_secs(5));
        let answer =
            answer.ok_or_else(|| BrokerError::retry(action, "the brokers do not answer"))?;
        match answer.check() {
            Ok(()) => Ok(answer),
            Err(failure) => Err(self.admin.callbacks().unanswered(failure, action)),
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the object is ours.
        unsafe { c::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

struct NewTopic(NonNull<c::rd_kafka_NewTopic_t>);

impl NewTopic {
    fn new(spec: &TopicSpec) -> Result<NewTopic, BrokerError> {
        let action = || format!("create topic {}", spec.name);
        let name = text(&spec.name)?;
        let partitions = c_int::try_from(spec.partitions)
            .map_err(|_| BrokerError::fatal(action(), "too many partitions"))?;
        let mut reason = Text::new();
        // SAFETY: the name is alive, the buffer as large as is said; the object is ours.
        let topic = unsafe {
            c::rd_kafka_NewTopic_new(
                name.as_ptr(),
                partitions,
                spec.replication,
                reason.ptr(),
                reason.capacity(),
            )
        };
        let Some(topic) = NonNull::new(topic) else {
            return Err(BrokerError::fatal(action(), reason.to_string()));
        };
        let topic = NewTopic(topic);
        for (key, value) in &spec.config {
            let (key, value) = (text(key)?, text(value)?);
            // SAFETY: all are alive.
            let set = unsafe {
                c::rd_kafka_NewTopic_set_config(topic.0.as_ptr(), key.as_ptr(), value.as_ptr())
            };
            Failure::check(set).map_err(|failure| failure.in_doing(action()))?;
        }
        Ok(topic)
    }
}

impl Drop for NewTopic {
    fn drop(&mut self) {
        // SAFETY: the object is ours.
        unsafe { c::rd_kafka_NewTopic_destroy(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn brokers_that_do_not_know_the_bound_on_times_are_recognised() {
        const INVALID_CONFIG: i32 = 40;
        const POLICY_VIOLATION: i32 = 44;
        #[track_caller]
        fn check(code: i32, reason: &str, expected: bool) {
            let failure = Failure::from_code(code, Some(reason.to_owned())).unwrap();
            assert_eq!(is_about_times(&failure), expected, "{reason}");
        }
        let unknown = "Unknown topic config name: message.timestamp.after.max.ms";
        check(INVALID_CONFIG, unknown, true);
        check(POLICY_VIOLATION, unknown, false);
        let other = "Unknown topic config name: retention.seconds";
        check(INVALID_CONFIG, other, false);
    }

    #[test]
    fn a_topic_without_the_bound_keeps_everything_else() {
        let config = |names: &[&str]| -> BTreeMap<String, String> {
            let entry = |name: &&str| ((*name).to_owned(), "1".to_owned());
            names.iter().map(entry).collect()
        };
        let spec = TopicSpec {
            name: "t".to_owned(),
            partitions: 3,
            replication: -1,
            config: config(&["retention.ms", TIMESTAMP_AFTER_MAX]),
        };
        let expected = TopicSpec {
            config: config(&["retention.ms"]),
            ..spec.clone()
        };
        assert_eq!(without_bound(&spec), expected);
    }
}
