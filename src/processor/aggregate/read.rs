//! What the store of an aggregate holds, for whoever looks into it from outside.

use std::collections::BTreeMap;

use super::fixed::end_of;
use super::hopping::{self, Pane, panes_by_key};
use super::session::SessionEntry;
use crate::processor::MARKER_KEY;
use crate::processor::store::Stored as _;
use crate::processor::table::{Folded, FoldedError};
use crate::processor::timelines;
use crate::state::keys;
use crate::time::Timestamp;
use crate::topology::plan::AggregatePlan;
use crate::window::Windows;

/// A result as it stands in a store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredResult {
    /// The key of its group, as [`keys::read_fields`] reads it.
    pub group: Vec<u8>,
    /// The start of its window.
    pub start: Timestamp,
    /// The end of its window.
    pub end: Timestamp,
    /// The result.
    pub folded: Folded,
}

/// The results in a store, by start and key, given all its entries and the stream time. Of hopping windows
/// that are past their retention some panes may be gone, so they are left out.
///
/// # Errors
/// When an entry is damaged or of other functions.
pub(crate) fn stored_results(
    plan: &AggregatePlan,
    stream_time: Timestamp,
    entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
) -> Result<Vec<StoredResult>, FoldedError> {
    let shape = &plan.shape;
    let functions = shape.functions();
    let entries = entries.filter(|(key, _)| key != MARKER_KEY);
    let windows = &shape.windows;
    let mut results = Vec::new();
    match windows {
        Windows::Unbounded | Windows::Tumbling(_) | Windows::Calendar(_) => {
            for (key, value) in entries {
                let (start, group) = keys::split_window(&key).map_err(|_| FoldedError::Key)?;
                results.push(StoredResult {
                    group: group.to_vec(),
                    start,
                    end: end_of(windows, start),
                    folded: Folded::decode(&value, &functions)?,
                });
            }
        }
        Windows::Hopping(hopping) => {
            let panes = entries.map(|(key, value)| Ok((key, Pane::decode(&value, &functions)?)));
            let panes = panes.collect::<Result<BTreeMap<_, _>, FoldedError>>()?;
            for (group, panes) in panes_by_key(panes) {
                let kept_from = |retention_ms| windows.kept_from(stream_time, retention_ms);
                let from = plan.retention_ms.map_or(Timestamp::MIN, kept_from);
                let from = hopping.first_start_from(from);
                let to = Timestamp(i64::MAX);
                let starts = hopping::starts_over(hopping, &panes, from, to);
                let results_of_key = hopping::results(hopping, panes, starts).into_iter();
                for (start, folded) in results_of_key.filter(|(_, folded)| !folded.is_void()) {
                    results.push(StoredResult {
                        group: group.clone(),
                        start,
                        end: hopping.end_of(start),
                        folded,
                    });
                }
            }
        }
        Windows::Sliding(sliding) => {
            for (key, value) in entries {
                let (_, group, start) = timelines::split(&key).ok_or(FoldedError::Key)?;
                results.push(StoredResult {
                    group: group.to_vec(),
                    start,
                    end: sliding.end_of(start),
                    folded: Folded::decode(&value, &functions)?,
                });
            }
        }
        Windows::Session(_) => {
            for (key, value) in entries {
                let (_, group, end) = timelines::split(&key).ok_or(FoldedError::Key)?;
                let session = SessionEntry::decode(&value, &functions)?;
                results.push(StoredResult {
                    group: group.to_vec(),
                    start: session.start,
                    end,
                    folded: session.folded,
                });
            }
        }
    }
    results.sort_by(|a, b| (a.start, &a.group).cmp(&(b.start, &b.group)));
    Ok(results)
}
