//! The program as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sqlx::Connection as _;
use tempfile::TempDir;

/// A run of the program in a directory of its own, with an empty environment.
struct Run {
    directory: TempDir,
    command: Command,
}

impl Run {
    fn new(arguments: &[&str]) -> Run {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command
            .args(arguments)
            .current_dir(directory.path())
            .env_clear();
        Run { directory, command }
    }

    fn file(self, name: &str, text: &str) -> Run {
        fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Run {
        self.command.env(name, value);
        self
    }

    #[track_caller]
    fn gives(mut self, code: i32, parts: &[&str]) -> String {
        let output = self.command.output().unwrap();
        let text = both(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        text
    }
}

fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("topology")
        .join(name)
}

const BAD: &str = "\
app: bad
nodes:
  s: { source: { topic: t } }
  f: { filter: { from: s, wher: 'true' } }
";

#[test]
fn help_names_every_command_and_every_exit_code() {
    let parts = [
        "run", "check", "test", "describe", "schema", "ingest", "query", "verify", "status", "dlq",
        "reset", "migrate", "settings", "demo",
    ];
    Run::new(&["--help"]).gives(0, &parts);
    Run::new(&["--help"]).gives(0, &["Exit codes:", "130"]);
    for command in parts {
        Run::new(&[command, "--help"]).gives(0, &["Examples:", &format!("tidemill {command}")]);
    }
    Run::new(&["rnu"]).gives(2, &["rnu"]);
}

#[test]
fn the_shipped_topologies_have_no_findings() {
    for name in ["wikimedia.yaml", "wikiticker.yaml"] {
        let path = shipped(name);
        Run::new(&["check", path.to_str().unwrap()]).gives(0, &[name, ": ok"]);
        let json = Run::new(&["check", path.to_str().unwrap(), "--format", "json"]).gives(0, &[]);
        assert_eq!(json.trim(), "[]");
    }
}

#[test]
fn check_shows_the_place_of_a_mistake_and_fails() {
    let parts = ["error[", "bad.yaml:4:", "wher", "help", "1 error"];
    Run::new(&["check", "bad.yaml"])
        .file("bad.yaml", BAD)
        .gives(1, &parts[..4]);
    let run = Run::new(&["check", "bad.yaml", "--format", "json"]).file("bad.yaml", BAD);
    let findings: serde_json::Value = serde_json::from_str(&run.gives(1, &[])).unwrap();
    let lines: Vec<_> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["line"])
        .collect();
    assert!(lines.iter().any(|line| **line == 4), "{findings}");
    Run::new(&["check", "missing.yaml"]).gives(1, &["missing.yaml"]);
    Run::new(&["check"]).gives(2, &["FILE"]);
    Run::new(&["check", "--codes"]).gives(0, &["Y004", "T"]);
}

const TESTED: &str = "\
app: shop
nodes:
  orders: { source: { topic: orders, key: shop } }
  sales: { aggregate: { from: orders, by: shop, window: none, set: { n: count() } } }
  table: { sql: { from: sales, table: sales } }
tests:
  - name: one order is one sale
    given: { value: { shop: a } }
    expect: { tables: { sales: { shop: a, n: 1 } } }
  - name: two orders are one sale
    given: [{ value: { shop: a } }, { value: { shop: a } }]
    expect: { tables: { sales: { shop: a, n: 1 } } }
";

#[test]
fn the_tests_in_the_shipped_topologies_pass_at_once() {
    let begun = std::time::Instant::now();
    let (wikimedia, wikiticker) = (shipped("wikimedia.yaml"), shipped("wikiticker.yaml"));
    let files = [&wikimedia, &wikiticker].map(|path| path.to_str().unwrap());
    let text = Run::new(&["test", files[0], files[1]]).gives(0, &["ok      people", " 0 failed"]);
    let passed = text.lines().filter(|line| line.starts_with("  ok  "));
    assert!(passed.count() >= 8, "{text}");
    // Some two seconds on a machine at rest.
    assert!(begun.elapsed() < Duration::from_secs(30), "{text}");
}

#[test]
fn a_test_that_fails_is_shown_with_what_was_expected_and_found() {
    let run = |arguments: &[&str]| {
        let arguments = [&["test", "shop.yaml"], arguments].concat();
        Run::new(&arguments).file("shop.yaml", TESTED)
    };
    let parts = [
        "ok      one order is one sale",
        "FAILED  two orders are one sale (line 10)",
        "table sales, in all runs:",
        "shop \"a\", line 12:",
        "n: expected 1, found 2",
        "1 passed, 1 failed",
    ];
    run(&[]).gives(1, &parts);
    run(&["--filter", "one order"]).gives(0, &["1 passed, 0 failed, 1 filtered out"]);
    run(&["--filter", "three"]).gives(1, &["no test has \"three\" in its name"]);
    let json: serde_json::Value =
        serde_json::from_str(&run(&["--format", "json"]).gives(1, &[])).unwrap();
    assert_eq!(json[0]["outcome"], "ok");
    assert_eq!(json[1]["file"], "shop.yaml");
    let difference = &json[1]["failures"][0]["differences"][0];
    assert_eq!(
        (&difference["expected"], &difference["found"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn tests_are_checked_also_where_they_are_not_played() {
    let wrong = TESTED.replace(
        "tables: { sales: { shop: a, n: 1 } }",
        "tables: { sale: [] }",
    );
    let parts = ["error[Y015]", "shop.yaml:9:", "did you mean `sales`?"];
    for command in ["check", "run", "test"] {
        let run = Run::new(&[command, "shop.yaml"]).file("shop.yaml", &wrong);
        run.variable("DATABASE_URL", "sqlite:t.db").gives(1, &parts);
    }
    let bare = TESTED.split("tests:").next().unwrap();
    let run = Run::new(&["test", "shop.yaml"]).file("shop.yaml", bare);
    run.gives(0, &["no tests", "0 passed, 0 failed"]);
    Run::new(&["test", "missing.yaml"]).gives(1, &["missing.yaml", "1 file cannot be used"]);
    Run::new(&["test"]).gives(2, &["FILE"]);
}

#[test]
fn the_schema_is_the_file_that_shipped_topologies_name() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/topology.schema.json");
    let printed = Run::new(&["schema"]).gives(0, &[]);
    assert_eq!(printed, fs::read_to_string(path).unwrap());
}

#[test]
fn describe_draws_as_text_mermaid_and_dot() {
    let path = shipped("wikimedia.yaml");
    let describe = |format| Run::new(&["describe", path.to_str().unwrap(), "--format", format]);
    describe("text").gives(0, &["per_wiki: aggregate", "group wikimedia-wiki_table"]);
    describe("mermaid").gives(0, &["flowchart", "per_wiki"]);
    describe("dot").gives(0, &["digraph", "per_wiki"]);
    describe("picture").gives(2, &["picture"]);
}

#[test]
fn describe_prints_the_tables_that_a_topology_needs() {
    let file = "\
app: edits
nodes:
  changes: { source: { topic: t, key: wiki, fields: { wiki: string } } }
  per_wiki: { aggregate: { from: changes, by: wiki, window: { tumbling: 1m }, set: { edits: count() } } }
  table: { sql: { from: per_wiki, table: edits_per_wiki } }
";
    let tables = |database| {
        let run = Run::new(&["describe", "my.yaml", "--tables", database]);
        run.file("my.yaml", file)
    };
    let parts = [
        "CREATE TABLE `edits_per_wiki` (",
        "`wiki` VARBINARY(255) NOT NULL,",
        "`window_start` DATETIME(3) NOT NULL,",
        "`edits` BIGINT NULL,",
        "PRIMARY KEY (`wiki`, `window_start`)",
    ];
    let mysql = tables("mysql").gives(0, &parts);
    assert_eq!(tables("mariadb").gives(0, &[]), mysql);
    tables("postgres").gives(2, &["postgres"]);

    // What is printed is what `run` asks for.
    let statements = tables("sqlite").gives(0, &["CREATE TABLE \"edits_per_wiki\" ("]);
    let directory = tempfile::tempdir().unwrap();
    let address = format!(
        "sqlite:{}?mode=rwc",
        directory.path().join("t.db").display()
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&address).await.unwrap();
        let statements = sqlx::raw_sql(sqlx::AssertSqlSafe(statements));
        statements.execute(&mut connection).await.unwrap();
    });
}

#[test]
fn settings_come_from_file_environment_and_flags_and_hide_secrets() {
    let file =
        "threads: 2\ndatabase_url: mysql://ann:hush@db/wiki\nkafka: { sasl.password: hush }\n";
    let settings = |arguments: &[&str]| {
        Run::new(&[&["settings"], arguments].concat()).file("tidemill.yaml", file)
    };
    let shown = settings(&[]).gives(
        0,
        &[
            "threads",
            "tidemill.yaml:1",
            "mysql://ann@db/wiki",
            "(hidden)",
        ],
    );
    assert!(!shown.contains("hush"), "{shown}");
    settings(&[])
        .variable("TIDEMILL_THREADS", "3")
        .gives(0, &["$TIDEMILL_THREADS"]);
    let both = settings(&["--threads", "4"]).variable("TIDEMILL_THREADS", "3");
    both.gives(0, &["--threads"]);
    settings(&["--kafka", "linger.ms=5"]).gives(0, &["kafka.linger.ms"]);
    let shown =
        settings(&["--kafka", "sasl.password=geheim"]).gives(2, &["TIDEMILL_KAFKA_SASL_PASSWORD"]);
    assert!(!shown.contains("geheim"), "{shown}");
    settings(&["--config", "other.yaml"]).gives(2, &["other.yaml"]);
    let other = settings(&["--config", "other.yaml"]).file("other.yaml", "thread: 1\n");
    other.gives(2, &["other.yaml:1", "did you mean threads?"]);
}

#[test]
fn what_is_needed_and_missing_is_said_before_anything_is_tried() {
    let path = shipped("wikimedia.yaml");
    Run::new(&["run", path.to_str().unwrap()]).gives(2, &["no database is set"]);
    Run::new(&["migrate"]).gives(2, &["no database is set"]);
    Run::new(&["query", "top-wikis"]).gives(2, &["no database is set"]);
    let nowhere = Run::new(&["migrate"]).variable("DATABASE_URL", "sqlite:/nowhere/t.db");
    nowhere.gives(1, &["there is no directory /nowhere; create it"]);
    Run::new(&["demo", "--live"]).gives(2, &["--contact"]);
    Run::new(&["demo", "--rate", "0"]).gives(2, &["--rate"]);
    Run::new(&["ingest", "generate", "--start", "yesterday"]).gives(2, &["--start"]);
    let nowhere = [
        "ingest",
        "replay",
        "/nowhere.ndjson",
        "--brokers",
        "127.0.0.1:1",
    ];
    Run::new(&nowhere).gives(1, &["open /nowhere.ndjson"]);
    let bad = Run::new(&["run", "bad.yaml"]).file("bad.yaml", BAD);
    bad.gives(1, &["wher", "bad.yaml cannot be used"]);
}

#[test]
fn the_bounds_of_the_reconnect_back_off_are_checked_before_anything_is_tried() {
    let bounds = |flags: &[&str]| {
        let wikimedia = ["ingest", "wikimedia", "--contact", "a@example.org"];
        Run::new(&[&wikimedia, flags].concat())
    };
    let parts = ["--retry-max", "at least --retry-min", "2m", "found 1m"];
    bounds(&["--retry-min", "2m"]).gives(2, &parts);
    let parts = ["--retry-max", "which is 1s", "found 500ms"];
    bounds(&["--retry-max", "500ms"]).gives(2, &parts);
    let parts = ["--retry-min", "expected 0s or more", "found -1s"];
    bounds(&["--retry-min=-1s"]).gives(2, &parts);
    let parts = ["--retry-min", "expected a unit (ms, s, m, h, d) after 5"];
    bounds(&["--retry-min", "5"]).gives(2, &parts);
    bounds(&["--help"]).gives(0, &["--retry-min", "[default: 1s]", "[default: 60s]"]);
}

#[test]
fn a_migrated_database_answers_queries_and_names_what_it_does_not_have() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("sqlite:{}", directory.path().join("t.db").display());
    let tidemill = |arguments: &[&str]| Run::new(arguments).variable("DATABASE_URL", &address);
    tidemill(&["migrate"]).gives(0, &["is up to date"]);
    tidemill(&["migrate"]).gives(0, &["is up to date"]);
    tidemill(&["query"]).gives(0, &["top-wikis", "bots-vs-humans"]);
    tidemill(&["query", "top-wikis"]).gives(0, &["wiki", "(0 rows)"]);
    let json = tidemill(&["query", "recentchange", "--format", "json"]).gives(0, &[]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap(),
        serde_json::json!([])
    );
    tidemill(&["query", "recentchanges"]).gives(1, &["recentchange"]);
    tidemill(&["query", "recentchange", "--where", "wiki"]).gives(2, &["wiki=enwiki"]);
    tidemill(&["query", "recentchange", "--top", "3"]).gives(2, &["--by"]);
    for flag in ["--top", "--limit"] {
        tidemill(&["query", "recentchange", "--by", "id", flag, "0"])
            .gives(2, &[flag, "from 1 on"]);
    }
    tidemill(&["query", "top-wikis", "--since", "yesterday"]).gives(2, &["yesterday"]);
}

#[test]
fn the_demo_checks_its_own_tables() {
    let parts = ["raw table", "the tables are exactly what they should be"];
    Run::new(&["demo", "--events", "20000", "--http", "127.0.0.1:0"]).gives(0, &parts);
}

#[test]
fn the_demo_keeps_its_tables_when_asked_and_does_not_mix_two() {
    let arguments = ["demo", "--events", "500", "--http", "off", "--keep", "kept"];
    let mut run = Run::new(&arguments);
    let output = run.command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let address = format!(
        "sqlite:{}",
        run.directory.path().join("kept/demo.db").display()
    );
    let query = Run::new(&["query", "bots-vs-humans"]).variable("DATABASE_URL", &address);
    query.gives(0, &["(all)"]);
    run.gives(2, &["another demo"]);
}

#[cfg(unix)]
#[test]
fn the_demo_shows_its_first_rows_within_seconds_and_sums_up_at_a_signal() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let mut run = Run::new(&["demo", "--http", "127.0.0.1:0", "--rate", "500"]);
    let begun = std::time::Instant::now();
    let mut demo = run.command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let page = lines
        .find_map(|line| Some(line.strip_prefix("page")?.trim().to_owned()))
        .unwrap();
    let rows = |line: &String| line.contains("raw_table ") && !line.contains("raw_table 0");
    assert!(lines.any(|line| rows(&line)), "no row was written");
    // From the start of the program; about one second on a machine at rest.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let metrics = get(&format!("{page}metrics"));
    assert!(
        metrics.contains("tidemill_sink_rows_total{app=\"wikimedia\",sink=\"raw_table\"}"),
        "{metrics}"
    );
    assert_eq!(get(&format!("{page}readyz")), "ready\n");
    let address = page.trim_start_matches("http://").trim_end_matches('/');
    let parts = ["wikimedia: ready", "tasks      0_0", "raw_table", "behind"];
    Run::new(&["status", "--at", address]).gives(0, &parts);
    let wikis = get(&format!("{page}api/query?ask=top-wikis&limit=3"));
    assert!(wikis.contains("\"wiki\""), "{wikis}");
    let kill = Command::new("kill")
        .args(["-INT", &demo.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let last: Vec<String> = lines.collect();
    assert_eq!(demo.wait().unwrap().code(), Some(0));
    let verdict = "the tables are exactly what they should be";
    assert_eq!(last.last().map(String::as_str), Some(verdict), "{last:#?}");
}

#[test]
fn a_process_that_is_not_there_is_said_to_be() {
    let parts = ["127.0.0.1:1  nothing answers there", "--http"];
    Run::new(&["status", "--at", "127.0.0.1:1"]).gives(1, &parts);
    Run::new(&["status", "--http", "off"]).gives(2, &["--http"]);
}

fn get(address: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { reqwest::get(address).await.unwrap().text().await.unwrap() })
}
