//! Shares and pipelines that are paused: what a lane knows of them, decides and waits for.

use tokio_util::sync::CancellationToken;

use super::{IDLE_WAIT, Lane, Leave, chain};
use crate::decode::{Columns, Decode};
use crate::intake::Intake;
use crate::progress::{LaneState, Progress, SHARES_EVERY, ToPause};
use crate::share::Share;
use crate::sink::{Sink, SinkError};
use crate::source::{Record, Source, Want};

impl<C: Columns> Lane<'_, C> {
    /// Waits while the pipeline is paused. If it is paused because its only share floods, watches the stream: as soon
    /// as there are records of another share, the share that floods is paused for them.
    pub(crate) async fn go_ahead(&mut self, intake: &Intake, decoder: &dyn Decode<Columns = C>) -> Result<(), Leave> {
        let mut paused = self.progress.paused();
        let Some(stop) = paused.borrow_and_update().clone() else { return Ok(()) };
        self.state.set(LaneState::Paused);
        let source = self.source;
        let another = async {
            match &stop.only {
                Some(only) => find_another(source, &only.share, intake, decoder).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(another);
        let mut share = self.share.clone();
        let found = loop {
            let ended = tokio::select! {
                _ = paused.wait_for(Option::is_none) => Some(false),
                () = &mut another => Some(true),
                _ = share.changed() => return Err(Leave::Reassigned),
                () = self.shutdown.cancelled() => return Err(Leave::Interrupted),
                () = tokio::time::sleep(SHARES_EVERY) => None,
            };
            match ended {
                Some(found) => break found,
                // Another process may have paused the share because of which this pipeline waits.
                None => self.look_if_due().await,
            }
        };
        if let (true, Some(flooding)) = (found, &stop.only) {
            self.pause_share(flooding).await?;
        }
        self.state.beat();
        self.state.set(LaneState::Working);
        Ok(())
    }

    /// Pauses a share, for every process; retries until the sink has recorded it.
    pub(crate) async fn pause_share(&mut self, flooding: &ToPause) -> Result<(), Leave> {
        let mut backoff = self.backoff();
        while let Err(error) = self.sink.pause_share(&flooding.share, &flooding.reason).await {
            self.wait_out("pause a share", &error, &mut backoff).await?;
        }
        self.progress.pause_share(flooding);
        Ok(())
    }

    /// Reads the sink's record of shares, before anything is written.
    pub(super) async fn look_at_shares(&mut self) -> Result<(), Leave> {
        let mut backoff = self.backoff();
        while let Err(error) = look(&mut *self.sink, self.progress).await {
            self.wait_out("read which shares are paused", &error, &mut backoff).await?;
        }
        Ok(())
    }

    /// Reads that record again if it is due.
    pub(super) async fn look_if_due(&mut self) {
        look_at_shares(&mut *self.sink, self.progress, self.shutdown).await;
    }
}

/// Returns once the stream has a record of a share other than `only`. Reads ahead and keeps no record: the records in
/// hand may fill all memory, and those of another share may stand behind many more.
async fn find_another<C: Columns>(
    source: &dyn Source,
    only: &Share,
    intake: &Intake,
    decoder: &dyn Decode<Columns = C>,
) {
    let is_other = |record: &Record| decoder.share(record) != only.as_str();
    if intake.waiting().any(is_other) {
        return;
    }
    let mut wants: Vec<Want> = intake.beyond();
    if wants.is_empty() {
        std::future::pending::<()>().await;
    }
    loop {
        let Ok(batches) = source.fetch(&wants, IDLE_WAIT).await else {
            tokio::time::sleep(IDLE_WAIT).await;
            continue;
        };
        for batch in batches {
            if batch.records.iter().any(is_other) {
                return;
            }
            if let Some(want) = wants.iter_mut().find(|want| want.partition == batch.partition) {
                want.from = batch.next;
            }
        }
    }
}

/// Reads the sink's record of shares if that is due. If the sink does not answer soon, what was known stays.
pub(crate) async fn look_at_shares<C: Columns>(
    sink: &mut dyn Sink<Columns = C>,
    progress: &Progress,
    shutdown: &CancellationToken,
) {
    if !progress.look_due() {
        return;
    }
    let looked = tokio::select! {
        looked = tokio::time::timeout(SHARES_EVERY, look(sink, progress)) => looked,
        () = shutdown.cancelled() => return,
    };
    match looked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = %chain(&error), "it was not read which shares are paused"),
        Err(_) => tracing::debug!("it was not read in time which shares are paused"),
    }
}

async fn look<C: Columns>(sink: &mut dyn Sink<Columns = C>, progress: &Progress) -> Result<(), SinkError> {
    let decisions = progress.decisions();
    if let Some(standings) = sink.shares().await? {
        progress.looked(decisions, standings);
    }
    Ok(())
}
