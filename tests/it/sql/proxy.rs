//! A TCP proxy in front of a server that cuts the connection around a COMMIT, or falls silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use tidemill::sql::DatabaseUrl;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

/// When to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never sees the COMMIT.
    BeforeCommit,
    /// The server has committed; the client never hears of it.
    AfterCommit,
    /// The server never sees the COMMIT, and nothing else happens either.
    Silence,
}

pub struct Proxy {
    pub url: DatabaseUrl,
    state: Arc<State>,
}

struct State {
    server: String,
    cut: Cut,
    /// How many more COMMITs are cut.
    left: AtomicI32,
    cuts: AtomicU32,
    open: AtomicBool,
}

impl Proxy {
    /// A proxy to the server of `text` that cuts its first `count` COMMITs.
    pub async fn start(text: &str, cut: Cut, count: i32) -> Proxy {
        let mut url = url::Url::parse(text).unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(3306));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(port)).unwrap();
        // Without TLS, or there would be nothing to see. The server knows the password's hash from
        // the connection that made the database.
        url.set_query(Some("ssl-mode=DISABLED"));
        let state = Arc::new(State {
            server,
            cut,
            left: AtomicI32::new(count),
            cuts: AtomicU32::new(0),
            open: AtomicBool::new(true),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A closed proxy refuses by closing at once.
                if shared.open.load(Ordering::SeqCst) {
                    tokio::spawn(Arc::clone(&shared).serve(client));
                }
            }
        });
        Proxy {
            url: DatabaseUrl::parse(url.as_str()).unwrap(),
            state,
        }
    }

    pub fn cuts(&self) -> u32 {
        self.state.cuts.load(Ordering::SeqCst)
    }

    /// Refuses new connections, or takes them again.
    pub fn set_open(&self, open: bool) {
        self.state.open.store(open, Ordering::SeqCst);
    }

    /// Cuts so many more COMMITs.
    pub fn cut_more(&self, count: i32) {
        self.state.left.store(count, Ordering::SeqCst);
    }
}

impl State {
    async fn serve(self: Arc<State>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.server).await else {
            return;
        };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let mut buffer = vec![0; 1 << 16];
        let mut answer = vec![0; 1 << 16];
        loop {
            tokio::select! {
                read = from_client.read(&mut buffer) => {
                    let Ok(length @ 1..) = read else { return };
                    let chunk = &buffer[..length];
                    if is_commit(chunk) && self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
                        self.cuts.fetch_add(1, Ordering::SeqCst);
                        if self.cut == Cut::Silence {
                            continue;
                        }
                        if self.cut == Cut::AfterCommit {
                            let _ = to_server.write_all(chunk).await;
                            wait_for_answer(&mut from_server).await;
                        }
                        return;
                    }
                    if to_server.write_all(chunk).await.is_err() { return }
                }
                read = from_server.read(&mut answer) => {
                    let Ok(length @ 1..) = read else { return };
                    if to_client.write_all(&answer[..length]).await.is_err() { return }
                }
            }
        }
    }
}

/// A COM_QUERY of that text, in a packet of its own.
fn is_commit(chunk: &[u8]) -> bool {
    chunk.get(4..) == Some(b"\x03COMMIT")
}

async fn wait_for_answer(server: &mut OwnedReadHalf) {
    let mut answer = [0; 64];
    let _ = server.read(&mut answer).await;
}
