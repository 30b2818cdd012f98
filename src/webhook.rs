//! The door back: the providers' event webhooks. A post is answered with 2xx only once every event in it is durable;
//! whatever stands in the way of that is answered so that the provider posts again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use metrics::counter;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::metrics::EVENTS_TOTAL;
use crate::provider::health::{HealthBoard, Tick};
use crate::provider::{EventKind, EventSource, Post, ProviderEvent, WebhookError};
use crate::server::problem::Problem;
use crate::server::{BodyError, read_body};
use crate::tracking::Tracker;

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
    pub tracker: Arc<Tracker>,
    /// Who reads the posts to which path, such as `/webhooks/sendgrid`.
    pub sources: BTreeMap<String, Arc<dyn EventSource>>,
    /// The time by which signatures are judged.
    pub clock: Clock,
    /// Where what came in is counted, for the alerts.
    pub health: HealthBoard,
    /// The bounds.
    pub config: Config,
}

/// `POST` on every source's path. The bound on concurrent posts is shared by all of them.
pub fn router(state: WebhookState) -> Router {
    let WebhookState { tracker, sources, clock, health, config } = state;
    let permits = Arc::new(Semaphore::new(config.max_concurrent));
    sources.into_iter().fold(Router::new(), |router, (path, source)| {
        for kind in EventKind::KNOWN.iter().map(EventKind::as_str).chain(["other"]) {
            let provider = source.name().to_owned();
            counter!(EVENTS_TOTAL, "provider" => provider, "kind" => kind.to_owned()).increment(0);
        }
        let (tracker, permits, clock, config) =
            (tracker.clone(), permits.clone(), clock.clone(), config.clone());
        let door = Arc::new(Door { tracker, source, permits, clock, health: health.clone(), config });
        let only_post = async || Problem::new(StatusCode::METHOD_NOT_ALLOWED);
        router.route(&path, post(receive).fallback(only_post).with_state(door))
    })
}

struct Door {
    tracker: Arc<Tracker>,
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
        let events = self.read(Post { headers: parts.headers, body }).await?;
        self.record(&events).await
    }

    async fn read(&self, post: Post) -> Result<Vec<ProviderEvent>, Problem> {
        let now = self.clock.now();
        let error = match self.source.events(post, now).await {
            Ok(events) => {
                self.health.count(Tick::PostTaken, now);
                return Ok(events);
            }
            Err(error) => error,
        };
        let provider = self.source.name();
        let status = match &error {
            WebhookError::Signature(_) => {
                self.health.count(Tick::PostRefused, now);
                StatusCode::FORBIDDEN
            }
            WebhookError::Malformed(_) => StatusCode::BAD_REQUEST,
            WebhookError::Unavailable(_) => {
                tracing::error!(provider, %error, "a webhook post could not be read");
                return Err(self.come_back("the post could not be read"));
            }
        };
        tracing::warn!(provider, %error, "refused a webhook post");
        Err(Problem::new(status).with_detail(error.to_string()))
    }

    async fn record(&self, events: &[ProviderEvent]) -> Result<(), Problem> {
        self.tracker.track(events).await.map_err(|error| {
            tracing::error!(provider = self.source.name(), %error, "events could not be recorded");
            self.come_back("the events could not be recorded")
        })
    }

    fn come_back(&self, detail: &str) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .with_detail(detail)
            .with_retry_after(self.config.retry_after)
    }
}
