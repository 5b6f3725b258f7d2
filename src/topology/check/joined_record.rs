//! T086: a joined record is made of several events, so a topic cannot have it as it came.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::Format;

pub(super) const RULE: Rule = Rule {
    code: "T086",
    severity: Severity::Error,
    title: "a kafka sink behind a join does not say which fields it writes",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, sink) in cx.kafka_sinks() {
        let before = &cx.analysis.before[number];
        let has_own_rules = sink
            .format
            .as_ref()
            .is_some_and(|format| *format != Format::Json);
        if sink.fields.is_empty() && !has_own_rules && before.is_joined() && before.has_open_part()
        {
            let message = "records behind a join are made of several events";
            let help = "name what is to be written: `fields: { wiki: wiki, name: user.name }`";
            let place = Place::node(number).key("fields");
            out.push(RULE.finding(place, message).help(help));
        }
    }
}
