//! The domain of an event: which decoder reads it.

/// The domains of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// Objects of stores; also everything that no other domain knows, because [`objects::decode`] filters it by name.
    ///
    /// [`objects::decode`]: crate::objects::decode()
    Objects,
    /// Tasks, and what belongs to them: instances, slices, deploys, health.
    Tasks,
}

impl Domain {
    /// Every domain.
    pub const ALL: [Domain; 2] = [Domain::Objects, Domain::Tasks];

    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Tasks => "tasks",
        }
    }
}

/// The domain of a `detail-type` of EventBridge: all that ECS sends is of tasks, also what is filtered there by name.
pub(crate) fn of_detail_type(detail_type: &str) -> Domain {
    if detail_type.starts_with("ECS ") { Domain::Tasks } else { Domain::Objects }
}

/// The domain of a type of CloudEvents.
pub(crate) fn of_event_type(event_type: &str) -> Domain {
    match event_type {
        "millstream.task.v1"
        | "millstream.instance.v1"
        | "millstream.slice.v1"
        | "millstream.deploy.v1"
        | "millstream.health.v1" => Domain::Tasks,
        _ => Domain::Objects,
    }
}
