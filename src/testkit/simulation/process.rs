//! One process of a simulated cluster.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::broker::memory::MemoryBroker;
use crate::format::MemoryRegistry;
use crate::runtime::{
    self, AppError, Database, Died, Ending, EngineMetrics, EngineSettings, Environment,
    MemoryShares, Shared, SinkThread, StopSignal, StreamThread,
};
use crate::state::StateBackend;
use crate::state::memory::MemoryBackend;
use crate::state::rocks::{RocksBackend, StateMemory, StoreMemory};
use crate::time::{ManualClock, Timestamp};
use crate::topology::plan::Plan;

/// What all processes run on.
pub(super) struct Site {
    pub plan: Arc<Plan>,
    pub broker: MemoryBroker,
    pub clock: ManualClock,
    pub database: Database,
}

/// Where a process keeps its state; it outlives the process.
pub(super) enum Disk {
    Memory(Arc<MemoryBackend>),
    Rocks(TempDir),
}

impl Disk {
    /// Nothing is on it.
    pub fn new(is_real: bool) -> Disk {
        match is_real {
            true => Disk::Rocks(tempfile::tempdir().expect("room for a directory")),
            false => Disk::Memory(Arc::default()),
        }
    }

    pub fn backend(&self) -> Arc<dyn StateBackend> {
        match self {
            Disk::Memory(backend) => Arc::clone(backend) as Arc<dyn StateBackend>,
            Disk::Rocks(directory) => {
                let memory = StateMemory {
                    block_cache_bytes: 1 << 20,
                    write_buffer_bytes: 1 << 20,
                };
                Arc::new(RocksBackend::new(
                    directory.path(),
                    &StoreMemory::new(memory),
                ))
            }
        }
    }
}

/// A process: a name and a disk, and what is in memory while it runs.
pub(super) struct Process {
    instance: String,
    pub disk: Disk,
    running: Option<Running>,
    /// Until then it is given no time.
    pub frozen_until: Timestamp,
}

struct Running {
    shared: Arc<Shared>,
    threads: Vec<StreamThread>,
    sinks: Vec<SinkThread>,
}

/// How a piece of work ended.
enum Ended {
    Done,
    /// The process has died.
    Died,
}

impl Process {
    pub fn new(number: usize, disk: Disk) -> Process {
        Process {
            instance: format!("p{number}"),
            disk,
            running: None,
            frozen_until: Timestamp::MIN,
        }
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether a thread of it opens tasks.
    pub fn is_opening(&self) -> bool {
        let mut threads = self.running.iter().flat_map(|running| &running.threads);
        threads.any(StreamThread::is_opening)
    }

    /// Starts it with so many stream threads. Whatever prevents that ends it again.
    pub fn start(&mut self, site: &Site, threads: usize) -> Result<(), AppError> {
        let environment = Environment {
            broker: Arc::new(site.broker.clone()),
            backend: self.disk.backend(),
            clock: Arc::new(site.clock.clone()),
            registries: Arc::new(MemoryRegistry::new()),
            instance: self.instance.clone(),
            database: None,
            memory: MemoryShares {
                // Few enough that tables of results have to be written back in the middle.
                results: 4 << 10,
                ..MemoryShares::default()
            },
        };
        let settings = EngineSettings {
            threads,
            session_timeout: Duration::from_secs(6),
            max_poll_interval: Duration::from_secs(20),
            transaction_timeout: Duration::from_secs(5),
            ..EngineSettings::default()
        };
        let (plan, stop) = (
            Arc::clone(&site.plan),
            StopSignal::by_clock(site.clock.clone()),
        );
        let metrics = Arc::new(EngineMetrics::default());
        let shared = runtime::prepare(plan, &environment, &settings, &metrics, &stop)?;
        let mut running = Running {
            threads: Vec::new(),
            sinks: Vec::new(),
            shared,
        };
        for number in 0..threads {
            let thread = StreamThread::new(Arc::clone(&running.shared), number);
            let failed = |source| AppError::Thread {
                thread: format!("stream-{number}"),
                source,
            };
            running.threads.push(thread.map_err(failed)?);
        }
        running.sinks = runtime::sinks(&running.shared, &site.database)?;
        self.running = Some(running);
        Ok(())
    }

    /// Everything in memory is gone; the log finds out by itself.
    pub fn die(&mut self) {
        self.running = None;
    }

    /// It finishes what it has, and leaves.
    pub fn stop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.sinks.clear();
        for thread in running.threads.drain(..) {
            let ended = catch_unwind(AssertUnwindSafe(|| thread.shut_down()));
            match ended {
                Ok(ended) => ended.expect("a thread ends when it is asked to"),
                Err(panic) if panic.is::<Died>() => {}
                Err(panic) => resume_unwind(panic),
            }
        }
    }

    /// At the place that it comes to after so many others, this happens.
    pub fn script(&self, after: u64, ending: Ending) {
        if let Some(running) = &self.running {
            running.shared.script(after, ending);
        }
    }

    /// How many threads and sinks it has.
    pub fn parts(&self) -> usize {
        let count = |running: &Running| running.threads.len() + running.sinks.len();
        self.running.as_ref().map_or(0, count)
    }

    /// Gives time to one of its threads or sinks; false: it has died of that.
    pub fn step(&mut self, part: usize) -> bool {
        let Some(running) = &mut self.running else {
            return true;
        };
        let threads = running.threads.len();
        let ended = match part < threads {
            true => {
                let thread = &mut running.threads[part];
                survive(|| match thread.step(Duration::ZERO) {
                    Ok(_) => {}
                    Err(error) => thread.recover(error).expect("no human is needed"),
                })
            }
            false => {
                let sink = &mut running.sinks[part - threads];
                survive(|| match sink.step(Duration::ZERO) {
                    Ok(_) => {}
                    Err(error) => sink.recover(error).expect("no human is needed"),
                })
            }
        };
        match ended {
            Ended::Done => true,
            Ended::Died => {
                self.die();
                false
            }
        }
    }
}

fn survive(work: impl FnOnce()) -> Ended {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => Ended::Done,
        Err(panic) if panic.is::<Died>() => Ended::Died,
        Err(panic) => resume_unwind(panic),
    }
}
