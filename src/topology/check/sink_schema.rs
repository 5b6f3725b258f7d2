//! T104, T105, T106: what a sink writes has to be what its schema says.

use super::context::WrittenField;
use super::{Context, Finding, Place, Rule, Severity};
use crate::format::{Language, Schema, SchemaField};
use crate::topology::nearest::did_you_mean;

pub(super) const UNKNOWN: Rule = Rule {
    code: "T104",
    severity: Severity::Error,
    title: "a sink writes a field that its schema does not have",
    check: check_unknown,
};

pub(super) const MISSING: Rule = Rule {
    code: "T105",
    severity: Severity::Error,
    title: "a sink lacks a field that its schema needs",
    check: check_missing,
};

pub(super) const TYPE: Rule = Rule {
    code: "T106",
    severity: Severity::Error,
    title: "a field does not fit the type in the schema",
    check: check_type,
};

fn check_unknown(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for_each_sink(cx, &mut |_, written, schema| {
        for field in written {
            if schema.iter().all(|known| known.name != field.name) {
                let message = format!("the schema has no field `{}`", field.name);
                let names = schema.iter().map(|known| known.name);
                let help = did_you_mean(&field.name, "fields of the schema", names);
                let finding = UNKNOWN.finding(field.place.clone().name(), message);
                out.push(finding.maybe_help(help));
            }
        }
    });
}

fn check_missing(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for_each_sink(cx, &mut |place, written, schema| {
        for known in schema.iter().filter(|known| !known.can_be_left_out) {
            if written.iter().all(|field| field.name != known.name) {
                let message = format!("the schema needs the field `{}`", known.name);
                let help = format!(
                    "add it to `fields`: {} without a default and without null, it holds {}",
                    known.name, known.what
                );
                out.push(
                    MISSING
                        .finding(place.clone().key("fields"), message)
                        .help(help),
                );
            }
        }
    });
}

fn check_type(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for_each_sink(cx, &mut |_, written, schema| {
        for field in written {
            let known = schema.iter().find(|known| known.name == field.name);
            let Some(known) = known.filter(|known| !known.takes(field.kind)) else {
                continue;
            };
            let message = format!(
                "`{}` is {} in the schema, found {}",
                field.name, known.what, field.kind
            );
            let help = "convert it with `string(…)`, `int(…)`, `double(…)` or `timestamp(…)`";
            out.push(TYPE.finding(field.place.clone(), message).help(help));
        }
    });
}

/// Sees the place of a sink, what it writes, and the fields of its schema.
type See<'s> = dyn FnMut(Place, &[WrittenField], &[SchemaField<'_>]) + 's;

/// Calls `see` with each sink that has a schema.
fn for_each_sink(cx: &Context<'_>, see: &mut See<'_>) {
    for (number, sink) in cx.kafka_sinks() {
        let schema = sink.format.as_ref().and_then(|format| format.schema());
        // What a JSON schema says is not looked at.
        let says_fields =
            |schema: &&Schema| schema.error().is_none() && schema.language() != Language::Json;
        let Some(schema) = schema.filter(says_fields) else {
            continue;
        };
        if cx.nodes[number].has_gaps || !cx.analysis.before[number].is_certain() {
            continue;
        }
        let written = cx.written_fields(number, sink);
        see(Place::node(number), &written, &schema.fields());
    }
}
