//! What operators see and do.

use kakitome::cli::Exit;
use serde_json::{Value, json};

use super::pretend::{self, Shared, record};
use super::{run, run_at};

fn failed(count: u32) -> Vec<Value> {
    (1..=count).map(|number| record(number, "failed", Some("attempts_used_up"))).collect()
}

fn redriven(shared: &Shared) -> Vec<u64> {
    shared.lock().unwrap().records.iter().map(|record| record["redriven"].as_u64().unwrap_or(0)).collect()
}

fn full_record() -> Value {
    let mut full = record(7, "retrying", None);
    full["next_attempt_at"] = json!("2026-11-21T12:05:00.000Z");
    full["batch"] = json!("tos-2026-11");
    full["metadata"] = json!({"booking": "8123"});
    full["provider"] = json!("sendgrid");
    full["attempts"] = json!([
        {"number": 1, "provider": "sendgrid", "started_at": "2026-11-21T11:00:00.000Z",
         "ended_at": "2026-11-21T11:00:00.250Z", "outcome": "not_accepted", "http_status": 429,
         "error": "too many requests"},
        {"number": 2, "provider": "sendgrid", "started_at": "2026-11-21T11:30:00.000Z", "ended_at": null,
         "outcome": "pending", "http_status": null, "error": null}]);
    full["recipients"][0]["status"] = json!("deferred");
    full["events"] = json!([{"at": "2026-11-21T11:40:00.000Z", "kind": "deferred",
        "recipient": "guest7@example.com", "machine": false, "detail": {"response": "450 try later"}}]);
    full
}

#[tokio::test]
async fn a_listing_is_a_table_for_people() {
    let mut records = vec![record(1, "failed", Some("refused")), record(2, "sent", None), full_record()];
    records[1]["recipients"] = json!([{"email": "a@example.com", "kind": "to", "status": "delivered",
        "since": "2026-11-21T10:59:00Z"}, {"email": "b@example.com", "kind": "cc", "status": "delivered",
        "since": "2026-11-21T10:59:00Z"}]);
    let (_, client) = pretend::server(records);
    insta::assert_snapshot!("list", run(&client, &["list"]).await.out);
    insta::assert_snapshot!("unsent", run(&client, &["unsent"]).await.out);
    let none = run(&client, &["list", "--status", "held"]).await;
    assert_eq!((none.out.as_str(), none.err.as_str()), ("", "nothing matches\n"));
}

#[tokio::test]
async fn json_hands_every_field_on_and_all_the_pages() {
    let (_, client) = pretend::server(failed(450));
    let ran = run(&client, &["list", "--json"]).await;
    assert_eq!((ran.ended, ran.out.lines().count()), (Ok(Exit::Done), 450));
    let first: Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
    assert_eq!(first, record(450, "failed", Some("attempts_used_up")));
    assert_eq!(run(&client, &["list", "--json", "--limit", "3"]).await.out.lines().count(), 3);
}

#[tokio::test]
async fn a_long_table_says_that_there_is_more() {
    let (_, client) = pretend::server(failed(51));
    let ran = run(&client, &["list"]).await;
    assert_eq!(ran.out.lines().count(), 52);
    assert_eq!(ran.out.lines().last(), Some("… and more: --limit N or --json"));
    let exact = run(&client, &["list", "--limit", "51"]).await;
    assert_eq!(exact.out.lines().count(), 52);
    assert!(!exact.out.contains("more"), "{}", exact.out);
}

#[tokio::test]
async fn show_tells_the_whole_story_and_what_happens_next() {
    let (_, client) = pretend::server(vec![full_record()]);
    insta::assert_snapshot!(run(&client, &["show", "00000000-0000-8000-8000-000000000007"]).await.out);
    let gone = run(&client, &["show", "00000000-0000-8000-8000-000000000009"]).await;
    assert_eq!(gone.ended, Err("there is no notification 00000000-0000-8000-8000-000000000009".into()));
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let (shared, client) = pretend::server(failed(3));
    let ran = run(&client, &["redrive", "--dry-run"]).await;
    assert_eq!(ran.ended, Ok(Exit::Done));
    assert_eq!(redriven(&shared), [0, 0, 0]);
    insta::assert_snapshot!(ran.out);
}

#[tokio::test]
async fn without_a_terminal_and_without_yes_more_than_one_is_never_changed() {
    let (shared, client) = pretend::server(failed(2));
    let ran = run(&client, &["redrive"]).await;
    assert_eq!(
        ran.ended,
        Err("nothing was changed: to redrive 2 notifications without a terminal, add --yes".into())
    );
    assert!(ran.out.starts_with("redrive: 2 notifications\n"), "{}", ran.out);
    assert_eq!(redriven(&shared), [0, 0]);
}

#[tokio::test]
async fn a_terminal_is_asked_and_its_no_is_heard() {
    let (shared, client) = pretend::server(failed(2));
    let ran = run_at(&client, &["redrive"], Some("n\n")).await;
    assert_eq!(
        (ran.ended, ran.err.as_str()),
        (Ok(Exit::Done), "redrive 2 notifications? [y/N] nothing was changed\n")
    );
    assert_eq!(redriven(&shared), [0, 0]);
    let ran = run_at(&client, &["redrive"], Some("y\n")).await;
    assert_eq!(ran.ended, Ok(Exit::Done));
    assert_eq!(redriven(&shared), [1, 1]);
}

#[tokio::test]
async fn one_is_changed_without_asking() {
    let (shared, client) = pretend::server(failed(1));
    let ran = run(&client, &["redrive"]).await;
    assert_eq!((ran.ended, redriven(&shared)), (Ok(Exit::Done), vec![1]));
}

#[tokio::test]
async fn each_is_redriven_once_even_if_it_fails_again_at_once() {
    let (shared, client) = pretend::server(failed(2500));
    let ran = run(&client, &["redrive", "--yes"]).await;
    assert!(ran.out.ends_with("redrive: 2500 done, 0 refused\n"), "{}", ran.out);
    assert!(redriven(&shared).iter().all(|times| *times == 1));
    assert_eq!(shared.lock().unwrap().bulk_calls, 3);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let (shared, client) = pretend::server(failed(40));
    let began = std::time::Instant::now();
    run(&client, &["redrive", "--yes", "--rate", "20/s"]).await;
    assert!(began.elapsed().as_secs_f64() >= 1.0);
    assert_eq!(redriven(&shared), vec![1; 40]);
    assert_eq!(shared.lock().unwrap().bulk_calls, 2);
}

#[tokio::test]
async fn named_ones_that_cannot_be_changed_are_told_and_make_exit_1() {
    let mut records = failed(1);
    records.push(record(2, "sent", None));
    let (shared, client) = pretend::server(records);
    let ids = "00000000-0000-8000-8000-000000000001,00000000-0000-8000-8000-000000000002";
    let ran = run(&client, &["redrive", "--id", ids]).await;
    assert_eq!((ran.ended, redriven(&shared)), (Ok(Exit::Failed), vec![1, 0]));
    insta::assert_snapshot!(ran.out);
}

fn status(by_status: Value, visible: u64, circuit: &str, oldest: Option<f64>) -> Value {
    json!({
        "by_status": by_status, "oldest_unsent_seconds": oldest, "oldest_unsent_since": oldest.map(|_| "2026-11-21T11:30:00.000Z"),
        "queue": {"visible": visible, "in_flight": 0, "delayed": 0, "dead": 0},
        "providers": [{"name": "sendgrid", "circuit": circuit, "since": "2026-11-21T11:45:00.000Z",
            "probe_at": (circuit == "open").then_some("2026-11-21T12:00:30.000Z"),
            "last_error": (circuit == "open").then_some("HTTP 503")}],
        "last_receive_at": "2026-11-21T11:59:59.000Z", "sent_per_second": 12.5,
        "drain_seconds": if visible > 0 { 80.0 } else { 0.0 }
    })
}

#[tokio::test]
async fn status_gives_its_verdict_first() {
    let (shared, client) = pretend::server(Vec::new());
    shared.lock().unwrap().status = status(json!({"sent": 10, "failed": 0}), 0, "closed", None);
    insta::assert_snapshot!("status_all_right", run(&client, &["status"]).await.out);
    let trouble = json!({"accepted": 1000, "sent": 10, "failed": 3});
    shared.lock().unwrap().status = status(trouble, 1000, "open", Some(1800.0));
    let ran = run(&client, &["status"]).await;
    assert_eq!(ran.ended, Ok(Exit::Done));
    insta::assert_snapshot!("status_trouble", ran.out);
}
