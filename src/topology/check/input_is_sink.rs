//! T005: nothing comes out of a sink.

use super::{Context, Finding, Rule, Severity};
use crate::topology::graph::NodeKind;

pub(super) const RULE: Rule = Rule {
    code: "T005",
    severity: Severity::Error,
    title: "`from` names a sink",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, _) in cx.kinds() {
        for (item, input) in cx.analysis.inputs[number].iter().enumerate() {
            let Some(input) = input else { continue };
            let Some(kind) = cx.nodes[*input].kind.as_ref().filter(|kind| kind.is_sink()) else {
                continue;
            };
            let name = cx.name(*input);
            let message = format!(
                "`{name}` is a {} sink, nothing comes out of it",
                kind.word()
            );
            let finding = RULE.finding(cx.input_place(number, item), message);
            let before = kind
                .inputs()
                .first()
                .filter(|before| !before.as_str().is_empty());
            out.push(match before {
                Some(before) => finding.help(help(kind, before.as_str())),
                None => finding,
            });
        }
    }
}

fn help(kind: &NodeKind, before: &str) -> String {
    match kind {
        NodeKind::Kafka(sink) => {
            format!(
                "read from `{before}`, or from a source of the topic `{}`",
                sink.topic
            )
        }
        _ => format!("did you mean its input, `{before}`?"),
    }
}
