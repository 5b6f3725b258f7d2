//! From the bytes of a record to the fields that somebody downstream asks for.

mod projection;
mod json;
mod event;
mod stored;

pub use event::{Event, WHOLE_VALUE};
pub use json::{JsonError, decode_json};
pub(crate) use projection::Branch;
pub use projection::Projection;
pub use stored::{JoinedEvent, RowChange, StoredRow};
