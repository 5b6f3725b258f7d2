//! Scripts of calls and what each member is told; then random ones.

use super::*;

/// A group on the topic `t` with 4 partitions; sessions of 10 s, polls every 30 s.
#[derive(Default)]
struct Play {
    group: Group,
    now: Timestamp,
    instances: BTreeMap<u64, Option<String>>,
}

impl Play {
    fn join(&mut self, id: u64, instance: Option<&str>) -> &mut Play {
        let application = Application {
            instance: instance.map(str::to_owned),
            subscription: [("t".into(), 4)].into(),
            session_timeout: Duration::from_secs(10),
            max_poll_interval: Duration::from_secs(30),
        };
        self.instances.insert(id, application.instance.clone());
        self.group.join(MemberId(id), application, self.now);
        self
    }

    fn pass_seconds(&mut self, seconds: i64) -> &mut Play {
        self.now = self.now.plus_millis(1000 * seconds);
        self.group.expire(self.now);
        self
    }

    fn leave(&mut self, id: u64) -> &mut Play {
        self.group.drop_member(MemberId(id), self.now);
        self
    }

    fn stop(&mut self, id: u64, partitions: &[i32]) -> &mut Play {
        let partitions: Vec<_> = partitions
            .iter()
            .map(|p| TopicPartition::new("t", *p))
            .collect();
        self.group.stop(MemberId(id), &partitions, self.now);
        self
    }

    #[track_caller]
    fn check(&mut self, id: u64, expected: &str) -> &mut Play {
        let text = |partitions: &[TopicPartition]| {
            partitions
                .iter()
                .map(|p| p.partition.to_string())
                .collect::<String>()
        };
        let instance = self.instances[&id].as_deref();
        let found = match self.group.poll(MemberId(id), instance, self.now) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(News::Assigned(generation, all))) => {
                format!("+{} g{generation}", text(&all))
            }
            Ok(Some(News::Revoked(all))) => format!("-{}", text(&all)),
            Err(refusal) => format!("{refusal:?}"),
        };
        assert_eq!(found, expected, "poll of member {id}");
        self
    }
}

#[test]
fn a_new_member_waits_until_the_others_have_given_up_everything() {
    let mut play = Play::default();
    play.join(1, None).check(1, "+0123 g1").check(1, "nothing");
    play.join(2, None)
        .check(2, "nothing")
        .check(1, "-0123")
        .check(1, "nothing");
    play.stop(1, &[0, 1]).check(2, "nothing");
    play.stop(1, &[2, 3]).check(2, "+23 g2").check(1, "+01 g2");
}

#[test]
fn a_member_that_leaves_frees_its_partitions() {
    let mut play = Play::default();
    play.join(1, None)
        .join(2, None)
        .check(1, "+01 g2")
        .check(2, "+23 g2");
    play.leave(1)
        .check(2, "-23")
        .stop(2, &[2, 3])
        .check(2, "+0123 g3");
    play.check(1, "Unknown");
}

#[test]
fn a_member_that_was_never_told_has_nothing_to_give_up() {
    let mut play = Play::default();
    play.join(1, None).join(2, None).join(3, None);
    play.check(1, "+01 g3").check(2, "+2 g3").check(3, "+3 g3");
}

#[test]
fn a_static_member_gets_its_partitions_back_without_a_rebalance() {
    let mut play = Play::default();
    play.join(1, Some("b"))
        .join(2, Some("a"))
        .check(1, "+23 g2")
        .check(2, "+01 g2");
    play.leave(1).pass_seconds(10).check(2, "nothing");
    play.join(3, Some("b"))
        .check(3, "+23 g2")
        .check(2, "nothing");
    play.check(1, "Replaced");
}

#[test]
fn a_dropped_static_member_loses_its_partitions_with_its_session() {
    let mut play = Play::default();
    play.join(1, Some("b"))
        .join(2, Some("a"))
        .check(1, "+23 g2")
        .check(2, "+01 g2");
    play.leave(1)
        .pass_seconds(11)
        .check(2, "-01")
        .stop(2, &[0, 1])
        .check(2, "+0123 g3");
}

#[test]
fn a_rebalance_waits_for_a_dropped_static_member_until_its_session_ends_or_it_is_back() {
    let mut play = Play::default();
    play.join(1, Some("a")).check(1, "+0123 g1");
    play.leave(1).join(2, Some("b")).check(2, "nothing");
    play.join(3, Some("a"))
        .check(3, "+01 g2")
        .check(2, "+23 g2");
    play.leave(3)
        .join(4, None)
        .check(2, "-23")
        .stop(2, &[2, 3])
        .check(4, "nothing");
    play.pass_seconds(11).check(4, "+23 g3").check(2, "+01 g3");
}

#[test]
fn a_silent_member_is_evicted_after_its_poll_interval() {
    let mut play = Play::default();
    play.join(1, None)
        .join(2, None)
        .check(1, "+01 g2")
        .check(2, "+23 g2");
    play.pass_seconds(20).check(2, "nothing").pass_seconds(11);
    play.check(1, "Unknown").check(2, "-23");
}

#[test]
fn a_member_that_polls_but_does_not_stop_is_evicted_after_its_poll_interval() {
    let mut play = Play::default();
    play.join(1, None)
        .check(1, "+0123 g1")
        .join(2, None)
        .check(1, "-0123");
    play.pass_seconds(20)
        .check(1, "nothing")
        .check(2, "nothing");
    play.pass_seconds(11)
        .check(2, "+0123 g2")
        .check(1, "Unknown");
}

#[test]
fn an_outdated_generation_and_a_replaced_member_are_refused() {
    let mut play = Play::default();
    play.join(1, Some("a"))
        .check(1, "+0123 g1")
        .join(2, None)
        .check(1, "-0123");
    let check = |play: &Play, id, instance, generation| {
        play.group
            .check_generation(MemberId(id), instance, generation)
    };
    assert_eq!(
        check(&play, 1, Some("a"), 1),
        Ok(()),
        "until it has given up"
    );
    play.stop(1, &[0, 1, 2, 3]);
    assert_eq!(check(&play, 1, Some("a"), 1), Err(Refusal::Outdated));
    assert_eq!(check(&play, 1, Some("a"), 2), Ok(()));
    play.join(3, Some("a"));
    assert_eq!(check(&play, 1, Some("a"), 2), Err(Refusal::Replaced));
    assert_eq!(check(&play, 9, None, 2), Err(Refusal::Unknown));
}

#[test]
fn offsets_of_an_open_transaction_are_unstable_and_count_only_when_it_commits() {
    let (mut group, p0) = (Group::default(), TopicPartition::new("t", 0));
    group.commit([(p0.clone(), 5)]);
    group.add_pending(1, [(p0.clone(), 7)]);
    assert!(group.is_unstable(&p0));
    assert!(!group.is_unstable(&TopicPartition::new("t", 1)));
    group.end_transaction(1, false);
    assert_eq!(
        (group.is_unstable(&p0), group.committed(&p0)),
        (false, Some(5))
    );
    group.add_pending(2, [(p0.clone(), 7)]);
    group.end_transaction(2, true);
    assert_eq!(group.committed(&p0), Some(7));
}

/// What can happen to a group of up to five processes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Join(usize),
    Drop(usize),
    Poll(usize),
    Stop(usize),
    Pass(i64),
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    use proptest::prelude::*;
    prop_oneof![
        2 => (0..5usize).prop_map(Step::Join),
        1 => (0..5usize).prop_map(Step::Drop),
        8 => (0..5usize).prop_map(Step::Poll),
        4 => (0..5usize).prop_map(Step::Stop),
        1 => (1..20i64).prop_map(Step::Pass),
    ]
}

/// The processes with an even number are static members.
#[derive(Default)]
struct Crowd {
    play: Play,
    last_id: u64,
    /// Each process' member id and what it believes to own.
    processes: [Option<(u64, Vec<TopicPartition>)>; 5],
}

impl Crowd {
    fn take(&mut self, step: Step) {
        match step {
            Step::Join(n) if self.processes[n].is_none() => self.join(n),
            Step::Drop(n) => {
                if let Some((id, _)) = self.processes[n].take() {
                    self.play.leave(id);
                }
            }
            Step::Poll(n) => self.poll(n),
            Step::Stop(n) => self.stop(n),
            Step::Pass(seconds) => {
                self.play.pass_seconds(seconds);
            }
            Step::Join(_) => {}
        }
    }

    fn join(&mut self, n: usize) {
        self.last_id += 1;
        let instance = (n.is_multiple_of(2)).then(|| format!("i{n}"));
        self.play.join(self.last_id, instance.as_deref());
        self.processes[n] = Some((self.last_id, Vec::new()));
    }

    fn poll(&mut self, n: usize) {
        let Some((id, owned)) = &mut self.processes[n] else {
            return;
        };
        let instance = (n.is_multiple_of(2)).then(|| format!("i{n}"));
        match self
            .play
            .group
            .poll(MemberId(*id), instance.as_deref(), self.play.now)
        {
            Ok(Some(News::Assigned(_, all))) => *owned = all,
            Ok(_) => {}
            Err(_) => self.processes[n] = None,
        }
    }

    fn stop(&mut self, n: usize) {
        let Some((id, owned)) = &mut self.processes[n] else {
            return;
        };
        let id = MemberId(*id);
        let told = self.play.group.members.get(&id);
        if told.is_some_and(|member| matches!(member.stage, Stage::Stopping(_))) {
            self.play
                .group
                .stop(id, &std::mem::take(owned), self.play.now);
        }
    }

    /// Who is still in the group owns what nobody else does.
    fn owners(&self) -> BTreeMap<TopicPartition, u64> {
        let mut owners = BTreeMap::new();
        for (id, owned) in self.processes.iter().flatten() {
            for partition in owned {
                if self.play.group.members.contains_key(&MemberId(*id)) {
                    let other = owners.insert(partition.clone(), *id);
                    assert_eq!(other, None, "{partition} has two owners");
                }
            }
        }
        owners
    }
}

proptest::proptest! {
    #[test]
    fn no_partition_has_two_owners_and_none_stays_without(
        steps in proptest::collection::vec(step(), 0..200)
    ) {
        let mut crowd = Crowd::default();
        for step in steps {
            crowd.take(step);
            crowd.owners();
        }
        // Whoever is gone for good times out; then everyone who is left does as told.
        crowd.take(Step::Join(0));
        for _ in 0..2 {
            crowd.take(Step::Pass(11));
            for _ in 0..5 {
                (0..5).for_each(|n| crowd.take(Step::Poll(n)));
                (0..5).for_each(|n| crowd.take(Step::Stop(n)));
            }
            crowd.take(Step::Join(0));
        }
        for _ in 0..5 {
            (0..5).for_each(|n| crowd.take(Step::Poll(n)));
            (0..5).for_each(|n| crowd.take(Step::Stop(n)));
        }
        assert_eq!(crowd.owners().len(), 4);
    }
}
