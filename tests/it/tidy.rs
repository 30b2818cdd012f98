//! The house rules, as tests: who may import whom, how long a file and a line may be, where an SDK may be named.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by layer. A room imports its own layer only where [`SIDEWAYS`] says so, and nothing above.
const LAYERS: [(&str, u8); 39] = [
    ("clock", 0),
    ("background", 0),
    ("shutdown", 0),
    ("metrics", 0),
    ("secret", 0),
    ("sign", 0),
    ("jitter", 0),
    ("named", 0),
    ("notification", 0),
    ("queue", 1),
    ("message_log", 1),
    ("journal", 1),
    ("stops", 1),
    ("jobs", 1),
    ("dead_letters", 1),
    ("storm", 1),
    ("incident", 1),
    ("provider", 1),
    ("feed", 1),
    ("inbox", 1),
    ("intake", 1),
    ("tracking", 1),
    ("engagement", 1),
    ("unconfirmed", 1),
    ("suppression", 1),
    ("sqlite", 1),
    ("aws", 1),
    ("server", 1),
    ("api", 2),
    ("worker", 2),
    ("webhook", 2),
    ("callbacks", 2),
    ("recovery", 2),
    ("sandbox", 2),
    ("alerts", 3),
    ("console", 3),
    ("settings", 4),
    ("app", 4),
    ("cli", 4),
];

/// Imports within a layer: the ground builds on itself, the log speaks of providers' events, the adapters share an
/// engine, the top composes.
const SIDEWAYS: [(&str, &str); 53] = [
    ("notification", "clock"),
    ("notification", "named"),
    ("message_log", "provider"),
    ("queue", "sqlite"),
    ("message_log", "sqlite"),
    ("queue", "aws"),
    ("message_log", "aws"),
    ("journal", "sqlite"),
    ("provider", "aws"),
    ("journal", "aws"),
    ("stops", "journal"),
    ("jobs", "journal"),
    ("dead_letters", "journal"),
    ("dead_letters", "message_log"),
    ("dead_letters", "queue"),
    ("jobs", "stops"),
    ("jobs", "message_log"),
    ("storm", "journal"),
    ("storm", "stops"),
    ("storm", "message_log"),
    ("incident", "message_log"),
    ("incident", "provider"),
    ("sign", "secret"),
    ("feed", "sqlite"),
    ("inbox", "provider"),
    ("inbox", "sqlite"),
    ("inbox", "aws"),
    ("inbox", "queue"),
    ("inbox", "journal"),
    ("intake", "message_log"),
    ("intake", "queue"),
    ("intake", "sqlite"),
    ("tracking", "inbox"),
    ("feed", "journal"),
    ("feed", "message_log"),
    ("tracking", "journal"),
    ("tracking", "message_log"),
    ("engagement", "message_log"),
    ("unconfirmed", "journal"),
    ("unconfirmed", "message_log"),
    ("engagement", "provider"),
    ("tracking", "provider"),
    ("suppression", "sqlite"),
    ("suppression", "aws"),
    ("suppression", "journal"),
    ("suppression", "message_log"),
    ("suppression", "provider"),
    ("suppression", "tracking"),
    ("app", "settings"),
    ("app", "cli"),
    ("cli", "app"),
    ("cli", "settings"),
    ("sqlite", "sqlite"),
];

/// Libraries that only these files may name.
const ONLY_IN: [(&str, &[&str]); 8] = [
    // The engine, and the adapters on it.
    (
        "rusqlite::",
        &[
            "sqlite.rs",
            "sqlite/",
            "queue/sqlite",
            "message_log/sqlite",
            "journal/sqlite",
            "feed/sqlite",
            "inbox/sqlite",
            "suppression/sqlite",
        ],
    ),
    (
        "reqwest::",
        &["provider/", "sandbox", "cli/client", "cli/drill", "app", "alerts/post.rs", "callbacks/post.rs"],
    ),
    ("aws_config::", &["aws.rs"]),
    ("aws_sdk_sqs::", &["aws.rs", "aws/", "queue/sqs"]),
    (
        "aws_sdk_dynamodb::",
        &["aws.rs", "aws/", "message_log/dynamodb", "journal/dynamodb", "suppression/dynamodb"],
    ),
    ("backoff::", &["jitter.rs"]),
    ("zstd::", &["message_log/dynamodb", "inbox/parcel.rs"]),
    ("comfy_table::", &["cli/"]),
];

fn sources() -> Vec<(String, String)> {
    files_under("src")
}

/// Every Rust file under this folder with its text, by its path from there.
fn files_under(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// The Markdown files right in this folder of the repository, if there is one.
fn documents_under(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")).collect()
}

fn room_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// The code above a file's own tests.
fn product_code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

/// The rooms that a file names after `crate::`.
fn rooms_named(text: &str) -> Vec<String> {
    product_code(text)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect()
}

#[test]
fn imports_point_down() {
    let layers: BTreeMap<_, _> = LAYERS.into_iter().collect();
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let room = room_of(&file);
        if matches!(room, "main" | "lib") || file.ends_with("_tests.rs") {
            continue;
        }
        let Some(own) = layers.get(room) else {
            wrong.push(format!("{file}: the room {room} has no layer"));
            continue;
        };
        for named in rooms_named(&text) {
            let Some(other) = layers.get(named.as_str()) else { continue };
            let sideways = SIDEWAYS.contains(&(room, named.as_str()));
            if named != room && !sideways && other >= own {
                wrong.push(format!("{file} imports {named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_composition_root_names_a_backend() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(file, _)| !file.starts_with("app") && !file.contains("sqlite"))
        .filter(|(file, _)| !file.contains("sqs") && !file.contains("dynamodb"))
        .filter(|(_, text)| {
            let code = product_code(text);
            let backends =
                ["queue::sqlite::", "message_log::sqlite::", "queue::sqs::", "message_log::dynamodb::"];
            backends.iter().any(|backend| code.contains(backend))
        })
        .map(|(file, _)| file)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_library_is_named_only_where_it_belongs() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        for (library, allowed) in ONLY_IN {
            // An address is only parsed with it.
            let code = product_code(&text).replace("reqwest::Url", "");
            if code.contains(library) && !allowed.iter().any(|place| file.starts_with(place)) {
                wrong.push(format!("{file} names {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const LONGEST_FILE: usize = 350;

#[test]
fn rooms_stay_small() {
    let is_long = |text: &str| text.lines().count() > LONGEST_FILE;
    let long: Vec<_> =
        sources().into_iter().filter(|(_, text)| is_long(text)).map(|(file, _)| file).collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines: {long:?}");
}

#[test]
fn what_is_banned_stays_banned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let (lints, clippy, makefile) = (read("Cargo.toml"), read("clippy.toml"), read("Makefile"));
    for lint in
        ["unsafe_code = \"forbid\"", "all = ", "unwrap_used = ", "too_many_lines = ", "disallowed_methods = "]
    {
        assert!(lints.contains(lint), "{lint} is no lint any more");
    }
    for banned in ["std::thread::sleep", "std::process::exit", "std::time::SystemTime::now", "threshold = 70"]
    {
        assert!(clippy.contains(banned), "{banned} is allowed");
    }
    // A lint warns; only this makes it fail.
    assert!(makefile.contains("clippy --locked --all-targets -- -D warnings"));
}

/// Every function under `tests/it` and in the tests of `src`, by the path of its file: `api::outage`, `status::after`.
fn test_functions() -> Vec<(String, Vec<String>)> {
    let named = |file: &str| file.trim_end_matches(".rs").replace("_tests", "::tests").replace('/', "::");
    let functions = |text: &str| {
        let after_fn = text.split("fn ").skip(1);
        after_fn
            .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
            .collect()
    };
    let inner = sources().into_iter().filter(|(file, _)| file.ends_with("_tests.rs"));
    inner.chain(files_under("tests/it")).map(|(file, text)| (named(&file), functions(&text))).collect()
}

fn is_a_test(name: &str, functions: &[(String, Vec<String>)]) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else { return false };
    let inside = |path: &str| path == module || path.starts_with(&format!("{module}::"));
    functions.iter().any(|(path, names)| inside(path) && names.iter().any(|one| one == function))
}

/// What stands between backticks and looks like a path of Rust's.
fn paths_named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| word.contains("::") && !word.contains(' '))
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let functions = test_functions();
    let mut wrong = Vec::new();
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let number = |line: &str| line.strip_prefix("| ")?.split_once(' ')?.0.parse::<u32>().ok();
    let invariants = architecture.lines().filter(|line| number(line).is_some());
    let mut rows = 0;
    for row in invariants {
        rows += 1;
        let shown_by = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default();
        let named: Vec<_> = paths_named(shown_by).collect();
        if named.is_empty() {
            wrong.push(format!("no test is named: {row}"));
        }
        wrong.extend(named.into_iter().filter(|name| !is_a_test(name, &functions)).map(str::to_owned));
    }
    assert!(rows >= 12, "the table of invariants was not found");
    // Elsewhere a path whose first part is a file of tests, and no room, can only be a test.
    let rooms: Vec<_> = LAYERS.iter().map(|(room, _)| *room).collect();
    let suites: Vec<_> = functions.iter().map(|(path, _)| path.as_str()).collect();
    let documents = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned).into_iter();
    let documents = documents.chain(documents_under("runbooks")).chain(documents_under("docs"));
    for document in documents.filter(|name| root.join(name).exists()) {
        let text = fs::read_to_string(root.join(&document)).unwrap();
        for name in paths_named(&text) {
            let first = name.split("::").next().unwrap_or_default();
            let is_of_tests = suites.contains(&first) && !rooms.contains(&first);
            if is_of_tests && !is_a_test(name, &functions) {
                wrong.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "no such test:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_belongs_to_a_room_and_none_is_called_mod() {
    let files = sources();
    for (file, _) in &files {
        assert!(!file.ends_with("/mod.rs"), "{file}: room.rs + room/ instead");
        let Some((folder, _)) = file.rsplit_once('/') else { continue };
        let parent = format!("{folder}.rs");
        assert!(files.iter().any(|(name, _)| *name == parent), "{file} has no {parent}");
    }
}

#[test]
fn nothing_unfinished_is_left_in_the_code() {
    let marks = ["TODO", "FIXME", "XXX", "unimplemented!", "todo!("];
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| marks.iter().any(|mark| text.contains(mark)))
        .map(|(file, _)| file)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
