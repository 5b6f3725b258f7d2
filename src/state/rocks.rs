//! State in RocksDB: the one place that names it.
//!
//! One database per task, a column family per store, and the changelog offsets in the default
//! family. All databases of a process share one block cache and one write-buffer budget. The
//! write-ahead log is on and not synced: a crash of the process loses nothing that was written here,
//! a crash of the machine loses at most a tail, which the changelog still has; the log is read back
//! to the last intact batch, so what is found is always a state that was once committed.
//!
//! Windows that expire are not deleted: each store knows the start of its first open window, readers
//! begin there, and older entries leave with the compaction that next meets them, or with their whole
//! file. (A range deletion per commit costs every read after it: RocksDB sorts all those of a memtable
//! anew, see `docs/PERFORMANCE.md`.)

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, CompactionDecision, DB, DBCompressionType,
    DBRecoveryMode, ErrorKind, IngestExternalFileOptions, IteratorMode, Options, ReadOptions,
    SstFileWriter, WriteBatch, WriteBufferManager, WriteOptions,
};

use super::{
    Change, OnEntry, SortedChanges, StateBackend, StateBatch, StateError, StateReader, StoreId,
    TaskState, keys,
};
use crate::broker::Offset;
use crate::time::Timestamp;

/// So many bytes are written between two looks for files in which all has expired.
const RECLAIM_BYTES: usize = 4 << 20;

/// So many changes that are loaded become a file of their own, and do not go through the log and the
/// write buffer.
const FILE_CHANGES: usize = 10_000;

/// One store's write buffer is not larger, and not smaller, whatever all of them together may be.
const MOST_STORE_BYTES: usize = 16 << 20;
const LEAST_STORE_BYTES: usize = 1 << 20;

/// So many states of a task are kept for inspection that were found to be damaged.
const MOST_SET_ASIDE: usize = 3;

/// A state that was not written for so long may have entries of which the changelog has forgotten that they were
/// deleted (`delete.retention.ms`, see `runtime/topics.rs`). A day is left for clocks and for the restore.
const MOST_DAYS: u64 = 6;

/// What the names of such files begin with before they are the database's.
const LOADED: &str = "loaded-";

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

/// The memory that all databases of a process use together. Cheap to clone.
#[derive(Clone)]
pub struct StoreMemory {
    blocks: Cache,
    writes: WriteBufferManager,
    /// What one store may keep of the writes, in bytes.
    store_bytes: usize,
}

impl StoreMemory {
    /// So much of it.
    pub fn new(memory: StateMemory) -> StoreMemory {
        StoreMemory {
            blocks: Cache::new_hyper_clock_cache(memory.block_cache_bytes, 0),
            writes: WriteBufferManager::new_write_buffer_manager(memory.write_buffer_bytes, false),
            store_bytes: (memory.write_buffer_bytes / 2).clamp(LEAST_STORE_BYTES, MOST_STORE_BYTES),
        }
    }
}

impl Default for StoreMemory {
    fn default() -> StoreMemory {
        StoreMemory::new(StateMemory::default())
    }
}

/// Opens RocksDB databases below one directory, which the caller holds the lock of.
pub struct RocksBackend {
    directory: PathBuf,
    options: Options,
    block_options: BlockBasedOptions,
    store_bytes: usize,
}

struct RocksState {
    files: Arc<Files>,
    write_options: WriteOptions,
    /// Of files that are loaded.
    file_options: Options,
    /// Written since the last look for expired files.
    written_bytes: usize,
}

/// An open database. Closed when neither the state nor one of its readers is left.
struct Files {
    db: DB,
    path: PathBuf,
    names: Vec<String>,
    /// The column family of each store.
    families: Vec<String>,
    /// Of each store.
    expiries: Vec<Expiry>,
}

/// The start of the first window of a store that has not expired, as [`keys::window_bytes`]; shared
/// with its compactions. It only grows.
#[derive(Clone, Default)]
struct Expiry(Arc<AtomicU64>);

impl Expiry {
    fn bytes(&self) -> [u8; keys::WINDOW_BYTES] {
        self.0.load(Ordering::Acquire).to_be_bytes()
    }

    fn raise(&self, until: [u8; keys::WINDOW_BYTES]) {
        let until = u64::from_be_bytes(until);
        self.0.fetch_max(until, Ordering::AcqRel);
    }

    fn has_passed(&self, key: &[u8]) -> bool {
        keys::has_expired(key, &self.bytes())
    }
}

impl RocksBackend {
    /// Databases of tasks below `directory`.
    pub fn new(directory: impl Into<PathBuf>, memory: &StoreMemory) -> RocksBackend {
        let mut block_options = BlockBasedOptions::default();
        block_options.set_block_cache(&memory.blocks);
        block_options.set_bloom_filter(10.0, false);
        block_options.set_cache_index_and_filter_blocks(true);
        block_options.set_block_size(16 << 10);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_write_buffer_manager(&memory.writes);
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
            store_bytes: memory.store_bytes,
        }
    }

    fn store_options(&self) -> Options {
        let mut options = Options::default();
        options.set_block_based_table_factory(&self.block_options);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_write_buffer_size(self.store_bytes);
        options.set_memtable_whole_key_filtering(true);
        // The filter is made at once, however little is written then.
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
        if let Some(days) = days_since_written(&path)?.filter(|days| *days >= MOST_DAYS) {
            return Err(StateError::Corrupted {
                path: path.display().to_string(),
                reason: format!(
                    "it was last written {days} days ago, and its changelog forgets deletions after a week"
                ),
            });
        }
        // A family that the plan no longer knows must be named all the same, or the open fails.
        let mut families: BTreeSet<String> =
            stores.iter().map(|store| family_name(store)).collect();
        families.insert(rocksdb::DEFAULT_COLUMN_FAMILY_NAME.to_owned());
        if path.join("CURRENT").exists() {
            let found =
                DB::list_cf(&self.options, &path).map_err(|e| classify("open", &path, &e))?;
            families.extend(found);
        }
        let expiries: Vec<Expiry> = stores.iter().map(|_| Expiry::default()).collect();
        let families = families.into_iter().map(|name| {
            let mut options = self.store_options();
            let store = stores.iter().position(|store| family_name(store) == name);
            if let Some(store) = store {
                let expiry = expiries[store].clone();
                options.set_compaction_filter(
                    "expired",
                    move |_, key: &[u8], _: &[u8]| match expiry.has_passed(key) {
                        true => CompactionDecision::Remove,
                        false => CompactionDecision::Keep,
                    },
                );
            }
            ColumnFamilyDescriptor::new(name, options)
        });
        let db = DB::open_cf_descriptors(&self.options, &path, families)
            .map_err(|error| classify("open", &path, &error))?;
        // It is ours now, and nobody loads anything.
        remove_loaded(&path)?;
        let write_options = WriteOptions::default();
        let files = Files {
            db,
            path,
            families: stores.iter().map(|store| family_name(store)).collect(),
            names: stores.to_vec(),
            expiries,
        };
        for (store, expiry) in stores.iter().zip(&files.expiries) {
            if let Some(until) = files.number(&expiry_key(store))? {
                expiry.raise(until);
            }
        }
        Ok(Box::new(RocksState {
            files: Arc::new(files),
            write_options,
            file_options: self.store_options(),
            written_bytes: 0,
        }))
    }

    fn set_aside(&self, task: &str) -> Result<(), StateError> {
        let path = self.directory.join(task);
        let failed = |error: std::io::Error| StateError::Io {
            action: "set aside",
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let prefix = format!("{task}.damaged-");
        let mut kept = BTreeMap::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
                kept.insert(number, entry.path());
            }
        }
        let next = kept.last_key_value().map_or(1, |(last, _)| last + 1);
        fs::rename(&path, self.directory.join(format!("{prefix}{next}"))).map_err(failed)?;
        while kept.len() >= MOST_SET_ASIDE
            && let Some((_, oldest)) = kept.pop_first()
        {
            fs::remove_dir_all(oldest).map_err(failed)?;
        }
        Ok(())
    }
}

impl Files {
    fn family(&self, store: StoreId) -> &rocksdb::ColumnFamily {
        self.db
            .cf_handle(&self.families[store])
            .expect("opened with the database")
    }

    /// Eight bytes of the default family.
    fn number(&self, key: &[u8]) -> Result<Option<[u8; 8]>, StateError> {
        let found = self.db.get(key).map_err(self.fail("read"))?;
        found
            .map(|bytes| {
                bytes.try_into().map_err(|_| StateError::Corrupted {
                    path: self.path.display().to_string(),
                    reason: format!("{} is not 8 bytes", String::from_utf8_lossy(key)),
                })
            })
            .transpose()
    }

    /// Drops the files in which everything has expired. Others shrink when they are compacted. What
    /// fails is tried again: it concerns room, and no entry.
    fn reclaim(&self) {
        for (store, expiry) in self.expiries.iter().enumerate() {
            // The end is included, and may be the key of an entry: stay one below it.
            let Some(last) = u64::from_be_bytes(expiry.bytes()).checked_sub(1) else {
                continue;
            };
            let dropped = self.db.delete_file_in_range_cf(
                self.family(store),
                keys::FIRST_WINDOW,
                last.to_be_bytes(),
            );
            if let Err(error) = dropped {
                let path = self.path.display();
                tracing::warn!(%path, %error, "expired files stay for now");
            }
        }
    }

    /// Writes each part into a file, and makes those files of the database's.
    fn load(
        &self,
        store: StoreId,
        parts: Vec<SortedChanges<'_>>,
        options: &Options,
    ) -> Result<(), StateError> {
        remove_loaded(&self.path)?;
        let paths: Vec<PathBuf> = (0..parts.len())
            .map(|part| self.path.join(format!("{LOADED}{part}")))
            .collect();
        let written = std::thread::scope(|scope| {
            let parts = parts.into_iter().zip(&paths);
            let writing: Vec<_> = parts
                .map(|(part, path)| scope.spawn(move || write_file(options, path, part)))
                .collect();
            let mut written = writing.into_iter().map(|part| part.join());
            written.try_for_each(|part| part.expect("it does not panic"))
        });
        let loaded = written.and_then(|()| {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            let family = self.family(store);
            self.db
                .ingest_external_file_cf_opts(family, &options, paths)
        });
        if loaded.is_err() {
            remove_loaded(&self.path)?;
        }
        loaded.map_err(self.fail("load"))
    }

    fn fail(&self, action: &'static str) -> impl Fn(rocksdb::Error) -> StateError + '_ {
        move |error| classify(action, &self.path, &error)
    }
}

impl StateReader for Files {
    fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        value.clear();
        if self.expiries[store].has_passed(key) {
            return Ok(false);
        }
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
}

impl TaskState for RocksState {
    fn open_from(&self, store: StoreId) -> Option<Timestamp> {
        keys::open_from(self.files.expiries[store].bytes())
    }

    fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        self.files.get(store, key, value)
    }

    fn reader(&self) -> Arc<dyn StateReader> {
        Arc::clone(&self.files) as Arc<dyn StateReader>
    }

    fn scan(
        &self,
        store: StoreId,
        from: &[u8],
        to: &[u8],
        visit: OnEntry<'_>,
    ) -> Result<(), StateError> {
        let files = &*self.files;
        let open_from = files.expiries[store].bytes();
        let before_windows = (from, to.min(&keys::FIRST_WINDOW[..]));
        let open_windows = (from.max(&open_from[..]), to);
        for (from, to) in [before_windows, open_windows] {
            if from >= to {
                continue;
            }
            let mut options = ReadOptions::default();
            options.set_iterate_lower_bound(from);
            options.set_iterate_upper_bound(to);
            let entries =
                files
                    .db
                    .iterator_cf_opt(files.family(store), options, IteratorMode::Start);
            for entry in entries {
                let (key, value) = entry.map_err(files.fail("read"))?;
                if visit(&key, &value) == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn last_key(&self, store: StoreId, key: &mut Vec<u8>) -> Result<bool, StateError> {
        key.clear();
        let files = &*self.files;
        let last_before = |end: Option<&[u8]>| -> Result<_, StateError> {
            let mut options = ReadOptions::default();
            if let Some(end) = end {
                options.set_iterate_upper_bound(end);
            }
            let mut entries =
                files
                    .db
                    .iterator_cf_opt(files.family(store), options, IteratorMode::End);
            entries.next().transpose().map_err(files.fail("read"))
        };
        let last = match last_before(None)? {
            Some((last, _)) if files.expiries[store].has_passed(&last) => {
                last_before(Some(&keys::FIRST_WINDOW))?
            }
            last => last,
        };
        if let Some((last, _)) = &last {
            key.extend_from_slice(last);
        }
        Ok(last.is_some())
    }

    fn write(&mut self, batch: &StateBatch) -> Result<(), StateError> {
        let files = &*self.files;
        let mut writes = WriteBatch::default();
        let mut expired = Vec::new();
        let families: Vec<_> = (0..files.names.len())
            .map(|store| files.family(store))
            .collect();
        for change in in_order(batch) {
            match change {
                Change::Put(store, key, value) => writes.put_cf(families[store], key, value),
                Change::Delete(store, key) => writes.delete_cf(families[store], key),
                Change::DeleteRange(store, from, to) => {
                    writes.delete_range_cf(families[store], from, to);
                }
                Change::Expire(store, until) => {
                    let until = keys::window_bytes(until).max(files.expiries[store].bytes());
                    expired.push((store, until));
                }
                Change::Checkpoint(store, next) => {
                    writes.put(checkpoint_key(&files.names[store]), next.to_be_bytes());
                }
            }
        }
        // The last one of a store is what stays.
        expired.sort_unstable();
        for (store, until) in &expired {
            writes.put(expiry_key(&files.names[*store]), until);
        }
        files
            .db
            .write_opt(writes, &self.write_options)
            .map_err(files.fail("write"))?;
        for (store, until) in expired {
            files.expiries[store].raise(until);
        }
        self.written_bytes += batch.bytes();
        if self.written_bytes >= RECLAIM_BYTES {
            self.written_bytes = 0;
            files.reclaim();
        }
        Ok(())
    }

    /// What becomes a file is durable by itself, and the batch follows it: a crash in between loads the same
    /// changes again.
    fn load(
        &mut self,
        store: StoreId,
        parts: Vec<SortedChanges<'_>>,
        mut batch: StateBatch,
    ) -> Result<(), StateError> {
        let count: usize = parts.iter().map(|part| part.len()).sum();
        if count < FILE_CHANGES {
            batch.extend(store, parts.into_iter().flatten());
            return self.write(&batch);
        }
        let files = Arc::clone(&self.files);
        files.load(store, parts, &self.file_options)?;
        self.write(&batch)
    }

    fn checkpoint(&self, store: StoreId) -> Result<Option<Offset>, StateError> {
        let found = self
            .files
            .number(&checkpoint_key(&self.files.names[store]))?;
        Ok(found.map(Offset::from_be_bytes))
    }

    fn size_bytes(&self) -> u64 {
        let files = &*self.files;
        let sum = |property: &str| -> u64 {
            (0..files.names.len())
                .filter_map(|store| {
                    files
                        .db
                        .property_int_value_cf(files.family(store), property)
                        .ok()
                        .flatten()
                })
                .sum()
        };
        sum("rocksdb.total-sst-files-size") + sum("rocksdb.cur-size-all-mem-tables")
    }
}

/// The changes of a batch, neighbours one behind the other as far as that changes nothing: a memtable takes
/// them faster, since the way to the one before is still in the processor's caches.
fn in_order(batch: &StateBatch) -> Vec<Change<'_>> {
    fn place<'c>(change: &Change<'c>) -> (StoreId, &'c [u8]) {
        match *change {
            Change::Put(store, key, _) | Change::Delete(store, key) => (store, key),
            Change::DeleteRange(store, ..)
            | Change::Expire(store, _)
            | Change::Checkpoint(store, _) => (store, &[]),
        }
    }
    let mut changes: Vec<Change<'_>> = batch.changes().collect();
    let has_ranges = changes
        .iter()
        .any(|change| matches!(change, Change::DeleteRange(..)));
    if !has_ranges {
        // What is said of one key keeps its order.
        changes.sort_by(|one, other| place(one).cmp(&place(other)));
    }
    changes
}

/// How many days ago anything was written into a directory; none: there is nothing in it.
fn days_since_written(directory: &Path) -> Result<Option<u64>, StateError> {
    let failed = |error: std::io::Error| StateError::Io {
        action: "look into",
        path: directory.display().to_string(),
        reason: error.to_string(),
    };
    let mut newest = None;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let written = entry.and_then(|entry| entry.metadata()?.modified());
        newest = newest.max(Some(written.map_err(failed)?));
    }
    let day = Duration::from_secs(86_400).as_secs();
    // One of the future is new.
    Ok(newest.map(|newest| newest.elapsed().map_or(0, |passed| passed.as_secs() / day)))
}

/// Removes files that a load has left behind. One may be a second name of a file that is the database's by
/// now, so it must not be written into.
fn remove_loaded(directory: &Path) -> Result<(), StateError> {
    let failed = |error: std::io::Error| StateError::Io {
        action: "remove what a load has left in",
        path: directory.display().to_string(),
        reason: error.to_string(),
    };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(LOADED) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Makes a file of changes that can become one of the database's.
fn write_file(
    options: &Options,
    path: &Path,
    changes: SortedChanges<'_>,
) -> Result<(), rocksdb::Error> {
    let mut writer = SstFileWriter::create(options);
    writer.open(path)?;
    for (key, value) in changes {
        match value {
            Some(value) => writer.put(key, value)?,
            None => writer.delete(key)?,
        }
    }
    writer.finish()
}

fn checkpoint_key(store: &str) -> Vec<u8> {
    format!("checkpoint/{store}").into_bytes()
}

/// The column family of a store. One name is RocksDB's own, of the family of everything else.
fn family_name(store: &str) -> String {
    match store {
        rocksdb::DEFAULT_COLUMN_FAMILY_NAME => format!("store/{store}"),
        _ => store.to_owned(),
    }
}

fn expiry_key(store: &str) -> Vec<u8> {
    format!("expired/{store}").into_bytes()
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
