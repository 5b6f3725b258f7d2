//! The rows of a global table, as the threads of a process share them: one writes, all read.
//!
//! ```text
//!   the table's thread                     tasks
//!   write a batch ──▶ raise the            version of a key ──▶ unchanged: what is in memory still holds
//!   (both slots)      versions of its keys                 └──▶ raised: read the slot that is served
//! ```
//!
//! A reader asks for the version of a key before it reads the row, and keeps both. As long as the version
//! is the same, so is the row: no lock is taken for that. A version stands for many keys, so it may be
//! raised in vain, but never not raised.
//!
//! There are two slots, so that a table can be read anew from its topics while tasks go on with what is
//! known: the other slot is served once it is whole.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::{StateError, StateReader, StoreId};

/// The slots are the stores of these numbers: one is served, the other one is empty or in the making.
pub const SLOTS: [StoreId; 2] = [0, 1];

/// Before the key of a record, so that the keys of all rows are in one range.
const PREFIX: u8 = 1;

/// The range of the keys of all rows, the end excluded.
pub const ALL_ROWS: (&[u8], &[u8]) = (&[PREFIX], &[PREFIX + 1]);

/// The key of a row in its slot.
pub fn row_key(key: &[u8]) -> RowKey {
    let mut bytes = RowKey::new();
    bytes.push(PREFIX);
    bytes.extend_from_slice(key);
    bytes
}

/// The key of the record that a row was made of.
///
/// # Panics
/// When it is not the key of a row.
pub fn record_key(row_key: &[u8]) -> &[u8] {
    let key = row_key.strip_prefix(&[PREFIX]);
    key.expect("nothing but rows is in a slot")
}

/// The key of a row in its slot; those of usual lengths are not on the heap.
pub type RowKey = SmallVec<[u8; 48]>;

/// Keys share so many versions: an update is in vain for one in so many of the rows in memory.
const VERSIONS: usize = 4_096;

/// The rows of a global table.
pub struct GlobalRows {
    reader: OnceLock<Arc<dyn StateReader>>,
    /// The slot that is served.
    served: AtomicUsize,
    /// Whether it has all rows that there were when reading them began.
    is_whole: AtomicBool,
    is_damaged: AtomicBool,
    versions: Box<[AtomicU64]>,
}

/// What a row that is in memory is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u64);

impl Default for GlobalRows {
    fn default() -> GlobalRows {
        GlobalRows {
            reader: OnceLock::new(),
            served: AtomicUsize::new(0),
            is_whole: AtomicBool::new(false),
            is_damaged: AtomicBool::new(false),
            versions: (0..VERSIONS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// For tasks.
impl GlobalRows {
    /// Whether all rows are there that a task may count on.
    pub fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    /// The version of a key. A row that was read after this had been asked for is right as long as it
    /// stays the same.
    pub fn version(&self, key: &[u8]) -> Version {
        Version(self.versions[shard(key)].load(Ordering::Acquire))
    }

    /// Copies the row of a key into `row`, replacing what is there; false when there is none.
    ///
    /// # Errors
    /// [`StateError::Corrupted`] or [`StateError::Io`]. After the first one the table is read anew, and is
    /// not whole until then.
    ///
    /// # Panics
    /// Before the table is whole for the first time.
    pub fn get(&self, key: &[u8], row: &mut Vec<u8>) -> Result<bool, StateError> {
        let reader = self.reader.get();
        let reader = reader.expect("tasks wait until a global table is whole");
        let key = row_key(key);
        loop {
            let slot = self.served.load(Ordering::Acquire);
            let found = reader.get(slot, &key, row);
            if matches!(found, Err(StateError::Corrupted { .. })) {
                self.damage();
            }
            // A slot that is not served any more is being emptied.
            if self.served.load(Ordering::Acquire) == slot {
                return found;
            }
        }
    }
}

/// For both.
impl GlobalRows {
    /// What is there cannot be trusted: the table is to be read anew, and is not whole until then.
    pub fn damage(&self) {
        self.is_whole.store(false, Ordering::Release);
        self.is_damaged.store(true, Ordering::Release);
    }
}

/// For the thread that writes them.
impl GlobalRows {
    /// Where rows are read.
    pub fn open(&self, reader: Arc<dyn StateReader>) {
        assert!(self.reader.set(reader).is_ok(), "a table is opened once");
    }

    /// The rows of this key have changed, and the change has been written.
    pub fn changed(&self, key: &[u8]) {
        self.versions[shard(key)].fetch_add(1, Ordering::Release);
    }

    /// From now on this slot is read, which has all rows.
    pub fn serve(&self, slot: StoreId) {
        self.served.store(slot, Ordering::Release);
        for version in &self.versions {
            version.fetch_add(1, Ordering::Release);
        }
        self.is_whole.store(true, Ordering::Release);
    }

    /// Whether a reader has met damage.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// The table is being read anew.
    pub fn forget_damage(&self) {
        self.is_damaged.store(false, Ordering::Release);
    }
}

fn shard(key: &[u8]) -> usize {
    FixedState::with_seed(0).hash_one(key) as usize % VERSIONS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::memory::MemoryBackend;
    use crate::state::{StateBackend, StateBatch, TaskState};

    fn opened() -> (GlobalRows, Box<dyn TaskState>) {
        let stores = ["a".to_owned(), "b".to_owned()];
        let state = MemoryBackend::default().open("t", &stores).unwrap();
        let rows = GlobalRows::default();
        rows.open(state.reader());
        (rows, state)
    }

    fn put(state: &mut dyn TaskState, slot: StoreId, row: &[u8]) {
        let mut batch = StateBatch::default();
        batch.put(slot, &row_key(b"k"), row);
        state.write(&batch).unwrap();
    }

    fn get(rows: &GlobalRows) -> Vec<u8> {
        let mut row = Vec::new();
        assert!(rows.get(b"k", &mut row).unwrap());
        row
    }

    #[test]
    fn a_row_holds_until_its_version_is_raised() {
        let (rows, mut state) = opened();
        put(&mut *state, 0, b"1");
        rows.serve(0);
        let version = rows.version(b"k");
        assert_eq!(get(&rows), b"1");
        assert_eq!(rows.version(b"k"), version);
        put(&mut *state, 0, b"2");
        rows.changed(b"k");
        assert_ne!(rows.version(b"k"), version);
        assert_eq!(get(&rows), b"2");
    }

    #[test]
    fn the_other_slot_is_read_once_it_is_served() {
        let (rows, mut state) = opened();
        assert!(!rows.is_whole());
        put(&mut *state, 0, b"old");
        rows.serve(0);
        put(&mut *state, 1, b"new");
        assert_eq!(get(&rows), b"old");
        let version = rows.version(b"k");
        rows.serve(1);
        assert_eq!(get(&rows), b"new");
        assert_ne!(rows.version(b"k"), version);
    }

    /// What a task keeps is never older than what was written before its version was raised.
    #[test]
    fn threads_that_keep_rows_see_every_change() {
        let (rows, mut state) = opened();
        put(&mut *state, 0, &0u32.to_be_bytes());
        rows.serve(0);
        let written = std::sync::atomic::AtomicU32::new(0);
        let last = 3_000;
        let read_on = || {
            let (mut version, mut kept) = (None, 0);
            while kept < last {
                let known = written.load(Ordering::SeqCst);
                let now = rows.version(b"k");
                if version != Some(now) {
                    version = Some(now);
                    kept = u32::from_be_bytes(get(&rows).try_into().unwrap());
                }
                assert!(kept >= known, "{kept} is older than {known}");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(read_on);
            scope.spawn(read_on);
            for n in 1..=last {
                // By turns into the slot that is served, and with a change of the slot.
                let slot = (n as usize / 100) % 2;
                put(&mut *state, slot, &n.to_be_bytes());
                match n % 100 {
                    0 => rows.serve(slot),
                    _ => rows.changed(b"k"),
                }
                written.store(n, Ordering::SeqCst);
            }
        });
    }

    struct Broken;

    impl StateReader for Broken {
        fn get(&self, _: StoreId, _: &[u8], _: &mut Vec<u8>) -> Result<bool, StateError> {
            Err(StateError::Corrupted {
                path: "t".to_owned(),
                reason: "the test wants it".to_owned(),
            })
        }
    }

    #[test]
    fn a_table_that_is_damaged_is_not_whole_until_it_is_served_again() {
        let rows = GlobalRows::default();
        rows.open(Arc::new(Broken));
        rows.serve(0);
        assert!(rows.get(b"k", &mut Vec::new()).is_err());
        assert!(!rows.is_whole());
        assert!(rows.is_damaged());
        rows.forget_damage();
        assert!(!rows.is_damaged());
        rows.serve(1);
        assert!(rows.is_whole());
    }
}
