//! What holds the flow: the operator, a backlog, a lock, the end, a full disk.

use millstream_tests::event::lines;
use millstream_tests::{Setup, database, until};

use super::{WITHIN, agree, alarming, command, is_over, pasted};
use crate::http_ingest::SmallDisk;
use crate::restored::events;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_the_operator_holds_the_pace_and_that_nothing_is_wrong() {
    let database = database().await;
    let setup = Setup::new(&database);
    let running = setup.start().await;
    assert_eq!(command(&setup, &["pace", "--freeze"]).code, 0);
    agree(&setup, &running, "frozen", "the operator holds", "millstream pace --thaw --data-dir ").await;
    let status = running.get("/v1/status").await.json();
    assert!(pasted(status["next"].as_str().unwrap()).status.success());
    agree(&setup, &running, "keeping_up", "", "").await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_a_backlog_shrinks() {
    let database = database().await;
    let setup = Setup::new(&database)
        .set("pipeline.objects.rows_per_second_max=100")
        .set("pipeline.objects.batch_records_max=50");
    let running = setup.start().await;
    assert_eq!(running.post(lines(&events(0, 3_000))).await.unwrap().status, 202);
    agree(&setup, &running, "catching_up", "records wait", "").await;
    running.terminate();
}

/// The database answers and refuses nothing: a trigger waits for what does not come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_nothing_is_written() {
    let database = database().await;
    let setup = ["controller.transaction_max=10m", "limits.stall_seconds=600", "postgres.statement_timeout_ms=500000"];
    let setup = setup.iter().fold(Setup::new(&database), |setup, setting| setup.set(setting)).allow("");
    let running = setup.start().await;
    agree(&setup, &running, "keeping_up", "", "").await;
    let hold = "CREATE TABLE public.held AS SELECT 1; GRANT SELECT ON public.held TO PUBLIC;
        CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            WHILE EXISTS (SELECT FROM public.held) LOOP PERFORM pg_sleep(0.05); END LOOP;
            RETURN NULL;
        END $$;
        CREATE TRIGGER hold BEFORE INSERT ON millstream.objects FOR EACH STATEMENT EXECUTE FUNCTION public.hold()";
    database.execute(hold).await;
    assert_eq!(running.post(lines(&events(0, 20))).await.unwrap().status, 202);
    let reason = "records wait, and none was written in the last seconds";
    agree(&setup, &running, "stalled", reason, "millstream doctor --data-dir ").await;
    database.execute("DELETE FROM public.held").await;
    running.caught_up(WITHIN).await;
    database.execute("DROP TRIGGER hold ON millstream.objects").await;
    is_over(&setup, &running, "stalled").await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_it_drains() {
    let database = database().await;
    let setup = Setup::new(&database).set("http.drain_notice_seconds=20");
    let mut running = setup.start().await;
    agree(&setup, &running, "keeping_up", "", "").await;
    running.terminate();
    agree(&setup, &running, "draining", "what is in flight is finished", "").await;
    assert_eq!(running.wait().await, 0, "{}", running.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_the_disk_is_full() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=1").allow("");
    let Some(disk) = SmallDisk::mount(setup.data_dir().join("stream"), "4m") else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let running = setup.start().await;
    let filler = disk.0.join("filler");
    assert!(std::fs::write(&filler, vec![0; 8 << 20]).is_err(), "the disk is larger than thought");
    let mut sent = 0;
    let mut refused = 0;
    // Again and again: each try is the same fault.
    for number in 0..200 {
        let answer = running.post(lines(&events(number * 100, 100))).await.unwrap();
        sent += 100;
        if answer.status == 503 {
            refused += 100;
        }
    }
    assert!(refused > 0, "it was never full");
    agree(&setup, &running, "stream_stopped", "No space left", "df -h ").await;
    let status = running.get("/v1/status").await.json();
    assert!(pasted(status["next"].as_str().unwrap()).status.success());
    assert_eq!(status["http"]["refused_events"].as_u64(), Some(refused), "{status:#}");
    assert_eq!(status["http"]["accepted_events"].as_u64(), Some(sent - refused), "{status:#}");
    let lines_told = alarming(&running);
    assert!(lines_told.len() <= 4, "{lines_told:#?}");

    std::fs::remove_file(&filler).unwrap();
    until("room", WITHIN, || async {
        (running.post(lines(&events(90_000, 10))).await.unwrap().status == 202).then_some(())
    })
    .await;
    is_over(&setup, &running, "stream_stopped").await;
    running.finish().await;
    drop(disk);
}
