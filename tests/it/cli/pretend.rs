//! A small server that keeps the API's promises over a handful of records, for what the commands make of its answers.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use kakitome::cli::client::Client;
use serde_json::{Value, json};

/// What the server remembers.
#[derive(Default)]
pub struct Pretend {
    /// Records, oldest first.
    pub records: Vec<Value>,
    /// The answer of `GET /v1/status`.
    pub status: Value,
    /// The answer of `GET /v1/incident`, and what it was last asked.
    pub incident: Value,
    pub incident_query: Vec<(String, String)>,
    /// Sizes of the batches that came in.
    pub batches: Vec<usize>,
    /// How many more requests are put off with 429.
    pub put_off: usize,
    /// The most entries that a batch may have.
    pub batch_entries: usize,
    /// Jobs that were asked for.
    pub jobs: Vec<Value>,
    /// What stands stopped.
    pub stops: Vec<Value>,
    /// What was asked for last, as it came in.
    pub asked: Value,
}

pub type Shared = Arc<Mutex<Pretend>>;

/// A server with these records, and a client of it.
pub fn server(records: Vec<Value>) -> (Shared, Client) {
    let shared = Arc::new(Mutex::new(Pretend { records, batch_entries: 1000, ..Pretend::default() }));
    let router =
        Router::new()
            .route("/v1/notifications", get(list))
            .route("/v1/notifications/batch", post(batch))
            .route("/v1/notifications/{id}", get(one))
            .route("/v1/jobs", post(job).get(jobs))
            .route("/v1/jobs/{id}", get(one_job))
            .route("/v1/jobs/{id}/resume", post(resume))
            .route("/v1/jobs/{id}/stop", post(one_job))
            .route(
                "/v1/stops",
                get(|State(shared): State<Shared>| async move {
                    answer(200, json!({"items": shared.lock().unwrap().stops}))
                }),
            )
            .route(
                "/v1/status",
                get(|State(shared): State<Shared>| async move {
                    answer(200, shared.lock().unwrap().status.clone())
                }),
            )
            .route("/v1/incident", get(incident))
            .with_state(Arc::clone(&shared));
    (shared, Client::in_process(router, None))
}

/// A record in this status.
pub fn record(number: u32, status: &str, reason: Option<&str>) -> Value {
    json!({
        "id": format!("00000000-0000-8000-8000-{number:012}"), "tenant": "default", "status": status,
        "status_since": "2026-11-21T11:00:00.000Z", "reason": reason, "accepted_at": "2026-11-21T10:59:00.000Z",
        "deliver_at": null, "useful_until": null, "next_attempt_at": null, "sent_at": null, "provider": null,
        "provider_message_id": null, "batch": null, "metadata": {}, "attempts": [],
        "recipients": [{"email": format!("guest{number}@example.com"), "kind": "to", "status": "pending",
            "since": "2026-11-21T10:59:00.000Z"}],
        "events": [], "a_field_of_tomorrow": number
    })
}

async fn incident(State(shared): State<Shared>, Query(query): Query<Vec<(String, String)>>) -> Answer {
    let mut shared = shared.lock().unwrap();
    shared.incident_query = query;
    answer(200, shared.incident.clone())
}

type Answer = (StatusCode, [(&'static str, &'static str); 1], String);

fn answer(status: u16, body: Value) -> Answer {
    (StatusCode::from_u16(status).unwrap(), [("retry-after", "0")], body.to_string())
}

async fn list(State(shared): State<Shared>, Query(query): Query<Vec<(String, String)>>) -> Answer {
    let given = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let shared = shared.lock().unwrap();
    let statuses = given("status");
    let mut found: Vec<&Value> = shared
        .records
        .iter()
        .filter(|record| {
            statuses.as_ref().is_none_or(|all| all.split(',').any(|one| record["status"] == one))
        })
        .filter(|record| given("unsent").is_none() || record["status"] != "sent")
        .collect();
    if given("order").as_deref() != Some("oldest") {
        found.reverse();
    }
    let from: usize = given("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let limit: usize = given("limit").unwrap().parse().unwrap();
    let next = (from + limit < found.len()).then(|| (from + limit).to_string());
    let items: Vec<&Value> = found.into_iter().skip(from).take(limit).collect();
    answer(200, json!({"items": items, "next_cursor": next}))
}

async fn one(State(shared): State<Shared>, Path(id): Path<String>) -> Answer {
    let found = shared.lock().unwrap().records.iter().find(|record| record["id"] == id.as_str()).cloned();
    found.map_or_else(
        || answer(404, json!({"status": 404, "title": "Not Found"})),
        |record| answer(200, record),
    )
}

/// Counts what failed; if it is not dry, redrives it. Whatever is asked for is done at once.
async fn job(State(shared): State<Shared>, body: Bytes) -> Answer {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let mut shared = shared.lock().unwrap();
    shared.asked = asked.clone();
    let named = asked["filter"]["ids"].as_array();
    let is_meant =
        |record: &Value| record["status"] == "failed" && named.is_none_or(|ids| ids.contains(&record["id"]));
    let meant: Vec<Value> = shared.records.iter().filter(|record| is_meant(record)).cloned().collect();
    let refused: Vec<Value> = named
        .into_iter()
        .flatten()
        .filter(|id| !meant.iter().any(|one| one["id"] == **id))
        .map(|id| json!({"id": id, "detail": "its status sent does not allow it"}))
        .collect();
    let late = meant.iter().filter(|record| !record["useful_until"].is_null()).count();
    if asked["dry_run"] == true {
        let group = |deadline: &str, count: usize| {
            json!({"status": "failed", "reason": "attempts_exhausted", "tenant": "default",
                "template": (deadline == "none").then_some("d-1"), "deadline": deadline, "count": count})
        };
        let groups = [group("none", meant.len() - late), group("over", late)];
        let groups: Vec<_> = groups.into_iter().filter(|group| group["count"] != 0).collect();
        let samples = meant.iter().take(2).map(|record| {
            json!({"id": record["id"], "tenant": "default", "status": "failed", "reason": "attempts_exhausted",
                "to": "***@example.com", "useful_until": record["useful_until"]})
        });
        let samples: Vec<_> = samples.collect();
        let standing = asked["action"] != "redrive";
        let said = json!({"matched": meant.len(), "groups": groups, "samples": samples, "refused": refused,
            "standing": standing});
        return answer(200, said);
    }
    for record in shared.records.iter_mut().filter(|record| is_meant(record)) {
        let times = record["redriven"].as_u64().unwrap_or(0) + 1;
        record["redriven"] = times.into();
    }
    let done = meant.len() - late;
    let left_out = if late > 0 { json!({"deadline_over": late}) } else { json!({}) };
    let job = json!({
        "id": format!("job-{}", shared.jobs.len() + 1), "action": asked["action"], "filter": asked["filter"],
        "all": asked["all"] == true, "pace": {}, "who": "operator", "reason": asked["reason"],
        "created_at": "2026-11-21T11:59:00.000Z", "state": "done", "note": null,
        "ended_at": "2026-11-21T11:59:30.000Z", "awaited": 0,
        "progress": {"planned": meant.len(), "done": done, "refused": left_out, "sent": done, "failed": 0,
            "stopped": 0, "on_the_wire": 3, "went_out": 1},
        "a_field_of_tomorrow": 1
    });
    shared.jobs.insert(0, job.clone());
    answer(202, job)
}

async fn jobs(State(shared): State<Shared>) -> Answer {
    answer(200, json!({"items": shared.lock().unwrap().jobs, "next_cursor": null}))
}

async fn one_job(State(shared): State<Shared>, Path(id): Path<String>) -> Answer {
    let found = shared.lock().unwrap().jobs.iter().find(|job| job["id"] == id.as_str()).cloned();
    found.map_or_else(
        || answer(404, json!({"status": 404, "title": "Not Found", "detail": "there is no such job"})),
        |job| answer(200, job),
    )
}

async fn resume(State(shared): State<Shared>, Path(id): Path<String>) -> Answer {
    for job in shared.lock().unwrap().jobs.iter_mut().filter(|job| job["id"] == id.as_str()) {
        (job["state"], job["note"]) = ("done".into(), Value::Null);
    }
    one_job(State(shared), Path(id)).await
}

async fn batch(State(shared): State<Shared>, body: Bytes) -> Answer {
    let mut shared = shared.lock().unwrap();
    if shared.put_off > 0 {
        shared.put_off -= 1;
        return answer(429, json!({"status": 429, "title": "Too Many Requests"}));
    }
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    if lines.len() > shared.batch_entries {
        return answer(413, json!({"status": 413, "title": "Content Too Large"}));
    }
    shared.batches.push(lines.len());
    let results: Vec<Value> = lines
        .into_iter()
        .map(|line| match serde_json::from_slice::<Value>(line) {
            Ok(value) => json!({"id": value["idempotency_key"], "status": "accepted", "duplicate": false}),
            Err(_) => json!({"error": {"status": 422, "title": "Unprocessable Content",
                "errors": [{"pointer": "", "detail": "is not JSON"}]}}),
        })
        .collect();
    answer(207, json!({"results": results}))
}
