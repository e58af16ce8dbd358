//! What every backend of the log has to do, written against `dyn Log`; and what only the embedded one promises.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod embedded;
mod suite;

/// Makes one test of every check of the suite for one backend.
macro_rules! conforms {
    ($backend:ident, $bed:ty: $($check:ident)+) => {
        mod $backend {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::suite::within(super::suite::$check(&<$bed>::default())).await;
            })+
        }
    };
}

conforms! { on_redb, crate::embedded::Bed:
    offsets_are_contiguous_and_records_come_back_as_they_were
    an_empty_batch_answers_the_end
    topics_and_partitions_are_apart
    batches_of_concurrent_appenders_stay_whole_and_in_order
    everything_acknowledged_survives_reopening
    reading_keeps_to_its_bounds
    a_tail_sees_everything_once_in_order
    a_tail_passes_from_old_records_to_new_ones
    a_tail_from_the_future_waits_for_it
    a_dropped_wait_loses_no_record
    times_never_fall
    what_is_deleted_is_gone_and_the_rest_stays
    everything_can_be_deleted_and_offsets_go_on
}
