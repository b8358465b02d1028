//! What is stored of a log: entries, which are lines or parts of lines.

use std::ops::Range;

use bytes::Bytes;

use super::key::Key;

/// Bytes of the text of an entry. What is longer is cut into open entries.
pub const ENTRY_BYTES_MAX: usize = 256 << 10;

/// How severe the origin says that a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every step.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// Of note.
    Notice,
    /// Not as it should be.
    Warning,
    /// A failure.
    Error,
    /// The end of the program.
    Fatal,
}

impl Level {
    /// Every level, the least severe first.
    pub const ALL: [Level; 7] =
        [Level::Trace, Level::Debug, Level::Info, Level::Notice, Level::Warning, Level::Error, Level::Fatal];

    /// Its name, in small letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Notice => "notice",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Fatal => "fatal",
        }
    }

    /// The level that an origin means by a name, in letters of any size.
    pub fn of(name: &str) -> Option<Level> {
        let found = match name.to_ascii_lowercase().as_str() {
            "trace" => Level::Trace,
            "debug" => Level::Debug,
            "info" | "information" | "informational" => Level::Info,
            "notice" => Level::Notice,
            "warn" | "warning" => Level::Warning,
            "error" | "err" => Level::Error,
            "fatal" | "critical" | "crit" | "alert" | "emergency" | "emerg" | "panic" => Level::Fatal,
            _ => return None,
        };
        Some(found)
    }
}

/// What is known of an entry beside its text. Bits: 0 open, 1 stderr, 2 clock, 3 to 5 the level and one, 0 without any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flags(u8);

impl Flags {
    /// No newline followed: the line goes on in the next entry, or was never ended.
    pub const OPEN: Flags = Flags(1);
    /// It was written to the standard error.
    pub const STDERR: Flags = Flags(2);
    /// The clock of the origin was wrong: the time is that of publishing, and the own one stands in `extra`.
    pub const CLOCK: Flags = Flags(4);

    const LEVEL_SHIFT: u8 = 3;

    /// Of a level.
    #[must_use]
    pub fn of_level(level: Option<Level>) -> Flags {
        Flags(level.map_or(0, |level| (level as u8 + 1) << Flags::LEVEL_SHIFT))
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Those of `self` that are not in `other`.
    #[must_use]
    pub fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Whether all of `other` are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The level, where the origin told one.
    pub fn level(self) -> Option<Level> {
        let number = usize::from(self.0 >> Flags::LEVEL_SHIFT & 7).checked_sub(1)?;
        Level::ALL.get(number).copied()
    }

    /// As they are stored.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// `None` for bits that nothing means.
    pub fn from_bits(bits: u8) -> Option<Flags> {
        (bits >> 6 == 0).then_some(Flags(bits))
    }
}

/// A line, or a part of one.
///
/// Entries of a stream are ordered by key, then by text. Two with equal key and equal text are one entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its place and identity.
    pub key: Key,
    /// Its bytes, without the newline.
    pub text: Bytes,
    /// What is known of it.
    pub flags: Flags,
    /// A JSON object with what the origin said beside the text.
    pub extra: Option<Bytes>,
}

impl Entry {
    /// Whether both are one entry.
    pub fn is_same(&self, other: &Entry) -> bool {
        self.key == other.key && self.text == other.text
    }

    /// The bytes that it has in an export.
    pub fn text_bytes(&self) -> usize {
        self.text.len() + usize::from(!self.flags.has(Flags::OPEN))
    }
}

/// Sorts, and drops all but one of those that are the same.
pub fn sort(entries: &mut Vec<Entry>) {
    // Of those that differ in flags or extra alone, the same one is kept in every order.
    entries.sort_unstable();
    entries.dedup_by(|later, first| later.is_same(first));
}

/// The entries of a plain text: the places of their bytes, and whether they are open.
pub fn split(text: &[u8]) -> impl Iterator<Item = (Range<usize>, bool)> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let most = rest.get(..=ENTRY_BYTES_MAX).unwrap_or(rest);
        let newline = memchr::memchr(b'\n', most);
        let length = newline.unwrap_or(most.len().min(ENTRY_BYTES_MAX));
        let range = start..start + length;
        start = range.end + usize::from(newline.is_some());
        Some((range, newline.is_none()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What an export prints.
    fn joined(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (range, is_open) in split(text) {
            out.extend_from_slice(&text[range]);
            if !is_open {
                out.push(b'\n');
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_split_is_exported_byte_by_byte(text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300)) {
            prop_assert_eq!(joined(&text), text);
        }
    }

    #[test]
    fn only_a_newline_ends_an_entry_and_a_last_part_without_one_is_open() {
        let text = b"a\r\n\n\x1b[1mb\0\xff\rc\n\nopen";
        let entries: Vec<_> = split(text).map(|(range, is_open)| (&text[range], is_open)).collect();
        let expected: [(&[u8], bool); 5] =
            [(b"a\r", false), (b"", false), (b"\x1b[1mb\0\xff\rc", false), (b"", false), (b"open", true)];
        assert_eq!(entries, expected);
        assert_eq!(split(b"").count(), 0);
    }

    #[test]
    fn a_long_line_is_cut_into_open_entries() {
        for (length, ends, expected) in [
            (ENTRY_BYTES_MAX, true, vec![(ENTRY_BYTES_MAX, false)]),
            (ENTRY_BYTES_MAX, false, vec![(ENTRY_BYTES_MAX, true)]),
            (ENTRY_BYTES_MAX + 1, true, vec![(ENTRY_BYTES_MAX, true), (1, false)]),
            (2 * ENTRY_BYTES_MAX, true, vec![(ENTRY_BYTES_MAX, true), (ENTRY_BYTES_MAX, false)]),
            (2 * ENTRY_BYTES_MAX + 3, false, vec![(ENTRY_BYTES_MAX, true), (ENTRY_BYTES_MAX, true), (3, true)]),
        ] {
            let mut text = vec![b'x'; length];
            if ends {
                text.push(b'\n');
            }
            let found: Vec<_> = split(&text).map(|(range, is_open)| (range.len(), is_open)).collect();
            assert_eq!(found, expected, "{length} {ends}");
            assert_eq!(joined(&text), text);
        }
    }

    #[test]
    fn flags_keep_their_level_apart() {
        for level in Level::ALL.map(Some).into_iter().chain([None]) {
            let flags = Flags::of_level(level).and(Flags::OPEN).and(Flags::CLOCK);
            assert_eq!((flags.level(), flags.has(Flags::OPEN), flags.has(Flags::STDERR)), (level, true, false));
            assert_eq!(Flags::from_bits(flags.bits()), Some(flags));
            assert_eq!(flags.without(Flags::OPEN), Flags::of_level(level).and(Flags::CLOCK));
        }
        assert_eq!(Flags::from_bits(0x40), None);
        for level in Level::ALL {
            assert_eq!(Level::of(&level.as_str().to_uppercase()), Some(level));
        }
        assert_eq!(Level::of("loud"), None);
    }

    #[test]
    fn the_order_of_coming_does_not_decide_what_stays() {
        let key = |index| super::super::key::Place::offset(20, 1).key(5, index);
        let entry = |index, text: &'static [u8], flags| Entry {
            key: key(index),
            text: Bytes::from_static(text),
            flags,
            extra: None,
        };
        let entries = vec![
            entry(0, b"a", Flags::default()),
            entry(0, b"a", Flags::STDERR),
            entry(0, b"b", Flags::default()),
            entry(1, b"a", Flags::default()),
        ];
        let mut expected = entries.clone();
        expected.remove(1);
        for turn in 0..entries.len() {
            let mut found = entries.clone();
            found.rotate_left(turn);
            sort(&mut found);
            assert_eq!(found, expected, "equal key and text: one entry; equal text alone: both");
        }
    }
}
