//! Avro: schemas by the library, the encoding by ourselves, so that a record costs no allocation and
//! only what is asked for is looked at.

mod layout;
mod parse;
mod default;
mod resolve;
mod decimal;
mod read;
mod write;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod evolution_tests;

pub(super) use layout::Layout;
pub(super) use parse::{parse, parse_given};
pub(super) use read::AvroReader;
pub(super) use resolve::resolve;
pub(super) use write::{fields, time, write};

use layout::Type;

use crate::record::WHOLE_VALUE;
use crate::value::{FieldPath, ValueType};

impl Layout {
    /// All fields that have a name, those inside records by their paths; of a record that holds itself,
    /// to the depth at which it does.
    pub(super) fn paths(&self) -> Vec<(FieldPath, ValueType)> {
        let mut paths = Vec::new();
        match &self.root {
            Type::Record(number) => self.add_paths("", *number, &mut Vec::new(), &mut paths),
            kind => paths.push((FieldPath::new(WHOLE_VALUE), kind.value_type())),
        }
        paths
    }

    fn add_paths(
        &self,
        outer: &str,
        record: usize,
        around: &mut Vec<usize>,
        paths: &mut Vec<(FieldPath, ValueType)>,
    ) {
        around.push(record);
        for field in &self.records[record].fields {
            let Some(name) = &field.name else { continue };
            let path = format!("{outer}{name}");
            match field.kind.only() {
                Some(Type::Record(inner)) if !around.contains(inner) => {
                    self.add_paths(&format!("{path}."), *inner, around, paths);
                }
                _ => paths.push((FieldPath::new(&path), field.kind.value_type())),
            }
        }
        around.pop();
    }
}
