//! What users test their topologies with.

mod driver;
mod stores;

pub use driver::{DriverError, DriverOptions, TopologyTestDriver};
pub use stores::{StoreEntry, TableRow};

#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod deduplicate_tests;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod sink_rows;
#[cfg(test)]
mod stateless_tests;
#[cfg(test)]
mod suppress_oracle_tests;
#[cfg(test)]
mod suppress_tests;
#[cfg(test)]
mod table_tests;
