//! Disks are full, and lose what was written last.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{FEED, Job, PATIENCE, SESSION, in_time};
use crate::harness::{Run, Tidemill, assert_tables, skip, stage, wait_until};

/// A disk in memory, taken away with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where one may not be made.
    fn mount(at: PathBuf, size: &str) -> Option<SmallDisk> {
        fs::create_dir_all(&at).expect("a folder");
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size}"),
                "tidemill-test",
            ])
            .arg(&at)
            .output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        is_mounted.then_some(SmallDisk(at))
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("a file");
        // Up to the last page.
        for size in [1 << 20, 1 << 12] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("it was made");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_waited_for_and_costs_nothing() {
    let title = "a disk is full";
    let Some(stage) = stage(title) else {
        return;
    };
    let pair = stage.recent_changes()[0];
    let (name, url) = stage.server(0);
    let context = format!("{} on {name}, {title}", pair.name);
    in_time(&context, 2 * FEED, |feed| {
        let job = Job {
            run: Run::new(pair, &stage.bootstrap, url),
            pair,
            context: &context,
            feed,
        };
        let Some(disk) = SmallDisk::mount(job.run.state(), "48m") else {
            skip(title, "tmpfs cannot be mounted");
            return true;
        };
        job.under(job.members(1, &SESSION), assert_tables, |members| {
            fill_disk(&job, &disk, &mut members[0])
        })
    });
}

fn fill_disk(job: &Job<'_>, disk: &SmallDisk, member: &mut Tidemill) -> usize {
    if job.is_done() {
        return 0;
    }
    disk.fill();
    let meets_it = |member: &mut Tidemill| {
        assert!(!member.has_ended(), "{}", member.log());
        member.log().contains("No space left")
    };
    wait_until("the member meets it", PATIENCE, || {
        meets_it(member) || job.is_done()
    });
    std::thread::sleep(Duration::from_secs(2));
    let is_met = meets_it(member);
    disk.make_room();
    job.recovers();
    usize::from(is_met)
}

/// Plays the main job in one process whose disk is harmed.
fn play(title: &str, server: usize, harm: impl Fn(&Job<'_>, &mut Tidemill) -> usize) {
    let Some(stage) = stage(title) else {
        return;
    };
    let pair = stage.recent_changes()[0];
    let (name, url) = stage.server(server);
    let context = format!("{} on {name}, {title}", pair.name);
    in_time(&context, 2 * FEED, |feed| {
        let job = Job {
            run: Run::new(pair, &stage.bootstrap, url),
            pair,
            context: &context,
            feed,
        };
        job.under(job.members(1, &SESSION), assert_tables, |members| {
            harm(&job, &mut members[0])
        })
    });
}

/// What a power cut takes: the end of what was written last, of any length.
#[test]
fn state_whose_last_writes_are_lost_is_made_whole_from_its_changelogs() {
    play("the last writes are lost", 1, lose_last_writes);
}

fn lose_last_writes(job: &Job<'_>, member: &mut Tidemill) -> usize {
    for (loss, kept) in [9, 5, 0].into_iter().enumerate() {
        std::thread::sleep(Duration::from_millis(900));
        if job.is_done() {
            return loss;
        }
        member.kill();
        let logs = files_below(&job.run.state(), "log");
        assert!(!logs.is_empty(), "no logs in {}", job.run.state().display());
        for log in logs {
            let file = File::options().write(true).open(&log).expect("its log");
            let length = file.metadata().expect("an open file").len();
            file.set_len(length * kept / 10).expect("a shorter file");
        }
        *member = job
            .run
            .member_with(&format!("member-{loss}"), &SESSION, &[]);
        job.recovers();
    }
    3
}

/// The files below a folder that have this extension.
fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files_below(&path, extension)),
            false if path.extension().is_some_and(|end| end == extension) => found.push(path),
            false => {}
        }
    }
    found
}

/// Bits flip in what is read only when it is needed: the state has been opened by then.
#[test]
fn state_in_which_bits_have_flipped_is_set_aside_and_rebuilt() {
    play("bits flip", 0, flip_bits);
}

fn flip_bits(job: &Job<'_>, member: &mut Tidemill) -> usize {
    // What is in the write-ahead log when a state is opened becomes a file.
    for round in ["first", "second"] {
        std::thread::sleep(Duration::from_millis(900));
        if job.is_done() {
            return 0;
        }
        member.kill();
        if round == "second" {
            let tables = files_below(&job.run.state(), "sst");
            assert!(
                !tables.is_empty(),
                "no files in {}",
                job.run.state().display()
            );
            tables.iter().for_each(|table| damage(table));
        }
        *member = job.run.member_with(round, &SESSION, &[]);
        job.recovers();
    }
    usize::from(member.log().contains("set aside"))
}

/// Flips a bit in each kilobyte of a file, but for its end, without which it could not be opened.
fn damage(table: &Path) {
    let mut bytes = fs::read(table).expect("a file");
    let end = bytes.len() * 6 / 10;
    bytes[..end]
        .iter_mut()
        .step_by(1 << 10)
        .for_each(|byte| *byte ^= 4);
    fs::write(table, bytes).expect("a file");
}
