//! The shipped tables against the shipped topology files.

use std::path::Path;

use tidemill::config::check_file;
use tidemill::sql::{Column, ColumnType, TableSpec, check_table};
use tidemill::topology::graph::{NodeKind, SqlSink};
use tidemill::topology::shape::Shape;
use tidemill::value::ValueType;

use super::harness::TestDatabase;

pub async fn the_shipped_tables_fit_the_shipped_topologies(database: TestDatabase) {
    let database = database.migrated().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topology");
    let mut tables = Vec::new();
    for file in ["wikimedia.yaml", "wikiticker.yaml"] {
        let outcome = check_file(&folder.join(file));
        let topology = outcome
            .topology
            .unwrap_or_else(|| panic!("{}", outcome.report));
        for (node, shape) in std::iter::zip(&topology.nodes, topology.shapes()) {
            if let NodeKind::Sql(sink) = &node.kind {
                let table = spec(sink, &shape);
                let found = check_table(&database.url, &table).await.unwrap();
                assert_eq!(found, [], "{} of {file}", node.name);
                tables.push(table.table);
            }
        }
    }
    tables.sort();
    assert_eq!(
        tables,
        [
            "edits_per_user_5m",
            "edits_per_wiki_minute",
            "recentchange",
            "wikiticker",
            "wikiticker_channel_hour",
        ]
    );
}

fn spec(sink: &SqlSink, shape: &Shape) -> TableSpec {
    let columns: Vec<_> = shape
        .fields()
        .iter()
        .map(|(path, kind)| Column {
            name: path.as_str().to_owned(),
            kind: column_type(*kind).unwrap_or_else(|| panic!("{path} is {kind}")),
            nullable: !shape.key().contains(path),
        })
        .collect();
    let position = |name: &str| columns.iter().position(|column| column.name == name);
    let key = shape
        .key()
        .iter()
        .filter_map(|path| position(path.as_str()));
    TableSpec {
        table: sink.table.clone(),
        key: key.collect(),
        columns,
    }
}

/// Types have the same names on both sides.
fn column_type(kind: ValueType) -> Option<ColumnType> {
    use ColumnType::{Bool, Bytes, Double, Int, Text, Time};
    [Bool, Bytes, Double, Int, Text, Time]
        .into_iter()
        .find(|column| column.name() == kind.name())
}
