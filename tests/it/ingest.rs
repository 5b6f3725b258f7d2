//! Ingestion over the in-memory log.

mod mortal;
mod stage;

mod replay;

mod faults;
mod standard;
mod wikimedia;
