//! State in RocksDB: the one place that names it.
//!
//! One database per task, a column family per store, and the changelog offsets in the default
//! family. All databases of a process share one block cache and one write-buffer budget. The
//! write-ahead log is on and not synced: a crash of the process loses nothing, a crash of the
//! machine loses at most a tail, which the changelog still has; the log is read back to the last
//! intact batch, so what is found is always a state that was once committed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    ErrorKind, IteratorMode, Options, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions,
};

use super::{Change, OnEntry, StateBackend, StateBatch, StateError, StoreId, TaskState};
use crate::broker::Offset;

/// How much memory all state stores of a process may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateMemory {
    /// For blocks that were read.
    pub block_cache_bytes: usize,
    /// For writes that are not on disk yet.
    pub write_buffer_bytes: usize,
}

impl Default for StateMemory {
    fn default() -> StateMemory {
        StateMemory {
            block_cache_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
        }
    }
}

/// Opens RocksDB databases below one directory, which the caller holds the lock of.
pub struct RocksBackend {
    directory: PathBuf,
    options: Options,
    block_options: BlockBasedOptions,
}

struct RocksState {
    db: DB,
    path: PathBuf,
    names: Vec<String>,
    write_options: WriteOptions,
}

impl RocksBackend {
    /// Databases of tasks below `directory`.
    pub fn new(directory: impl Into<PathBuf>, memory: StateMemory) -> RocksBackend {
        let cache = Cache::new_hyper_clock_cache(memory.block_cache_bytes, 0);
        let buffers =
            WriteBufferManager::new_write_buffer_manager(memory.write_buffer_bytes, false);
        let mut block_options = BlockBasedOptions::default();
        block_options.set_block_cache(&cache);
        block_options.set_bloom_filter(10.0, false);
        block_options.set_cache_index_and_filter_blocks(true);
        block_options.set_block_size(16 << 10);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_write_buffer_manager(&buffers);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_paranoid_checks(true);
        options.set_max_background_jobs(2);
        options.set_max_open_files(256);
        options.set_max_total_wal_size(64 << 20);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(4 << 20);
        options.set_stats_dump_period_sec(0);
        RocksBackend {
            directory: directory.into(),
            options,
            block_options,
        }
    }

    fn store_options(&self) -> Options {
        let mut options = Options::default();
        options.set_block_based_table_factory(&self.block_options);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.02);
        options
    }
}

impl fmt::Debug for RocksBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksBackend")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl StateBackend for RocksBackend {
    fn open(&self, task: &str, stores: &[String]) -> Result<Box<dyn TaskState>, StateError> {
        let path = self.directory.join(task);
        fs::create_dir_all(&path).map_err(|error| StateError::Io {
            action: "create",
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        // A family that the plan no longer knows must be named all the same, or the open fails.
        let mut families: BTreeSet<String> = stores.iter().cloned().collect();
        families.insert(rocksdb::DEFAULT_COLUMN_FAMILY_NAME.to_owned());
        if path.join("CURRENT").exists() {
            let found =
                DB::list_cf(&self.options, &path).map_err(|e| classify("open", &path, &e))?;
            families.extend(found);
        }
        let families = families
            .into_iter()
            .map(|name| ColumnFamilyDescriptor::new(name, self.store_options()));
        let db = DB::open_cf_descriptors(&self.options, &path, families)
            .map_err(|error| classify("open", &path, &error))?;
        let write_options = WriteOptions::default();
        Ok(Box::new(RocksState {
            db,
            path,
            names: stores.to_vec(),
            write_options,
        }))
    }

    fn set_aside(&self, task: &str) -> Result<(), StateError> {
        let path = self.directory.join(task);
        let free = (1..)
            .map(|n| self.directory.join(format!("{task}.damaged-{n}")))
            .find(|candidate| !candidate.exists())
            .expect("some number is free");
        fs::rename(&path, free).map_err(|error| StateError::Io {
            action: "set aside",
            path: path.display().to_string(),
            reason: error.to_string(),
        })
    }
}

impl RocksState {
    fn family(&self, store: StoreId) -> &rocksdb::ColumnFamily {
        self.db
            .cf_handle(&self.names[store])
            .expect("opened with the database")
    }

    fn fail(&self, action: &'static str) -> impl Fn(rocksdb::Error) -> StateError + '_ {
        move |error| classify(action, &self.path, &error)
    }
}

impl TaskState for RocksState {
    fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        value.clear();
        match self
            .db
            .get_pinned_cf(self.family(store), key)
            .map_err(self.fail("read"))?
        {
            Some(found) => {
                value.extend_from_slice(&found);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn scan(
        &self,
        store: StoreId,
        from: &[u8],
        to: &[u8],
        visit: OnEntry<'_>,
    ) -> Result<(), StateError> {
        if from >= to {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        for entry in self
            .db
            .iterator_cf_opt(self.family(store), options, IteratorMode::Start)
        {
            let (key, value) = entry.map_err(self.fail("read"))?;
            if visit(&key, &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, store: StoreId, key: &mut Vec<u8>) -> Result<bool, StateError> {
        key.clear();
        let mut entries = self.db.iterator_cf(self.family(store), IteratorMode::End);
        match entries.next().transpose().map_err(self.fail("read"))? {
            Some((last, _)) => {
                key.extend_from_slice(&last);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn write(&mut self, batch: &StateBatch) -> Result<(), StateError> {
        let mut writes = WriteBatch::default();
        for change in batch.changes() {
            match change {
                Change::Put(store, key, value) => writes.put_cf(self.family(store), key, value),
                Change::Delete(store, key) => writes.delete_cf(self.family(store), key),
                Change::DeleteRange(store, from, to) => {
                    writes.delete_range_cf(self.family(store), from, to);
                }
                Change::Checkpoint(store, next) => {
                    writes.put(checkpoint_key(&self.names[store]), next.to_be_bytes());
                }
            }
        }
        self.db
            .write_opt(writes, &self.write_options)
            .map_err(self.fail("write"))
    }

    fn checkpoint(&self, store: StoreId) -> Result<Option<Offset>, StateError> {
        let found = self
            .db
            .get(checkpoint_key(&self.names[store]))
            .map_err(self.fail("read"))?;
        found
            .map(|bytes| {
                let bytes = bytes.try_into().map_err(|_| StateError::Corrupted {
                    path: self.path.display().to_string(),
                    reason: format!("checkpoint of store {} is not 8 bytes", self.names[store]),
                })?;
                Ok(Offset::from_be_bytes(bytes))
            })
            .transpose()
    }

    fn size_bytes(&self) -> u64 {
        let sum = |property: &str| -> u64 {
            (0..self.names.len())
                .filter_map(|store| {
                    self.db
                        .property_int_value_cf(self.family(store), property)
                        .ok()
                        .flatten()
                })
                .sum()
        };
        sum("rocksdb.total-sst-files-size") + sum("rocksdb.cur-size-all-mem-tables")
    }
}

fn checkpoint_key(store: &str) -> Vec<u8> {
    format!("checkpoint/{store}").into_bytes()
}

/// Says which reaction an error of RocksDB demands.
fn classify(action: &'static str, path: &Path, error: &rocksdb::Error) -> StateError {
    let path = path.display().to_string();
    let reason = error.to_string();
    match error.kind() {
        ErrorKind::IOError if reason.contains("lock") => StateError::InUse { path },
        ErrorKind::Corruption | ErrorKind::InvalidArgument | ErrorKind::NotFound => {
            StateError::Corrupted { path, reason }
        }
        // A missing table or manifest file shows as an I/O error.
        ErrorKind::IOError if reason.contains("No such file") => {
            StateError::Corrupted { path, reason }
        }
        _ => StateError::Io {
            action,
            path,
            reason,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(directory: &Path) -> RocksBackend {
        RocksBackend::new(directory, StateMemory::default())
    }

    #[test]
    fn it_does_what_every_backend_does() {
        let directory = tempfile::tempdir().unwrap();
        super::super::suite::all(&backend(directory.path()));
    }

    #[test]
    fn a_task_cannot_be_opened_twice() {
        let directory = tempfile::tempdir().unwrap();
        let _first = backend(directory.path())
            .open("0_0", &["a".to_owned()])
            .unwrap();
        let second = backend(directory.path()).open("0_0", &["a".to_owned()]);
        assert!(matches!(second.err(), Some(StateError::InUse { .. })));
    }

    #[test]
    fn damage_is_detected_at_open_and_the_old_state_is_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let backend = backend(directory.path());
        let stores = ["a".to_owned()];
        let mut state = backend.open("0_0", &stores).unwrap();
        let mut batch = StateBatch::default();
        batch.put(0, b"k", b"v");
        state.write(&batch).unwrap();
        drop(state);
        fs::write(directory.path().join("0_0/CURRENT"), "MANIFEST-999999\n").unwrap();
        let opened = backend.open("0_0", &stores);
        assert!(matches!(opened.err(), Some(StateError::Corrupted { .. })));
        backend.set_aside("0_0").unwrap();
        let state = backend.open("0_0", &stores).unwrap();
        assert!(!state.get(0, b"k", &mut Vec::new()).unwrap());
        assert!(directory.path().join("0_0.damaged-1/CURRENT").exists());
    }
}
