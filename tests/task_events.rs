//! Events of tasks, posted as anybody posts them: every shape becomes a row, and what cannot become one is refused or
//! kept with its reason.

use hyper::Method;
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Event, Millstream, Response, Setup, compare, database};
use serde_json::{Value, json};

use crate::commands::command;
use crate::serving::event::{CLUSTER, Task, described};
use crate::serving::requests::{WITHIN, change, counts, create, is_refused, is_state, post, taken};
use crate::serving::{FOREIGN, setup, sources};

const ROWS: &str = "SELECT count(*) FROM millstream.task";

/// A task in each shape, and a deploy that makes them routable: all are rows, and `/v1/tasks` says what each waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shape_of_an_event_becomes_a_row_and_a_state() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    let task = |number: u8, id: &str| Task::running(id, &format!("127.66.9.{number}"));
    let bare = task(1, "bare");
    let gone = task(5, "gone");
    let later = task(6, "later").next("RUNNING", "STOPPED");
    let pending = Task { address: None, version: 1, ..task(7, "pending") }.next("PROVISIONING", "RUNNING");
    let outside = Task { address: Some("10.9.9.9".to_owned()), ..task(8, "outside") };
    taken(&millstream, "ecs", bare.detail()).await;
    taken(&millstream, "ecs", task(2, "bridge").bridge()).await;
    taken(&millstream, "ecs", described(&[task(3, "listed"), gone.clone()], &["missing"])).await;
    taken(&millstream, "ecs", task(4, "plain").plain()).await;
    let lines = [gone.next("STOPPED", "STOPPED"), later, pending, outside];
    taken(&millstream, "ecs", lines.iter().map(|task| format!("{}\n", task.bridge())).collect::<String>()).await;
    let sns = json!({ "Type": "Notification", "MessageId": "1", "Message": task(9, "by-sns").bridge().to_string() });
    taken(&millstream, "ecs", sns).await;
    counts(&database, ROWS, 10).await;

    is_state(&millstream, "bare", "no_deploy").await;
    let deploy = json!({ "selector": { "definition": "digits-blue:1" }, "port": 8066 });
    create(&millstream, "/v1/deploys/digits/blue", deploy).await;
    for (id, state) in [
        ("bare", "routable"),
        ("bridge", "routable"),
        ("listed", "routable"),
        ("plain", "routable"),
        ("by-sns", "routable"),
        ("gone", "gone"),
        ("missing", "gone"),
        ("later", "draining"),
        ("pending", "not_running"),
        ("outside", "address_refused"),
    ] {
        let item = is_state(&millstream, id, state).await;
        assert_eq!(item["source"], "ecs", "{item}");
        if state == "routable" {
            assert_eq!((&item["service"], &item["revision"]), (&json!("digits"), &json!("blue")), "{item}");
        }
    }
    let routable = millstream.get("/v1/tasks?service=digits&state=routable").await.json();
    assert_eq!(routable["items"].as_array().unwrap().len(), 5, "{routable}");
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}

/// R12: what is not newer changes nothing, and nothing revives what is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_event_that_comes_late_changes_nothing() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    let running = Task::running("t1", "127.66.9.1");
    let stopped = running.next("STOPPED", "STOPPED");
    let revived = Task { version: 40, ..running.clone() };
    for task in [&stopped, &running, &stopped, &revived] {
        taken(&millstream, "ecs", task.bridge()).await;
        millstream.caught_up(WITHIN).await;
    }
    let row = "SELECT count(*) FROM millstream.task WHERE rank = 2 AND status = 'STOPPED' AND version = 4";
    assert_eq!(database.number(row).await, 1);
    let states = is_state(&millstream, "t1", "gone").await;
    assert_eq!(states["status"], "STOPPED");
    let metrics = millstream.get("/metrics").await.text();
    for reason in ["duplicate", "after_gone"] {
        assert!(metrics.contains(&format!("\"{reason}\"")), "{reason} is counted: {metrics}");
    }
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}

/// R1: who speaks of a cluster that is not its own is heard, but not believed, until somebody says that it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_foreign_cluster_is_kept_and_written_once_that_is_listed() {
    let database = database().await;
    let setup = setup(&database).allow("record quarantined");
    let millstream = setup.start().await;
    let foreign = Task { cluster: FOREIGN, ..Task::running("foreign", "127.66.9.1") };
    taken(&millstream, "ecs", foreign.bridge()).await;
    taken(&millstream, "ecs", Task::running("ours", "127.66.9.2").bridge()).await;
    counts(&database, ROWS, 1).await;
    let kept = "SELECT count(*) FROM millstream.quarantine WHERE reason = 'foreign_cluster'";
    counts(&database, kept, 1).await;

    let redrive = |clusters: &[&str]| {
        let sources = sources(&["ecs"], clusters);
        command(&database, &setup, &["quarantine", "redrive", "--all", "--json", "--set", &sources])
    };
    let before = redrive(&[CLUSTER]);
    assert_eq!((before.code, &before.json()["removed"]), (1, &Value::from(0)), "{before:#?}");
    assert_eq!(before.json()["kept"][0]["reason"], "foreign_cluster");
    assert_eq!(database.number(ROWS).await, 1);
    let mended = redrive(&[CLUSTER, FOREIGN]);
    let report = mended.json();
    assert_eq!((mended.code, &report["removed"], &report["written"]), (0, &1.into(), &1.into()), "{mended:#?}");
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
    // The process hears of it like of any other change.
    let item = is_state(&millstream, "foreign", "no_deploy").await;
    assert_eq!(item["id"], "foreign", "{item}");
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}

/// R1: a record of a source that was unknown when it came is its own once the source is known, and nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_an_unknown_source_is_written_under_its_own_name() {
    let database = database().await;
    let setup = setup(&database).allow("record quarantined");
    let millstream = setup.start().await;
    taken(&millstream, "late", Task::running("t1", "127.66.9.3").bridge()).await;
    counts(&database, "SELECT count(*) FROM millstream.quarantine WHERE reason = 'unknown_source'", 1).await;
    let sources = sources(&["ecs", "late"], &[CLUSTER]);
    let ran = command(&database, &setup, &["quarantine", "redrive", "--all", "--json", "--set", &sources]);
    assert_eq!((ran.code, &ran.json()["written"]), (0, &1.into()), "{ran:#?}");
    assert_eq!(database.number("SELECT count(*) FROM millstream.task WHERE source = 'late'").await, 1);
    assert_eq!(database.number(ROWS).await, 1);
    millstream.finish().await;
}

/// What cannot be understood is accepted, since it may be understood later, and kept with its reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_an_event_is_said_in_the_quarantine() {
    let database = database().await;
    let millstream = setup(&database).allow("record quarantined").start().await;
    let task = |id: &str| Task::running(id, "127.66.9.1").bridge();
    let mut no_version = task("a");
    no_version["detail"].as_object_mut().unwrap().remove("version");
    let mut fraction = task("b");
    fraction["detail"]["version"] = json!(1.5);
    let mut late = task("c");
    late["detail"]["startedAt"] = "9999-01-01T00:00:00Z".into();
    let mut many = task("d");
    let container = many["detail"]["containers"][0].clone();
    many["detail"]["containers"] = vec![container; 300].into();
    let mut nul = task("e");
    nul["detail"]["group"] = "a\0b".into();
    let deploy = json!({
        "specversion": "1.0", "id": "1", "source": "/test", "type": "millstream.deploy.v1",
        "data": { "service": "digits", "revision": "blue", "generation": 7 },
    });
    for event in [no_version, fraction, late, many, nul, deploy] {
        taken(&millstream, "ecs", event).await;
    }
    counts(&database, "SELECT count(*) FROM millstream.quarantine", 6).await;
    let reasons: Vec<(String, i64)> =
        sqlx::query_as("SELECT reason, count(*) FROM millstream.quarantine GROUP BY 1 ORDER BY 1")
            .fetch_all(&mut database.connect().await)
            .await
            .unwrap();
    let count = |name: &str| reasons.iter().find(|(reason, _)| reason == name).map_or(0, |(_, count)| *count);
    assert_eq!((count("no_version"), count("not_allowed")), (2, 1), "{reasons:?}");
    assert_eq!(reasons.len(), 5, "each says what it is: {reasons:?}");
    assert_eq!(database.number(ROWS).await, 0);
    assert_eq!(database.number("SELECT count(*) FROM millstream.deploy").await, 0);
    millstream.finish().await;
}

/// R3: the refusal is of one item, and says what to do; the object beside it is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_pipeline_of_tasks_an_event_is_refused_and_its_neighbour_taken() {
    let database = database().await;
    let millstream = Setup::new(&database).start().await;
    let object = Event::create("uploads", "in/one", DAY_NS, 5);
    let task = Task::running("t1", "127.66.9.1");
    let mut body = format!("{}\n", task.bridge()).into_bytes();
    body.extend(object.json());
    let answer = millstream.post(body).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    let said = answer.json();
    assert_eq!((&said["accepted"], said["refused"].as_array().unwrap().len()), (&json!(1), 1), "{said}");
    let refused = &said["refused"][0];
    assert_eq!((&refused["index"], &refused["reason"]), (&json!(0), &json!("no_pipeline")), "{said}");
    assert!(refused["detail"].as_str().unwrap().contains("task_source"), "it says what to do: {said}");
    // Alone it is nothing that could be accepted.
    let alone = is_refused(&post(&millstream, "ecs", task.detail()).await, 422, "nothing-accepted");
    assert_eq!(alone["refused"][0]["reason"], "no_pipeline", "{alone}");
    millstream.caught_up(WITHIN).await;
    compare(&database, &millstream_tests::Model::of([&object])).await;
    assert_eq!(database.number(ROWS).await, 0);
    let answer = millstream.get("/v1/tasks").await;
    assert!(!answer.status.is_success() && answer.text().contains("task_source"), "{}", answer.text());
    millstream.finish().await;
}

const ALL: &str = "all-0123456789abcdef";
const A: &str = "aaa-0123456789abcdef";
const BUCKET: &str = "bucket-0123456789abcdef";

async fn ask(millstream: &Millstream, method: Method, path: &str, token: &str, body: Value) -> Response {
    let bearer = format!("Bearer {token}");
    change(millstream, method, path, ("authorization", &bearer), body).await
}

/// A token of one store is of one source; of a bucket there are no tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_source_neither_tells_nor_sees_of_another() {
    let database = database().await;
    let setup = Setup::new(&database).set(&sources(&["ecs-a", "ecs-b"], &[CLUSTER]));
    let file = setup.scratch().join("tokens");
    std::fs::write(&file, format!("{ALL}\n{A} store=ecs-a\n{BUCKET} bucket=uploads\n")).unwrap();
    let millstream = setup.set(&format!("http.tokens_file={}", file.display())).start().await;
    let event = |id: &str| Task::running(id, "127.66.9.1").bridge();
    let send = async |token: &str, path: &str, id: &str| {
        ask(&millstream, Method::POST, path, token, event(id)).await.status.as_u16()
    };
    assert_eq!(send(A, "/v1/events", "of-a").await, 202);
    assert_eq!(send(ALL, "/v1/events?store=ecs-b", "of-b").await, 202);
    assert_eq!(send(A, "/v1/events?store=ecs-b", "forged").await, 403);
    assert_eq!(send(BUCKET, "/v1/events?store=ecs-a", "of-bucket").await, 403);
    counts(&database, ROWS, 2).await;
    counts(&database, "SELECT count(*) FROM millstream.task WHERE source || id IN ('ecs-aof-a', 'ecs-bof-b')", 2).await;

    let listed = async |token: &str, path: &str| {
        let answer = ask(&millstream, Method::GET, path, token, Value::Null).await;
        (answer.status.as_u16(), answer.text())
    };
    let both = millstream_tests::until("both tasks to be seen", WITHIN, || async {
        let (_, text) = listed(ALL, "/v1/tasks").await;
        (text.contains("of-a") && text.contains("of-b")).then_some(text)
    })
    .await;
    assert!(both.contains("ecs-b"), "{both}");
    let (status, own) = listed(A, "/v1/tasks").await;
    assert!(status == 200 && own.contains("of-a") && !own.contains("of-b"), "{own}");
    assert_eq!(listed(A, "/v1/tasks?source=ecs-b").await.0, 403);
    // Routes belong to no source.
    for path in ["/v1/routes", "/v1/deploys", "/v1/gateways"] {
        assert_eq!(listed(A, path).await.0, 403, "{path}");
    }
    let forbidden = ask(&millstream, Method::PUT, "/v1/deploys/digits/blue", A, json!({})).await;
    assert_eq!(forbidden.status, 403, "{}", forbidden.text());
    assert_eq!(database.number("SELECT count(*) FROM millstream.deploy").await, 0);
    millstream.finish().await;
}
