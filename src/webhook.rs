//! The door back: the providers' event webhooks. A post is answered with 2xx only once every event in it is durable;
//! whatever stands in the way of that is answered so that the provider posts again. Folding comes later, and is not
//! this room's business.

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
use crate::inbox::{Appended, Inbox, InboxError, pack};
use crate::metrics::EVENTS_TOTAL;
use crate::provider::health::{HealthBoard, Tick};
use crate::provider::{EventKind, EventSource, Post, ProviderEvent, WebhookError};
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
    /// How long an answer waits for its events to be folded: whoever posts and then looks sees them, and who posts
    /// faster than is folded is slowed down.
    pub folded_within: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_limit_bytes: 4 * 1024 * 1024,
            body_idle_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            max_concurrent: 256,
            retry_after: Duration::from_secs(10),
            folded_within: Duration::from_millis(200),
        }
    }
}

/// What the webhooks work with.
pub struct WebhookState {
    /// Where events become durable.
    pub inbox: Arc<dyn Inbox>,
    /// Who reads the posts to which path, such as `/webhooks/sendgrid`.
    pub sources: BTreeMap<String, Arc<dyn EventSource>>,
    /// The time by which signatures are judged.
    pub clock: Clock,
    /// Where what came in is counted, for the alerts.
    pub health: HealthBoard,
    /// The bounds.
    pub config: Config,
}

/// `POST` on every source's path. Each has its own bounds: one source's flood takes nothing from another.
pub fn router(state: WebhookState) -> Router {
    let WebhookState { inbox, sources, clock, health, config } = state;
    sources.into_iter().fold(Router::new(), |router, (path, source)| {
        for kind in EventKind::KNOWN.iter().map(EventKind::as_str).chain(["other"]) {
            let provider = source.name().to_owned();
            counter!(EVENTS_TOTAL, "provider" => provider, "kind" => kind.to_owned()).increment(0);
        }
        let permits = Arc::new(Semaphore::new(config.max_concurrent));
        let (inbox, clock, config) = (inbox.clone(), clock.clone(), config.clone());
        let door = Arc::new(Door { inbox, source, permits, clock, health: health.clone(), config });
        let only_post = async || Problem::new(StatusCode::METHOD_NOT_ALLOWED);
        router.route(&path, post(receive).fallback(only_post).with_state(door))
    })
}

struct Door {
    inbox: Arc<dyn Inbox>,
    source: Arc<dyn EventSource>,
    permits: Arc<Semaphore>,
    clock: Clock,
    health: HealthBoard,
    config: Config,
}

async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    let Ok(permit) = door.permits.clone().try_acquire_owned() else {
        return door.come_back("too many posts at once").into_response();
    };
    let taken = door.take(request).await;
    drop(permit);
    match taken {
        Ok(appended) => {
            door.wait_for(appended).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

impl Door {
    async fn take(&self, request: Request) -> Result<Appended, Problem> {
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
        self.append(events).await
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

    async fn append(&self, events: Vec<ProviderEvent>) -> Result<Appended, Problem> {
        if events.is_empty() {
            return Ok(Appended::default());
        }
        let now = self.clock.now();
        // Off the async threads, as the reading is.
        let packed = tokio::task::spawn_blocking(move || pack(&events, now)).await;
        let parcels = packed.map_err(|panic| {
            tracing::error!(%panic, "events could not be packed");
            self.come_back("the events could not be recorded")
        })?;
        let provider = self.source.name();
        self.inbox.append(parcels).await.map_err(|error| {
            match &error {
                InboxError::Full(_) => {
                    tracing::warn!(provider, %error, "the provider keeps its events for now")
                }
                InboxError::Unavailable(_) => {
                    tracing::error!(provider, %error, "events could not be recorded");
                }
            }
            self.come_back("the events could not be recorded")
        })
    }

    async fn wait_for(&self, appended: Appended) {
        if let Some(folded) = appended.folded {
            // Folded or not, they are durable.
            let _folded_or_late = tokio::time::timeout(self.config.folded_within, folded).await;
        }
    }

    fn come_back(&self, detail: &str) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .with_detail(detail)
            .with_retry_after(self.config.retry_after)
    }
}
