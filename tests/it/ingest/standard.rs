//! A server that follows the standard: the id is sent back as it came.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use tidemill::ingest::target::Target;
use tidemill::ingest::wikimedia::WikimediaOptions;
use tidemill::ingest::wikimedia::backoff::BackoffSettings;
use tokio_util::sync::CancellationToken;

use super::stage::{Running, TOPIC, check_exactly_once, memory, wait_for_events, wait_until};

/// Serves numbered events, so many per connection, beginning behind the number in the header.
struct Numbered {
    events: usize,
    per_connection: usize,
    asked: Mutex<Vec<Option<String>>>,
}

fn line(number: usize) -> String {
    format!(r#"{{"wiki":"w{}","number":{number}}}"#, number % 3)
}

async fn answer(State(numbered): State<Arc<Numbered>>, headers: HeaderMap) -> Response {
    let last = headers
        .get("last-event-id")
        .map(|id| id.to_str().unwrap().to_owned());
    numbered.asked.lock().unwrap().push(last.clone());
    let from = last.map_or(0, |id| id.parse::<usize>().unwrap() + 1);
    let to = numbered.events.min(from + numbered.per_connection);
    let frames: String = (from..to)
        .map(|number| format!("event: tick\nid: {number}\ndata: {}\n\n", line(number)))
        .collect();
    ([("content-type", "text/event-stream")], Body::from(frames)).into_response()
}

#[test]
fn the_last_id_is_sent_back_and_kept_across_restarts() {
    let numbered = Arc::new(Numbered {
        events: 100,
        per_connection: 7,
        asked: Mutex::default(),
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let (state, stop) = (Arc::clone(&numbered), CancellationToken::new());
    let until = stop.clone();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let router = Router::new()
                .route("/events", axum::routing::get(answer))
                .with_state(state);
            tokio::select! {
                () = until.cancelled() => {}
                served = axum::serve(listener, router).into_future() => served.unwrap(),
            }
        });
    });
    let target = Target {
        id: None,
        time: None,
        ..Target::new(TOPIC)
    };
    let mut options = WikimediaOptions::standard("ticks", url.parse().unwrap(), target);
    let none = std::time::Duration::ZERO;
    options.backoff = BackoffSettings {
        floor: none,
        ceiling: none,
    };
    options.batch.max_events = 10;
    let broker = memory();
    let first = Running::start(options.clone(), broker.clone());
    wait_for_events(&broker, TOPIC, 30);
    first.stop().unwrap();
    let asked = numbered.asked.lock().unwrap().len();
    let second = Running::start(options, broker.clone());
    wait_for_events(&broker, TOPIC, 100);
    wait_until("it asks once more", || {
        let all = numbered.asked.lock().unwrap();
        all.len() > asked && all.last() == Some(&Some("99".to_owned()))
    });
    assert_eq!(second.metrics.repeats.load(Relaxed), 0);
    second.stop().unwrap();
    stop.cancel();
    server.join().unwrap();
    let lines: Vec<String> = (0..100).map(line).collect();
    check_exactly_once(&broker, TOPIC, &lines);
    let all = numbered.asked.lock().unwrap();
    assert_eq!(all[0], None);
    assert!(
        all[asked].is_some(),
        "the second run goes on: {:?}",
        all[asked]
    );
}
