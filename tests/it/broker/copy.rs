//! Exactly once, with nothing but the log: workers that copy a topic in transactions, while they
//! crash, restart and rebalance at random.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidemill::broker::{
    Acknowledge, BrokerError, GroupEvent, GroupMember, Isolation, Offset, Outgoing, Producer,
    TopicPartition,
};
use tidemill::time::Timestamp;

use super::suite::{Scene, until, until_within};

const PARTITIONS: i32 = 4;
const WORKERS: usize = 3;

/// What is to be done.
struct Job<'s> {
    scene: &'s Scene,
    from: String,
    to: String,
    /// How many records a poll takes at most.
    batch: usize,
}

/// A process that does it.
struct Worker<'s> {
    job: &'s Job<'s>,
    id: String,
    member: Box<dyn GroupMember>,
    /// None: to be made, which aborts what the one before has left behind.
    producer: Option<Box<dyn Producer>>,
    owned: BTreeSet<TopicPartition>,
    /// Its position is unknown or has to be gone back to the last commit.
    lost_its_place: bool,
    /// What has been sent in the open transaction: the next offset of each partition.
    done: BTreeMap<TopicPartition, Offset>,
}

impl<'s> Worker<'s> {
    fn start(job: &'s Job<'s>, number: usize) -> Worker<'s> {
        let id = format!("worker{number}");
        let options = job.scene.member_options(&[&job.from], Some(&id));
        let member = retry(|| job.scene.broker.member(&options));
        Worker {
            job,
            id,
            member,
            producer: None,
            owned: BTreeSet::new(),
            lost_its_place: false,
            done: BTreeMap::new(),
        }
    }

    /// One round: hear the group, find the place, copy some records, perhaps commit.
    fn step(&mut self, commit: bool) {
        let result = self
            .copy()
            .and_then(|()| if commit { self.commit() } else { Ok(()) });
        match result {
            Ok(()) => {}
            Err(BrokerError::Retry { .. }) => {}
            Err(BrokerError::Abort { .. }) => self.go_back(),
            Err(BrokerError::Fenced { .. }) => {
                self.producer = None;
                self.go_back();
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn copy(&mut self) -> Result<(), BrokerError> {
        self.find_place()?;
        let mut records = Vec::new();
        let event = self
            .member
            .poll(self.job.scene.wait, self.job.batch, &mut |r| {
                records.push(r.to_owned_record())
            })?;
        for record in &records {
            self.send(record.partition, record.offset)?;
        }
        match event {
            None => Ok(()),
            Some(GroupEvent::Assigned(all)) => {
                self.owned = all.into_iter().collect();
                self.lost_its_place = true;
                Ok(())
            }
            Some(GroupEvent::Revoked(all)) => {
                // What cannot be committed now is someone else's to copy again.
                if self.commit().is_err() {
                    self.producer = None;
                }
                self.done.clear();
                self.owned.clear();
                self.member.acknowledge(Acknowledge::Stop(&all))
            }
            Some(GroupEvent::Lost(_)) => {
                self.owned.clear();
                self.go_back();
                Ok(())
            }
        }
    }

    fn find_place(&mut self) -> Result<(), BrokerError> {
        if !self.lost_its_place {
            return Ok(());
        }
        // Before the committed offsets are asked for: this ends the transaction left behind.
        self.producer()?;
        let owned: Vec<_> = self.owned.iter().cloned().collect();
        let committed = self
            .job
            .scene
            .broker
            .committed(&self.job.scene.group(), &owned)?;
        let place = |p: &TopicPartition| (p.clone(), committed.get(p).copied().unwrap_or(0));
        let positions: Vec<_> = owned.iter().map(place).collect();
        self.member.acknowledge(Acknowledge::Start(&positions))?;
        self.lost_its_place = false;
        Ok(())
    }

    fn producer(&mut self) -> Result<&mut dyn Producer, BrokerError> {
        let suspect = self.producer.as_ref().is_some_and(|p| p.is_suspect());
        if suspect && self.done.is_empty() {
            self.producer = None;
        }
        if self.producer.is_none() {
            self.producer = Some(self.job.scene.try_producer(Some(&self.id))?);
        }
        Ok(&mut **self.producer.as_mut().unwrap())
    }

    fn send(&mut self, partition: i32, offset: Offset) -> Result<(), BrokerError> {
        let (first, job) = (self.done.is_empty(), self.job);
        let producer = self.producer()?;
        if first {
            producer.begin()?;
        }
        let value = offset.to_string();
        producer.send(Outgoing {
            topic: &job.to,
            partition: Some(partition),
            timestamp: Timestamp(1),
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        })?;
        self.done.insert(
            TopicPartition::new(job.from.as_str(), partition),
            offset + 1,
        );
        Ok(())
    }

    fn commit(&mut self) -> Result<(), BrokerError> {
        let (Some(producer), false) = (&mut self.producer, self.done.is_empty()) else {
            return Ok(());
        };
        let offsets: Vec<_> = self
            .done
            .iter()
            .map(|(p, offset)| (p.clone(), *offset))
            .collect();
        let metadata = self.member.metadata();
        let metadata = metadata.ok_or_else(|| BrokerError::fenced("commit", "no membership"))?;
        producer.send_offsets(&offsets, &metadata)?;
        while let Err(error) = producer.commit() {
            if !matches!(error, BrokerError::Retry { .. }) {
                return Err(error);
            }
        }
        self.done.clear();
        Ok(())
    }

    /// Back to the last commit.
    fn go_back(&mut self) {
        if let Some(producer) = &mut self.producer
            && producer.abort().is_err()
        {
            self.producer = None;
        }
        self.done.clear();
        self.lost_its_place = !self.owned.is_empty();
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, BrokerError>) -> T {
    let mut result = None;
    until("the log is reachable", || match call() {
        Ok(found) => {
            result = Some(found);
            true
        }
        Err(BrokerError::Retry { .. }) => false,
        Err(error) => panic!("{error}"),
    });
    result.unwrap()
}

/// `COPY_RECORDS` makes it longer, to have time to treat the brokers badly meanwhile.
pub fn a_copy_stays_exact_while_workers_crash_and_rebalance(scene: &Scene) {
    let per_partition: Offset = std::env::var("COPY_RECORDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(500);
    let (from, to) = (
        scene.topic("from", PARTITIONS as u32),
        scene.topic("to", PARTITIONS as u32),
    );
    let mut producer = scene.producer(None);
    for partition in 0..PARTITIONS {
        for offset in 0..per_partition {
            let value = offset.to_string();
            producer
                .send(Outgoing {
                    topic: &from,
                    partition: Some(partition),
                    timestamp: Timestamp(1),
                    key: None,
                    value: Some(value.as_bytes()),
                    headers: &[],
                })
                .unwrap();
        }
    }
    producer.flush().unwrap();

    let batch = 5.max(per_partition as usize / 100);
    let job = Job {
        scene,
        from: from.clone(),
        to: to.clone(),
        batch,
    };
    let mut random = StdRng::seed_from_u64(7);
    let mut workers: Vec<Worker<'_>> = Vec::new();
    let partitions: Vec<_> = (0..PARTITIONS)
        .map(|p| TopicPartition::new(from.as_str(), p))
        .collect();
    let (mut steps, mut crashes) = (0, 0);
    let patience = Duration::from_secs(60 + per_partition.unsigned_abs() / 10);
    until_within(patience, "everything is copied", || {
        if workers.len() < WORKERS && random.random_range(0..20) == 0 {
            let taken: Vec<&str> = workers.iter().map(|worker| worker.id.as_str()).collect();
            let free = (0..WORKERS).find(|n| !taken.contains(&format!("worker{n}").as_str()));
            workers.push(Worker::start(&job, free.unwrap()));
        }
        for worker in &mut workers {
            worker.step(random.random_range(0..4) == 0);
        }
        // A crash with an open transaction, which is then someone else's to abort.
        let busy = workers.iter().position(|worker| !worker.done.is_empty());
        if let Some(busy) = busy
            && random.random_range(0..20) == 0
        {
            drop(workers.swap_remove(busy));
            crashes += 1;
        }
        steps += 1;
        // Not needed here, but as good as any place to find out whether it stands an outage.
        scene
            .broker
            .end_offsets(&partitions, Isolation::ReadCommitted)
            .ok();
        scene.broker.partition_counts(&[&from, &to]).ok();
        let copied = match scene.broker.committed(&scene.group(), &partitions) {
            Ok(committed) => committed.values().sum::<Offset>(),
            Err(_) => 0,
        };
        steps % 5 == 0 && copied == per_partition * Offset::from(PARTITIONS)
    });
    drop(workers);
    for partition in 0..PARTITIONS {
        let expected: Vec<String> = (0..per_partition)
            .map(|offset| offset.to_string())
            .collect();
        let to = TopicPartition::new(to.as_str(), partition);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        scene.check_committed(&to, &expected);
    }
    assert!(crashes >= 5, "only {crashes} crashes: too few for a test");
}
