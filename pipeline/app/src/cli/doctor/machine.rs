//! Disk and limits of this machine.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::config::Config;

/// Minimum of free bytes: when the disk is full, the stream and PostgreSQL stop in good order, but they stop.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Per partition a segment, a mark and a reader; besides them HTTP connections, the database, sockets and libraries.
const FILES_PER_PARTITION: u64 = 4;
const FILES_BESIDE: u64 = 256;

pub(super) fn look(config: &Config) -> Vec<Check> {
    vec![writable(&config.data_dir), space(&config.data_dir), files(config)]
}

/// The directory, or its nearest parent that exists.
fn there(path: &Path) -> &Path {
    let mut path = path;
    while !path.exists() {
        path = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    path
}

fn writable(data_dir: &Path) -> Check {
    let name = "data directory";
    let place = there(data_dir);
    let shown = data_dir.display();
    if !place.is_dir() {
        return Check::bad(name, format!("{} is no directory", place.display()), "name another with --data-dir");
    }
    let state = if place == data_dir { "writable" } else { "will be made by `millstream run`" };
    // Checked by writing: permissions alone do not show read-only mounts and quotas.
    match tempfile::tempfile_in(place) {
        Ok(_) => Check::good(name, format!("{shown}: {state}")),
        Err(error) => Check::bad(
            name,
            format!("{} is not writable: {error}", place.display()),
            format!("chown or chmod {}, or name another with --data-dir", place.display()),
        ),
    }
}

fn space(data_dir: &Path) -> Check {
    let name = "free space";
    let place = there(data_dir);
    match rustix::fs::statvfs(place) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{:.1} GiB at {}", free as f64 / (1u64 << 30) as f64, place.display());
            if free < FREE_BYTES_MIN {
                Check::bad(
                    name,
                    found,
                    format!("make room (at least 1 GiB): du -xh {} | sort -h | tail", place.display()),
                )
            } else {
                Check::good(name, found)
            }
        }
        Err(error) => Check::note(name, format!("not known: {error}"), format!("df {}", place.display())),
    }
}

fn files(config: &Config) -> Check {
    let name = "open files";
    let topics = config.pipeline.len() as u64;
    let connections = (config.http.connections_max + config.http.connections_kept) as u64;
    let needed = FILES_BESIDE + connections + u64::from(config.stream.partitions) * topics * FILES_PER_PARTITION;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Check::bad(
            name,
            format!("{limit} allowed, {needed} needed"),
            format!("ulimit -n {}, or LimitNOFILE= in the systemd unit", needed.next_power_of_two()),
        ),
        Some(limit) => Check::good(name, format!("{limit} allowed, {needed} needed")),
        None => Check::good(name, "no limit"),
    }
}
