//! The contracts of [`Source`](crate::Source) and [`Sink`](crate::Sink) as tests that every connector must pass.
//!
//! A connector that passes keeps its part of exactly-once: each sentence of its trait's documentation has a check. To
//! test a connector, implement [`source::Fixture`] or [`sink::Fixture`] for it and name the fixture where `cargo test`
//! finds it:
//!
//! ```ignore
//! mod log {
//!     millstream_engine::source_contract!(LogFixture::default());
//! }
//! ```
//!
//! This makes one test of every check, each with its own fixture; `source_contract!(perhaps ..)` takes a future of an
//! `Option`, for streams of services that a machine may not have. A sentence that is added to a trait gets a check here
//! and a line in the macro. [`memory`] has the reference implementations, for the engine's own tests too.
#![expect(clippy::expect_used, reason = "what cannot go on fails its test at once")]

pub mod source;

pub mod sink;

pub mod memory;

pub mod simulator;

mod moment;

/// Makes one test of every check of [`testing::source`](crate::testing::source), given how to make a fixture.
#[macro_export]
macro_rules! source_contract {
    (perhaps $fixture:expr) => {
        $crate::contract!(
            source,
            $fixture,
            [
                order::records_come_back_in_order_and_unchanged,
                order::every_partition_has_an_order_of_its_own,
                order::positions_move_over_ranges_without_records,
                order::the_stream_keeps_its_name_until_it_is_made_anew,
                order::lag_counts_the_records_that_are_left,
                resume::any_record_is_a_place_to_go_on_from,
                resume::at_the_end_only_what_is_new_comes,
                resume::what_was_not_stored_comes_again_after_a_restart,
                resume::a_commit_never_makes_anything_be_skipped,
                resume::what_retention_removed_is_a_gap,
                resume::a_position_that_never_existed_is_a_gap,
                fetch::a_fetch_keeps_to_its_bytes,
                fetch::a_record_larger_than_asked_for_still_comes,
                fetch::a_fetch_at_the_end_waits_and_no_longer_than_told,
                fetch::a_new_record_ends_the_wait,
                fetch::a_lane_that_waits_does_not_hold_up_another,
                fetch::a_dropped_fetch_loses_nothing,
            ]
        );
    };
    ($fixture:expr) => {
        $crate::source_contract!(perhaps async { Some($fixture) });
    };
}

/// Makes one test of every check of [`testing::sink`](crate::testing::sink), given how to make a fixture.
#[macro_export]
macro_rules! sink_contract {
    ($fixture:expr) => {
        $crate::contract!(
            sink,
            async { Some($fixture) },
            [
                positions::none_is_stored_at_first_and_then_what_was_written,
                positions::text_positions_come_back_as_they_were,
                positions::an_era_belongs_to_its_position,
                positions::several_partitions_move_together,
                positions::positions_move_over_a_range_without_records,
                positions::a_batch_from_another_position_is_refused,
                positions::a_gap_is_recorded_once,
                positions::a_partition_goes_on_after_a_gap,
                fence::who_lost_a_lease_writes_nothing_however_late,
                fence::a_lost_partition_takes_the_whole_batch_with_it,
                fence::a_writer_holds_what_it_acquired_last,
                fence::a_lease_taken_during_a_write_tells_how_it_ended,
                account::every_event_ends_in_one_of_three_ways,
                account::a_batch_of_nothing_but_bad_records_passes,
                account::the_same_batch_again_changes_nothing,
                dropped::a_dropped_write_is_found_out_by_the_next,
                dropped::a_dropped_write_leaves_nothing_behind_for_another_batch,
                dropped::a_dropped_acquire_leaves_the_writer_usable,
            ]
        );
    };
}

/// One test of each check, with a fixture of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! contract {
    ($suite:ident, $fixture:expr, [$($part:ident::$check:ident),+ $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                // A fixture that is not given has said why.
                if let Some(mut fixture) = $fixture.await {
                    $crate::testing::$suite::$part::$check(&mut fixture).await;
                }
            }
        )+
    };
}
