//! `kill -9` under load. `make soak` plays the same for longer.

use super::killing;
use super::process::{self, KEY, Kakitome};
use super::world::booking;

#[tokio::test]
async fn every_accepted_id_reaches_an_end_and_is_sent_once() {
    let report = killing::soak(200, 6, 7).await;
    assert_eq!(report.accepted, 200, "{report:?}");
    assert_eq!(report.missing, 0, "{report:?}");
    assert_eq!(report.duplicates, 0, "{report:?}");
    assert_eq!(report.ends.get("sent"), Some(&200), "{report:?}");
}

#[tokio::test]
async fn no_address_and_no_secret_reaches_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let env = [("KAKITOME_LOG", "trace".to_owned()), ("KAKITOME_LOG_FORMAT", "json".into())];
    let server = Kakitome::start(dir.path(), &["serve"], &env);
    let http = process::http();
    for path in ["/v1/notifications", "/webhooks/sandbox", "/v1/jobs"] {
        for body in
            [booking("canary").to_string(), "{\"to\":\"guest.canary@example.com\"}".into(), "{".into()]
        {
            let request = http.post(format!("{}{path}", server.url)).bearer_auth(KEY);
            request.body(body).send().await.unwrap();
        }
    }
    let (ended_well, log) = server.terminate();
    assert!(ended_well);
    assert!(log.contains("stopped"), "{log}");
    for secret in ["guest.canary", "reserve@", "山田", KEY] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
}

#[tokio::test]
async fn metrics_that_must_be_there_are_there_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = Kakitome::start(dir.path(), &["serve"], &[]);
    let http = process::http();
    let text = http.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
    for name in [
        "kakitome_accepted_total{",
        "kakitome_attempts_total{provider=\"sandbox\",outcome=\"accepted\"}",
        "kakitome_accept_to_sent_seconds_bucket",
        "kakitome_unsent_oldest_age_seconds",
        "kakitome_unsent{status=\"accepted\"}",
        "kakitome_queue_messages{state=\"visible\"}",
        "kakitome_dead_letters",
        "kakitome_unknown_total{resolution=\"event\"}",
        "kakitome_provider_up{provider=\"sandbox\"} 1",
        "kakitome_events_total{provider=\"sandbox\",kind=\"delivered\"}",
        "kakitome_webhook_lag_seconds_bucket",
        "kakitome_last_receive_age_seconds",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
}

/// What only the embedded backend has: storage in the data directory.
mod embedded {
    use super::*;

    #[tokio::test]
    async fn a_second_server_on_the_same_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Kakitome::start(dir.path(), &["serve"], &[]);
        let second = std::process::Command::new(env!("CARGO_BIN_EXE_kakitome"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir.path().join("data"))
            .output()
            .unwrap();
        assert_eq!(second.status.code(), Some(1));
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(said.contains("running server holds the data directory"), "{said}");
    }
}
