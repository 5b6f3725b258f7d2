//! Gap reports in the table `tidemill_gaps`, and databases that do not take them.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Row as _};
use tempfile::TempDir;
use tidemill::broker::memory::MemoryBroker;
use tidemill::ingest::wikimedia::WikimediaOptions;
use tidemill::ingest::wikimedia::backoff::BackoffSettings;
use tidemill::sql::{DatabaseUrl, migrate};

use crate::eventstreams::Double;

use super::stage::{
    Running, TOPIC, check_exactly_once, generated, memory, options, time_of, values,
    wait_for_events, wait_until,
};

/// What the topic of the reports is called.
const REPORTS: &str = "test-ingest-gaps";

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

fn sqlite(path: &Path) -> DatabaseUrl {
    DatabaseUrl::parse(&format!("sqlite:{}", path.display())).unwrap()
}

/// Source, kind, missing offsets, and the time of the event behind the gap.
type Row = (String, String, i64, String);

fn rows(path: &Path) -> Vec<Row> {
    block_on(async {
        let url = format!("sqlite:{}", path.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let query =
            "SELECT source, kind, missing, before_time FROM tidemill_gaps ORDER BY found_offset";
        let rows = sqlx::raw_sql(query).fetch_all(&mut connection).await;
        let row = |row: &sqlx::sqlite::SqliteRow| (row.get(0), row.get(1), row.get(2), row.get(3));
        rows.unwrap_or_default().iter().map(row).collect()
    })
}

/// A stream in which three events and then one are missing, and the events that are there.
fn with_gaps() -> (Double, Vec<String>, [Row; 2]) {
    let mut lines = generated(41, 300);
    lines.remove(200);
    lines.drain(100..103);
    let double = Double::recentchange();
    double.publish(lines.iter().map(String::as_str));
    let gap = |missing, index: usize| {
        let before = time_of(&lines[index]).to_string();
        ("test".to_owned(), "gap".to_owned(), missing, before)
    };
    let gaps = [gap(3, 100), gap(1, 197)];
    (double, lines, gaps)
}

fn with_table(double: &Double, lines: &[String], database: DatabaseUrl) -> WikimediaOptions {
    let mut options = options(double, time_of(&lines[0]).plus_millis(-1000));
    options.gap_table = Some(database);
    options.backoff = BackoffSettings {
        floor: Duration::ZERO,
        ceiling: Duration::from_millis(50),
    };
    options
}

/// Everything is in the log, and the connector stops when it is told to.
#[track_caller]
fn check_unhindered(running: Running, broker: &MemoryBroker, lines: &[String]) {
    wait_for_events(broker, TOPIC, lines.len());
    let begun = Instant::now();
    running.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "a long stop");
    check_exactly_once(broker, TOPIC, lines);
    assert_eq!(values(broker, REPORTS).len(), 2);
}

#[test]
fn gaps_get_into_the_table_once_however_often_the_connector_is_started() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    block_on(migrate(&sqlite(&path))).unwrap();
    let (double, lines, gaps) = with_gaps();
    let broker = memory();
    for _ in 0..2 {
        let options = with_table(&double, &lines, sqlite(&path));
        let running = Running::start(options, broker.clone());
        wait_until("the gaps are in the table", || rows(&path).len() >= 2);
        check_unhindered(running, &broker, &lines);
        assert_eq!(rows(&path), gaps);
    }
}

#[test]
fn a_table_that_is_made_later_gets_the_gaps_of_before() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    let (double, lines, gaps) = with_gaps();
    let broker = memory();
    let options = || with_table(&double, &lines, sqlite(&path));
    let running = Running::start(options(), broker.clone());
    check_unhindered(running, &broker, &lines);
    assert_eq!(rows(&path), []);
    // The next run finds the reports of this one in their topic, and tries until it can.
    let running = Running::start(options(), broker);
    block_on(migrate(&sqlite(&path))).unwrap();
    wait_until("the gaps are in the table", || rows(&path) == gaps);
    running.stop().unwrap();
}

#[test]
fn a_database_that_is_away_or_silent_holds_nothing_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    for url in [
        "sqlite:/nowhere/at/all/t.db".to_owned(),
        format!("mysql://a:b@{gone}/t"),
        format!("mysql://a:b@{address}/t"),
    ] {
        let (double, lines, _) = with_gaps();
        let broker: Arc<MemoryBroker> = memory();
        let options = with_table(&double, &lines, DatabaseUrl::parse(&url).unwrap());
        let running = Running::start(options, broker.clone());
        check_unhindered(running, &broker, &lines);
    }
}
