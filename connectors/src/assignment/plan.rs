//! What to take and what to leave, given the rows of the database. Pure except for random choices.

use std::collections::{BTreeMap, BTreeSet};

use millstream_engine::Partition;
use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

/// A partition that the stream has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The partition.
    pub partition: Partition,
    /// The partitions it continues: it is read once none of them is unfinished.
    pub parents: Vec<Partition>,
}

/// The partitions that can be read now, sorted: unfinished ones whose parents are all finished or no longer in the
/// stream.
#[must_use]
pub fn ready(members: &[Member], finished: &BTreeSet<Partition>) -> Vec<Partition> {
    let open: BTreeSet<&Partition> =
        members.iter().map(|member| &member.partition).filter(|partition| !finished.contains(partition)).collect();
    let is_ready = |member: &&Member| {
        open.contains(&member.partition) && !member.parents.iter().any(|parent| open.contains(parent))
    };
    let ready: BTreeSet<&Partition> = members.iter().filter(is_ready).map(|member| &member.partition).collect();
    ready.into_iter().cloned().collect()
}

/// The state in the database.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// The living processes, ourselves included.
    pub(super) living: BTreeSet<String>,
    /// The owner of each partition, if any, and the number of that decision.
    pub(super) owners: BTreeMap<Partition, (Option<String>, i64)>,
    /// Partitions that were read to their end.
    pub(super) finished: BTreeSet<Partition>,
    /// Partitions that were begun and not finished: if the stream has lost one, its reader must report that.
    pub(super) begun: BTreeSet<Partition>,
}

/// The decision for this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Ours, and readable.
    pub(super) keep: Vec<Partition>,
    /// Partitions to take, each with the number of the decision it replaces; 0 if there was none.
    pub(super) take: Vec<(Partition, i64)>,
    /// Ours, and no longer readable.
    pub(super) forget: Vec<Partition>,
}

/// Decides for one process. Unless it is `calm`, only partitions without an owner are taken.
pub(super) fn plan(members: &[Member], view: &View, own_name: &str, calm: bool, rng: &mut impl Rng) -> Plan {
    let mut ready = ready(members, &view.finished);
    ready.extend(view.begun.iter().filter(|begun| !members.iter().any(|member| member.partition == **begun)).cloned());
    ready.sort();
    let owner = |partition: &Partition| view.owners.get(partition).and_then(|(owner, _)| owner.as_deref());
    let number = |partition: &Partition| view.owners.get(partition).map_or(0, |(_, number)| *number);
    let is_ours = |partition: &&Partition| owner(partition) == Some(own_name);
    let keep: Vec<Partition> = ready.iter().filter(is_ours).cloned().collect();
    let forget = view.owners.keys().filter(is_ours).filter(|partition| !ready.contains(partition)).cloned().collect();

    // We count as living in any case.
    let others = view.living.iter().filter(|name| *name != own_name).count();
    let share = ready.len().div_ceil(others + 1);
    let is_free = |partition: &&Partition| match owner(partition) {
        None => true,
        Some(owner) => calm && owner != own_name && !view.living.contains(owner),
    };
    let mut free: Vec<&Partition> = ready.iter().filter(is_free).collect();
    // In random order, so that processes that look at the same moment take different ones.
    free.shuffle(rng);
    free.truncate(share.saturating_sub(keep.len()));
    if free.is_empty() && calm && keep.len() < share {
        free.extend(surplus(&ready, owner, own_name, keep.len(), rng));
    }
    let take = free.into_iter().map(|partition| (partition.clone(), number(partition))).collect();
    Plan { keep, take, forget }
}

/// One partition of the process that has the most, if it has at least two more than we have.
fn surplus<'a>(
    ready: &'a [Partition],
    owner: impl Fn(&Partition) -> Option<&'a str>,
    own_name: &str,
    own: usize,
    rng: &mut impl Rng,
) -> Option<&'a Partition> {
    let mut had: BTreeMap<&str, Vec<&Partition>> = BTreeMap::new();
    for partition in ready {
        if let Some(owner) = owner(partition).filter(|owner| *owner != own_name) {
            had.entry(owner).or_default().push(partition);
        }
    }
    let richest = had.into_values().max_by_key(Vec::len)?;
    if richest.len() < own + 2 {
        return None;
    }
    richest.choose(rng).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    fn partition(number: usize) -> Partition {
        Partition::new(format!("{number:03}"))
    }

    fn members(count: usize) -> Vec<Member> {
        (0..count).map(|number| Member { partition: partition(number), parents: Vec::new() }).collect()
    }

    fn numbers(partitions: &[Partition]) -> Vec<usize> {
        partitions.iter().map(|partition| partition.as_str().parse().unwrap()).collect()
    }

    #[test]
    fn children_wait_for_every_parent_that_is_left() {
        let member = |number, parents: &[usize]| Member {
            partition: partition(number),
            parents: parents.iter().map(|parent| partition(*parent)).collect(),
        };
        // 0 is divided into 2 and 3, then 3 and 1 are merged into 4; 9 is gone from the stream.
        let members = [member(0, &[]), member(1, &[9]), member(2, &[0]), member(3, &[0]), member(4, &[3, 1])];
        let after = |finished: &[usize]| numbers(&ready(&members, &finished.iter().map(|n| partition(*n)).collect()));
        assert_eq!(after(&[]), [0, 1]);
        assert_eq!(after(&[0]), [1, 2, 3]);
        assert_eq!(after(&[1]), [0]);
        assert_eq!(after(&[0, 1]), [2, 3]);
        assert_eq!(after(&[0, 3]), [1, 2]);
        assert_eq!(after(&[0, 1, 3]), [2, 4]);
        assert_eq!(after(&[0, 1, 2, 3, 4]), Vec::<usize>::new());
    }

    fn view(living: &[&str], owners: &[(usize, &str)]) -> View {
        View {
            living: living.iter().map(|name| (*name).to_owned()).collect(),
            owners: owners.iter().map(|(n, name)| (partition(*n), (Some((*name).to_owned()), 7))).collect(),
            ..View::default()
        }
    }

    fn planned(count: usize, view: &View, calm: bool) -> Plan {
        plan(&members(count), view, "me", calm, &mut SmallRng::seed_from_u64(1))
    }

    #[test]
    fn only_what_nobody_has_is_taken_until_it_is_calm() {
        let view = view(&["me"], &[(0, "dead"), (1, "dead"), (2, "me")]);
        let hasty = planned(4, &view, false);
        assert_eq!((hasty.keep, hasty.take), (vec![partition(2)], vec![(partition(3), 0)]));
        let mut calm = planned(4, &view, true).take;
        calm.sort();
        assert_eq!(calm, [(partition(0), 7), (partition(1), 7), (partition(3), 0)]);
    }

    #[test]
    fn no_more_is_taken_than_a_fair_share() {
        let view = view(&["me", "other"], &[]);
        assert_eq!(planned(5, &view, true).take.len(), 3);
        assert_eq!(planned(1, &view, true).take.len(), 1);
        assert_eq!(planned(0, &view, true), Plan::default());
    }

    #[test]
    fn one_is_taken_from_whoever_has_two_more() {
        let poor = view(&["me", "rich", "other"], &[(0, "me"), (1, "rich"), (2, "rich"), (3, "rich"), (4, "other")]);
        let take = planned(5, &poor, true).take;
        assert!(matches!(&take[..], [(one, 7)] if ["001", "002", "003"].contains(&one.as_str())), "{take:?}");
        assert_eq!(planned(5, &poor, false).take, []);
        let even = view(&["me", "rich"], &[(0, "me"), (1, "rich"), (2, "rich")]);
        assert_eq!(planned(3, &even, true).take, [], "one more is fair");
    }

    #[test]
    fn what_is_finished_is_forgotten_and_what_the_stream_lost_is_kept() {
        let mut view = view(&["me"], &[(0, "me"), (1, "me"), (8, "me"), (9, "me")]);
        view.finished.extend([partition(0), partition(8)]);
        view.begun.extend([partition(1), partition(9)]);
        let plan = planned(2, &view, true);
        assert_eq!(numbers(&plan.keep), [1, 9]);
        assert_eq!(numbers(&plan.forget), [0, 8]);
        assert_eq!(plan.take, []);
    }

    proptest! {
        /// Once processes stop coming and going, the partitions are soon divided evenly, and then none of them
        /// moves.
        #[test]
        fn partitions_are_divided_evenly_and_then_rest(
            count in 0usize..12,
            start in prop::collection::vec(prop::option::of(0usize..6), 12),
            living in 1usize..5,
            seed: u64,
        ) {
            let mut rng = SmallRng::seed_from_u64(seed);
            let names: Vec<String> = (0..6).map(|number| format!("process {number}")).collect();
            let mut view = View { living: names[..living].iter().cloned().collect(), ..View::default() };
            for (number, owner) in start.iter().enumerate().take(count) {
                view.owners.insert(partition(number), (owner.map(|owner| names[owner].clone()), 1));
            }
            let mut moved = 0;
            for _ in 0..count + 2 {
                moved = 0;
                for name in &names[..living] {
                    let plan = plan(&members(count), &view, name, true, &mut rng);
                    moved += plan.take.len();
                    for (partition, number) in plan.take {
                        view.owners.insert(partition, (Some(name.clone()), number + 1));
                    }
                }
            }
            prop_assert_eq!(moved, 0);
            let have = |name: &String| {
                view.owners.values().filter(|(owner, _)| owner.as_ref() == Some(name)).count()
            };
            let have: Vec<usize> = names[..living].iter().map(have).collect();
            prop_assert_eq!(have.iter().sum::<usize>(), count);
            prop_assert!(have.iter().max().unwrap() - have.iter().min().unwrap() <= 1, "{:?}", have);
        }
    }
}
