//! From the bytes of a record to the fields that somebody downstream asks for.

mod json;
mod projection;
mod stored;

pub use json::{JsonError, decode_json};
pub use projection::Projection;
pub use stored::{JoinedEvent, RowChange, StoredRow};
