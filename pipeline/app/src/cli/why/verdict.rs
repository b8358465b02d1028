//! What became of each event of an object, from what the tables and the stream hold now.

use std::collections::BTreeMap;

use super::stream::{Event, Fact, Seen};

/// What the tables hold of a version.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) facts: (i64, i64, i16, String),
    pub(super) description: (i64, i64),
}

/// What the tables hold.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// By store and version.
    pub(super) rows: BTreeMap<(String, String), Row>,
    /// Quarantine rows of the partition: position and event (-1 for all of the record) to reason.
    pub(super) quarantined: BTreeMap<(u64, i64), String>,
    /// Where the pipeline goes on; `None` if it never read.
    pub(super) next: Option<u64>,
}

/// One sentence for each event, in their order.
pub(super) fn verdicts(seen: &[Seen], tables: &Tables) -> Vec<String> {
    seen.iter().enumerate().map(|(at, one)| verdict(at, one, seen, tables)).collect()
}

fn verdict(at: usize, one: &Seen, seen: &[Seen], tables: &Tables) -> String {
    if tables.next.is_none_or(|next| one.position >= next) {
        return "not read yet".to_owned();
    }
    let quarantined =
        [i64::from(one.index), -1].into_iter().find_map(|index| tables.quarantined.get(&(one.position, index)));
    if let Some(reason) = quarantined {
        return format!("quarantined: {reason}");
    }
    let fact = match &one.event {
        Event::Filtered { reason, name } => return format!("filtered: {reason} ({name})"),
        Event::Refused { reason, .. } => return format!("refused ({reason}), and no longer in quarantine"),
        Event::Fact(fact) => fact,
    };
    let Some(row) = tables.rows.get(&(one.store.clone(), fact.version_id.clone())) else {
        return "not in the tables, although it was read: were they restored or purged?".to_owned();
    };
    let others = seen.iter().enumerate().filter(|(other_at, other)| *other_at != at && other.store == one.store);
    let others: Vec<(bool, u64, &Fact)> = others
        .filter_map(|(other_at, other)| match &other.event {
            Event::Fact(other_fact)
                if other_fact.version_id == fact.version_id && (other_fact.kind == 0) == (fact.kind == 0) =>
            {
                Some((other_at < at, other.position, other_fact))
            }
            _ => None,
        })
        .collect();
    if let Some((_, position, _)) = others.iter().find(|(before, _, other)| *before && order(other) == order(fact)) {
        return format!("duplicate of {position}");
    }
    let newer =
        |before: bool| others.iter().find(|(is_before, _, other)| *is_before == before && order(other) > order(fact));
    let stands = if fact.kind == 0 {
        (fact.order_time, fact.order_seq) >= row.description
    } else {
        order(fact) >= (row.facts.0, row.facts.1, row.facts.2, row.facts.3.as_str())
    };
    match (newer(true), newer(false)) {
        (Some((_, position, _)), _) => format!("stale: {position} is newer and was there before"),
        (None, _) if stands => "written: what the row shows".to_owned(),
        (None, Some((_, position, _))) => format!("superseded by {position}"),
        (None, None) => "superseded by an event outside of what was looked at".to_owned(),
    }
}

/// What facts are compared by; of descriptions, the first two.
fn order(fact: &Fact) -> (i64, i64, i16, &str) {
    if fact.kind == 0 {
        (fact.order_time, fact.order_seq, 0, "")
    } else {
        (fact.order_time, fact.order_seq, fact.kind, &fact.etag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(position: u64, time: i64) -> Seen {
        let fact = Fact {
            version_id: String::new(),
            kind: 1,
            order_time: time,
            order_seq: 0,
            etag: "e".to_owned(),
            size: None,
        };
        Seen { position, index: 0, stored_at_ms: 0, store: "s".to_owned(), event: Event::Fact(fact) }
    }

    fn tables(time: i64, next: u64) -> Tables {
        let row = Row { facts: (time, 0, 1, "e".to_owned()), description: (i64::MIN, i64::MIN) };
        let rows = BTreeMap::from([(("s".to_owned(), String::new()), row)]);
        Tables { rows, quarantined: BTreeMap::new(), next: Some(next) }
    }

    #[test]
    fn each_event_is_told_what_became_of_it() {
        let events = [seen(1, 10), seen(2, 30), seen(3, 20), seen(4, 30), seen(5, 40)];
        let told = verdicts(&events, &tables(30, 5));
        assert_eq!(told[0], "superseded by 2");
        assert_eq!(told[1], "written: what the row shows");
        assert_eq!(told[2], "stale: 2 is newer and was there before");
        assert_eq!(told[3], "duplicate of 2");
        assert_eq!(told[4], "not read yet");
    }

    #[test]
    fn what_lies_outside_is_not_made_up() {
        assert_eq!(verdicts(&[seen(1, 10)], &tables(90, 5)), ["superseded by an event outside of what was looked at"]);
    }

    #[test]
    fn quarantine_comes_before_everything_that_was_read() {
        let mut tables = tables(10, 5);
        tables.quarantined.insert((1, -1), "refused_by_database".to_owned());
        assert_eq!(verdicts(&[seen(1, 10)], &tables), ["quarantined: refused_by_database"]);
    }
}
