//! The limit: a poll loop that counts bytes and does nothing else.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;

use crate::log::{self, Topic};
use crate::process;
use crate::report::Figures;

/// Tells the child what it is for.
const ASKED: &str = "TIDEMILL_BENCH_CONSUME";

/// The topic to consume, if this process is the child for that.
pub fn asked_for() -> Option<String> {
    std::env::var(ASKED).ok()
}

/// Consumes a topic in a child of this program.
pub fn measure(topic: &Topic) -> Figures {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .env(ASKED, &topic.name)
        .stderr(Stdio::inherit())
        .output()
        .expect("the child starts");
    assert!(output.status.success(), "the bare consumer failed");
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|n| n.parse().expect("a number"))
        .collect();
    let [records, seconds, cpu_seconds, rss_mb, start_seconds] = numbers[..] else {
        panic!("not the five numbers: {text}");
    };
    Figures {
        records: records as u64,
        seconds,
        cpu_seconds,
        rss_mb,
        start_seconds,
    }
}

/// What the child does: the clock runs from the first record to the last.
pub fn run(bootstrap: &str, topic: &str) {
    let began = Instant::now();
    let consumer: BaseConsumer = log::consumer(bootstrap, "bench-consume");
    let total = log::assign_all(&consumer, topic);
    let pid = std::process::id();
    let (mut first, mut records, mut bytes) = (None, 0_u64, 0_usize);
    while records < total {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.expect("a record");
        first.get_or_insert_with(|| (Instant::now(), process::cpu_seconds(pid)));
        bytes += message.key_len() + message.payload_len();
        records += 1;
    }
    let (since, cpu) = first.expect("a topic with records");
    assert!(bytes > 0, "records have bytes");
    println!(
        "{records} {} {} {} {}",
        since.elapsed().as_secs_f64(),
        process::cpu_seconds(pid) - cpu,
        process::peak_rss_mb(pid),
        (since - began).as_secs_f64()
    );
}
