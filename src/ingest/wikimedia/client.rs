//! Opens the stream over HTTP, and says what an answer that is not a stream means.

use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use crate::ingest::metrics::ReconnectReason;
use crate::ingest::wikimedia::ConnectorError;
use crate::ingest::wikimedia::position::Resume;
use crate::time::Timestamp;

/// Of an answer that is not a stream, this much is read for the log.
const READ_OF_REFUSAL: usize = 500;

/// The server's stream.
pub(super) struct EventStreams {
    http: Client,
    url: Url,
    patience: Duration,
}

/// Why there is no stream.
#[derive(Debug)]
pub(super) struct Refusal {
    pub reason: ReconnectReason,
    /// For people.
    pub detail: String,
    /// What the server asks for.
    pub retry_after: Option<Duration>,
    /// Streams or topics are not known to the server (400, 404).
    pub unknown: bool,
}

impl EventStreams {
    /// The streams named, at `base` (for Wikimedia `https://stream.wikimedia.org/v2/stream`).
    pub fn new(
        base: &Url,
        streams: &[String],
        contact: Option<&str>,
        connect_timeout: Duration,
        patience: Duration,
    ) -> Result<EventStreams, ConnectorError> {
        let bad_url = || ConnectorError::BadUrl {
            url: base.to_string(),
        };
        let host = base.host_str().ok_or_else(bad_url)?;
        if contact.is_none() && is_wikimedia(host) {
            return Err(ConnectorError::NoContact {
                host: host.to_owned(),
            });
        }
        let mut url = base.clone();
        let streams = streams.join(",");
        if !streams.is_empty() {
            let mut path = url.path_segments_mut().map_err(|()| bad_url())?;
            path.pop_if_empty().push(&streams);
        }
        let mut http = Client::builder()
            .user_agent(user_agent(contact)?)
            .connect_timeout(connect_timeout)
            .redirect(reqwest::redirect::Policy::limited(3))
            // A compressed stream is held back until a block is full.
            .no_gzip();
        if is_loopback(host) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(ConnectorError::Http)?;
        Ok(EventStreams {
            http,
            url,
            patience,
        })
    }

    /// Asks for the stream. Whatever does not end in an event stream is a refusal.
    pub async fn open(&self, resume: &Resume, now: Timestamp) -> Result<Response, Refusal> {
        let mut url = self.url.clone();
        if let Resume::Since(time) | Resume::Learn(time) = resume {
            url.query_pairs_mut()
                .append_pair("since", &time.millis().to_string());
        }
        let mut request = self.http.get(url).header(ACCEPT, "text/event-stream");
        request = request.header(CACHE_CONTROL, "no-cache");
        if let Resume::LastEventId(id) = resume {
            request = request.header("Last-Event-ID", id);
        }
        let response = match tokio::time::timeout(self.patience, request.send()).await {
            Err(_) => return Err(not_reached(format!("no answer for {:?}", self.patience))),
            Ok(Err(error)) => return Err(not_reached(causes(&error))),
            Ok(Ok(response)) => response,
        };
        if response.status() == StatusCode::OK && is_event_stream(response.headers()) {
            return Ok(response);
        }
        Err(self.refusal(response, now).await)
    }

    async fn refusal(&self, mut response: Response, now: Timestamp) -> Refusal {
        let status = response.status();
        let retry_after = retry_after(response.headers(), now);
        let reason = match status {
            StatusCode::OK => ReconnectReason::NotAnEventStream,
            StatusCode::FORBIDDEN => ReconnectReason::Forbidden,
            StatusCode::TOO_MANY_REQUESTS => ReconnectReason::TooManyRequests,
            _ => ReconnectReason::Status,
        };
        let mut body = Vec::new();
        while body.len() < READ_OF_REFUSAL {
            match tokio::time::timeout(self.patience, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        body.truncate(READ_OF_REFUSAL);
        let body = String::from_utf8_lossy(&body);
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let unknown = matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND);
        let detail = format!(
            "{status}, {}: {}",
            kind.unwrap_or("no content type"),
            body.trim()
        );
        Refusal {
            reason,
            detail,
            retry_after,
            unknown,
        }
    }
}

fn not_reached(detail: String) -> Refusal {
    let reason = ReconnectReason::Unreachable;
    Refusal {
        reason,
        detail,
        retry_after: None,
        unknown: false,
    }
}

/// An error with what caused it: reqwest's own text says only that the request failed.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The tool, its version, and whom to ask, as Wikimedia's User-Agent policy wants it.
fn user_agent(contact: Option<&str>) -> Result<HeaderValue, ConnectorError> {
    let tool = concat!("tidemill/", env!("CARGO_PKG_VERSION"));
    let text = contact.map_or_else(|| tool.to_owned(), |contact| format!("{tool} ({contact})"));
    HeaderValue::from_str(&text).map_err(|_| ConnectorError::BadContact {
        contact: contact.unwrap_or_default().to_owned(),
    })
}

fn is_wikimedia(host: &str) -> bool {
    host == "wikimedia.org" || host.ends_with(".wikimedia.org")
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/event-stream")
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text)
        .ok()?
        .timestamp()
        .as_millisecond();
    Some(Duration::from_millis(
        date.saturating_sub(now.millis()).try_into().unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(base: &str, contact: Option<&str>) -> Result<EventStreams, ConnectorError> {
        let base = Url::parse(base).expect("a URL");
        let streams = ["recentchange".to_owned(), "test".to_owned()];
        let second = Duration::from_secs(1);
        EventStreams::new(&base, &streams, contact, second, second)
    }

    #[test]
    fn wikimedia_is_not_asked_without_a_contact() {
        for host in ["stream.wikimedia.org", "wikimedia.org"] {
            let error = client(&format!("https://{host}/v2/stream"), None)
                .err()
                .expect("refused");
            assert!(matches!(error, ConnectorError::NoContact { .. }), "{error}");
            assert!(error.to_string().contains("contact"), "{error}");
        }
        assert!(client("https://stream.wikimedia.org/v2/stream", Some("a@b.org")).is_ok());
        assert!(client("http://127.0.0.1:1/v2/stream", None).is_ok());
        assert!(client("https://notwikimedia.org/", None).is_ok());
    }

    #[test]
    fn a_contact_that_no_header_can_hold_and_a_url_without_a_path_are_refused() {
        let refused = |base, contact| client(base, contact).err().expect("refused").to_string();
        assert!(refused("http://h/", Some("a\nb")).contains("a\\nb"));
        assert!(refused("mailto:x@y", None).contains("mailto:x@y"));
    }

    #[test]
    fn the_streams_are_the_last_segment_of_the_path() {
        for base in ["http://h/v2/stream", "http://h/v2/stream/"] {
            let url = client(base, None).expect("a client").url;
            assert_eq!(url.as_str(), "http://h/v2/stream/recentchange,test");
        }
    }

    #[test]
    fn the_user_agent_names_the_tool_and_the_contact() {
        let agent = user_agent(Some("https://example.org/; ops@example.org")).expect("a header");
        let expected = format!(
            "tidemill/{} (https://example.org/; ops@example.org)",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(agent, expected.as_str());
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = Timestamp(784_111_777_000);
        let read = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(read("Sun, 06 Nov 1994 08:40:07 GMT"), Some(0));
        assert_eq!(read("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn only_an_event_stream_is_one() {
        let check = |kind: &'static str| {
            is_event_stream(&HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static(kind),
            )]))
        };
        assert!(check("text/event-stream"));
        assert!(check("Text/Event-Stream; charset=utf-8"));
        assert!(!check("text/html; charset=utf-8"));
        assert!(!check("application/json"));
        assert!(!is_event_stream(&HeaderMap::new()));
    }
}
