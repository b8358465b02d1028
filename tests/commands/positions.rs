//! Positions that a person moves, and those that wait for one.

use millstream_tests::{Event, Millstream, Model, Setup, compare, database, until};

use super::{WITHIN, command, event, lines};

#[tokio::test]
async fn positions_move_also_under_a_reader_and_fence_it() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=1").allow("leases are taken again");
    let events: Vec<Event> = (0..20).map(|number| event(&format!("in/{number}"), number, 1)).collect();
    let running = setup.start().await;
    running.post(lines(&events)).await.unwrap();
    running.caught_up(WITHIN).await;
    let reset = |to: &str| {
        let to = ["--to", to, "--set", "stream.partitions=1"];
        command(&database, &setup, &[&["positions", "reset", "--pipeline", "objects"], &to[..]].concat())
    };
    const EPOCH: &str = "SELECT epoch FROM millstream.lease";
    const NEXT: &str = "SELECT next_position::bigint FROM millstream.lease";
    let tokens = "SELECT count(DISTINCT token) FROM millstream.lease WHERE owner = 'positions reset'";
    let epoch = database.number(EPOCH).await;
    // Of a stream that is open in the process, which reads it again.
    let written = counted(&running, "records").await;
    let moved = reset("earliest");
    assert!(moved.code == 0 && moved.out.contains("20 records are read again"), "{moved:#?}");
    until("the records are read again", WITHIN, || async {
        (counted(&running, "records").await == written + 20).then_some(())
    })
    .await;
    running.finish().await;
    let epoch = database.number(EPOCH).await.max(epoch);
    assert_eq!(reset("earliest").code, 0);
    assert_eq!((database.number(EPOCH).await, database.number(NEXT).await), (epoch + 1, 0));
    assert_eq!(database.number(tokens).await, 1);
    // Read again, written once.
    let running = setup.start().await;
    running.caught_up(WITHIN).await;
    until("the position is back", WITHIN, || async { (database.number(NEXT).await == 20).then_some(()) }).await;
    running.finish().await;
    compare(&database, &Model::of(&events)).await;

    assert_eq!(reset("7").code, 0);
    assert_eq!(database.number("SELECT count(*) FROM millstream.gap").await, 0);
    let skipped = reset("latest");
    assert!(skipped.out.contains("13 records are never read"), "{skipped:#?}");
    let gap = "SELECT count(*) FROM millstream.gap WHERE from_position = '7' AND to_position = '20'";
    assert_eq!(database.number(gap).await, 1);
    for (to, told) in
        [("21", "has offsets 0 to 20, not 21"), ("soon", "write earliest, latest"), ("@soon", "is no time")]
    {
        let refused = reset(to);
        assert!(refused.code == 1 && refused.err.contains(told), "{refused:#?}");
    }
    assert!(reset("@1").out.contains("20 records are read again"));
    assert!(reset("@2099-01-01T00:00Z").out.contains("20 records are never read"));
}

/// What a halt prints says `--to earliest`, also of a queue, of which the oldest that is left comes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_a_queue_goes_on_with_what_is_left() {
    let database = database().await;
    let setup = Setup::new(&database);
    setup.start().await.finish().await;
    let source = "pipeline.objects.source={ kind = \"sqs\", accept_loss_on_restore = true, \
                  queue = \"http://127.0.0.1:1/0/q\", endpoint = \"http://127.0.0.1:1\", region = \"us-east-1\" }";
    let halted = "INSERT INTO millstream.lease
            (pipeline, incarnation, partition, owner, epoch, token, next_position, renewed_at, halted_at, halt_reason)
        VALUES ('objects', 'arn:aws:sqs:us-east-1:0:q', 'a', 'a', 1, gen_random_uuid(), '7', now(), now(), 'lost')
        ON CONFLICT (pipeline, incarnation, partition) DO UPDATE SET halted_at = now(), halt_reason = 'lost'";
    for to in ["earliest", "latest"] {
        database.execute(halted).await;
        let ran =
            command(&database, &setup, &["positions", "reset", "--pipeline", "objects", "--to", to, "--set", source]);
        assert!(ran.code == 0 && ran.out.contains("goes on with what it receives next"), "{ran:#?}");
        assert_eq!(database.number("SELECT count(*) FROM millstream.lease WHERE halted_at IS NOT NULL").await, 0);
    }
}

/// A counter of the only pipeline.
async fn counted(running: &Millstream, name: &str) -> i64 {
    let status = running.get("/v1/status").await.json();
    status["pipelines"][0][name].as_i64().unwrap_or_else(|| panic!("{name}: {status:#}"))
}

/// The stream was lost and begins anew: nothing goes on until a person has said where.
#[tokio::test]
async fn a_stream_made_anew_waits_for_a_position() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=2").allow("halted").allow("made anew");
    // Of one key, so of one partition.
    let first = event("in/1", 1, 1);
    let second = event("in/1", 2, 2);
    let running = setup.start().await;
    running.post(lines(std::slice::from_ref(&first))).await.unwrap();
    running.caught_up(WITHIN).await;
    running.finish().await;
    let untouched = database.number("SELECT partition FROM millstream.lease WHERE next_position IS NULL").await;
    std::fs::remove_dir_all(setup.data_dir().join("stream")).unwrap();
    let mut running = setup.start().await;
    running.post(lines(std::slice::from_ref(&second))).await.unwrap();
    until("the halt", WITHIN, || async { running.log().contains("positions reset").then_some(()) }).await;
    running.terminate();
    assert_eq!(running.wait().await, 1);
    compare(&database, &Model::of([&first])).await;

    let reset = |more: &[&str]| {
        let arguments = ["positions", "reset", "--pipeline", "objects", "--to", "earliest"];
        command(&database, &setup, &[&arguments, more].concat())
    };
    // Started again, it waits all the same, also where another partition goes on.
    assert_eq!(reset(&["--partition", &untouched.to_string()]).code, 0);
    let mut running = setup.start().await;
    until("the halt", WITHIN, || async { running.log().contains("positions reset").then_some(()) }).await;
    running.terminate();
    assert_eq!(running.wait().await, 1);
    compare(&database, &Model::of([&first])).await;

    let told = reset(&[]);
    assert_eq!(told.code, 0, "{told:#?}");
    let running = setup.start().await;
    running.caught_up(WITHIN).await;
    running.finish().await;
    compare(&database, &Model::of([&first, &second])).await;
}
