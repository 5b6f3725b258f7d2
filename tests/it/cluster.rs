//! A cluster grows and shrinks while events come in: work moves, and the tables are exact.

use std::time::Duration;

use crate::harness::{Run, Tidemill, assert_tables, stage, wait_for_tables, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// How many tasks a member has, by its metrics; none while it does not answer.
fn tasks(member: &Tidemill) -> Option<usize> {
    let text = get(&format!("{}metrics", member.address()))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("tidemill_tasks{"))?;
    let (_, count) = line.rsplit_once(' ')?;
    count.parse::<f64>().ok().map(|count| count as usize)
}

fn get(address: &str) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { reqwest::get(address).await.ok()?.text().await.ok() })
}

fn wait_for_tasks(members: &[Tidemill], expected: &[usize]) {
    let what = format!("tasks to be shared out as {expected:?}");
    wait_until(&what, PATIENCE, || {
        let mut found: Vec<_> = members.iter().map(tasks).collect();
        found.sort_unstable();
        found.iter().copied().eq(expected.iter().copied().map(Some))
    });
}

#[test]
fn members_join_and_die_while_events_come_in_and_the_work_moves() {
    let Some(stage) = stage("cluster") else {
        return;
    };
    let pair = stage.recent_changes()[0];
    for (name, url) in &stage.servers {
        let run = Run::new(pair, &stage.bootstrap, url);
        let mut feed = run.replay_within(pair, 6, Duration::from_secs(25));
        let more = ["--session-timeout", "3s", "--http", "127.0.0.1:0"];
        let member = |name: &str| run.member_with(name, &more, &[]);
        let mut members = vec![member("first"), member("second")];
        wait_for_tasks(&members, &[3, 3]);
        members.push(member("third"));
        wait_for_tasks(&members, &[2, 2, 2]);
        wait_until("rows", PATIENCE, || run.raw_rows() > Some(0));
        let rows = run.raw_rows().expect("a database");
        assert!(rows < pair.events(), "all was done before one is killed");
        members.remove(0).kill();
        wait_for_tasks(&members, &[3, 3]);
        feed.succeed();
        wait_for_tables(&run, pair, &mut members);
        assert_tables(&run, pair, &format!("{} on {name}, cluster", pair.name));
        members.iter_mut().for_each(Tidemill::stop);
    }
}
