//! TLS and passwords.

use millstream_tests::parts::{Kafka, PASSWORD, USER};
use millstream_tests::{Generator, Setup};

use super::fleet::{Fleet, PATIENCE};
use super::load::send;

/// A process at the listener with both; `None` where it cannot be had.
async fn secured(kafka: &Kafka) -> Option<(Fleet, Setup)> {
    let listener = kafka.listener("SASL_SSL")?;
    let mut fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 2).await;
    fleet.client_setting("security.protocol", "SASL_SSL");
    fleet.client_setting("sasl.mechanism", "SCRAM-SHA-512");
    fleet.client_setting("sasl.username", USER);
    fleet.client_setting("ssl.ca.location", kafka.tls("ca.pem").to_str().unwrap());
    let setup = fleet.setup().set(&format!("stream.kafka.brokers={listener}"));
    let file = setup.scratch().join("password");
    let setup = setup.set(&format!("stream.kafka.password_file={}", file.display())).allow("kafka client:");
    Some((fleet, setup))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_through_tls_and_a_password_from_a_file() {
    let Some(kafka) = Kafka::shared().await else { return };
    let Some((fleet, setup)) = secured(kafka).await else { return };
    std::fs::write(setup.scratch().join("password"), format!("{PASSWORD}\n")).unwrap();
    let process = setup.start().await;
    let events = Generator::new("kafka tls").events(500);
    send(&fleet, &events).await;
    fleet.holds(&events, PATIENCE).await;
    assert!(!process.log().contains(PASSWORD));
    process.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_and_the_right_one_is_taken_at_the_next_start() {
    let Some(kafka) = Kafka::shared().await else { return };
    let Some((fleet, setup)) = secured(kafka).await else { return };
    let file = setup.scratch().join("password");
    std::fs::write(&file, "another").unwrap();
    let mut process = setup.spawn();
    assert_eq!(process.wait().await, 1, "{}", process.log());
    let log = process.log();
    assert!(log.contains("does not answer") && log.contains("uthentication failed"), "{log}");
    assert!(!log.contains("panicked") && !log.contains("another"), "{log}");
    std::fs::write(&file, PASSWORD).unwrap();
    let process = setup.start().await;
    let events = Generator::new("kafka password").events(200);
    send(&fleet, &events).await;
    fleet.holds(&events, PATIENCE).await;
    process.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_a_stranger_is_not_trusted() {
    let Some(kafka) = Kafka::shared().await else { return };
    let Some((mut fleet, _)) = secured(kafka).await else { return };
    fleet.client_setting("ssl.ca.location", kafka.tls("stranger.pem").to_str().unwrap());
    let listener = kafka.listener("SASL_SSL").unwrap();
    let setup = fleet.setup().set(&format!("stream.kafka.brokers={listener}"));
    let file = setup.scratch().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let mut process = setup.set(&format!("stream.kafka.password_file={}", file.display())).spawn();
    assert_eq!(process.wait().await, 1, "{}", process.log());
    assert!(process.log().contains("certificate verify failed"), "{}", process.log());
}

#[tokio::test]
async fn settings_that_break_the_guarantees_are_refused() {
    let output = |setting: &str| {
        let mut command = std::process::Command::new(millstream_tests::database::program());
        command.args(["validate", "--set", "stream.kind=kafka", "--set", "stream.kafka.brokers=127.0.0.1:1"]);
        command.args(["--set", &format!("stream.kafka.settings={{ {setting} }}")]);
        command.current_dir(std::env::temp_dir()).env("NO_COLOR", "1");
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let refused = [
        ("isolation.level", "read_uncommitted"),
        ("auto.offset.reset", "latest"),
        ("enable.auto.commit", "true"),
        ("enable.idempotence", "false"),
        ("group.instance.id", "one"),
        ("check.crcs", "false"),
    ];
    for (name, value) in refused {
        let (passed, said) = output(&format!("\"{name}\" = \"{value}\""));
        assert!(!passed && said.contains(name) && said.contains("cannot be set"), "{name}: {said}");
    }
    let (passed, said) = output("\"client.rack\" = \"a\"");
    assert!(passed, "{said}");
}
