//! What the pages say, against what the code says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kakitome::api::enqueue::Enqueued;
use kakitome::api::jobs::JobRequest;
use kakitome::notification::content::{self, Limits};
use kakitome::settings::keys::{AWS_KEYS, KEYS};
use kakitome::settings::{ConfigFile, Settings, Sources};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The part of a page under this heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// The rows of a part's tables, heads left out, each cell trimmed.
fn rows(part: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = part.lines().collect();
    let is_row = |line: &str| line.starts_with('|') && !line.starts_with("| ---");
    let rows = lines.iter().enumerate().filter(|(at, line)| {
        let is_head = lines.get(at + 1).is_some_and(|next| next.starts_with("| ---"));
        is_row(line) && !is_head
    });
    rows.map(|(_, line)| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_table_of_keys_is_that_of_the_code() {
    let readme = page("README.md");
    let told: Vec<Vec<String>> = rows(section(&readme, "Configuration"))
        .into_iter()
        .map(|cells| cells.into_iter().map(str::to_owned).collect())
        .collect();
    let known: Vec<Vec<String>> = KEYS
        .iter()
        .map(|key| {
            let default = key.default.map_or("–".to_owned(), |value| format!("`{value}`"));
            vec![format!("`{}`", key.path), format!("`{}`", key.env()), key.doc.to_owned(), default]
        })
        .collect();
    assert_eq!(told, known);
    let with_file: BTreeSet<&str> =
        KEYS.iter().filter(|key| key.kind.has_file()).map(|key| key.path).collect();
    let line = readme.lines().find(|line| line.contains("may also be given as a file")).unwrap();
    let (before, _) = line.split_once("may also").unwrap();
    let (_, before) = before.rsplit_once("`[worker]`. ").unwrap();
    assert_eq!(quoted(before).collect::<BTreeSet<_>>(), with_file);
}

#[test]
fn the_sample_configuration_is_taken_and_names_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kakitome.toml");
    let sample = page("examples/kakitome.toml");
    let sources = Sources { file: Some(ConfigFile { path, must_exist: true }), ..Sources::default() };
    let settings = Settings::load(&sources).unwrap();
    let default = Settings::load(&Sources::default()).unwrap();
    assert_eq!(settings.log.as_deref(), Some("info"));
    let told = Settings { log: None, ..settings };
    assert_eq!(format!("{told:?}"), format!("{default:?}"), "the sample's values are the defaults");
    let later = ["sandbox.api_key"];
    for key in KEYS.iter().filter(|key| !AWS_KEYS.contains(&key.path) && !later.contains(&key.path)) {
        let name = key.path.rsplit('.').next().unwrap();
        let is_named = sample.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{name} = ")) || line.starts_with(&format!("{name}_file = "))
        });
        assert!(is_named, "{} is missing in the sample", key.path);
    }
}

#[test]
fn the_examples_of_the_description_and_of_the_readme_are_taken() {
    let limits = Limits { body_bytes: 1 << 20 };
    let api = serde_json::to_value(kakitome::api::description()).unwrap();
    let example = |schema: &str| &api["components"]["schemas"][schema]["example"];
    let read = content::parse(example("Notification").to_string().as_bytes(), "default", &limits);
    assert!(read.is_ok(), "{read:?}");
    let told: Result<Enqueued, _> = serde_json::from_value(example("Enqueued").clone());
    assert!(told.is_ok(), "{told:?}");
    let asked: Result<JobRequest, _> = serde_json::from_value(example("JobRequest").clone());
    assert!(asked.is_ok(), "{asked:?}");

    let readme = page("README.md");
    let (_, json) = readme.split_once("```json\n").unwrap();
    let (json, _) = json.split_once("```").unwrap();
    let read = content::parse(json.replace("BASE64", "QUJD").as_bytes(), "default", &limits);
    assert!(read.is_ok(), "{read:?}");

    let (_, body) = readme.split_once("--message-body '").unwrap();
    let (body, _) = body.split_once('\'').unwrap();
    let read = content::parse(body.as_bytes(), "default", &limits);
    assert!(read.is_ok(), "{read:?}");
}

/// Also where a file of tests is called as a room is, which the rule in `tidy` passes over.
#[test]
fn every_promise_names_a_test_that_is_there() {
    let readme = page("README.md");
    let promises = rows(section(&readme, "Promises"));
    assert!(promises.len() > 10);
    for promise in promises {
        let mut tests = quoted(promise[1]).peekable();
        assert!(tests.peek().is_some(), "{} names no test", promise[0]);
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            assert!(is_test(file, name), "there is no test {test}");
        }
    }
}

/// Whether a function of this name stands in `tests/it/FILE.rs` or below `tests/it/FILE/`.
fn is_test(file: &str, name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut waiting = vec![root.join(file)];
    let mut files = vec![root.join(format!("{file}.rs"))];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { waiting.push(path) } else { files.push(path) }
        }
    }
    let wanted = format!("fn {name}(");
    files.iter().any(|file| fs::read_to_string(file).is_ok_and(|text| text.contains(&wanted)))
}

#[test]
fn every_library_stands_in_the_table_with_its_reason_and_no_other() {
    let manifest: toml::Table = page("Cargo.toml").parse().unwrap();
    let known: BTreeSet<&str> = ["dependencies", "dev-dependencies"]
        .iter()
        .flat_map(|part| manifest[*part].as_table().unwrap().keys().map(String::as_str))
        .collect();
    let architecture = page("ARCHITECTURE.md");
    let table = rows(section(&architecture, "Dependencies, each with its reason"));
    let mut told = BTreeSet::new();
    for row in &table {
        for name in row[0].split(',') {
            let name = name.split_whitespace().next().unwrap();
            assert!(told.insert(name), "{name} stands there twice");
        }
    }
    assert_eq!(told, known);
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec!["README.md".into(), "ARCHITECTURE.md".into(), "CHANGELOG.md".into()];
    pages.extend(["infra/README.md", "localstack/README.md"].map(Into::into));
    for entry in fs::read_dir(root.join("runbooks")).unwrap() {
        pages.push(Path::new("runbooks").join(entry.unwrap().file_name()));
    }
    for name in &pages {
        let text = fs::read_to_string(root.join(name)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if link.contains("://") || target.is_empty() {
                continue;
            }
            let path = root.join(name).parent().unwrap().join(target);
            assert!(path.exists(), "{}: {link} leads nowhere", name.display());
        }
    }
}
