//! Where a setting is said decides which value wins; what is wrong is told with its place; no secret is ever shown.

use std::path::Path;
use std::process::{Command, Stdio};

use millstream_tests::database::program;
use serde_json::Value;

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs a command in a directory, with no setting of the environment but those given.
pub(crate) fn millstream(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = Command::new(program());
    let settings =
        std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("MILLSTREAM__"));
    for name in settings {
        command.env_remove(name);
    }
    if let Some(directory) = std::env::var_os("MILLSTREAM_TEST_PG_BIN") {
        command.env("MILLSTREAM_PG_BIN", directory);
    }
    let ended = command
        .envs(environment.iter().copied())
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("start millstream");
    Ran {
        code: ended.status.code().unwrap_or(-1),
        out: String::from_utf8(ended.stdout).expect("text"),
        err: String::from_utf8(ended.stderr).expect("text"),
    }
}

/// The value of a setting and where it was said.
fn effective(ran: &Ran, name: &str) -> (Value, String) {
    let settings = ran.json();
    let setting = settings["settings"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned();
    let setting = setting.unwrap_or_else(|| panic!("no {name} in {ran:#?}"));
    (setting["value"].clone(), setting["origin"].as_str().unwrap().to_owned())
}

const SHOW: [&str; 4] = ["config", "show", "--effective", "--json"];

#[test]
fn each_layer_wins_over_those_below_it_and_says_so() {
    let here = tempfile::tempdir().unwrap();
    let show = |environment: &[(&str, &str)], flags: &[&str]| {
        let ran = millstream(here.path(), environment, &[&SHOW[..], flags].concat());
        assert_eq!(ran.code, 0, "{ran:#?}");
        effective(&ran, "http.listen")
    };
    let said = |port: u16, origin: &str| (Value::from(format!("127.0.0.1:{port}")), origin.to_owned());
    assert_eq!(show(&[], &[]), said(8080, "default"));

    std::fs::write(here.path().join("millstream.toml"), "# one\n[http]\nlisten = \"127.0.0.1:1001\"\n").unwrap();
    assert_eq!(show(&[], &[]), said(1001, "millstream.toml:3:10"));

    let environment = [("MILLSTREAM__HTTP__LISTEN", "127.0.0.1:1002")];
    assert_eq!(show(&environment, &[]), said(1002, "environment MILLSTREAM__HTTP__LISTEN"));

    let set = ["--set", "http.listen=127.0.0.1:1003"];
    assert_eq!(show(&environment, &set), said(1003, "--set http.listen"));

    let flag = ["--listen", "127.0.0.1:1004", "--set", "http.listen=127.0.0.1:1003"];
    assert_eq!(show(&environment, &flag), said(1004, "--listen"));

    std::fs::write(here.path().join("other.toml"), "http.listen = \"127.0.0.1:1005\"\n").unwrap();
    assert_eq!(show(&[], &["--config", "other.toml"]), said(1005, "other.toml:1:15"));
}

#[test]
fn layers_add_to_each_other() {
    let here = tempfile::tempdir().unwrap();
    let file =
        "[stream]\npartitions = 3\n[[pipeline]]\nname = \"uploads\"\nsource = { kind = \"stream\", topic = \"u\" }\n";
    std::fs::write(here.path().join("millstream.toml"), file).unwrap();
    let environment = [
        ("MILLSTREAM__PIPELINE__UPLOADS__CONCURRENCY__MAX", "5"),
        ("MILLSTREAM__POSTGRES__POOL__CONNECTIONS_MAX", "9"),
    ];
    let set = [
        "--set",
        "pipeline.uploads.freshness=2s",
        "--set",
        "pipeline.uploads.source.topic=v",
        "--set",
        "postgres.settings.work_mem=64",
    ];
    let ran = millstream(here.path(), &environment, &[&SHOW[..], &set].concat());
    assert_eq!(ran.code, 0, "{ran:#?}");
    for (name, value, origin) in [
        ("stream.partitions", Value::from(3), "millstream.toml:2:14"),
        ("stream.kind", Value::from("log"), "default"),
        ("pipeline.uploads.name", Value::from("uploads"), "millstream.toml:4:8"),
        ("pipeline.uploads.store", Value::from("default"), "default"),
        (
            "pipeline.uploads.concurrency.max",
            Value::from(5),
            "environment MILLSTREAM__PIPELINE__UPLOADS__CONCURRENCY__MAX",
        ),
        ("pipeline.uploads.freshness", Value::from("2s"), "--set pipeline.uploads.freshness"),
        ("pipeline.uploads.source.topic", Value::from("v"), "--set pipeline.uploads.source.topic"),
        ("postgres.pool.connections_max", Value::from(9), "environment MILLSTREAM__POSTGRES__POOL__CONNECTIONS_MAX"),
        ("postgres.settings.work_mem", Value::from("64"), "--set postgres.settings.work_mem"),
    ] {
        assert_eq!(effective(&ran, name), (value, origin.to_owned()), "{name}");
    }
}

#[test]
fn every_mistake_is_told_with_its_place_and_a_remedy() {
    let here = tempfile::tempdir().unwrap();
    let file = "[stream]\npartitons = 3\nretention_seconds = \"a week\"\n\n[htp]\nx = 1\n\n[http]\nlisten = \"localhost\"\ntokens = 1\n";
    std::fs::write(here.path().join("bad.toml"), file).unwrap();
    let expected = [
        "bad.toml:2:1: there is no setting `partitons` in `stream`; did you mean `partitions`?",
        "bad.toml:3:21: `stream.retention_seconds` takes a whole number, 0 or more, not the text \"a week\"",
        "bad.toml:5:2: there is no setting `htp`; did you mean `http`?",
        "bad.toml:9:10: `http.listen` takes an IP address and a port, such as \"127.0.0.1:8080\"",
        "bad.toml:10:1: there is no setting `tokens` in `http`; did you mean `tokens_file`?",
        "environment MILLSTREAM__LIMITS__MEMORY: there is no setting `memory` in `limits`; did you mean `memory_bytes`?",
        "--set pipeline.object.freeze: there is no pipeline `object`; known are `objects`",
        "--set stream.partitions: `stream.partitions` takes a whole number from 0 to 4294967295, not the text \"many\"",
    ];
    let environment = [("MILLSTREAM__LIMITS__MEMORY", "1")];
    let set = ["--set", "pipeline.object.freeze=true", "--set", "stream.partitions=many"];
    let ran = millstream(here.path(), &environment, &[&["validate", "bad.toml"], &set[..]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (78, ""));
    assert_eq!(ran.err.lines().collect::<Vec<_>>(), expected);

    // The program itself refuses in the same words, before it touches anything.
    let data = here.path().join("data");
    let arguments = ["run", "--config", "bad.toml", "--data-dir", data.to_str().unwrap()];
    let ran = millstream(here.path(), &environment, &[&arguments, &set[..]].concat());
    assert_eq!(ran.code, 78);
    assert_eq!(ran.err.lines().collect::<Vec<_>>(), expected);
    assert!(!data.exists());
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let here = tempfile::tempdir().unwrap();
    for (set, told) in [
        (
            "http.listen=0.0.0.0:80",
            "--set http.listen: `http.listen` is 0.0.0.0:80, which others can reach: name a file of tokens",
        ),
        ("stream.partitions=0", "--set stream.partitions: `stream.partitions` is from 1 to 1024"),
        (
            "pipeline.objects.concurrency.max=0",
            "--set pipeline.objects.concurrency.max: `pipeline.objects.concurrency.max` is from 1 to 64",
        ),
        (
            "pipeline.objects.concurrency.min=5",
            "--set pipeline.objects.concurrency.min: `pipeline.objects.concurrency.min` is from 1 to concurrency.max",
        ),
        (
            "pipeline.objects.writers=4",
            "there is no setting `writers` in `pipeline.objects` any more; it is `concurrency = { max = .. }` now",
        ),
        ("controller.transaction_max=1h", "`controller.transaction_max` is from 10ms to 10m"),
        ("pipeline.objects.name=a b", "`pipeline.a b.name` has letters"),
        ("postgres.embedded=false", "--set postgres.embedded: postgres.embedded is false, and neither"),
        ("postgres.pg_port=0", "--set postgres.pg_port: postgres.pg_port: PostgreSQL cannot choose a port"),
        ("http.drain_notice_seconds=601", "`http.drain_notice_seconds` is at most 600"),
        ("limits.memory_bytes=5", "--set limits.memory_bytes: `limits.memory_bytes` is 5; it must be at least"),
        ("nothing", "--set nothing: `nothing` has no `=`"),
    ] {
        let ran = millstream(here.path(), &[], &["validate", "--set", set]);
        assert_eq!(ran.code, 78, "{set}: {ran:#?}");
        assert!(ran.err.contains(told), "{set}: {ran:#?}");
    }
}

/// Two pipelines may read one topic, each all of it; what would give each a part is refused.
#[test]
fn what_two_pipelines_would_take_from_each_other_is_refused() {
    let here = tempfile::tempdir().unwrap();
    let validate = |sources: [&str; 2], more: &str| {
        let pipeline =
            |(name, source): (&str, &str)| format!("[[pipeline]]\nname = \"{name}\"\nsource = {{ {source} }}\n");
        let file: String = ["objects", "again"].into_iter().zip(sources).map(pipeline).collect();
        std::fs::write(here.path().join("millstream.toml"), file + more).unwrap();
        millstream(here.path(), &[], &["validate"])
    };
    let topic = "kind = \"stream\", topic = \"t\"";
    let group = "kind = \"stream\", topic = \"t\", group = \"millstream\"";
    let queue = "kind = \"sqs\", queue = \"q\"";
    let other = "kind = \"sqs\", queue = \"q\", region = \"eu-west-1\"";
    let bridge = "[[bridge]]\nfrom = { queue = \"q\" }\ntopic = \"t\"\n";
    let kafka = "[stream]\nkind = \"kafka\"\n";
    for (sources, more) in [
        ([topic, topic], kafka),
        ([group, topic], kafka),
        // The embedded stream has no groups: each reads all of it.
        ([group, group], ""),
        ([queue, other], ""),
        ([topic, other], bridge),
    ] {
        let ran = validate(sources, more);
        assert_eq!(ran.code, 0, "{sources:?}: {ran:#?}");
    }
    for (sources, more, told) in [
        ([group, group], kafka, "`pipeline.again.source.group` is that of pipeline objects, too, on the same topic"),
        ([topic, group], kafka, "`pipeline.again.source.group` is that of pipeline objects, too, on the same topic"),
        ([queue, queue], "", "`pipeline.again.source.queue` is q, as `pipeline.objects.source.queue` is"),
        ([topic, queue], bridge, "`bridge.0.from.queue` is q, as `pipeline.again.source.queue` is"),
    ] {
        let ran = validate(sources, more);
        assert!(ran.code == 78 && ran.err.contains(told), "{sources:?}: {ran:#?}");
    }
    // Each has its part of the memory, and a record must fit into that.
    let halves = "[limits]\nmemory_bytes = 4194304\n";
    let ran = validate([topic, topic], halves);
    assert!(ran.code == 78 && ran.err.contains("for each pipeline"), "{ran:#?}");
}

#[test]
fn no_secret_is_shown() {
    let here = tempfile::tempdir().unwrap();
    let url = "postgres://ana:geheim-1@db.example/x";
    let file = format!("[postgres]\nurl = \"{url}\"\nmigrate_url = \"postgres://ana:geheim-2@db.example/x\"\n");
    std::fs::write(here.path().join("millstream.toml"), &file).unwrap();
    let environment_url = [("MILLSTREAM__POSTGRES__URL", "postgres://ana:geheim-3@db.example/x")];
    let set = ["--set", "postgres.migrate_url=postgres://ana:geheim/4@db.example/x"];
    for (environment, flags) in [(&[][..], &[][..]), (&environment_url, &[]), (&environment_url, &set)] {
        for command in
            [&["config", "show"][..], &SHOW, &["config", "show", "--effective"], &["validate"], &["doctor"], &["psql"]]
        {
            // Doctor and psql look at servers: one that is not there.
            let nowhere = ["--set", "postgres.embedded=true"];
            let looks = matches!(command[0], "doctor" | "psql");
            let ran =
                millstream(here.path(), environment, &[command, flags, if looks { &nowhere } else { &[] }].concat());
            assert!(!ran.out.contains("geheim") && !ran.err.contains("geheim"), "{ran:#?}");
        }
    }
    let ran = millstream(here.path(), &[], &SHOW);
    assert_eq!(effective(&ran, "postgres.url").0, "postgres://ana:***@db.example/x");
    // Refused settings are not repeated where they hold a secret.
    let ran = millstream(here.path(), &[], &["validate", "--set", "postgres.url=postgres://ana:geheim#5@db.example/x"]);
    assert_eq!(ran.code, 78, "{ran:#?}");
    assert!(!ran.err.contains("geheim"), "{ran:#?}");
}

#[test]
fn the_file_that_init_writes_is_valid_and_says_the_defaults() {
    let here = tempfile::tempdir().unwrap();
    let values = |ran: &Ran| -> Vec<(Value, Value)> {
        let settings = ran.json();
        settings["settings"].as_array().unwrap().iter().map(|one| (one["name"].clone(), one["value"].clone())).collect()
    };
    let without = values(&millstream(here.path(), &[], &SHOW));
    assert_eq!(millstream(here.path(), &[], &["init"]).code, 0);
    assert_eq!(millstream(here.path(), &[], &["validate"]).code, 0);
    let with = millstream(here.path(), &[], &SHOW);
    assert_eq!(values(&with), without);
    assert!(effective(&with, "stream.partitions").1.starts_with("millstream.toml:"), "{with:#?}");

    let file = here.path().join("millstream.toml");
    std::fs::write(&file, "[stream]\npartitions = 7\n").unwrap();
    let refused = millstream(here.path(), &[], &["init"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "[stream]\npartitions = 7\n");
    assert_eq!(millstream(here.path(), &[], &["init", "--force"]).code, 0);
    assert_eq!(values(&millstream(here.path(), &[], &SHOW)), without);
}

#[test]
fn exit_codes_tell_what_is_to_be_mended() {
    let here = tempfile::tempdir().unwrap();
    let data = here.path().join("data");
    let data = data.to_str().unwrap();
    for (code, arguments) in [
        (0, &["--version"][..]),
        (2, &["completions", "bash"]),
        (2, &["no-such-command"]),
        (2, &["quarantine", "redrive"]),
        // None at all is no limit.
        (2, &["quarantine", "ls", "--limit", "0"]),
        (2, &["consume", "--count", "0"]),
        (2, &["why", "b", "k", "--since", "0s"]),
        (2, &["demo", "--rate", "0"]),
        (2, &["demo", "--for", "0s"]),
        // What would change nothing is refused.
        (2, &["bench", "append"]),
        (2, &["tune", "--simulate"]),
        (2, &["tune", "--replay", "file", "--seeds", "2"]),
        (2, &["init"]),
        (1, &["validate", "one.toml", "--config", "other.toml"]),
        (78, &["validate", "no-such-file.toml"]),
        (78, &["run", "--config", "no-such-file.toml"]),
        (78, &["run", "--set", "postgres.url_file=no-such-file"]),
        (1, &["status", "--listen", "127.0.0.1:1"]),
        (1, &["quarantine", "ls"]),
        (1, &["positions", "show"]),
        (1, &["counters", "check"]),
    ] {
        let ran = millstream(here.path(), &[], &[arguments, &["--data-dir", data]].concat());
        assert_eq!(ran.code, code, "{arguments:?}: {ran:#?}");
    }
    // What cannot be done without tables does not make any.
    assert!(!Path::new(data).join("postgres").exists());
}

#[test]
fn what_is_nearly_a_setting_of_the_environment_is_told() {
    let here = tempfile::tempdir().unwrap();
    let ran = millstream(here.path(), &[("MILLSTREAM_HTTP_LISTEN", "127.0.0.1:9000")], &["validate"]);
    let told = "environment MILLSTREAM_HTTP_LISTEN: `MILLSTREAM_HTTP_LISTEN` would change nothing; \
                did you mean `MILLSTREAM__HTTP__LISTEN`?";
    assert!(ran.code == 78 && ran.err.contains(told), "{ran:#?}");
    // As Kubernetes sets them for a service of that name.
    let ran = millstream(here.path(), &[("MILLSTREAM_HTTP_PORT", "tcp://10.0.0.1:80")], &["validate"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let help = millstream(here.path(), &[], &["help"]);
    assert!(
        help.code == 0 && help.out.contains("MILLSTREAM_LOG") && help.out.contains("MILLSTREAM_PG_BIN"),
        "{help:#?}"
    );
}

/// What the server refuses is told in its words, before anything is made.
#[test]
fn settings_of_the_server_are_asked_of_the_server() {
    let here = tempfile::tempdir().unwrap();
    let data = here.path().join("data");
    let common = ["--data-dir", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    for (set, told) in [
        ("postgres.settings.shared_bufers=1GB", "unrecognized configuration parameter \"shared_bufers\""),
        ("postgres.settings.shared_buffers=1XB", "Valid units for this parameter are"),
        ("postgres.settings.max_connections=0", "is outside the valid range"),
    ] {
        for command in ["validate", "run"] {
            let ran = millstream(here.path(), &[], &[&[command, "--set", set], &common[..]].concat());
            assert!(ran.code == 78 && ran.err.contains(told), "{ran:#?}");
        }
    }
    assert!(!data.join("postgres/data").exists());
    let ran = millstream(here.path(), &[], &["validate", "--set", "postgres.settings.fsync=off"]);
    assert!(ran.code == 0 && ran.out.contains("postgres.settings.fsync is off"), "{ran:#?}");
}

/// What stands in the way of listening is found before a cluster is made.
#[test]
fn a_taken_port_and_bad_tokens_are_found_first() {
    let here = tempfile::tempdir().unwrap();
    let data = here.path().join("data");
    let tokens = here.path().join("tokens");
    std::fs::write(&tokens, "short\n").unwrap();
    let tokens = format!("http.tokens_file={}", tokens.display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for (arguments, told) in
        [(["--listen", &*listen], "another process listens there"), (["--set", &*tokens], "line 1")]
    {
        let common = ["run", "--data-dir", data.to_str().unwrap()];
        let ran = millstream(here.path(), &[], &[&common, &arguments[..]].concat());
        assert!(ran.code == 1 && ran.err.contains(told), "{ran:#?}");
        assert!(!data.exists());
    }
}
