//! The queue in SQLite: visibility time-outs, receive counts, delays, dead letters and fairness like SQS.

mod dead;
mod lanes;
mod spent;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{
    DeadEnd, DeadHandle, DeadLetter, Delivery, Depth, Message, Origin, Queue, QueueError, Receipt, Settlement,
};
use crate::clock::{Clock, Timestamp};
use crate::shutdown::Shutdown;
use crate::sqlite::{Engine, EngineError};
use lanes::Lanes;

/// How the queue behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// For how long a received message is invisible to others.
    pub visibility_timeout: Duration,
    /// A message received more often becomes a dead letter instead.
    pub max_receive_count: u32,
    /// For how long dead letters are kept.
    pub dead_letters_kept: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_secs(60),
            max_receive_count: 100,
            dead_letters_kept: Duration::from_secs(14 * 24 * 3600),
        }
    }
}

/// [`Queue`] on the embedded engine. An id has at most one message: sending it again merges.
///
/// Cheap to clone. With a manual clock `receive` does not wait: nothing but the caller can turn that clock.
#[derive(Clone, Debug)]
pub struct SqliteQueue {
    engine: Engine,
    clock: Clock,
    config: Config,
    shared: Arc<Shared>,
    shutdown: Option<Shutdown>,
}

/// What the writer's commands and the waiting receivers have in common.
#[derive(Debug, Default)]
struct Shared {
    lanes: Mutex<Lanes>,
    arrived: Notify,
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages on their way into the queue.
pub(crate) struct Sending {
    shared: Arc<Shared>,
    rows: Vec<Option<store::Sent>>,
    now: Timestamp,
}

impl Sending {
    /// Enqueues those whose place `is_sent`, inside the caller's transaction. `None` has a place and no message.
    pub(crate) fn run(&self, tx: &Connection, is_sent: impl Fn(usize) -> bool) -> rusqlite::Result<()> {
        let rows = self.rows.iter().enumerate().filter(|(place, _)| is_sent(*place));
        store::send(tx, &mut self.shared.lanes(), rows.filter_map(|(_, row)| row.as_ref()), self.now)?;
        // Before the commit: a receiver's command then queues up behind this one, maybe in the same commit.
        self.shared.arrived.notify_waiters();
        Ok(())
    }
}

impl SqliteQueue {
    /// The queue in `engine`. One per engine: which tenants have messages is known in memory.
    pub async fn open(engine: Engine, clock: Clock, config: Config) -> Result<Self, QueueError> {
        let lanes = engine.read(store::load).await?;
        let shared = Arc::new(Shared { lanes: Mutex::new(lanes), arrived: Notify::new() });
        Ok(Self { engine, clock, config, shared, shutdown: None })
    }

    /// The same queue, whose receives stop waiting when the shutdown is pulled. A receive that is dropped instead
    /// may have taken messages, which then rest for the whole visibility time-out.
    pub fn waiting_until(self, shutdown: Shutdown) -> Self {
        Self { shutdown: Some(shutdown), ..self }
    }

    /// Deletes every message, as `PurgeQueue` of SQS does. Dead letters stay.
    pub async fn purge(&self) -> Result<(), QueueError> {
        let shared = Arc::clone(&self.shared);
        let purged = self.engine.write(move |tx| {
            store::purge(tx)?;
            *shared.lanes() = Lanes::default();
            Ok(())
        });
        Ok(purged.await?)
    }

    /// Enqueues as a part of somebody's transaction.
    pub(crate) fn sending<'a>(&self, messages: impl Iterator<Item = Option<&'a Message>>) -> Sending {
        let (shared, now) = (Arc::clone(&self.shared), self.clock.now());
        let rows = messages.map(|message| message.map(|message| store::Sent::new(message, now))).collect();
        Sending { shared, rows, now }
    }

    async fn shut_down(&self) {
        match &self.shutdown {
            Some(shutdown) => shutdown.pulled().await,
            None => std::future::pending().await,
        }
    }

    async fn receive_visible(&self, max: usize) -> Result<Vec<Delivery>, QueueError> {
        let (shared, config, now) = (Arc::clone(&self.shared), self.config.clone(), self.clock.now());
        let received =
            self.engine.write(move |tx| store::receive(tx, &mut shared.lanes(), max, now, &config));
        Ok(received.await?)
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn send_batch(&self, messages: &[Message]) -> Vec<Result<(), QueueError>> {
        if messages.is_empty() {
            return Vec::new();
        }
        let sending = self.sending(messages.iter().map(Some));
        match self.engine.write(move |tx| sending.run(tx, |_| true)).await {
            Ok(()) => vec![Ok(()); messages.len()],
            Err(error) => vec![Err(error.into()); messages.len()],
        }
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        let deadline = Instant::now() + wait;
        loop {
            // Registered before looking, so that nothing arrives unnoticed in between.
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let (next, now) = (self.shared.lanes().next_visible_at(), self.clock.now());
            if next.is_some_and(|next| next <= now) {
                let received = self.receive_visible(max).await?;
                if !received.is_empty() || max == 0 {
                    return Ok(received);
                }
                // What looked visible was not there any more. The lanes know better now: each such turn corrects one
                // tenant at least, so this ends.
                continue;
            }
            if self.clock.is_manual() || Instant::now() >= deadline {
                return Ok(Vec::new());
            }
            let visible = next.map(|next| Instant::now() + next.since(now));
            tokio::select! {
                () = &mut arrived => {}
                () = self.shut_down() => return Ok(Vec::new()),
                () = tokio::time::sleep_until(visible.map_or(deadline, |at| at.min(deadline))) => {}
            }
        }
    }

    async fn extend(&self, receipts: &[Receipt], for_: Duration) -> Vec<Result<(), QueueError>> {
        if receipts.is_empty() {
            return Vec::new();
        }
        let count = receipts.len();
        let until = self.clock.now().plus(for_);
        let handles: Vec<Option<store::Handle>> = receipts.iter().map(store::Handle::parse).collect();
        let extended = self.engine.write(move |tx| store::extend(tx, &handles, until));
        each(extended.await, count)
    }

    async fn settle(&self, settled: Vec<(Delivery, Settlement)>) -> Vec<Result<(), QueueError>> {
        if settled.is_empty() {
            return Vec::new();
        }
        let count = settled.len();
        let (shared, config, now) = (Arc::clone(&self.shared), self.config.clone(), self.clock.now());
        let ends: Vec<(Option<store::Handle>, Settlement)> = settled
            .into_iter()
            .map(|(delivery, end)| (store::Handle::parse(&delivery.receipt), end))
            .collect();
        let settled = self.engine.write(move |tx| {
            let known = store::settle(tx, &mut shared.lanes(), &ends, now, &config)?;
            shared.arrived.notify_waiters();
            Ok(known)
        });
        each(settled.await, count)
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let now = self.clock.now();
        Ok(self.engine.read(move |tx| store::depth(tx, now)).await?)
    }

    async fn dead_letters(&self, after: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let after = after.and_then(|key| key.parse().ok());
        let kept = self.config.dead_letters_kept;
        Ok(self.engine.read(move |tx| dead::letters(tx, after, limit, kept)).await?)
    }

    async fn end_dead_letters(&self, ends: Vec<(DeadHandle, DeadEnd)>) -> Vec<Result<(), QueueError>> {
        if ends.is_empty() {
            return Vec::new();
        }
        let count = ends.len();
        each(self.engine.write(move |tx| dead::end(tx, &ends)).await, count)
    }

    async fn spent(&self) -> Result<Option<u64>, QueueError> {
        Ok(self.engine.read(spent::spent).await?)
    }

    fn merges(&self) -> bool {
        true
    }
}

/// One result per entry: whether its receipt was known, or the failure that they all share.
fn each(known: Result<Vec<bool>, EngineError>, count: usize) -> Vec<Result<(), QueueError>> {
    match known {
        Ok(known) => known
            .into_iter()
            .map(|known| if known { Ok(()) } else { Err(QueueError::StaleReceipt) })
            .collect(),
        Err(error) => vec![Err(error.into()); count],
    }
}

impl From<EngineError> for QueueError {
    fn from(error: EngineError) -> Self {
        QueueError::Unavailable(error.to_string())
    }
}
