//! What benchmarks of processors have in common.

use std::hint::black_box;

use tidemill::processor::{DeadLetter, OutputError, Outputs, Produced, TableRow};

/// Counts the records that it is given, and keeps nothing.
#[derive(Default)]
pub struct Nowhere {
    pub records: usize,
}

impl Outputs for Nowhere {
    fn produce(&mut self, record: Produced<'_>) -> Result<(), OutputError> {
        self.records += 1;
        black_box(record.value);
        Ok(())
    }

    fn row(&mut self, _: TableRow<'_, '_>) -> Result<(), OutputError> {
        Ok(())
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result<(), OutputError> {
        panic!("{}: {}", letter.reason, letter.message);
    }

    fn partitions(&self, _: &str) -> u32 {
        1
    }
}
