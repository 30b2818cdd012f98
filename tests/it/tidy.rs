//! The house rules, as tests: who may import whom, how long a file and a line may be, where an SDK may be named.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by layer. A room imports its own layer only where [`SIDEWAYS`] says so, and nothing above.
const LAYERS: [(&str, u8); 19] = [
    ("clock", 0),
    ("shutdown", 0),
    ("metrics", 0),
    ("secret", 0),
    ("notification", 0),
    ("queue", 1),
    ("message_log", 1),
    ("provider", 1),
    ("sqlite", 1),
    ("server", 1),
    ("api", 2),
    ("worker", 2),
    ("webhook", 2),
    ("recovery", 2),
    ("sandbox", 2),
    ("console", 3),
    ("settings", 4),
    ("app", 4),
    ("cli", 4),
];

/// Imports within a layer: the ground builds on itself, the log speaks of providers' events, the adapters share an
/// engine, the top composes.
const SIDEWAYS: [(&str, &str); 9] = [
    ("notification", "clock"),
    ("message_log", "provider"),
    ("queue", "sqlite"),
    ("message_log", "sqlite"),
    ("app", "settings"),
    ("app", "cli"),
    ("cli", "app"),
    ("cli", "settings"),
    ("sqlite", "sqlite"),
];

/// Libraries that only these files may name.
const ONLY_IN: [(&str, &[&str]); 4] = [
    ("rusqlite::", &["sqlite.rs", "sqlite/", "queue/sqlite", "message_log/sqlite"]),
    ("reqwest::", &["provider/", "sandbox", "cli/client", "app"]),
    ("backoff::", &["worker/retry.rs"]),
    ("comfy_table::", &["cli/"]),
];

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
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
        .filter(|(_, text)| {
            let code = product_code(text);
            code.contains("queue::sqlite::") || code.contains("message_log::sqlite::")
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

#[test]
fn rooms_stay_small() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > 450)
        .collect();
    assert!(long.is_empty(), "{long:?}");
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
