//! Signals: the first one asks to stop, the second one ends the process at once.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::failure::say;
use crate::runtime::StopSignal;

/// 128 and the number of SIGINT, as shells say it.
const ENDED_AT_ONCE: i32 = 130;

/// The tokio runtime of a command, and the wish to stop: for threads, and for tasks.
pub(super) struct Process {
    pub tokio: Runtime,
    pub stop: StopSignal,
    pub shutdown: CancellationToken,
}

impl Process {
    /// Begins to listen for SIGINT and SIGTERM.
    pub fn start() -> std::io::Result<Process> {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let process = Process {
            tokio,
            stop: StopSignal::default(),
            shutdown: CancellationToken::new(),
        };
        let signals = {
            let _inside = process.tokio.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        let (stop, shutdown) = (process.stop.clone(), process.shutdown.clone());
        process.tokio.spawn(listen(signals, stop, shutdown));
        Ok(process)
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.stop.set();
        self.shutdown.cancel();
    }

    /// Is done when the process is to stop.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shutdown.clone().cancelled_owned()
    }

    /// Ends the process when it takes longer than `timeout` to stop. A thread that gives up sets
    /// the stop signal alone, so the tasks are told here too.
    pub fn watch(&self, timeout: Duration) {
        let (stop, shutdown) = (self.stop.clone(), self.shutdown.clone());
        std::thread::spawn(move || {
            while !stop.wait(Duration::from_secs(3600)) {}
            shutdown.cancel();
            std::thread::sleep(timeout);
            say(format_args!(
                "error: not stopped after {timeout:?}: the last commit stands"
            ));
            std::process::exit(1);
        });
    }
}

/// Also after an error: threads must not work on in a process that ends.
impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn listen(
    (mut interrupt, mut terminate): (tokio::signal::unix::Signal, tokio::signal::unix::Signal),
    stop: StopSignal,
    shutdown: CancellationToken,
) {
    for time in 1.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if time > 1 {
            std::process::exit(ENDED_AT_ONCE);
        }
        tracing::info!("stopping; a second signal ends at once");
        stop.set();
        shutdown.cancel();
    }
}
