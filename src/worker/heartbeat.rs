//! Deliveries in our hands stay invisible to others for as long as we hold them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::message_log::MessageLog;
use crate::queue::{Delivery, Queue, Receipt};

/// The deliveries in our hands, and since which boot time their visibility time-out runs.
pub struct Held {
    pub(super) queue: Arc<dyn Queue>,
    pub(super) log: Arc<dyn MessageLog>,
    pub(super) clock: Clock,
    visibility: Duration,
    receipts: Mutex<HashMap<Receipt, Duration>>,
}

impl Held {
    /// Nothing in our hands.
    pub fn new(queue: Arc<dyn Queue>, log: Arc<dyn MessageLog>, clock: Clock, visibility: Duration) -> Self {
        Self { queue, log, clock, visibility, receipts: Mutex::default() }
    }

    /// Takes these into our hands.
    pub fn hold(&self, deliveries: &[Delivery]) {
        let now = self.clock.boot_time();
        self.lock().extend(deliveries.iter().map(|delivery| (delivery.receipt.clone(), now)));
    }

    /// It is settled, or no longer ours to keep.
    pub fn let_go(&self, receipt: &Receipt) {
        self.lock().remove(receipt);
    }

    /// Extends those whose time-out is a third over.
    async fn beat(&self) {
        let now = self.clock.boot_time();
        let old: Vec<_> = {
            let held = self.lock();
            let is_old = |since: &Duration| now.saturating_sub(*since) >= self.visibility / 3;
            held.iter().filter(|(_, since)| is_old(since)).map(|(receipt, _)| receipt.clone()).collect()
        };
        if old.is_empty() {
            return;
        }
        let results = self.queue.extend(&old, self.visibility).await;
        let mut held = self.lock();
        for (receipt, result) in old.into_iter().zip(results) {
            match (result, held.get_mut(&receipt)) {
                (Ok(()), Some(since)) => *since = now,
                // Settled meanwhile.
                (_, None) => {}
                (Err(error), Some(_)) => {
                    tracing::debug!(%error, "could not extend a delivery");
                    held.remove(&receipt);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Receipt, Duration>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Beats until it is aborted.
pub async fn run(held: Arc<Held>) {
    let mut ticks = tokio::time::interval((held.visibility / 6).max(Duration::from_millis(50)));
    loop {
        ticks.tick().await;
        held.beat().await;
    }
}
