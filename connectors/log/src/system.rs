//! All that the log asks of the machine: files, directories and the time of day.
//!
//! Tests put a decorator around [`Os`] to fail, tear, reorder and record these calls.
//! Nothing else in this package touches the file system, except the lock of [`crate::Log::open`].

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

/// Files, directories and the clock.
///
/// The log relies on this contract: what [`File::sync`] has returned `Ok` for survives a power cut, and so do
/// the entries of a directory after [`System::sync_dir`]. Nothing is assumed about what was not synced.
pub trait System: Send + Sync + std::fmt::Debug + 'static {
    /// Milliseconds since 1970 in UTC. May jump either way.
    fn now_ms(&self) -> i64;
    /// Creates one directory; its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a file that must not exist yet, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for reading and, if `write`, for writing.
    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>>;
    /// The names in a directory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Renames a file or directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and everything in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
}

/// An open file, used by position only.
pub trait File: Send + Sync + std::fmt::Debug {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Reads at most `buffer.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes everything or fails, in which case any part of it may have been written.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Makes content and length durable. After an error nothing written since the last success may be relied on.
    fn sync(&self) -> io::Result<()>;
}

/// The real system. Only its own account can read what it creates; a link at the end of a path is not followed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Os;

impl System for Os {
    fn now_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Box<dyn File>> {
        let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new().read(true).write(write).custom_flags(nofollow).open(path)?;
        Ok(Box::new(OsFile(file)))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is not one of ours.
        let entries = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        entries.filter_map(Result::transpose).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        std::fs::File::open(directory)?.sync_all()
    }
}

#[derive(Debug)]
struct OsFile(std::fs::File);

impl File for OsFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(&self.0, bytes, at)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
