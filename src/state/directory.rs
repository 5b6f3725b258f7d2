//! Where a process keeps its state, and which process it is.
//!
//! ```text
//! <state dir>/<app>/0/LOCK        held while a process runs
//!                    /instance    the process's identity, kept over restarts
//!                    /tasks/0_3/  the RocksDB of task 0_3
//!                  /1/…           a second process on the same machine
//! ```
//!
//! A process takes the first slot whose lock is free, so several processes can be started on one
//! machine without being told apart, and a restarted one finds its state and its identity again.
//! No two processes ever share a slot.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// More processes of one app on one machine are refused.
const MAX_SLOTS: u32 = 256;

/// The directory of one process, locked for as long as this value lives.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    instance: Uuid,
    slot: u32,
    _lock: File,
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system refuses.
    #[error("cannot use state directory {path}: {source}")]
    Io {
        /// Which file or directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A process is at work in it.
    #[error("a process is running with the state in {path}: stop it first")]
    InUse {
        /// The directory of that process.
        path: String,
    },
    /// There are far too many processes.
    #[error("all {MAX_SLOTS} slots of state directory {path} are in use")]
    Full {
        /// The directory of the app.
        path: String,
    },
}

impl StateDirectory {
    /// Takes the first free slot of the app below `root`.
    ///
    /// # Errors
    /// When the directory cannot be made or written, or all slots are in use.
    pub fn acquire(root: &Path, app: &str) -> Result<StateDirectory, DirectoryError> {
        let app_directory = root.join(app);
        for slot in 0..MAX_SLOTS {
            let path = app_directory.join(slot.to_string());
            if let Some(lock) = try_lock(&path)? {
                let instance = identity(&path)?;
                return Ok(StateDirectory {
                    path,
                    instance,
                    slot,
                    _lock: lock,
                });
            }
        }
        Err(DirectoryError::Full {
            path: app_directory.display().to_string(),
        })
    }

    /// Below this the tasks keep their state.
    pub fn tasks(&self) -> PathBuf {
        self.path.join("tasks")
    }

    /// The directory of this process.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The process's identity, the same after a restart.
    pub fn instance(&self) -> Uuid {
        self.instance
    }

    /// The slot's number.
    pub fn slot(&self) -> u32 {
        self.slot
    }
}

/// Deletes the state of an app on this machine; tells whether there was any. All its slots are locked for
/// that, so no process begins meanwhile.
///
/// # Errors
/// [`DirectoryError::InUse`] when a process is running with it; otherwise when the system refuses.
pub fn remove(root: &Path, app: &str) -> Result<bool, DirectoryError> {
    let app_directory = root.join(app);
    let locks = lock_all(&app_directory)?;
    if locks.is_empty() {
        return Ok(false);
    }
    fs::remove_dir_all(&app_directory).map_err(io_error(&app_directory))?;
    Ok(true)
}

/// Whether no process is running with the state of an app on this machine.
///
/// # Errors
/// As [`remove`].
pub fn check_unused(root: &Path, app: &str) -> Result<(), DirectoryError> {
    lock_all(&root.join(app)).map(|_| ())
}

/// The locks of all slots that there are.
fn lock_all(app_directory: &Path) -> Result<Vec<File>, DirectoryError> {
    let entries = match fs::read_dir(app_directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(app_directory)(error)),
    };
    let mut locks = Vec::new();
    for entry in entries {
        let slot = entry.map_err(io_error(app_directory))?.path();
        let lock = try_lock(&slot)?.ok_or_else(|| DirectoryError::InUse {
            path: slot.display().to_string(),
        })?;
        locks.push(lock);
    }
    Ok(locks)
}

fn try_lock(slot: &Path) -> Result<Option<File>, DirectoryError> {
    fs::create_dir_all(slot).map_err(io_error(slot))?;
    let path = slot.join("LOCK");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(io_error(&path)(error)),
    }
}

/// Reads the identity, or makes one. A half-written file is replaced: the process then counts as a
/// new one, which costs a rebalance and nothing else.
fn identity(slot: &Path) -> Result<Uuid, DirectoryError> {
    let path = slot.join("instance");
    let known = fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match known {
        Some(instance) => Ok(instance),
        None => {
            let instance = Uuid::new_v4();
            fs::write(&path, format!("{instance}\n")).map_err(io_error(&path))?;
            Ok(instance)
        }
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> DirectoryError + '_ {
    move |source| DirectoryError::Io {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_take_two_slots_and_a_restarted_one_gets_its_own_back() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDirectory::acquire(root.path(), "app").unwrap();
        let second = StateDirectory::acquire(root.path(), "app").unwrap();
        assert_eq!((first.slot(), second.slot()), (0, 1));
        assert_ne!(first.instance(), second.instance());
        let (path, instance) = (first.path().to_owned(), first.instance());
        drop(first);
        let again = StateDirectory::acquire(root.path(), "app").unwrap();
        assert_eq!((again.path(), again.instance()), (path.as_path(), instance));
    }

    #[test]
    fn apps_do_not_meet() {
        let root = tempfile::tempdir().unwrap();
        let one = StateDirectory::acquire(root.path(), "one").unwrap();
        let two = StateDirectory::acquire(root.path(), "two").unwrap();
        assert_eq!((one.slot(), two.slot()), (0, 0));
        assert_ne!(one.path(), two.path());
    }

    #[test]
    fn state_is_deleted_with_all_its_slots_unless_a_process_runs() {
        let root = tempfile::tempdir().unwrap();
        assert!(!remove(root.path(), "app").unwrap());
        let first = StateDirectory::acquire(root.path(), "app").unwrap();
        let second = StateDirectory::acquire(root.path(), "app").unwrap();
        drop(first);
        for refused in [
            remove(root.path(), "app").map(|_| ()),
            check_unused(root.path(), "app"),
        ] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("app/1: stop it first"), "{error}");
        }
        drop(second);
        check_unused(root.path(), "app").unwrap();
        assert!(remove(root.path(), "app").unwrap());
        assert!(!root.path().join("app").exists());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = StateDirectory::acquire(&file, "app").unwrap_err();
        assert!(error.to_string().contains("file/app/0"), "{error}");
    }
}
