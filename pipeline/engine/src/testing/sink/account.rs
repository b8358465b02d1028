//! Every event ends as written, filtered or quarantined, once.

use super::Fixture;
use super::bench::{Bad, Bench, Filtered, Good, Part, Word, account, good, settle};

/// Good, bad and filtered events in every mixture: bad records are kept with their places, and their neighbours land.
pub async fn every_event_ends_in_one_of_three_ways(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1"]).await;
    let ways = bench.bad.len();
    let mut from = 0;
    let mut number = 0;
    // Each way to be bad alone: first, last, in the middle, side by side, and all of them together.
    let mut shapes: Vec<Vec<usize>> = (0..ways)
        .flat_map(|way| [vec![0], vec![8], vec![3], vec![3, 4]].map(|at| at.iter().map(|at| at * ways + way).collect()))
        .collect();
    shapes.push((0..9 * ways).step_by(2).collect());
    shapes.push(Vec::new());
    for bad in shapes {
        let words: Vec<Word> = (0..9)
            .map(|at| match bad.iter().find(|bad| **bad / ways == at) {
                Some(bad) => Bad(bad % ways),
                None if at == 5 => Filtered,
                None => {
                    number += 1;
                    Good(number)
                }
            })
            .collect();
        // The second partition has the same words, except for the good ones, which are others.
        let other: Vec<Word> =
            words.iter().map(|word| if let Good(number) = word { Good(number + 10_000) } else { *word }).collect();
        bench.write(&mut writer, &[Part::new("1", from, other), Part::new("0", from, words)]).await;
        from += 9;
    }
}

/// Records that are all bad do not stop their partition.
pub async fn a_batch_of_nothing_but_bad_records_passes(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0"]).await;
    for way in 0..bench.bad.len() {
        let from = 40 * way as u64;
        bench.write(&mut writer, &[Part::new("0", from, vec![Bad(way); 39])]).await;
        bench.write(&mut writer, &[Part::new("0", from + 39, [Good(from)])]).await;
    }
    let from = 40 * bench.bad.len() as u64;
    bench.write(&mut writer, &[Part::new("0", from, vec![Filtered; 5])]).await;
}

/// A batch that was written is written again, as after a lost answer: the same receipt, and nothing takes effect twice.
pub async fn the_same_batch_again_changes_nothing(fixture: &mut impl Fixture) {
    let mut bench = Bench::new(fixture);
    let mut writer = bench.writer(&["0", "1"]).await;
    let mut words = good(0..4);
    words.extend([Bad(0), Filtered, Bad(1), Good(4)]);
    let first = vec![Part::new("0", 0, words), Part::new("1", 6, good(5..8)).until(12)];
    for parts in
        [first, vec![Part::new("0", 8, [])], vec![Part::new("0", 8, []).until(9)], vec![Part::new("0", 9, good(9..10))]]
    {
        bench.write(&mut writer, &parts).await;
        let batch = bench.batch(&parts);
        for _ in 0..3 {
            let (outcome, _) = settle(&mut writer, &batch).await.expect("write the same batch again");
            account(&parts, &outcome);
            bench.check("the same batch again changes nothing").await;
        }
    }
}
