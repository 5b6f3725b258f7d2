//! Restores over the log in memory.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::broker::memory::MemoryBroker;
use crate::broker::{Outgoing, Producer, ProducerOptions, TopicSpec};
use crate::state::memory::MemoryBackend;
use crate::state::rocks::{RocksBackend, StoreMemory};
use crate::state::{OnEntry, SortedChanges, StateBatch, StateReader};
use crate::time::{ManualClock, Timestamp};

const TASK: TaskId = TaskId {
    sub_topology: 0,
    partition: 1,
};

/// The decided position, or the error's beginning.
#[track_caller]
fn check(group: Option<Offset>, state: Option<Offset>, exactly_once: bool, expected: &str) {
    let partition = TopicPartition::new("t", 1);
    let committed = group
        .map(|at| (partition.clone(), at))
        .into_iter()
        .collect();
    let marker = state.map(|at| CommitMarker {
        positions: [(("t".to_owned(), 1), at)].into(),
        progress: Default::default(),
        contents: Default::default(),
    });
    let inputs = std::slice::from_ref(&partition);
    let decided = decide_positions(TASK, inputs, &committed, marker.as_ref(), exactly_once);
    let shown = match decided {
        Ok(positions) => {
            positions[&partition].map_or_else(|| "none".to_owned(), |at| at.to_string())
        }
        Err(error) => error.to_string().split(", but").next().unwrap().to_owned(),
    };
    assert_eq!(shown, expected);
}

#[test]
fn a_task_goes_on_where_group_and_state_agree() {
    check(None, None, true, "none");
    check(Some(7), None, true, "7");
    check(Some(7), Some(7), true, "7");
    check(
        Some(7),
        Some(9),
        true,
        "task 0_1: the group's position of t-1 is 7",
    );
    check(
        None,
        Some(9),
        true,
        "task 0_1: the group's position of t-1 is none",
    );
    check(Some(7), Some(9), false, "9");
    check(None, Some(9), false, "9");
}

#[test]
fn state_of_another_version_is_refused_with_what_to_do() {
    let message = |version: u8| {
        let backend = crate::state::memory::MemoryBackend::default();
        let mut state = backend.open("n-1", &["n".to_owned()]).unwrap();
        let mut batch = StateBatch::default();
        batch.put(0, MARKER_KEY, &[version]);
        state.write(&batch).unwrap();
        read_marker(TASK, &*state, 0).unwrap_err().to_string()
    };
    expect_test::expect!["task 0_1: the state and its changelog were written by an older version of Tidemill (format 1, this one writes 2). Run that version, or begin anew under another name (`app:` in the topology)"].assert_eq(&message(1));
    assert!(message(3).contains("a newer version"), "{}", message(3));
    assert!(message(2).contains("is damaged"), "{}", message(2));
}

#[test]
fn a_store_of_another_aggregate_is_refused_and_one_with_another_grace_is_not() {
    let plan = |window: &str, calls: &str| {
        let file = format!(
            "app: a\nnodes:\n  s: {{ source: {{ topic: t, key: wiki }} }}\n  n: {{ aggregate: {{ from: s, \
             by: wiki, window: {{ {window} }}, set: {{ {calls} }} }} }}\n"
        );
        let topology = crate::config::parse(&file, "a.yaml").unwrap();
        let plan = crate::topology::plan::plan(&topology).unwrap();
        Arc::clone(&plan.processing[0])
    };
    let usual = plan("tumbling: 5m, grace: 1s", "a: count(), b: sum(n)");
    let store = &usual.stores[0];
    let marker = CommitMarker {
        contents: BTreeMap::from([(store.name.clone(), store.content.clone())]),
        ..CommitMarker::default()
    };
    let check = |plan: &SubTopology| {
        let checked = check_contents(plan, std::slice::from_ref(&marker));
        checked.map_err(|error| error.to_string())
    };
    assert_eq!(check(&usual), Ok(()));
    assert_eq!(
        check(&plan("tumbling: 5m, grace: 2s", "a: count(), b: sum(n)")),
        Ok(())
    );
    assert_eq!(
        check(&plan("tumbling: 5m", "renamed: count(), b: sum(n)")),
        Ok(())
    );
    assert!(check(&plan("tumbling: 5m", "b: sum(n), a: count()")).is_err());
    assert!(check(&plan("session: 5m", "a: count(), b: sum(n)")).is_err());
    expect_test::expect![[r#"
        node n: the topology was changed, and the stored results mean something else
          stored:   by wiki; window tumbling 5m; count(), sum(n)
          topology: by wiki; window hopping 5m, advance 1m; count(), sum(n)
        Take the change back, or give the node another name: it then begins empty with what comes from now on. To count from the beginning of the topic, give the application another name (`app:`)"#]].assert_eq(
        &check(&plan("hopping: 5m, advance: 1m", "a: count(), b: sum(n)")).unwrap_err(),
    );
}

/// A count by key whose changelog has two partitions, and a machine to restore it on.
struct Stage {
    plan: Arc<SubTopology>,
    clock: ManualClock,
    broker: MemoryBroker,
    backend: Arc<dyn StateBackend>,
    metrics: EngineMetrics,
}

impl Stage {
    fn new(backend: Arc<dyn StateBackend>) -> Stage {
        let file = "app: a\nnodes:\n  s: { source: { topic: t, key: k } }\n  n: { aggregate: { from: s, by: k, \
                    window: none, set: { c: count() } } }\n";
        let topology = crate::config::parse(file, "a.yaml").unwrap();
        let plan = crate::topology::plan::plan(&topology).unwrap();
        let clock = ManualClock::new(Timestamp(0));
        let stage = Stage {
            plan: Arc::clone(&plan.processing[0]),
            broker: MemoryBroker::new(Arc::new(clock.clone())),
            clock,
            backend,
            metrics: EngineMetrics::default(),
        };
        stage.create_changelog();
        stage
    }

    fn changelog(&self) -> &str {
        &self.plan.stores[0].changelog
    }

    fn create_changelog(&self) {
        let spec = TopicSpec {
            name: self.changelog().to_owned(),
            partitions: 2,
            replication: -1,
            config: BTreeMap::new(),
        };
        self.broker.create_topics(&[spec]).unwrap();
    }

    fn send(&self, producer: &mut dyn Producer, partition: i32, key: &[u8], value: Option<&[u8]>) {
        let sent = producer.send(Outgoing {
            topic: self.changelog(),
            partition: Some(partition),
            timestamp: Timestamp(0),
            key: Some(key),
            value,
            headers: &[],
        });
        sent.unwrap();
    }

    fn means(&self) -> Means<'_> {
        Means {
            broker: &self.broker,
            backend: &*self.backend,
            clock: &self.clock,
            metrics: &self.metrics,
        }
    }

    fn task(&self, partition: i32) -> (TaskId, Arc<SubTopology>) {
        let task = TaskId {
            sub_topology: 0,
            partition,
        };
        (task, Arc::clone(&self.plan))
    }

    /// Restores a task to its end.
    fn restore(&self, partition: i32) -> Box<dyn TaskState> {
        let mut restores = Restores::new(1 << 20);
        restores
            .begin(self.means(), &[self.task(partition)])
            .unwrap();
        for _ in 0..100 {
            restores.step(self.means(), Duration::ZERO).unwrap();
            if let Some((_, restored)) = restores.finished(self.means()).unwrap().pop() {
                return restored.state;
            }
        }
        panic!("it does not come to its end");
    }
}

/// The state of a machine that did not take part when the application was reset: the changelog is
/// another one, and longer by now.
#[test]
fn state_of_a_topic_that_was_made_anew_is_rebuilt() {
    let stage = Stage::new(Arc::new(MemoryBackend::default()));
    // What the store holds after a restore, once the topic has so many commits of that life.
    let after = |life: u8, commits: Range<i64>| {
        stage.create_changelog();
        let mut producer = stage.broker.producer(&ProducerOptions::default()).unwrap();
        for commit in commits {
            let marker = CommitMarker {
                positions: [(("t".to_owned(), 1), commit)].into(),
                contents: [("life".to_owned(), life.to_string())].into(),
                ..CommitMarker::default()
            };
            let mut bytes = Vec::new();
            marker.encode_into(&mut bytes);
            for (key, value) in [(&[life, 0][..], &[1][..]), (MARKER_KEY, &bytes)] {
                stage.send(&mut *producer, 1, key, Some(value));
            }
        }
        producer.flush().unwrap();
        let state = stage.restore(1);
        let mut value = Vec::new();
        [1, 2].map(|life| state.get(0, &[life, 0], &mut value).unwrap())
    };
    assert_eq!(after(1, 0..3), [true, false]);
    assert_eq!(after(1, 3..5), [true, false], "it goes on");
    stage.broker.delete_topics(&[stage.changelog()]).unwrap();
    assert_eq!(after(2, 0..9), [false, true]);
    assert_eq!(after(2, 9..9), [false, true]);
}

/// What was deleted from the changelog since may still be in the store.
#[test]
fn state_that_is_older_than_its_changelog_is_rebuilt() {
    let stage = Stage::new(Arc::new(MemoryBackend::default()));
    let send = |keys: &[&[u8]]| {
        let mut producer = stage.broker.producer(&ProducerOptions::default()).unwrap();
        keys.iter()
            .for_each(|key| stage.send(&mut *producer, 1, key, Some(b"1")));
        producer.flush().unwrap();
    };
    let keys = |state: &dyn TaskState| {
        let mut value = Vec::new();
        [b"old", b"new"].map(|key| state.get(0, key, &mut value).unwrap())
    };
    send(&[b"old"]);
    assert_eq!(keys(&*stage.restore(1)), [true, false]);
    send(&[b"new", b"new"]);
    let changelog = TopicPartition::new(stage.changelog(), 1);
    stage.broker.delete_records(&changelog, 1);
    assert_eq!(
        keys(&*stage.restore(1)),
        [true, true],
        "it begins where the state ends"
    );
    stage.broker.recreate_topic(stage.changelog());
    send(&[b"new", b"new", b"new", b"new"]);
    stage.broker.delete_records(&changelog, 4);
    send(&[b"new"]);
    assert_eq!(keys(&*stage.restore(1)), [false, true]);
}

/// ```text
///   changelog-0   ■ ■ ■ ■            read: its task is ready
///   changelog-1   ■ ■ □ …            an open transaction: its task waits until that is ended
/// ```
#[test]
fn a_task_is_ready_when_its_own_changelog_has_been_read() {
    let stage = Stage::new(Arc::new(MemoryBackend::default()));
    let mut producer = stage.broker.producer(&ProducerOptions::default()).unwrap();
    for partition in [0, 1] {
        stage.send(&mut *producer, partition, b"kk", Some(b"1"));
    }
    producer.flush().unwrap();
    let options = ProducerOptions {
        transactional_id: Some("other".to_owned()),
        ..ProducerOptions::default()
    };
    let mut other = stage.broker.producer(&options).unwrap();
    other.begin().unwrap();
    stage.send(&mut *other, 1, b"kk", Some(b"2"));
    other.flush().unwrap();

    let means = stage.means();
    let mut restores = Restores::new(1 << 20);
    restores
        .begin(means, &[stage.task(0), stage.task(1)])
        .unwrap();
    let mut ready = |rounds: usize| -> Vec<i32> {
        let mut ready = Vec::new();
        for _ in 0..rounds {
            restores.step(means, Duration::ZERO).unwrap();
            let finished = restores.finished(means).unwrap().into_iter();
            ready.extend(finished.map(|(task, _)| task.partition));
        }
        ready
    };
    assert_eq!(ready(5), [0]);
    let status = stage.metrics.status();
    let waiting = &status.restores[&TASK];
    assert_eq!((waiting.records, waiting.total, waiting.left), (1, 2, 1));
    other.commit().unwrap();
    assert_eq!(ready(5), [1]);
    assert!(stage.metrics.status().restores.is_empty());
    assert_eq!(stage.metrics.status().restored, 3);
}

/// Random changes, more than may wait in memory; it is given up and begun again on the way.
#[test]
fn whatever_may_wait_in_memory_the_store_holds_the_last_change_of_each_key() {
    let directory = tempfile::tempdir().unwrap();
    let rocks = RocksBackend::new(directory.path(), &StoreMemory::default());
    let backends: [Arc<dyn StateBackend>; 2] =
        [Arc::new(MemoryBackend::default()), Arc::new(rocks)];
    for backend in backends {
        let stage = Stage::new(backend);
        let mut random = StdRng::seed_from_u64(11);
        let mut producer = stage.broker.producer(&ProducerOptions::default()).unwrap();
        let mut expected = BTreeMap::new();
        for change in 0..60_000_u32 {
            let key = format!("key {}", random.random_range(0..20_000)).into_bytes();
            let value = change.to_be_bytes().to_vec();
            let value = (random.random_range(0..5) > 0).then_some(value);
            stage.send(&mut *producer, 1, &key, value.as_deref());
            expected.insert(key, value);
        }
        producer.flush().unwrap();
        let mut restores = Restores::new(600 << 10);
        for _ in 0..2 {
            restores.begin(stage.means(), &[stage.task(1)]).unwrap();
            for _ in 0..3 {
                restores.step(stage.means(), Duration::ZERO).unwrap();
            }
            restores.clear(&stage.metrics);
        }
        let known = {
            let (_, plan) = stage.task(1);
            let state = stage.backend.open(&plan.state_name(1), &["n".to_owned()]);
            state.unwrap().checkpoint(0).unwrap()
        };
        assert!(known > Some(0), "what was written is not read again");
        let state = stage.restore(1);
        let mut value = Vec::new();
        for (key, last) in expected {
            let found = state.get(0, &key, &mut value).unwrap();
            assert_eq!(found.then_some(&value), last.as_ref(), "{key:?}");
        }
        assert_eq!(state.checkpoint(0).unwrap(), Some(60_000));
    }
}

/// A disk that is full when it is to be written down how far the changes go that were loaded.
#[derive(Default)]
struct FullDisk {
    inner: MemoryBackend,
    is_full: Arc<AtomicBool>,
}

struct StateOnFullDisk {
    inner: Box<dyn TaskState>,
    is_full: Arc<AtomicBool>,
}

impl StateBackend for FullDisk {
    fn open(&self, task: &str, stores: &[String]) -> Result<Box<dyn TaskState>, StateError> {
        Ok(Box::new(StateOnFullDisk {
            inner: self.inner.open(task, stores)?,
            is_full: Arc::clone(&self.is_full),
        }))
    }

    fn set_aside(&self, task: &str) -> Result<(), StateError> {
        panic!("{task} was set aside");
    }
}

impl TaskState for StateOnFullDisk {
    fn load(
        &mut self,
        store: StoreId,
        parts: Vec<SortedChanges<'_>>,
        batch: StateBatch,
    ) -> Result<(), StateError> {
        self.inner.load(store, parts, StateBatch::default())?;
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StateError::Io {
                action: "write",
                path: "0_1".to_owned(),
                reason: "the disk is full".to_owned(),
            });
        }
        self.inner.write(&batch)
    }

    fn get(&self, store: StoreId, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        self.inner.get(store, key, value)
    }

    fn scan(
        &self,
        store: StoreId,
        from: &[u8],
        to: &[u8],
        visit: OnEntry<'_>,
    ) -> Result<(), StateError> {
        self.inner.scan(store, from, to, visit)
    }

    fn last_key(&self, store: StoreId, key: &mut Vec<u8>) -> Result<bool, StateError> {
        self.inner.last_key(store, key)
    }

    fn write(&mut self, batch: &StateBatch) -> Result<(), StateError> {
        self.inner.write(batch)
    }

    fn checkpoint(&self, store: StoreId) -> Result<Option<Offset>, StateError> {
        self.inner.checkpoint(store)
    }

    fn open_from(&self, store: StoreId) -> Option<Timestamp> {
        self.inner.open_from(store)
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn reader(&self) -> Arc<dyn StateReader> {
        self.inner.reader()
    }
}

/// ```text
///   changelog   … commit 1 │ … commit 2      loaded up to here, but the checkpoint is at commit 1
/// ```
#[test]
fn what_was_loaded_without_its_checkpoint_is_loaded_again() {
    let disk = FullDisk::default();
    let is_full = Arc::clone(&disk.is_full);
    let stage = Stage::new(Arc::new(disk));
    let mut producer = stage.broker.producer(&ProducerOptions::default()).unwrap();
    let mut commit = |number: u8| {
        let marker = CommitMarker {
            positions: [(("t".to_owned(), 1), number.into())].into(),
            ..CommitMarker::default()
        };
        let mut bytes = Vec::new();
        marker.encode_into(&mut bytes);
        stage.send(&mut *producer, 1, b"kk", Some(&[number]));
        stage.send(&mut *producer, 1, MARKER_KEY, Some(&bytes));
        producer.flush().unwrap();
    };
    commit(1);
    drop(stage.restore(1));
    commit(2);
    is_full.store(true, Ordering::Relaxed);
    let mut restores = Restores::new(1 << 20);
    restores.begin(stage.means(), &[stage.task(1)]).unwrap();
    restores.step(stage.means(), Duration::ZERO).unwrap();
    let error = restores.finished(stage.means()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    is_full.store(false, Ordering::Relaxed);
    let state = stage.restore(1);
    let mut value = Vec::new();
    assert!(state.get(0, b"kk", &mut value).unwrap());
    assert_eq!((value, state.checkpoint(0).unwrap()), (vec![2], Some(4)));
}
