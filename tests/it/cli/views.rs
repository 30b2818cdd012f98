//! What operators look at: the proof, one notification's story, an incident.

use std::os::unix::fs::PermissionsExt;

use kakitome::cli::Exit;
use serde_json::{Value, json};

use super::pretend::{self, record};
use super::run;

fn reading(source: &str) -> Value {
    json!({"source": source, "read_at": "2026-11-21T11:59:59.500Z", "answered": true, "note": null})
}

/// A reading with these fields too.
fn with(mut reading: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        reading[name] = value.clone();
    }
    reading
}

fn converged() -> Value {
    let by_status = json!({"accepted": 0, "attempting": 0, "cancelled": 2, "expired": 0, "failed": 3, "held": 0,
        "retrying": 0, "scheduled": 0, "sent": 1001, "suppressed": 0, "unknown": 0});
    let failed = json!({"status": "failed", "is_open": false, "count": 3, "oldest_since": "2026-11-21T09:00:00Z",
        "by_age": {"not_due": 0, "under_1m": 0, "under_10m": 1, "under_1h": 0, "under_24h": 2, "older": 0}});
    json!({
        "now": "2026-11-21T12:00:00.000Z", "by_status": by_status, "oldest_unsent_seconds": null,
        "oldest_unsent_since": null, "queue": {"visible": 0, "in_flight": 0, "delayed": 0, "dead": 2},
        "providers": [{"name": "sendgrid", "circuit": "closed", "since": "2026-11-21T11:45:00.000Z"}],
        "last_receive_at": "2026-11-21T11:59:59.000Z", "sent_per_second": 0.0, "drain_seconds": 0,
        "clear_at": null, "stops": [], "jobs": [], "converged": true, "open": [],
        "evidence": {
            "queue": with(reading("queue in ./data"), json!({"approximate": false, "spent": null,
                "depth": {"visible": 0, "in_flight": 0, "delayed": 0, "dead": 2}})),
            "log": with(reading("log in ./data"), json!({"standings": [failed]})),
            "dead_letters": with(reading("queue in ./data"), json!({"in_log": 3, "in_queue": 2,
                "destroyed_from": "2026-12-05T09:00:00.000Z"})),
            "jobs": reading("journal in ./data"), "stops": reading("journal in ./data"),
            "provider_scheduled": with(reading("log in ./data"), json!({"at_provider": 0, "in_log": 0,
                "note": "kakitome never uses a provider's own scheduling"})),
            "providers": reading("this process's worker")
        }
    })
}

fn open() -> Value {
    let mut open = converged();
    open["converged"] = json!(false);
    open["by_status"]["retrying"] = json!(12);
    open["by_status"]["scheduled"] = json!(2);
    let none =
        json!({"not_due": 0, "under_1m": 0, "under_10m": 0, "under_1h": 0, "under_24h": 0, "older": 0});
    let aged = |fields: Value| with(none.clone(), fields);
    open["evidence"]["log"]["standings"] = json!([
        {"status": "retrying", "is_open": true, "count": 12, "oldest_since": "2026-11-21T11:15:00Z",
         "by_age": aged(json!({"under_10m": 5, "under_1h": 7}))},
        {"status": "scheduled", "is_open": true, "count": 2, "oldest_since": "2026-11-21T15:00:00Z",
         "by_age": aged(json!({"not_due": 2}))}]);
    let depth = json!({"visible": 4, "in_flight": 1, "delayed": 9, "dead": 2});
    open["queue"] = depth.clone();
    open["evidence"]["queue"] = with(
        reading("SQS mails"),
        json!({"approximate": true, "spent": null,
        "depth": depth, "note": "approximate, up to a minute behind"}),
    );
    open["jobs"] = json!([
        {"id": "0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b", "action": "redrive", "state": "interrupted",
         "is_orphaned": false, "tenant": null, "who": "operator", "why": "key mended", "created_at":
         "2026-11-21T11:50:00Z", "note": null, "planned": 120, "done": 40, "refused": 1, "left": 79},
        {"id": "0197a3c2-7a10-7c3e-9a55-000000000001", "action": "redrive", "state": "watching",
         "is_orphaned": false, "tenant": null, "who": "operator", "why": null, "created_at":
         "2026-11-21T11:50:00Z", "note": null, "planned": 3, "done": 3, "refused": 0, "left": 0}]);
    open["stops"] = json!([{"id": "1", "kind": "hold", "scope": {"tenant": "inn"}, "who": "aoi",
        "reason": "dummy addresses", "since": "2026-11-21T11:30:00Z"}]);
    open["drain_seconds"] = json!(130);
    open["sent_per_second"] = json!(0.1);
    open["clear_at"] = json!("2026-11-21T12:02:10.000Z");
    open["open"] = json!([{"source": "log", "what": "retrying", "count": 12},
        {"source": "log", "what": "scheduled", "count": 2}, {"source": "queue", "what": "messages", "count": 14},
        {"source": "job", "what": "0197a3c2-7a10-7c3e-9a55-0d5f6f1f2a3b", "count": 79}]);
    open
}

#[tokio::test]
async fn prove_is_one_page_of_evidence_and_its_exit_code_is_its_verdict() {
    let (shared, client) = pretend::server(Vec::new());
    let prove = async |figures: Value| {
        shared.lock().unwrap().status = figures;
        let ran = run(&client, &["status", "--prove"]).await;
        assert_eq!(ran.out.contains("\nconverged"), ran.ended == Ok(Exit::Done), "{}", ran.out);
        ran
    };
    let ran = prove(converged()).await;
    assert_eq!(ran.ended, Ok(Exit::Done));
    insta::assert_snapshot!("prove_converged", ran.out);
    let ran = prove(open()).await;
    assert_eq!(ran.ended, Ok(Exit::Failed));
    insta::assert_snapshot!("prove_open", ran.out);
    let mut silent = converged();
    silent["converged"] = json!(false);
    silent["queue"] = Value::Null;
    silent["jobs"] = Value::Null;
    silent["evidence"]["queue"]["depth"] = Value::Null;
    silent["evidence"]["dead_letters"]["in_queue"] = Value::Null;
    silent["open"] = json!([{"source": "unread", "what": "queue", "count": null},
        {"source": "unread", "what": "journal", "count": null}]);
    let ran = prove(silent).await;
    assert_eq!(ran.ended, Ok(Exit::Failed));
    insta::assert_snapshot!("prove_silent", ran.out);
    let mut old = converged();
    old["converged"] = Value::Null;
    old["evidence"] = Value::Null;
    assert_eq!(prove(old).await.ended, Ok(Exit::Failed), "an older server proves nothing");
}

#[tokio::test]
async fn prove_as_json_hands_every_figure_on() {
    let (shared, client) = pretend::server(Vec::new());
    shared.lock().unwrap().status = open();
    let ran = run(&client, &["status", "--prove", "--json"]).await;
    assert_eq!(ran.ended, Ok(Exit::Failed));
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), open());
}

#[tokio::test]
async fn a_plain_status_names_stops_and_jobs() {
    let (shared, client) = pretend::server(Vec::new());
    shared.lock().unwrap().status = open();
    let ran = run(&client, &["status"]).await;
    assert_eq!(ran.ended, Ok(Exit::Done));
    insta::assert_snapshot!("status_with_stops_and_jobs", ran.out);
}

/// Accepted, unknown after a crash, resent, held and released, failed, redriven.
fn story() -> Value {
    let mut story = record(7, "retrying", None);
    let attempt = |number: u32, started: &str, ended: &str, outcome: &str, http: Option<u16>, error: &str| {
        json!({"number": number, "provider": "sendgrid", "started_at": format!("2026-11-21T{started}Z"),
            "ended_at": format!("2026-11-21T{ended}Z"), "outcome": outcome, "http_status": http, "error": error})
    };
    story["deliver_at"] = json!("2026-11-21T11:00:00.000Z");
    story["attempts"] = json!([
        attempt(1, "11:00:00.010", "11:00:30.010", "unknown", None, "no answer in time"),
        attempt(2, "11:11:00.000", "11:11:00.200", "not_accepted", Some(429), "too many requests"),
        attempt(3, "11:20:00.000", "11:20:00.250", "refused", Some(400), "no such template")
    ]);
    story["acts"] = json!([
        {"at": "2026-11-21T11:15:00.000Z", "kind": "held", "who": "aoi", "why": "wrong date"},
        {"at": "2026-11-21T11:19:59.000Z", "kind": "released", "who": "job 0197a3c2"},
        {"at": "2026-11-21T11:40:00.000Z", "kind": "redriven_late", "who": "job 0197a3c3", "why": "template mended"}]);
    story["next"] = json!({"what": "attempt", "at": "2026-11-21T12:05:00.000Z", "latest": null,
        "why": "attempt 4; redriven by job 0197a3c3"});
    story
}

#[tokio::test]
async fn show_tells_acts_unknown_outcomes_and_the_next_step_with_its_reason() {
    let mut unknown = record(8, "unknown", None);
    unknown["status_since"] = json!("2026-11-21T11:58:30.000Z");
    unknown["attempts"] = json!([{"number": 1, "provider": "sendgrid", "started_at": "2026-11-21T11:58:00.000Z",
        "ended_at": null, "outcome": "pending", "http_status": null, "error": null}]);
    unknown["next"] = json!({"what": "resend", "at": "2026-11-21T12:08:30.000Z",
        "latest": "2026-11-21T17:58:30.000Z", "why": "an event of sendgrid about it settles it as sent"});
    let mut expired = record(9, "expired", Some("deadline_over"));
    expired["useful_until"] = json!("2026-11-21T11:00:00.000Z");
    expired["next"] =
        json!({"what": "nothing", "at": null, "latest": null, "why": "its useful_until has passed"});
    let (_, client) = pretend::server(vec![story(), unknown, expired]);
    let show = async |number: u32| {
        run(&client, &["show", &format!("00000000-0000-8000-8000-{number:012}")]).await.out
    };
    insta::assert_snapshot!("show_story", show(7).await);
    insta::assert_snapshot!("show_unknown", show(8).await);
    insta::assert_snapshot!("show_expired", show(9).await);
}

fn incident() -> Value {
    let points: Vec<Value> = (0..12)
        .map(|i| {
            let sent = if (3..7).contains(&i) { 0 } else { 40 + i };
            let failed = if (3..7).contains(&i) { 12 } else { 0 };
            json!({"at": format!("2026-11-21T11:{:02}:00.000Z", i * 5), "accepted": 40, "sent": sent, "failed": failed})
        })
        .collect();
    let item = |number: u32, status: &str, left: Option<u64>, why: Value, reason: Option<&str>| {
        json!({"id": format!("00000000-0000-8000-8000-{number:012}"), "tenant": "inn", "batch": null,
            "metadata": {"booking": "=8123"}, "recipients": ["guest@example.com"], "why": why, "status": status,
            "reason": reason, "accepted_at": "2026-11-21T11:15:00.000Z", "deadline": left.map(|_| "2026-11-21T13:00:00Z"),
            "time_left_seconds": left, "delay_seconds": 2700, "sent_at": null, "attempts": 3,
            "last_error": "HTTP 503, try later"})
    };
    json!({
        "since": "2026-11-21T11:00:00.000Z", "until": null, "now": "2026-11-21T12:00:00.000Z", "tenant": null,
        "late_after_seconds": 600, "looked_at": 480, "cut": false, "affected": 95,
        "by_why": {"not_sent": 60, "failed": 20, "sent_late": 15, "perhaps_twice": 2},
        "by_status": {"retrying": 60, "failed": 20, "sent": 15},
        "by_reason": [{"name": "HTTP 503, try later", "count": 60}, {"name": "refused_400", "count": 20}],
        "by_batch": [{"name": "tos-2026-11", "count": 30}],
        "by_tenant": [{"tenant": "inn", "affected": 70, "not_sent": 60, "with_time_left": 50},
            {"tenant": "hotel", "affected": 25, "not_sent": 20, "with_time_left": 0}],
        "sent_delay": {"count": 385, "p50": 0.2, "p90": 1.5, "p99": 1500.0, "max": 2000.0},
        "waiting": {"count": 80, "p50": 900.0, "p90": 2500.0, "p99": 2700.0, "max": 2700.0},
        "answers": [{"provider": "sendgrid", "http_status": 202, "outcome": "accepted", "error": null, "count": 385,
            "first_at": "2026-11-21T11:00:01Z", "last_at": "2026-11-21T11:59:59Z"},
            {"provider": "sendgrid", "http_status": 503, "outcome": "not_accepted", "error": "try later", "count": 48,
            "first_at": "2026-11-21T11:15:01Z", "last_at": "2026-11-21T11:34:59Z"}],
        "timeline": {"step_seconds": 300, "points": points},
        "commands": [{"why": "20 failed: see what a redrive would do",
            "command": "kakitome redrive --since 2026-11-21T11:00:00Z --reason refused_400 --dry-run"}],
        "items": [item(1, "retrying", Some(3600), json!(["not_sent"]), None),
            item(2, "failed", None, json!(["failed"]), Some("refused_400")),
            item(3, "sent", None, json!(["sent_late", "perhaps_twice"]), None)],
        "more": true
    })
}

#[tokio::test]
async fn an_incident_is_a_page_that_ends_with_what_to_do() {
    let (shared, client) = pretend::server(Vec::new());
    shared.lock().unwrap().incident = incident();
    let ran = run(&client, &["incident", "--since", "2026-11-21T11:00:00Z", "--tenant", "inn"]).await;
    assert_eq!((&ran.ended, ran.err.as_str()), (&Ok(Exit::Done), ""));
    assert!(!ran.out.contains("guest@example.com"), "addresses are for the file");
    insta::assert_snapshot!("incident", ran.out);
    let asked = shared.lock().unwrap().incident_query.clone();
    let asked: Vec<_> = asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(asked, [("since", "2026-11-21T11:00:00.000Z"), ("limit", "20"), ("tenant", "inn")]);
}

#[tokio::test]
async fn an_incident_as_csv_is_for_one_reader_and_has_no_formulas() {
    let (shared, client) = pretend::server(Vec::new());
    shared.lock().unwrap().incident = incident();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("affected.csv");
    let ran = run(&client, &["incident", "--since", "1h", "--csv", path.to_str().unwrap()]).await;
    assert_eq!((&ran.ended, ran.out.as_str()), (&Ok(Exit::Done), ""));
    assert!(ran.err.starts_with("3 rows in "), "{}", ran.err);
    assert!(ran.err.contains("95 are affected"), "{}", ran.err);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    insta::assert_snapshot!("incident_csv", text.replace("\r\n", "\n"));
    let told = run(&client, &["incident", "--since", "1h", "--csv", "-"]).await;
    assert_eq!(told.out, text);
    let json = run(&client, &["incident", "--since", "1h", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap(), incident());
}
