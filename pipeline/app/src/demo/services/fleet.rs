//! The processes of the tasks, and what was told of them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rand::Rng as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::process::PORT;

/// How long a process may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// The last address of a subnet: who listens there has the subnet.
const CLAIM: u8 = 254;
/// How many subnets are tried.
const TRIES_MAX: usize = 100;

/// The addresses of the tasks, 127.66.N.1 and on: loopback, and no other demo's while this is kept.
#[derive(Debug)]
pub(crate) struct Subnet {
    number: u8,
    /// Two demos that start at the same time cannot both have it.
    _claim: TcpListener,
}

impl Subnet {
    /// 127.66.0 if nobody has it, else, and for a check, any other.
    pub(super) fn free(any: bool) -> anyhow::Result<Subnet> {
        let others = std::iter::repeat_with(|| rand::rng().random_range(1..=250)).take(TRIES_MAX);
        let numbers = (!any).then_some(0).into_iter().chain(others);
        numbers.filter_map(Subnet::claim).next().context("find free addresses for the demo's tasks in 127.66.0.0/16")
    }

    fn claim(number: u8) -> Option<Subnet> {
        let claim = TcpListener::bind((address(number, CLAIM), PORT)).ok()?;
        // Tasks of a demo that was killed take a moment to end.
        TcpListener::bind((address(number, 1), PORT)).ok()?;
        Some(Subnet { number, _claim: claim })
    }

    pub(super) fn cidr(&self) -> String {
        format!("127.66.{}.0/24", self.number)
    }
}

fn address(subnet: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 66, subnet, last)
}

/// What is known of a task.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) revision: &'static str,
    pub(super) address: Ipv4Addr,
    /// Counts its states, as ECS does.
    pub(super) version: u64,
    pub(super) created_at: String,
    pub(super) is_running: bool,
}

impl Task {
    /// Enough of the id to recognise it.
    pub(super) fn short(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }
}

/// The processes.
#[derive(Debug)]
pub(super) struct Fleet {
    subnet: Subnet,
    /// Where the journals are.
    directory: PathBuf,
    running: Vec<(Task, Child)>,
    /// Tasks that ended, with their last state.
    ended: Vec<Task>,
    /// The one whose health was made bad.
    sick: Option<String>,
}

impl Fleet {
    /// Starts the tasks of each revision, each on an address of its own.
    pub(super) async fn start(
        data_dir: &Path,
        subnet: Subnet,
        revisions: &[&'static str],
        tasks: u8,
    ) -> anyhow::Result<Fleet> {
        let directory = data_dir.join("digits");
        std::fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let mut fleet = Fleet { subnet, directory, running: Vec::new(), ended: Vec::new(), sick: None };
        let each = revisions.iter().flat_map(|revision| std::iter::repeat_n(*revision, tasks.into()));
        for (last, revision) in (1..=u8::MAX).zip(each) {
            fleet.launch(revision, address(fleet.subnet.number, last)).await?;
        }
        Ok(fleet)
    }

    /// All tasks that run.
    pub(super) fn tasks(&self) -> Vec<Task> {
        self.running.iter().map(|(task, _)| task.clone()).collect()
    }

    /// The last state of every task that was told of.
    pub(super) fn told(&self) -> impl Iterator<Item = &Task> {
        self.running.iter().map(|(task, _)| task).chain(&self.ended)
    }

    /// The journals of all tasks, ended ones too.
    pub(super) fn journals(&self) -> impl Iterator<Item = PathBuf> {
        self.told().map(|task| self.journal(&task.id))
    }

    fn journal(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.journal"))
    }

    /// Kills a task at random; returns it as it is now.
    pub(super) async fn kill(&mut self) -> anyhow::Result<Task> {
        let at = rand::rng().random_range(0..self.running.len());
        let (mut task, mut child) = self.running.swap_remove(at);
        child.kill().await.context("kill a task")?;
        task.version += 1;
        task.is_running = false;
        if self.sick.as_ref() == Some(&task.id) {
            self.sick = None;
        }
        self.ended.push(task.clone());
        Ok(task)
    }

    /// Starts a new task of the same revision on the same address.
    pub(super) async fn replace(&mut self, ended: &Task) -> anyhow::Result<Task> {
        self.launch(ended.revision, ended.address).await
    }

    /// Changes the health of a task; returns it, and whether it is well now.
    pub(super) async fn sicken(&mut self) -> anyhow::Result<(Task, bool)> {
        let sick = self.sick.take();
        let (task, _) = self
            .running
            .iter()
            .find(|(task, _)| sick.as_ref().is_none_or(|sick| *sick == task.id))
            .context("no task runs")?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let uri = format!("http://{}:{PORT}/demo/health", task.address);
        let request = Request::builder().method(Method::POST).uri(uri).body(Full::default())?;
        let answer = client.request(request).await.context("change the health of a task")?;
        let is_well = answer.into_body().collect().await?.to_bytes() == "true";
        let task = task.clone();
        if !is_well {
            self.sick = Some(task.id.clone());
        }
        Ok((task, is_well))
    }

    async fn launch(&mut self, revision: &'static str, address: Ipv4Addr) -> anyhow::Result<Task> {
        let id = format!("{:032x}", rand::random::<u128>());
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .arg("demo-model")
            .args(["--address", &address.to_string(), "--revision", revision, "--task", &id, "--journal"])
            .arg(self.journal(&id))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start a task")?;
        let began = tokio::time::Instant::now();
        while TcpStream::connect(SocketAddr::from((address, PORT))).await.is_err() {
            if let Some(ended) = child.try_wait()? {
                anyhow::bail!("a task on {address}:{PORT} ended with {ended}: another demo may run");
            }
            anyhow::ensure!(began.elapsed() < LISTENS_WITHIN, "a task on {address}:{PORT} does not listen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let created_at = crate::time::utc(millstream_engine::clock::now_ms());
        let task = Task { id, revision, address, version: 1, created_at, is_running: true };
        self.running.push((task.clone(), child));
        Ok(task)
    }
}
