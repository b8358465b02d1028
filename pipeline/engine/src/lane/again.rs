//! Going on after a gap without a person, for pipelines that may: they begin again at the oldest record that is left.

use super::{Lane, Leave, chain};
use crate::decode::Columns;
use crate::gap::Gap;
use crate::position::{Partition, Position};
use crate::sink::{Held, SinkError};
use crate::source::SourceError;

impl<C: Columns> Lane<'_, C> {
    /// Records a gap and moves its partition to the oldest record, in one transaction. Returns the lease as it is then.
    pub(super) async fn begin_again(&mut self, gap: &Gap, error: &SourceError) -> Result<Held, Leave> {
        let next = match self.oldest(&gap.partition).await? {
            Some(position) => position,
            // It is damaged. The next start says so, and halts only this partition.
            None => match error {
                SourceError::Gap { start, .. } => start.clone(),
                _ => gap.to.clone(),
            },
        };
        let era = self.go_on(gap, &next).await?;
        Ok(Held { partition: gap.partition.clone(), next: Some(next), era, halted: None })
    }

    /// Goes on with a stream that was made anew: it is read from its oldest records. The leases are taken after that.
    pub(super) async fn begin_anew(&mut self, mut gaps: Vec<Gap>) -> Result<(), Leave> {
        // There may be several former streams. All gaps are on record; a partition begins once.
        gaps.sort_by(|a, b| a.partition.cmp(&b.partition));
        gaps.dedup_by(|a, b| a.partition == b.partition);
        for gap in gaps {
            let Some(next) = self.oldest(&gap.partition).await? else {
                return Err(Leave::Halted(format!("partition {} cannot be read from its beginning", gap.partition)));
            };
            self.go_on(&gap, &next).await?;
        }
        Ok(())
    }

    /// Retries until the sink has recorded it. Returns the era of the position.
    async fn go_on(&mut self, gap: &Gap, next: &Position) -> Result<Option<i64>, Leave> {
        let era = self.source.era(&gap.partition, next);
        let mut backoff = self.backoff();
        while let Err(error) = self.sink.go_on(gap, next, era).await {
            if let SinkError::Fenced { .. } = error {
                return Err(Leave::Retake(chain(&error)));
            }
            self.wait_out("go on after a gap", &error, &mut backoff).await?;
        }
        if self.progress.began_again(gap) {
            tracing::warn!(
                partition = %gap.partition,
                reason = %gap,
                from = %next,
                "records were lost: reading begins again at the oldest record, and a reconcile is wanted"
            );
        }
        Ok(era)
    }

    /// The oldest position of a partition; `None` if what stands there is damaged.
    async fn oldest(&mut self, partition: &Partition) -> Result<Option<Position>, Leave> {
        let mut backoff = self.backoff();
        loop {
            match self.source.start(partition, None, None).await {
                Ok(position) => return Ok(Some(position)),
                // Records were lost from the beginning on; this is where the others begin.
                Err(SourceError::Gap { start, .. }) => return Ok(Some(start)),
                Err(SourceError::Damaged { .. }) => return Ok(None),
                Err(error) => self.source_failed(&error, &mut backoff).await?,
            }
        }
    }

    /// Reports that the oldest record cannot be read either. Nothing is put on record: the next look may find it.
    pub(super) fn tell_unreadable(&self, gap: &Gap) {
        if self.progress.halt(&gap.partition, gap.to_string()) {
            tracing::error!(partition = %gap.partition, reason = %gap, "the oldest record cannot be read: the partition waits");
        }
    }
}
