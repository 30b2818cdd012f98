//! `suppressions`: the program itself, on the storage without a server.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::backend;

fn kakitome(dir: &Path, args: &[&str]) -> Output {
    backend::command(dir).args(args).output().unwrap()
}

/// Exit code and standard output.
fn run(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = kakitome(dir, args);
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn setup() -> TempDir {
    let dir = TempDir::new().unwrap();
    assert_eq!(run(dir.path(), &["setup"]).0, 0);
    dir
}

/// What makes an entry, in a fixed order.
fn entries(dir: &Path) -> Vec<String> {
    let (code, text) = run(dir, &["suppressions", "list", "--json"]);
    assert_eq!(code, 0);
    let line = |line: &str| {
        let one: Value = serde_json::from_str(line).unwrap();
        format!("{} {} {} {}", one["tenant"], one["email"], one["reason"], one["group"])
    };
    let mut lines: Vec<_> = text.lines().map(line).collect();
    lines.sort();
    lines
}

const LIST: &str = "\
{\"email\":\"guest@example.com\",\"reason\":\"bounce\"}

not json
{\"email\":\"\\\"a..b\\\"@docomo.ne.jp\",\"reason\":\"complaint\",\"note\":\"said so, twice\"}
{\"email\":\"a..b@docomo.ne.jp\",\"reason\":\"unsubscribe\",\"group\":\"7\",\"tenant\":\"inn\"}
{\"email\":\"+plus@example.com\"}
{\"email\":\"guest@example.com\",\"reason\":\"bounce\"}
{\"email\":\"x@example.com\",\"tenant\":\"two words\"}
";

#[test]
fn each_line_has_its_result_in_order_and_what_is_exported_is_read_back() {
    let (first, second, third) = (setup(), setup(), setup());
    std::fs::write(first.path().join("list.ndjson"), LIST).unwrap();
    let (code, dry) = run(first.path(), &["suppressions", "import", "list.ndjson", "--dry-run"]);
    assert_eq!((code, dry.lines().count()), (1, 1), "{dry}");
    assert_eq!(entries(first.path()), Vec::<String>::new(), "a dry run changes nothing");

    let (code, told) = run(first.path(), &["suppressions", "import", "list.ndjson"]);
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = told.iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!((code, numbers), (1, vec![1, 3, 4, 5, 6, 7, 8]));
    assert_eq!(told[0], json!({"line": 1, "email": "guest@example.com", "reason": "bounce", "added": true}));
    assert_eq!((&told[1]["error"]["status"], &told[5]["added"]), (&json!(422), &json!(false)));
    assert_eq!(told[4]["reason"], "manual");
    assert_eq!(told[6]["error"]["errors"][0]["pointer"], "/tenant");
    let all = entries(first.path());
    assert_eq!(all.len(), 4, "{all:?}");

    for (form, other) in [("ndjson", &second), ("csv", &third)] {
        let (code, exported) = run(first.path(), &["suppressions", "export", "--format", form]);
        assert_eq!(code, 0);
        std::fs::write(other.path().join("list"), &exported).unwrap();
        let (code, told) = run(other.path(), &["suppressions", "import", "list"]);
        assert_eq!((code, told.matches("\"added\":true").count()), (0, 4), "{form}: {told}\n{exported}");
        assert_eq!(entries(other.path()), all, "{form}");
        let (_, listed) = run(other.path(), &["suppressions", "list", "--reason", "complaint"]);
        assert!(listed.contains("said so, twice"), "{form}: {listed}");
    }
}

#[test]
fn many_are_taken_off_only_when_somebody_agreed_to_the_exact_count() {
    let dir = setup();
    let dir = dir.path();
    let add = ["suppressions", "add", "a@example.com", "b@example.com", "--reason", "bounce"];
    assert_eq!(run(dir, &add).0, 0);
    let remove = ["suppressions", "remove", "a@example.com", "b@example.com", "c@example.com"];
    let refused = kakitome(dir, &remove);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text.contains("take 2 entries off the suppression list") && text.contains("--yes"), "{text}");
    assert_eq!(entries(dir).len(), 2);
    let (code, dry) = run(dir, &[&remove[..], &["--dry-run"]].concat());
    assert_eq!((code, dry.trim()), (0, "2 entries of 3 addresses"));
    assert_eq!(entries(dir).len(), 2);
    let (code, told) = run(dir, &[&remove[..], &["--yes", "--json", "--note", "back"]].concat());
    assert_eq!((code, told.lines().count()), (0, 3), "{told}");
    assert_eq!(entries(dir), Vec::<String>::new());
    let (_, removed) = run(dir, &["suppressions", "list", "--removed", "--json"]);
    assert_eq!(removed.matches("\"note\":\"back\"").count(), 2, "{removed}");
    // One that is named to the letter needs no question.
    run(dir, &add);
    assert_eq!(run(dir, &["suppressions", "remove", "a@example.com", "--reason", "bounce"]).0, 0);
    assert_eq!(entries(dir).len(), 1);
}

#[test]
fn a_file_of_addresses_is_taken_off_too_and_no_address_is_logged() {
    let dir = setup();
    let dir = dir.path();
    std::fs::write(dir.join("list.csv"), "email,reason\r\nsecret@example.com,bounce\r\n").unwrap();
    let logged = backend::command(dir)
        .args(["suppressions", "import", "list.csv", "--log", "trace"])
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let log = String::from_utf8(logged.stderr).unwrap();
    assert!(logged.status.success() && log.contains("the suppression list grew"), "{log}");
    assert!(!log.contains("secret"), "{log}");
    let (code, told) = run(dir, &["suppressions", "remove", "--file", "list.csv", "--yes"]);
    assert_eq!((code, entries(dir).len()), (0, 0), "{told}");
}
