//! The rules that a topology must keep. One rule per file; each looks at the whole draft and
//! reports all that breaks it, so that a user sees every mistake at once.
//!
//! A rule is a [`Rule`]: a code that never changes its meaning, a title, and a function. To add
//! one: a file with its `RULE`, a line in [`RULES`], a golden test in `config/golden`, a row in
//! `docs/TOPOLOGY.md` (a test compares).

mod context;

mod app_name;
mod node_name;
mod duplicate_node;
mod unknown_input;
mod input_is_sink;
mod cycle;
mod no_source;
mod no_sink;
mod unused_node;

mod no_topics;
mod topic_name;
mod shared_topic;
mod internal_topic;
mod topic_loop;

mod field_path;
mod field_name;
mod duplicate_field;
mod unknown_field;
mod undeclared_field;
mod conflicting_declaration;
mod timestamp_type;
mod max_ahead;

mod expression_syntax;
mod expression_type;
mod condition_type;

mod no_key;
mod no_results;
mod no_window;
mod window_size;
mod grace;
mod retention;
mod idle_close;
mod unknown_function;
mod argument_count;
mod argument_type;
mod result_name;
mod repeated_updates;
mod advance;

mod branch_input;
mod no_list;
mod merge_inputs;
mod no_branches;
mod log_every;
mod idle_close_unused;
mod constant_argument;

mod table_name;
mod no_columns;
mod no_table_key;
mod shared_table;
mod table_key;
mod column_name;
mod table_key_type;
mod table_key_covers;
mod table_limits;
mod deleted_key;
mod declared_in_json;
mod stream_of_stream;

mod kafka_key;

mod table_input;
mod table_deletions;
mod aggregate_of_table;
mod join_input;
mod join_prefix;
mod join_type;
mod joined_record;
mod join_window;

mod delete_if_hopping;

mod suppress_input;
mod suppress_window;
mod suppress_time;
mod suppress_bounds;
mod suppress_full;

mod duplicate_time;
mod duplicate_partitions;
mod duplicate_updates;
mod duplicate_key_type;

mod foreign_key;
mod store_name;
mod store_shared;
mod store_alone;
mod no_given_fields;

mod unknown_time_zone;
mod time_zone_days;
mod time_zone_windows;
mod no_time_zone;

mod no_schema;
mod bad_schema;
mod declared_beside_schema;
mod registry_address;
mod sink_schema;
mod single_value;
mod unsaid_fields;

mod global_input;
mod global_join;
mod global_letters;
mod on_condition;
mod on_row;

mod no_windows;
mod merged_table;
mod many_windows;

use context::Context;

use super::builder::Draft;
use super::finding::{Finding, Place, Severity};

/// A rule.
struct Rule {
    /// Its code, for example `T004`; never reused for something else.
    code: &'static str,
    /// Whether a topology that breaks it is refused.
    severity: Severity,
    /// What it is about, for the documentation.
    title: &'static str,
    /// Finds all places that break it.
    check: fn(&Context<'_>, &mut Vec<Finding>),
}

/// All rules, by code.
const RULES: &[Rule] = &[
    app_name::RULE,
    node_name::RULE,
    duplicate_node::RULE,
    unknown_input::RULE,
    input_is_sink::RULE,
    cycle::RULE,
    no_source::RULE,
    no_sink::RULE,
    unused_node::RULE,
    no_topics::RULE,
    topic_name::RULE,
    shared_topic::RULE,
    internal_topic::RULE,
    topic_loop::RULE,
    field_path::RULE,
    field_name::RULE,
    duplicate_field::RULE,
    unknown_field::RULE,
    undeclared_field::RULE,
    conflicting_declaration::RULE,
    timestamp_type::RULE,
    max_ahead::RULE,
    expression_syntax::RULE,
    expression_type::RULE,
    condition_type::RULE,
    no_key::RULE,
    no_results::RULE,
    no_window::RULE,
    window_size::RULE,
    grace::RULE,
    retention::RULE,
    idle_close::RULE,
    unknown_function::RULE,
    argument_count::RULE,
    argument_type::RULE,
    result_name::RULE,
    repeated_updates::RULE,
    advance::RULE,
    branch_input::RULE,
    no_list::RULE,
    merge_inputs::RULE,
    no_branches::RULE,
    log_every::RULE,
    idle_close_unused::RULE,
    constant_argument::RULE,
    table_name::RULE,
    no_columns::RULE,
    no_table_key::RULE,
    shared_table::RULE,
    table_key::RULE,
    column_name::RULE,
    table_key_type::RULE,
    table_key_covers::RULE,
    table_limits::RULE,
    kafka_key::RULE,
    table_input::RULE,
    table_deletions::RULE,
    aggregate_of_table::RULE,
    join_input::RULE,
    join_prefix::RULE,
    join_type::RULE,
    joined_record::RULE,
    join_window::RULE,
    delete_if_hopping::RULE,
    suppress_input::RULE,
    suppress_window::RULE,
    suppress_time::RULE,
    suppress_bounds::RULE,
    suppress_full::RULE,
    duplicate_time::RULE,
    duplicate_partitions::RULE,
    duplicate_updates::RULE,
    duplicate_key_type::RULE,
    foreign_key::RULE,
    no_schema::RULE,
    bad_schema::RULE,
    declared_beside_schema::RULE,
    registry_address::RULE,
    sink_schema::UNKNOWN,
    sink_schema::MISSING,
    sink_schema::TYPE,
    single_value::RULE,
    unsaid_fields::RULE,
    store_name::RULE,
    store_shared::RULE,
    store_alone::RULE,
    no_given_fields::RULE,
    unknown_time_zone::RULE,
    time_zone_days::RULE,
    time_zone_windows::RULE,
    no_time_zone::RULE,
    global_input::RULE,
    global_join::RULE,
    global_letters::RULE,
    on_row::RULE,
    no_windows::CLOSE,
    merged_table::RULE,
    no_windows::LATE,
    many_windows::RULE,
    deleted_key::RULE,
    declared_in_json::RULE,
    stream_of_stream::RULE,
    on_condition::RULE,
];

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code, for example `T004`.
    pub code: &'static str,
    /// Whether a topology with such a finding is refused.
    pub severity: Severity,
    /// What it is about.
    pub title: &'static str,
}

/// The codes of all rules, in order.
pub fn explanations() -> impl Iterator<Item = Explanation> {
    RULES.iter().map(
        |&Rule {
             code,
             severity,
             title,
             ..
         }| Explanation {
            code,
            severity,
            title,
        },
    )
}

/// All that is wrong with the draft: in the order of its nodes, what concerns the whole first.
pub(super) fn check(draft: &Draft) -> Vec<Finding> {
    let context = Context::new(draft);
    let mut findings = Vec::new();
    for rule in RULES {
        (rule.check)(&context, &mut findings);
    }
    for finding in &mut findings {
        finding.node = finding
            .place
            .node
            .map(|number| context.name(number).to_owned());
    }
    findings.sort_by_key(|finding| finding.place.node);
    findings
}

impl Rule {
    fn finding(&self, place: Place, message: impl Into<String>) -> Finding {
        Finding {
            code: self.code,
            severity: self.severity,
            place,
            range: None,
            node: None,
            message: message.into(),
            help: None,
            related: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_and_none_is_used_twice() {
        let codes: Vec<&str> = RULES.iter().map(|rule| rule.code).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    }
}
