//! Who gets which partition: Kafka's `range` assignment.
//!
//! Per topic, the members that want it are sorted and each gets a run of neighbouring partitions,
//! the first ones one more when it does not come out even. Topics with equal partition counts are
//! thus co-partitioned: one member gets the same partition numbers of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::broker::{Partition, TopicPartition};

/// The topics that a member wants, with their partition counts.
pub(super) type Subscription = BTreeMap<Arc<str>, u32>;

/// The partitions of each member, sorted. `members` come in the order of assignment.
pub(super) fn range<M: Copy + Ord>(
    members: &[(M, &Subscription)],
) -> BTreeMap<M, Vec<TopicPartition>> {
    let mut assigned: BTreeMap<M, Vec<TopicPartition>> = members
        .iter()
        .map(|(member, _)| (*member, Vec::new()))
        .collect();
    let topics: BTreeSet<(&Arc<str>, u32)> = members
        .iter()
        .flat_map(|(_, subscription)| subscription.iter().map(|(topic, count)| (topic, *count)))
        .collect();
    for (topic, count) in topics {
        let takers: Vec<M> = members
            .iter()
            .filter(|(_, subscription)| subscription.contains_key(topic))
            .map(|(member, _)| *member)
            .collect();
        let (each, extra) = (count as usize / takers.len(), count as usize % takers.len());
        let mut next = 0;
        for (index, member) in takers.iter().enumerate() {
            let run = each + usize::from(index < extra);
            let partitions = (next..next + run)
                .map(|partition| TopicPartition::new(topic.clone(), partition as Partition));
            assigned.entry(*member).or_default().extend(partitions);
            next += run;
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(members: &[&[(&str, u32)]], expected: &[&str]) {
        let subscriptions: Vec<Subscription> = members
            .iter()
            .map(|topics| topics.iter().map(|(t, n)| (Arc::from(*t), *n)).collect())
            .collect();
        let members: Vec<(usize, &Subscription)> = subscriptions.iter().enumerate().collect();
        let found: Vec<String> = range(&members)
            .into_values()
            .map(|all| {
                all.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn neighbouring_partitions_go_to_one_member_and_equal_topics_are_copartitioned() {
        check(
            &[&[("a", 4), ("b", 4)]],
            &["a-0 a-1 a-2 a-3 b-0 b-1 b-2 b-3"],
        );
        check(
            &[&[("a", 3), ("b", 3)], &[("a", 3), ("b", 3)]],
            &["a-0 a-1 b-0 b-1", "a-2 b-2"],
        );
        check(&[&[("a", 1)], &[("a", 1)]], &["a-0", ""]);
        check(&[&[("a", 2), ("b", 1)], &[("b", 1)]], &["a-0 a-1 b-0", ""]);
        check(&[], &[]);
    }
}
