//! Mistakes in processors. They are written in Rust, so there is no file to show lines of.

use expect_test::{Expect, expect};

use super::shows;
use crate::topology::builder::{Builder, KafkaSink, Source};
use crate::topology::describe::text;
use crate::topology::graph::Topology;
use crate::topology::process::{Context, Failure, Process, Processor, Record};
use crate::value::ValueType;

struct Idle;

impl Processor for Idle {
    fn process(&mut self, _: &mut Context<'_>, _: &Record<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

fn process() -> Process {
    Process::new(|| Idle).reads(["wiki"])
}

fn begun() -> Builder {
    Topology::builder("a").source("s", Source::json("t").key("wiki"))
}

#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "expect![] is written in place"
)]
fn finds(builder: Builder, expected: Expect) {
    let (_, findings) = builder.check();
    let lines = findings.0.iter().map(|finding| {
        let (level, code) = (finding.severity.word(), finding.code);
        let node = finding.node.as_deref().unwrap_or_default();
        let help = finding.help.as_deref().expect("it says what to do");
        format!(
            "{level}[{code}]: {} ({node}, {})\n  {help}\n",
            finding.message, finding.place
        )
    });
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn nothing_is_wrong_with_these() {
    let builder = begun()
        .process("end", "s", process().store("mine"))
        .process("one", "s", process().shared_store("ours"))
        .process("two", "s", process().shared_store("ours").keeps_fields())
        .filter("some", "two", "title != ''")
        .kafka("k", "some", KafkaSink::topic("u"));
    finds(builder, expect![[""]]);
}

#[test]
fn t110_names_of_stores() {
    let builder = begun().process(
        "p",
        "s",
        process().store("My store").store("s").store("fine"),
    );
    finds(
        builder,
        expect![[r#"
        error[T110]: `My store` cannot be the name of a store: it does not begin with a lower-case letter (p, stores[0])
          use lower-case letters, digits and `_`, beginning with a letter
        error[T110]: a node is called `s` as well, and may keep state (p, stores[1])
          give the store another name
    "#]],
    );
}

#[test]
fn t111_a_store_of_two_and_t112_one_that_is_shared_with_nobody() {
    let builder = begun()
        .process("p", "s", process().store("counts"))
        .process("q", "s", process().shared_store("counts"))
        .process("r", "s", process().shared_store("total"))
        .process("u", "s", process().shared_store("totals"));
    finds(
        builder,
        expect![[r#"
        error[T111]: `p` and `q` both have a store `counts` (q, stores[0])
          give each a store of its own name, or name it with `shared_store` in both, if they are to work on the same entries
        warning[T112]: no other processor shares the store `total` (r, stores[0])
          did you mean `totals`?
        warning[T112]: no other processor shares the store `totals` (u, stores[0])
          did you mean `total`?
    "#]],
    );
}

#[test]
fn t113_no_fields() {
    let builder = begun()
        .process("p", "s", process())
        .kafka("k", "p", KafkaSink::topic("u"));
    finds(
        builder,
        expect![[r#"
        error[T113]: `p` gives no fields, but `k` reads from it (p, gives)
          say which fields it gives with `gives`, or that the record's own stay with `keeps_fields`
    "#]],
    );
}

#[test]
fn names_of_fields_and_what_is_read() {
    let process = process()
        .read("wiki", "titel(x)")
        .gives("n", ValueType::Int)
        .gives("n", ValueType::Int)
        .gives("a.b", ValueType::Int)
        .store("x")
        .store("x");
    let builder = begun()
        .process("p", "s", process)
        .filter("f", "p", "title != ''")
        .kafka("k", "f", KafkaSink::topic("u"));
    finds(
        builder,
        expect![[r#"
        error[T021]: a field cannot be called `a.b` here: only whole fields can be set, not fields inside an object (p, gives.a.b)
          call it `a_b`
        error[T022]: `wiki` is named twice (p, reads.wiki)
          name it once
        error[T022]: `n` is named twice (p, gives.n)
          name it once
        error[T022]: `x` is named twice (p, stores[1])
          name it once
        error[T030]: unknown function `titel` (p, reads.wiki)
          docs/EXPRESSIONS.md has an example of each operator and function
        error[T023]: unknown field `title` (f, where)
          known are n, a.b
    "#]],
    );
}

#[test]
fn what_a_node_says_is_described() {
    let process = process()
        .read("delta", "length.new - length.old")
        .gives("n", ValueType::Int)
        .gives("since", ValueType::Time)
        .keeps_fields()
        .store("mine")
        .shared_store("ours");
    let topology = begun()
        .process("p", "s", process)
        .process("end", "s", Process::new(|| Idle).shared_store("ours"))
        .kafka("k", "p", KafkaSink::topic("u"))
        .build()
        .expect("a good topology");
    expect![[r#"
        a (exactly once)

          s: source
              topic t; key wiki
          p: process ← s
              reads wiki, delta = length.new - length.old
              gives the record's fields, n (int), since (timestamp)
              stores mine, ours (shared)
          end: process ← s
              stores ours (shared)
          k: kafka ← p
              topic u
    "#]]
    .assert_eq(&text(&topology, &[]));
}

#[test]
fn a_file_has_none() {
    shows(
        "app: a\nnodes:\n  s: { source: { topic: t } }\n  p: { process: { from: s } }\n",
        expect![[r#"
            error[Y007]: there is no kind of node `process`
             --> t.yaml:4:8
              |
            4 |   p: { process: { from: s } }
              |        ^^^^^^^
              |
              = help: a processor is Rust code: build the topology in Rust (docs/PROCESSORS.md says how it is written and run)"#]],
    );
}
