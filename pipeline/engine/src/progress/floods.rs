//! Floods of bad records in a pipeline that goes on all the same: nothing changes but what people are told.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::flood::Flooding;
use crate::share::Share;

/// The floods that people are told of. Has no more entries than the window has shares.
#[derive(Debug, Default)]
pub(super) struct Floods {
    told: BTreeMap<Share, Told>,
}

#[derive(Debug)]
struct Told {
    says: String,
    /// It is told for as long as a window takes, so that one that comes and goes is not told each time.
    until: Instant,
}

impl Floods {
    /// Takes over the floods of a batch, to be told for `time`. Returns those that nobody was told of.
    pub(super) fn take(&mut self, flooding: Vec<Flooding>, now: Instant, time: Duration) -> Vec<Flooding> {
        self.told.retain(|_, told| told.until > now);
        let mut new = Vec::new();
        for flood in flooding {
            let told = Told { says: flood.says.clone(), until: now + time };
            if self.told.insert(flood.share.clone(), told).is_none() {
                new.push(flood);
            }
        }
        new
    }

    /// Which shares flood, in words.
    pub(super) fn says(&self, now: Instant) -> Option<String> {
        let now = self.told.iter().filter(|(_, told)| told.until > now);
        let says = now.map(|(share, told)| {
            format!(
                "{share}: {}; nothing waits for it: look at them with `millstream quarantine ls --store {share}`",
                told.says
            )
        });
        let says: Vec<String> = says.collect();
        (!says.is_empty()).then(|| says.join("; "))
    }
}
