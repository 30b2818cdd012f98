//! The door back: the providers' event webhooks. A post is answered with 2xx only once every event in it is durable;
//! whatever stands in the way of that is answered so that the provider posts again. Folding comes later, and is not
//! this room's business.

mod callers;
mod door;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use metrics::counter;

use crate::background::Background;
use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::metrics::EVENTS_TOTAL;
use crate::provider::health::HealthBoard;
use crate::provider::{EventKind, EventSource};
use crate::server::problem::Problem;
use door::{Door, receive};

/// Bounds of the webhook posts, each source's own.
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
    /// Bytes of their bodies at once; what is not declared counts as the largest post. At least that.
    pub max_bytes: usize,
    /// How long a post waits for room for its bytes before it is asked to come back.
    pub room_within: Duration,
    /// Posts that are verified and read at once.
    pub max_readers: usize,
    /// Posts in a minute that may be refused of an address that never sent anything genuine.
    pub refused_per_minute: u32,
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
            max_concurrent: 512,
            max_bytes: 64 * 1024 * 1024,
            room_within: Duration::from_secs(2),
            max_readers: 4,
            refused_per_minute: 1000,
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
    /// Where posts are verified and read, so that a flood of them leaves time for sending.
    pub background: Background,
    /// The bounds.
    pub config: Config,
}

/// `POST` on every source's path. Each has its own bounds: one source's flood takes nothing from another.
pub fn router(state: WebhookState) -> Router {
    let WebhookState { inbox, sources, clock, health, background, config } = state;
    sources.into_iter().fold(Router::new(), |router, (path, source)| {
        for kind in EventKind::KNOWN.iter().map(EventKind::as_str).chain(["other"]) {
            let provider = source.name().to_owned();
            counter!(EVENTS_TOTAL, "provider" => provider, "kind" => kind.to_owned()).increment(0);
        }
        let board = (clock.clone(), health.clone());
        let door = Door::new(inbox.clone(), source, board, background.clone(), config.clone());
        let only_post = async || Problem::new(StatusCode::METHOD_NOT_ALLOWED);
        router.route(&path, post(receive).fallback(only_post).with_state(Arc::new(door)))
    })
}
