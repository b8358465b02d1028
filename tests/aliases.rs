//! Aliases over their life: generations only grow, a lost answer can be asked for again, history has every generation,
//! and the commands say all of it in words.

use hyper::Method;
use millstream_tests::{Database, Millstream, database};
use serde_json::{Value, json};

use crate::serving::requests::{change, command, create, is_refused, is_state, replace, says, taken};
use crate::serving::{event, setup, to};

const PROD: &str = "/v1/routes/digits/prod";

/// Revisions that an alias may mean.
async fn deployed(millstream: &Millstream) {
    for revision in ["blue", "green"] {
        let deploy = json!({ "selector": { "definition": format!("digits-{revision}:1") }, "port": 8066 });
        create(millstream, &format!("/v1/deploys/digits/{revision}"), deploy).await;
    }
}

/// The history, oldest first: generation, revision (`-` where it was deleted), begin and end.
async fn history(millstream: &Millstream) -> Vec<(i64, String, String, Option<String>)> {
    let answer = millstream.get(&format!("{PROD}/history")).await.json();
    let one = |item: &Value| {
        let revision = item["targets"][0]["revision"].as_str().unwrap_or_default();
        let revision = if item["deleted"] == true { "-" } else { revision };
        let text = |name: &str| item[name].as_str().map(str::to_owned);
        (item["generation"].as_i64().unwrap(), revision.to_owned(), text("valid_from").unwrap(), text("valid_to"))
    };
    let mut items: Vec<_> = answer["items"].as_array().unwrap().iter().map(one).collect();
    items.reverse();
    items
}

/// R30: a generation never comes twice, and what was deleted may be made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_grow_over_deletion() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    deployed(&millstream).await;
    create(&millstream, PROD, to("blue")).await;
    assert_eq!(replace(&millstream, PROD, 1, to("green")).await, 2);
    let deleted = change(&millstream, Method::DELETE, PROD, ("if-match", "\"2\""), "").await;
    assert_eq!((deleted.status.as_u16(), &deleted.json()["generation"]), (200, &json!(3)), "{}", deleted.text());
    is_refused(&millstream.get(PROD).await, 404, "not-found");
    let twice = change(&millstream, Method::DELETE, PROD, ("if-match", "\"3\""), "").await;
    assert_eq!(twice.status, 404, "{}", twice.text());
    let again = create(&millstream, PROD, to("blue")).await;
    assert_eq!((&again.json()["generation"], again.header("etag")), (&json!(4), Some("\"4\"")), "{}", again.text());

    // Rollback is a new generation, equal to the last but one that there was.
    let path = format!("{PROD}/rollback");
    assert_eq!(replace(&millstream, PROD, 4, to("green")).await, 5);
    let back = change(&millstream, Method::POST, &path, ("if-match", "\"5\""), "").await;
    assert_eq!((&back.json()["generation"], &back.json()["targets"]), (&json!(6), &to("blue")["targets"]));
    let forth = change(&millstream, Method::POST, &path, ("if-match", "\"6\""), "").await;
    assert_eq!((&forth.json()["generation"], &forth.json()["targets"]), (&json!(7), &to("green")["targets"]));

    let history = history(&millstream).await;
    let names: Vec<(i64, &str)> = history.iter().map(|(generation, revision, ..)| (*generation, &**revision)).collect();
    let wanted = [(1, "blue"), (2, "green"), (3, "-"), (4, "blue"), (5, "green"), (6, "blue"), (7, "green")];
    assert_eq!(names, wanted);
    for (one, next) in history.iter().zip(history.iter().skip(1)) {
        assert_eq!(one.3.as_ref(), Some(&next.2), "each begins when the one before ends");
    }
    assert_eq!(history.last().unwrap().3, None, "the newest one goes on");
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}

/// R31: a client that lost an answer asks again, and hears what it would have heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_again_gets_the_first_answer() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    deployed(&millstream).await;
    let named = |revision: &str, id: &str| json!({ "targets": to(revision)["targets"], "change_id": id });
    let first = create(&millstream, PROD, named("blue", "one")).await.json();
    let send = async |expected: (&str, &str), body: Value| {
        let answer = change(&millstream, Method::PUT, PROD, expected, body).await;
        (answer.status.is_success(), answer.json())
    };
    let (fine, again) = send(("if-none-match", "*"), named("blue", "one")).await;
    assert!(fine, "{again}");
    for name in ["generation", "targets", "change_id"] {
        assert_eq!(again[name], first[name], "{again}");
    }
    assert_eq!(rows(&database).await, 1, "it was made once");

    let (fine, second) = send(("if-match", "\"1\""), named("green", "two")).await;
    assert!(fine && second["generation"] == 2, "{second}");
    // Somebody else was faster than the repetition.
    assert_eq!(replace(&millstream, PROD, 2, to("blue")).await, 3);
    let (fine, again) = send(("if-match", "\"1\""), named("green", "two")).await;
    assert!(fine, "the first answer, whatever came after it: {again}");
    assert_eq!((&again["generation"], &again["targets"]), (&json!(2), &to("green")["targets"]), "{again}");
    assert_eq!(rows(&database).await, 3);
    assert_eq!(millstream.get(PROD).await.json()["generation"], 3, "nothing went back");

    // A change without a body has its id in the query.
    let path = format!("{PROD}?change_id=three");
    for _ in 0..2 {
        let deleted = change(&millstream, Method::DELETE, &path, ("if-match", "\"3\""), "").await;
        assert_eq!((deleted.status.as_u16(), &deleted.json()["generation"]), (200, &json!(4)), "{}", deleted.text());
    }
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}

/// Deploys are asked for again as aliases are, whatever came after them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_of_a_deploy_again_gets_the_first_answer() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    let path = "/v1/deploys/digits/blue";
    let ask = async |method: Method, condition: (&str, &str), id: &str, body: Value| {
        let answer = change(&millstream, method, &format!("{path}?change_id={id}"), condition, body).await;
        let said = answer.json();
        (answer.status.as_u16(), said["generation"].as_i64(), said["port"].as_i64(), said["retired"].as_bool())
    };
    let first = (201, Some(1), Some(1), Some(false));
    for _ in 0..2 {
        assert_eq!(ask(Method::PUT, ("if-none-match", "*"), "one", json!({ "port": 1 })).await, first);
    }
    let second = (200, Some(2), Some(2), Some(false));
    assert_eq!(ask(Method::PUT, ("if-match", "\"1\""), "two", json!({ "port": 2 })).await, second);
    assert_eq!(replace(&millstream, path, 2, json!({ "port": 3 })).await, 3, "somebody else was faster");
    assert_eq!(ask(Method::PUT, ("if-match", "\"1\""), "two", json!({ "port": 2 })).await, second);
    let retired = (200, Some(4), Some(3), Some(true));
    for _ in 0..2 {
        assert_eq!(ask(Method::DELETE, ("if-match", "\"3\""), "three", json!({})).await, retired);
    }
    assert_eq!(database.number("SELECT generation FROM millstream.deploy").await, 4, "each was made once");
    let dry = format!("{path}?change_id=four&dry_run=true");
    assert_eq!(change(&millstream, Method::PUT, &dry, ("if-match", "\"4\""), json!({})).await.json()["generation"], 5);
    assert_eq!(ask(Method::PUT, ("if-match", "\"4\""), "four", json!({})).await.1, Some(5), "a dry run made nothing");
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}

async fn rows(database: &Database) -> i64 {
    database.number("SELECT count(*) FROM millstream.alias_history").await
}

/// Many at once want the same generation: one of them gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_replace_the_same_generation_one_wins() {
    let database = database().await;
    let millstream = setup(&database).start().await;
    deployed(&millstream).await;
    create(&millstream, PROD, to("blue")).await;
    for expected in 1..=5 {
        let tag = format!("\"{expected}\"");
        let one = || change(&millstream, Method::PUT, PROD, ("if-match", &tag), to("green"));
        let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
        let mut statuses = [&a, &b, &c, &d].map(|answer| answer.status.as_u16());
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412], "generation {expected}");
    }
    assert_eq!(millstream.get(PROD).await.json()["generation"], 6);
    crate::tables::tasks::log_holds(&database).await;
    millstream.finish().await;
}

/// The commands, as a person and as a script use them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_set_and_show_routes() {
    let database = database().await;
    let setup = setup(&database);
    let millstream = setup.start().await;
    let run = |arguments: &[&str]| says(&setup, &millstream, arguments);
    assert!(run(&["route", "ls"]).contains("millstream route set"), "an empty list says what to do");
    assert!(run(&["deploy", "ls"]).contains("millstream deploy set"));
    assert!(run(&["task", "ls"]).contains("millstream produce"));

    let set = ["deploy", "set", "digits", "blue", "--definition", "digits-blue:1", "--port", "8066"];
    assert!(run(&[&set[..], &["--dry-run"]].concat()).contains("nothing was changed"));
    assert_eq!(database.number("SELECT count(*) FROM millstream.deploy").await, 0);
    assert!(run(&set).contains("digits/blue"), "{}", run(&set));
    run(&["deploy", "set", "digits", "green", "--definition", "digits-green:1", "--port", "8066"]);
    assert_eq!(run(&["route", "set", "digits", "prod", "blue"]).trim(), "digits/prod -> blue (generation 1)");
    let dry = run(&["route", "flip", "digits", "prod", "green", "--dry-run"]);
    assert!(dry.contains("nothing was changed") && dry.contains("digits/prod -> green (generation 2)"), "{dry}");
    assert_eq!(run(&["route", "flip", "digits", "prod", "green"]).trim(), "digits/prod -> green (generation 2)");
    assert_eq!(run(&["route", "rollback", "digits", "prod"]).trim(), "digits/prod -> blue (generation 3)");
    let canary = run(&["route", "set", "digits", "prod", "blue=90", "green=10", "--json"]);
    let canary: Value = serde_json::from_str(&canary).unwrap();
    assert_eq!((&canary["generation"], &canary["targets"][1]["weight"]), (&json!(4), &json!(10)), "{canary}");

    let history = run(&["route", "history", "digits", "prod"]);
    assert_eq!(history.lines().count(), 4, "{history}");
    assert!(history.lines().next().unwrap().contains("to now  digits/prod -> blue 90, green 10"), "{history}");
    let history: Value = serde_json::from_str(&run(&["route", "history", "digits", "prod", "--json"])).unwrap();
    assert_eq!(history["items"].as_array().unwrap().len(), 4);

    taken(&millstream, "ecs", event::Task::running("abcdef", "127.66.9.1").bridge()).await;
    is_state(&millstream, "abcdef", "routable").await;
    let shown = run(&["route", "show", "digits", "prod"]);
    assert!(shown.contains("blue: 1 routable") && shown.contains("green: no tasks"), "{shown}");
    let tasks = run(&["task", "ls"]);
    for text in ["abcdef", "routable", "digits", "blue", "127.66.9.1"] {
        assert!(tasks.contains(text), "{text}: {tasks}");
    }
    let only = |state: &str| run(&["task", "ls", "--state", state]);
    assert!(only("routable").contains("abcdef") && !only("gone").contains("abcdef"));

    assert!(run(&["deploy", "retire", "digits", "green"]).contains("retired"));
    assert!(run(&["route", "rm", "digits", "prod"]).contains("digits/prod is deleted (generation 5)"));
    crate::tables::tasks::log_holds(&database).await;
    refused(&setup, &millstream);
    millstream.finish().await;
}

/// What cannot be done ends with a code that is not 0, and says why on the error stream.
fn refused(setup: &millstream_tests::Setup, millstream: &Millstream) {
    for (arguments, text) in [
        (&["route", "set", "digits", "prod", "purple"][..], "purple"),
        (&["route", "set", "digits", "prod", "blue=0"], "weight"),
        (&["route", "set", "digits", "prod", "blue=heavy"], "weight"),
        (&["route", "show", "digits", "nowhere"], "404"),
        (&["route", "rollback", "digits", "nowhere"], "4"),
        (&["task", "show", "nowhere"], ""),
    ] {
        let ran = command(setup, millstream, arguments);
        assert!(ran.code != 0 && ran.err.contains(text), "{arguments:?}: {ran:#?}");
    }
}
