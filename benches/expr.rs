//! What an expression costs per record: the filters and the computed fields of `DESIGN.md`'s
//! example, over a slotted record as the source decodes it.

use std::hint::black_box;

use bumpalo::Bump;
use criterion::{Criterion, criterion_group, criterion_main};
use tidemill::expr::{Evaluator, Expression, Row, Scope};
use tidemill::headers::PackedHeaders;
use tidemill::time::Timestamp;
use tidemill::value::{FieldPath, Slot, Value, ValueType};

const FIELDS: [(&str, Value<'static>); 8] = [
    ("type", Value::Str("new")),
    ("meta.domain", Value::Str("www.wikidata.org")),
    ("length.old", Value::Int(5_120)),
    ("length.new", Value::Int(5_377)),
    ("user", Value::Str("2001:DB8:85A3:0:0:8A2E:370:7334")),
    ("wiki", Value::Str("enwiki")),
    ("title", Value::Str("Talk:Alan Turing")),
    ("namespace", Value::Int(1)),
];

struct Fields;

impl Scope for Fields {
    fn resolve(&self, path: &FieldPath) -> Option<(Slot, ValueType)> {
        let slot = FIELDS.iter().position(|(name, _)| *name == path.as_str())?;
        Some((Slot(slot as u32), ValueType::Any))
    }

    fn known(&self) -> Vec<FieldPath> {
        FIELDS
            .iter()
            .map(|(name, _)| FieldPath::new(name))
            .collect()
    }
}

fn compiled(text: &str) -> Evaluator {
    Expression::parse(text)
        .compile(&Fields)
        .expect("the expressions below are right")
}

fn per_record(criterion: &mut Criterion) {
    let wikis: Vec<String> = (0..40).map(|n| format!("'w{n}wiki'")).collect();
    let long_list = format!("wiki in [{}]", wikis.join(", "));
    let mut arena = Bump::new();
    for (name, text) in [
        ("filter, not equal", "meta.domain != 'canary'"),
        (
            "filter, in and not equal",
            "type in ['edit', 'new'] && meta.domain != 'canary'",
        ),
        (
            "ternary, subtraction",
            "has(length.old) ? length.new - length.old : length.new",
        ),
        ("is_ip", "is_ip(user)"),
        ("in a list of 40", &long_list),
        ("regular expression", "title.matches('^Talk:')"),
        (
            "starts with",
            "title.startsWith('Talk:') && namespace % 2 == 1",
        ),
        ("new text", "wiki + '/' + title"),
    ] {
        let evaluator = compiled(text);
        let fields = FIELDS.map(|(_, value)| value);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                arena.reset();
                let row = Row {
                    fields: black_box(&fields),
                    arena: &arena,
                    key: None,
                    timestamp: Timestamp(0),
                    partition: 0,
                    offset: 0,
                    topic: "changes",
                    raw: None,
                    headers: PackedHeaders::NONE,
                };
                black_box(evaluator.eval(&row)).is_ok()
            });
        });
    }
}

criterion_group!(benches, per_record);
criterion_main!(benches);
