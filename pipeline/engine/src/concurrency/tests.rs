//! How the controller behaves: each rule for itself, and properties of all.

mod ceiling;
mod pipelines;
mod properties;
mod rules;

use super::*;

fn settings() -> Settings {
    Settings {
        concurrency_min: 1,
        concurrency_max: 32,
        concurrency_max_together: 0,
        records_max: 10_000,
        bytes_max: 8 << 20,
        freshness: Duration::from_secs(1),
        transaction_max: Duration::from_secs(2),
        records_per_second_max: 0,
        freeze: false,
    }
}

/// A database with `processors` processors and always more to write; a transaction alone on one takes 100 ms.
struct Bench {
    controller: Controller,
    now: Duration,
    open: Vec<(Duration, Duration, usize)>,
    decisions: Vec<Decision>,
    processors: usize,
    backlog: bool,
    /// The factors of their usual time that transactions take in turn.
    uneven: &'static [f64],
    begun: usize,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let controller = Controller::new(settings, Duration::ZERO);
        Self {
            controller,
            now: Duration::ZERO,
            open: Vec::new(),
            decisions: Vec::new(),
            processors: 8,
            backlog: true,
            uneven: &[1.0],
            begun: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        let decisions = self.controller.on_event(self.now, &event);
        self.decisions.extend(decisions);
    }

    fn work(records: usize, full: bool) -> Work {
        Work { pipeline: 0, records, bytes: records * 100, full }
    }

    /// Runs for this many seconds in steps of ten milliseconds; every transaction ends with `ending`.
    fn run(&mut self, seconds: u64, ending: Ending) {
        for step in 0..seconds * 100 {
            self.now += Duration::from_millis(10);
            let now = self.now;
            let (over, open): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.open).into_iter().partition(|one| one.1 <= now);
            self.open = open;
            for (began, _, records) in over {
                self.tell(Event::Ended { began, work: Self::work(records, self.backlog), ending });
            }
            self.begin();
            if step % 25 == 0 {
                self.tell(Event::Tick);
            }
        }
    }

    /// Begins as many transactions as are allowed; without a backlog one at a time is enough.
    fn begin(&mut self) {
        loop {
            let pace = self.controller.pace(0);
            let may = if self.backlog { pace.concurrency } else { pace.concurrency.min(1) };
            if self.open.len() >= may {
                break;
            }
            let records = if self.backlog { pace.records } else { 50 };
            let slower = ((self.open.len() + 1) as f64 / self.processors as f64).max(1.0);
            let uneven = self.uneven[self.begun % self.uneven.len()];
            self.begun += 1;
            let took = Duration::from_secs_f64((0.01 + 0.09 * records as f64 / 2000.0) * slower * uneven);
            self.open.push((self.now, self.now + took, records));
            self.tell(Event::Begun(Self::work(records, self.backlog)));
        }
        self.tell(Event::Waiting(if self.backlog { 10 } else { 0 }));
    }

    fn reasons(&self) -> Vec<Reason> {
        self.decisions.iter().map(|decision| decision.reason).collect()
    }
}
