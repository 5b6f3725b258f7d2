//! The loop: claim the position, then connect, read, wait, connect again; after trouble with the
//! log, from the beginning. Decisions are made by [`super::position`] and [`super::backoff`].

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use reqwest::Response;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError, ProducerOptions, Refusals};
use crate::ingest::delivery::Delivery;
use crate::ingest::metrics::{IngestMetrics, ReconnectReason};
use crate::ingest::sse::Parser;
use crate::ingest::wikimedia::backoff::{Backoff, Lesson};
use crate::ingest::wikimedia::client::{EventStreams, Refusal, causes};
use crate::ingest::wikimedia::position::{Position, Resume};
use crate::ingest::wikimedia::session::{Session, Setting};
use crate::ingest::wikimedia::store::{LoadError, OwnTopics, load};
use crate::ingest::wikimedia::{ConnectorError, WikimediaOptions};
use crate::time::Clock;

/// How often a fenced connector looks whether another run claims the position.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Connector<'a> {
    options: &'a WikimediaOptions,
    broker: &'a dyn Broker,
    clock: &'a dyn Clock,
    metrics: &'a IngestMetrics,
    shutdown: &'a CancellationToken,
    own: OwnTopics,
    server: EventStreams,
    runtime: Runtime,
    backoff: Backoff,
    /// The name of this run: whoever claims the position writes it there.
    name: String,
    /// What is asked for, in an order that does not depend on how it was written.
    streams: Vec<String>,
    claimed: bool,
    /// The server has accepted our streams at least once.
    accepted: bool,
    /// What topics have refused.
    refusals: Refusals,
}

/// Why a session has ended before the shutdown.
enum Trouble {
    /// The log refuses: begin again from what is committed.
    Log(BrokerError),
    /// There is no use in going on.
    Stop(ConnectorError),
}

/// How a connection has ended.
struct End {
    reason: ReconnectReason,
    lesson: Lesson,
    retry_after: Option<Duration>,
}

impl<'a> Connector<'a> {
    pub fn new(
        options: &'a WikimediaOptions,
        broker: &'a dyn Broker,
        clock: &'a dyn Clock,
        metrics: &'a IngestMetrics,
        shutdown: &'a CancellationToken,
    ) -> Result<Connector<'a>, ConnectorError> {
        check_name(&options.name)?;
        let mut streams: Vec<String> = options.streams.iter().map(|s| s.stream.clone()).collect();
        if streams.is_empty() {
            return Err(ConnectorError::NoStreams);
        }
        streams.sort();
        streams.dedup();
        let contact = options.contact.as_deref();
        let (connecting, reading) = (options.connect_timeout, options.read_timeout);
        let server = EventStreams::new(&options.url, &streams, contact, connecting, reading)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Connector {
            options,
            broker,
            clock,
            metrics,
            shutdown,
            own: OwnTopics::of(&options.name),
            server,
            runtime: runtime.map_err(ConnectorError::Network)?,
            backoff: Backoff::new(options.backoff, options.chance),
            name: format!("{:016x}-{}", options.chance, clock.now().millis()),
            streams,
            claimed: false,
            accepted: false,
            refusals: Refusals::new(),
        })
    }

    pub fn run(&mut self) -> Result<(), ConnectorError> {
        let name = self.own.name.clone();
        let span = tracing::info_span!("ingest", connector = %name);
        let _entered = span.enter();
        loop {
            let error = match self.session() {
                Ok(()) => return Ok(()),
                Err(Trouble::Stop(error)) => return Err(error),
                Err(Trouble::Log(error)) => error,
            };
            if self.shutdown.is_cancelled() {
                tracing::warn!(%error, "stopped; the last batch will be read again");
                return Ok(());
            }
            match error {
                BrokerError::Fatal { .. } => return Err(error.into()),
                BrokerError::Fenced { .. } if self.taken_over()? => {
                    return Err(ConnectorError::TakenOver { name });
                }
                error => tracing::warn!(%error, "beginning again from the last commit"),
            }
            self.metrics.reconnect(ReconnectReason::Restarted);
            let wait = self.backoff.wait(Lesson::Useless, None);
            self.sleep(wait);
        }
    }

    /// From the claim of the position to the shutdown, or to trouble.
    fn session(&mut self) -> Result<(), Trouble> {
        let options = self.options;
        for stream in &options.streams {
            stream.target.create_topics(self.broker)?;
        }
        self.broker
            .create_topics(&self.own.specs(options.streams[0].target.replication))?;
        let producer = self.broker.producer(&ProducerOptions {
            transactional_id: Some(format!("tidemill-ingest-{}", options.name)),
            transaction_timeout: None,
        })?;
        // Whoever had the id before us is fenced, so what is read now stays true.
        let (position, server_id, ours) = self.restore()?;
        let refusals = self.refusals.clone();
        let delivery = Delivery::in_transactions(producer, self.clock, self.metrics, refusals);
        let (own, name, streams) = (self.own.clone(), self.name.clone(), self.streams.clone());
        let setting = Setting {
            options,
            own: &own,
            name: &name,
            streams: &streams,
            clock: self.clock,
            metrics: self.metrics,
        };
        let mut session = Session::new(setting, position, server_id, delivery);
        if !ours {
            session.commit()?;
            self.claimed = true;
        }
        match self.work(&mut session) {
            // What the commit says of a record is known when it comes again.
            Err(Trouble::Log(error)) => {
                let now = self.clock.now();
                Err(Trouble::Log(self.refusals.learn(error, now)))
            }
            worked => worked,
        }
    }

    /// The position to go on from, the server's last id, and whether this run has claimed the
    /// position already.
    fn restore(&self) -> Result<(Position, String, bool), Trouble> {
        let settings = self.options.position;
        let now = self.clock.now();
        match load(self.broker, &self.own, settings)? {
            Some(stored) if self.claimed && stored.session != self.name => {
                let name = self.own.name.clone();
                Err(Trouble::Stop(ConnectorError::TakenOver { name }))
            }
            Some(stored) => {
                let other_streams = stored.streams != self.streams;
                let began = if other_streams { now } else { stored.began };
                let (topics, ours) = (stored.topics, stored.session == self.name);
                tracing::info!(topics = topics.len(), "going on from the stored position");
                let learn = stored.learn || other_streams;
                let position = Position::restored(began, settings, topics, learn);
                Ok((position, stored.server_id, ours))
            }
            None => {
                let began = self.options.since.unwrap_or(now);
                tracing::info!(since = %began, "no stored position");
                Ok((Position::new(began, settings), String::new(), false))
            }
        }
    }

    /// After the log has fenced us: whether another run claims the position. When none does, the
    /// log had only timed our transaction out.
    fn taken_over(&self) -> Result<bool, ConnectorError> {
        let begun = Instant::now();
        loop {
            match load(self.broker, &self.own, self.options.position) {
                Ok(Some(stored)) if stored.session != self.name => return Ok(true),
                Err(unreadable @ LoadError::Unreadable { .. }) => return Err(unreadable.into()),
                _ if self.shutdown.is_cancelled() => return Ok(false),
                _ if begun.elapsed() >= self.options.claim_patience => return Ok(false),
                _ => self.sleep(LOOK_EVERY.min(self.options.claim_patience)),
            }
        }
    }

    /// Connection after connection, until the shutdown.
    fn work(&mut self, session: &mut Session<'_>) -> Result<(), Trouble> {
        loop {
            let Some(end) = self.connection(session)? else {
                return Ok(session.commit_rest()?);
            };
            self.metrics.reconnect(end.reason);
            if session.is_suspect() {
                let action = "go on with this producer".to_owned();
                let reason = "an earlier call was suspiciously slow or failed".to_owned();
                return Err(BrokerError::Retry { action, reason }.into());
            }
            let wait = self.backoff.wait(end.lesson, end.retry_after);
            tracing::info!(reason = end.reason.label(), ?wait, "connection ended");
            // Even the shortest sleep takes as long as a whole connection to a near server.
            if !wait.is_zero()
                && self
                    .drive(session, async { tokio::time::sleep(wait).await })?
                    .is_none()
            {
                return Ok(session.commit_rest()?);
            }
        }
    }

    /// One connection, from the request to its end; none at the shutdown.
    fn connection(&mut self, session: &mut Session<'_>) -> Result<Option<End>, Trouble> {
        let resume = session.resume();
        tracing::debug!(?resume, "connecting");
        let now = self.clock.now();
        match self.drive(session, self.server.open(&resume, now))? {
            None => Ok(None),
            Some(Err(refusal)) => self.refused(session, &resume, refusal).map(Some),
            Some(Ok(response)) => {
                self.accepted = true;
                let learning = matches!(resume, Resume::Learn(_));
                let Some(reason) = self.read(session, response, learning)? else {
                    return Ok(None);
                };
                let useful = session.position.ended() > 0 || learning;
                let lesson = if useful {
                    Lesson::Useful
                } else {
                    Lesson::Useless
                };
                Ok(Some(End {
                    reason,
                    lesson,
                    retry_after: None,
                }))
            }
        }
    }

    fn refused(
        &self,
        session: &mut Session<'_>,
        resume: &Resume,
        refusal: Refusal,
    ) -> Result<End, Trouble> {
        let Refusal {
            reason,
            detail,
            retry_after,
            unknown,
        } = refusal;
        let with_topics = matches!(resume, Resume::LastEventId(_));
        if unknown && with_topics {
            session.position.topics_refused();
        } else if unknown && !self.accepted {
            let streams = self.streams.join(",");
            return Err(Trouble::Stop(ConnectorError::UnknownStream {
                streams,
                detail,
            }));
        }
        let lesson = match reason {
            ReconnectReason::Forbidden => {
                tracing::error!(detail, "the server refuses us; is the contact right?");
                Lesson::Refused
            }
            _ => {
                tracing::warn!(reason = reason.label(), detail, "no stream");
                Lesson::Useless
            }
        };
        Ok(End {
            reason,
            lesson,
            retry_after,
        })
    }

    /// Reads a response to its end; none at the shutdown.
    fn read(
        &self,
        session: &mut Session<'_>,
        mut response: Response,
        learning: bool,
    ) -> Result<Option<ReconnectReason>, Trouble> {
        let mut parser = Parser::new(self.options.max_event_bytes);
        session.connected();
        loop {
            // The timer must be made inside the runtime, hence the block.
            let patience = self.options.read_timeout;
            let chunk = async { tokio::time::timeout(patience, response.chunk()).await };
            let chunk = match self.drive(session, chunk)? {
                None => return Ok(None),
                Some(Err(_)) => return Ok(Some(ReconnectReason::Silence)),
                Some(Ok(Ok(None))) => return Ok(Some(ReconnectReason::Closed)),
                Some(Ok(Err(error))) => {
                    tracing::debug!(error = causes(&error), "the response broke off");
                    return Ok(Some(ReconnectReason::Broken));
                }
                Some(Ok(Ok(Some(chunk)))) => chunk,
            };
            let mut rest = &chunk[..];
            while let Some(frame) = parser.next_frame(&mut rest) {
                let given_up = if learning {
                    session.take_topics(frame)
                } else {
                    session.take(frame)
                };
                if let Some(reason) = given_up {
                    return Ok(Some(reason));
                }
                session.commit_if_due()?;
            }
            if session.is_suspect() {
                return Ok(Some(ReconnectReason::Restarted));
            }
        }
    }

    /// Waits for the network, committing what falls due meanwhile; none at the shutdown.
    fn drive<F: Future>(
        &self,
        session: &mut Session<'_>,
        future: F,
    ) -> Result<Option<F::Output>, Trouble> {
        /// What the waiting was for.
        enum Step<T> {
            Done(T),
            Due,
            Shutdown,
        }
        let mut future = pin!(future);
        loop {
            let due = session.due();
            let step = self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = self.shutdown.cancelled() => Step::Shutdown,
                    () = at(due) => Step::Due,
                    output = &mut future => Step::Done(output),
                }
            });
            match step {
                Step::Done(output) => return Ok(Some(output)),
                Step::Shutdown => return Ok(None),
                Step::Due => session.commit()?,
            }
        }
    }

    /// Sleeps, or less long at the shutdown.
    fn sleep(&self, time: Duration) {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(time) => {}
            }
        });
    }
}

/// At that moment; never, when there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// The name becomes part of topics' names and of keys.
fn check_name(name: &str) -> Result<(), ConnectorError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=100).contains(&name.len()) && name.bytes().all(good) {
        Ok(())
    } else {
        Err(ConnectorError::BadName {
            name: name.to_owned(),
        })
    }
}

impl From<BrokerError> for Trouble {
    fn from(error: BrokerError) -> Trouble {
        Trouble::Log(error)
    }
}

impl From<LoadError> for Trouble {
    fn from(error: LoadError) -> Trouble {
        match error {
            LoadError::Broker(error) => Trouble::Log(error),
            unreadable => Trouble::Stop(unreadable.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connectors_name_must_fit_into_the_names_of_topics() {
        let long = "x".repeat(101);
        for (name, good) in [
            ("wikimedia", true),
            ("a.b_c-D9", true),
            ("", false),
            ("a/b", false),
            ("a b", false),
            ("ü", false),
            (&long, false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
    }
}
