//! Property tests of operators: how they are run, and what happens to the process between the records.

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};

use super::TopologyTestDriver;

/// So many cases of a fixed seed, unless the environment says otherwise, and those that have failed once.
pub(super) fn config(cases: u32) -> ProptestConfig {
    let failed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/testkit/regressions/failed.txt"
    );
    let defaults = ProptestConfig::default();
    let is_given = |name| std::env::var_os(name).is_some();
    ProptestConfig {
        cases: match is_given("PROPTEST_CASES") {
            true => defaults.cases,
            false => cases,
        },
        rng_seed: match is_given("PROPTEST_RNG_SEED") {
            true => defaults.rng_seed,
            false => RngSeed::Fixed(4),
        },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(failed))),
        ..defaults
    }
}

/// What happens to the process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It commits.
    Commit,
    /// It dies, and starts again.
    Crash,
    /// It dies, and starts again on another machine.
    LoseState,
}

/// Mostly commits.
pub(super) fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Commit),
        1 => Just(Fate::Crash),
        1 => Just(Fate::LoseState),
    ]
}

impl TopologyTestDriver {
    /// Lets it happen.
    pub(super) fn meet(&mut self, fate: Fate) {
        match fate {
            Fate::Commit => self.commit().expect("the topology goes on"),
            Fate::Crash => self.restart().expect("it starts again"),
            Fate::LoseState => {
                self.lose_state();
                self.restart().expect("it starts again");
            }
        }
    }
}
