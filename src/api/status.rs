//! How the whole instance stands: figures for a glance, and with `prove` the evidence, each with its source and the
//! moment at which it was read. No notification and no address is in it.

pub mod callbacks;
pub mod evidence;
pub mod heard;
pub mod inbox;
pub mod jobs;
pub mod open;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Json;
use super::auth::Scope;
use super::guard::Caller;
use super::unconfirmed::UnconfirmedCounts;
use super::{Shared, trouble};
use crate::clock::Timestamp;
use crate::message_log::{Counts, Standings};
use crate::notification::status::Status;
use crate::provider::health::{Circuit, ProviderHealth};
use crate::queue::Depth;
use crate::server::problem::Problem;
use crate::stops::Stop;
use crate::tracking::aside::{self, Count};
use callbacks::CallbackLine;
use evidence::Evidence;
use heard::WitnessView;
use inbox::InboxView;
use jobs::JobLine;
use open::Open;

/// What the sources of a proof are called.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The queue.
    pub queue: String,
    /// The message log.
    pub log: String,
    /// The journal.
    pub journal: String,
    /// The inbox of events.
    pub inbox: String,
    /// Whether the queue counts exactly. SQS does not.
    pub is_queue_exact: bool,
}

impl Default for Sources {
    fn default() -> Self {
        let [queue, log, journal, inbox] = ["queue", "log", "journal", "inbox"].map(str::to_owned);
        Self { queue, log, journal, inbox, is_queue_exact: true }
    }
}

/// How the instance stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = InstanceStatus)]
pub struct StatusView {
    /// When it was read.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// Notifications by status; every status is there. Empty in a proof for which the log did not answer.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub by_status: BTreeMap<Status, u64>,
    /// How long the longest-waiting notification that should be on its way has waited, in whole seconds; null when
    /// none waits.
    #[schema(required = true)]
    pub oldest_unsent_seconds: Option<u64>,
    /// Since when it waits.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub oldest_unsent_since: Option<Timestamp>,
    /// What lies on the queue; null when the queue did not answer.
    #[schema(required = true)]
    pub queue: Option<QueueView>,
    /// Provider events that are durable and wait to be folded; null when nobody here knows, or it did not answer.
    #[schema(required = true)]
    pub inbox: Option<InboxView>,
    /// Events that match no notification, kept and looked at again; null when they could not be counted.
    #[schema(required = true)]
    pub unmatched_events: Option<u64>,
    /// Events that could not be folded, and that nobody has dealt with; null when the journal did not answer.
    #[serde(default)]
    #[schema(required = true)]
    pub events_aside: Option<Count>,
    /// Every provider account as this process's worker last saw it.
    pub providers: Vec<ProviderHealth>,
    /// Of every configured provider, the newest event heard; null when the log did not answer.
    #[serde(default)]
    #[schema(required = true)]
    pub witnesses: Option<Vec<WitnessView>>,
    /// What was sent and not heard of, of all tenants; null when the journal did not answer.
    #[serde(default)]
    #[schema(required = true)]
    pub unconfirmed: Option<UnconfirmedCounts>,
    /// When the queue last answered this process's worker.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub last_receive_at: Option<Timestamp>,
    /// How many per second the providers took, lately.
    pub sent_per_second: f64,
    /// How long the backlog takes at that rate, in whole seconds; 0 without a backlog, null when nothing moves, also
    /// because every provider's circuit is open.
    #[schema(required = true)]
    pub drain_seconds: Option<u64>,
    /// When the backlog is sent at that rate; null without a backlog, and when nothing moves.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub clear_at: Option<Timestamp>,
    /// The standing stops that the key may know of; null when the journal did not answer.
    #[schema(required = true)]
    pub stops: Option<Vec<Stop>>,
    /// The jobs that are active, and those that were interrupted or stopped before everything was done, as far as the
    /// key may know of them; null when the journal did not answer.
    #[schema(required = true)]
    pub jobs: Option<Vec<JobLine>>,
    /// The callbacks that are told nothing right now, as far as the key may know of them; null when the journal did not
    /// answer.
    #[schema(required = true)]
    #[serde(default)]
    pub callbacks: Option<Vec<CallbackLine>>,
    /// With `prove`: whether nothing can still be sent. Null without it.
    #[schema(required = true)]
    pub converged: Option<bool>,
    /// With `prove`: what can still be sent, or could not be read. Empty if and only if it converged.
    pub open: Vec<Open>,
    /// With `prove`: what was read, where and when. Null without it.
    #[schema(required = true)]
    pub evidence: Option<Evidence>,
}

/// What is asked of the status.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// `true`: read every source anew, and tell whether nothing can still be sent. Costs more on a large table.
    #[param(required = false)]
    pub prove: bool,
}

/// Queue messages by where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = QueueDepth)]
pub struct QueueView {
    /// Ready to be received.
    pub visible: u64,
    /// Received and not settled.
    pub in_flight: u64,
    /// Waiting for their delay.
    pub delayed: u64,
    /// In the dead-letter queue.
    pub dead: u64,
}

impl From<Depth> for QueueView {
    fn from(depth: Depth) -> Self {
        let Depth { visible, in_flight, delayed, dead } = depth;
        Self { visible, in_flight, delayed, dead }
    }
}

/// See how the instance stands
#[utoipa::path(
    get, path = "/v1/status", operation_id = "status", tag = "operations",
    params(Asked),
    responses(
        (status = 200, description = "How it stands", body = StatusView),
        (status = 422, description = "A parameter is not valid or not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn status(
    State(door): State<Shared>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<StatusView>, Problem> {
    let Ok(Query(asked)) = asked else {
        return Err(trouble::invalid_at("/prove", "the one parameter is prove, which is true or false"));
    };
    let state = &door.state;
    let now = state.clock.now();
    // In this order: a job sets notifications on their way before it says that it is done, and each has its row before
    // it has its message. Read the other way round, something could hide between two readings.
    let jobs = jobs::read(state, now).await;
    let stops = evidence::stops(state).await;
    let queue = evidence::queue(state, asked.prove).await;
    let inbox = inbox::read(state).await;
    let standings = if asked.prove { Some(evidence::standings(state).await) } else { None };
    let counts = state.log.counts(now).await;
    let counts = match counts {
        Ok(counts) => Some(counts),
        Err(error) if !asked.prove => return Err(trouble::log(&error)),
        Err(error) => {
            tracing::warn!(%error, "the log cannot be counted");
            None
        }
    };
    let by_status = by_status(counts.as_ref(), standings.as_ref().and_then(|read| read.value.as_ref()));
    let rate = state.health.sent_per_second(now);
    let oldest = oldest(counts.as_ref());
    let providers = state.health.providers();
    // What was sent in the last half minute says nothing once nobody takes anything any more.
    let moves = providers.is_empty() || providers.iter().any(|one| one.circuit == Circuit::Closed);
    let drain = drain_seconds(&by_status, if moves { rate } else { 0.0 }).filter(|_| counts.is_some());
    let may_know = |tenant: Option<&str>| {
        caller.0.allows(Scope::Admin) || tenant.is_none_or(|tenant| caller.0.may_act_for(tenant))
    };
    let proof = standings.map(|standings| {
        let open = open::open(&by_status, &standings, &queue, &jobs);
        (
            open,
            Evidence {
                inbox: inbox.as_ref().map(|inbox| inbox::proof(state, inbox)),
                ..Evidence::of(state, &standings, &queue, &jobs, &stops, &by_status)
            },
        )
    });
    let (open, evidence) = proof.map_or((None, None), |(open, evidence)| (Some(open), Some(evidence)));
    Ok(Json(StatusView {
        now,
        clear_at: drain.filter(|seconds| *seconds > 0).map(|s| now.plus(Duration::from_secs(s))),
        drain_seconds: drain,
        by_status,
        oldest_unsent_seconds: oldest.map(|since| now.since(since).as_secs()),
        oldest_unsent_since: oldest,
        queue: queue.value.as_ref().map(|queue| queue.depth),
        inbox: inbox.and_then(|inbox| inbox.value),
        unmatched_events: state.unmatched.count().await.ok(),
        events_aside: aside::count(&*state.journal).await.ok(),
        providers,
        witnesses: heard::witnesses(state, now).await,
        unconfirmed: heard::unconfirmed(state).await,
        last_receive_at: state.health.last_receive(),
        sent_per_second: rate,
        stops: stops
            .value
            .map(|stops| stops.into_iter().filter(|stop| may_know(stop.scope.tenant.as_deref())).collect()),
        jobs: jobs.value.map(|jobs| jobs.into_iter().filter(|job| may_know(job.tenant.as_deref())).collect()),
        callbacks: callbacks::read(state).await.map(|callbacks| {
            callbacks.into_iter().filter(|callback| may_know(Some(&callback.tenant))).collect()
        }),
        converged: open.as_ref().map(Vec::is_empty),
        open: open.unwrap_or_default(),
        evidence,
    }))
}

fn oldest(counts: Option<&Counts>) -> Option<Timestamp> {
    counts.and_then(|counts| counts.oldest_unsent)
}

/// Every status; what is unsent as the proof read it, which is never a count from a second ago.
fn by_status(counts: Option<&Counts>, standings: Option<&Standings>) -> BTreeMap<Status, u64> {
    let Some(counts) = counts else { return BTreeMap::new() };
    let count = |status: Status| match standings {
        Some(standings) if status.is_unsent() => standings.get(&status).map_or(0, |standing| standing.count),
        _ => counts.by_status.get(&status).copied().unwrap_or(0),
    };
    Status::ALL.into_iter().map(|status| (status, count(status))).collect()
}

fn drain_seconds(by_status: &BTreeMap<Status, u64>, per_second: f64) -> Option<u64> {
    let on_its_way = [Status::Accepted, Status::Attempting, Status::Retrying, Status::Unknown];
    let backlog: u64 = on_its_way.iter().filter_map(|status| by_status.get(status)).sum();
    match backlog {
        0 => Some(0),
        // The cast saturates, and no forecast is negative.
        _ if per_second > 0.0 => Some((backlog as f64 / per_second).ceil() as u64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forecast_counts_what_is_on_its_way_and_is_silent_when_nothing_moves() {
        let stand = BTreeMap::from([(Status::Accepted, 90), (Status::Retrying, 10), (Status::Failed, 1000)]);
        assert_eq!(drain_seconds(&stand, 40.0), Some(3));
        assert_eq!(drain_seconds(&stand, 0.0), None);
        assert_eq!(drain_seconds(&BTreeMap::from([(Status::Sent, 5)]), 0.0), Some(0));
    }
}
