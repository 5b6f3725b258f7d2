//! What processes keep on disk, held against the changelogs.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tidemill::broker::OwnedRecord;
use tidemill::state::rocks::{RocksBackend, StoreMemory};
use tidemill::state::{StateBackend, TaskState, keys};
use tidemill::topology::plan::{SubTopology, plan};

use super::Topics;

/// What a changelog has of each key.
type Latest = BTreeMap<Vec<u8>, Vec<u8>>;

/// Every store of every task that somebody has up to the end of its changelog holds what that says, byte for
/// byte, but for windows that have expired; and of each task somebody has it so. The processes are stopped.
///
/// # Panics
/// When one does not.
pub fn assert_stores(bootstrap: &str, topology: &Path, state: &Path, context: &str) {
    let topology = tidemill::config::load(topology).expect("it has run");
    let plan = plan(&topology).expect("it has run");
    let topics = Topics::connect(bootstrap);
    let mut compared = 0;
    for sub in plan.processing.iter().filter(|sub| !sub.stores.is_empty()) {
        let changelogs: Vec<_> = sub
            .stores
            .iter()
            .map(|store| topics.read(&store.changelog))
            .collect();
        let mut partitions: Vec<i32> = changelogs
            .iter()
            .flatten()
            .map(|record| record.partition)
            .collect();
        partitions.sort_unstable();
        partitions.dedup();
        for partition in partitions {
            let of_partition = changelogs.iter().map(|changelog| {
                let records = changelog
                    .iter()
                    .filter(|record| record.partition == partition);
                records.collect::<Vec<_>>()
            });
            let changelogs: Vec<_> = of_partition.collect();
            let task = sub.state_name(partition);
            let held = places(state, plan.app.as_str(), &task);
            let held = held
                .iter()
                .filter(|place| holds(place, sub, &task, &changelogs, context));
            let held = held.count();
            assert!(
                held > 0,
                "{context}: nobody has the state of {task} up to the end"
            );
            compared += held;
        }
    }
    assert!(compared > 0, "{context}: the changelogs are empty");
}

/// The directories of processes that have a state of this task.
fn places(state: &Path, app: &str, task: &str) -> Vec<PathBuf> {
    let slots = fs::read_dir(state.join(app))
        .expect("processes have run")
        .flatten();
    let tasks = slots.map(|slot| slot.path().join("tasks"));
    tasks.filter(|tasks| tasks.join(task).is_dir()).collect()
}

/// Whether the task's state in a directory is at the end of its changelogs. What it has is then compared.
fn holds(
    place: &Path,
    sub: &SubTopology,
    task: &str,
    changelogs: &[Vec<&OwnedRecord>],
    context: &str,
) -> bool {
    let names: Vec<String> = sub.stores.iter().map(|store| store.name.clone()).collect();
    let backend = RocksBackend::new(place, &StoreMemory::default());
    let state = backend.open(task, &names).expect("a sound state");
    let is_at_end = changelogs.iter().enumerate().all(|(store, changelog)| {
        let end = changelog.last().map_or(0, |record| record.offset + 1);
        state.checkpoint(store).expect("a sound state").unwrap_or(0) >= end
    });
    if is_at_end {
        for (store, changelog) in changelogs.iter().enumerate() {
            let found = stored(&*state, store);
            // What has expired leaves no trace in the changelog.
            let mut expected = latest(changelog);
            if let Some(open_from) = state.open_from(store).map(keys::window_bytes) {
                expected.retain(|key, _| !keys::has_expired(key, &open_from));
            }
            let name = &names[store];
            assert!(
                found == expected,
                "{context}: store {name} of {task} is not what its changelog says"
            );
        }
    }
    is_at_end
}

fn stored(state: &dyn TaskState, store: usize) -> Latest {
    let mut found = Latest::new();
    let mut take = |key: &[u8], value: &[u8]| {
        found.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    state
        .scan(store, &[], &[0xFF; 32], &mut take)
        .expect("a sound state");
    found
}

fn latest(changelog: &[&OwnedRecord]) -> Latest {
    let mut latest = Latest::new();
    for record in changelog {
        let key = record.key.clone().expect("changelogs have keys");
        match &record.value {
            Some(value) => latest.insert(key, value.clone()),
            None => latest.remove(&key),
        };
    }
    latest
}
