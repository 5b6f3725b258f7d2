//! How state is laid out as bytes: the one place that names bincode.
//!
//! Every encoded value begins with a format version, so that a later version of Tidemill knows what
//! it reads; what changes by itself has a version of its own. Other files take the derives and traits
//! from here. Keys never pass through here: they are order-preserving and hand-encoded (see
//! [`crate::state::keys`]).

use bincode::config;
pub use bincode::de::{BorrowDecoder, Decoder};
pub use bincode::enc::Encoder;
pub use bincode::error::{DecodeError as DecodeFailure, EncodeError as EncodeFailure};
pub use bincode::{BorrowDecode, Decode, Encode, impl_borrow_decode};
use bumpalo::Bump;

/// The format that this version writes. Older ones stay readable for as long as a test holds their
/// bytes.
pub const FORMAT_VERSION: u8 = 1;

/// No encoded value may claim more memory than this while it is decoded.
const DECODE_LIMIT_BYTES: usize = 64 << 20;

/// Encoded state that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by another version of Tidemill.
    #[error("expected state format {expected}, found {found}")]
    Version {
        /// The version that this Tidemill reads.
        expected: u8,
        /// The version byte found.
        found: u8,
    },
    /// Damaged.
    #[error("damaged state of {bytes} bytes: {reason}")]
    Damaged {
        /// How long the encoded value is.
        bytes: usize,
        /// What the decoder stumbled over.
        reason: String,
    },
}

/// Appends the version byte and the encoded value.
pub fn encode_into<T: Encode>(value: &T, out: &mut Vec<u8>) {
    encode_version_into(FORMAT_VERSION, value, out);
}

/// The same with a version that belongs to this type alone.
pub fn encode_version_into<T: Encode>(version: u8, value: &T, out: &mut Vec<u8>) {
    out.push(version);
    bincode::encode_into_std_write(value, out, config())
        .expect("writing into memory does not fail, and state types have no unencodable values");
}

/// Reads what [`encode_into`] wrote, all of it.
///
/// # Errors
/// When the version is unknown, or the bytes are damaged, too long or too short.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_version(FORMAT_VERSION, bytes)
}

/// Reads the beginning of what [`encode_into`] wrote, and leaves the rest.
///
/// # Errors
/// When the version is unknown, or the bytes are damaged as far as they are read.
pub fn decode_beginning<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    read(FORMAT_VERSION, bytes, |rest| {
        let (value, _) = bincode::decode_from_slice(rest, config())?;
        Ok((value, rest.len()))
    })
}

/// Reads what [`encode_version_into`] wrote with that version, all of it.
///
/// # Errors
/// As [`decode`].
pub fn decode_version<T: Decode<()>>(expected: u8, bytes: &[u8]) -> Result<T, DecodeError> {
    read(expected, bytes, |rest| {
        bincode::decode_from_slice(rest, config())
    })
}

fn read<'a, T>(
    expected: u8,
    bytes: &'a [u8],
    decode: impl FnOnce(&'a [u8]) -> Result<(T, usize), DecodeFailure>,
) -> Result<T, DecodeError> {
    let damaged = |reason: String| DecodeError::Damaged {
        bytes: bytes.len(),
        reason,
    };
    let Some((&found, rest)) = bytes.split_first() else {
        return Err(damaged("empty".to_owned()));
    };
    if found != expected {
        return Err(DecodeError::Version { expected, found });
    }
    match decode(rest) {
        Ok((value, read)) if read == rest.len() => Ok(value),
        Ok((_, read)) => Err(damaged(format!("{} bytes left over", rest.len() - read))),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// Where lists and objects go that are read without owning them.
#[derive(Debug)]
pub struct Arena<'a> {
    /// Their place.
    pub bump: &'a Bump,
    /// How deep inside one another the values are that are being read just now.
    pub depth: u32,
}

/// Reads what [`encode_into`] wrote, all of it, borrowing from the bytes and from the arena.
///
/// # Errors
/// As [`decode`].
pub fn decode_borrowed<'a, T: BorrowDecode<'a, Arena<'a>>>(
    bytes: &'a [u8],
    arena: &'a Bump,
) -> Result<T, DecodeError> {
    let context = Arena {
        bump: arena,
        depth: 0,
    };
    read(FORMAT_VERSION, bytes, |rest| {
        bincode::borrow_decode_from_slice_with_context(rest, config(), context)
    })
}

fn config()
-> config::Configuration<config::LittleEndian, config::Varint, config::Limit<DECODE_LIMIT_BYTES>> {
    config::standard().with_limit::<DECODE_LIMIT_BYTES>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_format_stay_as_they_are() {
        let mut out = Vec::new();
        encode_into(&(-1i64, Some(300u64), "é".to_owned()), &mut out);
        assert_eq!(out, [1, 1, 1, 251, 44, 1, 2, 195, 169]);
        let back: (i64, Option<u64>, String) = decode(&out).unwrap();
        assert_eq!(back, (-1, Some(300), "é".to_owned()));
    }

    #[test]
    fn damage_is_an_error_and_not_a_panic() {
        let mut out = Vec::new();
        encode_into(&vec![7u64; 4], &mut out);
        for cut in 0..out.len() {
            assert!(decode::<Vec<u64>>(&out[..cut]).is_err(), "cut at {cut}");
        }
        out.push(0);
        assert!(decode::<Vec<u64>>(&out).is_err());
        assert!(matches!(
            decode::<u8>(&[9, 0]),
            Err(DecodeError::Version {
                expected: FORMAT_VERSION,
                found: 9
            })
        ));
        assert!(decode::<Vec<u64>>(&[1, 253, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
    }
}
