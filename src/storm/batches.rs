//! Broadcasts whose size was declared. Their places are reserved from the journal in blocks, so that several workers
//! together never let more through than was declared; a crash loses the rest of a block, and so holds too many, never
//! too few.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::clock::{Clock, Timestamp};
use crate::journal::{self, Journal, JournalError, Kind};
use crate::notification::{Notification, NotificationId};

/// How long a declaration holds after it was made, or a place was last taken.
pub const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// Places that were not asked for during this long are given back to other processes.
pub(super) const IDLE: Duration = Duration::from_secs(2);

/// The most places that one process reserves at once.
const LARGEST_BLOCK: u64 = 100;

/// The document whose version says whether anything was declared since.
const INDEX: &str = "index";

/// Declarations read at once.
const PAGE: usize = 1000;

/// A broadcast of declared size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DeclaredBatch)]
pub struct Batch {
    /// Whose.
    pub tenant: String,
    /// Its name.
    pub batch: String,
    /// How many notifications it has.
    pub expected: u64,
    /// How many were let through, those included that a worker may let through next.
    pub taken: u64,
    /// Who declared it last.
    pub who: String,
    /// When it was first declared.
    #[schema(value_type = String, format = DateTime)]
    pub declared_at: Timestamp,
}

/// How many places to reserve at once where so many are left: smaller ones towards the end, so that no worker keeps
/// places that another one needs. Pure.
fn block(left: u64) -> u64 {
    (left / 8).clamp(1, LARGEST_BLOCK).min(left)
}

fn key(tenant: &str, batch: &str) -> NotificationId {
    NotificationId::derived(tenant, batch)
}

/// Declares a broadcast's size, or another size. And whether workers must know it before it counts: not where only more
/// are let through than before.
pub async fn declare(
    journal: &dyn Journal,
    (tenant, batch): (&str, &str),
    expected: u64,
    who: &str,
    now: Timestamp,
) -> Result<(Batch, bool), JournalError> {
    let key = key(tenant, batch).to_string();
    let keep_until = Some(now.plus(KEPT));
    let declared = journal::change(journal, Kind::Batch, &key, keep_until, |found: Option<Batch>| {
        let is_tighter = found.as_ref().is_none_or(|found| found.expected > expected);
        let fresh = || Batch {
            tenant: tenant.to_owned(),
            batch: batch.to_owned(),
            expected,
            taken: 0,
            who: who.to_owned(),
            declared_at: now,
        };
        let declared = Batch { expected, who: who.to_owned(), ..found.unwrap_or_else(fresh) };
        (Some(declared.clone()), (declared, is_tighter))
    });
    let declared = declared.await?;
    journal::change(journal, Kind::Batch, INDEX, None, |changes: Option<u64>| {
        (Some(changes.unwrap_or(0).wrapping_add(1)), ())
    })
    .await?;
    Ok(declared)
}

/// Every declared broadcast, of one tenant or of all, latest first.
pub async fn list(journal: &dyn Journal, tenant: Option<&str>) -> Result<Vec<Batch>, JournalError> {
    let mut found: Vec<Batch> = Vec::new();
    for document in documents(journal).await? {
        let batch: Batch = document.read()?;
        if tenant.is_none_or(|tenant| tenant == batch.tenant) {
            found.push(batch);
        }
    }
    found.sort_by(|a, b| b.declared_at.cmp(&a.declared_at).then_with(|| a.batch.cmp(&b.batch)));
    Ok(found)
}

async fn documents(journal: &dyn Journal) -> Result<Vec<journal::Document>, JournalError> {
    let mut found: Vec<journal::Document> = Vec::new();
    loop {
        let after = found.last().map(|last| last.key.clone());
        let page = journal.list(Kind::Batch, after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        found.extend(page);
        if is_last {
            found.retain(|document| document.key != INDEX);
            return Ok(found);
        }
    }
}

/// What came of asking for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// One was taken.
    Place(NotificationId),
    /// There is none left.
    Full,
    /// It belongs to no declared broadcast.
    Undeclared,
}

/// What this process knows of declared broadcasts, and its places in them.
pub(super) struct Batches {
    journal: Arc<dyn Journal>,
    clock: Clock,
    pools: RwLock<HashMap<NotificationId, Arc<Mutex<Pool>>>>,
    is_empty: AtomicBool,
    /// The version of the index that was read; held while it is read.
    index: Mutex<Option<u64>>,
}

/// The places that this process reserved.
#[derive(Debug, Default)]
struct Pool {
    left: u64,
    /// Boot time.
    used_at: Duration,
    /// Boot time at which the journal had no place left.
    full_at: Option<Duration>,
}

impl Batches {
    pub(super) fn new(journal: Arc<dyn Journal>, clock: Clock) -> Self {
        let pools = RwLock::default();
        Self { journal, clock, pools, is_empty: AtomicBool::new(true), index: Mutex::default() }
    }

    /// Reads what was declared since: one small document, and everything only where that one changed.
    pub(super) async fn refresh(&self) -> Result<(), JournalError> {
        let mut read = self.index.lock().await;
        let version = self.journal.get(Kind::Batch, INDEX).await?.map_or(0, |index| index.version);
        if *read == Some(version) {
            return Ok(());
        }
        let keys: Vec<NotificationId> = match version {
            0 => Vec::new(),
            _ => documents(&*self.journal).await?.iter().filter_map(|one| one.key.parse().ok()).collect(),
        };
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        *pools = keys.into_iter().map(|key| (key, pools.get(&key).cloned().unwrap_or_default())).collect();
        self.is_empty.store(pools.is_empty(), Ordering::Release);
        *read = Some(version);
        Ok(())
    }

    fn pool(&self, key: NotificationId) -> Option<Arc<Mutex<Pool>>> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Takes a place for this notification.
    pub(super) async fn take(&self, notification: &Notification) -> Result<Taken, JournalError> {
        let Some(batch) = notification.batch.as_ref().filter(|_| !self.is_empty.load(Ordering::Acquire))
        else {
            return Ok(Taken::Undeclared);
        };
        let key = key(&notification.tenant, batch);
        let Some(pool) = self.pool(key) else { return Ok(Taken::Undeclared) };
        let mut pool = pool.lock().await;
        let now = self.clock.boot_time();
        if pool.left == 0 {
            // Others may give places back, and it may be declared anew: so it is looked at again every second.
            if pool.full_at.is_some_and(|at| now.saturating_sub(at) < super::TICK) {
                return Ok(Taken::Full);
            }
            match self.reserve(key).await? {
                None => return Ok(Taken::Undeclared),
                Some(0) => {
                    pool.full_at = Some(now);
                    return Ok(Taken::Full);
                }
                Some(reserved) => pool.left = reserved,
            }
        }
        pool.left -= 1;
        pool.used_at = now;
        Ok(Taken::Place(key))
    }

    /// A block of places; `None` where the declaration is gone.
    async fn reserve(&self, key: NotificationId) -> Result<Option<u64>, JournalError> {
        self.change(key, |batch| {
            let reserved = block(batch.expected.saturating_sub(batch.taken));
            batch.taken += reserved;
            reserved
        })
        .await
    }

    /// Changes a declaration that is there; one that stays the same is not written.
    async fn change(
        &self,
        key: NotificationId,
        act: impl Fn(&mut Batch) -> u64 + Send + Sync,
    ) -> Result<Option<u64>, JournalError> {
        let keep_until = Some(self.clock.now().plus(KEPT));
        journal::change(&*self.journal, Kind::Batch, &key.to_string(), keep_until, |found: Option<Batch>| {
            let Some(mut batch) = found else { return (None, None) };
            let count = act(&mut batch);
            ((count > 0).then_some(batch), Some(count))
        })
        .await
    }

    pub(super) async fn give_back(&self, key: NotificationId) {
        if let Some(pool) = self.pool(key) {
            pool.lock().await.left += 1;
        }
    }

    /// Gives back what was reserved and not asked for since `idle`. A place whose return fails is lost: it may have
    /// been returned, and twice would let too many through.
    pub(super) async fn return_unused(&self, idle: Duration) {
        let pools: Vec<_> = {
            let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
            pools.iter().map(|(key, pool)| (*key, pool.clone())).collect()
        };
        for (key, pool) in pools {
            let mut pool = pool.lock().await;
            if pool.left == 0 || self.clock.boot_time().saturating_sub(pool.used_at) < idle {
                continue;
            }
            let unused = std::mem::take(&mut pool.left);
            let returned = self.change(key, |batch| {
                let returned = unused.min(batch.taken);
                batch.taken -= returned;
                returned
            });
            if let Err(error) = returned.await {
                tracing::debug!(%error, unused, "places of a declared batch are lost");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_shrink_towards_the_end_and_add_up() {
        let mut left = 1000;
        let mut blocks = Vec::new();
        while left > 0 {
            blocks.push(block(left));
            left -= block(left);
        }
        assert_eq!(blocks.iter().sum::<u64>(), 1000);
        assert_eq!((blocks[0], blocks.last()), (100, Some(&1)));
        assert!(blocks.windows(2).all(|pair| pair[0] >= pair[1]) && blocks.len() < 60, "{blocks:?}");
        assert_eq!(block(0), 0);
    }
}
