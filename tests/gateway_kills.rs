//! Tasks die and are replaced, and the alias flips, all under load: nobody who may ask again hears of it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use millstream_engine::task;
use millstream_tests::client::Http;
use millstream_tests::{Millstream, Response, database, free_port, until};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::serving::model::{Model, PORT, executed};
use crate::serving::requests::{WITHIN, create, is_state, replace, taken};
use crate::serving::{setup, to};

const PROD: &str = "/v1/routes/digits/prod";
const REVISIONS: [&str; 2] = ["blue", "green"];
const TASKS: usize = 20;
const FLIPS: i64 = 50;

/// What the clients heard.
#[derive(Debug, Default)]
struct Heard {
    /// Answers by the generation that the gateway named and the revision that the model named.
    answers: BTreeMap<(i64, String), u64>,
    failed_gets: Vec<String>,
    failed_posts: Vec<String>,
    gets: u64,
    /// POSTs that were answered with 200, by id.
    posts: Vec<String>,
}

/// One request after another, each a little after the one before, until `stop`.
async fn load(gateway: SocketAddr, client: usize, heard: Arc<Mutex<Heard>>, stop: CancellationToken) {
    let http = Http::default();
    let mut number = 0;
    while !stop.is_cancelled() {
        number += 1;
        let method = if number % 5 == 0 { Method::POST } else { Method::GET };
        let id = format!("{method}-{client}-{number}");
        let headers = [("x-request-id", &*id)];
        let answer = http.send(method.clone(), gateway, "/services/digits/prod/predict", &headers, "").await;
        heard.lock().unwrap().take(&method, id, answer);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Heard {
    fn take(&mut self, method: &Method, id: String, answer: Result<Response, String>) {
        let failed = match answer {
            Ok(answer) if answer.status == 200 => {
                let generation = answer.header("x-millstream-generation").unwrap_or_default().parse().unwrap_or(0);
                let revision = answer.header("x-model-revision").unwrap_or_default().to_owned();
                *self.answers.entry((generation, revision)).or_default() += 1;
                match method {
                    &Method::POST => self.posts.push(id),
                    _ => self.gets += 1,
                }
                return;
            }
            Ok(answer) => format!("{id}: {} {}", answer.status, answer.text()),
            Err(error) => format!("{id}: {error}"),
        };
        let failures = if method == Method::POST { &mut self.failed_posts } else { &mut self.failed_gets };
        failures.push(failed);
    }
}

/// The tasks that run.
struct Fleet {
    directory: PathBuf,
    models: Vec<Model>,
    started: usize,
}

impl Fleet {
    /// Starts a task of a revision at an address that none had before, and tells of it.
    async fn launch(&mut self, millstream: &Millstream, revision: &str) {
        let number = self.started;
        self.started += 1;
        let address = Ipv4Addr::new(127, 67, (number / 200) as u8, (number % 200 + 1) as u8);
        let model = Model::start(&self.directory, &format!("task{number}"), revision, address).await;
        taken(millstream, "ecs", model.task.bridge()).await;
        self.models.push(model);
    }

    /// Ends one without notice, tells of it a moment later, as a scheduler does, and replaces it.
    async fn kill(&mut self, millstream: &Millstream, which: usize) {
        let mut killed = self.models.remove(which % self.models.len());
        killed.kill();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stopped = killed.task.next("STOPPED", "STOPPED");
        taken(millstream, "ecs", stopped.bridge()).await;
        let revision = if stopped.definition.contains("blue") { "blue" } else { "green" };
        self.launch(millstream, revision).await;
    }
}

/// Twenty tasks of two revisions, behind one alias.
async fn served(millstream: &Millstream, directory: &Path, gateway: SocketAddr) -> Fleet {
    for revision in REVISIONS {
        let deploy = json!({ "selector": { "definition": format!("digits-{revision}:1") }, "port": PORT });
        create(millstream, &format!("/v1/deploys/digits/{revision}"), deploy).await;
    }
    let mut fleet = Fleet { directory: directory.to_owned(), models: Vec::new(), started: 0 };
    for number in 0..TASKS {
        fleet.launch(millstream, REVISIONS[number % 2]).await;
    }
    for model in &fleet.models {
        is_state(millstream, &model.task.id, "routable").await;
    }
    create(millstream, PROD, to(REVISIONS[0])).await;
    let http = Http::default();
    until("the first answer", WITHIN, || async {
        let answer = http.send(Method::GET, gateway, "/services/digits/prod/", &[], "").await;
        answer.ok().filter(|answer| answer.status == 200)
    })
    .await;
    fleet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_may_ask_again_hears_of_kills_and_flips() {
    let database = database().await;
    let gateway = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let setup = setup(&database).set(&format!("gateway.listen={gateway}")).set("gateway.admin=127.0.0.1:0");
    let millstream = setup.start().await;
    let directory = setup.scratch().join("models");
    std::fs::create_dir(&directory).unwrap();
    let mut fleet = served(&millstream, &directory, gateway).await;

    let heard = Arc::new(Mutex::new(Heard::default()));
    let stop = CancellationToken::new();
    let clients: Vec<_> = (0..6)
        .map(|client| task::spawn("client of a test", load(gateway, client, Arc::clone(&heard), stop.clone())))
        .collect();
    let mut named = BTreeMap::from([(1, REVISIONS[0])]);
    for flip in 0..FLIPS {
        let revision = REVISIONS[(flip as usize + 1) % 2];
        let generation = replace(&millstream, PROD, flip + 1, to(revision)).await;
        named.insert(generation, revision);
        if flip % 3 == 0 {
            fleet.kill(&millstream, flip as usize * 7).await;
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    stop.cancel();
    for client in clients {
        client.await.unwrap();
    }
    // What was sent again after its connection broke may be under way still.
    tokio::time::sleep(Duration::from_millis(200)).await;
    judge(&heard.lock().unwrap(), &named, &executed(&directory));
    drop(fleet);
    millstream.finish().await;
}

fn judge(heard: &Heard, named: &BTreeMap<i64, &str>, executed: &[String]) {
    println!(
        "{} GETs and {} POSTs answered; {} POSTs failed; {} generations seen",
        heard.gets,
        heard.posts.len(),
        heard.failed_posts.len(),
        heard.answers.len()
    );
    assert_eq!(heard.failed_gets, Vec::<String>::new(), "no GET failed");
    let mixed: Vec<_> = heard.answers.keys().filter(|(at, revision)| named.get(at) != Some(&&**revision)).collect();
    assert!(mixed.is_empty(), "answers of a revision that their generation does not name: {mixed:?}");
    let once: std::collections::BTreeSet<&String> = executed.iter().collect();
    assert_eq!(once.len(), executed.len(), "a POST was carried out twice");
    let lost: Vec<&String> = heard.posts.iter().filter(|id| !once.contains(id)).collect();
    assert!(lost.is_empty(), "answered, and carried out by nobody: {lost:?}");
    assert!(heard.gets > 500 && heard.posts.len() > 100, "there was load");
    assert!(heard.answers.len() > 20, "the flips were seen");
    assert!(heard.failed_posts.len() <= 30, "only those in flight on a killed task: {:?}", heard.failed_posts);
}
