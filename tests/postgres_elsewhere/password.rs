//! A password that changes while millstream runs stops the pipeline only until the file says the new one.

use super::*;
use millstream_tests::{Model, compare, database};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_password_is_waited_for_and_nothing_is_lost() {
    let database = database().await;
    let role = database.owner("geheim-1").await;
    let setup = setup(&database, &role, database.port(), "").set("limits.retry_seconds_max=1");
    let file = setup.scratch().join("password");
    std::fs::write(&file, "geheim-1\n").unwrap();
    let setup = setup.set(&format!("postgres.password_file={}", file.display()));
    let running = setup
        .clone()
        .allow("the database must be mended")
        .allow("braked")
        .allow("database away")
        .allow("stalled")
        .allow("a question was not answered")
        .allow("error occurred while testing the connection")
        .start()
        .await;
    let events = Generator::new("password").events(1_500);
    let (before, during) = events.split_at(500);
    post_and_wait(&running, before).await;

    database.execute(&format!("ALTER ROLE {role} PASSWORD 'geheim-2'")).await;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    database.execute(&end).await;
    post(&running, during).await;
    let alarm = running.logged("the database must be mended", WITHIN).await;
    assert!(
        alarm
            .contains(&format!("postgres.password_file: 127.0.0.1:{} refuses the password of {role}", database.port())),
        "{alarm}"
    );
    until("the verdict to say so", WITHIN, || async {
        let status = running.get("/v1/status").await.json();
        (status["pipelines"][0]["verdict"] == "braked").then_some(())
    })
    .await;
    let found = doctor(&setup, "postgres");
    assert!(found.starts_with("FAIL: ") && found.contains("postgres.password_file: "), "{found}");
    assert!(
        running.lines().iter().all(|line| !line.contains("geheim-1") && !line.contains("geheim-2")),
        "{}",
        running.log()
    );

    std::fs::write(&file, "geheim-2\n").unwrap();
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&events)).await;
    assert_eq!(database.number(POSITIONS).await, events.len() as i64);
    // Those who ask get the new one, too.
    until("an answer from the tables", WITHIN, || async {
        running.get("/v1/buckets/uploads/count").await.status.is_success().then_some(())
    })
    .await;
    running.finish().await;
}
