//! What users test their topologies with.

mod driver;

pub use driver::{DriverError, DriverOptions, StoreEntry, TopologyTestDriver};

#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod stateless_tests;
