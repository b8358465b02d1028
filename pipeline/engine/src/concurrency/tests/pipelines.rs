//! Several pipelines at one database: each has its own cost and size, and all have one concurrency.

use super::*;

/// Two pipelines that always have more, and take turns. `cost`: seconds of a transaction and of a record of each.
struct Two {
    controller: Controller,
    now: Duration,
    /// The pipeline, the begin, the end and the records of each open transaction.
    open: Vec<(usize, Duration, Duration, usize)>,
    begun: usize,
    cost: [(f64, f64); 2],
    decisions: Vec<Decision>,
}

impl Two {
    fn new(settings: Settings, cost: [(f64, f64); 2]) -> Self {
        let controller = Controller::new(settings, Duration::ZERO);
        let mut two = Self { controller, now: Duration::ZERO, open: Vec::new(), begun: 0, cost, decisions: Vec::new() };
        two.tell(Event::Joined { pipeline: 1, anew: true, allowance: Allowance::default() });
        two
    }

    fn tell(&mut self, event: Event) {
        let decided = self.controller.on_event(self.now, &event);
        self.decisions.extend(decided);
    }

    fn work(pipeline: usize, records: usize) -> Work {
        Work { pipeline, records, bytes: records * 100 * (1 + pipeline * 19), full: true }
    }

    fn run(&mut self, seconds: u64) {
        for step in 0..seconds * 200 {
            self.now += Duration::from_millis(5);
            let now = self.now;
            let (over, open): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.open).into_iter().partition(|one| one.2 <= now);
            self.open = open;
            for (pipeline, began, _, records) in over {
                self.tell(Event::Ended { began, work: Self::work(pipeline, records), ending: Ending::Committed });
            }
            while self.open.len() < self.controller.pace(0).concurrency {
                self.begin();
            }
            self.tell(Event::Waiting(8));
            if step % 50 == 0 {
                self.tell(Event::Tick);
            }
        }
    }

    fn begin(&mut self) {
        let pipeline = self.begun % 2;
        self.begun += 1;
        let records = self.controller.pace(pipeline).records;
        // Eight processors.
        let slower = ((self.open.len() + 1) as f64 / 8.0).max(1.0);
        let (transaction, record) = self.cost[pipeline];
        let took = Duration::from_secs_f64((transaction + record * records as f64) * slower);
        self.open.push((pipeline, self.now, self.now + took, records));
        self.tell(Event::Begun(Self::work(pipeline, records)));
    }
}

#[test]
fn the_size_of_each_pipeline_follows_from_its_own_cost() {
    // A transaction costs as much as 200 records of the first, and as 10 of the second.
    let mut two = Two::new(settings(), [(0.01, 0.000_05), (0.01, 0.001)]);
    two.run(300);
    let [light, heavy] = [0, 1].map(|pipeline| two.controller.pace(pipeline).records);
    assert!(light >= 5_000, "{light} and {heavy}");
    assert!((64..=1_000).contains(&heavy), "{light} and {heavy}");
    let concurrency = two.controller.pace(0).concurrency;
    assert!((6..=12).contains(&concurrency), "{concurrency} of eight processors");
    assert_eq!(concurrency, two.controller.pace(1).concurrency);
}

#[test]
fn a_size_is_decided_for_one_pipeline_and_everything_else_for_all() {
    let mut two = Two::new(settings(), [(0.01, 0.000_05), (0.01, 0.001)]);
    two.run(60);
    for decision in &two.decisions {
        assert_eq!(decision.pipeline.is_some(), decision.knob == Knob::Records, "{decision:?}");
    }
    assert!([0, 1].iter().all(|one| two.decisions.iter().any(|decision| decision.pipeline == Some(*one))));
}

#[test]
fn bytes_bound_the_records_of_the_pipeline_whose_records_are_large() {
    let bytes_max = 200_000;
    let mut two = Two::new(Settings { bytes_max, ..settings() }, [(0.01, 0.000_05); 2]);
    two.run(30);
    let [small, large] = [0, 1].map(|pipeline| two.controller.pace(pipeline).records);
    assert!((1_000..=2_000).contains(&small), "records of 100 bytes: {small}");
    assert!((30..=100).contains(&large), "records of 2,000 bytes: {large}");
}

#[test]
fn a_pipeline_that_was_never_announced_counts_as_the_last() {
    let mut two = Two::new(settings(), [(0.01, 0.000_05); 2]);
    let work = Work { pipeline: usize::MAX, records: 10, bytes: 10, full: false };
    two.tell(Event::Joined { pipeline: usize::MAX, anew: false, allowance: Allowance::default() });
    two.tell(Event::Begun(work));
    two.tell(Event::Ended { began: Duration::ZERO, work, ending: Ending::Committed });
    assert_eq!(two.controller.pace(usize::MAX), two.controller.pace(2), "the third is the last");
}
