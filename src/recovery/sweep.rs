//! The sweeper: the log is the obligation, so whatever is open there gets a queue message again when its time has
//! come: long waits, crashes between record and queue, a queue that lost messages. Deadlines are kept here too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::message_log::{Due, LogError, MessageLog};
use crate::notification::NotificationId;
use crate::notification::status::{Fact, Life, State};
use crate::queue::{Message, Queue};
use crate::shutdown::Shutdown;

/// How the sweeper paces itself.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Between two looks that found nothing more to do.
    pub interval: Duration,
    /// Rows in one look.
    pub batch: usize,
    /// Rows that the first look after a start takes on at the most.
    pub first_batch: usize,
    /// When to look again at what was enqueued, in case the queue loses it.
    pub look_again: Duration,
    /// When to look again at what the queue could not take.
    pub try_again: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            batch: 500,
            first_batch: 10_000,
            look_again: Duration::from_secs(600),
            try_again: Duration::from_secs(5),
        }
    }
}

/// What one look did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Given a queue message.
    pub enqueued: usize,
    /// Ended because their deadline has passed.
    pub expired: usize,
    /// Looked at, nothing to do yet.
    pub postponed: usize,
}

impl Swept {
    fn total(self) -> usize {
        self.enqueued + self.expired + self.postponed
    }
}

/// Looks after what is open and has no live queue message.
pub struct Sweeper {
    log: Arc<dyn MessageLog>,
    queue: Arc<dyn Queue>,
    clock: Clock,
    config: Config,
    /// The queue did not take everything at the last try, which is said.
    is_queue_ill: AtomicBool,
}

/// What a row needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A queue message with this delay: until now it waited in the log.
    Message(Duration),
    /// A queue message with this delay if it has none: it was given one before, which may be lost.
    Another(Duration),
    /// Its end: the deadline has passed.
    Expiry,
    /// A look at this time.
    Look(Timestamp),
}

/// What a row whose `wake_at` has come needs. Pure.
pub fn need(life: &Life, now: Timestamp, look_again: Duration) -> Need {
    let is_late = life.useful_until.is_some_and(|deadline| deadline <= now);
    match life.state {
        // While its outcome may still come in, it is not over.
        State::Attempting if is_late && life.hold_until > now => Need::Look(life.hold_until),
        _ if is_late => Need::Expiry,
        State::Attempting => message_at(life, life.hold_until, now),
        State::Accepted | State::Scheduled | State::Retrying => message_at(life, life.due_at, now),
        _ => Need::Look(now.plus(look_again)),
    }
}

fn message_at(life: &Life, at: Timestamp, now: Timestamp) -> Need {
    // What has a queue message is looked at some time after it; what waits in the log, on time.
    let waits_in_log = life.wake_at == Some(at);
    match life.queue_delay(now) {
        None => Need::Look(at),
        Some(delay) if waits_in_log => Need::Message(delay),
        Some(delay) => Need::Another(delay),
    }
}

impl Sweeper {
    /// A sweeper over these ports.
    pub fn new(log: Arc<dyn MessageLog>, queue: Arc<dyn Queue>, clock: Clock, config: Config) -> Self {
        Self { log, queue, clock, config, is_queue_ill: AtomicBool::new(false) }
    }

    /// Looks until the shutdown is pulled.
    pub async fn run(self, shutdown: Shutdown) {
        let mut was_ill = false;
        let mut is_first = true;
        while !shutdown.is_pulled() {
            let looked = if is_first { self.first_step().await } else { self.step().await };
            let full = match looked {
                Ok(swept) => {
                    (was_ill, is_first) = (false, false);
                    swept.total() >= self.config.batch
                }
                Err(error) => {
                    if !was_ill {
                        tracing::warn!(%error, "the sweeper cannot reach the log");
                    }
                    was_ill = true;
                    false
                }
            };
            if !full {
                tokio::select! {
                    () = tokio::time::sleep(self.config.interval) => {}
                    () = shutdown.pulled() => {}
                }
            }
        }
    }

    /// The first look after a start, which may follow a crash between a record and its queue message: what would be
    /// looked at within a minute is looked at now. Whatever has its message keeps that one.
    pub async fn first_step(&self) -> Result<Swept, LogError> {
        let now = self.clock.now();
        self.look(now.plus(Life::FIRST_LOOK), self.config.first_batch, now).await
    }

    /// One look at up to a batch of rows.
    pub async fn step(&self) -> Result<Swept, LogError> {
        let now = self.clock.now();
        self.look(now, self.config.batch, now).await
    }

    /// Whether the queue has fewer messages than there are notifications on their way. In a long backlog every one of
    /// them is due for a look: without this question each would get another copy, and another after that.
    async fn lost(&self, suspects: usize, now: Timestamp) -> Result<Lost, LogError> {
        if suspects == 0 || self.queue.merges() {
            return Ok(Lost::Some);
        }
        match self.queue.depth().await {
            Ok(depth) if depth.live() < self.log.counts(now).await?.on_their_way() => Ok(Lost::Some),
            Ok(_) => Ok(Lost::None),
            Err(error) => {
                tracing::debug!(%error, "cannot tell whether the queue lost messages; looked at again");
                Ok(Lost::CannotTell)
            }
        }
    }

    /// Whether a crash may have come between its record and its message: nobody has taken it up, and it is not old.
    fn may_lack_its_message(&self, life: &Life, now: Timestamp) -> bool {
        life.attempts.is_empty() && now <= life.accepted_at.plus(self.config.look_again)
    }

    async fn look(&self, horizon: Timestamp, limit: usize, now: Timestamp) -> Result<Swept, LogError> {
        let due = self.log.due(horizon, limit).await?;
        if due.is_empty() {
            return Ok(Swept::default());
        }
        let Plan { mut messages, others, mut facts, mut swept } = self.plan(&due, horizon > now, now);
        let wake_at = |at| move |other: &Message| (other.id, Fact::Enqueued { wake_at: at });
        match self.lost(others.len(), now).await? {
            Lost::Some => messages.extend(others),
            Lost::None => {
                facts.extend(others.iter().map(wake_at(now.plus(self.config.look_again))));
                swept.postponed += others.len();
            }
            Lost::CannotTell => facts.extend(others.iter().map(wake_at(now.plus(self.config.try_again)))),
        }
        swept.enqueued = self.enqueue(&messages, now, &mut facts).await;
        for result in self.log.apply(&facts, now).await {
            // A refusal means that something else happened to it meanwhile.
            result?;
        }
        if swept.enqueued + swept.expired > 0 {
            tracing::info!(enqueued = swept.enqueued, expired = swept.expired, "swept");
        }
        Ok(swept)
    }

    fn plan(&self, due: &[Due], is_first: bool, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        for row in due {
            match need(&row.life, now, self.config.look_again) {
                Need::Message(delay) => plan.messages.push(message(row, delay)),
                // Messages of what the crash had left behind as sent make up for the missing one in the queue's count.
                Need::Another(delay) if is_first && self.may_lack_its_message(&row.life, now) => {
                    plan.messages.push(message(row, delay));
                }
                Need::Another(delay) => plan.others.push(message(row, delay)),
                Need::Expiry => {
                    plan.facts.push((row.id, Fact::Expired));
                    plan.swept.expired += 1;
                }
                Need::Look(wake_at) => {
                    plan.facts.push((row.id, Fact::Enqueued { wake_at }));
                    plan.swept.postponed += 1;
                }
            }
        }
        plan
    }

    /// Sends the messages and adds what came of it to the facts. How many the queue took.
    async fn enqueue(
        &self,
        messages: &[Message],
        now: Timestamp,
        facts: &mut Vec<(NotificationId, Fact)>,
    ) -> usize {
        if messages.is_empty() {
            return 0;
        }
        let mut failed = None;
        let mut taken = 0;
        for (message, result) in messages.iter().zip(self.queue.send_batch(messages).await) {
            let wait = match result {
                Ok(()) => {
                    taken += 1;
                    message.delay + self.config.look_again
                }
                Err(error) => {
                    failed = Some(error);
                    self.config.try_again
                }
            };
            facts.push((message.id, Fact::Enqueued { wake_at: now.plus(wait) }));
        }
        let was_ill = self.is_queue_ill.swap(failed.is_some(), Ordering::Relaxed);
        if let Some(error) = failed.filter(|_| !was_ill) {
            let of = messages.len();
            tracing::warn!(%error, of, "the sweeper could not put every message on the queue; tried again");
        }
        taken
    }
}

/// What one look leads to.
#[derive(Default)]
struct Plan {
    messages: Vec<Message>,
    /// For what was given a message before: only where the queue lost some.
    others: Vec<Message>,
    facts: Vec<(NotificationId, Fact)>,
    swept: Swept,
}

/// Whether the queue lost messages.
enum Lost {
    Some,
    None,
    CannotTell,
}

fn message(row: &Due, delay: Duration) -> Message {
    let tenant = row.tenant.clone();
    Message { id: row.id, tenant, priority: row.priority, delay, content: None, fresh: None }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
