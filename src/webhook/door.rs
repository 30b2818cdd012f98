//! One post, from its head to its answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Body as _;
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Config;
use super::callers::{Admitted, Bounds, Callers};
use crate::background::Background;
use crate::clock::Clock;
use crate::inbox::{Appended, Inbox, InboxError, Parcel, pack};
use crate::metrics::WEBHOOK_POSTS_TOTAL;
use crate::provider::health::{HealthBoard, Tick};
use crate::provider::{EventSource, Post, WebhookError};
use crate::server::problem::Problem;
use crate::server::{self, BodyError, read_body};

/// What a permit for bytes stands for: a semaphore counts no 64 million.
const BYTES_PER_PERMIT: usize = 1024;

/// One source's door.
pub(super) struct Door {
    inbox: Arc<dyn Inbox>,
    source: Arc<dyn EventSource>,
    posts: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    readers: Semaphore,
    callers: Callers,
    clock: Clock,
    health: HealthBoard,
    background: Background,
    config: Config,
}

/// What a post holds until it is durable or refused.
struct Held {
    _post: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    caller: Option<Admitted>,
}

pub(super) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    match door.take(request).await {
        Ok(appended) => {
            door.wait_for(appended).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

impl Door {
    pub(super) fn new(
        inbox: Arc<dyn Inbox>,
        source: Arc<dyn EventSource>,
        (clock, health): (Clock, HealthBoard),
        background: Background,
        config: Config,
    ) -> Self {
        for outcome in ["taken", "refused", "malformed", "turned_away"] {
            count(source.name(), outcome, 0);
        }
        Self {
            posts: Arc::new(Semaphore::new(config.max_concurrent)),
            bytes: Arc::new(Semaphore::new(
                config.max_bytes.max(config.body_limit_bytes).div_ceil(BYTES_PER_PERMIT),
            )),
            readers: Semaphore::new(config.max_readers),
            callers: Callers::default(),
            inbox,
            source,
            clock,
            health,
            background,
            config,
        }
    }

    async fn take(&self, request: Request) -> Result<Appended, Problem> {
        let (parts, body) = request.into_parts();
        let held = self.admit(&parts, body.size_hint().upper()).await?;
        let taken = match self.body(&parts.headers, body).await {
            Ok(body) => self.parcels(Post { headers: parts.headers, body }).await,
            Err(problem) => Err(problem),
        };
        // Only what is wrong with the post itself speaks against whoever posted it.
        let is_genuine = !taken.as_ref().is_err_and(|problem| problem.status.is_client_error());
        if let Some(caller) = &held.caller {
            caller.judge(is_genuine, self.clock.now());
        }
        let appended = self.append(taken.inspect_err(|problem| self.count_refused(problem))?).await?;
        count(self.source.name(), "taken", 1);
        Ok(appended)
    }

    /// Room for a post, before a byte of it is read.
    async fn admit(&self, parts: &Parts, declared: Option<u64>) -> Result<Held, Problem> {
        let limit = self.config.body_limit_bytes;
        let declared = declared.and_then(|bytes| usize::try_from(bytes).ok());
        // What is over the limit is refused by its declaration, and holds no room till then.
        let bytes = declared.map_or(limit, |bytes| if bytes > limit { 0 } else { bytes });
        let caller = match parts.extensions.get::<server::Connection>() {
            Some(connection) => {
                let (peer, now) = (connection.peer.ip(), self.clock.now());
                let admitted = self.callers.admit(peer, bytes, now, self.config.stranger());
                Some(admitted.map_err(|wait| self.too_many(wait))?)
            }
            None => None,
        };
        let busy = || self.come_back("too many posts at once");
        let post = self.posts.clone().try_acquire_owned().map_err(|_| busy())?;
        let permits = u32::try_from(bytes.div_ceil(BYTES_PER_PERMIT)).unwrap_or(u32::MAX);
        let room = self.bytes.clone().acquire_many_owned(permits);
        let room = tokio::time::timeout(self.config.room_within, room).await;
        match room {
            Ok(Ok(bytes)) => Ok(Held { _post: post, _bytes: bytes, caller }),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }

    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        let is_plain = |value: &header::HeaderValue| {
            value
                .to_str()
                .is_ok_and(|text| text.trim().is_empty() || text.trim().eq_ignore_ascii_case("identity"))
        };
        // No provider compresses its posts, and a few kilobytes of gzip can be gigabytes.
        if !headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .with_detail("a compressed body is not taken: post it without Content-Encoding"));
        }
        let Config { body_limit_bytes, body_idle_timeout, body_timeout, .. } = self.config;
        read_body(body, body_limit_bytes, body_idle_timeout, body_timeout).await.map_err(|error| {
            let status = match error {
                BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
                BodyError::Broken => StatusCode::BAD_REQUEST,
            };
            Problem::new(status).with_detail(error.to_string())
        })
    }

    /// Verified, read and packed. Few at once, so that a flood of posts leaves time for sending.
    async fn parcels(&self, post: Post) -> Result<Vec<Parcel>, Problem> {
        let _turn = self.readers.acquire().await;
        let now = self.clock.now();
        let provider = self.source.name();
        let source = self.source.clone();
        let reading = async move { Ok(pack(&source.events(post, now).await?, now)) };
        let read = self.background.spawn(reading).await;
        let error = match read.unwrap_or_else(|panic| Err(WebhookError::Unavailable(panic.to_string()))) {
            Ok(parcels) => {
                self.health.count(Tick::PostTaken, now);
                return Ok(parcels);
            }
            Err(error) => error,
        };
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

    async fn append(&self, parcels: Vec<Parcel>) -> Result<Appended, Problem> {
        if parcels.is_empty() {
            return Ok(Appended::default());
        }
        let provider = self.source.name();
        self.inbox.append(parcels).await.map_err(|error| {
            match &error {
                InboxError::Full(_) => {
                    tracing::warn!(provider, %error, "the provider keeps its events for now")
                }
                InboxError::Unavailable(_) => {
                    tracing::error!(provider, %error, "events could not be recorded")
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
        count(self.source.name(), "turned_away", 1);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .with_detail(detail)
            .with_retry_after(self.config.retry_after)
    }

    fn too_many(&self, wait: Duration) -> Problem {
        count(self.source.name(), "turned_away", 1);
        Problem::new(StatusCode::TOO_MANY_REQUESTS)
            .with_detail("too many posts from this address")
            .with_retry_after(wait)
    }

    fn count_refused(&self, problem: &Problem) {
        match problem.status {
            StatusCode::FORBIDDEN => count(self.source.name(), "refused", 1),
            status if status.is_client_error() => count(self.source.name(), "malformed", 1),
            _ => {}
        }
    }
}

impl Config {
    /// What an address may do that never sent anything genuine: never so much that nobody else has room.
    fn stranger(&self) -> Bounds {
        Bounds {
            refused: self.refused_per_minute,
            open: self.max_concurrent.div_ceil(4) * 3,
            bytes: self.max_bytes / 4 * 3,
        }
    }
}

fn count(provider: &str, outcome: &'static str, by: u64) {
    counter!(WEBHOOK_POSTS_TOTAL, "provider" => provider.to_owned(), "outcome" => outcome).increment(by);
}
