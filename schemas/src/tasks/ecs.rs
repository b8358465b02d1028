//! Events of Amazon ECS: from EventBridge, and as DescribeTasks lists them; both have the same members.
//!
//! The version is `version` of the task or instance, which both count alike, never that of the envelope. Unknown members
//! are passed over; an unknown status is kept, and is never one that serves.
//! Formats: <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html>,
//! <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html>.

mod address;
mod arn;
mod instance;
mod task;

pub(crate) use arn::id_of_arn;
pub(crate) use instance::instance;
pub(crate) use task::{missing, rank, task};

/// The `detail-type` of a task.
pub(crate) const TASK_CHANGE: &str = "ECS Task State Change";
/// The `detail-type` of a container instance.
pub(crate) const INSTANCE_CHANGE: &str = "ECS Container Instance State Change";
