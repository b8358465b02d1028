//! The facts in a file, from which a gateway starts while the database is away.
//!
//! A file is written beside the old one, synced and renamed over it: a crash leaves one or the other. It is read only if
//! its lengths, its checksums and the digest of its facts are right, and if it is of this version and young enough.
//!
//! The format, version 1: 512 bytes of header, then one zstd frame.
//! - The header is text: the CRC-32C of its other bytes in eight hexadecimal digits, a space, and the JSON of
//!   [`Header`], filled up with spaces to a line feed.
//! - The frame holds lines: `put KIND ROW` for a fact, with its row as in the tables; `gone KIND COLUMNS` for one that was
//!   removed after it was written; `applied ROW` for the generation of an alias that is served. Of two lines for one fact
//!   the later one counts, and only lines behind the first `late` line repeat a fact.

mod write;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use millstream_schemas::tasks::{Fact, Key, Kind};
use serde::{Deserialize, Serialize};

use crate::table::Former;
pub(super) use write::{Told, Writer, remove_leftovers};

const FORMAT: &str = "millstream routes";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 512;
/// The checksum in front of the header, and a space.
const CRC_BYTES: usize = 9;
/// A row of the tables is far smaller.
const LINE_MAX: u64 = 64 << 20;

/// What the file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u32,
    /// The history that its facts belong to.
    pub(super) identity: String,
    /// The last commit in it.
    pub(super) seq: i64,
    /// The digest of its facts.
    pub(super) digest: u64,
    /// When the log had been read to its end, in milliseconds since 1970: how old its facts are.
    pub(super) read_ms: i64,
    /// Its facts.
    pub(super) facts: u64,
    /// Bytes after the header.
    bytes: u64,
    /// The CRC-32C of these bytes.
    crc: u32,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) header: Header,
    pub(super) facts: Vec<Fact>,
    /// What aliases served.
    pub(super) applied: Former,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Bad {
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    #[error("it is not a file of routes")]
    Format,
    #[error("its header is damaged")]
    Header,
    #[error("it is of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    #[error("it has {found} bytes, and its header says {said}")]
    Length { found: u64, said: u64 },
    #[error("it is {} s old, and at most {} s are allowed", age.as_secs(), allowed.as_secs())]
    Old { age: Duration, allowed: Duration },
    #[error("line {0} cannot be read")]
    Line(u64),
    #[error("its bytes do not have their checksum")]
    Checksum,
    #[error("its facts do not have their digest")]
    Digest,
}

/// Reads a file; `None` where there is none.
///
/// # Errors
/// Why it must not be used.
pub(super) fn read(path: &Path, stale_max: Duration, now_ms: i64) -> Result<Option<Found>, Bad> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let header = Header::read(&mut file)?;
    let found = file.metadata()?.len();
    let said = header.bytes.saturating_add(HEADER_BYTES as u64);
    if found != said {
        return Err(Bad::Length { found, said });
    }
    let age = Duration::from_millis(u64::try_from(now_ms.saturating_sub(header.read_ms)).unwrap_or(0));
    if age > stale_max {
        return Err(Bad::Old { age, allowed: stale_max });
    }
    let mut summed = Summed { inner: file, crc: 0 };
    let body = Body::read(&mut summed);
    // A line that cannot be read follows from a byte that is wrong, so this says more.
    io::copy(&mut summed, &mut io::sink())?;
    if summed.crc != header.crc {
        return Err(Bad::Checksum);
    }
    let Body { facts, applied, .. } = body?;
    let digest = facts.iter().fold(0, |digest, fact| digest ^ fact.digest());
    if digest != header.digest || facts.len() as u64 != header.facts {
        return Err(Bad::Digest);
    }
    Ok(Some(Found { header, facts, applied }))
}

impl Header {
    fn read(file: &mut File) -> Result<Header, Bad> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        file.take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
        let Some((sum, rest)) = bytes.split_at_checked(CRC_BYTES).filter(|_| bytes.len() == HEADER_BYTES) else {
            return Err(Bad::Format);
        };
        let sum = std::str::from_utf8(sum).ok().and_then(|sum| u32::from_str_radix(sum.trim_end(), 16).ok());
        let sum = sum.ok_or(Bad::Format)?;
        if sum != crc32c::crc32c(rest) {
            return Err(Bad::Header);
        }
        // Another version may have other fields: these two are in each.
        #[derive(Deserialize)]
        struct Any {
            format: String,
            version: u32,
        }
        let any: Any = serde_json::from_slice(rest).map_err(|_| Bad::Format)?;
        if any.format != FORMAT {
            return Err(Bad::Format);
        }
        if any.version != VERSION {
            return Err(Bad::Version(any.version));
        }
        serde_json::from_slice(rest).map_err(|_| Bad::Header)
    }

    /// The bytes of the header; an error where its identity is longer than any.
    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut rest = serde_json::to_vec(self)?;
        let room = HEADER_BYTES - CRC_BYTES - 1;
        if rest.len() > room {
            return Err(io::Error::other("the header is too long"));
        }
        rest.resize(room, b' ');
        rest.push(b'\n');
        let mut bytes = format!("{:08x} ", crc32c::crc32c(&rest)).into_bytes();
        bytes.extend(rest);
        Ok(bytes)
    }
}

/// Counts the checksum of what is read.
struct Summed<R> {
    inner: R,
    crc: u32,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.crc = crc32c::crc32c_append(self.crc, buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[derive(Debug, Default)]
struct Body {
    facts: Vec<Fact>,
    applied: Former,
    /// What is known of facts that changed while the file was written; `None` before the line `late`.
    late: Option<HashMap<Key, Option<Fact>>>,
}

impl Body {
    fn read(bytes: impl Read) -> Result<Body, Bad> {
        let mut lines = BufReader::new(zstd::Decoder::new(bytes)?);
        let mut body = Body::default();
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            line.clear();
            number += 1;
            if (&mut lines).take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            body.take(&line).ok_or(Bad::Line(number))?;
        }
        if let Some(late) = body.late.take() {
            body.facts.retain(|fact| !late.contains_key(&fact.key()));
            body.facts.extend(late.into_values().flatten());
        }
        Ok(body)
    }

    /// Takes a line; `None` where it is not one of this version.
    fn take(&mut self, line: &[u8]) -> Option<()> {
        let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        if line == "late" {
            self.late = Some(HashMap::new());
            return Some(());
        }
        let (word, rest) = line.split_once(' ')?;
        if word == "applied" {
            let alias: millstream_schemas::tasks::Alias = serde_json::from_str(rest).ok()?;
            self.applied.insert((alias.service.clone(), alias.alias.clone()), alias);
            return Some(());
        }
        let (kind, row) = rest.split_once(' ')?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        match (word, &mut self.late) {
            ("put", None) => self.facts.push(Fact::read(kind, row).ok()?),
            ("put", Some(late)) => {
                let fact = Fact::read(kind, row).ok()?;
                late.insert(fact.key(), Some(fact));
            }
            ("gone", Some(late)) => {
                late.insert(Key { kind, columns: serde_json::from_str(row).ok()? }, None);
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
