//! CPU and memory that processes have used, as the kernel counts it. Source: proc(5).

use std::collections::BTreeMap;
use std::path::Path;

/// CPU seconds of this process so far.
pub(crate) fn own_cpu_seconds() -> f64 {
    stat("self").map_or(0.0, |stat| stat.own)
}

/// CPU seconds of a process and its children, running or ended, one level deep: PostgreSQL's sessions are children of
/// its first process.
pub(crate) fn family_cpu_seconds(parent: u32) -> f64 {
    let family = stat(&parent.to_string()).map_or(0.0, |stat| stat.own + stat.reaped);
    let Ok(entries) = std::fs::read_dir("/proc") else { return family };
    let children = entries.flatten().filter_map(|entry| stat(entry.file_name().to_str()?));
    family + children.filter(|stat| stat.parent == parent).map(|stat| stat.own + stat.reaped).sum::<f64>()
}

/// Children of a process that have not ended.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbered.filter(|id: &u32| stat(&id.to_string()).is_some_and(|stat| stat.parent == parent)).collect()
}

/// As [`family_cpu_seconds`], but to the nanosecond for running processes: otherwise a thousand sessions that live for
/// milliseconds each round to nothing.
pub(crate) fn family_cpu_seconds_exact(parent: u32) -> f64 {
    let ran = |id: u32| {
        let text = std::fs::read_to_string(format!("/proc/{id}/schedstat")).ok()?;
        Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
    };
    let Some(own) = ran(parent) else { return family_cpu_seconds(parent) };
    let reaped = stat(&parent.to_string()).map_or(0.0, |stat| stat.reaped);
    own + reaped + children(parent).into_iter().filter_map(ran).sum::<f64>()
}

/// CPU seconds of PostgreSQL's processes so far, each by itself.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Its first process alone.
    own: f64,
    /// Those that have ended, which can no longer be told apart.
    ended: f64,
    /// By process id: the part that it is, and its seconds.
    children: BTreeMap<u32, (&'static str, f64)>,
}

/// Reads the family of PostgreSQL's first process.
pub(crate) fn postgres_parts(parent: u32) -> Parts {
    let first = stat(&parent.to_string());
    let (own, ended) = first.map_or((0.0, 0.0), |stat| (stat.own, stat.reaped));
    let mut children = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((name, stat)) = name.to_str().and_then(|name| Some((name, stat(name)?))) else { continue };
        if let (true, Ok(id)) = (stat.parent == parent, name.parse()) {
            children.insert(id, (part(name), stat.own + stat.reaped));
        }
    }
    Parts { own, ended, children }
}

impl Parts {
    /// CPU seconds since an earlier reading, by part. Ended processes are one part, whatever they were: autovacuum
    /// workers and short sessions.
    pub(crate) fn since(&self, earlier: &Parts) -> BTreeMap<&'static str, f64> {
        let mut parts = BTreeMap::from([("first process", self.own - earlier.own)]);
        for (id, (part, seconds)) in &self.children {
            let before = earlier.children.get(id).map_or(0.0, |(_, seconds)| *seconds);
            *parts.entry(part).or_default() += seconds - before;
        }
        let gone = earlier.children.iter().filter(|(id, _)| !self.children.contains_key(id));
        let gone: f64 = gone.map(|(_, (_, seconds))| *seconds).sum();
        parts.insert("ended", (self.ended - earlier.ended - gone).max(0.0));
        parts
    }
}

/// What a process of PostgreSQL does, from the title that it gives itself.
fn part(process: &str) -> &'static str {
    let title = std::fs::read_to_string(Path::new("/proc").join(process).join("cmdline")).unwrap_or_default();
    part_of_title(&title)
}

fn part_of_title(title: &str) -> &'static str {
    let known = [
        "checkpointer",
        "background writer",
        "walwriter",
        "autovacuum launcher",
        "autovacuum worker",
        "logical replication launcher",
        "io worker",
    ];
    // `postgres: walwriter`, with the name of the cluster between if it has one; sessions begin with their user.
    let title = title.rsplit(": ").next().unwrap_or_default();
    let is =
        |part: &&str| title.strip_prefix(*part).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\0']));
    known.into_iter().find(is).unwrap_or("sessions")
}

/// Resident bytes of this process now.
pub(crate) fn resident_bytes() -> u64 {
    status_kib("VmRSS:") * 1024
}

/// The most resident bytes of this process since [`reset_peak`].
pub(crate) fn peak_resident_bytes() -> u64 {
    status_kib("VmHWM:") * 1024
}

/// Begins a new measurement of the peak.
pub(crate) fn reset_peak() {
    // Not possible on every kernel; the peak is then that of the whole process, which is only larger.
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

/// The processor's name, for the record.
pub(crate) fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    format!("{} cores, {}", cores, name.map_or("unknown", |(_, name)| name))
}

struct Stat {
    parent: u32,
    own: f64,
    reaped: f64,
}

fn stat(process: &str) -> Option<Stat> {
    if process != "self" && !process.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = std::fs::read_to_string(Path::new("/proc").join(process).join("stat")).ok()?;
    // The second field is the name in parentheses and may hold anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    // Ticks are hundredths of a second on every Linux that Rust supports.
    let seconds = |index: usize| Some(fields.get(index)?.parse::<f64>().ok()? / 100.0);
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: seconds(11)? + seconds(12)?,
        reaped: seconds(13)? + seconds(14)?,
    })
}

fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_by_their_titles() {
        for (title, part) in [
            ("postgres: checkpointer \0\0", "checkpointer"),
            ("postgres: main: autovacuum worker millstream", "autovacuum worker"),
            ("postgres: io worker 0", "io worker"),
            ("postgres: millstream millstream [local] idle in transaction", "sessions"),
            ("postgres: walwriter_fan millstream [local] COPY", "sessions"),
        ] {
            assert_eq!(part_of_title(title), part, "{title}");
        }
    }

    #[test]
    fn what_ended_between_two_looks_is_not_counted_twice() {
        let looks = |ended, children: &[(u32, f64)]| Parts {
            own: 1.0,
            ended,
            children: children.iter().map(|(id, seconds)| (*id, ("sessions", *seconds))).collect(),
        };
        // Process 7 had used 2 seconds, used another one, and ended.
        let parts = looks(13.0, &[(8, 4.5)]).since(&looks(10.0, &[(7, 2.0), (8, 4.0)]));
        assert_eq!(parts, BTreeMap::from([("first process", 0.0), ("sessions", 0.5), ("ended", 1.0)]));
    }
}
