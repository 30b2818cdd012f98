//! The door back: the providers' event webhooks. A post is answered with 2xx only once every event in it is durable;
//! whatever stands in the way of that is answered so that the provider posts again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use metrics::{counter, histogram};
use tokio::sync::Semaphore;

use crate::clock::{Clock, Timestamp};
use crate::message_log::{LogError, MessageLog, Recorded};
use crate::metrics::{ACCEPT_TO_SENT_SECONDS, EVENTS_TOTAL, UNKNOWN_TOTAL, WEBHOOK_LAG_SECONDS};
use crate::notification::status::Status;
use crate::provider::health::{HealthBoard, Tick};
use crate::provider::{EventKind, EventSource, ProviderEvent, WebhookError};
use crate::server::problem::Problem;
use crate::server::{BodyError, read_body};

/// Bounds of the webhook posts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest post, in bytes. SendGrid sends up to 768 KB at a time.
    pub body_limit_bytes: usize,
    /// The longest pause within a post's body.
    pub body_idle_timeout: Duration,
    /// How long a post's body may take as a whole.
    pub body_timeout: Duration,
    /// Posts that are worked on at once; a further one is asked to come back.
    pub max_concurrent: usize,
    /// When to come back, while events cannot be taken.
    pub retry_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_limit_bytes: 4 * 1024 * 1024,
            body_idle_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            max_concurrent: 64,
            retry_after: Duration::from_secs(10),
        }
    }
}

/// What the webhooks work with.
pub struct WebhookState {
    /// Where events become durable.
    pub log: Arc<dyn MessageLog>,
    /// Who reads the posts to which path, such as `/webhooks/sendgrid`.
    pub sources: BTreeMap<String, Arc<dyn EventSource>>,
    /// The time by which signatures are judged.
    pub clock: Clock,
    /// Where what came in is counted, for the alerts.
    pub health: HealthBoard,
    /// The bounds.
    pub config: Config,
}

/// Events that are recorded in one call: a post of 768 KB has about two thousand, and each call holds the log's
/// writer for its whole length.
const EVENTS_PER_CALL: usize = 500;

/// `POST` on every source's path. The bound on concurrent posts is shared by all of them.
pub fn router(state: WebhookState) -> Router {
    let WebhookState { log, sources, clock, health, config } = state;
    let permits = Arc::new(Semaphore::new(config.max_concurrent));
    sources.into_iter().fold(Router::new(), |router, (path, source)| {
        for kind in EventKind::KNOWN.iter().map(EventKind::as_str).chain(["other"]) {
            let provider = source.name().to_owned();
            counter!(EVENTS_TOTAL, "provider" => provider, "kind" => kind.to_owned()).increment(0);
        }
        let (log, permits, clock, config) = (log.clone(), permits.clone(), clock.clone(), config.clone());
        let door = Arc::new(Door { log, source, permits, clock, health: health.clone(), config });
        let only_post = async || Problem::new(StatusCode::METHOD_NOT_ALLOWED);
        router.route(&path, post(receive).fallback(only_post).with_state(door))
    })
}

struct Door {
    log: Arc<dyn MessageLog>,
    source: Arc<dyn EventSource>,
    permits: Arc<Semaphore>,
    clock: Clock,
    health: HealthBoard,
    config: Config,
}

async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    let Ok(_permit) = door.permits.clone().try_acquire_owned() else {
        return door.come_back("too many posts at once").into_response();
    };
    match door.take(request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.into_response(),
    }
}

impl Door {
    async fn take(&self, request: Request) -> Result<(), Problem> {
        let (parts, body) = request.into_parts();
        let Config { body_limit_bytes, body_idle_timeout, body_timeout, .. } = self.config;
        let body =
            read_body(body, body_limit_bytes, body_idle_timeout, body_timeout).await.map_err(|error| {
                let status = match error {
                    BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
                    BodyError::Broken => StatusCode::BAD_REQUEST,
                };
                Problem::new(status).with_detail(error.to_string())
            })?;
        let events = self.read(parts.headers, body).await?;
        self.record(&events).await
    }

    /// Verifies and parses off the async threads: a post of some megabytes takes tens of milliseconds.
    async fn read(&self, headers: HeaderMap, body: bytes::Bytes) -> Result<Vec<ProviderEvent>, Problem> {
        let (source, now) = (self.source.clone(), self.clock.now());
        let reading = tokio::task::spawn_blocking(move || {
            let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
            source.events(&header, &body, now)
        });
        let provider = self.source.name();
        match reading.await {
            Ok(Ok(events)) => {
                self.health.count(Tick::PostTaken, now);
                Ok(events)
            }
            Ok(Err(error)) => {
                tracing::warn!(provider, %error, "refused a webhook post");
                let status = match error {
                    WebhookError::Signature(_) => {
                        self.health.count(Tick::PostRefused, now);
                        StatusCode::FORBIDDEN
                    }
                    WebhookError::Malformed(_) => StatusCode::BAD_REQUEST,
                };
                Err(Problem::new(status).with_detail(error.to_string()))
            }
            Err(panic) => {
                tracing::error!(provider, %panic, "reading a webhook post failed");
                Err(self.come_back("the post could not be read"))
            }
        }
    }

    async fn record(&self, events: &[ProviderEvent]) -> Result<(), Problem> {
        let mut tally = Tally::default();
        let mut failure = None;
        for events in events.chunks(EVENTS_PER_CALL) {
            let results = self.log.record_events(events, self.clock.now()).await;
            let durable_at = self.clock.now();
            failure = missing(events.len(), results.len());
            for (event, result) in events.iter().zip(results) {
                match result {
                    Ok(recorded) => {
                        tally.count(event, recorded, durable_at);
                        if recorded != Recorded::Repeat {
                            self.health.count(Tick::Event(label(&event.kind)), durable_at);
                        }
                    }
                    Err(error) => failure = Some(error),
                }
            }
            if failure.is_some() {
                break;
            }
        }
        let Tally { folded, repeated, unmatched } = tally;
        let provider = self.source.name();
        match failure {
            None if unmatched > 0 => tracing::info!(provider, folded, repeated, unmatched, "recorded events"),
            None => tracing::debug!(provider, folded, repeated, unmatched, "recorded events"),
            Some(error) => {
                tracing::error!(provider, folded, repeated, unmatched, %error, "events could not be recorded");
                return Err(self.come_back("the events could not be recorded"));
            }
        }
        Ok(())
    }

    fn come_back(&self, detail: &str) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .with_detail(detail)
            .with_retry_after(self.config.retry_after)
    }
}

/// An event without a result is not known to be durable, so it counts as failed.
fn missing(asked: usize, answered: usize) -> Option<LogError> {
    (answered < asked).then(|| LogError::Unavailable(format!("{answered} results for {asked} events")))
}

/// What became of a post's events.
#[derive(Default)]
struct Tally {
    folded: usize,
    repeated: usize,
    unmatched: usize,
}

impl Tally {
    fn count(&mut self, event: &ProviderEvent, recorded: Recorded, durable_at: Timestamp) {
        match recorded {
            Recorded::Repeat => {
                self.repeated += 1;
                return;
            }
            Recorded::Folded { settled, ready_at } => {
                self.folded += 1;
                // The worker that learns of it later, if at all, finds it sent and counts nothing.
                if settled.is_some() {
                    histogram!(ACCEPT_TO_SENT_SECONDS).record(durable_at.since(ready_at).as_secs_f64());
                }
                if settled == Some(Status::Unknown) {
                    counter!(UNKNOWN_TOTAL, "resolution" => "event").increment(1);
                }
            }
            Recorded::Unmatched => self.unmatched += 1,
        }
        let provider = event.provider.clone();
        counter!(EVENTS_TOTAL, "provider" => provider, "kind" => label(&event.kind)).increment(1);
        histogram!(WEBHOOK_LAG_SECONDS).record(durable_at.since(event.at).as_secs_f64());
    }
}

/// Kinds that we do not know share one label: their names come from outside and would make series without end.
fn label(kind: &EventKind) -> String {
    match kind {
        EventKind::Other(_) => "other".to_owned(),
        known => known.as_str().to_owned(),
    }
}
