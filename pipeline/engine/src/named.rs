//! Filtered events by reason and name: which kinds of event arrive that change nothing.
//!
//! Names come from payloads, so their number and their length have limits. They are counted in the batch and then added
//! to the totals once per name; a known name costs no allocation.

/// Pairs of reason and name that are counted apart; all others are counted as [`OTHERS`], by reason.
pub const NAMES_MAX: usize = 64;
/// Bytes of a name that are kept.
const NAME_BYTES_MAX: usize = 100;
/// The name under which all further names are counted.
pub const OTHERS: &str = "(others)";

/// How many events were filtered, by reason and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named(Vec<Name>);

/// Events of one reason and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Why they were filtered.
    pub reason: &'static str,
    /// The emitter's name for them.
    pub name: Box<str>,
    /// The number of events.
    pub events: u64,
}

impl Named {
    /// Counts events.
    pub fn add(&mut self, reason: &'static str, name: &str, events: u64) {
        let name = shortened(name);
        if let Some(known) = self.find(reason, name) {
            known.events += events;
            return;
        }
        let name = if self.0.len() < NAMES_MAX { name } else { OTHERS };
        match self.find(reason, name) {
            Some(others) => others.events += events,
            None => self.0.push(Name { reason, name: name.into(), events }),
        }
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Named) {
        for one in &other.0 {
            self.add(one.reason, &one.name, one.events);
        }
    }

    /// The counts since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Named) -> Named {
        let before = |one: &Name| {
            let same = earlier.0.iter().find(|other| other.reason == one.reason && other.name == one.name);
            same.map_or(0, |other| other.events)
        };
        let grown = self.0.iter().map(|one| Name { events: one.events.saturating_sub(before(one)), ..one.clone() });
        Named(grown.filter(|one| one.events > 0).collect())
    }

    /// Each reason and name, in the order in which they first came.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&mut self, reason: &'static str, name: &str) -> Option<&mut Name> {
        self.0.iter_mut().find(|known| known.reason == reason && &*known.name == name)
    }
}

fn shortened(name: &str) -> &str {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_apart_up_to_a_number_and_a_length() {
        let mut named = Named::default();
        for number in 0..200 {
            named.add("unsupported_kind", &format!("n{number}"), 1);
            named.add("unsupported_kind", "n0", 1);
        }
        named.add("test_event", "s3:TestEvent", 3);
        assert_eq!(named.iter().map(|name| name.events).sum::<u64>(), 403);
        assert!(named.iter().count() <= NAMES_MAX + 2);
        let first = named.iter().next().unwrap();
        assert_eq!((first.reason, &*first.name, first.events), ("unsupported_kind", "n0", 201));
        let others: Vec<(&str, u64)> =
            named.iter().filter(|name| &*name.name == OTHERS).map(|name| (name.reason, name.events)).collect();
        assert_eq!(others, [("unsupported_kind", 136), ("test_event", 3)]);
        named.add("unsupported_kind", &"ü".repeat(100), 1);
        assert!(named.iter().all(|name| name.name.len() <= NAME_BYTES_MAX));
    }

    #[test]
    fn what_is_new_is_told_from_what_was_there() {
        let mut named = Named::default();
        let mut more = Named::default();
        named.add("a", "x", 2);
        let before = named.clone();
        more.add("a", "x", 3);
        more.add("b", "x", 1);
        named.merge(&more);
        assert_eq!(named.since(&before), more);
        assert!(named.since(&named).is_empty());
    }
}
