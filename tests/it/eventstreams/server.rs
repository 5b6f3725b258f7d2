//! The service over HTTP, on a free port of the loopback interface, with faults on request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use futures_util::stream;
use serde_json::Value;
use tidemill::time::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::log::{Assignment, Cluster, Order, Refused};

/// What a connection gets.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The stream, for ever.
    Stream,
    /// The stream, up to so many events, and then an end.
    Cut(u64, End),
    /// Status, `Retry-After`, body.
    Status(u16, Option<String>, String),
    /// Status 200 and a page.
    Html,
    /// `:ok`, and then nothing.
    Silence,
}

/// How a stream ends that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Properly.
    Close,
    /// Between two frames, without the last chunk.
    Break,
    /// In the middle of the next frame, in the middle of a character if it has one of several
    /// bytes.
    MidFrame,
    /// With an event of type `error`.
    Error,
}

/// What a client asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub streams: String,
    pub last_event_id: Option<String>,
    pub since: Option<String>,
    pub user_agent: Option<String>,
}

type Script = Box<dyn FnMut(usize) -> Answer + Send>;

struct World {
    /// Stream or alias and its topics.
    streams: BTreeMap<String, Vec<String>>,
    clusters: Vec<Cluster>,
    /// Which cluster new connections read.
    active: usize,
    /// Goes up when clients are led elsewhere.
    route: u64,
    order: Order,
    script: Script,
    asked: Vec<Asked>,
    open: usize,
    /// Most connections at a time.
    most: usize,
    /// Bytes per chunk.
    piece: usize,
}

struct Shared {
    world: Mutex<World>,
    /// Goes up when something is published.
    published: watch::Sender<u64>,
}

/// The running service. Ends when it is dropped.
pub struct Double {
    shared: Arc<Shared>,
    url: Url,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Double {
    /// Serves these streams (or aliases) with their topics, from a cluster without events.
    pub fn start(streams: &[(&str, &[&str])]) -> Double {
        let streams: BTreeMap<String, Vec<String>> = streams
            .iter()
            .map(|(name, topics)| {
                (
                    (*name).to_owned(),
                    topics.iter().map(|topic| (*topic).to_owned()).collect(),
                )
            })
            .collect();
        let topics: Vec<String> = streams.values().flatten().cloned().collect();
        let world = World {
            streams,
            clusters: vec![Cluster::with_shift(&topics, 0)],
            active: 0,
            route: 0,
            order: Order::Published,
            script: Box::new(|_| Answer::Stream),
            asked: Vec::new(),
            open: 0,
            most: usize::MAX,
            piece: usize::MAX,
        };
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            published: watch::Sender::new(0),
        });
        let stop = CancellationToken::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/v2/stream", listener.local_addr().unwrap());
        let (theirs, until) = (Arc::clone(&shared), stop.clone());
        let thread = std::thread::spawn(move || serve(listener, theirs, &until));
        Double {
            shared,
            url: Url::parse(&url).unwrap(),
            stop,
            thread: Some(thread),
        }
    }

    /// The usual stream with its two topics.
    pub fn recentchange() -> Double {
        Double::start(&[(
            "recentchange",
            &[
                "eqiad.mediawiki.recentchange",
                "codfw.mediawiki.recentchange",
            ],
        )])
    }

    /// Its address, without the stream.
    pub fn url(&self) -> Url {
        self.url.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    /// Adds events to the log of every cluster.
    pub fn publish<'l>(&self, lines: impl IntoIterator<Item = &'l str>) {
        let mut world = self.world();
        for line in lines {
            world
                .clusters
                .iter_mut()
                .for_each(|cluster| cluster.publish(line));
        }
        drop(world);
        self.shared.published.send_modify(|count| *count += 1);
    }

    /// Adds anything to the log of every cluster.
    pub fn publish_at(&self, topic: &str, offset: i64, time: i64, line: &str) {
        for cluster in &mut self.world().clusters {
            cluster.publish_at(topic, offset, time, line);
        }
        self.shared.published.send_modify(|count| *count += 1);
    }

    /// Adds a cluster, empty like the first one must still be, whose offsets differ by `shift`.
    pub fn add_cluster(&self, shift: i64) {
        let mut world = self.world();
        let topics: Vec<String> = world.streams.values().flatten().cloned().collect();
        world.clusters.push(Cluster::with_shift(&topics, shift));
    }

    /// From now on clients are led to this cluster; open connections break.
    pub fn route_to(&self, cluster: usize) {
        let mut world = self.world();
        world.active = cluster;
        world.route += 1;
        drop(world);
        self.shared.published.send_modify(|count| *count += 1);
    }

    /// Retention takes what is before an offset, in every cluster.
    pub fn forget(&self, topic: &str, before: i64) {
        self.world()
            .clusters
            .iter_mut()
            .for_each(|cluster| cluster.forget(topic, before));
    }

    /// Says what each connection gets, by its number, from 0.
    pub fn script(&self, script: impl FnMut(usize) -> Answer + Send + 'static) {
        self.world().script = Box::new(script);
    }

    /// In which order events of several topics come.
    pub fn order(&self, order: Order) {
        self.world().order = order;
    }

    /// More connections than this at a time get status 429.
    pub fn limit_connections(&self, most: usize) {
        self.world().most = most;
    }

    /// Sends the stream in chunks of so many bytes.
    pub fn chop(&self, piece: usize) {
        self.world().piece = piece;
    }

    /// What was asked for so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.world().asked.clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve(listener: std::net::TcpListener, shared: Arc<Shared>, stop: &CancellationToken) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        // Without this, short frames wait for the acknowledgement of earlier ones.
        let listener = listener.tap_io(|connection| connection.set_nodelay(true).unwrap());
        let router = Router::new()
            .route("/v2/stream/{streams}", axum::routing::get(answer))
            .with_state(shared);
        tokio::select! {
            () = stop.cancelled() => {}
            served = axum::serve(listener, router).into_future() => served.unwrap(),
        }
    });
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.world.lock().unwrap().open -= 1;
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(streams): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Infallible> {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    };
    let asked = Asked {
        streams,
        last_event_id: header("last-event-id"),
        since: query.get("since").cloned(),
        user_agent: header("user-agent"),
    };
    let mut world = shared.world.lock().unwrap();
    world.asked.push(asked.clone());
    let number = world.asked.len() - 1;
    let answer = (world.script)(number);
    let refused = |Refused(status, body): Refused| {
        (StatusCode::from_u16(status).unwrap(), body).into_response()
    };
    let (cut, silent) = match answer {
        Answer::Stream => (None, false),
        Answer::Cut(after, how) => (Some((after, how)), false),
        Answer::Silence => (None, true),
        Answer::Status(status, retry_after, body) => {
            let mut response = refused(Refused(status, body));
            if let Some(text) = retry_after {
                response
                    .headers_mut()
                    .insert("retry-after", text.parse().unwrap());
            }
            return Ok(response);
        }
        Answer::Html => return Ok(axum::response::Html("<h1>Wikimedia error</h1>").into_response()),
    };
    if world.open >= world.most {
        return Ok(refused(Refused(
            429,
            "Too Many Concurrent Connections From Your Client IP".into(),
        )));
    }
    let places = match world.assign(&asked) {
        Ok(places) => places,
        Err(error) => return Ok(refused(error)),
    };
    world.open += 1;
    let reading = Reading {
        places,
        cluster: world.active,
        route: world.route,
        order: world.order,
        piece: world.piece,
        left: cut.map(|(after, _)| after),
        end: cut.map_or(End::Close, |(_, how)| how),
        silent,
        pending: Bytes::from_static(b":ok\n\n"),
        broken: false,
        finished: false,
        published: shared.published.subscribe(),
        open: Open(Arc::clone(&shared)),
    };
    drop(world);
    let body = Body::from_stream(stream::unfold(reading, Reading::next));
    let headers = [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-cache"),
    ];
    Ok((headers, body).into_response())
}

impl World {
    fn assign(&self, asked: &Asked) -> Result<Vec<Assignment>, Refused> {
        let mut topics = Vec::new();
        for stream in asked.streams.split(',') {
            let found = self.streams.get(stream);
            topics.extend_from_slice(
                found.ok_or_else(|| Refused(400, format!("Invalid streams: {stream}")))?,
            );
        }
        let since = asked.since.as_deref().map(|text| {
            let date = || Timestamp::parse_rfc3339(text).map(Timestamp::millis);
            text.parse()
                .or_else(|_| date())
                .map_err(|_| Refused(400, format!("bad since: {text}")))
        });
        let id = asked.last_event_id.as_deref();
        self.clusters[self.active].assign(&topics, id, since.transpose()?)
    }
}

/// A response in progress.
struct Reading {
    places: Vec<Assignment>,
    cluster: usize,
    route: u64,
    order: Order,
    piece: usize,
    /// Events until the end.
    left: Option<u64>,
    end: End,
    silent: bool,
    /// Bytes to be sent before anything else.
    pending: Bytes,
    /// The stream breaks once `pending` is sent.
    broken: bool,
    /// The stream ends once `pending` is sent.
    finished: bool,
    published: watch::Receiver<u64>,
    open: Open,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Bytes, io::Error>, Reading)> {
        loop {
            if !self.pending.is_empty() {
                let piece = self.pending.len().min(self.piece);
                let bytes = self.pending.split_to(piece);
                return Some((Ok(bytes), self));
            }
            if self.broken {
                self.broken = false;
                self.finished = true;
                // Time for what was sent to be on its way: an error discards what is buffered.
                tokio::task::yield_now().await;
                return Some((Err(io::ErrorKind::ConnectionReset.into()), self));
            }
            if self.finished {
                return None;
            }
            if self.open.0.world.lock().unwrap().route != self.route {
                self.broken = true;
                continue;
            }
            if !self.silent && self.step() {
                continue;
            }
            // Nothing to send: wait until something is published.
            self.published.changed().await.ok()?;
        }
    }

    /// Prepares what comes next; false when there is nothing yet.
    fn step(&mut self) -> bool {
        if self.left == Some(0) {
            match self.end {
                End::Close => self.finished = true,
                End::Break => self.broken = true,
                End::Error => {
                    self.pending = frame("error", &self.id(), r#"{"message":"consume failed"}"#);
                    self.finished = true;
                }
                End::MidFrame => {
                    let Some(next) = self.frame() else {
                        return false;
                    };
                    let half = next.len() / 2;
                    let wide = (half..next.len()).find(|at| next[*at] >= 0x80);
                    self.pending = next.slice(..wide.map_or(half, |at| at + 1));
                    self.broken = true;
                }
            }
            return true;
        }
        let Some(next) = self.frame() else {
            return false;
        };
        self.left = self.left.map(|left| left - 1);
        self.pending = next;
        true
    }

    fn frame(&mut self) -> Option<Bytes> {
        let world = self.open.0.world.lock().unwrap();
        let entry = world.clusters[self.cluster].next(&mut self.places, self.order)?;
        drop(world);
        Some(frame("message", &self.id(), &entry.json))
    }

    fn id(&self) -> String {
        Value::from(
            self.places
                .iter()
                .map(|place| place.id.clone())
                .collect::<Vec<_>>(),
        )
        .to_string()
    }
}

fn frame(event: &str, id: &str, data: &str) -> Bytes {
    format!("event: {event}\nid: {id}\ndata: {data}\n\n").into()
}
