//! Why a task event is filtered: a closed list of reasons, each with the name that metrics use.

use std::fmt;

/// Why an event is filtered although nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilterReason {
    /// An event of another domain, such as one about an object.
    OtherKind,
    /// A kind of event that says nothing of routes: deployments and service actions of ECS, kinds of Kubernetes that are
    /// neither pods, slices nor nodes, bookmarks and errors of a watch.
    UnsupportedKind,
    /// SNS asks to confirm, or confirms the end of, a subscription.
    SubscriptionConfirmation,
    /// A list without elements.
    EmptyList,
    /// The stored fact holds all that the event says.
    Duplicate,
    /// The stored fact is newer.
    Stale,
    /// The task is gone, which nothing revives.
    AfterGone,
    /// An unknown task that was created before the floor that a purge has set.
    BelowFloor,
}

impl FilterReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::OtherKind,
        Self::UnsupportedKind,
        Self::SubscriptionConfirmation,
        Self::EmptyList,
        Self::Duplicate,
        Self::Stale,
        Self::AfterGone,
        Self::BelowFloor,
    ];

    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherKind => "other_kind",
            Self::UnsupportedKind => "unsupported_kind",
            Self::SubscriptionConfirmation => "subscription_confirmation",
            Self::EmptyList => "empty_list",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::AfterGone => "after_gone",
            Self::BelowFloor => "below_floor",
        }
    }
}

impl fmt::Display for FilterReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
