//! Writes a file beside the old one, and puts it in its place when it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use millstream_schemas::tasks::{Alias, Fact};

use super::{FORMAT, HEADER_BYTES, Header, VERSION};
use crate::table::Change;

/// Fast: facts repeat so much that a higher level gains little.
const LEVEL: i32 = 1;

/// See the module. Dropped before [`Writer::finish`] it leaves the old file as it was.
pub(in crate::follow) struct Writer {
    path: PathBuf,
    beside: Beside,
    encoder: zstd::Encoder<'static, Sink>,
}

/// Counts what is written, and its checksum.
struct Sink {
    file: BufWriter<File>,
    bytes: u64,
    crc: u32,
}

/// The path of the new file: removed unless it was renamed.
struct Beside {
    path: PathBuf,
    is_renamed: bool,
}

/// What a header says beside lengths and checksums.
#[derive(Debug, Clone)]
pub(in crate::follow) struct Told {
    pub(in crate::follow) identity: String,
    pub(in crate::follow) seq: i64,
    pub(in crate::follow) digest: u64,
    pub(in crate::follow) read_ms: i64,
    pub(in crate::follow) facts: u64,
}

/// Removes what processes that were killed left beside a file. One that is written now belongs to a process that
/// lives.
pub(in crate::follow) fn remove_leftovers(path: &Path) {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let other = entry.file_name();
        let (Some(other), Some(name)) = (other.to_str(), name.to_str()) else { continue };
        let rest = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        let process = rest.and_then(|rest| rest.strip_suffix(".new")).and_then(|number| number.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            // One that cannot be removed is only in the way of nobody.
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

impl Writer {
    /// Begins a file, in a directory that is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made there.
    pub(in crate::follow) fn new(path: &Path) -> io::Result<Writer> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?.to_owned();
        // Two processes may have the same path: the last one to rename wins, with a whole file.
        name.push(format!(".{}.new", std::process::id()));
        let beside = Beside { path: path.with_file_name(name), is_renamed: false };
        let mut file = BufWriter::new(File::create(&beside.path)?);
        file.write_all(&[0; HEADER_BYTES])?;
        let encoder = zstd::Encoder::new(Sink { file, bytes: 0, crc: 0 }, LEVEL)?;
        Ok(Writer { path: path.to_owned(), beside, encoder })
    }

    /// Writes a fact.
    pub(in crate::follow) fn put(&mut self, fact: &Fact) -> io::Result<()> {
        writeln!(self.encoder, "put {} {}", fact.kind().as_str(), fact.to_json())
    }

    /// Writes what changed since [`Writer::put`] began, and what aliases serve.
    pub(in crate::follow) fn late(&mut self, changes: &[Change], applied: &[Alias]) -> io::Result<()> {
        self.encoder.write_all(b"late\n")?;
        for change in changes {
            match change {
                Change::Put(fact) => self.put(fact)?,
                Change::Remove(key) => {
                    let columns = serde_json::to_string(&key.columns)?;
                    writeln!(self.encoder, "gone {} {columns}", key.kind.as_str())?;
                }
            }
        }
        for alias in applied {
            writeln!(self.encoder, "applied {}", serde_json::to_string(alias)?)?;
        }
        Ok(())
    }

    /// Writes the header, syncs the file, and puts it in the place of the old one.
    ///
    /// # Errors
    /// When any of that fails: then the old file is as it was.
    pub(in crate::follow) fn finish(self, told: Told) -> io::Result<()> {
        let Writer { path, mut beside, encoder } = self;
        let Sink { file, bytes, crc } = encoder.finish()?;
        let Told { identity, seq, digest, read_ms, facts } = told;
        let format = FORMAT.to_owned();
        let header = Header { format, version: VERSION, identity, seq, digest, read_ms, facts, bytes, crc };
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header.to_bytes()?)?;
        file.sync_all()?;
        std::fs::rename(&beside.path, &path)?;
        beside.is_renamed = true;
        // The name, too, must outlive a crash.
        match path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            Some(directory) => File::open(directory)?.sync_all(),
            None => File::open(".")?.sync_all(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.file.write(buffer)?;
        self.crc = crc32c::crc32c_append(self.crc, buffer.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_renamed
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, path = %self.path.display(), "a file that was not finished stays");
        }
    }
}
