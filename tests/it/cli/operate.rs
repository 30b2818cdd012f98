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
    let mut records = failed(3);
    records[2]["useful_until"] = json!("2026-11-21T11:30:00.000Z");
    let (shared, client) = pretend::server(records);
    let ran = run(&client, &["redrive", "--dry-run"]).await;
    assert_eq!(ran.ended, Ok(Exit::Done));
    assert_eq!(redriven(&shared), [0, 0, 0]);
    insta::assert_snapshot!(ran.out);
}

#[tokio::test]
async fn every_flag_of_a_redrive_reaches_the_server() {
    let (shared, client) = pretend::server(failed(2));
    let args = [
        "redrive",
        "--status",
        "failed",
        "--tenant",
        "t",
        "--batch",
        "b",
        "--recipient",
        "a@example.com",
        "--provider",
        "sendgrid",
        "--reason",
        "refused_400",
        "--since",
        "2026-11-21T18:00:00+09:00",
        "--until",
        "2026-11-21T10:00:00Z",
        "--rate",
        "50/s",
        "--canary",
        "10",
        "--stop-above",
        "20",
        "--past-deadline",
        "--note",
        "key is valid again",
        "--yes",
    ];
    assert_eq!(run(&client, &args).await.ended, Ok(Exit::Done));
    let expected = json!({
        "action": "redrive", "dry_run": false, "reason": "key is valid again",
        "filter": {"status": ["failed"], "tenant": "t", "batch": "b", "recipient": "a@example.com",
            "provider": "sendgrid", "reason": "refused_400", "since": "2026-11-21T09:00:00.000Z",
            "until": "2026-11-21T10:00:00.000Z"},
        "pace": {"per_second": 50, "canary": 10, "stop_above_percent": 20, "late": true}
    });
    assert_eq!(shared.lock().unwrap().asked, expected);
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
    for args in [&["hold", "--all"][..], &["hold", "--provider", "sendgrid"], &["cancel", "--batch", "b"]] {
        let ran = run(&client, args).await;
        assert!(ran.ended.is_err_and(|error| error.starts_with("nothing was changed: to ")), "{args:?}");
    }
    assert!(shared.lock().unwrap().jobs.is_empty());
}

#[tokio::test]
async fn where_nothing_matches_it_says_so_and_sets_nothing() {
    let (shared, client) = pretend::server(Vec::new());
    for args in [&["redrive"][..], &["hold", "--batch", "b"], &["cancel", "--tenant", "t"]] {
        let ran = run(&client, args).await;
        assert_eq!(ran.ended, Ok(Exit::Done), "{args:?}");
        assert!(ran.out.contains("nothing matches"), "{}", ran.out);
    }
    assert!(shared.lock().unwrap().jobs.is_empty());
    let ran = run(&client, &["hold", "--batch", "b", "--yes"]).await;
    assert_eq!((ran.ended, shared.lock().unwrap().jobs.len()), (Ok(Exit::Done), 1), "for what arrives later");
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
    insta::assert_snapshot!("redrive_one", ran.out);
}

#[tokio::test]
async fn a_hold_says_what_was_on_the_wire_and_how_much_of_it_went_out() {
    let (shared, client) = pretend::server(failed(2));
    let ran = run(&client, &["hold", "--batch", "tos", "--reason", "wrong date", "--yes"]).await;
    assert_eq!(ran.ended, Ok(Exit::Done));
    assert_eq!(shared.lock().unwrap().asked["reason"], "wrong date");
    insta::assert_snapshot!("hold_batch", ran.out);
    let ran = run(&client, &["hold", "--provider", "sendgrid", "--yes"]).await;
    insta::assert_snapshot!("hold_provider", ran.out);
    run(&client, &["release", "--held-for", "repeat", "--rate", "5/s", "--yes"]).await;
    let asked = shared.lock().unwrap().asked.clone();
    assert_eq!((&asked["filter"], &asked["pace"]), (&json!({"reason": "repeat"}), &json!({"per_second": 5})));
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

#[tokio::test]
async fn jobs_are_listed_shown_stopped_and_resumed() {
    let mut records = failed(3);
    records[2]["useful_until"] = json!("2026-11-21T11:30:00.000Z");
    let (shared, client) = pretend::server(records);
    let none = run(&client, &["jobs"]).await;
    assert_eq!((none.out.as_str(), none.err.as_str()), ("", "no jobs\n"));
    let ran = run(&client, &["redrive", "--batch", "tos", "--note", "key is valid again", "--yes"]).await;
    assert_eq!(ran.ended, Ok(Exit::Failed), "one was left out");
    run(&client, &["hold", "--all", "--yes"]).await;
    {
        let mut shared = shared.lock().unwrap();
        let stop = json!({"id": "1", "kind": "hold", "scope": {"all": true}, "who": "operator",
            "reason": "held by an operator", "since": "2026-11-21T11:59:00.000Z"});
        shared.stops.push(stop);
        shared.jobs[1]["state"] = json!("stopped");
        shared.jobs[1]["note"] = json!("2 of 10 failed again: more than 10 percent");
    }
    insta::assert_snapshot!("jobs", run(&client, &["jobs"]).await.out);
    insta::assert_snapshot!("jobs_one", run(&client, &["jobs", "job-1"]).await.out);
    let json = run(&client, &["jobs", "--json"]).await.out;
    assert_eq!((json.lines().count(), json.matches("a_field_of_tomorrow").count()), (2, 2));
    insta::assert_snapshot!("jobs_resume", run(&client, &["redrive", "--resume", "job-1"]).await.out);
    let gone = run(&client, &["redrive", "--resume", "job-9"]).await;
    assert!(gone.ended.is_err_and(|error| error.contains("there is no such job")));
    let stopped = run(&client, &["jobs", "--stop", "job-1"]).await;
    assert_eq!(stopped.ended, Ok(Exit::Done));
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
