//! Events kept in a file: what each of them means, in one line of JSON, so that a later program and a later generator
//! can still be held against them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::objects::dialect::Dialect;
use crate::objects::event::{Description, Event, Kind};

const KINDS: [(&str, Kind); 5] = [
    ("describe", Kind::Describe),
    ("create", Kind::Create),
    ("marker", Kind::Marker),
    ("delete", Kind::Delete),
    ("remove_key", Kind::RemoveKey),
];
const DIALECTS: [(&str, Dialect); 4] = [
    ("minio", Dialect::Minio),
    ("aws", Dialect::Aws),
    ("eventbridge", Dialect::EventBridge),
    ("plain", Dialect::Plain),
];

/// Writes events into a compressed file, one a line.
///
/// # Panics
/// If it cannot be written.
pub fn write(path: &Path, events: &[Event]) {
    let lines: Vec<String> = events.iter().map(|event| line(event).to_string() + "\n").collect();
    write_text(path, &lines.concat());
}

/// Reads them back.
///
/// # Panics
/// If the file is not one of [`write()`].
pub fn read(path: &Path) -> Vec<Event> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    let lines = BufReader::new(GzDecoder::new(file)).lines().map(|line| line.expect("a line of text"));
    lines.map(|line| event(&serde_json::from_str(&line).expect(&line))).collect()
}

/// Writes a compressed file of text.
///
/// # Panics
/// If it cannot be written.
pub fn write_text(path: &Path, text: &str) {
    let file = std::fs::File::create(path).unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
    let mut encoder = GzEncoder::new(file, Compression::best());
    encoder.write_all(text.as_bytes()).expect("write a compressed file");
    encoder.finish().expect("write a compressed file");
}

/// Reads a compressed file of text.
///
/// # Panics
/// If it is none.
pub fn read_text(path: &Path) -> String {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).expect("compressed text");
    text
}

/// Packs the entry `name` of a directory into a file of tar and gzip.
///
/// # Panics
/// If `tar` fails.
pub fn pack(path: &Path, directory: &Path, name: &str) {
    tar(Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "-czf"])
        .arg(path)
        .arg("-C")
        .arg(directory)
        .arg(name));
}

/// Unpacks such a file into a directory.
///
/// # Panics
/// If `tar` fails.
pub fn unpack(path: &Path, directory: &Path) {
    tar(Command::new("tar").arg("-xzf").arg(path).arg("-C").arg(directory).arg("--no-same-owner"));
}

fn tar(command: &mut Command) {
    let output = command.output().expect("start tar");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn line(event: &Event) -> Value {
    let kind = KINDS.iter().find(|(_, kind)| *kind == event.kind).map(|(name, _)| name);
    let dialect = DIALECTS.iter().find(|(_, dialect)| *dialect == event.dialect).map(|(name, _)| name);
    let description = event
        .description
        .as_ref()
        .map(|told| json!({ "content_type": told.content_type, "metadata": told.metadata, "tags": told.tags }));
    json!({
        "store": event.store, "bucket": event.bucket, "key": event.key, "version": event.version,
        "kind": kind.expect("a kind with a name"), "at_ns": event.at_ns, "size": event.size, "etag": event.etag,
        "description": description, "dialect": dialect.expect("a dialect with a name"),
    })
}

fn event(line: &Value) -> Event {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let named = |name: &str| text(&line[name]).unwrap_or_else(|| panic!("no {name} in {line}"));
    let pairs = |value: &Value| {
        let members = value.as_object()?.iter();
        Some(members.map(|(name, value)| (name.clone(), text(value).expect("text"))).collect())
    };
    let kind = named("kind");
    let dialect = named("dialect");
    Event {
        store: named("store"),
        bucket: named("bucket"),
        key: named("key"),
        version: named("version"),
        kind: KINDS.iter().find(|(name, _)| *name == kind).expect("a known kind").1,
        at_ns: line["at_ns"].as_u64().expect("a time"),
        size: line["size"].as_i64(),
        etag: named("etag"),
        description: Some(&line["description"]).filter(|told| !told.is_null()).map(|told| Description {
            content_type: text(&told["content_type"]),
            metadata: pairs(&told["metadata"]),
            tags: pairs(&told["tags"]),
        }),
        dialect: DIALECTS.iter().find(|(name, _)| *name == dialect).expect("a known dialect").1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Generator;

    #[test]
    fn what_is_kept_is_read_back() {
        let events = Generator::new("archive").events(300);
        assert!(events.iter().all(|one| event(&line(one)) == *one));
    }
}
