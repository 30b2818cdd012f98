//! A redrive with the real program: killed, without a server, and when the server goes away.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use super::backend;
use super::process::{self, KEY, Kakitome};
use super::redriving::{bury, check, redrive_and_kill};

/// `make soak ARGS="--redrive 100000"` plays the whole size on a release build.
#[tokio::test]
async fn dead_letters_are_redriven_once_each_while_the_server_is_killed_again_and_again() {
    process::http();
    let report = redrive_and_kill(5000, Duration::from_secs(1)).await;
    assert!(report.kills > 1, "{report:#?}");
    check(&report, 5000);
}

/// Exit code, standard output and error of a command that works without a server.
fn alone(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = backend::command(dir);
    let ended = command.args(args).env("KAKITOME_DATA_DIR", dir.join("data")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code().unwrap(), text(&ended.stdout), text(&ended.stderr))
}

#[tokio::test]
async fn without_a_server_the_command_does_its_job_itself_and_judges_no_outcomes() {
    let dir = tempfile::tempdir().unwrap();
    bury(&dir.path().join("data"), 3).await;
    for judging in [["--canary", "1"], ["--stop-above", "5"]] {
        let (code, _, said) = alone(dir.path(), &[&["redrive", "--yes"][..], &judging].concat());
        assert_eq!(code, 1);
        assert!(said.contains("needs a running server"), "{said}");
    }
    assert_eq!(alone(dir.path(), &["redrive"]).0, 2);
    let (code, out, said) = alone(dir.path(), &["redrive", "--yes", "--note", "key is valid again"]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(out.contains("redrive: 3 done, 0 refused"), "{out}");
    let retrying = alone(dir.path(), &["list", "--status", "retrying", "--json"]).1;
    assert_eq!(retrying.lines().count(), 3);
    let (code, out, _) = alone(dir.path(), &["hold", "--all", "--yes", "--reason", "find out first"]);
    assert_eq!(code, 0);
    assert!(out.contains("hold: 3 done, 0 refused\n  none was on the wire"), "{out}");
    let (_, out, _) = alone(dir.path(), &["jobs", "--json"]);
    let jobs: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((jobs.len(), &jobs[0]["action"], &jobs[1]["action"]), (2, &json!("hold"), &json!("redrive")));
    assert!(jobs.iter().all(|job| job["state"] == "done" && job["progress"]["done"] == 3), "{jobs:#?}");
    assert!(alone(dir.path(), &["jobs"]).1.contains("standing hold: everything"));
    assert_eq!(alone(dir.path(), &["release", "--all", "--yes"]).0, 0);
    assert!(!alone(dir.path(), &["jobs"]).1.contains("standing hold"));
}

#[tokio::test]
async fn a_server_that_goes_away_leaves_a_job_that_the_command_says_how_to_finish() {
    let dir = tempfile::tempdir().unwrap();
    bury(&dir.path().join("data"), 8).await;
    let server = Kakitome::start(dir.path(), &["serve"], &[]);
    let mut command = backend::command(dir.path());
    command.args(["redrive", "--yes", "--rate", "2/s"]).env("KAKITOME_URL", &server.url);
    command.env("KAKITOME_API_KEY", KEY).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = command.spawn().unwrap();
    let mut lines = BufReader::new(command.stdout.take().unwrap()).lines();
    let id = lines.find_map(|line| line.unwrap().strip_prefix("job ").map(str::to_owned)).unwrap();
    server.kill();
    let mut said = String::new();
    command.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(command.wait().unwrap().code(), Some(1));
    assert!(said.contains(&format!("finish it with: kakitome redrive --resume {id}")), "{said}");

    let (_, out, _) = alone(dir.path(), &["jobs", &id]);
    assert!(out.contains("state      interrupted"), "{out}");
    let (code, out, said) = alone(dir.path(), &["redrive", "--resume", &id]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(out.contains("redrive: 8 done, 0 refused"), "{out}");
}
