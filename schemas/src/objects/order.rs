//! One time axis for every emitter: where an event stands among the events of the same version of an object.
//!
//! Each event is placed by itself, never relative to another, so comparing is a total order and any permutation of
//! the same events folds to the same row. S3 promises an order only through its sequencer, whose form AWS leaves
//! open and every other store fills differently; `fixtures/order_vectors.json` holds the published test vectors.

use crate::refusal::{Refusal, RefusalReason};
use crate::time::{self, Instant};

/// Maximum seconds between an event's own time and that of its sequencer: beyond a day the number is not a time but a
/// counter or a constant that happens to look like one. Also how far into the future an event may lie.
const WINDOW_SECONDS: u64 = 24 * 60 * 60;

/// How reliable an event's place is; for people and for repair, never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderClass {
    /// No time at all: below every timed event.
    Undated = 0,
    /// The event's own time.
    Weak = 1,
    /// The clock of one node.
    Clock = 2,
    /// The store's own order.
    Strong = 3,
}

impl OrderClass {
    /// The number stored in tables.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undated => "undated",
            Self::Weak => "weak",
            Self::Clock => "clock",
            Self::Strong => "strong",
        }
    }
}

/// The place of an event: compare `time`, then `sequencer` (then kind, version and etag, which are not here).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Order {
    /// Seconds since 1970 as unsigned 32.32 fixed point. Undated events have zero seconds and, as the fraction, the
    /// second in which they were published: below every timed event, and still in the order of publishing.
    pub time: u64,
    /// The sequencer as a number whatever it means; 0 when there is none, saturated beyond 64 bits.
    pub sequencer: u64,
    /// How reliable `time` is.
    pub class: OrderClass,
}

impl Order {
    /// `time` for a signed column of 64 bits, in the same order.
    pub const fn time_key(&self) -> i64 {
        flip(self.time)
    }

    /// `sequencer` for a signed column of 64 bits, in the same order.
    pub const fn sequencer_key(&self) -> i64 {
        flip(self.sequencer)
    }

    /// Places an event from its own time (RFC 3339) and its sequencer (hexadecimal), both optional.
    ///
    /// # Errors
    /// `bad_time` and `time_out_of_range` for the time, `time_in_future` when it lies more than 24 hours after
    /// `published_at_ms` (milliseconds since 1970). A sequencer that is no hexadecimal number counts as none.
    pub fn place(time: Option<&str>, sequencer: Option<&str>, published_at_ms: i64) -> Result<Self, Refusal> {
        let sequencer = sequencer.map_or(Sequencer::NONE, Sequencer::read);
        let own = match time.map(time::parse).transpose()? {
            // An unset clock writes the first second of 1970, which is kept free for undated events.
            None | Some(Instant { seconds: 0, .. }) => return Ok(Self::undated(sequencer, published_at_ms)),
            Some(own) => own,
        };
        if own.seconds > published_at_ms.div_euclid(1000).saturating_add(WINDOW_SECONDS as i64) {
            let detail = format!("event time is {} s after it was published", own.seconds - published_at_ms / 1000);
            return Err(Refusal::new(RefusalReason::TimeInFuture, detail));
        }
        let Some(own) = own.fixed_point() else {
            return Err(Refusal::new(RefusalReason::TimeOutOfRange, "event time is before 1970 or after 2106"));
        };
        let near = |candidate: &(u64, OrderClass)| candidate.0.abs_diff(own) <= WINDOW_SECONDS << 32;
        let (time, class) = sequencer.readings().into_iter().flatten().find(near).unwrap_or((own, OrderClass::Weak));
        // A reading next to 1970 must not fall among the undated either.
        Ok(Self { time: time.max(1 << 32), sequencer: sequencer.value, class })
    }

    fn undated(sequencer: Sequencer, published_at_ms: i64) -> Self {
        let second = published_at_ms.div_euclid(1000).clamp(0, i64::from(u32::MAX));
        Self { time: second.unsigned_abs(), sequencer: sequencer.value, class: OrderClass::Undated }
    }
}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    /// By time, then by sequencer; the class only keeps equality and order consistent and follows from the two.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.sequencer, self.class).cmp(&(other.time, other.sequencer, other.class))
    }
}

/// A sequencer as a number, with what is needed to read it as a time.
#[derive(Clone, Copy)]
struct Sequencer {
    value: u64,
    low: u64,
    digits: usize,
}

impl Sequencer {
    const NONE: Self = Self { value: 0, low: 0, digits: 0 };

    fn read(text: &str) -> Self {
        let mut sequencer = Self { value: 0, low: 0, digits: text.len() };
        for character in text.chars() {
            let Some(digit) = character.to_digit(16) else { return Self::NONE };
            let exact = sequencer.value.checked_mul(16).map(|shifted| shifted | u64::from(digit));
            sequencer.value = exact.unwrap_or(u64::MAX);
            sequencer.low = (sequencer.low << 4) | u64::from(digit);
        }
        sequencer
    }

    /// The possible times of the number in 32.32 fixed point, likeliest first.
    fn readings(self) -> [Option<(u64, OrderClass)>; 5] {
        if self.value == 0 {
            // No sequencer must not count as the first moment of 1970.
            return [None; 5];
        }
        let clock = |seconds: u64, numerator: u64, denominator: u64| {
            let seconds = u32::try_from(seconds).ok()?;
            Some((time::fixed_point(seconds, numerator.into(), denominator.into()), OrderClass::Clock))
        };
        let since_1970 = |per_second: u64| clock(self.value / per_second, self.value % per_second, per_second);
        // Ceph writes the two little-endian words of its clock, seconds and nanoseconds, as they lie in memory.
        let words = self.low.swap_bytes();
        let nanoseconds = words >> 32;
        let seconds = words & 0xffff_ffff;
        let ceph = if self.digits == 16 && nanoseconds < 1_000_000_000 {
            clock(seconds, nanoseconds, 1_000_000_000)
        } else {
            None
        };
        [
            // AWS: four bytes of seconds and four within the second, behind a byte that is zero or absent.
            Some((self.low, OrderClass::Strong)),
            since_1970(1_000_000_000),
            since_1970(1_000_000),
            since_1970(1_000),
            ceph,
        ]
    }
}

/// Maps unsigned to signed, keeping the order: a plain cast would turn negative in 2038.
const fn flip(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}
