//! Queues of Amazon SQS: straight to a sink, or carried into the stream.

use std::sync::Arc;

use millstream_connectors::sinks::stream::Append;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Opened;
use crate::config::{Bridge, Config, Queue};

/// A queue that is being carried into the stream.
#[derive(Debug)]
pub struct Carrier {
    /// Its part of the configuration.
    pub config: Bridge,
    #[cfg(feature = "aws")]
    counters: Arc<millstream_connectors::bridge::Counters>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What a bridge has done since it started.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Carried {
    /// Messages received, including those delivered again.
    pub received: u64,
    /// Messages whose records the stream has.
    pub appended: u64,
    /// Messages deleted from the queue.
    pub deleted: u64,
    /// Messages left to the queue, because the stream can never take them.
    pub refused: u64,
    /// Calls and appends that failed and were tried again.
    pub errors: u64,
}

impl Carrier {
    /// Waits until it has ended, which it does once it is told to stop.
    pub async fn ended(&self) {
        let task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, queue = self.config.from.queue, "a bridge did not end by itself");
        }
    }
}

#[cfg(feature = "aws")]
mod aws {
    use millstream_connectors::bridge;
    use millstream_connectors::sources::sqs::{self, SqsOptions, SqsSource};
    use millstream_engine::task;

    use super::{Append, Arc, Bridge, CancellationToken, Carried, Carrier, Config, Opened, Queue};

    fn options(config: &Config, queue: &Queue) -> SqsOptions {
        SqsOptions {
            region: queue.region.clone(),
            endpoint: queue.endpoint.clone(),
            consumer: queue.consumer.clone(),
            visibility: queue.visibility,
            bytes_max: config.memory_bytes_each() / 4,
            accept_loss_on_restore: queue.accept_loss_on_restore,
            ..SqsOptions::new(&queue.queue)
        }
    }

    /// Opens a queue to be read straight into a sink.
    pub(in crate::stream) async fn straight(config: &Config, queue: &Queue) -> anyhow::Result<Opened> {
        let source = SqsSource::open(options(config, queue)).await?;
        Ok(Opened { source, append: None, topic: None })
    }

    /// Creates a queue, to be appended to.
    pub(crate) async fn make_queue(config: &Config, queue: &Queue) -> anyhow::Result<Arc<dyn Append>> {
        Ok(Arc::new(sqs::Queue::create(options(config, queue)).await?))
    }

    /// Carries a queue into the stream until `stop`.
    ///
    /// # Errors
    /// If the queue cannot be opened.
    pub async fn carry(
        config: &Config,
        bridge: &Bridge,
        stream: Arc<dyn Append>,
        stop: CancellationToken,
    ) -> anyhow::Result<Carrier> {
        let queue = sqs::Queue::open(options(config, &bridge.from)).await?;
        let counters = Arc::new(bridge::Counters::default());
        let store = bridge.store.clone();
        let counted = Arc::clone(&counters);
        let name = bridge.from.queue.clone();
        let task = task::spawn("bridge", async move {
            let ended = bridge::run(queue, stream, store, counted, stop).await;
            tracing::info!(queue = name, ?ended, "the bridge has ended");
        });
        Ok(Carrier { config: bridge.clone(), counters, task: std::sync::Mutex::new(Some(task)) })
    }

    impl Carrier {
        /// Its counters.
        pub fn counts(&self) -> Carried {
            let counts = self.counters.counts();
            Carried {
                received: counts.queue.received,
                appended: counts.messages,
                deleted: counts.queue.deleted,
                refused: counts.refused,
                errors: counts.errors + counts.queue.errors,
            }
        }
    }
}

#[cfg(not(feature = "aws"))]
mod aws {
    use super::{Append, Arc, Bridge, CancellationToken, Carried, Carrier, Config, Opened, Queue};

    const MISSING: &str = "this build is without Amazon SQS: build it with `--features aws`, or take a release";

    pub(in crate::stream) async fn straight(_: &Config, _: &Queue) -> anyhow::Result<Opened> {
        anyhow::bail!(MISSING)
    }

    pub(crate) async fn make_queue(_: &Config, _: &Queue) -> anyhow::Result<Arc<dyn Append>> {
        anyhow::bail!(MISSING)
    }

    /// Fails, naming what this build lacks.
    ///
    /// # Errors
    /// Always.
    pub async fn carry(_: &Config, _: &Bridge, _: Arc<dyn Append>, _: CancellationToken) -> anyhow::Result<Carrier> {
        anyhow::bail!(MISSING)
    }

    impl Carrier {
        /// Its counters.
        pub fn counts(&self) -> Carried {
            Carried::default()
        }
    }
}

pub use aws::carry;
pub(crate) use aws::make_queue;
pub(super) use aws::straight;
