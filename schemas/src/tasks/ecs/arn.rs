//! Names of Amazon's resources.

/// The id of a task or instance: the last part of its ARN, in the old form (`task/ID`) and the new one
/// (`task/CLUSTER/ID`).
pub(crate) fn id_of_arn(arn: &str) -> &str {
    arn.rsplit_once('/').map_or(arn, |(_, id)| id)
}
