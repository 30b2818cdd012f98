//! The list as workers, doors and listeners have it: whether anybody was ever put on it, and look-ups that callers share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::verdict::{Policy, verdict};
use super::{Added, Entry, Filter, ListError, Page, Place, Reason, Reasons, Removal, SuppressionList};
use crate::aws::batch::{self, Batcher};
use crate::journal::{Journal, JournalError, Kind};
use crate::notification::Notification;
use crate::notification::address::Address;
use crate::shutdown::Shutdown;

/// How often each process looks whether the first entry of all was made meanwhile.
pub const REFRESH: Duration = Duration::from_secs(1);

/// The mark that an entry was ever made.
const MARK: &str = "suppressions";

/// A look-up that takes longer is given up: the claim it is for must not run out.
const PATIENCE: Duration = Duration::from_secs(5);

/// Look-ups that are shared: DynamoDB reads a hundred keys at once.
const SHARED: batch::Config =
    batch::Config { max: 100, linger: Duration::from_millis(2), waits_alone: false, at_once: 4 };

/// The lists. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Suppressions(Arc<Inner>);

struct Inner {
    list: Arc<dyn SuppressionList>,
    journal: Arc<dyn Journal>,
    policy: Policy,
    /// It was looked at least once whether an entry was ever made.
    is_known: AtomicBool,
    /// One was; never taken back.
    is_used: AtomicBool,
    looks: OnceLock<Batcher<Place, Result<Reasons, ListError>>>,
}

/// Somebody whom a mail is not sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Who.
    pub address: Address,
    /// Why.
    pub reason: Reason,
}

/// What the list says of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It goes to all but these.
    But(Vec<LeftOut>),
    /// It goes to nobody: everyone in `to` is on the list.
    Nobody {
        /// The gravest.
        reason: Reason,
        /// Everyone on the list, copies included.
        left_out: Vec<LeftOut>,
    },
}

impl Suppressions {
    /// The lists behind `list`. Whether there is any entry is not known yet.
    pub fn new(list: Arc<dyn SuppressionList>, journal: Arc<dyn Journal>, policy: Policy) -> Self {
        let (is_known, is_used, looks) = (AtomicBool::default(), AtomicBool::default(), OnceLock::new());
        Self(Arc::new(Inner { list, journal, policy, is_known, is_used, looks }))
    }

    /// Looks whether an entry was ever made. To be done once before anything is judged.
    pub async fn refresh(&self) -> Result<(), JournalError> {
        let inner = &*self.0;
        if !inner.is_used.load(Ordering::Acquire) {
            let found = inner.journal.get(Kind::Mark, MARK).await?;
            inner.is_used.fetch_or(found.is_some(), Ordering::AcqRel);
        }
        inner.is_known.store(true, Ordering::Release);
        Ok(())
    }

    /// Looks again until an entry was made or the shutdown is pulled.
    pub async fn run(self, shutdown: Shutdown) {
        let mut was_ill = false;
        while !shutdown.is_pulled() && !self.0.is_used.load(Ordering::Acquire) {
            match self.refresh().await {
                Ok(()) => was_ill = false,
                Err(error) => {
                    if !was_ill {
                        tracing::warn!(%error, "cannot read whether anybody is on the suppression list");
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

    /// To whom this mail may not be sent. While nobody was ever put on a list, that costs a load of an atomic; else one
    /// read for all who ask at about the same time. An error: nobody knows, so nothing may be sent.
    pub async fn judge(&self, notification: &Notification) -> Result<Judgement, ListError> {
        let inner = &*self.0;
        if !inner.is_known.load(Ordering::Acquire) {
            return Err(ListError::Unavailable("it is not known yet whether it is empty".into()));
        }
        if !inner.is_used.load(Ordering::Acquire) {
            return Ok(Judgement::But(Vec::new()));
        }
        let tenant = &notification.tenant;
        let mut people: BTreeMap<String, &Address> = BTreeMap::new();
        for (_, mailbox) in notification.recipients() {
            people.entry(mailbox.email.canonical()).or_insert(&mailbox.email);
        }
        let places =
            people.keys().map(|canonical| Place { tenant: tenant.clone(), canonical: canonical.clone() });
        let places: Vec<Place> = places.collect();
        let reasons = self.look_up(places).await?;
        let mut left_out = BTreeMap::new();
        for ((canonical, address), reasons) in people.into_iter().zip(reasons) {
            if let Some(reason) = verdict(tenant, notification.priority, reasons, &inner.policy) {
                left_out.insert(canonical, LeftOut { address: address.clone(), reason });
            }
        }
        let of_to: Option<Vec<Reason>> =
            notification.to.iter().map(|to| Some(left_out.get(&to.email.canonical())?.reason)).collect();
        let left_out = left_out.into_values().collect();
        Ok(match of_to.and_then(|reasons| reasons.into_iter().min()) {
            Some(reason) => Judgement::Nobody { reason, left_out },
            None => Judgement::But(left_out),
        })
    }

    async fn look_up(&self, places: Vec<Place>) -> Result<Vec<Reasons>, ListError> {
        let inner = &*self.0;
        let looks = inner.looks.get_or_init(|| {
            let list = inner.list.clone();
            Batcher::start(SHARED, move |places: Vec<Place>| {
                let list = list.clone();
                Box::pin(async move { list.look_up(&places).await })
            })
        });
        let silent = || ListError::Unavailable("it gave no answer".into());
        let answers = tokio::time::timeout(PATIENCE, looks.submit(places)).await.map_err(|_| silent())?;
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(silent()))).collect()
    }

    /// Puts each on its list: durable when this returns, known to every worker within [`REFRESH`] where it is the first
    /// of all, else at once.
    pub async fn add(&self, entries: &[Entry]) -> Result<Vec<Result<Added, ListError>>, JournalError> {
        let inner = &*self.0;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        if !inner.is_used.load(Ordering::Acquire) {
            // First: an entry without the mark would not be looked for. That another process was faster is as good.
            inner.journal.put(Kind::Mark, MARK, "{}", 0, None).await?;
            inner.is_used.store(true, Ordering::Release);
        }
        Ok(inner.list.add(entries).await)
    }

    /// Takes each off its list; how many entries that were.
    pub async fn remove(&self, removals: &[Removal]) -> Vec<Result<u64, ListError>> {
        if removals.is_empty() { Vec::new() } else { self.0.list.remove(removals).await }
    }

    /// A page of a list.
    pub async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page, ListError> {
        self.0.list.list(filter, cursor, limit).await
    }

    /// How many match.
    pub async fn count(&self, filter: &Filter) -> Result<u64, ListError> {
        self.0.list.count(filter).await
    }
}
