//! Binds processes to processors, so that a database has one core and no other process runs on it.

use anyhow::{Context as _, ensure};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process may use now, by their numbers.
pub(crate) fn processors() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("ask which processors there are")?;
    Ok((0..CpuSet::MAX_CPU).filter(|number| set.is_set(*number)).collect())
}

/// Binds every thread of a process. What it starts from now on inherits that.
pub(crate) fn process(id: u32, processors: &[usize]) -> anyhow::Result<()> {
    ensure!(!processors.is_empty(), "no processor is left for process {id}");
    let mut set = CpuSet::new();
    for number in processors {
        ensure!(*number < CpuSet::MAX_CPU, "there is no processor {number}");
        set.set(*number);
    }
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).with_context(|| format!("look at process {id}"))?;
    for thread in threads.flatten() {
        let thread = thread.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        match sched_setaffinity(thread, &set) {
            // The thread has just ended.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("bind process {id} to processors {processors:?}")),
        }
    }
    Ok(())
}

/// Binds a process and its children. The process first, so that no child is started unbound meanwhile.
pub(crate) fn family(parent: u32, processors: &[usize]) -> anyhow::Result<()> {
    process(parent, processors)?;
    for child in super::machine::children(parent) {
        if let Err(error) = process(child, processors)
            && std::path::Path::new("/proc").join(child.to_string()).exists()
        {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_process_and_what_it_starts_stay_where_they_were_put() {
        let Some(last) = processors().unwrap().pop() else { panic!("no processor") };
        // Reads a line, then prints where a child of its own may run.
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "read go; sh -c 'grep Cpus_allowed_list /proc/self/status'"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        family(shell.id(), &[last]).unwrap();
        std::io::Write::write_all(&mut shell.stdin.take().unwrap(), b"go\n").unwrap();
        let output = shell.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("Cpus_allowed_list:\t{last}"));
    }
}
