//! What a proof rests on: each figure with the source that it came from and the moment at which it was read.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::inbox::InboxProof;
use super::jobs::{self, JobLine};
use super::{QueueView, Sources};
use crate::api::ApiState;
use crate::clock::Timestamp;
use crate::dead_letters::{self, Survey};
use crate::message_log::{ByAge, Standings};
use crate::notification::status::Status;
use crate::stops::Stop;

/// How long a source may take to answer. A million open rows are counted in a tenth of that on either backend.
const PATIENCE: Duration = Duration::from_secs(20);

/// So many dead letters are looked at for a proof.
const MOST_LETTERS: usize = 200;

/// What was read, where and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusEvidence)]
pub struct Evidence {
    /// Live queue messages.
    pub queue: QueueProof,
    /// What is unsent, by status and age.
    pub log: LogProof,
    /// Provider events that wait to be folded; null where this process knows of no inbox.
    #[schema(required = true)]
    pub inbox: Option<InboxProof>,
    /// Dead letters, in the log and on the queue.
    pub dead_letters: DeadLetterProof,
    /// Jobs.
    pub jobs: Reading,
    /// Standing stops.
    pub stops: Reading,
    /// What a provider was told to send later.
    pub provider_scheduled: ScheduledProof,
    /// Providers, as this process's worker sees them.
    pub providers: Reading,
}

/// A source, and when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusReading)]
pub struct Reading {
    /// What was read.
    pub source: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub read_at: Timestamp,
    /// Whether it answered.
    pub answered: bool,
    /// What to know about the figures.
    #[schema(required = true)]
    pub note: Option<String>,
}

/// Live queue messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusQueueProof)]
pub struct QueueProof {
    /// Where and when.
    #[serde(flatten)]
    pub reading: Reading,
    /// Whether the figures are approximate.
    pub approximate: bool,
    /// The figures; null when it did not answer.
    #[schema(required = true)]
    pub depth: Option<QueueView>,
    /// How many of the live ones are for notifications at an end, so that nothing can be sent for them; null where
    /// the queue cannot tell.
    #[schema(required = true)]
    pub spent: Option<u64>,
}

/// What is unsent, by status and age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusLogProof)]
pub struct LogProof {
    /// Where and when.
    #[serde(flatten)]
    pub reading: Reading,
    /// Each unsent status that somebody stands in, dead letters and expired ones included; null when it did not answer.
    #[schema(required = true)]
    pub standings: Option<Vec<StandingView>>,
}

/// How those in one status stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusStanding)]
pub struct StandingView {
    /// The status.
    pub status: Status,
    /// Whether something can still be sent from there without an operator who sends it again.
    pub is_open: bool,
    /// How many.
    pub count: u64,
    /// Since when the one waits that waits longest.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub oldest_since: Option<Timestamp>,
    /// Counts by how long they wait.
    pub by_age: ByAge,
}

/// Dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusDeadLetterProof)]
pub struct DeadLetterProof {
    /// Where and when.
    #[serde(flatten)]
    pub reading: Reading,
    /// Failed notifications; the log keeps them whatever the queue does. Null when the log did not answer.
    #[schema(required = true)]
    pub in_log: Option<u64>,
    /// Messages in the dead-letter queue; null when it did not answer.
    #[schema(required = true)]
    pub in_queue: Option<u64>,
    /// When the queue destroys the first of them; null where there is none, or the queue does not tell.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub destroyed_from: Option<Timestamp>,
}

/// What a provider was told to send later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StatusScheduledProof)]
pub struct ScheduledProof {
    /// Where and when.
    #[serde(flatten)]
    pub reading: Reading,
    /// Always 0.
    pub at_provider: u64,
    /// Scheduled ones that wait in the log; null when it did not answer.
    #[schema(required = true)]
    pub in_log: Option<u64>,
}

/// A value with the moment at which it was read; without one, its source did not answer.
pub(super) struct Read<T> {
    pub(super) at: Timestamp,
    pub(super) value: Option<T>,
}

/// What the queue said.
pub(super) struct QueueRead {
    pub(super) depth: QueueView,
    pub(super) spent: Option<u64>,
    /// Its dead letters, where there are any and they could be looked at.
    pub(super) letters: Option<Survey>,
}

impl QueueRead {
    pub(super) fn live(&self) -> u64 {
        self.depth.visible + self.depth.in_flight + self.depth.delayed
    }

    /// Messages for which something may be sent.
    pub(super) fn can_send(&self) -> u64 {
        self.live().saturating_sub(self.spent.unwrap_or(0))
    }
}

impl<T> Read<T> {
    /// A failure is written down once, here.
    pub(super) fn of(state: &ApiState, value: Result<T, String>, what: &str) -> Self {
        let value = value.map_err(|error| tracing::warn!(%error, "{what} cannot be read")).ok();
        Self { at: state.clock.now(), value }
    }

    pub(super) fn reading(&self, source: &str, note: Option<String>) -> Reading {
        Reading { source: source.to_owned(), read_at: self.at, answered: self.value.is_some(), note }
    }
}

/// An operator asks just when something is ill: what still answers is shown, and nothing is waited for without end.
pub(super) async fn within<T, E: Display>(
    asked: impl Future<Output = Result<T, E>> + Send,
) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_elapsed) => Err("no answer in time".into()),
    }
}

pub(super) async fn stops(state: &ApiState) -> Read<Vec<Stop>> {
    let read = within(state.stops.refresh()).await;
    Read::of(state, read.map(|()| state.stops.known().unwrap_or_default().to_vec()), "the standing stops")
}

pub(super) async fn queue(state: &ApiState, is_proof: bool) -> Read<QueueRead> {
    let depth = match tokio::time::timeout(state.config.queue_timeout, state.queue.depth()).await {
        Ok(depth) => depth.map_err(|error| error.to_string()),
        Err(_elapsed) => Err("no answer in time".into()),
    };
    let mut read = Read::of(
        state,
        depth.map(|depth| QueueRead { depth: depth.into(), spent: None, letters: None }),
        "the queue's depth",
    );
    if let Some(queue) = read.value.as_mut().filter(|queue| is_proof && queue.live() > 0) {
        queue.spent = within(state.queue.spent()).await.ok().flatten();
    }
    if let Some(queue) = read.value.as_mut().filter(|queue| is_proof && queue.depth.dead > 0) {
        let (queue_port, log, journal) = (state.queue.as_ref(), state.log.as_ref(), state.journal.as_ref());
        let looked = within(dead_letters::survey(queue_port, log, journal, MOST_LETTERS)).await;
        queue.letters =
            looked.map_err(|error| tracing::warn!(%error, "dead letters cannot be looked at")).ok();
    }
    read
}

pub(super) async fn standings(state: &ApiState) -> Read<Standings> {
    let standings = within(state.log.standings(state.clock.now())).await;
    Read::of(state, standings, "what is unsent")
}

impl Evidence {
    pub(super) fn of(
        state: &ApiState,
        standings: &Read<Standings>,
        queue: &Read<QueueRead>,
        jobs: &Read<Vec<JobLine>>,
        stops: &Read<Vec<Stop>>,
        by_status: &BTreeMap<Status, u64>,
    ) -> Self {
        let sources = &state.config.sources;
        let providers = state.health.providers();
        let no_worker = providers.is_empty().then(|| "no worker has sent from this process".to_owned());
        let at = state.clock.now();
        let worker = Read { at, value: Some(()) };
        let count = |status| standings.value.as_ref().and_then(|_| by_status.get(&status).copied());
        let why = "kakitome never uses a provider's own scheduling: what is scheduled waits in the log, where it can \
                   be held and cancelled";
        Self {
            queue: queue_proof(queue, sources),
            log: LogProof {
                reading: standings.reading(&sources.log, None),
                standings: standings.value.as_ref().map(views),
            },
            inbox: None,
            dead_letters: dead_letter_proof(queue, count(Status::Failed), sources),
            jobs: jobs
                .reading(&sources.journal, Some(format!("the latest {} jobs were looked at", jobs::LATEST))),
            stops: stops.reading(&sources.journal, None),
            provider_scheduled: ScheduledProof {
                reading: standings.reading(&sources.log, Some(why.into())),
                at_provider: 0,
                in_log: count(Status::Scheduled),
            },
            providers: worker.reading("this process's worker", no_worker),
        }
    }
}

fn queue_proof(queue: &Read<QueueRead>, sources: &Sources) -> QueueProof {
    let spent = queue.value.as_ref().and_then(|queue| queue.spent);
    let note = match (sources.is_queue_exact, spent) {
        (false, _) => Some(
            "approximate, up to a minute behind; a delayed copy of something cancelled or sent is among them until \
             its delay is over (15 minutes at most), and is then deleted unsent"
                .into(),
        ),
        (true, Some(spent)) if spent > 0 => Some(format!(
            "{spent} of them for what is at an end: deleted when they come, nothing can be sent for them"
        )),
        _ => None,
    };
    QueueProof {
        reading: queue.reading(&sources.queue, note),
        approximate: !sources.is_queue_exact,
        depth: queue.value.as_ref().map(|queue| queue.depth),
        spent,
    }
}

fn dead_letter_proof(queue: &Read<QueueRead>, in_log: Option<u64>, sources: &Sources) -> DeadLetterProof {
    let in_queue = queue.value.as_ref().map(|queue| queue.depth.dead);
    let letters = queue.value.as_ref().and_then(|queue| queue.letters);
    let note = in_queue.filter(|count| *count > 0).map(|_| match letters {
        None => "they could not be looked at; the queue destroys them after its retention".to_owned(),
        Some(survey) => {
            let Survey { seen, recorded, kept, .. } = survey;
            let of = if survey.is_cut_short { "the first " } else { "" };
            format!(
                "of {of}{seen} looked at {recorded} are failed ones in the log, of {kept} a copy is kept in the \
                 journal, {} are in the queue alone",
                survey.unkept()
            )
        }
    });
    let destroyed_from = letters.and_then(|survey| survey.first_destroyed_at);
    DeadLetterProof { reading: queue.reading(&sources.queue, note), in_log, in_queue, destroyed_from }
}

fn views(standings: &Standings) -> Vec<StandingView> {
    let view = |(status, standing): (&Status, &crate::message_log::Standing)| StandingView {
        status: *status,
        is_open: !status.is_end(),
        count: standing.count,
        oldest_since: standing.oldest,
        by_age: standing.by_age,
    };
    standings.iter().map(view).collect()
}
