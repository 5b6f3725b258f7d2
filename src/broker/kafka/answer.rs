//! A queue for the answer to a single question, and that answer.

use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as c;

use super::classify::Failure;
use super::native::{Callbacks, Handle, millis, not_null, to_text};

/// Where the answer arrives; to be dropped before its client.
pub(super) struct AnswerQueue(NonNull<c::rd_kafka_queue_t>);

/// An answer.
pub(super) struct Answer(NonNull<c::rd_kafka_event_t>);

impl AnswerQueue {
    /// An empty queue.
    pub(super) fn new<C: Callbacks>(handle: &Handle<C>) -> AnswerQueue {
        // SAFETY: the client is alive; the object is ours.
        AnswerQueue(not_null(unsafe { c::rd_kafka_queue_new(handle.ptr()) }))
    }

    /// For the call that is to answer here, while this is alive.
    pub(super) fn ptr(&self) -> *mut c::rd_kafka_queue_t {
        self.0.as_ptr()
    }

    /// Waits for the answer; none when it does not come in time.
    pub(super) fn wait(&self, patience: Duration) -> Option<Answer> {
        // SAFETY: the queue is alive; the event is ours.
        let event = unsafe { c::rd_kafka_queue_poll(self.ptr(), millis(patience)) };
        NonNull::new(event).map(Answer)
    }
}

impl Answer {
    /// For the calls that read it, while this is alive.
    pub(super) fn ptr(&self) -> *mut c::rd_kafka_event_t {
        self.0.as_ptr()
    }

    /// Whether the question as a whole was answered.
    pub(super) fn check(&self) -> Result<(), Failure> {
        // SAFETY: the event is alive, and its text lives as long as it does.
        let (code, reason) = unsafe {
            let code = c::rd_kafka_event_error(self.ptr()) as i32;
            (code, to_text(c::rd_kafka_event_error_string(self.ptr())))
        };
        Failure::from_code(code, Some(reason)).map_or(Ok(()), Err)
    }
}

impl Drop for AnswerQueue {
    fn drop(&mut self) {
        // SAFETY: the object is ours, and the client is still alive.
        unsafe { c::rd_kafka_queue_destroy(self.ptr()) };
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the object is ours.
        unsafe { c::rd_kafka_event_destroy(self.ptr()) };
    }
}
