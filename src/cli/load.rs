//! Topology files, with their findings for people.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use super::failure::{Failure, say};
use crate::config::{self, Style};
use crate::topology::graph::{Node, NodeKind, Source, Topology};
use crate::topology::plan::{Plan, plan};

/// Reads a file; warnings go to stderr.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn topology(file: &Path) -> Result<Topology, Failure> {
    let outcome = config::check_file(file);
    if !outcome.report.is_empty() {
        say(outcome
            .report
            .render(style(std::io::stderr().is_terminal())));
    }
    outcome
        .topology
        .ok_or_else(|| Failure::Failed(anyhow::anyhow!("{} cannot be used", file.display())))
}

/// The same, planned.
pub(super) fn planned(file: &Path) -> Result<Arc<Plan>, Failure> {
    Ok(Arc::new(plan(&topology(file)?)?))
}

pub(super) fn style(is_terminal: bool) -> Style {
    match is_terminal && std::env::var_os("NO_COLOR").is_none() {
        true => Style::Coloured,
        false => Style::Plain,
    }
}

/// The source or global table of that name, or the only source.
pub(super) fn source<'t>(
    topology: &'t Topology,
    name: Option<&str>,
) -> Result<&'t Source, Failure> {
    let source = |node: &'t Node| match &node.kind {
        NodeKind::Source(source) => Some((node.name.as_str(), source)),
        _ => None,
    };
    let all: Vec<_> = topology.nodes.iter().filter_map(source).collect();
    let names = || {
        all.iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let named = |name: &str| {
        let node = topology
            .nodes
            .iter()
            .find(|node| node.name.as_str() == name)?;
        node.kind.source()
    };
    match (name, all.as_slice()) {
        (None, [(_, source)]) => Ok(source),
        (None, _) => Err(Failure::usage(format!(
            "name one of the sources with --source: {}",
            names()
        ))),
        (Some(name), _) => named(name).ok_or_else(|| {
            Failure::usage(format!("there is no source {name}; there are {}", names()))
        }),
    }
}
