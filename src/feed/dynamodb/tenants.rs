//! Whose changes are told on DynamoDB, where an entry is paid for: the tenants that the settings name, and those that have
//! a callback. Every process reads the callbacks anew each [`REFRESH`], as the standing stops are.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::feed::{FeedError, callback};
use crate::journal::{Journal, JournalError};
use crate::message_log::LogError;
use crate::message_log::dynamodb::told::{Audience, Tenants};
use crate::shutdown::Shutdown;

/// How often each process reads the callbacks anew.
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
    /// `None` until the callbacks were read once.
    known: Arc<RwLock<Option<Tenants>>>,
    /// One reading at a time, so that an older one never takes the place of a newer one.
    reading: Arc<Mutex<()>>,
}

impl std::fmt::Debug for FeedTenants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedTenants").field("named", &self.named).finish_non_exhaustive()
    }
}

impl FeedTenants {
    /// Those, and whoever has a callback in this journal.
    pub fn new(journal: Arc<dyn Journal>, named: Named) -> Self {
        let known = (named == Named::All).then_some(Tenants::All);
        Self { journal, named, known: Arc::new(RwLock::new(known)), reading: Arc::default() }
    }

    fn known(&self) -> Option<Tenants> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the callbacks anew.
    async fn refresh(&self) -> Result<Tenants, JournalError> {
        let Named::These(named) = &self.named else { return Ok(Tenants::All) };
        let _alone = self.reading.lock().await;
        let mut tenants: BTreeSet<String> = named.iter().cloned().collect();
        tenants.extend(callback::list(&*self.journal, None).await?.into_iter().map(|one| one.tenant));
        let tenants = Tenants::These(Arc::new(tenants));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(tenants.clone());
        Ok(tenants)
    }

    /// Fails where this tenant's changes are not told.
    pub(super) async fn check(&self, tenant: &str) -> Result<(), FeedError> {
        if self.known().is_some_and(|known| known.include(tenant)) {
            return Ok(());
        }
        if self.refresh().await.map_err(unavailable)?.include(tenant) {
            return Ok(());
        }
        Err(FeedError::NotKept { tenant: tenant.to_owned() })
    }

    /// Returns once every process tells this tenant's changes, which has a callback now.
    pub(super) async fn follow(&self, tenant: &str) -> Result<(), FeedError> {
        match &self.named {
            Named::All => return Ok(()),
            Named::These(named) if named.iter().any(|one| one == tenant) => return Ok(()),
            Named::These(_) => {}
        }
        self.refresh().await.map_err(unavailable)?;
        tokio::time::sleep(KNOWN_WITHIN).await;
        Ok(())
    }

    /// Keeps it fresh until the shutdown is pulled. What was known stays known while the journal is away.
    pub async fn run(self, stopped: Shutdown) {
        let mut was_ill = false;
        while self.named != Named::All && !stopped.is_pulled() {
            let refreshed = self.refresh().await;
            if let (Err(error), false) = (&refreshed, was_ill) {
                tracing::warn!(%error, "cannot read anew which tenants have callbacks");
            }
            was_ill = refreshed.is_err();
            tokio::select! {
                () = tokio::time::sleep(REFRESH) => {}
                () = stopped.pulled() => {}
            }
        }
    }
}

#[async_trait]
impl Audience for FeedTenants {
    async fn tenants(&self) -> Result<Tenants, LogError> {
        match self.known() {
            Some(known) => Ok(known),
            None => self.refresh().await.map_err(|error| LogError::Unavailable(error.to_string())),
        }
    }
}

fn unavailable(error: JournalError) -> FeedError {
    FeedError::Unavailable(error.to_string())
}
