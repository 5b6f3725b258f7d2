//! Protobuf: schemas by the libraries, the encoding by ourselves, so that a record costs no allocation
//! and only what is asked for is looked at.

mod layout;
mod parse;
mod read;
mod write;
#[cfg(test)]
mod tests;

pub(super) use layout::Layout;
pub(super) use parse::{find_message, message_at, message_path, parse};
pub(super) use read::ProtobufReader;
pub(super) use write::write;

use crate::value::{FieldPath, ValueType};

impl Layout {
    /// All fields, those inside messages by their paths; of a message that holds itself, to the depth
    /// at which it does.
    pub(super) fn paths(&self) -> Vec<(FieldPath, ValueType)> {
        let mut paths = Vec::new();
        self.add_paths("", 0, &mut Vec::new(), &mut paths);
        paths
    }

    fn add_paths(
        &self,
        outer: &str,
        message: usize,
        around: &mut Vec<usize>,
        paths: &mut Vec<(FieldPath, ValueType)>,
    ) {
        around.push(message);
        for field in &self.messages[message].fields {
            let path = format!("{outer}{}", field.name);
            match field.message() {
                Some(inner) if !around.contains(&inner) => {
                    self.add_paths(&format!("{path}."), inner, around, paths);
                }
                _ => paths.push((FieldPath::new(&path), field.value_type())),
            }
        }
        around.pop();
    }
}
