//! The gauges of `/metrics`, read from the log, the queue and the board every few seconds.

use std::sync::Arc;
use std::time::Duration;

use super::Storage;
use crate::clock::{Clock, Timestamp};
use crate::journal::Journal;
use crate::message_log::{Lacks, MessageLog};
use crate::metrics as names;
use crate::notification::status::Status;
use crate::provider::health::HealthBoard;
use crate::queue::Queue;
use crate::shutdown::Shutdown;
use crate::unconfirmed;

pub(super) struct Gauges {
    log: Arc<dyn MessageLog>,
    queue: Arc<dyn Queue>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    health: HealthBoard,
    started: Timestamp,
    interval: Duration,
}

impl Gauges {
    pub(super) fn new(storage: &Storage, interval: Duration, clock: Clock, health: HealthBoard) -> Self {
        let started = clock.now();
        let (log, queue, journal) = (storage.log.clone(), storage.queue.clone(), storage.journal.clone());
        Self { log, queue, journal, clock, health, started, interval }
    }

    pub(super) async fn run(self, stopped: Shutdown) {
        while !stopped.is_pulled() {
            tokio::select! {
                () = tokio::time::sleep(self.interval) => self.read().await,
                () = stopped.pulled() => {}
            }
        }
    }

    pub(super) async fn read(&self) {
        let now = self.clock.now();
        match self.log.counts(now).await {
            Ok(counts) => {
                for status in Status::ALL.into_iter().filter(|status| status.is_unsent()) {
                    let count = counts.by_status.get(&status).copied().unwrap_or(0);
                    metrics::gauge!(names::UNSENT, "status" => status.as_str()).set(count as f64);
                }
                let dead = counts.by_status.get(&Status::Failed).copied().unwrap_or(0);
                metrics::gauge!(names::DEAD_LETTERS).set(dead as f64);
                let age = counts.oldest_unsent.map_or(0.0, |since| now.since(since).as_secs_f64());
                metrics::gauge!(names::UNSENT_OLDEST_AGE_SECONDS).set(age);
            }
            Err(error) => tracing::debug!(%error, "could not count the log"),
        }
        match self.queue.depth().await {
            Ok(depth) => {
                let states =
                    [("visible", depth.visible), ("in_flight", depth.in_flight), ("delayed", depth.delayed)];
                for (state, count) in states {
                    metrics::gauge!(names::QUEUE_MESSAGES, "state" => state).set(count as f64);
                }
            }
            Err(error) => tracing::debug!(%error, "could not count the queue"),
        }
        match unconfirmed::stand(&*self.journal).await {
            Ok(stand) => {
                for lacks in Lacks::ALL {
                    let count = stand.count(lacks);
                    metrics::gauge!(names::UNCONFIRMED, "lacks" => lacks.as_str()).set(count as f64);
                }
            }
            Err(error) => tracing::debug!(%error, "could not count what is not heard of"),
        }
        let heard = self.health.last_receive().unwrap_or(self.started);
        metrics::gauge!(names::LAST_RECEIVE_AGE_SECONDS).set(now.since(heard).as_secs_f64());
    }
}
