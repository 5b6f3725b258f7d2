//! A librdkafka client and its callbacks.
//!
//! The crate's own consumers and producers are not used: its event queue gives end-of-partition
//! without topic and offset, costs an allocation per record, and cannot be waited on without
//! paying its 100 ms steps. What is left of it here is the C interface and its error codes.
//!
//! Invariants: a callback runs on the thread that serves the client's queue (in a poll, a flush, a
//! commit or the closing), never on librdkafka's own threads, except for the log's; the opaque
//! pointer that it is given is the client's [`Shared`], which outlives the client; and no callback
//! panics, as it is called from C.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rdkafka::bindings as c;

use super::classify::{Code, Failure};
use super::config::{Properties, is_secret};
use super::list::{self, Entry};
use super::message::Message;
use super::throttle::Throttle;
use crate::broker::{BrokerError, Offset, Partition};

/// A client that has lost all brokers is shown the first ones again after this long.
const SHOW_BROKERS_AFTER: Duration = Duration::from_secs(5);

/// How long closing a client may take before it is left to itself.
const CLOSING_PATIENCE: Duration = Duration::from_secs(5);

/// What a client does with what librdkafka tells it.
pub(super) trait Callbacks: Send + Sync + 'static {
    /// The group gives or takes partitions; to be answered later with [`Handle::assign`].
    fn rebalanced(&self, _rebalance: Rebalance) {}

    /// A record was written, or not.
    fn delivered(&self, _report: &Delivery) {}

    /// Something is wrong with the client as a whole.
    fn failed(&self, _code: Code) {}
}

/// What the group wants.
#[derive(Debug)]
pub(super) enum Rebalance {
    Assign(Vec<Entry>),
    /// All that was assigned, as rebalances are eager.
    Revoke {
        lost: bool,
    },
}

/// What became of a record.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The number that was given along with the record.
    pub tag: usize,
    pub partition: Partition,
    pub offset: Offset,
    /// Key and value together.
    pub bytes: usize,
    /// Whether it has a key.
    pub has_key: bool,
    pub error: Option<Failure>,
}

/// Which half of librdkafka a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Consumer,
    Producer,
}

/// What the callbacks of a client share with its owner.
pub(super) struct Shared<C> {
    name: String,
    last_log: Mutex<Option<String>>,
    throttle: Mutex<Throttle>,
    /// When all brokers were lost; see [`Handle::show_brokers`].
    lost_brokers: Mutex<Option<Instant>>,
    closing: AtomicBool,
    /// Whether a rebalance ends the call that serves it; see [`Handle::consume_one`].
    waiting: AtomicBool,
    /// Whether a rebalance has been served since that was last asked.
    rebalanced: AtomicBool,
    pub callbacks: C,
}

/// A librdkafka client.
pub(super) struct Handle<C: Callbacks> {
    client: Client,
    shared: Arc<Shared<C>>,
    /// The addresses that it began with.
    bootstrap: CString,
    /// Whether closing tells the group that the member leaves.
    leaves_group: bool,
}

#[derive(Clone, Copy)]
struct Client(NonNull<c::rd_kafka_t>);

// SAFETY: librdkafka's clients may be used from any thread (INTRODUCTION.md, "Threads and
// callbacks"), and `Shared` is `Send + Sync` by the bounds of `Callbacks`.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl<C: Callbacks> Handle<C> {
    /// Creates a client; connects in the background.
    pub(super) fn new(
        kind: Kind,
        name: String,
        properties: &Properties,
        callbacks: C,
    ) -> Result<Handle<C>, BrokerError> {
        let config = Config::new(properties)?;
        let bootstrap = properties.get("bootstrap.servers");
        let bootstrap = text(bootstrap.map_or("", String::as_str))?;
        let (last_log, closing) = (Mutex::new(None), AtomicBool::new(false));
        let shared = Arc::new(Shared {
            name,
            last_log,
            throttle: Mutex::default(),
            lost_brokers: Mutex::default(),
            closing,
            waiting: AtomicBool::new(false),
            rebalanced: AtomicBool::new(false),
            callbacks,
        });
        let conf = config.0.as_ptr();
        // SAFETY: the configuration is alive; the opaque pointer is valid for as long as `shared`,
        // of which the handle, and later the closing thread, keep a reference until the client is
        // destroyed.
        unsafe {
            c::rd_kafka_conf_set_opaque(conf, Arc::as_ptr(&shared) as *mut c_void);
            c::rd_kafka_conf_set_log_cb(conf, Some(on_log::<C>));
            c::rd_kafka_conf_set_error_cb(conf, Some(on_error::<C>));
            match kind {
                Kind::Consumer => c::rd_kafka_conf_set_rebalance_cb(conf, Some(on_rebalance::<C>)),
                Kind::Producer => c::rd_kafka_conf_set_dr_msg_cb(conf, Some(on_delivery::<C>)),
            }
        }
        let client = config.into_client(kind, &shared.name)?;
        Ok(Handle {
            client,
            shared,
            bootstrap,
            leaves_group: false,
        })
    }

    /// Closing this client is to tell the group that its member leaves.
    pub(super) fn leave_group_when_closed(&mut self) {
        self.leaves_group = true;
    }

    /// The client, for calls into librdkafka while the handle is alive.
    pub(super) fn ptr(&self) -> *mut c::rd_kafka_t {
        self.client.0.as_ptr()
    }

    /// What the callbacks have gathered.
    pub(super) fn callbacks(&self) -> &C {
        &self.shared.callbacks
    }

    /// The last warning or error that librdkafka has logged for this client.
    pub(super) fn last_log(&self) -> Option<String> {
        self.shared
            .last_log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for one message of a consumer, or until a rebalance was served: the callback then ends
    /// the call by `rd_kafka_yield`. Only here: within `rd_kafka_consume_batch_queue` (librdkafka
    /// 2.12) a yield takes effect one entry too late, and a record that is taken out of the queue
    /// just then is neither returned nor put back.
    pub(super) fn consume_one(&self, timeout: Duration) -> Option<Message> {
        self.show_brokers();
        self.shared.waiting.store(true, Ordering::SeqCst);
        // SAFETY: the client is alive; the message is ours.
        let message = unsafe {
            let message = c::rd_kafka_consumer_poll(self.ptr(), millis(timeout));
            NonNull::new(message).map(|message| Message::from_ptr(message))
        };
        self.shared.waiting.store(false, Ordering::SeqCst);
        message
    }

    /// Whether a rebalance has been served since this was last asked.
    pub(super) fn take_rebalanced(&self) -> bool {
        self.shared.rebalanced.swap(false, Ordering::SeqCst)
    }

    /// Serves callbacks, for `timeout` or until one was served.
    pub(super) fn serve(&self, timeout: Duration) {
        // SAFETY: the client is alive.
        unsafe { c::rd_kafka_poll(self.ptr(), millis(timeout)) };
        self.show_brokers();
    }

    /// Shows the client the addresses that it began with, a while after it has lost all brokers. A
    /// cluster that comes back may say for a moment that it has no brokers: librdkafka (2.12) drops
    /// those it knew, and then, if the answer's arrival cancels the timer that was just set for it,
    /// never looks for any again.
    fn show_brokers(&self) {
        let is_due = |since: &mut Instant| since.elapsed() >= SHOW_BROKERS_AFTER;
        let due = self.shared.lost_brokers().take_if(is_due);
        if due.is_some() {
            // SAFETY: the client and the text are alive.
            unsafe { c::rd_kafka_brokers_add(self.ptr(), self.bootstrap.as_ptr()) };
        }
    }

    /// Whether a broker answers; librdkafka only connects when it is asked something.
    pub(super) fn is_connected(&self, timeout: Duration) -> bool {
        let (client, mut metadata) = (self.ptr(), ptr::null());
        // SAFETY: the client is alive; no topics are asked for; the answer is ours.
        unsafe {
            let timeout = millis(timeout);
            let asked = c::rd_kafka_metadata(client, 0, ptr::null_mut(), &mut metadata, timeout);
            let answer = Failure::check(asked);
            if answer.is_ok() {
                c::rd_kafka_metadata_destroy(metadata);
            }
            answer.is_ok()
        }
    }

    /// The error that has put the client out of use, if there is one.
    pub(super) fn fatal_error(&self) -> Option<Failure> {
        let mut text = Text::new();
        // SAFETY: the client is alive, the buffer as large as is said.
        let code = unsafe { c::rd_kafka_fatal_error(self.ptr(), text.ptr(), text.capacity()) };
        let failure = Failure::from_code(code as i32, Some(text.to_string()))?;
        Some(Failure {
            fatal: true,
            ..failure
        })
    }
}

impl<C: Callbacks> Drop for Handle<C> {
    /// Closing waits for librdkafka's threads and, for a member that leaves, for its group, which
    /// has hung in the field (rust-rdkafka#509, librdkafka#4884). Hence a thread with a deadline.
    fn drop(&mut self) {
        let (client, shared) = (self.client, self.shared.clone());
        let flags = if self.leaves_group {
            0
        } else {
            c::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE
        };
        shared.closing.store(true, Ordering::SeqCst);
        let (done, closed) = mpsc::channel();
        let close = move || {
            let Client(pointer) = { client };
            // SAFETY: the handle is gone, so nobody else uses the client; this is not one of
            // librdkafka's own threads; `shared` lives until the client is destroyed.
            unsafe { c::rd_kafka_destroy_flags(pointer.as_ptr(), flags) };
            drop(shared);
            done.send(()).ok();
        };
        let thread = std::thread::Builder::new()
            .name("kafka-close".to_owned())
            .spawn(close);
        if thread.is_err() || closed.recv_timeout(CLOSING_PATIENCE).is_err() {
            tracing::warn!(
                client = self.shared.name,
                "closing a Kafka client takes long; not waiting"
            );
        }
    }
}

/// A configuration that has not become a client yet.
struct Config(NonNull<c::rd_kafka_conf_t>);

impl Config {
    fn new(properties: &Properties) -> Result<Config, BrokerError> {
        // SAFETY: no preconditions.
        let config = Config(not_null(unsafe { c::rd_kafka_conf_new() }));
        for (key, value) in properties {
            config.set(key, value)?;
        }
        Ok(config)
    }

    fn set(&self, key: &str, value: &str) -> Result<(), BrokerError> {
        let (name, content) = (text(key)?, text(value)?);
        let mut reason = Text::new();
        // SAFETY: the configuration and both texts are alive, the buffer as large as is said.
        let result = unsafe {
            let conf = self.0.as_ptr();
            c::rd_kafka_conf_set(
                conf,
                name.as_ptr(),
                content.as_ptr(),
                reason.ptr(),
                reason.capacity(),
            )
        };
        if result == c::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            return Ok(());
        }
        // librdkafka's text may repeat the value.
        let reason = if is_secret(key) {
            "its value is refused".to_owned()
        } else {
            reason.to_string()
        };
        Err(BrokerError::fatal(
            format!("set the Kafka property {key}"),
            reason,
        ))
    }

    fn into_client(self, kind: Kind, name: &str) -> Result<Client, BrokerError> {
        let kind = match kind {
            Kind::Consumer => c::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            Kind::Producer => c::rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        let mut reason = Text::new();
        // SAFETY: the configuration is alive; on success it belongs to the client.
        let client =
            unsafe { c::rd_kafka_new(kind, self.0.as_ptr(), reason.ptr(), reason.capacity()) };
        match NonNull::new(client) {
            Some(client) => {
                std::mem::forget(self);
                Ok(Client(client))
            }
            None => Err(BrokerError::fatal(
                format!("create the Kafka client {name}"),
                reason.to_string(),
            )),
        }
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: it has not become a client.
        unsafe { c::rd_kafka_conf_destroy(self.0.as_ptr()) };
    }
}

/// A buffer for librdkafka's explanations.
pub(super) struct Text([u8; 512]);

impl Text {
    pub(super) fn new() -> Text {
        Text([0; 512])
    }

    pub(super) fn ptr(&mut self) -> *mut c_char {
        self.0.as_mut_ptr().cast()
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = CStr::from_bytes_until_nul(&self.0).unwrap_or_default();
        f.write_str(&text.to_string_lossy())
    }
}

/// A text for C.
pub(super) fn text(text: &str) -> Result<CString, BrokerError> {
    CString::new(text)
        .map_err(|_| BrokerError::fatal("call librdkafka", "a name has a NUL character"))
}

/// What librdkafka only fails to give when memory has run out, at which it aborts itself.
pub(super) fn not_null<T>(pointer: *mut T) -> NonNull<T> {
    NonNull::new(pointer).expect("librdkafka's allocations succeed")
}

/// A text of librdkafka's.
///
/// # Safety
/// The pointer is null or a C string that lives through this call.
pub(super) unsafe fn to_text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as required.
    unsafe { CStr::from_ptr(pointer) }
        .to_string_lossy()
        .into_owned()
}

/// A duration as librdkafka takes it.
pub(super) fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn on_log<C: Callbacks>(
    client: *const c::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    if client.is_null() {
        return;
    }
    // SAFETY: the opaque pointer of a client is its `Shared`; the texts live through this call.
    let (shared, facility, line) = unsafe {
        let shared = &*c::rd_kafka_opaque(client).cast::<Shared<C>>();
        (shared, to_text(facility), to_text(line))
    };
    shared.log(level, &facility, &line);
    if level <= 4 {
        *shared
            .last_log
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(line);
    }
}

impl<C> Shared<C> {
    fn lost_brokers(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lost_brokers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Syslog's levels; librdkafka calls every lost connection an error, of which it recovers.
    fn log(&self, level: c_int, facility: &str, line: &str) {
        let client = self.name.as_str();
        match level {
            0..=2 => tracing::error!(target: "librdkafka", client, facility, "{line}"),
            3..=4 => self.complain(facility, line),
            5..=6 => tracing::info!(target: "librdkafka", client, facility, "{line}"),
            _ => tracing::debug!(target: "librdkafka", client, facility, "{line}"),
        }
    }

    fn complain(&self, facility: &str, line: &str) {
        let client = self.name.as_str();
        let throttle = self.throttle.lock();
        let mut throttle = throttle.unwrap_or_else(PoisonError::into_inner);
        match throttle.show(facility, Instant::now()) {
            Some(0) => tracing::warn!(target: "librdkafka", client, facility, "{line}"),
            Some(hidden) => {
                tracing::warn!(target: "librdkafka", client, facility, hidden, "{line}");
            }
            None => tracing::debug!(target: "librdkafka", client, facility, "{line}"),
        }
    }
}

unsafe extern "C" fn on_error<C: Callbacks>(
    _: *mut c::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque pointer of a client is its `Shared`; the text lives through this call.
    let (shared, reason) = unsafe { (&*opaque.cast::<Shared<C>>(), to_text(reason)) };
    shared.log(4, "ERROR", &reason);
    let Some(failure) = Failure::from_code(code, None) else {
        return;
    };
    if failure.code == Code::AllBrokersDown {
        // For the log this only sums up what was said of each.
        shared.lost_brokers().get_or_insert_with(Instant::now);
    } else {
        *shared
            .last_log
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
    shared.callbacks.failed(failure.code);
}

unsafe extern "C" fn on_rebalance<C: Callbacks>(
    client: *mut c::rd_kafka_t,
    code: c::rd_kafka_resp_err_t,
    partitions: *mut c::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque pointer of a client is its `Shared`; client and list live through this
    // call; an answer may be given from within the callback.
    unsafe {
        let shared = &*opaque.cast::<Shared<C>>();
        if shared.closing.load(Ordering::SeqCst) {
            c::rd_kafka_assign(client, ptr::null());
            return;
        }
        shared.callbacks.rebalanced(match code {
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                Rebalance::Assign(list::read(partitions))
            }
            _ => Rebalance::Revoke {
                lost: c::rd_kafka_assignment_lost(client) != 0,
            },
        });
        shared.rebalanced.store(true, Ordering::SeqCst);
        if shared.waiting.load(Ordering::SeqCst) {
            c::rd_kafka_yield(client);
        }
    }
}

unsafe extern "C" fn on_delivery<C: Callbacks>(
    _: *mut c::rd_kafka_t,
    message: *const c::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque pointer of a client is its `Shared`; the message lives through this call.
    let (shared, delivery) = unsafe {
        let message = &*message.cast::<super::message::RawMessage>();
        let delivery = Delivery {
            tag: message.private as usize,
            partition: message.partition,
            offset: message.offset,
            bytes: message.key_len + message.payload_len,
            has_key: !message.key.is_null(),
            error: Failure::from_code(message.error, None),
        };
        (&*opaque.cast::<Shared<C>>(), delivery)
    };
    shared.callbacks.delivered(&delivery);
}
