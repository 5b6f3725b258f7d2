//! What RocksDB does with state: kept, expired, damaged, loaded.

use std::time::{Instant, SystemTime};

use super::*;
use crate::time::Timestamp;

fn backend(directory: &Path) -> RocksBackend {
    RocksBackend::new(directory, &StoreMemory::default())
}

#[test]
fn it_does_what_every_backend_does() {
    let directory = tempfile::tempdir().unwrap();
    super::super::suite::all(&backend(directory.path()));
}

#[test]
fn state_that_was_not_written_for_a_week_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let backend = backend(directory.path());
    drop(backend.open("0_0", &["a".to_owned()]).unwrap());
    let task = directory.path().join("0_0");
    let age_by = |days: u64| {
        let then = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
        for entry in fs::read_dir(&task).unwrap().flatten() {
            let file = fs::File::options().write(true).open(entry.path()).unwrap();
            file.set_modified(then).unwrap();
        }
    };
    age_by(5);
    drop(backend.open("0_0", &["a".to_owned()]).unwrap());
    age_by(6);
    let opened = backend.open("0_0", &["a".to_owned()]).map(drop);
    let Err(StateError::Corrupted { reason, .. }) = opened else {
        panic!("{opened:?}");
    };
    assert!(reason.contains("6 days ago"), "{reason}");
    backend.set_aside("0_0").unwrap();
    drop(backend.open("0_0", &["a".to_owned()]).unwrap());
}

#[test]
fn few_damaged_states_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let backend = backend(directory.path());
    for _ in 0..5 {
        drop(backend.open("0_1", &["a".to_owned()]).unwrap());
        backend.set_aside("0_1").unwrap();
    }
    let names = fs::read_dir(directory.path()).unwrap().flatten();
    let mut names: Vec<_> = names
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["0_1.damaged-3", "0_1.damaged-4", "0_1.damaged-5"]);
}

/// A crash between two steps of RocksDB leaves a second name of a file that is its own by now.
#[test]
fn what_a_load_has_left_behind_is_not_written_into() {
    let directory = tempfile::tempdir().unwrap();
    let backend = backend(directory.path());
    let task = directory.path().join("0_0");
    let load = |state: &mut dyn TaskState, first: u32| {
        let keys = (first..first + 2 * FILE_CHANGES as u32).map(u32::to_be_bytes);
        let keys: Vec<[u8; 4]> = keys.collect();
        let part = keys.iter().map(|key| (&key[..], Some(&b"value"[..])));
        let parts = vec![Box::new(part) as SortedChanges<'_>];
        state.load(0, parts, StateBatch::default()).unwrap();
    };
    let left_behind = || {
        let files = fs::read_dir(&task)
            .unwrap()
            .map(|file| file.unwrap().path());
        let tables = files.filter(|path| path.extension().is_some_and(|end| end == "sst"));
        let table = tables.last().expect("a file of the database's");
        fs::hard_link(table, task.join(format!("{LOADED}0"))).unwrap();
    };
    let mut state = backend.open("0_0", &["a".to_owned()]).unwrap();
    load(&mut *state, 0);
    left_behind();
    load(&mut *state, 1_000_000);
    left_behind();
    drop(state);
    let state = backend.open("0_0", &["a".to_owned()]).unwrap();
    assert!(!task.join(format!("{LOADED}0")).exists());
    let mut value = Vec::new();
    for key in [0, 1_000_000_u32] {
        assert!(
            state.get(0, &key.to_be_bytes(), &mut value).unwrap(),
            "{key}"
        );
    }
}

#[test]
fn what_has_expired_gives_its_room_back() {
    const ENOUGH_BYTES: u64 = 24 << 20;
    let directory = tempfile::tempdir().unwrap();
    let memory = StateMemory {
        write_buffer_bytes: 4 << 20,
        ..StateMemory::default()
    };
    let backend = RocksBackend::new(directory.path(), &StoreMemory::new(memory));
    let mut state = backend.open("0_0", &["a".to_owned()]).unwrap();
    let mut noise: u64 = 1;
    let value: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (noise >> 56) as u8
    })
    .take(64 << 10)
    .collect();
    let mut written = 0;
    let mut round = 0..;
    let given_up = Instant::now() + Duration::from_secs(60);
    // Files leave in the background, while others are written.
    while written < 8 * ENOUGH_BYTES || state.size_bytes() > ENOUGH_BYTES {
        assert!(
            Instant::now() < given_up,
            "{} bytes of {written}",
            state.size_bytes()
        );
        let start = Timestamp(round.next().expect("it has no end"));
        let mut batch = StateBatch::default();
        batch.put(0, &[0], b"in front of all windows");
        for group in 0..16u8 {
            batch.put(0, &keys::window_key(start, &[group]), &value);
        }
        batch.expire(0, start);
        state.write(&batch).unwrap();
        written += batch.bytes() as u64;
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut seen = 0;
    state
        .scan(0, &[], &[0xFF], &mut |_, _| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, 1 + 16);
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
fn a_store_may_have_the_name_that_rocksdb_uses_itself() {
    let directory = tempfile::tempdir().unwrap();
    let stores = ["default".to_owned(), "a".to_owned()];
    let open = || backend(directory.path()).open("0_0", &stores).unwrap();
    let mut state = open();
    let mut batch = StateBatch::default();
    batch.checkpoint(0, 7);
    batch.checkpoint(1, 8);
    batch.put(0, &keys::window_key(Timestamp(5), b"g"), b"v");
    batch.expire(0, Timestamp(5));
    state.write(&batch).unwrap();
    drop(state);
    let state = open();
    assert_eq!(
        [0, 1].map(|store| state.checkpoint(store).unwrap()),
        [Some(7), Some(8)]
    );
    let mut seen = Vec::new();
    state
        .scan(0, &[], &[0xFF; 9], &mut |key, _| {
            seen.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, [keys::window_key(Timestamp(5), b"g")]);
}

/// Opens a damaged state and reads all of it: what is wrong is said, and no other value given.
#[track_caller]
fn check_damage(what: &str, ending: &str, damage: impl Fn(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let backend = backend(directory.path());
    let stores = ["a".to_owned()];
    let keys = (0..2_000_u32).map(u32::to_be_bytes);
    let mut batch = StateBatch::default();
    for key in keys.clone() {
        batch.put(0, &key, &key.repeat(25));
    }
    backend.open("0_0", &stores).unwrap().write(&batch).unwrap();
    // What is in the log becomes a table when it is opened.
    drop(backend.open("0_0", &stores).unwrap());
    let files = fs::read_dir(directory.path().join("0_0"))
        .unwrap()
        .flatten();
    let files = files.map(|entry| entry.path());
    let mut files = files.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(ending) || name.starts_with(ending)
    });
    damage(&files.next().unwrap_or_else(|| panic!("no {ending}")));
    let read_all = || {
        let state = backend.open("0_0", &stores)?;
        let mut value = Vec::new();
        for key in keys.clone() {
            assert!(state.get(0, &key, &mut value)?, "{what}: {key:?} is gone");
            assert_eq!(value, key.repeat(25), "{what}");
        }
        Ok(())
    };
    let found = read_all();
    assert!(
        matches!(found, Err(StateError::Corrupted { .. })),
        "{what}: {found:?}"
    );
}

#[test]
fn damage_of_every_kind_is_found() {
    fn change(change: impl Fn(&mut Vec<u8>)) -> impl Fn(&Path) {
        move |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            change(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
    }
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 3;
        bytes[middle] ^= 1;
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let empty = |bytes: &mut Vec<u8>| bytes.clear();
    let gone = |path: &Path| fs::remove_file(path).unwrap();
    check_damage("a bit of a table", ".sst", change(flip));
    check_damage("half a table", ".sst", change(cut));
    check_damage("an empty table", ".sst", change(empty));
    check_damage("no table", ".sst", gone);
    check_damage("no manifest", "MANIFEST", gone);
    check_damage("an empty manifest", "MANIFEST", change(empty));
    check_damage("a manifest of nowhere", "CURRENT", |path| {
        fs::write(path, "MANIFEST-999999\n").unwrap();
    });
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
