//! The logs: one suite for all of them, and what only the one in memory can show.

mod copy;
mod kafka;
mod memory;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use tidemill::broker::kafka::{KafkaBroker, KafkaSettings};
use tidemill::broker::memory::MemoryBroker;
use tidemill::time::ManualClock;

use suite::Scene;

use crate::harness::skip;

/// A scene of its own on a new log in memory.
fn memory_scene() -> Scene {
    let broker = MemoryBroker::new(Arc::new(ManualClock::default()));
    Scene {
        broker: Box::new(broker),
        prefix: "s".to_owned(),
        wait: Duration::ZERO,
    }
}

/// A scene of its own on the Kafka that `KAFKA_BOOTSTRAP` names, if it names one.
fn kafka_scene(test: &str) -> Option<Scene> {
    let Ok(bootstrap) = std::env::var("KAFKA_BOOTSTRAP") else {
        skip(test, "KAFKA_BOOTSTRAP is not set");
        return None;
    };
    Some(scene_on(&bootstrap))
}

/// A scene of its own on the Kafka at this address.
fn scene_on(bootstrap: &str) -> Scene {
    let settings = KafkaSettings {
        bootstrap: bootstrap.to_owned(),
        client_id: "tidemill-tests".to_owned(),
        ..KafkaSettings::default()
    };
    let broker = Box::new(KafkaBroker::connect(&settings).unwrap());
    let prefix = format!("test-{}", uuid::Uuid::new_v4().simple());
    Scene {
        broker,
        prefix,
        wait: Duration::from_millis(50),
    }
}

/// Makes of each function of the suite one test per log.
macro_rules! conformance {
    ($($module:ident::$name:ident),* $(,)?) => {
        mod conformance_of_memory {
            $(#[test] fn $name() { super::$module::$name(&super::memory_scene()); })*
        }

        mod conformance_of_kafka {
            $(#[test] fn $name() {
                if let Some(scene) = super::kafka_scene(stringify!($name)) {
                    super::$module::$name(&scene);
                }
            })*
        }
    };
}

conformance! {
    suite::a_record_comes_back_with_everything_that_was_sent,
    suite::a_key_goes_to_the_partition_that_java_would_choose,
    suite::topics_that_exist_are_left_as_they_are,
    suite::a_committed_read_sees_nothing_of_open_and_aborted_transactions,
    suite::at_the_end_the_position_is_behind_the_transaction_marker,
    suite::records_and_offsets_become_visible_together,
    suite::a_newer_producer_fences_the_older_and_aborts_its_transaction,
    suite::an_aborted_transaction_is_followed_by_a_good_one,
    suite::acknowledged_offsets_are_those_of_the_log,
    suite::a_large_transaction_arrives_whole_and_in_order,
    suite::a_record_that_is_too_large_is_refused_alone,
    suite::a_refused_record_is_named_and_the_next_attempt_goes_without_it,
    suite::a_compacted_topic_refuses_a_record_without_a_key,
    suite::a_position_outside_the_log_is_reported_once,
    suite::a_reader_takes_up_a_new_assignment,
    suite::a_member_reads_copartitioned_topics_from_the_offsets_it_names,
    suite::a_member_starts_partitions_bit_by_bit,
    suite::a_revocation_comes_before_the_new_assignment,
    suite::a_leaving_member_hands_its_partitions_over,
    suite::no_record_is_lost_when_a_group_changes_while_records_come,
    suite::a_static_member_is_back_at_once_and_disturbs_nobody,
    suite::a_second_holder_of_an_instance_id_fences_the_first,
    suite::offsets_of_an_outdated_generation_are_refused,
    suite::offsets_in_an_open_transaction_are_unstable,
    suite::topics_and_groups_are_taken_away_unless_somebody_is_there,
    suite::a_static_member_is_known_by_its_instance_until_its_session_is_over,
    suite::a_topic_that_does_not_exist_cannot_be_joined,
    copy::a_copy_stays_exact_while_workers_crash_and_rebalance,
}
