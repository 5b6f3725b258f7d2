//! What a sink writes, and what it refuses to write.

use tidemill::sql::{Change, ColumnType, RowBatch, SqlError, TableSpec};
use tidemill::time::Timestamp;

use super::harness::{
    Kind, TestDatabase, batch, column, edits, partition, push, push_delete, step,
};

pub(super) async fn prepared(database: TestDatabase) -> TestDatabase {
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
