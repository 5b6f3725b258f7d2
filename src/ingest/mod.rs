//! Gets events into the log: the live Wikimedia stream, recorded events, synthetic ones.
//!
//! In reading order: what of an event the log needs to know ([`fields`], [`target`]) and by what it
//! is recognised when it comes again ([`recent`]); what is counted ([`metrics`], [`summary`]) and
//! logged of it ([`progress`]), how fast it goes ([`pace`]), and how it is written ([`delivery`],
//! with [`trust`]). Then the sources: files
//! ([`lines`], [`replay`]), the generator ([`generate`]), and the live stream ([`sse`],
//! [`wikimedia`]).
//!
//! Each source has an options struct and a blocking `run(options, broker, clock, metrics,
//! shutdown)`.

pub mod fields;
pub mod target;

pub mod recent;

pub mod metrics;
pub mod summary;
pub mod progress;

pub mod pace;

pub mod delivery;
mod trust;

pub mod lines;
pub mod replay;

pub mod generate;

pub mod sse;
pub mod wikimedia;
