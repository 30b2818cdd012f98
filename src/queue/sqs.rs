//! The queue on Amazon SQS: a standard queue, fair by message group, with a dead-letter queue beside it.
//!
//! Producers may put bare notifications on it directly (`schema/notification.json`); whatever cannot be read moves to
//! the dead-letter queue with the reason beside it. A queue that does not exist is an error and never made here:
//! [`setup`](setup::setup) makes it.

mod attributes;
mod calls;
pub mod check;
mod dead;
mod entries;
mod envelope;
mod letters;
pub mod plain;
mod settle;
pub mod setup;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{Message as Received, MessageSystemAttributeName};
use bytes::Bytes;
use futures::future::join_all;

use super::{
    DeadEnd, DeadHandle, DeadLetter, Delivery, Depth, Message, Queue, QueueError, Receipt, Settlement,
};
use crate::aws::Aws;
use crate::aws::batch::{self, Batcher};
use crate::clock::{Clock, Timestamp};
use crate::notification::Priority;
use crate::notification::content::Limits;
use crate::shutdown::Shutdown;
use attributes::Attributes;
use calls::{Entry, Failure, MOST_ENTRIES, Wire};
use dead::Unreadable;
use entries::{Deleted, Sent, group, seconds};
use letters::Retention;

/// The longest that SQS lets a receive wait.
const LONGEST_POLL: Duration = Duration::from_secs(20);
/// What a receive's answer may take longer than its wait.
const POLL_MARGIN: Duration = Duration::from_secs(5);
/// Further receives at once, when the first came back full.
const FURTHER_RECEIVES: usize = 3;
/// Requests of sends at once. The linger is well below a send's own time, and only under load is it waited.
const SENDS: batch::Config =
    batch::Config { max: MOST_ENTRIES, linger: Duration::from_millis(2), waits_alone: false, at_once: 16 };
/// Requests of deletes at once. Nobody waits for them, and outcomes trickle in: without the linger most of a delete's
/// requests would carry one entry, at the price of ten.
const DELETES: batch::Config =
    batch::Config { max: MOST_ENTRIES, linger: Duration::from_millis(250), waits_alone: true, at_once: 16 };

/// Which queues, and how what lies on them is read.
#[derive(Clone, Debug)]
pub struct Config {
    /// The queue.
    pub queue_url: String,
    /// Its dead-letter queue.
    pub dead_letter_url: String,
    /// For how long a received message is invisible to others; in effect rounded up to a second.
    pub visibility_timeout: Duration,
    /// How large a bare notification may be.
    pub limits: Limits,
    /// The tenant of a bare notification that names none.
    pub default_tenant: String,
    /// Content goes along while the message has at most so many bytes; above that it is read from the log.
    ///
    /// Each 64 KiB of a message is billed as a request of its own, on its way in and on its way out. From there on a
    /// read of the compressed content in the log costs no more, and batches of ten no longer take ten.
    pub inline_max: usize,
}

impl Config {
    /// These queues, with a visibility time-out of 60 s, and 64 KiB at most carried along.
    pub fn new(queue_url: impl Into<String>, dead_letter_url: impl Into<String>) -> Self {
        Self {
            queue_url: queue_url.into(),
            dead_letter_url: dead_letter_url.into(),
            visibility_timeout: Duration::from_secs(60),
            limits: Limits { body_bytes: envelope::MOST_BYTES },
            default_tenant: "default".into(),
            inline_max: 64 * 1024,
        }
    }
}

/// [`Queue`] on SQS. Sends for one id stand beside each other; nothing is merged.
///
/// A receive that is dropped may have taken messages, which then rest for the whole visibility time-out: await it.
#[derive(Debug)]
pub struct SqsQueue {
    wire: Arc<Wire>,
    /// For receives, which wait on purpose and are not tried again: a lost answer's messages are invisible by then.
    polls: Client,
    sends: Batcher<Sent, Result<(), QueueError>>,
    deletes: Batcher<Deleted, Result<(), QueueError>>,
    config: Config,
    clock: Clock,
    shutdown: Option<Shutdown>,
    retention: Retention,
}

impl SqsQueue {
    /// The queue at the configured URL. Reaches nothing yet. Must be called inside a runtime.
    pub fn open(aws: &Aws, config: Config) -> Self {
        let longest = LONGEST_POLL + POLL_MARGIN;
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(longest).operation_timeout(longest).build();
        let retries = RetryConfig::standard().with_max_attempts(1);
        let polls = aws.sqs.config().to_builder().timeout_config(timeouts).retry_config(retries).build();
        let wire = Arc::new(Wire::new(aws));
        let sends = shared(SENDS, &wire, &config.queue_url);
        let deletes = shared(DELETES, &wire, &config.queue_url);
        let polls = Client::from_conf(polls);
        Self {
            wire,
            polls,
            sends,
            deletes,
            config,
            clock: Clock::system(),
            shutdown: None,
            retention: Retention::default(),
        }
    }

    /// The same queue, which receives nothing more once the shutdown is pulled. A receive that is waiting then goes on
    /// to its end: on SQS nobody can take it back.
    pub fn waiting_until(self, shutdown: Shutdown) -> Self {
        Self { shutdown: Some(shutdown), ..self }
    }

    fn is_shut_down(&self) -> bool {
        self.shutdown.as_ref().is_some_and(Shutdown::is_pulled)
    }

    /// One request.
    async fn poll(&self, max: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        let wait = wait.min(LONGEST_POLL);
        let url = &self.config.queue_url;
        let call = self
            .polls
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(max.min(MOST_ENTRIES)).unwrap_or(1))
            .wait_time_seconds(seconds(wait, LONGEST_POLL))
            .visibility_timeout(seconds(self.config.visibility_timeout, Duration::MAX))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        let answer = match tokio::time::timeout(wait + POLL_MARGIN, call.send()).await {
            Ok(Ok(answer)) => Ok(answer.messages.unwrap_or_default()),
            Ok(Err(error)) => Err(Failure::of(&error)),
            Err(_late) => Err(Failure::late()),
        };
        self.wire.note(url, &answer);
        answer.map_err(|failure| failure.tell(url))
    }

    async fn received(&self, max: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        // Full requests only, where more than one is wanted: the rest comes with the next receive.
        let max = if max > MOST_ENTRIES { max - max % MOST_ENTRIES } else { max };
        let mut received = self.poll(max, wait).await?;
        let missing = max.saturating_sub(received.len()).div_ceil(MOST_ENTRIES);
        if received.len() < MOST_ENTRIES || missing == 0 || self.is_shut_down() {
            return Ok(received);
        }
        let mut wanted = max - received.len();
        let further = (0..missing.min(FURTHER_RECEIVES)).map(|_| {
            let share = wanted.min(MOST_ENTRIES);
            wanted -= share;
            self.poll(share, Duration::ZERO)
        });
        // What one of these fails to bring comes with the next receive, which says why if it fails again.
        received.extend(join_all(further).await.into_iter().flatten().flatten());
        Ok(received)
    }

    fn read(&self, message: Received) -> Result<Delivery, Foul> {
        let number = |name| message.attributes.as_ref()?.get(&name)?.parse::<i64>().ok();
        let receive_count = number(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1);
        let enqueued_at = number(MessageSystemAttributeName::SentTimestamp).map(Timestamp::from_ms);
        let body = Bytes::from(message.body.unwrap_or_default());
        let message_id = message.message_id.unwrap_or_default();
        let receipt = message.receipt_handle.unwrap_or_default();
        match envelope::open(&body, &message_id, &self.config.default_tenant, &self.config.limits) {
            Ok(opened) => Ok(Delivery {
                id: opened.id,
                tenant: opened.tenant,
                priority: opened.priority,
                receipt: Receipt(receipt),
                receive_count: u32::try_from(receive_count).unwrap_or(u32::MAX),
                enqueued_at: enqueued_at.unwrap_or_else(|| self.clock.now()),
                content: opened.content,
                origin: opened.origin,
            }),
            Err(why) => Err(Foul { body, message_id, receipt, why }),
        }
    }
}

/// Requests to this queue that callers share.
fn shared<E: Entry + 'static>(
    batches: batch::Config,
    wire: &Arc<Wire>,
    url: &str,
) -> Batcher<E, Result<(), QueueError>> {
    let (wire, url) = (wire.clone(), url.to_owned());
    Batcher::start(batches, move |entries: Vec<E>| {
        let (wire, url) = (wire.clone(), url.clone());
        Box::pin(async move { wire.all(&url, &entries).await })
    })
}

/// A request that came to no end.
fn unanswered() -> Result<(), QueueError> {
    Err(QueueError::Unavailable("the request came to no end".into()))
}

/// A message that cannot be read.
struct Foul {
    body: Bytes,
    message_id: String,
    receipt: String,
    why: Unreadable,
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send_batch(&self, messages: &[Message]) -> Vec<Result<(), QueueError>> {
        let most = self.config.inline_max.min(envelope::MOST_BYTES);
        let entry = |message: &Message| {
            let group = group(&message.tenant, message.priority);
            Sent::new(envelope::of_message(message, most), group).delayed(message.delay)
        };
        let sent = self.sends.submit(messages.iter().map(entry)).await;
        sent.into_iter().map(|result| result.unwrap_or_else(unanswered)).collect()
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        if max == 0 || self.is_shut_down() {
            return Ok(Vec::new());
        }
        let (mut deliveries, mut foul) = (Vec::new(), Vec::new());
        for message in self.received(max, wait).await? {
            match self.read(message) {
                Ok(delivery) => deliveries.push(delivery),
                Err(one) => foul.push(one),
            }
        }
        self.bury_unread(foul).await;
        deliveries.sort_by_key(|delivery| delivery.priority != Priority::Transactional);
        Ok(deliveries)
    }

    async fn extend(&self, receipts: &[Receipt], for_: Duration) -> Vec<Result<(), QueueError>> {
        self.hide(receipts, for_).await
    }

    async fn settle(&self, settled: Vec<(Delivery, Settlement)>) -> Vec<Result<(), QueueError>> {
        self.end(settled).await
    }

    async fn dead_letters(&self, _after: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        self.letters(limit).await
    }

    async fn end_dead_letters(&self, ends: Vec<(DeadHandle, DeadEnd)>) -> Vec<Result<(), QueueError>> {
        self.end_letters(ends).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let of = |url: &str| {
            let (sqs, url) = (self.wire.sqs.clone(), url.to_owned());
            async move {
                let read = Attributes::read(&sqs, &url).await;
                self.wire.note(&url, &read);
                Ok::<_, QueueError>(read.map_err(|failure| failure.tell(&url))?.counts())
            }
        };
        let (queue, dead) = tokio::try_join!(of(&self.config.queue_url), of(&self.config.dead_letter_url))?;
        Ok(Depth { dead: dead.visible + dead.in_flight + dead.delayed, ..queue })
    }
}
