//! What a sink does when the database fails: FACTS of the servers, met on purpose.

use std::time::Duration;

use tidemill::sql::{RowBatch, SinkOptions, SqlError, SqlSink};

use super::harness::{Client, Kind, TestDatabase, batch, edits, eventually, partition, push, step};
use super::proxy::{Cut, Proxy};

async fn prepared(database: TestDatabase) -> TestDatabase {
    let database = database.with_ledger().await;
    database.make(&edits()).await;
    database
}

/// A sink that has claimed partition 0 and written one row, `a 1 1`, of offset 0.
async fn started(database: &TestDatabase) -> SqlSink {
    started_with(database, SinkOptions::default()).await
}

async fn started_with(database: &TestDatabase, options: SinkOptions) -> SqlSink {
    let mut sink = database.sink_with(&edits(), options).await;
    sink.claim(&[partition(0)]).await.unwrap();
    sink.write(&batch(0, &[("a", 1, 1)]), &[step(0, 0, 1)])
        .await
        .unwrap();
    sink
}

fn is_unavailable<T>(result: &Result<T, SqlError>) -> bool {
    matches!(result, Err(SqlError::Unavailable { .. }))
}

pub async fn a_dropped_table_is_fatal_and_a_restored_one_is_written_again(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = started(&database).await;
    database.execute("DROP TABLE edits").await;
    let error = sink
        .write(&batch(1, &[("a", 1, 2)]), &[step(0, 1, 2)])
        .await;
    let Err(error @ SqlError::Fatal { .. }) = error else {
        panic!("{error:?}")
    };
    assert!(error.to_string().contains("edits"), "{error}");
    assert_eq!(database.ledger().await.0, "1");
    database.make(&edits()).await;
    sink.write(&batch(1, &[("a", 1, 2)]), &[step(0, 1, 2)])
        .await
        .unwrap();
    assert_eq!(database.edits().await, ["a 1 2"]);
}

/// Errors that the database raises by order of the test: one for each reaction.
pub async fn passing_trouble_is_unavailable_until_it_is_over(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = started(&database).await;
    let rows = batch(1, &[("a", 1, 2), ("b", 1, 1)]);
    let moves = [step(0, 1, 3)];
    if database.kind == Kind::Sqlite {
        // A second process that holds the write lock for longer than anyone waits.
        let options = SinkOptions {
            attempts: 1,
            ..SinkOptions::default()
        };
        let mut sink = started_with_claim(&database, options).await;
        let mut other = database.connect().await;
        other.execute("BEGIN IMMEDIATE").await;
        let error = sink.write(&rows, &moves).await;
        assert!(is_unavailable(&error), "{error:?}");
        other.execute("ROLLBACK").await;
        sink.write(&rows, &moves).await.unwrap();
        assert_eq!(database.edits().await, ["a 1 2", "b 1 1"]);
        return;
    }
    // Read-only (two kinds), shutting down, out of memory, disk full, timed out.
    for number in [1290, 1836, 1053, 1041, 1021, 3024] {
        database
            .execute(&format!(
                "CREATE TRIGGER t BEFORE INSERT ON edits FOR EACH ROW \
                 SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'by order'"
            ))
            .await;
        let error = sink.write(&rows, &moves).await;
        assert!(is_unavailable(&error), "{number}: {error:?}");
        assert_eq!(database.edits().await, ["a 1 1"], "{number}");
        assert_eq!(database.ledger().await.0, "1", "{number}");
        database.execute("DROP TRIGGER t").await;
    }
    sink.write(&rows, &moves).await.unwrap();
    assert_eq!(database.edits().await, ["a 1 2", "b 1 1"]);
}

/// Like a sink that has come to the position of the one that is there.
async fn started_with_claim(database: &TestDatabase, options: SinkOptions) -> SqlSink {
    let mut sink = database.sink_with(&edits(), options).await;
    assert_eq!(sink.claim(&[partition(0)]).await.unwrap(), [Some(1)]);
    sink
}

pub async fn another_writers_lock_is_waited_for(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = started(&database).await;
    let mut other = database.connect().await;
    match database.kind {
        Kind::Sqlite => other.execute("BEGIN IMMEDIATE").await,
        Kind::MariaDb | Kind::MySql => other.execute("START TRANSACTION").await,
    }
    other.execute("UPDATE edits SET note = 'mine'").await;
    let rows = batch(1, &[("a", 1, 2)]);
    let moves = [step(0, 1, 2)];
    // Longer than a lock is waited for, so that the whole transaction is tried again.
    let release = async {
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        other.execute("COMMIT").await;
    };
    let (report, ()) = tokio::join!(sink.write(&rows, &moves), release);
    assert_eq!(report.unwrap().rows, 1);
    assert_eq!(database.edits().await, ["a 1 2"]);
    assert_eq!(database.ledger().await.0, "2");
}

pub async fn a_commit_that_was_not_answered_is_settled_by_the_ledger(database: TestDatabase) {
    let database = prepared(database).await;
    for (cut, first) in [(Cut::BeforeCommit, 0), (Cut::AfterCommit, 10)] {
        let proxy = Proxy::start(&database.text, cut, 0).await;
        let mut sink = SqlSink::open(&proxy.url, "app", "sink", edits(), SinkOptions::default())
            .await
            .unwrap();
        sink.claim(&[partition(0)]).await.unwrap();
        proxy.cut_more(1);
        // With a row that is refused, which must be reported although the answer was lost.
        let mut rows = batch(first, &[("a", first, 1), ("b", first, 2)]);
        rows.push_null();
        (0..3).for_each(|_| rows.push_null());
        rows.finish_row(tidemill::sql::Change::Upsert, 0, first + 2);
        let report = sink
            .write(&rows, &[step(0, first, first + 10)])
            .await
            .unwrap();
        assert_eq!(proxy.cuts(), 1, "{cut:?}");
        assert_eq!(
            (report.rows, report.replayed, report.rejected.len()),
            (2, 0, 1),
            "{cut:?}"
        );
        assert_eq!(
            database.ledger().await.0,
            (first + 10).to_string(),
            "{cut:?}"
        );
    }
    assert_eq!(
        database.edits().await,
        ["a 0 1", "a 10 1", "b 0 2", "b 10 2"]
    );
}

pub async fn a_commit_in_doubt_outlives_an_outage(database: TestDatabase) {
    let database = prepared(database).await;
    for (cut, first) in [(Cut::BeforeCommit, 0), (Cut::AfterCommit, 10)] {
        let proxy = Proxy::start(&database.text, cut, 0).await;
        let mut sink = SqlSink::open(&proxy.url, "app", "sink", edits(), SinkOptions::default())
            .await
            .unwrap();
        sink.claim(&[partition(0)]).await.unwrap();
        proxy.cut_more(1);
        proxy.set_open(false);
        let rows = batch(first, &[("a", first, 1), ("b", first, 2)]);
        let moves = [step(0, first, first + 2)];
        for _ in 0..2 {
            let error = sink.write(&rows, &moves).await;
            assert!(is_unavailable(&error), "{cut:?}: {error:?}");
        }
        proxy.set_open(true);
        let report = sink.write(&rows, &moves).await.unwrap();
        assert_eq!((report.rows, report.replayed), (2, 0), "{cut:?}");
        // What comes next is an ordinary write.
        let next = batch(first + 2, &[("c", first, 3)]);
        let report = sink
            .write(&next, &[step(0, first + 2, first + 10)])
            .await
            .unwrap();
        assert_eq!(report.rows, 1);
    }
    let expected = ["a 0 1", "a 10 1", "b 0 2", "b 10 2", "c 0 3", "c 10 3"];
    assert_eq!(database.edits().await, expected);
}

pub async fn a_server_that_falls_silent_is_given_up(database: TestDatabase) {
    let database = prepared(database).await;
    let proxy = Proxy::start(&database.text, Cut::Silence, 0).await;
    let options = SinkOptions {
        statement_timeout: Duration::from_millis(500),
        ..SinkOptions::default()
    };
    let url = proxy.url.clone();
    // On a task of its own: a sink and its futures may move between threads.
    let started = tokio::spawn(async move {
        let mut sink = SqlSink::open(&url, "app", "sink", edits(), options).await?;
        sink.claim(&[partition(0)]).await?;
        Ok::<_, SqlError>(sink)
    });
    let mut sink = started.await.unwrap().unwrap();
    proxy.cut_more(1);
    let write = tokio::spawn(async move {
        let rows = batch(0, &[("a", 1, 1)]);
        sink.write(&rows, &[step(0, 0, 1)]).await
    });
    assert_eq!(write.await.unwrap().unwrap().rows, 1);
    assert_eq!(proxy.cuts(), 1);
    assert_eq!(database.edits().await, ["a 1 1"]);
    assert_eq!(database.ledger().await.0, "1");
}

/// The ids of the other connections to the test's database, those that wait for a lock only.
async fn waiting(client: &mut Client, name: &str) -> Vec<i64> {
    let sql = format!(
        "SELECT id FROM information_schema.processlist \
         WHERE db = '{name}' AND id <> CONNECTION_ID() AND command <> 'Sleep'"
    );
    client
        .rows(&sql)
        .await
        .into_iter()
        .map(|row| row[0].parse().unwrap())
        .collect()
}

pub async fn a_connection_killed_in_mid_transaction_is_replaced(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = started(&database).await;
    let mut other = database.connect().await;
    other.execute("START TRANSACTION").await;
    other.execute("UPDATE edits SET note = 'mine'").await;
    let mut killer = database.connect().await;
    let kill = async {
        let mut victim = 0;
        eventually("the sink waits for the lock", async || {
            victim = waiting(&mut killer, &database.name)
                .await
                .first()
                .copied()
                .unwrap_or(0);
            victim != 0
        })
        .await;
        killer.execute(&format!("KILL {victim}")).await;
        other.execute("COMMIT").await;
    };
    let rows = batch(1, &[("0", 1, 1), ("a", 1, 2), ("z", 1, 3)]);
    let moves = [step(0, 1, 4)];
    let (report, ()) = tokio::join!(sink.write(&rows, &moves), kill);
    assert_eq!(report.unwrap().rows, 3);
    assert_eq!(database.edits().await, ["0 1 1", "a 1 2", "z 1 3"]);
    assert_eq!(database.ledger().await.0, "4");
}

pub async fn a_connection_that_was_closed_while_idle_is_replaced(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = started(&database).await;
    let mut killer = database.connect().await;
    let sql = format!(
        "SELECT id FROM information_schema.processlist WHERE db = '{}' AND id <> CONNECTION_ID()",
        database.name
    );
    for row in killer.rows(&sql).await {
        // Others of the test's connections may just have gone.
        let _ = killer.try_execute(&format!("KILL {}", row[0])).await;
    }
    sink.write(&batch(1, &[("a", 1, 2)]), &[step(0, 1, 2)])
        .await
        .unwrap();
    assert_eq!(database.edits().await, ["a 1 2"]);
}

pub async fn a_deadlock_is_tried_again(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = started(&database).await;
    sink.write(&batch(1, &[("z", 1, 1)]), &[step(0, 1, 2)])
        .await
        .unwrap();
    let mut other = database.connect().await;
    other.execute("START TRANSACTION").await;
    // The heavier transaction survives.
    for row in 0..50 {
        other
            .execute(&format!(
                "INSERT INTO edits VALUES ('m', FROM_UNIXTIME({}), 0, '')",
                3600 * row + 7200
            ))
            .await;
    }
    other
        .execute("UPDATE edits SET note = 'mine' WHERE wiki = 'z'")
        .await;
    let mut watcher = database.connect().await;
    let close_the_circle = async {
        eventually("the sink waits for the lock", async || {
            !waiting(&mut watcher, &database.name).await.is_empty()
        })
        .await;
        // The sink has locked its ledger row and waits for z.
        other
            .execute("UPDATE tidemill_ledger SET table_name = 'edits' WHERE app = 'app'")
            .await;
        other.execute("ROLLBACK").await;
    };
    let rows = batch(2, &[("a", 1, 2), ("z", 1, 2)]);
    let moves = [step(0, 2, 4)];
    let (report, ()) = tokio::join!(sink.write(&rows, &moves), close_the_circle);
    assert_eq!(report.unwrap().rows, 2);
    assert_eq!(database.edits().await, ["a 1 2", "z 1 2"]);
    assert!(
        deadlocks(&database).await,
        "there was no deadlock: the test tests nothing"
    );
}

/// Whether the server's last deadlock was in this test's database.
async fn deadlocks(database: &TestDatabase) -> bool {
    let status = database
        .rows("SHOW ENGINE INNODB STATUS")
        .await
        .remove(0)
        .join("\n");
    let section = status
        .split("LATEST DETECTED DEADLOCK")
        .nth(1)
        .unwrap_or("");
    section
        .split("TRANSACTIONS\n---")
        .next()
        .unwrap_or("")
        .contains(&database.name)
}

pub async fn a_packet_that_is_too_large_is_halved(database: TestDatabase) {
    let database = prepared(database).await;
    let mut admin = database.connect().await;
    let before = admin.number("SELECT @@GLOBAL.max_allowed_packet").await;
    // New connections of other tests get this one too; none of them sends as much.
    admin
        .execute("SET GLOBAL max_allowed_packet = 1048576")
        .await;
    // Told that the server takes more than it does, as behind a proxy with a limit of its own.
    let options = SinkOptions {
        max_statement_bytes: Some(16 << 20),
        ..SinkOptions::default()
    };
    let mut sink = started_with(&database, options).await;
    let mut rows = RowBatch::new(4);
    let long = "x".repeat(100_000);
    for row in 0..40 {
        rows.push_text("a");
        rows.push_time(tidemill::time::Timestamp(row * 60_000));
        rows.push_int(row);
        // One is larger than any packet.
        if row == 21 {
            rows.push_text(&long.repeat(12))
        } else {
            rows.push_text(&long)
        }
        rows.finish_row(tidemill::sql::Change::Upsert, 0, 1 + row);
    }
    let report = sink.write(&rows, &[step(0, 1, 41)]).await;
    let honest = database.sink(&edits()).await;
    admin
        .execute(&format!("SET GLOBAL max_allowed_packet = {before}"))
        .await;
    let report = report.unwrap();
    let rejected: Vec<_> = report
        .rejected
        .iter()
        .map(|rejected| rejected.row)
        .collect();
    assert_eq!((report.rows, rejected), (39, vec![21]));
    assert_eq!(database.number("SELECT COUNT(*) FROM edits").await, 39);

    // A sink that asks the server knows beforehand.
    let mut sink = honest;
    sink.claim(&[partition(0)]).await.unwrap();
    let mut rows = RowBatch::new(4);
    push(&mut rows, 0, 41, "b", 1, 1);
    rows.push_text("c");
    rows.push_time(tidemill::time::Timestamp(0));
    rows.push_int(1);
    rows.push_text(&long.repeat(12));
    rows.finish_row(tidemill::sql::Change::Upsert, 0, 42);
    let report = sink.write(&rows, &[step(0, 41, 43)]).await.unwrap();
    assert_eq!(report.rejected[0].code, "too_large");
}

pub async fn too_many_connections_are_passing_trouble(database: TestDatabase) {
    let database = prepared(database).await;
    let user = &database.name[database.name.len() - 20..];
    let mut admin = database.connect().await;
    admin
        .execute(&format!(
            "CREATE USER '{user}'@'%' IDENTIFIED BY 'Secret-1' WITH MAX_USER_CONNECTIONS 1"
        ))
        .await;
    admin
        .execute(&format!("GRANT ALL ON {}.* TO '{user}'@'%'", database.name))
        .await;
    let mut url = url::Url::parse(&database.text).unwrap();
    url.set_username(user).unwrap();
    url.set_password(Some("Secret-1")).unwrap();
    let url = tidemill::sql::DatabaseUrl::parse(url.as_str()).unwrap();
    let open = || SqlSink::open(&url, "app", "sink", edits(), SinkOptions::default());
    let first = open().await.unwrap();
    let second = open().await;
    let Err(error @ SqlError::Unavailable { .. }) = second else {
        panic!("expected to be turned away, got {:?}", second.err());
    };
    assert!(!error.to_string().contains("Secret-1"), "{error}");
    drop(first);
    eventually("the first connection is gone", async || {
        open().await.is_ok()
    })
    .await;

    admin
        .execute(&format!("ALTER USER '{user}'@'%' IDENTIFIED BY 'Secret-2'"))
        .await;
    let error = open().await.err().unwrap();
    assert!(matches!(error, SqlError::Fatal { .. }), "{error}");
    assert!(
        error.to_string().contains("check the account's password"),
        "{error}"
    );
    admin.execute(&format!("DROP USER '{user}'@'%'")).await;
}

pub async fn a_write_that_is_dropped_half_way_leaves_nothing(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = started(&database).await;
    let mut other = database.connect().await;
    other.execute("START TRANSACTION").await;
    other
        .execute("UPDATE edits SET note = 'mine' WHERE wiki = 'a'")
        .await;
    let mut watcher = database.connect().await;
    let rows = batch(1, &[("0", 1, 1), ("a", 1, 2)]);
    let moves = [step(0, 1, 3)];
    tokio::select! {
        report = sink.write(&rows, &moves) => panic!("{report:?}"),
        () = eventually("the sink waits for the lock", async || {
            !waiting(&mut watcher, &database.name).await.is_empty()
        }) => {}
    }
    other.execute("COMMIT").await;
    assert_eq!(database.ledger().await.0, "1");
    sink.write(&rows, &moves).await.unwrap();
    assert_eq!(database.edits().await, ["0 1 1", "a 1 2"]);
}

pub async fn a_zombies_open_transaction_ends_before_the_next_claim(database: TestDatabase) {
    let database = prepared(database).await;
    let mut zombie = started(&database).await;
    let mut other = database.connect().await;
    other.execute("START TRANSACTION").await;
    other.execute("UPDATE edits SET note = 'mine'").await;
    let mut watcher = database.connect().await;
    let mut next = database.sink(&edits()).await;
    let name = database.name.clone();
    let rows = batch(1, &[("a", 1, 2)]);
    let moves = [step(0, 1, 2)];
    let zero = partition(0);
    let take_over = async {
        eventually("the zombie waits for the lock", async || {
            waiting(&mut watcher, &name).await.len() == 1
        })
        .await;
        let release = async {
            eventually("the next one waits for the zombie", async || {
                waiting(&mut watcher, &name).await.len() == 2
            })
            .await;
            other.execute("COMMIT").await;
        };
        let (position, ()) = tokio::join!(next.claim(std::slice::from_ref(&zero)), release);
        position
    };
    let (report, position) = tokio::join!(zombie.write(&rows, &moves), take_over);
    assert_eq!(report.unwrap().rows, 1);
    // It sees what the zombie has still written.
    assert_eq!(position.unwrap(), [Some(2)]);
    let error = zombie
        .write(&batch(2, &[("a", 1, 3)]), &[step(0, 2, 3)])
        .await;
    assert!(matches!(error, Err(SqlError::Fenced { .. })), "{error:?}");
    assert_eq!(database.edits().await, ["a 1 2"]);
}

pub async fn a_writer_that_stands_still_in_a_transaction_holds_no_locks_for_long(
    database: TestDatabase,
) {
    let database = prepared(database).await;
    let options = SinkOptions {
        idle_timeout: Duration::from_secs(2),
        ..SinkOptions::default()
    };
    let mut sink = started_with(&database, options).await;
    let mut other = database.connect().await;
    let mut standstills = 0;
    let stand_still = &mut |_: &[tidemill::sql::Rejected]| {
        if standstills == 0 {
            // The row is locked until the server ends the transaction.
            let update = other.execute("UPDATE edits SET note = 'mine'");
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(update));
        }
        standstills += 1;
        Ok(())
    };
    let rows = batch(1, &[("a", 1, 2)]);
    let report = sink.write_with(&rows, &[step(0, 1, 2)], stand_still).await;
    assert_eq!((report.unwrap().rows, standstills), (1, 2));
    assert_eq!(database.edits().await, ["a 1 2"]);
    // Nor is a connection used that has been idle for too long.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let rows = batch(2, &[("b", 1, 1)]);
    let report = sink.write(&rows, &[step(0, 2, 3)]).await.unwrap();
    assert_eq!(report.rows, 1);
}
