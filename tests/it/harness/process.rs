//! The built binary as a process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wait_until;

/// So many lines of a log are shown of a test that failed: more would hide why.
const SHOWN: usize = 200;

/// A running `tidemill`. Killed with this value; the end of its log is shown when the test fails.
pub struct Tidemill {
    child: Child,
    log: PathBuf,
    ended: bool,
}

impl Tidemill {
    /// Starts the binary with these arguments; its output goes to a file in `folder`.
    pub fn start(folder: &Path, name: &str, arguments: &[&str]) -> Tidemill {
        Tidemill::start_with(folder, name, arguments, &[])
    }

    /// Starts the binary with these arguments and variables of the environment.
    pub fn start_with(
        folder: &Path,
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Tidemill {
        let log = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_tidemill"))
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        Tidemill {
            child,
            log,
            ended: false,
        }
    }

    /// Runs the binary to its end; gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(folder: &Path, name: &str, arguments: &[&str]) -> String {
        let mut process = Tidemill::start(folder, name, arguments);
        let status = process.child.wait().expect("a child of this process");
        process.ended = true;
        assert!(
            status.success(),
            "tidemill {arguments:?}: {status}\n{}",
            process.log()
        );
        process.log()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What a path of its page answers.
    pub fn page(&self, path: &str) -> String {
        let mut address = None;
        wait_until("the page", Duration::from_secs(30), || {
            let log = self.log();
            let line = log.lines().find(|line| line.starts_with("http "));
            address = line
                .and_then(|line| line.split_whitespace().nth(1))
                .map(str::to_owned);
            address.is_some()
        });
        let address = format!("{}{path}", address.expect("just found"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let answer = async { reqwest::get(address).await?.text().await };
        let answer = runtime.expect("a runtime").block_on(answer);
        answer.expect("an answer")
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.ended = true;
    }

    /// The memory that it holds now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a process that runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a size") << 10
    }

    /// Lets it stand still, as `kill -STOP` does.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on after a pause.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.expect("the command kill").success());
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// When it does not, or says that something went wrong.
    pub fn stop(&mut self) {
        self.end_by("-TERM");
    }

    /// The same by Ctrl-C.
    ///
    /// # Panics
    /// As [`Tidemill::stop`].
    pub fn interrupt(&mut self) {
        self.end_by("-INT");
    }

    fn end_by(&mut self, signal: &str) {
        self.signal(signal);
        let mut status = None;
        wait_until("tidemill to stop", Duration::from_secs(30), || {
            status = self.child.try_wait().expect("a child of this process");
            status.is_some()
        });
        self.ended = true;
        assert!(
            status.is_some_and(|status| status.success()),
            "{status:?}\n{}",
            self.log()
        );
    }

    /// Waits until it has ended by itself, well or not.
    ///
    /// # Panics
    /// When it goes on.
    pub fn wait_for_its_end(&mut self) {
        wait_until("tidemill to end", Duration::from_secs(60), || {
            self.has_ended()
        });
        self.ended = true;
    }

    /// Waits until it has ended well by itself.
    ///
    /// # Panics
    /// When it goes on, or failed.
    pub fn succeed(&mut self) {
        self.succeed_within(Duration::from_secs(60));
    }

    /// The same with another patience.
    ///
    /// # Panics
    /// When it goes on for longer, or failed.
    pub fn succeed_within(&mut self, patience: Duration) {
        wait_until("tidemill to end", patience, || self.has_ended());
        self.ended = true;
        let status = self.child.wait().expect("a child of this process");
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Where it serves HTTP, as it says in its log.
    ///
    /// # Panics
    /// When it does not say.
    pub fn address(&self) -> String {
        let mut address = None;
        wait_until("the address of HTTP", Duration::from_secs(30), || {
            let log = self.log();
            let line = log.lines().find_map(|line| line.strip_prefix("http "));
            address = line.and_then(|line| Some(line.split_whitespace().next()?.to_owned()));
            address.is_some()
        });
        address.expect("just found")
    }

    /// Waits until it gives up by itself; gives what it said.
    ///
    /// # Panics
    /// When it does not, or says that all is well.
    pub fn fails(&mut self) -> String {
        let mut status = None;
        wait_until("tidemill to give up", Duration::from_secs(60), || {
            status = self.child.try_wait().expect("a child of this process");
            status.is_some()
        });
        self.ended = true;
        assert!(!status.is_some_and(|status| status.success()));
        self.log()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child of this process")
            .is_some()
    }
}

impl Drop for Tidemill {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(SHOWN);
            let end: Vec<&str> = log.lines().skip(skipped).collect();
            let path = self.log.display();
            eprintln!("--- {path}, after {skipped} lines\n{}", end.join("\n"));
        }
    }
}
