//! What it costs to keep results in a store, and to find them again: keys of some 40 bytes, values of 20.
//!
//! The limits. Kept back, a change is hashed, looked up and copied: two or three cache misses and 60 bytes, some
//! 0.2 µs. Written, it goes to the write-ahead log and into a skip list of some 10^5 entries: 17 levels, of which the
//! last few miss the cache, and a comparison at each, 1 to 2 µs. A read of a key that is kept back is one look-up;
//! one that no file has costs a look at each file's filter; one that a file has, a binary search in a block that is
//! cached and unpacked.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidemill::state::rocks::{RocksBackend, StoreMemory};
use tidemill::state::write_behind::WriteBehind;
use tidemill::state::{StateBackend, StateBatch, TaskState, keys};
use tidemill::time::Timestamp;

/// Changes of a commit.
const CHANGES: u64 = 1_000;

/// Commits until what is kept back is written.
const COMMITS: u64 = 10;

/// Entries that are read.
const ENTRIES: u64 = 100_000;

fn open(folder: &tempfile::TempDir, name: &str) -> Box<dyn TaskState> {
    let backend = RocksBackend::new(folder.path(), &StoreMemory::default());
    let stores = ["results".to_owned()];
    backend.open(name, &stores).expect("a new store")
}

fn behind(folder: &tempfile::TempDir, name: &str) -> WriteBehind {
    WriteBehind::new(open(folder, name), 64 << 20)
}

/// Windows of a minute, a thousand keys in each, in no particular order.
fn key(n: u64) -> Vec<u8> {
    let (window, user) = (n / 1_000, n.wrapping_mul(7_919) % 1_000);
    let start = Timestamp(window as i64 * 60_000);
    keys::window_key(start, format!("enwiki|Some User Name {user:06}").as_bytes())
}

fn fill(batch: &mut StateBatch, from: u64) {
    batch.clear();
    for n in from..from + CHANGES {
        batch.put(0, &key(n), &[7; 20]);
    }
    batch.checkpoint(0, from as i64);
}

fn writes(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temp directory");
    let mut group = criterion.benchmark_group("store: 1,000 changes");
    group.throughput(Throughput::Elements(CHANGES));
    let mut batch = StateBatch::default();

    let (mut store, mut next) = (open(&folder, "at-once"), 0);
    group.bench_function("written at once", |bencher| {
        bencher.iter(|| {
            fill(&mut batch, next);
            next += CHANGES;
            store.write(&batch).expect("a disk");
        });
    });
    let (mut kept, mut next) = (behind(&folder, "behind"), 0);
    group.bench_function("written with nine others", |bencher| {
        bencher.iter(|| {
            fill(&mut batch, next);
            next += CHANGES;
            kept.write(&batch).expect("a disk");
            if next % (COMMITS * CHANGES) == 0 {
                kept.settle().expect("a disk");
            }
        });
    });
    let (mut kept, mut next) = (behind(&folder, "expired"), 0);
    group.bench_function("expired before they are written", |bencher| {
        bencher.iter(|| {
            fill(&mut batch, next);
            next += CHANGES;
            batch.expire(0, Timestamp(next as i64 / 1_000 * 60_000));
            kept.write(&batch).expect("a disk");
            if next % (COMMITS * CHANGES) == 0 {
                kept.settle().expect("a disk");
            }
        });
    });
    group.bench_function("made only", |bencher| {
        bencher.iter(|| fill(black_box(&mut batch), 0));
    });
}

fn reads(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temp directory");
    let mut group = criterion.benchmark_group("store: a read");
    let mut store = behind(&folder, "read");
    let mut batch = StateBatch::default();
    for from in (0..ENTRIES).step_by(CHANGES as usize) {
        fill(&mut batch, from);
        store.write(&batch).expect("a disk");
    }
    store.settle().expect("a disk");
    fill(&mut batch, ENTRIES);
    store.write(&batch).expect("a disk");
    let mut value = Vec::new();
    for (name, from, count) in [
        ("of what is kept back", ENTRIES, CHANGES),
        ("of what is written", 0, ENTRIES),
        ("of what is not there", 2 * ENTRIES, ENTRIES),
    ] {
        let keys: Vec<Vec<u8>> = (0..1_000).map(|n| key(from + n * 7_919 % count)).collect();
        let mut each = keys.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let key = each.next().expect("it goes round");
                black_box(store.get(0, key, &mut value).expect("a disk"))
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3));
    targets = writes, reads
}
criterion_main!(benches);
