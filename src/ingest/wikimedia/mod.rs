//! The live stream of Wikimedia's changes, through EventStreams: nothing lost, nothing twice.
//!
//! ```text
//!            ┌───────────────────────── one thread ──────────────────────────┐
//!  HTTP ───► client ─► sse::Parser ─► Position (new? repeat? gap?) ─► batch ─┐
//!            ▲                             │                                 │ one transaction:
//!            └──── backoff ◄── resume ◄────┘          store::load ◄── log ◄──┘ events, position,
//!                                                     (at the start)   │       ids, gap reports
//!                                                                      └─► gap_table ─► database
//! ```
//!
//! The thread owns the producer, and a tokio runtime of its own for the HTTP side: it asks for the
//! next chunk, and while it commits, the network waits in its buffers. There is no queue and no
//! second thread, so nothing can be between the two. (Where gap reports are copied into a table,
//! that is done by a thread which only reads the log.)
//!
//! The invariant: **whatever goes wrong with the log is treated as a crash.** Everything in memory
//! is dropped, and the work begins again from the position that is committed. So there is one way
//! of recovery, and it is the one that a real crash takes.
//!
//! Two connectors of one name share a transactional id, so the newer fences the older, which sees
//! that another run has claimed the position and stops.

pub mod event_id;
pub mod position;

pub mod store;

pub mod backoff;
mod client;

mod session;

mod connector;
mod gap_table;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use crate::broker::{Broker, BrokerError, LARGEST_BATCH};
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::target::Target;
use crate::sql::DatabaseUrl;
use crate::time::{Clock, Timestamp};
use crate::value::FieldPath;

use self::backoff::{Backoff, BackoffSettings};
use self::gap_table::GapTable;
use self::position::PositionSettings;
use self::store::{LoadError, OwnTopics};

/// Wikimedia's public service.
pub const WIKIMEDIA_URL: &str = "https://stream.wikimedia.org/v2/stream";

/// What to read, and where to put it.
#[derive(Clone, Debug)]
pub struct WikimediaOptions {
    /// The connector's name: position, gap reports and fencing go by it.
    pub name: String,
    /// Where the streams are; usually [`WIKIMEDIA_URL`].
    pub url: Url,
    /// What the server's ids mean.
    pub protocol: Protocol,
    /// At least one stream; all come over one connection, since the service allows few.
    pub streams: Vec<StreamTarget>,
    /// A URL or a mail address for the User-Agent; Wikimedia refuses tools without one.
    pub contact: Option<String>,
    /// Where a first run begins; none: now. The service keeps a week or more. Later runs go on
    /// where the last one has ended.
    pub since: Option<Timestamp>,
    /// Margin of a resume, and how many identities are remembered.
    pub position: PositionSettings,
    /// How large a transaction becomes.
    pub batch: BatchSettings,
    /// How long to wait between connections.
    pub backoff: BackoffSettings,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a connection may be silent. The live stream never rests for more than seconds.
    pub read_timeout: Duration,
    /// How long a connector that the log has fenced waits for another run to claim the position;
    /// when none does, it goes on itself.
    pub claim_patience: Duration,
    /// Data of more bytes than this is a dead letter.
    pub max_event_bytes: usize,
    /// A database whose table `tidemill_gaps` gets the gap reports too. It is written to when it can
    /// be; the connector works on without it.
    pub gap_table: Option<DatabaseUrl>,
    /// A number that differs between processes: the jitter and the name of the run come from it.
    pub chance: u64,
}

/// What the server's ids mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Wikimedia's: see [`position`].
    EventStreams,
    /// The standard's: the last id is sent back as it came. Nothing is lost or repeated if the
    /// server keeps to it.
    Standard,
}

/// A stream and where its events go.
#[derive(Clone, Debug)]
pub struct StreamTarget {
    /// The stream's name or alias: `recentchange`, `mediawiki.page_change.v1`. Empty: the URL is
    /// that of the stream.
    pub stream: String,
    /// The topic for its events.
    pub target: Target,
}

/// A transaction is committed when the first of these bounds is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSettings {
    /// Events in it.
    pub max_events: usize,
    /// Bytes of those events.
    pub max_bytes: usize,
    /// The age of its first event.
    pub max_age: Duration,
}

/// Why the connector has stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// Wikimedia wants to know whom to ask.
    #[error(
        "{host} refuses tools that name no contact: set a contact (a URL or a mail address) \
         with --contact or TIDEMILL_CONTACT, it goes into the User-Agent; see \
         https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_User-Agent_Policy"
    )]
    NoContact {
        /// The host that was to be asked.
        host: String,
    },
    /// The contact cannot stand in a header.
    #[error("expected a contact of visible ASCII characters, found {contact:?}")]
    BadContact {
        /// What was given.
        contact: String,
    },
    /// The address cannot be that of a stream.
    #[error("expected the URL of an EventStreams service, such as {WIKIMEDIA_URL}, found {url}")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// The connector's name cannot be part of a topic's name.
    #[error(
        "expected a connector name of letters, digits, '.', '_' and '-', at most 100, found {name:?}"
    )]
    BadName {
        /// What was given.
        name: String,
    },
    /// There is nothing to read.
    #[error("expected at least one stream to read, found none")]
    NoStreams,
    /// The server does not have one of the streams.
    #[error("the server does not know a stream of {streams}: {detail}")]
    UnknownStream {
        /// What was asked for.
        streams: String,
        /// What the server said.
        detail: String,
    },
    /// Another process runs a connector of this name.
    #[error("another process has taken over the connector {name}")]
    TakenOver {
        /// The name.
        name: String,
    },
    /// The stored position cannot be used.
    #[error(transparent)]
    Position(#[from] LoadError),
    /// The log needs a human.
    #[error(transparent)]
    Log(#[from] BrokerError),
    /// The HTTP client cannot be made.
    #[error("make an HTTP client: {}", client::causes(.0))]
    Http(#[source] reqwest::Error),
    /// The operating system gives no thread or socket.
    #[error("start the network: {0}")]
    Network(#[source] std::io::Error),
}

impl WikimediaOptions {
    /// These streams of Wikimedia's, with the recommended settings; `name` also prefixes the
    /// connector's own topics.
    ///
    /// # Panics
    /// Never: [`WIKIMEDIA_URL`] is a URL.
    pub fn new(name: &str, streams: Vec<StreamTarget>) -> WikimediaOptions {
        WikimediaOptions {
            name: name.to_owned(),
            url: Url::parse(WIKIMEDIA_URL).expect("a URL"),
            protocol: Protocol::EventStreams,
            streams,
            contact: None,
            since: None,
            position: PositionSettings::default(),
            batch: BatchSettings::default(),
            backoff: BackoffSettings::default(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            claim_patience: Duration::from_secs(5),
            max_event_bytes: LARGEST_BATCH,
            gap_table: None,
            chance: 0,
        }
    }
}

impl WikimediaOptions {
    /// Any server of server-sent events, whose events go to one target.
    pub fn standard(name: &str, url: Url, target: Target) -> WikimediaOptions {
        let stream = StreamTarget {
            stream: String::new(),
            target,
        };
        let protocol = Protocol::Standard;
        WikimediaOptions {
            url,
            protocol,
            ..WikimediaOptions::new(name, vec![stream])
        }
    }
}

impl StreamTarget {
    /// The stream's events in the topic, with the fields that this stream has: the wiki is the
    /// key, under the name that it has there.
    pub fn new(stream: &str, topic: &str) -> StreamTarget {
        let key = FieldPath::new(match stream.trim_start_matches("mediawiki.") {
            "recentchange" => "wiki",
            name if name.contains("change.v1") => "wiki_id",
            _ => "database",
        });
        let target = Target {
            key: Some(key),
            ..Target::new(topic)
        };
        StreamTarget {
            stream: stream.to_owned(),
            target,
        }
    }
}

impl Default for BatchSettings {
    fn default() -> BatchSettings {
        BatchSettings {
            max_events: 2000,
            max_bytes: 8 * 1024 * 1024,
            max_age: Duration::from_secs(1),
        }
    }
}

impl Default for PositionSettings {
    /// Ten seconds of margin; one hour of identities at the stream's usual rate.
    fn default() -> PositionSettings {
        PositionSettings {
            margin_ms: 10_000,
            ids_per_topic: 150_000,
        }
    }
}

/// Reads the streams until `shutdown`. Blocks: call it from a thread of its own, not from an async
/// task.
///
/// # Errors
/// Only what needs a human, or when another process has taken over. Trouble with the network or
/// the log is waited out.
pub fn run(
    options: &WikimediaOptions,
    broker: &dyn Broker,
    clock: &dyn Clock,
    metrics: &IngestMetrics,
    shutdown: &CancellationToken,
) -> Result<(), ConnectorError> {
    let mut connector = connector::Connector::new(options, broker, clock, metrics, shutdown)?;
    let Some(database) = &options.gap_table else {
        return connector.run();
    };
    let done = CancellationToken::new();
    let gaps = GapTable {
        broker,
        own: OwnTopics::of(&options.name),
        replication: options.streams[0].target.replication,
        database,
        backoff: Backoff::new(options.backoff, options.chance),
        done: done.clone(),
    };
    std::thread::scope(|scope| {
        // Also when the connector panics, or its end would be waited for in vain.
        let _done = done.drop_guard();
        scope.spawn(|| gaps.run());
        connector.run()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_stream_is_the_wiki_under_the_name_that_it_has_there() {
        let check = |stream, expected| {
            let key = StreamTarget::new(stream, "t").target.key;
            assert_eq!(key, Some(FieldPath::new(expected)), "{stream}");
        };
        check("recentchange", "wiki");
        check("mediawiki.recentchange", "wiki");
        check("mediawiki.page_change.v1", "wiki_id");
        check(
            "mediawiki.page_outlink_topic_prediction_change.v1",
            "wiki_id",
        );
        check("revision-create", "database");
    }
}
