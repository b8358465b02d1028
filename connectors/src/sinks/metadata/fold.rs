//! Folds the events of one key into one row to write: the same join as in `objects_update.sql`.
//!
//! Facts and description are folded separately, each to the one of highest order. Facts are ordered by (time, number,
//! kind, etag); at equal order the larger size wins and a known one beats an unknown. Descriptions are ordered by
//! (time, number); two that differ at equal order are left to a second pass, so that only the database compares JSON.
//! Of the removals of the whole key the newest is kept; as deletions of the row without a version they are among its
//! facts.

use std::cmp::Ordering;

use super::columns::{Columns, DescriptionRow, Row};
use crate::sinks::tables::columns::Span;

/// One key of a batch with the row that its events fold into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folded {
    /// The winning facts; `kind` 0 and lowest order if no event had any. Its `description` is the winning one.
    pub(super) row: Row,
    /// The number of events with this key.
    pub(super) events: u32,
    /// The number of them with exactly the order of the winning facts, or of the winning description.
    pub(super) winners: u32,
    /// The number of different events that won facts, description and removal: these are counted as written.
    pub(super) parts: u32,
    /// The newest removal of the whole key.
    pub(super) removal: Option<Removal>,
}

/// The order of a removal of a whole key: time, number, class. The class is compared last, so that of two removals of
/// equal order the better one is kept.
pub(super) type Removal = (i64, i64, i16);

/// The lowest order, of rows without facts or without description.
const LOWEST: i64 = i64::MIN;

/// Folds the events of the given records. Returns one pass, sorted by key, and the events that need another.
pub(super) fn fold(columns: &Columns, mut rows: Vec<Row>) -> (Vec<Folded>, Vec<Row>) {
    rows.sort_unstable_by(|a, b| {
        columns.key(a).cmp(&columns.key(b)).then_with(|| order(columns, a, b)).then(a.record.cmp(&b.record))
    });
    let mut folded = Vec::with_capacity(rows.len());
    let mut later = Vec::new();
    for group in rows.chunk_by(|a, b| columns.key(a) == columns.key(b)) {
        folded.extend(fold_key(columns, group, &mut later));
    }
    (folded, later)
}

/// The order of facts.
fn order(columns: &Columns, a: &Row, b: &Row) -> Ordering {
    let facts = |row: &Row| (row.kind != 0, row.order_time, row.order_seq, row.kind);
    facts(a).cmp(&facts(b)).then_with(|| columns.bytes(a.etag).cmp(columns.bytes(b.etag)))
}

/// Folds the events of one key, given in the order of their facts.
fn fold_key(columns: &Columns, group: &[Row], later: &mut Vec<Row>) -> Option<Folded> {
    let last = group.last()?;
    if let [only] = group {
        let removal = removal(only);
        return Some(Folded { row: without_facts(*only), events: 1, winners: 1, parts: 1, removal });
    }
    let mut row = without_facts(*last);
    let equal_facts = |event: &&Row| last.kind != 0 && order(columns, event, last).is_eq();
    for event in group.iter().filter(equal_facts) {
        row.size = row.size.max(event.size);
        row.order_class = row.order_class.max(event.order_class);
    }
    let described = |event: &Row| event.description.map(|text| (text.time, text.seq));
    let newest = group.iter().filter_map(described).max();
    let mut winner: Option<&Row> = None;
    let mut postponed = 0;
    for event in group.iter().filter(|event| newest.is_some() && described(event) == newest) {
        match winner {
            None => winner = Some(event),
            Some(first) if first.description.map(|text| text.hash) == event.description.map(|text| text.hash) => {}
            Some(_) => {
                later.push(describing_only(*event));
                // Its facts, if any, are folded here; the second pass accounts for the event.
                postponed += 1;
            }
        }
    }
    row.description = winner.and_then(|winner| winner.description);
    let removed = group.iter().filter_map(removal).max();
    let wins_description = |event: &&Row| newest.is_some() && described(event) == newest;
    let wins_removal = |event: &&Row| removed.is_some() && removal(event) == removed;
    let wins = |event: &&Row| equal_facts(event) || wins_description(event) || wins_removal(event);
    let winners = group.iter().filter(wins).count();
    // Whether the facts and something else were won by one event; a removal describes nothing.
    let shared = |other: &dyn Fn(&&Row) -> bool| group.iter().any(|event| equal_facts(&event) && other(&event));
    let parts = [(newest.is_some(), shared(&wins_description)), (removed.is_some(), shared(&wins_removal))];
    let parts = u32::from(last.kind != 0) + parts.iter().map(|(won, shared)| u32::from(*won && !shared)).sum::<u32>();
    let events = (group.len() - postponed) as u32;
    Some(Folded { row, events, winners: (winners - postponed.min(winners)) as u32, parts, removal: removed })
}

/// The order of an event that removes the whole key.
fn removal(event: &Row) -> Option<Removal> {
    event.removes_key.then_some((event.order_time, event.order_seq, event.order_class))
}

/// An event that only describes has no place in the order of facts.
fn without_facts(mut row: Row) -> Row {
    if row.kind == 0 {
        (row.order_time, row.order_seq, row.order_class, row.size, row.etag) =
            (LOWEST, LOWEST, 0, None, Span::default());
    }
    row
}

fn describing_only(mut row: Row) -> Row {
    row.kind = 0;
    row
}

/// Whether a description belongs to the facts beside it, and not to older ones. Otherwise it is kept and not shown.
pub(super) fn is_shown(description: (i64, i64, i64), facts: (i64, i64)) -> bool {
    (description.0, description.1) >= facts
}

/// The order and hash of a description; the lowest where there is none.
pub(super) fn description_order(description: Option<&DescriptionRow>) -> (i64, i64, i64) {
    description.map_or((LOWEST, LOWEST, 0), |text| (text.time, text.seq, text.hash))
}
