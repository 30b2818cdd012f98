//! The door in: notifications are recorded before they are acknowledged, looked up, and acted upon.
//!
//! Every route stands once, in `api/routes.rs`; the router and `/openapi.json` both come from that table. A route with
//! a scope needs a key; `/healthz`, `/readyz`, `/metrics` and `/openapi.json` need none, since probes and scrapers
//! carry none and these answers name no notification, tenant or address.

pub mod act;
pub mod alerts;
mod answer;
pub mod aside;
pub mod auth;
mod batch;
mod batches;
mod body;
pub mod callbacks;
pub mod dead_letters;
mod engagement;
pub mod enqueue;
pub mod events;
mod guard;
pub mod incident;
pub mod jobs;
mod limit;
pub mod next;
mod openapi;
mod probe;
pub mod query;
pub mod read;
mod routes;
pub mod status;
pub mod suppressions;
mod trouble;
pub mod unconfirmed;
pub mod unmatched;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::clock::{Clock, Timestamp};
use crate::engagement::Rulebook;
use crate::inbox::Inbox;
use crate::intake::Intake;
use crate::jobs::Bell;
use crate::journal::Journal;
use crate::message_log::MessageLog;
use crate::message_log::unmatched::UnmatchedEvents;
use crate::notification::content::Limits;
use crate::provider::health::HealthBoard;
use crate::queue::Queue;
use crate::stops::Stops;
use crate::storm::meter::Meter;
use crate::suppression::guard::Suppressions;
use auth::KeyRing;
use limit::{Backlog, BodyBudget, RequestRates};

/// Bounds of the door.
#[derive(Clone, Debug)]
pub struct Config {
    /// How large one notification may be.
    pub limits: Limits,
    /// How large the body of a batch may be, in bytes.
    pub batch_body_bytes: usize,
    /// How many notifications a batch may hold.
    pub batch_entries: usize,
    /// How many bytes of bodies may be in memory at once, over all requests; above it 503 with `Retry-After`.
    pub in_flight_body_bytes: usize,
    /// How long the next piece of a body may take.
    pub body_idle_timeout: Duration,
    /// How long a whole body may take.
    pub body_timeout: Duration,
    /// Requests per second and key, with a burst of one second's worth; above it 429 with `Retry-After`. `None`: any.
    pub requests_per_second: Option<u32>,
    /// How many notifications may be open (not at an end); above it new ones get 429 with `Retry-After`. `None`: any.
    pub backlog_cap: Option<u64>,
    /// How far ahead `deliver_at` may lie.
    pub schedule_horizon: Duration,
    /// How long an answer waits for the queue. What the queue did not take in time is the sweeper's to bring.
    pub queue_timeout: Duration,
    /// `/healthz` fails once the worker has received nothing for this long.
    pub worker_silence: Duration,
    /// What the worker goes by, to tell what happens next.
    pub policy: next::Policy,
    /// Unsent or sent later than this after it was ready counts as late.
    pub late_after: Duration,
    /// What the sources of a proof are called.
    pub sources: status::Sources,
    /// The configured providers.
    pub providers: Vec<String>,
    /// How old the newest event of a provider may be for its silence to say something of an attempt whose hold ends now.
    pub witness_lasts: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits { body_bytes: 10 << 20 },
            batch_body_bytes: 64 << 20,
            batch_entries: 1000,
            in_flight_body_bytes: 256 << 20,
            body_idle_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(60),
            requests_per_second: None,
            backlog_cap: None,
            schedule_horizon: Duration::from_secs(366 * 24 * 3600),
            queue_timeout: Duration::from_secs(2),
            worker_silence: Duration::from_secs(120),
            policy: next::Policy::default(),
            late_after: Duration::from_secs(600),
            sources: status::Sources::default(),
            providers: Vec::new(),
            witness_lasts: Duration::from_secs(540),
        }
    }
}

/// What the door stands on.
#[derive(Clone)]
pub struct ApiState {
    /// Where notifications are taken in: into this log, and onto this queue.
    pub intake: Arc<dyn Intake>,
    /// The obligation.
    pub log: Arc<dyn MessageLog>,
    /// What the providers told that matches nothing.
    pub unmatched: Arc<dyn UnmatchedEvents>,
    /// The timer.
    pub queue: Arc<dyn Queue>,
    /// Provider events that wait to be folded, where this process knows of an inbox.
    pub inbox: Option<Arc<dyn Inbox>>,
    /// What operators did, and their jobs.
    pub journal: Arc<dyn Journal>,
    /// What stands stopped.
    pub stops: Stops,
    /// To whom nothing is sent.
    pub suppressions: Suppressions,
    /// How many each tenant hands in.
    pub meter: Meter,
    /// What tells machines from people.
    pub machines: Rulebook,
    /// Wakes whoever does jobs in this process.
    pub bell: Bell,
    /// Where the time comes from.
    pub clock: Clock,
    /// Who may do what.
    pub keys: Arc<KeyRing>,
    /// What the worker last saw.
    pub health: HealthBoard,
    /// Whether this process runs the worker role, so that its silence is a fault of this process.
    pub worker_expected: bool,
    /// What changed, and who is told of it.
    pub telling: events::Telling,
    /// Where alerts are posted, for trying it.
    pub channels: Option<Arc<dyn alerts::Channels>>,
    /// Renders `/metrics`; without one that path answers 404.
    pub metrics: Option<PrometheusHandle>,
    /// Bounds.
    pub config: Config,
}

/// What every handler holds.
type Shared = Arc<Door>;

struct Door {
    state: ApiState,
    started_at: Timestamp,
    bodies: BodyBudget,
    rates: RequestRates,
    backlog: Backlog,
    incidents: tokio::sync::Semaphore,
}

/// The router of every API path, with 404 and 405 answers as problems. Merge it with routers that set no fallback of
/// their own.
pub fn router(state: ApiState) -> Router {
    routes::router(door(state), routes::table())
}

/// The router of the paths that need no key, for a process without the API role: it is probed and scraped all the same.
pub fn probes(state: ApiState) -> Router {
    let keyless = routes::table().into_iter().filter(|route| route.scope.is_none());
    routes::router(door(state), keyless.collect())
}

fn door(state: ApiState) -> Shared {
    Arc::new(Door {
        started_at: state.clock.now(),
        bodies: BodyBudget::new(state.config.in_flight_body_bytes),
        rates: RequestRates::new(state.config.requests_per_second),
        backlog: Backlog::new(state.config.backlog_cap),
        incidents: tokio::sync::Semaphore::new(incident::AT_ONCE),
        state,
    })
}

/// The API's description (OpenAPI 3.1), as `/openapi.json` serves it.
pub fn description() -> utoipa::openapi::OpenApi {
    openapi::description()
}
