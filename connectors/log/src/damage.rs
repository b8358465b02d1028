//! The report of acknowledged records that cannot be read.

use std::fmt;
use std::path::PathBuf;

/// The reason in a [`Damage`] if every segment of a partition is gone.
pub(crate) const LOST: &str = "every segment is missing";

/// Acknowledged records of a partition that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Damage {
    /// The partition of these records.
    pub partition: u32,
    /// The damaged file; the directory if every segment is lost.
    pub file: PathBuf,
    /// Where the first invalid frame begins; the end of the file if records are missing there.
    pub byte: u64,
    /// Bytes of the file that cannot be used.
    pub bytes: u64,
    /// Which check failed.
    pub reason: &'static str,
    /// The offset of the first record that cannot be read.
    pub from: u64,
    /// The offset after the last one.
    pub to: u64,
    /// The file is too short, like a copy that was made during a write.
    pub is_missing: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, byte, bytes, reason, from, to, .. } = self;
        let file = file.display();
        let last = to.saturating_sub(1);
        let count = to.saturating_sub(*from);
        if *reason == LOST {
            // It is not known how many of them retention had kept.
            return write!(
                formatter,
                "{file} has lost every segment, and with them the records before offset {to} that retention had left: if this directory is a copy, copy it again, else these records are lost"
            );
        }
        if self.is_missing {
            return write!(
                formatter,
                "{file} ends at byte {byte}, before {count} acknowledged records (offsets {from} to {last}): if this directory is a copy, copy {file} and the files after it again, else these records are lost"
            );
        }
        write!(
            formatter,
            "{file} is damaged at byte {byte}: {reason}; {bytes} bytes with {count} records (offsets {from} to {last}) cannot be read"
        )
    }
}
