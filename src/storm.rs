//! The storm guard: keeps back what looks like a mistake. More than a broadcast was declared to have, and the same
//! content to the same person again and again, is held right before it would be sent, with the reason beside it. And it
//! measures whether a tenant hands in far more than it usually does.
//!
//! It is asked once for each notification, before its first attempt; retries, resends and redrives pass, and what it held
//! and an operator released. What is not suspicious costs a hash of the content and a look into memory, and no call.

pub mod batches;
pub mod meter;
mod recent;
mod repeats;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::journal::{Journal, JournalError};
use crate::message_log::{LogError, MessageLog};
use crate::metrics::GUARDED_TOTAL;
use crate::named::named;
use crate::notification::status::{Act, ActKind, Attempt, AttemptOutcome, By, Life};
use crate::notification::{Notification, NotificationId};
use crate::shutdown::Shutdown;
use crate::stops::{Scope, Stop, StopKind, Stops};
use batches::Batches;
use meter::{Meter, Unusual};
use repeats::Repeats;
pub use repeats::Ticket;

/// In whose name it acts.
pub const WHO: &str = "storm guard";

/// How often it reads what was declared, and looks at the rates.
const TICK: Duration = Duration::from_secs(1);

/// The guard's numbers.
#[derive(Clone, Debug)]
pub struct Config {
    /// How often the same content may go to the same recipient within the window; 0: as often as you like.
    pub repeat_limit: u32,
    /// That window.
    pub repeat_window: Duration,
    /// A tenant that hands in more than so many times what is usual for it is unusual.
    pub rate_factor: u32,
    /// Fewer than this a minute are never unusual.
    pub rate_floor: u32,
    /// Whether an unusual tenant is held.
    pub rate_hold: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            repeat_limit: 3,
            repeat_window: Duration::from_secs(3600),
            rate_factor: 10,
            rate_floor: 100,
            rate_hold: false,
        }
    }
}

/// Why something is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its broadcast was declared to be smaller.
    BatchSize,
    /// The same went to the same recipient too often.
    Repeat,
    /// Its tenant hands in far more than usual.
    Rate,
}

named! {
    /// Every reason.
    Reason {
        BatchSize: "batch_size",
        Repeat: "repeat",
        Rate: "rate",
    }
}

impl Reason {
    /// Who holds it, and why.
    pub fn by(self) -> By {
        By::new(WHO, Some(self.as_str()))
    }

    /// Counts one that is held for this.
    pub fn count(self) {
        metrics::counter!(GUARDED_TOTAL, "reason" => self.as_str()).increment(1);
    }
}

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which.
    pub id: NotificationId,
    /// What it says, to whom.
    pub notification: &'a Notification,
    /// After its claim.
    pub life: &'a Life,
}

impl Asked<'_> {
    /// Whether there is anything to ask: later attempts, and what was held for its judgement and let go, are judged. What
    /// was held for anything else is not.
    fn is_new(&self) -> bool {
        let judged = [Reason::BatchSize, Reason::Repeat].map(|reason| Some(reason.as_str()));
        let is_judgement = |act: &Act| act.who == WHO && judged.contains(&act.why.as_deref());
        let mut later =
            self.life.acts.iter().skip_while(|act| act.kind != ActKind::Held || !is_judgement(act));
        self.life.attempt == 1 && !later.any(|act| act.kind == ActKind::Released)
    }

    /// Whether a worker may have died between its claim and its place in a declared batch: no attempt before this one had
    /// an answer of any kind. It then takes a place, perhaps its second: too many may be held, never too few.
    fn may_lack_its_place(&self) -> bool {
        let former = self.life.attempts.split_last().map_or(&[][..], |(_, former)| former);
        let is_silent = |one: &Attempt| {
            one.outcome == AttemptOutcome::Unknown && one.http_status.is_none() && one.error.is_none()
        };
        let was_released = self.life.acts.iter().any(|act| act.kind == ActKind::Released);
        !was_released && !former.is_empty() && former.iter().all(is_silent)
    }
}

/// What the guard says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go. Give the pass back if it does not.
    Pass(Pass),
    /// It is to be held.
    Hold(Reason),
}

/// The right to go once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "what does not go gives it back"]
pub struct Pass {
    /// The declared batch in which it took a place.
    batch: Option<NotificationId>,
}

/// Why the guard could not say. Nothing was counted that would let too many through.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GuardError {
    /// The declared sizes cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What went before cannot be looked up.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The guard of one process. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    log: Arc<dyn MessageLog>,
    stops: Stops,
    clock: Clock,
    batches: Batches,
    repeats: Repeats,
    meter: Meter,
    rate_hold: bool,
}

impl Guard {
    /// A guard that has seen nothing yet.
    pub fn new(
        journal: Arc<dyn Journal>,
        log: Arc<dyn MessageLog>,
        stops: Stops,
        clock: Clock,
        config: &Config,
    ) -> Self {
        let batches = Batches::new(journal.clone(), clock.clone());
        let repeats = Repeats::new(config.repeat_limit, config.repeat_window);
        let meter = Meter::new(journal, clock.clone(), config.rate_factor, config.rate_floor);
        Self(Arc::new(Inner { log, stops, clock, batches, repeats, meter, rate_hold: config.rate_hold }))
    }

    /// What measures the tenants' rates.
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// To be called before one is claimed, and kept until it was judged: what others ask of the log meanwhile does not
    /// count it as gone.
    pub fn enter(&self, id: NotificationId) -> Ticket {
        self.0.repeats.enter(id)
    }

    /// Whether it may go. To be asked once its claim is won, shortly before its bytes.
    pub async fn judge(&self, asked: Asked<'_>) -> Result<Verdict, GuardError> {
        let inner = &*self.0;
        if !asked.is_new() && !asked.may_lack_its_place() {
            return Ok(Verdict::Pass(Pass::default()));
        }
        let now = inner.clock.now();
        if asked.is_new() && inner.repeats.is_one_too_many(inner.log.as_ref(), asked, now).await? {
            Reason::Repeat.count();
            return Ok(Verdict::Hold(Reason::Repeat));
        }
        let taken = inner.batches.take(asked.notification).await;
        if !matches!(taken, Ok(batches::Taken::Place(_) | batches::Taken::Undeclared)) {
            inner.repeats.forget(asked);
        }
        Ok(match taken? {
            batches::Taken::Place(batch) => Verdict::Pass(Pass { batch: Some(batch) }),
            batches::Taken::Undeclared => Verdict::Pass(Pass::default()),
            batches::Taken::Full => {
                Reason::BatchSize.count();
                Verdict::Hold(Reason::BatchSize)
            }
        })
    }

    /// Takes back what was not used: nothing was sent, and it will be asked for again.
    pub async fn give_back(&self, pass: Pass) {
        if let Some(batch) = pass.batch {
            self.0.batches.give_back(batch).await;
        }
    }

    /// Reads what was declared. To be done once before anything is judged.
    pub async fn refresh(&self) -> Result<(), JournalError> {
        self.0.batches.refresh().await
    }

    /// Gives unused places back to other processes: nothing is judged any more.
    pub async fn close(&self) {
        self.0.batches.return_unused(Duration::ZERO).await;
    }

    /// Keeps itself informed, and the tenants' rates measured, until the shutdown is pulled.
    pub async fn run(self, shutdown: Shutdown) {
        let mut was_ill = false;
        while !shutdown.is_pulled() {
            match self.tick().await {
                Ok(()) => was_ill = false,
                Err(error) if was_ill => {
                    tracing::debug!(%error, "the storm guard still cannot read the journal")
                }
                Err(error) => {
                    tracing::warn!(%error, "the storm guard cannot read the journal");
                    was_ill = true;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = shutdown.pulled() => {}
            }
        }
    }

    async fn tick(&self) -> Result<(), JournalError> {
        let inner = &*self.0;
        inner.batches.refresh().await?;
        inner.batches.return_unused(batches::IDLE).await;
        inner.meter.learn().await?;
        let now = inner.clock.now();
        for unusual in inner.meter.newly_unusual(now) {
            let Unusual { tenant, per_minute, usual_per_minute } = &unusual;
            tracing::warn!(tenant, per_minute, usual_per_minute, "a tenant hands in far more than usual");
            if inner.rate_hold {
                self.hold(unusual.tenant, now).await?;
            }
        }
        Ok(())
    }

    /// Holds everything of a tenant, unless it is held already.
    async fn hold(&self, tenant: String, now: Timestamp) -> Result<(), JournalError> {
        let stops = &self.0.stops;
        let scope = Scope { tenant: Some(tenant), ..Scope::default() };
        let stands = |stop: &Stop| stop.kind == StopKind::Hold && stop.scope == scope;
        if stops.known().is_some_and(|known| known.iter().any(stands)) {
            return Ok(());
        }
        let stop = Stop {
            id: NotificationId::fresh().to_string(),
            kind: StopKind::Hold,
            scope,
            who: WHO.into(),
            reason: Reason::Rate.as_str().into(),
            since: now,
            accepted_before: None,
        };
        let set = stops.set(&stop, None).await;
        if set.is_err() {
            self.0.meter.arm(stop.scope.tenant.as_deref().unwrap_or_default());
        }
        set
    }
}
