//! A real file system of one MiB, filled to the last byte.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use millstream_log::{AppendError, Cause, Log, Options, Topic};

use crate::support::{Random, append, read_all, record};

const MOUNTED: &str = "MILLSTREAM_LOG_SMALL_DISK";

/// Not a test of its own: runs where the small file system is mounted.
#[test]
fn child() {
    let Some(mounted) = std::env::var_os(MOUNTED) else { return };
    let filler = Path::new(&mounted).join("filler");
    let directory = Path::new(&mounted).join("log");
    std::fs::write(&filler, vec![0; 300_000]).unwrap();
    let options = Options { segment_bytes: Some(100_000), mend_delay: Some(Duration::ZERO), ..Options::default() };
    let topic = Log::open(&directory, options.clone()).unwrap().topic("t", 2).unwrap();
    let mut random = Random::new(1);
    let mut stored: Vec<Vec<u8>> = Vec::new();
    let mut failures = 0;
    while failures < 20 {
        let payload = random.bytes(5_000);
        match append(&topic, vec![record(1, payload.clone())]) {
            Ok(_) => stored.push(payload),
            Err(AppendError::NotDurable { failed, .. }) => {
                assert!(matches!(&failed[0].cause, Cause::Fault(fault) if fault.is_space()), "{failed:?}");
                failures += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stored.len() > 50, "{} were stored before it was full", stored.len());
    let check = |stored: &[Vec<u8>], topic: &Topic| {
        let records = read_all(topic, 1).unwrap();
        assert!(records.iter().map(|record| record.payload.as_ref()).eq(stored.iter().map(Vec::as_slice)));
    };
    check(&stored, &topic);
    std::fs::remove_file(&filler).unwrap();
    let payload = random.bytes(5_000);
    append(&topic, vec![record(1, payload.clone())]).unwrap();
    stored.push(payload);
    check(&stored, &topic);
    drop(topic);
    check(&stored, &Log::open(&directory, options).unwrap().topic("t", 2).unwrap());
    eprintln!("survived");
}

#[test]
fn and_appends_go_on_once_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    // A mount namespace of its own: nothing is left behind, and in a user namespace it needs no privilege.
    let script = "mount -t tmpfs -o size=1m small-disk \"$MILLSTREAM_LOG_SMALL_DISK\" || exit 77; exec \"$0\" --exact full_disk_is_survived::child --nocapture";
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(MOUNTED, directory.path())
        .output();
    let Ok(output) = run else { return eprintln!("skipped: there is no unshare(1)") };
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || said.contains("unshare failed") || said.contains("Operation not permitted") {
        return eprintln!("skipped: no file system can be mounted here: {said}");
    }
    assert!(output.status.success() && said.contains("survived"), "{said}");
}
