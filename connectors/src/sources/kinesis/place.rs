//! Positions in a shard, as text.
//!
//! | text | reading goes on |
//! |---|---|
//! | `oldest`, `oldest@MS` | with the oldest record; there was none until `MS` |
//! | `at:SEQUENCE` | with this record |
//! | `at:SEQUENCE:N` | with the record of this number, from 0, in an aggregate |
//! | `after:SEQUENCE`, `after:SEQUENCE@MS` | behind this record; there was nothing behind it until `MS` |
//! | `end` | nowhere: the shard is closed and was read to its end |
//!
//! `MS` is in milliseconds since 1970. It proves that nothing was lost when the record itself is gone: Kinesis then
//! silently begins with its oldest record. A sequence number has 56 digits and is never calculated with.

use std::fmt;

use millstream_engine::Position;

/// The stored position of a shard that was read to its end.
pub const END: &str = "end";

/// The stored position of a shard that is read from its oldest record on.
pub const OLDEST: &str = "oldest";

/// Digits of a sequence number. Kinesis documents up to 128 and uses 56.
const DIGITS_MAX: usize = 128;

/// A parsed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// With the oldest record.
    Oldest { seen_ms: Option<i64> },
    /// With a record, or one of those in it.
    At { sequence: String, number: Option<u32> },
    /// Behind a record.
    After { sequence: String, seen_ms: Option<i64> },
    /// Nowhere.
    End,
}

impl Place {
    /// Parses only what [`fmt::Display`] writes: one place has one text.
    pub(super) fn parse(text: &str) -> Option<Place> {
        let parse = || {
            let (head, seen_ms) = match text.split_once('@') {
                Some((head, ms)) => (head, Some(ms.parse().ok()?)),
                None => (text, None),
            };
            if head == OLDEST {
                return Some(Place::Oldest { seen_ms });
            }
            if let Some(sequence) = head.strip_prefix("after:") {
                return Some(Place::After { sequence: sequence.to_owned(), seen_ms });
            }
            if text == END {
                return Some(Place::End);
            }
            let (sequence, number) = match text.strip_prefix("at:")?.split_once(':') {
                Some((sequence, number)) => (sequence, Some(number.parse().ok()?)),
                None => (text.strip_prefix("at:")?, None),
            };
            Some(Place::At { sequence: sequence.to_owned(), number })
        };
        let is_number =
            |text: &str| (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        parse().filter(|place| place.sequence().is_none_or(is_number) && place.to_string() == text)
    }

    pub(super) fn of(position: &Position) -> Option<Place> {
        match position {
            Position::Sequence(text) => Place::parse(text),
            Position::Offset(_) => None,
        }
    }

    pub(super) fn sequence(&self) -> Option<&str> {
        match self {
            Place::At { sequence, .. } | Place::After { sequence, .. } => Some(sequence),
            Place::Oldest { .. } | Place::End => None,
        }
    }

    /// Until when no record came from here on, if that is known.
    pub(super) fn seen_ms(&self) -> Option<i64> {
        match self {
            Place::Oldest { seen_ms } | Place::After { seen_ms, .. } => *seen_ms,
            Place::At { .. } | Place::End => None,
        }
    }

    /// The same place, where nothing came until this moment.
    pub(super) fn seen_at(self, ms: i64) -> Place {
        match self {
            Place::Oldest { .. } => Place::Oldest { seen_ms: Some(ms) },
            Place::After { sequence, .. } => Place::After { sequence, seen_ms: Some(ms) },
            place @ (Place::At { .. } | Place::End) => place,
        }
    }

    /// Whether both are the same place, whatever their times.
    pub(super) fn is(&self, other: &Place) -> bool {
        self.clone().seen_at(0) == other.clone().seen_at(0)
    }

    pub(super) fn position(&self) -> Position {
        Position::Sequence(self.to_string().into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Oldest { .. } => f.write_str(OLDEST)?,
            Place::At { sequence, number: None } => write!(f, "at:{sequence}")?,
            Place::At { sequence, number: Some(number) } => write!(f, "at:{sequence}:{number}")?,
            Place::After { sequence, .. } => write!(f, "after:{sequence}")?,
            Place::End => f.write_str(END)?,
        }
        self.seen_ms().map_or(Ok(()), |ms| write!(f, "@{ms}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: &str = "49590338271490256608559692538361571095921575989136588898";

    #[test]
    fn a_place_comes_back_from_its_text_and_is_no_offset() {
        let sequence = SEQUENCE.to_owned();
        for place in [
            Place::Oldest { seen_ms: None },
            Place::Oldest { seen_ms: Some(1_700_000_000_000) },
            Place::At { sequence: sequence.clone(), number: None },
            Place::At { sequence: sequence.clone(), number: Some(0) },
            Place::At { sequence: "1".to_owned(), number: Some(17) },
            Place::After { sequence: sequence.clone(), seen_ms: None },
            Place::After { sequence, seen_ms: Some(0) },
            Place::End,
        ] {
            let Ok(position) = place.to_string().parse::<Position>();
            assert_eq!(position, place.position(), "not taken for an offset");
            assert_eq!(Place::of(&position), Some(place));
        }
    }

    #[test]
    fn what_is_not_written_by_us_is_no_place() {
        for text in [
            "",
            "0",
            "oldest@",
            "oldest@x",
            "oldest@007",
            "oldest ",
            "Oldest",
            "at:",
            "at:x",
            "at:1:",
            "at:1:-1",
            "at:1:01",
            "at:1:4294967296",
            "at:1@5",
            "after:",
            "after:1:2",
            "after:1@",
            "after: 1",
            "end@5",
            "ends",
            SEQUENCE,
        ] {
            assert_eq!(Place::parse(text), None, "{text:?}");
        }
        assert_eq!(Place::parse(&format!("at:{}", "1".repeat(DIGITS_MAX + 1))), None);
        assert_eq!(Place::of(&Position::Offset(7)), None);
    }

    #[test]
    fn a_place_is_the_same_whatever_is_known_of_it() {
        let after = |seen_ms| Place::After { sequence: "1".to_owned(), seen_ms };
        assert!(after(None).is(&after(Some(5))));
        assert!(!after(None).is(&Place::At { sequence: "1".to_owned(), number: None }));
        assert_eq!(after(None).seen_at(9), after(Some(9)));
        assert_eq!(Place::End.seen_at(9), Place::End);
    }
}
