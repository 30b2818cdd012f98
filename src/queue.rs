//! The queue port: the timer that brings a notification to a worker. The log is the obligation; a queue message may
//! be lost, doubled or late without harm.

pub mod sqlite;
pub mod sqs;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::notification::status::Life;
use crate::notification::{Notification, NotificationId, Priority};

/// A queue with visibility time-outs, receive counts, delays and a dead-letter queue, fair across tenants.
///
/// Batches in, a result per entry out, in order: one entry's failure is that entry's alone.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Enqueues. A message for an id that already has one may be merged into it or stand beside it.
    async fn send_batch(&self, messages: &[Message]) -> Vec<Result<(), QueueError>>;

    /// Waits up to `wait` for at least one visible message, then returns up to `max` of them, fair across tenants,
    /// transactional before bulk. Each is invisible to others for the visibility time-out from now.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError>;

    /// Heartbeat: makes each delivery invisible for another `for_` from now.
    async fn extend(&self, receipts: &[Receipt], for_: Duration) -> Vec<Result<(), QueueError>>;

    /// Ends each delivery as its [`Settlement`] says. Takes the deliveries: settling twice does not compile.
    async fn settle(&self, settled: Vec<(Delivery, Settlement)>) -> Vec<Result<(), QueueError>>;

    /// How much lies where. May be approximate.
    async fn depth(&self) -> Result<Depth, QueueError>;

    /// Up to `limit` dead letters behind `after`, the key of the last one that was seen; none at the end. A backend on
    /// which looking at one hides it from others, SQS, goes by that instead: each is hidden for [`DEAD_HIDDEN`], or
    /// until it is shown again.
    async fn dead_letters(&self, after: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let _none = (after, limit);
        Ok(Vec::new())
    }

    /// Ends the look at each of these.
    async fn end_dead_letters(&self, ends: Vec<(DeadHandle, DeadEnd)>) -> Vec<Result<(), QueueError>> {
        vec![Err(QueueError::StaleReceipt); ends.len()]
    }

    /// How many of the live messages are for notifications that are at an end, so that nothing can be sent for them;
    /// `None` where that cannot be told cheaply.
    async fn spent(&self) -> Result<Option<u64>, QueueError> {
        Ok(None)
    }

    /// Whether a message for an id that has one is merged into it, so that sending it again costs nobody anything.
    fn merges(&self) -> bool {
        false
    }
}

/// What is put on the queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// The notification.
    pub id: NotificationId,
    /// The fairness group.
    pub tenant: String,
    /// The lane.
    pub priority: Priority,
    /// Invisible for this long; at most 15 minutes (the longest SQS delay).
    pub delay: Duration,
    /// The stored content, for a backend that carries it along while it fits. The log has it in any case.
    pub content: Option<Bytes>,
    /// The life as it was recorded, where this is the first message for it.
    pub fresh: Option<Box<Life>>,
}

impl Message {
    /// What brings a notification with this life to a worker; `None` when its wait is the log's.
    pub fn waking(
        id: NotificationId,
        tenant: &str,
        priority: Priority,
        life: &Life,
        now: Timestamp,
    ) -> Option<Self> {
        let delay = life.queue_delay(now)?;
        Some(Self { id, tenant: tenant.to_owned(), priority, delay, content: None, fresh: None })
    }
}

/// Puts messages on the queue, within so long. A failure is told and changes nothing: what is recorded is the
/// obligation, and the sweeper brings what the queue did not take.
pub async fn bring(queue: &dyn Queue, messages: &[Message], within: Duration) {
    if messages.is_empty() {
        return;
    }
    let failed: Vec<QueueError> = match tokio::time::timeout(within, queue.send_batch(messages)).await {
        Ok(results) => results.into_iter().filter_map(Result::err).collect(),
        Err(_elapsed) => vec![QueueError::Unavailable("no answer in time".into())],
    };
    if let Some(error) = failed.first() {
        let (failed, of) = (failed.len(), messages.len());
        tracing::warn!(%error, failed, of, "the queue did not take every message; the sweeper will bring them");
    }
}

/// A received message, to be settled exactly once.
#[derive(Debug)]
pub struct Delivery {
    /// The notification.
    pub id: NotificationId,
    /// The fairness group.
    pub tenant: String,
    /// The lane.
    pub priority: Priority,
    /// Names this delivery; a later delivery of the same message makes it stale.
    pub receipt: Receipt,
    /// 1 on the first receive. Approximate on SQS.
    pub receive_count: u32,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// The content, if it came along.
    pub content: Option<Bytes>,
    /// What else is known of it without asking the log.
    pub origin: Origin,
}

/// What a delivery says of its record.
#[derive(Clone, Debug, Default)]
pub enum Origin {
    /// It was recorded at some time.
    #[default]
    Recorded,
    /// It was recorded with this life, and nothing else happened to it as far as the queue can tell.
    Fresh(Box<Life>),
    /// A producer put it straight on the queue: it may not be recorded yet. Its content came along.
    Direct(Arc<Notification>),
}

/// Names one delivery. Opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(pub String);

/// How a delivery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing more to do: delete it.
    Done,
    /// Bring it again after this long; at most 15 minutes.
    Again {
        /// From now.
        after: Duration,
    },
    /// Move it to the dead-letter queue.
    Dead {
        /// A short code, kept with the dead letter.
        reason: String,
    },
}

/// For how long a dead letter that is looked at is hidden from others at the most.
pub const DEAD_HIDDEN: Duration = Duration::from_secs(60);

/// A message in the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names it for as long as it lies there: the notification's id, or the id of the message that it was at first.
    pub key: String,
    /// The notification; `None` if it cannot be read.
    pub id: Option<NotificationId>,
    /// Whose; `None` if it cannot be read.
    pub tenant: Option<String>,
    /// Why it is one: `code`, or `code: details`, without addresses.
    pub reason: String,
    /// The whole message, where the queue carries contents.
    pub body: Option<Bytes>,
    /// From when the queue counts its age. SQS: when it was first enqueued.
    pub enqueued_at: Timestamp,
    /// When the queue destroys it.
    pub destroyed_at: Timestamp,
    /// For [`Queue::end_dead_letters`].
    pub handle: DeadHandle,
}

/// Names one look at a dead letter. Opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeadHandle(pub String);

/// How a look at a dead letter ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadEnd {
    /// It stays, and others may look at it.
    Show,
    /// It is removed for good.
    Remove,
}

/// The reason of a dead letter that became one by being received too often.
pub const RECEIVED_TOO_OFTEN: &str = "max_receive_count";

/// Message counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready to be received.
    pub visible: u64,
    /// Received and not settled.
    pub in_flight: u64,
    /// Sent or given back with a delay that is not over.
    pub delayed: u64,
    /// In the dead-letter queue.
    pub dead: u64,
}

impl Depth {
    /// Everything that will come to a worker.
    pub fn live(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// Why a queue operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// The delivery was made again since, or settled: this receipt no longer counts. Harmless.
    #[error("the receipt is stale")]
    StaleReceipt,
    /// The backend cannot be reached or refused; a later try may do.
    #[error("the queue is unavailable: {0}")]
    Unavailable(String),
}
