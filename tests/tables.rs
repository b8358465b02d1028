//! What the writer of tables promises whatever its rows are: each check runs over objects, over tasks, and over a table
//! of plain keys and values that knows nothing of them.
//!
//! A new domain gets a [`domain::Domain`] and a line below.

mod domain;
pub(crate) mod key_values;
mod objects;
pub(crate) mod tasks;

mod errors;
mod exactly_once;
mod fencing;
mod poison;

/// Makes one test of each of these checks, for a domain.
macro_rules! checks {
    ($domain:ty, $module:ident: $($check:ident),+ $(,)?) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    crate::tables::$module::$check::<$domain>().await;
                }
            )+
        }
    };
}

/// Makes one test of every check, for a domain.
macro_rules! suite {
    ($name:ident, $domain:ty) => {
        mod $name {
            checks!(
                $domain,
                errors: a_missing_partition_is_ours,
                a_network_that_swallows_everything_for_a_while,
                a_renamed_column_pauses_with_an_alarm_and_goes_on_once_it_is_back,
                a_table_that_someone_keeps_locked_is_waited_for_without_harm,
                faults_of_records_are_kept_aside,
                faults_of_the_server_and_of_people_are_waited_out,
                killed_backends_are_replaced,
            );
            checks!(
                $domain,
                exactly_once: the_answer_to_every_commit_is_lost,
                the_connection_breaks_before_every_other_commit,
                the_connection_breaks_in_the_middle_of_statements,
                the_connection_breaks_while_every_commit_is_on_its_way,
            );
            checks!(
                $domain,
                fencing: a_batch_from_another_position_writes_nothing,
                a_batch_with_one_lost_partition_writes_nothing_of_the_other,
                a_late_batch_of_a_former_owner_writes_nothing,
            );
            checks!(
                $domain,
                poison: a_batch_of_nothing_but_refused_records_passes,
                an_outage_in_the_middle_blames_no_record,
                the_database_refuses_some_records_of_a_batch,
                what_was_refused_is_written_once_nobody_refuses_it,
            );
        }
    };
}

suite!(of_objects, crate::tables::objects::Objects);
suite!(of_tasks, crate::tables::tasks::Tasks);
suite!(of_key_values, crate::tables::key_values::KeyValues);
