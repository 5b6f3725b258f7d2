//! T125, T127: without windows there is none to close, and no record is late.

use super::{Context, Finding, Place, Rule, Severity};
use crate::topology::graph::{Emit, OnLate};

pub(super) const CLOSE: Rule = Rule {
    code: "T125",
    severity: Severity::Error,
    title: "emit: close without windows",
    check: check_close,
};

pub(super) const LATE: Rule = Rule {
    code: "T127",
    severity: Severity::Warning,
    title: "on_late without windows",
    check: check_late,
};

fn check_close(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        if aggregate.window.is_none() && aggregate.emit == Emit::Close {
            let message = "with `window: none` nothing ever closes, so no result would leave";
            let help = "leave `emit` out for results that leave with every change, or write windows, \
                        as `window: { tumbling: 1h }`";
            let place = Place::node(number).key("emit");
            out.push(CLOSE.finding(place, message).help(help));
        }
    }
}

fn check_late(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (number, aggregate) in cx.aggregates() {
        if aggregate.window.is_none() && aggregate.on_late != OnLate::default() {
            let message = "`on_late` has no effect with `window: none`";
            let place = Place::node(number).key("on_late");
            out.push(LATE.finding(place, message).help("leave it out"));
        }
    }
}
