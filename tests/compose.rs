//! The compose file is as its language wants it, closed to other machines, and repeatable.
//!
//! `tests/harness/compose-spec.json` is the schema of the Compose Specification (github.com/compose-spec/compose-spec,
//! `schema/compose-spec.json`, Apache-2.0), unchanged, as the npm package `dclint` 3.1.0 ships it under the name
//! `schemas/compose.schema.json`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use boon::{Compiler, Schemas};
use millstream_tests::{Proxy, Setup, database, until};
use serde_json::{Map, Value, json};

const SCHEMA: &str = include_str!("harness/compose-spec.json");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn compose() -> Value {
    serde_norway::from_str(&std::fs::read_to_string(root().join("docker-compose.yml")).unwrap()).unwrap()
}

fn services(compose: &Value) -> &Map<String, Value> {
    compose["services"].as_object().unwrap()
}

/// Texts of a list, or the names of a map.
fn names(value: &Value) -> BTreeSet<&str> {
    let list = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    list.chain(value.as_object().into_iter().flat_map(Map::keys).map(String::as_str)).collect()
}

/// What the schema has against a document.
fn wrong(document: &Value) -> Option<String> {
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.add_resource("compose_spec.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
    let schema = compiler.compile("compose_spec.json", &mut schemas).unwrap();
    schemas.validate(document, schema).err().map(|error| format!("{error:#}"))
}

#[test]
fn the_compose_file_is_as_the_specification_says() {
    let good = compose();
    assert_eq!(wrong(&good), None);
    let mut misspelt = good.clone();
    misspelt["services"]["kafka"]["helthcheck"] = json!({});
    assert!(wrong(&misspelt).is_some());
    let mut impatient = good;
    impatient["services"]["millstream"]["depends_on"]["postgres"]["condition"] = json!("service_ready");
    assert!(wrong(&impatient).is_some());
}

#[test]
fn every_published_port_is_for_this_machine_alone() {
    let compose = compose();
    let mut ports = BTreeSet::new();
    for (name, service) in services(&compose) {
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().unwrap_or_else(|| panic!("{name}: {port} names no address"));
            let (host, _) = port.rsplit_once(':').unwrap();
            assert!(host.starts_with("127.0.0.1:"), "{name}: {port}");
            assert!(ports.insert(host.to_owned()), "{name}: {port} is published twice");
        }
        assert_ne!(service["network_mode"], "host", "{name}");
    }
    assert!(ports.len() >= 3, "{ports:?}");
}

#[test]
fn every_service_says_how_it_is() {
    let compose = compose();
    for (name, service) in services(&compose) {
        let reason = service["x-no-healthcheck"].as_str().unwrap_or_default();
        let checked = !service["healthcheck"]["test"].is_null();
        assert!(checked != (reason.len() > 10), "{name} has a health check or a reason to have none");
    }
}

#[test]
fn every_image_is_one_version() {
    let compose = compose();
    for (name, service) in services(&compose) {
        let Some(image) = service["image"].as_str() else {
            let dockerfile = service["build"]["dockerfile"].as_str();
            let dockerfile = dockerfile.unwrap_or_else(|| panic!("{name} has neither image nor build"));
            assert!(root().join(dockerfile).is_file(), "{name}: {dockerfile}");
            continue;
        };
        // A major version alone moves, and so does no version.
        let (_, version) = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image} has no version"));
        let numbers = version.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| !digits.is_empty());
        assert!(numbers.count() >= 2, "{name}: {image}");
    }
}

#[test]
fn services_wait_for_what_can_come() {
    let compose = compose();
    let services = services(&compose);
    for (name, service) in services {
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other = services.get(other).unwrap_or_else(|| panic!("{name} waits for {other}, which is not there"));
            match how["condition"].as_str() {
                Some("service_healthy") => assert!(!other["healthcheck"].is_null(), "{name}"),
                Some("service_completed_successfully") => assert_eq!(other["restart"], "no", "{name}"),
                condition => panic!("{name} waits for {condition:?}"),
            }
            // What is in no profile is always started.
            let ours = names(&service["profiles"]);
            let theirs = names(&other["profiles"]);
            let comes = theirs.is_empty() || !ours.is_empty() && ours.is_subset(&theirs);
            assert!(comes || how["required"] == false, "{name}: {ours:?} {theirs:?}");
        }
        for volume in names(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            assert!(names(&compose["volumes"]).contains(source), "{name}: {volume}");
        }
    }
}

/// The shell lines in the comment at the top, as somebody would paste them.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let comment = text.lines().map_while(|line| line.strip_prefix('#'));
    comment.filter_map(|line| line.strip_prefix("   ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_command_makes_tokens_that_millstream_takes() {
    let commands = commands();
    let (before, after) = commands[0].split_once(" && ").unwrap();
    assert!(after.ends_with("docker compose up --build"), "{after}");
    let database = database().await;
    let setup = Setup::new(&database);
    let made = Command::new("bash").arg("-c").arg(before).current_dir(setup.scratch()).status().unwrap();
    assert!(made.success(), "{before}");
    let compose = compose();
    let named = compose["secrets"]["tokens"]["file"].as_str().unwrap();
    let file = setup.scratch().join(named);
    let line = std::fs::read_to_string(&file).unwrap();
    let (name, token) = line.trim().split_once(':').unwrap();
    assert_eq!(name, "dev");
    // The container runs as another account, which must be able to read it.
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o044, 0o044, "{mode:o}");
    let millstream = setup.set(&format!("http.tokens_file={}", file.display())).start().await;
    let bearer = format!("Bearer {token}");
    let status = millstream.send(hyper::Method::GET, "/v1/status", &[("authorization", &bearer)], "").await.unwrap();
    assert_eq!(status.status, 200, "{}", status.text());
    millstream.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_health_check_of_millstream_asks_whether_events_are_taken() {
    let compose = compose();
    let test: Vec<&str> = services(&compose)["millstream"]["healthcheck"]["test"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let ["CMD", "bash", "-c", script] = test[..] else { panic!("{test:?}") };
    assert!(script.contains("/127.0.0.1/8080 "), "{script}");
    let healthy = |port: u16| {
        let script = script.replace("/8080", &format!("/{port}"));
        Command::new("bash").arg("-c").arg(script).output().unwrap().status.success()
    };
    let database = database().await;
    let proxy = Proxy::start(&database).await;
    let millstream = Setup::embedded().set(&format!("postgres.url={}", proxy.url())).start().await;
    let port = millstream.address().port();
    assert!(healthy(port));
    proxy.stall();
    until("the database to be missed", Duration::from_secs(30), || async {
        (millstream.get("/v1/status").await.json()["postgres"]["reachable"] == false).then_some(())
    })
    .await;
    assert!(healthy(port), "events are taken without a database");
    proxy.resume();
    until("the database to be back", Duration::from_secs(30), || async {
        (millstream.get("/readyz?for=queries").await.status == 200).then_some(())
    })
    .await;
    millstream.finish().await;
    assert!(!healthy(port));
}
