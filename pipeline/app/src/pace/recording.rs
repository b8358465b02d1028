//! The recording of what the controller was told and decided: JSON, one object per line, written by a separate task.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use millstream_engine::gate::record::{Line, Recorder, What};
use millstream_engine::task;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::data_dir;

/// Maximum number of lines written at once.
const LINES_AT_ONCE: usize = 1_000;
/// How long the last lines may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// A recording under way.
#[derive(Debug)]
pub(crate) struct Recording {
    end: CancellationToken,
    written: JoinHandle<()>,
}

impl Recording {
    /// Starts a file, replacing an existing one; it ends before it has more than `bytes_max`.
    pub(crate) async fn begin(path: &Path, bytes_max: u64) -> anyhow::Result<(Recording, Recorder)> {
        let file = data_dir::create(path).with_context(|| format!("make {}", path.display()))?;
        let file = File::from_std(file);
        let (recorder, lines) = Recorder::new();
        let end = CancellationToken::new();
        let out = Out { file, path: path.to_owned(), left: bytes_max };
        let written = task::spawn("record", out.write_all(lines, end.clone()));
        Ok((Recording { end, written }, recorder))
    }

    /// Writes what is left.
    pub(crate) async fn close(self) {
        self.end.cancel();
        if tokio::time::timeout(CLOSE_WITHIN, self.written).await.is_err() {
            tracing::warn!("the end of the controller's recording was not written in time");
        }
    }
}

struct Out {
    file: File,
    path: PathBuf,
    left: u64,
}

impl Out {
    async fn write_all(mut self, mut lines: Receiver<Line>, end: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = lines.recv_many(&mut batch, LINES_AT_ONCE) => if count == 0 {
                    return;
                },
                () = end.cancelled() => return,
            }
            match self.write(&batch).await {
                Ok(true) => batch.clear(),
                Ok(false) => {
                    tracing::warn!(path = %self.path.display(), "the controller's recording is long enough and ends");
                    return;
                }
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "the controller's recording ends");
                    return;
                }
            }
        }
    }

    /// Writes lines; returns false if the recording must end.
    async fn write(&mut self, lines: &[Line]) -> std::io::Result<bool> {
        let mut text = serialized(lines)?;
        let is_last = text.len() as u64 >= self.left;
        if is_last {
            let at_ns = lines.first().map_or(0, |line| line.at_ns);
            text = serialized(&[Line { at_ns, what: What::Cut }])?;
        }
        self.left = self.left.saturating_sub(text.len() as u64);
        self.file.write_all(&text).await?;
        self.file.flush().await?;
        Ok(!is_last)
    }
}

fn serialized(lines: &[Line]) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(lines.len() * 128);
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    Ok(text)
}
