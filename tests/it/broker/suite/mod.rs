//! What every log must do. Each function plays on a scene whose names nobody else uses.

mod groups;
mod records;
mod scene;

pub use groups::*;
pub use records::*;
pub use scene::{Scene, until, until_within};
