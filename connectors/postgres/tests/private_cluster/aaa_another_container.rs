//! One cluster on a volume that two containers share.

use crate::stage::{Home, eventually, is_root, possible, skip};

/// Two containers with one volume: neither sees the processes of the other, so PostgreSQL's own guards are blind.
#[test]
fn a_server_in_another_container_keeps_the_cluster() {
    let apart = ["unshare", "--pid", "--ipc", "--net", "--mount", "--mount-proc", "--fork", "--kill-child"];
    if !(is_root() && possible(&[&apart[..], &["true"]].concat())) {
        return skip("needs root and namespaces for processes, ipc, network and mounts");
    }
    let home = Home::made();
    // A socket is found by its path in every namespace, so the other one also has a /run that is not this one's.
    let hide = format!(
        "mkdir -p {0}/run && chown --reference={0}/data {0}/run && chmod 700 {0}/run && \
         mkdir {0}/../run && mount --bind {0}/../run {0}/run && chown --reference={0}/data {0}/run && chmod 700 {0}/run && exec \"$0\" \"$@\"",
        home.path().display()
    );
    let mut there = home.program().wrap(&apart).wrap(&["sh", "-c", &hide]).start();
    there.opened();
    let here = home.start();
    // It waits, and is told apart from a start that failed.
    let said = here.refused();
    assert!(said.starts_with("something holds ") && said.contains("another container has this volume"), "{said}");
    assert_eq!(there.ask("SELECT 'undisturbed'"), "undisturbed");
    assert!(there.close());
    eventually("the lock to be free", || home.is_unused());
}
