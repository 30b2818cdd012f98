//! A queue of plain texts, for what is no notification: the same batches, retries and words as the queue's.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::MessageSystemAttributeName;

use super::super::{Depth, QueueError};
use super::attributes::Attributes;
use super::calls::{Failure, MOST_ENTRIES, Wire};
use super::entries::{Deleted, Hidden, Sent, seconds};
use super::{LONGEST_POLL, POLL_MARGIN};
use crate::aws::Aws;

/// A queue by its URL. Cheap calls only: nothing is merged, delayed or buried.
#[derive(Debug)]
pub struct PlainQueue {
    wire: Wire,
    /// For receives, which wait on purpose and are not tried again: a lost answer's messages are invisible by then.
    polls: Client,
    url: String,
    visibility_timeout: Duration,
}

/// A message that was received.
#[derive(Clone, Debug)]
pub struct PlainMessage {
    /// As it was sent.
    pub text: String,
    /// For hiding and deleting.
    pub receipt: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
}

impl PlainQueue {
    /// The queue at `url`. Reaches nothing yet.
    pub fn open(aws: &Aws, url: &str, visibility_timeout: Duration) -> Self {
        let longest = LONGEST_POLL + POLL_MARGIN;
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(longest).operation_timeout(longest).build();
        let retries = RetryConfig::standard().with_max_attempts(1);
        let polls = aws.sqs.config().to_builder().timeout_config(timeouts).retry_config(retries).build();
        let wire = Wire::new(aws);
        Self { wire, polls: Client::from_conf(polls), url: url.to_owned(), visibility_timeout }
    }

    /// Sends texts, each with its fairness group (1 to 128 letters, digits and marks). Each entry's result.
    pub async fn send(&self, texts: Vec<(String, String)>) -> Vec<Result<(), QueueError>> {
        let entries: Vec<Sent> = texts.into_iter().map(|(group, text)| Sent::new(text, group)).collect();
        self.wire.all(&self.url, &entries).await
    }

    /// Up to ten messages, waiting up to `wait` for the first.
    pub async fn receive(&self, wait: Duration) -> Result<Vec<PlainMessage>, QueueError> {
        let wait = wait.min(LONGEST_POLL);
        let call = self
            .polls
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(MOST_ENTRIES).unwrap_or(1))
            .wait_time_seconds(seconds(wait, LONGEST_POLL))
            .visibility_timeout(seconds(self.visibility_timeout, Duration::MAX))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let answer = match tokio::time::timeout(wait + POLL_MARGIN, call.send()).await {
            Ok(Ok(answer)) => Ok(answer.messages.unwrap_or_default()),
            Ok(Err(error)) => Err(Failure::of(&error)),
            Err(_late) => Err(Failure::late()),
        };
        self.wire.note(&self.url, &answer);
        let messages = answer.map_err(|failure| failure.tell(&self.url))?;
        let plain = messages.into_iter().map(|message| {
            let count = MessageSystemAttributeName::ApproximateReceiveCount;
            let count = message.attributes.as_ref().and_then(|all| all.get(&count)?.parse().ok());
            PlainMessage {
                receive_count: count.unwrap_or(1),
                text: message.body.unwrap_or_default(),
                receipt: message.receipt_handle.unwrap_or_default(),
            }
        });
        Ok(plain.collect())
    }

    /// Hides received messages for another visibility time-out. Each entry's result.
    pub async fn hide(&self, receipts: &[&str]) -> Vec<Result<(), QueueError>> {
        let hidden = |receipt: &&str| Hidden::new((*receipt).to_owned(), self.visibility_timeout);
        let entries: Vec<Hidden> = receipts.iter().map(hidden).collect();
        self.wire.all(&self.url, &entries).await
    }

    /// Deletes received messages. Each entry's result.
    pub async fn delete(&self, receipts: &[&str]) -> Vec<Result<(), QueueError>> {
        let entries: Vec<Deleted> = receipts.iter().map(|receipt| Deleted((*receipt).to_owned())).collect();
        self.wire.all(&self.url, &entries).await
    }

    /// How much lies there, approximately.
    pub async fn depth(&self) -> Result<Depth, QueueError> {
        let read = Attributes::read(&self.wire.sqs, &self.url).await;
        self.wire.note(&self.url, &read);
        Ok(read.map_err(|failure| failure.tell(&self.url))?.counts())
    }
}
