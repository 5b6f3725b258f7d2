//! Mistakes in formats and their schemas.

use expect_test::{Expect, expect};

use super::shows;
use crate::config::parse;
use crate::topology::describe::text;

/// A source with these settings in front of a sink with those.
#[track_caller]
fn formats(source: &str, sink: &str, expected: Expect) {
    let yaml = format!(
        "app: a\nnodes:\n  s: {{ source: {{ topic: t{source} }} }}\n  \
         k: {{ kafka: {{ from: s, topic: u{sink} }} }}\n"
    );
    shows(&yaml, expected);
}

const AVRO: &str = r#"format: avro, schema: '{"type": "record", "name": "R", "fields": [{"name": "wiki", "type": "string"}, {"name": "n", "type": "int"}]}'"#;

#[test]
fn a_format_without_a_schema() {
    formats(
        ", format: xml",
        "",
        expect![[r#"
        error[Y009]: `format` cannot be `xml`
         --> t.yaml:3:36
          |
        3 |   s: { source: { topic: t, format: xml } }
          |                                    ^^^
          |
          = help: it is one of json, avro, protobuf, string, bytes"#]],
    );
    formats(
        ", format: avro",
        ", format: protobuf, fields: { n: n }",
        expect![[r#"
            error[T100]: `format: avro` says nothing about its schema
             --> t.yaml:3:36
              |
            3 |   s: { source: { topic: t, format: avro } }
              |                                    ^^^^
              |
              = help: give the file, `schema_file: order.avsc`, or where the schemas are that records name, `schema_registry: http://registry:8081`

            error[T100]: `format: protobuf` says nothing about its schema
             --> t.yaml:4:44
              |
            4 |   k: { kafka: { from: s, topic: u, format: protobuf, fields: { n: n } } }
              |                                            ^^^^^^^^
              |
              = help: give the file, `schema_file: order.proto`, or where the schemas are that records name, `schema_registry: http://registry:8081`"#]],
    );
    formats(
        ", schema_file: a.avsc",
        ", subject: x",
        expect![[r#"
            error[Y013]: `schema_file` goes with `format: avro` or `format: protobuf`, or with a `schema_registry`
             --> t.yaml:3:41
              |
            3 |   s: { source: { topic: t, schema_file: a.avsc } }
              |                                         ^^^^^^
              |
              = help: say the format, or remove the key

            error[Y013]: `subject` goes with `format: avro` or `format: protobuf`, or with a `schema_registry`
             --> t.yaml:4:45
              |
            4 |   k: { kafka: { from: s, topic: u, subject: x } }
              |                                             ^
              |
              = help: say the format, or remove the key"#]],
    );
    formats(
        ", format: avro, message: M, schema: '\"long\"', schema_file: x",
        "",
        expect![[r#"
            error[Y004]: there is no key `message` here
             --> t.yaml:3:42
              |
            3 |   s: { source: { topic: t, format: avro, message: M, schema: '"long"', schema_file: x } }
              |                                          ^^^^^^^
              |
              = help: the keys here: topic, topics, format, schema, schema_file, schema_registry, null_values, timestamp, key, id, max_ahead, fields, on_error

            error[Y013]: `schema` and `schema_file` exclude each other, give one of them
             --> t.yaml:3:72
              |
            3 |   s: { source: { topic: t, format: avro, message: M, schema: '"long"', schema_file: x } }
              |                                                      ------            ^^^^^^^^^^^
              |                                                      |
              |                                                      the other is here
              |
              = help: remove one of them"#]],
    );
}

#[test]
fn a_schema_that_is_none() {
    formats(
        ", format: avro, schema_file: nowhere.avsc",
        "",
        expect![[r#"
            error[T101]: this is no schema for `format: avro`: cannot read nowhere.avsc: No such file or directory (os error 2)
             --> t.yaml:3:55
              |
            3 |   s: { source: { topic: t, format: avro, schema_file: nowhere.avsc } }
              |                                                       ^^^^^^^^^^^^
              |
              = help: the file is looked for from where the topology file is"#]],
    );
    formats(
        ", format: avro, schema: '{ \"type\": }'",
        "",
        expect![[r#"
        error[T101]: this is no schema for `format: avro`: it is not JSON: expected value at line 1 column 11
         --> t.yaml:3:50
          |
        3 |   s: { source: { topic: t, format: avro, schema: '{ "type": }' } }
          |                                                  ^^^^^^^^^^^^^
          |
          = help: a schema over several lines stands behind `|`"#]],
    );
    formats(
        ", format: protobuf, schema: 'syntax = \"proto3\"; message A { int32 x; }'",
        "",
        expect![[r#"
            error[T101]: this is no schema for `format: protobuf`: schema.proto:1:39: expected '=', but found ';'
             --> t.yaml:3:54
              |
            3 |   s: { source: { topic: t, format: protobuf, schema: 'syntax = "proto3"; message A { int32 x; }' } }
              |                                                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: a schema over several lines stands behind `|`"#]],
    );
    formats(
        ", format: protobuf, message: B, schema: 'syntax = \"proto3\"; message A { int32 x = 1; }'",
        "",
        expect![[r#"
            error[T101]: this is no schema for `format: protobuf`: schema.proto: it has no message `B`; there are: A
             --> t.yaml:3:55
              |
            3 |   s: { source: { topic: t, format: protobuf, message: B, schema: 'syntax = "proto3"; message A { int32 x = 1; }' } }
              |                                                       ^
              |
              = help: name one of them"#]],
    );
}

#[test]
fn fields_that_the_format_tells() {
    formats(
        ", format: string, fields: { value: int }",
        "",
        expect![[r#"
            error[T102]: a text or bytes are one field, `value`
             --> t.yaml:3:52
              |
            3 |   s: { source: { topic: t, format: string, fields: { value: int } } }
              |                                                    ^^^^^^^^^^^^^^
              |
              = help: remove `fields`"#]],
    );
    formats(
        &format!(", {AVRO}, fields: {{ n: int }}"),
        "",
        expect![[r#"
            error[T102]: the schema says which fields there are, and of which types
             --> t.yaml:3:171
              |
            3 | ..."type": "string"}, {"name": "n", "type": "int"}]}', fields: { n: int } } }
              |                                                                ^^^^^^^^^^
              |
              = help: remove `fields`"#]],
    );
    formats(
        &format!(", {AVRO}, key: wikki, timestamp: wiki.x"),
        ", key: wikis + '!'",
        expect![[r#"
            error[T023]: unknown field `wikki`
             --> t.yaml:3:168
              |
            3 | ...ki", "type": "string"}, {"name": "n", "type": "int"}]}', key: wikki, timestamp: wiki.x } }
              |                                                                  ^^^^^
              |
              = help: did you mean `wiki`?

            error[T023]: `wiki` is a string, it has no fields
             --> t.yaml:3:186
              |
            3 | ...ng"}, {"name": "n", "type": "int"}]}', key: wikki, timestamp: wiki.x } }
              |                                                                  ^^^^^^
              |
              = help: name `wiki` itself

            error[T023]: unknown field `wikis`
             --> t.yaml:4:41
              |
            4 |   k: { kafka: { from: s, topic: u, key: wikis + '!' } }
              |                                         ^^^^^
              |
              = help: did you mean `wiki`?"#]],
    );
    formats(
        ", format: bytes",
        ", fields: { n: value.startsWith('x'), m: message }",
        expect![[r#"
            error[T031]: `startsWith` takes string, found bytes
             --> t.yaml:4:49
              |
            4 |   k: { kafka: { from: s, topic: u, fields: { n: value.startsWith('x'), m: message } } }
              |                                                 ^^^^^
              |
              = help: docs/EXPRESSIONS.md says what each takes; `int(x)`, `double(x)`, `string(x)` and `timestamp(x)` convert

            error[T023]: unknown field `message`
             --> t.yaml:4:75
              |
            4 |   k: { kafka: { from: s, topic: u, fields: { n: value.startsWith('x'), m: message } } }
              |                                                                           ^^^^^^^
              |
              = help: known are value"#]],
    );
}

#[test]
fn an_address_that_is_none() {
    formats(
        ", format: avro, schema_registry: 'registry:8081'",
        ", format: avro, fields: { n: n }, schema_registry: 'http://me:secret@registry:8081'",
        expect![[r#"
            error[T103]: `registry:8081` is no address of a schema registry
             --> t.yaml:3:59
              |
            3 |   s: { source: { topic: t, format: avro, schema_registry: 'registry:8081' } }
              |                                                           ^^^^^^^^^^^^^^^
              |
              = help: write it as `http://registry:8081`

            error[T103]: a topology holds no secrets
             --> t.yaml:4:85
              |
            4 |   k: { kafka: { from: s, topic: u, format: avro, fields: { n: n }, schema_registry: 'http://me:secret@registry:8081' } }
              |                                                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: write the address alone, and set TIDEMILL_SCHEMA_REGISTRY_AUTH=user:password"#]],
    );
}

#[test]
fn what_a_sink_writes_and_its_schema_does_not_say() {
    formats(
        "",
        &format!(", {AVRO}, fields: {{ wikki: wiki, n: 'string(n)' }}"),
        expect![[r#"
            error[T105]: the schema needs the field `wiki`
             --> t.yaml:4:179
              |
            4 | ...ring"}, {"name": "n", "type": "int"}]}', fields: { wikki: wiki, n: 'string(n)' } } }
              |                                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: add it to `fields`: wiki without a default and without null, it holds a string

            error[T104]: the schema has no field `wikki`
             --> t.yaml:4:181
              |
            4 | ..."type": "string"}, {"name": "n", "type": "int"}]}', fields: { wikki: wiki, n: 'string(n)' } } }
              |                                                                  ^^^^^
              |
              = help: did you mean `wiki`?

            error[T106]: `n` is an int (32 bits) in the schema, found string
             --> t.yaml:4:197
              |
            4 | ...{"name": "n", "type": "int"}]}', fields: { wikki: wiki, n: 'string(n)' } } }
              |                                                               ^^^^^^^^^^^
              |
              = help: convert it with `string(…)`, `int(…)`, `double(…)` or `timestamp(…)`"#]],
    );
    formats(
        ", format: string",
        &format!(", {AVRO}"),
        expect![[r#"
        error[T105]: the schema needs the field `wiki`
         --> t.yaml:4:8
          |
        4 |   k: { kafka: { from: s, topic: u, format: avro, schema: '{"type": "record", "name": "R", "fields": [{"name": "wiki", "type": "string...
          |        ^^^^^
          |
          = help: add it to `fields`: wiki without a default and without null, it holds a string

        error[T105]: the schema needs the field `n`
         --> t.yaml:4:8
          |
        4 |   k: { kafka: { from: s, topic: u, format: avro, schema: '{"type": "record", "name": "R", "fields": [{"name": "wiki", "type": "string...
          |        ^^^^^
          |
          = help: add it to `fields`: n without a default and without null, it holds an int (32 bits)"#]],
    );
    formats(
        ", format: string",
        ", format: bytes, fields: { a: value, b: value }",
        expect![[r#"
            error[T107]: expected one field, found 2
             --> t.yaml:4:59
              |
            4 |   k: { kafka: { from: s, topic: u, format: bytes, fields: { a: value, b: value } } }
              |                                                           ^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: name the expression that gives it: `fields: { value: title }`"#]],
    );
    formats(
        "",
        ", format: avro, schema_registry: 'http://r:8081'",
        expect![[r#"
            error[T108]: only the registry knows which fields its schema has
             --> t.yaml:4:8
              |
            4 |   k: { kafka: { from: s, topic: u, format: avro, schema_registry: 'http://r:8081' } }
              |        ^^^^^
              |
              = help: name what is to be written, `fields: { wiki: wiki }`, or give the schema with `schema_file`; to write records as they came, remove `format`"#]],
    );
}

#[test]
fn formats_are_described() {
    let file = "
app: a
nodes:
  s: { source: { topic: t, format: avro, schema_registry: 'http://r:8081', key: wiki } }
  l: { source: { topic: l, format: string } }
  k:
    kafka:
      from: s
      topic: u
      format: protobuf
      schema: 'syntax = \"proto3\"; message A { string wiki = 1; }'
      message: A
      schema_registry: http://r:8081
      subject: wikis
      register: false
      headers: drop
";
    let topology = parse(file, "t.yaml").expect("nothing is wrong");
    expect![[r#"
        a (exactly once)

          s: source
              topic t; key wiki; format avro, registry http://r:8081
          l: source
              topic l; format string
          k: kafka ← s
              topic u
              format protobuf, schema given here, message A, registry http://r:8081, subject wikis, not registered
              headers drop
    "#]].assert_eq(&text(&topology, &[]));
}

#[test]
fn a_format_that_is_misspelt_is_one_mistake() {
    formats(
        ", format: avor, schema_file: order.avsc",
        ", format: avor, subject: orders",
        expect![[r#"
            error[Y009]: `format` cannot be `avor`
             --> t.yaml:3:36
              |
            3 |   s: { source: { topic: t, format: avor, schema_file: order.avsc } }
              |                                    ^^^^
              |
              = help: it is one of json, avro, protobuf, string, bytes

            error[Y009]: `format` cannot be `avor`
             --> t.yaml:4:44
              |
            4 |   k: { kafka: { from: s, topic: u, format: avor, subject: orders } }
              |                                            ^^^^
              |
              = help: it is one of json, avro, protobuf, string, bytes"#]],
    );
}
