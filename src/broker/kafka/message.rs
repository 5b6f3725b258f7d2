//! Records in librdkafka's buffers.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};

use rdkafka::bindings as c;

use super::classify::Failure;
use crate::broker::{HeaderSource, Offset, Partition};
use crate::time::Timestamp;

/// `rd_kafka_message_t`, but with the error as a plain number: a broker's new error code is no
/// value of the enum in the bindings.
#[repr(C)]
pub(super) struct RawMessage {
    pub error: i32,
    pub topic: *mut c::rd_kafka_topic_t,
    pub partition: Partition,
    pub payload: *const c_void,
    pub payload_len: usize,
    pub key: *const c_void,
    pub key_len: usize,
    pub offset: Offset,
    pub private: *mut c_void,
}

const _: () = {
    assert!(size_of::<RawMessage>() == size_of::<c::rd_kafka_message_t>());
    assert!(
        std::mem::offset_of!(RawMessage, private)
            == std::mem::offset_of!(c::rd_kafka_message_t, _private)
    );
};

/// A record or an error from a consumer's queue.
pub(super) struct Message(NonNull<RawMessage>);

impl Message {
    /// Takes a message over.
    ///
    /// # Safety
    /// The pointer is a message that nobody else destroys.
    pub(super) unsafe fn from_ptr(message: NonNull<c::rd_kafka_message_t>) -> Message {
        Message(message.cast())
    }

    fn raw(&self) -> &RawMessage {
        // SAFETY: the message lives as long as this value; its layout was checked above.
        unsafe { self.0.as_ref() }
    }

    fn ptr(&self) -> *const c::rd_kafka_message_t {
        self.0.as_ptr().cast()
    }

    /// The error that this message is, if it is not a record.
    pub(super) fn failure(&self) -> Option<Failure> {
        let raw = self.raw();
        if raw.error == 0 {
            return None;
        }
        // SAFETY: the payload of an error is its text.
        let text = unsafe { bytes(raw.payload, raw.payload_len) };
        let text = text.map(|text| String::from_utf8_lossy(text).into_owned());
        Failure::from_code(raw.error, text)
    }

    /// The topic by its handle: equal for messages of one topic that live at the same time.
    pub(super) fn topic_ptr(&self) -> *const c::rd_kafka_topic_t {
        self.raw().topic
    }

    /// The topic's name; none for an error that concerns no topic.
    pub(super) fn topic(&self) -> Option<&CStr> {
        let topic = NonNull::new(self.raw().topic)?;
        // SAFETY: the message keeps its topic alive.
        Some(unsafe { CStr::from_ptr(c::rd_kafka_topic_name(topic.as_ptr())) })
    }

    pub(super) fn partition(&self) -> Partition {
        self.raw().partition
    }

    /// Of a record, or of the error at it.
    pub(super) fn offset(&self) -> Offset {
        self.raw().offset
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        // SAFETY: the message is alive.
        Timestamp(unsafe { c::rd_kafka_message_timestamp(self.ptr(), ptr::null_mut()) })
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: the message keeps its key alive.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    pub(super) fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message keeps its value alive.
        unsafe { bytes(self.raw().payload, self.raw().payload_len) }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it was taken over.
        unsafe { c::rd_kafka_message_destroy(self.0.as_ptr().cast()) };
    }
}

/// librdkafka parses the headers when they are asked for the first time.
impl HeaderSource for Message {
    fn header(&self, index: usize) -> Option<(Cow<'_, str>, &[u8])> {
        let mut headers = ptr::null_mut();
        let (mut name, mut value, mut size) = (ptr::null::<c_char>(), ptr::null::<c_void>(), 0);
        // SAFETY: the message is alive and owns its headers; it is not shared between threads.
        unsafe {
            let found = c::rd_kafka_message_headers(self.ptr(), &mut headers);
            Failure::check(found).ok()?;
            let found =
                c::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
            Failure::check(found).ok()?;
            let name = CStr::from_ptr(name).to_string_lossy();
            Some((name, bytes(value, size).unwrap_or_default()))
        }
    }
}

/// # Safety
/// The pointer is null or to that many bytes, which live as long as the result is used.
unsafe fn bytes<'a>(pointer: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as required.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), len) })
}
