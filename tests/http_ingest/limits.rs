//! Requests beyond what can be taken now, and what is told of them.

use std::time::Duration;

use millstream_engine::task;
use millstream_tests::event::lines;
use millstream_tests::{Event, Model, Setup, compare, database, until};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{SmallDisk, event, is_problem};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_appends_than_allowed_are_told_to_come_again() {
    let database = database().await;
    let millstream = std::sync::Arc::new(Setup::new(&database).set("http.appends_max=1").start().await);
    let mut taken = 0u64;
    let mut turned_away = 0u64;
    // Each round sends 32 at once, of which one at a time may wait for the disk.
    for round in 0..100 {
        let posts = (0..32).map(|number| {
            let millstream = std::sync::Arc::clone(&millstream);
            let event = event(&format!("{round}/{number}"));
            task::spawn("post", async move { millstream.post(lines(&[event])).await.unwrap() })
        });
        for post in posts.collect::<Vec<_>>() {
            let answer = post.await.unwrap();
            if answer.status == 202 {
                taken += 1;
                continue;
            }
            is_problem(&answer, 429, "too-many");
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            turned_away += 1;
        }
        if taken > 0 && turned_away > 0 {
            break;
        }
    }
    assert!(taken > 0 && turned_away > 0, "{taken} taken, {turned_away} turned away");
    millstream.caught_up(Duration::from_secs(30)).await;
    assert_eq!(database.number("SELECT count(*) FROM millstream.objects").await, taken as i64);
    std::sync::Arc::into_inner(millstream).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_is_finished_while_stopping() {
    let database = database().await;
    let setup = Setup::new(&database);
    let mut millstream = setup.start().await;
    let body = event("last").json();
    let (first, rest) = body.split_at(body.len() / 2);
    let mut stream = TcpStream::connect(millstream.address()).await.unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The answer to `expect` shows that the request is being served.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 Continue"));
    stream.write_all(first).await.unwrap();
    millstream.terminate();
    millstream.logged("draining", Duration::from_secs(10)).await;
    stream.write_all(rest).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(millstream.wait().await, 0);
    let again = setup.start().await;
    again.caught_up(Duration::from_secs(30)).await;
    compare(&database, &Model::of(&[event("last")])).await;
    again.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_named_and_appends_go_on_when_there_is_room_again() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=1").allow("partition");
    let Some(disk) = SmallDisk::mount(setup.data_dir().join("stream"), "4m") else {
        println!("skipped: no right to mount a file system");
        return;
    };
    let millstream = setup.start().await;
    let filler = disk.0.join("filler");
    let mut noise = Vec::new();
    while noise.len() < 8 << 20 {
        noise.extend_from_slice(&(noise.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    // Fills what is left, as somebody else's files would.
    assert!(std::fs::write(&filler, &noise).is_err(), "the disk is larger than thought");
    let number = std::cell::Cell::new(0u64);
    let send = async || {
        number.set(number.get() + 1);
        let events: Vec<Event> = (0..100).map(|at| event(&format!("{}/{at}", number.get()))).collect();
        millstream.post(lines(&events)).await.unwrap()
    };
    let answer = until("a full disk", Duration::from_secs(30), || async {
        let answer = send().await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    is_problem(&answer, 503, "disk-full");
    assert!(answer.header("retry-after").is_some());
    let ready = millstream.get("/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["checks"]["stream"]["ok"]), (503, &json!(false)));
    std::fs::remove_file(&filler).unwrap();
    until("room", Duration::from_secs(30), || async { (send().await.status == 202).then_some(()) }).await;
    assert_eq!(millstream.get("/readyz").await.status, 200);
    millstream.caught_up(Duration::from_secs(30)).await;
    millstream.finish().await;
    drop(disk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_status_tell_the_same() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let events: Vec<Event> = (0..50).map(|number| event(&format!("{number}"))).collect();
    let mut body = lines(&events);
    body.extend_from_slice(
        include_bytes!("../../schemas/fixtures/aws_test_event.json")
            .trim_ascii()
            .split(|byte| *byte == b'\n')
            .collect::<Vec<_>>()
            .concat()
            .as_slice(),
    );
    body.extend_from_slice(b"\nnonsense\n");
    let answer = millstream.post(body).await.unwrap().json();
    assert_eq!((answer["accepted"].as_u64(), answer["refused"].as_array().unwrap().len()), (Some(51), 1), "{answer}");
    millstream.caught_up(Duration::from_secs(30)).await;
    let status = millstream.get("/v1/status").await.json();
    let pipeline = &status["pipelines"][0];
    assert_eq!(
        (&pipeline["verdict"], &pipeline["records"], &pipeline["written"]),
        (&json!("keeping_up"), &json!(51), &json!(50))
    );
    assert_eq!((&pipeline["filtered"], &pipeline["lag_seconds"]), (&json!({ "test_event": 1 }), &json!(0.0)));
    assert!(pipeline["freshness_ms"]["p99"].as_u64().unwrap() <= pipeline["freshness_ms"]["max"].as_u64().unwrap());
    assert!(status["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20);
    let metrics = millstream.get("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text();
    for line in [
        "millstream_http_events_total{outcome=\"accepted\"} 51.0",
        "millstream_http_events_total{outcome=\"refused\"} 1.0",
        "millstream_http_requests_total{route=\"/v1/events\",method=\"POST\",status=\"202\"} 1",
        "millstream_source_records_total{pipeline=\"objects\"} 51.0",
        "millstream_source_lag_records{pipeline=\"objects\"} 0.0",
        "millstream_sink_written_events_total{pipeline=\"objects\"} 50.0",
        "millstream_sink_filtered_events_total{pipeline=\"objects\",reason=\"test_event\"} 1.0",
        "millstream_sink_filtered_named_events_total{pipeline=\"objects\",reason=\"test_event\",name=\"s3:TestEvent\"} 1.0",
        "millstream_ready{for=\"events\"} 1.0",
        "millstream_commit_freshness_seconds_count{pipeline=\"objects\"} 51",
        "millstream_commit_freshness_seconds_bucket{le=\"+Inf\",pipeline=\"objects\"} 51",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let page = millstream.get("/").await;
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self'"));
    assert!(!page.text().contains("onclick") && !page.text().contains("<style"));
    millstream.finish().await;
}
