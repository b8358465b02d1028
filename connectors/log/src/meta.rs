//! What is written once when a topic is created.
//!
//! `meta` is text: a version line, then `id`, `tag` and `partitions`, one each per line, then the CRC-32C of all that.

use std::io::Read as _;
use std::path::Path;

use crate::error::{Corrupt, During, Error, Fault};
use crate::system::{File, System};

pub(crate) const FILE_NAME: &str = "meta";
const VERSION: &str = "millstream-log 1";
/// The file has about 100 bytes; more is not ours.
const FILE_BYTES_MAX: usize = 512;

/// The id of an opening: positive, so that any signed column holds it.
pub(crate) fn random_opening() -> Result<i64, Fault> {
    let id = i64::from_le_bytes(random()?) & i64::MAX;
    Ok(id.max(1))
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], Fault> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; BYTES];
    std::fs::File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).during("read", source)?;
    Ok(bytes)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Tells this topic from another one of the same name, before or elsewhere.
    pub(crate) id: String,
    /// Unlike the id never shown: it keeps payloads from passing for frames.
    pub(crate) tag: u32,
    pub(crate) partitions: u32,
}

impl Meta {
    pub(crate) fn random(partitions: u32) -> Result<Self, Fault> {
        let bytes: [u8; 20] = random()?;
        let (id, tag) = bytes.split_at(16);
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let tag = tag.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
        Ok(Self { id, tag, partitions })
    }

    pub(crate) fn write(&self, file: &dyn File, path: &Path) -> Result<(), Fault> {
        file.write_all_at(self.to_text().as_bytes(), 0).during("write", path)?;
        file.sync().during("sync", path)
    }

    pub(crate) fn read(system: &dyn System, path: &Path) -> Result<Self, Error> {
        let file = system.open(path, false).during("open", path)?;
        let mut bytes = [0; FILE_BYTES_MAX];
        let read = file.read_at(&mut bytes, 0).during("read", path)?;
        let text = bytes.get(..read).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let meta = text.and_then(|text| Self::parse(text).filter(|meta| meta.to_text() == text));
        meta.ok_or_else(|| {
            Corrupt {
                file: path.to_owned(),
                byte: 0,
                reason: "it does not describe a topic of this version",
                is_short: false,
            }
            .into()
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(VERSION)?.lines().skip(1);
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let id = value("id")?.to_owned();
        let tag = value("tag")?.parse().ok()?;
        Some(Self { id, tag, partitions: value("partitions")?.parse().ok()? })
    }

    fn to_text(&self) -> String {
        let Self { id, tag, partitions } = self;
        let body = format!("{VERSION}\nid {id}\ntag {tag}\npartitions {partitions}\n");
        let check = crc32c::crc32c(body.as_bytes());
        format!("{body}check {check:08x}\n")
    }
}
