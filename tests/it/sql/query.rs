//! Queries on real tables.

use std::time::Duration;

use tidemill::sql::query::{
    Format, QueryError, QueryOptions, QueryValue, Scope, ask, parse_when, questions, run,
};
use tidemill::sql::{Change, ColumnType, DatabaseUrl, RowBatch, TableSpec};
use tidemill::time::Timestamp;

use super::harness::{Kind, TestDatabase, column, partition, step};

fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn per_wiki() -> TableSpec {
    let counter = |name| column(name, ColumnType::Int, true);
    TableSpec {
        table: "edits_per_wiki_minute".into(),
        columns: vec![
            column("wiki", ColumnType::Text, false),
            column("window_start", ColumnType::Time, false),
            column("window_end", ColumnType::Time, true),
            counter("events"),
            counter("edits"),
            counter("bot_events"),
            counter("new_pages"),
            counter("bytes_added"),
            counter("bytes_removed"),
            counter("distinct_edit_users"),
        ],
        key: vec![0, 1],
    }
}

/// Three wikis, three minutes from 11:00.
async fn filled(database: TestDatabase) -> TestDatabase {
    let database = database.migrated().await;
    let mut sink = database.sink(&per_wiki()).await;
    sink.claim(&[partition(0)]).await.unwrap();
    let mut rows = RowBatch::new(10);
    let start = time("2026-05-05T11:00:00Z");
    for (wiki, edits, bots) in [("enwiki", 5, 1), ("dewiki", 3, 0), ("ruwiki😀", 1, 4)] {
        for minute in 0..3 {
            let from = start.plus_millis(minute * 60_000);
            rows.push_text(wiki);
            rows.push_time(from);
            rows.push_time(from.plus_millis(60_000));
            for number in [edits * 2, edits + minute, bots, 1, 100, 30, 2] {
                rows.push_int(number);
            }
            rows.finish_row(Change::Upsert, 0, 0);
        }
    }
    sink.write(&rows, &[step(0, 0, 1)]).await.unwrap();
    database
}

async fn table(url: &DatabaseUrl, options: &QueryOptions) -> String {
    run(url, options).await.unwrap().render(Format::Table)
}

pub async fn rows_and_top_lists_answer_as_a_user_expects(database: TestDatabase) {
    let database = filled(database).await;
    let mut options = QueryOptions::of("edits_per_wiki_minute");
    options.columns = ["window_start", "wiki", "edits"]
        .map(str::to_owned)
        .to_vec();
    options.since = Some(time("2026-05-05T11:01:00Z"));
    options.limit = 4;
    expect_test::expect![[r#"
        window_start              wiki      edits
        ------------------------  --------  -----
        2026-05-05T11:02:00.000Z  dewiki        5
        2026-05-05T11:02:00.000Z  enwiki        7
        2026-05-05T11:02:00.000Z  ruwiki😀      3
        2026-05-05T11:01:00.000Z  dewiki        4
        (4 rows, and more: raise --limit)
    "#]]
    .assert_eq(&table(&database.url, &options).await);

    options.filters = vec![
        "wiki=ruwiki😀".parse().unwrap(),
        "edits>=2".parse().unwrap(),
    ];
    options.since = None;
    let result = run(&database.url, &options).await.unwrap();
    assert_eq!(result.rows.len(), 2);
    assert_eq!(
        result.render(Format::Csv),
        "window_start,wiki,edits\n2026-05-05T11:02:00.000Z,ruwiki😀,3\n2026-05-05T11:01:00.000Z,ruwiki😀,2\n"
    );

    let top = QueryOptions {
        top: Some(2),
        by: Some("edits".into()),
        until: Some(time("2026-05-05T11:02:00Z")),
        ..QueryOptions::of("edits_per_wiki_minute")
    };
    expect_test::expect![[r#"
        wiki    edits  windows
        ------  -----  -------
        enwiki     11        2
        dewiki      7        2
        (2 rows)
    "#]]
    .assert_eq(&table(&database.url, &top).await);
    // The view for people gives the same.
    let view = QueryOptions {
        table: "v_edits_per_wiki_minute".into(),
        ..top.clone()
    };
    assert_eq!(
        table(&database.url, &view).await,
        table(&database.url, &top).await
    );

    let distinct = QueryOptions {
        by: Some("distinct_edit_users".into()),
        ..top
    };
    let error = run(&database.url, &distinct).await.unwrap_err();
    assert!(error.to_string().contains("counted twice"), "{error}");
}

fn scope() -> Scope {
    Scope {
        since: None,
        until: None,
        wiki: None,
        limit: 10,
        timeout: Duration::from_secs(30),
    }
}

pub async fn ready_made_questions_answer(database: TestDatabase) {
    let database = filled(database).await;
    let answer = async |name: &str, scope: &Scope| {
        ask(&database.url, name, scope)
            .await
            .unwrap()
            .render(Format::Table)
    };
    expect_test::expect![[r#"
        wiki      edits  events  new_pages  bot_events  net_bytes
        --------  -----  ------  ---------  ----------  ---------
        enwiki       18      30          3           3        210
        dewiki       12      18          3           0        210
        ruwiki😀      6       6          3          12        210
        (3 rows)
    "#]]
    .assert_eq(&answer("top-wikis", &scope()).await);
    expect_test::expect![[r#"
        wiki      events  bot_events  human_events  bot_percent
        --------  ------  ----------  ------------  -----------
        (all)         54          15            39         27.8
        enwiki        30           3            27           10
        dewiki        18           0            18            0
        ruwiki😀       6          12            -6          200
        (4 rows)
    "#]]
    .assert_eq(&answer("bots-vs-humans", &scope()).await);
    let one = Scope {
        wiki: Some("enwiki".into()),
        since: Some(time("2026-05-05T11:01:00Z")),
        until: Some(time("2026-05-05T11:03:00Z")),
        ..scope()
    };
    expect_test::expect![[r#"
        minute                    edits  events  bot_events  wikis
        ------------------------  -----  ------  ----------  -----
        2026-05-05T11:02:00.000Z      7      10           1      1
        2026-05-05T11:01:00.000Z      6      10           1      1
        (2 rows)
    "#]]
    .assert_eq(&answer("edits-per-minute", &one).await);
    expect_test::expect![[r#"
        wiki    events  bot_events  human_events  bot_percent
        ------  ------  ----------  ------------  -----------
        (all)       20           2            18           10
        enwiki      20           2            18           10
        (2 rows)
    "#]]
    .assert_eq(&answer("bots-vs-humans", &one).await);

    database
        .execute(
            "INSERT INTO edits_per_user_5m (wiki, user, window_start, edits, net_bytes) VALUES \
             ('enwiki', 'Ann', '2026-05-05 11:00:00', 3, -5), ('enwiki', 'Ann', '2026-05-05 11:05:00', 4, 1), \
             ('enwiki', 'ann', '2026-05-05 11:00:00', 9, 0)",
        )
        .await;
    expect_test::expect![[r#"
        wiki    user  edits  net_bytes
        ------  ----  -----  ---------
        enwiki  ann       9          0
        enwiki  Ann       7         -4
        (2 rows)
    "#]]
    .assert_eq(&answer("top-users", &scope()).await);
    // Every question's answer has the columns that it is documented with.
    for question in questions() {
        let result = ask(&database.url, question.name, &scope()).await.unwrap();
        let names: Vec<_> = result
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        let documented: Vec<_> = question.columns.iter().map(|(name, _, _)| *name).collect();
        assert_eq!(names, documented);
        assert!(result.rows.iter().all(|row| row.len() == names.len()));
    }
}

pub async fn an_empty_answer_says_where_the_data_is(database: TestDatabase) {
    let database = filled(database).await;
    let since = parse_when("2h", time("2026-05-06T12:00:00Z")).unwrap();
    let options = QueryOptions {
        since: Some(since),
        ..QueryOptions::of("edits_per_wiki_minute")
    };
    let result = run(&database.url, &options).await.unwrap();
    assert!(result.rows.is_empty());
    let note = "the newest window_start in edits_per_wiki_minute is 2026-05-05T11:02:00.000Z";
    assert_eq!(result.note.as_deref(), Some(note));
    // The names are there all the same.
    assert!(
        result
            .render(Format::Csv)
            .starts_with("wiki,window_start,window_end,events")
    );
    for name in ["bots-vs-humans", "top-wikis"] {
        let late = Scope {
            since: Some(since),
            ..scope()
        };
        let result = ask(&database.url, name, &late).await.unwrap();
        assert_eq!(
            (result.rows.len(), result.note.as_deref()),
            (0, Some(note)),
            "{name}"
        );
    }
    let empty = QueryOptions {
        since: Some(since),
        ..QueryOptions::of("wikiticker")
    };
    let result = run(&database.url, &empty).await.unwrap();
    assert_eq!(result.note.as_deref(), Some("wikiticker is empty"));
}

pub async fn wrong_names_are_answered_with_the_right_ones(database: TestDatabase) {
    let database = database.migrated().await;
    let error =
        async |options: QueryOptions| run(&database.url, &options).await.unwrap_err().to_string();
    assert_eq!(
        error(QueryOptions::of("edits_per_wiki_minut")).await,
        "there is no table edits_per_wiki_minut: did you mean edits_per_wiki_minute?"
    );
    let unknown = error(QueryOptions::of("x' OR 1=1")).await;
    assert!(
        unknown.contains("; the tables and questions: edits_per_user_5m, "),
        "{unknown}"
    );
    let by = QueryOptions {
        by: Some("edit".into()),
        ..QueryOptions::of("edits_per_user_5m")
    };
    assert_eq!(
        error(by).await,
        "table edits_per_user_5m has no column edit: did you mean edits?"
    );
    let asked = ask(&database.url, "top-wiki", &scope()).await.unwrap_err();
    assert_eq!(
        asked.to_string(),
        "there is no question top-wiki: did you mean top-wikis?"
    );
    if database.kind == Kind::Sqlite {
        let nowhere = DatabaseUrl::parse("sqlite:/nonexistent/tidemill.db").unwrap();
        let error = run(&nowhere, &QueryOptions::of("edits")).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("there is no file /nonexistent/tidemill.db"),
            "{error}"
        );
    }
}

pub async fn conditions_find_what_looks_like_their_value(database: TestDatabase) {
    let longer = match database.kind {
        Kind::Sqlite => "word || '0'",
        Kind::MariaDb | Kind::MySql => "CONCAT(word, '0')",
    };
    let sql = format!(
        "CREATE TABLE things (id BIGINT PRIMARY KEY, n BIGINT, word VARCHAR(9), raw BLOB); \
         INSERT INTO things VALUES (1, 5, '1', X'616263'), (2, 9, 'x', X'00'); \
         CREATE VIEW seen AS SELECT id, n * 2 AS twice, {longer} AS longer FROM things"
    );
    database.execute(&sql).await;
    let found = async |table: &str, condition: &str| {
        let options = QueryOptions {
            filters: vec![condition.parse().unwrap()],
            by: Some("id".into()),
            columns: vec!["id".into()],
            ..QueryOptions::of(table)
        };
        let rows = run(&database.url, &options).await.unwrap().rows;
        let id = |row: &Vec<QueryValue>| match row[0] {
            QueryValue::Int(id) => id,
            ref other => panic!("{other:?}"),
        };
        rows.iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(found("things", "word=1").await, [1]);
    assert_eq!(found("things", "n=9").await, [2]);
    assert_eq!(found("things", "raw=abc").await, [1]);
    assert_eq!(found("seen", "twice=10").await, [1]);
    assert_eq!(found("seen", "twice>9").await, [2, 1]);
    assert_eq!(found("seen", "longer=10").await, [1]);
    assert_eq!(found("seen", "longer=x0").await, [2]);
}

pub async fn a_slow_query_is_ended(database: TestDatabase) {
    let database = database.migrated().await;
    database
        .execute("CREATE TABLE numbers (n BIGINT NOT NULL PRIMARY KEY, m BIGINT)")
        .await;
    let values: Vec<_> = (0..1_000).map(|n| format!("({n}, {n})")).collect();
    database
        .execute(&format!("INSERT INTO numbers VALUES {}", values.join(",")))
        .await;
    database
        .execute(
            "CREATE VIEW slow AS SELECT a.m + b.m * c.m AS n FROM numbers a, numbers b, numbers c",
        )
        .await;
    let options = QueryOptions {
        by: Some("n".into()),
        timeout: Duration::from_millis(300),
        ..QueryOptions::of("slow")
    };
    let started = std::time::Instant::now();
    // On tasks of their own, as a web server answers.
    let url = database.url.clone();
    let answer = tokio::spawn(async move { run(&url, &options).await });
    let error = answer.await.unwrap().unwrap_err();
    let url = database.url.clone();
    let asked = tokio::spawn(async move { ask(&url, "top-wikis", &scope()).await });
    assert!(asked.await.unwrap().is_ok());
    assert!(matches!(error, QueryError::TooSlow(_)), "{error:?}");
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

pub async fn every_type_is_shown(database: TestDatabase) {
    let database = database.migrated().await;
    let sql = match database.kind {
        Kind::Sqlite => {
            "CREATE TABLE t (id BIGINT PRIMARY KEY, flag BOOLEAN, number DOUBLE, name TEXT, raw BLOB, \
             at DATETIME, event_time DATETIME); \
             INSERT INTO t VALUES (1, 1, 0.5, 'ä', X'61ff', '2026-05-05T11:17:40.822Z', NULL), \
             (2, NULL, NULL, NULL, NULL, NULL, NULL)"
        }
        Kind::MariaDb | Kind::MySql => {
            "CREATE TABLE t (id BIGINT PRIMARY KEY, flag BOOLEAN, number DOUBLE, name VARBINARY(20), \
             raw BLOB, at DATETIME(3), event_time TIMESTAMP(3) NULL, wide BIGINT UNSIGNED, \
             price DECIMAL(10,2), half FLOAT, day DATE, length TIME, year YEAR, bits BIT(10), \
             small TINYINT UNSIGNED, word CHAR(5) CHARACTER SET latin1, one ENUM('a','b'), doc JSON) \
             DEFAULT CHARACTER SET utf8mb4; \
             INSERT INTO t VALUES (1, 1, 0.5, 'ä', X'61ff', '2026-05-05 11:17:40.822', \
             '2026-05-05 11:17:40.5', 18446744073709551615, 12.30, 0.25, '2026-05-05', '11:17:40', \
             2026, b'1000000001', 200, 'ö', 'b', '{\"a\": 1}'); \
             INSERT INTO t (id) VALUES (2)"
        }
    };
    // In one session, whose time zone is UTC.
    database.execute(sql).await;
    let result = run(
        &database.url,
        &QueryOptions {
            by: Some("id".into()),
            ..QueryOptions::of("t")
        },
    )
    .await
    .unwrap();
    let all: std::collections::BTreeMap<&str, &QueryValue> =
        std::iter::zip(&result.columns, &result.rows[1])
            .map(|(column, value)| (column.name.as_str(), value))
            .collect();
    let text = |text: &str| QueryValue::Text(text.to_owned());
    let at = |text: &str| QueryValue::Time(text.to_owned());
    let mut expected = vec![
        ("id", QueryValue::Int(1)),
        ("flag", QueryValue::Bool(true)),
        ("number", QueryValue::Double(0.5)),
        ("name", text("ä")),
        ("raw", text("a\\xff")),
        ("at", at("2026-05-05T11:17:40.822Z")),
    ];
    if database.kind != Kind::Sqlite {
        expected.extend([
            ("event_time", at("2026-05-05T11:17:40.500Z")),
            ("wide", text("18446744073709551615")),
            ("price", QueryValue::Double(12.3)),
            ("half", QueryValue::Double(0.25)),
            ("day", at("2026-05-05T00:00:00.000Z")),
            ("length", text("11:17:40")),
            ("year", QueryValue::Int(2026)),
            ("bits", QueryValue::Int(513)),
            ("small", QueryValue::Int(200)),
            ("word", text("ö")),
            ("one", text("b")),
            ("doc", text("{\"a\": 1}")),
        ]);
    }
    for (name, value) in &expected {
        assert_eq!(all.get(name), Some(&value), "{name}");
    }
    assert!(
        result.rows[0][1..]
            .iter()
            .all(|value| *value == QueryValue::Null),
        "{:?}",
        result.rows[0]
    );
}
