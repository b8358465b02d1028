//! What lies on the disk belongs to one account: others neither read it, nor lock it, nor choose where root writes.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use millstream_tests::event::lines;
use millstream_tests::{Generator, Setup, database};

use crate::config::{Ran, millstream};

/// An account that every Linux has and that runs nothing.
const STRANGER: u32 = 5;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: only root can be another account");
    }
    root
}

fn command(setup: &Setup, arguments: &[&str]) -> Ran {
    let settings = setup.settings();
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let common = ["--data-dir", setup.data_dir().to_str().unwrap(), "--listen", "127.0.0.1:1"];
    millstream(setup.scratch(), &[], &[arguments, &settings, &common].concat())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Everything below a directory but what belongs to PostgreSQL itself.
fn all_below(directory: &Path) -> Vec<PathBuf> {
    let mut all = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let of_postgres = ["postgres/data", "postgres/run"].iter().any(|end| path.ends_with(end));
        if of_postgres {
            assert_eq!(mode(&path), 0o700, "{}", path.display());
        } else if path.is_dir() {
            all.extend(all_below(&path));
        } else {
            all.push(path);
        }
    }
    all
}

/// What others may do more than they should, with a private cluster or without.
fn loose(data_dir: &Path, embedded: bool) -> Vec<String> {
    let passes = if embedded && rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    let on_the_way = [data_dir.to_owned(), data_dir.join("postgres")];
    let allowed = |path: &Path| match path.is_dir() {
        true if on_the_way.iter().any(|way| way == path) => passes,
        true => 0o700,
        false => 0o600,
    };
    let all = all_below(data_dir).into_iter().filter(|path| mode(path) & !allowed(path) != 0);
    all.map(|path| format!("{:o} {}", mode(&path), path.display())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_reads_or_locks_what_lies_there() {
    let setup = Setup::embedded();
    let recording = setup.scratch().join("recording");
    let setup = setup.argument("--record").argument(recording.to_str().unwrap());
    let running = setup.start().await;
    running.post(lines(&Generator::new("private").events(500))).await.unwrap();
    running.caught_up(Duration::from_secs(30)).await;
    let nothing: [String; 0] = [];
    assert_eq!(loose(setup.data_dir(), true), nothing);
    assert_eq!(mode(&recording), 0o600);
    let stranger = |program: &str, path: &str| {
        let id = STRANGER.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", program]).arg(setup.data_dir().join(path));
        command.args(if program == "flock" { &["-n", "true"][..] } else { &[] });
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    if is_root() {
        for path in ["stream/lock", "postgres/server.lock", "postgres/start.lock", "postgres/users.lock"] {
            assert!(!stranger("flock", path), "{path} can be locked");
        }
        for path in [".", "stream", "postgres", "postgres/run"] {
            assert!(!stranger("ls", path), "{path} can be listed");
        }
        for path in ["address", "postgres/log", "stream/topics/objects/meta"] {
            assert!(!stranger("cat", path), "{path} can be read");
        }
    }
    running.finish().await;

    // As an earlier program left it.
    for path in all_below(setup.data_dir()) {
        let open = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(open)).unwrap();
    }
    let running = setup.start().await;
    assert_eq!(loose(setup.data_dir(), true), nothing);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_private_cluster_nobody_passes_either() {
    let database = database().await;
    let setup = Setup::new(&database);
    let running = setup.start().await;
    let nothing: [String; 0] = [];
    assert_eq!(loose(setup.data_dir(), false), nothing);
    running.finish().await;
}

#[tokio::test]
async fn root_opens_no_directory_of_somebody_else() {
    if !is_root() {
        return;
    }
    let setup = Setup::embedded();
    let data_dir = setup.data_dir().to_owned();
    fs::create_dir_all(data_dir.join("stream")).unwrap();
    let commands = [
        &["run"][..],
        &["status"],
        &["doctor"],
        &["consume", "--exit"],
        &["migrate"],
        &["psql"],
        &["user", "ls"],
        &["positions", "show"],
        &["quarantine", "ls"],
        &["produce"],
        &["demo", "--check"],
    ];
    let refused = |why: &str| {
        for arguments in commands {
            let ran = command(&setup, arguments);
            let said = format!("{}{}", ran.out, ran.err);
            assert!(ran.code == 1 && said.contains(why), "{arguments:?}: {ran:#?}");
        }
        assert!(!data_dir.join("postgres").exists() && !data_dir.join("stream/lock").exists());
    };
    let owner = |path: &Path, id: u32| std::os::unix::fs::lchown(path, Some(id), Some(id)).unwrap();
    let told = format!("{} belongs to user id {STRANGER}", data_dir.display());
    owner(&data_dir, STRANGER);
    refused(&told);
    // A part of it is somebody else's.
    owner(&data_dir, 0);
    owner(&data_dir.join("stream"), STRANGER);
    refused(&format!("{}/stream belongs to user id {STRANGER}", data_dir.display()));
    owner(&data_dir.join("stream"), 0);
    // A link on the way.
    let place = setup.scratch().join("place");
    fs::rename(&data_dir, &place).unwrap();
    symlink(&place, &data_dir).unwrap();
    owner(&data_dir, STRANGER);
    refused(&told);
}

#[tokio::test]
async fn no_link_inside_is_followed() {
    let outside = tempfile::tempdir().unwrap();
    for part in ["address", "stream", "postgres", "postgres/log", "stream/lock"] {
        let setup = Setup::embedded();
        let link = setup.data_dir().join(part);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let target = outside.path().join("kept");
        fs::write(&target, "kept").unwrap();
        symlink(&target, &link).unwrap();
        let ran = command(&setup, &["run"]);
        assert!(ran.code == 1 && ran.err.contains(&format!("{} is a link", link.display())), "{ran:#?}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        // `doctor` says so in its list.
        let ran = command(&setup, &["doctor"]);
        assert!(ran.code == 1 && ran.out.contains("is a link") && ran.out.contains("mount --bind"), "{ran:#?}");
    }
}

#[tokio::test]
async fn doctor_names_secrets_that_others_can_read() {
    let database = database().await;
    let setup = Setup::new(&database);
    let tokens = setup.scratch().join("tokens");
    let file = setup.scratch().join("millstream.toml");
    fs::write(&tokens, "0123456789abcdef0123\n").unwrap();
    let setup = setup.set(&format!("http.tokens_file={}", tokens.display()));
    let found = |mode_of_tokens: u32, mode_of_file: u32, text: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&tokens, Permissions::from_mode(mode_of_tokens)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode_of_file)).unwrap();
        let report = command(&setup, &["doctor", "--json"]).json();
        let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["name"] == "secrets");
        checks.map(|check| format!("{}: {}", check["state"].as_str().unwrap(), check["mend"])).collect::<Vec<_>>()
    };
    let secret = "[postgres]\npassword_file = \"none\"\nmigrate_url = \"postgres://o:geheim@127.0.0.1:1/x\"\n";
    let plain = "[stream]\npartitions = 12\n";
    let mend = |file: &Path, mode: &str| format!("note: \"chmod {mode} {}\"", file.display());
    assert_eq!(found(0o644, 0o644, plain), [mend(&tokens, "600")]);
    assert_eq!(found(0o660, 0o644, plain), [mend(&tokens, "640")]);
    assert_eq!(found(0o640, 0o644, plain), ["ok: null"]);
    let found = found(0o600, 0o644, &secret.replace("password_file = \"none\"\n", ""));
    assert_eq!(found, [format!("note: \"chmod 600 {}\"", "millstream.toml")]);
}

#[tokio::test]
async fn a_lock_of_a_stranger_is_told_with_the_command_that_names_him() {
    let setup = Setup::embedded();
    let lock = setup.data_dir().join("stream/lock");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    // Of a process that is gone.
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    fs::write(&lock, format!("{}\n", gone.id())).unwrap();
    let held = File::options().write(true).open(&lock).unwrap();
    held.lock().unwrap();
    let ran = command(&setup, &["run"]);
    let told = format!(
        "{0} is held by another process (millstream noted {1}, which is gone): `fuser {0}` names it",
        lock.display(),
        gone.id()
    );
    assert!(ran.code == 1 && ran.err.contains(&told), "{ran:#?}");
    fs::write(&lock, format!("{}\n", std::process::id())).unwrap();
    let ran = command(&setup, &["run"]);
    assert!(ran.err.contains(&format!("is held by process {}", std::process::id())), "{ran:#?}");
}
