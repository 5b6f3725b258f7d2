//! A row that the database refuses: what `on_error` says becomes of it, and of those around it.

use crate::harness::{Raw, Run, Topics, databases, header, kafka, skip, wait_until};

use super::{TIMEOUT, drops, member};

const TOPOLOGY: &str = "
app: NAME
nodes:
  events: { source: { topic: NAME, key: id, fields: { id: string, title: string } } }
  titles:
    sql:
      from: events
      table: titles
      key: [id]
      columns: { id: id, title: title }
      on_error: POLICY
";

const TABLE: &str = "CREATE TABLE titles (id VARBINARY(255) PRIMARY KEY, \
                     title VARCHAR(10) CHARACTER SET utf8mb4)";

/// A table whose titles have room for ten characters.
fn run(policy: &str, bootstrap: &str, server: &str) -> (Topics, Run) {
    let topics = Topics::connect(bootstrap);
    let run = Run::of(&TOPOLOGY.replace("POLICY", policy), bootstrap, server);
    topics.create(&run.name, 1, 1 << 20);
    run.database.rows(TABLE).expect("a new table");
    (topics, run)
}

/// Writes an event per title; the titles' places are their ids.
fn write(topics: &Topics, run: &Run, titles: &[(&str, &str)]) {
    let record = |(id, title): &(&str, &str)| Raw {
        partition: None,
        key: Some(id.as_bytes().to_vec()),
        value: Some(format!(r#"{{"id":"{id}","title":"{title}"}}"#).into_bytes()),
    };
    topics.write(&run.name, &titles.iter().map(record).collect::<Vec<_>>());
}

fn titles(run: &Run) -> Vec<String> {
    let rows = run.database.rows("SELECT title FROM titles ORDER BY id");
    let rows = rows.expect("an answer").into_iter();
    rows.map(|mut row| row.remove(0)).collect()
}

/// Calls `check` for every server that is there.
fn on_every_server(test: &str, check: impl Fn(&str, &str)) {
    let Some(bootstrap) = kafka() else {
        return skip(test, "no Kafka");
    };
    let servers = databases();
    if servers.is_empty() {
        return skip(test, "no database");
    }
    servers
        .iter()
        .for_each(|(_, server)| check(&bootstrap, server));
}

const TITLES: [(&str, &str); 3] = [("1", "one"), ("2", "more than ten letters"), ("3", "three")];

/// The row is left out and counted, those around it are written; gives the dead letters.
fn check_left_out(policy: &str, bootstrap: &str, server: &str) -> usize {
    let (topics, run) = run(policy, bootstrap, server);
    write(&topics, &run, &TITLES);
    let mut process = member(&run, policy);
    wait_until("the rows around the refused one", TIMEOUT, || {
        assert!(!process.has_ended(), "{}", process.log());
        titles(&run) == ["one", "three"]
    });
    // It is counted when its batch is committed, which the table shows a moment sooner.
    let refused = [(("titles".to_owned(), "refused".to_owned()), 1)].into();
    wait_until("the drop to be counted", TIMEOUT, || {
        drops(std::slice::from_ref(&process)) == refused
    });
    process.stop();
    let letters = topics.read(&format!("{}-dead-letters", run.name));
    for letter in &letters {
        let text = |name| header(letter, name);
        assert_eq!(text("tidemill.node"), Some("titles"));
        assert_eq!(text("tidemill.reason"), Some("refused"));
        assert_eq!(text("tidemill.offset"), Some("1"));
        let message = text("tidemill.message").expect("what the server said");
        assert!(message.contains("1406"), "{message}");
        let value = letter.value.as_deref().expect("the event");
        assert_eq!(value, br#"{"id":"2","title":"more than ten letters"}"#);
    }
    letters.len()
}

#[test]
fn a_refused_row_goes_to_the_dead_letters_and_the_others_to_the_table() {
    on_every_server("a refused row", |bootstrap, server| {
        assert_eq!(check_left_out("dead_letter", bootstrap, server), 1);
    });
}

#[test]
fn a_refused_row_is_dropped_and_counted_where_the_topology_says_so() {
    on_every_server("a refused row", |bootstrap, server| {
        assert_eq!(check_left_out("drop", bootstrap, server), 0);
    });
}

#[test]
fn a_refused_row_stops_the_process_until_the_table_takes_it() {
    on_every_server("a refused row", |bootstrap, server| {
        let (topics, run) = run("stop", bootstrap, server);
        write(&topics, &run, &TITLES);
        let mut process = member(&run, "stops");
        let log = process.fails();
        let place = format!("node titles stops at {}-0 offset 1: refused: ", run.name);
        assert!(log.contains(&place) && log.contains("1406"), "{log}");
        assert_eq!(titles(&run), [""; 0], "its batch is not committed");

        let wider = "ALTER TABLE titles MODIFY title VARCHAR(100) CHARACTER SET utf8mb4";
        run.database.rows(wider).expect("a wider column");
        let mut process = member(&run, "goes-on");
        wait_until("all rows", TIMEOUT, || {
            assert!(!process.has_ended(), "{}", process.log());
            titles(&run) == ["one", "more than ten letters", "three"]
        });
        process.stop();
        assert_eq!(topics.read(&format!("{}-dead-letters", run.name)), []);
    });
}
