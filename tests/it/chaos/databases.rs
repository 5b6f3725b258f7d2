//! Databases are killed, and slow.

use std::time::{Duration, Instant};

use super::{FEED, Job, in_time};
use crate::harness::{
    Line, OwnServer, Run, Tidemill, Way, assert_tables, is_long, skip, stage, wait_until,
};

/// Events that wait for a slow database: 800 MB.
const WAITING: &str = "600000";

/// The budget of a member's memory.
const BUDGET: &str = "256MiB";

/// What it may hold in all, in bytes: its budget, and what the process itself needs.
const MOST_BYTES: u64 = (256 + 64) << 20;

/// How long the memory of a member is watched that does all it can: six times so long.
const SOAK_PART: Duration = Duration::from_secs(300);

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
    let slow = SlowLine::to(url);
    let run = Run::wikimedia(&stage.bootstrap, &slow.url);
    run.make_topic(4);
    run.generate(&["--events", WAITING]).succeed();
    let mut member = run.member_with("member", &["--http", "off", "--memory", BUDGET], &[]);
    wait_until("the first rows", Duration::from_secs(60), || {
        run.raw_rows() > Some(0)
    });
    slow.line.goes(Way::Throttled(100_000));
    let most = most_memory(&member, Duration::from_secs(20));
    let slowly = run.raw_rows();
    slow.line.goes(Way::Clear);
    wait_until("more rows", Duration::from_secs(60), || {
        run.raw_rows() > slowly
    });
    eprintln!("a slow {name}: {} MB", most >> 20);
    assert!(most < MOST_BYTES, "{} MB", most >> 20);
    member.stop();
}

/// As much as there is to do, for half an hour, and a database that takes hardly anything of it.
#[test]
fn half_an_hour_of_work_at_full_speed_costs_no_memory_either() {
    if !is_long() {
        return skip("soak", "it takes half an hour: scripts/test --long");
    }
    let Some(stage) = stage("soak") else {
        return;
    };
    let (name, url) = stage.server(1);
    let slow = SlowLine::to(url);
    let run = Run::wikimedia(&stage.bootstrap, &slow.url);
    // What the sinks have not read by then is lost, so that the disk does not fill up.
    run.make_topic_that_keeps(4, 2 << 30);
    // Long ago, since their times go faster than the clock, and none may be of the future.
    let mut feed = run.generate(&["--start", "365d"]);
    let mut member = run.member_with("member", &["--http", "off", "--memory", BUDGET], &[]);
    wait_until("the first rows", Duration::from_secs(60), || {
        run.raw_rows() > Some(0)
    });
    slow.line.goes(Way::Throttled(1_000_000));
    let most: Vec<u64> = (0..6)
        .map(|part| {
            let rows = run.raw_rows();
            let most = most_memory(&member, SOAK_PART) >> 20;
            assert!(!feed.has_ended() && !member.has_ended(), "{}", member.log());
            assert!(run.raw_rows() > rows, "no rows in part {part}: {rows:?}");
            let rows = run.raw_rows().unwrap_or(0);
            eprintln!("soak with {name}, part {part}: {most} MB, {rows} rows");
            most
        })
        .collect();
    assert!(most.iter().all(|mb| *mb < MOST_BYTES >> 20), "{most:?} MB");
    let (early, late) = (most[0].max(most[1]), most[4].max(most[5]));
    assert!(late <= early + early / 10, "it grows: {most:?} MB");
    feed.kill();
    slow.line.goes(Way::Clear);
    member.stop();
}

/// A line to a database that can be slowed down.
struct SlowLine {
    line: Line,
    /// Where the database is, through it.
    url: String,
}

impl SlowLine {
    fn to(url: &str) -> SlowLine {
        let line = Line::new(1);
        let mut through = url::Url::parse(url).expect("a URL");
        let port = through.port().expect("a port");
        line.leads_to(&format!("{}:{port}", through.host_str().expect("a host")));
        let set = through.set_host(Some("127.0.0.1"));
        set.expect("a URL with a host");
        let set = through.set_port(Some(line.port()));
        set.expect("a URL with a host");
        SlowLine {
            line,
            url: through.into(),
        }
    }
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
