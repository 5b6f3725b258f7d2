//! Migrations, live table checks, gaps and retention.

use tidemill::broker::TopicPartition;
use tidemill::sql::{
    ColumnType, FindingCode, GapRow, Retention, SinkOptions, SqlError, SqlSink, TableSpec,
    check_table, live_columns, maintain_partitions, migrate, record_gaps,
};
use tidemill::time::Timestamp;

use super::harness::{Kind, TestDatabase, column, edits};

fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

pub async fn a_generated_table_passes_its_own_check(database: TestDatabase) {
    use ColumnType::{Bool, Bytes, Double, Int, Text, Time};
    let kinds = [Bool, Int, Text, Bytes, Time];
    let mut columns: Vec<_> = kinds
        .iter()
        .map(|&kind| column(&format!("key_{}", kind.name()), kind, false))
        .collect();
    for kind in [Bool, Int, Double, Text, Bytes, Time] {
        columns.push(column(&format!("maybe_{}", kind.name()), kind, true));
        columns.push(column(&format!("always_{}", kind.name()), kind, false));
    }
    let table = TableSpec {
        table: "everything".into(),
        columns,
        key: (0..5).collect(),
    };
    database.make(&table).await;
    assert_eq!(check_table(&database.url, &table).await.unwrap(), []);
    // What is read back is what was asked for; a server keeps bytes of a key as it keeps texts.
    let mut expected = table.columns.clone();
    if database.kind != Kind::Sqlite {
        expected[3].kind = Text;
    }
    assert_eq!(
        live_columns(&database.url, "everything").await.unwrap(),
        expected
    );
    assert_eq!(live_columns(&database.url, "nowhere").await.unwrap(), []);
}

pub async fn a_table_that_does_not_fit_is_refused_with_everything_at_once(database: TestDatabase) {
    let text = if database.kind == Kind::Sqlite {
        "CREATE TABLE edits (wiki TEXT COLLATE NOCASE NOT NULL, edits TEXT, n BIGINT NOT NULL, \
         PRIMARY KEY (wiki)); CREATE UNIQUE INDEX second ON edits (edits)"
    } else {
        "CREATE TABLE edits (wiki VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL, \
         edits VARCHAR(20) CHARACTER SET utf8mb4, n BIGINT NOT NULL, PRIMARY KEY (wiki), \
         UNIQUE KEY second (edits)) ENGINE=MyISAM"
    };
    database.execute(text).await;
    let opened = SqlSink::open(
        &database.url,
        "app",
        "sink",
        edits(),
        SinkOptions::default(),
    )
    .await;
    let Some(SqlError::Mismatch { table, findings }) = opened.err() else {
        panic!("it was opened")
    };
    assert_eq!(table, "edits");
    let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    let mut expected = vec![
        FindingCode::MergingCollation,
        FindingCode::NoColumn,
        FindingCode::ColumnType,
        FindingCode::NoColumn,
        FindingCode::NoDefault,
        FindingCode::PrimaryKey,
        FindingCode::SecondUniqueIndex,
        // The ledger is missing as well.
        FindingCode::NoTable,
    ];
    if database.kind != Kind::Sqlite {
        expected.insert(0, FindingCode::NotTransactional);
    }
    assert_eq!(codes, expected, "{findings:#?}");

    // The fixes are true: on a server they make the table fit.
    if database.kind != Kind::Sqlite {
        for finding in findings
            .iter()
            .filter(|finding| finding.code != FindingCode::NoTable)
        {
            database.execute(finding.fix.as_ref().unwrap()).await;
        }
        assert_eq!(check_table(&database.url, &edits()).await.unwrap(), []);
        migrate(&database.url).await.unwrap();
        database.sink(&edits()).await;
    }

    let missing = TableSpec {
        table: "nowhere".into(),
        ..edits()
    };
    let found = check_table(&database.url, &missing).await.unwrap();
    assert_eq!(found[0].code, FindingCode::NoTable);
    database.execute(found[0].fix.as_ref().unwrap()).await;
    assert_eq!(check_table(&database.url, &missing).await.unwrap(), []);
}

pub async fn collations_that_merge_names_are_found(database: TestDatabase) {
    let (merging, exact) = match database.kind {
        Kind::MySql => (
            vec!["utf8mb4_0900_ai_ci", "utf8mb4_0900_as_cs", "utf8mb4_bin"],
            "utf8mb4_0900_bin",
        ),
        _ => (
            vec!["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_bin"],
            "utf8mb4_nopad_bin",
        ),
    };
    let make = |collation: &str| {
        format!(
            "CREATE OR REPLACE VIEW unused AS SELECT 1; DROP TABLE IF EXISTS edits; \
             CREATE TABLE edits (wiki VARCHAR(200) CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL, \
             window_start DATETIME(3) NOT NULL, edits BIGINT, note TEXT CHARACTER SET utf8mb4, \
             PRIMARY KEY (window_start, wiki))"
        )
    };
    for collation in merging {
        database.execute(&make(collation)).await;
        let found = check_table(&database.url, &edits()).await.unwrap();
        let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [FindingCode::MergingCollation], "{collation}");
    }
    database.execute(&make(exact)).await;
    assert_eq!(check_table(&database.url, &edits()).await.unwrap(), []);
    // A key of beginnings only.
    database
        .execute("ALTER TABLE edits MODIFY wiki VARBINARY(255) NOT NULL, DROP PRIMARY KEY, ADD PRIMARY KEY (wiki(10), window_start)")
        .await;
    let found = check_table(&database.url, &edits()).await.unwrap();
    assert_eq!(found[0].code, FindingCode::MergingCollation);
    assert!(
        found[0].message.contains("beginning"),
        "{}",
        found[0].message
    );
}

pub async fn migrations_run_once_however_often_and_by_how_many(database: TestDatabase) {
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let url = database.url.clone();
        tasks.push(tokio::spawn(async move { migrate(&url).await }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    migrate(&database.url).await.unwrap();
    assert_eq!(
        database
            .number("SELECT COUNT(*) FROM tidemill_migrations WHERE success")
            .await,
        3
    );
    for view in [
        "v_recentchange",
        "v_edits_per_wiki_minute",
        "v_edits_per_user_5m",
        "v_wikiticker",
        "v_wikiticker_channel_hour",
        "v_tidemill_ledger",
        "v_tidemill_gaps",
    ] {
        assert_eq!(
            database
                .number(&format!("SELECT COUNT(*) FROM {view}"))
                .await,
            0,
            "{view}"
        );
    }
    // Another version has been here.
    database
        .execute("UPDATE tidemill_migrations SET version = 9999 WHERE version = 3")
        .await;
    let error = migrate(&database.url).await.unwrap_err();
    assert!(error.to_string().contains("9999"), "{error}");
}

pub async fn an_interrupted_migration_is_finished(database: TestDatabase) {
    let database = database.migrated().await;
    database
        .execute(
            "UPDATE tidemill_migrations SET success = FALSE WHERE version = 3; \
             DROP TABLE wikiticker_channel_hour",
        )
        .await;
    migrate(&database.url).await.unwrap();
    assert_eq!(
        database
            .number("SELECT COUNT(*) FROM wikiticker_channel_hour")
            .await,
        0
    );
    assert_eq!(
        database
            .number("SELECT COUNT(*) FROM tidemill_migrations WHERE success")
            .await,
        3
    );
}

pub async fn gaps_are_recorded_once(database: TestDatabase) {
    let database = database.migrated().await;
    let gap = |found, jump| GapRow {
        source: "wikimedia".into(),
        partition: TopicPartition::new("eqiad.mediawiki.recentchange", 0),
        expected: 100,
        found,
        jump,
        missing: if jump { 0 } else { found - 100 },
        after: Some(time("2026-05-05T11:17:40.822Z")),
        before: None,
        detected_at: time("2026-05-05T11:18:00Z"),
    };
    record_gaps(&database.url, &[gap(103, false), gap(7, true)])
        .await
        .unwrap();
    record_gaps(&database.url, &[gap(103, false)])
        .await
        .unwrap();
    let found = database
        .rows("SELECT source, kind, missing, before_time FROM v_tidemill_gaps ORDER BY kind")
        .await;
    assert_eq!(
        found,
        [
            ["wikimedia", "gap", "3", "-"],
            ["wikimedia", "jump", "0", "-"]
        ]
    );
}

pub async fn retention_keeps_the_days_it_is_told(database: TestDatabase) {
    let database = database.migrated().await;
    let keep = |keep_days| Retention {
        keep_days,
        ahead_days: 2,
    };
    let maintain = async |now: &str, keep_days| {
        let retention = keep(keep_days);
        maintain_partitions(
            &database.url,
            "recentchange",
            "event_time",
            time(now),
            retention,
        )
        .await
        .unwrap()
    };
    let is_sqlite = database.kind == Kind::Sqlite;
    let insert = |day: u32| {
        let time = if is_sqlite {
            format!("2026-05-{day:02}T23:59:59.999Z")
        } else {
            format!("2026-05-{day:02} 23:59:59.999")
        };
        format!("INSERT INTO recentchange (event_time, event_id) VALUES ('{time}', 'e{day}')")
    };
    let report = maintain("2026-05-05T11:00:00Z", Some(3)).await;
    let added = if is_sqlite {
        vec![]
    } else {
        vec!["p20260505", "p20260506", "p20260507"]
    };
    assert_eq!(report.added, added);
    // The sixth is prepared, the ninth not: it lies in the last partition for now.
    for day in [4, 5, 6, 9] {
        database.execute(&insert(day)).await;
    }
    assert_eq!(
        maintain("2026-05-05T23:00:00Z", Some(3)).await.dropped,
        [""; 0]
    );
    let report = maintain("2026-05-09T12:00:00Z", Some(3)).await;
    if is_sqlite {
        assert_eq!(report.deleted_rows, 2);
    } else {
        assert_eq!(
            report.added,
            ["p20260508", "p20260509", "p20260510", "p20260511"]
        );
        assert_eq!(report.dropped, ["p20260505"]);
    }
    let left = database
        .rows("SELECT event_id FROM v_recentchange ORDER BY event_time")
        .await;
    assert_eq!(left, [["e6"], ["e9"]]);
    // Without a limit nothing goes.
    let report = maintain("2026-06-09T12:00:00Z", None).await;
    assert_eq!((report.dropped.len(), report.deleted_rows), (0, 0));
    assert_eq!(
        database.number("SELECT COUNT(*) FROM recentchange").await,
        2
    );

    let other = maintain_partitions(
        &database.url,
        "edits_per_user_5m",
        "window_start",
        time("2026-05-05T00:00:00Z"),
        keep(None),
    )
    .await;
    assert_eq!(other.is_err(), !is_sqlite);
}
