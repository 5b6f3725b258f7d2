//! A double of Wikimedia's EventStreams that behaves as the real one does, traps included.
//!
//! - The `id` of a frame names all topics of the connection. A topic that has spoken stands in it
//!   with the log time of its last event **plus one millisecond**; another one with the offset at
//!   which reading began, −1 for "the end".
//! - `Last-Event-ID` beats `since`. An entry with a timestamp is answered with the first event of
//!   that time or a later one; where there is none, with the end. An entry that has both an offset
//!   and a timestamp is dropped as soon as another one has a timestamp alone. Topics that the
//!   request does not name are not read. An offset outside the log becomes the end.
//! - Each data centre has its own cluster, with all topics in it (mirrored) but its own offsets.
//!
//! The rules were read out of the service's published code (KafkaSSE and EventStreams); the shape
//! of frames and ids also out of recorded ones.

pub mod log;
pub mod server;

pub use log::Order;
pub use server::{Answer, Double, End};
