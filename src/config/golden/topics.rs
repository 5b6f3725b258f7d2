//! Mistakes in topics.

use expect_test::expect;

use super::shows;

#[test]
fn t010_a_source_without_a_topic() {
    shows(
        "
app: a
nodes:
  s: { source: { key: wiki } }
  r: { source: { topics: [] } }
  k: { kafka: { from: s, topic: u } }
  l: { kafka: { from: r, topic: v } }
",
        expect![[r#"
            error[T010]: the source `s` names no topic
             --> t.yaml:4:8
              |
            4 |   s: { source: { key: wiki } }
              |        ^^^^^^
              |
              = help: add `topic: …`, or `topics: […]` for several of the same shape

            error[T010]: the source `r` names no topic
             --> t.yaml:5:26
              |
            5 |   r: { source: { topics: [] } }
              |                          ^^
              |
              = help: add `topic: …`, or `topics: […]` for several of the same shape"#]],
    );
}

#[test]
fn t011_a_name_that_no_topic_can_have() {
    shows(
        "
app: a
nodes:
  s: { source: { topics: [recent changes, ..] } }
  k: { kafka: { from: s, topic: 'a/b' } }
",
        expect![[r#"
            error[T011]: Kafka does not allow a topic `recent changes`: the name contains ' '
             --> t.yaml:4:27
              |
            4 |   s: { source: { topics: [recent changes, ..] } }
              |                           ^^^^^^^^^^^^^^
              |
              = help: use letters, digits, `.`, `_` and `-`, at most 249 of them

            error[T011]: Kafka does not allow a topic `..`: the name is reserved
             --> t.yaml:4:43
              |
            4 |   s: { source: { topics: [recent changes, ..] } }
              |                                           ^^
              |
              = help: use letters, digits, `.`, `_` and `-`, at most 249 of them

            error[T011]: Kafka does not allow a topic `a/b`: the name contains '/'
             --> t.yaml:5:33
              |
            5 |   k: { kafka: { from: s, topic: 'a/b' } }
              |                                 ^^^^^
              |
              = help: use letters, digits, `.`, `_` and `-`, at most 249 of them"#]],
    );
}

#[test]
fn t012_a_topic_that_is_read_twice() {
    shows(
        "
app: a
nodes:
  s: { source: { topics: [t, u, t] } }
  r: { source: { topic: u, key: wiki, timestamp: meta.dt } }
  q: { source: { topic: t } }
  k: { kafka: { from: s, topic: v } }
  l: { kafka: { from: r, topic: w } }
  m: { kafka: { from: q, topic: x } }
",
        expect![[r#"
            error[T012]: the topic `t` is named twice
             --> t.yaml:4:33
              |
            4 |   s: { source: { topics: [t, u, t] } }
              |                           -     ^
              |                           |
              |                           it is read here already
              |
              = help: name it once

            error[T012]: the sources `s` and `r` both read the topic `u`
             --> t.yaml:5:25
              |
            4 |   s: { source: { topics: [t, u, t] } }
              |                              - it is read here already
            5 |   r: { source: { topic: u, key: wiki, timestamp: meta.dt } }
              |                         ^
              |
              = help: one topic is read in one way; the two differ in timestamp, key

            error[T012]: the sources `s` and `q` both read the topic `t`
             --> t.yaml:6:25
              |
            4 |   s: { source: { topics: [t, u, t] } }
              |                           - it is read here already
            5 |   r: { source: { topic: u, key: wiki, timestamp: meta.dt } }
            6 |   q: { source: { topic: t } }
              |                         ^
              |
              = help: several nodes can read `from: s`"#]],
    );
}

#[test]
fn t013_topics_of_the_application_itself() {
    shows(
        "
app: wikimedia
nodes:
  s: { source: { topic: wikimedia-dead-letters } }
  k: { kafka: { from: s, topic: wikimedia-per_wiki-changelog } }
",
        expect![[r#"
            error[T013]: the topic `wikimedia-dead-letters` belongs to the application `wikimedia`
             --> t.yaml:4:25
              |
            4 |   s: { source: { topic: wikimedia-dead-letters } }
              |                         ^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: its internal topics are `wikimedia-dead-letters` and `wikimedia-…` with the ending `-changelog`, `-progress`, `-repartition` or `-results`; choose another name

            error[T013]: the topic `wikimedia-per_wiki-changelog` belongs to the application `wikimedia`
             --> t.yaml:5:33
              |
            5 |   k: { kafka: { from: s, topic: wikimedia-per_wiki-changelog } }
              |                                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: its internal topics are `wikimedia-dead-letters` and `wikimedia-…` with the ending `-changelog`, `-progress`, `-repartition` or `-results`; choose another name"#]],
    );
}

#[test]
fn t014_topics_that_lead_back() {
    shows(
        "
app: a
nodes:
  s: { source: { topic: t } }
  k: { kafka: { from: s, topic: u } }
  r: { source: { topic: u } }
  l: { kafka: { from: r, topic: t } }
  m: { kafka: { from: r, topic: v } }
",
        expect![[r#"
            warning[T014]: records written to `u` are read again and come back here
             --> t.yaml:5:33
              |
            5 |   k: { kafka: { from: s, topic: u } }
              |                                 ^
            6 |   r: { source: { topic: u } }
              |                         - it is read here
              |
              = help: without a condition that ends it, the loop runs for ever

            warning[T014]: records written to `t` are read again and come back here
             --> t.yaml:7:33
              |
            4 |   s: { source: { topic: t } }
              |                         - it is read here
            ...
            7 |   l: { kafka: { from: r, topic: t } }
              |                                 ^
              |
              = help: without a condition that ends it, the loop runs for ever"#]],
    );
}
