//! Precedence, secrecy and errors, each as a table of cases.

use std::fs;

use super::*;

/// A settings file, variables and flags in; one setting out, with its origin.
#[track_caller]
fn check(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
    name: &str,
    expected: &str,
) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("tidemill.yaml"), file).unwrap();
    fs::write(
        directory.path().join("secret"),
        "mysql://ann:hush@db/wiki\n",
    )
    .unwrap();
    let text = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    let environment = variables.iter().map(text).collect();
    let sources = Sources {
        file: None,
        directory: directory.path(),
        environment: &environment,
        flags: flags.iter().map(text).collect(),
    };
    let found = match sources.shown() {
        Err(errors) => errors.to_string(),
        Ok(shown) => match shown.into_iter().find(|shown| shown.name == name) {
            Some(shown) => format!("{} from {}", shown.value, shown.origin),
            None => "not there".to_owned(),
        },
    };
    let found = found.replace(&format!("{}/", directory.path().display()), "");
    assert_eq!(found, expected, "{name}");
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_default() {
    let file = "threads: 2\n";
    let variable = [("TIDEMILL_THREADS", "3")];
    check("", &[], &[], "threads", "1 from default");
    check(file, &[], &[], "threads", "2 from tidemill.yaml:1");
    check(file, &variable, &[], "threads", "3 from $TIDEMILL_THREADS");
    check(
        file,
        &variable,
        &[("threads", "4")],
        "threads",
        "4 from --threads",
    );
    check(
        file,
        &[("TIDEMILL_THREADS", "")],
        &[],
        "threads",
        "2 from tidemill.yaml:1",
    );
}

#[test]
fn general_variables_give_way_to_our_own() {
    let general = ("KAFKA_BOOTSTRAP", "a:1");
    check("", &[general], &[], "brokers", "a:1 from $KAFKA_BOOTSTRAP");
    let both = [general, ("TIDEMILL_BROKERS", "b:2")];
    check("", &both, &[], "brokers", "b:2 from $TIDEMILL_BROKERS");
}

#[test]
fn properties_of_kafka_come_from_everywhere() {
    let file = "kafka:\n  linger.ms: 5\n";
    let name = "kafka.linger.ms";
    check(file, &[], &[], name, "5 from tidemill.yaml:2");
    let variable = [("TIDEMILL_KAFKA_LINGER_MS", "6")];
    check(
        file,
        &variable,
        &[],
        name,
        "6 from $TIDEMILL_KAFKA_LINGER_MS",
    );
    check(file, &variable, &[(name, "7")], name, "7 from --kafka");
}

#[test]
fn secrets_are_hidden_wherever_they_come_from() {
    let hidden = "(hidden) from $TIDEMILL_KAFKA_SASL_PASSWORD";
    check(
        "",
        &[("TIDEMILL_KAFKA_SASL_PASSWORD", "hush")],
        &[],
        "kafka.sasl.password",
        hidden,
    );
    let hidden = "(hidden) from secret (tidemill.yaml:1)";
    check(
        "kafka.sasl.password_file: secret\n",
        &[],
        &[],
        "kafka.sasl.password",
        hidden,
    );
    let shown = "mysql://ann@db/wiki from secret (tidemill.yaml:1)";
    check(
        "database_url_file: secret\n",
        &[],
        &[],
        "database_url",
        shown,
    );
    let shown = "mysql://ann@db/wiki from $DATABASE_URL";
    check(
        "",
        &[("DATABASE_URL", "mysql://ann:hush@db/wiki")],
        &[],
        "database_url",
        shown,
    );
    let token = [("TIDEMILL_HTTP_TOKEN", "hush-hush")];
    check(
        "",
        &token,
        &[],
        "http_token",
        "(hidden) from $TIDEMILL_HTTP_TOKEN",
    );
}

#[test]
fn no_debug_output_shows_a_secret() {
    let environment = [
        ("TIDEMILL_DATABASE_URL", "mysql://ann:hush@db/wiki"),
        ("TIDEMILL_HTTP_TOKEN", "hush-hush"),
        ("TIDEMILL_KAFKA_SASL_PASSWORD", "hush"),
    ];
    let environment = environment
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .into();
    let directory = Path::new("/nonexistent");
    let sources = Sources {
        file: None,
        directory,
        environment: &environment,
        flags: Vec::new(),
    };
    let settings = sources.settings().unwrap();
    assert!(settings.database.is_some() && settings.http_token.is_some());
    assert_eq!(settings.kafka.properties["sasl.password"], "hush");
    let shown = format!("{settings:?}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn an_unknown_setting_is_an_error_with_the_nearest_name() {
    let expected = "tidemill.yaml:1: there is no setting thread; did you mean threads?";
    check("thread: 2\n", &[], &[], "threads", expected);
    let expected =
        "tidemill.yaml:1: there is no setting databse_url_file; did you mean database_url_file?";
    check("databse_url_file: x\n", &[], &[], "threads", expected);
    let expected =
        "tidemill.yaml:1: there is no setting colour; `tidemill settings` lists them all";
    check("colour: red\n", &[], &[], "threads", expected);
}

#[test]
fn what_cannot_be_used_is_named_with_its_place_and_all_at_once() {
    let file = "threads: many\ncommit_interval: 100\n";
    let expected = "\
        tidemill.yaml:1: threads: expected a number from 1 to 256, found \"many\"\n\
        tidemill.yaml:2: commit_interval: expected a unit (ms, s, m, h, d) after 100";
    check(file, &[], &[], "threads", expected);
    let expected = "$TIDEMILL_HTTP_TOKEN: http_token: expected at least 8 visible ASCII characters";
    check(
        "",
        &[("TIDEMILL_HTTP_TOKEN", "hush")],
        &[],
        "threads",
        expected,
    );
    let expected = "tidemill.yaml:2: threads is set twice, also by tidemill.yaml:1";
    check(
        "kafka: { x: 1 }\nkafka.x: 2\n",
        &[],
        &[],
        "threads",
        &expected.replace("threads", "kafka.x"),
    );
}

#[test]
fn all_mistakes_of_all_layers_are_reported_at_once() {
    check(
        "thread: 2\nbrokers:\ncache_size: much\nhttp: 0.0.0.0:80\nkafka: { acks: 1 }\n\
         http_token_file: missing\n",
        &[("TIDEMILL_SINK_ROWS", "0")],
        &[],
        "threads",
        "tidemill.yaml:2: brokers has no value\n\
         tidemill.yaml:1: there is no setting thread; did you mean threads?\n\
         tidemill.yaml:6: http_token: cannot read missing: No such file or directory (os error 2)\n\
         tidemill.yaml:5: kafka.acks: cannot be set: Tidemill sets it itself\n\
         tidemill.yaml:3: cache_size: expected an amount of memory such as 64MiB, found \"much\"\n\
         $TIDEMILL_SINK_ROWS: sink_rows: expected a number from 1 to 1000000, found \"0\"",
    );
}

#[test]
fn an_address_that_others_can_reach_wants_a_token() {
    let open = "http: 0.0.0.0:8080\n";
    let expected = "tidemill.yaml:1: http: other machines could read this address: set http_token \
                    too (or http_token_file), or use a loopback address such as 127.0.0.1:8080";
    check(open, &[], &[], "http", expected);
    let token = [("TIDEMILL_HTTP_TOKEN", "hush-hush")];
    check(
        open,
        &token,
        &[],
        "http",
        "0.0.0.0:8080 from tidemill.yaml:1",
    );
    check(
        "http: localhost:0\n",
        &[],
        &[],
        "http",
        "localhost:0 from tidemill.yaml:1",
    );
    check("http: off\n", &[], &[], "http", "off from tidemill.yaml:1");
}

#[test]
fn a_variable_that_is_nearly_a_setting_is_suspicious_and_others_are_not() {
    let names = [
        "TIDEMILL_BROKER",
        "TIDEMILL_PORT_8080_TCP_ADDR",
        "TIDEMILL_SERVICES_DIR",
        "TIDEMILL_CONFIG",
        "BROKER",
    ];
    let environment = names.map(|name| (name.to_owned(), "x".to_owned())).into();
    let directory = Path::new("/nonexistent");
    let sources = Sources {
        file: None,
        directory,
        environment: &environment,
        flags: Vec::new(),
    };
    let expected = vec![("TIDEMILL_BROKER".to_owned(), "TIDEMILL_BROKERS")];
    assert_eq!(sources.suspicious_variables(), expected);
}
