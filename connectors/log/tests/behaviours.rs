//! What the log promises, one file per promise. `MILLSTREAM_SOAK=1` makes the random ones run longer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "behaviours/support.rs"]
mod support;

#[path = "behaviours/appends_are_durable_when_acknowledged.rs"]
mod appends_are_durable_when_acknowledged;
#[path = "behaviours/copies_of_a_live_log_open.rs"]
mod copies_of_a_live_log_open;
#[path = "behaviours/damage_is_detected.rs"]
mod damage_is_detected;
#[path = "behaviours/damage_is_set_aside.rs"]
mod damage_is_set_aside;
#[path = "behaviours/faults_stop_only_their_partition.rs"]
mod faults_stop_only_their_partition;
#[path = "behaviours/full_disk_is_survived.rs"]
mod full_disk_is_survived;
#[path = "behaviours/killing_loses_nothing.rs"]
mod killing_loses_nothing;
#[path = "behaviours/lost_files_cost_what_they_held.rs"]
mod lost_files_cost_what_they_held;
#[path = "behaviours/matches_a_model.rs"]
mod matches_a_model;
#[path = "behaviours/one_process_at_a_time.rs"]
mod one_process_at_a_time;
#[path = "behaviours/openings_tell_histories_apart.rs"]
mod openings_tell_histories_apart;
#[path = "behaviours/power_cuts_lose_nothing.rs"]
mod power_cuts_lose_nothing;
#[path = "behaviours/work_is_bounded.rs"]
mod work_is_bounded;
