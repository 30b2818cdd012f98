//! Standing stops: what an operator holds or cancels stays so, also for what arrives, retries or is redriven later, on
//! every worker within [`REFRESH`] and across restarts.

mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::journal::{self, Journal, JournalError, Kind};
use crate::notification::NotificationId;
use crate::notification::status::By;
use crate::shutdown::Shutdown;

/// How often each process reads them anew; what this process sets itself it knows at once.
pub const REFRESH: Duration = Duration::from_secs(1);

/// Every process knows of a change after this long, and what it did before has reached the log.
pub const KNOWN_WITHIN: Duration = Duration::from_millis(1500);

/// The mark that a stop was ever set.
const MARK: &str = "stops";

/// How many may stand at once.
pub const MAX_STOPS: usize = 1000;

/// One standing stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stop {
    /// UUIDv7.
    pub id: String,
    /// What it does.
    pub kind: StopKind,
    /// To what.
    pub scope: Scope,
    /// Who set it.
    pub who: String,
    /// Why; shown with each notification that it stops.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Only what was accepted before; a cancellation must not swallow what comes later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub accepted_before: Option<Timestamp>,
}

/// What a stop does to what it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StopKind {
    /// Keeps it back until the stop is lifted.
    Hold,
    /// Ends it.
    Cancel,
}

/// What a stop concerns: every given field must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// Everything. Stands for itself: without it, an empty scope concerns nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// These, at most 1000.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, max_items = 1000)]
    pub ids: Vec<NotificationId>,
    /// Whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The broadcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Nothing is handed to this provider; what waits for it waits, or goes through another one. Stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// What is asked of the stops about one notification.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Which.
    pub id: NotificationId,
    /// Whose.
    pub tenant: &'a str,
    /// Its broadcast.
    pub batch: Option<&'a str>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When somebody last let it go on: an earlier stop does not concern it any more.
    pub released_at: Option<Timestamp>,
}

impl Scope {
    /// Whether it names anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it concerns this notification. A stop of a provider concerns the provider, not notifications. Pure.
    pub fn concerns(&self, one: &Candidate<'_>) -> bool {
        if self.provider.is_some() || self.is_empty() {
            return false;
        }
        (self.ids.is_empty() || self.ids.contains(&one.id))
            && self.tenant.as_deref().is_none_or(|tenant| tenant == one.tenant)
            && self.batch.as_deref().is_none_or(|batch| one.batch == Some(batch))
    }
}

impl Stop {
    /// Whether it stops this notification. Pure.
    pub fn stops(&self, one: &Candidate<'_>) -> bool {
        self.scope.concerns(one)
            && self.accepted_before.is_none_or(|before| one.accepted_at < before)
            && one.released_at.is_none_or(|released| released < self.since)
    }

    /// In whose name it acts.
    pub fn by(&self) -> By {
        By::new(&self.who, Some(&self.reason))
    }
}

/// Every standing stop as this process last read them. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Stops {
    journal: Arc<dyn Journal>,
    /// `None` until they were read once: until then nobody knows what may be sent.
    known: Arc<watch::Sender<Option<Arc<[Stop]>>>>,
    /// They were read and none stands: what every attempt asks, without a lock.
    is_clear: Arc<AtomicBool>,
    /// One reading at a time, so that an older one never takes the place of a newer one.
    reading: Arc<Mutex<()>>,
}

impl Stops {
    /// The stops in this journal, not read yet.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        let known = Arc::new(watch::Sender::new(None));
        Self { journal, known, is_clear: Arc::default(), reading: Arc::default() }
    }

    /// As last read; `None` if that never succeeded.
    pub fn known(&self) -> Option<Arc<[Stop]>> {
        self.known.borrow().clone()
    }

    /// Tells of every change, and of the first reading.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<[Stop]>>> {
        self.known.subscribe()
    }

    /// The stop that concerns this notification, a cancellation before a hold.
    pub fn judge(&self, one: &Candidate<'_>) -> Option<Stop> {
        if self.is_clear.load(Ordering::Acquire) {
            return None;
        }
        let known = self.known()?;
        let mut stopping = known.iter().filter(|stop| stop.stops(one));
        let first = stopping.next()?;
        let cancels = |stop: &&Stop| stop.kind == StopKind::Cancel;
        Some(Some(first).filter(cancels).or_else(|| stopping.find(cancels)).unwrap_or(first).clone())
    }

    /// The stop that shuts this provider.
    pub fn of_provider(&self, provider: &str) -> Option<Stop> {
        if self.is_clear.load(Ordering::Acquire) {
            return None;
        }
        let known = self.known()?;
        known.iter().find(|stop| stop.scope.provider.as_deref() == Some(provider)).cloned()
    }

    /// Reads them anew.
    pub async fn refresh(&self) -> Result<(), JournalError> {
        let _alone = self.reading.lock().await;
        let mut stops: Vec<Stop> = Vec::new();
        // Where nobody ever set one, there is nothing to list.
        if self.journal.get(Kind::Mark, MARK).await?.is_some() {
            for document in self.journal.list(Kind::Stop, None, MAX_STOPS).await? {
                stops.push(document.read()?);
            }
        }
        self.is_clear.store(stops.is_empty(), Ordering::Release);
        self.known.send_if_modified(|known| {
            let is_new = known.as_deref() != Some(&stops[..]);
            if is_new {
                *known = Some(stops.into());
            }
            is_new
        });
        Ok(())
    }

    /// Sets a stop: durable when this returns, known here at once and to every other process within [`REFRESH`].
    pub async fn set(&self, stop: &Stop, keep_until: Option<Timestamp>) -> Result<(), JournalError> {
        // First: a stop without its mark would not be looked for. That another process was faster is as good.
        self.journal.put(Kind::Mark, MARK, "{}", 0, None).await?;
        self.journal.put(Kind::Stop, &stop.id, &journal::write(stop), 0, keep_until).await?;
        self.refresh().await
    }

    /// Lifts every stop of this kind with exactly this scope; those that it lifted.
    pub async fn lift(&self, kind: StopKind, scope: &Scope) -> Result<Vec<Stop>, JournalError> {
        self.refresh().await?;
        let known = self.known().unwrap_or_default();
        let lifted: Vec<Stop> =
            known.iter().filter(|stop| stop.kind == kind && stop.scope == *scope).cloned().collect();
        for stop in &lifted {
            self.journal.delete(Kind::Stop, &stop.id).await?;
        }
        self.refresh().await?;
        Ok(lifted)
    }

    /// Keeps them fresh until the shutdown is pulled. What was known stays known while the journal is away.
    pub async fn run(self, shutdown: Shutdown) {
        let mut was_ill = false;
        while !shutdown.is_pulled() {
            match self.refresh().await {
                Ok(()) => was_ill = false,
                Err(error) => {
                    if !was_ill {
                        tracing::warn!(%error, "cannot read the standing stops anew");
                    }
                    was_ill = true;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(REFRESH) => {}
                () = shutdown.pulled() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_ms(s * 1000)
    }

    fn stop(scope: Scope) -> Stop {
        let (who, reason) = ("operator".into(), "wrong date".into());
        Stop {
            id: "1".into(),
            kind: StopKind::Hold,
            scope,
            who,
            reason,
            since: at(100),
            accepted_before: None,
        }
    }

    fn candidate(batch: Option<&str>, released_at: Option<Timestamp>) -> Candidate<'_> {
        let id = NotificationId::from_bytes([7; 16]);
        Candidate { id, tenant: "inn", batch, accepted_at: at(50), released_at }
    }

    #[test]
    fn a_scope_concerns_what_every_one_of_its_fields_names() {
        let of_batch = Scope { batch: Some("tos".into()), ..Scope::default() };
        assert!(stop(of_batch.clone()).stops(&candidate(Some("tos"), None)));
        assert!(!stop(of_batch.clone()).stops(&candidate(None, None)));
        let of_another = Scope { tenant: Some("hotel".into()), ..of_batch };
        assert!(!stop(of_another).stops(&candidate(Some("tos"), None)));
        assert!(stop(Scope { all: true, ..Scope::default() }).stops(&candidate(None, None)));
        assert!(!stop(Scope::default()).stops(&candidate(None, None)));
        let of_provider = Scope { provider: Some("sendgrid".into()), ..Scope::default() };
        assert!(!stop(of_provider).stops(&candidate(None, None)));
    }

    #[test]
    fn what_was_released_is_stopped_again_only_by_a_later_stop() {
        let all = Scope { all: true, ..Scope::default() };
        assert!(!stop(all.clone()).stops(&candidate(None, Some(at(101)))));
        assert!(stop(all).stops(&candidate(None, Some(at(99)))));
    }

    #[test]
    fn a_cancellation_leaves_alone_what_came_after_it() {
        let all = Scope { all: true, ..Scope::default() };
        let until = |s| Stop { accepted_before: Some(at(s)), kind: StopKind::Cancel, ..stop(all.clone()) };
        assert!(until(51).stops(&candidate(None, None)));
        assert!(!until(50).stops(&candidate(None, None)));
    }
}
