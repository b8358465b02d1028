//! Why an event is filtered: a closed list of reasons, each with the name that metrics use.

use std::fmt;

/// Why an event is filtered although nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilterReason {
    /// `s3:TestEvent`, sent by the store when a notification is configured.
    TestEvent,
    /// SNS asks to confirm, or confirms the end of, a subscription.
    SubscriptionConfirmation,
    /// A notification whose list of records is empty.
    EmptyNotification,
    /// A restore from an archive; also the end of the restored copy, which is not a deletion of the object.
    Restore,
    /// Tags, retention or legal hold changed, and the event does not carry the whole description.
    Tagging,
    /// The access control list changed.
    Acl,
    /// The storage class changed by a lifecycle rule.
    LifecycleTransition,
    /// The access tier changed.
    IntelligentTiering,
    /// Progress of replication.
    Replication,
    /// The store lost the object's bytes.
    LostObject,
    /// A name outside the table of [`effect`](super::effect).
    UnsupportedKind,
    /// An event of another domain, such as one about a task.
    OtherKind,
}

impl FilterReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 12] = [
        Self::TestEvent,
        Self::SubscriptionConfirmation,
        Self::EmptyNotification,
        Self::Restore,
        Self::Tagging,
        Self::Acl,
        Self::LifecycleTransition,
        Self::IntelligentTiering,
        Self::Replication,
        Self::LostObject,
        Self::UnsupportedKind,
        Self::OtherKind,
    ];

    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TestEvent => "test_event",
            Self::SubscriptionConfirmation => "subscription_confirmation",
            Self::EmptyNotification => "empty_notification",
            Self::Restore => "restore",
            Self::Tagging => "tagging",
            Self::Acl => "acl",
            Self::LifecycleTransition => "lifecycle_transition",
            Self::IntelligentTiering => "intelligent_tiering",
            Self::Replication => "replication",
            Self::LostObject => "lost_object",
            Self::UnsupportedKind => "unsupported_kind",
            Self::OtherKind => "other_kind",
        }
    }
}

impl fmt::Display for FilterReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
