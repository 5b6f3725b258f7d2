//! From the bytes of a record to the fields that somebody downstream asks for.

mod json;
mod projection;

pub use json::{JsonError, decode_json};
pub use projection::Projection;
