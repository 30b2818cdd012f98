//! A router on embedded storage in a directory of its own, and a client that speaks to it in process.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use kakitome::api::auth::{ApiKey, KeyRing, Scope};
use kakitome::api::{ApiState, Config, router};
use kakitome::clock::{Clock, Timestamp};
use kakitome::feed::Feed;
use kakitome::feed::sqlite::SqliteFeed;
use kakitome::intake::InTurn;
use kakitome::intake::sqlite::SqliteIntake;
use kakitome::jobs::{Bell, Rings};
use kakitome::journal::Journal;
use kakitome::journal::sqlite::SqliteJournal;
use kakitome::message_log::sqlite::SqliteLog;
use kakitome::message_log::{Applied, MessageLog};
use kakitome::notification::NotificationId;
use kakitome::notification::status::{Answer, AttemptLimits, Fact, Token};
use kakitome::provider::health::HealthBoard;
use kakitome::queue::Queue;
use kakitome::queue::sqlite::SqliteQueue;
use kakitome::recovery::jobs::{self as runner, Outcome, Runner, Work};
use kakitome::sqlite::Engine;
use kakitome::stops::Stops;
use kakitome::storm::meter::Meter;
use kakitome::suppression::guard::Suppressions;
use kakitome::suppression::sqlite::SqliteSuppressions;
use serde_json::{Value, json};
use tower::ServiceExt;

/// Every scope, tenant `default`.
pub const ADMIN: &str = "kk_test_admin";
/// Send, read and operate, tenant `hotel`.
pub const HOTEL: &str = "kk_test_hotel";
/// Read only, tenant `hotel`.
pub const READER: &str = "kk_test_reader";
/// Send only, tenant `hotel`.
pub const SENDER: &str = "kk_test_sender";

pub struct World {
    pub router: Router,
    pub clock: Clock,
    pub log: Arc<dyn MessageLog>,
    pub queue: Arc<dyn Queue>,
    pub journal: Arc<dyn Journal>,
    pub feed: Arc<dyn Feed>,
    pub stops: Stops,
    pub health: HealthBoard,
    pub runner: Runner,
    rings: std::sync::Mutex<Rings>,
    _directory: tempfile::TempDir,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn id(&self) -> String {
        self.json["id"].as_str().unwrap_or_default().to_owned()
    }

    /// The pointers of a problem's faults, after checking that it is a problem.
    pub fn pointers(&self) -> Vec<&str> {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.json["status"], self.status, "{}", self.text);
        let errors = self.json["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().filter_map(|fault| fault["pointer"].as_str()).collect()
    }
}

pub fn keys() -> KeyRing {
    KeyRing::new(vec![
        ApiKey::of_secret("admin", ADMIN, "default", &Scope::ALL),
        ApiKey::of_secret("hotel", HOTEL, "hotel", &[Scope::Send, Scope::Read, Scope::Operate]),
        ApiKey::of_secret("reader", READER, "hotel", &[Scope::Read]),
        ApiKey::of_secret("sender", SENDER, "hotel", &[Scope::Send]),
    ])
}

pub async fn api_world() -> World {
    world_with(|_| {}).await
}

/// Has the door take in through its log and its queue, which do not share their storage any more.
pub fn take_in_turn(state: &mut ApiState) {
    state.intake = Arc::new(InTurn::new(Arc::clone(&state.log)));
}

/// A world whose door is changed before it opens.
pub async fn world_with(change: impl FnOnce(&mut ApiState)) -> World {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::parse("2026-11-21T09:00:00Z").unwrap());
    let engine = Engine::open(directory.path(), kakitome::sqlite::Config::default()).unwrap();
    let queue = SqliteQueue::open(engine.clone(), clock.clone(), kakitome::queue::sqlite::Config::default());
    let queue = queue.await.unwrap();
    let intake = Arc::new(SqliteIntake::new(engine.clone(), queue.clone()));
    let queue: Arc<dyn Queue> = Arc::new(queue);
    let sqlite = SqliteLog::new(engine.clone());
    let log: Arc<dyn MessageLog> = Arc::new(sqlite.clone());
    let feed: Arc<dyn Feed> = Arc::new(SqliteFeed::new(engine.clone()));
    let journal: Arc<dyn Journal> = Arc::new(SqliteJournal::new(engine.clone(), clock.clone()));
    let suppressions = Arc::new(SqliteSuppressions::new(engine, clock.clone()));
    let health = HealthBoard::default();
    let (bell, rings) = Bell::new(true);
    let stops = Stops::new(Arc::clone(&journal));
    let mut state = ApiState {
        bell,
        intake,
        log: Arc::clone(&log),
        unmatched: Arc::new(sqlite),
        queue: Arc::clone(&queue),
        inbox: None,
        stops: stops.clone(),
        suppressions: Suppressions::new(suppressions, Arc::clone(&journal), Default::default()),
        meter: Meter::new(Arc::clone(&journal), clock.clone(), 10, 100),
        machines: kakitome::engagement::Rulebook::new(None),
        journal: Arc::clone(&journal),
        clock: clock.clone(),
        keys: Arc::new(keys()),
        health: health.clone(),
        worker_expected: false,
        telling: kakitome::api::events::Telling::new(Arc::clone(&feed), None),
        channels: None,
        metrics: None,
        config: Config::default(),
    };
    change(&mut state);
    let config =
        runner::Config { page: 4, queue_timeout: state.config.queue_timeout, ..runner::Config::default() };
    let (log_of_jobs, queue_of_jobs) = (Arc::clone(&state.log), Arc::clone(&state.queue));
    let runner = Runner::new(log_of_jobs, queue_of_jobs, Arc::clone(&journal), clock.clone(), config);
    let rings = std::sync::Mutex::new(rings);
    World {
        router: router(state),
        clock,
        log,
        queue,
        journal,
        feed,
        stops,
        health,
        runner,
        rings,
        _directory: directory,
    }
}

impl World {
    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply { status: parts.status.as_u16(), headers: parts.headers, text, json }
    }

    pub async fn get(&self, key: &str, path: &str) -> Reply {
        let request = Request::get(path).header("authorization", format!("Bearer {key}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, key: &str, path: &str, body: &Value) -> Reply {
        self.post_raw(key, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn post_raw(
        &self,
        key: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::post(path).header("authorization", format!("Bearer {key}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Hands one in that must be taken. Its id.
    pub async fn hand_in(&self, key: &str, notification: &Value) -> String {
        let reply = self.post(key, "/v1/notifications", notification).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        reply.id()
    }

    /// Asks for a job that must be taken. Its id.
    pub async fn ask(&self, key: &str, request: &Value) -> String {
        let reply = self.post(key, "/v1/jobs", request).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        reply.id()
    }

    /// The job that was asked for last, in the hands of this process.
    pub async fn take(&self) -> Work {
        let rung = self.rings.lock().unwrap().try_recv().unwrap();
        self.runner.take(&rung).await.unwrap().unwrap()
    }

    /// Steps until there is nothing more to do at once.
    pub async fn go_on(&self, work: &mut Work) -> Outcome {
        for _ in 0..1000 {
            let outcome = self.runner.step(work).await.unwrap();
            if outcome != Outcome::Again {
                return outcome;
            }
        }
        panic!("it never comes to an end");
    }

    /// Has a job done as far as it goes at once, and shows it.
    pub async fn job(&self, key: &str, request: &Value) -> Value {
        let id = self.ask(key, request).await;
        let mut work = self.take().await;
        self.go_on(&mut work).await;
        self.shown(&id).await
    }

    pub async fn shown(&self, id: &str) -> Value {
        let reply = self.get(ADMIN, &format!("/v1/jobs/{id}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json
    }

    pub async fn record(&self, id: &str) -> Value {
        let reply = self.get(ADMIN, &format!("/v1/notifications/{id}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json
    }

    pub async fn tell(&self, id: &str, fact: Fact) {
        let id: NotificationId = id.parse().unwrap();
        let applied = self.log.apply(&[(id, fact)], self.clock.now()).await;
        assert!(matches!(applied.as_slice(), [Ok(Applied::Done { .. })]), "{applied:?}");
    }

    /// Claims it as a worker would; the lease lasts 30 s.
    pub async fn claim(&self, id: &str) -> Token {
        let (token, now) = (Token::fresh(), self.clock.now());
        let lease_until = now.plus(Duration::from_secs(30));
        let fact = Fact::Claimed {
            token,
            provider: "sandbox".into(),
            lease_until,
            hold_until: lease_until.plus(Duration::from_secs(600)),
            resend_of: None,
            limits: AttemptLimits { attempts: 12, unknown_resends: 2 },
        };
        self.tell(id, fact).await;
        token
    }

    /// Claims it and has the provider refuse it for good.
    pub async fn fail(&self, id: &str, reason: &str) {
        let token = self.claim(id).await;
        let answer = Answer { http_status: Some(400), error: Some("no".into()) };
        self.tell(id, Fact::Refused { token, answer, reason: reason.into() }).await;
    }

    /// Takes everything visible from the queue, and settles it. The ids.
    pub async fn drain_queue(&self) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            let deliveries = self.queue.receive(10, Duration::ZERO).await.unwrap();
            if deliveries.is_empty() {
                ids.sort();
                return ids;
            }
            ids.extend(deliveries.iter().map(|delivery| delivery.id.to_string()));
            let done = deliveries.into_iter().map(|one| (one, kakitome::queue::Settlement::Done)).collect();
            for settled in self.queue.settle(done).await {
                settled.unwrap();
            }
        }
    }
}

/// A notification of the default tenant with this idempotency key.
pub fn booking(key: &str) -> Value {
    json!({
        "idempotency_key": key,
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": "guest@example.com", "name": "山田 太郎"}],
        "subject": "ご予約が確定しました",
        "text": "お待ちしております。",
        "metadata": {"booking": key},
    })
}

/// The same with some fields set.
pub fn booking_with(key: &str, fields: Value) -> Value {
    let mut notification = booking(key);
    for (name, value) in fields.as_object().unwrap() {
        notification[name] = value.clone();
    }
    notification
}
