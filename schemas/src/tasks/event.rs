//! A decoded task event: the part of a fact that the event told.

use super::fact::Fact;
use super::filter::FilterReason;
use crate::refusal::Refusal;

/// The outcome of one event of a record. There is no fourth one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// An event to fold into the facts.
    Event(Box<TaskEvent>),
    /// An event that does not concern us.
    Filtered {
        /// The reason.
        reason: FilterReason,
        /// The name that the emitter gave it, for counting by name. Short and without control characters.
        name: String,
    },
    /// A record or event that cannot be understood.
    Refused(Refusal),
}

/// What one event told of one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    /// The fact, as far as the event told it: the order of the address of a task is `Some` only if the event carried an
    /// address. All text is free of NUL and bounded.
    pub fact: Fact,
    /// Whether a list told of it (DescribeTasks, or an object of Kubernetes outside of a watch): what is in a list
    /// exists, however old it is.
    pub is_listed: bool,
}

impl TaskEvent {
    /// The entity that decides the partition: the id of the task, instance or slice; `service/revision` of a deploy; of
    /// health that of its task.
    pub fn entity(&self) -> String {
        match &self.fact {
            Fact::Task(task) => task.id.clone(),
            Fact::Instance(instance) => instance.id.clone(),
            Fact::Slice(slice) => slice.id.clone(),
            Fact::Deploy(deploy) => format!("{}/{}", deploy.service, deploy.revision),
            Fact::Health(health) => health.task.clone(),
            Fact::Alias(alias) => format!("{}/{}", alias.service, alias.alias),
        }
    }
}
