//! Tells how far the restore of a task has come.

use crate::runtime::metrics::RestoreStatus;
use crate::time::Timestamp;
use crate::topology::plan::TaskId;

/// Progress is logged this often.
const REPORT_EVERY_MS: i64 = 5_000;

/// What a restore has read so far.
pub(super) struct Report {
    task: TaskId,
    /// How many offsets there are to be read.
    total: i64,
    started: Timestamp,
    shown: Timestamp,
    records: u64,
    bytes: u64,
}

impl Report {
    /// Nothing has been read of so many offsets.
    pub(super) fn new(task: TaskId, total: i64, now: Timestamp) -> Report {
        Report {
            task,
            total,
            started: now,
            shown: now,
            records: 0,
            bytes: 0,
        }
    }

    /// How many records have been read.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Counts a record.
    pub(super) fn count(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.records += 1;
        self.bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
    }

    /// How far it is, with so many offsets left.
    pub(super) fn status(&self, left: i64, now: Timestamp) -> RestoreStatus {
        RestoreStatus {
            records: self.records,
            bytes: self.bytes,
            total: self.total,
            left,
            ms: now.0 - self.started.0,
        }
    }

    /// Logs it now and then.
    pub(super) fn show(&mut self, left: i64, now: Timestamp) {
        if now.0 - self.shown.0 < REPORT_EVERY_MS {
            return;
        }
        self.shown = now;
        let status = self.status(left, now);
        tracing::info!(
            task = %self.task,
            records = status.records,
            bytes = status.bytes,
            left,
            percent = 100 * (self.total - left) / self.total.max(1),
            records_per_s = status.records_per_s() as u64,
            left_s = status.left_s().map(|left_s| left_s as u64),
            "restoring state"
        );
    }

    /// Logs that it is done.
    pub(super) fn finish(&self, now: Timestamp) {
        if self.records == 0 {
            return;
        }
        let status = self.status(0, now);
        tracing::info!(
            task = %self.task,
            records = status.records,
            bytes = status.bytes,
            ms = status.ms,
            records_per_s = status.records_per_s() as u64,
            "state restored"
        );
    }
}
