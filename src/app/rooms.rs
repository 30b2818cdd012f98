//! From settings to each room's own configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::{Storage, ways};
use crate::api::events::Telling;
use crate::api::{self, ApiState};
use crate::background::Background;
use crate::callbacks;
use crate::callbacks::post::{HttpCourier, SystemResolver};
use crate::clock::Clock;
use crate::console;
use crate::engagement::Rulebook;
use crate::feed::callback::Patience;
use crate::feed::courier::Courier;
use crate::jitter::Schedule;
use crate::jobs::Bell;
use crate::notification::content;
use crate::notification::status::AttemptLimits;
use crate::provider::health::HealthBoard;
use crate::provider::resend;
use crate::recovery::{jobs, sweep, watchdog};
use crate::sandbox::Sandbox;
use crate::server;
use crate::settings::{Backend, Settings};
use crate::stops::Stops;
use crate::storm;
use crate::suppression::guard::Suppressions;
use crate::tracking::folder;
use crate::worker::{self, Evidence, Guards, breaker, concurrency, retry};

/// Makes rustls use ring. Once is enough; again is harmless.
pub(super) fn install_tls() {
    let _already = rustls::crypto::ring::default_provider().install_default();
}

pub(super) fn api(settings: &Settings) -> api::Config {
    let limits = &settings.limits;
    api::Config {
        limits: content::Limits { body_bytes: limits.notification_bytes },
        batch_body_bytes: limits.batch_bytes,
        batch_entries: limits.batch_entries,
        requests_per_second: limits.requests_per_second,
        backlog_cap: limits.backlog,
        policy: api::next::Policy {
            limits: attempt_limits(settings),
            witness_margin: settings.worker.witness_margin,
            witness_cap: settings.worker.witness_cap,
            keyed: &[("resend", resend::IDEMPOTENCY)],
        },
        late_after: settings.alert_delay,
        providers: settings.providers.iter().map(|name| name.as_str().to_owned()).collect(),
        witness_lasts: settings.worker.hold.saturating_sub(settings.worker.witness_margin),
        sources: sources(settings),
        ..api::Config::default()
    }
}

fn attempt_limits(settings: &Settings) -> AttemptLimits {
    let from = &settings.worker;
    AttemptLimits { attempts: from.max_attempts, unknown_resends: from.unknown_resends }
}

fn sources(settings: &Settings) -> api::status::Sources {
    match &settings.backend {
        Backend::Embedded => {
            let file = settings.data_dir.display();
            api::status::Sources {
                queue: format!("queue in {file}"),
                log: format!("log in {file}"),
                journal: format!("journal in {file}"),
                inbox: format!("inbox in {file}"),
                is_queue_exact: true,
            }
        }
        Backend::Aws(aws) => api::status::Sources {
            queue: format!("SQS {}", aws.queue_url.rsplit('/').next().unwrap_or_default()),
            log: format!("DynamoDB {}", aws.table),
            journal: format!("journal in DynamoDB {}", aws.table),
            inbox: format!(
                "SQS {}",
                aws.events_url.as_deref().unwrap_or("-").rsplit('/').next().unwrap_or_default()
            ),
            is_queue_exact: false,
        },
    }
}

pub(super) fn console(settings: &Settings) -> console::Config {
    console::Config { alert_delay: settings.alert_delay }
}

pub(super) fn server(settings: &Settings) -> server::Config {
    server::Config { max_connections: settings.limits.connections, ..server::Config::default() }
}

pub(super) fn worker(settings: &Settings) -> worker::Config {
    let from = &settings.worker;
    worker::Config {
        lease: from.lease,
        hold: from.hold,
        attempt_timeout: from.provider_timeout,
        visibility: settings.queue.visibility,
        long_poll: settings.queue.long_poll,
        drain: from.drain,
        retry: retry::Policy {
            base: from.backoff_base,
            cap: from.backoff_cap,
            limits: attempt_limits(settings),
            witness_margin: from.witness_margin,
            witness_cap: from.witness_cap,
            witness_poll: from.witness_poll,
            ..retry::Policy::default()
        },
        breaker: breaker::Config {
            first_open: from.breaker_open,
            longest_open: from.breaker_open_max,
            ..breaker::Config::default()
        },
        concurrency: concurrency::Config { min: from.concurrency_min, max: from.concurrency_max },
        settle: settle(settings),
        ..worker::Config::default()
    }
}

/// What keeps back what would be sent.
pub(super) fn guards(settings: &Settings, storage: &Storage, clock: &Clock) -> Guards {
    let stops = Stops::new(storage.journal.clone());
    let (journal, log) = (storage.journal.clone(), storage.log.clone());
    let storm = storm::Guard::new(journal, log, stops.clone(), clock.clone(), &settings.guard);
    let (list, journal) = (storage.suppressions.clone(), storage.journal.clone());
    let suppressions = Suppressions::new(list, journal, settings.suppression.clone());
    Guards { stops, storm, suppressions, evidence: evidence(settings, storage) }
}

fn evidence(settings: &Settings, storage: &Storage) -> Evidence {
    match (&storage.inbox, &settings.backend) {
        (Some(inbox), _) => Evidence::In(inbox.clone()),
        (None, Backend::Embedded) => Evidence::Nowhere,
        (None, Backend::Aws(_)) => Evidence::Elsewhere,
    }
}

/// What the door stands on, without keys and without a worker.
pub(super) fn api_state(
    settings: &Settings,
    storage: &Storage,
    guards: &Guards,
    (clock, bell): (Clock, Bell),
) -> ApiState {
    ApiState {
        intake: storage.intake.clone(),
        log: storage.log.clone(),
        unmatched: storage.unmatched.clone(),
        queue: storage.queue.clone(),
        inbox: storage.inbox.clone(),
        journal: storage.journal.clone(),
        stops: guards.stops.clone(),
        suppressions: guards.suppressions.clone(),
        meter: guards.storm.meter().clone(),
        machines: Rulebook::new(settings.machines_file.clone()),
        bell,
        clock,
        keys: Arc::default(),
        health: HealthBoard::default(),
        worker_expected: false,
        telling: telling(settings, storage),
        channels: None,
        metrics: None,
        config: api(settings),
    }
}

/// On AWS a request is paid for in money and CPU, and full ones are the cheapest: outcomes wait longer for company.
fn settle(settings: &Settings) -> worker::SettleConfig {
    let linger = match settings.backend {
        Backend::Embedded => worker::SettleConfig::default().linger,
        Backend::Aws(_) => Duration::from_millis(25),
    };
    worker::SettleConfig { linger, ..worker::SettleConfig::default() }
}

/// On AWS folding is waiting for answers, and the clients' connections belong to the threads that opened them.
pub(super) fn background(settings: &Settings) -> anyhow::Result<Background> {
    match settings.backend {
        Backend::Embedded => Background::start().context("cannot start the threads for what may wait"),
        Backend::Aws(_) => Ok(Background::default()),
    }
}

/// How events are folded. On AWS a step waits for the network most of the time.
pub(super) fn folder(settings: &Settings) -> folder::Config {
    let wait = settings.queue.long_poll;
    match settings.backend {
        Backend::Embedded => folder::Config { wait, ..folder::Config::default() },
        // There a parcel's count also grows when it was received beside the one to blame.
        Backend::Aws(_) => {
            folder::Config { events: 500, at_once: 4, last_tries: 12, wait, ..folder::Config::default() }
        }
    }
}

/// A look at an idle table is 24 queries: a second apart they would cost more than the mails of a small house.
pub(super) fn sweeper(settings: &Settings) -> sweep::Config {
    let interval = match settings.backend {
        Backend::Embedded => sweep::Config::default().interval,
        Backend::Aws(_) => Duration::from_secs(5),
    };
    sweep::Config { interval, ..sweep::Config::default() }
}

/// How often it is looked goes by the shorter deadline. On AWS a look through what was sent reads whole hours, so it waits
/// until there is enough to look through.
pub(super) fn watchdog(settings: &Settings, sandbox: Option<&Sandbox>) -> anyhow::Result<watchdog::Config> {
    let from = &settings.watchdog;
    let interval = (from.processed_within / 15).clamp(Duration::from_millis(100), Duration::from_secs(60));
    let defaults = watchdog::Config::default();
    let patience = defaults.patience.min(interval * 10);
    let sources = ways::event_sources(settings, sandbox)?;
    let (walk_every, again) = match settings.backend {
        Backend::Embedded => (defaults.walk_every, defaults.again),
        Backend::Aws(_) => (from.processed_within.min(Duration::from_secs(900)), 500),
    };
    Ok(watchdog::Config {
        processed_within: from.processed_within,
        end_within: from.end_within,
        interval,
        walk_every,
        again,
        patience,
        lease: patience + interval * 3,
        providers: api(settings).providers,
        awaited: sources.values().map(|source| source.name().to_owned()).collect(),
        ..defaults
    })
}

/// Who posts to the producers' endpoints.
pub(super) fn courier(settings: &Settings) -> Arc<dyn Courier> {
    let from = &settings.callback;
    let courier = HttpCourier::new(from.allow_insecure, Arc::new(SystemResolver));
    Arc::new(courier.trusting(from.authorities.clone()))
}

/// Callbacks are retried on the worker's schedule.
pub(super) fn callbacks(settings: &Settings) -> callbacks::Config {
    let from = &settings.worker;
    let schedule = Schedule { base: from.backoff_base, cap: from.backoff_cap, ..Schedule::default() };
    callbacks::Config {
        patience: Patience { schedule, ..Patience::default() },
        look_every: feed_look(settings).unwrap_or(callbacks::Config::default().look_every),
        retention: settings.callback.retention,
        alone: matches!(settings.backend, Backend::Embedded),
        ..callbacks::Config::default()
    }
}

/// What changed, for the API.
pub(super) fn telling(settings: &Settings, storage: &Storage) -> Telling {
    let telling = Telling::new(storage.feed.clone(), Some(courier(settings)));
    match feed_look(settings) {
        Some(look) => telling.looking_every(look),
        None => telling,
    }
}

/// On AWS a look at a tenant's feed is four queries, and what changed is told after a while in any case.
fn feed_look(settings: &Settings) -> Option<Duration> {
    matches!(settings.backend, Backend::Aws(_)).then_some(Duration::from_secs(5))
}

/// On AWS a look costs a request for every hundred that are awaited, and a write of the journal is paid for by its size.
pub(super) fn jobs(settings: &Settings) -> jobs::Config {
    match settings.backend {
        Backend::Embedded => jobs::Config::default(),
        Backend::Aws(_) => jobs::Config {
            window: 1000,
            look_every: Duration::from_secs(1),
            tell_every: Duration::from_secs(2),
            scan_every: Duration::from_secs(5),
            ..jobs::Config::default()
        },
    }
}

/// Between two readings of the gauges. A count over a million open rows takes SQLite some 50 ms; on AWS it is paid for.
pub(super) fn gauges(settings: &Settings) -> Duration {
    match settings.backend {
        Backend::Embedded => Duration::from_secs(5),
        Backend::Aws(_) => Duration::from_secs(15),
    }
}
