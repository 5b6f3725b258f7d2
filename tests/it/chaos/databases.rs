//! Databases are killed.

use std::time::Duration;

use super::{FEED, Job, in_time};
use crate::harness::{OwnServer, Run, assert_tables, is_long, skip, stage};

#[test]
fn a_database_that_is_killed_and_comes_back_has_every_row_once() {
    let Some(stage) = stage("database restart") else {
        return;
    };
    let pairs = stage.recent_changes();
    let outages = if is_long() { 10 } else { 2 };
    for (at, (name, _)) in stage.servers.iter().enumerate() {
        let Some(server) = OwnServer::start(name) else {
            return skip("database restart", "the servers are not ours to restart");
        };
        let pair = pairs[at % pairs.len()];
        let context = format!("{} on {name}, restarted", pair.name);
        in_time(&context, FEED * outages / 2, |feed| {
            let job = Job {
                run: Run::new(pair, &stage.bootstrap, &server.address()),
                pair,
                context: &context,
                feed,
            };
            let members = job.members(2, &["--http", "off"]);
            job.under(members, assert_tables, |_| {
                kill_database(&job, &server, outages)
            })
        });
    }
}

fn kill_database(job: &Job<'_>, server: &OwnServer, outages: u32) -> usize {
    for outage in 0..outages {
        std::thread::sleep(Duration::from_millis(600));
        if job.is_done() {
            return outage as usize;
        }
        server.kill();
        std::thread::sleep(Duration::from_millis(500));
        server.restart();
        job.recovers();
    }
    outages as usize
}
