//! What a join with a global table costs per record: without it, with rows that the task has met before,
//! and with rows that are read from RocksDB each time.

mod outputs;

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outputs::Nowhere;
use tidemill::config;
use tidemill::format::{MemoryRegistry, Registries};
use tidemill::headers::PackedHeaders;
use tidemill::processor::{GlobalTables, InRecord, Processor, Progress, Share};
use tidemill::record::{Event, StoredRow};
use tidemill::state::global::{GlobalRows, row_key};
use tidemill::state::memory::MemoryBackend;
use tidemill::state::rocks::{RocksBackend, StoreMemory};
use tidemill::state::{StateBackend, StateBatch};
use tidemill::time::Timestamp;
use tidemill::topology::graph::NodeName;
use tidemill::topology::plan::plan;

const WITHOUT: &str = "
app: bench
nodes:
  edits: { source: { topic: edits, fields: { user: string, delta: int } } }
  out: { kafka: { from: edits, topic: out, fields: { delta: delta, team: user } } }
";

const WITH: &str = "
app: bench
nodes:
  edits: { source: { topic: edits, fields: { user: string, delta: int } } }
  users: { global_table: { topic: users, fields: { team: string } } }
  joined: { join: { from: edits, with: users, as: profile, on: user, type: left } }
  out: { kafka: { from: joined, topic: out, fields: { delta: delta, team: profile.team } } }
";

const USERS: usize = 100_000;
const RECORDS: usize = 10_000;

fn users(backend: &RocksBackend) -> GlobalTables {
    let stores = ["rows-0", "rows-1"].map(str::to_owned);
    let mut state = backend.open("users-global", &stores).expect("a new state");
    let mut batch = StateBatch::default();
    let mut buffer = Vec::new();
    for user in 0..USERS {
        let bio = "x".repeat(400);
        let event = format!(
            r#"{{"bio":"{bio}","team":"team {}","level":{user}}}"#,
            user % 97
        );
        buffer.clear();
        StoredRow::new(Timestamp(0), Some(Event::Json(event.as_bytes())), &[])
            .encode_into(&mut buffer);
        batch.put(0, &row_key(format!("user{user}").as_bytes()), &buffer);
    }
    state.write(&batch).expect("room for it");
    let rows = GlobalRows::default();
    rows.open(state.reader());
    rows.serve(0);
    GlobalTables::from([(NodeName::new("users"), Arc::new(rows))])
}

/// Records that name so many users.
fn edits(users: usize) -> Vec<String> {
    let edit = |at: usize| format!(r#"{{"user":"user{}","delta":{at}}}"#, at * 7_919 % users);
    (0..RECORDS).map(edit).collect()
}

fn per_record(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temp directory");
    let backend = RocksBackend::new(folder.path(), &StoreMemory::default());
    let tables = users(&backend);
    let registries: Arc<dyn Registries> = Arc::new(MemoryRegistry::new());
    let state = MemoryBackend::default().open("none", &[]).expect("memory");
    let share = Share {
        partition: 0,
        partitions: 1,
    };
    let mut group = criterion.benchmark_group("global join");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, file, users, cache_bytes) in [
        ("without", WITHOUT, 1_000, 64 << 20),
        ("1,000 rows in memory", WITH, 1_000, 64 << 20),
        ("each row from RocksDB", WITH, USERS, 0),
    ] {
        let topology = config::parse(file, "bench.yaml").expect("a topology");
        let plan = plan(&topology).expect("a plan");
        let sub = Arc::clone(&plan.processing[0]);
        let mut processor = Processor::new(
            sub,
            share,
            cache_bytes,
            &Progress::default(),
            &registries,
            &tables,
        );
        let edits = edits(users);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let records = edits.iter().map(|edit| InRecord {
                    topic: "edits",
                    partition: 0,
                    offset: 0,
                    timestamp: Timestamp(0),
                    key: None,
                    value: Some(edit.as_bytes()),
                    headers: PackedHeaders::NONE,
                });
                let now = Timestamp(0);
                let done = processor.process(0, records, now, &*state, &mut Nowhere::default());
                done.expect("nothing is wrong with them");
            });
        });
    }
}

criterion_group!(benches, per_record);
criterion_main!(benches);
