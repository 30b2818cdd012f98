//! A server that speaks SQS's JSON protocol and answers as a test wants it to.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use kakitome::queue::sqs::setup::Queues;
use serde_json::{Value, json};

use super::super::emulator;
use super::{Bench, SqsQueue, config, fresh_queues};

/// Status and body.
pub type Answer = (u16, Value);

/// What it was asked: each action with its body.
#[derive(Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<(String, Value)>>>);

impl Asked {
    /// The bodies of one action's calls.
    pub fn of(&self, action: &str) -> Vec<Value> {
        let asked = self.0.lock().unwrap();
        asked.iter().filter(|(name, _)| name == action).map(|(_, body)| body.clone()).collect()
    }
}

/// A refusal, as the service words it.
pub fn refusal(code: &str) -> Answer {
    (400, json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": format!("{code}, as scripted") }))
}

/// An answer to a batch in which every entry is done.
pub fn all_done(body: &Value) -> Answer {
    let done = |entry: &Value| json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "x" });
    let entries = body["Entries"].as_array().unwrap();
    (200, json!({ "Successful": entries.iter().map(done).collect::<Vec<_>>(), "Failed": [] }))
}

/// Starts it on a port of its own. `answer` gets the action, its body, and how many calls of that action came before.
pub async fn start(answer: impl Fn(&str, &Value, usize) -> Answer + Send + Sync + 'static) -> (Bench, Asked) {
    let asked = Asked::default();
    let (seen, answer) = (asked.clone(), Arc::new(answer));
    let app = Router::new().fallback(async move |headers: HeaderMap, body: Bytes| {
        let target = headers["x-amz-target"].to_str().unwrap();
        let action = target.strip_prefix("AmazonSQS.").unwrap().to_owned();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let before = {
            let mut seen = seen.0.lock().unwrap();
            let before = seen.iter().filter(|(name, _)| *name == action).count();
            seen.push((action.clone(), body.clone()));
            before
        };
        let (status, body) = answer(&action, &body, before);
        (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
    });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let aws = emulator::connect(&url, &url).await;
    let queues = Queues {
        queue_url: format!("{url}/1/mail"),
        dead_letter_url: format!("{url}/1/dead"),
        ..fresh_queues()
    };
    let queue = SqsQueue::open(&aws, config(&queues));
    (Bench { aws, queues, queue }, asked)
}
