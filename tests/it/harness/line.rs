//! The line between clients and a server: a TCP proxy that cuts, delays and throttles.

use std::net::TcpListener as Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, sleep_until};

/// How bytes go over a line, in both directions.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// At once.
    Clear,
    /// Each so much later, in their order and without holding up those behind.
    Delayed(Duration),
    /// So many a second and connection.
    Throttled(u32),
    /// Each connection ends after a random number of bytes up to this one, wherever that is in what
    /// is being said.
    Cut(u64),
}

/// A proxy in front of one server. Ends, and cuts all connections, with this value.
pub struct Line {
    port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    server: Mutex<String>,
    state: Mutex<State>,
}

struct State {
    way: Way,
    random: StdRng,
    cuts: u32,
    /// How many bytes have come over it while it was not clear.
    carried: u64,
    /// Dropped to end all connections there are.
    connections: Vec<tokio::task::AbortHandle>,
}

/// One direction of a connection.
struct Direction {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    shared: Arc<Shared>,
}

impl Line {
    /// A line that is clear, to a server that is named later.
    pub fn new(seed: u64) -> Line {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let bound = Bound::bind("127.0.0.1:0").expect("a port");
        bound.set_nonblocking(true).expect("a socket");
        let port = bound.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            server: Mutex::default(),
            state: Mutex::new(State {
                way: Way::Clear,
                random: StdRng::seed_from_u64(seed),
                cuts: 0,
                carried: 0,
                connections: Vec::new(),
            }),
        });
        runtime.spawn(accept(bound, Arc::clone(&shared)));
        Line {
            port,
            shared,
            runtime: Some(runtime),
        }
    }

    /// Where it leads to: host and port.
    pub fn leads_to(&self, server: &str) {
        *self.shared.server.lock().unwrap() = server.to_owned();
    }

    /// The port of loopback on which it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host and port on which it begins.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How bytes go from now on. Connections that there are end, as they may be stuck.
    pub fn goes(&self, way: Way) {
        let mut state = self.shared.state();
        state.way = way;
        state.connections.drain(..).for_each(|c| c.abort());
    }

    /// How many bytes have come over it while it was not clear.
    pub fn carried(&self) -> u64 {
        self.shared.state().carried
    }

    /// How many connections have been cut.
    pub fn cuts(&self) -> u32 {
        self.shared.state().cuts
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn accept(bound: Bound, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(bound).expect("a listener");
    while let Ok((client, _)) = listener.accept().await {
        let connection = tokio::spawn(serve(client, Arc::clone(&shared)));
        let mut state = shared.state();
        state.connections.retain(|c| !c.is_finished());
        state.connections.push(connection.abort_handle());
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let server = shared.server.lock().unwrap().clone();
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("an open socket");
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let direction = |from, to| Direction {
        from,
        to,
        shared: Arc::clone(&shared),
    };
    let up = direction(from_client, to_server);
    let down = direction(from_server, to_client);
    // Both end with the first one.
    tokio::select! {
        () = up.go() => {}
        () = down.go() => {}
    }
}

impl Direction {
    async fn go(mut self) {
        let way = self.shared.state().way;
        match way {
            Way::Clear => {
                let _ = tokio::io::copy(&mut self.from, &mut self.to).await;
            }
            Way::Delayed(delay) => self.delayed(delay).await,
            Way::Throttled(rate) => self.throttled(rate).await,
            Way::Cut(most) => self.cut(most).await,
        }
    }

    async fn delayed(self, delay: Duration) {
        let (sender, mut arrived) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(1024);
        let (mut from, mut to, shared) = (self.from, self.to, self.shared);
        let read = async move {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                let due = Instant::now() + delay;
                let sent = sender.send((due, buffer[..length].to_vec())).await;
                if sent.is_err() {
                    return;
                }
            }
        };
        let write = async move {
            while let Some((due, bytes)) = arrived.recv().await {
                sleep_until(due).await;
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
                shared.state().carried += bytes.len() as u64;
            }
        };
        tokio::join!(read, write);
    }

    async fn throttled(mut self, rate: u32) {
        // Tenths of a second, or single bytes where that is less than one.
        let portion = (rate / 10).max(1);
        let pause = Duration::from_secs_f64(f64::from(portion) / f64::from(rate));
        let mut buffer = vec![0; portion as usize];
        while let Ok(length @ 1..) = self.from.read(&mut buffer).await {
            if self.to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
            self.shared.state().carried += length as u64;
            sleep(pause).await;
        }
    }

    async fn cut(mut self, most: u64) {
        let left = self.shared.state().random.random_range(1..=most);
        let mut from = (&mut self.from).take(left);
        let copied = tokio::io::copy(&mut from, &mut self.to).await;
        if copied.is_ok_and(|copied| copied == left) {
            let mut state = self.shared.state();
            state.cuts += 1;
            state.carried += left;
        }
    }
}
