//! What all handles of a topic share: its partitions, made and opened as a whole.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::error::{During, Error};
use crate::frame::Place;
use crate::marks::Marks;
use crate::meta::{self, Meta};
use crate::options::Options;
use crate::partition::Partition;
use crate::system::System;
use crate::writer::Settings;
use crate::{mark, segment_path};

/// What all handles of a topic share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) meta: Meta,
    marks: Arc<Marks>,
    partitions: Vec<Arc<Partition>>,
    pub(crate) progress: watch::Sender<u64>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) room_bytes: usize,
    pub(crate) record_bytes_max: usize,
    pub(crate) frame_bytes_max: usize,
}

impl Shared {
    pub(crate) fn open(system: &Arc<dyn System>, path: &Path, name: &str, options: &Options) -> Result<Self, Error> {
        let meta = Meta::open(system.as_ref(), path)?;
        let marks = Arc::new(Marks::open(system.as_ref(), path));
        let (progress, _) = watch::channel(0);
        let age_max_ms = options.retention.age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let opening = meta::random_opening()?;
        let open = |partition| {
            let settings = Settings {
                system: Arc::clone(system),
                directory: path.join(partition_name(partition)),
                place: Place { tag: meta.tag, partition },
                marks: Arc::clone(&marks),
                opening,
                segment_bytes: options.segment_bytes_for(meta.partitions),
                age_max_ms,
                frame_bytes_max: options.group_bytes_max,
                zstd_level: options.zstd_level,
            };
            Partition::open(settings, options, progress.clone()).map(Arc::new)
        };
        let partitions = (0..meta.partitions).map(open).collect::<Result<Vec<_>, Error>>()?;
        tracing::debug!(topic = name, partitions = meta.partitions, "topic opened");
        Ok(Self {
            meta,
            marks,
            partitions,
            progress,
            room: Arc::new(Semaphore::new(options.queue_bytes_max)),
            room_bytes: options.queue_bytes_max,
            record_bytes_max: options.record_bytes_max,
            frame_bytes_max: options.group_bytes_max,
        })
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.meta.partitions
    }

    /// Called once all partitions are closed.
    pub(crate) fn close(&self) {
        self.marks.sync();
    }

    pub(crate) fn all(&self) -> &[Arc<Partition>] {
        &self.partitions
    }

    pub(crate) fn partition(&self, partition: u32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }
}

/// Creates a topic on disk: built under another name, synced from the leaves up, renamed into place.
pub(crate) fn create(system: &dyn System, topics: &Path, name: &str, partitions: u32) -> Result<(), Error> {
    let building = topics.join(format!("~{name}"));
    let path = topics.join(name);
    if system.list(topics).during("list", topics)?.iter().any(|entry| *entry == format!("~{name}")) {
        system.remove_dir(&building).during("remove", &building)?;
    }
    system.create_dir(&building).during("create", &building)?;
    let create = |file: &Path| system.create(file).during("create", file);
    let sync_dir = |directory: &Path| system.sync_dir(directory).during("sync", directory);
    for partition in 0..partitions {
        let directory = building.join(partition_name(partition));
        system.create_dir(&directory).during("create", &directory)?;
        create(&segment_path(&directory, 0))?;
        create(&directory.join(mark::FILE_NAME))?;
        sync_dir(&directory)?;
    }
    let meta = Meta::random(partitions)?;
    meta.create(system, &building)?;
    Marks::create(system, &building, meta.tag, partitions)?;
    sync_dir(&building)?;
    system.rename(&building, &path).during("rename", &building)?;
    sync_dir(topics)?;
    Ok(())
}

fn partition_name(partition: u32) -> String {
    format!("{partition:04}")
}
