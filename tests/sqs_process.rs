//! A process that reads a queue: straight into the tables, or through the stream, as its configuration says.

use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::parts::ElasticMq;
use millstream_tests::{Event, Model, Setup, compare, database, until};

const WITHIN: Duration = Duration::from_secs(60);

fn events() -> Vec<Event> {
    (0..120)
        .map(|number| Event::create("uploads", &format!("in/{number}"), DAY_NS + number * 1_000_000_000, 7))
        .collect()
}

/// Sends events to a queue of its own; reads them as `settings` say until the queue is empty and the status says so.
async fn read(settings: impl Fn(&str) -> Vec<String>, is_done: impl Fn(&serde_json::Value) -> bool) {
    let Some(service) = ElasticMq::shared().await else { return };
    let account = service.account();
    let url = account.queue("process").await;
    let database = database().await;
    let events = events();
    let client = aws_sdk_sqs::Client::new(&account.config().await);
    for event in &events {
        let body = String::from_utf8(event.json()).unwrap();
        client.send_message().queue_url(&url).message_body(body).send().await.unwrap();
    }
    let queue = format!("{{ queue = \"{url}\", endpoint = \"{}\", region = \"us-east-1\"", service.endpoint());
    let mut setup = Setup::new(&database);
    for setting in settings(&queue) {
        setup = setup.set(&setting);
    }
    for (name, value) in account.variables() {
        setup = setup.variable(name, &value);
    }
    let running = setup.start().await;
    let sql = "SELECT count(*) FROM millstream.objects";
    until("rows", WITHIN, || async { (database.number(sql).await == 120).then_some(()) }).await;
    let left = || async {
        let asked = client.get_queue_attributes().queue_url(&url);
        let asked = asked.attribute_names("ApproximateNumberOfMessagesNotVisible".into());
        let asked = asked.attribute_names("ApproximateNumberOfMessages".into()).send().await.unwrap();
        asked.attributes.unwrap().values().all(|count| count == "0").then_some(())
    };
    until("the queue to be empty", WITHIN, left).await;
    // The queue is empty before it has answered that, and what was deleted is counted after.
    let told = || async { is_done(&running.get("/v1/status").await.json()).then_some(()) };
    until("the status to say so", WITHIN, told).await;
    running.finish().await;
    compare(&database, &Model::of(&events)).await;
}

#[tokio::test]
async fn a_queue_is_read_straight_into_the_tables() {
    let straight = |queue: &str| {
        let source = queue.replacen("{ ", "{ kind = \"sqs\", accept_loss_on_restore = true, ", 1);
        vec![format!("pipeline.objects.source={source} }}")]
    };
    read(straight, |status| status["pipelines"][0]["written"] == 120).await;
}

#[tokio::test]
async fn a_queue_is_carried_into_the_stream() {
    let bridged = |queue: &str| vec![format!("bridge=[{{ from = {queue} }}, topic = \"objects\" }}]")];
    read(bridged, |status| status["bridges"][0]["deleted"] == 120 && status["pipelines"][0]["written"] == 120).await;
}
