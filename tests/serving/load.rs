//! GETs to a gateway by several clients, each one a little after the one before.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use millstream_engine::task;
use millstream_tests::client::Http;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Time between two requests of a client.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// When it asked.
    pub(crate) at: Instant,
    /// The task that answered, by its own word, or what was heard in its place.
    pub(crate) by: Result<String, String>,
}

/// Clients that run.
pub(crate) struct Load {
    heard: Arc<Mutex<Vec<Heard>>>,
    stop: CancellationToken,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Asks for `digits/prod` from now on.
    pub(crate) fn start(gateway: SocketAddr, clients: usize) -> Load {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let client = |_| task::spawn("client of a test", ask(gateway, Arc::clone(&heard), stop.clone()));
        let clients = (0..clients).map(client).collect();
        Load { heard, stop, clients }
    }

    /// Answers so far.
    pub(crate) fn answers(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// Ends it; what was heard, in the order of the answers.
    pub(crate) async fn end(self) -> Vec<Heard> {
        self.stop.cancel();
        for client in self.clients {
            client.await.unwrap();
        }
        let heard = self.heard.lock().unwrap();
        heard.clone()
    }
}

async fn ask(gateway: SocketAddr, heard: Arc<Mutex<Vec<Heard>>>, stop: CancellationToken) {
    let http = Http::default();
    while !stop.is_cancelled() {
        let at = Instant::now();
        let answer = http.send(Method::GET, gateway, "/services/digits/prod/predict", &[], "").await;
        let by = answer.and_then(|answer| match answer.json()["task"].as_str() {
            Some(task) if answer.status == 200 => Ok(task.to_owned()),
            _ => Err(format!("{} {}", answer.status, answer.text())),
        });
        heard.lock().unwrap().push(Heard { at, by });
        tokio::time::sleep(PAUSE).await;
    }
}

/// What failed of what was asked from a moment on.
pub(crate) fn failed(heard: &[Heard], from: Instant) -> Vec<&Heard> {
    heard.iter().filter(|heard| heard.at >= from && heard.by.is_err()).collect()
}

/// The tasks that answered what was asked from a moment on.
pub(crate) fn answering(heard: &[Heard], from: Instant) -> BTreeSet<&str> {
    heard.iter().filter(|heard| heard.at >= from).filter_map(|heard| heard.by.as_deref().ok()).collect()
}
