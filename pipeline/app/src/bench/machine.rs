//! What processes have used, as the kernel counts it. Source: proc(5).

use std::path::Path;

/// CPU seconds of this process so far.
pub(crate) fn own_cpu_seconds() -> f64 {
    stat("self").map_or(0.0, |stat| stat.own)
}

/// CPU seconds of a process and everything it has started and reaped or still has, one level deep: PostgreSQL's
/// sessions are children of its first process.
pub(crate) fn family_cpu_seconds(parent: u32) -> f64 {
    let family = stat(&parent.to_string()).map_or(0.0, |stat| stat.own + stat.reaped);
    let Ok(entries) = std::fs::read_dir("/proc") else { return family };
    let children = entries.flatten().filter_map(|entry| stat(entry.file_name().to_str()?));
    family + children.filter(|stat| stat.parent == parent).map(|stat| stat.own + stat.reaped).sum::<f64>()
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
