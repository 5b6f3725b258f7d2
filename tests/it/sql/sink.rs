//! What a sink writes, and what it refuses to write.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tidemill::sql::{
    Change, ColumnType, ExistingRows, OtherWriters, RowBatch, SinkOptions, SqlError, SqlSink,
    TableSpec, read_ledger, reset_sink,
};
use tidemill::time::Timestamp;

use super::harness::{
    Kind, TestDatabase, batch, column, edits, partition, push, push_delete, step,
};

async fn prepared(database: TestDatabase) -> TestDatabase {
    let database = database.with_ledger().await;
    database.make(&edits()).await;
    database
}

/// MySQL keeps the types that a prepared statement was last given: after a number in the place of a
/// text it took the next text for Latin-1, and refused what is not.
pub async fn a_cell_of_another_type_does_no_harm_to_the_rows_behind_it(database: TestDatabase) {
    use ColumnType::{Bool, Int, Text};
    let database = database.with_ledger().await;
    let kinds = [Int, Text, Text, Text, Int, Bool];
    let columns = kinds.iter().enumerate();
    let table = TableSpec {
        table: "mixed".into(),
        columns: columns
            .map(|(at, kind)| column(&format!("c{at}"), *kind, at > 0))
            .collect(),
        key: vec![0],
    };
    match database.kind {
        Kind::Sqlite => database.make(&table).await,
        _ => {
            let ddl = "CREATE TABLE mixed (c0 BIGINT PRIMARY KEY, c1 VARBINARY(255), \
                       c2 VARCHAR(255) CHARACTER SET utf8mb4, c3 TEXT CHARACTER SET utf8mb4, \
                       c4 INT, c5 BOOLEAN)";
            database.execute(ddl).await;
        }
    }
    let mut sink = database.sink(&table).await;
    sink.claim(&[partition(0)]).await.unwrap();
    let good = |rows: &mut RowBatch, at: usize| match kinds[at] {
        Text => rows.push_text("行列 😀"),
        Int => rows.push_int(7),
        _ => rows.push_bool(true),
    };
    type Push = fn(&mut RowBatch);
    let odd: [(&str, Push); 7] = [
        ("null", RowBatch::push_null),
        ("int", |rows| rows.push_int(5)),
        ("double", |rows| rows.push_double(1.5)),
        ("bool", |rows| rows.push_bool(true)),
        ("bytes", |rows| rows.push_bytes(b"b")),
        ("text", |rows| rows.push_text("x")),
        ("time", |rows| rows.push_time(Timestamp(0))),
    ];
    let mut next = 0;
    for ((name, push_odd), odd_at, size) in odd
        .into_iter()
        .flat_map(|odd| (1..kinds.len()).flat_map(move |at| [(odd, at, 1), (odd, at, 4)]))
    {
        for is_odd in [true, false] {
            let mut rows = RowBatch::new(kinds.len());
            for offset in next..next + size {
                rows.push_int(offset);
                for at in 1..kinds.len() {
                    match is_odd && at == odd_at {
                        true => push_odd(&mut rows),
                        false => good(&mut rows, at),
                    }
                }
                rows.finish_row(Change::Upsert, 0, offset);
            }
            let moved = step(0, next, next + size);
            let report = sink.write(&rows, &[moved]).await.unwrap();
            if !is_odd {
                let context = format!("{size} rows after {name} in column {odd_at}");
                assert_eq!(report.rejected, [], "{context}");
            }
            next += size;
        }
    }
}

pub async fn rows_are_inserted_overwritten_and_deleted(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();

    let rows = batch(
        0,
        &[
            ("enwiki", 1, 1),
            ("dewiki", 1, 5),
            ("enwiki", 1, 2),
            ("enwiki", 2, 1),
        ],
    );
    let report = sink.write(&rows, &[step(0, 0, 4)]).await.unwrap();
    assert_eq!((report.rows, report.superseded, report.replayed), (3, 1, 0));
    assert_eq!(
        database.edits().await,
        ["dewiki 1 5", "enwiki 1 2", "enwiki 2 1"]
    );

    let mut rows = batch(4, &[("enwiki", 1, 7), ("frwiki", 1, 1), ("frwiki", 2, 1)]);
    push_delete(&mut rows, 7, "dewiki", 1);
    push_delete(&mut rows, 8, "frwiki", 2);
    push_delete(&mut rows, 9, "nowiki", 9);
    let report = sink.write(&rows, &[step(0, 4, 10)]).await.unwrap();
    assert_eq!((report.rows, report.superseded), (5, 1));
    assert_eq!(
        database.edits().await,
        ["enwiki 1 7", "enwiki 2 1", "frwiki 1 1"]
    );
    assert_eq!(database.ledger().await, ("10".into(), "1".into()));
}

pub async fn every_type_comes_back_as_it_was_written(database: TestDatabase) {
    let database = database.with_ledger().await;
    let table = TableSpec {
        table: "everything".into(),
        columns: vec![
            column("id", ColumnType::Int, false),
            column("flag", ColumnType::Bool, true),
            column("number", ColumnType::Double, true),
            column("text", ColumnType::Text, true),
            column("bytes", ColumnType::Bytes, true),
            column("time", ColumnType::Time, true),
        ],
        key: vec![0],
    };
    database.make(&table).await;
    let mut sink = database.sink(&table).await;
    sink.claim(&[partition(0)]).await.unwrap();
    let mut rows = RowBatch::new(6);
    rows.push_int(i64::MIN);
    rows.push_bool(true);
    rows.push_double(-0.1);
    rows.push_text("'\\\" 😀 \u{200e}\0 ¶");
    rows.push_bytes(&[0, 0xff, b'\'']);
    rows.push_time(Timestamp::parse_rfc3339("2026-05-05T11:17:40.822Z").unwrap());
    rows.finish_row(Change::Upsert, 0, 0);
    rows.push_int(i64::MAX);
    (0..5).for_each(|_| rows.push_null());
    rows.finish_row(Change::Upsert, 0, 1);
    for (id, time) in [(1, "0001-01-01T00:00:00Z"), (2, "1969-12-31T23:59:59.999Z")] {
        rows.push_int(id);
        (0..4).for_each(|_| rows.push_null());
        rows.push_time(Timestamp::parse_rfc3339(time).unwrap());
        rows.finish_row(Change::Upsert, 0, 1 + id);
    }
    let report = sink.write(&rows, &[step(0, 0, 4)]).await.unwrap();
    assert_eq!(
        (report.rows, report.rejected.as_slice()),
        (4, [].as_slice())
    );

    let found = database
        .rows("SELECT id, flag, number, text, HEX(bytes), time FROM everything ORDER BY id")
        .await;
    let time = |text: &str| match database.kind {
        Kind::Sqlite => text.to_owned(),
        Kind::MariaDb | Kind::MySql => text.replace('T', " ").replace('Z', ""),
    };
    // SQLite's HEX of nothing is empty.
    let no_bytes = if database.kind == Kind::Sqlite {
        ""
    } else {
        "-"
    };
    assert_eq!(
        found,
        [
            [
                "-9223372036854775808",
                "1",
                "-0.1",
                "'\\\" 😀 \u{200e}\0 ¶",
                "00FF27",
                &time("2026-05-05T11:17:40.822Z")
            ],
            [
                "1",
                "-",
                "-",
                "-",
                no_bytes,
                &time("0001-01-01T00:00:00.000Z")
            ],
            [
                "2",
                "-",
                "-",
                "-",
                no_bytes,
                &time("1969-12-31T23:59:59.999Z")
            ],
            ["9223372036854775807", "-", "-", "-", no_bytes, "-"],
        ]
    );
}

pub async fn names_that_a_collation_would_merge_stay_apart(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    let names = ["a", "A", "á", "a ", "ß", "ss", "😀", "😁", "é", "e\u{301}"];
    let rows: Vec<_> = names
        .iter()
        .zip(1..)
        .map(|(&name, count)| (name, 1, count))
        .collect();
    sink.write(&batch(0, &rows), &[step(0, 0, 10)])
        .await
        .unwrap();
    // Once more, so that rows meet those that are there.
    let report = sink
        .write(&batch(10, &rows), &[step(0, 10, 20)])
        .await
        .unwrap();
    assert_eq!((report.rows, report.superseded), (10, 0));
    let mut expected: Vec<_> = rows
        .iter()
        .map(|(name, _, count)| format!("{name} 1 {count}"))
        .collect();
    expected.sort_unstable();
    let mut found = database.edits().await;
    found.sort_unstable();
    assert_eq!(found, expected);
}

pub async fn large_batches_are_written_whole(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    // Not a multiple of any statement's size, in no order.
    let count: i64 = 3_333;
    let mut rows = RowBatch::new(4);
    for row in 0..count {
        push(
            &mut rows,
            0,
            row,
            &format!("wiki{}", row * 7_919 % 61),
            row,
            row,
        );
    }
    let report = sink.write(&rows, &[step(0, 0, count)]).await.unwrap();
    assert_eq!(report.rows, count as u64);
    let sum = "SELECT CAST(SUM(edits) AS CHAR) FROM edits";
    assert_eq!(database.number("SELECT COUNT(*) FROM edits").await, count);
    assert_eq!(database.number(sum).await, (0..count).sum::<i64>());

    let mut rows = RowBatch::new(4);
    for row in (0..count).filter(|row| row % 3 == 0) {
        push_delete(
            &mut rows,
            count + row,
            &format!("wiki{}", row * 7_919 % 61),
            row,
        );
    }
    let report = sink
        .write(&rows, &[step(0, count, 2 * count)])
        .await
        .unwrap();
    assert_eq!(report.rows, count as u64 / 3);
    assert_eq!(
        database.number("SELECT COUNT(*) FROM edits").await,
        count - count / 3
    );
}

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

pub async fn a_refused_row_stands_alone_and_the_rest_is_written(database: TestDatabase) {
    let database = database.with_ledger().await;
    let sql = "CREATE TABLE edits (wiki VARBINARY(255) NOT NULL, window_start DATETIME(3) NOT NULL, \
               edits BIGINT CHECK (edits < 1000), note TEXT, PRIMARY KEY (wiki, window_start))";
    let sql = match database.kind {
        Kind::Sqlite => sql
            .replace("VARBINARY(255)", "TEXT")
            .replace("DATETIME(3)", "DATETIME"),
        Kind::MariaDb | Kind::MySql => sql.to_owned(),
    };
    database.execute(&sql).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    let count = 1_500;
    let bad = [0, 700, 701, 1_024, 1_499];
    let mut rows = RowBatch::new(4);
    for row in 0..count {
        let edits = if bad.contains(&row) { 5_000 } else { 1 };
        push(&mut rows, 0, row as i64, "a", row as i64, edits);
    }
    let report = sink
        .write(&rows, &[step(0, 0, count as i64)])
        .await
        .unwrap();
    assert_eq!(report.rows as usize, count - bad.len());
    let rejected: Vec<_> = report
        .rejected
        .iter()
        .map(|rejected| rejected.row)
        .collect();
    assert_eq!(rejected, bad);
    assert!(
        report.rejected[0]
            .message
            .to_lowercase()
            .contains("constraint"),
        "{:?}",
        report.rejected[0]
    );
    assert_eq!(
        database.number("SELECT COUNT(*) FROM edits").await as usize,
        count - bad.len()
    );
    assert_eq!(database.ledger().await.0, count.to_string());
}

pub async fn a_refused_row_leaves_its_key_to_the_row_before(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    // Refused before it is sent, and refused by the database.
    let mut rows = batch(0, &[("a", 1, 1), ("a", 1, 2)]);
    rows.push_text("a");
    rows.push_time(Timestamp(60_000));
    rows.push_double(f64::NAN);
    rows.push_null();
    rows.finish_row(Change::Upsert, 0, 2);
    let report = sink.write(&rows, &[step(0, 0, 3)]).await.unwrap();
    assert_eq!(
        (report.rows, report.superseded, report.rejected.len()),
        (1, 1, 1)
    );
    assert_eq!(
        (report.rejected[0].row, report.rejected[0].code.as_str()),
        (2, "not_finite")
    );
    assert_eq!(database.edits().await, ["a 1 2"]);

    let trigger = match database.kind {
        Kind::Sqlite => {
            "CREATE TRIGGER t BEFORE INSERT ON edits WHEN NEW.edits > 10 \
             BEGIN SELECT RAISE(ABORT, 'no'); END"
        }
        Kind::MariaDb | Kind::MySql => {
            "CREATE TRIGGER t BEFORE INSERT ON edits FOR EACH ROW \
             IF NEW.edits > 10 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF"
        }
    };
    database.execute(trigger).await;
    let rows = batch(
        3,
        &[
            ("a", 1, 5),
            ("b", 1, 1),
            ("a", 1, 11),
            ("a", 1, 12),
            ("b", 1, 13),
        ],
    );
    let report = sink.write(&rows, &[step(0, 3, 8)]).await.unwrap();
    let rejected: Vec<_> = report
        .rejected
        .iter()
        .map(|rejected| rejected.row)
        .collect();
    assert_eq!(
        (report.rows, report.superseded, rejected),
        (2, 0, vec![2, 3, 4])
    );
    assert_eq!(database.edits().await, ["a 1 5", "b 1 1"]);
}

pub async fn refused_rows_are_put_aside_before_the_rest_is_committed(database: TestDatabase) {
    let database = prepared(database).await;
    let mut sink = database.sink(&edits()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    let mut rows = batch(0, &[("a", 1, 1)]);
    rows.push_null();
    rows.push_time(Timestamp(0));
    rows.push_null();
    rows.push_null();
    rows.finish_row(Change::Upsert, 0, 1);
    let moves = [step(0, 0, 2)];

    // The dead letters cannot be written: then nothing is.
    let error = sink
        .write_with(&rows, &moves, &mut |_| Err("no broker".to_owned()))
        .await;
    assert!(
        matches!(error, Err(SqlError::Unavailable { .. })),
        "{error:?}"
    );
    assert_eq!(database.edits().await, [""; 0]);
    assert_eq!(database.ledger().await.0, "-");

    let mut seen = Vec::new();
    let aside = &mut |rejected: &[tidemill::sql::Rejected]| {
        seen.extend(
            rejected
                .iter()
                .map(|rejected| (rejected.row, rejected.code.clone())),
        );
        Ok(())
    };
    let report = sink.write_with(&rows, &moves, aside).await.unwrap();
    assert_eq!(seen, [(1, "null".to_owned())]);
    assert_eq!((report.rows, report.rejected.len()), (1, 1));
    assert_eq!(database.edits().await, ["a 1 1"]);
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

pub async fn every_kind_of_refusal_isolates_its_row(database: TestDatabase) {
    let database = database.with_ledger().await;
    database
        .execute(
            "CREATE TABLE narrow (id BIGINT NOT NULL PRIMARY KEY, short VARCHAR(3) CHARACTER SET utf8mb4, \
             old TEXT CHARACTER SET utf8mb3, small TINYINT, checked BIGINT CHECK (checked > 0), \
             needed BIGINT NOT NULL, day DATETIME(3)) ENGINE=InnoDB",
        )
        .await;
    let table = TableSpec {
        table: "narrow".into(),
        columns: vec![
            column("id", ColumnType::Int, false),
            column("short", ColumnType::Text, true),
            column("old", ColumnType::Text, true),
            column("small", ColumnType::Int, true),
            column("checked", ColumnType::Int, true),
            column("needed", ColumnType::Int, true),
        ],
        key: vec![0],
    };
    let mut sink = database.sink(&table).await;
    sink.claim(&[partition(0)]).await.unwrap();
    let mut rows = RowBatch::new(6);
    for row in 0..40 {
        rows.push_int(row);
        rows.push_text(if row == 3 { "long" } else { "ok" });
        rows.push_text(if row == 8 { "😀" } else { "ö" });
        rows.push_int(if row == 13 { 300 } else { 1 });
        rows.push_int(if row == 18 { -1 } else { 1 });
        if row == 23 {
            rows.push_null();
        } else {
            rows.push_int(1);
        }
        rows.finish_row(Change::Upsert, 0, row);
    }
    let report = sink.write(&rows, &[step(0, 0, 40)]).await.unwrap();
    let (text, check) = if database.kind == Kind::MySql {
        ("3988", "3819")
    } else {
        ("1366", "4025")
    };
    let rejected: Vec<_> = report
        .rejected
        .iter()
        .map(|rejected| (rejected.row, rejected.code.as_str()))
        .collect();
    assert_eq!(
        rejected,
        [
            (3, "1406"),
            (8, text),
            (13, "1264"),
            (18, check),
            (23, "1048")
        ]
    );
    assert_eq!(report.rows, 35);
    assert_eq!(database.number("SELECT COUNT(*) FROM narrow").await, 35);
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
