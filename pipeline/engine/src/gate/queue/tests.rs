use super::*;

const HOUR_MS: i64 = 3_600_000;

/// The ages of the batches served in `turns` turns: `ages` wait from the beginning, and one more of age `joins` joins
/// after each turn.
fn served(ages: &[i64], joins: i64, turns: usize) -> Vec<i64> {
    let mut queue = Queue::default();
    let mut waiting = Vec::new();
    let mut order = Vec::new();
    let mut arriving = ages.to_vec();
    for _ in 0..turns {
        for age in arriving.drain(..) {
            let (grant, granted) = oneshot::channel();
            queue.join(0, age, grant);
            waiting.push((age, granted));
        }
        assert!(queue.grant(HOUR_MS));
        let served = waiting.iter_mut().position(|(_, granted)| granted.try_recv().is_ok()).unwrap();
        order.push(waiting.remove(served).0);
        arriving.push(joins);
    }
    order
}

/// Pipelines at one database that writes one transaction at a time.
#[derive(Default)]
struct Pipelines {
    queue: Queue,
    now_ms: i64,
    waiting: Vec<(usize, i64, oneshot::Receiver<()>)>,
    /// The pipeline of each turn, and for how long its batch had waited.
    turns: Vec<(usize, i64)>,
}

impl Pipelines {
    fn new(goals_ms: &[u64]) -> Self {
        let mut queue = Queue::default();
        for (pipeline, goal_ms) in goals_ms.iter().enumerate() {
            queue.goal(pipeline, Duration::from_millis(*goal_ms));
        }
        Pipelines { queue, ..Pipelines::default() }
    }

    fn joins(&mut self, pipeline: usize, oldest_ms: i64) {
        let (grant, granted) = oneshot::channel();
        self.queue.join(pipeline, oldest_ms, grant);
        self.waiting.push((pipeline, self.now_ms, granted));
    }

    /// Gives the turn, and says whose it is. The caller says how long it takes.
    fn begins(&mut self) -> usize {
        assert!(self.queue.grant(self.now_ms));
        let at = self.waiting.iter_mut().position(|(.., granted)| granted.try_recv().is_ok()).unwrap();
        let (pipeline, since_ms, _) = self.waiting.remove(at);
        self.turns.push((pipeline, self.now_ms - since_ms));
        pipeline
    }

    fn ends(&mut self, pipeline: usize, took_ms: u64) {
        self.queue.end(pipeline, Duration::from_millis(took_ms));
    }
}

#[test]
fn the_oldest_is_next() {
    assert_eq!(served(&[3, 1, 2], 9, 4), [1, 2, 3, 9]);
}

#[test]
fn what_is_fresh_is_served_beside_a_backlog_that_is_always_older() {
    let order = served(&[1, 1, 100], 1, 10);
    assert_eq!(order.iter().position(|age| *age == 100), Some(PASSED_MAX as usize), "{order:?}");
}

#[test]
fn who_has_left_is_not_served() {
    let mut queue = Queue::default();
    let (grant, granted) = oneshot::channel();
    let number = queue.join(0, 1, grant);
    assert!(queue.leave(number) && !queue.leave(number));
    assert!(!queue.grant(0) && queue.is_empty());
    drop(granted);
}

#[test]
fn the_earliest_deadline_is_next_while_none_has_passed() {
    let mut pipelines = Pipelines::new(&[250, 10]);
    pipelines.now_ms = 1_000;
    pipelines.joins(0, 900);
    pipelines.joins(1, 995);
    assert_eq!(pipelines.begins(), 1, "due at 1005, the other at 1150");
    pipelines.ends(1, 5);
    pipelines.joins(0, 800);
    pipelines.joins(1, 1_045);
    assert_eq!([pipelines.begins(), pipelines.begins()], [0, 1], "due at 1050 and at 1055");
}

/// One pipeline has a backlog of an hour, four lanes and transactions of 100 ms; the other gets a record every 40 ms,
/// with a goal of 10 ms and transactions of 5 ms.
#[test]
fn fresh_records_with_a_short_goal_wait_for_one_transaction_of_a_backlog_and_the_backlog_goes_on() {
    let mut pipelines = Pipelines::new(&[250, 10]);
    pipelines.now_ms = HOUR_MS;
    for lane in 0..4 {
        pipelines.joins(0, lane);
    }
    let mut came_ms = HOUR_MS;
    let mut fresh_waits = false;
    let mut worked_ms = [0, 0];
    while pipelines.turns.len() < 400 {
        let next = pipelines.begins();
        let took_ms = [100, 5][next];
        let ends_ms = pipelines.now_ms + took_ms;
        fresh_waits &= next != 1;
        // A batch is taken when its first record has come; it holds all that come until it is written.
        while came_ms <= ends_ms {
            let is_in_it = next == 1 && came_ms < ends_ms;
            if !(fresh_waits || is_in_it) {
                pipelines.now_ms = came_ms.max(pipelines.now_ms);
                pipelines.joins(1, came_ms);
                fresh_waits = true;
            }
            came_ms += 40;
        }
        pipelines.now_ms = ends_ms;
        pipelines.ends(next, u64::try_from(took_ms).unwrap());
        worked_ms[next] += took_ms;
        if next == 0 {
            pipelines.joins(0, ends_ms - HOUR_MS);
        }
    }
    let waits = pipelines.turns.iter().filter(|(pipeline, _)| *pipeline == 1).map(|(_, waited)| *waited);
    let waits: Vec<i64> = waits.collect();
    assert!(waits.len() > 100 && waits.iter().all(|waited| *waited <= 100), "{waits:?}");
    assert!(worked_ms[0] * 2 >= worked_ms[0] + worked_ms[1], "the backlog has its share of the time: {worked_ms:?}");
}

/// Both always have more than can be written: each gets half of the time, and neither is passed by more than four times.
#[test]
fn pipelines_that_are_late_share_the_time_and_none_is_passed_by_too_often() {
    let mut pipelines = Pipelines::new(&[250, 10]);
    pipelines.now_ms = HOUR_MS;
    pipelines.joins(0, 0);
    pipelines.joins(1, HOUR_MS - 1);
    let mut worked_ms = [0, 0];
    let times_ms = [60, 20];
    for _ in 0..400 {
        let next = pipelines.begins();
        pipelines.now_ms += times_ms[next];
        pipelines.ends(next, u64::try_from(times_ms[next]).unwrap());
        worked_ms[next] += times_ms[next];
        let oldest_ms = [0, pipelines.now_ms][next];
        pipelines.joins(next, oldest_ms);
    }
    assert!((worked_ms[0] - worked_ms[1]).abs() <= 60, "{worked_ms:?}");

    // The times differ so much that equal parts of the time would let a hundred turns pass.
    let mut in_a_row = 0;
    for _ in 0..400 {
        let next = pipelines.begins();
        in_a_row = if next == 1 { in_a_row + 1 } else { 0 };
        assert!(in_a_row <= PASSED_MAX);
        pipelines.ends(next, [2_000, 20][next]);
        pipelines.joins(next, 0);
    }
}

#[test]
fn time_that_was_not_used_is_not_saved_up() {
    let mut pipelines = Pipelines::new(&[250, 250]);
    pipelines.now_ms = HOUR_MS;
    pipelines.joins(0, 0);
    for _ in 0..100 {
        assert_eq!(pipelines.begins(), 0);
        pipelines.ends(0, 50);
        pipelines.joins(0, 0);
    }
    // The other one begins: it does not get all turns until it has had as much.
    let mut turns = [0u32, 0];
    pipelines.joins(1, 0);
    for _ in 0..20 {
        let next = pipelines.begins();
        turns[next] += 1;
        pipelines.ends(next, 50);
        pipelines.joins(next, 0);
    }
    assert!(turns[0].abs_diff(turns[1]) <= 2, "{turns:?}");
}

#[test]
fn a_minute_of_work_alone_is_not_held_against_a_pipeline() {
    let mut pipelines = Pipelines::new(&[250, 250]);
    pipelines.now_ms = HOUR_MS;
    for _ in 0..1_000 {
        pipelines.joins(0, HOUR_MS);
        assert_eq!(pipelines.begins(), 0);
        pipelines.ends(0, 50);
    }
    // The other one begins while the first rests, and is on time; then both are late.
    for _ in 0..5 {
        pipelines.joins(1, HOUR_MS);
        assert_eq!(pipelines.begins(), 1);
        pipelines.ends(1, 50);
    }
    let mut turns = [0u32, 0];
    pipelines.joins(0, 0);
    pipelines.joins(1, 0);
    for _ in 0..20 {
        let next = pipelines.begins();
        turns[next] += 1;
        pipelines.ends(next, 50);
        pipelines.joins(next, 0);
    }
    assert!(turns[0].abs_diff(turns[1]) <= 2, "{turns:?}");
}
