//! R26: an address that another task took over is never dialled for the one before, in whatever order it is told, and
//! also if nobody tells that the one before was stopped.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use hyper::Method;
use millstream_tests::client::Http;
use millstream_tests::{Generator, Millstream, database, free_port, until};
use rand::Rng as _;
use serde_json::{Value, json};

use crate::serving::event::Task;
use crate::serving::model::{Model, PORT};
use crate::serving::requests::{WITHIN, create, is_state, taken};
use crate::serving::{setup, to};

const HISTORIES: u8 = 50;
const ASKED: usize = 5;

/// An event of a task of a service that started at a second of the day.
fn told(task: &Task, service: &str, second: u64) -> Value {
    let mut event = Task { definition: format!("{service}:1"), ..task.clone() }.bridge();
    event["detail"]["startedAt"] = json!(format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60));
    event
}

struct Served {
    millstream: Millstream,
    gateway: SocketAddr,
    http: Http,
}

impl Served {
    async fn ask(&self, service: &str) -> (u16, Value) {
        let path = format!("/services/{service}/prod/");
        let answer = self.http.send(Method::GET, self.gateway, &path, &[], "").await.unwrap();
        (answer.status.as_u16(), answer.json())
    }

    /// Nothing is served of the former service, because all addresses of its tasks have other owners.
    async fn nothing_is_served_of_old(&self) {
        for _ in 0..ASKED {
            let (status, said) = self.ask("old").await;
            assert_eq!((status, said["task"].as_str()), (503, None), "a request to the wrong service: {said}");
        }
    }

    /// One address, which a task of `old` had, and one of `new` has.
    async fn reused(&self, number: u8, random: &mut Generator, directory: &Path) -> Model {
        let address = Ipv4Addr::new(127, 67, 40, number);
        let new = Model::start(directory, &format!("new{number}"), "blue", address).await;
        let old = Task::running(&format!("old{number}"), &address.to_string());
        let stopped = old.next("STOPPED", "STOPPED");
        let mut events = vec![
            told(&old, "old", 10),
            told(&old.next("RUNNING", "STOPPED"), "old", 10),
            told(&Task { version: 6, ..stopped }, "old", 10),
            told(&new.task, "new", 100),
            told(&new.task.next("RUNNING", "RUNNING"), "new", 100),
        ];
        if random.rng().random_bool(0.5) {
            events.remove(2);
        }
        for at in (1..events.len()).rev() {
            events.swap(at, random.rng().random_range(0..=at));
        }
        let mut is_taken_over = false;
        for event in events {
            is_taken_over |= event["detail"]["taskDefinitionArn"].as_str().unwrap().contains("new:");
            taken(&self.millstream, "ecs", event).await;
            if is_taken_over {
                is_state(&self.millstream, &new.task.id, "routable").await;
                self.nothing_is_served_of_old().await;
            }
        }
        let (status, said) = self.ask("new").await;
        assert!(status == 200 && said["task"].as_str().unwrap().starts_with("new"), "{said}");
        new
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_reaches_the_later_task_of_an_address_for_the_former_one() {
    let database = database().await;
    let gateway = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let setup = setup(&database).set(&format!("gateway.listen={gateway}")).set("gateway.admin=127.0.0.1:0");
    let served = Served { millstream: setup.start().await, gateway, http: Http::default() };
    for service in ["old", "new"] {
        let deploy = json!({ "selector": { "definition": format!("{service}:1") }, "port": PORT });
        create(&served.millstream, &format!("/v1/deploys/{service}/blue"), deploy).await;
        create(&served.millstream, &format!("/v1/routes/{service}/prod"), to("blue")).await;
    }
    let mut random = Generator::new("addresses");
    let mut models = Vec::new();
    for number in 1..=HISTORIES {
        models.push(served.reused(number, &mut random, setup.scratch()).await);
    }
    until("every owner to serve", WITHIN, || async {
        let routable = served.millstream.get("/v1/tasks?service=new&state=routable").await.json();
        (routable["items"].as_array().unwrap().len() == usize::from(HISTORIES)).then_some(())
    })
    .await;
    served.nothing_is_served_of_old().await;
    served.millstream.finish().await;
}
