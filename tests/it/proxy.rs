//! A loopback proxy between an AWS client and a server of its protocol, that counts requests and makes them fail as
//! told: with an error, without an answer, with the answer lost, or with another one.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::process;
use withheld::Withheld;

mod withheld;

/// Changes an answer.
type Change = dyn Fn(&Seen, &mut Value) + Send + Sync;

/// What happens to a request.
#[derive(Clone)]
pub enum Action {
    /// It passes.
    Pass,
    /// It does not reach the server; the client hears this status and AWS error type.
    Fail(u16, &'static str),
    /// The server gets it, and its answer is lost with the connection.
    LoseAnswer,
    /// It is never answered, and the server never gets it.
    Stall,
    /// The server gets it, and its answer never comes.
    KeepAnswer,
    /// The server's answer is changed.
    Rewrite(Arc<Change>),
    /// The request is changed before the server gets it.
    Amend(Arc<dyn Fn(&mut Value) + Send + Sync>),
    /// Of a batch, the server does not get those entries for which this says so, and the answer says of them that they
    /// failed with this code.
    Withhold(Arc<dyn Fn() -> bool + Send + Sync>, &'static str),
    /// What this says.
    Choose(Arc<dyn Fn(&Seen) -> Action + Send + Sync>),
}

/// Stands for every operation in a rule.
pub const ANY: &str = "*";

impl Action {
    /// Changes the server's answer.
    pub fn rewrite(change: impl Fn(&Seen, &mut Value) + Send + Sync + 'static) -> Self {
        Action::Rewrite(Arc::new(change))
    }

    /// Withholds three of ten entries.
    pub fn withhold(code: &'static str) -> Self {
        let count = AtomicUsize::new(0);
        let is_third = move || matches!(count.fetch_add(1, Ordering::Relaxed) % 10, 1 | 4 | 7);
        Action::Withhold(Arc::new(is_third), code)
    }

    /// This happens to one in `every`, the other to the rest.
    pub fn one_in(every: usize, this: Action, other: Action) -> Self {
        let count = AtomicUsize::new(0);
        let is_this = move || count.fetch_add(1, Ordering::Relaxed) % every == 1;
        Action::Choose(Arc::new(move |_| if is_this() { this.clone() } else { other.clone() }))
    }
}

/// A request that came by.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The operation after the dot of `X-Amz-Target`, such as `BatchGetItem`.
    pub operation: String,
    /// What was asked.
    pub body: Value,
    /// What the server answered; null if it was not asked.
    pub answer: Value,
}

impl Seen {
    /// Every PartiQL statement of a BatchExecuteStatement.
    pub fn statements(&self) -> Vec<&str> {
        let statements = self.body["Statements"].as_array().into_iter().flatten();
        statements.map(|one| one["Statement"].as_str().unwrap_or_default()).collect()
    }

    /// The capacity units that the server charged.
    pub fn units(&self) -> f64 {
        let consumed = self.answer["ConsumedCapacity"].as_array().into_iter().flatten();
        consumed.filter_map(|one| one["CapacityUnits"].as_f64()).sum()
    }
}

struct Rule {
    operation: &'static str,
    /// How often it still applies; `None`: always.
    times: Option<u32>,
    action: Action,
}

#[derive(Default)]
struct State {
    rules: VecDeque<Rule>,
    seen: Vec<Seen>,
}

/// The proxy. Ends with the test's runtime.
pub struct Proxy {
    /// Where clients reach it.
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Begins to listen. Everything passes until it is told otherwise.
    pub async fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let (upstream, client, shared) = (upstream.to_owned(), process::http(), state.clone());
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (upstream, client, state) = (upstream.clone(), client.clone(), shared.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (upstream, client, state) = (upstream.clone(), client.clone(), state.clone());
                        async move { pass(request, &upstream, &client, &state).await }
                    });
                    // An error is a connection that was closed as told.
                    let _closed = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { url, state }
    }

    /// From now on, this happens to every such request.
    pub fn always(&self, operation: &'static str, action: Action) {
        self.lock().rules.push_back(Rule { operation, times: None, action });
    }

    /// This happens to the next `times` such requests; rules apply in the order they were given.
    pub fn next(&self, times: u32, operation: &'static str, action: Action) {
        self.lock().rules.push_back(Rule { operation, times: Some(times), action });
    }

    /// Forgets all rules.
    pub fn pass_all(&self) {
        self.lock().rules.clear();
    }

    /// Forgets all rules and requests.
    pub fn reset(&self) {
        *self.lock() = State::default();
    }

    /// Every request since the start or the last reset.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// Their operations.
    pub fn operations(&self) -> Vec<String> {
        self.lock().seen.iter().map(|seen| seen.operation.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the connection without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut as told")
    }
}

impl std::error::Error for Cut {}

async fn pass(
    request: Request<Incoming>,
    upstream: &str,
    client: &reqwest::Client,
    state: &Mutex<State>,
) -> Result<Response<Full<Bytes>>, Cut> {
    let (head, body) = request.into_parts();
    let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let asked = serde_json::from_slice(&body).unwrap_or_default();
    let mut seen = Seen { operation, body: asked, answer: Value::Null };
    let mut action = action_for(&seen.operation, state);
    while let Action::Choose(choose) = action {
        action = choose(&seen);
    }
    if let Action::Fail(status, code) = action {
        keep(state, seen);
        let body = json!({ "__type": format!("com.amazonaws#{code}"), "message": "as told" }).to_string();
        return Ok(response(status, HeaderMap::new(), body.into()));
    }
    if let Action::Stall = action {
        keep(state, seen);
        std::future::pending::<()>().await;
        return Err(Cut);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = head.headers;
    for name in ["host", "content-length", "connection"] {
        headers.remove(name);
    }
    let (body, withheld) = match &action {
        Action::Amend(change) => {
            let mut changed = seen.body.clone();
            change(&mut changed);
            (changed.to_string().into(), None)
        }
        Action::Withhold(is_withheld, code) => {
            let (left, withheld) = Withheld::from(&seen, is_withheld.as_ref(), code);
            let Some(left) = left else {
                seen.answer = withheld.answer();
                let body = seen.answer.to_string().into();
                keep(state, seen);
                return Ok(response(200, HeaderMap::new(), body));
            };
            (left.to_string().into(), Some(withheld))
        }
        _ => (body, None),
    };
    let forwarded = client.request(head.method, format!("{upstream}{path}")).headers(headers).body(body);
    let answer = forwarded.send().await.map_err(|_| Cut)?;
    let (status, mut headers) = (answer.status().as_u16(), answer.headers().clone());
    let mut body = answer.bytes().await.map_err(|_| Cut)?;
    seen.answer = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(changed) = changed_answer(&action, withheld, &mut seen) {
        body = changed.to_string().into();
        headers.remove("x-amz-crc32");
    }
    keep(state, seen);
    match action {
        Action::LoseAnswer => return Err(Cut),
        Action::KeepAnswer => std::future::pending::<()>().await,
        _ => {}
    }
    for name in ["content-length", "connection", "transfer-encoding"] {
        headers.remove(name);
    }
    Ok(response(status, headers, body))
}

/// What is answered in place of what came.
fn changed_answer(action: &Action, withheld: Option<Withheld>, seen: &mut Seen) -> Option<Value> {
    if let Action::Rewrite(change) = action {
        let mut changed = seen.answer.clone();
        change(seen, &mut changed);
        return Some(changed);
    }
    withheld.map(|withheld| {
        withheld.tell(&mut seen.answer);
        seen.answer.clone()
    })
}

fn action_for(operation: &str, state: &Mutex<State>) -> Action {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rules = state.rules.iter_mut();
    let Some(rule) =
        rules.find(|rule| (rule.operation == operation || rule.operation == ANY) && rule.times != Some(0))
    else {
        return Action::Pass;
    };
    rule.times = rule.times.map(|times| times - 1);
    rule.action.clone()
}

fn keep(state: &Mutex<State>, seen: Seen) {
    state.lock().unwrap_or_else(PoisonError::into_inner).seen.push(seen);
}

fn response(status: u16, headers: HeaderMap, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status.try_into().unwrap();
    *response.headers_mut() = headers;
    response
}
