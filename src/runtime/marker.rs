//! The marker of a commit, in the changelogs and stores of a task, and how it is laid out as bytes.
//!
//! A marker without which a task cannot start is read before anything else of its state. So its
//! format has a version of its own: it says which Tidemill the state is of.

use std::collections::BTreeMap;

use crate::broker::Offset;
use crate::codec::{self, Decode, DecodeError, Encode};
use crate::processor::Progress;

/// What the last commit of a task was, written into each of its changelogs and stores: the
/// positions that the store's content belongs to, and how far the folds have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct CommitMarker {
    /// The offset of the next record by topic and partition.
    pub(super) positions: BTreeMap<(String, i32), Offset>,
    /// How far the folds have come.
    pub(super) progress: Progress,
    /// What an entry of each store is, by the store's name.
    pub(super) contents: BTreeMap<String, String>,
}

impl CommitMarker {
    /// Raised with every change of the fields here and of [`Progress`].
    const FORMAT: u8 = 2;

    /// Of markers that were written before they had versions of their own. The last of them have
    /// the fields of format 2.
    const UNNUMBERED: u8 = 1;

    /// Appends the marker.
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        codec::encode_version_into(CommitMarker::FORMAT, self, out);
    }

    /// Reads what [`CommitMarker::encode_into`] wrote.
    ///
    /// # Errors
    /// [`DecodeError::Version`] when another version of Tidemill wrote it.
    pub(super) fn decode(bytes: &[u8]) -> Result<CommitMarker, DecodeError> {
        match codec::decode_version(CommitMarker::FORMAT, bytes) {
            Err(error @ DecodeError::Version { found, .. })
                if found == CommitMarker::UNNUMBERED =>
            {
                codec::decode_version(CommitMarker::UNNUMBERED, bytes).map_err(|_| error)
            }
            read => read,
        }
    }
}

/// How far the folds of a task have come, by the marker in a store.
///
/// # Errors
/// When it is damaged, or of another version of Tidemill.
pub(crate) fn progress_of(marker: &[u8]) -> Result<Progress, DecodeError> {
    Ok(CommitMarker::decode(marker)?.progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> CommitMarker {
        CommitMarker {
            positions: BTreeMap::from([(("t".to_owned(), 1), 7)]),
            contents: BTreeMap::from([("n".to_owned(), "x".to_owned())]),
            ..CommitMarker::default()
        }
    }

    /// `positions`, `progress` and `contents` of [`marker`].
    const FIELDS: [u8; 11] = [1, 1, b't', 2, 14, 0, 1, 1, b'n', 1, b'x'];

    fn read(version: u8, fields: &[u8]) -> Result<CommitMarker, DecodeError> {
        CommitMarker::decode(&[&[version], fields].concat())
    }

    #[test]
    fn bytes_of_the_format_stay_as_they_are() {
        let mut bytes = Vec::new();
        marker().encode_into(&mut bytes);
        assert_eq!(bytes, [&[2], &FIELDS[..]].concat());
        assert_eq!(read(2, &FIELDS).unwrap(), marker());
    }

    #[test]
    fn a_marker_of_another_version_is_told_from_a_damaged_one() {
        assert_eq!(read(1, &FIELDS).unwrap(), marker());
        let is_other = |read| matches!(read, Err(DecodeError::Version { expected: 2, .. }));
        // Before `contents` were added.
        assert!(is_other(read(1, &FIELDS[..6])));
        assert!(is_other(read(3, &FIELDS)));
        assert!(matches!(
            read(2, &FIELDS[..6]),
            Err(DecodeError::Damaged { .. })
        ));
    }
}
