//! SQL tables against the databases themselves: one suite of functions, run on SQLite always, on
//! MariaDB and MySQL when `TIDEMILL_TEST_MARIADB_URL` and `TIDEMILL_TEST_MYSQL_URL` name a server
//! on which the account may create databases. Every test has a database of its own.

mod faults;
mod harness;
mod ledger;
mod proxy;
mod query;
mod schema;
mod shipped;
mod sink;

use harness::{Kind, run};

/// Runs the functions on the databases named, each as a test of its own.
macro_rules! suite {
    ($(#[$doc:meta])* $module:ident on $kind:ident: $($file:ident::$test:ident,)*) => {
        $(#[$doc])*
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::run(super::Kind::$kind, super::$file::$test).await;
                }
            )*
        }
    };
}

macro_rules! on_servers {
    ($($file:ident::$test:ident,)*) => {
        suite!(mariadb_only on MariaDb: $($file::$test,)*);
        suite!(mysql_only on MySql: $($file::$test,)*);
    };
}

macro_rules! everywhere {
    ($($file:ident::$test:ident,)*) => {
        suite!(sqlite on Sqlite: $($file::$test,)*);
        suite!(mariadb on MariaDb: $($file::$test,)*);
        suite!(mysql on MySql: $($file::$test,)*);
    };
}

everywhere! {
    sink::rows_are_inserted_overwritten_and_deleted,
    sink::every_type_comes_back_as_it_was_written,
    sink::a_cell_of_another_type_does_no_harm_to_the_rows_behind_it,
    sink::names_that_a_collation_would_merge_stay_apart,
    sink::large_batches_are_written_whole,
    ledger::a_first_claim_has_no_position_and_the_next_one_has,
    ledger::rows_that_the_ledger_knows_are_not_written_again,
    ledger::a_move_without_rows_is_kept,
    ledger::a_stale_writer_is_fenced_and_writes_nothing,
    ledger::partitions_move_together_or_not_at_all,
    sink::a_refused_row_stands_alone_and_the_rest_is_written,
    sink::a_refused_row_leaves_its_key_to_the_row_before,
    sink::refused_rows_are_put_aside_before_the_rest_is_committed,
    ledger::rows_that_no_ledger_knows_stop_the_sink,
    ledger::another_application_is_let_in_only_where_the_table_is_shared,
    ledger::a_deleted_or_moved_ledger_stops_the_sink,
    ledger::a_sink_can_be_reset,
    ledger::a_ledger_of_version_1_is_read,
    ledger::random_replays_and_take_overs_lose_and_repeat_nothing,
    faults::a_dropped_table_is_fatal_and_a_restored_one_is_written_again,
    faults::passing_trouble_is_unavailable_until_it_is_over,
    faults::another_writers_lock_is_waited_for,
    schema::a_generated_table_passes_its_own_check,
    schema::a_table_that_does_not_fit_is_refused_with_everything_at_once,
    schema::migrations_run_once_however_often_and_by_how_many,
    shipped::the_shipped_tables_fit_the_shipped_topologies,
    schema::an_interrupted_migration_is_finished,
    schema::gaps_are_recorded_once,
    schema::retention_keeps_the_days_it_is_told,
    query::rows_and_top_lists_answer_as_a_user_expects,
    query::ready_made_questions_answer,
    query::an_empty_answer_says_where_the_data_is,
    query::wrong_names_are_answered_with_the_right_ones,
    query::conditions_find_what_looks_like_their_value,
    query::a_slow_query_is_ended,
    query::every_type_is_shown,
}

on_servers! {
    ledger::members_that_claim_and_write_at_once_lose_and_repeat_nothing,
    sink::every_kind_of_refusal_isolates_its_row,
    faults::a_commit_that_was_not_answered_is_settled_by_the_ledger,
    faults::a_commit_in_doubt_outlives_an_outage,
    faults::a_server_that_falls_silent_is_given_up,
    faults::a_connection_killed_in_mid_transaction_is_replaced,
    faults::a_connection_that_was_closed_while_idle_is_replaced,
    faults::a_deadlock_is_tried_again,
    faults::a_packet_that_is_too_large_is_halved,
    faults::too_many_connections_are_passing_trouble,
    faults::a_write_that_is_dropped_half_way_leaves_nothing,
    faults::a_zombies_open_transaction_ends_before_the_next_claim,
    faults::a_writer_that_stands_still_in_a_transaction_holds_no_locks_for_long,
    schema::collations_that_merge_names_are_found,
}
