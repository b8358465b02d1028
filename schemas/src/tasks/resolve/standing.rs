//! How a task stands: whether it may be sent requests, and if not, what it waits for.

/// Whether a task may be sent requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It may.
    Routable,
    /// Not yet, or no more.
    Pending(Pending),
    /// It is being stopped: requests that run may end, new ones come only if there is no other task at all.
    Draining,
    /// It is gone for good.
    Gone,
}

/// What a task waits for: the first reason, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pending {
    /// Its status is not RUNNING.
    NotRunning,
    /// It belongs to no deploy, or no EndpointSlice of its service names it.
    NoDeploy,
    /// It has no address.
    NoAddress,
    /// The instance whose address it shares is not known, or has no address.
    NoHostAddress,
    /// The port of its deploy is not known.
    NoPort,
    /// A later task has its address: it never gets it back.
    Shadowed,
    /// The gateway may not dial its address.
    AddressRefused,
    /// Its health check fails, or the pod is not ready.
    Unhealthy,
    /// Nothing is known of its health yet.
    UnknownHealth,
}

impl Pending {
    /// Every reason, in order.
    pub const ALL: [Pending; 9] = [
        Pending::NotRunning,
        Pending::NoDeploy,
        Pending::NoAddress,
        Pending::NoHostAddress,
        Pending::NoPort,
        Pending::Shadowed,
        Pending::AddressRefused,
        Pending::Unhealthy,
        Pending::UnknownHealth,
    ];

    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Pending::NotRunning => "not_running",
            Pending::NoDeploy => "no_deploy",
            Pending::NoAddress => "no_address",
            Pending::NoHostAddress => "no_host_address",
            Pending::NoPort => "no_port",
            Pending::Shadowed => "shadowed",
            Pending::AddressRefused => "address_refused",
            Pending::Unhealthy => "unhealthy",
            Pending::UnknownHealth => "unknown_health",
        }
    }
}

impl Standing {
    /// The stable name, in snake case: that of the reason while it is pending.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Routable => "routable",
            Standing::Pending(pending) => pending.as_str(),
            Standing::Draining => "draining",
            Standing::Gone => "gone",
        }
    }
}
