//! Which of librdkafka's complaints are shown: while a broker is away it complains several times a
//! second, of everything that it tries.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Of one kind, one in so much time is shown.
const EVERY: Duration = Duration::from_secs(10);

/// What was shown when, by kind.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    kinds: HashMap<String, (Instant, u64)>,
}

impl Throttle {
    /// Whether a complaint of that kind is to be shown, and how many have not been since the last
    /// one that was.
    pub(super) fn show(&mut self, kind: &str, now: Instant) -> Option<u64> {
        let Some((shown, hidden)) = self.kinds.get_mut(kind) else {
            self.kinds.insert(kind.to_owned(), (now, 0));
            return Some(0);
        };
        match now.duration_since(*shown) >= EVERY {
            true => {
                *shown = now;
                Some(std::mem::take(hidden))
            }
            false => {
                *hidden += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_kind_is_shown_and_later_ones_now_and_then() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let mut at = |kind, seconds| throttle.show(kind, start + Duration::from_secs(seconds));
        assert_eq!(at("FAIL", 0), Some(0));
        assert_eq!(at("FAIL", 1), None);
        assert_eq!(at("ERROR", 1), Some(0));
        assert_eq!(at("FAIL", 9), None);
        assert_eq!(at("FAIL", 10), Some(2));
        assert_eq!(at("FAIL", 11), None);
        assert_eq!(at("FAIL", 30), Some(1));
    }
}
