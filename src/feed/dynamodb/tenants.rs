//! Whose changes are told on DynamoDB, where an entry is paid for: the tenants that the settings name, and those that have
//! a callback. Whoever changes something has read the callbacks at most [`REFRESH`] before, in one query for all; a process
//! that rests reads nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};

use crate::feed::{FeedError, callback};
use crate::journal::{Journal, JournalError};
use crate::message_log::LogError;
use crate::message_log::dynamodb::told::{Audience, Tenants};

/// For how long what was read holds.
const REFRESH: Duration = Duration::from_secs(1);

/// Every process knows of a new callback after this long, and what it did before has reached the log.
const KNOWN_WITHIN: Duration = Duration::from_millis(1500);

/// The tenants that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// All.
    All,
    /// These.
    These(Vec<String>),
}

/// Knows whose changes are told. Cheap to clone; every clone knows the same.
#[derive(Clone)]
pub struct FeedTenants {
    journal: Arc<dyn Journal>,
    named: Named,
    known: Arc<RwLock<Known>>,
    /// One reading at a time, so that an older one never takes the place of a newer one.
    reading: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Known {
    /// What the journal said; stays while it is away.
    tenants: Option<Tenants>,
    /// When it was asked last.
    asked: Option<Instant>,
    /// Why it did not answer then.
    failed: Option<JournalError>,
}

impl std::fmt::Debug for FeedTenants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedTenants").field("named", &self.named).finish_non_exhaustive()
    }
}

impl FeedTenants {
    /// Those, and whoever has a callback in this journal.
    pub fn new(journal: Arc<dyn Journal>, named: Named) -> Self {
        Self { journal, named, known: Arc::default(), reading: Arc::default() }
    }

    /// What is known, if the journal was asked lately.
    fn fresh(&self) -> Option<Result<Tenants, JournalError>> {
        if self.named == Named::All {
            return Some(Ok(Tenants::All));
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.asked.filter(|asked| asked.elapsed() < REFRESH)?;
        match (&known.tenants, &known.failed) {
            (Some(tenants), _) => Some(Ok(tenants.clone())),
            (None, failed) => failed.clone().map(Err),
        }
    }

    async fn now(&self) -> Result<Tenants, JournalError> {
        if let Some(known) = self.fresh() {
            return known;
        }
        let alone = self.reading.lock().await;
        match self.fresh() {
            Some(known) => known,
            None => self.read(&alone).await,
        }
    }

    async fn anew(&self) -> Result<Tenants, JournalError> {
        let alone = self.reading.lock().await;
        self.read(&alone).await
    }

    async fn read(&self, _alone: &MutexGuard<'_, ()>) -> Result<Tenants, JournalError> {
        let read = callback::list(&*self.journal, None).await;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.asked = Some(Instant::now());
        match read {
            Ok(callbacks) => {
                let mut tenants: BTreeSet<String> = callbacks.into_iter().map(|one| one.tenant).collect();
                if let Named::These(named) = &self.named {
                    tenants.extend(named.iter().cloned());
                }
                (known.tenants, known.failed) = (Some(Tenants::These(Arc::new(tenants))), None);
            }
            Err(error) => {
                if known.failed.is_none() {
                    tracing::warn!(%error, "cannot read anew which tenants have callbacks");
                }
                known.failed = Some(error);
            }
        }
        match (&known.tenants, &known.failed) {
            (None, Some(error)) => Err(error.clone()),
            (Some(tenants), _) => Ok(tenants.clone()),
            (None, None) => Ok(Tenants::All),
        }
    }

    /// Fails where this tenant's changes are not told.
    pub(super) async fn check(&self, tenant: &str) -> Result<(), FeedError> {
        let is_told = self.now().await.map_err(unavailable)?.include(tenant)
            || self.anew().await.map_err(unavailable)?.include(tenant);
        is_told.then_some(()).ok_or_else(|| FeedError::NotKept { tenant: tenant.to_owned() })
    }

    /// Returns once every process tells this tenant's changes, which has a callback now.
    pub(super) async fn follow(&self, tenant: &str) {
        match &self.named {
            Named::All => return,
            Named::These(named) if named.iter().any(|one| one == tenant) => return,
            Named::These(_) => {}
        }
        tokio::time::sleep(KNOWN_WITHIN).await;
    }
}

#[async_trait]
impl Audience for FeedTenants {
    async fn tenants(&self) -> Result<Tenants, LogError> {
        self.now().await.map_err(|error| LogError::Unavailable(error.to_string()))
    }
}

fn unavailable(error: JournalError) -> FeedError {
    FeedError::Unavailable(error.to_string())
}
