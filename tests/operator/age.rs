//! How old the oldest waiting record is, of each engine.

use millstream_tests::kinesis::Shards;
use millstream_tests::parts::{ElasticMq, Kafka, Kinesalite, unique};
use millstream_tests::{Setup, until};

use super::{WITHIN, reaches};

/// With a database that is away from the start nothing is in hand, and the age of what may wait is told all the same.
async fn age_is_told(setup: Setup) {
    let setup = setup.set("postgres.url=postgres://nobody@127.0.0.1:1/nowhere").allow("");
    let mut running = setup.spawn();
    running.ready_for("events").await;
    reaches(&running, "database_away").await;
    until("the age to grow", WITHIN, || async {
        let metrics = running.get("/metrics").await.text();
        let age = metrics.lines().find(|line| line.starts_with("millstream_source_lag_seconds{"))?;
        age.rsplit(' ').next()?.parse::<f64>().is_ok_and(|age| age > 1.0).then_some(())
    })
    .await;
    let status = running.get("/v1/status").await.json();
    assert!(status["pipelines"][0]["lag_seconds"].as_f64().unwrap() > 1.0, "{status:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_what_waits_in_kafka_is_told_while_the_database_is_away() {
    let Some(kafka) = Kafka::shared().await else { return };
    let topic = unique("age");
    kafka.topics.create(&topic, 2, &[]).await;
    let setup = Setup::embedded()
        .set("stream.kind=kafka")
        .set(&format!("stream.kafka.brokers={}", kafka.bootstrap()))
        .set(&format!("pipeline.objects.source.topic={topic}"))
        .set(&format!("pipeline.objects.source.group={topic}"));
    age_is_told(setup).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_what_waits_in_kinesis_is_told_while_the_database_is_away() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 2).await;
    let setup = Setup::embedded()
        .set("stream.kind=kinesis")
        .set(&format!("stream.kinesis={{ endpoint = \"{}\", region = \"us-east-1\" }}", service.endpoint()))
        .set(&format!("pipeline.objects.source={{ kind = \"stream\", topic = \"{}\" }}", shards.name));
    let variables = shards.account.variables();
    age_is_told(variables.iter().fold(setup, |setup, (name, value)| setup.variable(name, value))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_what_waits_in_a_queue_is_told_while_the_database_is_away() {
    let Some(service) = ElasticMq::shared().await else { return };
    let account = service.account();
    let url = account.queue("age").await;
    let source = format!(
        "pipeline.objects.source={{ kind = \"sqs\", accept_loss_on_restore = true, queue = \"{url}\", endpoint = \"{}\", region = \"us-east-1\" }}",
        service.endpoint()
    );
    let variables = account.variables();
    let setup = Setup::embedded().set(&source);
    age_is_told(variables.iter().fold(setup, |setup, (name, value)| setup.variable(name, value))).await;
}
