//! The inbox on SQS: the events queue, a message a parcel, fair by message group. A message is one JSON object,
//! `{"kakitome_events":1,"lane":"…","received_at":ms,"events":n,"body":"BASE64"}`.

pub mod lag;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Appended, Depth, Inbox, InboxError, Parcel, Receipt, Taken};
use crate::aws::Aws;
use crate::clock::{Clock, Timestamp};
use crate::journal::Journal;
use crate::queue::QueueError;
use crate::queue::sqs::plain::{PlainMessage, PlainQueue};
use crate::shutdown::Shutdown;
use lag::{Lag, Seen};

const VERSION: u32 = 1;

/// SQS wants a group's name to have a character at least.
const SHARED_GROUP: &str = "shared";

/// Which queue, and how long a parcel is one folder's alone.
#[derive(Clone, Debug)]
pub struct Config {
    /// The events queue.
    pub url: String,
    /// For how long a received parcel is invisible to others; the folder renews it.
    pub visibility_timeout: Duration,
}

/// [`Inbox`] on SQS.
#[derive(Debug)]
pub struct SqsInbox {
    queue: PlainQueue,
    config: Config,
    shutdown: Option<Shutdown>,
    /// When what this process has taken came.
    taken: Mutex<HashMap<Receipt, Timestamp>>,
    lag: Option<Lag>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    kakitome_events: u32,
    lane: String,
    received_at: i64,
    events: usize,
    body: String,
}

impl SqsInbox {
    /// The queue at the configured URL. Reaches nothing yet.
    pub fn open(aws: &Aws, config: Config) -> Self {
        let queue = PlainQueue::open(aws, &config.url, config.visibility_timeout);
        Self { queue, config, shutdown: None, taken: Mutex::default(), lag: None }
    }

    /// The same inbox, which takes nothing more once the shutdown is pulled.
    pub fn waiting_until(self, shutdown: Shutdown) -> Self {
        Self { shutdown: Some(shutdown), ..self }
    }

    /// The same inbox, which tells other processes through the journal when it is late, and hears of them.
    pub fn telling(self, journal: Arc<dyn Journal>, clock: Clock, config: lag::Config) -> Self {
        let lag = Lag::new(journal, clock, self.config.visibility_timeout, config);
        Self { lag: Some(lag), ..self }
    }

    fn oldest_taken(&self) -> Option<Timestamp> {
        self.taken().values().min().copied()
    }

    /// Before what is late is folded: the newest event that was folded is no proof any more.
    async fn tell_if_late(&self) {
        if let Some(lag) = &self.lag {
            lag.mark(self.oldest_taken()).await;
        }
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, HashMap<Receipt, Timestamp>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seal(parcel: Parcel) -> Result<(String, String), serde_json::Error> {
    let envelope = Envelope {
        kakitome_events: VERSION,
        received_at: parcel.received_at.as_ms(),
        events: parcel.events,
        body: STANDARD.encode(&parcel.body),
        lane: parcel.lane,
    };
    let group = if envelope.lane.is_empty() { SHARED_GROUP.to_owned() } else { envelope.lane.clone() };
    Ok((group, serde_json::to_string(&envelope)?))
}

/// `None` for what is no parcel: it stays on the queue until SQS moves it to the dead letters of the events queue.
fn open(message: PlainMessage) -> Option<Taken> {
    let envelope: Envelope = serde_json::from_str(&message.text).ok()?;
    let body = STANDARD.decode(envelope.body).ok().filter(|_| envelope.kakitome_events == VERSION)?;
    let parcel = Parcel {
        lane: envelope.lane,
        received_at: Timestamp::from_ms(envelope.received_at),
        events: envelope.events,
        body: body.into(),
    };
    let tries = message.receive_count.saturating_sub(1);
    Some(Taken { parcel, receipt: Receipt(message.receipt), tries })
}

#[async_trait]
impl Inbox for SqsInbox {
    async fn append(&self, parcels: Vec<Parcel>) -> Result<Appended, InboxError> {
        let sealed: Result<Vec<_>, _> = parcels.into_iter().map(seal).collect();
        let sealed = sealed.map_err(|error| InboxError::Unavailable(error.to_string()))?;
        for sent in self.queue.send(sealed).await {
            sent?;
        }
        Ok(Appended::default())
    }

    async fn take(&self, events: usize, wait: Duration) -> Result<Vec<Taken>, InboxError> {
        let (mut taken, mut held, mut wait) = (Vec::new(), 0, wait);
        while (taken.is_empty() || held < events) && !self.shutdown.as_ref().is_some_and(Shutdown::is_pulled)
        {
            let messages = match self.queue.receive(wait).await {
                Ok(messages) => messages,
                // What was received before is ours, and is folded first.
                Err(_) if !taken.is_empty() => break,
                Err(error) => return Err(error.into()),
            };
            if messages.is_empty() {
                break;
            }
            for one in messages {
                match open(one) {
                    Some(one) => {
                        held += one.parcel.events;
                        self.taken().insert(one.receipt.clone(), one.parcel.received_at);
                        taken.push(one);
                    }
                    None => tracing::warn!(
                        "a message on the events queue is no parcel of events: it is left there"
                    ),
                }
            }
            wait = Duration::ZERO;
            if held == 0 {
                break;
            }
        }
        self.tell_if_late().await;
        Ok(taken)
    }

    async fn keep(&self, receipts: &[Receipt]) -> Result<(), InboxError> {
        let receipts: Vec<&str> = receipts.iter().map(|receipt| receipt.0.as_str()).collect();
        for kept in self.queue.hide(&receipts).await {
            stale_is_no_error(kept)?;
        }
        self.tell_if_late().await;
        Ok(())
    }

    fn keeps_for(&self) -> Option<Duration> {
        Some(self.config.visibility_timeout)
    }

    async fn done(&self, receipts: &[Receipt]) -> Result<(), InboxError> {
        let texts: Vec<&str> = receipts.iter().map(|receipt| receipt.0.as_str()).collect();
        let deleted = self.queue.delete(&texts).await;
        let mut taken = self.taken();
        let mut failure = None;
        for (receipt, deleted) in receipts.iter().zip(deleted) {
            match stale_is_no_error(deleted) {
                Ok(()) => drop(taken.remove(receipt)),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn leave(&self, receipts: &[Receipt]) {
        let mut taken = self.taken();
        for receipt in receipts {
            taken.remove(receipt);
        }
    }

    async fn depth(&self) -> Result<Depth, InboxError> {
        let depth = self.queue.depth().await?;
        let parcels = depth.visible + depth.in_flight + depth.delayed;
        Ok(Depth { parcels, events: None, oldest: self.oldest_taken() })
    }

    async fn folded_until(
        &self,
        now: Timestamp,
        heard: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, InboxError> {
        let Some(lag) = &self.lag else { return Ok(None) };
        // One asks, and the others are told the same.
        let mut judged = lag.judged.lock().await;
        if let Some(told) = lag.told(&judged, now) {
            return told;
        }
        let depth = self.depth().await;
        let seen = depth.map(|depth| Seen { is_empty: depth.parcels == 0, oldest_held: depth.oldest, heard });
        lag.judge(&mut judged, seen, now).await
    }
}

/// Somebody else has it by now, or it is gone.
fn stale_is_no_error(result: Result<(), QueueError>) -> Result<(), InboxError> {
    match result {
        Err(QueueError::StaleReceipt) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl From<QueueError> for InboxError {
    fn from(error: QueueError) -> Self {
        InboxError::Unavailable(error.to_string())
    }
}
