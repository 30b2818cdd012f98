//! The sweeper: the log is the obligation, so whatever is open there gets a queue message again when its time has
//! come: long waits, crashes between record and queue, a queue that lost messages. Deadlines are kept here too.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::message_log::{Due, LogError, MessageLog};
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            batch: 500,
            first_batch: 10_000,
            look_again: Duration::from_secs(600),
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
}

/// What a row needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A queue message with this delay.
    Message(Duration),
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
        State::Attempting if life.hold_until > now => {
            life.queue_delay(now).map_or(Need::Look(life.hold_until), Need::Message)
        }
        State::Attempting => Need::Message(Duration::ZERO),
        State::Accepted | State::Scheduled | State::Retrying => {
            life.queue_delay(now).map_or(Need::Look(life.due_at), Need::Message)
        }
        _ => Need::Look(now.plus(look_again)),
    }
}

impl Sweeper {
    /// A sweeper over these ports.
    pub fn new(log: Arc<dyn MessageLog>, queue: Arc<dyn Queue>, clock: Clock, config: Config) -> Self {
        Self { log, queue, clock, config }
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

    async fn look(&self, horizon: Timestamp, limit: usize, now: Timestamp) -> Result<Swept, LogError> {
        let due = self.log.due(horizon, limit).await?;
        if due.is_empty() {
            return Ok(Swept::default());
        }
        let mut swept = Swept::default();
        let mut messages = Vec::new();
        let mut facts = Vec::with_capacity(due.len());
        for row in &due {
            match need(&row.life, now, self.config.look_again) {
                Need::Message(delay) => messages.push(message(row, delay)),
                Need::Expiry => {
                    facts.push((row.id, Fact::Expired));
                    swept.expired += 1;
                }
                Need::Look(wake_at) => {
                    facts.push((row.id, Fact::Enqueued { wake_at }));
                    swept.postponed += 1;
                }
            }
        }
        let results = self.queue.send_batch(&messages).await;
        for (message, result) in messages.iter().zip(results) {
            match result {
                Ok(()) => {
                    let wake_at = now.plus(message.delay).plus(self.config.look_again);
                    facts.push((message.id, Fact::Enqueued { wake_at }));
                    swept.enqueued += 1;
                }
                Err(error) => tracing::warn!(id = %message.id, %error, "could not enqueue; looked at again"),
            }
        }
        for result in self.log.apply(&facts, now).await {
            // A refusal means that something else happened to it meanwhile.
            result?;
        }
        if swept.enqueued + swept.expired > 0 {
            tracing::info!(enqueued = swept.enqueued, expired = swept.expired, "swept");
        }
        Ok(swept)
    }
}

fn message(row: &Due, delay: Duration) -> Message {
    let tenant = row.tenant.clone();
    Message { id: row.id, tenant, priority: row.priority, delay, content: None, fresh: None }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
