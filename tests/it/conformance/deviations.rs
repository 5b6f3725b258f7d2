//! Where ours does something else, and why. What it does instead is said in docs/SEMANTICS.md.

use super::case::Case;

/// Why a case may differ.
pub fn deviation(case: &Case) -> Option<&'static str> {
    let is = |tag: &str| case.tags.iter().any(|t| t == tag);
    match () {
        () if is("throttle") => Some("what is due leaves with the next commit, not once a second"),
        () if is("quirk") && is("retention") => {
            Some("what is still of use is kept, whatever the retention says")
        }
        () => None,
    }
}
