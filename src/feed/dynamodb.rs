//! The feed on DynamoDB: entries that the message log writes before each change (`message_log/dynamodb/told.rs`), read in
//! the order of their stamps, once they are settled.
//!
//! A place is a stamp, or the key of an entry. Up to the *horizon*, [`told::settled`] before now, every entry that will
//! ever be there is there, and is known to tell the truth or not; nothing is read beyond it. So a cursor never passes what
//! comes later, and reading between two of them gives the same each time.

mod tenants;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

pub use tenants::{FeedTenants, Named};

use super::{Cursor, Entry, Feed, FeedError, MAX_LIMIT, Page, Told, What};
use crate::clock::{Clock, Timestamp};
use crate::message_log::LogError;
use crate::message_log::dynamodb::DynamoLog;
use crate::message_log::dynamodb::told::{self, ToldOf};
use crate::notification::status::{State, Status};

/// A cursor may be so much older than what is kept: who begins with the oldest must not be told at once that it is gone.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// A cursor behind which there was nothing for so long comes forward, so that a quiet tenant's never gets too old.
const COMES_FORWARD: Duration = Duration::from_secs(3600);

/// How often one read goes on where entries tell nothing.
const ROUNDS: usize = 20;

/// A stamp has so many digits.
const STAMP_DIGITS: usize = 16;

/// What separates the parts of a key, and what stands for it in a cursor, which goes into addresses.
const IN_KEYS: &str = "#";
const IN_CURSORS: &str = "_";

/// How the feed is read.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How long entries can be read.
    pub retention: Duration,
    /// See [`told::settled`].
    pub settled: Duration,
}

impl Config {
    /// How long an entry must be kept.
    pub fn kept(&self) -> Duration {
        self.retention + 2 * GRACE
    }
}

/// [`Feed`] on DynamoDB.
#[derive(Debug)]
pub struct DynamoFeed {
    log: Arc<DynamoLog>,
    tenants: FeedTenants,
    clock: Clock,
    config: Config,
}

impl DynamoFeed {
    /// What this log tells these tenants of.
    pub fn new(log: Arc<DynamoLog>, tenants: FeedTenants, clock: Clock, config: Config) -> Self {
        Self { log, tenants, clock, config }
    }

    fn horizon(&self) -> String {
        place_at(self.clock.now().minus(self.config.settled))
    }

    fn kept_since(&self) -> Timestamp {
        self.clock.now().minus(self.config.retention)
    }

    /// The place that a cursor names.
    fn place(&self, cursor: &Cursor, tenant: &str) -> Result<String, FeedError> {
        let (place, told) = cursor.as_str().rsplit_once('.').ok_or(FeedError::BadCursor)?;
        let place = place.replace(IN_CURSORS, IN_KEYS);
        let stamp = place.split(IN_KEYS).next().unwrap_or_default();
        let is_stamp = stamp.len() == STAMP_DIGITS && stamp.bytes().all(|b| b.is_ascii_digit());
        if told != tag(tenant) || !is_stamp || place > place_at(self.clock.now().plus(GRACE)) {
            return Err(FeedError::BadCursor);
        }
        let since = self.kept_since();
        if stamp < place_at(since.minus(GRACE)).as_str() {
            return Err(FeedError::Expired { since });
        }
        Ok(place)
    }

    /// Up to `limit` changes between two places; fewer only at the end, or where many entries tell nothing.
    async fn walk(
        &self,
        tenant: &str,
        after: String,
        until: &str,
        limit: usize,
    ) -> Result<(Vec<Entry>, String, bool), FeedError> {
        let (mut entries, mut place, mut more) = (Vec::new(), after, true);
        for _ in 0..ROUNDS {
            let page = self.log.told(tenant, &place, until, limit - entries.len()).await?;
            entries.extend(page.told.into_iter().filter_map(|told| entry(tenant, told)));
            more = page.more;
            match page.last {
                Some(last) => place = last,
                None => break,
            }
            if !more || entries.len() >= limit {
                break;
            }
        }
        Ok((entries, place, more))
    }
}

#[async_trait]
impl Feed for DynamoFeed {
    async fn read(&self, tenant: &str, after: Option<&Cursor>, limit: usize) -> Result<Page, FeedError> {
        self.tenants.check(tenant).await?;
        let after = match after {
            Some(cursor) => self.place(cursor, tenant)?,
            None => place_at(self.kept_since()),
        };
        let horizon = self.horizon();
        let (entries, mut place, more) =
            self.walk(tenant, after, &horizon, limit.clamp(1, MAX_LIMIT)).await?;
        let is_behind = || place < place_at(self.clock.now().minus(self.config.settled + COMES_FORWARD));
        if entries.is_empty() && !more && is_behind() {
            place = horizon;
        }
        Ok(Page { entries, next: cursor(tenant, &place), more })
    }

    async fn between(&self, tenant: &str, after: &Cursor, until: &Cursor) -> Result<Vec<Entry>, FeedError> {
        let (mut after, until) = (self.place(after, tenant)?, self.place(until, tenant)?);
        let mut entries = Vec::new();
        while after < until && entries.len() < MAX_LIMIT {
            let (mut some, place, more) = self.walk(tenant, after, &until, MAX_LIMIT - entries.len()).await?;
            entries.append(&mut some);
            after = place;
            if !more {
                break;
            }
        }
        Ok(entries)
    }

    async fn begin(&self, tenant: &str) -> Result<Cursor, FeedError> {
        Ok(cursor(tenant, &place_at(self.kept_since())))
    }

    /// The horizon: what happens from now on is told behind it, however late its entry comes.
    async fn end(&self, tenant: &str) -> Result<Cursor, FeedError> {
        Ok(cursor(tenant, &self.horizon()))
    }

    async fn count(&self, tenant: &str, after: &Cursor) -> Result<u64, FeedError> {
        let after = self.place(after, tenant)?;
        let counted = self.log.count_told(tenant, &after, &self.horizon()).await?;
        counted.ok_or_else(|| FeedError::Unavailable("more entries than can be counted".into()))
    }

    async fn follow(&self, tenant: &str) {
        self.tenants.follow(tenant).await;
    }

    /// DynamoDB forgets by itself, by `exp`.
    async fn prune(&self, _before: Timestamp, _limit: usize) -> Result<u64, FeedError> {
        Ok(0)
    }
}

fn entry(tenant: &str, told: told::Told) -> Option<Entry> {
    let (what, status, recipient) = match told.of {
        ToldOf::Notification(state) => (What::Notification, Told::of(status(state))?, None),
        ToldOf::Recipient(status, address) => (What::Recipient, Told::of_recipient(status)?, address),
    };
    Some(Entry {
        event_id: format!("evt_{}_{}", tag(tenant), hex(&Sha256::digest(told.name)[..12])),
        tenant: tenant.to_owned(),
        id: told.id,
        at: told.at,
        what,
        status,
        reason: told.reason,
        recipient,
        batch: told.batch,
        metadata: told.metadata,
    })
}

fn status(state: State) -> Status {
    match state {
        State::Accepted => Status::Accepted,
        State::Scheduled => Status::Scheduled,
        State::Held => Status::Held,
        State::Attempting => Status::Attempting,
        State::Retrying => Status::Retrying,
        State::Sent => Status::Sent,
        State::Failed => Status::Failed,
        State::Expired => Status::Expired,
        State::Cancelled => Status::Cancelled,
        State::Suppressed => Status::Suppressed,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What ties a cursor to its tenant: not a secret, only a guard against a mix-up.
fn tag(tenant: &str) -> String {
    hex(&Sha256::digest(tenant.as_bytes())[..4])
}

fn cursor(tenant: &str, place: &str) -> Cursor {
    Cursor::new(format!("{}.{}", place.replace(IN_KEYS, IN_CURSORS), tag(tenant)))
}

/// Before every entry that is stamped then.
fn place_at(at: Timestamp) -> String {
    format!("{:0STAMP_DIGITS$}", at.as_ms().saturating_mul(1000))
}

impl From<LogError> for FeedError {
    fn from(error: LogError) -> Self {
        FeedError::Unavailable(error.to_string())
    }
}
