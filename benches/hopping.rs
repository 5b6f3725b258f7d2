//! What hopping windows cost, however many of them a record belongs to: per commit of 1,000 records of
//! one advance, which closes one window of each of 100 keys. With RocksDB, and in the steady state: the
//! windows are full.

mod outputs;

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outputs::Nowhere;
use tidemill::config;
use tidemill::format::{MemoryRegistry, Registries};
use tidemill::headers::PackedHeaders;
use tidemill::processor::{GlobalTables, Idle, InRecord, Processor, Progress, Share};
use tidemill::state::rocks::{RocksBackend, StoreMemory};
use tidemill::state::{StateBackend, StateBatch, TaskState};
use tidemill::time::Timestamp;
use tidemill::topology::plan::plan;

const TOPOLOGY: &str = "
app: bench
nodes:
  edits: { source: { topic: edits, timestamp: at, key: user, fields: { user: string, delta: int } } }
  per_user:
    aggregate:
      from: edits
      by: user
      window: { hopping: SIZEs, advance: 1s }
      emit: close
      set: { edits: count(), delta: sum(delta), largest: max(delta) }
  out: { kafka: { from: per_user, topic: out } }
";

const ADVANCE_MS: i64 = 1_000;
const KEYS: i64 = 100;
const CACHE_BYTES: usize = 256 << 20;

/// A task in which time goes on.
struct Job {
    processor: Processor,
    state: Box<dyn TaskState>,
    second: i64,
    outputs: Nowhere,
}

impl Job {
    fn new(backend: &RocksBackend, ratio: i64) -> Job {
        let file = TOPOLOGY.replace("SIZE", &ratio.to_string());
        let topology = config::parse(&file, "bench.yaml").expect("a topology");
        let plan = plan(&topology).expect("a plan");
        let sub = Arc::clone(&plan.processing[0]);
        let stores: Vec<String> = sub.stores.iter().map(|store| store.name.clone()).collect();
        let state = backend.open(&format!("task-{ratio}"), &stores);
        let share = Share {
            partition: 0,
            partitions: 1,
        };
        let registries: Arc<dyn Registries> = Arc::new(MemoryRegistry::new());
        let processor = Processor::new(
            sub,
            share,
            CACHE_BYTES,
            &Progress::default(),
            &registries,
            &GlobalTables::default(),
        );
        Job {
            processor,
            state: state.expect("a new state"),
            second: 1_800_000_000,
            outputs: Nowhere::default(),
        }
    }

    /// The records of one second, and a commit.
    fn second(&mut self) {
        let records: Vec<(String, String)> = (0..ADVANCE_MS)
            .map(|ms| {
                let user = format!("user{}", ms % KEYS);
                let at = self.second * 1_000 + ms;
                let event = format!(r#"{{"at":{at},"user":"{user}","delta":{ms}}}"#);
                (user, event)
            })
            .collect();
        let records = records.iter().map(|(user, event)| InRecord {
            topic: "edits",
            partition: 0,
            offset: 0,
            timestamp: Timestamp(0),
            key: Some(user.as_bytes()),
            value: Some(event.as_bytes()),
            headers: PackedHeaders::NONE,
        });
        let now = Timestamp(self.second * 1_000);
        let mut batch = StateBatch::default();
        self.processor
            .process(0, records, now, &*self.state, &mut self.outputs)
            .expect("nothing is wrong with them");
        self.processor
            .flush(
                &*self.state,
                &mut self.outputs,
                &mut batch,
                &Idle::default(),
            )
            .expect("nothing is wrong with the state");
        self.state.write(&batch).expect("room for it");
        self.processor.committed();
        self.second += 1;
    }
}

fn per_second(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temp directory");
    let backend = RocksBackend::new(folder.path(), &StoreMemory::default());
    let mut group = criterion.benchmark_group("hopping: 1,000 records by size / advance");
    group.throughput(Throughput::Elements(ADVANCE_MS as u64));
    group.measurement_time(Duration::from_secs(10));
    for ratio in [1, 10, 100, 1_000] {
        let mut job = Job::new(&backend, ratio);
        for _ in 0..ratio + 10 {
            job.second();
        }
        job.outputs.records = 0;
        job.second();
        assert_eq!(job.outputs.records, KEYS as usize, "one window of each key");
        let id = BenchmarkId::from_parameter(ratio);
        group.bench_function(id, |bencher| bencher.iter(|| job.second()));
    }
}

criterion_group!(benches, per_second);
criterion_main!(benches);
