//! What is taken away for good: topics, and groups with what they have committed.

use std::ffi::CString;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;

use super::admin::{Admin, Request, is_missing, partition_counts, refused_topic};
use super::classify::{Code, Failure};
use super::native::{not_null, text, to_text};
use crate::broker::BrokerError;

/// Deletes the topics that exist, and waits until the brokers know none of them any more.
pub(super) fn delete_topics(admin: &Admin, topics: &[&str]) -> Result<(), BrokerError> {
    if topics.is_empty() {
        return Ok(());
    }
    let topics: Vec<OldTopic> = topics
        .iter()
        .map(|name| OldTopic::new(name))
        .collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = topics.iter().map(|topic| topic.0.as_ptr()).collect();
    let request = Request::new(admin, Operation::RD_KAFKA_ADMIN_OP_DELETETOPICS);
    // SAFETY: all that is passed lives through the call, which copies what it needs; the answer is
    // one to this request, and keeps what is read alive.
    let refused: Vec<(String, Failure)> = unsafe {
        c::rd_kafka_DeleteTopics(
            admin.ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            request.options.0,
            request.queue.ptr(),
        );
        let answer = request.answer("delete topics")?;
        let result = c::rd_kafka_event_DeleteTopics_result(answer.ptr());
        let mut count = 0;
        let results = c::rd_kafka_DeleteTopics_result_topics(result, &mut count);
        let refused = (0..count).filter_map(|index| refused_topic(*results.add(index)));
        refused.collect()
    };
    let mut refused = refused.into_iter();
    match refused.find(|(_, failure)| !is_missing(failure.code)) {
        Some((name, failure)) => Err(failure.in_doing(format!("delete topic {name}"))),
        None => wait_until_forgotten(admin, &topics),
    }
}

/// The controller deletes; the other brokers hear of it a moment later.
fn wait_until_forgotten(admin: &Admin, topics: &[OldTopic]) -> Result<(), BrokerError> {
    let names: Vec<&str> = topics.iter().map(|topic| topic.1.as_str()).collect();
    for _ in 0..100 {
        if partition_counts(admin, &names)?.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(BrokerError::retry(
        "delete topics",
        "the brokers still know them",
    ))
}

/// A member of a group as the broker knows it.
pub(super) struct SeenMember {
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
}

/// The members of a group.
pub(super) fn members(admin: &Admin, group: &str) -> Result<Vec<SeenMember>, BrokerError> {
    let action = format!("find out who is in group {group}");
    let name = text(group)?;
    let mut names = [name.as_ptr()];
    let request = Request::new(admin, Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    // SAFETY: all that is passed lives through the call, which copies what it needs; the answer is
    // one to this request, and keeps what is read alive.
    unsafe {
        c::rd_kafka_DescribeConsumerGroups(
            admin.ptr(),
            names.as_mut_ptr(),
            names.len(),
            request.options.0,
            request.queue.ptr(),
        );
        let answer = request.answer(&action)?;
        let result = c::rd_kafka_event_DescribeConsumerGroups_result(answer.ptr());
        let mut count = 0;
        let groups = c::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        let mut members = Vec::new();
        for index in 0..count {
            let group = *groups.add(index);
            match Failure::read(c::rd_kafka_ConsumerGroupDescription_error(group)) {
                Err(failure) if failure.code == Code::GroupIdNotFound => continue,
                described => described.map_err(|failure| failure.in_doing(action.as_str()))?,
            }
            for number in 0..c::rd_kafka_ConsumerGroupDescription_member_count(group) {
                let member = c::rd_kafka_ConsumerGroupDescription_member(group, number);
                let instance = c::rd_kafka_MemberDescription_group_instance_id(member);
                members.push(SeenMember {
                    instance_id: (!instance.is_null()).then(|| to_text(instance)),
                    client_id: to_text(c::rd_kafka_MemberDescription_client_id(member)),
                });
            }
        }
        Ok(members)
    }
}

/// Deletes a group, unless it does not exist.
pub(super) fn delete_group(admin: &Admin, group: &str) -> Result<(), BrokerError> {
    let action = format!("delete group {group}");
    let old = OldGroup::new(group)?;
    let mut pointers = [old.0.as_ptr()];
    let request = Request::new(admin, Operation::RD_KAFKA_ADMIN_OP_DELETEGROUPS);
    // SAFETY: all that is passed lives through the call, which copies what it needs; the answer is
    // one to this request, and keeps what is read alive.
    unsafe {
        c::rd_kafka_DeleteGroups(
            admin.ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            request.options.0,
            request.queue.ptr(),
        );
        let answer = request.answer(&action)?;
        let result = c::rd_kafka_event_DeleteGroups_result(answer.ptr());
        let mut count = 0;
        let groups = c::rd_kafka_DeleteGroups_result_groups(result, &mut count);
        for index in 0..count {
            match Failure::read(c::rd_kafka_group_result_error(*groups.add(index))) {
                Err(failure) if failure.code == Code::GroupIdNotFound => {}
                deleted => deleted.map_err(|failure| failure.in_doing(action.as_str()))?,
            }
        }
    }
    Ok(())
}

/// A topic to be deleted, and its name.
struct OldTopic(NonNull<c::rd_kafka_DeleteTopic_t>, String);

impl OldTopic {
    fn new(name: &str) -> Result<OldTopic, BrokerError> {
        let c_name: CString = text(name)?;
        // SAFETY: the name lives through the call; the object is ours.
        let topic = unsafe { c::rd_kafka_DeleteTopic_new(c_name.as_ptr()) };
        Ok(OldTopic(not_null(topic), name.to_owned()))
    }
}

impl Drop for OldTopic {
    fn drop(&mut self) {
        // SAFETY: the object is ours.
        unsafe { c::rd_kafka_DeleteTopic_destroy(self.0.as_ptr()) };
    }
}

/// A group to be deleted.
struct OldGroup(NonNull<c::rd_kafka_DeleteGroup_t>);

impl OldGroup {
    fn new(name: &str) -> Result<OldGroup, BrokerError> {
        let name: CString = text(name)?;
        // SAFETY: the name lives through the call; the object is ours.
        let group = unsafe { c::rd_kafka_DeleteGroup_new(name.as_ptr()) };
        Ok(OldGroup(not_null(group)))
    }
}

impl Drop for OldGroup {
    fn drop(&mut self) {
        // SAFETY: the object is ours.
        unsafe { c::rd_kafka_DeleteGroup_destroy(self.0.as_ptr()) };
    }
}
