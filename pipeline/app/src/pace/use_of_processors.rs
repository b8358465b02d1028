//! How busy the server's processors are, where the server runs on this machine.
//!
//! PostgreSQL does not report that its clients wait for a processor; if they share this machine, the system does.
//! Elsewhere, and if the system does not report it, nothing is known.

use std::collections::BTreeMap;
use std::fs::read_to_string;

/// Measures repeatedly: what is in use is a difference between two readings.
#[derive(Debug, Default)]
pub(super) struct UseOfProcessors {
    before: Option<Ticks>,
}

/// Shares of the processors that the server may use, since the last reading, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Used {
    /// In use.
    pub(super) all: f64,
    /// In use by our sessions, and by this process where it may use the same processors.
    pub(super) ours: f64,
}

/// Time of processors since the machine was started, in the unit of `/proc/stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
    /// By process.
    ours: BTreeMap<String, u64>,
}

impl UseOfProcessors {
    /// What was used since the last reading. `pid` is one of the server's sessions, `writers` are ours.
    pub(super) fn look(&mut self, pid: i32, writers: &[i32]) -> Option<Used> {
        let now = ticks(pid, writers)?;
        let before = self.before.replace(now.clone())?;
        let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let part = |ticks: u64| (ticks as f64 / all as f64).min(1.0);
        // Sessions come and go.
        let since =
            |(process, ticks): (&String, &u64)| ticks.saturating_sub(*before.ours.get(process).unwrap_or(ticks));
        let ours = part(now.ours.iter().map(since).sum());
        Some(Used { all: 1.0 - part(now.idle.saturating_sub(before.idle)), ours })
    }
}

/// Ticks of the processors that a PostgreSQL process on this machine may use. The id of a process elsewhere is hardly
/// ever mistaken for one here: the process here would have to be PostgreSQL's, too.
fn ticks(pid: i32, writers: &[i32]) -> Option<Ticks> {
    if read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end() != "postgres" {
        return None;
    }
    let allowed = allowed(&pid.to_string())?;
    let mut ticks = sum(&read_to_string("/proc/stat").ok()?, &allowed);
    let shared = |(first, last): &(u32, u32)| allowed.iter().any(|(least, most)| first <= most && least <= last);
    let this = self::allowed("self")?.iter().any(shared).then(|| "self".to_owned());
    for process in writers.iter().map(i32::to_string).chain(this) {
        let used = read_to_string(format!("/proc/{process}/stat")).ok().and_then(|stat| of_process(&stat));
        ticks.ours.extend(used.map(|used| (process, used)));
    }
    Some(ticks)
}

/// The processors that a process may use.
fn allowed(process: &str) -> Option<Vec<(u32, u32)>> {
    let status = read_to_string(format!("/proc/{process}/status")).ok()?;
    processors(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

/// `pid (comm) state ppid ..`, see proc_pid_stat(5): the 14th and 15th are what it used in user and in kernel mode. The
/// name may hold anything.
fn of_process(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace().skip(11).map_while(|word| word.parse::<u64>().ok());
    words.next()?.checked_add(words.next()?)
}

/// The ranges of a list such as `0-3,8`.
fn processors(list: &str) -> Option<Vec<(u32, u32)>> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    list.trim().split(',').map(range).collect()
}

/// `cpu3 user nice system idle iowait irq softirq steal guest guest_nice`, see proc_stat(5): the first two include the
/// last two, and a process that waits for a disk leaves its processor idle.
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
        assert_eq!(of("0\n"), Ticks { all: 967, idle: 807, ..Ticks::default() });
        assert_eq!(of(" 0-1,10"), Ticks { all: 967 + 11 + 30, idle: 807 + 10 + 20, ..Ticks::default() });
        assert_eq!(of("2-9"), Ticks::default());
        for wrong in ["", "a", "1-", "0,,2"] {
            assert_eq!(processors(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_is_no_server_here_tells_nothing() {
        let mut used = UseOfProcessors::default();
        for pid in [i32::try_from(std::process::id()).unwrap(), 0, -1, i32::MAX] {
            assert_eq!((used.look(pid, &[]), used.look(pid, &[])), (None, None));
        }
    }

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        let stat = "77 (a) b (c 1) S 1 77 77 0 -1 4194560 500 0 0 0 31 11 0 0 20 0 1 0 100 2000 300";
        assert_eq!(of_process(stat), Some(42));
        assert_eq!((of_process("77 (a) S 1"), of_process("")), (None, None));
    }
}
