//! Which partition a key belongs to: murmur2, as Java's default partitioner and librdkafka's
//! `murmur2_random` compute it, so that all producers of a topic agree.

use super::Partition;

/// The partition of `key` in a topic of `partitions` partitions.
///
/// # Panics
/// When `partitions` is 0.
pub fn partition_of(key: &[u8], partitions: u32) -> Partition {
    assert!(partitions > 0, "a topic has partitions");
    // Java clears the sign bit rather than taking the absolute value.
    ((murmur2(key) & 0x7fff_ffff) % partitions) as Partition
}

/// The 32-bit murmur2 hash with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of `UtilsTest.testMurmur2` in Kafka's Java client.
    #[test]
    fn the_hash_is_that_of_the_java_client() {
        #[track_caller]
        fn check(text: &str, expected: i32) {
            assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
        }
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check(
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        );
        check("abc", 479_470_107);
    }

    #[test]
    fn a_negative_hash_still_names_a_partition() {
        assert_eq!(partition_of(b"21", 7), (-973_932_308_i32 & 0x7fff_ffff) % 7);
        assert_eq!(partition_of(b"", 1), 0);
    }
}
