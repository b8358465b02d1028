//! What became of each event of an object, from what the tables and the stream hold now.

use std::collections::BTreeMap;

use millstream_schemas::objects::Effect;

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
    /// Quarantine rows of the stream: partition, position and event (-1 for all of the record) to reason.
    pub(super) quarantined: BTreeMap<(u32, u64, i64), String>,
    /// The next position of the pipeline in each partition that it has read.
    pub(super) next: BTreeMap<u32, u64>,
}

/// One sentence for each event, in their order.
pub(super) fn verdicts(seen: &[Seen], tables: &Tables) -> Vec<String> {
    seen.iter().enumerate().map(|(at, one)| verdict(at, one, seen, tables)).collect()
}

fn verdict(at: usize, one: &Seen, seen: &[Seen], tables: &Tables) -> String {
    if tables.next.get(&one.partition).is_none_or(|next| one.position >= *next) {
        return "not read yet".to_owned();
    }
    let quarantined = [i64::from(one.index), -1]
        .into_iter()
        .find_map(|index| tables.quarantined.get(&(one.partition, one.position, index)));
    if let Some(reason) = quarantined {
        return format!("quarantined: {reason}");
    }
    let fact = match &one.event {
        Event::Filtered { reason, name } => return format!("filtered: {reason} ({name})"),
        Event::Refused { reason, .. } => return format!("refused ({reason}), and no longer in quarantine"),
        Event::Fact(fact) => fact,
    };
    if removes_key(fact) {
        return removal(one, fact, tables);
    }
    let Some(row) = tables.rows.get(&(one.store.clone(), fact.version_id.clone())) else {
        return "not in the tables, although it was read: were they restored or purged?".to_owned();
    };
    let others: Vec<(bool, &Seen, &Fact)> = seen
        .iter()
        .enumerate()
        .filter(|(other_at, other)| *other_at != at && other.store == one.store)
        .filter_map(|(other_at, other)| match &other.event {
            Event::Fact(other_fact) if is_beside(fact, other_fact) => Some((other_at < at, other, other_fact)),
            _ => None,
        })
        .collect();
    if let Some((_, other, _)) = others.iter().find(|(before, _, other)| *before && order(other) == order(fact)) {
        return format!("duplicate of {}", place(one, other));
    }
    let newer =
        |before: bool| others.iter().find(|(is_before, _, other)| *is_before == before && order(other) > order(fact));
    let stands = if fact.kind == 0 {
        (fact.order_time, fact.order_seq) >= row.description
    } else {
        order(fact) >= (row.facts.0, row.facts.1, row.facts.2, row.facts.3.as_str())
    };
    match (newer(true), newer(false)) {
        (Some((_, other, _)), _) => format!("stale: {} is newer and was there before", place(one, other)),
        (None, _) if stands => "written: what the row shows".to_owned(),
        (None, Some((_, other, _))) => format!("superseded by {}", place(one, other)),
        (None, None) => "superseded by an event outside of what was looked at".to_owned(),
    }
}

/// What a removal of the whole key did: no version that is older than it may be left.
fn removal(one: &Seen, fact: &Fact, tables: &Tables) -> String {
    let mut rows = tables.rows.iter().filter(|((store, _), _)| *store == one.store).peekable();
    if rows.peek().is_none() {
        return "not in the tables, although it was read: were they restored or purged?".to_owned();
    }
    let deleted = Effect::Delete.code();
    let older = rows.filter(|(_, row)| {
        let (time, number, kind, _) = &row.facts;
        !matches!(*kind, 0 | 3) && (*time, *number, *kind) < (fact.order_time, fact.order_seq, deleted)
    });
    match older.count() {
        0 => "written: no older version of the key is left".to_owned(),
        left => format!("not written to the end: {left} older versions of the key are left"),
    }
}

fn removes_key(fact: &Fact) -> bool {
    fact.kind == Effect::RemoveKey.code()
}

/// True for an event that is compared with another: about the same version, or about all of them.
fn is_beside(fact: &Fact, other: &Fact) -> bool {
    if removes_key(other) {
        return fact.kind != 0;
    }
    other.version_id == fact.version_id && (other.kind == 0) == (fact.kind == 0)
}

/// The place of another event, seen from one.
fn place(one: &Seen, other: &Seen) -> String {
    if other.partition == one.partition {
        return other.position.to_string();
    }
    format!("{} of partition {}", other.position, other.partition)
}

/// The order by which facts are compared; of descriptions, only the first two parts.
fn order(fact: &Fact) -> (i64, i64, i16, &str) {
    match fact.kind {
        0 => (fact.order_time, fact.order_seq, 0, ""),
        kind => (fact.order_time, fact.order_seq, kind.min(Effect::Delete.code()), &fact.etag),
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
        Seen { partition: 0, position, index: 0, stored_at_ms: 0, store: "s".to_owned(), event: Event::Fact(fact) }
    }

    fn of_version(mut seen: Seen, version: &str, kind: i16) -> Seen {
        if let Event::Fact(fact) = &mut seen.event {
            fact.version_id = version.to_owned();
            fact.kind = kind;
        }
        seen
    }

    fn tables(time: i64, next: u64) -> Tables {
        let row = Row { facts: (time, 0, 1, "e".to_owned()), description: (i64::MIN, i64::MIN) };
        let rows = BTreeMap::from([(("s".to_owned(), String::new()), row)]);
        Tables { rows, quarantined: BTreeMap::new(), next: BTreeMap::from([(0, next), (1, next)]) }
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
        tables.quarantined.insert((0, 1, -1), "refused_by_database".to_owned());
        assert_eq!(verdicts(&[seen(1, 10)], &tables), ["quarantined: refused_by_database"]);
        // The same position of another partition is another record.
        assert_eq!(verdicts(&[Seen { partition: 1, ..seen(1, 10) }], &tables), ["written: what the row shows"]);
    }

    #[test]
    fn each_partition_is_read_by_itself() {
        let mut tables = tables(10, 5);
        tables.next.insert(1, 1);
        let events = [seen(1, 10), Seen { partition: 1, ..seen(1, 10) }, Seen { partition: 2, ..seen(0, 10) }];
        assert_eq!(verdicts(&events, &tables), ["written: what the row shows", "not read yet", "not read yet"]);
        let events = [seen(1, 10), Seen { partition: 1, ..seen(0, 5) }];
        assert_eq!(verdicts(&events, &tables)[1], "stale: 1 of partition 0 is newer and was there before");
    }

    #[test]
    fn a_removal_of_the_key_is_told_by_all_of_its_versions() {
        let removed = of_version(seen(2, 20), "", 4);
        let put = of_version(seen(1, 10), "v1", 1);
        let mut tables = tables(20, 5);
        let row = |kind, time| Row { facts: (time, 0, kind, String::new()), description: (i64::MIN, i64::MIN) };
        tables.rows.insert(("s".to_owned(), String::new()), row(3, 20));
        tables.rows.insert(("s".to_owned(), "v1".to_owned()), row(3, 20));
        tables.rows.insert(("s".to_owned(), "v2".to_owned()), row(1, 30));
        let told = verdicts(&[put.clone(), removed.clone()], &tables);
        assert_eq!(told, ["superseded by 2", "written: no older version of the key is left"]);
        tables.rows.insert(("s".to_owned(), "v1".to_owned()), row(1, 10));
        let told = verdicts(&[put, removed], &tables);
        assert_eq!(told[1], "not written to the end: 1 older versions of the key are left");
    }
}
