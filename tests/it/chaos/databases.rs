//! Databases are killed, and slow.

use std::time::{Duration, Instant};

use super::{FEED, Job, in_time};
use crate::harness::{
    Line, OwnServer, Run, Tidemill, Way, assert_tables, is_long, skip, stage, wait_until,
};

/// Events that wait for a slow database: 800 MB.
const WAITING: &str = "600000";

/// What a member may hold in memory, in bytes: the memory of its state (128 MiB), of its results (64 MiB) and
/// of what each of its four consumers has fetched (32 MiB), and what it needs besides.
const MEMORY: u64 = 480 << 20;

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

/// The events wait in Kafka, and nowhere else.
#[test]
fn a_slow_database_costs_no_memory() {
    let Some(stage) = stage("a slow database") else {
        return;
    };
    let (name, url) = stage.server(0);
    let line = Line::new(1);
    let mut through = url::Url::parse(url).expect("a URL");
    let port = through.port().expect("a port");
    line.leads_to(&format!("{}:{port}", through.host_str().expect("a host")));
    through
        .set_host(Some("127.0.0.1"))
        .expect("a URL with a host");
    through
        .set_port(Some(line.port()))
        .expect("a URL with a host");
    let run = Run::wikimedia(&stage.bootstrap, through.as_str());
    run.make_topic(4);
    run.generate(&["--events", WAITING]).succeed();
    let mut member = run.member("member");
    wait_until("the first rows", Duration::from_secs(60), || {
        run.raw_rows() > Some(0)
    });
    line.goes(Way::Throttled(100_000));
    let most = most_memory(&member, Duration::from_secs(20));
    let slowly = run.raw_rows();
    line.goes(Way::Clear);
    wait_until("more rows", Duration::from_secs(60), || {
        run.raw_rows() > slowly
    });
    eprintln!("a slow {name}: {} MB", most >> 20);
    assert!(most < MEMORY, "{} MB", most >> 20);
    member.stop();
}

/// The most that a process holds in so long, in bytes.
fn most_memory(process: &Tidemill, time: Duration) -> u64 {
    let begun = Instant::now();
    let mut most = process.resident_bytes();
    while begun.elapsed() < time {
        std::thread::sleep(Duration::from_millis(200));
        most = most.max(process.resident_bytes());
    }
    most
}
