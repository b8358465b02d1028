//! The whole pipeline, read forwards: what becomes of a record in one lane.

use tokio::time::Instant;

use crate::batch::Batch;
use crate::decode::{Columns, Decode};
use crate::intake::Intake;
use crate::lane::{Lane, Leave, Written, chain};

/// Source -> batch -> decode -> sink -> commit, until something ends it.
pub(crate) async fn flow<C: Columns>(
    mut lane: Lane<'_, C>,
    intake: &mut Intake,
    decoder: &dyn Decode<Columns = C>,
) -> Leave {
    if let Err(leave) = lane.acquire(intake).await {
        return leave;
    }
    loop {
        if lane.progress.paused().borrow().is_some() {
            intake.stuck();
        }
        if let Err(leave) = lane.go_ahead(intake, decoder).await {
            return leave;
        }
        let (taken, mut work) = match lane.gather(intake).await {
            Ok(gathered) => gathered,
            Err(leave) => return leave,
        };
        lane.state.beat();

        let batch = Batch::decode(taken, decoder, &lane.progress.aside());
        let unpacked = batch.columns().unpacked_bytes();
        intake.writing(work.bytes, unpacked);
        work.bytes = work.bytes.max(unpacked);

        let began = Instant::now();
        let written = lane.write(&batch, work, intake).await;
        intake.wrote();
        // The time spent waiting for a turn is no part of the cost.
        let took = began.elapsed().saturating_sub(lane.waited);
        let receipt = match written {
            Written::Whole(receipt) => receipt,
            Written::TooSlow { reason } => {
                lane.divide(intake, batch, &reason, took);
                continue;
            }
            Written::Nothing(leave) => {
                // Records that still belong to this lane when leases are taken again need not be read again.
                intake.give_back(batch.into_taken());
                return leave;
            }
        };
        lane.landed(intake, &receipt, took);

        if let Err(error) = lane.source.commit(&receipt.checkpoint()).await {
            tracing::debug!(error = %chain(&error), "the stream was not told our position; lag tools see an older one");
        }

        for flooding in lane.progress.watch_flood(&lane.limits.flood, &receipt) {
            if let Err(leave) = lane.pause_share(&flooding).await {
                return leave;
            }
        }
    }
}
