//! What the kernel says about a process.

use std::fs;

/// CPU time is counted in ticks of 10 ms on every Linux that there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU, user and system, that a process has used.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The second field is the program's name in brackets and may hold anything.
    let (_, rest) = stat.rsplit_once(')').expect("pid (name) state …");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("ticks");
    // Fields 14 and 15 of the manual, counted behind the name.
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// The peak of a process's resident memory, in MB.
pub fn peak_rss_mb(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.split_whitespace().next());
    kb.and_then(|kb| kb.parse::<f64>().ok())
        .expect("VmHWM: n kB")
        / 1024.0
}
