//! Which time an entry has.

use bytes::Bytes;

use super::entry::Flags;

/// Nanoseconds of a millisecond.
pub const MS: i64 = 1_000_000;

/// The end of 1970: what is before it is no time but a default.
const LEAST_NS: i64 = 365 * 86_400 * 1_000 * MS;
/// How far ahead of its publishing an entry may be.
const AHEAD_NS_MAX: i64 = 2 * 3_600 * 1_000 * MS;

/// The time of an entry, and whether it is its origin's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// What the origin said.
    Own(i64),
    /// The origin said nothing that is a time: when the record was published.
    Published(i64),
    /// The origin's clock is more than two hours ahead: when the record was published, and what the origin said.
    Ahead {
        /// When the record was published.
        published: i64,
        /// What the origin said.
        own: i64,
    },
}

impl Time {
    /// By what the origin said, in nanoseconds since 1970, and when the record was published. Both are of the record, so
    /// the time does not depend on when it is read.
    pub fn of(own: Option<i64>, published_at_ms: i64) -> Time {
        let published = published_at_ms.saturating_mul(MS);
        match own.filter(|own| *own >= LEAST_NS) {
            None => Time::Published(published),
            Some(own) if own > published.saturating_add(AHEAD_NS_MAX) => Time::Ahead { published, own },
            Some(own) => Time::Own(own),
        }
    }

    /// Nanoseconds since 1970.
    pub fn ns(self) -> i64 {
        match self {
            Time::Own(ns) | Time::Published(ns) | Time::Ahead { published: ns, .. } => ns,
        }
    }

    /// Whether an id of the origin counts: its order is that of the origin's times.
    pub fn is_own(self) -> bool {
        matches!(self, Time::Own(_))
    }

    /// The flag of a wrong clock, and the own time as extra.
    pub(super) fn marks(self) -> (Flags, Option<Bytes>) {
        match self {
            Time::Ahead { own, .. } => (Flags::CLOCK, Some(format!("{{\"time_ns\":{own}}}").into())),
            Time::Own(_) | Time::Published(_) => (Flags::default(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_time_is_one() {
        let published = 1_796_000_000_000;
        let ns = published * MS;
        for nothing in [None, Some(0), Some(-1), Some(i64::MIN), Some(LEAST_NS - 1)] {
            assert_eq!(Time::of(nothing, published), Time::Published(ns), "{nothing:?}");
        }
        for own in [LEAST_NS, ns - 1, ns, ns + AHEAD_NS_MAX] {
            assert_eq!(Time::of(Some(own), published), Time::Own(own));
        }
        for own in [ns + AHEAD_NS_MAX + 1, i64::MAX] {
            assert_eq!(Time::of(Some(own), published), Time::Ahead { published: ns, own });
            assert_eq!(Time::of(Some(own), published).ns(), ns);
        }
        // Nothing of this overflows.
        assert_eq!(Time::of(Some(i64::MAX), i64::MAX), Time::Own(i64::MAX));
        Time::of(Some(0), i64::MIN);
    }
}
