//! How busy the server's processors are, where the server runs on this machine.
//!
//! Nothing that PostgreSQL says of itself tells that its clients wait for a processor; where they share the machine, the
//! machine tells. Elsewhere, and where the system does not say, nothing is known.

use std::fs::read_to_string;

/// Looks again and again: what is in use is a difference between two looks.
#[derive(Debug, Default)]
pub(super) struct UseOfProcessors {
    before: Option<Ticks>,
}

/// Time of processors since the machine was started, in the unit of `/proc/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
}

impl UseOfProcessors {
    /// The part of the processors that the server may use that was in use since the last look, 0 to 1. `pid` is one of the
    /// server's sessions.
    pub(super) fn look(&mut self, pid: i32) -> Option<f64> {
        let now = ticks(pid);
        let before = std::mem::replace(&mut self.before, now);
        let (now, before) = (now?, before?);
        let (all, idle) = (now.all.checked_sub(before.all)?, now.idle.saturating_sub(before.idle));
        (all > 0).then(|| 1.0 - (idle as f64 / all as f64).min(1.0))
    }
}

/// Of the processors that a process of PostgreSQL on this machine may use. A process of another machine that has the
/// number of one here is hardly ever taken for it: that one would have to be PostgreSQL's, too.
fn ticks(pid: i32) -> Option<Ticks> {
    if read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end() != "postgres" {
        return None;
    }
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let allowed = processors(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)?;
    Some(sum(&read_to_string("/proc/stat").ok()?, &allowed))
}

/// The ranges of a list such as `0-3,8`.
fn processors(list: &str) -> Option<Vec<(u32, u32)>> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    list.trim().split(',').map(range).collect()
}

/// `cpu3 user nice system idle iowait irq softirq steal guest guest_nice`, see proc_stat(5): the last two are in the first
/// two already, and who waits for a disk leaves his processor idle.
fn sum(stat: &str, allowed: &[(u32, u32)]) -> Ticks {
    let mut sum = Ticks::default();
    for line in stat.lines().filter_map(|line| line.strip_prefix("cpu")) {
        let mut words = line.split_ascii_whitespace();
        let number = words.next().filter(|_| !line.starts_with(' ')).and_then(|number| number.parse::<u32>().ok());
        if number.is_none_or(|number| !allowed.iter().any(|(first, last)| (*first..=*last).contains(&number))) {
            continue;
        }
        for (at, ticks) in words.take(8).filter_map(|word| word.parse::<u64>().ok()).enumerate() {
            sum.all = sum.all.saturating_add(ticks);
            sum.idle = sum.idle.saturating_add(if matches!(at, 3 | 4) { ticks } else { 0 });
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  1000 0 500 9000 70 0 30 0 0 0\n\
        cpu0 100 1 50 800 7 2 3 4 99 99\n\
        cpu1 1 0 0 10 0 0 0 0 0 0\n\
        cpu10 5 0 5 20 0 0 0 0 0 0\n\
        intr 1 2 3\n";

    #[test]
    fn only_the_processors_of_the_server_are_summed() {
        let of = |list: &str| sum(STAT, &processors(list).unwrap());
        assert_eq!(of("0\n"), Ticks { all: 967, idle: 807 });
        assert_eq!(of(" 0-1,10"), Ticks { all: 967 + 11 + 30, idle: 807 + 10 + 20 });
        assert_eq!(of("2-9"), Ticks::default());
        for wrong in ["", "a", "1-", "0,,2"] {
            assert_eq!(processors(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_is_no_server_here_tells_nothing() {
        let mut used = UseOfProcessors::default();
        for pid in [i32::try_from(std::process::id()).unwrap(), 0, -1, i32::MAX] {
            assert_eq!((used.look(pid), used.look(pid)), (None, None));
        }
    }
}
