//! What an aggregate function costs: per record once its state has grown to its usual size, and per
//! commit to write that state, read it and merge it with a part.

use std::hint::black_box;

use bumpalo::Bump;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidemill::aggregate::Accumulator;
use tidemill::codec;
use tidemill::time::Timestamp;
use tidemill::topology::aggregation::{Aggregation, Function};
use tidemill::value::Value;

/// Every second one has one of a few frequent titles, the others rare ones: far more different titles
/// than are counted exactly.
const RECORDS: u64 = 20_000;

const CALLS: [&str; 14] = [
    "count()",
    "sum(x)",
    "max(title)",
    "last(title)",
    "latest(title)",
    "avg(x)",
    "stddev_pop(x)",
    "quantile(x, 0.99)",
    "quantiles(x, [0.5, 0.9, 0.99])",
    "histogram(x, [0, 10, 100, 1000])",
    "distinct(title)",
    "top_k(title, 10)",
    "collect_set(title, 100)",
    "collect_list(title, 100)",
];

struct Record {
    title: String,
    x: i64,
}

/// The same ones in each run: a counter, scrambled (the finalizer of SplitMix64).
fn records() -> Vec<Record> {
    let scrambled = |n: u64| {
        let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ (n >> 31)
    };
    let record = |n| {
        let chance = (scrambled(n) >> 11) as f64 / (1u64 << 53) as f64;
        let rank = match n % 2 {
            0 => (1.0 / (chance + 0.0001)) as i64,
            _ => 10_000 + (chance * 10_000.0) as i64,
        };
        Record {
            title: format!("Title number {rank}"),
            x: rank,
        }
    };
    (1..=RECORDS).map(record).collect()
}

fn add(state: &mut Accumulator, function: &Function, call: &str, record: &Record, time: i64) {
    let argument = match (call.contains("title"), call.contains('x')) {
        (true, _) => &[Value::Str(&record.title)][..],
        (false, true) => &[Value::Int(record.x)],
        (false, false) => &[],
    };
    state.add(function, argument, Timestamp(time));
}

fn functions(criterion: &mut Criterion) {
    let records = records();
    for call in CALLS {
        let function = Aggregation::parse(call).expect("a call").function;
        let mut state = Accumulator::new(&function);
        for (record, time) in records.iter().zip(0..) {
            add(&mut state, &function, call, record, time);
        }
        let mut group = criterion.benchmark_group(call);
        group.throughput(Throughput::Elements(1));
        let mut next = records.iter().zip(0..).cycle();
        let mut grown = state.clone();
        group.bench_function("per record", |bencher| {
            bencher.iter(|| {
                let (record, time) = next.next().expect("it has no end");
                add(black_box(&mut grown), &function, call, record, time);
            });
        });
        let mut arena = Bump::new();
        let mut bytes = Vec::new();
        group.bench_function("write", |bencher| {
            bencher.iter(|| {
                bytes.clear();
                codec::encode_into(black_box(&state), &mut bytes);
            });
        });
        group.bench_function("read", |bencher| {
            bencher.iter(|| {
                arena.reset();
                black_box(state.read(&function, &arena));
            });
        });
        let mut part = Accumulator::new(&function);
        for (record, time) in records[..200].iter().zip(0..) {
            add(&mut part, &function, call, record, time);
        }
        let mut merged = state.clone();
        group.bench_function("merge of 200 records", |bencher| {
            bencher.iter(|| merged.merge(black_box(&part)));
        });
        group.finish();
    }
}

criterion_group!(benches, functions);
criterion_main!(benches);
