//! The house rules that a machine can check.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut files,
        );
    }
    files
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let short = path
                .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                .expect("inside")
                .to_owned();
            files.push((short, text));
        }
    }
}

/// Whether a file has nothing but tests.
fn is_of_tests(path: &Path) -> bool {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .is_some_and(|stem| stem == "tests" || stem.ends_with("_tests"))
}

/// A file up to its module of tests, which may use anything. A single item that is there for tests
/// only ends nothing.
fn without_tests(text: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| {
        let mut lines = text[*at..].lines().skip(1);
        lines
            .next()
            .is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let end = text
        .match_indices("\n#[cfg(test)]")
        .map(|(at, found)| (at + 1, found))
        .find(begins);
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// The modules of `src/lib.rs`, in its order.
fn layers() -> Vec<String> {
    let lib = include_str!("../../src/lib.rs");
    lib.lines()
        .filter_map(|line| {
            line.strip_prefix("pub mod ")?
                .strip_suffix(';')
                .map(str::to_owned)
        })
        .collect()
}

/// The module of `src/lib.rs` that a file belongs to.
fn module_of(path: &Path) -> Option<String> {
    let inner = path.strip_prefix("src").ok()?;
    let first = inner.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

#[test]
fn every_file_begins_with_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "without a module doc: {silent:?}");
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let layers = layers();
    let rank: BTreeMap<&str, usize> = layers.iter().map(String::as_str).zip(0..).collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(own) = module_of(&path).and_then(|module| rank.get(module.as_str()).copied())
        else {
            continue;
        };
        for line in without_tests(&text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for used in line.split("crate::").skip(1) {
                let name: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if rank.get(name.as_str()).is_some_and(|used| *used > own) {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    wrong.retain(|line| !line.starts_with("src/testkit/engine_tests.rs"));
    assert!(wrong.is_empty(), "used from above:\n{}", wrong.join("\n"));
}

#[test]
fn each_client_library_has_its_one_place() {
    let places = [
        ("rdkafka::", "src/broker/kafka"),
        ("rocksdb::", "src/state/rocks.rs"),
        ("bincode::", "src/codec.rs"),
        ("sqlx::", "src/sql"),
        ("apache_avro::", "src/format/avro"),
        ("protox::", "src/format/protobuf"),
        ("prost_reflect::", "src/format"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        // Tests and benchmarks also look at the services from outside.
        if !path.starts_with("src") {
            continue;
        }
        for (library, place) in places {
            let names = text.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//") && line.contains(library)
            });
            if names && !path.starts_with(place) {
                wrong.push(format!("{} names {library}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_room_is_called_utils() {
    let vague = [
        "utils", "util", "common", "helpers", "helper", "misc", "manager",
    ];
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| {
            path.components().any(|part| {
                part.as_os_str()
                    .to_str()
                    .is_some_and(|name| vague.contains(&name.trim_end_matches(".rs")))
            })
        })
        .map(|(path, _)| path)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn only_the_system_clock_reads_the_wall_clock() {
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| {
            path.starts_with("src")
                && path != Path::new("src/time.rs")
                && !is_of_tests(path)
                && ["SystemTime::now", "Timestamp::now()"]
                    .iter()
                    .any(|clock| without_tests(text).contains(clock))
        })
        .map(|(path, _)| path)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}
