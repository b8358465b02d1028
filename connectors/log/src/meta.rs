//! What is written once when a topic is created.
//!
//! `meta` is text: a version line, then `id`, `tag` and `partitions`, one each per line, then the CRC-32C of all that.
//! `meta.copy` is the same once more. If both were lost no record of the topic could be read, so one valid file is
//! enough, and the other is written again. Topics of earlier versions have no copy until they are opened.

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use crate::error::{Corrupt, During, Error, Fault};
use crate::pairs;
use crate::system::{File, System};
use crate::walk::Stop;

const FILE_NAME: &str = "meta";
const COPY_NAME: &str = "meta.copy";
const BUILDING_NAME: &str = "~meta";
const VERSION: &str = "millstream-log 1";
const MISSING: &str = "the file is missing";
const NOT_ONE: &str = "it does not describe a topic of this version";
/// The file has about 100 bytes; a larger one is not ours.
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
    /// Identifies this topic among those of the same name, earlier or elsewhere.
    pub(crate) id: String,
    /// Unlike the id never shown: it keeps payloads from being taken for frames.
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

    /// Writes both files of a topic that is being made.
    pub(crate) fn create(&self, system: &dyn System, topic: &Path) -> Result<(), Fault> {
        for path in [topic.join(FILE_NAME), topic.join(COPY_NAME)] {
            let file = system.create(&path).during("create", &path)?;
            self.write(file.as_ref(), &path)?;
        }
        Ok(())
    }

    /// Reads the description of a topic. If only one of the two files is valid, it rewrites the other.
    pub(crate) fn open(system: &dyn System, topic: &Path) -> Result<Self, Error> {
        let path = topic.join(FILE_NAME);
        let copy_path = topic.join(COPY_NAME);
        let (meta, wrong) = match (Self::read(system, &path), Self::read(system, &copy_path)) {
            (Ok(meta), Ok(copy)) if meta == copy => return Ok(meta),
            (Ok(meta), Ok(_)) => {
                tracing::warn!(file = %copy_path.display(), "a topic's description is of another topic, it is written again");
                (meta, copy_path)
            }
            // An earlier version made the topic.
            (Ok(meta), Err(Stop::Corrupt(Corrupt { reason: MISSING, .. }))) => (meta, copy_path),
            (Ok(meta), Err(stop)) => {
                tell(&stop);
                (meta, copy_path)
            }
            (Err(stop), Ok(copy)) => {
                tell(&stop);
                (copy, path)
            }
            (Err(Stop::Corrupt(first)), Err(Stop::Corrupt(second))) => {
                return Err(Error::Corrupt(Box::new([first, second])));
            }
            (Err(Stop::Fault(fault)), Err(_)) | (Err(_), Err(Stop::Fault(fault))) => return Err(fault.into()),
        };
        match meta.replace(system, topic, &wrong) {
            Ok(()) => tracing::debug!(file = %wrong.display(), "a topic's description was written from the other copy"),
            // The topic can be read, and its next opening retries this.
            Err(fault) => {
                let cause = fault.source.to_string();
                tracing::warn!(error = %fault, cause, "a topic's description was not written again: there is only one of it");
            }
        }
        Ok(meta)
    }

    /// Replaces a missing or invalid file by the description.
    fn replace(&self, system: &dyn System, topic: &Path, path: &Path) -> Result<(), Fault> {
        let building = topic.join(BUILDING_NAME);
        self.write(pairs::create_anew(system, &building)?.as_ref(), &building)?;
        system.rename(&building, path).during("rename", &building)?;
        system.sync_dir(topic).during("sync", topic)
    }

    fn write(&self, file: &dyn File, path: &Path) -> Result<(), Fault> {
        file.write_all_at(self.to_text().as_bytes(), 0).during("write", path)?;
        file.sync().during("sync", path)
    }

    fn read(system: &dyn System, path: &Path) -> Result<Self, Stop> {
        let damage =
            |(byte, reason), is_short| Stop::Corrupt(Corrupt { file: path.to_owned(), byte, reason, is_short });
        let file = match system.open(path, false) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(damage((0, MISSING), true)),
            opened => opened.during("open", path)?,
        };
        let mut bytes = [0; FILE_BYTES_MAX];
        let read = file.read_at(&mut bytes, 0).during("read", path)?;
        let bytes = bytes.get(..read).unwrap_or_default();
        let text = std::str::from_utf8(bytes).ok();
        let meta = text.and_then(|text| Self::parse(text).filter(|meta| meta.to_text() == text));
        meta.ok_or_else(|| damage(failing(bytes), false))
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

/// Logs what one of the two files lacks.
fn tell(stop: &Stop) {
    match stop {
        Stop::Corrupt(damage) => {
            tracing::warn!(%damage, "a topic's description is damaged, it is written again from its copy")
        }
        Stop::Fault(fault) => {
            let cause = fault.source.to_string();
            tracing::warn!(error = %fault, cause, "a topic's description cannot be read, it is written again from its copy");
        }
    }
}

/// Where an invalid description fails: at the first byte that cannot stand there, or else at its checksum.
fn failing(bytes: &[u8]) -> (u64, &'static str) {
    let rest = |at: usize| bytes.get(at..).unwrap_or_default();
    let begin = format!("{VERSION}\nid ");
    let mut at = 0;
    let mut line_at = 0;
    for words in [begin.as_str(), "\ntag ", "\npartitions ", "\ncheck "] {
        line_at = at + 1;
        let same = rest(at).iter().zip(words.as_bytes()).take_while(|(is, wanted)| is == wanted).count();
        at += same;
        if same < words.len() {
            return (at as u64, NOT_ONE);
        }
        at += rest(at).iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    }
    if rest(at) == b"\n" { (line_at as u64, "its check does not fit") } else { (at as u64, NOT_ONE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_that_fails_is_found() {
        let meta = Meta { id: "0123456789abcdef0123456789abcdef".to_owned(), tag: 71, partitions: 12 };
        let text = meta.to_text();
        let check_at = text.find("check").unwrap() as u64;
        let changed = |at: usize, byte: u8| {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = byte;
            failing(&bytes)
        };
        for at in 0..text.len() {
            assert_eq!(changed(at, b'X'), (at as u64, NOT_ONE), "{at}");
            assert_eq!(failing(&text.as_bytes()[..at]), (at as u64, NOT_ONE), "cut to {at}");
        }
        // Another digit can stand there: only the check fails.
        assert_eq!(changed(40, b'e'), (check_at, "its check does not fit"));
        assert_eq!(failing(format!("{text}more").as_bytes()), (text.len() as u64 - 1, NOT_ONE));
    }
}
