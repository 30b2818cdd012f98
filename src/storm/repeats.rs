//! The same content to the same recipient. Memory knows what this process let through; at the second sight of the same
//! the log is asked exactly, so that what other processes sent, and this one before a restart, counts too.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Asked;
use super::recent::Recent;
use crate::clock::Timestamp;
use crate::message_log::{Filter, LogError, MessageLog, Record};
use crate::notification::address::Address;
use crate::notification::status::{Life, Status};
use crate::notification::{Mailbox, Notification, NotificationId, RecipientKind, content};

/// Parts of the memory that are locked apart.
const SHARDS: usize = 16;
/// Sights that one part remembers in each of its two generations; at 13 bytes a place 27 MiB in all, at the
/// most.
const SIGHTS: usize = 57_000;
/// Suspects remembered in each of two generations.
const SUSPECTS: usize = 50_000;
/// Suspects that may be asked about at the same time.
const TURNS: usize = 64;
/// Records looked at in one call to the log, and how many such calls.
const PAGE: usize = 100;
const PAGES: usize = 5;
/// What was accepted longer ago than this has waited for its `deliver_at`: its likes then lie too far back to be looked
/// for, other than in memory.
const LONGEST_LOOK_BACK: Duration = Duration::from_secs(24 * 3600);

/// What went, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sight {
    /// The last bytes of its id, which are random in every kind of id.
    id: u32,
    /// Seconds since the epoch.
    at: u32,
}

impl Sight {
    fn of(id: NotificationId, at: Timestamp) -> Self {
        let [.., a, b, c, d] = *id.as_bytes();
        let at = u32::try_from(at.as_ms() / 1000).unwrap_or(u32::MAX);
        Self { id: u32::from_be_bytes([a, b, c, d]), at }
    }
}

/// What this process saw, bounded.
pub(super) struct Repeats {
    limit: usize,
    window: Duration,
    hasher: RandomState,
    sights: Vec<Mutex<Recent<u32, Sight>>>,
    /// What went, by key, of what was seen more than once.
    suspects: Mutex<Recent<u64, Vec<Sight>>>,
    turns: Vec<tokio::sync::Mutex<()>>,
    undecided: Undecided,
}

type Undecided = Arc<Vec<Mutex<HashSet<NotificationId>>>>;

/// Marks one as claimed and not yet judged, until it is dropped.
#[derive(Debug)]
pub struct Ticket(Option<(Undecided, NotificationId)>);

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((undecided, id)) = &self.0 {
            lock(&undecided[shard_of(*id)]).remove(id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shard_of(id: NotificationId) -> usize {
    usize::from(id.as_bytes()[15]) % SHARDS
}

impl Repeats {
    pub(super) fn new(limit: u32, window: Duration) -> Self {
        Self {
            limit: limit as usize,
            window,
            hasher: RandomState::new(),
            sights: (0..SHARDS).map(|_| Mutex::new(Recent::new(window, SIGHTS))).collect(),
            suspects: Mutex::new(Recent::new(window, SUSPECTS)),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
            undecided: Arc::new((0..SHARDS).map(|_| Mutex::default()).collect()),
        }
    }

    pub(super) fn enter(&self, id: NotificationId) -> Ticket {
        if self.limit == 0 {
            return Ticket(None);
        }
        lock(&self.undecided[shard_of(id)]).insert(id);
        Ticket(Some((self.undecided.clone(), id)))
    }

    /// Whether as many as may have gone with this content to one of its recipients (`to` alone: copies for an archive
    /// are meant to repeat). Counts it as gone if not.
    pub(super) async fn is_one_too_many(
        &self,
        log: &dyn MessageLog,
        asked: Asked<'_>,
        now: Timestamp,
    ) -> Result<bool, LogError> {
        if self.limit == 0 {
            return Ok(false);
        }
        let content = self.content(asked.notification);
        let own = Sight::of(asked.id, now);
        for mailbox in &asked.notification.to {
            let key = self.key(&asked.notification.tenant, mailbox, content);
            let Some(first) = self.see(key, own, now) else { continue };
            let _turn = self.turns[slot(key, TURNS)].lock().await;
            let is_full = self.fill(log, asked, &mailbox.email, (key, content), (first, own), now).await;
            if !matches!(is_full, Ok(false)) {
                self.forget(asked);
                return is_full;
            }
        }
        Ok(false)
    }

    /// Remembers this sight; the first one of the same by another notification, if there was one.
    fn see(&self, key: u64, own: Sight, now: Timestamp) -> Option<Sight> {
        let mut sights = lock(&self.sights[slot(key, SHARDS)]);
        let print = fingerprint(key);
        match sights.get(&print) {
            Some(first) if first.id == own.id => None,
            Some(first) => {
                let first = *first;
                // Remembered for a window more.
                sights.put(print, first, now);
                Some(first)
            }
            None => {
                sights.put(print, own, now);
                None
            }
        }
    }

    /// Counts what went, from memory and where that is not enough from the log, and this one with them if it may go.
    async fn fill(
        &self,
        log: &dyn MessageLog,
        asked: Asked<'_>,
        recipient: &Address,
        (key, content): (u64, u64),
        (first, own): (Sight, Sight),
        now: Timestamp,
    ) -> Result<bool, LogError> {
        let mut gone = lock(&self.suspects).get(&key).cloned().unwrap_or_else(|| vec![first]);
        // It was let go, and put back before it went: the answer stands, or a slow log would be asked for ever.
        if gone.iter().any(|sight| sight.id == own.id) {
            return Ok(false);
        }
        let begin = Sight::of(asked.id, now.minus(self.window)).at;
        gone.retain(|sight| sight.at > begin);
        if gone.len() < self.limit {
            for found in self.look_up(log, asked, recipient, content, now).await? {
                if !gone.iter().any(|known| known.id == found.id) {
                    gone.push(found);
                }
            }
        }
        let is_full = gone.len() >= self.limit;
        if !is_full {
            gone.push(own);
        }
        lock(&self.suspects).put(key, gone, now);
        Ok(is_full)
    }

    /// What of the same went to this recipient within the window, as the log says.
    async fn look_up(
        &self,
        log: &dyn MessageLog,
        asked: Asked<'_>,
        recipient: &Address,
        content: u64,
        now: Timestamp,
    ) -> Result<Vec<Sight>, LogError> {
        let accepted_at = asked.life.accepted_at;
        let from = if now.since(accepted_at) > LONGEST_LOOK_BACK { now } else { accepted_at.min(now) };
        let filter = Filter {
            tenant: Some(asked.notification.tenant.clone()),
            recipient: Some(recipient.clone()),
            since: Some(from.minus(self.window)),
            ..Filter::default()
        };
        let (mut found, mut cursor) = (Vec::new(), None);
        for _page in 0..PAGES {
            let page = log.list(&filter, cursor.as_deref(), PAGE, now).await?;
            let candidates = page.items.iter().filter(|record| record.id != asked.id);
            let gone: Vec<_> =
                candidates.filter_map(|one| Some((one.id, self.gone_at(one, recipient, now)?))).collect();
            if !gone.is_empty() {
                let ids: Vec<_> = gone.iter().map(|(id, _)| *id).collect();
                let contents = log.contents(&ids).await?;
                let same = gone.into_iter().zip(contents).filter(|(_, stored)| {
                    let stored = stored.as_ref().and_then(|stored| content::decode(stored).ok());
                    stored.is_some_and(|stored| self.content(&stored) == content)
                });
                found.extend(same.map(|((id, at), _)| Sight::of(id, at)));
            }
            cursor = page.next_cursor;
            if found.len() >= self.limit || cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn gone_at(&self, record: &Record, recipient: &Address, now: Timestamp) -> Option<Timestamp> {
        let canonical = recipient.canonical();
        let is_its = record
            .recipients
            .iter()
            .any(|one| one.kind == RecipientKind::To && one.email.canonical() == canonical);
        if !is_its {
            return None;
        }
        let is_undecided = || lock(&self.undecided[shard_of(record.id)]).contains(&record.id);
        gone_at(&record.life, now, is_undecided).filter(|at| now.since(*at) < self.window)
    }

    /// Forgets what was counted for one that is not to go after all.
    pub(super) fn forget(&self, asked: Asked<'_>) {
        if self.limit == 0 {
            return;
        }
        let content = self.content(asked.notification);
        let own = Sight::of(asked.id, Timestamp::default()).id;
        for mailbox in &asked.notification.to {
            let key = self.key(&asked.notification.tenant, mailbox, content);
            let mut sights = lock(&self.sights[slot(key, SHARDS)]);
            let print = fingerprint(key);
            if sights.get(&print).is_some_and(|first| first.id == own) {
                sights.remove(&print);
            }
            drop(sights);
            let mut suspects = lock(&self.suspects);
            if let Some(mut gone) = suspects.remove(&key) {
                gone.retain(|sight| sight.id != own);
                let now = gone.last().map_or(0, |sight| i64::from(sight.at) * 1000);
                suspects.put(key, gone, Timestamp::from_ms(now));
            }
        }
    }

    fn key(&self, tenant: &str, to: &Mailbox, content: u64) -> u64 {
        self.hasher.hash_one((tenant, to.email.canonical(), content))
    }

    /// What a recipient sees of it. Neither its key, labels, batch nor times.
    fn content(&self, notification: &Notification) -> u64 {
        let Notification { from, reply_to, subject, text, html, template, attachments, .. } = notification;
        let mut hasher = self.hasher.build_hasher();
        for mailbox in [Some(from), reply_to.as_ref()] {
            mailbox.map(|one| (one.email.reveal(), one.name.as_ref().map(|name| &name.0))).hash(&mut hasher);
        }
        (subject, text, html).hash(&mut hasher);
        if let Some(template) = template {
            template.id.hash(&mut hasher);
            // Its keys are in order, however they came.
            serde_json::to_string(&template.data).unwrap_or_default().hash(&mut hasher);
        }
        for file in attachments {
            (&file.filename, &file.content_type, &file.content).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn slot(key: u64, of: usize) -> usize {
    usize::try_from(key >> 48).unwrap_or(0) % of
}

fn fingerprint(key: u64) -> u32 {
    u32::try_from(key & u64::from(u32::MAX)).unwrap_or(0)
}

/// When it went, or was let go: an attempt was made or is under way, and it is not at an end without having been sent.
/// What is claimed and not judged yet has not gone. Pure.
fn gone_at(life: &Life, now: Timestamp, is_undecided: impl Fn() -> bool) -> Option<Timestamp> {
    let last = life.attempts.last().map(|attempt| attempt.started_at);
    match life.status(now) {
        Status::Sent => life.sent_at.or(last),
        Status::Attempting if life.attempt <= 1 && is_undecided() => None,
        Status::Attempting | Status::Unknown | Status::Retrying => last,
        _ => None,
    }
}

#[cfg(test)]
#[path = "repeats_tests.rs"]
mod tests;
