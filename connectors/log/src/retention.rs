//! Removing whole segments, oldest first; never the one being written.

use crate::error::{During, Fault};
use crate::index::Segment;
use crate::partition::{Partition, last_timestamp};
use crate::{lock, segment_path};

/// What one run of retention did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files unlinked.
    pub segments: u64,
    /// Bytes given back to the file system.
    pub bytes: u64,
}

impl Partition {
    /// Removes what retention no longer keeps. Readers in a removed segment get `OutOfRange` next time.
    pub(crate) fn enforce_retention(&self) -> Result<Removed, Fault> {
        let _one_at_a_time = lock(&self.removing);
        self.roll_if_over_age()?;
        let mut removed = Removed::default();
        while self.oldest_may_go() {
            let Some(segment) = lock(&self.index).remove_oldest() else { break };
            let path = segment_path(&self.directory, segment.base);
            self.system.remove_file(&path).during("remove", &path)?;
            // Sync before the next: a power cut must not leave an older segment without a newer one.
            self.system.sync_dir(&self.directory).during("sync", &self.directory)?;
            removed.segments += 1;
            removed.bytes += segment.length;
        }
        Ok(removed)
    }

    fn oldest_may_go(&self) -> bool {
        let (oldest, next_base, bytes) = {
            let index = lock(&self.index);
            let segments = index.segments();
            let (Some(oldest), Some(next)) = (segments.front(), segments.get(1)) else { return false };
            (*oldest, next.base, segments.iter().map(|segment| segment.length).sum::<u64>())
        };
        if self.retention.bytes.is_some_and(|bytes_max| bytes > bytes_max) {
            return true;
        }
        let Some(age) = self.retention.age else { return false };
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let horizon_ms = self.system.now_ms().saturating_sub(age_ms);
        self.newest_of(oldest, next_base).is_some_and(|newest_ms| newest_ms < horizon_ms)
    }

    fn newest_of(&self, segment: Segment, next_base: u64) -> Option<i64> {
        if segment.timestamp_last_ms.is_some() {
            return segment.timestamp_last_ms;
        }
        match last_timestamp(self.system.as_ref(), &self.directory, self.place, segment, next_base) {
            Ok((Some(timestamp_ms), None)) => {
                lock(&self.index).set_timestamp_last(segment.base, timestamp_ms);
                Some(timestamp_ms)
            }
            Ok((None, None)) => None,
            // Its last records are no younger than the first of the next segment.
            Ok((_, Some(damage))) => match self.first_timestamp(next_base) {
                Some(timestamp_ms) => {
                    lock(&self.index).set_timestamp_last(segment.base, timestamp_ms);
                    Some(timestamp_ms)
                }
                None => {
                    tracing::error!(error = %damage, "a damaged segment is kept beyond its age; retention by size still applies");
                    None
                }
            },
            Err(error) => {
                tracing::warn!(%error, "the age of a segment is unknown, it is kept");
                None
            }
        }
    }
}
