//! What this process uses, as reported by Linux: <https://man7.org/linux/man-pages/man5/proc.5.html>.

use serde::Serialize;

/// The unit of times in `/proc/self/stat`: a constant of Linux on every architecture it runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory and processor time; null if the system does not report them.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    pub(super) resident_bytes: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
}

pub(super) fn usage() -> Usage {
    Usage { resident_bytes: resident_bytes(), cpu_seconds: cpu_seconds() }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold spaces and parentheses; the fields after it do not.
    let (_, fields) = stat.rsplit_once(')')?;
    // Fields 14 and 15, user and system time; the first after the name is number 3.
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(ticks as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_processor_time_and_memory_is_plausible() {
        let before = usage();
        let mut sum = 0u64;
        while usage().cpu_seconds.unwrap() < before.cpu_seconds.unwrap() + 0.05 {
            sum = (0..100_000u64).fold(sum, |sum, number| std::hint::black_box(sum ^ number));
        }
        assert!((1 << 20..1 << 36).contains(&before.resident_bytes.unwrap()), "{before:?}");
    }
}
