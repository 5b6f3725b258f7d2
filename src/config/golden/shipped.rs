//! The shipped topology files.

use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};

use crate::config::check_file;
use crate::topology::describe::{Cluster, dot, mermaid, text};
use crate::topology::graph::{NodeKind, NodeName, Topology};
use crate::topology::plan::{Purpose, plan};
use crate::value::FieldPath;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topology")
}

pub(super) fn shipped(name: &str) -> Topology {
    let outcome = check_file(&directory().join(name));
    outcome
        .topology
        .unwrap_or_else(|| panic!("{}", outcome.report))
}

#[test]
fn nothing_is_wrong_with_any_shipped_file() {
    let mut count = 0;
    for entry in std::fs::read_dir(directory()).expect("the directory of shipped files") {
        let path = entry.expect("an entry").path();
        let report = check_file(&path).report;
        assert!(report.is_empty(), "{report}");
        count += 1;
    }
    assert!(count >= 2, "only {count} files");
}

/// The columns and keys of the tables, with what is known of their types.
#[track_caller]
fn check_tables(name: &str, expected: &Expect) {
    let topology = shipped(name);
    let mut out = String::new();
    for (node, shape) in topology.nodes.iter().zip(topology.shapes()) {
        if node.kind.word() != "sql" {
            continue;
        }
        out.push_str(&format!("{}, key {:?}\n", node.name, shape.key()));
        for (column, kind) in shape.fields() {
            out.push_str(&format!("  {column}: {kind}\n"));
        }
    }
    expected.assert_eq(&out);
}

#[test]
fn the_tables_of_wikimedia_have_these_columns() {
    check_tables(
        "wikimedia.yaml",
        &expect![[r#"
        wiki_table, key [wiki, window_start]
          wiki: string
          window_start: timestamp
          window_end: timestamp
          events: int
          edits: int
          new_pages: int
          logs: int
          categorize: int
          bot_events: int
          anon_or_temp_edits: int
          minor_edits: int
          bytes_added: int
          bytes_removed: int
          distinct_edit_users: int
          distinct_edited_pages: int
        user_table, key [wiki, user, window_start]
          wiki: string
          user: string
          window_start: timestamp
          window_end: timestamp
          edits: int
          net_bytes: int
        raw_table, key [event_time, event_id]
          event_time: timestamp
          event_id: string
          wiki: string
          type: string
          namespace: int
          title: string
          user: string
          bot: bool
          minor: bool
          patrolled: bool
          rc_id: int
          log_id: int
          log_type: string
          log_action: string
          length_old: int
          length_new: int
          revision_old: int
          revision_new: int
          delta: int
          comment: string
          server_name: string
          domain: string
          request_id: string
          source_topic: string
          source_partition: int
          source_offset: int
          payload: string
    "#]],
    );
}

#[test]
fn the_tables_of_wikiticker_have_these_columns() {
    check_tables(
        "wikiticker.yaml",
        &expect![[r#"
        channel_table, key [channel, window_start]
          channel: string
          window_start: timestamp
          window_end: timestamp
          edits: int
          bot_edits: int
          anon_edits: int
          new_pages: int
          added: int
          deleted: int
          distinct_users: int
          distinct_pages: int
        raw_table, key [partition_id, record_offset]
          partition_id: int
          record_offset: int
          event_time: timestamp
          channel: string
          page: string
          user: string
          namespace: string
          comment: string
          is_anonymous: bool
          is_minor: bool
          is_new: bool
          is_robot: bool
          is_unpatrolled: bool
          delta: int
          added: int
          deleted: int
          city_name: string
          country_iso_code: string
          country_name: string
          region_iso_code: string
          region_name: string
          metro_code: int
          payload: string
    "#]],
    );
}

/// The columns of a table and those of its primary key, as a migration declares them.
fn declared(dialect: &str, table: &str) -> (Vec<String>, Vec<String>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let entries = std::fs::read_dir(directory.join(dialect)).expect("the migrations");
    let head = format!("CREATE TABLE IF NOT EXISTS {table} (\n");
    let text = entries
        .map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("SQL"))
        .find(|text| text.contains(&head))
        .unwrap_or_else(|| panic!("no migration of {dialect} makes {table}"));
    let start = text.find(&head).expect("found above") + head.len();
    let lines = text[start..].lines().map(str::trim);
    let lines = lines.take_while(|line| !line.starts_with(')'));
    let (mut columns, mut key) = (Vec::new(), Vec::new());
    for line in lines {
        match line.strip_prefix("PRIMARY KEY (") {
            Some(rest) => {
                let names = rest.split(')').next().expect("a list").split(", ");
                key = names.map(str::to_owned).collect();
            }
            None if line.starts_with("KEY ") => {}
            None => columns.extend(line.split(' ').next().map(str::to_owned)),
        }
    }
    (columns, key)
}

#[test]
fn the_migrations_make_the_tables_of_the_shipped_files() {
    for file in ["wikimedia.yaml", "wikiticker.yaml"] {
        let topology = shipped(file);
        for (node, shape) in topology.nodes.iter().zip(topology.shapes()) {
            let NodeKind::Sql(sink) = &node.kind else {
                continue;
            };
            let columns = shape.fields().iter().map(|(name, _)| name.to_string());
            let key = shape.key().iter().map(FieldPath::to_string);
            let written = (columns.collect(), key.collect());
            for dialect in ["mysql", "sqlite"] {
                assert_eq!(written, declared(dialect, &sink.table), "{dialect}");
            }
        }
    }
}

#[test]
fn the_shipped_files_are_planned_without_a_repartition() {
    for (file, processing, sinks) in [("wikimedia.yaml", 1, 3), ("wikiticker.yaml", 1, 2)] {
        let plan = plan(&shipped(file)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plan.processing.len(), processing, "{file}");
        assert_eq!(plan.sinks.len(), sinks, "{file}");
        let repartitions = plan.internal_topics.iter();
        let repartitions = repartitions.filter(|topic| topic.purpose == Purpose::Repartition);
        assert_eq!(repartitions.count(), 0, "{file}");
    }
}

#[test]
fn clusters_group_their_nodes_and_the_rest_follows() {
    let topology = shipped("wikiticker.yaml");
    let cluster = |name: &str, nodes: &[&str]| Cluster {
        name: name.to_owned(),
        nodes: nodes.iter().map(|node| NodeName::new(node)).collect(),
    };
    let clusters = [
        cluster("0 \"processing\"", &["rows", "per_channel"]),
        cluster("1", &["channel_table"]),
    ];
    expect![[r#"
        wikiticker (exactly once)

        0 "processing"
          rows: source
              topic wikiticker; key channel; time time
          per_channel: aggregate ← rows
              by channel in tumbling 1h, grace 1m
              edits = count()
              bot_edits = count_if(isRobot)
              anon_edits = count_if(isAnonymous)
              new_pages = count_if(isNew)
              added = sum(added)
              deleted = sum(deleted)
              distinct_users = distinct(user)
              distinct_pages = distinct(page)

        1
          channel_table: sql ← per_channel
              table wikiticker_channel_hour

          raw_table: sql ← rows
              table wikiticker
              key partition_id, record_offset
              columns partition_id, record_offset, event_time, channel, page, user, namespace, comment, is_anonymous, is_minor, is_new, is_robot, is_unpatrolled, delta, added, deleted, city_name, country_iso_code, country_name, region_iso_code, region_name, metro_code, payload
    "#]].assert_eq(&text(&topology, &clusters));
    expect![[r#"
        flowchart TB
          subgraph cluster0 ["0 #quot;processing#quot;"]
            n_rows(["<b>rows</b><br>source wikiticker"])
            n_per_channel["<b>per_channel</b><br>aggregate"]
          end
          subgraph cluster1 ["1"]
            n_channel_table[("<b>channel_table</b><br>sql wikiticker_channel_hour")]
          end
          n_raw_table[("<b>raw_table</b><br>sql wikiticker")]
          n_rows --> n_per_channel
          n_per_channel --> n_channel_table
          n_rows --> n_raw_table
    "#]]
    .assert_eq(&mermaid(&topology, &clusters));
    expect![[r#"
        digraph "wikiticker" {
          node [shape=box, fontname="sans-serif"];
          subgraph cluster_0 {
            label="0 \"processing\"";
            "rows" [shape=cds, label="rows\nsource", tooltip="topic wikiticker; key channel; time time"];
            "per_channel" [shape=box, label="per_channel\naggregate", tooltip="by channel in tumbling 1h, grace 1m\nedits = count()\nbot_edits = count_if(isRobot)\nanon_edits = count_if(isAnonymous)\nnew_pages = count_if(isNew)\nadded = sum(added)\ndeleted = sum(deleted)\ndistinct_users = distinct(user)\ndistinct_pages = distinct(page)"];
          }
          subgraph cluster_1 {
            label="1";
            "channel_table" [shape=cylinder, label="channel_table\nsql", tooltip="table wikiticker_channel_hour"];
          }
          "raw_table" [shape=cylinder, label="raw_table\nsql", tooltip="table wikiticker\nkey partition_id, record_offset\ncolumns partition_id, record_offset, event_time, channel, page, user, namespace, comment, is_anonymous, is_minor, is_new, is_robot, is_unpatrolled, delta, added, deleted, city_name, country_iso_code, country_name, region_iso_code, region_name, metro_code, payload"];
          "rows" -> "per_channel";
          "per_channel" -> "channel_table";
          "rows" -> "raw_table";
        }
    "#]].assert_eq(&dot(&topology, &clusters));
}
