//! T006: records flow one way.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::analysis::reaches;

pub(super) const RULE: Rule = Rule {
    code: "T006",
    severity: Severity::Error,
    title: "nodes read from each other in a circle",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    let analysis = &cx.analysis;
    let mut reported = vec![false; cx.nodes.len()];
    for number in 0..cx.nodes.len() {
        if !analysis.in_cycle[number] || reported[number] {
            continue;
        }
        let way = way_round(cx, number);
        let reaches = |from, to| reaches(from, to, &analysis.consumers);
        for (node, reported) in reported.iter_mut().enumerate() {
            *reported |= node == number || reaches(number, node) && reaches(node, number);
        }
        let names: Vec<String> = way
            .iter()
            .map(|node| format!("`{}`", cx.name(*node)))
            .collect();
        let message = format!(
            "nodes read from each other in a circle: {}",
            names.join(" ← ")
        );
        let help = "records flow one way; a loop needs a topic, written by one node and read by a \
                    source";
        out.push(
            RULE.finding(Place::node(number).key("from"), message)
                .help(help),
        );
    }
}

/// From a node on a circle against the stream back to it.
fn way_round(cx: &Context<'_>, start: usize) -> Vec<usize> {
    let analysis = &cx.analysis;
    let mut way = vec![start];
    let mut node = start;
    loop {
        let inputs = analysis.inputs[node].iter().flatten();
        let back = |input: &usize| {
            *input == start || reaches(start, *input, &analysis.consumers) && !way.contains(input)
        };
        let next = inputs
            .copied()
            .find(back)
            .expect("a node on a circle reads from the circle");
        way.push(next);
        if next == start {
            return way;
        }
        node = next;
    }
}
