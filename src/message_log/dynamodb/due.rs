//! What the sweeper looks at: the index `wake`, scheduled ones whose time has come, and a walk over all that is on
//! its way.
//!
//! Accepting and claiming leave the index `wake` alone, as nearly all is sent before anyone would look. The walk makes
//! up for that: it follows the open index at the distance of a first look and starts anew every ten minutes, so that
//! a notification without a queue message waits that much longer at the most.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;

use super::DynamoLog;
use super::change::index_write;
use super::keys::{self, Class, Item, OPEN_INDEX, OPEN_SHARDS, WAKE_INDEX, WAKE_SHARDS};
use super::row::{Row, n, number, text};
use super::table::Query;
use crate::clock::Timestamp;
use crate::message_log::{Due, LogError};
use crate::notification::NotificationId;
use crate::notification::status::{Life, State};

/// The walk starts anew after this.
pub(super) const WALK_ANEW: Duration = Duration::from_secs(600);

/// The walk goes on no more often than this, as it reads sixteen partitions.
const WALK_EVERY: Duration = Duration::from_secs(5);

/// A scheduled one that was claimed when its time came is moved in the index only after this: mostly it is gone by
/// then.
const MOVED_AFTER: Duration = Duration::from_secs(60);

/// Where the walk stands. Only in memory: after a restart it begins at the beginning.
#[derive(Debug, Default)]
pub(super) struct Walk(Mutex<Stand>);

#[derive(Debug, Default)]
struct Stand {
    began: Option<Timestamp>,
    /// When it found no more, last.
    rests_since: Option<Timestamp>,
    /// The last item of each shard that was looked at.
    after: Vec<Option<Item>>,
    /// Handed to the sweeper, which has not yet said that it saw to them: handed to it again.
    handed: HashSet<NotificationId>,
}

impl Walk {
    fn lock(&self) -> std::sync::MutexGuard<'_, Stand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sweeper has seen to these.
    pub(super) fn confirm(&self, ids: impl Iterator<Item = NotificationId>) {
        let mut stand = self.lock();
        for id in ids {
            stand.handed.remove(&id);
        }
    }

    /// Where each shard goes on (nowhere while it rests), and what is still in hand.
    fn continue_at(&self, now: Timestamp) -> (Vec<Option<Item>>, Vec<NotificationId>) {
        let mut stand = self.lock();
        let is_over = stand.began.is_none_or(|began| {
            // Well before it began: a clock that was set back.
            now >= began.plus(WALK_ANEW) || now.plus(WALK_ANEW) < began
        });
        if is_over {
            *stand = Stand {
                began: Some(now),
                rests_since: None,
                after: vec![None; usize::from(OPEN_SHARDS)],
                handed: HashSet::new(),
            };
        }
        let rests = stand.rests_since.is_some_and(|since| {
            let span = now.since(since).max(since.since(now));
            span < WALK_EVERY
        });
        let after = if rests { Vec::new() } else { stand.after.clone() };
        (after, stand.handed.iter().copied().collect())
    }
}

/// An index entry that may be due.
struct Candidate {
    id: NotificationId,
    source: Source,
    at: i64,
    /// It stands in the index `wake` as well.
    has_wake: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Wake,
    Scheduled,
    Walk,
}

impl DynamoLog {
    pub(super) async fn due_now(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, LogError> {
        let (after, handed) = self.walk.continue_at(now);
        let wake = (0..WAKE_SHARDS).map(|shard| {
            let query = up_to(WAKE_INDEX, ("ws", keys::wake_partition(shard)), "wk", now, limit);
            self.candidates(query, None, Source::Wake)
        });
        let scheduled = (0..Class::Scheduled.shards()).map(|shard| {
            let partition = ("os", keys::open_partition(Class::Scheduled, shard));
            self.candidates(up_to(OPEN_INDEX, partition, "oa", now, limit), None, Source::Scheduled)
        });
        let rests = after.is_empty();
        let walked = (0..Class::OnItsWay.shards()).zip(after).map(|(shard, after)| {
            let partition = ("os", keys::open_partition(Class::OnItsWay, shard));
            let query = up_to(OPEN_INDEX, partition, "oa", now.minus(Life::FIRST_LOOK), limit);
            self.candidates(query, after, Source::Walk)
        });
        let found = try_join_all(wake.chain(scheduled)).await?;
        let mut candidates: Vec<Candidate> = found.into_iter().flatten().map(|(_, one)| one).collect();
        candidates.extend(handed.into_iter().map(|id| Candidate {
            id,
            source: Source::Walk,
            at: 0,
            has_wake: false,
        }));
        let mut seen = HashSet::new();
        candidates.retain(|one| seen.insert(one.id));
        let mut due = self.look_at(candidates, now).await?;
        if due.len() < limit && !rests {
            let walked = try_join_all(walked).await?;
            let walked = self.step(walked, limit - due.len(), now);
            let walked: Vec<Candidate> = walked.into_iter().filter(|one| seen.insert(one.id)).collect();
            // Before they are read: the walk has passed them, and they may not be readable just now.
            self.walk.lock().handed.extend(walked.iter().map(|one| one.id));
            due.extend(self.look_at(walked, now).await?);
        }
        due.sort_by_key(|due| (due.life.wake_at, due.id));
        due.truncate(limit);
        Ok(due)
    }

    async fn candidates(
        &self,
        query: Query,
        after: Option<Item>,
        source: Source,
    ) -> Result<Vec<(Item, Candidate)>, LogError> {
        let page = self.table.query(&query, after).await?;
        let (sort, partition) = (query.range.as_ref().map_or("", |(name, ..)| *name), query.partition.0);
        let candidate = |item: Item| {
            let id = text(&item, "pk").and_then(keys::notification_id)?;
            let (at, has_wake) = (number(&item, sort)?, item.contains_key("wk"));
            // What a query starts after: the keys of the index and of the table.
            let names = ["pk", "sk", partition, sort];
            let start = names.into_iter().filter_map(|name| Some((name.to_owned(), item.get(name)?.clone())));
            Some((start.collect(), Candidate { id, source, at, has_wake }))
        };
        Ok(page.items.into_iter().filter_map(candidate).collect())
    }

    /// Takes the oldest of what the walk found, and moves its stand behind them.
    fn step(&self, found: Vec<Vec<(Item, Candidate)>>, room: usize, now: Timestamp) -> Vec<Candidate> {
        let mut all: Vec<(usize, Item, Candidate)> = Vec::new();
        for (shard, found) in found.into_iter().enumerate() {
            all.extend(found.into_iter().map(|(start, one)| (shard, start, one)));
        }
        // Stable: within a shard and moment the order stays the index's.
        all.sort_by_key(|(_, _, one)| one.at);
        all.truncate(room);
        let mut stand = self.walk.lock();
        stand.rests_since = (all.len() < room).then_some(now);
        let mut taken = Vec::with_capacity(all.len());
        for (shard, start, one) in all {
            if let Some(after) = stand.after.get_mut(shard) {
                *after = Some(start);
            }
            if !one.has_wake {
                taken.push(one);
            }
        }
        taken
    }

    /// Reads the rows: which are due, and which stand in an index where they no longer belong.
    async fn look_at(&self, candidates: Vec<Candidate>, now: Timestamp) -> Result<Vec<Due>, LogError> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.table.get(candidates.iter().map(|one| keys::row_key(one.id))).await?;
        let mut due = Vec::new();
        let mut moves = Vec::new();
        for one in candidates {
            let row = match rows.get(&keys::row_key(one.id)).map(Row::read) {
                Some(Ok(row)) => row,
                Some(Err(error)) => {
                    // One unreadable record must not keep the sweeper from the others.
                    tracing::error!(id = %one.id, %error, "the sweeper leaves a record out");
                    self.walk.confirm([one.id].into_iter());
                    continue;
                }
                None => {
                    self.walk.confirm([one.id].into_iter());
                    continue;
                }
            };
            if row.life.wake_at.is_some_and(|at| at <= now) {
                let Row { id, tenant, priority, life, .. } = row;
                due.push(Due { id, tenant, priority, life });
                continue;
            }
            self.walk.confirm([one.id].into_iter());
            let is_misplaced = match one.source {
                Source::Wake => row.indexed_wake != row.life.wake_at,
                Source::Scheduled => now.as_ms() - one.at > MOVED_AFTER.as_secs().cast_signed() * 1000,
                Source::Walk => false,
            };
            if is_misplaced && row.life.state != State::Sent {
                moves.push(index_write(&self.table, &row, now));
            }
        }
        // What is not moved now is found again by the next look.
        self.writer.write(moves).await;
        Ok(due)
    }
}

fn up_to(
    index: &'static str,
    partition: (&'static str, String),
    sort: &'static str,
    until: Timestamp,
    limit: usize,
) -> Query {
    Query {
        index: Some(index),
        partition,
        range: Some((sort, None, Some(n(until.as_ms())))),
        is_forward: true,
        limit: Some(i32::try_from(limit).unwrap_or(i32::MAX).max(1)),
        is_count: false,
    }
}
