//! The inbox in SQLite: a table of parcels, and in memory whose turn it is. One process: what is taken is known in
//! memory alone, and after a restart everything that is left may be taken.

mod lanes;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{Appended, Depth, Inbox, InboxError, Parcel, Receipt, Taken};
use crate::shutdown::Shutdown;
use crate::sqlite::{Engine, EngineError};
use lanes::{Head, Lanes};

/// How much may wait. What does not fit stays with the provider, which posts it again for a day.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Events, taken ones included.
    pub events_max: u64,
    /// Bytes of packed parcels.
    pub bytes_max: u64,
    /// Parcels: each has some 100 bytes in memory.
    pub parcels_max: usize,
    /// Bytes of parcels that are kept in memory as well, so that folding need not read them.
    pub cached_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { events_max: 5_000_000, bytes_max: 1 << 30, parcels_max: 500_000, cached_bytes_max: 16 << 20 }
    }
}

/// [`Inbox`] on the embedded engine.
#[derive(Clone, Debug)]
pub struct SqliteInbox {
    engine: Engine,
    config: Config,
    shared: Arc<Shared>,
    shutdown: Option<Shutdown>,
}

#[derive(Debug)]
struct Shared {
    lanes: Mutex<Lanes>,
    arrived: Notify,
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SqliteInbox {
    /// The inbox in `engine`. One per engine: whose turn it is, and what is taken, is known in memory.
    pub async fn open(engine: Engine, config: Config) -> Result<Self, InboxError> {
        let left = engine.read(store::load).await?;
        let shared = Arc::new(Shared { lanes: Mutex::new(Lanes::of(left)), arrived: Notify::new() });
        Ok(Self { engine, config, shared, shutdown: None })
    }

    /// The same inbox, whose takes stop waiting when the shutdown is pulled.
    pub fn waiting_until(self, shutdown: Shutdown) -> Self {
        Self { shutdown: Some(shutdown), ..self }
    }

    async fn shut_down(&self) {
        match &self.shutdown {
            Some(shutdown) => shutdown.pulled().await,
            None => std::future::pending().await,
        }
    }

    /// Writes them, then lets them be taken. Runs to its end whoever waits for it: a row that no lane knew of would
    /// wait for the next start.
    async fn write(self, parcels: Vec<Parcel>, folded: oneshot::Sender<()>) -> Result<(), InboxError> {
        let first = self.shared.lanes().admit(&parcels, &self.config)?;
        let parcels = Arc::new(parcels);
        let rows = parcels.clone();
        let written = self.engine.write_between(move |tx, _| store::insert(tx, first, &rows).map(Some)).await;
        let mut lanes = self.shared.lanes();
        lanes.written(first, &parcels, written.is_ok().then_some(folded), &self.config);
        drop(lanes);
        self.shared.arrived.notify_waiters();
        Ok(written?)
    }

    /// Bodies that memory has not, and a durable mark on what an earlier process left behind: should it be what kills
    /// this one too, it is known by its count.
    async fn fetch(&self, heads: &mut [Head]) -> Result<(), InboxError> {
        let left_behind: Vec<i64> =
            heads.iter().filter(|head| head.is_left_behind).map(|head| head.seq).collect();
        if !left_behind.is_empty() {
            self.engine.write_between(move |tx, _| store::count_tries(tx, &left_behind).map(Some)).await?;
        }
        let unread: Vec<i64> = heads.iter().filter(|head| head.body.is_none()).map(|head| head.seq).collect();
        if unread.is_empty() {
            return Ok(());
        }
        let mut bodies = self.engine.read(move |tx| store::bodies(tx, &unread)).await?;
        for head in heads.iter_mut().filter(|head| head.body.is_none()) {
            head.body = Some(bodies.remove(&head.seq).unwrap_or_default());
        }
        Ok(())
    }
}

#[async_trait]
impl Inbox for SqliteInbox {
    async fn append(&self, parcels: Vec<Parcel>) -> Result<Appended, InboxError> {
        let (sender, folded) = oneshot::channel();
        let writing = tokio::spawn(self.clone().write(parcels, sender));
        writing.await.map_err(|panic| InboxError::Unavailable(panic.to_string()))??;
        Ok(Appended { folded: Some(folded) })
    }

    async fn take(&self, events: usize, wait: Duration) -> Result<Vec<Taken>, InboxError> {
        let deadline = Instant::now() + wait;
        loop {
            // Registered before looking, so that nothing arrives unnoticed in between.
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let mut heads = self.shared.lanes().take(events);
            if !heads.is_empty() {
                if let Err(error) = self.fetch(&mut heads).await {
                    self.shared.lanes().put_back(heads);
                    return Err(error);
                }
                return Ok(heads.into_iter().map(Head::taken).collect());
            }
            tokio::select! {
                () = &mut arrived => {}
                () = self.shut_down() => return Ok(Vec::new()),
                () = tokio::time::sleep_until(deadline) => return Ok(Vec::new()),
            }
        }
    }

    async fn keep(&self, _receipts: &[Receipt]) -> Result<(), InboxError> {
        Ok(())
    }

    fn keeps_for(&self) -> Option<Duration> {
        None
    }

    async fn done(&self, receipts: &[Receipt]) -> Result<(), InboxError> {
        let seqs: Vec<i64> = receipts.iter().filter_map(|receipt| receipt.0.parse().ok()).collect();
        let gone = seqs.clone();
        self.engine.write_between(move |tx, _| store::delete(tx, &gone).map(Some)).await?;
        self.shared.lanes().done(&seqs);
        // What is handed out only by itself may have waited for this.
        self.shared.arrived.notify_waiters();
        Ok(())
    }

    fn leave(&self, receipts: &[Receipt]) {
        let seqs: Vec<i64> = receipts.iter().filter_map(|receipt| receipt.0.parse().ok()).collect();
        self.shared.lanes().leave(&seqs);
        self.shared.arrived.notify_waiters();
    }

    async fn depth(&self) -> Result<Depth, InboxError> {
        Ok(self.shared.lanes().depth())
    }
}

impl From<EngineError> for InboxError {
    fn from(error: EngineError) -> Self {
        InboxError::Unavailable(error.to_string())
    }
}
