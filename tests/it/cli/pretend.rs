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
    /// Bulk calls that changed something.
    pub bulk_calls: usize,
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
            .route("/v1/bulk", post(bulk))
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

/// Redrives what failed, else refuses; a redriven one fails again at once.
async fn bulk(State(shared): State<Shared>, body: Bytes) -> Answer {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let mut shared = shared.lock().unwrap();
    let from: usize = asked["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
    let limit = usize::try_from(asked["limit"].as_u64().unwrap()).unwrap();
    let named = asked["filter"]["ids"].as_array();
    let concerned = |record: &Value| named.is_none_or(|ids| ids.contains(&record["id"]));
    let failed: Vec<String> = shared
        .records
        .iter()
        .filter(|record| record["status"] == "failed" && concerned(record))
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect();
    let refused: Vec<Value> = named
        .into_iter()
        .flatten()
        .filter(|id| !failed.iter().any(|one| *id == one.as_str()))
        .map(|id| json!({"id": id, "detail": "its status sent does not allow it"}))
        .collect();
    let counts = match failed.len() {
        0 => json!([]),
        count => json!([{"status": "failed", "reason": "attempts_used_up", "count": count}]),
    };
    let mut said = json!({"matched": failed.len(), "by_reason": counts, "done": 0, "refused": refused, "next_cursor": null});
    if asked["dry_run"] == false {
        let page: Vec<&String> = failed.iter().skip(from).take(limit).collect();
        shared.bulk_calls += 1;
        said["done"] = page.len().into();
        for record in
            shared.records.iter_mut().filter(|record| page.iter().any(|id| record["id"] == id.as_str()))
        {
            let times = record["redriven"].as_u64().unwrap_or(0) + 1;
            record["redriven"] = times.into();
        }
        if from + limit < failed.len() {
            said["next_cursor"] = (from + limit).to_string().into();
        }
    }
    answer(200, said)
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
