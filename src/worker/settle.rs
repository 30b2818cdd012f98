//! Outcomes are written down in batches: first the log, then the queue. Until both are done the delivery stays
//! invisible, and if we die in between the queue brings it again and the log says what is true.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::retry::settlement;
use super::{Hands, Held};
use crate::clock::Timestamp;
use crate::message_log::{Applied, LogError};
use crate::metrics::{ACCEPT_TO_SENT_SECONDS, UNKNOWN_TOTAL};
use crate::notification::NotificationId;
use crate::notification::status::{Fact, Life, Refusal, Status};
use crate::queue::{Delivery, QueueError, Settlement};

/// What a delivery led to.
pub struct Finished {
    /// To be settled.
    pub delivery: Delivery,
    /// To be applied first, in order.
    pub facts: Vec<Fact>,
    /// The provider that took it, when one did.
    pub sent_by: Option<String>,
}

/// A delivery whose facts, if any, are applied.
pub enum Outcome {
    /// Facts first.
    Facts(Finished),
    /// Nothing to write in the log.
    Settled(Delivery, Settlement),
}

/// How large a batch grows, and how long it waits to.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Outcomes in one batch.
    pub batch: usize,
    /// How long the first outcome of a batch waits for company.
    pub linger: Duration,
    /// Batches being written at once.
    pub batches_at_once: usize,
    /// How often a write that failed is tried again before it is left to the queue's redelivery.
    pub tries: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { batch: 256, linger: Duration::from_millis(5), batches_at_once: 4, tries: 5 }
    }
}

/// Batches whose deliveries the queue is told of at once.
const ENDED_AT_ONCE: usize = 64;

/// Collects outcomes until the channel closes, then flushes what is left. Ends when everything is written.
pub async fn run(hands: Arc<Held>, mut outcomes: mpsc::Receiver<Outcome>, config: Config) {
    let writers = Arc::new(Semaphore::new(config.batches_at_once));
    let enders = Arc::new(Semaphore::new(ENDED_AT_ONCE));
    let mut flushes = JoinSet::new();
    while let Some(first) = outcomes.recv().await {
        let mut batch = vec![first];
        let full = tokio::time::sleep(config.linger);
        tokio::pin!(full);
        while batch.len() < config.batch {
            tokio::select! {
                biased;
                more = outcomes.recv() => match more {
                    Some(outcome) => batch.push(outcome),
                    None => break,
                },
                () = &mut full => break,
            }
        }
        let Ok(writing) = writers.clone().acquire_owned().await else {
            return;
        };
        while flushes.try_join_next().is_some() {}
        let (hands, enders) = (hands.clone(), enders.clone());
        flushes.spawn(async move {
            let settled = record(&hands, batch, config.tries).await;
            // The queue may take its time: it shares requests. The next outcomes need not wait for that.
            let ending = enders.acquire_owned().await;
            drop(writing);
            end(&hands, settled).await;
            drop(ending);
        });
    }
    while flushes.join_next().await.is_some() {}
}

/// What is written down, with how it is settled.
async fn record(hands: &Held, batch: Vec<Outcome>, tries: u32) -> Vec<(Delivery, Settlement)> {
    let mut settled = Vec::with_capacity(batch.len());
    let mut finished = Vec::new();
    for outcome in batch {
        match outcome {
            Outcome::Facts(outcome) => finished.push(outcome),
            Outcome::Settled(delivery, settlement) => settled.push((delivery, settlement)),
        }
    }
    settled.extend(write_down(hands, finished, tries).await);
    settled
}

async fn end(hands: &Held, settled: Vec<(Delivery, Settlement)>) {
    let receipts: Vec<_> =
        settled.iter().map(|(delivery, _)| (delivery.id, delivery.receipt.clone())).collect();
    let results = hands.queue.settle(settled).await;
    for ((id, receipt), result) in receipts.into_iter().zip(results) {
        hands.let_go(&receipt);
        match result {
            Ok(()) => {}
            Err(QueueError::StaleReceipt) => {
                tracing::debug!(%id, "settled a delivery that was made again since")
            }
            Err(error) => tracing::debug!(%id, %error, "could not settle; the queue brings it again"),
        }
    }
}

/// Applies the facts; those whose write fails are tried again, since an accepted outcome that is forgotten costs a
/// wait for the webhook. What still fails is left unsettled: the queue brings it again.
async fn write_down(hands: &Held, finished: Vec<Finished>, tries: u32) -> Vec<(Delivery, Settlement)> {
    let mut settled = Vec::with_capacity(finished.len());
    let mut left = finished;
    for attempt in 1..=tries {
        let now = hands.clock.now();
        let facts: Vec<(NotificationId, Fact)> =
            left.iter().flat_map(|f| f.facts.iter().map(|fact| (f.delivery.id, fact.clone()))).collect();
        let mut results = hands.log.apply(&facts, now).await.into_iter();
        let mut failed = Vec::new();
        for outcome in left {
            let applied: Vec<_> = results.by_ref().take(outcome.facts.len()).collect();
            match conclude(&outcome, applied, now) {
                Ok(settlement) => settled.push((outcome.delivery, settlement)),
                Err(error) if attempt == tries => {
                    tracing::error!(id = %outcome.delivery.id, %error, "could not write the outcome down");
                    hands.let_go(&outcome.delivery.receipt);
                }
                Err(_) => failed.push(outcome),
            }
        }
        left = failed;
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
    }
    settled
}

/// The settlement that follows from the last fact's result.
fn conclude(
    outcome: &Finished,
    applied: Vec<Result<Applied, LogError>>,
    now: Timestamp,
) -> Result<Settlement, LogError> {
    let mut last = None;
    for result in applied {
        let applied = result?;
        if let Applied::Done { before, life } = &applied
            && outcome.sent_by.is_some()
            && *before != Status::Sent
        {
            count_sent(life, *before, now);
        }
        last = Some(applied);
    }
    Ok(match last {
        Some(Applied::Done { life, .. }) => settlement(&life, now),
        Some(Applied::Refused(Refusal::Ended(_))) => Settlement::Done,
        // The table was lost and made anew meanwhile. What was sent is sent; anything else has only this message left,
        // which records it again.
        Some(Applied::Absent) if outcome.sent_by.is_some() => Settlement::Done,
        Some(Applied::Absent) => Settlement::Again { after: super::retry::SHORT_WAIT },
        // Another claim has taken over; its own delivery brings it to an end.
        Some(Applied::Refused(Refusal::Stale)) => Settlement::Again { after: super::retry::SHORT_WAIT },
        Some(Applied::Refused(refusal)) => {
            tracing::debug!(id = %outcome.delivery.id, %refusal, "an outcome no longer fits; looked at again");
            Settlement::Again { after: super::retry::SHORT_WAIT }
        }
        None => Settlement::Done,
    })
}

fn count_sent(life: &Life, before: Status, now: Timestamp) {
    if before == Status::Unknown {
        metrics::counter!(UNKNOWN_TOTAL, "resolution" => "late_answer").increment(1);
    }
    metrics::histogram!(ACCEPT_TO_SENT_SECONDS).record(now.since(life.ready_at()).as_secs_f64());
}

impl Hands {
    /// Hands an outcome over to be written down.
    pub(super) async fn conclude(&self, finished: Finished) {
        self.hand_over(Outcome::Facts(finished)).await;
    }

    /// Hands a delivery over to be settled.
    pub(super) async fn finish(&self, delivery: Delivery, settlement: Settlement) {
        self.hand_over(Outcome::Settled(delivery, settlement)).await;
    }

    async fn hand_over(&self, outcome: Outcome) {
        if self.outcomes.send(outcome).await.is_err() {
            tracing::error!(
                "an outcome came after the settler had ended; the queue brings the message again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::Priority;
    use crate::queue::{Origin, Receipt};

    fn finished(sent_by: Option<&str>) -> Finished {
        let delivery = Delivery {
            id: NotificationId::fresh(),
            tenant: "default".into(),
            priority: Priority::default(),
            receipt: Receipt("r".into()),
            receive_count: 1,
            enqueued_at: Timestamp::from_ms(0),
            content: None,
            origin: Origin::Recorded,
        };
        Finished { delivery, facts: Vec::new(), sent_by: sent_by.map(str::to_owned) }
    }

    #[test]
    fn the_message_of_a_record_that_is_gone_is_kept_unless_it_was_sent() {
        let settled =
            |sent_by| conclude(&finished(sent_by), vec![Ok(Applied::Absent)], Timestamp::from_ms(0));
        assert!(matches!(settled(None), Ok(Settlement::Again { .. })));
        assert!(matches!(settled(Some("sandbox")), Ok(Settlement::Done)));
    }
}
