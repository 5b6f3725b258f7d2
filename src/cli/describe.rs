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
use crate::topology::graph::NodeName;
use crate::topology::plan::{Plan, Reader, SubTopology, Work, plan};

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
    let clusters = clusters(&plan);
    let drawn = match args.format {
        Format::Text => text(&topology, &clusters),
        Format::Mermaid => mermaid(&topology, &clusters),
        Format::Dot => dot(&topology, &clusters),
    };
    writeln!(std::io::stdout(), "{}", drawn.trim_end())?;
    Ok(ExitCode::SUCCESS)
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
    processing.chain(sinks).map(cluster).collect()
}

fn nodes(sub: &SubTopology) -> Vec<NodeName> {
    let sources = sub.inputs.iter().filter_map(|input| match &input.reader {
        Reader::Source(source) => Some(source.node.clone()),
        Reader::Partials | Reader::Results(_) | Reader::Rows(_) | Reader::Foreign => None,
    });
    let operators = sub.operators.iter().filter(|operator| {
        // The near side of a repartition belongs to the aggregate behind it, and the right side of a
        // join by a foreign key to the left one.
        !matches!(operator.work, Work::Fold(_) | Work::Subscriptions(_))
    });
    sources
        .chain(operators.map(|operator| operator.node.clone()))
        .collect()
}
