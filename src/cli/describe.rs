//! `tidemill describe`: draws a topology, cut as it will run, or prints the tables that it needs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::failure::Ended;
use super::load;
use crate::runtime::tables;
use crate::sql::{Dialect, ddl};
use crate::topology::describe::{Cluster, dot, mermaid, text};
use crate::topology::duration::Millis;
use crate::topology::graph::{NodeName, Topology};
use crate::topology::plan::{Plan, Purpose, Reader, SubTopology, Work, plan};

const EXAMPLES: &str = "\
Examples:
  tidemill describe topology/wikimedia.yaml
  tidemill describe topology/wikimedia.yaml --format dot | dot -Tsvg > wikimedia.svg
  tidemill describe my.yaml --tables mysql | mysql wikimedia
  tidemill describe my.yaml --tables sqlite | sqlite3 tidemill.db";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Describe {
    /// The topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// As what
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Instead, the CREATE TABLE of each table that its sql nodes write, for this database. The
    /// shipped tables are made by `tidemill migrate`
    #[arg(long, value_enum, value_name = "DATABASE", conflicts_with = "format")]
    tables: Option<Database>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines
    Text,
    /// A Mermaid flowchart
    Mermaid,
    /// A Graphviz graph
    Dot,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Database {
    /// MySQL or MariaDB
    #[value(alias = "mariadb")]
    Mysql,
    /// SQLite
    Sqlite,
}

pub(super) fn describe(args: &Describe) -> Ended {
    let topology = load::topology(&args.file)?;
    let plan = plan(&topology)?;
    if let Some(database) = args.tables {
        print_tables(&plan, database)?;
        return Ok(ExitCode::SUCCESS);
    }
    let drawn = drawn(&topology, &plan, args.format);
    writeln!(std::io::stdout(), "{}", drawn.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn drawn(topology: &Topology, plan: &Plan, format: Format) -> String {
    let clusters = clusters(plan);
    match format {
        Format::Text => text(topology, &clusters) + &own_topics(plan),
        Format::Mermaid => mermaid(topology, &clusters),
        Format::Dot => dot(topology, &clusters),
    }
}

/// The topics that `run` creates.
fn own_topics(plan: &Plan) -> String {
    let lines = plan.internal_topics.iter().map(|topic| {
        let purpose = match topic.purpose {
            Purpose::Changelog { retention_ms: None } => {
                "what a store is rebuilt from, compacted".to_owned()
            }
            Purpose::Changelog {
                retention_ms: Some(ms),
            } => {
                let retention = Millis(ms);
                format!("what a store is rebuilt from, compacted, windows kept for {retention}")
            }
            Purpose::Progress => "how far tasks have come, compacted".to_owned(),
            Purpose::Repartition => "records on their way to other partitions".to_owned(),
            Purpose::Results => "results for SQL sinks".to_owned(),
            Purpose::DeadLetters => "records that could not be handled".to_owned(),
        };
        let partitions = match topic.sized_like.as_slice() {
            [] => String::new(),
            topics => format!("; as many partitions as {}", topics.join(", ")),
        };
        format!("  {}\n      {purpose}{partitions}\n", topic.name)
    });
    format!("\ntopics of its own\n{}", lines.collect::<String>())
}

fn print_tables(plan: &Plan, database: Database) -> std::io::Result<()> {
    let dialect = match database {
        Database::Mysql => Dialect::MySql,
        Database::Sqlite => Dialect::Sqlite,
    };
    tables(plan)
        .iter()
        .try_for_each(|table| writeln!(std::io::stdout(), "{}\n", ddl(table, dialect)))
}

/// The sub-topologies that the planner cuts. A SQL sink runs copies of the stateless nodes in front
/// of it; those are shown once, where they are met first.
fn clusters(plan: &Plan) -> Vec<Cluster> {
    let mut shown: Vec<NodeName> = Vec::new();
    let processing = plan.processing.iter().map(|sub| (&**sub, plan.group()));
    let sinks = plan
        .sinks
        .iter()
        .map(|sub| (&**sub, plan.sink_group(&sub.name)));
    let cluster = |(sub, group): (&SubTopology, String)| {
        let nodes: Vec<NodeName> = nodes(sub)
            .into_iter()
            .filter(|node| !shown.contains(node))
            .collect();
        shown.extend_from_slice(&nodes);
        let name = format!("{} {} (group {group})", sub.id, sub.name);
        Cluster { name, nodes }
    };
    let clusters = processing.chain(sinks).map(cluster);
    clusters.chain(global_tables(plan)).collect()
}

/// The tables that every process has.
fn global_tables(plan: &Plan) -> Option<Cluster> {
    let nodes: Vec<NodeName> = plan
        .global_tables
        .iter()
        .map(|table| table.node.clone())
        .collect();
    let name = "global tables (each process)".to_owned();
    (!nodes.is_empty()).then_some(Cluster { name, nodes })
}

fn nodes(sub: &SubTopology) -> Vec<NodeName> {
    let sources = sub.inputs.iter().filter_map(|input| match &input.reader {
        Reader::Source(source) => Some(source.node.clone()),
        Reader::Partials | Reader::Results(_) | Reader::Rows(_) | Reader::Foreign => None,
    });
    let operators = sub.operators.iter().filter(|operator| {
        // The near side of a repartition belongs to what is behind it, and the right side of a join by
        // a foreign key to the left one.
        let work = &operator.work;
        !matches!(work, Work::Fold(_) | Work::Send(_) | Work::Subscriptions(_))
    });
    sources
        .chain(operators.map(|operator| operator.node.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::expect_file;

    use super::*;
    use crate::config;

    /// What a user sees of a shipped file.
    fn shipped(file: &str, format: Format) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("topology")
            .join(file);
        let topology = load::topology(&path).expect("shipped files are right");
        drawn(&topology, &plan(&topology).unwrap(), format)
    }

    #[test]
    fn wikimedia_is_described() {
        let shipped = |format| shipped("wikimedia.yaml", format);
        expect_file!["described/wikimedia.txt"].assert_eq(&shipped(Format::Text));
        expect_file!["described/wikimedia.mmd"].assert_eq(&shipped(Format::Mermaid));
        expect_file!["described/wikimedia.dot"].assert_eq(&shipped(Format::Dot));
    }

    #[test]
    fn wikiticker_is_described() {
        let shipped = |format| shipped("wikiticker.yaml", format);
        expect_file!["described/wikiticker.txt"].assert_eq(&shipped(Format::Text));
        expect_file!["described/wikiticker.mmd"].assert_eq(&shipped(Format::Mermaid));
        expect_file!["described/wikiticker.dot"].assert_eq(&shipped(Format::Dot));
    }

    #[test]
    fn a_node_is_shown_where_it_works_and_not_where_its_records_come_from() {
        let file = "
app: a
nodes:
  orders: { source: { topic: orders, timestamp: at, fields: { user: string } } }
  per_user: { aggregate: { from: orders, by: user, window: none, set: { n: count() } } }
  clicks: { source: { topic: clicks, key: user, timestamp: at } }
  both: { join: { from: clicks, with: per_user, as: o, type: left } }
  by_page: { select_key: { from: both, key: page } }
  once: { deduplicate: { from: by_page, within: 1h } }
  out: { kafka: { from: once, topic: out, fields: { id: id, n: o.n } } }
";
        let topology = config::parse(file, "a.yaml").unwrap_or_else(|report| panic!("{report}"));
        let clusters = clusters(&plan(&topology).unwrap());
        let shown = clusters.iter().map(|cluster| {
            let nodes: Vec<&str> = cluster.nodes.iter().map(NodeName::as_str).collect();
            format!("{}: {}", cluster.name, nodes.join(", "))
        });
        expect_test::expect![[r#"
            0 orders (group a): orders
            1 per_user (group a): per_user
            2 clicks (group a): clicks, both-right, both, by_page
            3 once (group a): once, out"#]]
        .assert_eq(&shown.collect::<Vec<_>>().join("\n"));
    }
}
