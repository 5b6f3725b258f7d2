//! Ingestion over the in-memory log.

mod mortal;
mod stage;

mod replay;

mod faults;
mod gap_table;
mod standard;
mod wikimedia;
