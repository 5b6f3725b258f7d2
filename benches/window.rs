//! What it costs to find the window of a record, with records that come in order, one second apart.
//!
//! The limit: a division of 64 bits, some 20 cycles or 6 ns, and a comparison with the stream time. Windows of
//! the calendar have to know the offset of their zone besides: a search in its table of changes, some 200 of
//! them, 8 steps of 2 to 5 ns, and twice that for the end of the window.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tidemill::time::Timestamp;
use tidemill::window::{Calendar, Hopping, Period, Tumbling, Windows, Zone};

/// 2026-05-05T11:00:00Z.
const BEGIN_MS: i64 = 1_777_978_800_000;

fn windows() -> [(&'static str, Windows); 5] {
    let zone = |name| Zone::find(name).expect("a zone of the database");
    let days = |name| Windows::Calendar(Calendar::new(Period::Days(1), zone(name), 10_000));
    let tumbling = Tumbling {
        size_ms: 60_000,
        grace_ms: 10_000,
    };
    [
        ("none", Windows::Unbounded),
        ("tumbling: 1m", Windows::Tumbling(tumbling)),
        (
            "hopping: 10m, advance: 1m",
            Windows::Hopping(Hopping::new(600_000, 60_000, 10_000)),
        ),
        ("tumbling: 1d, time_zone: UTC", days("UTC")),
        (
            "tumbling: 1d, time_zone: Europe/Berlin",
            days("Europe/Berlin"),
        ),
    ]
}

fn per_record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window");
    for (name, windows) in windows() {
        let mut time = Timestamp(BEGIN_MS);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                time = time.plus_millis(1_000);
                black_box(windows.place(black_box(time), time))
            });
        });
    }
}

criterion_group!(benches, per_record);
criterion_main!(benches);
