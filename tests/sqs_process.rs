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

/// Sends events to a queue of its own; reads them as `settings` say, and gives the status at the end.
async fn read(settings: impl Fn(&str) -> Vec<String>) -> Option<serde_json::Value> {
    let service = ElasticMq::shared().await?;
    let account = service.account();
    let url = account.queue("process").await;
    let (database, events) = (database().await, events());
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
    // A poll that is still under way when the process leaves may hear of it.
    let running = setup.allow("runtime dropped the dispatch task").start().await;
    let sql = "SELECT count(*) FROM millstream.objects";
    until("rows", WITHIN, || async { (database.number(sql).await == 120).then_some(()) }).await;
    let left = || async {
        let asked = client.get_queue_attributes().queue_url(&url);
        let asked = asked.attribute_names("ApproximateNumberOfMessagesNotVisible".into());
        let asked = asked.attribute_names("ApproximateNumberOfMessages".into()).send().await.unwrap();
        asked.attributes.unwrap().values().all(|count| count == "0").then_some(())
    };
    until("the queue to be empty", WITHIN, left).await;
    let status = running.get("/v1/status").await.json();
    running.finish().await;
    compare(&database, &Model::of(&events)).await;
    Some(status)
}

#[tokio::test]
async fn a_queue_is_read_straight_into_the_tables() {
    let straight = |queue: &str| {
        let source = queue.replacen("{ ", "{ kind = \"sqs\", accept_loss_on_restore = true, ", 1);
        vec![format!("pipeline.objects.source={source} }}")]
    };
    let Some(status) = read(straight).await else { return };
    assert_eq!(status["pipelines"][0]["written"], 120);
}

#[tokio::test]
async fn a_queue_is_carried_into_the_stream() {
    let bridged = |queue: &str| vec![format!("bridge=[{{ from = {queue} }}, topic = \"objects\" }}]")];
    let Some(status) = read(bridged).await else { return };
    assert_eq!(status["bridges"][0]["deleted"], 120, "{status:#}");
    assert_eq!(status["pipelines"][0]["written"], 120);
}
