//! The name of this process among the readers of a queue, which is the name of its partition.
//!
//! Two processes with one name would take the lease from each other again and again: nothing would be lost, but little
//! done. A new name at every start would leave a lease row behind each time. So the name has the smallest free number:
//! a host needs no more rows than it ever ran processes concurrently.

#[cfg(target_os = "linux")]
/// Numbered processes of one host that read one queue; further ones share a name.
const PROCESSES_MAX: u32 = 256;
#[cfg(target_os = "linux")]
/// Bytes of the queue's name that fit into the name of a socket.
const QUEUE_BYTES: usize = 72;

/// A name that no other process of this host has while this lives.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) name: String,
    /// Bound as long as the name is ours; the kernel frees it however the process ends.
    #[cfg(target_os = "linux")]
    _claim: Option<std::os::unix::net::UnixListener>,
}

impl Consumer {
    /// The configured name, or the host's with a number.
    pub(super) fn new(configured: Option<&str>, queue: &str) -> Self {
        match configured {
            Some(name) => Consumer {
                name: name.to_owned(),
                #[cfg(target_os = "linux")]
                _claim: None,
            },
            None => Consumer::claim(&host(), queue),
        }
    }

    #[cfg(target_os = "linux")]
    fn claim(host: &str, queue: &str) -> Self {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::{SocketAddr, UnixListener};
        let queue = queue.as_bytes();
        let queue = queue.get(queue.len().saturating_sub(QUEUE_BYTES)..).unwrap_or_default();
        for number in 0..PROCESSES_MAX {
            let mut address = format!("millstream sqs {number} ").into_bytes();
            address.extend_from_slice(queue);
            let bound = SocketAddr::from_abstract_name(address).and_then(|address| UnixListener::bind_addr(&address));
            match bound {
                Ok(claim) => return Consumer { name: format!("{host}-{number}"), _claim: Some(claim) },
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    tracing::warn!(%error, "the name of this consumer cannot be claimed; name it in the configuration if several processes of this host read the queue");
                    break;
                }
            }
        }
        Consumer { name: host.to_owned(), _claim: None }
    }

    #[cfg(not(target_os = "linux"))]
    fn claim(host: &str, _queue: &str) -> Self {
        Consumer { name: host.to_owned() }
    }
}

/// The name of the machine or the container.
fn host() -> String {
    let said = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let said = said.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name: String = said.trim().chars().take(100).collect();
    if name.is_empty() { "consumer".to_owned() } else { name }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_smallest_name_that_is_free() {
        let queue = format!("arn:aws:sqs:eu-west-1:123456789012:test-{}@1", std::process::id());
        let claim = || Consumer::claim("host", &queue);
        let first = claim();
        let second = claim();
        assert_eq!([&*first.name, &*second.name], ["host-0", "host-1"]);
        drop(first);
        assert_eq!(claim().name, "host-0");
        assert_eq!(Consumer::claim("host", "another").name, "host-0");
        assert_eq!(Consumer::new(Some("mine"), &queue).name, "mine");
    }
}
