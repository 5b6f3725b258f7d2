//! T103: the address of a schema registry is one, and holds no secrets.

use url::Url;

use super::{Context, Finding, Rule, Severity};

pub(super) const RULE: Rule = Rule {
    code: "T103",
    severity: Severity::Error,
    title: "this is no address of a schema registry",
    check,
};

fn check(cx: &Context<'_>, out: &mut Vec<Finding>) {
    for (place, format) in cx.schema_formats() {
        let Some(address) = &format.registry else {
            continue;
        };
        let (message, help) = match Url::parse(address) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => (
                "a topology holds no secrets".to_owned(),
                "write the address alone, and set TIDEMILL_SCHEMA_REGISTRY_AUTH=user:password",
            ),
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => continue,
            Ok(_) | Err(_) => (
                format!("`{address}` is no address of a schema registry"),
                "write it as `http://registry:8081`",
            ),
        };
        let place = place.key("schema_registry");
        out.push(RULE.finding(place, message).help(help));
    }
}
