//! Tasks that are real processes: the program's own model, which names itself and journals each POST.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::Method;
use millstream_tests::client::Http;
use millstream_tests::database::program;
use millstream_tests::{Millstream, until};
use serde_json::Value;

use super::event::Task;
use super::requests::{create, is_state, taken};

/// The port of every model.
pub(crate) const PORT: u16 = 8066;

/// A task with its process.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) task: Task,
    child: Child,
}

impl Model {
    /// Starts a task of a revision at an address, and waits until it listens.
    pub(crate) async fn start(directory: &Path, id: &str, revision: &str, address: Ipv4Addr) -> Model {
        let journal = directory.join(format!("{id}.journal"));
        let mut command = Command::new(program());
        command.args(["demo-model", "--address", &address.to_string(), "--revision", revision, "--task", id]);
        command.arg("--journal").arg(journal).current_dir(directory);
        // It ends when its standard input does.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        until("a model to listen", Duration::from_secs(60), || async {
            tokio::net::TcpStream::connect((address, PORT)).await.ok().map(drop)
        })
        .await;
        let task = Task { definition: format!("digits-{revision}:1"), ..Task::running(id, &address.to_string()) };
        Model { task, child }
    }

    /// Answers its health check badly from now on, or well again.
    pub(crate) async fn turn(&self) {
        let address: Ipv4Addr = self.task.address.as_ref().unwrap().parse().unwrap();
        let address = SocketAddr::from((address, PORT));
        let answer = Http::default().send(Method::POST, address, "/demo/health", &[], "").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Ends it with `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Deploys `digits/blue`, whose tasks are processes at 127.67.NETWORK.1 and on, all of them routable; `prod` means it.
pub(crate) async fn fleet(
    millstream: &Millstream,
    directory: &Path,
    network: u8,
    count: u8,
    deploy: Value,
) -> Vec<Model> {
    create(millstream, "/v1/deploys/digits/blue", deploy).await;
    create(millstream, "/v1/routes/digits/prod", super::to("blue")).await;
    let mut models = Vec::new();
    for number in 1..=count {
        let id = format!("task{network}-{number}");
        let model = Model::start(directory, &id, "blue", Ipv4Addr::new(127, 67, network, number)).await;
        taken(millstream, "ecs", model.task.bridge()).await;
        models.push(model);
    }
    for model in &models {
        is_state(millstream, &model.task.id, "routable").await;
    }
    models
}

/// Every request that any task carried out, by its id.
pub(crate) fn executed(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let journals = entries.filter(|path: &PathBuf| path.extension().is_some_and(|extension| extension == "journal"));
    let lines = |path: PathBuf| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    journals.flat_map(lines).collect()
}
