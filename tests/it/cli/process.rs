//! The program itself: exit codes, and what it says where there is nothing to work on.

use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kakitome::settings::{ConfigFile, Settings, Sources};
use tempfile::TempDir;

use super::super::backend;

fn kakitome(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    backend::command(dir).args(args).envs(env.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_usage_is_exit_2() {
    let dir = TempDir::new().unwrap();
    for args in [
        &["fly"][..],
        &["hold"],
        &["hold", "--batch", "b", "--id", "x"],
        &["redrive", "--rate", "0"],
        &["show"],
        &["list", "--since", "yesterday"],
        &["serve", "--role", "cook"],
        &["serve", "--role", "worker,console"],
        &["enqueue", "no-such-file", "--url", "http://127.0.0.1:1"],
    ] {
        let (code, text) = said(&kakitome(dir.path(), args, &[("KAKITOME_API_KEY", "k")]));
        assert_eq!(code, 2, "{args:?}: {text}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let dir = TempDir::new().unwrap();
    let url = "http://127.0.0.1:1";
    let (code, text) = said(&kakitome(dir.path(), &["list", "--url", url], &[("KAKITOME_API_KEY", "k")]));
    assert_eq!(code, 1);
    assert!(text.contains(&format!("no server answers at {url}")), "{text}");
    let (code, text) = said(&kakitome(dir.path(), &["list", "--url", url], &[]));
    assert_eq!(code, 2);
    assert!(text.contains("KAKITOME_API_KEY"), "{text}");
}

const TWO: &str = r#"{"idempotency_key":"1","from":{"email":"r@example.jp"},"to":[{"email":"a@example.com"}],"subject":"s","text":"t","batch":"b"}
{"idempotency_key":"2","from":{"email":"r@example.jp"},"to":[{"email":"b@example.com"}],"subject":"s","text":"t","batch":"b"}
"#;

#[test]
fn without_a_server_the_commands_work_on_the_storage_itself() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("two.ndjson"), TWO).unwrap();
    let run = |args: &[&str]| {
        let output = kakitome(dir.path(), args, &[]);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, results) = run(&["enqueue", "two.ndjson"]);
    assert_eq!((code, results.lines().count()), (0, 2), "{results}");
    let (code, again) = run(&["enqueue", "two.ndjson"]);
    assert_eq!((code, again.matches("\"duplicate\":true").count()), (0, 2), "{again}");
    assert_eq!(run(&["hold", "--batch", "b"]).0, 2);
    assert_eq!(run(&["list", "--status", "held", "--json"]).1, "");
    assert_eq!(run(&["hold", "--batch", "b", "--yes", "--reason", "wrong date"]).0, 0);
    let (code, held) = run(&["list", "--status", "held", "--reason", "wrong date", "--json"]);
    assert_eq!((code, held.lines().count()), (0, 2), "{held}");
    assert_eq!(run(&["status", "--prove"]).0, 1);
}

#[test]
fn a_reader_that_goes_away_is_no_fault_but_lines_that_were_not_told_are() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("two.ndjson"), TWO).unwrap();
    let gone = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = backend::command(dir.path());
        let ended = command.args(args).stdout(writer).output().unwrap();
        said(&ended)
    };
    assert_eq!(gone(&["enqueue", "two.ndjson"]), (1, String::new()));
    assert_eq!(gone(&["list"]), (0, String::new()));
}

#[test]
fn a_new_key_is_one_that_the_configuration_takes() {
    let dir = TempDir::new().unwrap();
    let made =
        kakitome(dir.path(), &["keys", "new", "--tenant", "hotel \"桜\"", "--scopes", "send,read"], &[]);
    let text = String::from_utf8(made.stdout).unwrap();
    let (secret, toml) = text.split_once('\n').unwrap();
    assert!(secret.starts_with("kk_") && secret.len() > 40, "{secret}");
    assert!(!toml.contains(secret));
    let path = dir.path().join("kakitome.toml");
    std::fs::write(&path, toml).unwrap();
    let sources = Sources { file: Some(ConfigFile { path, must_exist: true }), ..Sources::default() };
    let settings = Settings::load(&sources).unwrap();
    let hash: [u8; 32] =
        sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), secret))
            .into();
    assert_eq!((settings.api_keys[0].tenant.as_str(), settings.api_keys[0].sha256), ("hotel \"桜\"", hash));
}

/// What only the embedded backend has: storage in the data directory, and no need of a configuration.
mod embedded {
    use super::*;

    #[test]
    fn a_bad_configuration_is_exit_2_for_every_command() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("kakitome.toml"), "[worker]\nlease = '1s'\n").unwrap();
        for command in ["serve", "list", "status", "check", "setup"] {
            let (code, text) = said(&kakitome(dir.path(), &[command], &[("KAKITOME_BACKEND", "aws")]));
            assert_eq!(code, 2, "{text}");
            assert!(text.contains("worker.lease = \"1s\" (kakitome.toml, line 2)"), "{text}");
            assert!(text.contains("KAKITOME_SQS_QUEUE_URL"), "{text}");
        }
    }

    #[test]
    fn looking_at_a_data_directory_that_is_not_there_says_so_and_makes_none() {
        let dir = TempDir::new().unwrap();
        for command in ["list", "unsent", "status", "redrive"] {
            let (code, text) = said(&kakitome(dir.path(), &[command, "--data-dir", "nowhere"], &[]));
            assert_eq!(code, 1);
            assert!(text.contains("there is no data directory nowhere"), "{text}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn while_a_server_holds_the_storage_the_commands_find_it() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("two.ndjson"), TWO).unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_kakitome"))
            .args(["serve", "--role", "api", "--listen", "127.0.0.1:0"])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let enqueued = kakitome(dir.path(), &["enqueue", "two.ndjson"], &[]);
        let listed = kakitome(dir.path(), &["unsent", "--json"], &[]);
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(said(&enqueued), (0, String::new()));
        assert_eq!(said(&listed), (0, String::new()));
        assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 2);
    }
}
