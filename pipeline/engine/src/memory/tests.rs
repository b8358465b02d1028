use super::*;

const ALL: usize = 8_000_000;

/// Fills what it may, as a lane with a backlog does: its queues, and a batch.
fn fill(lane: &mut LaneMemory) {
    let batch = lane.batch_bytes(usize::MAX);
    lane.writing(batch, 0);
    let queue = lane.queue_bytes();
    lane.queued(queue);
}

fn held(budget: &Budget) -> usize {
    budget.lock().iter().flatten().map(|held| held.now).sum()
}

#[test]
fn a_pipeline_alone_has_all_of_it() {
    let lane = Budget::new(ALL).join().lane(4);
    assert_eq!((lane.queue_bytes(), lane.batch_bytes(usize::MAX)), (ALL / 16, ALL / 32));
    assert_eq!(lane.batch_bytes(1_000), 1_000);
}

#[tokio::test(start_paused = true)]
async fn what_an_idle_pipeline_does_not_use_another_may_and_it_comes_back_as_records_are_written() {
    let budget = Budget::new(ALL);
    let pipelines = [budget.join(), budget.join()];
    let [mut busy, mut idle] = [pipelines[0].lane(1), pipelines[1].lane(1)];
    assert_eq!(busy.queue_bytes() * 4, ALL - ALL / 8, "all but a quarter of the other's half");
    fill(&mut busy);
    assert!(held(&budget) > ALL * 3 / 4);

    // The idle one wakes: it has its reserve at once.
    assert_eq!(idle.queue_bytes() * 4, ALL / 8);
    fill(&mut idle);
    assert!(busy.queue_bytes() * 4 < ALL * 7 / 8, "the other one fetches no more");
    // With each batch of the other that is written it gets more, until both have half.
    for _ in 0..8 {
        let before = idle.queue_bytes();
        busy.wrote();
        busy.queued(busy.queued.min(busy.queue_bytes()));
        fill(&mut idle);
        fill(&mut busy);
        assert!(idle.queue_bytes() >= before && held(&budget) <= ALL);
    }
    // One that is written seldom takes nothing meanwhile.
    let halves = [&busy, &idle].map(|lane| lane.queue_bytes() * 4);
    assert!(halves.iter().all(|bytes| bytes.abs_diff(ALL / 2) <= ALL / 100), "{halves:?}");

    // When it rests again, or ends, the other one has it again.
    idle.wrote();
    idle.queued(0);
    assert_eq!(busy.queue_bytes() * 4, ALL / 2, "it may only be between two batches");
    tokio::time::advance(LATELY * 2).await;
    assert_eq!(busy.queue_bytes() * 4, ALL * 7 / 8);
    drop((idle, pipelines));
    assert_eq!(busy.queue_bytes() * 4, ALL);
}

#[test]
fn who_cannot_write_takes_its_part_and_no_more() {
    let budget = Budget::new(ALL);
    let pipelines = [budget.join(), budget.join(), budget.join()];
    let mut lane = pipelines[0].lane(2);
    lane.stuck(true);
    assert!((lane.queue_bytes() * 8).abs_diff(ALL / 3) <= 8);
    lane.stuck(false);
    assert!(lane.queue_bytes() * 8 > ALL / 2);
}

#[test]
fn a_batch_that_weighs_more_unpacked_makes_the_next_ones_smaller() {
    let budget = Budget::new(ALL);
    let mut lane = budget.join().lane(1);
    lane.writing(100_000, 50_000);
    assert_eq!((lane.batch_bytes(200_000), held(&budget)), (200_000, 480_000), "lighter than it came");
    lane.writing(100_000, 400_000);
    assert_eq!(lane.batch_bytes(200_000), 50_000, "four times as heavy");
    assert_eq!(held(&budget), 1_440_000);
    for _ in 0..100 {
        lane.writing(100_000, 100_000);
    }
    assert!(lane.batch_bytes(200_000) > 190_000, "and that is forgotten");
    drop(lane);
    assert_eq!(held(&budget), 0);
}
