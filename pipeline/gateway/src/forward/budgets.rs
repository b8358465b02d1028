//! The retry budgets of all services.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use tokio::time::Instant;

use super::retry::Budget;

/// With more services than this, those without requests are forgotten. Their budgets are full in any case.
const SERVICES: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    services: Mutex<HashMap<String, Budget>>,
}

impl Budgets {
    /// Counts a request of a service of the table.
    pub(crate) fn request(&self, service: &str, now: Instant) {
        self.with(service, now, |budget| budget.request(now));
    }

    /// Takes a retry; false if there is none left.
    pub(crate) fn retry(&self, service: &str, now: Instant) -> bool {
        self.with(service, now, |budget| budget.retry(now))
    }

    fn with<T>(&self, service: &str, now: Instant, change: impl FnOnce(&mut Budget) -> T) -> T {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if services.len() >= SERVICES && !services.contains_key(service) {
            services.retain(|_, budget| !budget.is_idle(now));
        }
        change(services.entry_ref(service).or_insert_with(|| Budget::new(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_a_budget_of_its_own_and_idle_ones_are_forgotten() {
        let now = Instant::now();
        let budgets = Budgets::default();
        assert_eq!((0..50).filter(|_| budgets.retry("a", now)).count(), 10);
        assert!(budgets.retry("b", now));
        (0..2_000).for_each(|number| budgets.request(&number.to_string(), now));
        let later = now + std::time::Duration::from_secs(60);
        budgets.request("c", later);
        assert_eq!(budgets.services.lock().unwrap().len(), 1);
    }

    /// Run by `cargo test --release -p millstream-gateway -- --ignored --nocapture measured`.
    #[test]
    #[ignore = "is measured with optimization only"]
    fn the_lock_of_the_budgets_is_measured() {
        for threads in [1, 2, 4] {
            let budgets = Budgets::default();
            let now = Instant::now();
            let begin = std::time::Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| (0..1_000_000).for_each(|_| budgets.request("digits", now)));
                }
            });
            println!("{threads} threads: {:?} for each request", begin.elapsed() / (1_000_000 * threads));
        }
    }
}
