//! Which account PostgreSQL runs as, and what is said where there is none.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::stage::{Home, is_root, possible, skip};

/// What Docker leaves to root.
const DOCKER: &str = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,\
                      +net_bind_service,+sys_chroot,+kill,+audit_write";

/// Accounts that every Debian, Fedora and Alpine has and that run nothing.
fn account(name: &str) -> Option<u32> {
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

fn works(home: &Home, stage: crate::stage::Stage) -> u32 {
    let mut program = stage.start();
    program.opened();
    assert_eq!(program.ask("SELECT 'on'"), "on");
    let owner = fs::metadata(home.path().join("data")).unwrap().uid();
    assert!(program.close());
    owner
}

#[test]
fn root_steps_down() {
    if !is_root() {
        return skip("needs root");
    }
    let home = Home::made();
    let owner = works(&home, home.program());
    assert_ne!(owner, 0);
    let mode = fs::metadata(home.path().join("run")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_normal_user_needs_nothing() {
    let (true, Some(games)) = (is_root(), account("games")) else { return skip("needs root and the account games") };
    let home = Home::fresh().given_to(games);
    assert_eq!(works(&home, home.program().under(games)), games);
}

#[test]
fn nobody_needs_nothing() {
    let (true, Some(nobody)) = (is_root(), account("nobody")) else { return skip("needs root and the account nobody") };
    let home = Home::fresh().given_to(nobody);
    assert_eq!(works(&home, home.program().under(nobody)), nobody);
}

/// Whose directory root opens could make it read, or overwrite, anything.
#[test]
fn root_opens_no_cluster_of_another_user() {
    let (true, Some(games)) = (is_root(), account("games")) else { return skip("needs root and the account games") };
    let home = Home::made().given_to(games);
    assert_eq!(works(&home, home.program().under(games)), games);
    let said = home.start().refused();
    assert!(said.contains(&format!("{} belongs to user id {games}", home.path().display())), "{said}");
    // Of a part alone, too.
    std::os::unix::fs::chown(home.path(), Some(0), Some(0)).unwrap();
    let said = home.start().refused();
    assert!(said.contains(&format!("{} belongs to user id {games}", home.path().join("data").display())), "{said}");
}

#[test]
fn root_opens_a_cluster_of_the_account_it_would_use_and_that_again() {
    let (true, Some(nobody)) = (is_root(), account("nobody")) else { return skip("needs root and the account nobody") };
    let home = Home::made().given_to(nobody);
    assert_eq!(works(&home, home.program().under(nobody)), nobody);
    assert_eq!(works(&home, home.program()), nobody);
    assert_eq!(works(&home, home.program().under(nobody)), nobody);
    // Files that root makes there are that account's, too.
    std::fs::remove_file(home.path().join("log")).unwrap();
    assert_eq!(works(&home, home.program()), nobody);
    // And both at once.
    let mut user = home.program().under(nobody).start();
    let server = user.opened();
    let mut root = home.start();
    assert_eq!(root.opened(), server);
    assert!(!user.close());
    assert!(root.close());
}

#[test]
fn a_user_may_not_open_roots_cluster() {
    let (true, Some(games)) = (is_root(), account("games")) else { return skip("needs root and the account games") };
    let home = Home::made();
    let owner = fs::metadata(home.path().join("data")).unwrap().uid();
    let said = home.program().under(games).start().refused();
    let expected = format!("belongs to user id {owner}, and this is user id {games}");
    assert!(said.ends_with(&expected), "{said}");
}

/// Runs the program with another /etc/passwd, in a mount namespace of its own.
fn with_accounts(home: &Home, lines: &[&str]) -> Option<crate::stage::Stage> {
    if !(is_root() && possible(&["unshare", "-m", "true"])) {
        skip("needs root and a mount namespace");
        return None;
    }
    let passwd = home.place.path().join("passwd");
    fs::write(&passwd, lines.join("\n") + "\n").unwrap();
    fs::set_permissions(&passwd, fs::Permissions::from_mode(0o644)).unwrap();
    let mount = format!("mount --bind {} /etc/passwd && exec \"$0\" \"$@\"", passwd.display());
    Some(home.program().wrap(&["unshare", "-m", "sh", "-c", &mount]))
}

const ROOT: &str = "root:x:0:0:root:/root:/bin/sh";

#[test]
fn without_an_account_postgres_root_becomes_nobody() {
    let home = Home::fresh();
    let Some(stage) = with_accounts(&home, &[ROOT, "nobody:x:65534:65534:nobody:/:/bin/false"]) else { return };
    assert_eq!(works(&home, stage), 65534);
}

#[test]
fn an_account_millstream_is_preferred() {
    let home = Home::fresh();
    let lines = [ROOT, "nobody:x:65534:65534::/:/bin/false", "millstream:x:7777:7777::/:/bin/false"];
    let Some(stage) = with_accounts(&home, &lines) else { return };
    assert_eq!(works(&home, stage), 7777);
}

#[test]
fn without_any_account_root_is_told() {
    let home = Home::fresh();
    let Some(stage) = with_accounts(&home, &[ROOT]) else { return };
    let said = stage.start().refused();
    assert!(said.contains("no account `millstream`, `postgres` or `nobody`"), "{said}");
}

#[test]
fn a_number_without_an_account_cannot_make_a_cluster_but_can_run_one() {
    if !is_root() {
        return skip("needs root");
    }
    let home = Home::fresh().given_to(12345);
    let said = home.program().under(12345).start().refused();
    assert!(said.contains("could not look up effective user ID 12345"), "{said}");
    assert!(said.contains("RUN useradd --uid ID millstream"), "{said}");
    let home = Home::made().given_to(12345);
    assert_eq!(works(&home, home.program().under(12345)), 12345);
}

#[test]
fn root_with_the_capabilities_of_docker_steps_down() {
    let docker = ["setpriv", "--inh-caps", "-all", "--bounding-set", DOCKER, "--"];
    if !(is_root() && possible(&[&docker[..], &["true"]].concat())) {
        return skip("needs root and those capabilities");
    }
    let home = Home::fresh();
    assert_ne!(works(&home, home.program().wrap(&docker)), 0);
}

#[test]
fn root_without_capabilities_is_told() {
    let bare = ["setpriv", "--inh-caps", "-all", "--bounding-set", "-all", "--"];
    if !(is_root() && possible(&[&bare[..], &["true"]].concat())) {
        return skip("needs root and setpriv");
    }
    let home = Home::fresh();
    let said = home.program().wrap(&bare).start().refused();
    assert!(said.contains("may not change to user id") && said.contains("as a normal user"), "{said}");
}

#[test]
fn root_alone_in_a_user_namespace_is_told() {
    let alone = ["unshare", "--user", "--map-root-user"];
    if !(is_root() && possible(&[&alone[..], &["true"]].concat())) {
        return skip("needs root and a user namespace");
    }
    let home = Home::fresh();
    let said = home.program().wrap(&alone).start().refused();
    assert!(said.contains("may not change to user id"), "{said}");
}

#[test]
fn a_home_that_shuts_the_account_out_is_named() {
    if !is_root() {
        return skip("needs root");
    }
    // As /root is: searchable by root alone.
    let home = Home::fresh();
    let closed = home.place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let home = home.moved(closed.join("home"));
    let said = home.start().refused();
    assert!(said.contains(&format!("which {} shuts out", closed.display())), "{said}");
    assert!(said.contains("/var/lib/millstream"), "{said}");
}
