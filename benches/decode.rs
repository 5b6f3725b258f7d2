//! What it costs to read fields out of an event: a thousand synthetic ones of Wikimedia's recentchange stream, of
//! some 1.4 KB each.
//!
//! The limit: every byte has to be looked at once, for what is no JSON must not pass. At the 2 to 4 GB/s at which
//! memory is copied or UTF-8 is checked that is some 0.5 µs per event; a parser that finds its way by one branch
//! per token, some 150 tokens of 2 to 3 ns, needs about as much again.

use std::hint::black_box;

use bumpalo::Bump;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidemill::ingest::generate::{Generator, Synthetic};
use tidemill::record::{Projection, decode_json};
use tidemill::value::{FieldPath, Slot, Value};

const EVENTS: usize = 1_000;

/// What the job of `benches/end-to-end` reads.
const OF_THE_JOB: [&str; 8] = [
    "wiki",
    "user",
    "bot",
    "type",
    "meta.domain",
    "meta.dt",
    "length.old",
    "length.new",
];

fn events() -> Vec<Vec<u8>> {
    let mut generator = Generator::new(Synthetic::default());
    let event = || {
        let mut line = Vec::new();
        generator.next_event(&mut line);
        line
    };
    std::iter::repeat_with(event).take(EVENTS).collect()
}

fn per_event(criterion: &mut Criterion) {
    let events = events();
    let bytes: usize = events.iter().map(Vec::len).sum();
    let mut arena = Bump::new();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Bytes((bytes / EVENTS) as u64));
    for (name, paths) in [
        ("one field", &OF_THE_JOB[..1]),
        ("the fields of the job", &OF_THE_JOB),
    ] {
        let paths: Vec<FieldPath> = paths.iter().map(|path| FieldPath::new(path)).collect();
        let slots = paths.iter().zip(0..).map(|(path, slot)| (path, Slot(slot)));
        let projection = Projection::new(slots);
        let mut each = events.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                arena.reset();
                let mut fields = [Value::Missing; OF_THE_JOB.len()];
                let event = each.next().expect("it goes round");
                let decoded = decode_json(event, &projection, &arena, &mut fields);
                black_box(&fields);
                decoded.is_ok()
            });
        });
    }
    let mut each = events.iter().cycle();
    group.bench_function("the check for UTF-8 alone", |bencher| {
        bencher
            .iter(|| black_box(std::str::from_utf8(each.next().expect("it goes round"))).is_ok());
    });
}

criterion_group!(benches, per_event);
criterion_main!(benches);
