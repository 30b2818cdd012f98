//! The dead-letter queue, looked at: what lies there, why, and until when.

use std::time::Duration;

use aws_sdk_sqs::types::{Message as Received, MessageSystemAttributeName, QueueAttributeName};
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::{DEAD_HIDDEN, DeadEnd, DeadHandle, DeadLetter, QueueError, RECEIVED_TOO_OFTEN};
use super::attributes::Attributes;
use super::calls::{Failure, MOST_ENTRIES};
use super::dead::{REASON, SOURCE};
use super::entries::{Deleted, Hidden, seconds};
use super::{SqsQueue, envelope};
use crate::clock::Timestamp;

/// Of one call to [`SqsQueue::letters`], in bytes of bodies: a message has up to 1 MiB.
const MOST_BODIES: usize = 16 << 20;

/// A look waits so long before it says that there is nothing more: without a wait SQS asks some of its servers only.
const WAIT: Duration = Duration::from_secs(1);

/// For how long the queue's retention is taken for known.
const RETENTION_KNOWN: Duration = Duration::from_secs(300);

/// The dead-letter queue's retention, when it was read last.
#[derive(Debug, Default)]
pub(super) struct Retention(Mutex<Option<(Instant, Duration)>>);

impl SqsQueue {
    /// A message is as old as its first enqueueing, also where SQS moved it; what this program moved is a new one.
    async fn retention(&self) -> Result<Duration, QueueError> {
        let mut known = self.retention.0.lock().await;
        if let Some((_, span)) = known.filter(|(read_at, _)| read_at.elapsed() < RETENTION_KNOWN) {
            return Ok(span);
        }
        let url = &self.config.dead_letter_url;
        let read = Attributes::read(&self.wire.sqs, url).await;
        self.wire.note(url, &read);
        let read = read.map_err(|failure| failure.tell(url))?;
        let span = Duration::from_secs(read.number(&QueueAttributeName::MessageRetentionPeriod).unwrap_or(0));
        *known = Some((Instant::now(), span));
        Ok(span)
    }

    pub(super) async fn letters(&self, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let retention = self.retention().await?;
        let (mut letters, mut bytes) = (Vec::new(), 0);
        while letters.len() < limit && bytes < MOST_BODIES {
            let received = match self.look(limit - letters.len()).await {
                Ok(received) => received,
                // What was seen so far is hidden for a while: the caller is to know of it.
                Err(_) if !letters.is_empty() => break,
                Err(error) => return Err(error),
            };
            if received.is_empty() {
                break;
            }
            for message in received {
                let letter = self.letter(message, retention);
                bytes += letter.body.as_ref().map_or(0, Bytes::len);
                letters.push(letter);
            }
        }
        Ok(letters)
    }

    async fn look(&self, most: usize) -> Result<Vec<Received>, QueueError> {
        let url = &self.config.dead_letter_url;
        let call = self
            .polls
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(most.min(MOST_ENTRIES)).unwrap_or(1))
            .wait_time_seconds(seconds(WAIT, WAIT))
            .visibility_timeout(seconds(DEAD_HIDDEN, DEAD_HIDDEN))
            .message_attribute_names(REASON)
            .message_attribute_names(SOURCE)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        let answer = match call.send().await {
            Ok(answer) => Ok(answer.messages.unwrap_or_default()),
            Err(error) => Err(Failure::of(&error)),
        };
        self.wire.note(url, &answer);
        answer.map_err(|failure| failure.tell(url))
    }

    fn letter(&self, message: Received, retention: Duration) -> DeadLetter {
        let attribute = |name: &str| message.message_attributes.as_ref()?.get(name)?.string_value.clone();
        let sent_at = message.attributes.as_ref().and_then(|attributes| {
            attributes.get(&MessageSystemAttributeName::SentTimestamp)?.parse().ok().map(Timestamp::from_ms)
        });
        let own_id = message.message_id.clone().unwrap_or_default();
        // The message that it was at first names what cannot be read, also where it was moved twice.
        let key = attribute(SOURCE).filter(|source| is_key(source)).unwrap_or(own_id);
        let body = Bytes::from(message.body.clone().unwrap_or_default());
        let opened = envelope::open(&body, &key, &self.config.default_tenant, &self.config.limits);
        let found = match &opened {
            Ok(_) => RECEIVED_TOO_OFTEN.to_owned(),
            Err(why) => why.reason(),
        };
        let opened = opened.ok();
        let enqueued_at = sent_at.unwrap_or_else(|| self.clock.now());
        DeadLetter {
            key,
            id: opened.as_ref().map(|opened| opened.id),
            tenant: opened.map(|opened| opened.tenant),
            reason: attribute(REASON).unwrap_or(found),
            body: Some(body),
            enqueued_at,
            destroyed_at: enqueued_at.plus(retention),
            handle: DeadHandle(message.receipt_handle.unwrap_or_default()),
        }
    }

    pub(super) async fn end_letters(&self, ends: Vec<(DeadHandle, DeadEnd)>) -> Vec<Result<(), QueueError>> {
        let (mut removed, mut shown) = (Vec::new(), Vec::new());
        let mut places = Vec::with_capacity(ends.len());
        for (DeadHandle(receipt), end) in ends {
            match end {
                DeadEnd::Remove => {
                    places.push((true, removed.len()));
                    removed.push(Deleted(receipt));
                }
                DeadEnd::Show => {
                    places.push((false, shown.len()));
                    shown.push(Hidden::new(receipt, Duration::ZERO));
                }
            }
        }
        let url = &self.config.dead_letter_url;
        let (removed, shown) = tokio::join!(self.wire.all(url, &removed), self.wire.all(url, &shown));
        let result = |(is_removed, place): (bool, usize)| {
            if is_removed { removed[place].clone() } else { shown[place].clone() }
        };
        places.into_iter().map(result).collect()
    }
}

/// Whether this can name a dead letter in a URL: a message's id, not whatever a producer wrote into the attribute.
fn is_key(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
