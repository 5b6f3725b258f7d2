//! What the ledger decides: who may write, and what is written already.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tidemill::sql::{
    ExistingRows, OtherWriters, RowBatch, SinkOptions, SqlError, SqlSink, migrate, read_ledger,
    reset_sink,
};
use tidemill::time::Timestamp;

use super::harness::{Kind, TestDatabase, batch, edits, partition, push, push_delete, step};
use super::sink::prepared;

pub async fn a_first_claim_has_no_position_and_the_next_one_has(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    let two = [partition(1), partition(0)];
    assert_eq!(sink.claim(&two).await.unwrap(), [None, None]);
    sink.write(&batch(40, &[("enwiki", 1, 1)]), &[step(0, 40, 41)])
        .await
        .unwrap();

    let mut other = database.sink(&edits()).await;
    assert_eq!(other.claim(&two).await.unwrap(), [None, Some(41)]);
    let ledger = read_ledger(&database.url, "app").await.unwrap();
    let seen: Vec<_> = ledger
        .iter()
        .map(|row| {
            (
                row.partition.partition,
                row.next_offset,
                row.writer_epoch,
                row.table.as_str(),
            )
        })
        .collect();
    assert_eq!(seen, [(0, Some(41), 2, "edits"), (1, None, 2, "edits")]);
    assert!(
        Timestamp::parse_rfc3339(&ledger[0].updated_at).is_ok(),
        "{}",
        ledger[0].updated_at
    );
    // Another app, another sink, another topic: other rows.
    assert!(
        read_ledger(&database.url, "other")
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn rows_that_the_ledger_knows_are_not_written_again(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    sink.write(&batch(0, &[("a", 1, 1), ("b", 1, 2)]), &[step(0, 0, 2)])
        .await
        .unwrap();

    // The same records once more, as older states of the rows: they must not come back.
    let again = batch(0, &[("a", 1, 100), ("b", 1, 200)]);
    let report = sink.write(&again, &[step(0, 0, 2)]).await.unwrap();
    assert_eq!((report.rows, report.replayed), (0, 2));
    // Old and new records in one batch.
    let mixed = batch(1, &[("b", 1, 200), ("c", 1, 3)]);
    let report = sink.write(&mixed, &[step(0, 1, 3)]).await.unwrap();
    assert_eq!((report.rows, report.replayed), (1, 1));
    assert_eq!(database.edits().await, ["a 1 1", "b 1 2", "c 1 3"]);
    assert_eq!(database.ledger().await.0, "3");
}

pub async fn a_move_without_rows_is_kept(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    let report = sink
        .write(&RowBatch::new(4), &[step(0, 7, 19)])
        .await
        .unwrap();
    assert_eq!(report.rows, 0);
    sink.write(&RowBatch::new(4), &[step(0, 19, 19)])
        .await
        .unwrap();
    assert_eq!(database.ledger().await.0, "19");
}

pub async fn a_stale_writer_is_fenced_and_writes_nothing(database: TestDatabase) {
    let database = prepared(database).await;
    let mut stale = database.sink(&edits()).await;
    stale.claim(&[partition(0), partition(1)]).await.unwrap();
    stale
        .write(&batch(0, &[("a", 1, 1)]), &[step(0, 0, 1)])
        .await
        .unwrap();

    let mut fresh = database.sink(&edits()).await;
    assert_eq!(fresh.claim(&[partition(0)]).await.unwrap(), [Some(1)]);

    let error = stale
        .write(&batch(1, &[("a", 1, 99), ("z", 1, 9)]), &[step(0, 1, 3)])
        .await;
    let Err(SqlError::Fenced {
        partition: lost,
        ours: 1,
        theirs: 2,
        ..
    }) = error
    else {
        panic!("expected to be fenced, got {error:?}");
    };
    assert_eq!(lost, partition(0));
    assert_eq!(database.edits().await, ["a 1 1"]);
    // The partition that nobody took is still its own.
    let mut rows = RowBatch::new(4);
    push(&mut rows, 0, 5, "b", 1, 1);
    stale.write(&rows, &[step(1, 5, 6)]).await.unwrap();
    fresh
        .write(&batch(1, &[("a", 1, 2)]), &[step(0, 1, 2)])
        .await
        .unwrap();
    assert_eq!(database.edits().await, ["a 1 2", "b 1 1"]);
}

pub async fn partitions_move_together_or_not_at_all(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0), partition(1)]).await.unwrap();
    let mut thief = database.sink(&edits()).await;
    thief.claim(&[partition(1)]).await.unwrap();

    let mut rows = RowBatch::new(4);
    push(&mut rows, 0, 0, "a", 1, 1);
    push(&mut rows, 1, 0, "b", 1, 1);
    let moves = [step(0, 0, 1), step(1, 0, 1)];
    let error = sink.write(&rows, &moves).await;
    assert!(matches!(error, Err(SqlError::Fenced { .. })), "{error:?}");
    assert_eq!(database.edits().await, [""; 0]);
    assert_eq!(database.ledger().await, ("-".into(), "1".into()));
}

pub async fn rows_that_no_ledger_knows_stop_the_sink(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    sink.write(&batch(0, &[("a", 1, 1)]), &[step(0, 0, 1)])
        .await
        .unwrap();
    database.execute("DELETE FROM tidemill_ledger").await;

    let mut sink = database.sink(&edits()).await;
    let error = sink.claim(&[partition(0)]).await;
    let Err(SqlError::Fatal { reason, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("was the ledger lost?"), "{reason}");
    assert_eq!(
        database
            .number("SELECT COUNT(*) FROM tidemill_ledger")
            .await,
        0
    );

    let options = SinkOptions {
        existing_rows: ExistingRows::Overwrite,
        ..SinkOptions::default()
    };
    let mut sink = database.sink_with(&edits(), options).await;
    assert_eq!(sink.claim(&[partition(0)]).await.unwrap(), [None]);
    // From now on the ledger knows the table, so a partition that is new is nothing special.
    let mut sink = database.sink(&edits()).await;
    assert_eq!(sink.claim(&[partition(1)]).await.unwrap(), [None]);
}

pub async fn another_application_is_let_in_only_where_the_table_is_shared(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    let open = async |app: &str, name: &str, other_writers| {
        let options = SinkOptions {
            other_writers,
            ..SinkOptions::default()
        };
        SqlSink::open(&database.url, app, name, edits(), options).await
    };

    let refused = open("other", "sink", OtherWriters::Refuse).await;
    let Err(SqlError::Mismatch { findings, .. }) = refused.map(|_| ()) else {
        panic!("expected to be refused");
    };
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        findings,
        [
            "error[S12]: the application app writes table edits, too (its sink sink): of rows with the \
             same key the last one written would stand\n    fix: give this sink a table of its own; or \
             set `shared: true` on its node, if both are to write this one, or it takes over from the \
             other"
        ]
    );
    // A node of the same application that was renamed; another application that shares.
    open("app", "renamed", OtherWriters::Refuse).await.unwrap();
    let mut other = open("other", "sink", OtherWriters::Accept).await.unwrap();
    assert_eq!(other.claim(&[partition(0)]).await.unwrap(), [None]);
    // Who has been there before is not stopped by a newcomer.
    open("app", "sink", OtherWriters::Refuse).await.unwrap();
}

pub async fn a_deleted_or_moved_ledger_stops_the_sink(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    sink.write(&batch(0, &[("a", 1, 1)]), &[step(0, 0, 10)])
        .await
        .unwrap();

    database
        .execute("UPDATE tidemill_ledger SET next_offset = 3")
        .await;
    let error = sink
        .write(&batch(10, &[("a", 1, 2)]), &[step(0, 10, 11)])
        .await;
    let Err(SqlError::Fatal { reason, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("stands at 3, expected 10"), "{reason}");

    database.execute("DELETE FROM tidemill_ledger").await;
    let error = sink
        .write(&batch(10, &[("a", 1, 2)]), &[step(0, 10, 11)])
        .await;
    let Err(SqlError::Fatal { reason, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("has been deleted"), "{reason}");
    assert_eq!(database.edits().await, ["a 1 1"]);
}

pub async fn a_sink_can_be_reset(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0), partition(1)]).await.unwrap();
    sink.write(&batch(0, &[("a", 1, 1)]), &[step(0, 0, 1)])
        .await
        .unwrap();
    assert_eq!(
        reset_sink(&database.url, "app", "other", None)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        reset_sink(&database.url, "app", "sink", Some("edits"))
            .await
            .unwrap(),
        2
    );
    assert_eq!(database.edits().await, [""; 0]);
    let error = sink
        .write(&batch(1, &[("a", 1, 2)]), &[step(0, 1, 2)])
        .await;
    assert!(matches!(error, Err(SqlError::Fatal { .. })), "{error:?}");
    assert_eq!(sink.claim(&[partition(0)]).await.unwrap(), [None]);

    // Rows that stay are still its own, and are overwritten.
    sink.write(&batch(0, &[("a", 1, 1)]), &[step(0, 0, 1)])
        .await
        .unwrap();
    let kept = reset_sink(&database.url, "app", "sink", None).await;
    assert_eq!(kept.unwrap(), 1);
    let error = sink
        .write(&batch(1, &[("a", 1, 2)]), &[step(0, 1, 2)])
        .await;
    assert!(error.is_err(), "it is fenced");
    let mut next = database.sink(&edits()).await;
    assert_eq!(next.claim(&[partition(0)]).await.unwrap(), [None]);
    next.write(&batch(0, &[("a", 1, 5)]), &[step(0, 0, 1)])
        .await
        .unwrap();
    assert_eq!(database.edits().await.len(), 1);
    let error = reset_sink(
        &database.url,
        "app",
        "sink",
        Some("edits; DROP TABLE edits"),
    )
    .await;
    assert!(matches!(error, Err(SqlError::Fatal { .. })), "{error:?}");
}

/// Two writers take a partition from each other at random, crash, and begin again from the ledger
/// or from further back; at the end the table is what the records say.
pub async fn random_replays_and_take_overs_lose_and_repeat_nothing(database: TestDatabase) {
    let database = prepared(database).await;
    let mut random = StdRng::seed_from_u64(20_260_505);
    // The log: each record sets, or deletes, a key.
    let wikis = ["enwiki", "dewiki", "frwiki", "a", "A", "a "];
    let records: Vec<(usize, i64, Option<i64>)> = (0..400)
        .map(|number| {
            let value = random.random_bool(0.8).then_some(number);
            (
                random.random_range(0..wikis.len()),
                random.random_range(0..5),
                value,
            )
        })
        .collect();
    let fill = |from: usize, to: usize| {
        let mut rows = RowBatch::new(4);
        for (offset, &(wiki, minute, value)) in records.iter().enumerate().take(to).skip(from) {
            match value {
                Some(value) => push(&mut rows, 0, offset as i64, wikis[wiki], minute, value),
                None => push_delete(&mut rows, offset as i64, wikis[wiki], minute),
            }
        }
        rows
    };
    let mut writers: [(SqlSink, usize); 2] = [
        (database.sink(&edits()).await, 0),
        (database.sink(&edits()).await, 0),
    ];
    let mut claimed = [false; 2];
    let (mut written, mut fenced) = (0, 0);
    while written < records.len() {
        let index = random.random_range(0..2);
        let (sink, position) = &mut writers[index];
        if !claimed[index] || random.random_bool(0.2) {
            let found = sink.claim(&[partition(0)]).await.unwrap()[0].unwrap_or(0) as usize;
            assert_eq!(found, written, "the ledger is the truth");
            // A crash may have taken the reader back further than the ledger.
            *position = found - random.random_range(0..=found.min(7));
            claimed[index] = true;
        }
        let to = (*position + random.random_range(1..=12)).min(records.len());
        let moves = [step(0, *position as i64, to as i64)];
        match sink.write(&fill(*position, to), &moves).await {
            Ok(_) => {
                *position = to;
                written = written.max(to);
            }
            Err(SqlError::Fenced { .. }) => {
                claimed[index] = false;
                fenced += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        fenced > 3,
        "writers were fenced {fenced} times only: the test tests little"
    );
    let mut table = BTreeMap::new();
    for &(wiki, minute, value) in &records {
        match value {
            Some(value) => table.insert((wikis[wiki], minute), value),
            None => table.remove(&(wikis[wiki], minute)),
        };
    }
    let mut expected: Vec<_> = table
        .iter()
        .map(|((wiki, minute), value)| format!("{wiki} {minute} {value}"))
        .collect();
    expected.sort_unstable();
    let mut found = database.edits().await;
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// Partitions of each sink of [`members_that_claim_and_write_at_once_lose_and_repeat_nothing`].
const SHARED: i32 = 6;

/// Records of each of those partitions.
const RECORDS: i64 = 300;

/// A member of one sink's group: in each round it claims what falls to it, writes a while, and
/// gives it back when all members of the sink are ready to.
async fn take_part(
    mut sink: SqlSink,
    number: usize,
    members: usize,
    barrier: std::sync::Arc<tokio::sync::Barrier>,
) {
    let mut random = StdRng::seed_from_u64(number as u64);
    for round in 0.. {
        let mine: Vec<i32> = (0..SHARED)
            .filter(|p| (*p as usize * 7 + round) % members == number % members)
            .collect();
        let partitions: Vec<_> = mine.iter().copied().map(partition).collect();
        let found = sink.claim(&partitions).await.unwrap();
        let mut next: Vec<i64> = found.into_iter().map(Option::unwrap_or_default).collect();
        for _ in 0..random.random_range(1..4) {
            let (mut rows, mut moves) = (RowBatch::new(4), Vec::new());
            for (number, next) in mine.iter().zip(&mut next) {
                let to = (*next + random.random_range(0..30)).min(RECORDS);
                if to == *next {
                    continue;
                }
                for offset in *next..to {
                    let wiki = format!("wiki{}", offset % 17);
                    let at = moves.len() as u32;
                    push(
                        &mut rows,
                        at,
                        offset,
                        &wiki,
                        i64::from(*number) * RECORDS + offset,
                        1,
                    );
                }
                moves.push(step(*number, *next, to));
                *next = to;
            }
            if !moves.is_empty() {
                sink.write(&rows, &moves).await.unwrap();
            }
        }
        barrier.wait().await;
        sink.release(&partitions);
        if round > 40 {
            return;
        }
    }
}

/// Three sinks with three members each, all at the same ledger at once, as three processes are.
pub async fn members_that_claim_and_write_at_once_lose_and_repeat_nothing(database: TestDatabase) {
    let database = prepared(database).await;
    let mut members = tokio::task::JoinSet::new();
    let tables: Vec<String> = (0..3).map(|n| format!("edits_{n}")).collect();
    for table in &tables {
        let mut spec = edits();
        spec.table = table.clone();
        database.make(&spec).await;
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(3));
        for number in 0..3 {
            let options = SinkOptions {
                seed: number as u64,
                ..SinkOptions::default()
            };
            let sink = SqlSink::open(&database.url, "app", table, spec.clone(), options);
            let sink = sink.await.unwrap();
            members.spawn(take_part(sink, number, 3, barrier.clone()));
        }
    }
    while let Some(ended) = members.join_next().await {
        ended.unwrap();
    }
    for table in &tables {
        let rows = database
            .number(&format!("SELECT COUNT(*) FROM {table}"))
            .await;
        let ledger = format!("SELECT SUM(next_offset) FROM tidemill_ledger WHERE sink = '{table}'");
        assert_eq!(
            rows,
            database.number(&ledger).await,
            "{table}: rows and ledger"
        );
        assert_eq!(
            rows,
            i64::from(SHARED) * RECORDS,
            "{table}: all were written"
        );
    }
}

/// Where the ledger changes, the old files stay, and those of a new version are added.
pub async fn a_ledger_of_version_1_is_read(database: TestDatabase) {
    let left = match database.kind {
        Kind::Sqlite => include_str!("ledgers/version-1.sqlite.sql"),
        Kind::MariaDb | Kind::MySql => include_str!("ledgers/version-1.mysql.sql"),
    };
    database.make(&edits()).await;
    database.execute(left).await;
    migrate(&database.url).await.unwrap();
    let rows = read_ledger(&database.url, "app").await.unwrap();
    let seen = rows.iter().map(|row| {
        let (sink, number) = (row.sink.as_str(), row.partition.partition);
        let updated = row.updated_at.as_str();
        (sink, number, row.next_offset, row.writer_epoch, updated)
    });
    let expected = [
        (
            "other",
            0,
            Some(9_000_000_000),
            1,
            "2026-11-30T23:59:59.999Z",
        ),
        ("sink", 0, Some(3), 7, "2026-12-01T06:00:00.123Z"),
        ("sink", 1, None, 2, "2026-12-01T06:00:01.000Z"),
    ];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    let mut sink = database.sink(&edits()).await;
    let two = [partition(0), partition(1)];
    assert_eq!(sink.claim(&two).await.unwrap(), [Some(3), None]);
    let rows = batch(2, &[("b", 1, 200), ("c", 1, 3)]);
    let report = sink.write(&rows, &[step(0, 2, 4)]).await.unwrap();
    assert_eq!((report.rows, report.replayed), (1, 1));
    assert_eq!(database.edits().await, ["a 1 1", "b 1 2", "c 1 3"]);
    let rows = read_ledger(&database.url, "app").await.unwrap();
    assert_eq!((rows[1].next_offset, rows[1].writer_epoch), (Some(4), 8));
}
