//! The real program from outside: what somebody who has only its description runs into.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::backend;
use super::process::{KEY, Kakitome};

fn kakitome(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    backend::command(dir).args(args).envs(env.iter().copied()).output().unwrap()
}

/// Exit code, stdout and stderr.
fn ran(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn mail(key: &str) -> Value {
    json!({ "idempotency_key": key, "from": {"email": "r@example.jp"}, "to": [{"email": "g@example.com"}],
            "subject": "s", "text": "t" })
}

/// Writes the whole request before it reads a byte, as simple clients do.
fn ask(url: &str, method: &str, path: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).expect("the server reads on until the client has said everything");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn yes_alone_never_means_every_notification() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("one.ndjson"), mail("1").to_string()).unwrap();
    assert_eq!(ran(&kakitome(dir.path(), &["enqueue", "one.ndjson"], &[])).0, 0);
    for command in ["hold", "release", "cancel"] {
        let (code, _, text) = ran(&kakitome(dir.path(), &[command, "--yes"], &[]));
        assert_eq!(code, 2, "{command}: {text}");
    }
    let (_, listed, _) = ran(&kakitome(dir.path(), &["list", "--status", "accepted", "--json"], &[]));
    assert_eq!(listed.lines().count(), 1);
}

#[test]
fn a_client_that_sends_a_30_mb_body_before_it_reads_still_gets_its_413() {
    let dir = TempDir::new().unwrap();
    let server = Kakitome::start(dir.path(), &["serve"], &[]);
    let body = vec![b' '; 30_000_000];
    for path in ["/v1/notifications", "/webhooks/sendgrid"] {
        let answer = ask(&server.url, "POST", path, &body);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
}

#[test]
fn an_idle_server_stops_at_once() {
    let dir = TempDir::new().unwrap();
    let server = Kakitome::start(dir.path(), &["serve"], &[]);
    let since = Instant::now();
    let (ended_well, log) = server.terminate();
    assert!(ended_well, "{log}");
    assert!(since.elapsed() < Duration::from_secs(10), "it took {:?}: {log}", since.elapsed());
}

#[test]
fn the_path_of_the_made_key_is_printed_and_the_key_is_not() {
    let dir = TempDir::new().unwrap();
    // An empty variable is an absent one.
    let server = Kakitome::start(dir.path(), &["serve"], &[("KAKITOME_API_KEY", String::new())]);
    let path = dir.path().join("data/api-key");
    let secret = std::fs::read_to_string(&path).unwrap();
    let out = std::iter::repeat_with(|| server.next_line()).find(|line| line.contains("API key")).unwrap();
    assert!(out.contains(&path.display().to_string()), "{out}");
    let (_, log) = server.terminate();
    assert!(!log.contains(secret.trim()) && !out.contains(secret.trim()));
}

#[test]
fn the_events_door_stands_at_its_path_with_the_sandbox_inside_as_well() {
    let dir = TempDir::new().unwrap();
    let server = Kakitome::start(dir.path(), &["serve"], &[]);
    let answer = ask(&server.url, "POST", "/webhooks/sendgrid", b"[]");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[test]
fn every_promised_metric_is_there_before_anything_happened() {
    let dir = TempDir::new().unwrap();
    let server = Kakitome::start(dir.path(), &["serve"], &[]);
    let promised = [
        "kakitome_accepted_total",
        "kakitome_attempts_total{",
        "kakitome_accept_to_sent_seconds",
        "kakitome_unsent_oldest_age_seconds",
        "kakitome_unsent{",
        "kakitome_queue_messages{",
        "kakitome_dead_letters",
        "kakitome_unknown_total{",
        "kakitome_provider_up{",
        "kakitome_events_total{",
        "kakitome_webhook_lag_seconds",
        "kakitome_last_receive_age_seconds",
    ];
    // The gauges are read in a loop of its own, which begins at once.
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let text = ask(&server.url, "GET", "/metrics", b"");
        let missing: Vec<_> =
            promised.iter().filter(|name| !text.lines().any(|line| line.starts_with(**name))).collect();
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{missing:?} in {text}");
        std::thread::yield_now();
    }
}

#[test]
fn what_cannot_be_used_is_named_once_and_with_its_remedy() {
    let dir = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = ran(&kakitome(dir.path(), &["serve", "--listen", &address], &[]));
    assert_eq!(code, 1);
    assert!(err.contains(&address) && err.contains("KAKITOME_LISTEN"), "{err}");
    std::fs::write(dir.path().join("file"), "").unwrap();
    let (code, _, err) = ran(&kakitome(dir.path(), &["serve", "--data-dir", "file"], &[]));
    assert_eq!((code, err.matches("os error").count()), (1, 1), "{err}");
    let (code, _, err) = ran(&kakitome(dir.path(), &["enqueue", "."], &[]));
    assert_eq!(code, 2);
    assert!(err.contains(".: it is a directory"), "{err}");
    let (code, _, err) = ran(&kakitome(dir.path(), &["sandbox", "--faults", "5xx=200%"], &[]));
    assert_eq!(code, 2, "{err}");
}

#[test]
fn the_proof_says_converged_to_programs_too() {
    let dir = TempDir::new().unwrap();
    assert_eq!(ran(&kakitome(dir.path(), &["setup"], &[])).0, 0);
    let prove = || {
        let (code, out, _) = ran(&kakitome(dir.path(), &["status", "--prove", "--json"], &[]));
        (code, serde_json::from_str::<Value>(&out).unwrap()["converged"].clone())
    };
    assert_eq!(prove(), (0, json!(true)));
    std::fs::write(dir.path().join("one.ndjson"), mail("1").to_string()).unwrap();
    assert_eq!(ran(&kakitome(dir.path(), &["enqueue", "one.ndjson"], &[])).0, 0);
    assert_eq!(prove(), (1, json!(false)));
}

/// What only the embedded backend has: storage in the data directory.
mod embedded {
    use super::*;

    #[test]
    fn setup_and_check_beside_a_running_server_find_nothing_wrong() {
        let dir = TempDir::new().unwrap();
        let (code, fresh, _) = ran(&kakitome(dir.path(), &["check"], &[]));
        assert_eq!(code, 0, "{fresh}");
        assert!(fresh.contains("is not there yet"), "{fresh}");
        let server = Kakitome::start(dir.path(), &["serve"], &[]);
        for command in ["setup", "check"] {
            let (code, out, err) = ran(&kakitome(dir.path(), &[command], &[]));
            assert_eq!(code, 0, "{command}: {out}{err}");
            assert!(out.contains("in use by a running kakitome"), "{out}");
        }
        let (code, _, err) = ran(&kakitome(dir.path(), &["serve", "--listen", "127.0.0.1:0"], &[]));
        assert_eq!(code, 1);
        assert!(err.contains("a running server holds the data directory ./data"), "{err}");
        drop(server);
    }

    #[test]
    fn the_storage_is_its_owners_alone_also_in_a_directory_open_to_all() {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
        let server = Kakitome::start(dir.path(), &["serve"], &[]);
        for name in ["kakitome.db", "kakitome.db-wal", "server.json"] {
            let mode = std::fs::metadata(data.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
        }
        drop(server);
    }
}
